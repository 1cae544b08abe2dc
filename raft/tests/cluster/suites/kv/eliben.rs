//! The system tests of eliben/raft, parts 4 and 5: clients that look for their leader, and repeat
//! themselves when they hear nothing.

use hardlog_raft::sim::lab::Seed;

use super::{
    shop::{Shop, Terms},
    store::{append, cas, get, put},
};
use crate::suites::{
    seeds::each_seed,
    simulated::{NO_SNAPSHOTS, quick_config},
};

fn check_get(c: &mut Shop, clerk: usize, key: &str, value: &str) {
    assert_eq!(c.call(clerk, get(key)).reply.previous.as_deref(), Some(value), "{key}");
}

/// Puts these, each by a client of its own; none of the keys is there before.
fn put_some(c: &mut Shop, n: u64) {
    for i in 0..n {
        let clerk = c.hire_for_all();
        let done = c.call(clerk, put(format!("key{i}"), format!("value{i}")));
        assert_eq!(done.reply.previous, None);
    }
}

fn get_some(c: &mut Shop, clerk: usize, n: u64) {
    (0..n).for_each(|i| check_get(c, clerk, &format!("key{i}"), &format!("value{i}")));
}

/// A client that asks the servers in any order.
fn hire_in_any_order(c: &mut Shop) -> usize {
    let mut servers: Vec<usize> = (0..3).collect();
    for at in (1..3).rev() {
        let other = usize::try_from(c.lab.random(at + 1)).expect("servers are few");
        servers.swap(usize::try_from(at).expect("servers are few"), other);
    }
    c.hire(servers)
}

fn setup_harness(c: &mut Shop) {
    c.pass(80);
    assert!((0..3).all(|server| c.lab.is_up(server)), "all run");
    let leader = c.await_leader();
    c.pass(200);
    assert_eq!(c.leader(), Some(leader), "and agree on a leader");
}

fn client_request_before_consensus(c: &mut Shop) {
    c.pass(10);
    assert_eq!(c.leader(), None);
    let clerk = c.hire_for_all();
    c.call(clerk, put("llave", "cosa"));
}

fn basic_put_get_single_client(c: &mut Shop) {
    c.await_leader();
    let clerk = c.hire_for_all();
    c.call(clerk, put("llave", "cosa"));
    check_get(c, clerk, "llave", "cosa");
}

fn put_prev_value(c: &mut Shop) {
    c.await_leader();
    let clerk = c.hire_for_all();
    assert_eq!(c.call(clerk, put("llave", "cosa")).reply.previous, None);
    let done = c.call(clerk, put("llave", "frodo"));
    assert_eq!(done.reply.previous.as_deref(), Some("cosa"));
    assert_eq!(c.call(clerk, put("mafteah", "davar")).reply.previous, None);
}

fn appends(c: &mut Shop, one: usize, other: usize) {
    c.call(one, put("foo", "bar"));
    let done = c.call(other, append("foo", "baz"));
    assert_eq!(done.reply.previous.as_deref(), Some("bar"));
    check_get(c, one, "foo", "barbaz");
    assert_eq!(c.call(other, append("mix", "match")).reply.previous, None);
    check_get(c, one, "mix", "match");
}

fn basic_append_same_client(c: &mut Shop) {
    c.await_leader();
    let clerk = c.hire_for_all();
    appends(c, clerk, clerk);
}

fn basic_append_different_clients(c: &mut Shop) {
    c.await_leader();
    let clerks = [c.hire_for_all(), c.hire_for_all()];
    appends(c, clerks[0], clerks[1]);
}

fn basic_put_get_different_clients(c: &mut Shop) {
    c.await_leader();
    let clerks = [c.hire_for_all(), c.hire_for_all()];
    c.call(clerks[0], put("k", "v"));
    check_get(c, clerks[1], "k", "v");
}

fn cas_basic(c: &mut Shop) {
    c.await_leader();
    let clerk = c.hire_for_all();
    c.call(clerk, put("k", "v"));
    let done = c.call(clerk, cas("k", "v", "newv"));
    assert_eq!(done.reply.previous.as_deref(), Some("v"));
    check_get(c, clerk, "k", "newv");
    let done = c.call(clerk, cas("k", "v", "never"));
    assert_eq!(done.reply.previous.as_deref(), Some("newv"));
    check_get(c, clerk, "k", "newv");
}

