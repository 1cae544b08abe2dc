//! What is known of each entry of the window after a replay that went on past damage. Pure.
//!
//! ```text
//!   11..16 held (segment 2)   17 bad (id and CRC known)   18..20 missing   21..22 held (segment 3)
//! ```
//!
//! Above: `salvage`, which feeds it batch by batch from the oldest segment on. Below: nothing.
//! INVARIANT: the pieces cover `first..next` without a hole and without an overlap, in order.
//! INVARIANT (doubt): a batch that is lost may have truncated what stands before it. Such entries are
//! doubtful until something later confirms them, and a doubtful entry is never called whole.
//! What confirms: the commit index as of then (committed entries are never truncated); a later entry,
//! or a later term of the hard state, of the same term (an entry is only replaced by a leader of a
//! newer term, and by Log Matching an entry vouches for all before it).

use crate::{
    entry::{EntryId, Index, Term},
    index::Appended,
    layout::SegmentId,
    meaning::Step,
    state::{Change, LogState},
};

/// Where the bytes of entries stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) segment: SegmentId,
    /// The batch of the first of them; the others follow without a hole.
    pub(crate) offset: u64,
    /// The bytes stand in a Refill section, not in the batch that brought the entry.
    pub(crate) refill: bool,
}

/// What is known of a stretch of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Ids and bytes.
    Held { term: Term, tag: u64, spot: Spot },
    /// The id and the checksum of one entry; its bytes are bad.
    Bad { term: Term, tag: u64, crc: u32 },
    /// That they existed.
    Missing,
}

impl Known {
    pub(crate) fn id(&self, index: Index) -> Option<EntryId> {
        match *self {
            Self::Held { term, tag, .. } | Self::Bad { term, tag, .. } => {
                Some(EntryId { index, term, tag })
            }
            Self::Missing => None,
        }
    }
}

/// Consecutive entries of which the same is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first: Index,
    pub(crate) last: Index,
    pub(crate) known: Known,
}

/// Entries from `low` (included) to `high` (excluded) may have been replaced by one lost batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    low: Index,
    high: Index,
}

/// The window as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Everything that is not entries.
    pub(crate) state: LogState,
    pub(crate) pieces: Vec<Piece>,
    doubts: Vec<Doubt>,
    /// Behind damage: where the entries go on is not known.
    pub(crate) lost: bool,
    /// Where the window begins is not known yet.
    pub(crate) adrift: bool,
    /// The next entries begin a new piece.
    broken: bool,
}

impl Ledger {
    /// Before anything is known.
    pub(crate) fn adrift() -> Self {
        Self { adrift: true, ..Self::default() }
    }

    /// Id of an entry of the window.
    pub(crate) fn id(&self, index: Index) -> Option<EntryId> {
        let at = self.pieces.partition_point(|piece| piece.last < index);
        self.pieces.get(at).filter(|piece| piece.first <= index)?.known.id(index)
    }

    /// Applies what a batch does. False where it does not fit what came before.
    pub(crate) fn replay(&mut self, steps: &[Step], segment: SegmentId, offset: u64) -> bool {
        let mut fits = true;
        for step in steps {
            let change = match step {
                Step::Entries(run) => {
                    fits &= self.append(run, Spot { segment, offset, refill: false });
                    continue;
                }
                Step::Truncate(from) => {
                    if std::mem::take(&mut self.lost) {
                        self.meet(*from);
                    }
                    self.truncate(*from);
                    continue;
                }
                Step::Trim(to, prev) => {
                    let prev = prev.or_else(|| to.checked_sub(1).and_then(|at| self.id(at)));
                    self.trim(*to);
                    Change::Trimmed(*to, prev)
                }
                Step::Reset(to, prev) => {
                    self.pieces.clear();
                    self.doubts.clear();
                    (self.lost, self.adrift) = (false, false);
                    Change::Reset(*to, *prev)
                }
                Step::Refill(id) => {
                    let spot = Spot { segment, offset, refill: true };
                    let known = Known::Held { term: id.term, tag: id.tag, spot };
                    fits &= self.replace(*id, known);
                    continue;
                }
                Step::HardState(hs) => {
                    self.vouch(hs.term);
                    Change::HardState(*hs)
                }
                Step::Meta(key, slot) => Change::Meta(*key, slot.clone()),
                Step::Mark(mark) => Change::Mark(*mark),
                Step::AcknowledgeLoss => Change::LossAcknowledged,
            };
            self.state.apply(&change);
        }
        fits
    }

