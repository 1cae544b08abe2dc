//! The key-value service of MIT 6.824 3A and 3B, 6.5840 4A to 4C of later years: clients that put,
//! append and get all the time, while links, servers and partitions come and go.
//!
//! A test of the original has three rounds of five seconds; here a round is a second, or three where
//! much is lost, and there are many seeds. Every answer is checked by the linearizability checker, in every test.

use std::cell::Cell;

use hardlog_raft::{
    Config,
    sim::lab::{Compaction, Seed},
};

use super::{
    history::is_linearizable,
    shop::{Shop, Terms},
    store::{append, get, put},
};
use crate::suites::{
    harness::ELECTION,
    seeds::{are_as_named, each_seed},
    simulated::NO_SNAPSHOTS,
};

/// What the service is given for the state of Raft, and how much more there may be.
const STATE_BYTES: u64 = 1000;
const STATE_FACTOR: u64 = 8;
const SNAPSHOTS: Compaction = Compaction { every_bytes: STATE_BYTES, keep_behind: 0 };

/// What a test is made of.
#[derive(Clone, Copy)]
struct Mix {
    clients: u64,
    servers: usize,
    unreliable: bool,
    crash: bool,
    partitions: bool,
    snapshots: bool,
    /// Clients share their keys, instead of having one each.
    random_keys: bool,
    /// The longest pause of a client between two commands.
    pause: u64,
}

const BASIC: Mix = Mix {
    clients: 1,
    servers: 5,
    unreliable: false,
    crash: false,
    partitions: false,
    snapshots: false,
    random_keys: false,
    pause: 20,
};
const CONCURRENT: Mix = Mix { clients: 5, ..BASIC };
const UNRELIABLE: Mix = Mix { unreliable: true, ..CONCURRENT };
/// Many clients on keys that they share.
const LINEARIZABLE: Mix =
    Mix { clients: 15, servers: 7, unreliable: true, random_keys: true, pause: 60, ..BASIC };

/// A client of a mix.
struct Worker {
    clerk: usize,
    own: u64,
    /// What its own key must hold.
    last: String,
    count: u64,
    next_at: u64,
}

fn open(servers: usize, compaction: Compaction, seed: impl Into<Seed>) -> Shop {
    let config = Config::classic();
    Shop::open(Terms { servers, config, compaction, sessions: true }, seed)
}

fn run(mix: Mix, seeds: u64) {
    let compaction = if mix.snapshots { SNAPSHOTS } else { NO_SNAPSHOTS };
    let commands = Cell::new(0);
    let body = |c: &mut Shop| {
        play(c, mix);
        assert!(is_linearizable(&c.history), "not linearizable");
        commands.set(commands.get() + c.history.len() as u64);
    };
    each_seed(seeds, |seed| open(mix.servers, compaction, seed), body);
    let commands = commands.get();
    assert!(!are_as_named() || commands > 60 * seeds, "{commands} commands prove little");
}

/// Three rounds.
fn play(c: &mut Shop, mix: Mix) {
    c.set_unreliable(mix.unreliable);
    let worker = |own, clerk| Worker { clerk, own, last: String::new(), count: 0, next_at: 0 };
    let mut workers: Vec<Worker> = (0..mix.clients).map(|i| worker(i, c.hire_for_all())).collect();
    for _ in 0..3 {
        round(c, mix, &mut workers);
        assert!(!mix.snapshots || log_bytes(c) <= STATE_FACTOR * STATE_BYTES, "{}", log_bytes(c));
    }
    c.set_unreliable(false);
    let snapshots = (0..mix.servers).map(|server| c.lab.snapshot(server)).max();
    assert_eq!(snapshots > Some(0), mix.snapshots, "snapshots at {snapshots:?}");
}

fn log_bytes(c: &Shop) -> u64 {
    (0..c.lab.size()).map(|server| c.lab.state_size(server)).max().unwrap_or(0)
}

