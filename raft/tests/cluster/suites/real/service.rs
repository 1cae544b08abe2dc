//! ServerClient of raft-consensus: five servers on TCP, random numbers, and each is answered with
//! twice itself. There one server calls another; here a client's number goes through the log, and
//! all five servers have to come to the same answers before they end in good order.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::{Options, fs::sim::Rng};
use hardlog_raft::{
    Command, Config, FrozenSnapshot, Handle, Node, NodeConfig, NodeId, ProposeError, StateMachine,
    trace::Tracer,
};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a segment.
const SEGMENT: u64 = 1 << 20;

type Answers = Arc<Mutex<Vec<u64>>>;

/// Answers a number with twice itself, and remembers what it said.
struct Doubler(Answers);

impl StateMachine for Doubler {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let double = |command: &Command| {
            let number = command.data.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            said.push(number.wrapping_mul(2));
            Bytes::copy_from_slice(&number.wrapping_mul(2).to_le_bytes())
        };
        commands.iter().map(double).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Nothing)
    }

    fn restore(&mut self, _: &mut dyn Read) -> io::Result<()> {
        Err(io::Error::other("no snapshot is ever due"))
    }
}

struct Nothing;

impl FrozenSnapshot for Nothing {
    fn write_to(&self, _: &mut dyn Write) -> io::Result<()> {
        Err(io::Error::other("no snapshot is ever due"))
    }
}

fn config(id: NodeId, dir: &std::path::Path, listeners: &[TcpListener]) -> NodeConfig {
    let address = |listener: &TcpListener| listener.local_addr().expect("it listens");
    let own = usize::try_from(id - 1).expect("a small id");
    NodeConfig {
        id,
        cluster: 7,
        peers: (1..).zip(listeners.iter().map(address)).collect(),
        dir: dir.join(id.to_string()),
        raft: Config::classic().within_batch(SEGMENT / 2),
        log: Options::new().create_if_missing(true).segment_size(SEGMENT),
        snapshot_every_bytes: 1 << 40,
        keep_behind: 0,
        listener: Some(listeners[own].try_clone().expect("a listener can be shared")),
        security: None,
        tracer: Tracer::off(),
    }
}

/// What one server answers.
fn call(server: &Handle, number: u64) -> Result<u64, ProposeError> {
    let (answer, answered) = channel();
    let number = Bytes::copy_from_slice(&number.to_le_bytes());
    server.propose(number, move |result| drop(answer.send(result)));
    let bytes = match answered.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("no answer"),
        Ok(answer) => answer?,
    };
    Ok(u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes")))
}

/// What the cluster answers: the first server that leads.
fn ask(servers: &[Handle], number: u64) -> u64 {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        for server in servers {
            match call(server, number) {
                Ok(answer) => return answer,
                Err(ProposeError::NotLeader { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody leads");
}

#[test]
fn test_server_client() {
    let dir = tempfile::tempdir().expect("a directory");
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listeners: Vec<TcpListener> = (0..5).map(bind).collect();
    let said: BTreeMap<NodeId, Answers> = (1..=5).map(|id| (id, Answers::default())).collect();
    let start = |(id, said): (&NodeId, &Answers)| {
        let config = config(*id, dir.path(), &listeners);
        Node::start(config, Doubler(Arc::clone(said))).expect("a server starts")
    };
    let nodes: Vec<Node> = said.iter().map(start).collect();
    let handles: Vec<Handle> = nodes.iter().map(Node::handle).collect();
    let mut rng = Rng::new(1);
    let mut expected = Vec::new();
    for _ in 0..30 {
        let number = rng.next_u64() >> 1;
        assert_eq!(ask(&handles, number), number * 2);
        expected.push(number * 2);
    }
    for (id, said) in &said {
        let began = Instant::now();
        while *said.lock().unwrap_or_else(PoisonError::into_inner) != expected {
            assert!(began.elapsed() < PATIENCE, "server {id} says something else");
            thread::sleep(Duration::from_millis(5));
        }
    }
    for node in nodes {
        node.shutdown().expect("it ends in good order");
    }
}
