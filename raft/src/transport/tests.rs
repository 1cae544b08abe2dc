//! The transport between two and three nodes on loopback.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use hardlog::{Entry, EntryId};

use super::*;
use crate::trace::Tracer;

mod hostile;
#[cfg(feature = "tls")]
mod tls;

const WAIT: Duration = Duration::from_secs(10);

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn settings(id: NodeId, peers: &BTreeMap<NodeId, SocketAddr>) -> Settings {
    Settings {
        id,
        cluster: 7,
        log_id: LogId([u8::try_from(id).unwrap(); 16]),
        incarnation: 1,
        peers: peers.clone(),
        message_bytes_max: 1 << 20,
        outbox_bytes_max: 8 << 20,
        security: None,
        insecure: false,
        tracer: Tracer::off(),
    }
}

fn start(settings: &Settings, listener: TcpListener) -> (Transport, Receiver<Message>) {
    let (sender, receiver) = channel();
    let deliver = Arc::new(move |message| sender.send(message).is_ok());
    (Transport::start(settings, listener, deliver).unwrap(), receiver)
}

fn heartbeat(from: NodeId, to: NodeId, round: u64) -> Message {
    Message { from, to, term: 1, body: Body::Heartbeat { commit: 0, round } }
}

fn append(from: NodeId, to: NodeId, len: usize) -> Message {
    let entries = vec![Entry::new(1, 1, vec![7; len])];
    Message {
        from,
        to,
        term: 1,
        body: Body::Append { prev: EntryId::default(), entries, commit: 0 },
    }
}

#[test]
fn messages_arrive_in_order_in_both_directions() {
    let (a, b) = (listener(), listener());
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, b.local_addr().unwrap())]);
    let (one, at_one) = start(&settings(1, &peers), a);
    let (two, at_two) = start(&settings(2, &peers), b);
    for round in 0..100 {
        one.send(heartbeat(1, 2, round));
        two.send(heartbeat(2, 1, round));
    }
    for round in 0..100 {
        assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, round));
        assert_eq!(at_one.recv_timeout(WAIT).unwrap(), heartbeat(2, 1, round));
    }
    one.send(append(1, 2, 900_000));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), append(1, 2, 900_000));
}

#[test]
fn a_peer_that_comes_later_or_again_is_reached() {
    let (a, b) = (listener(), listener());
    let address = b.local_addr().unwrap();
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, address)]);
    let (one, _at_one) = start(&settings(1, &peers), a);
    drop(b);
    one.send(heartbeat(1, 2, 0));
    for incarnation in 1..4 {
        let settings = Settings { incarnation, ..settings(2, &peers) };
        let (mut two, at_two) = start(&settings, TcpListener::bind(address).unwrap());
        let arrived = (0..500).any(|round| {
            one.send(heartbeat(1, 2, round));
            at_two.recv_timeout(Duration::from_millis(20)).is_ok()
        });
        assert!(arrived, "incarnation {incarnation}");
        two.shutdown();
    }
}

#[test]
fn a_node_with_a_wiped_disk_is_refused() {
    let (a, b) = (listener(), listener());
    let address = b.local_addr().unwrap();
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, address)]);
    let (one, at_one) = start(&settings(1, &peers), a);
    let (mut two, at_two) = start(&settings(2, &peers), b);
    two.send(heartbeat(2, 1, 1));
    assert_eq!(at_one.recv_timeout(WAIT).unwrap(), heartbeat(2, 1, 1));
    two.shutdown();
    drop(at_two);
    let wiped = Settings { log_id: LogId([9; 16]), ..settings(2, &peers) };
    let (two, at_two) = start(&wiped, TcpListener::bind(address).unwrap());
    for round in 0..10 {
        one.send(heartbeat(1, 2, round));
        two.send(heartbeat(2, 1, round));
        assert!(at_one.recv_timeout(Duration::from_millis(20)).is_err());
    }
    assert!(at_two.try_recv().is_err(), "nor does anybody talk to it");
}

