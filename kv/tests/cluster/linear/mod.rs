//! Whether what clients of real processes saw is linearizable, while nodes are killed, stopped and
//! cut off from each other.
//!
//! ```text
//!   clients ── RESP ──▶ hardlog-kv × 3 ── proxy ── each other
//!      └─▶ history ─▶ checker (a crate)        ▲ kill -9, SIGSTOP, partitions
//! ```
//! The default run is short; `HARDLOG_LINEAR_SECONDS` sets for how long there are faults, and
//! `HARDLOG_SEED` which. A seed fixes what is tried, not what the processes make of it.

mod clients;
mod faults;
mod model;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hardlog_kv::{
    client::Connection,
    local::proxy::{Proxy, Rule},
    resp::Reply,
};

use self::{
    clients::{Workers, exchange},
    faults::Faults,
    model::{History, Op, Operation, Outcome},
};
use crate::harness::{TestCluster, until};

/// Seconds of faults if nobody says otherwise.
const SECONDS: u64 = 12;

fn option(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A cluster whose nodes reach each other through a proxy only.
fn behind_a_proxy(arguments: &[&str]) -> (TestCluster, Proxy) {
    let mut proxy = None;
    let cluster = TestCluster::start_prepared(
        |_| arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        |_, nodes| {
            let mut between = Proxy::default();
            for (id, member) in nodes.members().iter() {
                between.stand_before(id, member.raft_port, 0).unwrap();
            }
            nodes.set_fronts(between.fronts());
            proxy = Some(between);
        },
    );
    (cluster, proxy.unwrap())
}

/// What every node holds of the keys, which must be the same.
fn equal_states(cluster: &TestCluster, keys: &[String]) {
    cluster.settle();
    let mut states = Vec::new();
    for (_, member) in cluster.nodes.members().iter() {
        let mut node = Connection::open(member.client()).unwrap();
        node.call(&["READONLY"]).unwrap();
        let mut state = vec![node.call(&["DBSIZE"]).unwrap()];
        for some in keys.chunks(1000) {
            state.push(node.call(&[&["MGET".to_owned()], some].concat()).unwrap());
        }
        states.push(state);
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "the nodes' states differ");
}

#[test]
fn what_clients_see_is_linearizable_while_nodes_are_killed_stopped_and_cut_off() {
    let (seconds, seed) = (option("HARDLOG_LINEAR_SECONDS", SECONDS), option("HARDLOG_SEED", 1));
    let small = ["--tick=20", "--snapshot-every=1", "--keep-behind=200", "--segment=4"];
    let (mut cluster, proxy) = behind_a_proxy(&small);
    let (addresses, stop) = (cluster.nodes.addresses(), AtomicBool::new(false));
    let workers = Workers::new(&addresses, seed, &stop);
    let mut faults = Faults::new(seed);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        workers.begin(scope);
        // Also when the faults fail: nobody else ends the clients.
        let end = StopAtEnd(&stop);
        while Instant::now() < deadline {
            faults.one(&mut cluster, &proxy);
        }
        drop(end);
    });
    let (history, keys) = workers.finish();
    println!("seed {seed}, {seconds} s: {}; {faults}, {} pieces torn", history, proxy.torn());
    history.check();
    equal_states(&cluster, &keys);
    // Histories in which little is done prove little.
    assert!(history.done() > 40 * usize::try_from(seconds).unwrap(), "{history}");
    assert!(faults.count() > seconds / 3, "{faults}");
}

