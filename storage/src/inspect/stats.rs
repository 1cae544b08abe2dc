//! What a log is made of, in numbers: entries by term, sections by kind, sizes, what was truncated.
//!
//! Above: callers. Below: `dump`, whose rows are counted here.
//! INVARIANT: memory is bounded: beyond a limit the lowest terms are counted together.

use std::{collections::BTreeMap, ops::ControlFlow};

use crate::{
    entry::{Index, Term},
    error::Result,
    fs::Fs,
    inspect::{
        dump::{BatchKind, ChangeRow, DumpOptions, Row, dump},
        report::VerifyReport,
    },
};

/// Terms counted one by one.
const TERMS_MAX: usize = 4096;

/// A number of things and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Their payload bytes; of batches, all bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The numbers of a log, as it was written: truncated entries count too.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Entries by term.
    pub terms: BTreeMap<Term, Count>,
    /// Entries of terms below those, which were too many to count one by one.
    pub older_terms: Count,
    /// Rows by kind: entries, batches, markers, and every kind of change.
    pub kinds: BTreeMap<&'static str, Count>,
    /// Entries by the power of two above their length: row 0 is empty ones, row n those with
    /// 2ⁿ⁻¹ ≤ length < 2ⁿ.
    pub sizes: BTreeMap<u32, Count>,
    /// Entries that a later truncation or reset dropped.
    pub dropped: u64,
    /// Bad or unreadable stretches that were met.
    pub damage: u64,
}

impl ChangeRow {
    /// The name of its kind: a word or two.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HardState(_) => "hard state",
            Self::Meta(..) => "meta",
            Self::TruncateFrom(_) => "truncate",
            Self::TrimBefore(_) => "trim",
            Self::Reset(_) => "reset",
            Self::SnapshotMark(_) => "snapshot mark",
            Self::Refill(_) => "refill",
            Self::AcknowledgeLoss => "loss acknowledged",
            Self::Unknown => "unknown",
        }
    }
}

/// Counts everything that the segments of the chain hold. Returns the numbers and the look that the
/// count began with.
///
/// # Errors
/// As [`dump`].
pub fn stats(fs: &dyn Fs) -> Result<(Stats, VerifyReport)> {
    let mut stats = Stats::default();
    let mut next: Option<Index> = None;
    let mut kind = BatchKind::Batch;
    let report = dump(fs, &DumpOptions::default(), &mut |row| {
        match row {
            Row::Batch(batch) => {
                kind = batch.kind;
                stats.kinds.entry(batch.kind.name()).or_default().add(batch.len);
            }
            // State and markers repeat what other batches said.
            Row::Change(_, _, change) if kind == BatchKind::Batch => {
                let drops = match change {
                    ChangeRow::TruncateFrom(from) => Some(from),
                    ChangeRow::Reset(first) => Some(first),
                    _ => None,
                };
                if let Some((from, end)) = drops.zip(next) {
                    stats.dropped += end.saturating_sub(from);
                    next = Some(from);
                }
                stats.kinds.entry(change.name()).or_default().add(0);
            }
            Row::Change(..) => {}
            Row::Entry(entry) => {
                let len = entry.payload.len() as u64;
                stats.kinds.entry("entry").or_default().add(len);
                stats.sizes.entry(u64::BITS - len.leading_zeros()).or_default().add(len);
                stats.term(entry.id.term, len);
                next = Some(entry.id.index.saturating_add(1));
            }
            Row::Damage(_) => stats.damage += 1,
        }
        ControlFlow::Continue(())
    })?;
    Ok((stats, report))
}

impl Stats {
    fn term(&mut self, term: Term, len: u64) {
        self.terms.entry(term).or_default().add(len);
        if self.terms.len() > TERMS_MAX
            && let Some((_, lowest)) = self.terms.pop_first()
        {
            self.older_terms.count += lowest.count;
            self.older_terms.bytes = self.older_terms.bytes.saturating_add(lowest.bytes);
        }
    }
}

impl VerifyReport {
    /// How many segments, and bytes of their files, a trim would free after which the log begins at
    /// `first`.
    #[must_use]
    pub fn freed_by_trim(&self, first: Index) -> (usize, u64) {
        // All before the newest segment that begins with nothing below `first` still wanted.
        let newest = self.segments.iter().rposition(|s| s.begins.is_some_and(|b| b <= first));
        let gone = &self.segments[..newest.unwrap_or(0)];
        (gone.len(), gone.iter().map(|segment| segment.len).sum())
    }
}
