//! How a node begins: open, prove whose log it is, restore, start the threads.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::RandomState},
    hash::BuildHasher,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
        mpsc::channel,
    },
    thread::{self, JoinHandle},
};

use hardlog::{Error as LogError, Index, Log, RecoveryReport};

use super::{Handle, Node, NodeConfig, Runner};
use crate::{
    applier::{self, Applier, Photographer},
    boot::{self, Boot},
    config::Config,
    core::{Identity, Membership, RoleName},
    courier::Courier,
    driver::{Driver, Parts},
    error::Error,
    identity,
    inbox::Inbox,
    member::Member,
    state_machine::StateMachine,
    status::{Board, Status},
    trace::What,
    transport::{Past, Settings, Transport},
    work::Report,
};

/// Bytes of a message besides its entries or its piece of a snapshot, and its metadata.
const MESSAGE_EXTRA_BYTES: u64 = 1 << 20;

pub(super) fn start<S: StateMachine>(
    mut config: NodeConfig,
    mut machine: S,
) -> Result<Node, Error> {
    config.raft.check()?;
    let own_address = match config.peers.get(&config.id) {
        Some(address) if config.id > 0 => *address,
        _ => return Err(Error::NotAPeer(config.id)),
    };
    let (mut log, report) = open(&config)?;
    let voice = config.tracer.of(config.id);
    let first = first_membership(&config);
    let boot = Boot::find(&mut machine, &mut log, &first)?;
    let applied = boot.applied;
    let listener = match config.listener.take() {
        Some(listener) => listener,
        None => TcpListener::bind(own_address).map_err(Error::Network)?,
    };
    let inbox = Arc::new(Inbox::new(config.raft.inflight_bytes_max));
    let board = Arc::new(Board::new(first_status(&config, &log, applied)));
    let handle = Handle {
        inbox: Arc::clone(&inbox),
        board: Arc::clone(&board),
        log: log.reader(),
        waiting: Arc::new(AtomicUsize::new(0)),
        waiting_max: config.raft.pending_max,
        tracer: config.tracer.clone(),
        serials: Arc::new(AtomicU64::new(0)),
    };
    let mut node = Node { handle, report, raft: None, others: Vec::new() };
    let transport = transport(&config, &log, listener, &inbox)?;
    let (apply_sender, apply_jobs) = channel();
    let (carry_sender, carry_jobs) = channel();
    let installed = Arc::new(AtomicU64::new(0));

    let chunk_bytes = config.raft.snapshot_chunk_bytes;
    let courier = Courier::new(log.snapshots(), Arc::clone(&inbox), chunk_bytes);
    node.others.push(spawn("courier", &inbox, move || courier.run(&carry_jobs))?);
    let applier = Applier {
        machine,
        reader: log.reader(),
        store: log.snapshots(),
        board: Arc::clone(&board),
        inbox: Arc::clone(&inbox),
        installed: Arc::clone(&installed),
        photographer: photographer(&mut node, &log, &config)?,
        configuration: boot.configuration.clone(),
        voice: voice.clone(),
    };
    node.others.push(spawn("apply", &inbox, move || applier.run(&apply_jobs))?);
    let runner = Runner {
        peers: config.peers.clone(),
        configured: Vec::new(),
        leaving: BTreeSet::new(),
        were_members: boot.first.members().keys().copied().collect(),
        known: BTreeMap::new(),
        driver: driver(&config, log, &boot, &inbox, installed),
        config: config.raft,
        inbox,
        board,
        transport,
        applier: apply_sender,
        courier: carry_sender,
        voice,
    };
    let raft = thread::Builder::new().name("raft".to_owned()).spawn(move || runner.run());
    node.raft = Some(raft.map_err(Error::Thread)?);
    Ok(node)
}

/// Opens the log, which must be this node's own and take whatever the node may have to write.
fn open(config: &NodeConfig) -> Result<(Log, RecoveryReport), Error> {
    let (mut log, report) = Log::open(&config.dir, config.log.clone()).map_err(Error::Log)?;
    config.tracer.note(config.id, || What::recovered(&report));
    fits(&config.raft, log.batch_max())?;
    match all_durable(&log) {
        Err(Error::Log(error @ LogError::Full { .. })) => {
            tracing::warn!(%error, "no room: the node can be read and keeps silent until there is");
        }
        other => other?,
    }
    identity::establish(&mut log, config.id, config.cluster)?;
    if config.raft.abstain {
        boot::abstain(&mut log)?;
    }
    Ok((log, report))
}

/// Whether whatever the node may have to write at once fits one batch: what does not could never be
/// written, however often it is tried.
fn fits(raft: &Config, batch_max: u64) -> Result<(), Error> {
    let needed = raft.batch_needed();
    if needed > batch_max { Err(Error::BatchTooSmall { needed, batch_max }) } else { Ok(()) }
}

