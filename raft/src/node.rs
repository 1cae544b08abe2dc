//! A running node: its threads, its timer, and the handle through which a service talks to it.
//!
//! ```text
//!   Handle ──▶ Inbox ◀── transport (messages), log (watermark), applier, courier (reports)
//!                │
//!          raft thread: step, propose, tick, pump ──▶ transport, applier, courier
//! ```
//! Above: the service. Below: the driver, which is not aware of threads or time.
//!
//! A node that meets an error which it cannot go on after stops by itself: it answers nobody, and
//! [`Status::error`] says why. Dropping a [`Node`] is like killing its process; only
//! [`Node::shutdown`] ends in an orderly way.

pub(crate) mod start;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::{EntryId, Index, Log, LogReader, RecoveryReport};

use crate::{
    call::{Call, OrderError, ProposeError},
    config::Config,
    core::{Change, Configuration, Refused},
    driver::{Driver, Output, orders::Order},
    error::Error,
    inbox::{Inbox, Input},
    message::NodeId,
    metrics::{self, Standing},
    state_machine::StateMachine,
    status::{Board, Cluster, Health, Status},
    trace::{Part, Tracer, Voice, What},
    transport::{Refusals, Security, Transport},
    work::{Apply, Carry},
};

/// A save that the log could not take is tried again after this.
const AGAIN: Duration = Duration::from_millis(1);
/// Ticks that are made up for after the thread was held up: with more, a node that was paused
/// would call an election before it has read what came meanwhile.
const LATE_TICKS_MAX: u32 = 3;

/// Everything that a node is started with.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its id, above 0. Never to be given to another node.
    pub id: NodeId,
    /// The cluster; nodes of different clusters refuse each other.
    pub cluster: u64,
    /// The addresses of all nodes of the cluster, itself among them.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The directory of its log.
    pub dir: PathBuf,
    /// How it plays Raft.
    pub raft: Config,
    /// How its log works. With `create_if_missing`, a directory that is lost is taken for a new
    /// node, which has forgotten its promises: for the first start, for demos and tests.
    pub log: hardlog::Options,
    /// Bytes of entries after which a snapshot is taken.
    pub snapshot_every_bytes: u64,
    /// Entries that stay in the log behind a snapshot, for followers that are a little behind.
    pub keep_behind: u64,
    /// Where it listens; its own address among `peers` if not given.
    pub listener: Option<TcpListener>,
    /// Where everything worth seeing is told; [`Tracer::off`] for nowhere.
    pub tracer: Tracer,
    /// What protects the connections between nodes, such as `Tls` under feature `tls`. Without it
    /// only loopback is allowed, unless [`Config::insecure`] says otherwise.
    pub security: Option<Arc<dyn Security>>,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    handle: Handle,
    report: RecoveryReport,
    /// Ends with the log, if the node did not fail.
    raft: Option<JoinHandle<Option<Log>>>,
    others: Vec<JoinHandle<()>>,
}

/// Talks to a node. Cheap to clone; any thread may use it.
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    log: LogReader,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    tracer: Tracer,
    /// Calls that were told to the trace.
    serials: Arc<AtomicU64>,
}

impl Node {
    /// Opens the log, restores the state machine, and begins to take part in the cluster.
    ///
    /// # Errors
    /// Whatever [`Error`] says: nothing was promised to anybody then.
    pub fn start<S: StateMachine>(config: NodeConfig, machine: S) -> Result<Self, Error> {
        start::start(config, machine)
    }

    /// A handle for the service.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What opening the log found.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Stops the node and closes the log, so that the next open finds nothing to wonder about.
    /// Who still waits is told that the node has stopped or the outcome is unknown.
    ///
    /// # Errors
    /// If the log's last sync fails, or a thread panicked. A node that had stopped by itself before
    /// has said why in [`Status::error`].
    pub fn shutdown(mut self) -> Result<(), Error> {
        match self.stop()? {
            // DURABILITY: nobody was promised what this sync covers; it spares the next open doubts.
            Some(log) => log.close().map_err(Error::Log),
            None => Ok(()),
        }
    }

