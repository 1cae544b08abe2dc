//! Processes that start and end, and the disks that they leave behind.

use std::{collections::BTreeMap, sync::Arc};

use hardlog::{
    Error as LogError, Log, Options, Ticket,
    fs::sim::{Rng, SimFs},
};

use super::{
    Stage,
    events::{Event, Sent},
};
use crate::{
    error::Error,
    message::{Message, NodeId},
    sim::{
        Micros,
        machine::{Birth, Machine, Worker},
        network::{between, chance},
        watch::{Checks, End, Started, breach},
    },
    trace::What,
};

/// States of a disk after a power cut to choose from.
const IMAGES_MAX: usize = 6;
/// Time until a node that lost its disk looks again whether anybody is there.
const NOBODY_THERE: Micros = 50_000;
/// Ticks that a leader gets to notice that its disk hangs, beyond what it was configured to wait.
const NOTICE_TICKS: u64 = 3;

/// A node's place: its disk, and the process if one runs.
pub(in crate::sim) struct Seat {
    pub(in crate::sim) machine: Option<Machine>,
    pub(in crate::sim) disk: SimFs,
    /// Grows with each start and end, so that what was planned for another process is not for this.
    pub(in crate::sim) life: u64,
    /// Length of its tick: clocks run at different rates.
    pub(in crate::sim) tick: Micros,
    pub(in crate::sim) ticks: u64,
    pub(in crate::sim) paused: bool,
    pub(in crate::sim) late_ticks: u32,
    pub(in crate::sim) backlog: Vec<(Sent, Message)>,
    /// Processes that it shook hands with, and whether they talk to each other since.
    pub(super) met: BTreeMap<(NodeId, u64), bool>,
    pub(in crate::sim) round_planned: bool,
    pub(in crate::sim) round_missed: bool,
    pub(in crate::sim) syncing: bool,
    pub(in crate::sim) working: Vec<Worker>,
    /// The disk answers no sync before then.
    pub(in crate::sim) hangs_until: Micros,
    /// The tick since which the same write has been waiting for its sync, and what is durable.
    hangs_since: Option<(u64, Ticket)>,
    /// Factor of the time that a sync takes.
    pub(in crate::sim) slowness: u64,
    /// The call at which the power goes.
    pub(in crate::sim) cut_at: Option<u64>,
    /// A log was made here, so the next start must find it.
    pub(super) born: bool,
    how_it_ended: End,
    /// Faults were planned for this disk since it was last mended.
    pub(in crate::sim) faulted: bool,
    /// Bytes of it were damaged: it may refuse to open, and then it is out of the game.
    pub(in crate::sim) damaged: bool,
    /// Its disk was wiped or put back: it forgot what it promised.
    pub(in crate::sim) amnesiac: bool,
    /// Somebody noticed that.
    pub(in crate::sim) noticed: bool,
    /// A copy of its disk as it was once.
    pub(in crate::sim) backup: Option<SimFs>,
    /// It began without knowing of any cluster.
    pub(super) joining: bool,
    /// It is out of the game for good.
    pub(in crate::sim) retired: bool,
    /// Nobody starts it again by itself.
    pub(in crate::sim) stays_down: bool,
    /// Its disk was filled by hand.
    pub(in crate::sim) full: bool,
    /// What the last start found, and what else there is to say.
    pub(in crate::sim) verdict: (String, Option<String>),
}

impl Seat {
    pub(super) fn new(disk: SimFs, tick: Micros, joining: bool) -> Self {
        Self {
            machine: None,
            disk,
            life: 0,
            tick,
            ticks: 0,
            paused: false,
            late_ticks: 0,
            backlog: Vec::new(),
            met: BTreeMap::new(),
            round_planned: false,
            round_missed: false,
            syncing: false,
            working: Vec::new(),
            hangs_until: 0,
            hangs_since: None,
            slowness: 1,
            cut_at: None,
            born: false,
            how_it_ended: End::Kill,
            faulted: false,
            damaged: false,
            amnesiac: false,
            noticed: false,
            backup: None,
            joining,
            retired: false,
            stays_down: false,
            full: false,
            verdict: Default::default(),
        }
    }

    pub(super) fn disk_had_faults(&self) -> bool {
        self.faulted || self.damaged
    }

    /// A fault was planned for the disk.
    pub(in crate::sim) fn has_faults(&mut self) {
        self.faulted = true;
        if let Some(machine) = &mut self.machine {
            machine.was_full = true;
        }
    }

