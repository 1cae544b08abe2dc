//! redis-cli as people use it, and the same with our own client.

use hardlog_kv::{client::Connection, resp::Reply};

use crate::harness::{TestCluster, has, info, redis_cli, said, until, write_surely};

#[test]
fn redis_cli_speaks_to_the_leader() {
    if !has("redis-cli") {
        return;
    }
    let cluster = TestCluster::start();
    let leader = cluster.address(cluster.leader());
    let ask = |words: &[&str]| said(&redis_cli(leader, words, ""));
    for (words, answer) in [
        (&["PING"][..], "PONG"),
        (&["SET", "greeting", "hello world"], "OK"),
        (&["GET", "greeting"], "hello world"),
        (&["GET", "nothing"], ""),
        (&["MSET", "a", "1", "b", "2"], "OK"),
        (&["MGET", "a", "nothing", "b"], "1\n\n2"),
        (&["INCR", "a"], "2"),
        (&["INCR", "greeting"], "ERR value is not an integer or out of range"),
        (&["EXISTS", "a", "b", "nothing"], "2"),
        (&["DEL", "a", "nothing"], "1"),
        (&["DBSIZE"], "2"),
        (&["-3", "GET", "b"], "2"),
        (&["-x", "SET", "in"], "OK"),
        (&["SET", "b", "9", "NX"], ""),
        (&["SET", "b", "3", "XX", "GET"], "2"),
        (&["CAS", "b", "3", "4"], "1"),
        (&["CAS", "b", "3", "5"], "0"),
        (&["APPEND", "b", "5"], "2"),
        (&["INCRBY", "b", "5"], "50"),
        (&["DECR", "b"], "49"),
        (&["STRLEN", "b"], "2"),
        (&["TYPE", "b"], "string"),
        (&["GETDEL", "b"], "49"),
        (&["SETNX", "b", "2"], "1"),
        (&["GETSET", "b", "3"], "2"),
        (&["SET", "b", "2"], "OK"),
        (
            &["SET", "b", "2", "EX", "1"],
            "ERR keys do not expire here: EX, PX, EXAT, PXAT and KEEPTTL are not known",
        ),
        (&["SCAN", "0", "MATCH", "gr*"], "0\ngreeting"),
        (&["--scan", "--pattern", "gr*"], "greeting"),
        (&["FLUSHALL"], "ERR unknown command 'FLUSHALL'"),
        (&["CLUSTER", "KEYSLOT", "foo"], "12182"),
    ] {
        let input = if words[0] == "-x" { "from a pipe" } else { "" };
        assert_eq!(said(&redis_cli(leader, words, input)), answer, "{words:?}");
    }
    assert_eq!(ask(&["GET", "in"]), "from a pipe");
    let hello = ask(&["-3", "HELLO", "3"]);
    assert!(hello.contains("hardlog-kv") && hello.contains("proto 3"), "{hello}");
    let info = ask(&["INFO"]);
    for name in ["redis_version:", "role:leader", "term:", "commit:", "first:", "incarnation:1"] {
        assert!(info.contains(name), "{name} is not in {info}");
    }
    // Commands one after the other over one connection, as a script would send them.
    let script = "SET n 41\nINCR n\nGET n\n";
    assert_eq!(said(&redis_cli(leader, &[], script)), "OK\n42\n42");
    let script = "MULTI\nINCR n\nGET n\nEXEC\n";
    assert_eq!(said(&redis_cli(leader, &[], script)), "OK\nQUEUED\nQUEUED\n43\n43");
}

