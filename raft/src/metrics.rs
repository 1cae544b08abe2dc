//! What a node counts and times, through the facade `metrics`: nothing where no recorder is
//! installed. Names are API; they follow etcd's where etcd has one. [`NAMES`] lists them, and
//! `metrics.txt` beside this crate's manifest is what tests hold it against.
//!
//! | metric | kind | etcd's name |
//! |---|---|---|
//! | `raft_network_active_peers{Remote}` | gauge: whether the peer is connected to this node | the same, `etcd_` |
//! | `raft_network_disconnected_peers_total{Remote}` | counter | the same |
//! | `raft_network_peer_sent_bytes_total{To}` | counter | the same |
//! | `raft_network_peer_received_bytes_total{From}` | counter | the same |
//! | `raft_network_peer_sent_failures_total{To}` | counter: messages that had no room or no connection | the same |
//! | `raft_network_connections_refused_total` | counter | |
//! | `raft_network_snapshot_send_success{To}` | counter: sent to its last byte | the same |
//! | `raft_network_snapshot_receive_success{From}` | counter: whole and verified on disk | the same |
//! | `raft_server_is_learner` | gauge | the same |
//! | `raft_server_removed` | gauge: the node was removed from its cluster | |
//! | `raft_server_disk_hangs` | gauge | |
//! | `raft_server_unsaved_bytes` | gauge: entries that the log has not taken yet | |
//! | `raft_server_follower_lag_entries{To}` | gauge, while it leads: entries that the peer is behind | |
//! | `raft_server_apply_duration_seconds` | histogram: one round of commands in the state machine | the same |
//! | `raft_server_slow_apply_total` | counter: rounds above 100 ms | the same |
//! | `raft_snap_save_duration_seconds` | histogram: a snapshot of this node's own state | `etcd_snap_fsync_duration_seconds` |
//!
//! Above: the node, its transport and its applier. Below: the facade. Handles with a label are made
//! once for each connection, so a message costs an addition. The service adds what it knows of
//! leaders, proposals and indexes from [`Status`](crate::Status), the engine `raft_wal_…`
//! (`hardlog::metrics`).

use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, gauge, histogram};

use crate::message::NodeId;

/// A round of the state machine that takes longer is slow.
const SLOW_APPLY: Duration = Duration::from_millis(100);

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Durations in seconds.
    Histogram,
}

/// Every metric of this crate: its name, kind, label (or an empty one), and what it says.
pub const NAMES: [(&str, Kind, &str, &str); 16] = [
    (ACTIVE, Kind::Gauge, "Remote", "Whether the peer is connected to this node: 1 or 0"),
    (DISCONNECTED, Kind::Counter, "Remote", "Connections of the peer that ended"),
    (SENT_BYTES, Kind::Counter, "To", "Bytes sent to the peer"),
    (RECEIVED_BYTES, Kind::Counter, "From", "Bytes that came from the peer"),
    (SENT_FAILURES, Kind::Counter, "To", "Messages that had no room or no connection"),
    (REFUSED, Kind::Counter, "", "Connections that were ended for what they said"),
    (SNAPSHOT_SENT, Kind::Counter, "To", "Snapshots sent to their last byte"),
    (SNAPSHOT_RECEIVED, Kind::Counter, "From", "Snapshots received whole and verified"),
    (IS_LEARNER, Kind::Gauge, "", "Whether the node only learns: 1 or 0"),
    (REMOVED, Kind::Gauge, "", "Whether the node was removed from its cluster: 1 or 0"),
    (DISK_HANGS, Kind::Gauge, "", "Whether a write waits too long for its sync: 1 or 0"),
    (UNSAVED, Kind::Gauge, "", "Bytes of entries that the log has not taken yet"),
    (LAG, Kind::Gauge, "To", "Entries that the follower is behind this leader"),
    (APPLY, Kind::Histogram, "", "Duration of a round of commands in the state machine"),
    (SLOW, Kind::Counter, "", "Rounds of commands that took more than 100 ms"),
    (SNAPSHOT_SAVED, Kind::Histogram, "", "Duration of writing a snapshot of the own state"),
];

