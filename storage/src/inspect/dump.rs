//! The log itself, row by row, in the order in which it was written; damage is a row like the others.
//!
//! ```text
//!   oldest segment the log needs ─▶ … ─▶ active segment
//!     Batch, Change…, Entry…, Batch, Damage, Batch, …
//! ```
//!
//! Above: whoever prints it. Below: `walk`, and one quick look that says which segments there are.
//! INVARIANT: memory is that of the walk: one batch. Nothing is collected.
//! It shows what was written, so an entry that a later row truncates is shown too. Whether damage
//! still counts is not its business: `verify` knows that.

mod follow;

use std::ops::{ControlFlow, RangeInclusive};

pub use follow::follow;

use crate::{
    batch::{Head, Section, Sections, SnapshotMark},
    entry::{EntryId, Index, Term},
    error::{Error, Result},
    fs::Fs,
    hard_state::HardState,
    inspect::{
        finding::{Code, Finding, Severity, Trouble},
        report::{Role, SegmentReport, VerifyReport},
        verify::{VerifyOptions, verify},
        walk::{BadBody, Event, Gap, walk},
    },
    layout::SegmentId,
    recovery::{
        chain::{Opened, open_segment},
        evidence::Place,
    },
    scan::HeadAt,
    segment::segment_path,
    state::LogState,
    verdict::Verdict,
};

/// What to show. The default is everything.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DumpOptions {
    /// Only entries with these indexes.
    pub indexes: Option<RangeInclusive<Index>>,
    /// Only entries of this term.
    pub term: Option<Term>,
    /// Only this segment, leftovers too.
    pub segment: Option<SegmentId>,
    /// Only the last so many entries.
    pub tail: Option<u64>,
}

impl DumpOptions {
    /// Whether rows that are no entries are left out.
    fn is_filtered(&self) -> bool {
        self.indexes.is_some() || self.term.is_some() || self.tail.is_some()
    }

    fn shows(&self, id: &EntryId) -> bool {
        self.indexes.as_ref().is_none_or(|indexes| indexes.contains(&id.index))
            && self.term.is_none_or(|term| term == id.term)
    }
}

/// What kind of batch a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// The first of a segment: everything that is not entries.
    State,
    /// It repeats promises and states what is durable.
    Marker,
    /// Any other.
    Batch,
}

impl BatchKind {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Marker => "marker",
            Self::Batch => "batch",
        }
    }
}

/// A batch, before what it holds.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BatchRow {
    /// Which kind.
    pub kind: BatchKind,
    /// Its segment.
    pub segment: SegmentId,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes that it takes.
    pub len: u64,
    /// Its sequence; State and markers carry that of the batch before.
    pub sequence: u64,
    /// The highest sequence it states durable.
    pub durable: u64,
    /// Whether all its bodies check.
    pub sound: bool,
}

/// A change that is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeRow {
    /// Term, vote and commit.
    HardState(HardState),
    /// A metadata slot: its key, whether it is a promise, its length in bytes.
    Meta(u64, bool, usize),
    /// Everything from this index on is gone.
    TruncateFrom(Index),
    /// Everything before this index is gone.
    TrimBefore(Index),
    /// Everything is gone; the log goes on here.
    Reset(Index),
    /// A snapshot is complete.
    SnapshotMark(SnapshotMark),
    /// A faulty entry has its bytes again.
    Refill(EntryId),
    /// The loss that an open reported was taken note of.
    AcknowledgeLoss,
    /// A section that this version may skip.
    Unknown,
}

/// One row of a dump.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Row<'a> {
    /// A batch.
    Batch(BatchRow),
    /// A change inside a batch: its segment, the offset of its batch, and what it is.
    Change(SegmentId, u64, ChangeRow),
    /// An entry.
    Entry(EntryRow<'a>),
    /// A damaged span, a missing file, or what ends the log.
    Damage(Finding),
}

/// An entry and where it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EntryRow<'a> {
    /// Which entry.
    pub id: EntryId,
    /// Its segment.
    pub segment: SegmentId,
    /// Offset of its batch.
    pub offset: u64,
    /// Its bytes as they stand there.
    pub payload: &'a [u8],
    /// Whether they check.
    pub sound: bool,
}

/// Shows the log in `fs`; `each` may end it early. Returns the quick look it began with, with the
/// damage that was met added to its findings (each of those was a row too), up to a limit.
///
/// # Errors
/// `NotALog`; `Io` where the directory cannot be listed. What cannot be read stands in the report.
pub fn dump(
    fs: &dyn Fs,
    options: &DumpOptions,
    each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
) -> Result<VerifyReport> {
    dump_to(fs, options, each).map(|(report, _)| report)
}

