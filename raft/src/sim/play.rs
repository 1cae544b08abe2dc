//! One run: a plan, a cluster, clients, faults, and then peace, in which everything must come right.
//!
//! Above: `campaign` and the tests. Below: `stage`, `faults`,
//! `client`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
};

use hardlog::fs::{Dir, sim::Rng};

use super::{
    Micros,
    book::{self, Book, LAST_VALUE, Library, Page},
    client::{Clients, History},
    lock,
    network::{Weather, between},
    operator::Operator,
    plan::{Bug, Kind, Plan},
    stage::Stage,
    watch::{Breach, breach},
};
use crate::{
    core::RoleName,
    message::NodeId,
    sessions::{Request, Sessions},
    trace::{Header, Recording, Tracer},
};

/// Time in which a healthy cluster must come to agree.
const PEACE: Micros = 60_000_000;

/// What is asked of a run besides its seed.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// A bug to put in.
    pub bug: Option<Bug>,
    /// Whether the trace is kept as text.
    pub text: bool,
    /// Whether the trace for tools is kept.
    pub events: bool,
    /// Whether each node's files are kept as they are when the faults end.
    pub disks: bool,
    /// What is broken on purpose besides.
    pub wrong: Option<Wrong>,
}

/// Something that is done wrong outside of the core, to see whether it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Leaders serve reads without asking anybody.
    LocalReads,
    /// Clocks run apart further than the bound of the leases that reads rest on.
    Drift,
    /// Nodes take those whose disk was wiped or put back for what they were.
    Identity,
    /// Clients send commands again that nothing remembers.
    Retries,
}

impl Wrong {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("local-reads", Self::LocalReads),
        ("drift", Self::Drift),
        ("identity", Self::Identity),
        ("retries", Self::Retries),
    ];
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The rule that was broken, if one was.
    pub breach: Option<Breach>,
    /// Digest of everything that happened.
    pub trace: u64,
    /// What clients saw.
    pub history: History,
    /// Sums, to show that something happened.
    pub tally: Tally,
    /// The trace as text, if it was asked for.
    pub lines: Vec<String>,
    /// The trace for tools (see [`crate::trace`]), if it was asked for.
    pub events: Vec<u8>,
    /// The files of each node's disk: after a breach as they are then; as the faults end if asked for.
    pub disks: Disks,
}

/// Of each node the files, by their path within its directory.
pub type Disks = BTreeMap<NodeId, Vec<(String, Vec<u8>)>>;

/// What happened in a run, or in many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries that were committed.
    pub committed: u64,
    /// Writes that clients were told are done.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Terms that had a leader.
    pub terms: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Faults.
    pub faults: u64,
    /// Disks that were damaged beyond use.
    pub retired: u64,
    /// Nodes that end with a snapshot.
    pub snapshots: u64,
    /// Changes of the membership that a leader took.
    pub changes: u64,
    /// Leadership transfers that were begun.
    pub transfers: u64,
    /// Disks that were wiped or put back.
    pub wiped: u64,
    /// Commands of sessions that were sent again.
    pub again: u64,
    /// Runs in which reads rested on leases.
    pub leases: u64,
    /// Virtual time, in milliseconds.
    pub millis: u64,
}

impl Tally {
    /// Adds another's sums.
    pub fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.writes += other.writes;
        self.reads += other.reads;
        self.terms += other.terms;
        self.starts += other.starts;
        self.faults += other.faults;
        self.retired += other.retired;
        self.snapshots += other.snapshots;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.wiped += other.wiped;
        self.again += other.again;
        self.leases += other.leases;
        self.millis += other.millis;
    }
}

type Pages = Arc<Mutex<BTreeMap<NodeId, Arc<Mutex<Page>>>>>;

struct Play {
    stage: Stage,
    plan: Plan,
    clients: Clients,
    operator: Operator,
    pages: Pages,
    library: Arc<Mutex<Library>>,
    tally: Tally,
    disks: Disks,
}

/// Runs the cluster of a seed.
#[must_use]
pub fn run(seed: u64, ask: &Ask) -> Outcome {
    run_into(seed, ask, &mut None)
}

/// The same; what was recorded is in `recording` also if the run panics.
pub(super) fn run_into(seed: u64, ask: &Ask, recording: &mut Option<Recording>) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut plan = Plan::draw(&mut rng, ask.bug);
    if ask.events {
        let nodes = (1..=plan.setting.size).collect();
        let (tracer, kept) = Tracer::to_memory(&Header::of_run("sim", seed, nodes));
        plan.setting.tracer = tracer;
        *recording = Some(kept);
    }
    plan.setting.text = ask.text;
    if let Some(wrong) = ask.wrong {
        plan.go_wrong(wrong);
    }
    let mut play = Play::new(plan, seed, rng.next_u64());
    play.chaos();
    if ask.disks {
        play.disks = files(&play.stage);
    }
    if play.stage.breach.is_none() {
        play.peace();
    }
    let outcome = play.outcome(seed);
    Outcome { events: recording.as_ref().map(Recording::bytes).unwrap_or_default(), ..outcome }
}

