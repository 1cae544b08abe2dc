//! Over real sockets, on loopback, on ports the system chooses.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::*;
use crate::{limits::VALUE_MAX, replica::alone::Alone};

/// A server that lives as long as this.
struct Running {
    _runtime: tokio::runtime::Runtime,
    address: SocketAddr,
}

fn start(clients_max: usize) -> Running {
    start_within(clients_max, Bounds::default())
}

fn start_within(clients_max: usize, bounds: Bounds) -> Running {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let replica = Arc::new(Alone::default());
    let view = replica.view();
    let members = format!("1={address}@1").parse().unwrap();
    let server = Server::new(1, replica, view, members, clients_max).with_bounds(bounds);
    runtime.spawn(async move { server.run(listener).await });
    Running { _runtime: runtime, address }
}

fn connect(running: &Running) -> TcpStream {
    let socket = TcpStream::connect(running.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

#[test]
fn a_client_that_sends_everything_before_it_reads_is_answered_in_order() {
    const COUNT: usize = 100_000;
    let running = start(10);
    let mut socket = connect(&running);
    socket.write_all("INCR n\r\n".repeat(COUNT).as_bytes()).unwrap();
    let mut from = BufReader::new(socket);
    for n in 1..=COUNT {
        assert_eq!(Reply::read(&mut from).unwrap(), Reply::Integer(i64::try_from(n).unwrap()));
    }
}

#[test]
fn the_largest_value_goes_in_and_out_and_a_larger_one_ends_the_connection() {
    let running = start(10);
    let mut socket = connect(&running);
    let value = vec![b'v'; VALUE_MAX];
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${VALUE_MAX}\r\n");
    socket.write_all(header.as_bytes()).unwrap();
    socket.write_all(&value).unwrap();
    socket.write_all(b"\r\nGET k\r\n").unwrap();
    let mut from = BufReader::new(socket.try_clone().unwrap());
    assert_eq!(Reply::read(&mut from).unwrap(), Reply::OK);
    assert_eq!(Reply::read(&mut from).unwrap(), Reply::Bulk(value.into()));
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", VALUE_MAX + 1);
    socket.write_all(header.as_bytes()).unwrap();
    let text = Reply::error("ERR Protocol error: invalid bulk length");
    assert_eq!(Reply::read(&mut from).unwrap(), text);
    assert_eq!(from.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_client_beyond_the_limit_is_told_and_one_that_leaves_makes_room() {
    let running = start(1);
    let mut first = connect(&running);
    first.write_all(b"PING\r\n").unwrap();
    let pong = Reply::Simple("PONG".into());
    assert_eq!(Reply::read(&mut BufReader::new(&first)).unwrap(), pong);
    let mut refused = BufReader::new(connect(&running));
    let full = Reply::error("ERR max number of clients reached");
    assert_eq!(Reply::read(&mut refused).unwrap(), full);
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    // The place is free once the server's task has ended, which nothing announces.
    let again = (0..1000).find_map(|_| {
        let mut socket = connect(&running);
        socket.write_all(b"PING\r\n").ok()?;
        (Reply::read(&mut BufReader::new(socket)).ok()? == pong).then_some(())
    });
    assert!(again.is_some());
}

#[test]
fn a_client_that_does_not_move_is_let_go_and_one_that_is_idle_is_not() {
    let stall_max = Duration::from_millis(400);
    let running = start_within(10, Bounds { stall_max, ..Bounds::default() });
    let mut idle = connect(&running);
    idle.write_all(b"PING\r\n").unwrap();
    let mut deaf = connect(&running);
    let value = "v".repeat(1 << 20);
    deaf.write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n{value}\r\n").as_bytes())
        .unwrap();
    deaf.write_all("GET k\r\n".repeat(64).as_bytes()).unwrap();
    let mut slow = connect(&running);
    slow.write_all(
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n{}", &value[..9999]).as_bytes(),
    )
    .unwrap();
    // It never gets what it did not send; the other gets less than it asked for.
    assert!(!matches!(slow.read(&mut [0]), Ok(1..)), "it was answered");
    std::thread::sleep(stall_max);
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    assert!(rest.len() < 60 << 20, "{}", rest.len());
    let mut from = BufReader::new(idle.try_clone().unwrap());
    idle.write_all(b"PING\r\n").unwrap();
    for _ in 0..2 {
        assert_eq!(Reply::read(&mut from).unwrap(), Reply::Simple("PONG".into()));
    }
}
