//! The arguments of the program.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use hardlog_kv::members::Members;

/// A replicated key-value server that speaks RESP, the protocol of Redis.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster of nodes on this machine, and stop it with Ctrl-C
    Cluster(ClusterArgs),
    /// Run one node
    Serve(ServeArgs),
    /// Send one command to a cluster, wherever its leader is
    Client(ClientArgs),
    /// Show in half a minute what happens when the leader is killed
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// How many nodes; an odd number makes sense
    #[arg(long, default_value_t = 3, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// Directory of all nodes' data; what is there goes on
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Number of this node, one of those in --peers
    #[arg(long)]
    pub(crate) id: u64,
    /// Directory of this node's log
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// All nodes, this one too: ID=IP:PORT@RAFTPORT,… with the port for clients first
    #[arg(long)]
    pub(crate) peers: Members,
    /// Where to listen for clients, if not at the address in --peers
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Number of the cluster, in hexadecimal; nodes of another one are not listened to
    #[arg(long, default_value = "0", value_parser = hexadecimal)]
    pub(crate) cluster: u64,
    /// Begin a new log if DIR holds none; without it a missing log is an error
    #[arg(long)]
    pub(crate) create: bool,
    /// Most clients at a time
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_clients: usize,
    /// Take a snapshot after so many MiB of log
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) snapshot_every: u64,
    /// Entries that stay in the log behind a snapshot, for followers that are a little behind
    #[arg(long, default_value_t = 10_000)]
    pub(crate) keep_behind: u64,
    /// Milliseconds of a tick: a leader that is silent for 15 to 30 of them is replaced, one whose
    /// disk hangs for 60 steps down
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) tick: u64,
    /// Accept addresses that are not on loopback; nothing is encrypted or authenticated
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Stop when standard input ends, for a parent that may die
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Nodes to begin with: HOST:PORT,HOST:PORT,…
    #[arg(long)]
    pub(crate) connect: String,
    /// Seconds to wait for a leader
    #[arg(long, default_value_t = 5.0)]
    pub(crate) patience: f64,
    /// The command and its arguments, such as: SET key value
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory to use, which must be empty or missing, and is kept; a temporary one by default
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

fn nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=9) => Ok(count),
        _ => Err("between 1 and 9 nodes".to_owned()),
    }
}

fn hexadecimal(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| error.to_string())
}
