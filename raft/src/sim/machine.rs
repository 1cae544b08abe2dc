//! One node without threads: the real core, driver, log, applier and courier over a simulated disk.
//!
//! What a running node does on four threads is done here when it is told to: a round of the raft
//! thread, a job of the applier, a job of the courier, a snapshot written out.
//!
//! Above: `stage`, which decides when. Below: the crate as it is.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Instant,
};

use bytes::Bytes;
use hardlog::{Index, Log, Options, RecoveryReport, fs::sim::SimFs};

use crate::{
    applier::{self, Applier, Photographer, Picture},
    boot::Boot,
    call::{Call, ProposeError},
    config::Config,
    core::{Change, Core, Identity, Membership, RoleName},
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
    view::View,
    work::{Apply, Carry, Report},
};

/// Name of every simulated cluster.
const CLUSTER: u64 = 7;

/// What a node is started with.
pub(super) struct Birth {
    pub(super) id: NodeId,
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
    views: Receiver<Picture>,
    busy: Arc<AtomicBool>,
    applies: VecDeque<Apply>,
    carries: VecDeque<Carry>,
    photos: VecDeque<Picture>,
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
        let installed = Arc::default();
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
        let (wake, keep_behind) = (Arc::new(|| {}), birth.keep_behind);
        let voice = birth.voice;
        let driver = Driver::new(Parts { core, log, applied, keep_behind, wake, installed, voice });
        let machine = Self {
            disk,
            config,
            driver,
            applier,
            courier,
            inbox,
            views,
            busy,
            applies: VecDeque::new(),
            carries: VecDeque::new(),
            photos: VecDeque::new(),
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

    pub(super) fn change(&mut self, change: Change) {
        let waiting = Arc::new(AtomicUsize::new(0));
        let order = Order::Change(change, Call::new(&waiting, |_| {}));
        self.driver.order(order, &mut Output::default());
    }

    /// One round of the raft thread. Returns what is to be sent.
    pub(super) fn round(&mut self) -> Vec<Message> {
        if self.failed.is_some() {
            return Vec::new();
        }
        let mut out = Output::default();
        let mut result = Ok(());
        for report in self.inbox.take(Instant::now()).reports {
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
        log_bytes: 0,
        incarnation: 0,
        snapshot: 0,
        removed: false,
        error: None,
    }
}
