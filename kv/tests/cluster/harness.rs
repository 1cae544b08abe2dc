//! A cluster for a test, and the tools to look at it.

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use hardlog_kv::{
    client::{Client, Connection},
    local::{LocalCluster, NodeOptions},
    resp::Reply,
};
use tempfile::TempDir;

/// How long anything may take that a cluster does by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_hardlog-kv");

/// Three nodes; they end, and their files go, when this is dropped.
pub(crate) struct TestCluster {
    pub(crate) nodes: LocalCluster,
    /// Removed with this; after the nodes, which are dropped first.
    _dir: TempDir,
}

impl TestCluster {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments for each node.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self::start_prepared(|_| arguments, |_, _| ())
    }

    /// With arguments for its directory, and something to do there before the nodes start.
    pub(crate) fn start_prepared(
        arguments: impl FnOnce(&Path) -> Vec<String>,
        prepare: impl FnOnce(&Path, &mut LocalCluster),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arguments = arguments(dir.path());
        let options = NodeOptions { program: PROGRAM.into(), arguments };
        let mut nodes = LocalCluster::open(dir.path(), 3, options).unwrap();
        prepare(dir.path(), &mut nodes);
        nodes.start_all().unwrap();
        let cluster = Self { nodes, _dir: dir };
        cluster.leader();
        cluster
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.nodes.addresses(), PATIENCE)
    }

    pub(crate) fn address(&self, id: u64) -> SocketAddr {
        self.nodes.members().client(id).unwrap()
    }

    /// Sends a signal to a node's process.
    pub(crate) fn signal(&self, id: u64, signal: &str) {
        let process = self.nodes.process_id(id).unwrap().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    /// Waits until a running node says that it leads.
    pub(crate) fn leader(&self) -> u64 {
        let running = || {
            let ids = self.nodes.members().iter().map(|(id, _)| id);
            ids.filter(|id| self.nodes.process_id(*id).is_some())
        };
        until("a leader", || {
            running().find(|id| info(self.address(*id), "role").as_deref() == Some("leader"))
        })
    }

    /// Waits until every node has applied what the leader has committed.
    pub(crate) fn settle(&self) {
        let number = |id, name| info(self.address(id), name)?.parse::<u64>().ok();
        let commit = number(self.leader(), "commit").unwrap();
        for (id, _) in self.nodes.members().iter() {
            until("a node that caught up", || {
                number(id, "applied").filter(|applied| *applied >= commit)
            });
        }
    }
}

/// Writes what may be written twice, again while its outcome is unknown: on a busy machine a leader
/// may be replaced at any time.
pub(crate) fn write_surely(client: &mut Client, words: &[impl AsRef<[u8]>]) {
    until("a write that is acknowledged", || match client.call(words).unwrap() {
        Reply::Error(text) if text.starts_with(b"UNKNOWN") => None,
        reply => {
            assert_eq!(reply, Reply::OK);
            Some(())
        }
    });
}

/// Looks until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A value of a node's INFO.
pub(crate) fn info(address: SocketAddr, name: &str) -> Option<String> {
    let Reply::Bulk(text) = Connection::open(address).ok()?.call(&["INFO"]).ok()? else {
        panic!("INFO is a text");
    };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.to_owned())
}

/// Whether a program of Redis is there; says so where it is not, and fails where it must be.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skipped(&format!("{program} (Debian's redis-tools has it)"));
    }
    found
}

/// Says that a test cannot run here for want of something, and fails where that must be there.
pub(crate) fn skipped(wanted: &str) {
    assert!(std::env::var_os("HARDLOG_REQUIRE_PROGRAMS").is_none(), "missing: {wanted}");
    std::io::stderr().write_all(format!("SKIPPED: not installed: {wanted}\n").as_bytes()).unwrap();
}

/// Runs redis-cli against one node.
pub(crate) fn redis_cli(address: SocketAddr, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("redis-cli")
        .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(arguments)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().unwrap()
}

/// What redis-cli printed, without the line end.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned()
}
