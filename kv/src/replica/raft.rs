//! The replica that is one: a node of hardlog-raft, and the store as its state machine.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use hardlog_raft::{
    Change, Command, FrozenSnapshot, Handle, OrderError, ProposeError, RoleName, StateMachine,
    core::Refused,
};

use super::{
    Health, Order, OrderDone, OrderRefusal, Peer, Proposal, ReadDone, Refusal, Replica, Role,
    Status,
};
use crate::{
    members::{Member, Members},
    store::{Frozen, Store},
};

/// A running node.
#[derive(Clone)]
pub struct RaftReplica {
    handle: Handle,
    /// See [`RaftReplica::with_broken_reads`].
    broken_reads: bool,
}

impl RaftReplica {
    /// The node behind a handle; its state machine must be a [`Store`].
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle, broken_reads: false }
    }

    /// With a bug on purpose, for tests of what checks histories: while this node thinks that it
    /// leads, it lets its clients read without asking anybody whether it still does.
    #[doc(hidden)]
    #[must_use]
    pub fn with_broken_reads(self) -> Self {
        Self { broken_reads: true, ..self }
    }
}

impl Replica for RaftReplica {
    fn propose(&self, proposals: Vec<Proposal>) {
        self.handle.propose_all(proposals.into_iter().map(|Proposal { entry, done }| {
            (entry, move |result: Result<Bytes, ProposeError>| {
                done(result.map_err(Refusal::from));
            })
        }));
    }

    fn read(&self, done: ReadDone) {
        if self.broken_reads && self.handle.status().role == RoleName::Leader {
            return done(Ok(()));
        }
        self.handle.read(move |result| done(result.map_err(Refusal::from)));
    }

    fn members(&self, known: &Members) -> Members {
        let cluster = self.handle.cluster();
        let members = cluster.membership.members().iter();
        let members = members.filter_map(|(id, member)| Some((*id, place(*id, member, known)?)));
        // A node that joins knows of nobody before the leader's first message.
        Members::new(members).unwrap_or_else(|| known.clone())
    }

    fn peers(&self) -> Vec<Peer> {
        let cluster = self.handle.cluster();
        let peer = |id: u64| {
            let follower = cluster.followers.iter().find(|follower| follower.id == id);
            Peer {
                id,
                votes: cluster.membership.is_voter(id),
                matched: follower.map(|follower| follower.matched),
                active: follower.is_some_and(|follower| follower.active),
            }
        };
        cluster.membership.members().keys().map(|id| peer(*id)).collect()
    }

    fn order(&self, order: Order, done: OrderDone) {
        let change = match order {
            Order::Transfer { to } => {
                return self
                    .handle
                    .transfer_leadership(to, move |result| done(result.map_err(refusal)));
            }
            Order::Add { id, member, votes } => {
                let about = member.client().to_string().into();
                let member =
                    hardlog_raft::Member { about, ..hardlog_raft::Member::at(member.raft()) };
                Change::AddLearner { id, member, promote: votes }
            }
            Order::Remove { id } => Change::Remove { id },
        };
        self.handle.change_membership(change, move |result| done(result.map_err(refusal)));
    }

    fn take_snapshot(&self) {
        self.handle.take_snapshot();
    }

    fn health(&self) -> Health {
        let health = self.handle.health();
        Health { disk_hangs: health.disk_hangs, silent: health.silent }
    }

    fn status(&self) -> Status {
        let status = self.handle.status();
        let role = match status.role {
            RoleName::Leader => Role::Leader,
            RoleName::Follower => Role::Follower,
            RoleName::PreCandidate | RoleName::Candidate => Role::Candidate,
        };
        Status {
            id: status.id,
            role,
            term: status.term,
            leader: status.leader,
            commit: status.commit,
            applied: status.applied,
            first: status.first,
            last: status.last,
            incarnation: status.incarnation,
            snapshot: status.snapshot,
        }
    }
}

/// Where a node is: by what it was added with, else by what this node was started with.
fn place(id: u64, member: &hardlog_raft::Member, known: &Members) -> Option<Member> {
    let about = std::str::from_utf8(&member.about).ok();
    let client: Option<SocketAddr> = about.and_then(|about| about.parse().ok());
    match (client, member.address) {
        (Some(client), Some(raft)) => {
            Some(Member { ip: client.ip(), client_port: client.port(), raft_port: raft.port() })
        }
        _ => known.get(id),
    }
}

fn refusal(error: OrderError) -> OrderRefusal {
    match error {
        OrderError::Refused(Refused::NotLeader { leader }) => {
            OrderRefusal::Refused(Refusal::NotLeader { leader })
        }
        OrderError::Refused(why) => OrderRefusal::Senseless(why.to_string()),
        OrderError::Node(error) => OrderRefusal::Refused(error.into()),
    }
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            ProposeError::Unknown => Self::Unknown,
            ProposeError::TooLarge => Self::TooLarge,
            ProposeError::Busy => Self::Busy,
            ProposeError::Stopped => Self::Stopped,
        }
    }
}

impl StateMachine for Store {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let commands = commands.iter().map(|command| &command.data);
        Self::apply(self, commands).into_iter().map(|outcome| outcome.encode()).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(self.freeze())
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        Self::restore(self, from)
    }
}

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        Self::write_to(self, to)
    }
}
