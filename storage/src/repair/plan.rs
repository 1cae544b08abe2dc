//! What a repair would do: from what is wrong and what can be read to steps, loss and digest.
//!
//! Above: `repair`. Below: `inspect`, `salvage`, `replica`. Reads only.
//! Everything that follows from the directory alone is decided here, so that applying decides nothing.

use std::collections::BTreeSet;

use crate::{
    entry::{EntryId, Index},
    error::{Error, Result},
    fs::{Dir, Fs},
    header::Predecessor,
    inspect::{
        Code, Finding, Inventory, Outcome, Severity, Trouble, VerifyOptions, VerifyReport, look,
        verify,
    },
    layout::{SegmentId, index_name, segment_name, snapshot_name},
    options::Options,
    repair::{
        Ask, Loss, Plan, Refusal, RepairError, Step,
        build::SEGMENT_MAX,
        ledger::{Known, Ledger},
        replica::{Healed, Source, heal},
        salvage::{Part, Salvage, salvage},
    },
    snapshot::{SnapshotReader, SnapshotStore},
    state::LogState,
};

/// What applying needs beside the words of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) ours: Salvage,
    pub(crate) theirs: Option<Salvage>,
    /// The new segment; None where opening is all there is to do.
    pub(crate) write: Option<Write>,
    /// A snapshot that is taken from the replica.
    pub(crate) fetch: Option<EntryId>,
    pub(crate) quarantine: Vec<(Dir, String)>,
    pub(crate) remove: Vec<(Dir, String)>,
    /// The newest segment when this was planned.
    pub(crate) newest: Option<SegmentId>,
}

/// The new segment.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) id: SegmentId,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) state: LogState,
    /// What the kept segments hold from here on is dropped.
    pub(crate) truncate: Option<Index>,
    pub(crate) sources: Vec<Source>,
}

/// Plans the repair of the log in `fs`, or the surgery that `ask` names. Takes no lock, writes nothing.
///
/// # Errors
/// `NotALog`; `Io`. A replica that conflicts, or surgery on a damaged log, is refused.
pub fn plan(fs: &dyn Fs, ask: &Ask<'_>) -> Result<Plan, RepairError> {
    plan_for(fs, ask, false)
}

/// As [`plan`]; `anew` writes everything anew, whatever is wrong or not.
pub(crate) fn plan_for(fs: &dyn Fs, ask: &Ask<'_>, anew: bool) -> Result<Plan, RepairError> {
    let report = verify(fs, VerifyOptions::new(), &mut |_| {})?;
    let found = look(fs)?;
    let ours = salvage(fs, &found)?;
    let mut plan = blank(&report, ours.as_ref());
    let surgery = ask.keep_to.is_some() || ask.keep_from.is_some();
    if let Some(why) = no_way(&report, ours.as_ref(), surgery)? {
        plan.hopeless = Some(why);
        plan.seal(&found);
        return Ok(plan);
    }
    let Some(ours) = ours else { return Ok(plan) };
    let as_is = !surgery && !anew;
    if report.outcome() == Outcome::Clean && as_is {
        plan.seal(&found);
        return Ok(plan);
    }
    let by_opening =
        |f: &Finding| f.severity == Severity::Note || matches!(f.code, Code::W103 | Code::W104);
    let (report, found) = (&report, &found);
    let mut planning = Planning { fs, ask, report, found, ours, plan, anew };
    if report.findings.iter().all(by_opening) && as_is {
        return Ok(planning.only_open());
    }
    planning.rewrite()?;
    Ok(planning.plan)
}

fn blank(report: &VerifyReport, ours: Option<&Salvage>) -> Plan {
    let window = ours.map(|ours| (ours.ledger.state.first, ours.ledger.state.next));
    Plan {
        log_id: ours.map(|ours| ours.log_id),
        lock: report.lock.clone(),
        outcome: report.outcome(),
        findings: report.findings.clone(),
        troubles: report.troubles.clone(),
        before: window,
        after: window,
        commit: ours.map_or(0, |ours| ours.commit_seen),
        loss: None,
        trimmed: None,
        unproven: None,
        maybe_lost: ours.and_then(|ours| ours.ledger.state.maybe_lost),
        vows_doubtful: false,
        slots_doubtful: false,
        steps: Vec::new(),
        hopeless: None,
        bytes: 0,
        digest: String::new(),
        work: None,
    }
}

