//! MIT 6.5840 4A (and 4C): a counter on every server, to which commands are submitted directly.
//! Whoever submits hears of it exactly once: the counter after it, or that it is not known.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use hardlog_raft::{
    Command, Config, FrozenSnapshot, ProposeError, StateMachine,
    sim::lab::{Compaction, Lab, Seed},
};

use crate::suites::{
    harness::{ELECTION, check_one_leader, servers},
    seeds::{Simulated, each_seed},
    simulated::NO_SNAPSHOTS,
};

const INC: &[u8] = b"inc";
const DEC: &[u8] = b"dec";
/// What the lab allows for the state of Raft.
const STATE_MAX: u64 = 2000;

type Counters = Arc<Mutex<BTreeMap<u64, i64>>>;
type Answers = Arc<Mutex<Vec<Result<i64, ProposeError>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts, and shows the count to the test.
struct Counter {
    id: u64,
    count: i64,
    all: Counters,
}

impl Counter {
    fn show(&self) {
        lock(&self.all).insert(self.id, self.count);
    }
}

impl StateMachine for Counter {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut replies = Vec::new();
        for command in commands {
            self.count += if *command.data == *INC { 1 } else { -1 };
            replies.push(Bytes::copy_from_slice(&self.count.to_le_bytes()));
        }
        self.show();
        replies
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(self.count))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        self.count = i64::from_le_bytes(bytes);
        self.show();
        Ok(())
    }
}

struct Frozen(i64);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.0.to_le_bytes())
    }
}

/// Three servers that count.
struct Rsm {
    lab: Lab,
    counters: Counters,
}

impl Simulated for Rsm {
    fn lab(&self) -> &Lab {
        &self.lab
    }
}

impl Rsm {
    fn new(compaction: Compaction, seed: Seed) -> Self {
        let counters = Counters::default();
        let all = Arc::clone(&counters);
        let make = Box::new(move |id| {
            let counter = Counter { id, count: 0, all: Arc::clone(&all) };
            counter.show();
            Box::new(counter) as Box<dyn StateMachine>
        });
        Self { lab: Lab::with_service(3, Config::classic(), compaction, seed, make), counters }
    }

    /// Submits once to a server; its answer comes later. Whether it took the command.
    fn submit(&mut self, server: usize, command: &'static [u8], answers: &Answers) -> bool {
        let answers = Arc::clone(answers);
        let done = move |result: Result<Bytes, _>| {
            let count = result.map(|bytes| {
                bytes.first_chunk().map_or(i64::MIN, |count| i64::from_le_bytes(*count))
            });
            lock(&answers).push(count);
        };
        self.lab.propose(server, &Bytes::from_static(command), done).is_some()
    }

    /// Submits to whoever takes it, until one answers with the count.
    fn one(&mut self, command: &'static [u8]) -> i64 {
        for _ in 0..500 {
            let answers = Answers::default();
            let took = (0..3).any(|server| {
                self.lab.is_connected(server) && self.submit(server, command, &answers)
            });
            for _ in 0..if took { 200 } else { 2 } {
                self.lab.sleep(10);
                if let Some(Ok(count)) = lock(&answers).pop() {
                    return count;
                }
            }
        }
        panic!("nobody counts");
    }

    /// So many servers come to that count within ten seconds.
    fn check(&mut self, count: i64, expected: usize) {
        for _ in 0..1000 {
            let found = lock(&self.counters).values().filter(|found| **found == count).count();
            if found >= expected {
                return;
            }
            self.lab.sleep(10);
        }
        panic!("{:?}, {expected} should be {count}", lock(&self.counters));
    }

    fn crash_all(&mut self) {
        servers(&self.lab).for_each(|server| self.lab.crash(server));
    }

    fn restart_all(&mut self) {
        servers(&self.lab).for_each(|server| self.lab.restart(server));
    }
}

fn basic(c: &mut Rsm) {
    for count in 1..=10 {
        assert_eq!(c.one(INC), count);
        c.check(count, 3);
    }
}

fn concurrent(c: &mut Rsm) {
    let leader = check_one_leader(&mut c.lab);
    let answers = Answers::default();
    (0..50).for_each(|_| assert!(c.submit(leader, INC, &answers)));
    c.check(50, 3);
    let mut counts: Vec<i64> = lock(&answers).iter().filter_map(|answer| answer.ok()).collect();
    counts.sort_unstable();
    assert!(counts.into_iter().eq(1..=50), "each hears its own count");
}

