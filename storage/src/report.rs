//! What an open found and did, for people and for programs.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    entry::{EntryId, Index, LogId},
    error::Evidence,
    verdict::{Row, Verdict},
};

/// A place where only markers are missing: nothing but they stood there, and the batches go on behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingMarkers {
    /// The segment.
    pub file: PathBuf,
    /// Where a marker was expected.
    pub from: u64,
    /// Where the next batch stands.
    pub to: u64,
    /// What proves that the bytes between were durable.
    pub evidence: Evidence,
}

/// What [`Log::open`](crate::Log::open) found, decided and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Names the log.
    pub log_id: LogId,
    /// Number of the new active segment.
    pub incarnation: u64,
    /// The segment that was active, and where its valid batches end; None for a new log.
    pub end: Option<(PathBuf, u64)>,
    /// What the bytes behind that end mean.
    pub verdict: Option<Verdict>,
    /// The row of the decision table that said so; None where the end was stated.
    pub row: Option<Row>,
    /// The file of that segment had been another one's before (`Options::reuse_files`): old bytes may
    /// stand behind the end, and `dropped_bytes` counts none that no valid head says are of this one.
    pub reused_file: bool,
    /// Bytes behind the end that open went on without (they are left where they are).
    pub dropped_bytes: u64,
    /// Valid batches found behind the end: not in order, so not counted.
    pub batches_beyond: u64,
    /// Batches that were valid and not proven durable: written again, and durable now.
    pub batches_again: usize,
    /// Lowest index that the lost bytes can have touched; stands until it is acknowledged.
    pub maybe_lost: Option<Index>,
    /// First index of the window, and one past the last.
    pub window: (Index, Index),
    /// Entries whose payloads are damaged (`OnDamage::Faulty`).
    pub faulty: Vec<EntryId>,
    /// Damage that does not matter: truncated, refilled, or below the window.
    pub harmless_damage: usize,
    /// Where only markers were missing, in what was scanned, the newest segment first.
    pub missing_markers: Vec<MissingMarkers>,
    /// Segments whose index file was missing or bad and which were scanned.
    pub scanned: Vec<u64>,
    /// Files removed: leftovers of trims, of recoveries that were cut off, of unfinished work.
    pub removed: Vec<String>,
    /// Names that are none of this log's: left alone.
    pub foreign: Vec<String>,
    /// Why the log can only be read: no new segment could be made. The next write tries again.
    pub read_only: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl RecoveryReport {
    /// Whether nothing but an ordinary clean end was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !matches!(self.verdict, Some(Verdict::Unproven | Verdict::Corrupt))
            && self.maybe_lost.is_none()
            && self.faulty.is_empty()
            && self.read_only.is_none()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, next) = self.window;
        write!(f, "log {}: ", self.log_id)?;
        match next.checked_sub(1).filter(|_| next > first) {
            Some(last) => write!(f, "entries {first}..={last}")?,
            None => write!(f, "no entries, the next is {next}")?,
        }
        write!(
            f,
            ", incarnation {}, opened in {:.1} ms",
            self.incarnation,
            self.took.as_secs_f64() * 1e3
        )?;
        if let (Some((path, offset)), Some(verdict)) = (&self.end, self.verdict) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match verdict {
                Verdict::CleanEnd => write!(f, "\n  {name} ends cleanly at {offset:#x}")?,
                Verdict::Unproven if self.reused_file => write!(
                    f,
                    "\n  {name} ends at {offset:#x}, in a file that was used before: behind it stand bytes of an older segment, and nothing states whether any that are gone were durable (each kill of a log that reuses files leaves this)"
                )?,
                Verdict::Unproven => write!(
                    f,
                    "\n  {name}: unproven tail at {offset:#x}: {} bytes dropped; nothing states that they were durable (an ordinary power cut leaves this)",
                    self.dropped_bytes
                )?,
                Verdict::MarkersMissing => write!(f, "\n  {name}: only markers are missing")?,
                Verdict::Corrupt => write!(f, "\n  {name}: damaged at {offset:#x}")?,
            }
        }
        if self.batches_again > 0 {
            write!(
                f,
                "\n  {} batches were valid and not proven durable: written again",
                self.batches_again
            )?;
        }
        if let Some(index) = self.maybe_lost {
            write!(f, "\n  maybe lost: from index {index} on, until acknowledged")?;
        }
        if !self.faulty.is_empty() {
            write!(
                f,
                "\n  {} entries are faulty, the first is {}",
                self.faulty.len(),
                self.faulty[0].index
            )?;
        }
        if self.harmless_damage > 0 {
            write!(f, "\n  {} damaged batches that no longer count", self.harmless_damage)?;
        }
        for missing in &self.missing_markers {
            let name = missing.file.file_name().unwrap_or_default().to_string_lossy();
            let MissingMarkers { from, to, evidence, .. } = missing;
            write!(f, "\n  {name}: only markers are missing at {from:#x}..{to:#x}: {evidence}")?;
        }
        if !self.scanned.is_empty() {
            write!(f, "\n  index files made again for segments {:?}", self.scanned)?;
        }
        if !self.removed.is_empty() {
            write!(f, "\n  leftovers removed: {}", self.removed.join(", "))?;
        }
        if !self.foreign.is_empty() {
            write!(f, "\n  not of this log, left alone: {}", self.foreign.join(", "))?;
        }
        if let Some(why) = &self.read_only {
            write!(f, "\n  READ ONLY for now: {why}")?;
        }
        Ok(())
    }
}
