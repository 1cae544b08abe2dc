//! The tests of eliben/raft, part 3.

use hardlog_raft::sim::lab::Lab;

use super::{
    harness::{Disks, Servers, command, reachable, servers},
    raft_consensus::{found, no_leader, submit, unique_leader},
    seeds::are_as_named,
    simulated::quick,
};

/// Looks up to ten times: an old leader may still have to hear of a new one.
fn leader<C: Servers>(c: &mut C) -> (usize, u64) {
    for _ in 0..10 {
        let leaders = reachable(c).into_iter().filter(|s| c.state(*s).is_some_and(|s| s.1));
        if leaders.count() == 1 {
            return unique_leader(c);
        }
        c.sleep(150);
    }
    panic!("no unique leader");
}

fn cut_leader_and_return<C: Servers>(c: &mut C, away: u64, back: u64) {
    let (old, _) = leader(c);
    c.disconnect(old);
    c.sleep(away);
    let new = leader(c);
    c.connect(old);
    c.sleep(back);
    assert_eq!(leader(c), new, "the old leader disturbed the new one");
}

fn election_basic<C: Servers>(c: &mut C) {
    leader(c);
}

fn election_leader_disconnect<C: Servers>(c: &mut C) {
    let (old, term) = leader(c);
    c.disconnect(old);
    c.sleep(350);
    let (new, newer) = leader(c);
    assert!(new != old && newer > term);
}

fn election_leader_and_another_disconnect<C: Servers>(c: &mut C) {
    let (old, _) = leader(c);
    let other = (old + 1) % 3;
    c.disconnect(old);
    c.disconnect(other);
    c.sleep(450);
    no_leader(c);
    c.connect(other);
    leader(c);
}

fn disconnect_all_then_restore<C: Servers>(c: &mut C) {
    c.sleep(100);
    servers(c).for_each(|server| c.disconnect(server));
    c.sleep(450);
    no_leader(c);
    servers(c).for_each(|server| c.connect(server));
    leader(c);
}

fn election_leader_disconnect_then_reconnect<C: Servers>(c: &mut C) {
    cut_leader_and_return(c, 350, 150);
}

fn election_leader_disconnect_then_reconnect_5<C: Servers>(c: &mut C) {
    cut_leader_and_return(c, 150, 150);
}

fn election_follower_comes_back<C: Servers>(c: &mut C) {
    let (first, term) = leader(c);
    let other = (first + 1) % 3;
    c.disconnect(other);
    c.sleep(650);
    c.connect(other);
    c.sleep(150);
    let (_, newer) = leader(c);
    assert!(newer > term);
}

fn election_disconnect_loop<C: Servers>(c: &mut C) {
    for _ in 0..5 {
        let (first, _) = leader(c);
        let other = (first + 1) % 3;
        c.disconnect(first);
        c.disconnect(other);
        c.sleep(310);
        no_leader(c);
        c.connect(other);
        c.connect(first);
        c.sleep(150);
    }
    leader(c);
}

fn commit_one_command<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    submit(c, first, 42);
    c.sleep(250);
    assert_eq!(found(c, 42).0, 3);
}

fn commit_after_call_drops<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    c.mute(first);
    submit(c, first, 99);
    c.sleep(30);
    c.unmute();
    // Two heartbeats, after which what is on its way counts as lost, and one to say it is committed.
    c.sleep(260);
    assert_eq!(found(c, 99).0, 3);
}

fn submit_non_leader_fails<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    assert_eq!(c.submit((first + 1) % 3, &command(42)), None);
    c.sleep(10);
}

fn commit_multiple_commands<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    let numbers = [42, 55, 81];
    for number in numbers {
        submit(c, first, number);
        c.sleep(100);
    }
    c.sleep(250);
    let at: Vec<_> = numbers.iter().map(|number| found(c, *number)).collect();
    assert_eq!(at, [(3, Some(1)), (3, Some(2)), (3, Some(3))]);
}

fn commit_with_disconnection_and_recover<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    submit(c, first, 5);
    submit(c, first, 6);
    c.sleep(250);
    assert_eq!(found(c, 6).0, 3);
    let other = (first + 1) % 3;
    c.disconnect(other);
    c.sleep(250);
    submit(c, first, 7);
    c.sleep(250);
    assert_eq!(found(c, 7).0, 2);
    c.connect(other);
    c.sleep(200);
    let (next, _) = leader(c);
    // The new leader has no entry of its own yet; the next command settles what came before.
    submit(c, next, 8);
    c.sleep(500);
    assert_eq!((found(c, 7).0, found(c, 8).0), (3, 3));
}

