//! What a whole segment holds, in numbers, with everything that is wrong with it.
//!
//! Above: `verify` puts the tallies of all segments together, from the newest to the oldest. Below:
//! `walk`. Each segment is tallied alone, from its own State, so that many can be read at once.
//! INVARIANT: memory does not follow the length of the file: lists that damage or a strange log could
//! make long are cut at a limit, and what was cut off is counted.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use crate::{
    batch::{Head, Section, Sections},
    entry::{EntryId, Index, Term},
    error::{Evidence, Result},
    index::{Appended, TermRun},
    inspect::{
        finding::{Code, Finding, Severity},
        walk::{BadBody, Ending, Event, Gap, walk},
    },
    meaning::Step,
    recovery::{evidence::Place, outline::Promises},
    state::{Change, LogState},
    verdict::Verdict,
};

/// Findings kept of one segment; the rest is counted.
const FINDINGS_MAX: usize = 1000;
/// Term runs remembered, so that a truncation knows the term before it; older ones are forgotten.
const RUNS_MAX: usize = 1 << 16;
/// Refilled entries remembered.
const REFILLS_MAX: usize = 1 << 16;

/// A bad payload; whether it counts is known only when the newer segments are.
#[derive(Clone, Debug)]
pub(crate) struct BadPayload {
    pub(crate) id: EntryId,
    /// The batch that holds it.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) refill: bool,
    pub(crate) evidence: Evidence,
    /// CRC in the head, and of the bytes.
    pub(crate) sums: (u32, u32),
}

/// The contents of one segment.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) ending: Option<Ending>,
    pub(crate) promises: Promises,
    /// What State says, if it can be read.
    pub(crate) begins: Option<LogState>,
    /// The state after the last batch, as far as damage lets us know.
    pub(crate) now: LogState,
    pub(crate) batches: u64,
    pub(crate) markers: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Lowest and highest index written here.
    pub(crate) indexes: Option<(Index, Index)>,
    /// Lowest and highest term written here.
    pub(crate) terms: Option<(Term, Term)>,
    /// The lowest index from which this segment drops entries of older ones.
    pub(crate) cut: Option<Index>,
    /// Refilled entries and the last batch that holds bytes for each.
    pub(crate) refills: BTreeMap<EntryId, u64>,
    pub(crate) bad: Vec<BadPayload>,
    /// Bad payloads that a later batch of this segment dropped or replaced.
    pub(crate) dead: Vec<BadPayload>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) omitted: u64,
    runs: Vec<TermRun>,
    /// After damage: the next entries may begin anywhere.
    lost: bool,
    /// Findings of gaps that end where the next entries begin.
    open_gap: Option<(usize, Index)>,
}

/// Walks the segment at `place` and adds it up.
///
/// # Errors
/// `Io`.
pub(crate) fn tally(place: Place<'_>) -> Result<Tally> {
    let mut tally = Tally::new();
    let (ending, promises) = walk(place, &mut |event| {
        tally.event(place.path, event);
        ControlFlow::Continue(())
    })?;
    (tally.ending, tally.promises) = (Some(ending), promises);
    Ok(tally)
}

impl Tally {
    fn new() -> Self {
        Self {
            ending: None,
            promises: Promises::default(),
            begins: None,
            now: LogState::default(),
            batches: 0,
            markers: 0,
            entries: 0,
            bytes: 0,
            indexes: None,
            terms: None,
            cut: None,
            refills: BTreeMap::new(),
            bad: Vec::new(),
            dead: Vec::new(),
            findings: Vec::new(),
            omitted: 0,
            runs: Vec::new(),
            lost: true,
            open_gap: None,
        }
    }

