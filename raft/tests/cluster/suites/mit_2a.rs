//! MIT 6.824 2A, 6.5840 3A: elections.

use super::{
    harness::{ELECTION, Servers, any_of, check_no_leader, check_one_leader, check_terms},
    simulated::mit,
};

pub(crate) fn initial_election<C: Servers>(c: &mut C) {
    check_one_leader(c);
    c.sleep(50);
    assert!(check_terms(c) >= 1);
    c.sleep(2 * ELECTION);
    check_terms(c);
    check_one_leader(c);
}

pub(crate) fn re_election<C: Servers>(c: &mut C) {
    let first = check_one_leader(c);
    c.disconnect(first);
    check_one_leader(c);
    // The old leader comes back and disturbs nobody.
    c.connect(first);
    let second = check_one_leader(c);
    // No quorum, no leader.
    c.disconnect(second);
    c.disconnect((second + 1) % 3);
    c.sleep(2 * ELECTION);
    check_no_leader(c);
    c.connect((second + 1) % 3);
    check_one_leader(c);
    c.connect(second);
    check_one_leader(c);
}

pub(crate) fn many_elections<C: Servers>(c: &mut C) {
    check_one_leader(c);
    for _ in 1..10 {
        let cut: Vec<usize> = (0..3).map(|_| any_of(c, 7)).collect();
        cut.iter().for_each(|server| c.disconnect(*server));
        check_one_leader(c);
        cut.iter().for_each(|server| c.connect(*server));
    }
    check_one_leader(c);
}

#[test]
fn test_initial_election_2a() {
    mit(3, 60, initial_election);
}

#[test]
fn test_re_election_2a() {
    mit(3, 60, re_election);
}

#[test]
fn test_many_elections_2a() {
    mit(7, 20, many_elections);
}
