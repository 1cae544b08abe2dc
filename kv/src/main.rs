//! The program `hardlog-kv`: one node, a cluster of nodes on this machine, a client, and a
//! demonstration. Everything it does is in the library; here are its arguments and exit codes.
//!
//! Exit codes: 0 done, 1 an error (or an error reply, for the client), 2 arguments that make no
//! sense.

mod args;
mod serve;
mod settings;

use std::{
    io::{self, IsTerminal, Write},
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use hardlog_kv::{
    client::Client,
    demo,
    local::{LocalCluster, NodeOptions},
    render,
    resp::Reply,
};

use crate::args::{Arguments, ClientArgs, ClusterArgs, Command, DemoArgs};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(args) => serve::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Cluster(args) => cluster(&args).map(|()| ExitCode::SUCCESS),
        Command::Client(args) => client(&args),
        Command::Demo(args) => demonstrate(&args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        let mut text = format!("hardlog-kv: {error}");
        let mut cause = error.source();
        while let Some(source) = cause {
            text.push_str(&format!(": {source}"));
            cause = source.source();
        }
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::FAILURE
    })
}

fn node_options() -> io::Result<NodeOptions> {
    Ok(NodeOptions { program: std::env::current_exe()?, arguments: Vec::new() })
}

/// Starts the nodes, says how to reach them, and waits for Ctrl-C.
fn cluster(args: &ClusterArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    // Before the first node starts: a signal in between must not leave them behind.
    let stop = serve::StopSignals::new()?;
    let mut cluster = LocalCluster::open(&args.dir, args.nodes, node_options()?)?;
    cluster.start_all()?;
    announce(&cluster, args)?;
    runtime.block_on(async {
        let mut stopped = std::pin::pin!(stop.wait());
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                () = &mut stopped => return Ok(()),
                _ = look.tick() => report_ended(&mut cluster)?,
            }
            if cluster.running_count() == 0 {
                return Err(Failure::from("no node is running any more"));
            }
        }
    })?;
    writeln!(io::stdout(), "stopping")?;
    cluster.stop_all()?;
    Ok(())
}

fn announce(cluster: &LocalCluster, args: &ClusterArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut list = Vec::new();
    for (id, member) in cluster.members().iter() {
        let address = member.client();
        let process = cluster.process_id(id).unwrap_or(0);
        writeln!(out, "node {id}: {address}, process {process}")?;
        list.push(address.to_string());
        if let Some(http) = cluster.http_address(id) {
            writeln!(out, "  http://{http}/status, /metrics and /healthz")?;
        }
        if id == 1 {
            writeln!(out, "  redis-cli -c -p {}", member.client_port)?;
        }
    }
    writeln!(out, "  hardlog-kv client --connect {} SET greeting hello", list.join(","))?;
    writeln!(out, "data in {}; Ctrl-C stops the nodes", args.dir.display())?;
    out.flush()
}

/// Says which nodes ended and how each is started again; starting it is left to a person.
fn report_ended(cluster: &mut LocalCluster) -> io::Result<()> {
    for (id, status) in cluster.take_ended()? {
        let (arguments, output) = (cluster.serve_arguments(id).join(" "), cluster.node_output(id));
        let mut out = io::stdout().lock();
        writeln!(out, "node {id} ended ({status}); what it said is in {}", output.display())?;
        writeln!(out, "  to start it again: hardlog-kv {arguments}")?;
    }
    Ok(())
}

/// Sends one command and prints the reply; an error reply is exit code 1.
fn client(args: &ClientArgs) -> Result<ExitCode, Failure> {
    let mut nodes: Vec<SocketAddr> = Vec::new();
    for host in args.connect.split(',') {
        nodes.extend(host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?);
    }
    if nodes.is_empty() {
        return Err("--connect names no node".into());
    }
    let patience = Duration::from_secs_f64(args.patience.clamp(0.0, 3600.0));
    let reply = Client::new(nodes, patience).call(&args.command)?;
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        out.write_all(render::for_person(&reply).as_bytes())?;
    } else {
        out.write_all(&render::for_program(&reply))?;
    }
    out.flush()?;
    Ok(if matches!(reply, Reply::Error(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn demonstrate(args: &DemoArgs) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    Ok(demo::run(args.dir.as_deref(), node_options()?, &mut out)?)
}
