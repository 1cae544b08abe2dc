//! The words of Raft that the log needs: index, term, the id of an entry, the entry itself.

use bytes::Bytes;

/// Position of an entry in the log. Any value from 0 to [`INDEX_MAX`].
pub type Index = u64;

/// Raft's election term (§5.1 of the paper).
pub type Term = u64;

/// The largest index an entry may have; `u64::MAX` is left free so that "one past the end" exists.
pub const INDEX_MAX: Index = u64::MAX - 1;

/// Names one entry for ever: its place, the term of the leader that made it, and an embedder's tag.
///
/// `tag` is 0 for Raft proper; openraft keeps the node of its leader id there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EntryId {
    /// Position in the log.
    pub index: Index,
    /// Term of the leader that created the entry.
    pub term: Term,
    /// Free for the embedder; compared like the term, never interpreted.
    pub tag: u64,
}

impl EntryId {
    /// An id with tag 0.
    #[must_use]
    pub const fn new(index: Index, term: Term) -> Self {
        Self { index, term, tag: 0 }
    }
}

/// One entry of the log: an id and opaque bytes.
///
/// Cloning is cheap: the payload is reference-counted and never copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// Which entry this is.
    pub id: EntryId,
    /// Its bytes; may be empty. Stored in clear.
    pub payload: Bytes,
}

impl Entry {
    /// An entry with tag 0.
    #[must_use]
    pub fn new(index: Index, term: Term, payload: impl Into<Bytes>) -> Self {
        Self { id: EntryId::new(index, term), payload: payload.into() }
    }

    /// Position in the log.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.id.index
    }

    /// Term of the leader that created the entry.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.id.term
    }

    /// The same entry with a payload of its own.
    ///
    /// A payload handed out by the log keeps the buffer or the mapped segment it came from alive;
    /// an entry that is kept for long should be detached.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { id: self.id, payload: Bytes::copy_from_slice(&self.payload) }
    }
}

/// Names one log for ever: 16 random bytes drawn at its creation, the same in all its files.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogId(pub [u8; 16]);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogId({self})")
    }
}
