//! Reads one segment to X (or to the P of its successor) and gathers the evidence.
//!
//! Above: `recovery`, `inspect`. Below: `scan`, `verdict`. Reads only.

use std::{collections::BTreeMap, path::Path};

use crate::{
    batch::{Class, Head, Section, Sections},
    entry::{EntryId, Index},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::File,
    header::{BATCHES_AT, Header},
    index::Appended,
    meaning::{Step, state_of_batch, steps_of_batch},
    scan::{Frame, HeadAt, Scan, Step as Scanned, Stop, search, zeros_to_end},
    state::{LogState, Slot},
    verdict::{Observed, Row, Verdict, judge},
};

/// What a batch does; most hold one run of entries, which needs no list.
#[derive(Clone, Debug)]
pub(crate) enum Steps {
    Run(Appended),
    Many(Vec<Step>),
}

impl Steps {
    fn of(steps: Vec<Step>) -> Self {
        match steps.as_slice() {
            [Step::Entries(run)] => Self::Run(*run),
            _ => Self::Many(steps),
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<Step> {
        match self {
            Self::Run(run) => vec![Step::Entries(*run)],
            Self::Many(steps) => steps.clone(),
        }
    }
}

/// A batch or marker of a segment, without its payloads.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) seq: u64,
    pub(crate) marker: bool,
    /// None for State and markers, whose steps change nothing but promises.
    pub(crate) steps: Option<Steps>,
}

/// The newest promises found: term and vote, and the slots of class 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promises {
    pub(crate) hard: Option<(u64, Option<u64>)>,
    pub(crate) slots: BTreeMap<u64, Slot>,
}

impl Promises {
    fn take(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::HardState(hs) => self.hard = Some((hs.term, hs.vote)),
                Step::Meta(key, slot) if slot.class == Class::Promise => {
                    self.slots.insert(*key, slot.clone());
                }
                _ => {}
            }
        }
    }

    fn take_state(&mut self, state: &LogState) {
        self.hard = Some((state.hard_state.term, state.hard_state.vote));
        let vows = state.slots.iter().filter(|(_, slot)| slot.class == Class::Promise);
        self.slots.extend(vows.map(|(&key, slot)| (key, slot.clone())));
    }

    /// Replaces the promises of `state`.
    pub(crate) fn give(&self, state: &mut LogState) {
        let mut newest = state.clone();
        if let Some((term, vote)) = self.hard {
            (newest.hard_state.term, newest.hard_state.vote) = (term, vote);
        }
        for (&key, slot) in &self.slots {
            newest.apply(&crate::state::Change::Meta(key, slot.clone()));
        }
        state.take_promises(&newest);
    }
}

/// A batch whose head is valid, whose bodies are not, and which was durable.
#[derive(Clone, Debug)]
pub(crate) struct BadBatch {
    pub(crate) offset: u64,
    /// The entries whose payloads do not check.
    pub(crate) entries: Vec<EntryId>,
    pub(crate) evidence: Evidence,
}

/// What is known of a segment after reading it.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    pub(crate) state: LogState,
    /// State first.
    pub(crate) items: Vec<Item>,
    pub(crate) x: u64,
    pub(crate) row: Option<Row>,
    pub(crate) verdict: Verdict,
    /// Highest sequence that any valid head states durable, beyond X too.
    pub(crate) durable: u64,
    /// Valid heads beyond X.
    pub(crate) beyond: u64,
    /// Bytes other than zero from X on, at least: up to the end of the last valid batch there.
    pub(crate) dropped: u64,
    pub(crate) promises: Promises,
    pub(crate) bad: Vec<BadBatch>,
}

impl Outline {
    /// Sequence of the last batch before X.
    pub(crate) fn last_seq(&self) -> u64 {
        self.items.last().map_or(0, |item| item.seq)
    }

    /// Which items are proven durable and end at or before the page of the first that is not:
    /// the index of the last of them, whose end is P. (durability.md, "A batch is proven".)
    pub(crate) fn proven(&self, born_end: u64) -> usize {
        let is_proven =
            |item: &Item| item.end <= born_end || (item.seq <= self.durable && !item.marker);
        let n = self.items.iter().rposition(is_proven).unwrap_or(0) + 1;
        let unproven = self.items.get(n).map_or(self.x, |item| item.offset);
        let floor = unproven / crate::batch::PAGE * crate::batch::PAGE;
        self.items[..n].iter().rposition(|item| item.end <= floor).unwrap_or(0)
    }
}