    /// The bytes of an entry that a batch brought or refilled are bad.
    pub(crate) fn spoil(&mut self, id: EntryId, crc: u32) {
        let _ = self.replace(id, Known::Bad { term: id.term, tag: id.tag, crc });
    }

    fn append(&mut self, run: &Appended, spot: Spot) -> bool {
        let from = run.first.index;
        let mut fits = true;
        if std::mem::take(&mut self.adrift) {
            (self.state.first, self.state.next) = (from, from);
        }
        if from != self.state.next {
            fits = self.lost;
            if !fits {
                self.gap();
            }
            self.meet(from);
        }
        self.lost = false;
        self.vouch(run.first.term);
        let (term, tag) = (run.first.term, run.first.tag);
        let last = run.last();
        let goes_on = !std::mem::take(&mut self.broken)
            && matches!(self.pieces.last(), Some(Piece { last, known: Known::Held { term: t, tag: g, spot: s }, .. })
                if (*last + 1, *t, *g, s.segment, s.refill) == (from, term, tag, spot.segment, false));
        match self.pieces.last_mut().filter(|_| goes_on) {
            Some(piece) => piece.last = last.index,
            None => {
                let known = Known::Held { term, tag, spot };
                self.pieces.push(Piece { first: from, last: last.index, known });
            }
        }
        self.state.apply(&Change::Appended(last));
        fits
    }

    /// The entries go on at `next`, whatever was known so far: those between are missing, those
    /// beyond were dropped by a lost batch.
    fn meet(&mut self, next: Index) {
        if next < self.state.next {
            self.truncate(next);
        } else if next > self.state.next {
            let (first, last) = (self.state.next, next - 1);
            self.pieces.push(Piece { first, last, known: Known::Missing });
            self.state.next = next;
            self.state.last = None;
        }
        self.broken = true;
    }

    fn truncate(&mut self, from: Index) {
        self.broken = true;
        if from >= self.state.next {
            return;
        }
        self.pieces.retain(|piece| piece.first < from);
        if let Some(piece) = self.pieces.last_mut() {
            piece.last = piece.last.min(from.saturating_sub(1));
        }
        let from = from.max(self.state.first);
        let last = from.checked_sub(1).and_then(|index| self.id(index));
        self.state.apply(&Change::Truncated(from, last));
        self.settle();
    }

    fn trim(&mut self, to: Index) {
        self.pieces.retain(|piece| piece.last >= to);
        if let Some(piece) = self.pieces.first_mut() {
            piece.first = piece.first.max(to);
        }
        self.doubts.iter_mut().for_each(|doubt| doubt.low = doubt.low.max(to));
        self.adrift = false;
        self.settle();
    }

    /// Doubt that concerns no entry any more is none.
    fn settle(&mut self) {
        let next = self.state.next;
        self.doubts.retain_mut(|doubt| {
            doubt.high = doubt.high.min(next);
            doubt.low < doubt.high
        });
    }

    /// Puts something else in the place of one entry, if it is the one that stands there.
    fn replace(&mut self, id: EntryId, known: Known) -> bool {
        self.broken = true;
        let at = self.pieces.partition_point(|piece| piece.last < id.index);
        let Some(piece) = self.pieces.get(at).filter(|piece| piece.first <= id.index).copied()
        else {
            return false;
        };
        if piece.known.id(id.index).is_some_and(|found| found != id) {
            return false;
        }
        let one = Piece { first: id.index, last: id.index, known };
        let before = Piece { last: id.index.saturating_sub(1), ..piece };
        let after = Piece { first: id.index + 1, ..piece };
        let parts = [
            (piece.first < id.index).then_some(before),
            Some(one),
            (piece.last > id.index).then_some(after),
        ];
        self.pieces.splice(at..=at, parts.into_iter().flatten());
        true
    }

