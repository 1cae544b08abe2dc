//! The cluster changes while it runs: RAFT in the hands of an operator.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use hardlog_kv::{
    client::{Client, Connection},
    resp::Reply,
};

use crate::harness::{PATIENCE, PROGRAM, TestCluster, info, until};

/// A node beside the cluster's own; it ends with this.
struct Extra(Child);

impl Drop for Extra {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives an order to whoever leads, until it is carried out.
fn order(cluster: &TestCluster, words: &[&str]) {
    until("an order to be carried out", || {
        let mut node = Connection::open(cluster.address(cluster.leader())).ok()?;
        matches!(node.call(words), Ok(Reply::Integer(_))).then_some(())
    });
}

/// What RAFT PEERS of the leader says of a node's role.
fn role(cluster: &TestCluster, id: u64) -> Option<String> {
    let mut node = Connection::open(cluster.address(cluster.leader())).ok()?;
    let Ok(Reply::Array(peers)) = node.call(&["RAFT", "PEERS"]) else { return None };
    let of = |peer: &Reply, name: &str| {
        let Reply::Array(words) = peer else { panic!("{peer:?}") };
        let at = words.iter().position(|word| *word == Reply::text(name)).unwrap();
        words[at + 1].clone()
    };
    let id = Reply::Integer(i64::try_from(id).unwrap());
    let peer = peers.iter().find(|peer| of(peer, "id") == id)?;
    match of(peer, "role") {
        Reply::Bulk(role) => Some(String::from_utf8(role.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn leadership_goes_where_an_operator_wants_it() {
    let cluster = TestCluster::start();
    let old = cluster.leader();
    let new = (1..=3).find(|id| *id != old).unwrap();
    order(&cluster, &["RAFT", "TRANSFER", &new.to_string()]);
    until("the new leader", || (cluster.leader() == new).then_some(()));
    // It leads before the others have heard of it.
    let address = Reply::text(cluster.address(new).to_string());
    let expected = Reply::Array(vec![Reply::Integer(i64::try_from(new).unwrap()), address]);
    until("the old leader knows the new one", || {
        let reply = Connection::open(cluster.address(old)).ok()?.call(&["RAFT", "LEADER"]).ok()?;
        (reply == expected).then_some(())
    });
    assert_eq!(cluster.client().call(&["SET", "k", "v"]).unwrap(), Reply::OK);
}

#[test]
fn a_node_is_added_catches_up_votes_and_clients_find_it_and_one_is_removed() {
    let cluster = TestCluster::start();
    let mut client = cluster.client();
    for n in 0..50 {
        assert_eq!(client.call(&["SET", &format!("key-{n}"), "v"]).unwrap(), Reply::OK);
    }
    let dir = tempfile::tempdir().unwrap();
    // Ports that were free a moment ago; nobody else on this machine asks for them by number.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (client_port, raft_port) = (free(), free());
    let place = format!("127.0.0.1:{client_port}@{raft_port}");
    let address: SocketAddr = format!("127.0.0.1:{client_port}").parse().unwrap();
    let arguments = cluster.nodes.serve_arguments(1);
    let number = arguments.iter().find(|argument| argument.starts_with("--cluster=")).unwrap();
    let child = Command::new(PROGRAM)
        .args(["serve", "--id=4", "--create", "--join", number])
        .arg(format!("--dir={}", dir.path().join("node-4").display()))
        .arg(format!("--peers={},4={place}", cluster.nodes.members()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _extra = Extra(child);
    until("the new node", || Connection::open(address).ok());
    order(&cluster, &["RAFT", "ADD", "4", &place]);
    until("a fourth voter", || (role(&cluster, 4)? == "follower").then_some(()));
    let commit = info(cluster.address(cluster.leader()), "commit").unwrap().parse::<u64>().unwrap();
    until("the new node to catch up", || {
        (info(address, "applied")?.parse::<u64>().ok()? >= commit).then_some(())
    });
    let mut node = Connection::open(address).unwrap();
    node.call(&["READONLY"]).unwrap();
    assert_eq!(node.call(&["GET", "key-49"]).unwrap(), Reply::text("v"));
    // It leads, and the others, which were not started with it, send clients there.
    order(&cluster, &["RAFT", "TRANSFER", "4"]);
    until("the new node as leader", || (info(address, "role")? == "leader").then_some(()));
    let moved = Reply::error(format!("MOVED 12182 {address}"));
    until("the others to know", || {
        let mut other = Connection::open(cluster.address(1)).ok()?;
        (other.call(&["GET", "foo"]).ok()? == moved).then_some(())
    });
    let mut client = Client::new(vec![cluster.address(1)], PATIENCE);
    assert_eq!(client.call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    assert_eq!(client.address(), Some(address));
    // The leader removes itself; another takes over, and has everything.
    let removed = client.call(&["RAFT", "REMOVE", "4"]).unwrap();
    assert!(matches!(removed, Reply::Integer(_)), "{removed:?}");
    until("three members", || role(&cluster, 4).is_none().then_some(()));
    assert_eq!(cluster.client().call(&["GET", "foo"]).unwrap(), Reply::text("1"));
}

#[test]
fn a_snapshot_is_taken_when_an_operator_wants_one() {
    let cluster = TestCluster::start();
    assert_eq!(cluster.client().call(&["SET", "k", "v"]).unwrap(), Reply::OK);
    let leader = cluster.address(cluster.leader());
    assert_eq!(info(leader, "snapshot").as_deref(), Some("0"));
    let asked = Connection::open(leader).unwrap().call(&["RAFT", "SNAPSHOT"]).unwrap();
    assert_eq!(asked, Reply::OK);
    until("a snapshot", || (info(leader, "snapshot")? != "0").then_some(()));
}
