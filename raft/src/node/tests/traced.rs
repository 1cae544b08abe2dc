//! What running nodes tell of themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::{Cluster, until};
use crate::trace::{Event, Header, Part, Reader, Tracer, What};

/// Three nodes that are told to tell everything, from their second start on.
fn traced(path: &std::path::Path) -> Cluster {
    let mut cluster = Cluster::start(3);
    let header = Header::of_process("test", vec![1, 2, 3]);
    cluster.tracer = Tracer::to_file(path, &header).unwrap();
    for id in 1..=3 {
        cluster.shutdown(id);
    }
    for id in 1..=3 {
        cluster.revive(id);
    }
    cluster
}

fn events(path: &std::path::Path) -> Vec<Event> {
    let bytes = std::fs::read(path).unwrap();
    Reader::new(&bytes[..]).unwrap().map(Result::unwrap).collect()
}

#[test]
fn messages_are_found_at_both_ends_and_every_node_tells_its_roles_and_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let mut cluster = traced(&path);
    (0..30).for_each(|i| drop(cluster.write(&format!("{i}"))));
    let killed = cluster.leader();
    cluster.kill(killed);
    cluster.write("another leader");
    cluster.revive(killed);
    cluster.agree();
    let leader = cluster.leader();
    until("the last commit is told", || {
        let last = cluster.status(leader).commit;
        events(&path).iter().any(|e| matches!(e.what, What::Commit { index, .. } if index == last))
    });
    let events = events(&path);
    let mut sent = BTreeMap::new();
    let (mut arrived, mut leaders) = (0, BTreeSet::new());
    let (mut synced, mut applied) = (BTreeSet::new(), BTreeMap::new());
    for Event { node, what, .. } in &events {
        match what {
            What::Send(message) => {
                let before = sent.insert(message.m, (*node, message.to, message.kind.clone()));
                assert_eq!(before, None, "message {} leaves twice", message.m);
            }
            What::Recv { m, from, kind } => {
                assert_eq!(sent.get(m), Some(&(*from, *node, kind.clone())));
                arrived += 1;
            }
            What::Role { term, role: Part::Leader, .. } => {
                assert!(leaders.insert(*term), "two leaders of term {term}");
            }
            What::Sync { .. } => drop(synced.insert(*node)),
            What::Recover { verdict, .. } => {
                assert_eq!(verdict, "clean-end");
                applied.remove(node);
            }
            What::Apply { first, last } => {
                let before = applied.insert(*node, *last).unwrap_or(first - 1);
                assert_eq!(before + 1, *first, "node {node}");
            }
            _ => {}
        }
    }
    assert!(arrived > 100 && leaders.len() >= 2, "{arrived} {leaders:?}");
    assert_eq!(synced.len(), 3);
    let last = cluster.status(leader).applied;
    assert_eq!(applied, BTreeMap::from([(1, last), (2, last), (3, last)]));
}
