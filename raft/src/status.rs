//! What a node says of itself to whoever asks, without asking its thread.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hardlog::{Index, Term};

use crate::{
    core::{
        Core, LogView, Membership, RoleName,
        progress::{Peer, Progress},
    },
    message::NodeId,
    transport::Refusals,
};

/// A node at some recent instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Its id.
    pub id: NodeId,
    /// The part that it plays.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// Who leads that term, if known.
    pub leader: Option<NodeId>,
    /// Highest index known to be committed.
    pub commit: Index,
    /// Highest index that its state machine has applied.
    pub applied: Index,
    /// First index of its log.
    pub first: Index,
    /// Last index of its log, written or not.
    pub last: Index,
    /// How often its log was opened or rotated.
    pub incarnation: u64,
    /// Index of its newest marked snapshot, 0 without one.
    pub snapshot: Index,
    /// The newest configuration here is committed and does not name this node: it was removed, and
    /// takes part no longer.
    pub removed: bool,
    /// Why it stopped, if it did so by itself.
    pub error: Option<String>,
}

/// Whether a node gets on with its work, whatever part it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// A write has not been synced for longer than
    /// [`Config::disk_ticks_max`](crate::Config::disk_ticks_max).
    pub disk_hangs: bool,
    /// How long ago the node's thread last came round: a tick at most, unless it hangs, or waits
    /// for a disk that does.
    pub silent: Duration,
}

/// The status that the node's threads keep up to date.
#[derive(Debug)]
pub(crate) struct Board {
    status: Mutex<Status>,
    /// Written by the thread that applies, read by all.
    applied: AtomicU64,
    cluster: Mutex<Cluster>,
    refusals: Mutex<Refusals>,
    /// When the node's thread last came round, and whether its disk hung then.
    round: Mutex<(Instant, bool)>,
}

/// The cluster as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Who takes part, by the newest configuration in this node's log.
    pub membership: Membership,
    /// Index of that configuration's entry; committed once [`Status::commit`] reaches it.
    pub index: Index,
    /// To whom this node, as the leader, is handing over.
    pub transferring: Option<NodeId>,
    /// The others, while this node leads.
    pub followers: Vec<Follower>,
}

/// A follower in its leader's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Follower {
    /// Who.
    pub id: NodeId,
    /// Up to where its durable log is known to equal the leader's.
    pub matched: Index,
    /// Whether it was heard since the leader last looked, some election timeout ago.
    pub active: bool,
    /// Whether a snapshot is on its way to it.
    pub snapshot: bool,
    /// Whether it keeps up well enough to vote.
    pub caught_up: bool,
}

impl Board {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            applied: AtomicU64::new(status.applied),
            status: Mutex::new(status),
            cluster: Mutex::default(),
            refusals: Mutex::default(),
            round: Mutex::new((Instant::now(), false)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Status {
        Status { applied: self.applied(), ..self.lock().clone() }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    pub(crate) fn cluster(&self) -> Cluster {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_cluster<L: LogView>(&self, core: &Core<L>) {
        let newest = core.configurations().last().cloned().unwrap_or_default();
        let follower = |(id, peer): (&NodeId, &Peer)| Follower {
            id: *id,
            matched: peer.matched,
            active: peer.active,
            snapshot: peer.progress == Progress::Snapshot,
            caught_up: peer.has_caught_up(),
        };
        let members = |(_, peer): &(&NodeId, &Peer)| peer.leaving.is_none();
        let followers = core.followers().map(|p| p.iter().filter(members).map(follower).collect());
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Cluster {
            membership: newest.membership,
            index: newest.index,
            transferring: core.transferring(),
            followers: followers.unwrap_or_default(),
        };
    }

    pub(crate) fn refusals(&self) -> Refusals {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_refusals(&self, refusals: Refusals) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner) = refusals;
    }

    pub(crate) fn came_round(&self, disk_hangs: bool) {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), disk_hangs);
    }

    pub(crate) fn health(&self) -> Health {
        let (last, disk_hangs) = *self.round.lock().unwrap_or_else(PoisonError::into_inner);
        Health { disk_hangs, silent: last.elapsed() }
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn set_applied(&self, index: Index) {
        self.applied.store(index, Ordering::Release);
    }
}