#[test]
fn hostile_bytes_end_their_own_connection_only() {
    let (a, b) = (listener(), listener());
    let address = b.local_addr().unwrap();
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, address)]);
    let (two, at_two) = start(&settings(2, &peers), b);
    for bytes in [&[b'G'; 70][..], &[0; 62], &[0xff; 200]] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut answer = Vec::new();
        // Reset or closed, whichever the system makes of the bytes that nobody read.
        let _reset = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    let (one, _at_one) = start(&settings(1, &peers), a);
    one.send(heartbeat(1, 2, 5));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, 5));
    drop(two);
}

#[test]
fn a_heartbeat_overtakes_bulk_data_that_the_peer_does_not_take() {
    let (a, b) = (listener(), listener());
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, b.local_addr().unwrap())]);
    let (one, _at_one) = start(&settings(1, &peers), a);
    let (sender, at_two) = channel();
    let (gate_in, gate_out) = channel::<()>();
    let gate_out = Mutex::new(gate_out);
    // Node 2 takes no entries until the gate opens.
    let deliver = Arc::new(move |message: Message| {
        if matches!(message.body, Body::Append { .. }) {
            let _opened = gate_out.lock().unwrap().recv();
        }
        sender.send(message).is_ok()
    });
    let two = Transport::start(&settings(2, &peers), b, deliver).unwrap();
    for _ in 0..30 {
        one.send(append(1, 2, 900_000));
    }
    one.send(heartbeat(1, 2, 1));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, 1));
    drop(gate_in);
    drop((one, two));
}

#[test]
fn an_address_beyond_loopback_is_refused_unless_it_is_asked_for() {
    let a = listener();
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, "192.0.2.1:9".parse().unwrap())]);
    let deliver: Deliver = Arc::new(|_| true);
    let refused = Transport::start(&settings(1, &peers), a, Arc::clone(&deliver));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let insecure = Settings { insecure: true, ..settings(1, &peers) };
    assert!(Transport::start(&insecure, listener(), deliver).is_ok());
}

#[test]
fn a_peer_that_moves_beyond_loopback_is_left_out() {
    let a = listener();
    let own = a.local_addr().unwrap();
    let deliver: Deliver = Arc::new(|_| true);
    let mut one = Transport::start(&settings(1, &BTreeMap::from([(1, own)])), a, deliver).unwrap();
    let away = "192.0.2.1:9".parse().unwrap();
    one.set_peers(&BTreeMap::from([(1, own), (2, away)])).unwrap();
    assert!(one.outboxes.is_empty(), "nothing may be sent there");
}

#[test]
fn nodes_meet_before_they_have_anything_to_say() {
    let (a, b) = (listener(), listener());
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, b.local_addr().unwrap())]);
    let (sender, met) = channel();
    let mut transports = Vec::new();
    for (id, listener) in [(1, a), (2, b)] {
        let sender = Mutex::new(sender.clone());
        let tell = move |peer, _: LogId, incarnation| {
            let told = sender.lock().unwrap().send((id, peer, incarnation));
            told.unwrap();
        };
        let past = Past { met: Box::new(tell), ..Past::default() };
        let deliver: Deliver = Arc::new(|_| true);
        let started = Transport::start_after(&settings(id, &peers), listener, deliver, past);
        transports.push(started.unwrap());
    }
    let mut both = [met.recv_timeout(WAIT).unwrap(), met.recv_timeout(WAIT).unwrap()];
    both.sort_unstable();
    assert_eq!(both, [(1, 2, 1), (2, 1, 1)]);
}

#[test]
fn peers_come_and_go_while_the_transport_runs() {
    let (a, b) = (listener(), listener());
    let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let both = BTreeMap::from([(1, at_a), (2, at_b)]);
    let (mut one, _at_one) = start(&settings(1, &BTreeMap::from([(1, at_a)])), a);
    let (two, at_two) = start(&settings(2, &both), b);
    one.send(heartbeat(1, 2, 1));
    one.set_peers(&both).unwrap();
    one.send(heartbeat(1, 2, 2));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, 2), "1 had nowhere to go");
    one.set_peers(&BTreeMap::from([(1, at_a)])).unwrap();
    one.send(heartbeat(1, 2, 3));
    assert!(at_two.recv_timeout(Duration::from_millis(100)).is_err(), "it is no peer any more");
    drop(two);
}
