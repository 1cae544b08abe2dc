//! MIT 6.824 2B, 6.5840 3B: agreement.

use super::{
    harness::{
        ELECTION, One, Servers, all_of, check_one_leader, command, committed, one, one_of, wait,
    },
    simulated::mit,
};

pub(crate) fn basic_agree<C: Servers>(c: &mut C) {
    for index in 1..4 {
        assert_eq!(committed(c, index).0, 0, "something is committed before it was submitted");
        assert_eq!(one(c, index * 100, 3, false), index);
    }
}

/// Each command goes to each peer once.
pub(crate) fn rpc_bytes<C: Servers>(c: &mut C) {
    one(c, 99, 3, false);
    let (_, before) = c.traffic();
    let mut sent = 0;
    for index in 2..12 {
        let large = vec![b'a' + u8::try_from(index).expect("a small index"); 5000];
        assert_eq!(one_of(c, &large, 3, false), index);
        sent += large.len() as u64;
    }
    let bytes = c.traffic().1 - before;
    assert!(bytes <= 3 * sent + 50_000, "{bytes} bytes for {sent}");
}

pub(crate) fn follower_failure<C: Servers>(c: &mut C) {
    one(c, 101, 3, false);
    let leader = check_one_leader(c);
    c.disconnect((leader + 1) % 3);
    one(c, 102, 2, false);
    c.sleep(ELECTION);
    one(c, 103, 2, false);
    let leader = check_one_leader(c);
    c.disconnect((leader + 1) % 3);
    c.disconnect((leader + 2) % 3);
    let (index, _) = c.submit(leader, &command(104)).expect("the leader takes it");
    assert_eq!(index, 4);
    c.sleep(2 * ELECTION);
    assert_eq!(committed(c, index).0, 0, "committed without a majority");
}

pub(crate) fn leader_failure<C: Servers>(c: &mut C) {
    one(c, 101, 3, false);
    let first = check_one_leader(c);
    c.disconnect(first);
    one(c, 102, 2, false);
    c.sleep(ELECTION);
    one(c, 103, 2, false);
    let second = check_one_leader(c);
    c.disconnect(second);
    for server in 0..3 {
        c.submit(server, &command(104));
    }
    c.sleep(2 * ELECTION);
    assert_eq!(committed(c, 4).0, 0, "committed without a majority");
}

pub(crate) fn fail_agree<C: Servers>(c: &mut C) {
    one(c, 101, 3, false);
    let leader = check_one_leader(c);
    c.disconnect((leader + 1) % 3);
    one(c, 102, 2, false);
    one(c, 103, 2, false);
    c.sleep(ELECTION);
    one(c, 104, 2, false);
    one(c, 105, 2, false);
    c.connect((leader + 1) % 3);
    one(c, 106, 3, true);
    c.sleep(ELECTION);
    one(c, 107, 3, true);
}

pub(crate) fn fail_no_agree<C: Servers>(c: &mut C) {
    one(c, 10, 5, false);
    let leader = check_one_leader(c);
    (1..4).for_each(|k| c.disconnect((leader + k) % 5));
    let (index, _) = c.submit(leader, &command(20)).expect("the leader takes it");
    assert_eq!(index, 2);
    c.sleep(2 * ELECTION);
    assert_eq!(committed(c, index).0, 0, "committed without a majority");
    (1..4).for_each(|k| c.connect((leader + k) % 5));
    // Whoever leads now may have that entry or not.
    let leader = check_one_leader(c);
    let (index, _) = c.submit(leader, &command(30)).expect("the leader takes it");
    assert!((2..=3).contains(&index), "unexpected index {index}");
    one(c, 1000, 5, true);
}

pub(crate) fn concurrent_starts<C: Servers>(c: &mut C) {
    for attempt in 0..5 {
        if attempt > 0 {
            c.sleep(3000);
        }
        let leader = check_one_leader(c);
        let Some((_, term)) = c.submit(leader, &command(1)) else { continue };
        let values: Vec<u64> = (100..105).collect();
        let submitted: Vec<_> =
            values.iter().filter_map(|value| c.submit(leader, &command(*value))).collect();
        if submitted.len() < 5 || submitted.iter().any(|(_, other)| *other != term) {
            continue;
        }
        let found: Vec<_> =
            submitted.iter().filter_map(|(index, _)| wait(c, *index, 3, Some(term))).collect();
        if found.len() < 5 {
            continue;
        }
        for value in values {
            assert!(found.iter().any(|bytes| **bytes == command(value)), "{value} is missing");
        }
        return;
    }
    panic!("the term changed too often");
}

