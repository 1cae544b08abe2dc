//! The command `serve`: one node, until it is told to stop.
//!
//! It prints what a supervisor or an operator wants to find in the node's output: what recovery
//! found, where it listens, and why it stopped.

use std::{
    future::Future,
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use hardlog_kv::{
    limits::{COMMAND_MAX, WRITES_KIB_MAX},
    replica::raft::RaftReplica,
    server::Server,
    store::Store,
};
use hardlog_raft::{Handle, Node, NodeConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Failure, args::ServeArgs};

/// How long a node without a parent may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a node is asked whether it has failed.
const FAILURE_LOOK: Duration = Duration::from_millis(200);

/// Runs the node.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let member = args.peers.get(args.id).ok_or("--peers does not name the node of --id")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let stop = StopSignals::new()?;
    let end = stdin_end(args.stop_with_stdin)?;
    let address = args.listen.unwrap_or(member.client());
    if !address.ip().is_loopback() && !args.insecure {
        return Err("clients beyond loopback need --insecure: nothing is encrypted".into());
    }

    let store = Store::new();
    let view = store.view();
    let node = Node::start(node_config(args), store)?;
    say(&format!("node {}: {}", args.id, node.recovery_report()))?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address))?;
    say(&format!("node {}: listening on {}", args.id, listener.local_addr()?))?;

    let replica = Arc::new(RaftReplica::new(node.handle()));
    let server = Server::new(args.id, replica, view, args.peers.clone(), args.max_clients);
    let why = runtime.block_on(async {
        tokio::select! {
            served = server.run(listener) => served.map(|()| "the listener ended"),
            () = stop.wait() => Ok("a signal"),
            () = end => Ok("the end of standard input"),
            why = failure(node.handle()) => Err(io::Error::other(why)),
        }
    })?;
    say(&format!("node {}: stopping: {why}", args.id))?;
    // Connections end first, so that nothing is asked of a node that is gone.
    runtime.shutdown_background();
    Ok(node.shutdown()?)
}

/// Completes when the node has stopped by itself, with the reason: a process that goes on without
/// its node would only refuse its clients.
async fn failure(node: Handle) -> String {
    let mut look = tokio::time::interval(FAILURE_LOOK);
    loop {
        look.tick().await;
        if let Some(why) = node.status().error {
            return why;
        }
    }
}

fn node_config(args: &ServeArgs) -> NodeConfig {
    let raft = hardlog_raft::Config {
        tick: Duration::from_millis(args.tick),
        command_bytes_max: COMMAND_MAX as u64,
        // Together with one command they fit a batch of the log, 32 MiB.
        unsaved_bytes_max: u64::from(WRITES_KIB_MAX) << 10,
        insecure: args.insecure,
        ..hardlog_raft::Config::production()
    };
    NodeConfig {
        id: args.id,
        cluster: args.cluster,
        peers: args.peers.iter().map(|(id, member)| (id, member.raft())).collect(),
        dir: args.dir.clone(),
        raft,
        log: hardlog::Options::new().create_if_missing(args.create),
        snapshot_every_bytes: args.snapshot_every << 20,
        keep_behind: args.keep_behind,
        listener: None,
        security: None,
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Watches standard input from now on, if wanted; completes when it ends, else never.
///
/// The end means that the parent is gone. A node that then does not stop in an orderly way in time
/// is ended all the same: it must not outlive its cluster.
fn stdin_end(wanted: bool) -> io::Result<impl Future<Output = ()>> {
    let (sender, ended) = tokio::sync::oneshot::channel();
    // A thread of its own, since a blocked read cannot be given up.
    let watch = move |sender: tokio::sync::oneshot::Sender<()>| {
        let mut sink = [0; 64];
        while matches!(io::stdin().lock().read(&mut sink), Ok(read) if read > 0) {}
        let _ = sender.send(());
        std::thread::sleep(STOP_TIMEOUT);
        std::process::exit(1);
    };
    let mut kept = Some(sender);
    if wanted && let Some(sender) = kept.take() {
        std::thread::Builder::new().name("stdin".into()).spawn(move || watch(sender))?;
    }
    Ok(async move {
        let _ = ended.await;
        drop(kept);
    })
}

/// SIGINT and SIGTERM, caught from the moment this is made.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Completes when one of them came.
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