    fn stop(&mut self) -> Result<Option<Log>, Error> {
        self.handle.inbox.close();
        let Some(raft) = self.raft.take() else { return Ok(None) };
        let log = raft.join();
        let mut panicked = log.is_err().then_some("raft");
        for thread in self.others.drain(..) {
            if thread.join().is_err() {
                panicked = Some("a worker");
            }
        }
        match (log, panicked) {
            (Ok(log), None) => Ok(log),
            (_, panicked) => Err(Error::Panicked(panicked.unwrap_or("raft"))),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "a node ended badly");
        }
    }
}

impl Handle {
    /// Proposes a command. `done` is called once: with the reply of the state machine after the
    /// command is durable on a majority and applied here, or with what prevented that.
    ///
    /// `done` runs on a thread of the node and must be quick: it holds up everybody else's.
    pub fn propose(
        &self,
        data: Bytes,
        done: impl FnOnce(Result<Bytes, ProposeError>) + Send + 'static,
    ) {
        let call = self.call(|| told(&data), done);
        if self.is_full() {
            return call.answer(Err(ProposeError::Busy));
        }
        self.inbox.propose(data, call);
    }

    /// As [`Handle::propose`]; besides, `placed` is called once this node, as the leader, has put
    /// the command into its log: with the index and term under which it will commit, should it
    /// ever. It is not called where nothing happened, and always before `done`.
    pub fn submit(
        &self,
        data: Bytes,
        placed: impl FnOnce(EntryId) + Send + 'static,
        done: impl FnOnce(Result<Bytes, ProposeError>) + Send + 'static,
    ) {
        let call = self.call(|| told(&data), done).and_place(placed);
        if self.is_full() {
            return call.answer(Err(ProposeError::Busy));
        }
        self.inbox.propose(data, call);
    }

    /// Proposes commands in this order, as [`Handle::propose`] would one after the other, but taken
    /// by the node in one piece: they become one batch of the log and share one sync, as far as
    /// [`Config::unsaved_bytes_max`] allows. Each `done` is called once.
    ///
    /// Once there is no room for one of them, it and all after it are refused as
    /// [`ProposeError::Busy`]: what takes effect has no such gaps.
    pub fn propose_all<D>(&self, commands: impl IntoIterator<Item = (Bytes, D)>)
    where
        D: FnOnce(Result<Bytes, ProposeError>) + Send + 'static,
    {
        let mut full = false;
        let mut taken = Vec::new();
        for (data, done) in commands {
            let call = self.call(|| told(&data), done);
            full = full || self.is_full();
            if full {
                call.answer(Err(ProposeError::Busy));
            } else {
                taken.push((data, call));
            }
        }
        if !taken.is_empty() {
            self.inbox.propose_all(taken);
        }
    }

    /// Asks when the local state machine may be read so that the read is linearizable. `done` is
    /// called once: without an error when everything that was committed before this call is
    /// applied here.
    ///
    /// `done` runs on a thread of the node and must be quick. Without
    /// [`Config::leader_no_op`] a new leader's reads wait until a command is committed.
    pub fn read(&self, done: impl FnOnce(Result<(), ProposeError>) + Send + 'static) {
        let call = self.call(|| "read".to_owned(), done);
        if self.is_full() {
            return call.answer(Err(ProposeError::Busy));
        }
        self.inbox.read(call);
    }

    /// Changes who takes part. `done` is called once: with the index of the entry once that is
    /// committed, or with what prevented it. A learner that is to vote is promoted later, by itself;
    /// a joint membership is left by itself: [`Handle::cluster`] shows both.
    ///
    /// `done` runs on a thread of the node and must be quick.
    pub fn change_membership(
        &self,
        change: Change,
        done: impl FnOnce(Result<Index, OrderError>) + Send + 'static,
    ) {
        let call = self.call(|| format!("{change:?}"), |result| done(flat(result)));
        self.inbox.order(Order::Change(change, call));
    }

    /// Hands the leadership to a voter; to the one that has most of the log if none is named.
    /// `done` is called once: with whoever leads or was to, once this node does not lead any more.
    ///
    /// `done` runs on a thread of the node and must be quick.
    pub fn transfer_leadership(
        &self,
        to: Option<NodeId>,
        done: impl FnOnce(Result<NodeId, OrderError>) + Send + 'static,
    ) {
        let call = self.call(|| format!("transfer to {to:?}"), |result| done(flat(result)));
        self.inbox.order(Order::Transfer(to, call));
    }

