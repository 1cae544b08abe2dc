//! A cluster whose machines have simulated disks. Nothing happens unless a test makes it happen.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Instant,
};

use bytes::Bytes;
use hardlog::{
    Index, Log, Options, Term,
    fs::sim::{Model, Rng, SimFs},
};

use super::super::{Driver, Output, Parts, orders::Order};
use crate::{
    Command, Config, Error, FrozenSnapshot, ProposeError, RoleName, StateMachine,
    applier::{self, Applier, Photographer, Picture},
    boot::Boot,
    call::Call,
    core::{Change, Core, Identity, Membership},
    courier::Courier,
    identity,
    inbox::Inbox,
    message::{Message, NodeId},
    status::{Board, Status},
    trace::Tracer,
    view::View,
    work::Report,
};

/// What was applied anywhere, by index. The same index never gets another command.
pub(super) type History = Arc<Mutex<BTreeMap<Index, (Term, String)>>>;

/// A state machine that compares itself with the history.
pub(super) struct Witness {
    history: History,
    state: Vec<String>,
}

impl StateMachine for Witness {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut history = self.history.lock().unwrap();
        for command in commands {
            let text = String::from_utf8(command.data.to_vec()).unwrap();
            let applied = (command.term, text.clone());
            let known = history.entry(command.index).or_insert_with(|| applied.clone());
            assert_eq!(*known, applied, "another command was applied at {}", command.index);
            self.state.push(text);
        }
        commands.iter().map(|command| command.data.clone()).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(self.state.join("\n")))
    }

    fn restore(&mut self, from: &mut dyn Read) -> std::io::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        self.state = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}

struct Frozen(String);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> std::io::Result<()> {
        to.write_all(self.0.as_bytes())
    }
}

type Views = Receiver<Picture>;

/// One node without threads.
pub(super) struct Machine {
    pub(super) disk: SimFs,
    pub(super) driver: Driver,
    applier: Applier<Witness>,
    courier: Courier,
    inbox: Arc<Inbox>,
    views: Views,
    busy: Arc<AtomicBool>,
    /// Why it stopped.
    pub(super) failed: Option<Error>,
}

pub(super) struct Rig {
    pub(super) config: Config,
    pub(super) machines: BTreeMap<NodeId, Machine>,
    pub(super) wire: Vec<Message>,
    pub(super) cut: Vec<NodeId>,
    pub(super) history: History,
    /// Commands whose caller was told that they are done.
    pub(super) done: Arc<Mutex<Vec<String>>>,
    pub(super) refused: Arc<Mutex<Vec<ProposeError>>>,
    pub(super) rng: Rng,
    snapshot_every_bytes: u64,
    pub(super) segment_size: u64,
    size: u64,
    boots: u64,
}

impl Rig {
    pub(super) fn new(size: u64, seed: u64, snapshot_every_bytes: u64) -> Self {
        let mut rig = Self {
            config: Config { snapshot_chunk_bytes: 64, ..Config::production() },
            machines: BTreeMap::new(),
            wire: Vec::new(),
            cut: Vec::new(),
            history: History::default(),
            done: Arc::default(),
            refused: Arc::default(),
            rng: Rng::new(seed),
            snapshot_every_bytes,
            segment_size: if snapshot_every_bytes > 1 << 20 { 1 << 20 } else { 64 << 10 },
            size,
            boots: seed,
        };
        for id in 1..=size {
            rig.boot(id, SimFs::new(seed * 100 + id));
        }
        rig
    }