pub(crate) fn rejoin<C: Servers>(c: &mut C) {
    one(c, 101, 3, true);
    let first = check_one_leader(c);
    c.disconnect(first);
    for value in [102, 103, 104] {
        c.submit(first, &command(value));
    }
    one(c, 103, 2, true);
    let second = check_one_leader(c);
    c.disconnect(second);
    c.connect(first);
    one(c, 104, 2, true);
    c.connect(second);
    one(c, 105, 3, true);
}

/// Needs the fast back-up over whole terms to be done in time.
pub(crate) fn backup<C: Servers>(c: &mut C) {
    let mut next = 1000;
    one(c, next, 5, true);
    let first = check_one_leader(c);
    (2..5).for_each(|k| c.disconnect((first + k) % 5));
    let mut dead = |c: &mut C, leader| {
        for _ in 0..50 {
            next += 1;
            c.submit(leader, &command(next));
        }
    };
    dead(c, first);
    c.sleep(ELECTION / 2);
    (0..2).for_each(|k| c.disconnect((first + k) % 5));
    (2..5).for_each(|k| c.connect((first + k) % 5));
    (0..50).for_each(|value| assert!(one(c, 20_000 + value, 3, true) > 1));
    let second = check_one_leader(c);
    let other = if (first + 2) % 5 == second { (second + 1) % 5 } else { (first + 2) % 5 };
    c.disconnect(other);
    dead(c, second);
    c.sleep(ELECTION / 2);
    (0..5).for_each(|server| c.disconnect(server));
    [first, (first + 1) % 5, other].into_iter().for_each(|server| c.connect(server));
    (0..50).for_each(|value| assert!(one(c, 30_000 + value, 3, true) > 1));
    (0..5).for_each(|server| c.connect(server));
    one(c, 40_000, 5, true);
}

/// Requests that are sent: few for an election, few for agreement, few when nothing happens.
pub(crate) fn count<C: Servers>(c: &mut C) {
    check_one_leader(c);
    let (election, _) = c.traffic();
    assert!((1..=30).contains(&election), "{election} requests for the first election");
    for attempt in 0..5 {
        if attempt > 0 {
            c.sleep(3000);
        }
        let leader = check_one_leader(c);
        let (before, _) = c.traffic();
        let Some((start, term)) = c.submit(leader, &command(1)) else { continue };
        let rest: Vec<_> = (1..12).filter_map(|k| c.submit(leader, &command(k * 7))).collect();
        let steady = (start + 1..).zip(&rest).all(|(index, found)| *found == (index, term));
        if rest.len() < 11 || !steady {
            continue;
        }
        let found = (1..11).filter_map(|k| wait(c, start + k, 3, Some(term))).count();
        if found < 10 || (0..3).any(|server| c.state(server).map(|s| s.0) != Some(term)) {
            continue;
        }
        let requests = c.traffic().0 - before;
        assert!(requests <= (10 + 1 + 3) * 3, "{requests} requests for 12 entries");
        c.sleep(ELECTION);
        let idle = c.traffic().0 - before - requests;
        assert!(idle <= 3 * 20, "{idle} requests in an idle second");
        return;
    }
    panic!("the term changed too often");
}

#[test]
fn test_basic_agree_2b() {
    mit(3, 60, basic_agree);
}

#[test]
fn test_rpc_bytes_2b() {
    mit(3, 60, rpc_bytes);
}

#[test]
fn test_follower_failure_2b() {
    mit(3, 60, follower_failure);
}

#[test]
fn test_leader_failure_2b() {
    mit(3, 60, leader_failure);
}

#[test]
fn test_fail_agree_2b() {
    mit(3, 60, fail_agree);
}

#[test]
fn test_fail_no_agree_2b() {
    mit(5, 40, fail_no_agree);
}

#[test]
fn test_concurrent_starts_2b() {
    mit(3, 60, concurrent_starts);
}

#[test]
fn test_rejoin_2b() {
    mit(3, 60, rejoin);
}

#[test]
fn test_backup_2b() {
    mit(5, 20, backup);
}

#[test]
fn test_count_2b() {
    mit(3, 60, count);
}

#[test]
fn several_agreements_can_be_under_way_at_once() {
    mit(3, 4, |c| {
        let ones = (0..5).map(|value| One::new(c, &command(value), 3, true)).collect();
        all_of(c, ones);
    });
}