    /// What a process had and its successor has not.
    fn vacate(&mut self) -> Option<Machine> {
        self.life += 1;
        self.paused = false;
        self.late_ticks = 0;
        self.backlog.clear();
        self.met.clear();
        self.round_planned = false;
        self.round_missed = false;
        self.syncing = false;
        self.working.clear();
        self.hangs_since = None;
        self.cut_at = None;
        self.machine.take()
    }
}

impl Stage {
    /// A process ends, and is started again after a while.
    pub(in crate::sim) fn end(&mut self, id: NodeId, end: End) {
        let wait = between(&mut self.rng, self.setting.restart_after);
        self.end_for(id, end, wait);
    }

    /// A process ends, and is started again after `wait`.
    pub(in crate::sim) fn end_for(&mut self, id: NodeId, end: End, wait: Micros) {
        self.tell_end(id, end);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if let Some(machine) = seat.vacate() {
            self.checks.ended(id, &machine);
            seat.how_it_ended = end;
            // Whoever waits for it is told that the outcome is unknown.
            drop(machine);
        } else if end == End::PowerCut {
            seat.how_it_ended = end;
        }
        seat.full = false;
        let disk = match end {
            End::Kill => seat.disk.kill_image(),
            End::PowerCut => survivor(&seat.disk, seat.damaged, &self.setting, &mut self.rng),
        };
        disk.set_capacity(None);
        seat.disk = disk;
        seat.faulted = false;
        let (life, now) = (seat.life, self.now);
        let down = seat.stays_down || seat.retired;
        self.trace.note(now, &[id, 9, end as u64], || format!("node {id} ends: {end:?}"));
        if !down {
            self.plan(now + wait, Event::Start(id, life));
        }
    }

