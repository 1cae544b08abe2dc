//! Commands that come together share a sync: counted with the log's own counter of syncs.
//!
//! Counted are those of the leader while followers stay as they are; nothing else makes it sync:
//! heartbeats carry no entries, and the commit index has no sync of its own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
};

use crate::{
    harness::{PATIENCE, TestCluster},
    monitor::{http_address, metric},
};

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends everything at once and takes as many times OK.
fn write(socket: &mut TcpStream, pipeline: &str, count: usize) {
    socket.write_all(pipeline.as_bytes()).unwrap();
    let mut replies = vec![0; 5 * count];
    socket.read_exact(&mut replies).unwrap();
    assert_eq!(replies, b"+OK\r\n".repeat(count));
}

fn pipeline(count: usize, value: &str) -> String {
    (0..count).map(|n| format!("SET key-{n} {value}\r\n")).collect()
}

#[test]
fn what_comes_in_one_read_is_one_batch_and_one_sync() {
    let cluster = TestCluster::start();
    let leader = cluster.leader();
    let http = http_address(&cluster, leader);
    let counts = || {
        let of = |name| metric(http, name).unwrap();
        (of("raft_wal_fsync_duration_seconds_count"), of("raft_wal_batches_total"))
    };
    let mut socket = connect(cluster.address(leader));
    write(&mut socket, "SET key 0\r\n", 1);
    let hundred = pipeline(100, "value");
    let mut spent = Vec::new();
    for _ in 0..10 {
        let before = counts();
        write(&mut socket, &hundred, 100);
        let after = counts();
        spent.push((after.0 - before.0, after.1 - before.1));
    }
    println!("(syncs, batches) for 100 writes each: {spent:?}");
    // One write of the client may still reach the server in two pieces, now and then.
    let once = spent.iter().filter(|spent| **spent == (1.0, 1.0)).count();
    assert!(once >= 5 && spent.iter().all(|(syncs, _)| *syncs <= 4.0), "{spent:?}");
}

#[test]
fn a_pipeline_of_a_thousand_writes_costs_few_syncs() {
    let cluster = TestCluster::start();
    let leader = cluster.leader();
    let http = http_address(&cluster, leader);
    let syncs = || metric(http, "raft_wal_fsync_duration_seconds_count").unwrap();
    let thousand = pipeline(1000, &"v".repeat(256));
    let before = syncs();
    write(&mut connect(cluster.address(leader)), &thousand, 1000);
    let spent = syncs() - before;
    println!("{spent} syncs for 1000 writes of one pipeline");
    assert!((1.0..=40.0).contains(&spent), "{spent} syncs");
}

#[test]
fn writes_of_many_connections_at_once_share_syncs() {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 20;
    let cluster = TestCluster::start();
    let leader = cluster.leader();
    let (address, http) = (cluster.address(leader), http_address(&cluster, leader));
    let syncs = || metric(http, "raft_wal_fsync_duration_seconds_count").unwrap();
    let before = syncs();
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut socket = connect(address);
                for _ in 0..ROUNDS {
                    barrier.wait();
                    write(&mut socket, &format!("SET key-{n} v\r\n"), 1);
                }
            });
        }
    });
    let (spent, writes) = (syncs() - before, u32::try_from(CLIENTS * ROUNDS).unwrap());
    println!("{spent} syncs for {writes} writes of {CLIENTS} clients, one at a time");
    assert!(spent >= 20.0 && spent * 3.0 < f64::from(writes), "{spent} syncs");
}
