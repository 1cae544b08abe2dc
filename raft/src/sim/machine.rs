//! One node without threads: the real core, driver, log, applier and courier over a simulated disk.
//!
//! What a running node does on four threads is done here when it is told to: a round of the raft
//! thread, a job of the applier, a job of the courier, a snapshot written out.
//!
//! Above: `stage`, which decides when. Below: the crate as it is.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Instant,
};

use bytes::Bytes;
use hardlog::{Index, Log, Options, RecoveryReport, fs::sim::SimFs};

use crate::{
    applier::{self, Applier, Photographer, Picture},
    boot::{self, Boot},
    call::{Call, ProposeError},
    config::Config,
    core::{Core, Identity, Membership, RoleName},
    courier::Courier,
    driver::{Driver, Output, Parts, orders::Order},
    error::Error,
    identity,
    inbox::Inbox,
    message::{Message, NodeId},
    node::start,
    state_machine::StateMachine,
    status::{Board, Status},
    trace::{Voice, What},
    transport::Acquaintance,
    view::View,
    work::{Apply, Carry, Report},
};

/// Name of every simulated cluster.
const CLUSTER: u64 = 7;

/// What a node is started with.
pub(super) struct Birth {
    pub(super) id: NodeId,
    /// Whom the cluster begins with; nobody for a node that is to be added.
    pub(super) voters: Vec<NodeId>,
    pub(super) config: Config,
    pub(super) options: Options,
    pub(super) disk: SimFs,
    pub(super) machine: Box<dyn StateMachine>,
    pub(super) seed: u64,
    pub(super) snapshot_every_bytes: u64,
    pub(super) keep_behind: u64,
    pub(super) voice: Voice,
}

/// One of the threads beside the raft thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worker {
    Applier,
    Courier,
    Photographer,
}

impl Worker {
    pub(super) const ALL: [Self; 3] = [Self::Applier, Self::Courier, Self::Photographer];
}

/// A node.
pub(super) struct Machine {
    disk: SimFs,
    config: Config,
    driver: Driver,
    applier: Applier<Box<dyn StateMachine>>,
    courier: Courier,
    inbox: Arc<Inbox>,
    /// Last index of the newest snapshot that came from a leader.
    installed: Arc<AtomicU64>,
    views: Receiver<Picture>,
    busy: Arc<AtomicBool>,
    applies: VecDeque<Apply>,
    carries: VecDeque<Carry>,
    photos: VecDeque<Picture>,
    /// What it says of itself to others, and what it remembers of them.
    pub(super) acquaintance: Acquaintance,
    /// Its disk is or was full, or took less than it was given: it may have given up what the disk
    /// did not take, and what was committed with it.
    pub(super) was_full: bool,
    failed: Option<Error>,
}

impl Machine {
    /// Opens the log and starts the node, as a process would.
    pub(super) fn start(birth: Birth) -> Result<(Self, RecoveryReport), Error> {
        let Birth { id, config, disk, .. } = birth;
        let opened = Log::open_on(Arc::new(disk.clone()), birth.options);
        let (mut log, report) = opened.map_err(Error::Log)?;
        birth.voice.note(|| What::recovered(&report));
        start::all_durable(&log)?;
        identity::establish(&mut log, id, CLUSTER)?;
        let mut machine = birth.machine;
        let first = Membership::of_voters(birth.voters.iter().copied().collect());
        let boot = Boot::find(&mut machine, &mut log, &first)?;
        let applied = boot.applied;
        let inbox = Arc::new(Inbox::new(1 << 30));
        let installed = Arc::<AtomicU64>::default();
        let (views_sender, views) = channel();
        let busy: Arc<AtomicBool> = Arc::default();
        let applier = Applier {
            machine,
            reader: log.reader(),
            store: log.snapshots(),
            board: Arc::new(Board::new(status(id, applied))),
            inbox: Arc::clone(&inbox),
            installed: Arc::clone(&installed),
            photographer: Photographer {
                views: views_sender,
                busy: Arc::clone(&busy),
                every_bytes: birth.snapshot_every_bytes,
                since: 0,
                every_entries: config.snapshot_every_entries,
                entries: 0,
            },
            configuration: boot.configuration.clone(),
            voice: birth.voice.clone(),
        };
        let courier =
            Courier::new(log.snapshots(), Arc::clone(&inbox), config.snapshot_chunk_bytes);
        let voters = birth.voters.into_iter().collect();
        let identity = Identity { id, voters, seed: birth.seed };
        let core = boot.core(&log, identity, config.clone());
        let acquaintance = acquaintance(id, &log, &inbox)?;
        let (wake, keep_behind) = (Arc::new(|| {}), birth.keep_behind);
        let told = Arc::clone(&installed);
        let voice = birth.voice;
        let driver = Driver::new(Parts { core, log, applied, keep_behind, wake, installed, voice });
        let machine = Self {
            disk,
            config,
            driver,
            applier,
            courier,
            inbox,
            installed: told,
            views,
            busy,
            applies: VecDeque::new(),
            carries: VecDeque::new(),
            photos: VecDeque::new(),
            acquaintance,
            was_full: false,
            failed: None,
        };
        Ok((machine, report))
    }

    // ---- what it says of itself

    pub(super) fn core(&self) -> &Core<View> {
        self.driver.core()
    }

