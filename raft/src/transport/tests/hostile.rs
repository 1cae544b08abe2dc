//! Peers that are broken or mean harm: each loses its connection, with a reason, and nobody else
//! notices.

use std::time::Instant;

use super::{
    super::{
        guard::{Guard, Implausible, NUMBER_MAX},
        handshake::{Hello, Verdict},
        inbound::STRANGERS_MAX,
    },
    *,
};
use crate::message::{AppendReply, SnapshotChunk};

/// A node under test, and a peer of which the test has every byte in its own hands.
struct Scene {
    two: Transport,
    at_two: Receiver<Message>,
    address: SocketAddr,
    peers: BTreeMap<NodeId, SocketAddr>,
}

fn scene() -> Scene {
    let (a, b) = (listener(), listener());
    let address = b.local_addr().unwrap();
    let mut peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, address)]);
    peers.insert(3, listener().local_addr().unwrap());
    let (two, at_two) = start(&settings(2, &peers), b);
    Scene { two, at_two, address, peers }
}

impl Scene {
    /// A connection of node 2 to node 1, which this scene is of.
    fn into_intruder(self, lane: Lane) -> (TcpStream, Self) {
        (self.welcome((2, 1), lane), self)
    }

    /// Introduces itself as node 3, and is welcome.
    fn intruder(&self, lane: Lane) -> TcpStream {
        self.welcome((3, 2), lane)
    }

    fn welcome(&self, (from, to): (NodeId, NodeId), lane: Lane) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let (cluster, incarnation, verdict) = (7, 1, Verdict::Welcome);
        let log_id = LogId([u8::try_from(from).unwrap(); 16]);
        let hello = Hello { cluster, from, to, log_id, incarnation, lane, verdict };
        hello.write(&mut stream).unwrap();
        assert_eq!(Hello::read(&mut stream).unwrap().verdict, Verdict::Welcome);
        stream
    }

    /// Sends bytes as node 3; what node 2 says of them when it ends the connection.
    fn refused(&self, lane: Lane, bytes: &[u8]) -> String {
        let before = self.two.refusals().count;
        let mut stream = self.intruder(lane);
        // It may be ended before all is taken.
        let _reset = stream.write_all(bytes);
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
        let begun = Instant::now();
        while self.two.refusals().count == before && begun.elapsed() < WAIT {
            std::thread::yield_now();
        }
        let (peer, why) = self.two.refusals().last.expect("a refusal");
        assert_eq!(peer, Some(3), "{why}");
        why
    }

    fn is_unharmed(&self) {
        let a = TcpListener::bind(self.peers[&1]);
        let a = a.unwrap_or_else(|_| listener());
        let (one, _at_one) = start(&settings(1, &self.peers), a);
        one.send(heartbeat(1, 2, 5));
        let begun = Instant::now();
        while let Ok(message) = self.at_two.recv_timeout(WAIT) {
            if message == heartbeat(1, 2, 5) {
                return;
            }
            assert!(begun.elapsed() < WAIT);
        }
        panic!("node 1 is no longer heard");
    }
}

fn framed(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, 1, |to| Bincode::new(1 << 20).encode(message, to)).unwrap();
    bytes
}

#[test]
fn what_is_no_message_ends_the_connection_with_its_reason() {
    let scene = scene();
    let mut torn = framed(&heartbeat(3, 2, 1));
    *torn.last_mut().unwrap() ^= 1;
    assert!(scene.refused(Lane::Control, &torn).contains("checksum"));
    let huge = [&u32::MAX.to_le_bytes()[..], &[0; 12]].concat();
    assert!(scene.refused(Lane::Log, &huge).contains("4294967295 bytes"));
    let mut empty = Vec::new();
    frame::append(&mut empty, 1, |_| Ok::<(), ()>(())).unwrap();
    scene.refused(Lane::Log, &empty);
    let other = framed(&heartbeat(1, 2, 1));
    assert!(scene.refused(Lane::Control, &other).contains("a message of node 1"));
    let other = framed(&heartbeat(3, 1, 1));
    scene.refused(Lane::Control, &other);
    scene.is_unharmed();
    assert!(scene.at_two.try_recv().is_err(), "nothing of it was delivered");
}

