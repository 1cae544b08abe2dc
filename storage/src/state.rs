//! Everything a log means that is not entries, and how each section of a batch changes it.
//!
//! One function, [`LogState::apply`], serves the live log and recovery alike: what a batch means is
//! said once. It is pure; where entries lie is `index`'s business.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    batch::{Class, SnapshotMark},
    entry::{EntryId, Index, Term},
    hard_state::HardState,
};

/// A metadata slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) class: Class,
    pub(crate) value: Bytes,
}

/// What a State section holds (FORMAT.md, "State").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    /// First index of the window.
    pub(crate) first: Index,
    /// One past the last index; equal to `first` while the window is empty.
    pub(crate) next: Index,
    /// Id of the entry just before the window, if known.
    pub(crate) prev: Option<EntryId>,
    /// Id of the last entry, while the window is not empty.
    pub(crate) last: Option<EntryId>,
    pub(crate) hard_state: HardState,
    pub(crate) slots: Arc<BTreeMap<u64, Slot>>,
    pub(crate) mark: Option<SnapshotMark>,
    pub(crate) maybe_lost: Option<Index>,
}

/// A change of the state, as a section of a batch says it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Entries up to this id were appended.
    Appended(EntryId),
    /// Everything from this index on is gone; the id is that of the last entry that stays.
    Truncated(Index, Option<EntryId>),
    /// Everything before this index is gone; the id is that of the entry before, if known.
    Trimmed(Index, Option<EntryId>),
    /// Everything is gone.
    Reset(Index, Option<EntryId>),
    HardState(HardState),
    Meta(u64, Slot),
    Mark(SnapshotMark),
    LossAcknowledged,
}

impl LogState {
    /// The state of a new log that begins at `first`.
    pub(crate) fn new(first: Index) -> Self {
        Self { first, next: first, ..Self::default() }
    }

    /// Whether the window holds no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Id of the last entry, or of the one before an empty window.
    pub(crate) fn last_id(&self) -> Option<EntryId> {
        if self.is_empty() { self.prev } else { self.last }
    }

    /// Term of [`Self::last_id`]; 0 where there is none.
    pub(crate) fn last_term(&self) -> Term {
        self.last_id().map_or(0, |id| id.term)
    }

    /// Applies one change. The caller has checked that it fits.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Appended(id) => {
                self.last = Some(*id);
                self.next = id.index + 1;
            }
            Change::Truncated(from, last) => {
                self.next = *from;
                self.last = *last;
            }
            Change::Trimmed(first, prev) => self.trimmed(*first, *prev),
            Change::Reset(first, prev) => self.reset(*first, *prev),
            Change::HardState(hard_state) => self.hard_state = *hard_state,
            Change::Meta(key, slot) => self.set_slot(*key, slot.clone()),
            Change::Mark(mark) => self.mark = Some(*mark),
            Change::LossAcknowledged => self.maybe_lost = None,
        }
        if self.is_empty() {
            self.last = None;
        }
        if self.maybe_lost.is_some_and(|lost| lost < self.first) {
            self.maybe_lost = None;
        }
    }

    fn trimmed(&mut self, first: Index, prev: Option<EntryId>) {
        self.first = first;
        self.prev = prev;
        self.next = self.next.max(first);
    }

    fn reset(&mut self, first: Index, prev: Option<EntryId>) {
        (self.first, self.next, self.prev) = (first, first, prev);
        if let Some(id) = prev {
            self.hard_state.commit = self.hard_state.commit.max(id.index);
        }
    }

    fn set_slot(&mut self, key: u64, slot: Slot) {
        Arc::make_mut(&mut self.slots).insert(key, slot);
    }

    /// Takes term, vote and the promise slots of `newer`, and leaves everything else.
    pub(crate) fn take_promises(&mut self, newer: &Self) {
        self.hard_state.term = newer.hard_state.term;
        self.hard_state.vote = newer.hard_state.vote;
        for (&key, slot) in newer.slots.iter().filter(|(_, s)| s.class == Class::Promise) {
            if self.slots.get(&key) != Some(slot) {
                self.set_slot(key, slot.clone());
            }
        }
    }

    /// Whether the promises of the two are the same.
    pub(crate) fn same_promises(&self, other: &Self) -> bool {
        let vows = |s: &Self| {
            let slots = Arc::clone(&s.slots);
            slots
                .iter()
                .filter(|(_, v)| v.class == Class::Promise)
                .map(|(k, v)| (*k, v.clone()))
                .collect::<Vec<_>>()
        };
        self.hard_state.same_promise(&other.hard_state)
            && (Arc::ptr_eq(&self.slots, &other.slots) || vows(self) == vows(other))
    }
}
