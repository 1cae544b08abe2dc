//! The tests of raft-consensus (`raft_test.go`). Its leader check takes two connected servers that
//! believe to lead for a failure, whatever their terms.

use super::{
    harness::{Servers, Term, command, committed, reachable, servers},
    seeds::are_as_named,
    simulated::quick,
};

/// Exactly one reachable server leads, within eight looks.
pub(crate) fn unique_leader<C: Servers>(c: &mut C) -> (usize, Term) {
    for _ in 0..8 {
        let states = reachable(c).into_iter().filter_map(|s| Some((s, c.state(s)?)));
        let leaders: Vec<_> =
            states.filter(|(_, (_, leads))| *leads).map(|(s, (term, _))| (s, term)).collect();
        assert!(leaders.len() < 2, "several lead: {leaders:?}");
        if let Some(leader) = leaders.first() {
            return *leader;
        }
        c.sleep(150);
    }
    panic!("nobody leads");
}

pub(crate) fn no_leader<C: Servers>(c: &C) {
    super::harness::check_no_leader(c);
}

/// How many reachable servers applied a number, and where.
pub(crate) fn found<C: Servers>(c: &C, number: u64) -> (usize, Option<u64>) {
    let mut at = None;
    let mut count = 0;
    for server in reachable(c) {
        for index in 1..=c.last_applied(server) {
            if c.applied(server, index).is_some_and(|bytes| *bytes == command(number)) {
                assert!(at.is_none_or(|other| other == index), "{number} at {at:?} and {index}");
                (at, count) = (Some(index), count + 1);
            }
        }
    }
    (count, at)
}

pub(crate) fn submit<C: Servers>(c: &mut C, server: usize, number: u64) -> u64 {
    c.submit(server, &command(number)).expect("the leader takes it").0
}

fn election_normal<C: Servers>(c: &mut C) {
    unique_leader(c);
}

fn election_leader_disconnect<C: Servers>(c: &mut C) {
    let (old, term) = unique_leader(c);
    c.disconnect(old);
    c.sleep(300);
    let (new, newer) = unique_leader(c);
    assert!(new != old && newer > term);
}

fn election_leader_and_follower_disconnect<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    let other = (leader + 1) % 3;
    c.disconnect(leader);
    c.disconnect(other);
    c.sleep(300);
    no_leader(c);
    c.connect(leader);
    c.sleep(100);
    unique_leader_in_time(c);
    c.connect(other);
    c.sleep(600);
    unique_leader_in_time(c);
}

/// As [`unique_leader`], after an old leader may still have to hear of the new one.
pub(crate) fn unique_leader_in_time<C: Servers>(c: &mut C) -> (usize, Term) {
    for _ in 0..8 {
        let leaders = reachable(c).into_iter().filter(|s| c.state(*s).is_some_and(|s| s.1));
        if leaders.count() == 1 {
            return unique_leader(c);
        }
        c.sleep(150);
    }
    panic!("no unique leader");
}

fn election_leader_disconnect_and_reconnect<C: Servers>(c: &mut C) {
    let (old, _) = unique_leader(c);
    c.disconnect(old);
    c.sleep(300);
    let new = unique_leader(c);
    c.connect(old);
    c.sleep(300);
    assert_eq!(unique_leader(c), new, "the old leader disturbed the new one");
}

fn election_disconnect_all_and_reconnect_all<C: Servers>(c: &mut C) {
    c.sleep(300);
    servers(c).for_each(|server| c.disconnect(server));
    c.sleep(300);
    no_leader(c);
    servers(c).for_each(|server| c.connect(server));
    c.sleep(300);
    unique_leader_in_time(c);
}

fn election_follower_disconnect_and_reconnect<C: Servers>(c: &mut C) {
    let (leader, term) = unique_leader(c);
    let follower = (leader + 1) % 3;
    c.disconnect(follower);
    // Long enough for at least one election of its own, which the shorter pause of the original
    // leaves to chance.
    c.sleep(350);
    c.connect(follower);
    c.sleep(100);
    let (_, newer) = unique_leader_in_time(c);
    assert!(newer > term, "term {term} stayed");
}

