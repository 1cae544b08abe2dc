//! Logs are compacted, and followers that miss what is gone get a snapshot.

use super::cluster::{Cluster, until};
use crate::Config;

fn cluster() -> Cluster {
    let config = Config { snapshot_chunk_bytes: 512, ..Config::production() };
    Cluster::with(3, config, 2000)
}

fn write(cluster: &Cluster, from: usize, count: usize) -> Vec<String> {
    let commands: Vec<String> =
        (from..from + count).map(|i| format!("command number {i}")).collect();
    commands.iter().for_each(|command| drop(cluster.write(command)));
    commands
}

#[test]
fn a_log_is_compacted_and_a_restart_begins_at_the_snapshot() {
    let mut cluster = cluster();
    let mut written = write(&cluster, 0, 150);
    cluster.agree();
    until("all took snapshots", || cluster.statuses().all(|status| status.snapshot > 0));
    until("all trimmed", || cluster.statuses().all(|status| status.first > 1));
    (1..=3).for_each(|id| cluster.kill(id));
    (1..=3).for_each(|id| cluster.revive(id));
    written.extend(write(&cluster, 150, 10));
    cluster.agree();
    assert_eq!(cluster.commands(1), written);
}

#[test]
fn a_follower_that_misses_what_was_trimmed_gets_a_snapshot_in_pieces() {
    let mut cluster = cluster();
    let mut written = write(&cluster, 0, 5);
    cluster.agree();
    let leader = cluster.leader();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    cluster.kill(follower);
    written.extend(write(&cluster, 5, 200));
    until("the leader trimmed", || cluster.status(cluster.leader()).first > 100);
    cluster.revive(follower);
    written.extend(write(&cluster, 205, 5));
    cluster.agree();
    assert_eq!(cluster.commands(follower), written);
    let status = cluster.status(follower);
    assert!(status.snapshot > 100 && status.first > 100, "{status:?}");
    // And it remembers all of it.
    cluster.kill(follower);
    cluster.revive(follower);
    written.extend(write(&cluster, 210, 1));
    cluster.agree();
    assert_eq!(cluster.commands(follower), written);
}
