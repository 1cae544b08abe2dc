//! What a batch means, apart from its bytes: the same steps from the caller's ops and from a file.
//!
//! [`plan`] says what the state will be, or why the batch does not fit, before a byte is written;
//! [`place`] then records where its entries lie. Recovery runs the very same two, so the live log
//! and a recovered one cannot disagree about what a batch means. Pure but for the map it fills.

use bytes::Bytes;

use crate::{
    batch::{
        Flaw, Head, META_LEN_MAX, META_SLOTS_MAX, Op, Section, Sections, SlotAt, SnapshotMark,
    },
    entry::{EntryId, INDEX_MAX, Index},
    error::{Error, Misfit, Result},
    hard_state::HardState,
    index::{Appended, Map},
    state::{Change, LogState, Slot},
};

/// One change that a batch makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Entries(Appended),
    Truncate(Index),
    Trim(Index, Option<EntryId>),
    Reset(Index, Option<EntryId>),
    HardState(HardState),
    Meta(u64, Slot),
    Mark(SnapshotMark),
    Refill(EntryId),
    AcknowledgeLoss,
}

/// The steps of a caller's ops.
pub(crate) fn steps_of_ops(ops: &[Op<'_>]) -> Vec<Step> {
    let mut steps = Vec::with_capacity(ops.len());
    for op in ops {
        match op {
            Op::Entries(entries) => {
                let runs = entries.chunk_by(|a, b| {
                    (a.id.term, a.id.tag, a.id.index.wrapping_add(1))
                        == (b.id.term, b.id.tag, b.id.index)
                });
                steps.extend(runs.map(|run| {
                    Step::Entries(Appended {
                        first: run[0].id,
                        count: run.len() as u64,
                        bytes: run.iter().map(|entry| entry.payload.len() as u64).sum(),
                    })
                }));
            }
            Op::HardState(hs) => steps.push(Step::HardState(*hs)),
            Op::Meta { key, class, value } => {
                steps.push(Step::Meta(*key, Slot { class: *class, value: value.clone() }));
            }
            Op::TruncateFrom(from) => steps.push(Step::Truncate(*from)),
            Op::TrimBefore { first, prev } => steps.push(Step::Trim(*first, *prev)),
            Op::Reset { first, prev } => steps.push(Step::Reset(*first, *prev)),
            Op::SnapshotMark(mark) => steps.push(Step::Mark(*mark)),
            Op::Refill(entry) => steps.push(Step::Refill(entry.id)),
            Op::AcknowledgeLoss => steps.push(Step::AcknowledgeLoss),
        }
    }
    steps
}

/// The steps of a batch in a file; `bytes` is the whole batch, checked. State yields none.
///
/// # Errors
/// `Flaw::Meaning` where the sections say what no writer writes.
pub(crate) fn steps_of_batch(head: &Head, bytes: &[u8]) -> Result<Vec<Step>, Flaw> {
    let mut steps = Vec::new();
    for section in Sections::of(head, bytes) {
        match section? {
            Section::Entries(run) => steps.push(Step::Entries(Appended {
                first: run.first,
                count: u64::from(run.count),
                bytes: run.payload_bytes(),
            })),
            Section::HardState(hs) => steps.push(Step::HardState(hs)),
            Section::Meta(slot) => steps.push(Step::Meta(slot.key, slot_value(&slot, bytes)?)),
            Section::TruncateFrom(from) => steps.push(Step::Truncate(from)),
            Section::TrimBefore(first, prev) => steps.push(Step::Trim(first, prev)),
            Section::Reset(first, prev) => steps.push(Step::Reset(first, prev)),
            Section::SnapshotMark(mark) => steps.push(Step::Mark(mark)),
            Section::Refill { id, .. } => steps.push(Step::Refill(id)),
            Section::AcknowledgeLoss => steps.push(Step::AcknowledgeLoss),
            Section::State(_) | Section::Unknown => {}
        }
    }
    Ok(steps)
}

/// The run of entries in `bytes`, as for [`steps_of_batch`], if the batch is nothing else.
pub(crate) fn run_of_batch(head: &Head, bytes: &[u8]) -> Option<Appended> {
    let mut sections = Sections::of(head, bytes);
    let Some(Ok(Section::Entries(run))) = sections.next() else { return None };
    let (first, count) = (run.first, u64::from(run.count));
    sections.next().is_none().then(|| Appended { first, count, bytes: run.payload_bytes() })
}

/// The state that a State batch holds; None if its first section is none.
///
/// # Errors
/// `Flaw::Meaning` as above.
pub(crate) fn state_of_batch(head: &Head, bytes: &[u8]) -> Result<Option<LogState>, Flaw> {
    let Some(Section::State(said)) = Sections::of(head, bytes).next().transpose()? else {
        return Ok(None);
    };
    let mut state = LogState {
        first: said.first,
        next: said.next,
        prev: said.prev,
        last: said.last,
        hard_state: said.hard_state,
        mark: said.mark,
        maybe_lost: said.maybe_lost,
        ..LogState::default()
    };
    for slot in &said.slots {
        state.apply(&Change::Meta(slot.key, slot_value(slot, bytes)?));
    }
    Ok(Some(state))
}

fn slot_value(slot: &SlotAt, bytes: &[u8]) -> Result<Slot, Flaw> {
    let value = bytes.get(slot.body.clone()).ok_or(Flaw::Meaning)?;
    Ok(Slot { class: slot.class, value: Bytes::copy_from_slice(value) })
}

/// What `steps` make of `state`. `ids` tells the id of an entry in the window of `state`.
///
/// `strict` adds the rules that only a caller can break (they hold for every batch on disk).
///
/// # Errors
/// The first step that does not fit.
pub(crate) fn plan(
    state: &LogState,
    steps: &[Step],
    strict: bool,
    ids: impl Fn(Index) -> Option<EntryId>,
) -> Result<LogState> {
    let mut planner = Planner { state: state.clone(), strict, brought: Vec::new(), ids };
    for step in steps {
        planner.step(step)?;
    }
    Ok(planner.state)
}

struct Planner<F> {
    state: LogState,
    strict: bool,
    /// Runs of entries that this batch brought, which `ids` does not know yet.
    brought: Vec<Appended>,
    ids: F,
}

impl<F: Fn(Index) -> Option<EntryId>> Planner<F> {
    fn step(&mut self, step: &Step) -> Result<()> {
        let change = match step {
            Step::Entries(run) => self.entries(run)?,
            Step::Truncate(from) => self.truncate(*from)?,
            Step::Trim(first, prev) => self.trim(*first, *prev)?,
            Step::Reset(first, prev) => self.reset(*first, *prev)?,
            Step::HardState(hs) => self.hard_state(*hs)?,
            Step::Meta(key, slot) => self.meta(*key, slot)?,
            Step::Mark(mark) => Change::Mark(*mark),
            Step::Refill(id) => return self.refill(id),
            Step::AcknowledgeLoss => Change::LossAcknowledged,
        };
        self.state.apply(&change);
        Ok(())
    }

    fn id(&self, index: Index) -> Option<EntryId> {
        let own = self.brought.iter().rev().find(|run| run.first.index <= index);
        own.map(|run| EntryId { index, ..run.first }).or_else(|| (self.ids)(index))
    }

    fn entries(&mut self, run: &Appended) -> Result<Change> {
        goes_on(&self.state, run)?;
        let before = self.state.last_term();
        if self.strict && run.first.term < before {
            return misfit(Misfit::TermWentBack { before, found: run.first.term });
        }
        self.brought.push(*run);
        Ok(Change::Appended(run.last()))
    }

    fn truncate(&mut self, from: Index) -> Result<Change> {
        let LogState { first, next, .. } = self.state;
        if !(first..=next).contains(&from) {
            return misfit(Misfit::OutsideWindow { index: from, first, next });
        }
        let commit = self.state.hard_state.commit;
        if self.strict && commit != 0 && from <= commit && from < next {
            return misfit(Misfit::Committed { from, commit });
        }
        if from == next {
            return Ok(Change::Truncated(from, self.state.last));
        }
        self.brought.retain(|run| run.first.index < from);
        let last = if from > first { self.id(from - 1) } else { None };
        Ok(Change::Truncated(from, last))
    }

    fn trim(&self, to: Index, prev: Option<EntryId>) -> Result<Change> {
        let LogState { first, next, .. } = self.state;
        if to < first {
            return misfit(Misfit::OutsideWindow { index: to, first, next });
        }
        let held = self.id_before(to);
        let follows = |id: EntryId| id.index.checked_add(1) == Some(to);
        let contradicts = |id| held.is_some_and(|held| held != id);
        if self.strict && prev.is_some_and(|id| !follows(id) || contradicts(id)) {
            return misfit(Misfit::BadPrevious);
        }
        Ok(Change::Trimmed(to, prev.or(held)))
    }

    /// Id of the entry just before `to`, as far as the window tells.
    fn id_before(&self, to: Index) -> Option<EntryId> {
        let LogState { first, next, .. } = self.state;
        if to == first {
            self.state.prev
        } else if to <= next {
            self.id(to - 1)
        } else {
            None
        }
    }

    fn reset(&mut self, first: Index, prev: Option<EntryId>) -> Result<Change> {
        if prev.is_some_and(|id| id.index.checked_add(1) != Some(first)) {
            return misfit(Misfit::BadPrevious);
        }
        self.brought.clear();
        Ok(Change::Reset(first, prev))
    }

    fn hard_state(&self, next: HardState) -> Result<Change> {
        if self.strict {
            let now = &self.state.hard_state;
            now.check_change(&next, self.state.next).map_err(Error::HardState)?;
        }
        Ok(Change::HardState(next))
    }

    fn meta(&self, key: u64, slot: &Slot) -> Result<Change> {
        let slots = &self.state.slots;
        let full = slots.len() >= META_SLOTS_MAX && !slots.contains_key(&key);
        if full || slot.value.len() > META_LEN_MAX {
            return misfit(Misfit::Slots);
        }
        if slots.get(&key).is_some_and(|old| old.class != slot.class) {
            return misfit(Misfit::SlotClass(key));
        }
        Ok(Change::Meta(key, slot.clone()))
    }

    fn refill(&self, id: &EntryId) -> Result<()> {
        let inside = (self.state.first..self.state.next).contains(&id.index);
        if inside && self.id(id.index) == Some(*id) {
            return Ok(());
        }
        misfit(Misfit::NotFaulty(id.index))
    }
}

/// Whether the entries of `run` may stand behind those of `state`.
fn goes_on(state: &LogState, run: &Appended) -> Result<()> {
    let (found, expected) = (run.first.index, state.next);
    if found != expected {
        return misfit(Misfit::Gap { found, expected });
    }
    if INDEX_MAX.checked_sub(found).is_none_or(|room| room < run.count - 1) {
        return misfit(Misfit::IndexSpace);
    }
    Ok(())
}

/// [`plan`], as for what stands on disk, and [`place`] of a batch at `offset` that is one run of
/// entries: recovery meets some hundred thousand of them.
///
/// # Errors
/// As [`plan`]; nothing was changed then.
pub(crate) fn append(
    state: &mut LogState,
    map: &mut Map,
    run: &Appended,
    offset: u64,
) -> Result<()> {
    goes_on(state, run)?;
    map.append(run, offset);
    state.apply(&Change::Appended(run.last()));
    Ok(())
}

fn misfit<T>(misfit: Misfit) -> Result<T> {
    Err(Error::Invalid(misfit))
}

/// Fills in the ids that trims carry to disk, where the caller left them out.
pub(crate) fn resolve_trims(
    ops: &mut [Op<'_>],
    state: &LogState,
    ids: impl Fn(Index) -> Option<EntryId>,
) -> Result<()> {
    let steps = steps_of_ops(ops);
    // A step is not an op (entries fall into runs), so each trim is planned from the start.
    let trims = steps.iter().enumerate().filter(|(_, s)| matches!(s, Step::Trim(..)));
    let mut prevs = Vec::new();
    for (at, _) in trims {
        prevs.push(plan(state, &steps[..=at], true, &ids)?.prev);
    }
    let mut prevs = prevs.into_iter();
    for op in ops {
        if let Op::TrimBefore { prev, .. } = op {
            *prev = prevs.next().flatten();
        }
    }
    Ok(())
}

/// Records where the entries of a batch lie that stands at `offset` of the active segment.
/// `before` is the state before the batch; [`plan`] has accepted the steps.
pub(crate) fn place(map: &mut Map, before: &LogState, steps: &[Step], offset: u64) {
    let (mut first, mut next) = (before.first, before.next);
    for step in steps {
        match step {
            Step::Entries(run) => {
                map.append(run, offset);
                next = run.last().index + 1;
            }
            Step::Truncate(from) if *from < next => {
                map.truncate(*from);
                next = *from;
            }
            Step::Trim(to, _) if *to >= next => {
                map.trim_all(*to);
                (first, next) = (*to, *to);
            }
            Step::Trim(to, _) if *to > first => {
                map.trim(*to);
                first = *to;
            }
            Step::Reset(to, _) => {
                map.reset();
                (first, next) = (*to, *to);
            }
            Step::Refill(id) => map.refill(id.index, offset),
            Step::Truncate(_)
            | Step::Trim(..)
            | Step::HardState(_)
            | Step::Meta(..)
            | Step::Mark(_)
            | Step::AcknowledgeLoss => {}
        }
    }
}
