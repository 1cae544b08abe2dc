//! A copy of one node's log as chained digests, and which of its states are durable.
//!
//! Each entry's digest covers its term, its bytes and the digest of the entry before it: two logs
//! with the same digest at an index are equal up to there. So log matching, leader completeness
//! and "what is committed stays" are each one comparison.
//!
//! A log passes through *records*: its state after each batch. After a crash it must be found in
//! one of those that lie between the last durable one and the last written one.
//!
//! Above: `watch`. Below: the log of a node, read like anybody would.

use std::collections::VecDeque;

use hardlog::{Entry, EntryId, HardState, Index, Log, Term};

use crate::payload::Payload;

/// Digest of an empty log.
pub(super) const EMPTY: u64 = 0x6861_7264_6c6f_6721;
/// Entries read at once, in bytes.
const READ_BYTES: u64 = 1 << 20;

/// Mixes a number into a digest.
pub(super) const fn mix(sum: u64, word: u64) -> u64 {
    let x = (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 29)).rotate_left(17)
}

fn digest(before: u64, entry: &Entry) -> u64 {
    let sum = mix(before, entry.term());
    let (words, rest) = entry.payload.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(mix(sum, entry.payload.len() as u64), |sum, byte| mix(sum, u64::from(*byte)))
}

/// A state of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Calls of the disk with a lower number made it.
    pub(super) ops: u64,
    pub(super) hard_state: HardState,
    pub(super) last: EntryId,
    /// Up to where the log as it is now still is what it was then.
    pub(super) shared: Index,
}

impl Record {
    pub(super) fn state(&self) -> (HardState, EntryId) {
        (self.hard_state, self.last)
    }
}

/// The copy.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Index just before the first of `chain`.
    base: Index,
    base_digest: u64,
    chain: Vec<(Term, u64)>,
    /// Entries that change the membership.
    memberships: Vec<Index>,
    /// States, the newest that is known to be durable first.
    pub(super) records: VecDeque<Record>,
}

/// Why a log cannot be copied.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It begins after an entry that no log ever held.
    Unknown(EntryId),
    /// An entry cannot be read.
    Damaged(hardlog::Error),
}

impl Mirror {
    /// A copy of a log as recovery left it: all durable. `known` gives the digest of an entry.
    pub(super) fn of(
        log: &Log,
        ops: u64,
        known: impl Fn(EntryId) -> Option<u64>,
    ) -> Result<Self, Unreadable> {
        let mut mirror = Self {
            base: 0,
            base_digest: EMPTY,
            chain: Vec::new(),
            memberships: Vec::new(),
            records: VecDeque::new(),
        };
        mirror.catch_up(log, ops, known, |_, _| {})?;
        Ok(mirror)
    }

    /// Index just before the first entry that it holds.
    pub(super) fn base(&self) -> Index {
        self.base
    }

    pub(super) fn last(&self) -> Index {
        self.base + self.chain.len() as u64
    }

    /// Digest at an index that the copy reaches.
    pub(super) fn digest_at(&self, index: Index) -> Option<u64> {
        if index == self.base {
            return Some(self.base_digest);
        }
        self.at(index).map(|(_, digest)| digest)
    }

    fn at(&self, index: Index) -> Option<(Term, u64)> {
        let offset = usize::try_from(index.checked_sub(self.base + 1)?).ok()?;
        self.chain.get(offset).copied()
    }

    /// Ids and digests of all entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = (EntryId, u64)> + '_ {
        let ids = (self.base + 1..).zip(&self.chain);
        ids.map(|(index, (term, digest))| (EntryId::new(index, *term), *digest))
    }

    /// The log changed: takes over the difference, tells each new entry, and notes the state.
    pub(super) fn catch_up(
        &mut self,
        log: &Log,
        ops: u64,
        known: impl Fn(EntryId) -> Option<u64>,
        mut new: impl FnMut(EntryId, u64),
    ) -> Result<(), Unreadable> {
        let (first, next) = (log.first_log_index(), log.next_log_index());
        while let Some((term, _)) = self.chain.last().copied() {
            let last = self.last();
            if last < first.saturating_sub(1)
                || (last < next && log.term_at(last).ok() == Some(term))
            {
                break;
            }
            self.chain.pop();
        }
        let last = self.last();
        self.memberships.retain(|index| *index <= last);
        self.records.iter_mut().for_each(|record| record.shared = record.shared.min(last));
        if last + 1 < first {
            self.begin_after(log.prev_id().unwrap_or_default(), known)?;
        }
        self.read(log, next, &mut new)?;
        let last = log.last_id().unwrap_or_default();
        let shared = last.index;
        self.records.push_back(Record { ops, hard_state: log.hard_state(), last, shared });
        Ok(())
    }

    /// The log begins anew after an installed snapshot.
    fn begin_after(
        &mut self,
        id: EntryId,
        known: impl Fn(EntryId) -> Option<u64>,
    ) -> Result<(), Unreadable> {
        self.chain.clear();
        self.memberships.clear();
        self.base = id.index;
        self.base_digest = known(id).ok_or(Unreadable::Unknown(id))?;
        self.records.iter_mut().for_each(|record| record.shared = 0);
        Ok(())
    }

    fn read(
        &mut self,
        log: &Log,
        next: Index,
        new: &mut impl FnMut(EntryId, u64),
    ) -> Result<(), Unreadable> {
        while self.last() + 1 < next {
            for entry in log.entries(self.last() + 1..next, READ_BYTES) {
                let entry = entry.map_err(Unreadable::Damaged)?;
                let before = self.chain.last().map_or(self.base_digest, |(_, digest)| *digest);
                let digest = digest(before, &entry);
                self.chain.push((entry.term(), digest));
                if Payload::is_membership(&entry) {
                    self.memberships.push(entry.index());
                }
                new(entry.id, digest);
            }
        }
        Ok(())
    }

    /// Every call of the disk below `ops` is durable.
    pub(super) fn durable(&mut self, ops: u64) {
        while self.records.get(1).is_some_and(|next| next.ops <= ops) {
            self.records.pop_front();
        }
    }

    /// The newest state known to be durable.
    pub(super) fn durable_record(&self) -> Record {
        *self.records.front().expect("a copy begins with a record and keeps one")
    }

    /// Whether the log up to this entry is durable.
    pub(super) fn holds(&self, id: EntryId) -> bool {
        // Under a snapshot stands only what is committed.
        let term = self.at(id.index).map(|(term, _)| term);
        let same = id.index <= self.base || term == Some(id.term);
        id.index <= self.durable_record().shared && same
    }

    /// The newest entry that changes the membership, unless a snapshot covers it.
    pub(super) fn newest_membership(&self) -> Option<Index> {
        self.memberships.last().copied()
    }
}
