//! The window as it counts now: entry by entry, in order, without opening the log.
//!
//! ```text
//!   one quick look ─▶ parts: which segment holds which entries ─▶ Live, Live, Missing, Live, …
//! ```
//!
//! `dump` shows what was written; this shows what it came to: what was truncated, trimmed or written
//! again is left out, and an entry that was refilled has the bytes that refilled it.
//!
//! Above: `diff`, and whoever exports, counts or compares entries. Below: `verify` for the one look,
//! `walk` for the bytes.
//! INVARIANT: indexes rise by one from row to row; what cannot be had is a `Missing` row, never a hole.
//! INVARIANT: memory is one batch, the truncations of one segment, and the list of refills.
//! On a live log it shows the instant of the look: what is written later is not read, and a file that
//! a trim removes meanwhile is missing.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    ops::{ControlFlow, RangeInclusive},
};

use crate::{
    batch::{Section, Sections},
    entry::{EntryId, Index},
    error::{Error, Result},
    fs::{Fs, read_full},
    header::Header,
    inspect::{
        chain::Member,
        finding::{Code, Finding, Severity},
        judge::live_spans,
        report::VerifyReport,
        tally::payload_sums,
        verify::{VerifyOptions, verify_members},
        walk::{BadBody, Event, walk},
    },
    layout::SegmentId,
    recovery::{
        chain::{Opened, open_segment},
        evidence::Place,
    },
    scan::{Frame, HeadAt, Source, head_at},
    segment::segment_path,
    verdict::Verdict,
};

/// Refills remembered; entries behind that many are called missing.
const REFILLS_MAX: usize = 1 << 16;

/// An entry that counts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LiveEntry<'a> {
    /// Which entry.
    pub id: EntryId,
    /// Its segment.
    pub segment: SegmentId,
    /// Offset of its batch: of the one that refilled it, if one did.
    pub offset: u64,
    /// Sequence of that batch.
    pub sequence: u64,
    /// The CRC that the batch states for its bytes.
    pub crc: u32,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Whether they check.
    pub sound: bool,
    /// Whether they came with a refill.
    pub refilled: bool,
}

/// One row of the window.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Live<'a> {
    /// An entry; its bytes may be bad.
    Entry(LiveEntry<'a>),
    /// Entries that cannot be had, first and last, and why if that was met on the way.
    Missing((Index, Index), Option<Finding>),
}

/// Where the entries of one segment count.
#[derive(Debug)]
struct Part {
    header: Header,
    sealed: Option<u64>,
    /// Nothing at or beyond this offset is read.
    end: u64,
    span: (Index, Index),
    /// It drops entries, perhaps some of its own.
    cuts: bool,
}

/// Where a refill stands.
type At = (SegmentId, u64);

/// The window of a log as it was at one look.
#[derive(Debug)]
pub struct Window {
    report: VerifyReport,
    span: Option<(Index, Index)>,
    /// Oldest first.
    parts: Vec<Part>,
    refills: BTreeMap<Index, At>,
}

impl Window {
    /// Looks at the log in `fs`.
    ///
    /// # Errors
    /// `NotALog`; `Io` where the directory cannot be listed. What else is wrong stands in the report.
    pub fn look(fs: &dyn Fs) -> Result<Self> {
        let quick = VerifyOptions::new().quick(true);
        let (report, members) = verify_members(fs, quick, &mut |_| {})?;
        let window = report.summary.window.or_else(|| estimate(&members));
        let spans = live_spans(&members, window);
        let mut refills = BTreeMap::new();
        let parts = members.iter().zip(&spans).rev().filter_map(|(member, span)| {
            for (index, offset) in &member.refills {
                if refills.len() < REFILLS_MAX {
                    refills.insert(*index, (member.header.id, *offset));
                }
            }
            Some(Part::new(member, (*span)?))
        });
        let parts = parts.collect();
        let span = window.filter(|(first, next)| first < next).map(|(a, b)| (a, b - 1));
        Ok(Self { report, span, parts, refills })
    }

    /// The quick look that it rests on.
    #[must_use]
    pub fn report(&self) -> &VerifyReport {
        &self.report
    }

    /// First and last index; None where it is empty. Where damage hides the window it is what the
    /// segments that can be read let one expect.
    #[must_use]
    pub fn span(&self) -> Option<(Index, Index)> {
        self.span
    }