fn no_commit_with_no_quorum<C: Servers>(c: &mut C) {
    let (first, term) = leader(c);
    submit(c, first, 5);
    submit(c, first, 6);
    c.sleep(250);
    assert_eq!(found(c, 6).0, 3);
    let others = [(first + 1) % 3, (first + 2) % 3];
    others.iter().for_each(|server| c.disconnect(*server));
    c.sleep(250);
    submit(c, first, 8);
    c.sleep(250);
    assert_eq!(found(c, 8).0, 0);
    others.iter().for_each(|server| c.connect(*server));
    c.sleep(600);
    assert_eq!(found(c, 8).0, 0, "an old entry is committed by counting");
    let (next, newer) = leader(c);
    assert!(newer > term);
    for number in 9..12 {
        submit(c, next, number);
    }
    c.sleep(350);
    for number in 9..12 {
        assert_eq!(found(c, number).0, 3);
    }
}

fn disconnect_leader_briefly<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    submit(c, first, 5);
    submit(c, first, 6);
    c.sleep(250);
    c.disconnect(first);
    c.sleep(90);
    c.connect(first);
    c.sleep(200);
    // Between two heartbeats, such a pause can be enough for an election.
    let (next, _) = leader(c);
    submit(c, next, 7);
    c.sleep(250);
    assert_eq!(found(c, 7).0, 3);
}

fn commits_with_leader_disconnects<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    submit(c, first, 5);
    submit(c, first, 6);
    c.sleep(150);
    assert_eq!(found(c, 6).0, 5);
    c.disconnect(first);
    c.sleep(10);
    submit(c, first, 7);
    c.sleep(500);
    assert_eq!(found(c, 7).0, 0);
    let (second, _) = leader(c);
    submit(c, second, 8);
    c.sleep(250);
    assert_eq!(found(c, 8).0, 4);
    c.connect(first);
    c.sleep(600);
    let (third, _) = leader(c);
    assert_ne!(third, first);
    submit(c, third, 9);
    c.sleep(500);
    assert_eq!((found(c, 9).0, found(c, 8).0, found(c, 7).0), (5, 5, 0));
}

fn crash_follower<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    submit(c, first, 5);
    c.sleep(350);
    assert_eq!(found(c, 5).0, 3);
    c.crash((first + 1) % 3);
    c.sleep(350);
    assert_eq!(found(c, 5).0, 2);
}

fn crash_then_restart_follower<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    for number in 5..8 {
        submit(c, first, number);
    }
    c.sleep(350);
    let other = (first + 1) % 3;
    c.crash(other);
    c.sleep(300);
    assert_eq!(found(c, 7).0, 2);
    c.restart(other);
    c.sleep(650);
    for number in 5..8 {
        assert_eq!(found(c, number).0, 3);
    }
}

fn crash_then_restart_leader<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    for number in 5..8 {
        submit(c, first, number);
    }
    c.sleep(350);
    c.crash(first);
    c.sleep(350);
    assert_eq!(found(c, 7).0, 2);
    c.restart(first);
    c.sleep(550);
    for number in 5..8 {
        assert_eq!(found(c, number).0, 3);
    }
}

fn crash_then_restart_all<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    for number in 5..8 {
        submit(c, first, number);
    }
    c.sleep(350);
    servers(c).for_each(|server| c.crash(server));
    c.sleep(350);
    servers(c).for_each(|server| c.restart(server));
    c.sleep(150);
    let (next, _) = leader(c);
    submit(c, next, 8);
    c.sleep(350);
    for number in 5..9 {
        assert_eq!(found(c, number).0, 3);
    }
}

fn replace_multiple_log_entries<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    submit(c, first, 5);
    submit(c, first, 6);
    c.sleep(250);
    assert_eq!(found(c, 6).0, 3);
    c.disconnect(first);
    c.sleep(10);
    for number in [21, 22, 23, 24] {
        submit(c, first, number);
        c.sleep(5);
    }
    let (second, _) = leader(c);
    for number in [7, 8, 9, 10] {
        submit(c, second, number);
    }
    c.sleep(250);
    assert_eq!((found(c, 10).0, found(c, 21).0), (2, 0));
    c.crash(second);
    c.sleep(60);
    c.connect(first);
    c.sleep(600);
    let (third, _) = leader(c);
    assert_ne!(third, first, "it lacks what is committed");
    c.restart(second);
    c.sleep(150);
    let (third, _) = leader(c);
    submit(c, third, 11);
    c.sleep(500);
    assert_eq!((found(c, 11).0, found(c, 10).0, found(c, 21).0), (3, 3, 0));
}

/// An entry of a leader that is lost right after it took it stays uncommitted in later terms, until
/// an entry of such a term comes after it. Whether a later leader had it and brought it to all.
fn lost_after_submit<C: Servers>(
    c: &mut C,
    lose: impl Fn(&mut C, usize),
    back: impl Fn(&mut C, usize),
) -> bool {
    let (first, _) = leader(c);
    submit(c, first, 5);
    c.sleep(1);
    lose(c, first);
    c.sleep(10);
    leader(c);
    assert_eq!(found(c, 5).0, 0);
    // On a fast network it may have been committed within that millisecond; then it stays so.
    let early = c.last_applied(first) > 0;
    back(c, first);
    c.sleep(150);
    let (next, _) = leader(c);
    assert!(early || found(c, 5).0 == 0, "an old entry is committed by counting");
    submit(c, next, 6);
    c.sleep(300);
    assert_eq!(found(c, 6).0, 3);
    // Whether anybody had the first in time is a matter of a millisecond; if so, it comes before.
    let (count, index) = found(c, 5);
    let Some(index) = index else { return false };
    assert_eq!((count, Some(index + 1)), (3, found(c, 6).1));
    !early
}

