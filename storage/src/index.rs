//! Which batch holds entry i: rows per segment, term runs for the whole log.
//!
//! ```text
//!   window   1 ........................ 90 | 91 ............ 130
//!   spans    [ segment 3: 1..=40 ][ segment 4: 41..=90 ][ active: 91..=130 ]
//!   rows     first index → offset, at least 4 KiB of log apart; a batch that truncates begins one
//! ```
//!
//! Above: `log` (writes) and `reader` (looks up). Below: memory; `file` is the `.idx` codec, and
//! `stored` has the rows of segments sealed before an open, loaded when somebody looks there. A
//! [`Map`] is cheap to clone, and a clone never changes: that is how a reader keeps one version of
//! the log while the writer goes on.
//!
//! INVARIANT: within one row's stretch of the file no truncation begins, so the first batch there
//! that holds index i is the one that counts. Truncation replaces what it cuts, it never edits it.

pub(crate) mod file;
pub(crate) mod stored;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    entry::{EntryId, Index, Term},
    error::Result,
    index::stored::Stored,
    segment::Segment,
};

/// Rows are at least this many bytes of log apart.
const ROW_BYTES: u32 = 4096;
/// `Row::bytes` of a row of which a truncation cut a part.
const CUT: u32 = u32::MAX;

/// Where a stretch of entries begins in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// First index of the stretch.
    pub(crate) first: Index,
    /// Offset of the batch that holds it.
    pub(crate) offset: u32,
    /// Payload bytes of the stretch; [`CUT`] where that is no longer known.
    pub(crate) bytes: u32,
}

impl Row {
    /// Payload bytes, if no truncation cut the row.
    pub(crate) fn payload_bytes(&self) -> Option<u64> {
        (self.bytes != CUT).then_some(u64::from(self.bytes))
    }
}

/// From `first` on, up to the next run, all entries have this term and tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TermRun {
    pub(crate) first: Index,
    pub(crate) term: Term,
    pub(crate) tag: u64,
}

/// Where to look for an index: a stretch of one segment's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch<'a> {
    pub(crate) segment: &'a Arc<Segment>,
    pub(crate) row: Row,
    /// Where the next row begins, if there is one.
    pub(crate) end: Option<u32>,
    /// One past the last index that counts here.
    pub(crate) next: Index,
    /// Nothing of this segment changes any more.
    pub(crate) sealed: bool,
}

/// The rows of a segment: fixed once it is sealed, shared and growing while it is active. Those of a
/// segment that was sealed before the log was opened are on disk until they are needed.
#[derive(Clone, Debug)]
enum Rows {
    Sealed(Arc<Vec<Row>>),
    Stored(Arc<Stored>),
    Growing(Arc<RwLock<Vec<Row>>>, usize),
}

impl Rows {
    fn empty() -> Self {
        Self::Growing(Arc::default(), 0)
    }

    /// The rows as far as they are in memory: none of those that are not loaded yet.
    fn with<T>(&self, f: impl FnOnce(&[Row]) -> T) -> T {
        match self {
            Self::Sealed(rows) => f(rows),
            Self::Stored(stored) => f(stored.loaded().unwrap_or_default()),
            Self::Growing(rows, len) => {
                let rows = rows.read().unwrap_or_else(PoisonError::into_inner);
                f(rows.get(..*len).unwrap_or(&rows))
            }
        }
    }

    /// The row of `index`, which lies before `hi`, and the one after it, if they are in memory.
    fn find(&self, index: Index, hi: Index) -> Option<(Row, Option<Row>)> {
        let (mut row, after) = self.with(|rows| {
            let at = row_of(rows, index)?;
            Some((rows[at], rows.get(at + 1).copied()))
        })?;
        if let Self::Stored(stored) = self
            && after.map_or(stored.next, |after| after.first) > hi
        {
            // A truncation in a newer segment cut it.
            row.bytes = CUT;
        }
        Some((row, after))
    }

