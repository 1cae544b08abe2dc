//! The log as the core sees it: what the driver has written, with what is still to be written on
//! top.
//!
//! Above it the roles; below it whatever implements [`LogView`]: the engine's reader, or a vector
//! in tests. The core never writes: it changes the [`Overlay`], and the driver writes that as one
//! batch. Until the log took the batch, the overlay stays, so the core's log is always the newest.
//!
//! A lookup answers with a [`Slot`]: an entry may be present, trimmed, not there yet, or faulty
//! (its bytes are damaged; its term is known, so elections and the consistency check go on).
//!
//! INVARIANT: terms never go back from one entry to the next, so the entries of a term are a run
//! and the ends of runs are found by bisection.

use std::ops::Range;

use hardlog::{Entry, EntryId, Index, Term};

/// What stands at an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot<T> {
    /// This.
    Present(T),
    /// It was trimmed: a snapshot covers it.
    Trimmed,
    /// The log ends before.
    Beyond,
    /// It is there and cannot be read.
    Faulty,
}

impl<T> Slot<T> {
    /// What is present.
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Trimmed | Self::Beyond | Self::Faulty => None,
        }
    }
}

/// The entries that the driver has written, durable or not.
pub trait LogView {
    /// First index of the window; one past the last while the window is empty.
    fn first_index(&self) -> Index;
    /// Id of the last entry; while the window is empty, of the entry before it; all zero when there
    /// never was one.
    fn last_id(&self) -> EntryId;
    /// Term of an entry of the window, or of the one just before it. Never `Faulty`.
    fn term_at(&self, index: Index) -> Slot<Term>;
    /// Entries of `range`, which is not empty, as many as are intact and fit `bytes_max`; at least
    /// one if the first is present.
    fn entries(&self, range: Range<Index>, bytes_max: u64) -> Slot<Vec<Entry>>;
}

/// A log with changes on top that are not written yet.
#[derive(Clone, Debug)]
pub(super) struct Overlay<L> {
    base: L,
    /// The base counts no more; the log begins after this id.
    reset: Option<EntryId>,
    /// The base ends before this index.
    truncate_from: Option<Index>,
    /// Entries after the base, or after `reset`.
    tail: Vec<Entry>,
    tail_bytes: u64,
    /// Id of the last entry of it all.
    last: EntryId,
}

impl<L: LogView> Overlay<L> {
    pub(super) fn new(base: L) -> Self {
        let last = base.last_id();
        Self { base, reset: None, truncate_from: None, tail: Vec::new(), tail_bytes: 0, last }
    }

    pub(super) fn last_id(&self) -> EntryId {
        self.last
    }

    pub(super) fn last_index(&self) -> Index {
        self.last.index
    }

    pub(super) fn first_index(&self) -> Index {
        match self.reset {
            Some(id) => id.index + 1,
            None => self.base.first_index().min(self.tail_start()),
        }
    }

    /// One past the part of the base that counts: where the tail begins.
    fn tail_start(&self) -> Index {
        match (self.reset, self.truncate_from) {
            (Some(id), _) => id.index + 1,
            (None, Some(from)) => from,
            (None, None) => self.base.last_id().index + 1,
        }
    }

    fn tail_at(&self, index: Index) -> Option<&Entry> {
        let offset = usize::try_from(index.checked_sub(self.tail_start())?).ok()?;
        self.tail.get(offset)
    }

    pub(super) fn term_at(&self, index: Index) -> Slot<Term> {
        if index > self.last.index {
            return Slot::Beyond;
        }
        if let Some(entry) = self.tail_at(index) {
            return Slot::Present(entry.term());
        }
        match self.reset {
            Some(id) if index == id.index => Slot::Present(id.term),
            Some(_) => Slot::Trimmed,
            None => self.base.term_at(index),
        }
    }

