//! Nodes are killed and come back.

use super::cluster::{Cluster, Journal, propose, until};
use crate::{Config, Error, Node, NodeId, ProposeError};

#[test]
fn a_new_leader_takes_over_and_the_old_one_comes_back() {
    let mut cluster = Cluster::start(3);
    let mut written: Vec<String> = Vec::new();
    for round in 0..4 {
        for i in 0..10 {
            let command = format!("{round}-{i}");
            cluster.write(&command);
            written.push(command);
        }
        let leader = cluster.leader();
        cluster.kill(leader);
        let command = format!("{round}-without-{leader}");
        cluster.write(&command);
        written.push(command);
        cluster.revive(leader);
    }
    cluster.agree();
    assert_eq!(cluster.commands(1), written, "each once, in order");
}

#[test]
fn all_are_killed_at_once_and_nothing_that_was_answered_is_lost() {
    let mut cluster = Cluster::start(3);
    let mut written = Vec::new();
    for round in 0..3 {
        for i in 0..10 {
            let command = format!("{round}-{i}");
            cluster.write(&command);
            written.push(command);
        }
        (1..=3).for_each(|id| cluster.kill(id));
        (1..=3).for_each(|id| cluster.revive(id));
    }
    cluster.write("end");
    cluster.agree();
    written.push("end".to_owned());
    assert_eq!(cluster.commands(2), written);
}

#[test]
fn whoever_waits_on_a_node_that_is_killed_is_answered() {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    let leader = cluster.leader();
    let handle = cluster.handle(leader);
    let waiting: Vec<_> =
        (0..50).map(|i| super::cluster::propose_later(&handle, &format!("{i}"))).collect();
    cluster.kill(leader);
    for receiver in waiting {
        let answer = receiver.recv_timeout(super::cluster::WAIT).expect("every call is answered");
        let known = matches!(answer, Ok(_) | Err(ProposeError::Unknown | ProposeError::Stopped));
        assert!(known, "{answer:?}");
    }
    assert_eq!(propose(&handle, "late"), Err(ProposeError::Stopped));
}

#[test]
fn an_orderly_end_leaves_nothing_to_wonder_about() {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    (1..=3).for_each(|id| cluster.shutdown(id));
    (1..=3).for_each(|id| cluster.revive(id));
    for id in 1..=3 {
        assert!(cluster.node(id).recovery_report().is_clean(), "node {id}");
    }
    cluster.write("y");
    cluster.agree();
    assert_eq!(cluster.commands(1), ["x", "y"]);
}

#[test]
fn terms_and_incarnations_only_rise() {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    let seen = |cluster: &Cluster| -> Vec<(u64, u64)> {
        (1..=3).map(|id| cluster.status(id)).map(|s| (s.term, s.incarnation)).collect()
    };
    let before = seen(&cluster);
    (1..=3).for_each(|id| cluster.kill(id));
    (1..=3).for_each(|id| cluster.revive(id));
    cluster.write("y");
    // A majority took it; the third hears of the new term a little later.
    cluster.agree();
    let after = seen(&cluster);
    for (before, after) in before.iter().zip(&after) {
        assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    }
}

#[test]
fn the_classic_profile_loses_nothing_either() {
    let mut cluster = Cluster::with(3, Config::classic(), 1 << 30);
    assert!(cluster.write("a").starts_with("000000001 "), "the first command gets index 1");
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.write("b");
    cluster.revive(leader);
    cluster.agree();
    assert_eq!(cluster.commands(leader), ["a", "b"]);
}

/// A cluster, its leader, and a follower that was known, lost its directory and started again.
fn with_a_wiped_node() -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    let leader = cluster.leader();
    let victim: NodeId = if leader == 3 { 2 } else { 3 };
    let dir = cluster.dir(victim);
    until("the victim is known", || cluster.status(victim).applied >= 2);
    cluster.kill(victim);
    std::fs::remove_dir_all(dir).unwrap();
    cluster.revive(victim);
    (cluster, leader, victim)
}

#[test]
fn a_wiped_node_is_not_let_in() {
    let (cluster, leader, victim) = with_a_wiped_node();
    for i in 0..10 {
        cluster.write(&format!("{i}"));
    }
    assert_eq!(cluster.status(victim).last, 0, "nobody talks to it");
    assert_ne!(cluster.status(victim).leader, Some(leader));
}

#[test]
fn a_wiped_node_that_is_told_so_stops_and_does_not_start_again() {
    let (mut cluster, _, victim) = with_a_wiped_node();
    until("it is told", || cluster.status(victim).error.is_some());
    let error = cluster.status(victim).error.unwrap();
    assert!(error.contains("join under a new id"), "{error}");
    cluster.kill(victim);
    // Not even where nobody is left who knew it.
    (1..=3).filter(|id| *id != victim).for_each(|id| cluster.kill(id));
    let again = Node::start(cluster.config(victim), Journal::default());
    assert!(matches!(again, Err(Error::Disowned { .. })), "{:?}", again.err());
}
