//! Section 7: a follower that needs what is trimmed gets a snapshot.

use hardlog::EntryId;

use super::net::{Memory, Net, memory, says};
use crate::{
    config::Config,
    core::{Configuration, Install, progress::Progress},
    message::{AppendReply, Body},
};

/// Node 3 misses everything, and the others have trimmed it.
fn behind() -> Net {
    let mut net = Net::new(3, Config::classic(), 1);
    net.elect(1);
    net.isolate(3);
    for command in ["a", "b", "c", "d"] {
        net.propose(1, command);
    }
    net.tick(10);
    for id in [1, 2] {
        net.node(id).log.0.borrow_mut().trim_before(4);
    }
    net
}

#[test]
fn a_follower_behind_the_window_gets_a_snapshot_and_then_entries() {
    let mut net = behind();
    net.heal();
    net.tick(20);
    assert_eq!(net.node(3).log.0.borrow().prev, EntryId::new(3, 1));
    assert_eq!(net.commands(3), ["d"], "the rest is in the snapshot");
    net.propose(1, "e");
    net.tick(5);
    assert_eq!(net.commands(3), ["d", "e"]);
    let peer = &net.core(1).followers().unwrap()[&3];
    assert!(peer.matched == 5 && matches!(peer.progress, Progress::Replicate { .. }));
}

#[test]
fn a_snapshot_that_failed_is_tried_again() {
    let mut net = behind();
    net.heal();
    net.cut.push((1, 3));
    net.tick(10);
    net.core(1).snapshot_failed(3);
    net.heal();
    net.tick(20);
    assert_eq!(net.commands(3), ["d"]);
}

#[test]
fn an_installed_snapshot_is_acknowledged_only_when_it_is_durable() {
    let mut net = Net::new(3, Config::classic(), 1);
    net.core(1).step(says(2, 1, 3, Body::Heartbeat { commit: 0, round: 0 }));
    net.collect(1);
    net.sync(1, 1);
    net.wire.clear();
    assert_eq!(
        net.core(1).install_snapshot(2, EntryId::new(9, 2), Configuration::default()),
        Install::Replace
    );
    net.collect(1);
    assert!(net.wire.is_empty());
    net.sync(1, 1);
    let reply = Body::AppendReply(AppendReply::Accepted { matched: 9 });
    assert_eq!(net.wire, [says(1, 2, 3, reply)]);
    assert_eq!(net.node(1).disk.prev, EntryId::new(9, 2));
    assert_eq!((net.node(1).disk.hard_state.commit, net.core(1).commit()), (9, 9));
}

#[test]
fn what_follows_the_snapshot_stays_if_the_log_holds_its_last_entry() {
    let logs: &[(&[u64], Install, &[u64])] = &[
        (&[1, 1, 2, 2], Install::Superfluous, &[1, 1, 2, 2]),
        (&[1, 1, 1, 1], Install::Replace, &[]),
        (&[1, 1], Install::Replace, &[]),
    ];
    for (log, install, left) in logs {
        let mut net = Net::with_logs(Config::classic(), &[log, &[], &[]]);
        assert_eq!(
            net.core(1).install_snapshot(2, EntryId::new(3, 2), Configuration::default()),
            *install,
            "{log:?}"
        );
        net.collect(1);
        assert_eq!(net.terms(1), *left);
        assert_eq!(net.core(1).commit(), 3);
    }
}

#[test]
fn a_snapshot_of_what_is_committed_already_is_answered_at_once() {
    let mut net = Net::new(3, Config::classic(), 1);
    let disk = Memory { prev: EntryId::new(10, 1), ..memory(&[]) };
    net.start(1, disk);
    assert_eq!(net.core(1).commit(), 10, "what is trimmed was committed");
    assert_eq!(
        net.core(1).install_snapshot(2, EntryId::new(8, 1), Configuration::default()),
        Install::Superfluous
    );
    assert_eq!(net.core(1).last_id(), EntryId::new(10, 1));
}

#[test]
fn a_request_from_below_the_window_is_answered_with_the_first_index() {
    let mut net = Net::new(3, Config::classic(), 1);
    net.start(1, Memory { prev: EntryId::new(10, 1), ..memory(&[]) });
    let request = Body::Append { prev: EntryId::new(4, 1), entries: vec![], commit: 0 };
    net.core(1).step(says(2, 1, 1, request));
    net.settle();
    let (prev, conflict_index) = (4, 11);
    net.core(1).step(says(2, 1, 1, Body::Heartbeat { commit: 0, round: 0 }));
    net.collect(1);
    let _ = net.wire.drain(..);
    let request = Body::Append { prev: EntryId::new(4, 1), entries: vec![], commit: 0 };
    net.core(1).step(says(2, 1, 1, request));
    net.collect(1);
    let reply = AppendReply::Rejected { prev, conflict_term: None, conflict_index };
    assert_eq!(net.wire, [says(1, 2, 1, Body::AppendReply(reply))]);
}

#[test]
fn a_lost_request_whose_entries_are_trimmed_meanwhile_ends_in_a_snapshot() {
    let mut net = Net::new(3, Config::classic(), 1);
    net.elect(1);
    net.propose(1, "a");
    net.tick(10);
    net.isolate(3);
    net.propose(1, "b");
    net.propose(1, "c");
    net.settle();
    net.node(1).log.0.borrow_mut().trim_before(4);
    net.heal();
    net.tick(30);
    assert_eq!(net.node(3).log.0.borrow().prev, EntryId::new(3, 1));
}

#[test]
fn giving_up_an_installation_keeps_the_commit_index_that_was_written() {
    let mut net = Net::with_logs(Config::classic(), &[&[1, 1, 1], &[], &[]]);
    net.core(1).step(says(2, 1, 1, Body::Heartbeat { commit: 2, round: 0 }));
    net.core(1).commit_saved(2);
    let _ = net.core(1).install_snapshot(2, EntryId::new(9, 1), Configuration::default());
    net.core(1).abandon_unsaved("its disk is full");
    assert_eq!((net.core(1).commit(), net.core(1).last_id()), (2, EntryId::new(3, 1)));
}
