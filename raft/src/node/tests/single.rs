//! What one node does by itself.

use std::ops::ControlFlow;

use hardlog::inspect::{DumpOptions, Row, dump};

use super::cluster::{Cluster, Journal, SEGMENT, propose, read, until};
use crate::{Config, Error, Node, NodeConfig, ProposeError, RoleName};

fn alone() -> Cluster {
    Cluster::start(1)
}

#[test]
fn a_lone_node_leads_and_remembers() {
    let mut cluster = alone();
    cluster.write("a");
    read(&cluster.handle(1)).unwrap();
    cluster.kill(1);
    cluster.revive(1);
    cluster.write("b");
    assert_eq!(cluster.commands(1), ["a", "b"]);
}

#[test]
fn a_command_has_a_place_before_it_has_a_reply() {
    let cluster = alone();
    let first = cluster.write("a");
    let (sender, receiver) = std::sync::mpsc::channel();
    let done = sender.clone();
    let (status, bytes) = (cluster.status(1), cluster.handle(1).log_bytes());
    cluster.handle(1).submit(
        bytes::Bytes::from("b"),
        move |id| sender.send(format!("{:09} in {}", id.index, id.term)).unwrap(),
        move |result| done.send(String::from_utf8(result.unwrap().to_vec()).unwrap()).unwrap(),
    );
    let told: Vec<String> = receiver.into_iter().collect();
    let index = status.last + 1;
    assert_eq!(told, [format!("{index:09} in {}", status.term), format!("{index:09} b")]);
    assert!(first < told[1] && cluster.handle(1).log_bytes() > bytes);
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused() {
    let mut cluster = alone();
    cluster.write("a");
    cluster.shutdown(1);
    let mut config = cluster.config(1);
    config.cluster = 8;
    let other = Node::start(config, Journal::default()).unwrap_err();
    assert!(matches!(other, Error::WrongNode { found_cluster: 7, .. }), "{other}");
    let mut config = cluster.config(1);
    config.id = 2;
    config.peers.insert(2, "127.0.0.1:0".parse().unwrap());
    let other = Node::start(config, Journal::default()).unwrap_err();
    assert!(matches!(other, Error::WrongNode { found_id: 1, .. }), "{other}");
}

#[test]
fn a_log_that_was_used_without_a_name_is_refused() {
    let cluster = alone();
    let config = NodeConfig { dir: cluster.dir(9), ..cluster.config(1) };
    let mut log = hardlog::Log::create(cluster.dir(9), config.log.clone()).unwrap();
    log.append(&[hardlog::Entry::new(1, 1, "x")]).unwrap();
    log.close().unwrap();
    let refused = Node::start(config, Journal::default()).unwrap_err();
    assert!(matches!(refused, Error::Nameless), "{refused}");
}

#[test]
fn a_node_that_is_no_peer_or_has_a_bad_configuration_does_not_start() {
    let cluster = alone();
    let config = NodeConfig { id: 4, dir: cluster.dir(4), ..cluster.config(1) };
    let refused = Node::start(config, Journal::default()).unwrap_err();
    assert!(matches!(refused, Error::NotAPeer(4)), "{refused}");
    let raft = Config { heartbeat_ticks: 0, ..Config::production() };
    let config = NodeConfig { raft, dir: cluster.dir(5), ..cluster.config(1) };
    let refused = Node::start(config, Journal::default()).unwrap_err();
    assert!(matches!(refused, Error::Config(_)), "{refused}");
    assert!(!cluster.dir(4).exists() && !cluster.dir(5).exists(), "nothing was touched");
}

#[test]
fn limits_that_the_log_could_not_hold_at_once_are_refused_before_anything_is_promised() {
    // The log said TooLarge when it was too late: to a leader in the middle of its term.
    let cluster = alone();
    let fits = cluster.config(1).raft;
    for grow in [
        |raft: &mut Config| raft.command_bytes_max += 1,
        |raft: &mut Config| raft.append_bytes_max += 1,
        |raft: &mut Config| raft.unsaved_bytes_max += 1,
    ] {
        let mut config = NodeConfig { dir: cluster.dir(5), ..cluster.config(1) };
        config.listener = Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        config.raft = Config::production().within_batch(SEGMENT / 2);
        assert_eq!(config.raft, fits, "it runs with them");
        grow(&mut config.raft);
        let refused = Node::start(config, Journal::default()).unwrap_err();
        assert!(
            matches!(refused, Error::BatchTooSmall { batch_max, .. } if batch_max == SEGMENT / 2),
            "{refused}"
        );
    }
}

#[test]
fn an_address_beyond_loopback_is_refused() {
    let cluster = alone();
    let mut config = cluster.config(1);
    config.dir = cluster.dir(6);
    config.peers.insert(2, "192.0.2.1:9".parse().unwrap());
    config.listener = Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let refused = Node::start(config, Journal::default()).unwrap_err();
    assert!(matches!(refused, Error::Network(_)), "{refused}");
}

#[test]
fn a_command_that_is_too_large_is_refused_and_the_largest_is_taken() {
    let mut cluster = alone();
    cluster.kill(1);
    cluster.config.command_bytes_max = 1000;
    cluster.revive(1);
    cluster.write(&"x".repeat(1000));
    let refused = propose(&cluster.handle(1), &"x".repeat(1001));
    assert_eq!(refused, Err(ProposeError::TooLarge));
}

#[test]
fn a_machine_that_panics_stops_its_node_and_the_status_says_so() {
    let cluster = alone();
    cluster.write("a");
    let answer = propose(&cluster.handle(1), "panic");
    assert_eq!(answer, Err(ProposeError::Unknown));
    until("the node has stopped", || cluster.status(1).error.is_some());
    let status = cluster.status(1);
    assert!(status.error.as_ref().unwrap().contains("\"apply\" panicked"), "{status:?}");
    assert_eq!(status.role, RoleName::Follower);
    assert_eq!(propose(&cluster.handle(1), "b"), Err(ProposeError::Stopped));
}

#[test]
fn a_write_does_not_wait_for_a_tick() {
    let tick = std::time::Duration::from_millis(200);
    let (heartbeat_ticks, election_ticks_min, election_ticks_max) = (1, 2, 3);
    let config = Config {
        tick,
        heartbeat_ticks,
        election_ticks_min,
        election_ticks_max,
        ..Config::production()
    };
    let cluster = Cluster::with(1, config, 1 << 30);
    cluster.write("first");
    let start = std::time::Instant::now();
    (0..20).for_each(|i| drop(cluster.write(&format!("{i}"))));
    assert!(start.elapsed() < 10 * tick, "20 writes took {:?}", start.elapsed());
}

/// Entries of each batch that holds some, in the order in which they were written.
fn entries_by_batch(dir: &std::path::Path) -> Vec<u64> {
    let fs = hardlog::fs::disk::DiskFs::new(dir);
    let mut batches = vec![0];
    dump(&fs, &DumpOptions::default(), &mut |row| {
        match row {
            Row::Batch(_) => batches.push(0),
            Row::Entry(_) => *batches.last_mut().unwrap() += 1,
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    batches.retain(|entries| *entries > 0);
    batches
}

#[test]
fn commands_that_are_proposed_together_are_one_batch_and_are_answered_one_by_one() {
    let mut cluster = alone();
    cluster.write("first");
    let (sender, answers) = std::sync::mpsc::channel();
    let commands = (0..200).map(|i| {
        let sender = sender.clone();
        let done = move |result: Result<_, _>| sender.send((i, result.unwrap())).unwrap();
        (format!("{i}").into(), done)
    });
    cluster.handle(1).propose_all(commands);
    drop(sender);
    for (at, (i, reply)) in answers.iter().enumerate() {
        assert_eq!((at, reply), (i, format!("{:09} {i}", i + 3).into()));
    }
    assert_eq!(cluster.commands(1).len(), 201);
    cluster.shutdown(1);
    let batches = entries_by_batch(&cluster.dir(1));
    assert_eq!(batches, [1, 1, 200], "the no-op, the first one, the rest");
}

#[test]
fn what_there_is_no_room_for_is_refused_and_all_after_it() {
    let mut cluster = alone();
    cluster.kill(1);
    cluster.config.pending_max = 50;
    cluster.revive(1);
    cluster.write("first");
    let (sender, answers) = std::sync::mpsc::channel();
    let commands = (0..200).map(|i| {
        let sender = sender.clone();
        (format!("{i}").into(), move |result: Result<_, _>| sender.send((i, result)).unwrap())
    });
    cluster.handle(1).propose_all(commands);
    drop(sender);
    let answers: std::collections::BTreeMap<_, _> = answers.iter().collect();
    assert_eq!(answers.len(), 200, "every call is answered");
    let taken = answers.values().filter(|answer| answer.is_ok()).count();
    assert!((50..200).contains(&taken), "{taken} are taken");
    assert!(answers.values().take(taken).all(Result::is_ok), "the first ones");
    assert!(answers.values().skip(taken).all(|a| *a == Err(ProposeError::Busy)));
}