    /// Loads what is not in memory.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    fn load(&self) -> Result<()> {
        match self {
            Self::Stored(stored) => stored.rows().map(drop),
            Self::Sealed(_) | Self::Growing(..) => Ok(()),
        }
    }

    /// Puts `row` behind the last one if `begins` says so of that, else adds its bytes to it. True
    /// where it was put.
    fn add(&mut self, row: Row, begins: impl FnOnce(Option<&Row>) -> bool) -> bool {
        let Self::Growing(rows, len) = self else { return false };
        let mut rows = rows.write().unwrap_or_else(PoisonError::into_inner);
        let begins = begins(rows.get(..*len).unwrap_or(&rows).last());
        if begins {
            rows.push(row);
            *len = rows.len();
        } else if let Some(last) = rows.last_mut().filter(|last| last.bytes != CUT) {
            last.bytes = last.bytes.saturating_add(row.bytes);
        }
        begins
    }

    /// A copy without everything from `from` on: older versions keep what they have. Rows on disk
    /// stay as they are: whoever finds one knows where its span ends.
    fn truncated(&self, from: Index) -> Self {
        if let Self::Stored(_) = self {
            return self.clone();
        }
        let mut rows = self.with(<[Row]>::to_vec);
        rows.truncate(rows.partition_point(|row| row.first < from));
        if let Some(last) = rows.last_mut() {
            last.bytes = CUT;
        }
        let len = rows.len();
        match self {
            Self::Sealed(_) | Self::Stored(_) => Self::Sealed(Arc::new(rows)),
            Self::Growing(..) => Self::Growing(Arc::new(RwLock::new(rows)), len),
        }
    }
}

/// The last row that begins at or before `index`.
///
/// Entries of one log are mostly of one size, so the row is near where the index stands between
/// first and last: looked for from there in growing steps, it is found in two or three cache misses
/// and not in a dozen.
fn row_of(rows: &[Row], index: Index) -> Option<usize> {
    let (first, last) = (rows.first()?.first, rows.last()?.first);
    let before = |at: usize| rows[at].first <= index;
    let part = u128::from(index.min(last).checked_sub(first)?) * (rows.len() as u128 - 1);
    let guess = part.checked_div(u128::from(last - first)).unwrap_or(0);
    let guess = usize::try_from(guess).expect("at most the last row");
    // `lo` is a row at or before the index, `hi` one behind it, or the end.
    let (mut lo, mut hi, mut step) = (guess, guess, 1);
    while !before(lo) {
        (hi, lo, step) = (lo, lo.saturating_sub(step), step * 2);
    }
    if hi == lo {
        hi = lo + 1;
        while hi < rows.len() && before(hi) {
            (lo, hi, step) = (hi, (hi + step).min(rows.len()), step * 2);
        }
    }
    Some(lo + rows[lo..hi].partition_point(|row| row.first <= index) - 1)
}

/// The part of the window that one segment holds.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) segment: Arc<Segment>,
    /// First index it holds.
    pub(crate) lo: Index,
    /// One past the last index that counts here; of no meaning in the active span.
    pub(crate) hi: Index,
    rows: Rows,
}

/// What a segment contributes: the content of its `.idx` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Rows of the entries that stand in this segment and were valid at its end.
    pub(crate) rows: Vec<Row>,
    /// Term runs of those entries; the first begins with the first row.
    pub(crate) runs: Vec<TermRun>,
    /// One past the last of those entries.
    pub(crate) next: Index,
    /// Lowest index from which a truncation in this segment dropped entries; a Reset is 0.
    pub(crate) lowest_cut: Option<Index>,
    /// Refilled entries and the offsets of the batches that hold them.
    pub(crate) refills: Vec<(Index, u32)>,
}

/// A sealed segment as [`Map::from_sealed`] takes it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) segment: Arc<Segment>,
    pub(crate) summary: Summary,
    /// Its rows, where they are not in the summary.
    pub(crate) stored: Option<Arc<Stored>>,
}