    /// Whether damage hides where the entries go on.
    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.omitted += 1;
        }
    }

    fn event(&mut self, path: &Path, event: Event<'_>) {
        match event {
            Event::State(_, state) => {
                self.now = (*state).clone();
                self.begins = Some(*state);
                self.lost = false;
            }
            Event::Batch(at, _, steps) => {
                if at.head.is_marker() {
                    self.markers += 1;
                } else {
                    self.batches += 1;
                    self.replay(path, at.offset, steps);
                }
            }
            Event::BadBody(bad) => self.bad_body(path, bad),
            Event::Gap(gap) => self.gap(path, &gap),
            Event::MarkersMissing { from, to, evidence } => {
                let finding = Finding::new(Code::W102, Severity::Warning, path)
                    .at(from, to.saturating_sub(from))
                    .judged(Verdict::MarkersMissing, evidence);
                self.find(finding);
            }
        }
    }

    fn gap(&mut self, path: &Path, gap: &Gap) {
        let count = gap.next_seq.map_or(0, |next| next.saturating_sub(gap.seq));
        let mut detail = gap.detail.clone();
        if count > 0 {
            let lost = if count == 1 { "batch is" } else { "batches are" };
            detail = format!("{detail}; {count} {lost} lost");
        }
        let finding = Finding::new(gap.code, Severity::Error, path)
            .at(gap.from, gap.to - gap.from)
            .judged(Verdict::Corrupt, gap.evidence)
            .says(detail);
        let known = self.begins.is_some() && !self.lost;
        if known && self.findings.len() < FINDINGS_MAX {
            self.open_gap = Some((self.findings.len(), self.now.next));
        }
        self.find(finding);
        self.lost = true;
    }

    fn bad_body(&mut self, path: &Path, bad: BadBody<'_>) {
        let BadBody { at, bytes, known, evidence } = bad;
        let Some((ids, steps)) = known else {
            let finding = Finding::new(Code::W201, Severity::Error, path)
                .at(at.offset, at.end() - at.offset)
                .judged(Verdict::Corrupt, evidence)
                .says("a body that is no entry's payload does not check");
            self.find(finding);
            self.lost = true;
            return;
        };
        self.batches += u64::from(!at.head.is_marker());
        self.replay(path, at.offset, &steps);
        let refill = steps.iter().any(|step| matches!(step, Step::Refill(_)));
        for id in &ids {
            let sums = payload_sums(&at.head, bytes, *id).unwrap_or_default();
            let (offset, len) = (at.offset, at.end() - at.offset);
            let bad = BadPayload { id: *id, offset, len, refill, evidence, sums };
            if self.bad.len() < FINDINGS_MAX {
                self.bad.push(bad);
            } else {
                self.omitted += 1;
            }
        }
        if ids.is_empty() {
            // Every payload checks: it is the padding, which is zeros and says nothing.
            let finding = Finding::new(Code::W105, Severity::Warning, path)
                .at(at.offset, at.end() - at.offset)
                .judged(Verdict::Corrupt, evidence)
                .says("only the padding is damaged");
            self.find(finding);
        }
    }

    /// Applies what a batch says, and checks that it fits what came before.
    fn replay(&mut self, path: &Path, offset: u64, steps: &[Step]) {
        for step in steps {
            let change = match step {
                Step::Entries(run) => {
                    self.entries(path, offset, run);
                    Change::Appended(run.last())
                }
                Step::Truncate(from) => {
                    self.cut = Some(self.cut.map_or(*from, |cut| cut.min(*from)));
                    self.drop_bad(|id| id.index >= *from);
                    self.runs.truncate(self.runs.partition_point(|run| run.first < *from));
                    let last = from.checked_sub(1).filter(|_| *from > self.now.first);
                    Change::Truncated(*from, last.and_then(|index| self.id(index)))
                }
                Step::Trim(to, prev) => {
                    self.drop_bad(|id| id.index < *to);
                    Change::Trimmed(*to, *prev)
                }
                Step::Reset(to, prev) => {
                    self.cut = Some(0);
                    self.drop_bad(|_| true);
                    self.runs.clear();
                    self.lost = false;
                    Change::Reset(*to, *prev)
                }
                Step::HardState(hs) => Change::HardState(*hs),
                Step::Meta(key, slot) => Change::Meta(*key, slot.clone()),
                Step::Mark(mark) => Change::Mark(*mark),
                Step::Refill(id) => {
                    self.drop_bad(|bad| bad == id);
                    if self.refills.len() < REFILLS_MAX {
                        self.refills.insert(*id, offset);
                    }
                    continue;
                }
                Step::AcknowledgeLoss => Change::LossAcknowledged,
            };
            self.now.apply(&change);
        }
    }

    fn entries(&mut self, path: &Path, offset: u64, run: &Appended) {
        let (first, last) = (run.first, run.last());
        if let Some((at, from)) = self.open_gap.take()
            && first.index > from
            && let Some(finding) = self.findings.get_mut(at)
        {
            finding.indexes = Some((from, first.index - 1));
        }
        if std::mem::take(&mut self.lost) {
            self.now.next = first.index;
            self.now.last = None;
        } else if first.index != self.now.next {
            let finding = Finding::new(Code::W401, Severity::Error, path)
                .at(offset, 0)
                .entries(Some((first.index, last.index)), Some(first.term))
                .says(format!("entry {} where {} was expected", first.index, self.now.next));
            self.find(finding);
        }
        let before = self.now.last_id();
        if let Some(before) = before.filter(|before| before.term > first.term) {
            let finding = Finding::new(Code::W402, Severity::Error, path)
                .at(offset, 0)
                .entries(Some((first.index, last.index)), Some(first.term))
                .says(format!("term {} after term {}", first.term, before.term));
            self.find(finding);
        }
        let (term, tag) = (first.term, first.tag);
        if self.runs.last().is_none_or(|run| (run.term, run.tag) != (term, tag)) {
            if self.runs.len() >= RUNS_MAX {
                self.runs.drain(..RUNS_MAX / 2);
            }
            self.runs.push(TermRun { first: first.index, term, tag });
        }
        self.entries += run.count;
        self.bytes += run.bytes;
        self.indexes = Some(widened(self.indexes, first.index, last.index));
        self.terms = Some(widened(self.terms, term, term));
    }

    /// The id of an entry that this segment brought, or that State names.
    fn id(&self, index: Index) -> Option<EntryId> {
        let at = self.runs.partition_point(|run| run.first <= index).checked_sub(1);
        let begins = self.begins.as_ref().and_then(LogState::last_id);
        at.and_then(|at| self.runs.get(at))
            .map(|run| EntryId { index, term: run.term, tag: run.tag })
            .or_else(|| begins.filter(|id| id.index == index))
    }

    fn drop_bad(&mut self, gone: impl Fn(&EntryId) -> bool) {
        if self.bad.iter().any(|bad| gone(&bad.id)) {
            let (dead, bad) = self.bad.drain(..).partition(|bad| gone(&bad.id));
            self.bad = bad;
            self.dead.extend::<Vec<_>>(dead);
        }
    }
}

fn widened(old: Option<(u64, u64)>, low: u64, high: u64) -> (u64, u64) {
    old.map_or((low, high), |(a, b)| (a.min(low), b.max(high)))
}

/// The CRC that the head states for a payload, and that of its bytes.
pub(crate) fn payload_sums(head: &Head, bytes: &[u8], id: EntryId) -> Option<(u32, u32)> {
    let mut found = None;
    for section in Sections::of(head, bytes) {
        let (body, stored) = match section.ok()? {
            Section::Entries(run) if (run.first.index..=run.last()).contains(&id.index) => {
                run.payload(u32::try_from(id.index - run.first.index).ok()?)
            }
            Section::Refill { id: refilled, crc, body } if refilled == id => (body, crc),
            _ => continue,
        };
        found = Some((stored, crc32fast::hash(bytes.get(body)?)));
    }
    found
}