    pub(super) fn log(&self) -> &Log {
        self.driver.log()
    }

    pub(super) fn ops(&self) -> u64 {
        self.disk.ops()
    }

    pub(super) fn applied(&self) -> Index {
        self.applier.board.applied()
    }

    /// Up to where its state machine stands, or will once it has taken what a leader sent.
    pub(super) fn reaches(&self) -> Index {
        self.applied().max(self.installed.load(Ordering::Acquire))
    }

    /// Why it stopped, if it did.
    pub(super) fn failed(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    pub(super) fn is_leader(&self) -> bool {
        self.core().role() == RoleName::Leader
    }

    /// Whether something is written that the log does not know to be durable.
    pub(super) fn wants_sync(&self) -> bool {
        self.log().written() > self.log().durable()
    }

    pub(super) fn has_work(&self, worker: Worker) -> bool {
        match worker {
            Worker::Applier => !self.applies.is_empty(),
            Worker::Courier => !self.carries.is_empty(),
            Worker::Photographer => !self.photos.is_empty(),
        }
    }

    // ---- the raft thread

    /// So much waits to be written that there should be a round before the next message.
    pub(super) fn is_pressed(&self) -> bool {
        self.driver.is_pressed(self.config.unsaved_bytes_max)
    }

    /// A message came.
    pub(super) fn step(&mut self, message: Message) {
        self.driver.step(message);
    }

    pub(super) fn tick(&mut self) -> Vec<Message> {
        let mut out = Output::default();
        self.driver.tick(&mut out);
        self.hand_out(out)
    }

    pub(super) fn propose(
        &mut self,
        data: &Bytes,
        done: impl FnOnce(Result<Bytes, ProposeError>) + Send + 'static,
    ) {
        self.driver.propose(data, Call::new(&Arc::new(AtomicUsize::new(0)), done));
    }

    pub(super) fn read(&mut self, done: impl FnOnce(Result<(), ProposeError>) + Send + 'static) {
        self.driver.read(Call::new(&Arc::new(AtomicUsize::new(0)), done));
    }

    /// What an operator wants.
    pub(super) fn order(&mut self, order: Order) -> Vec<Message> {
        let mut out = Output::default();
        self.driver.order(order, &mut out);
        self.hand_out(out)
    }

    /// More time passed than ticks were made for.
    pub(super) fn time_was_lost(&mut self) {
        self.driver.time_was_lost();
    }

    /// One round of the raft thread. Returns what is to be sent.
    pub(super) fn round(&mut self) -> Vec<Message> {
        if self.failed.is_some() {
            return Vec::new();
        }
        let mut out = Output::default();
        let mut result = Ok(());
        for report in self.inbox.take(Instant::now(), false).reports {
            result = result.and_then(|()| self.driver.report(report, &mut out));
        }
        let result = result.and_then(|()| self.driver.pump(&mut out));
        match result {
            Ok(()) => self.hand_out(out),
            Err(error) => {
                self.failed = Some(error);
                Vec::new()
            }
        }
    }

    fn hand_out(&mut self, out: Output) -> Vec<Message> {
        self.applies.extend(out.apply);
        self.carries.extend(out.carry);
        out.send
    }

    // ---- the other threads

    /// Everything that its state machine is.
    pub(super) fn service(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.applier.machine.snapshot().write_to(&mut bytes);
        written.expect("a vector takes all bytes");
        bytes
    }

    /// Does one job of a worker. Whether the raft thread has reason to look.
    pub(super) fn work(&mut self, worker: Worker) -> bool {
        match worker {
            Worker::Applier => {
                let Some(job) = self.applies.pop_front() else { return false };
                if let Err(error) = self.applier.work(job) {
                    self.inbox.report(Report::Failed(error));
                    return true;
                }
                self.photos.extend(self.views.try_iter());
                false
            }
            Worker::Courier => {
                let Some(job) = self.carries.pop_front() else { return false };
                self.courier.work(job);
                true
            }
            Worker::Photographer => {
                let Some(picture) = self.photos.pop_front() else { return false };
                let written = applier::write_snapshot(&self.log().snapshots(), &picture);
                if let Ok(mark) = written {
                    self.inbox.report(Report::Taken(mark));
                }
                self.busy.store(false, Ordering::Release);
                true
            }
        }
    }

    /// The disk catches up with what was written.
    pub(super) fn sync(&mut self) {
        if self.failed.is_none() {
            // Who asked for it is told by the log's callback, with the error if there is one.
            let _told_by_the_callback = self.log().sync();
        }
    }
}

/// What the transport of a node knows of itself and of others. Its peers are not its own choice
/// here: everybody may talk to everybody.
fn acquaintance(id: NodeId, log: &Log, inbox: &Arc<Inbox>) -> Result<Acquaintance, Error> {
    let (news, alarm) = (Arc::clone(inbox), Arc::clone(inbox));
    Ok(Acquaintance {
        cluster: CLUSTER,
        id,
        log_id: log.log_id(),
        incarnation: log.incarnation(),
        peers: Mutex::new(BTreeSet::new()),
        seen: Mutex::new(boot::seen(log)?),
        met: Box::new(move |peer, log_id, incarnation| {
            news.report(Report::Met { peer, log_id, incarnation });
        }),
        disowned: Box::new(move |by| alarm.report(Report::Disowned { by })),
    })
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
