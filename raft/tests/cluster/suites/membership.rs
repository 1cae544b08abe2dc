//! The tests of raft-consensus that change who takes part. Its own look at a variable of the
//! simulator; these look at what each server has in its log, at old data on new servers, and at who
//! is needed for a majority afterwards.

use super::{
    harness::{Servers, command, reachable, servers},
    raft_consensus::{found, submit, unique_leader, unique_leader_in_time},
    simulated::quick,
};

const OLD: std::ops::Range<u64> = 100..120;

/// A leader, and commands that everybody has applied.
fn with_data<C: Servers>(c: &mut C) -> usize {
    let (leader, _) = unique_leader(c);
    for number in OLD {
        submit(c, leader, number);
    }
    c.sleep(300);
    assert_eq!(found(c, OLD.end - 1).0, c.size());
    leader
}

/// Waits for what the leader was told, which it refuses while a change is under way.
fn until_voters<C: Servers>(
    c: &mut C,
    millis: u64,
    expected: &[usize],
    tell: impl Fn(&mut C, &[usize]),
) {
    let began = c.now();
    loop {
        let leaders = reachable(c).into_iter().filter(|s| c.state(*s).is_some_and(|s| s.1));
        let voters = leaders.last().map(|leader| c.voters(leader)).unwrap_or_default();
        if voters == expected {
            return;
        }
        let elapsed = c.now() - began;
        assert!(elapsed < millis, "{voters:?} vote after {elapsed} ms, not {expected:?}");
        tell(c, &voters);
        c.sleep(10);
    }
}

/// Everybody in `members` knows these voters and applied the number.
fn all_know<C: Servers>(c: &C, members: &[usize], number: u64) {
    for server in members {
        assert_eq!(c.voters(*server), members, "as server {server} knows them");
        let has = |index| c.applied(*server, index).is_some_and(|b| *b == command(number));
        assert!((1..=c.last_applied(*server)).any(has), "server {server} lacks {number}");
    }
}

pub(crate) fn add_new_server<C: Servers>(c: &mut C) {
    let leader = with_data(c);
    let new = [c.join(), c.join()];
    let all: Vec<usize> = servers(c).collect();
    until_voters(c, 500, &all, |c, _| {
        for server in new {
            c.add(leader, server);
        }
    });
    submit(c, leader, 200);
    c.sleep(250);
    all_know(c, &all, 200);
    for number in OLD {
        assert_eq!(found(c, number).0, 7, "new servers have the old data");
    }
    // Four of seven are a majority only if the new ones vote and store.
    let gone = [leader, (leader + 1) % 5, (leader + 2) % 5];
    gone.iter().for_each(|server| c.disconnect(*server));
    c.sleep(1500);
    let (next, _) = unique_leader_in_time(c);
    submit(c, next, 201);
    c.sleep(300);
    assert_eq!(found(c, 201).0, 4);
    // And three are none.
    c.disconnect(new[0]);
    if let Some((next, _)) = reachable(c).into_iter().find_map(|s| Some((s, c.submit(s, &[9])?))) {
        c.sleep(500);
        assert_eq!(found(c, 201).0, 3);
        let last = c.last_applied(next);
        assert!(c.applied(next, last).is_some_and(|b| *b == command(201)), "three decide");
    }
}

pub(crate) fn remove_server_non_leader<C: Servers>(c: &mut C) {
    let leader = with_data(c);
    let gone = [(leader + 1) % 5, (leader + 2) % 5];
    let left: Vec<usize> = servers(c).filter(|server| !gone.contains(server)).collect();
    until_voters(c, 1000, &left, |c, voters| {
        // One after the other; a server that is gone already cannot be removed again.
        if let Some(server) = gone.iter().find(|server| voters.contains(server)) {
            c.remove(leader, *server);
        }
    });
    // They are switched off, as they would be: nobody tells them that they are out.
    gone.iter().for_each(|server| c.crash(*server));
    submit(c, leader, 200);
    c.sleep(250);
    all_know(c, &left, 200);
    // Two of three are a majority; of five they would not be.
    let other = *left.iter().find(|server| **server != leader).expect("three are left");
    c.disconnect(other);
    submit(c, leader, 201);
    c.sleep(250);
    assert_eq!(found(c, 201).0, 2);
}

pub(crate) fn remove_leader<C: Servers>(c: &mut C) {
    let old = with_data(c);
    let left: Vec<usize> = servers(c).filter(|server| *server != old).collect();
    let began = c.now();
    c.remove(old, old);
    until_voters(c, 1000, &left, |_, _| {});
    while c.state(old).is_some_and(|(_, leads)| leads) {
        assert!(c.now() - began < 1000, "it leads a cluster of others");
        c.sleep(10);
    }
    c.crash(old);
    let (new, _) = unique_leader_in_time(c);
    assert!(new != old && c.now() - began < 1500, "another leader within a second or so");
    submit(c, new, 200);
    c.sleep(250);
    all_know(c, &left, 200);
    // Three of four are a majority, two are not.
    let others: Vec<usize> = left.iter().copied().filter(|server| *server != new).collect();
    c.disconnect(others[0]);
    submit(c, new, 201);
    c.sleep(250);
    assert_eq!(found(c, 201).0, 3);
    c.disconnect(others[1]);
    submit(c, new, 202);
    c.sleep(250);
    assert_eq!(found(c, 202).0, 0, "two of four decide");
}

#[test]
fn test_add_new_server() {
    quick(5, 20, add_new_server);
}

#[test]
fn test_remove_server_non_leader() {
    quick(5, 20, remove_server_non_leader);
}

#[test]
fn test_remove_leader() {
    quick(5, 20, remove_leader);
}