    pub(super) fn boot(&mut self, id: NodeId, disk: SimFs) {
        self.boots += 1;
        let options = Options::new()
            .background(false)
            .segment_size(self.segment_size)
            .snapshot_chunk(4096)
            .create_if_missing(true);
        let (mut log, _) = Log::open_on(Arc::new(disk.clone()), options).expect("a log");
        identity::establish(&mut log, id, 7).expect("its own log");
        let first = Membership::of_voters((1..=self.size).collect());
        let mut witness = Witness { history: Arc::clone(&self.history), state: Vec::new() };
        let boot = Boot::find(&mut witness, &mut log, &first).expect("a snapshot, if need be");
        let applied = boot.applied;
        let inbox = Arc::new(Inbox::new(1 << 30));
        let installed = Arc::default();
        let (views_sender, views) = channel();
        let busy: Arc<AtomicBool> = Arc::default();
        let applier = Applier {
            machine: witness,
            reader: log.reader(),
            store: log.snapshots(),
            board: Arc::new(Board::new(status(id, applied))),
            inbox: Arc::clone(&inbox),
            installed: Arc::clone(&installed),
            photographer: Photographer {
                views: views_sender,
                busy: Arc::clone(&busy),
                every_bytes: self.snapshot_every_bytes,
                since: 0,
                every_entries: 0,
                entries: 0,
            },
            configuration: boot.configuration.clone(),
            voice: Tracer::off().of(id),
        };
        let chunk = self.config.snapshot_chunk_bytes;
        let courier = Courier::new(log.snapshots(), Arc::clone(&inbox), chunk);
        let seed = self.boots * 1000 + id;
        let identity = Identity { id, voters: (1..=self.size).collect(), seed };
        let core = boot.core(&log, identity, self.config.clone());
        let wake = Arc::new(|| {});
        let voice = Tracer::off().of(id);
        let driver =
            Driver::new(Parts { core, log, applied, keep_behind: 3, wake, installed, voice });
        let machine = Machine { disk, driver, applier, courier, inbox, views, busy, failed: None };
        self.machines.insert(id, machine);
    }

    /// The power fails: the disk keeps one of the states that it may keep. A sector that went bad
    /// is left out: a log that was damaged refuses to open, which is for an operator.
    pub(super) fn power_cut(&mut self, id: NodeId, model: Model) {
        let disk = self.machine(id).disk.clone();
        let images = disk.crash_images(model, 8, &mut self.rng);
        let mut images: Vec<_> = images.filter(|image| image.harmed.is_none()).collect();
        let image = images.swap_remove(self.rng.below(images.len()));
        self.restart(id, image.fs);
    }

    /// The process is killed: the page cache stays.
    pub(super) fn kill(&mut self, id: NodeId) {
        let disk = self.machine(id).disk.kill_image();
        self.restart(id, disk);
    }

    fn restart(&mut self, id: NodeId, disk: SimFs) {
        self.machines.remove(&id);
        self.wire.retain(|message| message.from != id && message.to != id);
        self.boot(id, disk);
    }

    pub(super) fn machine(&mut self, id: NodeId) -> &mut Machine {
        self.machines.get_mut(&id).expect("a machine of the rig")
    }

    pub(super) fn pump(&mut self, id: NodeId) {
        let machine = self.machines.get_mut(&id).expect("a machine of the rig");
        let sent = machine.pump();
        self.wire.extend(sent);
    }

    /// The disk of a node catches up with what was written.
    pub(super) fn sync(&mut self, id: NodeId) {
        let machine = self.machine(id);
        if machine.failed.is_none() {
            let _told_by_the_watermark = machine.driver.syncer.sync();
        }
        self.pump(id);
    }

    pub(super) fn tick(&mut self, id: NodeId) {
        let machine = self.machine(id);
        let mut out = Output::default();
        machine.driver.tick(&mut out);
        let sent = machine.carry_out(out);
        self.wire.extend(sent);
        self.pump(id);
    }

