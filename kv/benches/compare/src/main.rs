//! hardlog-kv and etcd under the same load, in one run, in turn.
//!
//! Three nodes of each on loopback, each node a process with its own directory on the same disk.
//! A round starts one system, loads it with growing numbers of clients, stops it, and does the same
//! with the other. Every client has a connection of its own to the leader and sends the next write
//! when the last is answered. Beside writes per second and latencies stand the numbers that say
//! what the limit is: syncs of the leader's log and how long they took, processor time of the
//! leader, of the followers and of this program.
//!
//! What differs: etcd is spoken to in gRPC, which costs both sides more than RESP; that is how etcd
//! is spoken to. The processor time of this program is in the table for that reason.

mod load;
mod nodes;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{
    load::Outcome,
    nodes::{Cluster, System},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures hardlog-kv beside etcd.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program hardlog-kv, built for release
    #[arg(long)]
    hardlog_kv: PathBuf,
    /// The program etcd
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Directory on the disk to measure
    #[arg(long)]
    dir: PathBuf,
    /// How often everything is repeated
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,50,64,128,256")]
    clients: Vec<usize>,
    /// Which systems
    #[arg(long, value_enum, value_delimiter = ',', default_value = "hardlog-kv,etcd")]
    systems: Vec<System>,
    /// So many writes by redis-benchmark as well: -t set -c 50 -d 256, without and with -P 16
    #[arg(long, default_value_t = 0)]
    redis_benchmark: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    size: usize,
}

/// One measurement.
struct Row {
    system: System,
    clients: usize,
    outcome: Outcome,
    syncs: f64,
    sync_seconds: f64,
    leader_cpu: f64,
    follower_cpu: f64,
    own_cpu: f64,
    other_cpu: f64,
    network: f64,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    std::fs::create_dir_all(&arguments.dir)?;
    let mut rows = Vec::new();
    for round in 1..=arguments.rounds {
        // Who begins changes, so that neither always meets the quieter machine.
        let mut order = arguments.systems.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        for system in order {
            println!(
                "round {round}, {}; load average {}; raw disk {:.0} syncs/s, one after the other",
                system.name(),
                load_average(),
                raw_syncs(&arguments)?
            );
            let cluster = Cluster::start(system, &arguments)?;
            for clients in &arguments.clients {
                let row = measure(&runtime, &cluster, &arguments, *clients)?;
                println!("{}", line(&row));
                rows.push(row);
            }
            if system == System::Hardlog && arguments.redis_benchmark > 0 {
                redis_benchmark(cluster.leader(), &arguments)?;
            }
        }
    }
    println!("\nmedian of {} rounds", arguments.rounds);
    summary(&arguments, &rows);
    Ok(())
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    cluster: &Cluster,
    arguments: &Arguments,
    clients: usize,
) -> Result<Row, Failure> {
    let load = |seconds| {
        let length = Duration::from_secs(seconds);
        runtime.block_on(load::run(
            cluster.system(),
            cluster.leader(),
            clients,
            arguments.size,
            length,
        ))
    };
    // So that connections and buffers are there.
    load(1)?;
    let before = cluster.counters()?;
    let outcome = load(arguments.seconds)?;
    let after = cluster.counters()?;
    let seconds = outcome.seconds;
    Ok(Row {
        system: cluster.system(),
        clients,
        syncs: (after.syncs - before.syncs) / seconds,
        sync_seconds: (after.sync_seconds - before.sync_seconds)
            / (after.syncs - before.syncs).max(1.0),
        leader_cpu: (after.leader_cpu - before.leader_cpu) / seconds,
        follower_cpu: (after.follower_cpu - before.follower_cpu) / seconds,
        own_cpu: (after.own_cpu - before.own_cpu) / seconds,
        other_cpu: (after.all_cpu - before.all_cpu - (after.ours() - before.ours())) / seconds,
        network: (after.network - before.network) / seconds,
        outcome,
    })
}

const HEAD: &str = "| system | clients | writes/s | p50 ms | p99 ms | leader's syncs/s | ms/sync \
                    | in sync | CPU leader | CPU followers | CPU load | CPU others | MB/s lo | limit |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|";

fn line(row: &Row) -> String {
    format!(
        "| {} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.0} % | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {} |",
        row.system.name(),
        row.clients,
        row.outcome.rate,
        row.outcome.p50 * 1e3,
        row.outcome.p99 * 1e3,
        row.syncs,
        row.sync_seconds * 1e3,
        row.syncs * row.sync_seconds * 1e2,
        row.leader_cpu,
        row.follower_cpu,
        row.own_cpu,
        row.other_cpu,
        row.network / 1e6,
        limit(row)
    )
}

/// What holds the rate down: the processor where little of it is idle; else the disk where the
/// leader is in a sync for most of the time; else that each write waits for those before it to come
/// round: over loopback, through threads, and through a sync here and on a follower.
fn limit(row: &Row) -> &'static str {
    let cores = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    let busy = row.leader_cpu + row.follower_cpu + row.own_cpu + row.other_cpu;
    if busy > 0.85 * cores {
        "processor"
    } else if row.syncs * row.sync_seconds > 0.6 {
        "disk"
    } else {
        "the way round"
    }
}

/// The same load by a program that everybody knows.
fn redis_benchmark(leader: std::net::SocketAddr, arguments: &Arguments) -> Result<(), Failure> {
    for pipeline in ["1", "16"] {
        let output = std::process::Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &leader.port().to_string()])
            .args(["-t", "set", "-c", "50", "-r", "100000", "--csv", "-P", pipeline])
            .args(["-d", &arguments.size.to_string(), "-n", &arguments.redis_benchmark.to_string()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        println!(
            "redis-benchmark -c 50 -P {pipeline} (rps, avg, min, p50, p95, p99, max ms): {line}"
        );
    }
    Ok(())
}

/// For each number of clients and each system the round with the median rate, and the ratio.
fn summary(arguments: &Arguments, rows: &[Row]) {
    println!("{HEAD}");
    for clients in &arguments.clients {
        let mut rates = Vec::new();
        for system in [System::Hardlog, System::Etcd] {
            let mut of: Vec<&Row> =
                rows.iter().filter(|row| row.system == system && row.clients == *clients).collect();
            of.sort_by(|a, b| a.outcome.rate.total_cmp(&b.outcome.rate));
            let Some(median) = of.get(of.len() / 2) else { continue };
            println!("{}", line(median));
            rates.push(median.outcome.rate);
        }
        if let [ours, theirs] = rates[..] {
            println!("| ratio | {clients} | {:.1} | | | | | | | | | | | |", ours / theirs);
        }
    }
}

/// How often a second a small write can be synced on this disk, with nothing else.
fn raw_syncs(arguments: &Arguments) -> Result<f64, Failure> {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile_in(&arguments.dir)?;
    file.write_all_at(&vec![0; 8 << 20], 0)?;
    file.sync_all()?;
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < Duration::from_secs(2) {
        file.write_all_at(&[1; 512], u64::from(count % 16_000) * 512)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
