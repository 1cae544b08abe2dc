//! The names, and that each of them says something in a cluster that lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    net::TcpStream,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::cluster::{Cluster, until};
use crate::{Config, metrics::NAMES};

/// What was recorded, by name; and the labels of each name.
#[derive(Default)]
struct Seen {
    values: BTreeMap<String, f64>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

struct All(Arc<Mutex<Seen>>);

struct One(Arc<Mutex<Seen>>, String);

impl One {
    fn add(&self, value: f64) {
        *self.0.lock().unwrap().values.entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
    }
    fn absolute(&self, _: u64) {
        unreachable!("nobody counts like that");
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.add(value);
    }
    fn decrement(&self, value: f64) {
        self.add(-value);
    }
    fn set(&self, value: f64) {
        // Whether it ever said something: gauges fall again.
        self.add(value);
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        assert!((0.0..1000.0).contains(&value), "seconds");
        self.add(1.0);
    }
}

impl All {
    fn one(&self, key: &Key) -> Arc<One> {
        let name = key.name().to_owned();
        let labels = key.labels().map(|label| label.key().to_owned()).collect::<Vec<_>>().join(",");
        self.0.lock().unwrap().labels.entry(name.clone()).or_default().insert(labels);
        Arc::new(One(Arc::clone(&self.0), name))
    }
}

impl Recorder for All {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

#[test]
fn the_names_are_those_of_the_fixture_and_each_is_documented() {
    let mut lines = String::new();
    for (name, kind, label, _) in NAMES {
        let labels = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        writeln!(lines, "{name}{labels} {}", format!("{kind:?}").to_lowercase()).unwrap();
    }
    assert_eq!(lines, include_str!("../../../metrics.txt"), "names are API");
    let page = include_str!("../../metrics.rs");
    for line in lines.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(page.contains(&format!("//! | `{name}` |")), "{name} is not documented");
    }
}

#[test]
fn a_cluster_that_lives_says_something_by_every_name_and_by_no_other() {
    let seen = Arc::<Mutex<Seen>>::default();
    assert!(::metrics::set_global_recorder(All(Arc::clone(&seen))).is_ok(), "the only one");
    let config = Config { snapshot_chunk_bytes: 512, ..Config::production() };
    let mut cluster = Cluster::with(3, config, 1000);
    cluster.write("x");
    let behind = 1 + cluster.leader() % 3;
    cluster.kill(behind);
    (0..100).for_each(|i| drop(cluster.write(&format!("command number {i}"))));
    until("the leader trimmed", || cluster.status(cluster.leader()).first > 50);
    let address = cluster.peers[&cluster.leader()];
    TcpStream::connect(address).unwrap().write_all(&[b'G'; 70]).unwrap();
    cluster.revive(behind);
    cluster.write("y");
    cluster.agree();
    let expected: BTreeSet<_> = NAMES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    // Those that say nothing as long as all is well.
    let quiet = ["slow_apply_total", "removed", "disk_hangs", "is_learner", "unsaved_bytes"];
    let quiet = quiet.map(|name| format!("raft_server_{name}"));
    until("each said something", || {
        let seen = seen.lock().unwrap();
        let said = |name: &String| seen.values.get(name).is_some_and(|value| *value > 0.0);
        expected.iter().all(|name| quiet.contains(name) || said(name))
    });
    // A copy: other tests of this process go on saying something, whatever becomes of this one.
    let labels = seen.lock().unwrap().labels.clone();
    // The engine's, where a build of the whole workspace turned them on, are the engine's to test.
    let ours = labels.keys().filter(|name| !name.starts_with("raft_wal_")).cloned();
    assert_eq!(ours.collect::<BTreeSet<_>>(), expected);
    for (name, _, label, _) in NAMES {
        assert_eq!(labels[name], BTreeSet::from([label.to_owned()]), "{name}");
    }
}