    /// Goes through the entries with these indexes, as far as the window holds them; `each` may end
    /// it early.
    ///
    /// # Errors
    /// `Io` where a file cannot be read; one that is gone is `Missing`.
    pub fn entries(
        &self,
        fs: &dyn Fs,
        indexes: RangeInclusive<Index>,
        each: &mut dyn FnMut(Live<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some((first, last)) = self.span() else { return Ok(()) };
        let (low, high) = (first.max(*indexes.start()), last.min(*indexes.end()));
        if low > high {
            return Ok(());
        }
        let mut show = Show { fs, refills: &self.refills, each, want: low, high, why: None };
        for part in self.parts.iter().filter(|part| part.span.1 >= low && part.span.0 <= high) {
            if show.part(part)?.is_break() {
                return Ok(());
            }
        }
        let _ = show.missing_before(high.saturating_add(1));
        Ok(())
    }
}

impl Part {
    fn new(member: &Member, span: (Index, Index)) -> Self {
        let sealed = member.sealed.map(|sealed| sealed.end);
        let ended = member.tally.as_ref().and_then(|tally| tally.ending).map(|ending| ending.x);
        let end = sealed.or(ended).unwrap_or(u64::MAX);
        Self { header: member.header, sealed, end, span, cuts: member.cut.is_some() }
    }
}

/// The window as far as the segments tell, where the newest one cannot be read.
fn estimate(members: &[Member]) -> Option<(Index, Index)> {
    let states = || members.iter().filter_map(|member| member.begins.as_ref());
    let first = states().map(|state| state.first).max()?;
    let ends = members.iter().filter_map(|member| member.next);
    let next = ends.chain(states().map(|state| state.next)).max()?;
    Some((first, next.max(first)))
}

/// A stretch of a segment from which on nothing lower is dropped: where it begins (offset of the
/// batch, number of the section), and the lowest index that is dropped there or behind.
type Cut = ((u64, usize), Index);

struct Show<'a, 'e> {
    fs: &'a dyn Fs,
    refills: &'a BTreeMap<Index, At>,
    each: &'e mut dyn FnMut(Live<'_>) -> ControlFlow<()>,
    /// The next index to be shown.
    want: Index,
    high: Index,
    /// The last damage that was met.
    why: Option<Finding>,
}

