//! Batch ↔ bytes: the unit of write, valid as a whole or not at all.
//!
//! ```text
//!  offset  0        40            40+S          40+S+B     end (multiple of 8)
//!          ┌────────┬─────────────┬─────────────┬─────────┐
//!          │ head   │ sections    │ bodies      │ padding │ zero head …
//!          └────────┴─────────────┴─────────────┴─────────┘
//!          magic, head CRC, S, B, sequence, durable, flags
//! ```
//!
//! Above: `scan` and `segment`, which say where a batch lies; `log`, which says what it means.
//! Below: nothing. This module is pure: no I/O, no clock, no allocation on the word of a length.
//!
//! INVARIANT: the head CRC covers everything but the bodies and is seeded with the segment's salt
//! and the batch's offset, so a batch is valid in exactly one place of one file. Each body carries a
//! CRC of its own in the head, so a rotten payload still says which entry it was.
//! The magic is mixed with salt and offset too: a payload that a client filled with forged heads
//! costs the search for heads nothing, since nobody outside knows the salt. (FORMAT.md, "Batch".)

mod decode;
mod encode;

use std::borrow::Cow;

use bytes::Bytes;

pub(crate) use decode::{
    Flaw, Head, Run, Section, Sections, SlotAt, bodies_check, is_state, is_zero,
};
pub(crate) use encode::{encode, encode_state, promises, seal};

use crate::{
    entry::{Entry, EntryId, Index},
    hard_state::HardState,
};

/// Bytes of a batch's fixed head.
pub(crate) const HEAD_LEN: usize = 40;
/// Bytes of a section's fixed head.
pub(crate) const SECTION_LEN: usize = 16;
/// A failed writeback may harm this many bytes at once; markers begin at its multiples.
pub(crate) const PAGE: u64 = 4096;
/// First word of every head, before salt and offset are mixed in.
pub(crate) const MAGIC: u32 = 0x4C47_4F48;
/// Flag of a marker.
pub(crate) const MARKER: u64 = 1;
/// Metadata slots of a log.
pub const META_SLOTS_MAX: usize = 16;
/// Bytes of one metadata slot.
pub const META_LEN_MAX: usize = 4096;

/// Section kinds on disk. Bit 15 set means that an older reader may skip the section.
pub(crate) mod kind {
    pub(crate) const ENTRIES: u16 = 1;
    pub(crate) const HARD_STATE: u16 = 2;
    pub(crate) const META: u16 = 3;
    pub(crate) const TRUNCATE_FROM: u16 = 4;
    pub(crate) const TRIM_BEFORE: u16 = 5;
    pub(crate) const RESET: u16 = 6;
    pub(crate) const SNAPSHOT_MARK: u16 = 7;
    pub(crate) const REFILL: u16 = 8;
    pub(crate) const STATE: u16 = 9;
    pub(crate) const ACKNOWLEDGE_LOSS: u16 = 10;
    pub(crate) const SKIPPABLE: u16 = 1 << 15;
}

/// Whether a metadata slot is a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Class {
    /// Ordered like entries: after a crash it is as of the last batch that survived (openraft's
    /// committed id).
    #[default]
    Ordered,
    /// A promise: never forgotten in favour of an older value (openraft's vote).
    Promise,
}

/// A snapshot that the log counts on: which, how large, and the CRC of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SnapshotMark {
    /// Last entry that the snapshot covers.
    pub id: EntryId,
    /// Bytes of the snapshot file.
    pub size: u64,
    /// CRC of the snapshot file, as its trailer states it.
    pub crc: u32,
}

/// One step of a batch, in the order in which it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    Entries(Cow<'a, [Entry]>),
    HardState(HardState),
    Meta { key: u64, class: Class, value: Bytes },
    TruncateFrom(Index),
    TrimBefore { first: Index, prev: Option<EntryId> },
    Reset { first: Index, prev: Option<EntryId> },
    SnapshotMark(SnapshotMark),
    Refill(Entry),
    AcknowledgeLoss,
}