/// Twenty swaps in a row by one client that come to nothing, until another one sets the key.
fn cas_concurrent(c: &mut Shop) {
    c.await_leader();
    let (first, swapper, other) = (c.hire_for_all(), c.hire_for_all(), c.hire_for_all());
    c.call(first, put("foo", "mexico"));
    let (mut left, began) = (20, c.lab.now());
    let mut is_put = false;
    while left > 0 || !is_put {
        if left > 0 && !c.is_busy(swapper) {
            c.begin(swapper, cas("foo", "bar", "bomba"));
            left -= 1;
        }
        if !is_put && c.lab.now() >= began + 50 {
            c.begin(other, put("foo", "bar"));
            is_put = true;
        }
        c.step();
    }
    c.finish(other);
    c.finish(swapper);
    let swaps: Vec<_> = c.history.iter().filter(|done| done.clerk == swapper).collect();
    let swapped = swaps.iter().filter(|done| done.reply.previous.as_deref() == Some("bar")).count();
    assert_eq!(swaps.len(), 20);
    assert!(swapped <= 1, "swapped {swapped} times");
    let found = c.call(other, get("foo")).reply.previous;
    assert_eq!(found.as_deref(), Some(if swapped == 1 { "bomba" } else { "bar" }));
}

/// The same, with twenty clients at once: one of them wins.
fn cas_by_twenty_clients(c: &mut Shop) {
    c.await_leader();
    let clerk = c.hire_for_all();
    c.call(clerk, put("foo", "bar"));
    let swappers: Vec<usize> = (0..20).map(|_| c.hire_for_all()).collect();
    swappers.iter().for_each(|s| c.begin(*s, cas("foo", "bar", &format!("bomba{s}"))));
    let done: Vec<_> = swappers.iter().map(|swapper| c.finish(*swapper)).collect();
    let won: Vec<_> =
        done.iter().filter(|done| done.reply.previous.as_deref() == Some("bar")).collect();
    assert_eq!(won.len(), 1, "{won:?}");
    check_get(c, clerk, "foo", &format!("bomba{}", won[0].clerk));
}

fn concurrent_clients(c: &mut Shop) {
    c.await_leader();
    let writers: Vec<usize> = (0..9).map(|_| c.hire_for_all()).collect();
    for (i, clerk) in writers.iter().enumerate() {
        c.begin(*clerk, put(format!("key{i}"), format!("value{i}")));
    }
    c.pass(150);
    assert!(writers.iter().all(|clerk| !c.is_busy(*clerk)), "all is written after 150 ms");
    let found = c.history.iter().filter(|done| done.reply.previous.is_some()).count();
    assert_eq!(found, 0);
    let readers: Vec<usize> = (0..9).map(|_| c.hire_for_all()).collect();
    for (i, clerk) in readers.iter().enumerate() {
        c.begin(*clerk, get(format!("key{i}")));
    }
    c.pass(150);
    for (i, clerk) in readers.iter().enumerate() {
        let found = c.done(*clerk).and_then(|done| done.reply.previous);
        assert_eq!(found, Some(format!("value{i}")), "after 150 ms");
    }
}

fn disconnect_leader_after_puts(c: &mut Shop) {
    let old = c.await_leader();
    put_some(c, 4);
    c.lab.disconnect(old);
    c.pass(300);
    assert_ne!(c.await_leader(), old);
    let clerk = c.hire([old]);
    assert!(!c.is_answered_within(clerk, get("key1"), 500), "a leader without followers answers");
    for _ in 0..5 {
        let clerk = hire_in_any_order(c);
        get_some(c, clerk, 4);
    }
    c.lab.connect(old);
    c.pass(200);
}

fn disconnect_leader_and_follower(c: &mut Shop) {
    let old = c.await_leader();
    let other = (old + 1) % 3;
    put_some(c, 4);
    c.lab.disconnect(old);
    c.lab.disconnect(other);
    c.pass(100);
    let clerk = c.hire_for_all();
    assert!(!c.is_answered_within(clerk, get("key0"), 500), "a minority answers");
    c.lab.connect(other);
    c.await_leader();
    get_some(c, clerk, 4);
    c.lab.connect(old);
    c.await_leader();
    get_some(c, clerk, 4);
}

fn crash_follower(c: &mut Shop) {
    let leader = c.await_leader();
    put_some(c, 3);
    c.crash((leader + 1) % 3);
    let (direct, any) = (c.hire([leader]), c.hire_for_all());
    get_some(c, direct, 3);
    get_some(c, any, 3);
}