#[test]
fn redis_cli_asks_about_the_cluster_and_gives_orders() {
    if !has("redis-cli") {
        return;
    }
    let cluster = TestCluster::start();
    let (old, places) = (cluster.leader(), cluster.nodes.members());
    let leader = cluster.address(old);
    let follower = cluster.address(1 + old % 3);
    let ask = |address, words: &[&str]| said(&redis_cli(address, words, ""));
    assert_eq!(ask(leader, &["SET", "foo", "1"]), "OK");
    cluster.settle();
    // What cluster-aware clients read: one shard of all slots, the leader first.
    for address in [leader, follower] {
        let slots = ask(address, &["CLUSTER", "SLOTS"]);
        let first = format!("0\n16383\n{}\n{}\n", leader.ip(), leader.port());
        assert!(slots.starts_with(&first), "{slots}");
        for view in ["SLOTS", "SHARDS", "NODES"] {
            let text = ask(address, &["CLUSTER", view]);
            let named = |port: u16| text.contains(&port.to_string());
            let all = places.iter().all(|(_, member)| named(member.client().port()));
            assert!(all, "{view}: {text}");
        }
        let nodes = ask(address, &["CLUSTER", "NODES"]);
        let line = |port: u16| nodes.lines().find(|line| line.contains(&format!(":{port}@")));
        assert!(line(leader.port()).is_some_and(|line| line.contains("master")), "{nodes}");
        assert!(line(follower.port()).is_some_and(|line| line.contains("slave")), "{nodes}");
        let info = ask(address, &["CLUSTER", "INFO"]);
        for line in ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"] {
            assert!(info.contains(line), "{line}: {info}");
        }
        assert_eq!(ask(address, &["RAFT", "LEADER"]), format!("{old}\n{leader}"));
        assert!(ask(address, &["RAFT", "INFO"]).contains(&format!("leader:{old}")));
        let peers = ask(address, &["RAFT", "PEERS"]);
        assert_eq!(peers.matches("follower").count(), 2, "{peers}");
    }
    // A follower answers after READONLY only, and what it has.
    assert_eq!(ask(follower, &["GET", "foo"]), format!("MOVED 12182 {leader}"));
    assert_eq!(said(&redis_cli(follower, &[], "READONLY\nGET foo\n")), "OK\n1");
    // WATCH in one connection, a change by another one in between.
    let script = "WATCH foo\nMULTI\nINCR foo\nEXEC\nGET foo\n";
    assert_eq!(said(&redis_cli(leader, &[], script)), "OK\nOK\nQUEUED\n2\n2");
    assert_eq!(ask(leader, &["RAFT", "SNAPSHOT"]), "OK");
    until("a snapshot", || (info(leader, "snapshot")? != "0").then_some(()));
    let new = 1 + old % 3;
    assert_eq!(ask(leader, &["RAFT", "TRANSFER", &new.to_string()]), new.to_string());
    until("the new leader", || (cluster.leader() == new).then_some(()));
    assert_eq!(ask(follower, &["SET", "foo", "3"]), "OK");
    let moved = ask(leader, &["RAFT", "REMOVE", "9"]);
    assert_eq!(moved, format!("MOVED 0 {follower}"));
}

#[test]
fn redis_cli_follows_the_leader_from_each_node() {
    if !has("redis-cli") {
        return;
    }
    let cluster = TestCluster::start();
    let leader = cluster.address(cluster.leader());
    for (id, member) in cluster.nodes.members().iter() {
        let (key, value) = (format!("key-{id}"), format!("value-{id}"));
        let plain = said(&redis_cli(member.client(), &["GET", "foo"], ""));
        if member.client() == leader {
            assert_eq!(plain, "");
        } else {
            assert_eq!(plain, format!("MOVED 12182 {leader}"));
        }
        let set = redis_cli(member.client(), &["-c", "SET", &key, &value], "");
        assert_eq!(said(&set), "OK");
        let get = redis_cli(member.client(), &["-c", "GET", &key], "");
        assert_eq!(said(&get), value);
    }
    assert_eq!(said(&redis_cli(leader, &["DBSIZE"], "")), "3");
}

#[test]
fn our_client_follows_the_leader_and_followers_answer_what_is_theirs() {
    let cluster = TestCluster::start();
    let leader = cluster.leader();
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    cluster.settle();
    for (id, member) in cluster.nodes.members().iter().filter(|(id, _)| *id != leader) {
        let mut node = Connection::open(member.client()).unwrap();
        let moved = Reply::error(format!("MOVED 12182 {}", cluster.address(leader)));
        for words in [&["SET", "foo", "2"][..], &["GET", "foo"], &["MGET", "foo"]] {
            assert_eq!(node.call(words).unwrap(), moved, "node {id}: {words:?}");
        }
        assert_eq!(node.call(&["READONLY"]).unwrap(), Reply::OK);
        assert_eq!(node.call(&["GET", "foo"]).unwrap(), Reply::text("1"));
        assert_eq!(node.call(&["SET", "foo", "2"]).unwrap(), moved);
    }
    assert_eq!(client.call(&["GET", "foo"]).unwrap(), Reply::text("1"));
}

#[test]
fn values_of_every_size_come_back_as_they_were() {
    let cluster = TestCluster::start();
    let mut client = cluster.client();
    for len in [0, 1, 4095, 4096, 1 << 20, 8 << 20] {
        let value: Vec<u8> = (0..len).map(|n: usize| (n % 251).to_le_bytes()[0]).collect();
        write_surely(&mut client, &[b"SET", &b"k"[..], &value]);
        assert_eq!(client.call(&["GET", "k"]).unwrap(), Reply::Bulk(value.into()), "{len}");
    }
}

#[test]
fn the_longest_request_is_one_entry_of_the_log() {
    let cluster = TestCluster::start();
    let mut client = cluster.client();
    let (half, nearly) = (vec![b'a'; 8 << 20], vec![b'b'; (8 << 20) - 200]);
    let words = [b"MSET", &b"x"[..], &half, b"y", &nearly];
    write_surely(&mut client, &words);
    assert_eq!(client.call(&["GET", "y"]).unwrap(), Reply::Bulk(nearly.into()));
}
