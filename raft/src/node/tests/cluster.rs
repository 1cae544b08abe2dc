//! A cluster in this process, its machines open to the test.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::Options;
use tempfile::TempDir;

use crate::{
    Command, Config, Error, FrozenSnapshot, Handle, Node, NodeConfig, NodeId, ProposeError,
    RoleName, StateMachine, Status, applier::ROUND_COMMANDS, trace::Tracer,
};

/// Bytes of a segment.
pub(super) const SEGMENT: u64 = 1 << 20;
pub(super) const WAIT: Duration = Duration::from_secs(30);

/// Remembers all commands; its reply is the index and the command.
#[derive(Clone, Default)]
pub(super) struct Journal(pub(super) Arc<Mutex<Vec<String>>>);

impl StateMachine for Journal {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        // The replies to all of them are in memory together.
        assert!(commands.len() <= ROUND_COMMANDS, "{} commands at once", commands.len());
        let mut journal = self.0.lock().unwrap();
        let apply = |command: &Command| {
            let text = String::from_utf8(command.data.to_vec()).unwrap();
            assert!(text != "panic", "the machine was told to");
            journal.push(text.clone());
            Bytes::from(format!("{:09} {text}", command.index))
        };
        commands.iter().map(apply).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(self.0.lock().unwrap().join("\n")))
    }

    fn restore(&mut self, from: &mut dyn Read) -> std::io::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        *self.0.lock().unwrap() = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}

struct Frozen(String);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> std::io::Result<()> {
        to.write_all(self.0.as_bytes())
    }
}

/// What the nodes of a test share.
pub(super) struct Cluster {
    dir: TempDir,
    pub(super) peers: BTreeMap<NodeId, SocketAddr>,
    nodes: BTreeMap<NodeId, (Node, Journal)>,
    pub(super) config: Config,
    pub(super) snapshot_every_bytes: u64,
    /// Told by all nodes.
    pub(super) tracer: Tracer,
    /// Nodes that were started to be added.
    joined: Vec<NodeId>,
}

impl Cluster {
    pub(super) fn start(size: u64) -> Self {
        Self::with(size, Config::production(), 1 << 30)
    }

    pub(super) fn with(size: u64, config: Config, snapshot_every_bytes: u64) -> Self {
        let listeners: BTreeMap<_, _> =
            (1..=size).map(|id| (id, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let address = |l: &TcpListener| l.local_addr().unwrap();
        let peers = listeners.iter().map(|(id, l)| (*id, address(l))).collect();
        let dir = tempfile::tempdir().unwrap();
        let nodes = BTreeMap::new();
        let tracer = Tracer::off();
        let joined = vec![];
        let mut cluster = Self { dir, peers, nodes, config, snapshot_every_bytes, tracer, joined };
        for (id, listener) in listeners {
            cluster.revive_on(id, Some(listener)).unwrap();
        }
        cluster
    }

    pub(super) fn dir(&self, id: NodeId) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub(super) fn config(&self, id: NodeId) -> NodeConfig {
        let raft = self.config.clone().within_batch(SEGMENT / 2);
        NodeConfig {
            id,
            cluster: 7,
            peers: self.peers.clone(),
            dir: self.dir(id),
            raft: Config { joining: self.joined.contains(&id), ..raft },
            log: Options::new().create_if_missing(true).segment_size(SEGMENT),
            snapshot_every_bytes: self.snapshot_every_bytes,
            keep_behind: 0,
            listener: None,
            security: None,
            tracer: self.tracer.clone(),
        }
    }

    /// Starts a node that waits to be added.
    pub(super) fn join(&mut self, id: NodeId, listener: TcpListener) {
        self.joined.push(id);
        self.peers.insert(id, listener.local_addr().unwrap());
        self.revive_on(id, Some(listener)).unwrap();
    }

    pub(super) fn revive(&mut self, id: NodeId) {
        self.revive_on(id, None).unwrap();
    }

    /// Starts a node at another address than the others know.
    pub(super) fn move_to(&mut self, id: NodeId, listener: TcpListener) {
        self.revive_on(id, Some(listener)).unwrap();
    }

    fn revive_on(&mut self, id: NodeId, listener: Option<TcpListener>) -> Result<(), Error> {
        let machine = Journal::default();
        let config = NodeConfig { listener, ..self.config(id) };
        let node = Node::start(config, machine.clone())?;
        self.nodes.insert(id, (node, machine));
        Ok(())
    }

    /// Without a last sync, as a kill would.
    pub(super) fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id);
    }

    pub(super) fn shutdown(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().0.shutdown().unwrap();
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id].0
    }

    pub(super) fn handle(&self, id: NodeId) -> Handle {
        self.node(id).handle()
    }

    pub(super) fn status(&self, id: NodeId) -> Status {
        self.handle(id).status()
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = Status> {
        self.nodes.keys().map(|id| self.status(*id))
    }

    pub(super) fn commands(&self, id: NodeId) -> Vec<String> {
        self.nodes[&id].1.0.lock().unwrap().clone()
    }

    /// The leader of the newest term.
    pub(super) fn leader(&self) -> NodeId {
        let mut found = None;
        until("there is a leader", || {
            let leads = self.statuses().filter(|status| status.role == RoleName::Leader);
            found = leads.max_by_key(|status| status.term).map(|status| status.id);
            found.is_some()
        });
        found.unwrap()
    }

    /// Writes once, through whoever leads.
    pub(super) fn write(&self, command: &str) -> String {
        let start = Instant::now();
        loop {
            match propose(&self.handle(self.leader()), command) {
                Ok(reply) => return reply,
                Err(ProposeError::NotLeader { .. } | ProposeError::Busy) => {}
                Err(error) => panic!("{command}: {error}"),
            }
            assert!(start.elapsed() < WAIT, "{command} is not taken");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all running nodes have applied the same.
    pub(super) fn agree(&self) {
        until("all have applied the same", || {
            let last = self.statuses().map(|status| status.last).max().unwrap();
            self.statuses().all(|s| s.applied == last && s.commit == last)
        });
        let journals: Vec<_> = self.nodes.keys().map(|id| self.commands(*id)).collect();
        assert!(journals.windows(2).all(|pair| pair[0] == pair[1]), "{journals:?}");
    }
}

pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WAIT, "{what}: not within {WAIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn propose_later(
    handle: &Handle,
    command: &str,
) -> Receiver<Result<String, ProposeError>> {
    let (sender, receiver) = channel();
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    handle.propose(Bytes::copy_from_slice(command.as_bytes()), move |result| {
        let _gone = sender.send(result.map(text));
    });
    receiver
}

pub(super) fn propose(handle: &Handle, command: &str) -> Result<String, ProposeError> {
    propose_later(handle, command).recv_timeout(WAIT).expect("every call is answered")
}

pub(super) fn read_later(handle: &Handle) -> Receiver<Result<(), ProposeError>> {
    let (sender, receiver) = channel();
    handle.read(move |result| {
        let _gone = sender.send(result);
    });
    receiver
}

pub(super) fn read(handle: &Handle) -> Result<(), ProposeError> {
    read_later(handle).recv_timeout(WAIT).expect("every call is answered")
}
