//! The program's own commands, as a person runs them.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use hardlog_kv::client::Connection;

use crate::harness::{PROGRAM, until};

/// `hardlog-kv cluster`, running.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// `HOST:PORT` of each node.
    nodes: Vec<String>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["cluster", "--nodes", "3", "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, out, nodes: Vec::new() };
        loop {
            let mut line = String::new();
            assert_ne!(running.out.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, rest)) = line.split_once(": ")
                && line.starts_with("node ")
            {
                running.nodes.push(rest.split(',').next().unwrap().to_owned());
            }
            if line.contains("Ctrl-C") {
                return running;
            }
        }
    }

    fn client(&self, words: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(["client", "--patience", "20", "--connect", &self.nodes.join(",")])
            .args(words)
            .output()
            .unwrap()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Nobody listens any more.
    fn await_silence(&self) {
        for node in &self.nodes {
            let address = node.parse().unwrap();
            until("the end of the nodes", || Connection::open(address).is_err().then_some(()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_cluster_stops_with_ctrl_c_and_goes_on_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Running::start(dir.path());
    let set = first.client(&["SET", "greeting", "hello"]);
    assert_eq!((text(&set).as_str(), set.status.code()), ("OK\n", Some(0)));
    first.signal("-INT");
    assert!(first.child.wait().unwrap().success());
    first.await_silence();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut first.out, &mut rest).unwrap();
    assert_eq!(rest, "stopping\n");
    let said = std::fs::read_to_string(dir.path().join("node-1.out")).unwrap();
    // All stop at once, so the leader finds nobody to hand over to and says so in between.
    assert!(said.contains("node 1: stopping: the end of standard input\n"), "{said}");
    assert!(said.ends_with("node 1: stopped\n"), "{said}");

    let second = Running::start(dir.path());
    assert_eq!(second.nodes, first.nodes);
    assert_eq!(text(&second.client(&["GET", "greeting"])), "hello\n");
    second.signal("-TERM");
    second.await_silence();
}

#[test]
fn nodes_do_not_outlive_a_cluster_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Running::start(dir.path());
    cluster.child.kill().unwrap();
    cluster.child.wait().unwrap();
    cluster.await_silence();
}

#[test]
fn a_node_that_is_killed_is_reported_and_not_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Running::start(dir.path());
    let address = cluster.nodes[1].parse().unwrap();
    let info = crate::harness::info(address, "process_id").unwrap();
    assert!(Command::new("kill").args(["-KILL", &info]).status().unwrap().success());
    let mut lines = String::new();
    cluster.out.read_line(&mut lines).unwrap();
    cluster.out.read_line(&mut lines).unwrap();
    assert!(lines.contains("node 2 ended (signal: 9"), "{lines}");
    assert!(lines.contains("hardlog-kv serve --id=2"), "{lines}");
    assert_eq!(text(&cluster.client(&["SET", "a", "1"])), "OK\n");
    assert!(Connection::open(address).is_err());
}

#[test]
fn the_client_s_exit_code_tells_a_refusal_and_an_absence() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Running::start(dir.path());
    let refused = cluster.client(&["NONSENSE"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused), "ERR unknown command 'NONSENSE'\n");
    let negative = cluster.client(&["SET", "-n", "--1"]);
    assert_eq!(text(&negative), "OK\n");
    cluster.signal("-TERM");
    cluster.await_silence();
    let absent = Command::new(PROGRAM)
        .args(["client", "--patience", "0.1", "--connect", &cluster.nodes.join(","), "PING"])
        .output()
        .unwrap();
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("no node took the request"));
}

#[test]
fn the_demonstration_ends_well() {
    // A directory that is named from where the program stands, as a person would.
    let here = tempfile::tempdir().unwrap();
    let mut demo = Command::new(PROGRAM);
    let output = demo.args(["demo", "--dir", "shown"]).current_dir(&here).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for step in [
        "killed with SIGKILL",
        "its last write torn: 700 bytes",
        "was elected",
        "comes back",
        "unproven tail",
        "has caught up",
        "has all",
        "all nodes stopped",
        "| node 3: CLEAN",
    ] {
        assert!(said.contains(step), "{step:?} is not in\n{said}");
    }
}