/// Where everything in the window lies. Cloning takes a version that never changes.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) runs: Arc<Vec<TermRun>>,
    sealed: Arc<Vec<Span>>,
    active: Span,
    /// Whether the active segment holds any entry that counts.
    active_used: bool,
    active_cut: Option<Index>,
    /// Something was dropped since the last row began: the next batch with entries begins one.
    row_due: bool,
    /// Offset of the last batch with entries, and the first index it brought while that counts.
    own: Option<(u32, Option<Index>)>,
    /// Offset of a batch that holds entries which it or a later one dropped: the row it stands in
    /// must end with it.
    stale: Option<u32>,
    refills: Arc<BTreeMap<Index, (Arc<Segment>, u32)>>,
}

impl Map {
    /// The map of a log whose only segment is `active`, without entries.
    pub(crate) fn new(active: Arc<Segment>) -> Self {
        Self {
            runs: Arc::default(),
            sealed: Arc::default(),
            active: Span { segment: active, lo: 0, hi: 0, rows: Rows::empty() },
            active_used: false,
            active_cut: None,
            row_due: false,
            own: None,
            stale: None,
            refills: Arc::default(),
        }
    }

    /// The map of the sealed segments `parts` (oldest first), before anything in `active` counts.
    pub(crate) fn from_sealed(parts: Vec<Part>, active: Arc<Segment>) -> Self {
        let mut map = Self::new(active);
        let mut clip = Index::MAX;
        let (mut spans, mut runs) = (Vec::new(), Vec::new());
        let mut refills = BTreeMap::new();
        for Part { segment, summary, stored } in parts.into_iter().rev() {
            for &(index, offset) in summary.refills.iter().rev().filter(|r| r.0 < clip) {
                refills.entry(index).or_insert((Arc::clone(&segment), offset));
            }
            let hi = summary.next.min(clip);
            let first = summary.rows.first().map(|row| row.first);
            let first = first.or(stored.as_ref().map(|stored| stored.first));
            if let Some(lo) = first.filter(|&lo| lo < hi) {
                let own = summary.runs.iter().filter(|run| run.first < hi).rev();
                runs.extend(own.copied());
                let mut rows = match stored {
                    Some(stored) => Rows::Stored(stored),
                    None => Rows::Sealed(Arc::new(summary.rows)),
                };
                if hi < summary.next {
                    rows = rows.truncated(hi);
                }
                spans.push(Span { segment, lo, hi, rows });
            }
            clip = clip.min(summary.lowest_cut.unwrap_or(Index::MAX));
        }
        spans.reverse();
        runs.reverse();
        runs.dedup_by(|later, run| (later.term, later.tag) == (run.term, run.tag));
        map.sealed = Arc::new(spans);
        map.runs = Arc::new(runs);
        map.refills = Arc::new(refills);
        map
    }

    /// Whether the window `first..next` has no hole.
    pub(crate) fn covers(&self, first: Index, next: Index) -> bool {
        let mut at = first;
        for span in self.sealed.iter().filter(|span| span.hi > first) {
            if span.lo > at {
                return false;
            }
            at = span.hi;
        }
        if self.active_used && self.active.lo <= at {
            at = next;
        }
        at >= next
    }

