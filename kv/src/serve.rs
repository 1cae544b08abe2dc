//! The command `serve`: one node, until it is told to stop.
//!
//! It prints what a supervisor or an operator wants to find in the node's output: what recovery
//! found, where it listens, and why it stopped.

use std::{
    future::Future,
    io::{self, Read, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hardlog_kv::{http, meters::Scrape, replica::raft::RaftReplica, server::Server, store::Store};
use hardlog_raft::{
    Handle, Node, NodeConfig, RoleName,
    sessions::{self, Sessions},
    trace::{Header, Tracer},
    transport::{Security, Tls, TlsError},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    Failure,
    args::ServeArgs,
    settings::{self, NodeSettings},
};

/// How long a node without a parent may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a leader that stops waits for another to take over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a node is asked whether it has failed.
const FAILURE_LOOK: Duration = Duration::from_millis(200);

/// Files and sockets that are not for clients: the log's, those between nodes, HTTP.
const FILES_KEPT: usize = 256;

/// Runs the node.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let settings = settings::gather(args.settings, args.config.as_deref(), std::env::vars_os())?;
    let id = settings.id;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let stop = StopSignals::new()?;
    let end = stdin_end(args.stop_with_stdin)?;
    let scrape = Scrape::install()?;

    let store = Store::new();
    let view = store.view();
    let store = Sessions::new(store, sessions::Limits::default());
    let node = Node::start(node_config(&settings)?, store)?;
    say(&format!("node {id}: {}", node.recovery_report()))?;
    let monitoring = match settings.http {
        Some(address) => Some(runtime.block_on(TcpListener::bind(address))?),
        None => None,
    };
    if let Some(listener) = &monitoring {
        say(&format!("node {id}: http on {}", listener.local_addr()?))?;
    }
    let listener = runtime.block_on(TcpListener::bind(settings.listen))?;
    say(&format!("node {id}: listening on {}", listener.local_addr()?))?;

    let mut replica = RaftReplica::new(node.handle());
    if args.break_reads_for_tests {
        say(&format!("node {id}: READS ARE BROKEN ON PURPOSE: nobody is asked before them"))?;
        replica = replica.with_broken_reads();
    }
    let replica = Arc::new(replica);
    let room = u32::try_from(settings.unsaved_bytes_max() >> 10).unwrap_or(u32::MAX);
    let clients_max = open_files_permit(settings.clients_max);
    if clients_max < settings.clients_max {
        say(&format!(
            "node {id}: only {clients_max} clients: no more files may be open (ulimit -n)"
        ))?;
    }
    let server = Server::new(id, replica, view, settings.peers, clients_max);
    let server = Arc::new(server.with_write_room(room).with_bounds(settings.bounds));
    let watched = Arc::clone(&server);
    runtime.spawn(async move { watched.watch_leader().await });
    if let Some(listener) = monitoring {
        let server = Arc::clone(&server);
        runtime.spawn(async move { http::run(&server, listener, scrape).await });
    }
    let why = runtime.block_on(async {
        tokio::select! {
            served = server.run(listener) => served.map(|()| "the listener ended"),
            () = stop.wait() => Ok("a signal"),
            () = end => Ok("the end of standard input"),
            why = failure(node.handle()) => Err(io::Error::other(why)),
        }
    })?;
    // The listener is gone with `run`: nobody comes any more.
    say(&format!("node {id}: stopping: {why}"))?;
    if !runtime.block_on(server.drain(settings.stop_timeout)) {
        say(&format!("node {id}: some clients did not get their answers in time"))?;
    }
    if node.handle().status().role == RoleName::Leader {
        let handed = runtime.block_on(hand_over(&node.handle()));
        say(&format!("node {id}: {handed}"))?;
    }
    // Connections end first, so that nothing is asked of a node that is gone.
    runtime.shutdown_background();
    node.shutdown()?;
    say(&format!("node {id}: stopped"))?;
    Ok(())
}

/// Hands the leadership to another node, so that clients need not wait for an election; what came
/// of it. Alone, or when nobody takes it in time, the node stops all the same.
async fn hand_over(node: &Handle) -> String {
    let (sender, done) = tokio::sync::oneshot::channel();
    // Whoever waits may have given up.
    node.transfer_leadership(None, move |result| {
        let _ = sender.send(result);
    });
    match tokio::time::timeout(HAND_OVER_TIMEOUT, done).await {
        Ok(Ok(Ok(to))) => format!("handed over to node {to}"),
        Ok(Ok(Err(why))) => format!("not handed over: {why}"),
        Ok(Err(_)) | Err(_) => "not handed over in time".to_owned(),
    }
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

fn node_config(settings: &NodeSettings) -> Result<NodeConfig, Failure> {
    let raft = hardlog_raft::Config {
        tick: settings.tick,
        command_bytes_max: settings.command_bytes_max(),
        unsaved_bytes_max: settings.unsaved_bytes_max(),
        append_bytes_max: settings.append_bytes_max(),
        joining: settings.join,
        abstain: settings.abstain,
        lease_drift_percent: settings.lease_drift_percent,
        insecure: settings.insecure,
        ..hardlog_raft::Config::production()
    };
    let security = settings.tls.as_ref().map(|files| {
        let tls = Tls::from_files(&files.authority, &files.certificate, &files.key)?;
        Ok::<_, TlsError>(Arc::new(tls) as Arc<dyn Security>)
    });
    // Files that cannot be read are said before anything is begun.
    let security = security.transpose()?;
    Ok(NodeConfig {
        id: settings.id,
        cluster: settings.cluster,
        peers: settings.peers.iter().map(|(id, member)| (id, member.raft())).collect(),
        dir: settings.dir.clone(),
        raft,
        log: hardlog::Options::new()
            .create_if_missing(settings.create)
            .segment_size(settings.segment_bytes),
        snapshot_every_bytes: settings.snapshot_every_bytes,
        keep_behind: settings.keep_behind,
        listener: Some(raft_listener(settings.raft_listen)?),
        security,
        tracer: tracer(settings)?,
    })
}

/// As many clients as wanted, or as many as leave the log its files: with none to be had it could
/// not go on in a new one, and the node would stop.
fn open_files_permit(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(wanted, |soft| wanted.min(soft.saturating_sub(FILES_KEPT).max(1)))
}

/// Where the other nodes connect.
fn raft_listener(address: SocketAddr) -> Result<std::net::TcpListener, String> {
    std::net::TcpListener::bind(address).map_err(|why| format!("for nodes on {address}: {why}"))
}

/// Where the node tells what happens, if that is wanted.
fn tracer(settings: &NodeSettings) -> Result<Tracer, Failure> {
    let Some(path) = &settings.trace else { return Ok(Tracer::off()) };
    let nodes = settings.peers.iter().map(|(id, _)| id).collect();
    let (tracer, at) = Tracer::to_new_file(path, &Header::of_process("kv", nodes))
        .map_err(|why| format!("trace: {}: {why}", path.display()))?;
    say(&format!("node {}: trace in {}", settings.id, at.display()))?;
    Ok(tracer)
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
