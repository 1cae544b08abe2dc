//! A cluster-aware client library finds the leader, and finds the next one.

use std::process::Command;

use crate::harness::{TestCluster, skipped};

/// Writes with each node as the first contact and prints where that went; then, once it is told to
/// go on, until a write is taken. A client that lost the leader is made anew: this library cannot
/// look again at nodes whose connections it holds.
const SCRIPT: &str = r#"
import sys, time
from redis.cluster import RedisCluster, ClusterNode
def connect(ports):
    return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", int(port)) for port in ports])
for port in sys.argv[1:]:
    client = connect([port])
    client.set("by-" + port, port)
    assert client.get("by-" + port) == port.encode(), port
    assert client.incrby("count", 2) % 2 == 0
    print(client.get_node_from_key("count").port, flush=True)
sys.stdin.readline()
deadline = time.time() + 20
while True:
    try:
        client = connect(sys.argv[1:])
        client.set("after", "1")
        break
    except Exception:
        if time.time() > deadline:
            raise
        time.sleep(0.1)
print(client.get("after").decode(), client.get_node_from_key("after").port, flush=True)
"#;

#[test]
fn a_cluster_client_in_python_follows_the_leader() {
    // Not a pyenv's own python, which has its own libraries.
    let python = "/usr/bin/python3";
    let probe = Command::new(python).args(["-c", "import redis.cluster"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped("a client library for Python (Debian's python3-redis has it)");
    }
    let mut cluster = TestCluster::start();
    let leader = cluster.leader();
    let ports: Vec<String> =
        cluster.nodes.members().iter().map(|(_, member)| member.client_port.to_string()).collect();
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .args(&ports)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        // The library complains there of every connection that it loses.
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        line.trim().to_owned()
    };
    for _ in &ports {
        assert_eq!(line(), cluster.address(leader).port().to_string());
    }
    cluster.nodes.kill(leader).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    let next = cluster.leader();
    assert_eq!(line(), format!("1 {}", cluster.address(next).port()));
    assert!(child.wait().unwrap().success());
}
