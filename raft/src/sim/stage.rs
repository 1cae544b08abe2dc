//! A cluster in virtual time: one thread, one queue of events, one seed.
//!
//! ```text
//!   tick · message · sync · round · work of a thread · start      (a time, a node)
//!                 └──▶ Machine ──▶ messages ──▶ Checks ──▶ Network ──▶ queue
//! ```
//! Above: `play`, which brings faults and clients, and the suites. Below: `machine`.
//!
//! A node is a seat with a disk; a process sits in it or does not. Everything that happens to a
//! process is followed by `Stage::after`: has the power gone, has it stopped by itself, do all
//! rules hold, is there a sync to wait for, is there work for its other threads.

mod events;
mod meeting;
mod roster;
mod seat;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hardlog::{
    Options,
    fs::sim::{Model, Rng},
};

use self::events::{Event, Planned, Sent};
pub(super) use self::seat::Seat;
use super::{
    Micros,
    machine::Worker,
    network::{Network, Traffic, Weather, between, chance, is_reply},
    trace::Trace,
    watch::{Breach, Check, Checks, End},
};
use crate::{
    codec::{Bincode, Codec},
    config::Config,
    core::Membership,
    message::{Body, Message, NodeId},
    state_machine::StateMachine,
    trace::{self, Tracer, What},
};

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many nodes it begins with.
    pub size: u64,
    /// How they play Raft.
    pub config: Config,
    /// How their logs work.
    pub options: Options,
    /// Bytes of entries after which a snapshot is taken.
    pub snapshot_every_bytes: u64,
    /// Entries that stay behind a snapshot.
    pub keep_behind: u64,
    /// Slowest and fastest clock, in thousandths of the nominal length of a tick.
    pub rates: (u64, u64),
    /// Whether nodes refuse those whose disk was wiped or put back.
    pub identity_checks: bool,
    /// How the network treats messages.
    pub weather: Weather,
    /// Shortest and longest sync.
    pub sync_time: (Micros, Micros),
    /// Longest delay of a thread before it does what it could, 0 for none.
    pub lag: Micros,
    /// Which combinations of names a power cut may leave.
    pub model: Model,
    /// Time after which a process that stopped by itself is started again.
    pub restart_after: (Micros, Micros),
    /// Whether bytes are counted.
    pub count_bytes: bool,
    /// Whether the trace is kept as text.
    pub text: bool,
    /// Where everything worth seeing is told. Its time must be virtual.
    pub tracer: Tracer,
}

/// Makes the state machine of a node that starts.
pub type Make = Box<dyn FnMut(NodeId) -> Box<dyn StateMachine>>;

/// The cluster.
pub(super) struct Stage {
    pub(super) setting: Setting,
    pub(super) seats: BTreeMap<NodeId, Seat>,
    pub(super) network: Network,
    pub(super) checks: Checks,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) traffic: Traffic,
    /// Processes started.
    pub(super) starts: u64,
    /// Messages sent.
    sent: u64,
    /// Ids of nodes that were never there.
    pub(super) ghosts: u64,
    /// Set once a rule is broken: nothing happens after it.
    pub(super) breach: Option<Breach>,
    make: Make,
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    now: Micros,
    clock: Arc<AtomicU64>,
    codec: Bincode,
}

impl Stage {
    pub(super) fn new(setting: Setting, seed: u64, make: Make) -> Self {
        let mut stage = Self {
            seats: BTreeMap::new(),
            network: Network::new(setting.weather.clone()),
            checks: Checks::new(Membership::of_voters((1..=setting.size).collect())),
            rng: Rng::new(seed),
            trace: Trace::new(setting.text),
            traffic: Traffic::default(),
            starts: 0,
            sent: 0,
            ghosts: 0,
            breach: None,
            make,
            queue: BinaryHeap::new(),
            planned: 0,
            now: 0,
            clock: Arc::default(),
            codec: Bincode::new(u32::MAX.into()),
            setting,
        };
        for _ in 0..stage.setting.size {
            stage.recruit();
        }
        stage
    }

    /// Microseconds since the beginning.
    pub(super) fn now(&self) -> Micros {
        self.now
    }

