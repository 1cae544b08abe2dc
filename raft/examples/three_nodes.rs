//! Three nodes in one process, on loopback and on the real disk, under load: callers that each wait
//! for their answer before they ask again. Prints writes and reads per second and latencies.
//!
//! `cargo run --release -p hardlog-raft --example three_nodes -- [CALLERS] [SECONDS] [BYTES] [DIR]`
//!
//! With a directory, each node writes its trace there.

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "only the core is pure")]

use std::{
    collections::BTreeMap,
    error::Error,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::Options;
use hardlog_raft::{
    Command, Config, FrozenSnapshot, Handle, Node, NodeConfig, ProposeError, RoleName,
    StateMachine,
    trace::{Header, Tracer},
};

/// Counts what it applies.
struct Counter(u64);

struct Frozen(u64);

impl StateMachine for Counter {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        self.0 += commands.len() as u64;
        commands.iter().map(|_| Bytes::new()).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(self.0))
    }

    fn restore(&mut self, from: &mut dyn Read) -> std::io::Result<()> {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> std::io::Result<()> {
        to.write_all(&self.0.to_le_bytes())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = |or: u64| args.next().map_or(Ok(or), |arg| arg.parse());
    let (callers, seconds, bytes) = (number(50)?, number(5)?, number(100)?);
    let trace = args.next().map(PathBuf::from);
    let dir = tempfile::tempdir()?;
    let nodes = start(dir.path(), trace.as_deref())?;
    let leader = loop {
        let led = nodes.iter().find(|node| node.handle().status().role == RoleName::Leader);
        if let Some(leader) = led {
            break leader.handle();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let payload = Bytes::from(vec![b'x'; usize::try_from(bytes)?]);
    let write = |handle: &Handle| {
        let (sender, receiver) = channel();
        handle.propose(payload.clone(), move |result| {
            let _caller_is_gone = sender.send(result.map(drop));
        });
        receiver.recv().unwrap_or(Err(ProposeError::Stopped))
    };
    let read = |handle: &Handle| {
        let (sender, receiver) = channel();
        handle.read(move |result| {
            let _caller_is_gone = sender.send(result);
        });
        receiver.recv().unwrap_or(Err(ProposeError::Stopped))
    };
    measure("writes", callers, seconds, &leader, &write);
    measure("reads", callers, seconds, &leader, &read);
    for node in nodes {
        node.shutdown()?;
    }
    Ok(())
}

fn start(dir: &Path, trace: Option<&Path>) -> Result<Vec<Node>, Box<dyn Error>> {
    let mut listeners = BTreeMap::new();
    for id in 1..=3 {
        listeners.insert(id, TcpListener::bind("127.0.0.1:0")?);
    }
    let mut peers = BTreeMap::new();
    for (id, listener) in &listeners {
        peers.insert(*id, listener.local_addr()?);
    }
    let mut nodes = Vec::new();
    for (id, listener) in listeners {
        let config = NodeConfig {
            id,
            cluster: 1,
            peers: peers.clone(),
            dir: dir.join(id.to_string()),
            raft: Config::production(),
            log: Options::new().create_if_missing(true),
            snapshot_every_bytes: 64 << 20,
            keep_behind: 10_000,
            listener: Some(listener),
            security: None,
            tracer: match trace {
                Some(dir) => {
                    let header = Header::of_process("three_nodes", vec![1, 2, 3]);
                    Tracer::to_file(dir.join(format!("{id}.ndjson")), &header)?
                }
                None => Tracer::off(),
            },
        };
        nodes.push(Node::start(config, Counter(0))?);
    }
    Ok(nodes)
}

fn measure(
    what: &str,
    callers: u64,
    seconds: u64,
    leader: &Handle,
    call: &(impl Fn(&Handle) -> Result<(), ProposeError> + Sync),
) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let caller = || {
            let mut took = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                match call(leader) {
                    Ok(()) => took.push(start.elapsed()),
                    Err(error) => println!("{what}: {error}"),
                }
            }
            took
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 1000).copied().unwrap_or_default();
    let rate = took.len() as u64 / seconds.max(1);
    println!(
        "{callers} callers: {rate} {what}/s, p50 {:?}, p99 {:?}, most {:?}",
        at(500),
        at(990),
        at(999)
    );
}
