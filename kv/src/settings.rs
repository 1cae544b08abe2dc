//! What a node is told at its start, from four sources.
//!
//! A flag counts before the environment, the environment before the file, the file before the
//! default. All three are read by the parser of the flags: an environment variable
//! `HARDLOG_KV_MAX_CLIENTS=10` and a line `max-clients = 10` of the file are both taken as
//! `--max-clients=10`, so there is one list of names, one set of checks, and an unknown name is an
//! error wherever it stands.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, value_parser};
use hardlog_kv::{
    limits::{COMMAND_MAX, WRITES_KIB_MAX},
    members::Members,
    server::Bounds,
};

/// What begins the names of environment variables.
const PREFIX: &str = "HARDLOG_KV_";

/// Everything that can be set, where it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Settings {
    /// Number of this node, one of those in --peers
    #[arg(long)]
    id: Option<u64>,
    /// Directory of this node's log
    #[arg(long)]
    dir: Option<PathBuf>,
    /// All nodes, this one too: ID=IP:PORT@RAFTPORT,… with the port for clients first
    #[arg(long)]
    peers: Option<Members>,
    /// Where to listen for clients, if not at the address in --peers
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where to listen for the other nodes, if not at the address in --peers
    #[arg(long)]
    raft_listen: Option<SocketAddr>,
    /// Where to listen for HTTP: /status, /metrics, /healthz; nowhere if not given
    #[arg(long)]
    http: Option<SocketAddr>,
    /// Number of the cluster, in hexadecimal; nodes of another one are not listened to [default: 0]
    #[arg(long, value_parser = hexadecimal)]
    cluster: Option<u64>,
    /// Begin a new log if DIR holds none; without it a missing log is an error
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    create: Option<bool>,
    /// With a new log: belong to no cluster until RAFT ADD says so to its leader. Not for the nodes
    /// that begin one
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    join: Option<bool>,
    /// The loss of entries was accepted when this node's log was repaired: it has no vote until it
    /// has caught up. The log remembers that
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    abstain: Option<bool>,
    /// Most clients at a time [default: 1024]
    #[arg(long)]
    max_clients: Option<usize>,
    /// MiB that long requests and unread replies of all clients may hold together [default: 256]
    #[arg(long, value_parser = value_parser!(u64).range(16..=1 << 20))]
    client_memory: Option<u64>,
    /// Seconds after which a client that takes nothing of what it is sent, or sends no more of a
    /// long request, is disconnected [default: 60]
    #[arg(long, value_parser = value_parser!(u64).range(1..=86_400))]
    client_timeout: Option<u64>,
    /// MiB of keys and values beyond which the leader refuses to add more [default: no bound]
    #[arg(long, value_parser = value_parser!(u64).range(1..=1 << 30))]
    max_data: Option<u64>,
    /// Take a snapshot after so many MiB of log [default: 64]
    #[arg(long, value_parser = value_parser!(u64).range(1..=1 << 20))]
    snapshot_every: Option<u64>,
    /// Entries that stay in the log behind a snapshot, for followers that are a little behind
    /// [default: 10000]
    #[arg(long)]
    keep_behind: Option<u64>,
    /// MiB of a file of the log; what is trimmed goes a file at a time. A command is at most a
    /// quarter of it and 16 MiB. The same on every node, and never less than it was [default: 64]
    #[arg(long, value_parser = value_parser!(u64).range(4..=1 << 10))]
    segment: Option<u64>,
    /// Milliseconds of a tick: a leader that is silent for 15 to 30 of them is replaced, one whose
    /// disk hangs for 60 steps down [default: 40]
    #[arg(long, value_parser = value_parser!(u64).range(1..=1000))]
    tick: Option<u64>,
    /// Percent by which the clocks of two nodes may run apart, pauses of a whole machine included:
    /// the leader then answers reads from its lease, without asking the others. If nobody vouches
    /// for that, leave it out
    #[arg(long, value_parser = value_parser!(u32).range(0..=50))]
    lease_drift: Option<u32>,
    /// Seconds that clients get for their answers when the node stops [default: 3]
    #[arg(long, value_parser = value_parser!(u64).range(0..=3600))]
    stop_timeout: Option<u64>,
    /// Certificate of the authority that the other nodes' certificates must come from, in PEM. With
    /// it the nodes talk by TLS; clients do not
    #[arg(long)]
    tls_authority: Option<PathBuf>,
    /// This node's certificate and those between it and the authority's, in PEM; it must be for
    /// node-ID.cluster-CLUSTER.hardlog, the cluster in 16 hexadecimal digits
    #[arg(long)]
    tls_certificate: Option<PathBuf>,
    /// The private key of that certificate, in PEM
    #[arg(long)]
    tls_key: Option<PathBuf>,
    /// Write everything worth seeing of this node to FILE, one JSON object per line; to FILE.2,
    /// FILE.3, … where that is taken by the trace of an earlier start
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Accept addresses that are not on loopback; nothing but TLS between nodes is encrypted or
    /// authenticated
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<bool>,
}

