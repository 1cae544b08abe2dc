//! The state machine: the map that every node holds, and what a command does to it.
//!
//! The layer above is [`crate::replica`], which brings committed commands here in order; below is
//! [`Keyspace`]. One [`Store`] applies, any number of [`View`]s of it read: a connection's GET
//! runs in the connection's task and takes the lock for one lookup.
//!
//! Applying is deterministic: it depends on the commands alone, not on time, chance or the order
//! of a hash table, so nodes that applied the same index hold the same bytes.
//!
//! It does not know whether a read is linearizable; who reads has asked [`crate::replica`] first.

mod apply;
mod keyspace;
mod snapshot;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

pub use self::{keyspace::Keyspace, snapshot::Frozen};
use crate::{op::Op, outcome::Outcome, wire::DecodeError};

/// The side that applies. One per node, moved into the Raft node.
#[derive(Debug, Default)]
pub struct Store {
    keyspace: Arc<RwLock<Keyspace>>,
}

/// The side that reads.
#[derive(Clone, Debug)]
pub struct View {
    keyspace: Arc<RwLock<Keyspace>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that sees each command once it is applied.
    #[must_use]
    pub fn view(&self) -> View {
        View { keyspace: Arc::clone(&self.keyspace) }
    }

    /// Applies commands in order; one outcome each. Readers see all of them or none.
    pub fn apply<'a>(&mut self, commands: impl IntoIterator<Item = &'a Bytes>) -> Vec<Outcome> {
        let mut keyspace = self.write();
        commands.into_iter().map(|entry| apply_entry(&mut keyspace, entry)).collect()
    }

    /// The content as it is now, unmoved by later commands; costs the clone of a thousand `Arc`s.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen::new(read(&self.keyspace).clone())
    }

    /// Replaces the content by that of a snapshot; an error leaves it as it was.
    ///
    /// # Errors
    /// What the reader said, or `InvalidData` for anything [`Frozen::write_to`] does not write.
    pub fn restore(&mut self, from: &mut dyn std::io::Read) -> std::io::Result<()> {
        let restored = snapshot::read(from)?;
        *self.write() = restored;
        Ok(())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keyspace> {
        self.keyspace.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// The content, held still while the guard lives; applying waits, so let go soon.
    pub fn read(&self) -> RwLockReadGuard<'_, Keyspace> {
        read(&self.keyspace)
    }
}

/// Nothing that runs under the lock can panic halfway, so a poisoned lock holds a whole map.
fn read(keyspace: &RwLock<Keyspace>) -> RwLockReadGuard<'_, Keyspace> {
    keyspace.read().unwrap_or_else(PoisonError::into_inner)
}

fn apply_entry(keyspace: &mut Keyspace, entry: &Bytes) -> Outcome {
    match Op::decode(entry.clone()) {
        Ok(op) => apply::apply(keyspace, op),
        // Committed by a newer version, or a bug; to skip it is what every node of this version
        // does, so they still agree.
        Err(DecodeError(_)) => Outcome::Unreadable,
    }
}

#[cfg(test)]
mod tests;