fn round(c: &mut Shop, mix: Mix, workers: &mut [Worker]) {
    // Where much is lost, little happens in a second.
    let end = c.lab.now() + if mix.unreliable || mix.partitions { 3000 } else { 1000 };
    let mut parted_at = c.lab.now();
    while c.lab.now() < end {
        if mix.partitions && c.lab.now() >= parted_at {
            part_at_random(c);
            parted_at = c.lab.now() + ELECTION + c.lab.random(200);
        }
        workers.iter_mut().for_each(|worker| worker.work(c, mix, true));
        c.step();
    }
    if mix.partitions {
        c.lab.unmute();
        let until = c.lab.now() + ELECTION;
        while c.lab.now() < until {
            workers.iter_mut().for_each(|worker| worker.work(c, mix, false));
            c.step();
        }
    }
    if mix.crash {
        (0..mix.servers).for_each(|server| c.crash(server));
        c.pass(ELECTION);
        (0..mix.servers).for_each(|server| c.lab.restart(server));
    }
    let began = c.lab.now();
    while workers.iter().any(|worker| c.is_busy(worker.clerk)) {
        workers.iter_mut().for_each(|worker| worker.work(c, mix, false));
        c.step();
        assert!(c.lab.now() - began < 30_000, "clients are not answered");
    }
    for worker in workers.iter_mut() {
        worker.work(c, mix, false);
        let key = worker.own.to_string();
        let found = c.call(worker.clerk, get(key)).reply.previous.unwrap_or_default();
        c.done(worker.clerk);
        assert!(mix.random_keys || found == worker.last, "{found} is not {}", worker.last);
    }
}

/// Each server goes to one of two groups.
fn part_at_random(c: &mut Shop) {
    let mut groups = [Vec::new(), Vec::new()];
    for server in 0..c.lab.size() {
        groups[usize::from(c.lab.random(2) == 0)].push(server);
    }
    c.lab.partition(&[&groups[0], &groups[1]]);
}

impl Worker {
    /// Takes note of an answer, and begins another command if more are wanted.
    fn work(&mut self, c: &mut Shop, mix: Mix, more: bool) {
        if let Some(done) = c.done(self.clerk) {
            if !mix.random_keys {
                let found = done.reply.previous.clone().unwrap_or_default();
                assert_eq!(found, self.last, "before {:?}", done.command);
                let after = done.command.op.apply(done.reply.previous.as_ref());
                self.last = after.unwrap_or_default();
            }
            self.next_at = c.lab.now() + c.lab.random(mix.pause + 1);
        }
        if !more || c.is_busy(self.clerk) || c.lab.now() < self.next_at {
            return;
        }
        let key = if mix.random_keys { c.lab.random(mix.clients) } else { self.own }.to_string();
        let value = format!("x {} {} y", self.own, self.count);
        self.count += 1;
        let command = match c.lab.random(1000) {
            0..500 => append(key, value),
            500..550 if mix.random_keys => put(key, value),
            _ => get(key),
        };
        c.begin(self.clerk, command);
    }
}

/// A thousand commands, one after the other: more than three in each heartbeat of 100 ms.
fn speed(compaction: Compaction) {
    let body = |c: &mut Shop| {
        let clerk = c.hire_for_all();
        // A leader is there, and the clerk knows it.
        assert_eq!(c.call(clerk, get("x")).reply.previous, None);
        let began = c.lab.now();
        let mut expected = String::new();
        for i in 0..1000 {
            let value = format!("x 0 {i} y");
            c.call(clerk, append("x", value.clone()));
            expected += &value;
        }
        let each = (c.lab.now() - began) as f64 / 1000.0;
        assert!(each <= 100.0 / 3.0, "{each} ms for each command");
        assert_eq!(c.call(clerk, get("x")).reply.previous, Some(expected));
    };
    each_seed(10, |seed| open(3, compaction, seed), body);
}