/// A node's settings, complete.
#[derive(Debug)]
pub(crate) struct NodeSettings {
    pub(crate) id: u64,
    pub(crate) dir: PathBuf,
    pub(crate) peers: Members,
    pub(crate) listen: SocketAddr,
    pub(crate) raft_listen: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) cluster: u64,
    pub(crate) create: bool,
    pub(crate) join: bool,
    pub(crate) abstain: bool,
    pub(crate) clients_max: usize,
    pub(crate) bounds: Bounds,
    pub(crate) snapshot_every_bytes: u64,
    pub(crate) keep_behind: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) tick: Duration,
    pub(crate) lease_drift_percent: Option<u32>,
    pub(crate) stop_timeout: Duration,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) insecure: bool,
}

/// What TLS between the nodes needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The settings alone, as the other sources are read.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Alone {
    #[command(flatten)]
    settings: Settings,
}

/// Everything together: flags, then `environment`, then the file that one of the two names.
///
/// # Errors
/// A text for the operator: where, which setting, and what is wrong with it.
pub(crate) fn gather(
    flags: Settings,
    config: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<NodeSettings, String> {
    let (environment, named) = from_environment(environment)?;
    let file = match config.or(named.as_deref()) {
        None => Settings::default(),
        Some(path) => {
            let place = path.display();
            let text = std::fs::read_to_string(path).map_err(|why| format!("{place}: {why}"))?;
            from_file(&text).map_err(|why| format!("{place}: {why}"))?
        }
    };
    flags.or(environment).or(file).complete()
}

impl NodeSettings {
    /// Longest command. Together with [`Self::unsaved_bytes_max`] and [`Self::append_bytes_max`] it
    /// fits a batch, which is half a file of the log at most, and 32 MiB.
    pub(crate) fn command_bytes_max(&self) -> u64 {
        (self.segment_bytes / 4).min(COMMAND_MAX as u64)
    }

    /// Bytes of writes that the log takes at once.
    pub(crate) fn unsaved_bytes_max(&self) -> u64 {
        (self.segment_bytes / 16 * 3).min(u64::from(WRITES_KIB_MAX) << 10)
    }

    /// Bytes of entries in one message.
    pub(crate) fn append_bytes_max(&self) -> u64 {
        (self.segment_bytes / 64).min(1 << 20)
    }
}

impl Settings {
    /// These, and the others where these say nothing.
    fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            dir: self.dir.or(other.dir),
            peers: self.peers.or(other.peers),
            listen: self.listen.or(other.listen),
            raft_listen: self.raft_listen.or(other.raft_listen),
            http: self.http.or(other.http),
            cluster: self.cluster.or(other.cluster),
            create: self.create.or(other.create),
            join: self.join.or(other.join),
            abstain: self.abstain.or(other.abstain),
            max_clients: self.max_clients.or(other.max_clients),
            client_memory: self.client_memory.or(other.client_memory),
            client_timeout: self.client_timeout.or(other.client_timeout),
            max_data: self.max_data.or(other.max_data),
            snapshot_every: self.snapshot_every.or(other.snapshot_every),
            keep_behind: self.keep_behind.or(other.keep_behind),
            segment: self.segment.or(other.segment),
            tick: self.tick.or(other.tick),
            lease_drift: self.lease_drift.or(other.lease_drift),
            stop_timeout: self.stop_timeout.or(other.stop_timeout),
            tls_authority: self.tls_authority.or(other.tls_authority),
            tls_certificate: self.tls_certificate.or(other.tls_certificate),
            tls_key: self.tls_key.or(other.tls_key),
            trace: self.trace.or(other.trace),
            insecure: self.insecure.or(other.insecure),
        }
    }

    fn complete(self) -> Result<NodeSettings, String> {
        let missing = |name| format!("{name} is not set: no flag, environment or file says it");
        let id = self.id.ok_or_else(|| missing("id"))?;
        let peers = self.peers.ok_or_else(|| missing("peers"))?;
        let member = peers.get(id).ok_or_else(|| format!("peers does not name node {id}"))?;
        let usual = Bounds::default();
        let bytes = |mib: u64| usize::try_from(mib << 20).unwrap_or(usize::MAX);
        let bounds = Bounds {
            client_memory: self.client_memory.map_or(usual.client_memory, bytes),
            stall_max: self.client_timeout.map_or(usual.stall_max, Duration::from_secs),
            data_max: self.max_data.map_or(usual.data_max, |mib| mib << 20),
        };
        let settings = NodeSettings {
            bounds,
            id,
            dir: self.dir.ok_or_else(|| missing("dir"))?,
            listen: self.listen.unwrap_or(member.client()),
            raft_listen: self.raft_listen.unwrap_or(member.raft()),
            http: self.http,
            cluster: self.cluster.unwrap_or(0),
            create: self.create.unwrap_or(false),
            join: self.join.unwrap_or(false),
            abstain: self.abstain.unwrap_or(false),
            clients_max: self.max_clients.unwrap_or(1024),
            snapshot_every_bytes: self.snapshot_every.unwrap_or(64) << 20,
            keep_behind: self.keep_behind.unwrap_or(10_000),
            segment_bytes: self.segment.unwrap_or(64) << 20,
            tick: Duration::from_millis(self.tick.unwrap_or(40)),
            lease_drift_percent: self.lease_drift,
            stop_timeout: Duration::from_secs(self.stop_timeout.unwrap_or(3)),
            tls: match (self.tls_authority, self.tls_certificate, self.tls_key) {
                (None, None, None) => None,
                (Some(authority), Some(certificate), Some(key)) => {
                    Some(TlsFiles { authority, certificate, key })
                }
                _ => return Err("tls-authority, tls-certificate and tls-key go together".into()),
            },
            trace: self.trace,
            insecure: self.insecure.unwrap_or(false),
            peers,
        };
        let beyond = |address: SocketAddr| !address.ip().is_loopback() && !settings.insecure;
        if beyond(settings.listen) || settings.http.is_some_and(beyond) {
            let why = "listening for clients beyond loopback needs insecure: nothing is encrypted";
            return Err(why.into());
        }
        Ok(settings)
    }
}

