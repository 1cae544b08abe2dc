//! One node: its log, its Raft, and a task for each connection.

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use hardlog::{Log, Options, SnapshotStore};
use hardlog_openraft::{
    Bincode,
    v0_10::{LogStore, StateMachine, receive},
};
use openraft::{BasicNode, Config, Raft, ReadPolicy, Snapshot, SnapshotPolicy};
use serde_json::{Value, to_value as json};
use tokio::{
    io::{AsyncBufReadExt, BufStream},
    net::{TcpSocket, TcpStream},
};

use crate::{
    network::{Network, Request, send},
    store::{C, Store},
};

#[derive(Clone)]
struct Node {
    raft: Raft<C, StateMachine<C, Store>>,
    store: Arc<RwLock<Store>>,
    snapshots: SnapshotStore,
}

#[expect(clippy::print_stderr, reason = "a program")]
pub(crate) async fn run(id: u64, dir: &str, addrs: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let (log, report) = Log::open(dir, Options::new().create_if_missing(true))?;
    eprintln!("node {id}: {report}");
    if report.maybe_lost.is_some() {
        return Err(
            "entries may be lost that this node had acknowledged: make it a new node".into()
        );
    }
    let log = LogStore::<C>::new(log);
    let machine = StateMachine::open(&log, Store::default())?;
    let (store, snapshots) = (machine.app(), machine.snapshots());
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 400,
        election_timeout_max: 800,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(200),
        max_in_snapshot_log_to_keep: 50,
        ..Config::default()
    };
    let raft = Raft::new(id, Arc::new(config.validate()?), Network, log, machine).await?;

    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(*addrs.get(usize::try_from(id)?.wrapping_sub(1)).ok_or("no such node")?)?;
    let listener = socket.listen(64)?;
    // Refused where the cluster exists already: then this node knows its members.
    let members = (1..).zip(addrs.iter().map(BasicNode::new));
    let _ = raft.initialize(members.collect::<BTreeMap<_, _>>()).await;
    let node = Node { raft, store, snapshots };
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(node.clone().serve(BufStream::new(connection)));
    }
}

impl Node {
    /// Answers one connection until it ends or says what is no request.
    async fn serve(self, mut connection: BufStream<TcpStream>) {
        let mut line = String::new();
        while connection.read_line(&mut line).await.is_ok_and(|len| len > 0) {
            let Ok(request) = serde_json::from_str(&line) else { return };
            line.clear();
            let answer = self.answer(request).await.map_err(|e| e.to_string());
            if send(&mut connection, &answer).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, request: Request) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Ok(match request {
            Request::Append(request) => json(&self.raft.append_entries(request).await?)?,
            Request::Vote(request) => json(&self.raft.vote(request).await?)?,
            Request::Snapshot(vote, meta, bytes) => {
                let file = receive::<C, Bincode>(&self.snapshots, &meta, &mut bytes.as_slice())?;
                let snapshot = Snapshot { meta, snapshot: file };
                json(&self.raft.install_full_snapshot(vote, snapshot).await?)?
            }
            Request::Set(set) => {
                self.raft.client_write(set).await?;
                Value::Null
            }
            Request::Get(key) => {
                self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await?;
                let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
                json(store.0.get(&key))?
            }
        })
    }
}