    /// A process starts.
    pub(in crate::sim) fn start(&mut self, id: NodeId) {
        let forgot = self.seats.get(&id).filter(|seat| seat.amnesiac && !seat.retired);
        if let Some(life) = forgot.map(|seat| seat.life)
            && self.setting.identity_checks
            && !self.would_be_noticed(id)
        {
            return self.plan(self.now + NOBODY_THERE, Event::Start(id, life));
        }
        let machine = self.make(id);
        let seed = self.rng.next_u64();
        if self.seats.get(&id).is_some_and(|seat| seat.born && !seat.damaged) {
            self.rehearse(id);
        }
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.retired) else { return };
        if seat.born {
            self.setting.tracer.note(0, || What::fault("restart", [id]));
        }
        let voters = if seat.joining { Vec::new() } else { (1..=self.setting.size).collect() };
        seat.life += 1;
        self.starts += 1;
        let shadow = Checks::watch_disk(&seat.disk);
        let started = Machine::start(Birth {
            id,
            voters,
            config: self.setting.config.clone(),
            options: self.setting.options.clone().create_if_missing(!seat.born),
            disk: seat.disk.clone(),
            machine,
            seed,
            snapshot_every_bytes: self.setting.snapshot_every_bytes,
            keep_behind: self.setting.keep_behind,
            voice: self.setting.tracer.of(id),
        });
        match started {
            Ok((machine, _)) if seat.cut_at.is_some_and(|at| machine.ops() >= at) => {
                drop(machine);
                seat.born = true;
                self.end(id, End::PowerCut);
            }
            Ok((mut machine, report)) => {
                machine.was_full = seat.faulted;
                self.trace.note(self.now, &[id, 10], || format!("node {id} starts: {report}"));
                seat.born = true;
                if let What::Recover { verdict, detail, .. } = What::recovered(&report) {
                    seat.verdict = (verdict.into_owned(), detail.map(Into::into));
                }
                let end = seat.how_it_ended;
                let check = match seat.amnesiac {
                    false => self.checks.started(id, &machine, shadow, end),
                    true => Ok(Started::Fine),
                };
                seat.machine = Some(machine);
                let (life, tick) = (seat.life, seat.tick);
                let first = 1 + self.rng.next_u64() % tick;
                self.plan(self.now + first, Event::Tick(id, life));
                self.meet(id);
                match check {
                    Ok(Started::Fine) => self.after(id),
                    Ok(Started::Lost) => self.retire(id, "it lost what it had promised"),
                    Ok(Started::Failed) => self.end(id, End::Kill),
                    Err(breach) => self.judge(Err(breach)),
                }
            }
            Err(error) => self.did_not_start(id, &error),
        }
    }

    fn did_not_start(&mut self, id: NodeId, error: &Error) {
        let text = format!("node {id} does not start: {error}");
        self.trace.note(self.now, &[id, 11], || text.clone());
        self.tell_refused(id, &text);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.verdict = ("refused".to_owned(), Some(text.clone()));
        let power = seat.cut_at.is_some_and(|at| seat.disk.ops() >= at);
        if power {
            return self.end(id, End::PowerCut);
        }
        if seat.damaged {
            return self.retire(id, &text);
        }
        if seat.faulted || matches!(error, Error::Log(LogError::Full { .. })) {
            return self.end(id, End::Kill);
        }
        self.judge(breach(15, text));
    }

    /// The node is out of the game: an operator would replace it by another.
    pub(in crate::sim) fn retire(&mut self, id: NodeId, why: &str) {
        self.trace.note(self.now, &[id, 12], || format!("node {id} is retired: {why}"));
        self.tell_retired(id, why);
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.retired = true;
            drop(seat.vacate());
        }
    }

    /// Recovery is cut off somewhere and run again: it must come to what it comes to at once.
    fn rehearse(&mut self, id: NodeId) {
        if !chance(&mut self.rng, 300) {
            return;
        }
        let Some(seat) = self.seats.get(&id) else { return };
        let options = self.setting.options.clone();
        let Some((expected, calls)) = look(&seat.disk.kill_image(), &options) else { return };
        let again = seat.disk.kill_image();
        again.cut_at(self.rng.next_u64() % calls.max(1));
        drop(look(&again, &options));
        // After a kill the page cache holds what a power cut may still take away.
        let left = if seat.how_it_ended == End::Kill || chance(&mut self.rng, 500) {
            again.kill_image()
        } else {
            survivor(&again, false, &self.setting, &mut self.rng)
        };
        let found = look(&left, &options).map(|(found, _)| found);
        if found.as_ref() != Some(&expected) {
            let what =
                format!("node {id}: {found:?} after a recovery was cut off, else {expected:?}");
            self.judge(breach(16, what));
        }
    }

    /// A leader whose disk hangs must not stay leader.
    pub(super) fn hung_leader(&mut self, id: NodeId) {
        let (now, max) = (self.now, self.setting.config.disk_ticks_max);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let hangs = seat.syncing && seat.hangs_until > now;
        let leads = seat.machine.as_ref().filter(|machine| machine.is_leader());
        let waits = leads.filter(|_| self.checks.waits_for_disk(id));
        let Some(durable) = waits.filter(|_| hangs && max > 0).map(|m| m.log().durable()) else {
            seat.hangs_since = None;
            return;
        };
        // A rotation syncs the old segment, whatever else waits.
        let (since, _) = match seat.hangs_since {
            Some((since, before)) if before == durable => (since, before),
            _ => (seat.ticks, durable),
        };
        seat.hangs_since = Some((since, durable));
        if seat.ticks - since > u64::from(max) + NOTICE_TICKS {
            self.judge(breach(18, format!("node {id} leads on while its disk hangs")));
        }
    }

    /// A node stands still and then goes on as if nothing had been.
    pub(in crate::sim) fn pause(&mut self, id: NodeId, length: Micros) {
        let now = self.now;
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.machine.is_some() && !seat.paused {
            seat.paused = true;
            let life = seat.life;
            self.trace.note(now, &[id, 13, length], || format!("node {id} is paused"));
            self.setting.tracer.note(0, || What::fault("pause", [id]));
            self.plan(now + length, Event::Resume(id, life));
        }
    }
}

/// What a log is found to hold.
type Found = (hardlog::HardState, Option<hardlog::EntryId>, u64, Vec<u64>);

/// Opens a log and says what it holds, and how many calls that took.
fn look(disk: &SimFs, options: &Options) -> Option<(Found, u64)> {
    let (log, _) = Log::open_on(Arc::new(disk.clone()), options.clone()).ok()?;
    let range = log.first_log_index()..log.next_log_index();
    let mut entries = Vec::new();
    for entry in log.entries(range, u64::MAX) {
        let entry = entry.ok()?;
        entries.push(entry.term() ^ (entry.payload.len() as u64) << 32);
    }
    let found = (log.hard_state(), log.last_id(), log.first_log_index(), entries);
    Some((found, disk.ops()))
}

/// One of the states that a power cut leaves. One with a sector that went bad in a failed writeback
/// only where damage is allowed for: such a log may refuse to open.
fn survivor(disk: &SimFs, damage: bool, setting: &super::Setting, rng: &mut Rng) -> SimFs {
    let at = rng.below(IMAGES_MAX);
    let mut images = disk
        .crash_images(setting.model, IMAGES_MAX, rng)
        .filter(|image| damage || image.harmed.is_none());
    let mut last = None;
    for _ in 0..=at {
        match images.next() {
            Some(image) => last = Some(image.fs),
            None => break,
        }
    }
    last.unwrap_or_else(|| disk.kill_image())
}