/// All clients append to one key, over a network that loses a tenth.
fn unreliable_one_key(c: &mut Shop) {
    let first = c.hire_for_all();
    c.call(first, put("k", ""));
    c.set_unreliable(true);
    let clerks: Vec<usize> = (0..5).map(|_| c.hire_for_all()).collect();
    for n in 0..10 {
        for clerk in &clerks {
            c.begin(*clerk, append("k", format!("x {clerk} {n} y")));
        }
        clerks.iter().for_each(|clerk| drop(c.finish(*clerk)));
    }
    let found = c.call(first, get("k")).reply.previous.unwrap_or_default();
    for clerk in clerks {
        let places: Vec<_> = (0..10).map(|n| found.find(&format!("x {clerk} {n} y"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{found}");
    }
    assert_eq!(found.matches('x').count(), 50, "each once: {found}");
    assert!(is_linearizable(&c.history));
}

/// Progress in a majority, none in a minority, and completion once the two are one again.
fn one_partition(c: &mut Shop) {
    let clerk = c.hire_for_all();
    c.call(clerk, put("1", "13"));
    let leader = c.await_leader();
    // The leader stands with the minority.
    let at = |k: usize| (leader + k) % 5;
    let (majority, minority) = ([at(2), at(3), at(4)], [leader, at(1)]);
    c.lab.partition(&[&majority, &minority]);
    let (many, few) = (c.hire(majority), [c.hire(minority), c.hire(minority)]);
    c.call(many, put("1", "14"));
    assert_eq!(c.call(many, get("1")).reply.previous.as_deref(), Some("14"));
    c.begin(few[0], put("1", "15"));
    c.begin(few[1], get("1"));
    c.pass(ELECTION);
    assert!(few.iter().all(|clerk| c.is_busy(*clerk)), "a minority answers");
    assert_eq!(c.call(many, get("1")).reply.previous.as_deref(), Some("14"));
    c.call(many, put("1", "16"));
    c.lab.unmute();
    c.pass(ELECTION);
    for clerk in few {
        c.send_on(clerk, 0..5);
        c.finish(clerk);
    }
    assert_eq!(c.call(clerk, get("1")).reply.previous.as_deref(), Some("15"));
    assert!(is_linearizable(&c.history));
}

/// A server that missed what is trimmed by now catches up from a snapshot, and knows what is in it.
fn snapshot_rpc(c: &mut Shop) {
    let clerk = c.hire_for_all();
    c.call(clerk, put("a", "A"));
    assert_eq!(c.call(clerk, get("a")).reply.previous.as_deref(), Some("A"));
    c.lab.partition(&[&[0, 1], &[2]]);
    let some = c.hire([0, 1]);
    for i in 0..50 {
        c.call(some, put(i.to_string(), i.to_string()));
    }
    c.pass(ELECTION);
    c.call(some, put("b", "B"));
    let bytes = c.lab.state_size(0).max(c.lab.state_size(1));
    assert!(bytes <= STATE_FACTOR * STATE_BYTES, "{bytes} bytes are kept");
    let pieces = c.lab.traffic().snapshots;
    // Now the one that missed all of it is needed for a majority.
    c.lab.partition(&[&[0, 2], &[1]]);
    let some = c.hire([0, 2]);
    c.call(some, put("c", "C"));
    c.call(some, put("d", "D"));
    assert!(c.lab.traffic().snapshots > pieces, "it caught up without a snapshot");
    for (key, value) in [("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")] {
        assert_eq!(c.call(some, get(key)).reply.previous.as_deref(), Some(value));
    }
    c.lab.unmute();
    c.call(clerk, put("e", "E"));
    for key in ["c", "e", "1"] {
        assert!(c.call(clerk, get(key)).reply.previous.is_some());
    }
}

/// Snapshots of one key are small, however often it was written, and so is the log.
fn snapshot_size(c: &mut Shop) {
    let clerk = c.hire_for_all();
    for _ in 0..200 {
        for value in ["0", "1"] {
            c.call(clerk, put("x", value));
            assert_eq!(c.call(clerk, get("x")).reply.previous.as_deref(), Some(value));
        }
    }
    assert!(log_bytes(c) <= STATE_FACTOR * STATE_BYTES, "{} bytes are kept", log_bytes(c));
    let sizes: Vec<u64> = (0..3).map(|server| c.lab.snapshot_size(server)).collect();
    assert!(sizes.iter().all(|size| (1..=500).contains(size)), "snapshots of {sizes:?} bytes");
}

macro_rules! mixes {
    ($($test:ident: $seeds:literal, $mix:expr;)*) => {
        $(#[test] fn $test() { run($mix, $seeds); })*
    };
}

mixes! {
    test_basic_3a: 12, BASIC;
    test_concurrent_3a: 12, CONCURRENT;
    test_unreliable_3a: 12, UNRELIABLE;
    test_many_partitions_one_client_3a: 12, Mix { partitions: true, ..BASIC };
    test_many_partitions_many_clients_3a: 12, Mix { partitions: true, ..CONCURRENT };
    test_persist_one_client_3a: 12, Mix { crash: true, ..BASIC };
    test_persist_concurrent_3a: 12, Mix { crash: true, ..CONCURRENT };
    test_persist_concurrent_unreliable_3a: 12, Mix { crash: true, ..UNRELIABLE };
    test_persist_partition_3a: 12, Mix { crash: true, partitions: true, ..CONCURRENT };
    test_persist_partition_unreliable_3a: 12, Mix { crash: true, partitions: true, ..UNRELIABLE };
    test_persist_partition_unreliable_linearizable_3a: 12,
        Mix { crash: true, partitions: true, ..LINEARIZABLE };
    test_snapshot_recover_3b: 12, Mix { crash: true, snapshots: true, ..BASIC };
    test_snapshot_recover_many_clients_3b: 12,
        Mix { clients: 20, crash: true, snapshots: true, pause: 60, ..BASIC };
    test_snapshot_unreliable_3b: 12, Mix { snapshots: true, ..UNRELIABLE };
    test_snapshot_unreliable_recover_3b: 12, Mix { crash: true, snapshots: true, ..UNRELIABLE };
    test_snapshot_unreliable_recover_concurrent_partition_3b: 12,
        Mix { crash: true, partitions: true, snapshots: true, ..UNRELIABLE };
    test_snapshot_unreliable_recover_concurrent_partition_linearizable_3b: 12,
        Mix { crash: true, partitions: true, snapshots: true, ..LINEARIZABLE };
}

#[test]
fn test_speed_3a() {
    speed(NO_SNAPSHOTS);
}

#[test]
fn test_speed_3b() {
    speed(SNAPSHOTS);
}

#[test]
fn test_unreliable_one_key_3a() {
    each_seed(30, |seed| open(3, NO_SNAPSHOTS, seed), unreliable_one_key);
}

#[test]
fn test_one_partition_3a() {
    each_seed(50, |seed| open(5, NO_SNAPSHOTS, seed), one_partition);
}

#[test]
fn test_snapshot_rpc_3b() {
    each_seed(50, |seed| open(3, SNAPSHOTS, seed), snapshot_rpc);
}

#[test]
fn test_snapshot_size_3b() {
    each_seed(20, |seed| open(3, SNAPSHOTS, seed), snapshot_size);
}

/// Without sessions, over a network that loses answers, something is done twice, and both the
/// clients and the checker notice.
#[test]
fn without_sessions_the_mixes_do_not_pass() {
    let config = Config::classic();
    let is_right = |seed| {
        let config = config.clone();
        let terms = Terms { servers: 5, config, compaction: NO_SNAPSHOTS, sessions: false };
        let mut c = Shop::open(terms, seed);
        play(&mut c, Mix { random_keys: true, ..UNRELIABLE });
        is_linearizable(&c.history)
    };
    assert!(!(0..5).all(is_right), "nothing was done twice");
}
