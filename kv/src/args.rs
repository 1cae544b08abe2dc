//! The arguments of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::settings::Settings;

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
    Serve(Box<ServeArgs>),
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
    /// A TOML file of these settings, each under its name without the dashes; HARDLOG_KV_CONFIG
    /// names it too. A flag counts before the environment (HARDLOG_KV_MAX_CLIENTS and so on), the
    /// environment before the file
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Stop when standard input ends, for a parent that may die
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
    /// Answer reads while this node thinks that it leads, without asking whether it still does: a
    /// bug on purpose, which the tests of linearizability must find
    #[arg(long, hide = true)]
    pub(crate) break_reads_for_tests: bool,
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