#[test]
fn a_leader_whose_term_goes_back_ends_the_connection() {
    let scene = scene();
    let said = |term| Message { term, ..heartbeat(3, 2, 1) };
    let bytes = [framed(&said(5)), framed(&said(4))].concat();
    let why = scene.refused(Lane::Control, &bytes);
    assert!(why.contains("a leader of term 4 after one of term 5"), "{why}");
    assert_eq!(scene.at_two.recv_timeout(WAIT).unwrap(), said(5));
    scene.is_unharmed();
}

#[test]
fn a_peer_that_says_nothing_or_half_of_it_keeps_nobody_out() {
    let scene = scene();
    // More of them than there is room for, and each holds on as long as it can.
    let idle: Vec<TcpStream> = (0..3 * STRANGERS_MAX)
        .map(|_| {
            let mut stream = TcpStream::connect(scene.address).unwrap();
            stream.write_all(b"hlraft").unwrap();
            stream
        })
        .collect();
    scene.is_unharmed();
    drop(idle);
    // A byte now and then does not prolong it.
    let mut slow = TcpStream::connect(scene.address).unwrap();
    slow.set_read_timeout(Some(WAIT)).unwrap();
    let begun = Instant::now();
    let ended = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        slow.write_all(b"h").is_err()
    });
    assert!(ended && begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_flood_of_messages_waits_in_the_sockets_of_who_sends_it() {
    let (a, b) = (listener(), listener());
    let address = b.local_addr().unwrap();
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, address), (3, address)]);
    let (gate_in, gate_out) = channel::<()>();
    let gate_out = Mutex::new(gate_out);
    let (sender, at_two) = channel();
    let deliver = Arc::new(move |message: Message| {
        if message.from == 3 {
            let _opened = gate_out.lock().unwrap().recv();
            return true;
        }
        sender.send(message).is_ok()
    });
    let two = Transport::start(&settings(2, &peers), b, deliver).unwrap();
    let scene = Scene { two, at_two, address, peers };
    let mut flood = scene.intruder(Lane::Log);
    flood.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let message = framed(&append(3, 2, 500_000));
    let taken = (0..200).take_while(|_| flood.write_all(&message).is_ok()).count();
    assert!(taken < 100, "{taken} messages of half a megabyte were taken");
    scene.is_unharmed();
    drop(gate_in);
}