/// As [`dump`]; where it stopped in the newest segment, unless `each` ended it.
fn dump_to(
    fs: &dyn Fs,
    options: &DumpOptions,
    each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
) -> Result<(VerifyReport, Option<Position>)> {
    /// Findings kept of a dump.
    const KEPT_MAX: usize = 1000;
    let mut position = None;
    let mut report = verify(fs, VerifyOptions::new().quick(true), &mut |_| {})?;
    let mut options = options.clone();
    if let Some((tail, (_, next))) = options.tail.zip(report.summary.window) {
        let from = next.saturating_sub(tail);
        let (low, high) = options.indexes.map_or((0, Index::MAX), |given| given.into_inner());
        options.indexes = Some(low.max(from)..=high);
    }
    let whole_files = report.findings.iter().filter(|f| is_of_file(f)).cloned();
    let mut waiting: Vec<Finding> = whole_files.collect();
    waiting.reverse();
    let (mut met, mut troubles) = (Vec::new(), Vec::new());
    let mut flow = ControlFlow::Continue(());
    for segment in chosen(&report, &options) {
        while flow.is_continue() && waiting.last().is_some_and(|f| f.file <= segment.file) {
            flow = waiting.pop().map_or(flow, |finding| each(Row::Damage(finding)));
        }
        if flow.is_break() || segment.role == Role::Unreadable {
            continue;
        }
        let live = report.lock.may_be_live();
        let mut show =
            Show { options: &options, segment: segment.id, fs, each, met: &mut met, live };
        match show.segment(segment) {
            Ok((next, stopped)) => (flow, position) = (next, stopped),
            Err(e) => {
                let (file, message) = (segment.file.clone(), e.to_string());
                troubles.push(Trouble::Io { file, message });
            }
        }
        met.truncate(KEPT_MAX);
    }
    while flow.is_continue() {
        let Some(finding) = waiting.pop() else { break };
        flow = each(Row::Damage(finding));
    }
    report.troubles.extend(troubles);
    let known = std::mem::take(&mut report.findings);
    let new = met.into_iter().filter(|finding| !known.iter().any(|old| old.is_same(finding)));
    report.findings = new.collect();
    report.findings.extend(known);
    Ok((report, position.filter(|_| flow.is_continue())))
}

/// Whether it concerns a file of the chain as a whole, so that no walk meets it.
fn is_of_file(finding: &Finding) -> bool {
    let codes = [Code::W301, Code::W302, Code::W303, Code::W304];
    finding.severity == Severity::Error && codes.contains(&finding.code)
}

/// The segments that can hold what is to be shown, oldest first.
fn chosen<'a>(report: &'a VerifyReport, options: &DumpOptions) -> Vec<&'a SegmentReport> {
    if let Some(id) = options.segment {
        return report.segments.iter().filter(|segment| segment.id == id).collect();
    }
    let needed = |segment: &&SegmentReport| segment.role != Role::Leftover;
    let mut rows: Vec<&SegmentReport> = report.segments.iter().filter(needed).collect();
    // An entry that a segment's State does not know of yet lies in it or behind it.
    if let Some(low) = options.indexes.as_ref().map(|indexes| *indexes.start())
        && let Some(at) = rows.iter().rposition(|row| row.begins.is_some_and(|b| b <= low))
    {
        rows.drain(..at);
    }
    rows
}

/// Where to go on: behind the batch of sequence `seq`.
#[derive(Clone, Copy, Debug)]
struct Position {
    segment: SegmentId,
    offset: u64,
    seq: u64,
}

/// Turns the events of one segment into rows.
struct Show<'a, 'e> {
    options: &'a DumpOptions,
    segment: SegmentId,
    fs: &'a dyn Fs,
    each: &'e mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
    met: &'e mut Vec<Finding>,
    live: bool,
}

