//! Clusters that change while they run.

use std::{net::TcpListener, sync::mpsc::channel};

use super::cluster::{Cluster, WAIT, until};
use crate::{Change, Config, Handle, Member, NodeId, OrderError, Refused};

fn change(handle: &Handle, change: Change) -> Result<u64, OrderError> {
    let (sender, answer) = channel();
    handle.change_membership(change, move |result| sender.send(result).unwrap());
    answer.recv_timeout(WAIT).expect("an answer")
}

fn transfer(handle: &Handle, to: NodeId) -> Result<NodeId, OrderError> {
    let (sender, answer) = channel();
    handle.transfer_leadership(Some(to), move |result| sender.send(result).unwrap());
    answer.recv_timeout(WAIT).expect("an answer")
}

#[test]
fn a_node_joins_learns_votes_leads_and_the_old_leader_is_removed() {
    let mut cluster = Cluster::start(3);
    cluster.write("before");
    let first = cluster.leader();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let member = Member::at(listener.local_addr().unwrap());
    cluster.join(4, listener);
    let add = Change::AddLearner { id: 4, member, promote: true };
    change(&cluster.handle(first), add).unwrap();
    until("it votes", || cluster.handle(first).cluster().membership.is_voter(4));
    assert_eq!(transfer(&cluster.handle(first), 9), refused(Refused::Change(not_a_voter(9))));
    until("the transfer", || {
        transfer(&cluster.handle(cluster.leader()), 4).is_ok_and(|id| id == 4)
    });
    until("it leads", || cluster.leader() == 4);
    cluster.write("the new one leads");
    change(&cluster.handle(4), Change::Remove { id: first }).unwrap();
    cluster.kill(first);
    cluster.write("after");
    until("it has applied all", || cluster.commands(4).len() == 3);
    assert_eq!(cluster.commands(4), ["before", "the new one leads", "after"]);
    // It knows what it learned after a restart, though it was started as one that joins.
    cluster.kill(4);
    cluster.revive(4);
    let again = cluster.handle(4);
    until("it remembers", || again.cluster().membership.is_voter(4));
    assert!(!again.cluster().membership.contains(first));
    cluster.write("end");
}

#[test]
fn a_removed_node_knows_it_and_is_let_in_no_more_though_all_were_started_with_its_address() {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    let leader = cluster.leader();
    let id = 1 + leader % 3;
    change(&cluster.handle(leader), Change::Remove { id }).unwrap();
    until("it knows", || cluster.status(id).removed);
    let others = || (1..=3).filter(|other| *other != id);
    assert!(others().all(|other| !cluster.status(other).removed));
    for _ in 0..2 {
        // It comes again, as if it had never been told. For a moment the leader may still be telling
        // it, and whoever has just started may not know yet: then its connection is ended later.
        until("nobody lets it in", || {
            cluster.kill(id);
            cluster.revive(id);
            std::thread::sleep(std::time::Duration::from_millis(300));
            let refused = others().filter(|other| {
                let last = cluster.handle(*other).refusals().last;
                last.is_some_and(|(_, why)| {
                    why.contains(&format!("node {id} is refused: it is not"))
                })
            });
            refused.count() == 2
        });
        let own = cluster.status(id);
        assert_eq!((own.leader, own.removed), (None, true));
        // The others are started again with its address in their hands.
        for other in others() {
            cluster.kill(other);
        }
        others().for_each(|other| cluster.revive(other));
        cluster.write("y");
    }
    assert_eq!(cluster.status(id).role, crate::RoleName::Follower, "it campaigns no more");
}

#[test]
fn a_member_that_moved_is_found_at_its_new_address() {
    let mut cluster = Cluster::start(3);
    cluster.write("before");
    let leader = cluster.leader();
    let id = 1 + leader % 3;
    cluster.kill(id);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let member = Member::at(listener.local_addr().unwrap());
    change(&cluster.handle(leader), Change::Update { id, member: member.clone() }).unwrap();
    cluster.move_to(id, listener);
    cluster.write("after");
    cluster.agree();
    // What a node shows of the cluster is a tick old at most.
    until("the new address is seen", || {
        cluster.handle(id).cluster().membership.members()[&id] == member
    });
}

fn refused(refused: Refused) -> Result<NodeId, OrderError> {
    Err(OrderError::Refused(refused))
}

fn not_a_voter(id: NodeId) -> crate::core::ChangeError {
    crate::core::ChangeError::NotAVoter(id)
}

#[test]
fn a_snapshot_is_taken_when_it_is_asked_for_and_by_count_of_entries() {
    let cluster = Cluster::start(1);
    cluster.write("x");
    let node = cluster.handle(1);
    assert_eq!(node.status().snapshot, 0);
    node.take_snapshot();
    until("a snapshot was asked for", || node.status().snapshot > 0);
    let config = Config { snapshot_every_entries: 5, ..Config::production() };
    let cluster = Cluster::with(1, config, 1 << 30);
    for i in 0..8 {
        cluster.write(&format!("{i}"));
    }
    until("a snapshot is due", || cluster.handle(1).status().snapshot >= 5);
}

#[test]
fn a_wiped_node_is_refused_though_everybody_was_restarted_meanwhile() {
    let mut cluster = Cluster::start(3);
    cluster.write("x");
    cluster.agree();
    // Long enough for all to have met and to have written that down.
    std::thread::sleep(std::time::Duration::from_millis(300));
    (1..=3).for_each(|id| cluster.kill(id));
    std::fs::remove_dir_all(cluster.dir(3)).unwrap();
    (1..=3).for_each(|id| cluster.revive(id));
    cluster.write("y");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let wiped = cluster.handle(3).status();
    assert_eq!((wiped.commit, wiped.leader), (0, None), "nobody talks to it");
}