    /// Batches are lost here.
    pub(crate) fn gap(&mut self) {
        (self.lost, self.broken) = (true, true);
        let commit = self.state.hard_state.commit;
        let low = if commit == 0 { 0 } else { commit.saturating_add(1) }.max(self.state.first);
        self.doubts.push(Doubt { low, high: self.state.next });
        self.settle();
    }

    /// Something was skipped that changed nothing: the next entries begin a new piece.
    pub(crate) fn pause(&mut self) {
        self.broken = true;
    }

    /// The log held this entry, says something later: so nothing up to it was dropped.
    fn confirm(&mut self, id: EntryId) {
        if self.id(id.index) == Some(id) {
            for doubt in self.doubts.iter_mut().filter(|doubt| id.index < doubt.high) {
                doubt.low = doubt.low.max(id.index + 1);
            }
            self.settle();
        }
        self.vouch(id.term);
    }

    /// The hard state, or an entry that comes later, has this term: entries of it were not replaced.
    pub(crate) fn vouch(&mut self, term: Term) {
        if term == 0 {
            return;
        }
        for at in 0..self.doubts.len() {
            let Doubt { low, high } = self.doubts[at];
            let newest = self.pieces.iter().rev().find_map(|piece| {
                let last = piece.last.min(high - 1);
                let inside = piece.first < high && last >= low;
                let same = piece.known.id(last).is_some_and(|id| id.term == term);
                (inside && same).then_some(last)
            });
            if let Some(last) = newest {
                self.doubts[at].low = last + 1;
            }
        }
        self.settle();
    }

    /// The State that begins a segment says how the log stood: what is known is held against it.
    /// False where the two differ and no damage explains it.
    pub(crate) fn reconcile(&mut self, said: &LogState) -> bool {
        let mut fits = true;
        let other = said.first < self.state.first || said.first >= self.state.next;
        if std::mem::take(&mut self.adrift) || other {
            fits = self.lost || self.pieces.is_empty();
            self.pieces.clear();
            self.doubts.clear();
            (self.state.first, self.state.next) = (said.first, said.first);
            self.lost |= fits;
        }
        self.trim(said.first);
        if said.next != self.state.next {
            fits &= self.lost;
            self.meet(said.next);
        }
        if let Some(last) = said.last {
            self.confirm(last);
        }
        self.vouch(said.hard_state.term);
        self.state = said.clone();
        self.lost = false;
        self.settle();
        fits
    }

    /// Whether a lost batch may have replaced the entry.
    pub(crate) fn doubts(&self, index: Index) -> bool {
        self.doubts.iter().any(|doubt| (doubt.low..doubt.high).contains(&index))
    }

    /// The last index, from `at` on, of which as much is known as of `at`.
    pub(crate) fn change_after(&self, at: Index) -> Index {
        let piece = self.pieces.partition_point(|piece| piece.last < at);
        let end = match self.pieces.get(piece) {
            Some(piece) if piece.first <= at => piece.last,
            Some(piece) => piece.first - 1,
            None => Index::MAX - 1,
        };
        let edges = self.doubts.iter().flat_map(|doubt| [doubt.low, doubt.high]);
        edges.filter(|&edge| edge > at).fold(end, |end, edge| end.min(edge - 1))
    }

    /// The first index that is not whole: bad, missing or doubtful; `next` where all are.
    pub(crate) fn whole_to(&self) -> Index {
        let held = |piece: &&Piece| !matches!(piece.known, Known::Held { .. });
        let bad = self.pieces.iter().find(held).map_or(self.state.next, |piece| piece.first);
        self.doubts.iter().fold(bad, |low, doubt| low.min(doubt.low))
    }
}

#[cfg(test)]
mod tests;