    /// Takes a snapshot soon, whether one is due or not, and shortens the log then. Nothing happens
    /// while one is being written. [`Status::snapshot`] shows when it is done.
    pub fn take_snapshot(&self) {
        self.inbox.order(Order::Snapshot);
    }

    /// Who takes part and, while this node leads, how far each is; never waits for the node, and
    /// is a tick old at most.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.board.cluster()
    }

    /// What the node says of itself; never waits for it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.read()
    }

    /// Connections that the node ended for what they said; never waits for it, and is a tick old at
    /// most.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.board.refusals()
    }

    /// Logical bytes of the entries in its log: what they count for, not what files take. Adds them
    /// up, so it takes the longer the longer the log is; never waits for the node.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.live_bytes()
    }

    /// Whether the node gets on with its work; never waits for it.
    #[must_use]
    pub fn health(&self) -> Health {
        self.board.health()
    }

    /// A call, of which the trace is told what is asked and what is answered.
    fn call<T>(
        &self,
        op: impl FnOnce() -> String,
        done: impl FnOnce(Result<T, ProposeError>) + Send + 'static,
    ) -> Call<T> {
        if !self.tracer.is_on() {
            return Call::new(&self.waiting, done);
        }
        let (client, tracer) = (self.status().id, self.tracer.clone());
        let serial = self.serials.fetch_add(1, Ordering::Relaxed) + 1;
        tracer.note(0, || What::Call { client, serial, op: op().into() });
        Call::new(&self.waiting, move |answer| {
            let (ok, why) = (answer.is_ok(), answer.as_ref().err().map(ToString::to_string));
            let result = why.map(Into::into);
            tracer.note(0, || What::Return { client, serial, ok, result });
            done(answer);
        })
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.waiting_max
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// A command, of which a trace never shows the bytes.
fn told(command: &Bytes) -> String {
    format!("command of {} bytes", command.len())
}

fn flat<T>(result: Result<Result<T, Refused>, ProposeError>) -> Result<T, OrderError> {
    result?.map_err(OrderError::Refused)
}

/// The raft thread's own state.
struct Runner {
    /// Addresses that the node was started with; a configuration's own count more.
    peers: BTreeMap<NodeId, SocketAddr>,
    /// The configurations that the transport knows.
    configured: Vec<Configuration>,
    /// Members that this leader removed and tells so.
    leaving: BTreeSet<NodeId>,
    /// Whoever was a member in any configuration that this node had, its first one included.
    were_members: BTreeSet<NodeId>,
    /// The last address of everybody.
    known: BTreeMap<NodeId, SocketAddr>,
    driver: Driver,
    config: Config,
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    transport: Transport,
    applier: Sender<Apply>,
    courier: Sender<Carry>,
    voice: Voice,
}

impl Runner {
    /// Runs until the inbox is closed, or the node cannot go on. The log, if it can be closed.
    fn run(mut self) -> Option<Log> {
        let result = self.serve();
        self.inbox.close();
        self.transport.shutdown();
        match result {
            Ok(()) => Some(self.driver.into_log()),
            Err(error) => {
                tracing::error!(%error, "the node stops");
                let (term, why) = (self.driver.core().term(), error.to_string().into());
                self.voice.note(|| What::Role {
                    term,
                    role: Part::Down,
                    leader: None,
                    why: Some(why),
                });
                self.board.update(|status| {
                    status.role = crate::core::RoleName::Follower;
                    status.leader = None;
                    status.error = Some(error.to_string());
                });
                None
            }
        }
    }

    fn serve(&mut self) -> Result<(), Error> {
        let mut next_tick = Instant::now() + self.config.tick;
        let mut out = Output::default();
        loop {
            let again = std::mem::take(&mut out.again);
            let soon = Instant::now() + AGAIN;
            let deadline = if again { next_tick.min(soon) } else { next_tick };
            let input = self.inbox.take(deadline, self.driver.is_writing());
            if input.closed {
                return Ok(());
            }
            self.feed(input, &mut out)?;
            let mut late = 0;
            while Instant::now() >= next_tick {
                next_tick += self.config.tick;
                late += 1;
                if late <= LATE_TICKS_MAX {
                    self.driver.tick(&mut out);
                } else {
                    self.driver.time_was_lost();
                    next_tick = Instant::now() + self.config.tick;
                }
            }
            self.driver.pump(&mut out)?;
            self.meet_peers()?;
            self.carry_out(&mut out);
            self.publish();
            if late > 0 {
                self.board.set_cluster(self.driver.core());
                self.board.set_refusals(self.transport.refusals());
                self.measure();
            }
        }
    }

    fn feed(&mut self, input: Input, out: &mut Output) -> Result<(), Error> {
        for report in input.reports {
            self.driver.report(report, out)?;
        }
        for message in input.messages {
            if self.driver.is_pressed(self.config.unsaved_bytes_max) {
                self.driver.pump(out)?;
                self.carry_out(out);
            }
            self.driver.step(message);
        }
        for (data, call) in self.inbox.proposals(self.driver.is_writing()) {
            self.driver.propose(&data, call);
        }
        for call in input.reads {
            self.driver.read(call);
        }
        for order in input.orders {
            self.driver.order(order, out);
        }
        Ok(())
    }

    /// Talks to those whom any configuration in the log names, to those who are being told that
    /// they are no members any more, and to those whom the node was told of at its start: it may
    /// have missed that they were added. Of these, whoever is known to have been a member and to be
    /// none now is let in no longer, whatever certificate it has. An id has one meaning for ever, so
    /// the newest address counts.
    fn meet_peers(&mut self) -> Result<(), Error> {
        let core = self.driver.core();
        let leaving = core.followers().into_iter().flatten().filter(|(_, p)| p.leaving.is_some());
        let leaving: BTreeSet<_> = leaving.map(|(id, _)| *id).collect();
        let configurations = core.configurations();
        if configurations == self.configured && leaving == self.leaving {
            return Ok(());
        }
        self.configured = configurations.to_vec();
        let named = |id: &NodeId| configurations.iter().any(|c| c.membership.contains(*id));
        let mut peers = self.peers.clone();
        for configuration in configurations {
            for (id, member) in configuration.membership.members() {
                self.were_members.insert(*id);
                peers.extend(member.address.map(|address| (*id, address)));
            }
        }
        self.known.append(&mut peers.clone());
        peers.retain(|id, _| named(id) || !self.were_members.contains(id));
        peers.extend(leaving.iter().filter_map(|id| Some((*id, *self.known.get(id)?))));
        self.leaving = leaving;
        if core.is_removed() {
            tracing::warn!(id = core.id(), "this node is no member of the cluster any more");
        }
        self.transport.set_peers(&peers).map_err(Error::Network)
    }

    fn carry_out(&mut self, out: &mut Output) {
        for message in out.send.drain(..) {
            self.transport.send(message);
        }
        // A thread that is gone has reported why, and that ends this one.
        for job in out.apply.drain(..) {
            let _gone = self.applier.send(job);
        }
        for job in out.carry.drain(..) {
            let _gone = self.courier.send(job);
        }
    }

    fn measure(&self) {
        let core = self.driver.core();
        metrics::stands(Standing {
            learns: core.membership().is_learner(core.id()),
            removed: core.is_removed(),
            disk_hangs: core.disk_hangs(),
            unsaved_bytes: core.unsaved_bytes(),
        });
        let last = core.last_id().index;
        for (id, peer) in core.followers().into_iter().flatten() {
            metrics::lags(*id, last.saturating_sub(peer.matched));
        }
    }

    fn publish(&self) {
        let (core, log) = (self.driver.core(), self.driver.log());
        let (first, snapshot) = (log.first_log_index(), log.snapshot_mark());
        self.board.came_round(core.disk_hangs());
        self.board.update(|status| {
            status.role = core.role();
            status.term = core.term();
            status.leader = core.leader();
            status.commit = core.commit();
            status.first = first;
            status.last = core.last_id().index;
            status.removed = core.is_removed();
            status.snapshot = snapshot.map_or(0, |mark| mark.id.index);
        });
    }
}
