//! What a log shows to whoever opens it, in full.

use std::{fmt, sync::Arc};

use hardlog::{
    Error, Log, Options, RecoveryReport, Row, Verdict,
    fs::{SyncPoint, sim::SimFs},
};

/// Metadata slot that is ordered like entries.
pub(super) const SLOT: u64 = 1;
/// Metadata slot that is a promise.
pub(super) const VOW: u64 = 2;

/// Everything but promises: what a crash may take back, batch by batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// First index of the window.
    pub first: u64,
    /// Index and term of the entry before the window.
    pub prev: (u64, u64),
    /// Term and payload of each entry in the window.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Commit index.
    pub commit: u64,
    /// The ordinary metadata slot.
    pub slot: Option<Vec<u8>>,
    /// Index of the newest marked snapshot.
    pub mark: Option<u64>,
}

impl View {
    /// The view of a new log.
    #[must_use]
    pub fn new() -> Self {
        Self { first: 1, prev: (0, 0), entries: Vec::new(), commit: 0, slot: None, mark: None }
    }

    /// One past the last index.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Term of the last entry, or of the one before the window.
    #[must_use]
    pub fn last_term(&self) -> u64 {
        self.entries.last().map_or(self.prev.1, |entry| entry.0)
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

/// The promises: what may never be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vows {
    /// Term and vote.
    pub hard: (u64, Option<u64>),
    /// The metadata slot that is a promise.
    pub slot: Option<Vec<u8>>,
}

/// A log as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What is ordered.
    pub view: View,
    /// What is promised.
    pub vows: Vows,
    /// What an earlier open may have lost.
    pub maybe_lost: Option<u64>,
}

impl Seen {
    /// Reads all of it, every payload and the marked snapshot included.
    ///
    /// # Errors
    /// The first thing that cannot be read.
    pub fn of(log: &Log) -> Result<Self, Error> {
        let (first, next) = (log.first_log_index(), log.next_log_index());
        let entries = log
            .entries(first..next, u64::MAX)
            .map(|entry| entry.map(|e| (e.term(), e.payload.to_vec())))
            .collect::<Result<Vec<_>, Error>>()?;
        let hard = log.hard_state();
        let view = View {
            first,
            prev: log.prev_id().map_or((0, 0), |id| (id.index, id.term)),
            entries,
            commit: hard.commit,
            slot: log.meta(SLOT).map(|value| value.to_vec()),
            mark: log.snapshot_mark().map(|mark| mark.id.index),
        };
        assert_eq!(view.next(), next, "the window and the entries in it differ");
        if let Some(mark) = log.snapshot_mark() {
            log.snapshots().verify(mark.id)?;
        }
        let vows = Vows { hard: (hard.term, hard.vote), slot: log.meta(VOW).map(|v| v.to_vec()) };
        Ok(Self { view, vows, maybe_lost: log.maybe_lost() })
    }
}

/// The options of every log here: segments as small as the model's, nothing in the background; and
/// which sync is left out, if one is.
#[must_use]
pub fn options(omitted: Option<SyncPoint>) -> Options {
    let options = Options::new().segment_size(48 << 10).background(false).snapshot_chunk(4096);
    omitted.into_iter().fold(options, Options::omit_sync)
}

/// What an open of a disk gave.
#[derive(Debug)]
pub struct Outcome {
    /// What is there now, or why it did not open.
    pub seen: Result<Seen, Error>,
    /// What the open said of itself, if it did open.
    pub report: Option<RecoveryReport>,
}

/// Opens what is on `fs`, reads everything, and lets go of it as a kill would.
#[must_use]
pub fn recover(fs: &SimFs, omitted: Option<SyncPoint>) -> Outcome {
    match Log::open_on(Arc::new(fs.clone()), options(omitted)) {
        Ok((log, report)) => Outcome { seen: Seen::of(&log), report: Some(report) },
        Err(e) => Outcome { seen: Err(e), report: None },
    }
}

impl Outcome {
    /// Whether bytes were lost that may have been durable.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.report.as_ref().is_some_and(|r| r.verdict == Some(Verdict::Unproven))
    }

    /// The row of the verdict, as in `Row 4`.
    #[must_use]
    pub fn row(&self) -> String {
        let row = self.report.as_ref().and_then(|report| report.row);
        row.map_or("no row".to_owned(), |row| format!("row {} ({row:?})", row as u8))
    }
}

/// As `model.py --emit` says it.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(seen) = &self.seen else { return f.write_str("refused") };
        let Seen { view, vows, maybe_lost } = seen;
        let row = self.report.as_ref().and_then(|report| report.row).unwrap_or(Row::Zeros);
        let terms: Vec<u64> = view.entries.iter().map(|entry| entry.0).collect();
        write!(f, "row={} first={} ", row as u8, view.first)?;
        write!(f, "prev={}/{} terms={terms:?} ", view.prev.0, view.prev.1)?;
        write!(f, "commit={} mark={} ", view.commit, view.mark.unwrap_or(0))?;
        write!(f, "hard={}/{} ", vows.hard.0, vows.hard.1.unwrap_or(0))?;
        let slots: Vec<u64> = view.slot.iter().map(|_| SLOT).collect();
        let promised: Vec<u64> = vows.slot.iter().map(|_| VOW).collect();
        write!(f, "slots={slots:?} vows={promised:?} lost=")?;
        match maybe_lost {
            Some(index) => write!(f, "{index}"),
            None => f.write_str("-"),
        }
    }
}