fn crash_leader(c: &mut Shop) {
    let leader = c.await_leader();
    put_some(c, 3);
    c.crash(leader);
    c.await_leader();
    let clerk = c.hire_for_all();
    get_some(c, clerk, 3);
}

fn crash_then_restart_leader(c: &mut Shop) {
    let leader = c.await_leader();
    put_some(c, 3);
    c.crash(leader);
    c.await_leader();
    let clerk = c.hire_for_all();
    get_some(c, clerk, 3);
    c.lab.restart(leader);
    for _ in 0..5 {
        let clerk = hire_in_any_order(c);
        get_some(c, clerk, 3);
    }
}

/// The answer is late, so the client sends the command again: it is told that of the first time.
fn append_linearizable_after_delay(c: &mut Shop) {
    let leader = c.await_leader();
    let clerk = c.hire([leader, (leader + 1) % 3, (leader + 2) % 3]);
    c.call(clerk, put("foo", "bar"));
    c.call(clerk, append("foo", "baz"));
    check_get(c, clerk, "foo", "barbaz");
    c.delay_next_answer(leader, 1000);
    let done = c.call(clerk, append("foo", "mira"));
    assert!(done.duplicate, "it was sent twice");
    assert_eq!(done.reply.previous.as_deref(), Some("barbaz"));
    c.pass(100);
    check_get(c, clerk, "foo", "barbazmira");
}

/// The leader crashes when the append is applied, and nobody was told.
fn append_linearizable_after_crash(c: &mut Shop) {
    let leader = c.await_leader();
    let clerk = c.hire([leader, (leader + 1) % 3, (leader + 2) % 3]);
    c.call(clerk, put("foo", "bar"));
    c.crash_before_next_answer(leader);
    let done = c.call(clerk, append("foo", "mira"));
    assert!(!c.lab.is_up(leader), "it crashed");
    assert!(done.duplicate, "it was sent twice");
    check_get(c, clerk, "foo", "barmira");
}

fn shop(servers: usize, sessions: bool, seed: impl Into<Seed>) -> Shop {
    let (config, compaction) = (quick_config(), NO_SNAPSHOTS);
    Shop::open(Terms { servers, config, compaction, sessions }, seed)
}

fn run(servers: usize, body: impl Fn(&mut Shop)) {
    each_seed(30, |seed| shop(servers, true, seed), body);
}

/// Part 4, which has no sessions: the same scene, and the append is there twice. So the tests above
/// would notice.
#[test]
fn without_sessions_an_append_is_delivered_twice() {
    let c = &mut shop(3, false, 1);
    let leader = c.await_leader();
    let clerk = c.hire([leader, (leader + 1) % 3, (leader + 2) % 3]);
    c.call(clerk, put("foo", "bar"));
    c.delay_next_answer(leader, 1000);
    let done = c.call(clerk, append("foo", "mira"));
    assert!(!done.duplicate);
    check_get(c, clerk, "foo", "barmiramira");
}

macro_rules! tests {
    ($($test:ident: $body:ident($size:expr),)*) => {
        $(#[test] fn $test() { run($size, $body); })*
    };
}

tests! {
    test_setup_harness: setup_harness(3),
    test_client_request_before_consensus: client_request_before_consensus(3),
    test_basic_put_get_single_client: basic_put_get_single_client(3),
    test_put_prev_value: put_prev_value(3),
    test_basic_append_same_client: basic_append_same_client(3),
    test_basic_append_different_clients: basic_append_different_clients(3),
    test_basic_put_get_different_clients: basic_put_get_different_clients(3),
    test_cas_basic: cas_basic(3),
    test_cas_concurrent: cas_concurrent(3),
    test_cas_by_twenty_clients: cas_by_twenty_clients(3),
    test_concurrent_clients_puts_and_gets: concurrent_clients(3),
    test_5_server_concurrent_clients_puts_and_gets: concurrent_clients(5),
    test_disconnect_leader_after_puts: disconnect_leader_after_puts(3),
    test_disconnect_leader_and_follower: disconnect_leader_and_follower(3),
    test_crash_follower: crash_follower(3),
    test_crash_leader: crash_leader(3),
    test_crash_then_restart_leader: crash_then_restart_leader(3),
    test_append_linearizable_after_delay: append_linearizable_after_delay(3),
    test_append_linearizable_after_crash: append_linearizable_after_crash(3),
}