    /// The time, for whoever is called back.
    pub(super) fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.clock)
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.seats.keys().copied().collect()
    }

    /// Lets everything happen that happens until then.
    pub(super) fn run_until(&mut self, until: Micros) {
        while self.breach.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= until => {}
                _ => break,
            }
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.set_time(next.at);
            self.happen(next.event);
        }
        self.set_time(until);
    }

    fn set_time(&mut self, at: Micros) {
        self.now = self.now.max(at);
        self.clock.store(self.now, Ordering::Relaxed);
        self.setting.tracer.set_time(self.now);
    }

    fn plan(&mut self, at: Micros, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, number: self.planned, event }));
    }

    /// A rule was broken, or not.
    pub(super) fn judge(&mut self, check: Check) {
        if let Err(breach) = check {
            self.tell_breach(&breach);
            let text = breach.to_string();
            self.trace.note(self.now, &[99], || text);
            self.breach.get_or_insert(breach);
        }
    }

    // ---- messages

    /// Messages leave a node: the disk must cover what they promise.
    pub(super) fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let Some(sender) = self.seats.get(&message.from) else { continue };
            let life = sender.life;
            // Of an amnesiac only what others take from it counts.
            if !sender.amnesiac {
                let check = self.checks.leaves(&message);
                self.judge(check);
            }
            self.count(&message);
            self.sent += 1;
            let sent = Sent { number: self.sent, life };
            self.setting.tracer.note(message.from, || trace::sent(sent.number, &message));
            // Connected before it speaks, if the other is there.
            self.are_acquainted((message.from, life), message.to);
            let arrivals = self.network.arrivals(&message, self.now, &mut self.rng);
            if arrivals.iter().all(Option::is_none) {
                self.lost(sent.number, &message, "dropped");
            }
            for at in arrivals.into_iter().flatten() {
                self.plan(at, Event::Deliver(Box::new(message.clone()), sent));
            }
        }
    }

    /// A message does not get to its receiver.
    fn lost(&self, m: u64, message: &Message, why: &'static str) {
        let Message { from, to, .. } = *message;
        let why = if self.network.lets_through(from, to) { why } else { "link cut" };
        self.setting.tracer.note(from, || What::Lost { m, to, why: why.into() });
    }

    fn count(&mut self, message: &Message) {
        if !is_reply(&message.body) {
            *self.traffic.requests.entry(message.to).or_default() += 1;
        }
        self.traffic.snapshots += u64::from(matches!(message.body, Body::Snapshot(_)));
        if self.setting.count_bytes {
            let mut bytes = Vec::new();
            if self.codec.encode(message, &mut bytes).is_ok() {
                self.traffic.bytes += bytes.len() as u64;
            }
        }
    }

    /// A node was told something by an operator.
    pub(super) fn ordered(&mut self, id: NodeId, sent: Vec<Message>) {
        self.notice(id);
        self.send(sent);
        self.round_soon(id);
    }

    // ---- after anything that happened to a process

    fn after(&mut self, id: NodeId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(machine) = &seat.machine else { return };
        if seat.cut_at.is_some_and(|at| machine.ops() >= at) {
            self.end(id, End::PowerCut);
            return;
        }
        let check = match seat.amnesiac {
            false => self.checks.observe(id, machine),
            true => Ok(()),
        };
        let core = machine.core();
        let words = [
            id,
            core.term(),
            core.commit(),
            core.last_id().index,
            core.last_id().term,
            machine.applied(),
            machine.ops(),
            core.role() as u64,
        ];
        let failed = machine.failed().map(ToString::to_string);
        self.trace.note(self.now, &words, || {
            let [_, term, commit, last, last_term, applied, ops, _] = words;
            let role = core.role();
            format!(
                "node {id} {role:?} term {term} last {last}.{last_term} commit {commit} applied {applied} calls {ops}"
            )
        });
        self.judge(check);
        if let Some(why) = failed {
            self.stopped(id, &why);
            return;
        }
        self.plan_sync(id);
        self.plan_work(id);
    }

    /// The process stopped by itself.
    fn stopped(&mut self, id: NodeId, why: &str) {
        self.trace.note(self.now, &[id, 7], || format!("node {id} stops: {why}"));
        let Some(seat) = self.seats.get(&id) else { return };
        if !seat.disk_had_faults() {
            let what = format!("node {id} stopped, and its disk did nothing wrong: {why}");
            return self.judge(super::watch::breach(20, what));
        }
        let how = if chance(&mut self.rng, 500) { End::Kill } else { End::PowerCut };
        self.end(id, how);
    }

    fn plan_sync(&mut self, id: NodeId) {
        let time = between(&mut self.rng, self.setting.sync_time);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let wants = seat.machine.as_ref().is_some_and(super::machine::Machine::wants_sync);
        if wants && !seat.syncing {
            seat.syncing = true;
            let at = (self.now + time * seat.slowness).max(seat.hangs_until);
            let life = seat.life;
            self.plan(at, Event::Sync(id, life));
        }
    }

    fn plan_work(&mut self, id: NodeId) {
        for worker in Worker::ALL {
            let lag = self.setting.lag;
            let Some(seat) = self.seats.get_mut(&id) else { return };
            let due = seat.machine.as_ref().is_some_and(|machine| machine.has_work(worker));
            if due && !seat.working.contains(&worker) {
                seat.working.push(worker);
                let life = seat.life;
                let delay = if lag == 0 { 0 } else { self.rng.next_u64() % lag };
                self.plan(self.now + delay, Event::Work(id, life, worker));
            }
        }
    }

    /// Rule 6, after an input and before the next.
    fn notice(&mut self, id: NodeId) {
        let Some(seat) = self.seats.get(&id).filter(|seat| !seat.amnesiac) else { return };
        let Some(machine) = &seat.machine else { return };
        let check = self.checks.notice(id, machine.core());
        self.judge(check);
    }

    /// The process of a node, if it runs and is not paused.
    pub(super) fn machine(&mut self, id: NodeId) -> Option<&mut super::machine::Machine> {
        self.seats.get_mut(&id).filter(|seat| !seat.paused)?.machine.as_mut()
    }

    /// Who leads the newest term.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let machines =
            self.seats.iter().filter_map(|(id, seat)| Some((id, seat.machine.as_ref()?)));
        let leaders = machines.filter(|(_, machine)| machine.is_leader());
        leaders.max_by_key(|(_, machine)| machine.core().term()).map(|(id, _)| *id)
    }

    /// Makes the state machine of a node.
    fn make(&mut self, id: NodeId) -> Box<dyn StateMachine> {
        (self.make)(id)
    }
}
