//! The main job: the leader is killed again and again while clients write, and nothing that was
//! acknowledged is missing on any node.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hardlog_kv::{
    client::{Client, Connection},
    resp::Reply,
};

use crate::harness::{PATIENCE, TestCluster, has, info, redis_cli, said, until};

const KILLS: usize = 10;

type Writes = BTreeMap<String, String>;

/// Ends the writers, also when the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes with one redis-cli process per key, from node to node, until told to stop.
fn write_with_redis_cli(addresses: &[SocketAddr], stop: &AtomicBool) -> Writes {
    let mut acknowledged = Writes::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("redis-{n}"), format!("value-{n}"));
        let address = addresses[n % addresses.len()];
        let output = redis_cli(address, &["-c", "SET", &key, &value], "");
        if said(&output) == "OK" {
            acknowledged.insert(key, value);
        }
    }
    acknowledged
}

/// Writes and counts with our own client; returns what was acknowledged, and between which bounds
/// the counter must be.
fn write_with_client(
    addresses: &[SocketAddr],
    stop: &AtomicBool,
) -> (Writes, std::ops::RangeInclusive<i64>) {
    let mut client = Client::new(addresses.to_vec(), PATIENCE);
    let (mut acknowledged, mut counted, mut unsure) = (Writes::new(), 0, 0);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("own-{n}"), format!("value-{n}-{}", "x".repeat(n % 3000)));
        if let Ok(Reply::Simple(_)) = client.call(&["SET", &key, &value]) {
            acknowledged.insert(key, value);
        }
        match client.call(&["INCR", "counter"]) {
            Ok(Reply::Integer(_)) => counted += 1,
            _ => unsure += 1,
        }
    }
    (acknowledged, counted..=counted + unsure)
}

#[test]
fn ten_leaders_are_killed_and_every_acknowledged_write_is_on_every_node() {
    let with_redis = has("redis-cli");
    // Short elections: what the test is about is what happens around them.
    let mut cluster = TestCluster::start_with(&["--tick=20"]);
    let addresses = cluster.nodes.addresses();
    let stop = AtomicBool::new(false);
    let (redis, (own, counter)) = std::thread::scope(|scope| {
        let redis = with_redis.then(|| scope.spawn(|| write_with_redis_cli(&addresses, &stop)));
        let own = scope.spawn(|| write_with_client(&addresses, &stop));
        let end = StopAtEnd(&stop);
        for _ in 0..KILLS {
            let leader = cluster.leader();
            std::thread::sleep(Duration::from_millis(300));
            cluster.nodes.kill(leader).unwrap();
            let next = cluster.leader();
            assert_ne!(next, leader, "a dead node leads");
            std::thread::sleep(Duration::from_millis(200));
            cluster.nodes.start(leader).unwrap();
        }
        drop(end);
        (redis.map(|redis| redis.join().unwrap()).unwrap_or_default(), own.join().unwrap())
    });
    assert!(own.len() > 10 * KILLS, "only {} writes of our client", own.len());
    assert!(!with_redis || redis.len() > 10 * KILLS, "only {} writes of redis-cli", redis.len());
    cluster.settle();
    let mut sizes = Vec::new();
    for (id, member) in cluster.nodes.members().iter() {
        let mut node = Connection::open(member.client()).unwrap();
        node.call(&["READONLY"]).unwrap();
        for (key, value) in redis.iter().chain(&own) {
            let found = node.call(&["GET", key]).unwrap();
            assert_eq!(found, Reply::text(value.as_str()), "{key} on node {id}");
        }
        let Reply::Bulk(count) = node.call(&["GET", "counter"]).unwrap() else {
            panic!("node {id} has no counter");
        };
        let count: i64 = String::from_utf8(count.to_vec()).unwrap().parse().unwrap();
        assert!(counter.contains(&count), "{count} on node {id}, but counted {counter:?}");
        sizes.push((node.call(&["DBSIZE"]).unwrap(), info(member.client(), "bytes"), count));
    }
    assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "nodes differ: {sizes:?}");
}

