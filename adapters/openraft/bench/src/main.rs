//! openraft's write throughput with hardlog, with its in-memory example store and with its RocksDB
//! example store: one node and three, one client and many, in one run.
//!
//! `cluster` is a cluster in one process, `rocks` the RocksDB store. All three logs run under the state
//! machine of openraft's in-memory example, so that nothing but the log differs.
//! Rounds go over all stores in turn, and the median of the rounds counts: what else the machine does
//! hits all of them.

mod cluster;
mod rocks;

use std::{path::Path, sync::Arc, time::Duration};

use cluster::{C, Cluster, Outcome};
use hardlog::{Log, Options};
use hardlog_openraft::v0_10::LogStore;
use openraft_memstore::{BlockConfig, MemLogStore};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const STORES: [&str; 3] = ["memory", "hardlog", "rocksdb"];

/// One store, one shape, one round.
async fn measure(store: &str, dir: &Path, nodes: u64, clients: usize) -> Outcome {
    let dir = tempfile::tempdir_in(dir).expect("a directory");
    let path = |id: u64| dir.path().join(format!("n{id}"));
    let cluster = match store {
        "memory" => {
            let log = |_| Arc::new(MemLogStore::new(BlockConfig::default()));
            Cluster::start(nodes, log).await
        }
        "hardlog" => {
            let log =
                |id| LogStore::<C>::new(Log::create(path(id), Options::new()).expect("a log"));
            Cluster::start(nodes, log).await
        }
        _ => Cluster::start(nodes, |id| rocks::RocksLog::open(&path(id))).await,
    };
    let outcome = cluster.write(clients, ROUND).await;
    cluster.stop().await;
    outcome
}

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    println!("| nodes | clients | store | writes/s | of memory | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    for (nodes, clients) in [(1, 1), (1, 64), (1, 512), (3, 1), (3, 64), (3, 512)] {
        let mut outcomes = STORES.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (store, outcomes) in STORES.iter().zip(&mut outcomes) {
                let measured = measure(store, Path::new(&dir), nodes, clients);
                outcomes.push(runtime.block_on(measured));
            }
        }
        let medians = outcomes.map(|mut outcomes| {
            outcomes.sort_by(|a, b| a.rate.total_cmp(&b.rate));
            outcomes.swap_remove(ROUNDS / 2)
        });
        for (store, median) in STORES.iter().zip(&medians) {
            println!(
                "| {nodes} | {clients} | {store} | {:.0} | {:.2} | {:.2} | {:.2} |",
                median.rate,
                median.rate / medians[0].rate,
                median.p50.as_secs_f64() * 1e3,
                median.p99.as_secs_f64() * 1e3,
            );
        }
    }
}