fn election_disconnect_reconnect_loop<C: Servers>(c: &mut C) {
    for _ in 0..6 {
        let (leader, _) = unique_leader_in_time(c);
        let other = (leader + 1) % 3;
        c.disconnect(leader);
        c.disconnect(other);
        c.sleep(300);
        no_leader(c);
        c.connect(leader);
        c.connect(other);
        c.sleep(100);
        unique_leader_in_time(c);
    }
}

/// Returns whether the one that was away leads now: it must if its request for votes came first,
/// and that is chance.
fn election_follower_disconnect_reconnect_after_long<C: Servers>(c: &mut C) -> bool {
    let (leader, term) = unique_leader(c);
    let follower = (leader + 1) % 3;
    c.disconnect(follower);
    c.sleep(1200);
    c.connect(follower);
    let (away, _) = c.state(follower).expect("it runs");
    // Who is the first in a term that nobody was in before asked for its votes.
    let mut candidates = Vec::new();
    let back = c.now();
    while candidates.is_empty() && c.now() < back + 500 {
        c.sleep(1);
        let newer = |server: &usize| c.state(*server).is_some_and(|(term, _)| term > away);
        candidates = servers(c).filter(newer).collect();
    }
    c.sleep(500);
    let (new, newer) = unique_leader_in_time(c);
    assert!(newer > term);
    // Its log is as good as any other, so whoever asks first gets the votes of the others.
    if newer == away + 1 && candidates == [follower] {
        assert_eq!(new, follower, "its request came first");
    }
    new == follower
}

fn election_follower_disconnect_reconnect_after_long_commit_done<C: Servers>(c: &mut C) {
    let (leader, term) = unique_leader(c);
    let follower = (leader + 1) % 3;
    c.disconnect(follower);
    submit(c, leader, 7);
    c.sleep(1200);
    c.connect(follower);
    c.sleep(500);
    let (new, newer) = unique_leader_in_time(c);
    assert!(newer > term && new != follower, "a server that lacks an entry leads");
}

fn commit_one_command<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    submit(c, leader, 42);
    c.sleep(250);
    assert_eq!(found(c, 42), (3, Some(1)));
}

fn try_commit_to_non_leader<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    let other = (leader + 1) % 3;
    assert_eq!(c.submit(other, &command(42)), None);
    c.sleep(250);
    assert_eq!(found(c, 42).0, 0);
}

fn commit_then_leader_disconnect<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    submit(c, leader, 42);
    c.sleep(250);
    c.disconnect(leader);
    c.sleep(250);
    assert_eq!(found(c, 42), (2, Some(1)));
}

fn commit_multiple_commands<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    for number in [42, 55, 81] {
        submit(c, leader, number);
        c.sleep(100);
    }
    c.sleep(250);
    for (number, index) in [(42, 1), (55, 2), (81, 3)] {
        assert_eq!(found(c, number), (3, Some(index)));
    }
}

fn commit_with_disconnection_and_recover<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    submit(c, leader, 5);
    submit(c, leader, 6);
    c.sleep(250);
    assert_eq!(found(c, 6).0, 3);
    let follower = (leader + 1) % 3;
    c.disconnect(follower);
    c.sleep(250);
    submit(c, leader, 7);
    c.sleep(250);
    assert_eq!(found(c, 7).0, 2);
    c.connect(follower);
    c.sleep(1500);
    // Whoever leads now has applied it before, so it needs no new command to bring it to the third.
    assert_eq!(found(c, 7).0, 3);
}

fn try_commit_majority_failure<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    submit(c, leader, 5);
    c.sleep(250);
    assert_eq!(found(c, 5).0, 3);
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    others.iter().for_each(|server| c.disconnect(*server));
    c.sleep(250);
    submit(c, leader, 6);
    c.sleep(250);
    assert_eq!(found(c, 6).0, 0, "committed without a majority");
    others.iter().for_each(|server| c.connect(*server));
    c.sleep(600);
    let (new, _) = unique_leader_in_time(c);
    submit(c, new, 8);
    c.sleep(250);
    assert_eq!(found(c, 8).0, 3);
}

