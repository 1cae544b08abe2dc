//! Reads one segment to X (or to the P of its successor) and gathers the evidence.
//!
//! Above: `recovery`, `inspect`. Below: `scan`, `verdict`. Reads only.

use std::{collections::BTreeMap, path::Path};

use crate::{
    batch::{Class, Flaw, Head, PAGE, Section, Sections},
    entry::{EntryId, Index},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::File,
    header::{BATCHES_AT, Header},
    index::Appended,
    meaning::{Step, run_of_batch, state_of_batch, steps_of_batch},
    recovery::{
        evidence::{Judged, Place, Suspect},
        items::Items,
    },
    report::MissingMarkers,
    scan::{HeadAt, Scan, Step as Scanned, Stop},
    state::{LogState, Slot},
    verdict::{Row, Verdict},
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
    pub(crate) fn take(&mut self, steps: &[Step]) {
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

    /// Takes what a batch says of promises. True where its marker is due: it changed one, and is no
    /// marker itself.
    pub(crate) fn hear(&mut self, steps: &[Step], marker: bool) -> bool {
        if !steps.iter().any(|s| matches!(s, Step::HardState(_) | Step::Meta(..))) {
            return false;
        }
        let before = self.clone();
        self.take(steps);
        !marker && before != *self
    }

    pub(crate) fn take_state(&mut self, state: &LogState) {
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
    pub(crate) items: Items,
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
    pub(crate) missing_markers: Vec<MissingMarkers>,
}

impl Outline {
    /// Sequence of the last batch before X.
    pub(crate) fn last_seq(&self) -> u64 {
        self.items.last_seq()
    }

    /// Which items are proven durable and end at or before the page of the first that is not:
    /// the index of the last of them, whose end is P. (durability.md, "A batch is proven".)
    pub(crate) fn proven(&self, born_end: u64) -> usize {
        let is_proven =
            |item: &Item| item.end <= born_end || (item.seq <= self.durable && !item.marker);
        // The first item behind the last that is proven; X where that is the very last.
        let (mut unproven, mut before) = (self.x, true);
        for (at, item) in self.items.iter().enumerate() {
            // State always is.
            let proven = at == 0 || is_proven(&item);
            if !proven && before {
                unproven = item.offset;
            } else if proven {
                unproven = self.x;
            }
            before = proven;
        }
        self.items.last_before(unproven / PAGE * PAGE)
    }
}

/// Reads the segment in `file`, whose length is `len`. `sealed` is P of its successor, if any.
///
/// # Errors
/// `Corrupt` where the verdict says so and stepping over is not possible; `Io`.
pub(crate) fn read_segment(
    named: (&dyn File, &Path),
    header: &Header,
    len: u64,
    sealed: Option<u64>,
) -> Result<Outline> {
    let place = Place::new(named, header, len, sealed);
    let mut scan = Scan::new(place.file, place.frame, BATCHES_AT, place.first_seq());
    let mut reading = Reading { place, outline: None, vow: false };
    loop {
        let here = scan.offset;
        let (step, bytes) = scan.next().map_err(|e| place.io(e))?;
        match step {
            Scanned::Batch(at) => reading.batch(at, bytes)?,
            // Its head was written whole, so this is no torn write: a newer version's, or a bug's.
            Scanned::BadBody(at) if at.bodies == Err(Flaw::Meaning) => {
                return Err(reading.broken(at.offset, Reason::Meaning));
            }
            Scanned::BadBody(at) => {
                let bad = bad_entries(&at.head, bytes);
                let steps = steps_of_batch(&at.head, bytes).ok();
                let expected = scan.seq.wrapping_add(1);
                match reading.judge(here, false, expected)? {
                    (Verdict::Corrupt, evidence, _) => {
                        reading.step_over(at, bad.zip(steps), evidence)?;
                        scan.pass(at.end(), at.head.seq);
                    }
                    (Verdict::MarkersMissing, evidence, go_on) => {
                        scan.pass(reading.go_on(here, go_on, evidence)?, scan.seq);
                    }
                    (Verdict::CleanEnd | Verdict::Unproven, ..) => return reading.finish(here),
                }
            }
            Scanned::Stop(Stop { at_end: true, .. })
                if sealed.is_some() && here == place.frame.end =>
            {
                return reading.finish(here);
            }
            Scanned::Stop(stop) => {
                let expected = scan.seq.wrapping_add(1);
                match reading.judge(here, stop.zero_head, expected)? {
                    (Verdict::Corrupt, evidence, _) => return Err(reading.corrupt(here, evidence)),
                    (Verdict::MarkersMissing, evidence, go_on) => {
                        scan.pass(reading.go_on(here, go_on, evidence)?, scan.seq);
                    }
                    (Verdict::CleanEnd | Verdict::Unproven, ..) => return reading.finish(here),
                }
            }
        }
    }
}

struct Reading<'a> {
    place: Place<'a>,
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
        match run_of_batch(&at.head, bytes) {
            Some(run) if !at.head.is_marker() => self.add_run(at, run),
            _ => {
                let steps = steps_of_batch(&at.head, bytes).map_err(meaning)?;
                self.add(at, steps);
            }
        }
        Ok(())
    }

    fn begin(&mut self, at: HeadAt, state: LogState) {
        let mut promises = Promises::default();
        promises.take_state(&state);
        let item =
            Item { offset: at.offset, end: at.end(), seq: at.head.seq, marker: false, steps: None };
        self.vow = true;
        let mut items = Items::default();
        items.push(item);
        self.outline = Some(Outline {
            state,
            items,
            x: at.end(),
            row: None,
            verdict: Verdict::CleanEnd,
            durable: at.head.durable,
            beyond: 0,
            dropped: 0,
            promises,
            bad: Vec::new(),
            missing_markers: Vec::new(),
        });
    }

    /// As [`Self::add`] of a batch that is one run and nothing else: most are.
    fn add_run(&mut self, at: HeadAt, run: Appended) {
        let Some(outline) = &mut self.outline else { return };
        self.vow = false;
        outline.durable = outline.durable.max(at.head.durable);
        outline.items.push(Item {
            offset: at.offset,
            end: at.end(),
            seq: at.head.seq,
            marker: false,
            steps: Some(Steps::Run(run)),
        });
    }

    fn add(&mut self, at: HeadAt, steps: Vec<Step>) {
        let Some(outline) = &mut self.outline else { return };
        let marker = at.head.is_marker();
        self.vow = outline.promises.hear(&steps, marker);
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

    /// Where to go on behind markers that are missing at X.
    fn go_on(&mut self, x: u64, to: Option<u64>, evidence: Evidence) -> Result<u64> {
        let to = to.ok_or_else(|| self.corrupt(x, evidence))?;
        if let Some(outline) = &mut self.outline {
            let file = self.place.path.to_path_buf();
            outline.missing_markers.push(MissingMarkers { file, from: x, to, evidence });
        }
        Ok(to)
    }

    /// The verdict on X, where sequence `seq` was expected, and where to go on if only markers are
    /// missing; fills in what was seen beyond.
    fn judge(
        &mut self,
        x: u64,
        zero_head: bool,
        seq: u64,
    ) -> Result<(Verdict, Evidence, Option<u64>)> {
        let suspect = Suspect { x, zero_head, seq, begun: self.outline.is_some(), vow: self.vow };
        let Judged { row, verdict, evidence, beyond } = self.place.judge(suspect)?;
        if let Some(outline) = &mut self.outline {
            outline.row = Some(row);
            outline.verdict = verdict;
            if matches!(verdict, Verdict::CleanEnd | Verdict::Unproven) {
                outline.durable = outline.durable.max(beyond.durable.map_or(0, |(_, d)| d));
                outline.beyond = beyond.heads;
                outline.dropped = beyond.end.saturating_sub(x);
                outline.promises.take(&beyond.promises);
            }
        }
        Ok((verdict, evidence, beyond.go_on))
    }

    fn finish(self, x: u64) -> Result<Outline> {
        let Some(mut outline) = self.outline else {
            return Err(self.broken(BATCHES_AT, Reason::State));
        };
        outline.x = x;
        Ok(outline)
    }

    fn corrupt(&self, offset: u64, evidence: Evidence) -> Error {
        let reason = if self.outline.is_none() { Reason::State } else { Reason::BatchHead };
        damage(self.place.path, offset, reason, evidence)
    }

    fn broken(&self, offset: u64, reason: Reason) -> Error {
        damage(self.place.path, offset, reason, Evidence::BornEnd(self.place.header.born_end))
    }
}

/// The entries of a batch whose payloads do not check; None where something else is bad.
pub(crate) fn bad_entries(head: &Head, bytes: &[u8]) -> Option<Vec<EntryId>> {
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

#[cfg(test)]
mod tests;