/// Why nothing can be done, if so.
fn no_way(
    report: &VerifyReport,
    ours: Option<&Salvage>,
    surgery: bool,
) -> Result<Option<String>, RepairError> {
    if let Some(trouble) = report.troubles.first() {
        if let Trouble::NewerFormat { file, found, supported } = trouble {
            let (path, found, supported) = (file.clone(), found.clone(), supported.clone());
            return Err(Error::NewerFormat { path, found, supported }.into());
        }
        return Ok(Some(format!("not everything can be read: {trouble}")));
    }
    if ours.is_none() {
        let why = "no segment has a header that can be read: nothing of this log can be told from garbage";
        return Ok(Some(why.to_owned()));
    }
    if surgery && report.count(Severity::Error) > 0 {
        let why = "the log is damaged: repair it first, then cut it";
        return Err(Refusal::Hopeless(why.to_owned()).into());
    }
    Ok(None)
}

struct Planning<'a> {
    fs: &'a dyn Fs,
    ask: &'a Ask<'a>,
    report: &'a VerifyReport,
    found: &'a Inventory,
    ours: Salvage,
    plan: Plan,
    /// No segment is kept.
    anew: bool,
}

impl Planning<'_> {
    fn only_open(mut self) -> Plan {
        self.plan.steps.push(Step::Open);
        self.plan.work = Some(Box::new(Work {
            ours: self.ours,
            theirs: None,
            write: None,
            fetch: None,
            quarantine: Vec::new(),
            remove: Vec::new(),
            newest: self.found.segments.keys().next_back().copied(),
        }));
        self.plan.seal(self.found);
        self.plan
    }

    fn rewrite(&mut self) -> Result<(), RepairError> {
        let theirs = self.theirs()?;
        let ledger = &self.ours.ledger;
        let commit = ledger.state.hard_state.commit;
        let end = ledger.state.next.max(if ledger.lost { 0 } else { commit.saturating_add(1) });
        let whole = ledger.whole_to();
        let healed = match (&theirs, self.ask.replica) {
            (Some(theirs), Some(peer)) => heal((&self.ours, self.fs), (theirs, peer), end)?,
            _ => Healed { end: whole, ..Healed::default() },
        };
        let cut = self.cut(&healed, end)?;
        let first = self.first(cut)?;
        let mut state = self.state((first, cut), &healed, theirs.as_ref());
        let fetch = self.snapshot(&mut state, theirs.as_ref())?;
        if self.plan.hopeless.is_some() {
            self.plan.seal(self.found);
            return Ok(());
        }
        let mut sources = vec![Source { first, last: whole.min(cut) - 1, theirs: false }];
        sources.retain(|source| source.first <= source.last && whole > first);
        sources.extend(healed.sources.iter().filter(|source| source.first < cut).copied());
        for source in &mut sources {
            source.last = source.last.min(cut - 1);
        }
        self.plan.after = Some((first, cut.max(first)));
        self.plan.maybe_lost = state.maybe_lost;
        let write = self.write(state, sources, cut);
        self.finish(write, theirs, fetch);
        Ok(())
    }

    fn theirs(&self) -> Result<Option<Salvage>, RepairError> {
        let Some(peer) = self.ask.replica else { return Ok(None) };
        match salvage(peer, &look(peer)?)? {
            Some(theirs) => Ok(Some(theirs)),
            None => {
                Err(Refusal::Hopeless("the replica has no header that can be read".into()).into())
            }
        }
    }

    /// One past the last entry that is kept, and the loss that comes of it.
    fn cut(&mut self, healed: &Healed, end: Index) -> Result<Index, RepairError> {
        let ledger = &self.ours.ledger;
        let (first, next) = (ledger.state.first, ledger.state.next);
        let mut cut = healed.end.max(first);
        if let Some(to) = self.ask.keep_to {
            if to.saturating_add(1) < first || to >= next {
                let last = next.saturating_sub(1);
                let why = format!("entry {to} is not in the log, which holds {first}..{last}");
                return Err(Refusal::Hopeless(why).into());
            }
            cut = cut.min(to + 1);
        }
        let lost_end = ledger.lost && self.ask.replica.is_none();
        if cut < end || lost_end {
            self.plan.loss = Some(Loss {
                first: cut,
                last: if ledger.lost { None } else { Some(end - 1) },
                complete: held(ledger, cut, Index::MAX),
                committed: self
                    .plan
                    .commit
                    .saturating_add(1)
                    .min(if ledger.lost { Index::MAX } else { end })
                    .saturating_sub(cut),
            });
        }
        Ok(cut)
    }

    /// The first entry that is kept.
    fn first(&mut self, cut: Index) -> Result<Index, RepairError> {
        let ledger = &self.ours.ledger;
        let first = ledger.state.first;
        let Some(from) = self.ask.keep_from else { return Ok(first) };
        let reach = ledger.state.mark.map_or(Index::MAX, |mark| mark.id.index.saturating_add(1));
        let why = if from < first || from > cut {
            format!(
                "entry {from} is not in the log, which holds {first}..{}",
                cut.saturating_sub(1)
            )
        } else if from > reach {
            format!(
                "the newest snapshot ends with entry {}: entries behind it are needed",
                reach - 1
            )
        } else {
            if from > first {
                self.plan.trimmed = Some(Loss {
                    first,
                    last: Some(from - 1),
                    complete: held(ledger, first, from - 1),
                    committed: self.plan.commit.saturating_add(1).min(from).saturating_sub(first),
                });
            }
            return Ok(from);
        };
        Err(Refusal::Hopeless(why).into())
    }

    /// Everything but entries, as it shall be.
    fn state(
        &mut self,
        (first, cut): (Index, Index),
        healed: &Healed,
        theirs: Option<&Salvage>,
    ) -> LogState {
        let ours = &self.ours;
        let mut state = ours.ledger.state.clone();
        if first > state.first {
            state.prev = first.checked_sub(1).and_then(|index| ours.ledger.id(index));
        }
        (state.first, state.next) = (first, cut.max(first));
        let hs = &mut state.hard_state;
        hs.commit = hs.commit.min(state.next.saturating_sub(1));
        let taken =
            |index| healed.sources.iter().any(|s| s.theirs && (s.first..=s.last).contains(&index));
        let last = state.next.checked_sub(1).and_then(|index| match theirs {
            Some(theirs) if taken(index) => theirs.ledger.id(index),
            _ => ours.ledger.id(index),
        });
        let (mut vows, slots) = (ours.vows_doubtful, ours.slots_doubtful);
        if let Some(last) = last.filter(|last| hs.term > 0 && last.term > hs.term) {
            // Who holds an entry of a term has seen that term.
            (hs.term, hs.vote) = (last.term, None);
            vows = true;
        }
        let lost = self.plan.loss.map(|loss| loss.first);
        let unproven = [ours.unproven, healed.unproven].into_iter().flatten().min();
        // A State that is lost may have said that something was.
        let unsaid = (vows || slots).then(|| hs.commit.saturating_add(1).max(first));
        let all = [state.maybe_lost, lost, unproven, unsaid];
        state.maybe_lost = all.into_iter().flatten().min().map(|low| low.max(first));
        self.plan.unproven = unproven;
        (self.plan.vows_doubtful, self.plan.slots_doubtful) = (vows, slots);
        state
    }

    /// The snapshot that the log shall count on; Some where it comes from the replica.
    fn snapshot(
        &mut self,
        state: &mut LogState,
        theirs: Option<&Salvage>,
    ) -> Result<Option<EntryId>, RepairError> {
        let Some(mark) = state.mark else { return Ok(None) };
        let sound = |id: EntryId| {
            self.report
                .snapshots
                .iter()
                .any(|s| s.sound && (s.id.index, s.id.term) == (id.index, id.term))
        };
        if sound(mark.id) {
            return Ok(None);
        }
        if let Some((theirs, peer)) = theirs.zip(self.ask.replica) {
            let name = snapshot_name(mark.id.index, mark.id.term);
            let opened = SnapshotReader::open(peer, theirs.log_id, &name)
                .and_then(|mut reader| reader.verify().map(|()| reader));
            if let Ok(reader) = opened {
                self.plan.steps.push(Step::FetchSnapshot(mark.id, reader.len()));
                self.plan.bytes += reader.len();
                return Ok(Some(reader.id()));
            }
        }
        let older = self.report.snapshots.iter().rev().find(|snapshot| {
            let index = snapshot.id.index;
            snapshot.sound && index < mark.id.index && index.saturating_add(1) >= state.first
        });
        if let Some(older) = older {
            let name = snapshot_name(older.id.index, older.id.term);
            let reader = SnapshotReader::open(self.fs, self.ours.log_id, &name)?;
            state.mark = Some(reader.mark());
            self.plan.steps.push(Step::FallBack(Some(reader.id())));
        } else if state.prev.is_none() && state.first <= 1 {
            state.mark = None;
            self.plan.steps.push(Step::FallBack(None));
        } else {
            self.plan.hopeless = Some(format!(
                "the snapshot of entry {} is lost, and the log begins behind it: without it the state \
                 machine has no beginning, so only a replica can help",
                mark.id.index
            ));
        }
        Ok(None)
    }

    /// The new segment: behind the newest sound segment whose entries are still wanted.
    fn write(&self, mut state: LogState, mut sources: Vec<Source>, cut: Index) -> Write {
        let (first, next) = (state.first, state.next);
        let spare = self.ours.parts.iter().take_while(|part| part.sound && part.sealed.is_some());
        let kept = spare.filter(|part| part.after.next > first && part.after.last.is_some()).last();
        let names = self.found.segments.keys().chain(self.found.indexes.keys());
        let newest = names.max().copied().unwrap_or(0);
        // A number that a lost newest segment may have had is not used again.
        let id = newest.saturating_add(1 + u64::from(self.plan.vows_doubtful));
        let kept = kept
            .map(|part| (part, self.kept_to(part, &sources, cut)))
            .filter(|(_, to)| *to > first && next > first && !self.anew);
        let Some((part, to)) = kept else {
            (state.next, state.last) = (first, None);
            let top = self.ours.parts.last();
            let predecessor = top.map(|top| Predecessor {
                id: top.header.id,
                salt: top.header.salt,
                end: self.ours.x,
                last_seq: self.ours.last_seq,
            });
            return Write { id, predecessor, state, truncate: None, sources };
        };
        (state.next, state.last) = (part.after.next, part.after.last);
        sources.retain(|source| source.last >= to);
        if let Some(source) = sources.first_mut() {
            source.first = source.first.max(to);
        }
        let truncate = (to < part.after.next).then_some(to);
        Write { id, predecessor: part.sealed, state, truncate, sources }
    }

    /// One past the last entry whose bytes are read from `part` and the segments before it.
    fn kept_to(&self, part: &Part, sources: &[Source], cut: Index) -> Index {
        let id = part.header.id;
        let elsewhere = self.ours.ledger.pieces.iter().find(|piece| match piece.known {
            Known::Held { spot, .. } => spot.segment > id,
            Known::Bad { .. } | Known::Missing => true,
        });
        let fetched = sources.iter().find(|source| source.theirs).map(|source| source.first);
        let moved = elsewhere.map_or(cut, |piece| piece.first);
        part.after.next.min(cut).min(moved).min(fetched.unwrap_or(cut))
    }

    fn finish(&mut self, write: Write, theirs: Option<Salvage>, fetch: Option<EntryId>) {
        let kept: BTreeSet<SegmentId> = match (&write.predecessor, write.state.is_empty()) {
            (Some(kept), false) => {
                self.ours.parts.iter().map(|p| p.header.id).filter(|id| *id <= kept.id).collect()
            }
            _ => BTreeSet::new(),
        };
        let chain: BTreeSet<SegmentId> = self.ours.parts.iter().map(|p| p.header.id).collect();
        let oldest = chain.first().copied().unwrap_or(0);
        let gone = |id: &&SegmentId| !kept.contains(*id) && **id >= oldest;
        let mut remove: Vec<(Dir, String)> = Vec::new();
        for &id in self.found.segments.keys().filter(gone) {
            remove.push((Dir::Root, segment_name(id)));
        }
        let indexes = self.found.indexes.keys().filter(gone);
        remove.extend(indexes.map(|&id| (Dir::Root, index_name(id))));
        for bad in self.report.snapshots.iter().filter(|s| !s.sound) {
            let name = snapshot_name(bad.id.index, bad.id.term);
            if self.found.snapshots.contains_key(&(bad.id.index, bad.id.term)) {
                remove.push((Dir::Snapshots, name));
            }
        }
        let dropped = self.plan.loss.is_some();
        let is_bad = |(dir, name): &(Dir, String)| {
            let named = |f: &Finding| f.file_name() == *name && f.severity > Severity::Note;
            let derived = name.ends_with(".idx");
            !derived
                && (dropped || *dir == Dir::Snapshots || self.report.findings.iter().any(named))
        };
        let quarantine: Vec<_> = remove.iter().filter(|file| is_bad(file)).cloned().collect();
        let fetched = fetch.map(|id| snapshot_name(id.index, id.term));
        // What is fetched replaces the bad file by its rename.
        remove.retain(|(dir, name)| *dir != Dir::Snapshots || fetched.as_ref() != Some(name));
        let steps = &mut self.plan.steps;
        let front = quarantine.iter().map(|(_, name)| Step::Quarantine(name.clone()));
        steps.splice(0..0, front);
        let taken = write.sources.iter().filter(|source| source.theirs);
        steps.extend(taken.map(|source| Step::Fetch(source.first, source.last)));
        let ends = write.sources.first().zip(write.sources.last()).map(|(a, b)| (a.first, b.last));
        let after = write.predecessor.filter(|_| !write.state.is_empty()).map(|p| p.id);
        steps.push(Step::Write(write.id, after, ends));
        steps.extend(remove.iter().map(|(_, name)| Step::Remove(name.clone())));
        steps.push(Step::Open);
        self.plan.bytes += self.bytes_of(&write, &kept);
        if self.plan.bytes > SEGMENT_MAX && !self.anew {
            self.plan.hopeless = Some(format!(
                "{} bytes would have to go into one segment: recover the log into a new directory",
                self.plan.bytes
            ));
        }
        let ours = self.ours.clone();
        let write = Some(write);
        let newest = self.found.segments.keys().next_back().copied();
        let work = Work { ours, theirs, write, fetch, quarantine, remove, newest };
        self.plan.work = Some(Box::new(work));
        self.plan.seal(self.found);
    }

    /// Bytes of the new segment, at most: those that the segments it replaces hold, however long
    /// their files are, or of what is fetched.
    fn bytes_of(&self, write: &Write, kept: &BTreeSet<SegmentId>) -> u64 {
        let replaced = self.ours.parts.iter().filter(|part| !kept.contains(&part.header.id));
        let held = replaced.map(|part| part.end);
        let fetched = write.sources.iter().filter(|s| s.theirs).map(|s| s.last - s.first + 1);
        held.sum::<u64>() + fetched.sum::<u64>().saturating_mul(64)
    }
}