/// Ends the clients, also when the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A leader is cut off and paused, another is elected and takes a write, and a read that waits at
/// the first one is answered when that goes on: cut off still, so that nobody tells it before it
/// has read. The history of this, once.
fn read_at_a_deposed_leader(cluster: &TestCluster, proxy: &Proxy, key: &str) -> History {
    let begun = Instant::now();
    let at = || u64::try_from(begun.elapsed().as_nanos()).unwrap();
    let mut history = History::default();
    let mut add = |called, returned, op| {
        history.push(Operation { key: key.to_owned(), called, returned, op });
    };
    let mut client = cluster.client();
    let called = at();
    assert_eq!(client.call(&["SET", key, "1"]).unwrap(), Reply::OK);
    add(called, Some(at()), Op::Write(1));

    let old = cluster.leader();
    let mut waiting = Connection::open(cluster.address(old)).unwrap();
    assert_eq!(waiting.call(&["PING"]).unwrap(), Reply::Simple("PONG".into()));
    proxy.set_around(old, true, true, Rule::Hold);
    cluster.signal(old, "-STOP");
    let go_on = Continue(cluster, old);
    let others: Vec<_> = (1..=3).filter(|id| *id != old).collect();
    let new = until("a new leader", || {
        let leads =
            |id| crate::harness::info(cluster.address(id), "role").as_deref() == Some("leader");
        others.iter().copied().find(|id| leads(*id))
    });
    let called = at();
    let mut writer = Connection::open(cluster.address(new)).unwrap();
    if writer.call(&["SET", key, "2"]).unwrap() == Reply::OK {
        add(called, Some(at()), Op::Write(2));
    } else {
        add(called, None, Op::Write(2));
    }
    let called = at();
    let reading = std::thread::spawn({
        let key = key.to_owned();
        move || waiting.call(&["GET", &key])
    });
    // The request is in the socket before the old leader goes on.
    std::thread::sleep(Duration::from_millis(20));
    drop(go_on);
    if let Ok(reply) = reading.join().unwrap()
        && let Outcome::Done(op) = exchange::read_outcome(&reply)
    {
        add(called, Some(at()), op);
    }
    proxy.heal();
    history
}

/// Lets a stopped node go on, also when the test fails.
struct Continue<'a>(&'a TestCluster, u64);

impl Drop for Continue<'_> {
    fn drop(&mut self) {
        self.0.signal(self.1, "-CONT");
    }
}

#[test]
fn a_read_that_a_deposed_leader_serves_by_itself_is_found() {
    let (cluster, proxy) = behind_a_proxy(&["--tick=20", "--break-reads-for-tests"]);
    let found = (0..10).find(|round| {
        let history = read_at_a_deposed_leader(&cluster, &proxy, &format!("key-{round}"));
        history.violation().is_some()
    });
    let round = found.expect("a stale read within ten rounds");
    println!("broken reads: not linearizable in round {round}");
}

#[test]
fn the_same_without_the_bug_is_linearizable() {
    let (cluster, proxy) = behind_a_proxy(&["--tick=20"]);
    for round in 0..2 {
        read_at_a_deposed_leader(&cluster, &proxy, &format!("key-{round}")).check();
    }
}

#[test]
fn a_leader_cut_off_from_the_others_answers_no_read_until_it_is_back() {
    let (cluster, proxy) = behind_a_proxy(&["--tick=20"]);
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    let leader = cluster.leader();
    let mut node = Connection::open(cluster.address(leader)).unwrap();
    proxy.set_around(leader, true, true, Rule::Hold);
    let reply = node.call(&["GET", "foo"]).unwrap();
    let Reply::Error(why) = &reply else { panic!("{reply:?}") };
    assert!(why.starts_with(b"CLUSTERDOWN") || why.starts_with(b"TRYAGAIN"), "{reply:?}");
    // Others elected a leader meanwhile, and what they answer is the newest.
    let others = (1..=3).filter(|id| *id != leader).map(|id| cluster.address(id)).collect();
    let mut client = hardlog_kv::client::Client::new(others, crate::harness::PATIENCE);
    assert_eq!(client.call(&["SET", "foo", "2"]).unwrap(), Reply::OK);
    let ill = until("an ill node", || {
        let (code, why) = crate::monitor::healthz(&cluster, leader);
        (code == 503).then_some(why)
    });
    assert!(ill.contains("no leader is known"), "{ill}");
    proxy.heal();
    cluster.settle();
    assert_eq!(cluster.client().call(&["GET", "foo"]).unwrap(), Reply::text("2"));
    assert_eq!(crate::monitor::healthz(&cluster, leader).0, 200);
}