    pub(super) fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        if self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        let machine = self.machine(to);
        if machine.failed.is_none() {
            machine.driver.step(message);
            self.pump(to);
        }
    }

    pub(super) fn propose(&mut self, id: NodeId, command: String) {
        let (done, refused) = (Arc::clone(&self.done), Arc::clone(&self.refused));
        let data = Bytes::from(command.clone());
        let call = Call::new(&Arc::new(AtomicUsize::new(0)), move |result| match result {
            Ok(_) => done.lock().unwrap().push(command),
            Err(error) => refused.lock().unwrap().push(error),
        });
        let machine = self.machine(id);
        if machine.failed.is_none() {
            machine.driver.propose(&data, call);
            self.pump(id);
        }
    }

    /// Whether the change was taken.
    pub(super) fn change(&mut self, id: NodeId, change: &Change) -> bool {
        let machine = self.machine(id);
        let before = machine.core().last_id();
        if machine.failed.is_none() {
            let call = Call::new(&Arc::new(AtomicUsize::new(0)), |_| {});
            let order = Order::Change(change.clone(), call);
            machine.driver.order(order, &mut Output::default());
        }
        let taken = self.machine(id).core().last_id() != before;
        self.pump(id);
        taken
    }

    /// Whether the transfer was begun.
    pub(super) fn transfer(&mut self, id: NodeId, to: NodeId) -> bool {
        let call = Call::new(&Arc::new(AtomicUsize::new(0)), |_| {});
        let machine = self.machine(id);
        machine.driver.order(Order::Transfer(Some(to), call), &mut Output::default());
        let begun = machine.core().transferring() == Some(to);
        self.pump(id);
        begun
    }

    /// A round of everything, without faults.
    pub(super) fn round(&mut self) {
        for id in 1..=self.size {
            self.tick(id);
            self.sync(id);
        }
        for message in std::mem::take(&mut self.wire) {
            self.deliver(message);
        }
    }

    pub(super) fn rounds(&mut self, rounds: u32) {
        (0..rounds).for_each(|_| self.round());
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let live = self.machines.iter().filter(|(_, machine)| machine.failed.is_none());
        let leads = live.filter(|(_, machine)| machine.core().role() == RoleName::Leader);
        leads.max_by_key(|(_, machine)| machine.core().term()).map(|(id, _)| *id)
    }

    /// Runs until a command of its own is done, and everybody that lives has applied the same.
    pub(super) fn settle(&mut self, command: &str) {
        for round in 0..3000 {
            if self.done.lock().unwrap().iter().any(|done| done == command) && self.agrees() {
                return;
            }
            if round % 50 == 0
                && let Some(leader) = self.leader()
            {
                self.propose(leader, command.to_owned());
            }
            self.round();
        }
        for (id, machine) in &self.machines {
            let (core, log) = (machine.core(), machine.driver.log());
            println!(
                "node {id}: {:?} term {} last {:?} commit {} applied {} of {}.. failed {:?}",
                core.role(),
                core.term(),
                core.last_id(),
                core.commit(),
                machine.applier.board.applied(),
                log.first_log_index(),
                machine.failed
            );
            println!("  {:?}", core.followers());
        }
        panic!("{command} is not done, or the machines do not agree");
    }

    fn agrees(&self) -> bool {
        let live: Vec<_> = self.machines.values().filter(|m| m.failed.is_none()).collect();
        let last = live.iter().map(|machine| machine.core().last_id()).max();
        live.iter().all(|machine| {
            Some(machine.core().last_id()) == last
                && machine.applier.board.applied() == machine.core().last_id().index
        })
    }

    pub(super) fn state(&self, id: NodeId) -> &[String] {
        &self.machines[&id].applier.machine.state
    }

    /// Every command that was reported done is in every machine, in the same order.
    pub(super) fn check(&self) {
        let states: Vec<_> = (1..=self.size).map(|id| self.state(id)).collect();
        for (id, machine) in &self.machines {
            assert!(machine.failed.is_none(), "node {id} stopped: {:?}", machine.failed);
        }
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "the machines differ");
        for command in self.done.lock().unwrap().iter() {
            assert!(states[0].contains(command), "{command} was done and is lost");
        }
    }
}

impl Machine {
    pub(super) fn core(&self) -> &Core<View> {
        self.driver.core()
    }

    /// Everything that can be done without time, network and disk. Returns what is to be sent.
    fn pump(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while self.failed.is_none() {
            let mut out = Output::default();
            for report in self.inbox.take(Instant::now(), false).reports {
                if let Err(error) = self.driver.report(report, &mut out) {
                    self.failed = Some(error);
                }
            }
            if let Err(error) = self.driver.pump(&mut out) {
                self.failed = Some(error);
            }
            let idle = out.send.is_empty() && out.apply.is_empty() && out.carry.is_empty();
            sent.extend(self.carry_out(out));
            if idle {
                break;
            }
        }
        sent
    }

    fn carry_out(&mut self, out: Output) -> Vec<Message> {
        for job in out.apply {
            if let Err(error) = self.applier.work(job) {
                self.inbox.report(Report::Failed(error));
            }
        }
        for job in out.carry {
            self.courier.work(job);
        }
        for picture in self.views.try_iter() {
            let store = self.driver.log().snapshots();
            if let Ok(mark) = applier::write_snapshot(&store, &picture) {
                self.inbox.report(Report::Taken(mark));
            }
            self.busy.store(false, Ordering::Release);
        }
        out.send
    }
}

fn status(id: NodeId, applied: Index) -> Status {
    Status {
        id,
        role: RoleName::Follower,
        term: 0,
        leader: None,
        commit: 0,
        applied,
        first: 1,
        last: 0,
        incarnation: 0,
        snapshot: 0,
        removed: false,
        error: None,
    }
}