impl Play {
    fn new(plan: Plan, seed: u64, stage_seed: u64) -> Self {
        let (pages, library) = (Pages::default(), Arc::<Mutex<Library>>::default());
        let (shelf, shared) = (Arc::clone(&pages), Arc::clone(&library));
        let sessions = plan.sessions;
        let make = Box::new(move |id| -> Box<dyn crate::StateMachine> {
            let page = Arc::<Mutex<Page>>::default();
            lock(&shelf).insert(id, Arc::clone(&page));
            let library = Arc::clone(&shared);
            let book = Book { page, library };
            match sessions {
                Some(limits) => Box::new(Sessions::new(book, limits)),
                None => Box::new(book),
            }
        });
        let mut stage = Stage::new(plan.setting.clone(), stage_seed, make);
        stage.trace.note(0, &[seed], || format!("seed {seed}: {plan:?}"));
        let clients = Clients::new(plan.habits.clone());
        let operator = Operator::new(plan.churn);
        let (tally, disks) = (Tally::default(), Disks::new());
        Self { stage, plan, clients, operator, pages, library, tally, disks }
    }

    /// Faults and clients, for as long as the plan says.
    fn chaos(&mut self) {
        let end = self.plan.length;
        let mut next_fault = self.gap();
        while self.stage.breach.is_none() {
            let next = self.clients.next_at().min(self.operator.next_at).min(next_fault).min(end);
            self.stage.run_until(next);
            self.compare();
            if next >= end {
                break;
            }
            if next >= next_fault {
                if !self.plan.kinds.is_empty() {
                    let kind = self.plan.kinds[self.stage.rng.below(self.plan.kinds.len())];
                    match kind {
                        Kind::Members | Kind::Transfer => {
                            self.operator.wish(kind, &mut self.stage);
                        }
                        other => self.stage.befall(other),
                    }
                    self.tally.faults += 1;
                }
                next_fault = next + self.gap();
            }
            self.operator.act(&mut self.stage);
            let pages = lock(&self.pages).clone();
            self.clients.act(&mut self.stage, &pages);
        }
    }

    fn gap(&mut self) -> Micros {
        between(&mut self.stage.rng, self.plan.gap)
    }

    fn compare(&mut self) {
        if let Some(breach) = lock(&self.library).breach.take() {
            self.stage.judge(Err(breach));
        }
    }

    /// Faults stop: whoever is left must agree, and take a write and a read.
    fn peace(&mut self) {
        if self.plan.core_only {
            self.keep_a_majority();
        }
        self.stage.end_of_faults(Weather::fine());
        let end = self.stage.now() + PEACE;
        let done = Arc::<std::sync::atomic::AtomicU64>::default();
        let mut asked = Micros::MAX;
        while self.stage.breach.is_none() {
            let next = self.stage.now() + 100_000;
            self.stage.run_until(next);
            self.compare();
            self.stage.turn_off_strangers();
            self.stage.retire_the_noticed();
            let tidy = self.plan.core_only || self.operator.tidy(&mut self.stage);
            if tidy && done.load(Ordering::Relaxed) >= 2 && self.agreed() {
                break;
            }
            if next > end {
                let seen = self.describe();
                self.stage.judge(breach(19, seen));
            }
            // Asked again, should the leader have gone meanwhile.
            if asked == Micros::MAX || next - asked > 3_000_000 {
                asked = next;
                self.ask(&done);
            }
        }
        self.clients.finish();
        self.all_is_there();
    }

    /// A random majority, of each configuration in force, stays; the others never come back.
    fn keep_a_majority(&mut self) {
        let mut ids = self.stage.ids();
        self.stage.rng.shuffle(&mut ids);
        for id in ids {
            if self.stage.can_spare(Some(id), None) || !self.stage.is_sound(id) {
                if let Some(seat) = self.stage.seats.get_mut(&id) {
                    seat.stays_down = true;
                }
                self.stage.end(id, super::watch::End::Kill);
            }
        }
    }

    /// A write, and a read after it.
    fn ask(&mut self, done: &Arc<std::sync::atomic::AtomicU64>) {
        let sessions = self.plan.sessions.is_some();
        let Some(leader) = self.stage.leader() else { return };
        let Some(machine) = self.stage.machine(leader) else { return };
        let (wrote, read) = (Arc::clone(done), Arc::clone(done));
        let last = book::encode(0, LAST_VALUE, 0);
        let last = if sessions { Request::Plain(last).encode() } else { last };
        machine.propose(&last, move |result| {
            if result.is_ok() {
                wrote.fetch_max(1, Ordering::Relaxed);
            }
        });
        machine.read(move |result| {
            if result.is_ok() && read.load(Ordering::Relaxed) >= 1 {
                read.fetch_max(2, Ordering::Relaxed);
            }
        });
        self.stage.round_soon(leader);
    }