const ACTIVE: &str = "raft_network_active_peers";
const DISCONNECTED: &str = "raft_network_disconnected_peers_total";
const SENT_BYTES: &str = "raft_network_peer_sent_bytes_total";
const RECEIVED_BYTES: &str = "raft_network_peer_received_bytes_total";
const SENT_FAILURES: &str = "raft_network_peer_sent_failures_total";
const REFUSED: &str = "raft_network_connections_refused_total";
const SNAPSHOT_SENT: &str = "raft_network_snapshot_send_success";
const SNAPSHOT_RECEIVED: &str = "raft_network_snapshot_receive_success";
const IS_LEARNER: &str = "raft_server_is_learner";
const REMOVED: &str = "raft_server_removed";
const DISK_HANGS: &str = "raft_server_disk_hangs";
const UNSAVED: &str = "raft_server_unsaved_bytes";
const LAG: &str = "raft_server_follower_lag_entries";
const APPLY: &str = "raft_server_apply_duration_seconds";
const SLOW: &str = "raft_server_slow_apply_total";
const SNAPSHOT_SAVED: &str = "raft_snap_save_duration_seconds";

/// Tells the recorder what each metric says. Once, after a recorder is installed.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    for (name, kind, _, text) in NAMES {
        match kind {
            Kind::Counter => describe_counter!(name, text),
            Kind::Gauge => describe_gauge!(name, text),
            Kind::Histogram => describe_histogram!(name, Unit::Seconds, text),
        }
    }
}

/// What goes to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Counter,
    pub(crate) failures: Counter,
}

impl Outgoing {
    pub(crate) fn to(peer: NodeId) -> Self {
        let peer = peer.to_string();
        Self {
            bytes: counter!(SENT_BYTES, "To" => peer.clone()),
            failures: counter!(SENT_FAILURES, "To" => peer),
        }
    }
}

/// What comes from one peer over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    active: Gauge,
    ended: Counter,
    pub(crate) bytes: Counter,
}

impl Incoming {
    pub(crate) fn from(peer: NodeId) -> Self {
        let peer = peer.to_string();
        Self {
            active: gauge!(ACTIVE, "Remote" => peer.clone()),
            ended: counter!(DISCONNECTED, "Remote" => peer.clone()),
            bytes: counter!(RECEIVED_BYTES, "From" => peer),
        }
    }

    /// The connection for heartbeats is there.
    pub(crate) fn connected(&self) {
        self.active.set(1.0);
    }

    /// It is gone, and no other took its place.
    pub(crate) fn disconnected(&self) {
        self.active.set(0.0);
        self.ended.increment(1);
    }
}

pub(crate) fn refused() {
    counter!(REFUSED).increment(1);
}

pub(crate) fn snapshot_sent(to: NodeId) {
    counter!(SNAPSHOT_SENT, "To" => to.to_string()).increment(1);
}

pub(crate) fn snapshot_received(from: NodeId) {
    counter!(SNAPSHOT_RECEIVED, "From" => from.to_string()).increment(1);
}

pub(crate) fn snapshot_saved(took: Duration) {
    histogram!(SNAPSHOT_SAVED).record(took.as_secs_f64());
}

pub(crate) fn applied(took: Duration) {
    histogram!(APPLY).record(took.as_secs_f64());
    counter!(SLOW).increment(u64::from(took > SLOW_APPLY));
}

/// How a node stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) learns: bool,
    pub(crate) removed: bool,
    pub(crate) disk_hangs: bool,
    pub(crate) unsaved_bytes: u64,
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float; these stay below 2^53")]
pub(crate) fn stands(now: Standing) {
    let flag = |is: bool| f64::from(u8::from(is));
    gauge!(IS_LEARNER).set(flag(now.learns));
    gauge!(REMOVED).set(flag(now.removed));
    gauge!(DISK_HANGS).set(flag(now.disk_hangs));
    gauge!(UNSAVED).set(now.unsaved_bytes as f64);
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float; indexes stay below 2^53")]
pub(crate) fn lags(to: NodeId, entries: u64) {
    gauge!(LAG, "To" => to.to_string()).set(entries as f64);
}