    /// The stretch that holds `index`, which lies in the window `..next`.
    ///
    /// # Errors
    /// `Io`, `Corrupt` where the rows of its segment are to be loaded.
    pub(crate) fn find(&self, index: Index, next: Index) -> Result<Option<Stretch<'_>>> {
        let sealed = !self.in_active(index);
        let span = if sealed { self.sealed_span(index) } else { Some(&self.active) };
        let Some(span) = span else { return Ok(None) };
        let hi = if sealed { span.hi } else { next };
        span.rows.load()?;
        let Some((row, after)) = span.rows.find(index, hi) else { return Ok(None) };
        Ok(Some(Stretch {
            segment: &span.segment,
            row,
            end: after.map(|row| row.offset),
            next: after.map_or(hi, |row| row.first.min(hi)),
            sealed,
        }))
    }

    /// The sealed segment that holds `index`, which lies in the window, if it is one.
    pub(crate) fn sealed_at(&self, index: Index) -> Option<&Arc<Segment>> {
        if self.in_active(index) {
            return None;
        }
        self.sealed_span(index).map(|span| &span.segment)
    }

    fn in_active(&self, index: Index) -> bool {
        self.active_used && index >= self.active.lo
    }

    fn sealed_span(&self, index: Index) -> Option<&Span> {
        let at = self.sealed.partition_point(|span| span.lo <= index).checked_sub(1)?;
        self.sealed.get(at).filter(|span| index < span.hi)
    }

    /// The first index from `index` on whose bytes were refilled; `Index::MAX` where there is none.
    pub(crate) fn next_refill(&self, index: Index) -> Index {
        self.refills.range(index..).next().map_or(Index::MAX, |(&index, _)| index)
    }

    /// Whether the bytes of `index` were refilled.
    pub(crate) fn is_refilled(&self, index: Index) -> bool {
        self.refills.contains_key(&index)
    }

    /// Where the bytes of a refilled entry lie.
    pub(crate) fn refilled(&self, index: Index) -> Option<(Arc<Segment>, u32)> {
        if self.refills.is_empty() { None } else { self.refills.get(&index).cloned() }
    }

    /// Term and tag of `index`, which lies in the window.
    pub(crate) fn id(&self, index: Index) -> Option<EntryId> {
        let at = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        self.runs.get(at).map(|run| EntryId { index, term: run.term, tag: run.tag })
    }

    /// The active segment and its summary so far, for its `.idx` file.
    pub(crate) fn active_summary(&self, next: Index) -> Summary {
        let rows =
            if self.active_used { self.active.rows.with(<[Row]>::to_vec) } else { Vec::new() };
        let lo = rows.first().map_or(next, |row| row.first);
        let mut runs: Vec<TermRun> = self.runs.iter().filter(|r| r.first >= lo).copied().collect();
        if let Some(id) =
            self.id(lo).filter(|_| runs.first().is_none_or(|r| r.first > lo) && lo < next)
        {
            runs.insert(0, TermRun { first: lo, term: id.term, tag: id.tag });
        }
        let mut refills: Vec<(Index, u32)> = self
            .refills
            .iter()
            .filter(|(_, (segment, _))| segment.id() == self.active.segment.id())
            .map(|(&index, &(_, offset))| (index, offset))
            .collect();
        refills.sort_unstable();
        Summary { rows, runs, next, lowest_cut: self.active_cut, refills }
    }

    /// Seals the active segment and goes on in `successor`.
    pub(crate) fn rotate(&mut self, next: Index, successor: Arc<Segment>) {
        let fresh = Span { segment: successor, lo: 0, hi: 0, rows: Rows::empty() };
        let mut old = std::mem::replace(&mut self.active, fresh);
        if std::mem::take(&mut self.active_used) {
            old.hi = next;
            old.rows = Rows::Sealed(Arc::new(old.rows.with(<[Row]>::to_vec)));
            Arc::make_mut(&mut self.sealed).push(old);
        }
        self.active_cut = None;
        self.row_due = false;
        (self.own, self.stale) = (None, None);
    }

    /// Entries were appended in the batch at `offset` of the active segment.
    pub(crate) fn append(&mut self, entries: &Appended, offset: u64) {
        let Appended { first, bytes, .. } = *entries;
        let offset = u32::try_from(offset).expect("a segment is at most 1 GiB and a window long");
        if !std::mem::replace(&mut self.active_used, true) {
            self.active.lo = first.index;
            self.active.rows = Rows::empty();
        }
        // A batch that dropped a part of what it brought itself stays in the row it stands in.
        let goes_on = self.own.is_some_and(|(at, first)| at == offset && first.is_some());
        if !goes_on {
            self.own = Some((offset, Some(first.index)));
        }
        let row_due = self.row_due && !goes_on;
        let row = Row { first: first.index, offset, bytes: capped(bytes) };
        let begun = self.active.rows.add(row, |last| {
            last.is_none_or(|row| {
                (row_due && row.offset < offset) || offset - row.offset >= ROW_BYTES
            })
        });
        if begun {
            // A batch that dropped entries it brought itself leaves the row due: the next begins one.
            self.row_due = self.stale == Some(offset);
        }
        let run = TermRun { first: first.index, term: first.term, tag: first.tag };
        if self.runs.last().is_none_or(|last| (last.term, last.tag) != (run.term, run.tag)) {
            Arc::make_mut(&mut self.runs).push(run);
        }
    }

    /// Everything from `from` on is gone.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.active_cut = Some(self.active_cut.map_or(from, |cut| cut.min(from)));
        self.row_due = true;
        if let Some((at, first)) = &mut self.own {
            self.stale = Some(*at);
            *first = first.filter(|&first| first < from);
        }
        if self.active_used {
            self.active.rows = self.active.rows.truncated(from);
            self.active_used = self.active.lo < from;
        }
        if self.sealed.last().is_some_and(|span| span.hi > from) {
            let sealed = Arc::make_mut(&mut self.sealed);
            sealed.truncate(sealed.partition_point(|span| span.lo < from));
            if let Some(span) = sealed.last_mut().filter(|span| span.hi > from) {
                span.hi = from;
                span.rows = span.rows.truncated(from);
            }
        }
        if self.runs.last().is_some_and(|run| run.first >= from) {
            let runs = Arc::make_mut(&mut self.runs);
            runs.truncate(runs.partition_point(|run| run.first < from));
        }
        if self.refills.last_key_value().is_some_and(|(&index, _)| index >= from) {
            drop(Arc::make_mut(&mut self.refills).split_off(&from));
        }
    }

    /// Everything before `first` is gone.
    pub(crate) fn trim(&mut self, first: Index) {
        if self.sealed.first().is_some_and(|span| span.hi <= first) {
            Arc::make_mut(&mut self.sealed).retain(|span| span.hi > first);
        }
        let gone = self.runs.partition_point(|run| run.first <= first).saturating_sub(1);
        if gone > 0 {
            Arc::make_mut(&mut self.runs).drain(..gone);
        }
        if self.refills.first_key_value().is_some_and(|(&index, _)| index < first) {
            let refills = Arc::make_mut(&mut self.refills);
            *refills = refills.split_off(&first);
        }
    }

    /// Everything is gone, from the first index on.
    pub(crate) fn reset(&mut self) {
        self.truncate(0);
    }

    /// Everything in the window is gone, since it now begins beyond the end; no truncation.
    pub(crate) fn trim_all(&mut self, first: Index) {
        self.trim(first);
        self.runs = Arc::default();
        self.active_used = false;
        if let Some((_, first)) = &mut self.own {
            *first = None;
        }
    }

    /// The bytes of entry `index` now also lie in the batch at `offset` of the active segment.
    pub(crate) fn refill(&mut self, index: Index, offset: u64) {
        let offset = u32::try_from(offset).expect("a segment is at most 1 GiB and a window long");
        let place = (Arc::clone(&self.active.segment), offset);
        Arc::make_mut(&mut self.refills).insert(index, place);
    }

    /// The rows of the window `first..next`, oldest first, each with the stretch it begins.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) fn stretches(&self, first: Index, next: Index) -> Result<Vec<Stretch<'_>>> {
        let mut out = Vec::new();
        let mut at = first;
        while at < next {
            let Some(stretch) = self.find(at, next)? else { break };
            at = stretch.next;
            out.push(stretch);
        }
        Ok(out)
    }
}

/// A run of entries that a batch appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) first: EntryId,
    pub(crate) count: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
}

impl Appended {
    pub(crate) fn last(&self) -> EntryId {
        EntryId { index: self.first.index + (self.count - 1), ..self.first }
    }
}

fn capped(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(CUT)
}

#[cfg(test)]
mod tests;