/// Several changes of the log that happen together or not at all, in the order given.
///
/// ```
/// use hardlog::{Batch, Entry, HardState};
///
/// let mut batch = Batch::new();
/// batch
///     .hard_state(HardState { term: 3, vote: Some(1), commit: 6 })
///     .truncate_from(8)
///     .append([Entry::new(8, 3, "set x 1"), Entry::new(9, 3, "set y 2")]);
/// assert!(!batch.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) ops: Vec<Op<'static>>,
}

impl Batch {
    /// A batch that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Appends entries; the first must follow the last one of the log at this point of the batch.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>) -> &mut Self {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if !entries.is_empty() {
            self.ops.push(Op::Entries(Cow::Owned(entries)));
        }
        self
    }

    /// Drops all entries from `from` on. Nothing committed may be dropped.
    pub fn truncate_from(&mut self, from: Index) -> &mut Self {
        self.push(Op::TruncateFrom(from))
    }

    /// Drops all entries before `first`. Beyond the end it empties the window, which then begins
    /// at `first`.
    pub fn trim_before(&mut self, first: Index) -> &mut Self {
        self.push(Op::TrimBefore { first, prev: None })
    }

    /// Drops all entries up to and with `id`, which is the id before the window from then on, also
    /// where the log never held it: the window is empty then and begins right after it.
    ///
    /// The batch does not fit a log that knows the entry at this index under another id.
    pub fn trim_through(&mut self, id: EntryId) -> &mut Self {
        // Saturated, it fits no log: an entry's index lies below.
        self.push(Op::TrimBefore { first: id.index.saturating_add(1), prev: Some(id) })
    }

    /// Drops all entries; the log goes on at `first`. `prev` is the id just before, if there is one:
    /// that of an installed snapshot. Commit becomes at least its index.
    pub fn reset(&mut self, first: Index, prev: Option<EntryId>) -> &mut Self {
        self.push(Op::Reset { first, prev })
    }

    /// Replaces term, vote and commit.
    pub fn hard_state(&mut self, hard_state: HardState) -> &mut Self {
        self.push(Op::HardState(hard_state))
    }

    /// Sets a metadata slot: at most 16, of at most 4096 bytes each.
    pub fn meta(&mut self, key: u64, class: Class, value: impl Into<Bytes>) -> &mut Self {
        self.push(Op::Meta { key, class, value: value.into() })
    }

    /// Records that the snapshot is complete and durable under its name.
    pub fn snapshot_mark(&mut self, mark: SnapshotMark) -> &mut Self {
        self.push(Op::SnapshotMark(mark))
    }

    /// Supplies the bytes of a faulty entry, fetched from a peer.
    pub fn refill(&mut self, entry: Entry) -> &mut Self {
        self.push(Op::Refill(entry))
    }

    /// Takes note of what `maybe_lost` says: it is none from here on.
    pub fn acknowledge_loss(&mut self) -> &mut Self {
        self.push(Op::AcknowledgeLoss)
    }

    fn push(&mut self, op: Op<'static>) -> &mut Self {
        self.ops.push(op);
        self
    }
}

/// What a head says besides its lengths, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    pub(crate) seq: u64,
    pub(crate) durable: u64,
    pub(crate) marker: bool,
}

/// Rounds up to a multiple of 8.
pub(crate) const fn pad8(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// Where a marker begins after a batch that ends at `end`: never in a page that the batch touches,
/// and never over its zero head. Writer and reader both ask here.
pub(crate) const fn marker_at(end: u64) -> u64 {
    if end.is_multiple_of(PAGE) { end } else { (end + HEAD_LEN as u64).next_multiple_of(PAGE) }
}

/// The first word of a valid head at `offset` of the segment with `salt`.
pub(crate) const fn magic_at(salt: u64, offset: u64) -> u32 {
    let mixed = (salt ^ offset).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let high = (mixed >> 32) as u32;
    MAGIC ^ high
}

#[cfg(test)]
mod tests;
