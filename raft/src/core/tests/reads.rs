//! Linearizable reads (dissertation 6.4).

use super::net::Net;
use crate::{
    config::Config,
    core::{Change, Refused},
    ready::{ReadReady, Ready},
};

fn led() -> Net {
    let mut net = Net::new(3, Config::production(), 1);
    net.elect(1);
    net.propose(1, "a");
    net.tick(5);
    net
}

#[test]
fn a_read_is_answered_at_the_commit_index_once_a_majority_confirms_the_leader() {
    let mut net = led();
    net.core(1).read(7).unwrap();
    net.collect(1);
    assert!(net.node(1).reads.is_empty(), "nobody has confirmed anything");
    net.settle();
    assert_eq!(net.node(1).reads, [ReadReady { token: 7, index: 2 }]);
}

#[test]
fn one_voter_needs_nobody() {
    let mut net = Net::new(1, Config::production(), 1);
    net.elect(1);
    net.settle();
    net.core(1).read(1).unwrap();
    net.collect(1);
    assert_eq!(net.node(1).reads, [ReadReady { token: 1, index: 1 }]);
}

#[test]
fn a_leader_that_was_replaced_answers_no_read() {
    let mut net = led();
    net.isolate(1);
    net.core(1).read(7).unwrap();
    net.elect(2);
    net.propose(2, "newer");
    net.tick(5);
    assert!(net.node(1).reads.is_empty());
    net.heal();
    net.tick(5);
    assert!(net.node(1).reads.is_empty());
    assert_eq!(net.node(1).reads_lost, [7]);
    assert_eq!(net.core(1).read(8), Err(Refused::NotLeader { leader: Some(2) }));
}

#[test]
fn a_confirmation_from_before_the_read_does_not_count() {
    let mut net = led();
    net.core(1).read(1).unwrap();
    net.collect(1);
    let early = std::mem::take(&mut net.wire);
    net.core(1).read(2).unwrap();
    net.collect(1);
    assert!(net.wire.is_empty(), "the second read waits for the first round to end");
    net.wire = early;
    net.settle();
    let tokens: Vec<_> = net.node(1).reads.iter().map(|read| read.token).collect();
    assert_eq!(tokens, [1, 2]);
}

#[test]
fn a_new_leader_answers_no_read_before_an_entry_of_its_own_term_is_committed() {
    let mut net = led();
    net.crash(1);
    net.cut.extend([(1, 2), (3, 2)]);
    net.core(2).term = 5;
    net.core(2).become_leader();
    net.core(2).read(9).unwrap();
    net.collect(2);
    let Ready { reads, .. } = net.core(2).ready();
    assert!(reads.is_empty() && net.node(2).reads.is_empty());
    net.cut.clear();
    net.tick(4);
    let last = net.core(2).last_id().index;
    assert_eq!(net.node(2).reads, [ReadReady { token: 9, index: last }]);
}

#[test]
fn a_lost_confirmation_is_asked_for_again_with_the_next_heartbeat() {
    let mut net = led();
    net.core(1).read(7).unwrap();
    net.collect(1);
    net.wire.clear();
    net.tick(4);
    assert_eq!(net.node(1).reads.len(), 1);
}

fn leased() -> Net {
    let config = Config { lease_drift_percent: Some(10), ..Config::production() };
    let mut net = Net::new(3, config, 1);
    net.tick(80);
    let leader = net.leaders()[0].0;
    net.propose(leader, "a");
    net.tick(5);
    net
}

#[test]
fn dissertation_6_4_1_a_lease_answers_reads_without_asking_and_ends_before_an_election_can() {
    let mut net = leased();
    let leader = net.leaders()[0].0;
    net.isolate(leader);
    net.core(leader).read(1).unwrap();
    net.collect(leader);
    assert_eq!(net.node(leader).reads.len(), 1, "a majority answered a moment ago");
    let term = net.core(leader).term();
    let mut served = 1;
    for token in 2..60 {
        net.tick(1);
        if net.core(leader).read(token).is_err() {
            break;
        }
        net.collect(leader);
        let now = net.node(leader).reads.len();
        let newest = net.leaders().iter().map(|(_, term)| *term).max();
        assert!(now == served || newest == Some(term), "a read beside a newer leader");
        served = now;
    }
    assert!((8..14).contains(&served), "{served} reads in as many ticks");
}

#[test]
fn dissertation_6_4_1_no_lease_without_a_bound_after_lost_time_or_after_handing_over() {
    let waits = |net: &mut Net, leader| {
        net.core(leader).read(7).unwrap();
        net.collect(leader);
        net.node(leader).reads.is_empty()
    };
    let mut net = led();
    assert!(waits(&mut net, 1), "no bound is configured");
    let mut net = leased();
    let leader = net.leaders()[0].0;
    net.core(leader).time_was_lost();
    assert!(waits(&mut net, leader), "the thread was held up");
    let mut net = leased();
    let leader = net.leaders()[0].0;
    let heir = 1 + leader % 3;
    net.core(leader).transfer_leadership(Some(heir)).unwrap();
    assert!(waits(&mut net, leader), "the other campaigns whoever is heard");
}

#[test]
fn dissertation_6_4_1_a_voter_that_restarts_keeps_the_lease_that_it_may_have_given() {
    let mut net = leased();
    let leader = net.leaders()[0].0;
    let (voter, candidate) = (1 + leader % 3, 1 + (leader + 1) % 3);
    net.crash(voter);
    let last = hardlog::EntryId::new(9, 9);
    let ask = |net: &mut Net| {
        let vote = crate::message::Body::Vote { last, transfer: false };
        net.core(voter).step(super::net::says(candidate, voter, 9, vote));
        net.core(voter).term()
    };
    assert!(ask(&mut net) < 9, "it may have heard the leader right before");
    net.isolate(voter);
    net.tick(15);
    assert_eq!(ask(&mut net), 9);
}

#[test]
fn a_read_that_waits_is_answered_when_a_change_leaves_nobody_to_ask() {
    let mut net = Net::new(2, Config::production(), 1);
    net.elect(1);
    net.propose(1, "a");
    net.tick(5);
    net.isolate(1);
    net.core(1).read(7).unwrap();
    net.collect(1);
    assert!(net.node(1).reads.is_empty(), "a majority of two is both");
    net.core(1).propose_membership(&Change::Remove { id: 2 }).unwrap();
    net.collect(1);
    assert_eq!(net.node(1).reads, [ReadReady { token: 7, index: 2 }]);
}
