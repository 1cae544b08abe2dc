//! Whole nodes over real logs, in one process, on loopback. Dropping a node is killing it.

mod cluster;
mod crashes;
mod membership;
mod metered;
mod single;
mod snapshots;
mod traced;

use std::time::Duration;

use self::cluster::Cluster;
use crate::{ProposeError, RoleName};

#[test]
fn three_nodes_elect_a_leader_and_apply_the_same_commands() {
    let cluster = Cluster::start(3);
    let replies: Vec<_> = (0..50).map(|i| cluster.write(&format!("c{i}"))).collect();
    assert!(replies.is_sorted_by(|a, b| a < b), "each reply is the index: {replies:?}");
    cluster.agree();
    let leaders = cluster.statuses().filter(|status| status.role == RoleName::Leader).count();
    assert_eq!(leaders, 1);
}

#[test]
fn many_callers_share_batches_and_each_gets_its_own_reply() {
    let cluster = Cluster::start(3);
    cluster.write("first");
    let leader = cluster.leader();
    std::thread::scope(|scope| {
        for caller in 0..16 {
            let handle = cluster.handle(leader);
            scope.spawn(move || {
                for i in 0..25 {
                    let command = format!("{caller}-{i}");
                    let reply = cluster::propose(&handle, &command).unwrap();
                    assert!(reply.ends_with(&command), "{reply} is not for {command}");
                }
            });
        }
    });
    cluster.agree();
    assert_eq!(cluster.commands(leader).len(), 401);
}

#[test]
fn a_follower_names_the_leader_and_takes_nothing() {
    let cluster = Cluster::start(3);
    cluster.write("x");
    let leader = cluster.leader();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let refused = Err(ProposeError::NotLeader { leader: Some(leader) });
    assert_eq!(cluster::propose(&cluster.handle(follower), "y"), refused);
    assert_eq!(cluster::read(&cluster.handle(follower)), refused.map(|_: String| ()));
}

#[test]
fn a_read_sees_every_write_that_was_answered_before() {
    let cluster = Cluster::start(3);
    cluster.write("x");
    let leader = cluster.leader();
    for i in 0..20 {
        let command = format!("r{i}");
        cluster::propose(&cluster.handle(leader), &command).unwrap();
        cluster::read(&cluster.handle(leader)).unwrap();
        assert_eq!(cluster.commands(leader).last(), Some(&command));
    }
}

#[test]
fn a_leader_without_followers_answers_neither_writes_nor_reads() {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    let leader = cluster.leader();
    (1..=3).filter(|id| *id != leader).for_each(|id| cluster.kill(id));
    let read = cluster::read_later(&cluster.handle(leader));
    let write = cluster::propose_later(&cluster.handle(leader), "y");
    // Check-quorum makes it step down, which answers both.
    let read = read.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(read, Err(ProposeError::NotLeader { .. })), "{read:?}");
    assert_eq!(write.recv_timeout(Duration::from_secs(20)).unwrap(), Err(ProposeError::Unknown));
}