#[test]
fn who_says_nothing_is_given_up_by_the_node_that_connects_and_who_was_let_in_may_be_silent() {
    // With a deadline for each read, or none, the first connection would hold the link for ever.
    let (a, b) = (listener(), listener());
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, b.local_addr().unwrap())]);
    let (one, at_one) = start(&settings(1, &peers), a);
    b.set_nonblocking(true).unwrap();
    // A link connects when it has something to say.
    let accept = || {
        let begun = Instant::now();
        loop {
            if let Ok((stream, _)) = b.accept() {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            assert!(begun.elapsed() < WAIT, "nobody comes");
            one.send(heartbeat(1, 2, 0));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let mute = accept();
    let begun = Instant::now();
    let mut stream = accept();
    let waited = begun.elapsed();
    assert!((1..5).contains(&waited.as_secs()), "it tried again after {waited:?}");
    let hello = Hello::read(&mut stream).unwrap();
    let log_id = LogId([2; 16]);
    Hello { from: 2, to: 1, log_id, ..hello }.write(&mut stream).unwrap();
    one.send(heartbeat(1, 2, 1));
    let mut body = Vec::new();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    assert!(frame::read(&mut stream, &mut body, 1 << 20).unwrap().is_some());
    // The other way round: silent for longer than an introduction may take, and still heard.
    let mut silent = Scene { two: one, at_two: at_one, address: peers[&1], peers: peers.clone() }
        .into_intruder(Lane::Control);
    std::thread::sleep(Duration::from_millis(2300));
    silent.0.write_all(&framed(&heartbeat(2, 1, 9))).unwrap();
    assert_eq!(silent.1.at_two.recv_timeout(WAIT).unwrap(), heartbeat(2, 1, 9));
    drop(mute);
}

#[test]
fn a_peer_that_reads_nothing_costs_a_bounded_queue_and_nobody_else_a_thing() {
    let (a, b, c) = (listener(), listener(), listener());
    let address = |l: &TcpListener| l.local_addr().unwrap();
    let peers = BTreeMap::from([(1, address(&a)), (2, address(&b)), (3, address(&c))]);
    let (one, _at_one) = start(&settings(1, &peers), a);
    let (_two, at_two) = start(&settings(2, &peers), b);
    // Node 3 introduces itself and takes nothing more.
    let slow = std::thread::spawn(move || {
        let taken = (0..2).map(|_| {
            let (mut stream, _) = c.accept().unwrap();
            let hello = Hello::read(&mut stream).unwrap();
            Hello { from: 3, to: 1, log_id: LogId([3; 16]), ..hello }.write(&mut stream).unwrap();
            stream
        });
        taken.collect::<Vec<_>>()
    });
    for _ in 0..100 {
        one.send(append(1, 3, 900_000));
        std::thread::sleep(Duration::from_millis(1));
    }
    one.send(heartbeat(1, 2, 4));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, 4));
    // Eight megabytes may wait, a few more are in the system's buffers.
    assert!(one.dropped() > 60, "{} of 100 were dropped", one.dropped());
    drop(slow.join().unwrap());
}

#[test]
fn a_hello_that_does_not_fit_is_answered_with_its_reason() {
    let scene = scene();
    let (cluster, from, to, incarnation, verdict) = (7, 3, 2, 1, Verdict::Welcome);
    let (log_id, lane) = (LogId([3; 16]), Lane::Log);
    let fits = Hello { cluster, from, to, log_id, incarnation, lane, verdict };
    let says = |hello: Hello| {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        hello.write(&mut stream).unwrap();
        Hello::read(&mut stream).unwrap().verdict
    };
    assert_eq!(says(Hello { cluster: 8, ..fits }), Verdict::Cluster);
    assert_eq!(says(Hello { to: 1, ..fits }), Verdict::Node);
    assert_eq!(says(Hello { from: 9, ..fits }), Verdict::Stranger);
    assert_eq!(says(Hello { incarnation: 5, ..fits }), Verdict::Welcome);
    assert_eq!(says(Hello { incarnation: 4, ..fits }), Verdict::Incarnation);
    assert_eq!(says(Hello { log_id: LogId([4; 16]), incarnation: 6, ..fits }), Verdict::Log);
    let mut other = Vec::new();
    fits.write(&mut other).unwrap();
    other[6] += 1;
    let mut stream = TcpStream::connect(scene.address).unwrap();
    stream.write_all(&other).unwrap();
    let begun = Instant::now();
    let version = format!("protocol version {}; this node speaks {VERSION}", VERSION + 1);
    while scene.two.refusals().last.is_none_or(|(_, why)| why != version) {
        assert!(begun.elapsed() < WAIT, "{:?}", scene.two.refusals());
        std::thread::yield_now();
    }
    scene.is_unharmed();
}

#[test]
fn indexes_that_go_back_or_reach_too_far_end_the_connection() {
    let scene = scene();
    let said = |term, body| framed(&Message { from: 3, to: 2, term, body });
    let commits = [said(5, after((9, 5), &[], 8)), said(5, after((9, 5), &[], 7))].concat();
    let why = scene.refused(Lane::Log, &commits);
    assert!(why.contains("commit 7 after commit 8"), "{why}");
    let why = scene.refused(Lane::Log, &said(5, after((u64::MAX, 5), &[], 0)));
    assert!(why.contains("beyond anything"), "{why}");
    let why = scene.refused(Lane::Log, &said(5, after((8, 5), &[(10, 5)], 0)));
    assert!(why.contains("entry 10 where 9"), "{why}");
    scene.is_unharmed();
}

