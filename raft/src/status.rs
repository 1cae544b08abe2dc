//! What a node says of itself to whoever asks, without asking its thread.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hardlog::{Index, Term};

use crate::{core::RoleName, message::NodeId};

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
    /// Why it stopped, if it did so by itself.
    pub error: Option<String>,
}

/// The status that the node's threads keep up to date.
#[derive(Debug)]
pub(crate) struct Board {
    status: Mutex<Status>,
    /// Written by the thread that applies, read by all.
    applied: AtomicU64,
}

impl Board {
    pub(crate) fn new(status: Status) -> Self {
        Self { applied: AtomicU64::new(status.applied), status: Mutex::new(status) }
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

    pub(crate) fn applied(&self) -> Index {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn set_applied(&self, index: Index) {
        self.applied.store(index, Ordering::Release);
    }
}