    /// Entries from `from` on, at least one if it is present.
    pub(super) fn entries(&self, from: Index, bytes_max: u64) -> Slot<Vec<Entry>> {
        if from > self.last.index {
            return Slot::Beyond;
        }
        if from < self.first_index() {
            return Slot::Trimmed;
        }
        let start = self.tail_start();
        let mut found = Vec::new();
        let mut bytes = 0;
        if from < start {
            match self.base.entries(from..start, bytes_max) {
                Slot::Present(entries) => found = entries,
                other => return other,
            }
            bytes = found.iter().map(entry_bytes).sum();
            let next = found.last().map_or(from, |entry| entry.index() + 1);
            if next < start {
                return Slot::Present(found);
            }
        }
        let skip = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
        for entry in self.tail.iter().skip(skip) {
            bytes += entry_bytes(entry);
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Slot::Present(found)
    }

    /// First index in `low..=high` whose term is at least `term`; `high + 1` if there is none.
    /// What is trimmed counts as older.
    fn first_of(&self, term: Term, low: Index, high: Index) -> Index {
        let (mut low, mut end) = (low, high + 1);
        while low < end {
            let middle = low + (end - low) / 2;
            match self.term_at(middle) {
                Slot::Present(found) if found >= term => end = middle,
                _ => low = middle + 1,
            }
        }
        low
    }

    /// First index of the run of `term` that ends at or after `index`, within the window.
    pub(super) fn run_start(&self, term: Term, index: Index) -> Index {
        self.first_of(term, self.first_index(), index)
    }

    /// Last index at or below `index` whose term is at most `term`, just before the window at the
    /// lowest.
    pub(super) fn last_of(&self, term: Term, index: Index) -> Index {
        let Some(after) = term.checked_add(1) else { return index };
        self.first_of(after, self.first_index(), index).min(index + 1).saturating_sub(1)
    }

    // ---- changes

    /// Appends; the caller has checked that the entries follow.
    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            assert!(
                entry.index() == self.last.index + 1 && entry.term() >= self.last.term,
                "entry {:?} cannot follow {:?}",
                entry.id,
                self.last
            );
            self.last = entry.id;
            self.tail_bytes += entry_bytes(&entry);
            self.tail.push(entry);
        }
    }

    /// Drops the entries from `from` on, which must lie within the window.
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(
            from >= self.first_index() && from <= self.last.index,
            "truncation from {from} outside {}..={}",
            self.first_index(),
            self.last.index
        );
        let start = self.tail_start();
        if from >= start {
            let keep = usize::try_from(from - start).expect("within the tail's length");
            self.tail.truncate(keep);
        } else {
            self.tail.clear();
            self.truncate_from = Some(from);
        }
        self.tail_bytes = self.tail.iter().map(entry_bytes).sum();
        let index = from - 1;
        let term = self.term_before_cut(index);
        self.last = EntryId::new(index, term);
    }

    fn term_before_cut(&self, index: Index) -> Term {
        if let Some(entry) = self.tail_at(index) {
            return entry.term();
        }
        match self.reset {
            Some(id) => id.term,
            None => self.base.term_at(index).present().unwrap_or(0),
        }
    }

    /// Begins the log anew after `id`.
    pub(super) fn reset(&mut self, id: EntryId) {
        self.reset = Some(id);
        self.truncate_from = None;
        self.tail.clear();
        self.tail_bytes = 0;
        self.last = id;
    }

    // ---- what is to be written

    pub(super) fn is_clean(&self) -> bool {
        self.reset.is_none() && self.truncate_from.is_none() && self.tail.is_empty()
    }

    pub(super) fn tail_bytes(&self) -> u64 {
        self.tail_bytes
    }

    /// What a save must carry: reset, truncation, entries.
    pub(super) fn changes(&self) -> (Option<EntryId>, Option<Index>, Vec<Entry>) {
        (self.reset, self.truncate_from, self.tail.clone())
    }

    /// The log took the changes.
    pub(super) fn written(&mut self) {
        self.forget();
        assert!(
            self.base.last_id() == self.last,
            "the log ends at {:?}, the core's at {:?}",
            self.base.last_id(),
            self.last
        );
    }

    /// Back to what the log holds. Returns the last index up to which that is what was seen here;
    /// none if the log was to begin anew.
    pub(super) fn abandon(&mut self) -> Option<Index> {
        let shared = self.reset.is_none().then(|| self.tail_start().saturating_sub(1));
        self.forget();
        self.last = self.base.last_id();
        shared
    }

    fn forget(&mut self) {
        self.reset = None;
        self.truncate_from = None;
        self.tail.clear();
        self.tail_bytes = 0;
    }
}

/// Bytes an entry counts for in limits: its payload, and the most that it takes in a batch of the
/// log besides: a row, and a section of its own where the entry before is of another term.
pub(super) fn entry_bytes(entry: &Entry) -> u64 {
    entry.payload.len() as u64 + 56
}