/// Entries of `first..=last` that can be read.
fn held(ledger: &Ledger, first: Index, last: Index) -> u64 {
    let held = ledger.pieces.iter().filter(|piece| matches!(piece.known, Known::Held { .. }));
    held.map(|piece| {
        let (low, high) = (piece.first.max(first), piece.last.min(last));
        (high + 1).saturating_sub(low)
    })
    .sum()
}

impl Plan {
    /// Gives the plan the digest of all that it says, and of the files it was made of.
    fn seal(&mut self, found: &Inventory) {
        let mut hash = Fnv::default();
        let Self { log_id, before, after, commit, loss, trimmed, unproven, maybe_lost, .. } = self;
        hash.add(&(log_id, before, after, commit, loss, trimmed, unproven, maybe_lost));
        hash.add(&(self.vows_doubtful, self.slots_doubtful, &self.steps, &self.hopeless));
        hash.add(&(&found.segments, &found.snapshots));
        for finding in &self.findings {
            let Finding { code, offset, len, indexes, detail, .. } = finding;
            hash.add(&(code, finding.file_name(), offset, len, indexes, detail));
        }
        if let Some(work) = &self.work {
            hash.add(&work.theirs.as_ref().map(|theirs| theirs.log_id));
            hash.add(
                &work
                    .write
                    .as_ref()
                    .map(|write| (write.id, write.truncate, &write.sources, &write.state)),
            );
        }
        self.digest = format!("{:016x}", hash.0);
    }
}

/// FNV-1a of what values say of themselves: a name for a plan, not a defence.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, value: &impl std::fmt::Debug) {
        for byte in format!("{value:?};").bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The store of snapshots beside a log that is not open.
pub(crate) fn store(
    fs: &std::sync::Arc<dyn Fs>,
    ours: &Salvage,
    options: &Options,
) -> SnapshotStore {
    SnapshotStore::new(std::sync::Arc::clone(fs), ours.log_id, options)
}
