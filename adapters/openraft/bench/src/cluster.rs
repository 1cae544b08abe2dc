//! Cluster: nodes in one process that call each other directly, and clients that write.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use openraft::{
    Config, OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2, SnapshotPolicy,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
    storage::RaftLogStorage,
    type_config::alias::{SnapshotOf, VoteOf},
};
use openraft_memstore::{BlockConfig, ClientRequest, MemStateMachine};

pub use openraft_memstore::TypeConfig as C;

type Node = Raft<C, Arc<MemStateMachine>>;
type Nodes = Arc<Mutex<BTreeMap<u64, Node>>>;

/// Bytes of a value.
const VALUE: usize = 256;

pub struct Cluster {
    nodes: Nodes,
    leader: Node,
}

pub struct Outcome {
    pub rate: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Cluster {
    pub async fn start<L: RaftLogStorage<C>>(count: u64, log: impl Fn(u64) -> L) -> Self {
        let config = Config {
            heartbeat_interval: 200,
            election_timeout_min: 1000,
            election_timeout_max: 2000,
            snapshot_policy: SnapshotPolicy::Never,
            ..Config::default()
        };
        let config = Arc::new(config.validate().expect("a valid configuration"));
        let nodes = Nodes::default();
        for id in 0..count {
            let machine = Arc::new(MemStateMachine::new(BlockConfig::default()));
            let network = Network(Arc::clone(&nodes));
            let node = Raft::new(id, Arc::clone(&config), network, log(id), machine);
            let node = node.await.expect("a node");
            nodes.lock().expect("unpoisoned").insert(id, node);
        }
        let leader = nodes.lock().expect("unpoisoned")[&0].clone();
        leader.initialize((0..count).collect::<BTreeSet<_>>()).await.expect("a new cluster");
        let wait = leader.wait(Some(Duration::from_secs(20)));
        wait.current_leader(0, "the first node leads").await.expect("a leader");
        Self { nodes, leader }
    }

    /// Clients that write one value after the other for as long.
    pub async fn write(&self, clients: usize, time: Duration) -> Outcome {
        let start = Instant::now();
        let mut tasks = Vec::new();
        for client in 0..clients {
            let leader = self.leader.clone();
            tasks.push(tokio::spawn(async move {
                let mut took = Vec::new();
                while start.elapsed() < time {
                    let request = ClientRequest {
                        client: client.to_string(),
                        serial: took.len() as u64,
                        status: "x".repeat(VALUE),
                    };
                    let began = Instant::now();
                    // Refused while the leader's lease is out: on a busy machine that happens.
                    while leader.client_write(request.clone()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    took.push(began.elapsed());
                }
                took
            }));
        }
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.expect("a client that ends"));
        }
        let elapsed = start.elapsed();
        took.sort_unstable();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        Outcome { rate: took.len() as f64 / elapsed.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }

    pub async fn stop(self) {
        let nodes: Vec<_> = self.nodes.lock().expect("unpoisoned").values().cloned().collect();
        for node in nodes {
            node.shutdown().await.expect("an orderly end");
        }
        self.nodes.lock().expect("unpoisoned").clear();
    }
}

struct Network(Nodes);

struct Peer {
    nodes: Nodes,
    target: u64,
}

impl RaftNetworkFactory<C> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &()) -> Peer {
        Peer { nodes: Arc::clone(&self.0), target }
    }
}

impl Peer {
    fn node(&self) -> Result<Node, Unreachable<C>> {
        let node = self.nodes.lock().expect("unpoisoned").get(&self.target).cloned();
        node.ok_or_else(|| Unreachable::from_string("not there"))
    }
}

impl RaftNetworkV2<C> for Peer {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<C>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let response = self.node()?.append_entries(request).await;
        Ok(response.map_err(|e| Unreachable::new(&e))?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<C>,
        _: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        Ok(self.node()?.vote(request).await.map_err(|e| Unreachable::new(&e))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Cursor<Vec<u8>>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let response = self.node()?.install_full_snapshot(vote, snapshot).await;
        Ok(response.map_err(|e| Unreachable::new(&e))?)
    }
}