/// Reads the segment in `file`, whose length is `len`. `sealed` is P of its successor, if any.
///
/// # Errors
/// `Corrupt` where the verdict says so and stepping over is not possible; `Io`.
pub(crate) fn read_segment(
    (file, path): (&dyn File, &Path),
    header: &Header,
    len: u64,
    sealed: Option<u64>,
) -> Result<Outline> {
    let io = |e| Error::io("read", path, e);
    let end = sealed.unwrap_or(len);
    let frame = Frame { salt: header.salt, batch_max: header.batch_max, end };
    let seq = header.predecessor.map_or(0, |p| p.last_seq);
    let mut scan = Scan::new(file, frame, BATCHES_AT, seq);
    let mut reading = Reading { file, path, header, frame, sealed, outline: None, vow: false };
    loop {
        let here = scan.offset;
        let (step, bytes) = scan.next().map_err(io)?;
        match step {
            Scanned::Batch(at) => reading.batch(at, bytes)?,
            Scanned::BadBody(at) => {
                let bad = bad_entries(&at.head, bytes);
                let steps = steps_of_batch(&at.head, bytes).ok();
                let expected = scan.seq.wrapping_add(1);
                match reading.judge(here, false, expected)? {
                    (Verdict::Corrupt, evidence) => {
                        reading.step_over(at, bad.zip(steps), evidence)?;
                        scan.pass(at.end(), at.head.seq);
                    }
                    (Verdict::MarkersMissing, _) => {
                        let go_on = reading.resume(here, expected)?;
                        scan.pass(go_on, scan.seq);
                    }
                    (Verdict::CleanEnd | Verdict::Unproven, _) => return reading.finish(here),
                }
            }
            Scanned::Stop(Stop { at_end: true, .. }) if sealed.is_some() && here == end => {
                return reading.finish(here);
            }
            Scanned::Stop(stop) => {
                let expected = scan.seq.wrapping_add(1);
                match reading.judge(here, stop.zero_head, expected)? {
                    (Verdict::Corrupt, evidence) => return Err(reading.corrupt(here, evidence)),
                    (Verdict::MarkersMissing, _) => {
                        let go_on = reading.resume(here, expected)?;
                        scan.pass(go_on, scan.seq);
                    }
                    (Verdict::CleanEnd | Verdict::Unproven, _) => return reading.finish(here),
                }
            }
        }
    }
}

struct Reading<'a> {
    file: &'a dyn File,
    path: &'a Path,
    header: &'a Header,
    frame: Frame,
    sealed: Option<u64>,
    outline: Option<Outline>,
    /// The last item changed a promise and its marker has not come yet.
    vow: bool,
}

impl Reading<'_> {
    fn batch(&mut self, at: HeadAt, bytes: &[u8]) -> Result<()> {
        let meaning = |_| self.broken(at.offset, Reason::Meaning);
        if self.outline.is_none() {
            let state = state_of_batch(&at.head, bytes).map_err(meaning)?;
            let state = state.ok_or_else(|| self.broken(at.offset, Reason::State))?;
            self.begin(at, state);
            return Ok(());
        }
        if at.state {
            return Err(self.broken(at.offset, Reason::Meaning));
        }
        let steps = steps_of_batch(&at.head, bytes).map_err(meaning)?;
        self.add(at, steps);
        Ok(())
    }

    fn begin(&mut self, at: HeadAt, state: LogState) {
        let mut promises = Promises::default();
        promises.take_state(&state);
        let item =
            Item { offset: at.offset, end: at.end(), seq: at.head.seq, marker: false, steps: None };
        self.vow = true;
        self.outline = Some(Outline {
            state,
            items: vec![item],
            x: at.end(),
            row: None,
            verdict: Verdict::CleanEnd,
            durable: at.head.durable,
            beyond: 0,
            dropped: 0,
            promises,
            bad: Vec::new(),
        });
    }

    fn add(&mut self, at: HeadAt, steps: Vec<Step>) {
        let Some(outline) = &mut self.outline else { return };
        let marker = at.head.is_marker();
        self.vow = false;
        if steps.iter().any(|s| matches!(s, Step::HardState(_) | Step::Meta(..))) {
            let before = outline.promises.clone();
            outline.promises.take(&steps);
            self.vow = !marker && before != outline.promises;
        }
        outline.durable = outline.durable.max(at.head.durable);
        outline.items.push(Item {
            offset: at.offset,
            end: at.end(),
            seq: at.head.seq,
            marker,
            steps: (!marker).then(|| Steps::of(steps)),
        });
    }

    /// Goes on behind a durable batch whose payloads are damaged: its entries are known.
    fn step_over(
        &mut self,
        at: HeadAt,
        known: Option<(Vec<EntryId>, Vec<Step>)>,
        evidence: Evidence,
    ) -> Result<()> {
        let Some((entries, steps)) = known.filter(|_| self.outline.is_some() && !at.state) else {
            return Err(self.corrupt(at.offset, evidence));
        };
        self.add(at, steps);
        if let Some(outline) = &mut self.outline {
            outline.bad.push(BadBatch { offset: at.offset, entries, evidence });
        }
        Ok(())
    }

    /// The verdict on X, where sequence `seq` was expected; fills in what was seen beyond.
    fn judge(&mut self, x: u64, zero_head: bool, seq: u64) -> Result<(Verdict, Evidence)> {
        let zeros =
            zero_head && zeros_to_end(self.file, x, self.frame.end).map_err(|e| self.io(e))?;
        let mut seen = Beyond::default();
        if !zeros {
            seen = self.look_beyond(x, seq)?;
        }
        let born_end = self.header.born_end;
        let observed = Observed {
            before_born_end: x < born_end || self.outline.is_none(),
            before_sealed_end: self.sealed.is_some_and(|end| x < end),
            stated_durable: seen.durable.is_some_and(|(_, durable)| durable >= seq),
            only_markers_missing: seen.go_on.is_some(),
            zeros_to_end: zeros,
            marker_was_due: self.vow,
        };
        let (row, verdict) = judge(&observed);
        let evidence = match row {
            Row::BornEnd => Evidence::BornEnd(born_end),
            Row::SealedEnd => Evidence::SealedEnd(self.frame.end),
            Row::StatedDurable => seen.durable.map_or(Evidence::Chain, |(offset, durable)| {
                Evidence::LaterBatch { offset, durable }
            }),
            Row::Zeros | Row::Otherwise => Evidence::Chain,
        };
        if let Some(outline) = &mut self.outline {
            outline.row = Some(row);
            outline.verdict = verdict;
            if matches!(verdict, Verdict::CleanEnd | Verdict::Unproven) {
                outline.durable = outline.durable.max(seen.durable.map_or(0, |(_, d)| d));
                outline.beyond = seen.heads;
                outline.dropped = seen.end.saturating_sub(x);
                outline.promises.take(&seen.promises);
            }
        }
        Ok((verdict, evidence))
    }

    fn look_beyond(&self, x: u64, seq: u64) -> Result<Beyond> {
        let mut seen = Beyond::default();
        search(self.file, self.frame, x, seq, |at, bytes| seen.head(x, seq, at, bytes))
            .map_err(|e| self.io(e))?;
        Ok(seen)
    }

    /// Where the batches go on behind missing markers.
    fn resume(&self, x: u64, seq: u64) -> Result<u64> {
        let go_on = self.look_beyond(x, seq)?.go_on;
        go_on.ok_or_else(|| self.corrupt(x, Evidence::Chain))
    }

    fn finish(self, x: u64) -> Result<Outline> {
        let Some(mut outline) = self.outline else {
            return Err(self.broken(BATCHES_AT, Reason::State));
        };
        outline.x = x;
        Ok(outline)
    }

    fn io(&self, e: std::io::Error) -> Error {
        Error::io("read", self.path, e)
    }

    fn corrupt(&self, offset: u64, evidence: Evidence) -> Error {
        let reason = if self.outline.is_none() { Reason::State } else { Reason::BatchHead };
        damage(self.path, offset, reason, evidence)
    }

    fn broken(&self, offset: u64, reason: Reason) -> Error {
        damage(self.path, offset, reason, Evidence::BornEnd(self.header.born_end))
    }
}

