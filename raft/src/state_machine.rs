//! What a service implements to be replicated.
//!
//! The node owns the machine and calls it from one thread of its own, so that a slow machine delays
//! neither heartbeats nor elections. What it holds lives in memory: after a restart the node
//! restores the newest marked snapshot and applies the committed entries after it again.

use std::io;

use bytes::Bytes;
use hardlog::{Index, Term};

/// A command that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where it stands in the log.
    pub index: Index,
    /// Term of the leader that took it.
    pub term: Term,
    /// The bytes that were proposed. They share memory with the log: a machine that keeps them for
    /// long copies them.
    pub data: Bytes,
}

/// A deterministic machine: the same commands in the same order give the same state and replies.
pub trait StateMachine: Send + 'static {
    /// Applies commands in the order of their indexes and returns one reply for each. Only the
    /// service's commands come here, each once, none left out.
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes>;

    /// A view of the state as it is now, cheap to take; it is written out in the background while
    /// the machine goes on.
    fn snapshot(&self) -> Box<dyn FrozenSnapshot>;

    /// Replaces the state by what a view wrote.
    ///
    /// # Errors
    /// If the bytes cannot be read or are no state; the node stops then.
    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()>;
}

impl<S: StateMachine + ?Sized> StateMachine for Box<S> {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        (**self).apply(commands)
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        (**self).snapshot()
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        (**self).restore(from)
    }
}

/// A state that no longer changes.
pub trait FrozenSnapshot: Send {
    /// Writes it out.
    ///
    /// # Errors
    /// Whatever `to` says; the snapshot is given up then.
    fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()>;
}
