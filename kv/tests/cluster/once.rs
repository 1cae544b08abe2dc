//! Exactly once: what a client sends again is not done again.

use std::{
    io::Write,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hardlog_kv::{client::Client, resp::Reply};

use crate::harness::{TestCluster, until};

fn open(client: &mut Client) -> String {
    match client.call(&["SESSION", "OPEN"]).unwrap() {
        Reply::Integer(session) => session.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Sends a request and leaves without its reply.
fn send_and_leave(address: std::net::SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket
}

#[test]
fn an_append_whose_reply_is_lost_is_delivered_once() {
    let cluster = TestCluster::start();
    let mut client = cluster.client();
    let session = open(&mut client);
    let leader = cluster.address(cluster.leader());
    for serial in 1..=20 {
        let serial = serial.to_string();
        // The connection stays until the second try is answered, and is never read.
        let lost = send_and_leave(leader, &format!("SESSION {session} {serial} APPEND k x\r\n"));
        let again = client.call(&["SESSION", &session, &serial, "APPEND", "k", "x"]).unwrap();
        assert_eq!(again, Reply::Integer(serial.parse().unwrap()));
        drop(lost);
    }
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Reply::text("x".repeat(20)));
}

#[test]
fn an_append_is_delivered_once_when_the_leader_crashes_after_it() {
    let mut cluster = TestCluster::start_with(&["--tick=20"]);
    let mut client = cluster.client();
    let session = open(&mut client);
    for serial in ["1", "2", "3"] {
        let leader = cluster.leader();
        let request = format!("SESSION {session} {serial} APPEND k x\r\n");
        let _lost = send_and_leave(cluster.address(leader), &request);
        // Sometimes before, sometimes after the entry is everywhere: both must end the same.
        std::thread::sleep(Duration::from_millis(if serial == "2" { 0 } else { 50 }));
        cluster.nodes.kill(leader).unwrap();
        let again = until("an answer", || {
            match client.call(&["SESSION", &session, serial, "APPEND", "k", "x"]).ok()? {
                Reply::Integer(len) => Some(len),
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(again, serial.parse::<i64>().unwrap());
        cluster.nodes.start(leader).unwrap();
    }
    assert_eq!(client.call(&["GET", "k"]).unwrap(), Reply::text("xxx"));
}

#[test]
fn a_counter_in_sessions_is_exact_while_leaders_are_killed() {
    let mut cluster = TestCluster::start_with(&["--tick=20", "--snapshot-every=1"]);
    let stop = AtomicBool::new(false);
    let addresses = cluster.nodes.addresses();
    let count = |patience| {
        let mut client = Client::new(addresses.clone(), patience);
        let session = open(&mut client);
        let mut serial = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            serial += 1;
            let words = ["SESSION", &session, &serial.to_string(), "INCR", "counter"];
            // Again until there is an answer: that is what the session is for.
            while !matches!(client.call(&words), Ok(Reply::Integer(_))) {}
        }
        serial
    };
    let total: u64 = std::thread::scope(|scope| {
        let patience = crate::harness::PATIENCE;
        let counting: Vec<_> = (0..3).map(|_| scope.spawn(move || count(patience))).collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            let leader = cluster.leader();
            cluster.nodes.kill(leader).unwrap();
            cluster.leader();
            cluster.nodes.start(leader).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        counting.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(total > 30, "only {total} were counted");
    let counted = cluster.client().call(&["GET", "counter"]).unwrap();
    assert_eq!(counted, Reply::text(total.to_string()));
}
