//! What the server counts and times. Names are API; they follow etcd's where etcd has one, with the
//! engine's prefix `raft_` for what belongs to the log and `kv_` for what belongs to the service.
//!
//! | metric | kind | etcd's name |
//! |---|---|---|
//! | `raft_server_has_leader`, `raft_server_is_leader` | gauge | `etcd_server_…` |
//! | `raft_server_leader_changes_seen_total` | counter | `etcd_server_…` |
//! | `raft_server_proposals_committed_total`, `…_applied_total` | gauge: an index | `etcd_server_…` |
//! | `raft_server_proposals_pending` | gauge | `etcd_server_…` |
//! | `raft_server_proposals_failed_total` | counter | `etcd_server_…` |
//! | `raft_server_read_indexes_failed_total` | counter | `etcd_server_…` |
//! | `raft_server_term` | gauge | |
//! | `raft_log_first_index`, `raft_log_last_index`, `raft_snapshot_index` | gauge | |
//! | `kv_request_duration_seconds{kind="write"}`, `{kind="read"}` | histogram | |
//! | `kv_client_memory_bytes` | gauge | |
//! | `kv_clients`, `kv_keys` | gauge | `etcd_debugging_mvcc_keys_total` |
//! | `kv_bytes` | gauge | `etcd_mvcc_db_total_size_in_use_in_bytes` |
//! | `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` | gauge | the same |
//! | `raft_network_…`, more `raft_server_…`, `raft_snap_…` | | the protocol's: `hardlog_raft::metrics` |
//! | `raft_wal_…` | | the engine's: `hardlog::metrics` |
//!
//! Nothing here is worth a system call on the way of a request: handles are made once, and what can
//! be read from the node's status is read when somebody asks.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    replica::{Kind, Role, Status},
    server::Shared,
};

/// Upper bounds in seconds for requests: 100 µs to 10 s.
const REQUEST_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// The metrics of this process, as text for Prometheus.
#[derive(Clone, Debug)]
pub struct Scrape {
    handle: PrometheusHandle,
}

impl Scrape {
    /// Begins to gather the metrics of this process. Once per process, before the node starts.
    ///
    /// # Errors
    /// If something gathers them already.
    pub fn install() -> Result<Self, String> {
        let say = |error: &dyn std::fmt::Display| format!("metrics: {error}");
        let fsync = Matcher::Full("raft_wal_fsync_duration_seconds".to_owned());
        let others = Matcher::Suffix("_duration_seconds".to_owned());
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(fsync, &hardlog::metrics::FSYNC_BUCKETS)
            .and_then(|builder| builder.set_buckets_for_metric(others, &REQUEST_BUCKETS))
            .map_err(|error| say(&error))?
            .install_recorder()
            .map_err(|error| say(&error))?;
        describe();
        hardlog_raft::metrics::describe();
        Ok(Self { handle })
    }

    /// All metrics as they are now.
    pub(crate) fn text(&self, shared: &Shared) -> String {
        shared.meters.refresh(&shared.replica.status(), shared);
        self.handle.render()
    }