fn look(bodies: impl IntoIterator<Item = (u64, Body)>) -> Result<(), Implausible> {
    let mut guard = Guard::default();
    bodies
        .into_iter()
        .try_for_each(|(term, body)| guard.look(&Message { from: 1, to: 2, term, body }))
}

fn entries(ids: &[(u64, u64)]) -> Vec<Entry> {
    ids.iter().map(|(index, term)| Entry::new(*index, *term, "x")).collect()
}

fn after(prev: (u64, u64), ids: &[(u64, u64)], commit: u64) -> Body {
    Body::Append { prev: EntryId::new(prev.0, prev.1), entries: entries(ids), commit }
}

#[test]
fn what_correct_nodes_say_is_plausible() {
    let back = after((2, 1), &[(3, 1), (4, 6)], 9);
    let rejected = AppendReply::Rejected { prev: 7, conflict_term: None, conflict_index: 40 };
    let says = [
        (6, after((8, 5), &[(9, 5), (10, 6)], 7)),
        (6, back),
        (6, Body::AppendReply(AppendReply::Accepted { matched: 10 })),
        (5, Body::AppendReply(rejected)),
        (9, Body::PreVote { last: EntryId::new(10, 6) }),
        (6, Body::Heartbeat { commit: 2, round: 1 }),
        (7, after((10, 6), &[], 1)),
    ];
    assert_eq!(look(says), Ok(()));
}

#[test]
fn what_no_correct_node_says_is_told_apart() {
    let (term, index) = (1, 9);
    assert!(matches!(look([(6, after((8, 5), &[(10, 5)], 0))]), Err(Implausible::Gap { .. })));
    let sinks = after((8, 5), &[(9, 6), (10, 5)], 0);
    assert!(matches!(look([(6, sinks)]), Err(Implausible::TermOfEntry { .. })));
    assert_eq!(
        look([(6, after((8, 5), &[(9, term)], 0))]),
        Err(Implausible::TermOfEntry { index, term, before: 5 })
    );
    let later = after((8, 5), &[(9, 7)], 0);
    assert!(matches!(look([(6, later)]), Err(Implausible::LaterThanLeader { .. })));
    let went_back = [(6, after((8, 5), &[], 4)), (6, after((8, 5), &[], 3))];
    assert_eq!(look(went_back), Err(Implausible::CommitWentBack { before: 4, now: 3 }));
    for number in [NUMBER_MAX, u64::MAX] {
        let last = EntryId::new(number, 1);
        let round = 0;
        let bodies = [
            Body::Vote { last, transfer: false },
            Body::PreVote { last: EntryId::new(1, number) },
            Body::Heartbeat { commit: number, round },
            Body::SnapshotReply { id: last, offset: 0 },
            Body::AppendReply(AppendReply::Accepted { matched: number }),
            after((number, 1), &[], 0),
            after((1, 1), &[], number),
        ];
        for body in bodies {
            let said = format!("{body:?}");
            assert!(matches!(look([(3, body)]), Err(Implausible::Number { .. })), "{said}");
        }
        assert!(look([(number, Body::VoteReply { granted: true })]).is_err());
    }
    assert!(look([(6, after((u64::MAX, 1), &[(0, 1)], 0))]).is_err());
}

#[test]
fn a_chunk_lies_within_its_snapshot() {
    let chunk = |offset, len| {
        let id = EntryId::new(8, 3);
        let offer = hardlog::SnapshotOffer { id, meta: vec![].into(), len: 9, crc: None };
        let data = vec![0; len].into();
        look([(3, Body::Snapshot(SnapshotChunk { offer, offset, data }))])
    };
    assert_eq!(chunk(4, 5), Ok(()));
    assert!(chunk(4, 6).is_err());
    assert!(chunk(10, 0).is_err());
    assert!(chunk(u64::MAX, 1).is_err());
}