fn try_commit_to_dc_leader<C: Servers>(c: &mut C) {
    let (old, _) = unique_leader(c);
    submit(c, old, 5);
    c.sleep(250);
    assert_eq!(found(c, 5).0, 5);
    c.disconnect(old);
    c.sleep(10);
    submit(c, old, 6);
    c.sleep(1000);
    assert_eq!(found(c, 6).0, 0);
    let (new, _) = unique_leader_in_time(c);
    submit(c, new, 7);
    c.sleep(250);
    assert_eq!(found(c, 7).0, 4);
    c.connect(old);
    c.sleep(600);
    let (last, _) = unique_leader_in_time(c);
    assert_ne!(last, old);
    submit(c, last, 8);
    c.sleep(500);
    assert_eq!((found(c, 7).0, found(c, 8).0, found(c, 6).0), (5, 5, 0));
}

fn try_commit_leader_disconnects_short_time<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    c.disconnect(leader);
    submit(c, leader, 5);
    c.sleep(10);
    c.connect(leader);
    c.sleep(300);
    assert_eq!(found(c, 5).0, 5);
}

fn crash_follower_then_leader<C: Servers>(c: &mut C) {
    let (leader, _) = unique_leader(c);
    let crashed = [(leader + 1) % 5, (leader + 2) % 5];
    crashed.iter().for_each(|server| c.crash(*server));
    c.sleep(100);
    for number in 25..28 {
        submit(c, leader, number);
    }
    c.sleep(500);
    for number in 25..28 {
        assert_eq!(found(c, number).0, 3);
    }
    c.restart(crashed[0]);
    c.sleep(200);
    c.crash(leader);
    c.sleep(600);
    let (new, _) = unique_leader_in_time(c);
    submit(c, new, 29);
    c.sleep(500);
    assert_eq!(found(c, 29).0, 3);
    assert_eq!(committed(c, 1).1.map(|bytes| *bytes == command(25)), Some(true));
}

macro_rules! tests {
    ($($test:ident: $body:ident($size:expr),)*) => {
        $(#[test] fn $test() { quick($size, 20, $body); })*
    };
}

tests! {
    test_election_normal: election_normal(3),
    test_election_leader_disconnect: election_leader_disconnect(3),
    test_election_leader_and_follower_disconnect: election_leader_and_follower_disconnect(3),
    test_election_leader_disconnect_and_reconnect: election_leader_disconnect_and_reconnect(3),
    test_election_leader_disconnect_and_reconnect_5_nodes:
        election_leader_disconnect_and_reconnect(5),
    test_election_disconnect_all_and_reconnect_all: election_disconnect_all_and_reconnect_all(3),
    test_election_follower_disconnect_and_reconnect: election_follower_disconnect_and_reconnect(3),
    test_election_disconnect_reconnect_loop: election_disconnect_reconnect_loop(3),
    test_election_follower_disconnect_reconnect_after_long_commit_done:
        election_follower_disconnect_reconnect_after_long_commit_done(3),
    test_commit_one_command: commit_one_command(3),
    test_try_commit_to_non_leader: try_commit_to_non_leader(3),
    test_commit_then_leader_disconnect: commit_then_leader_disconnect(3),
    test_commit_multiple_commands: commit_multiple_commands(3),
    test_commit_with_disconnection_and_recover: commit_with_disconnection_and_recover(3),
    test_try_commit_majority_failure: try_commit_majority_failure(3),
    test_try_commit_to_dc_leader: try_commit_to_dc_leader(5),
    test_try_commit_leader_disconnects_short_time: try_commit_leader_disconnects_short_time(5),
    test_crash_follower_then_leader: crash_follower_then_leader(5),
}

#[test]
fn test_election_follower_disconnect_reconnect_after_long() {
    let won = std::cell::Cell::new(0);
    quick(3, 20, |c| {
        let wins = election_follower_disconnect_reconnect_after_long(c);
        won.set(won.get() + usize::from(wins));
    });
    assert!(
        !are_as_named() || (1..20).contains(&won.get()),
        "the one that was away won {} of 20",
        won.get()
    );
}