/// Runs it for many seeds, in some of which there must be an old entry to commit.
fn lost_after_submit_often(lose: fn(&mut Lab, usize), back: fn(&mut Lab, usize)) {
    let brought = std::cell::Cell::new(0);
    quick(3, 40, |c| {
        let was = lost_after_submit(c, lose, back);
        brought.set(brought.get() + usize::from(was));
    });
    assert!(!are_as_named() || brought.get() >= 3, "only {} of 40 had an old entry", brought.get());
}

fn start_election_missing_persist<C: Disks>(c: &mut C) {
    let (first, term) = leader(c);
    let other = (first + 1) % 3;
    c.disconnect(other);
    c.sleep(1200);
    let (now, _) = c.state(other).expect("it runs");
    assert!(now > term, "it never campaigned");
    assert_eq!(c.saved(other), Some((now, Some(other))), "its candidacy is not on disk");
}

fn become_follower_missing_persist<C: Disks>(c: &mut C) {
    let (first, _) = leader(c);
    c.disconnect(first);
    c.sleep(350);
    let (_, newer) = leader(c);
    c.connect(first);
    // Long enough to hear of the new term, and for the disk to have it.
    c.sleep(120);
    assert_eq!(c.state(first).expect("it runs"), (newer, false));
    c.crash(first);
    c.restart(first);
    let (saved, _) = c.saved(first).expect("it runs");
    assert!(saved >= newer, "term {saved} after it had been in {newer}");
}

fn stale_vote_reply_ignored<C: Servers>(c: &mut C) {
    let (first, _) = leader(c);
    c.disconnect(first);
    c.sleep(450);
    let (second, _) = leader(c);
    c.disconnect(second);
    c.sleep(450);
    leader(c);
    c.connect(first);
    c.connect(second);
    c.sleep(350);
    leader(c);
}

fn election_safety_stress<C: Servers>(c: &mut C) {
    for _ in 0..8 {
        let (first, _) = leader(c);
        c.disconnect(first);
        c.sleep(350);
        leader(c);
        c.connect(first);
        c.sleep(150);
        leader(c);
    }
}

macro_rules! tests {
    ($($test:ident: $body:ident($size:expr),)*) => {
        $(#[test] fn $test() { quick($size, 20, $body); })*
    };
}

tests! {
    test_election_basic: election_basic(3),
    test_election_leader_disconnect: election_leader_disconnect(3),
    test_election_leader_and_another_disconnect: election_leader_and_another_disconnect(3),
    test_disconnect_all_then_restore: disconnect_all_then_restore(3),
    test_election_leader_disconnect_then_reconnect: election_leader_disconnect_then_reconnect(3),
    test_election_leader_disconnect_then_reconnect_5:
        election_leader_disconnect_then_reconnect_5(5),
    test_election_follower_comes_back: election_follower_comes_back(3),
    test_election_disconnect_loop: election_disconnect_loop(3),
    test_commit_one_command: commit_one_command(3),
    test_commit_after_call_drops: commit_after_call_drops(3),
    test_submit_non_leader_fails: submit_non_leader_fails(3),
    test_commit_multiple_commands: commit_multiple_commands(3),
    test_commit_with_disconnection_and_recover: commit_with_disconnection_and_recover(3),
    test_no_commit_with_no_quorum: no_commit_with_no_quorum(3),
    test_disconnect_leader_briefly: disconnect_leader_briefly(3),
    test_commits_with_leader_disconnects: commits_with_leader_disconnects(5),
    test_crash_follower: crash_follower(3),
    test_crash_then_restart_follower: crash_then_restart_follower(3),
    test_crash_then_restart_leader: crash_then_restart_leader(3),
    test_crash_then_restart_all: crash_then_restart_all(3),
    test_replace_multiple_log_entries: replace_multiple_log_entries(3),
    test_bug_start_election_missing_persist: start_election_missing_persist(3),
    test_bug_become_follower_missing_persist: become_follower_missing_persist(3),
    test_stale_vote_reply_ignored: stale_vote_reply_ignored(5),
    test_election_safety_stress: election_safety_stress(5),
}

#[test]
fn test_crash_after_submit() {
    lost_after_submit_often(Servers::crash, Servers::restart);
}

#[test]
fn test_disconnect_after_submit() {
    lost_after_submit_often(Servers::disconnect, Servers::connect);
}