/// The settings of the environment, and the file it names.
fn from_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(Settings, Option<PathBuf>), String> {
    let (mut pairs, mut config) = (Vec::new(), None);
    for (variable, value) in variables {
        let Some(name) = variable.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if name == "CONFIG" {
            config = Some(PathBuf::from(value));
            continue;
        }
        let text = value.into_string().map_err(|_| format!("{PREFIX}{name} is not text"))?;
        pairs.push((name.to_lowercase().replace('_', "-"), text));
    }
    let settings = parse(pairs).map_err(|why| format!("environment, {PREFIX}…: {why}"))?;
    Ok((settings, config))
}

/// The settings of a file's text.
fn from_file(text: &str) -> Result<Settings, String> {
    let table: toml::Table = text.parse().map_err(|why: toml::de::Error| why.to_string())?;
    let mut pairs = Vec::new();
    for (name, value) in table {
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            // A list of nodes may be written as one.
            toml::Value::Array(items) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                items.ok_or_else(|| format!("{name} is no list of texts"))?.join(",")
            }
            _ => return Err(format!("{name} is neither text, number, truth value nor list")),
        };
        pairs.push((name, text));
    }
    parse(pairs)
}

fn parse(pairs: Vec<(String, String)>) -> Result<Settings, String> {
    let mut arguments = Vec::new();
    for (name, value) in pairs {
        // Whatever else stands in a name must not become an argument of its own.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            return Err(format!("there is no setting {name:?}"));
        }
        arguments.push(format!("--{name}={value}"));
    }
    let parsed = Alone::try_parse_from(arguments).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })?;
    Ok(parsed.settings)
}

fn hexadecimal(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
