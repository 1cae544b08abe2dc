//! The replica that is one: a node of hardlog-raft, and the store as its state machine.

use std::io;

use bytes::Bytes;
use hardlog_raft::{Command, FrozenSnapshot, Handle, ProposeError, RoleName, StateMachine};

use super::{Proposal, ReadDone, Refusal, Replica, Role, Status};
use crate::store::{Frozen, Store};

/// A running node.
#[derive(Clone)]
pub struct RaftReplica {
    handle: Handle,
}

impl RaftReplica {
    /// The node behind a handle; its state machine must be a [`Store`].
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl Replica for RaftReplica {
    fn propose(&self, proposals: Vec<Proposal>) {
        for Proposal { entry, done } in proposals {
            self.handle.propose(entry, move |result| done(result.map_err(Refusal::from)));
        }
    }

    fn read(&self, done: ReadDone) {
        self.handle.read(move |result| done(result.map_err(Refusal::from)));
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