/// What the search behind X found.
#[derive(Default)]
struct Beyond {
    heads: u64,
    end: u64,
    /// The head that states the highest sequence durable: its offset, and that sequence.
    durable: Option<(u64, u64)>,
    /// Where only markers are missing: the batch with the expected sequence.
    go_on: Option<u64>,
    after_x: bool,
    promises: Vec<Step>,
}

impl Beyond {
    fn head(&mut self, x: u64, seq: u64, at: HeadAt, bytes: &[u8]) {
        self.heads += 1;
        self.end = at.end();
        if self.durable.is_none_or(|(_, durable)| at.head.durable > durable) {
            self.durable = Some((at.offset, at.head.durable));
        }
        if at.offset > x && !std::mem::replace(&mut self.after_x, true) {
            let is_next = !at.head.is_marker() && at.head.seq == seq && at.bodies.is_ok();
            self.go_on = is_next.then_some(at.offset);
        }
        let Ok(steps) = steps_of_batch(&at.head, bytes) else { return };
        let whole = at.bodies.is_ok();
        self.promises.extend(steps.into_iter().filter(|step| match step {
            Step::HardState(_) => true,
            Step::Meta(_, slot) => whole && slot.class == Class::Promise,
            _ => false,
        }));
    }
}

/// The entries of a batch whose payloads do not check; None where something else is bad.
fn bad_entries(head: &Head, bytes: &[u8]) -> Option<Vec<EntryId>> {
    let mut bad = Vec::new();
    let good = |body: std::ops::Range<usize>, crc| {
        bytes.get(body).is_some_and(|body| crc32fast::hash(body) == crc)
    };
    for section in Sections::of(head, bytes) {
        match section.ok()? {
            Section::Entries(run) => {
                let wrong = (0..run.count).filter(|&i| {
                    let (body, crc) = run.payload(i);
                    !good(body, crc)
                });
                bad.extend(wrong.map(|i| run.id(run.first.index + Index::from(i))));
            }
            Section::Refill { id, crc, body } if !good(body.clone(), crc) => bad.push(id),
            Section::Meta(slot) if !good(slot.body.clone(), slot.crc) => return None,
            Section::State(_) => return None,
            _ => {}
        }
    }
    Some(bad)
}

/// Damage of which no index is known.
pub(crate) fn damage(path: &Path, offset: u64, reason: Reason, evidence: Evidence) -> Error {
    Error::Corrupt(Box::new(Damage {
        file: path.to_path_buf(),
        offset,
        indexes: None,
        reason,
        evidence,
    }))
}