#[test]
fn all_nodes_are_killed_at_once_and_come_back_with_everything() {
    let mut cluster = TestCluster::start();
    let mut client = cluster.client();
    for n in 0..200 {
        let (key, value) = (format!("key-{n}"), format!("value-{n}"));
        assert_eq!(client.call(&["SET", &key, &value]).unwrap(), Reply::OK);
    }
    for id in 1..=3 {
        cluster.nodes.kill(id).unwrap();
    }
    cluster.nodes.start_all().unwrap();
    let mut client = cluster.client();
    for n in 0..200 {
        let value = Reply::text(format!("value-{n}"));
        assert_eq!(client.call(&["GET", &format!("key-{n}")]).unwrap(), value);
    }
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_nothing_is_read() {
    let mut cluster = TestCluster::start();
    let leader = cluster.leader();
    assert_eq!(cluster.client().call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.nodes.kill(id).unwrap();
    }
    let mut node = Connection::open(cluster.address(leader)).unwrap();
    // The old leader may still believe in itself; what it says to a write is that nobody knows.
    let reply = node.call(&["SET", "foo", "2"]).unwrap();
    assert!(matches!(&reply, Reply::Error(_)), "{reply:?}");
    let down = until("a cluster that is down", || {
        let reply = node.call(&["SET", "foo", "3"]).unwrap();
        matches!(&reply, Reply::Error(text) if text.starts_with(b"CLUSTERDOWN")).then_some(reply)
    });
    assert_eq!(node.call(&["GET", "foo"]).unwrap(), down);
}

/// The values of all keys on one node, whatever it plays.
fn values(cluster: &TestCluster, id: u64, keys: &[String]) -> Reply {
    let mut node = Connection::open(cluster.address(id)).unwrap();
    node.call(&["READONLY"]).unwrap();
    let mut words = vec!["MGET".to_owned()];
    words.extend_from_slice(keys);
    node.call(&words).unwrap()
}

#[test]
fn a_node_that_missed_what_was_trimmed_gets_a_snapshot_and_all_start_again_from_theirs() {
    let mut cluster = TestCluster::start_with(&["--snapshot-every=1", "--keep-behind=10"]);
    let late = (1..=3).find(|id| *id != cluster.leader()).unwrap();
    cluster.nodes.kill(late).unwrap();
    let (mut client, mut keys) = (cluster.client(), Vec::new());
    for n in 0..60 {
        let (key, value) = (format!("key-{n}"), format!("{n}-").repeat(25_000));
        assert_eq!(client.call(&["SET", &key, &value]).unwrap(), Reply::OK);
        keys.push(key);
    }
    client.call(&["DEL", "key-3"]).unwrap();
    let leader = cluster.address(cluster.leader());
    let number = |address, name| info(address, name).unwrap().parse::<u64>().unwrap();
    until("a log that was trimmed", || (number(leader, "first") > 10).then_some(()));

    cluster.nodes.start(late).unwrap();
    cluster.settle();
    assert!(number(cluster.address(late), "snapshot") > 10);
    let expected = client.call(&[&["MGET".to_owned()], &keys[..]].concat()).unwrap();
    for id in 1..=3 {
        assert!(values(&cluster, id, &keys) == expected, "node {id} differs");
    }

    for id in 1..=3 {
        cluster.nodes.kill(id).unwrap();
    }
    cluster.nodes.start_all().unwrap();
    cluster.settle();
    for id in 1..=3 {
        assert!(values(&cluster, id, &keys) == expected, "node {id} differs after a restart");
    }
    assert_eq!(cluster.client().call(&["DBSIZE"]).unwrap(), Reply::Integer(59));
}

#[test]
fn a_node_whose_directory_is_lost_does_not_start_as_a_fresh_one() {
    let mut cluster = TestCluster::start();
    cluster.nodes.kill(2).unwrap();
    std::fs::remove_dir_all(cluster.nodes.node_dir(2)).unwrap();
    let error = cluster.nodes.start(2).unwrap_err().to_string();
    assert!(error.contains("node 2 ended") && error.contains("hardlog-kv:"), "{error}");
    // The other two are a majority and go on.
    assert_eq!(cluster.client().call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
}