impl Show<'_, '_> {
    fn segment(&mut self, row: &SegmentReport) -> Result<(ControlFlow<()>, Option<Position>)> {
        let Opened { file, header, len, .. } = match open_segment(self.fs, row.id) {
            // Trimmed since the directory was listed.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok((ControlFlow::Continue(()), None));
            }
            other => other?,
        };
        let path = segment_path(self.fs, row.id);
        let sealed = (row.role == Role::Sealed).then(|| row.end.min(len));
        let place = Place::new((&*file, &path), &header, len, sealed);
        let mut flow = ControlFlow::Continue(());
        let (ending, _) = walk(place, &mut |event| {
            flow = self.event(&path, event);
            flow
        })?;
        let stopped = Position { segment: row.id, offset: ending.x, seq: ending.seq };
        if flow.is_continue() && ending.verdict == Verdict::Unproven {
            let severity = if self.live { Severity::Note } else { Severity::Warning };
            let says = if header.reused && ending.dropped == 0 {
                "the file was used before: behind its end stand bytes of an older segment"
            } else {
                "nothing later states that it was durable"
            };
            let finding = Finding::new(Code::W101, severity, path)
                .at(ending.x, ending.dropped)
                .judged(ending.verdict, ending.evidence)
                .says(says);
            return Ok((self.damage(finding), Some(stopped)));
        }
        Ok((flow, Some(stopped)))
    }

    fn damage(&mut self, finding: Finding) -> ControlFlow<()> {
        self.met.push(finding.clone());
        (self.each)(Row::Damage(finding))
    }

    fn event(&mut self, path: &std::path::Path, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::State(at, state) => {
                self.batch(at)?;
                self.state(at, &state)
            }
            Event::Batch(at, bytes, _) => {
                self.batch(at)?;
                self.sections(at, bytes, &[])
            }
            Event::BadBody(BadBody { at, bytes, known, evidence }) => {
                self.batch(at)?;
                let bad = known.map(|(ids, _)| ids).unwrap_or_default();
                self.sections(at, bytes, &bad)?;
                let ends = bad.first().zip(bad.last());
                let code = if ends.is_some() { Code::W202 } else { Code::W201 };
                let finding = Finding::new(code, Severity::Error, path)
                    .at(at.offset, at.end() - at.offset)
                    .entries(ends.map(|(a, b)| (a.index, b.index)), ends.map(|(a, _)| a.term))
                    .judged(Verdict::Corrupt, evidence)
                    .says(format!("{} bad payloads", bad.len()));
                self.damage(finding)
            }
            Event::Gap(Gap { code, from, to, evidence, detail, .. }) => {
                let finding = Finding::new(code, Severity::Error, path)
                    .at(from, to - from)
                    .judged(Verdict::Corrupt, evidence)
                    .says(detail);
                self.damage(finding)
            }
            Event::MarkersMissing { from, to, evidence } => {
                let finding = Finding::new(Code::W102, Severity::Warning, path)
                    .at(from, to.saturating_sub(from))
                    .judged(Verdict::MarkersMissing, evidence);
                self.damage(finding)
            }
        }
    }

    fn batch(&mut self, at: &HeadAt) -> ControlFlow<()> {
        if self.options.is_filtered() {
            return ControlFlow::Continue(());
        }
        let kind = match (at.state, at.head.is_marker()) {
            (true, _) => BatchKind::State,
            (false, true) => BatchKind::Marker,
            (false, false) => BatchKind::Batch,
        };
        (self.each)(Row::Batch(BatchRow {
            kind,
            segment: self.segment,
            offset: at.offset,
            len: at.end() - at.offset,
            sequence: at.head.seq,
            durable: at.head.durable,
            sound: at.bodies.is_ok(),
        }))
    }

    fn change(&mut self, at: &HeadAt, change: ChangeRow) -> ControlFlow<()> {
        if self.options.is_filtered() {
            return ControlFlow::Continue(());
        }
        (self.each)(Row::Change(self.segment, at.offset, change))
    }

    fn state(&mut self, at: &HeadAt, state: &LogState) -> ControlFlow<()> {
        self.change(at, ChangeRow::HardState(state.hard_state))?;
        match state.mark {
            Some(mark) => self.change(at, ChangeRow::SnapshotMark(mark)),
            None => ControlFlow::Continue(()),
        }
    }

    fn sections(&mut self, at: &HeadAt, bytes: &[u8], bad: &[EntryId]) -> ControlFlow<()> {
        let head: &Head = &at.head;
        for section in Sections::of(head, bytes) {
            let Ok(section) = section else { break };
            let change = match section {
                Section::Entries(run) => {
                    for i in 0..run.count {
                        let id = run.id(run.first.index + Index::from(i));
                        let payload = bytes.get(run.payload(i).0).unwrap_or_default();
                        if self.options.shows(&id) {
                            let sound = !bad.contains(&id);
                            let (segment, offset) = (self.segment, at.offset);
                            let row = EntryRow { id, segment, offset, payload, sound };
                            (self.each)(Row::Entry(row))?;
                        }
                    }
                    continue;
                }
                Section::HardState(hs) => ChangeRow::HardState(hs),
                Section::Meta(slot) => {
                    ChangeRow::Meta(slot.key, slot.class == crate::Class::Promise, slot.body.len())
                }
                Section::TruncateFrom(from) => ChangeRow::TruncateFrom(from),
                Section::TrimBefore(first, _) => ChangeRow::TrimBefore(first),
                Section::Reset(first, _) => ChangeRow::Reset(first),
                Section::SnapshotMark(mark) => ChangeRow::SnapshotMark(mark),
                Section::Refill { id, .. } => ChangeRow::Refill(id),
                Section::AcknowledgeLoss => ChangeRow::AcknowledgeLoss,
                Section::State(_) => continue,
                Section::Unknown => ChangeRow::Unknown,
            };
            self.change(at, change)?;
        }
        ControlFlow::Continue(())
    }
}