fn leader_failure(c: &mut Rsm) {
    assert_eq!(c.one(INC), 1);
    c.check(1, 3);
    let leader = check_one_leader(&mut c.lab);
    c.lab.disconnect(leader);
    assert_eq!(c.one(INC), 2);
    c.check(2, 2);
    c.lab.connect(leader);
    c.check(2, 3);
}

/// What a leader takes while nobody hears it never happens, and whoever submitted it is told soon
/// after it hears of another leader.
fn leader_partition(c: &mut Rsm) {
    c.one(INC);
    let leader = check_one_leader(&mut c.lab);
    c.lab.disconnect(leader);
    let answers = Answers::default();
    (0..100).for_each(|_| assert!(c.submit(leader, DEC, &answers)));
    c.lab.sleep(ELECTION);
    for count in 2..=10 {
        assert_eq!(c.one(INC), count);
    }
    assert!(lock(&answers).is_empty(), "nobody can know yet");
    c.lab.connect(leader);
    c.lab.sleep(ELECTION);
    let answers = lock(&answers).clone();
    let unknown = answers.iter().filter(|answer| **answer == Err(ProposeError::Unknown)).count();
    assert_eq!((answers.len(), unknown), (100, 100), "of 100 within a second");
    assert_eq!(c.one(INC), 11);
    c.check(11, 3);
}

fn restart_replay(c: &mut Rsm) {
    for count in 1..=100 {
        assert_eq!(c.one(INC), count);
    }
    c.check(100, 3);
    c.crash_all();
    lock(&c.counters).clear();
    c.restart_all();
    assert_eq!(c.one(INC), 101, "all is counted again, once");
    c.check(101, 3);
}

/// A server that ends answers everybody who waits for it.
fn shutdown(c: &mut Rsm) {
    let leader = check_one_leader(&mut c.lab);
    servers(&c.lab).filter(|server| *server != leader).for_each(|server| c.lab.crash(server));
    let answers = Answers::default();
    (0..50).for_each(|_| assert!(c.submit(leader, INC, &answers)));
    c.lab.sleep(ELECTION);
    assert!(lock(&answers).is_empty());
    c.lab.crash(leader);
    assert_eq!(lock(&answers).len(), 50);
    assert!(lock(&answers).iter().all(|answer| *answer == Err(ProposeError::Unknown)));
}

/// Servers that were killed take commands again, also those that others were killed with.
fn restart_submit(c: &mut Rsm) {
    for count in 1..=100 {
        assert_eq!(c.one(INC), count);
    }
    c.crash_all();
    c.restart_all();
    let leader = check_one_leader(&mut c.lab);
    let answers = Answers::default();
    (0..50).for_each(|_| assert!(c.submit(leader, INC, &answers)));
    c.check(150, 3);
    assert_eq!(lock(&answers).iter().filter(|answer| answer.is_ok()).count(), 50);
    c.crash_all();
    c.restart_all();
    assert_eq!(c.one(INC), 151);
    c.check(151, 3);
}

fn snapshot(c: &mut Rsm) {
    for count in 1..=100 {
        assert_eq!(c.one(INC), count);
    }
    c.check(100, 3);
    let sizes: Vec<u64> = servers(&c.lab).map(|server| c.lab.state_size(server)).collect();
    assert!(sizes.iter().all(|size| *size <= STATE_MAX), "{sizes:?} bytes are kept");
    assert!(servers(&c.lab).all(|server| c.lab.snapshot(server) > 50), "nobody took a snapshot");
    c.crash_all();
    lock(&c.counters).clear();
    c.restart_all();
    assert_eq!(c.one(INC), 101, "what is in the snapshot counts, and what comes after it");
    c.check(101, 3);
}

fn run(compaction: Compaction, body: impl Fn(&mut Rsm)) {
    each_seed(30, |seed| Rsm::new(compaction, seed), body);
}

#[test]
fn test_basic_4a() {
    run(NO_SNAPSHOTS, basic);
}

#[test]
fn test_concurrent_4a() {
    run(NO_SNAPSHOTS, concurrent);
}

#[test]
fn test_leader_failure_4a() {
    run(NO_SNAPSHOTS, leader_failure);
}

#[test]
fn test_leader_partition_4a() {
    run(NO_SNAPSHOTS, leader_partition);
}

#[test]
fn test_restart_replay_4a() {
    run(NO_SNAPSHOTS, restart_replay);
}

#[test]
fn test_shutdown_4a() {
    run(NO_SNAPSHOTS, shutdown);
}

#[test]
fn test_restart_submit_4a() {
    run(NO_SNAPSHOTS, restart_submit);
}

#[test]
fn test_snapshot_4c() {
    run(Compaction { every_bytes: 1000, keep_behind: 0 }, snapshot);
}