    /// There is one leader, no change is under way, and all members that are there are equal.
    fn agreed(&self) -> bool {
        let Some(leader) = self.stage.leader() else { return false };
        let seats = &self.stage.seats;
        let Some(leading) = seats.get(&leader).and_then(|seat| seat.machine.as_ref()) else {
            return false;
        };
        let (core, applied) = (leading.core(), leading.applied());
        if core.configurations().len() > 1 || core.membership().is_joint() {
            return false;
        }
        let state = (core.last_id(), core.commit(), applied);
        if state.1 != state.0.index || state.2 != state.0.index {
            return false;
        }
        let service = leading.service();
        for (id, seat) in seats.iter().filter(|(id, _)| core.membership().contains(**id)) {
            match &seat.machine {
                Some(_) if seat.amnesiac => return false, // Nobody noticed yet.
                Some(machine) => {
                    let core = machine.core();
                    let same = (core.last_id(), core.commit(), machine.applied()) == state;
                    let leads = core.role() == RoleName::Leader;
                    if !same || leads != (*id == leader) || machine.service() != service {
                        return false;
                    }
                }
                None if seat.retired || seat.stays_down => {}
                None => return false,
            }
        }
        true
    }

    fn describe(&self) -> String {
        let mut text = format!("no agreement {} s after faults stopped:", PEACE / 1_000_000);
        for (id, seat) in &self.stage.seats {
            text += &match &seat.machine {
                Some(machine) => {
                    let core = machine.core();
                    let first = machine.log().first_log_index();
                    format!(
                        "\n  node {id}{}: {:?} term {} log {first}..={:?} commit {} applied {} {:?} {:?}",
                        if seat.amnesiac { " (which lost its disk)" } else { "" },
                        core.role(),
                        core.term(),
                        core.last_id(),
                        core.commit(),
                        machine.applied(),
                        core.configurations(),
                        core.followers(),
                    )
                }
                None => format!("\n  node {id}: down, retired {}", seat.retired),
            };
        }
        text
    }

    /// Each write that somebody was told is done is in the state machines.
    fn all_is_there(&mut self) {
        let library = Arc::clone(&self.library);
        let library = lock(&library);
        for (index, value) in &self.clients.acked {
            let applied = library.applied.get(index).map(|(value, _)| *value);
            if applied != Some(*value) {
                let what = format!("{value} was done at {index}, where {applied:?} stands");
                self.stage.judge(breach(5, what));
            }
        }
    }

    fn outcome(mut self, seed: u64) -> Outcome {
        let seats = &self.stage.seats;
        let marked = |seat: &&super::stage::Seat| {
            seat.machine.as_ref().is_some_and(|machine| machine.log().snapshot_mark().is_some())
        };
        let tally = Tally {
            committed: self.stage.checks.committed(),
            writes: self.clients.acked.len() as u64,
            reads: self.clients.reads_done,
            terms: self.stage.checks.terms_led() as u64,
            starts: self.stage.starts,
            retired: seats.values().filter(|seat| seat.retired).count() as u64,
            snapshots: seats.values().filter(marked).count() as u64,
            changes: self.operator.changes,
            transfers: self.operator.transfers,
            wiped: seats.values().filter(|seat| seat.amnesiac).count() as u64,
            again: self.clients.again,
            leases: u64::from(self.plan.setting.config.lease_drift_percent.is_some()),
            millis: self.stage.now() / 1000,
            ..self.tally
        };
        let breach = self.stage.breach.clone();
        let disks = if breach.is_some() { files(&self.stage) } else { self.disks };
        Outcome {
            seed,
            breach,
            trace: self.stage.trace.digest(),
            history: std::mem::take(&mut self.clients.history),
            tally,
            lines: self.stage.trace.take_lines(),
            events: Vec::new(),
            disks,
        }
    }
}

/// All files of all disks, as readers see them.
pub(super) fn files(stage: &Stage) -> Disks {
    let mut disks = BTreeMap::new();
    for (id, seat) in &stage.seats {
        let mut files = Vec::new();
        for dir in Dir::ALL {
            for name in seat.disk.names(dir) {
                let bytes = seat.disk.read_file(dir, &name).unwrap_or_default();
                let path = match dir.name() {
                    "" => name,
                    dir => format!("{dir}/{name}"),
                };
                files.push((path, bytes));
            }
        }
        disks.insert(*id, files);
    }
    disks
}