    /// Makes room in what was recorded; to be called every few seconds.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Handles to what the server itself counts; they do nothing where nobody gathers.
pub(crate) struct Meters {
    writes: Histogram,
    reads: Histogram,
    pending: Gauge,
    writes_failed: Counter,
    reads_failed: Counter,
    leader_changes: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            writes: histogram!("kv_request_duration_seconds", "kind" => "write"),
            reads: histogram!("kv_request_duration_seconds", "kind" => "read"),
            pending: gauge!("raft_server_proposals_pending"),
            writes_failed: counter!("raft_server_proposals_failed_total"),
            reads_failed: counter!("raft_server_read_indexes_failed_total"),
            leader_changes: counter!("raft_server_leader_changes_seen_total"),
        }
    }

    /// Counts a write as under way until what is returned is dropped.
    pub(crate) fn proposed(&self) -> Pending {
        self.pending.increment(1.0);
        Pending(self.pending.clone())
    }

    /// A request was answered, or refused.
    pub(crate) fn answered(&self, kind: Kind, took: Duration, ok: bool) {
        let (durations, failed) = match kind {
            Kind::Write => (&self.writes, &self.writes_failed),
            Kind::Read => (&self.reads, &self.reads_failed),
        };
        if ok {
            durations.record(took.as_secs_f64());
        } else {
            failed.increment(1);
        }
    }

    pub(crate) fn leader_changed(&self) {
        self.leader_changes.increment(1);
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; indexes stay below 2^53")]
    fn refresh(&self, status: &Status, shared: &Shared) {
        let (keys, bytes) = {
            let keyspace = shared.view.read();
            (keyspace.len(), keyspace.bytes())
        };
        gauge!("raft_server_has_leader").set(f64::from(u8::from(status.leader.is_some())));
        gauge!("raft_server_is_leader").set(f64::from(u8::from(status.role == Role::Leader)));
        gauge!("raft_server_term").set(status.term as f64);
        gauge!("raft_server_proposals_committed_total").set(status.commit as f64);
        gauge!("raft_server_proposals_applied_total").set(status.applied as f64);
        gauge!("raft_log_first_index").set(status.first as f64);
        gauge!("raft_log_last_index").set(status.last as f64);
        gauge!("raft_snapshot_index").set(status.snapshot as f64);
        gauge!("kv_clients").set(shared.connected() as f64);
        gauge!("kv_client_memory_bytes").set(shared.room.used() as f64);
        gauge!("kv_keys").set(keys as f64);
        gauge!("kv_bytes").set(bytes as f64);
        if let Some(process) = Process::read() {
            gauge!("process_cpu_seconds_total").set(process.cpu_seconds);
            gauge!("process_resident_memory_bytes").set(process.resident_bytes);
            gauge!("process_open_fds").set(process.open_files);
        }
    }
}

/// A write that is under way.
pub(crate) struct Pending(Gauge);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    let gauges = [
        ("raft_server_has_leader", "Whether a leader is known: 1 or 0"),
        ("raft_server_is_leader", "Whether this node leads: 1 or 0"),
        ("raft_server_term", "The node's term"),
        ("raft_server_proposals_committed_total", "Highest index known to be committed"),
        ("raft_server_proposals_applied_total", "Highest index applied to the store"),
        ("raft_server_proposals_pending", "Writes of clients that are under way"),
        ("raft_log_first_index", "First index of the log"),
        ("raft_log_last_index", "Last index of the log"),
        ("raft_snapshot_index", "Index of the newest snapshot, 0 without one"),
        ("kv_clients", "Clients that are connected"),
        ("kv_client_memory_bytes", "Memory that long requests and replies of clients hold"),
        ("kv_keys", "Keys in the store"),
        ("kv_bytes", "Bytes of all keys and values"),
        ("process_cpu_seconds_total", "Processor time of this process, user and system"),
        ("process_resident_memory_bytes", "Memory of this process that is in RAM"),
        ("process_open_fds", "Files and sockets that this process has open"),
    ];
    for (name, text) in gauges {
        describe_gauge!(name, text);
    }
    describe_counter!("raft_server_proposals_failed_total", "Writes that were refused or lost");
    describe_counter!("raft_server_read_indexes_failed_total", "Reads that were refused");
    describe_counter!(
        "raft_server_leader_changes_seen_total",
        "Changes of the leader that were seen"
    );
    describe_histogram!(
        "kv_request_duration_seconds",
        Unit::Seconds,
        "From the beginning of a request to its answer, refusals left out"
    );
    describe_histogram!(
        "raft_wal_fsync_duration_seconds",
        Unit::Seconds,
        "Duration of the syncs of the log"
    );
}

/// What the system says of this process; Linux only.
struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_files: f64,
}

impl Process {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in parentheses, may hold anything; the numbers come after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |n: usize| fields.get(n)?.parse::<u32>().ok().map(f64::from);
        // Ticks of 1/100 s and pages of 4 KiB: what Linux shows to programs on every common machine.
        let cpu_seconds = (number(11)? + number(12)?) / 100.0;
        let resident_bytes = number(21)? * 4096.0;
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        let open_files = f64::from(u32::try_from(open).ok()?);
        Some(Self { cpu_seconds, resident_bytes, open_files })
    }
}
