//! What stands in an entry's payload: one byte that says what kind of entry it is, then its bytes.
//!
//! Raft's own entries and the service's commands share the log and nothing else: no command can be
//! mistaken for one of Raft's. An unknown kind was written by a newer version and is an error.

use bytes::{BufMut, Bytes, BytesMut};
use hardlog::Entry;

use crate::core::Membership;

const NO_OP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Begins a leader's term; means nothing to the service.
    NoOp,
    /// A command of the service.
    Command(Bytes),
    /// Who takes part from here on.
    Membership(Membership),
}

/// An entry that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} is of kind {kind:?}, which this version does not know")]
pub struct UnknownKind {
    /// Which entry.
    pub index: u64,
    /// Its first byte, if it has one.
    pub kind: Option<u8>,
}

impl Payload {
    /// Bytes of a no-op.
    #[must_use]
    pub fn no_op() -> Bytes {
        Bytes::from_static(&[NO_OP])
    }

    /// Bytes of a command's entry; copies the command.
    #[must_use]
    pub fn command(data: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(data.len() + 1);
        bytes.put_u8(COMMAND);
        bytes.extend_from_slice(data);
        bytes.freeze()
    }

    /// Bytes of an entry that changes the membership.
    ///
    /// # Panics
    /// If the membership is not sound.
    #[must_use]
    pub fn membership(membership: &Membership) -> Bytes {
        let mut bytes = vec![MEMBERSHIP];
        bytes.extend(membership.encode());
        bytes.into()
    }

    /// Whether the entry changes the membership, by its first byte alone.
    #[must_use]
    pub fn is_membership(entry: &Entry) -> bool {
        entry.payload.first() == Some(&MEMBERSHIP)
    }

    /// Reads an entry's payload; the command shares the entry's bytes.
    ///
    /// # Errors
    /// A kind that this version does not know, or a membership that it cannot read.
    pub fn of(entry: &Entry) -> Result<Self, UnknownKind> {
        match entry.payload.first().copied() {
            Some(NO_OP) => Ok(Self::NoOp),
            Some(COMMAND) => Ok(Self::Command(entry.payload.slice(1..))),
            Some(MEMBERSHIP) => {
                let unknown = UnknownKind { index: entry.index(), kind: Some(MEMBERSHIP) };
                let bytes = entry.payload.slice(1..);
                Membership::decode(&bytes).map(Self::Membership).ok_or(unknown)
            }
            kind => Err(UnknownKind { index: entry.index(), kind }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_back_and_an_unknown_kind_is_an_error() {
        let entry = |payload: Bytes| Entry::new(7, 1, payload);
        assert_eq!(
            Payload::of(&entry(Payload::command(b"set x"))),
            Ok(Payload::Command(Bytes::from_static(b"set x")))
        );
        assert_eq!(
            Payload::of(&entry(Payload::command(b""))),
            Ok(Payload::Command(Bytes::new())),
            "an empty command is still a command"
        );
        assert_eq!(Payload::of(&entry(Payload::no_op())), Ok(Payload::NoOp));
        let unknown = Payload::of(&entry(Bytes::from_static(&[9, 1])));
        assert_eq!(unknown, Err(UnknownKind { index: 7, kind: Some(9) }));
        assert_eq!(Payload::of(&entry(Bytes::new())), Err(UnknownKind { index: 7, kind: None }));
    }
}