impl Show<'_, '_> {
    fn part(&mut self, part: &Part) -> Result<ControlFlow<()>> {
        let Opened { file, header, len, .. } = match open_segment(self.fs, part.header.id) {
            Ok(opened) if opened.header == part.header => opened,
            // Trimmed since the look, or another file by now.
            Ok(_) => return Ok(ControlFlow::Continue(())),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(ControlFlow::Continue(()));
            }
            Err(e) => return Err(e),
        };
        let path = segment_path(self.fs, header.id);
        let sealed = part.sealed.map(|end| end.min(len));
        let place = Place::new((&*file, &path), &header, len, sealed);
        let cuts = if part.cuts { cuts(place, part.end)? } else { Vec::new() };
        let mut flow = ControlFlow::Continue(());
        walk(place, &mut |event| {
            let (at, bytes, bad) = match &event {
                Event::Batch(at, ..) if at.offset >= part.end => return ControlFlow::Break(()),
                Event::Batch(at, bytes, _) => (*at, *bytes, Vec::new()),
                Event::BadBody(BadBody { at, bytes, known: Some((ids, _)), .. }) => {
                    (*at, *bytes, ids.clone())
                }
                Event::Gap(gap) => {
                    self.why = Some(
                        Finding::new(gap.code, Severity::Error, &path)
                            .at(gap.from, gap.to - gap.from)
                            .judged(Verdict::Corrupt, gap.evidence)
                            .says(gap.detail.clone()),
                    );
                    return ControlFlow::Continue(());
                }
                Event::BadBody(BadBody { at, evidence, .. }) => {
                    self.why = Some(
                        Finding::new(Code::W201, Severity::Error, &path)
                            .at(at.offset, at.end() - at.offset)
                            .judged(Verdict::Corrupt, *evidence),
                    );
                    return ControlFlow::Continue(());
                }
                Event::State(..) | Event::MarkersMissing { .. } => {
                    return ControlFlow::Continue(());
                }
            };
            flow = self.batch(part, (at, bytes), &bad, &cuts);
            flow
        })?;
        Ok(flow)
    }

    fn batch(
        &mut self,
        part: &Part,
        (at, bytes): (&HeadAt, &[u8]),
        bad: &[EntryId],
        cuts: &[Cut],
    ) -> ControlFlow<()> {
        for (number, section) in Sections::of(&at.head, bytes).enumerate() {
            let Ok(Section::Entries(run)) = section else { continue };
            let behind = cuts.partition_point(|(place, _)| *place <= (at.offset, number));
            let dropped_from = cuts.get(behind).map_or(Index::MAX, |(_, from)| *from);
            let from = run.first.index.max(part.span.0).max(self.want);
            let to = run.last().min(part.span.1).min(self.high).min(dropped_from.saturating_sub(1));
            if from > to || dropped_from == 0 {
                continue;
            }
            self.missing_before(from)?;
            for index in from..=to {
                // INVARIANT: a run holds at most 2^32 entries, and `index` is one of them.
                let i = u32::try_from(index - run.first.index).unwrap_or(u32::MAX);
                let (body, crc) = run.payload(i);
                let id = run.id(index);
                let entry = LiveEntry {
                    id,
                    segment: part.header.id,
                    offset: at.offset,
                    sequence: at.head.seq,
                    crc,
                    payload: bytes.get(body).unwrap_or_default(),
                    sound: !bad.contains(&id),
                    refilled: false,
                };
                self.want = index.saturating_add(1);
                self.entry(entry)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(&mut self, entry: LiveEntry<'_>) -> ControlFlow<()> {
        let place = self.refills.get(&entry.id.index);
        if let Some(&at) = place.filter(|at| **at > (entry.segment, entry.offset))
            && let Some(found) = refill(self.fs, at, entry.id)
        {
            let (segment, offset) = at;
            let (payload, crc) = (found.payload.as_slice(), found.crc);
            let (sequence, sound) = (found.sequence, found.sound);
            let entry = LiveEntry {
                segment,
                offset,
                sequence,
                crc,
                payload,
                sound,
                refilled: true,
                ..entry
            };
            return (self.each)(Live::Entry(entry));
        }
        (self.each)(Live::Entry(entry))
    }

    /// Says that everything up to `index` cannot be had, if that is so.
    fn missing_before(&mut self, index: Index) -> ControlFlow<()> {
        let want = self.want;
        if want >= index {
            return ControlFlow::Continue(());
        }
        self.want = index;
        (self.each)(Live::Missing((want, index - 1), self.why.take()))
    }
}

/// Where a segment drops entries that it may have brought itself, in the order of the file; the index
/// of each is the lowest that is dropped there or behind.
fn cuts(place: Place<'_>, end: u64) -> Result<Vec<Cut>> {
    let mut cuts: Vec<Cut> = Vec::new();
    walk(place, &mut |event| {
        let (at, bytes) = match &event {
            Event::Batch(at, ..) if at.offset >= end => return ControlFlow::Break(()),
            Event::Batch(at, bytes, _) => (*at, *bytes),
            Event::BadBody(BadBody { at, bytes, known: Some(_), .. }) => (*at, *bytes),
            _ => return ControlFlow::Continue(()),
        };
        for (number, section) in Sections::of(&at.head, bytes).enumerate() {
            match section {
                Ok(Section::TruncateFrom(from)) => cuts.push(((at.offset, number), from)),
                Ok(Section::Reset(..)) => cuts.push(((at.offset, number), 0)),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    })?;
    let mut lowest = Index::MAX;
    for (_, from) in cuts.iter_mut().rev() {
        lowest = lowest.min(*from);
        *from = lowest;
    }
    Ok(cuts)
}

/// The bytes of a refill.
struct Refilled {
    payload: Vec<u8>,
    crc: u32,
    sequence: u64,
    sound: bool,
}

/// Reads the bytes with which the batch at `at` refills the entry `id`.
fn refill(fs: &dyn Fs, at: At, id: EntryId) -> Option<Refilled> {
    let (segment, offset) = at;
    let Opened { file, header, len, .. } = open_segment(fs, segment).ok()?;
    let path = segment_path(fs, segment);
    let Frame { salt, batch_max, end } = Place::new((&*file, &path), &header, len, None).frame;
    let frame = Frame { salt, batch_max, end };
    let mut source = Source::new(&*file, end);
    let found = head_at(&mut source, &frame, offset).ok()??;
    let mut bytes = vec![0; found.head.len()];
    let got = read_full(&*file, &mut bytes, offset).ok()?;
    bytes.truncate(got);
    let sections = Sections::of(&found.head, &bytes).filter_map(std::result::Result::ok);
    let bodies = sections.filter_map(|section| match section {
        Section::Refill { id: refilled, crc, body } if refilled == id => Some((crc, body)),
        _ => None,
    });
    let (crc, body) = bodies.last()?;
    let payload = bytes.get(body)?.to_vec();
    let sums = payload_sums(&found.head, &bytes, id);
    let sound = sums.is_some_and(|(stored, computed)| stored == computed);
    Some(Refilled { payload, crc, sequence: found.head.seq, sound })
}