/// Who takes part if the log is new.
fn first_membership(config: &NodeConfig) -> Membership {
    if config.raft.joining {
        return Membership::default();
    }
    Membership::of(config.peers.iter().map(|(id, address)| (*id, Member::at(*address))))
}

/// What recovery found is durable, with one exception: a log that had no room for a new segment is
/// handed out all the same, and what only the page cache holds may still be lost. If there is still
/// no room, the driver promises nothing that rests on it until there is.
pub(crate) fn all_durable(log: &Log) -> Result<(), Error> {
    if log.durable() < log.written() {
        // DURABILITY: what was found and is not proven durable, before any promise rests on it.
        log.sync().map_err(Error::Log)?;
    }
    Ok(())
}

fn first_status(config: &NodeConfig, log: &Log, applied: Index) -> Status {
    let hard_state = log.hard_state();
    Status {
        id: config.id,
        role: RoleName::Follower,
        term: hard_state.term,
        leader: None,
        commit: hard_state.commit.max(applied),
        applied,
        first: log.first_log_index(),
        last: log.next_log_index().saturating_sub(1),
        incarnation: log.incarnation(),
        snapshot: applied,
        removed: false,
        error: None,
    }
}

/// Starts the thread that writes snapshots of this node's own state.
fn photographer(node: &mut Node, log: &Log, config: &NodeConfig) -> Result<Photographer, Error> {
    let (views, to_write) = channel();
    let busy = Arc::new(AtomicBool::new(false));
    let inbox = Arc::clone(&node.handle.inbox);
    let (store, done) = (log.snapshots(), Arc::clone(&busy));
    let write = move || applier::write_snapshots(&to_write, &store, &done, &inbox);
    node.others.push(spawn("snapshots", &node.handle.inbox, write)?);
    let (every_bytes, every_entries) =
        (config.snapshot_every_bytes, config.raft.snapshot_every_entries);
    Ok(Photographer { views, busy, every_bytes, since: 0, every_entries, entries: 0 })
}

fn transport(
    config: &NodeConfig,
    log: &Log,
    listener: TcpListener,
    inbox: &Arc<Inbox>,
) -> Result<Transport, Error> {
    let raft = &config.raft;
    let largest = raft.append_bytes_max.max(raft.command_bytes_max).max(raft.snapshot_chunk_bytes);
    let settings = Settings {
        id: config.id,
        cluster: config.cluster,
        log_id: log.log_id(),
        incarnation: log.incarnation(),
        peers: config.peers.clone(),
        message_bytes_max: u32::try_from(largest + MESSAGE_EXTRA_BYTES).unwrap_or(u32::MAX),
        outbox_bytes_max: raft.inflight_bytes_max + largest,
        security: config.security.clone(),
        insecure: raft.insecure,
        tracer: config.tracer.clone(),
    };
    let messages = Arc::clone(inbox);
    let deliver = Arc::new(move |message| messages.message(message));
    let (news, alarm) = (Arc::clone(inbox), Arc::clone(inbox));
    let past = Past {
        seen: boot::seen(log)?,
        met: Box::new(move |peer, log_id, incarnation| {
            news.report(Report::Met { peer, log_id, incarnation });
        }),
        disowned: Box::new(move |by| alarm.report(Report::Disowned { by })),
    };
    Transport::start_after(&settings, listener, deliver, past).map_err(Error::Network)
}

fn driver(
    config: &NodeConfig,
    log: Log,
    boot: &Boot,
    inbox: &Arc<Inbox>,
    installed: Arc<AtomicU64>,
) -> Driver {
    // Nodes that start together must not time out together.
    let seed = RandomState::new().hash_one((config.id, log.incarnation()));
    let voters = config.peers.keys().copied().collect();
    let identity = Identity { id: config.id, voters, seed };
    let core = boot.core(&log, identity, config.raft.clone());
    let inbox = Arc::clone(inbox);
    Driver::new(Parts {
        core,
        log,
        applied: boot.applied,
        keep_behind: config.keep_behind,
        wake: Arc::new(move || inbox.wake()),
        installed,
        voice: config.tracer.of(config.id),
    })
}

/// Starts a thread whose panic ends the node.
fn spawn(
    name: &'static str,
    inbox: &Arc<Inbox>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let alarm = Alarm { name, inbox: Arc::clone(inbox) };
    let run = move || {
        let _alarm = alarm;
        work();
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::Thread)
}

/// Tells the node when its thread panics.
struct Alarm {
    name: &'static str,
    inbox: Arc<Inbox>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.inbox.report(Report::Failed(Error::Panicked(self.name)));
        }
    }
}
