//! Clients that mean no good: what they send is refused, what they hold is bounded, and a client
//! beside them is served as ever.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hardlog_kv::{client::Connection, resp::Reply};

use crate::{
    harness::{PATIENCE, TestCluster, info, until, write_surely},
    monitor::{get, http_address, metric},
    rng::Rng,
};

/// How long an honest write may take beside an attack: it takes a few milliseconds, and an election
/// would take longer than this.
const SERVED: Duration = Duration::from_secs(2);

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends all of it, as far as it is taken, and returns what is said until the server ends it.
fn last_words(address: SocketAddr, attack: &[u8]) -> String {
    let mut socket = connect(address);
    // It may be closed before everything is sent.
    let _ = socket.write_all(attack);
    let mut said = Vec::new();
    match socket.read_to_end(&mut said) {
        Ok(_) => {}
        // What was sent and never read makes the system end with a reset.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}: the server neither answers nor ends it"),
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A client that was there before, and what it and the node are after an attack.
struct Honest {
    connection: Connection,
    http: SocketAddr,
    memory: f64,
    term: String,
    address: SocketAddr,
}

impl Honest {
    fn new(cluster: &TestCluster) -> Self {
        let leader = cluster.leader();
        let (address, http) = (cluster.address(leader), http_address(cluster, leader));
        let mut connection = Connection::open(address).unwrap();
        assert_eq!(connection.call(&["SET", "honest", "1"]).unwrap(), Reply::OK);
        let memory = metric(http, "process_resident_memory_bytes").unwrap();
        let term = info(address, "term").unwrap();
        Self { connection, http, memory, term, address }
    }

    /// It is served, quickly.
    fn is_served(&mut self) {
        let begun = Instant::now();
        assert_eq!(self.connection.call(&["SET", "honest", "2"]).unwrap(), Reply::OK);
        assert_eq!(self.connection.call(&["GET", "honest"]).unwrap(), Reply::text("2"));
        assert!(begun.elapsed() < SERVED, "{:?}", begun.elapsed());
    }

    /// Waits until nobody else is counted: who has gone is, until the node has seen it, and its
    /// place is given again only then.
    fn is_alone(&self) {
        until("nobody but the honest one", || {
            (metric(self.http, "kv_clients").unwrap() == 1.0).then_some(())
        });
    }

    /// The node holds no more than so much beyond what it held before.
    fn memory_within(&self, mib: f64) {
        let grown = metric(self.http, "process_resident_memory_bytes").unwrap() - self.memory;
        assert!(grown < mib * 1_048_576.0, "{:.1} MiB more", grown / 1_048_576.0);
    }

    /// Nothing happened to the cluster either.
    fn undisturbed(&mut self) {
        self.is_served();
        assert_eq!(info(self.address, "term").unwrap(), self.term, "there was an election");
    }
}

#[test]
fn what_is_no_request_is_refused_and_ends_its_connection_alone() {
    let cluster = TestCluster::start();
    let mut honest = Honest::new(&cluster);
    let set = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n";
    for (attack, refusal) in [
        ("*99999999999999999999\r\n".to_owned(), "invalid multibulk length"),
        ("*2147483647\r\n".to_owned(), "invalid multibulk length"),
        (format!("{set}$99999999999999999999\r\n"), "invalid bulk length"),
        (format!("{set}$536870912\r\n"), "invalid bulk length"),
        (format!("{set}$-1\r\n"), "invalid bulk length"),
        ("*1\r\n".repeat(100_000), "expected '$'"),
        (format!("*{}", "1".repeat(100_000)), "too big mbulk count string"),
        ("x".repeat(1 << 20), "too big inline request"),
        ("*2\r\n$3\r\nGETxx".to_owned(), "bulk string does not end where it said"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "this is not an HTTP server"),
    ] {
        let said = last_words(honest.address, attack.as_bytes());
        let shown = &attack[..attack.len().min(40)];
        // The reply may be lost with the reset when more was sent than anybody read.
        let lost = attack.len() > 1000 && said.is_empty();
        let refused = said.starts_with("-ERR Protocol error: ") && said.contains(refusal);
        assert!(lost || refused, "{shown:?}: {said:?}");
        honest.is_served();
    }
    honest.memory_within(24.0);
    honest.undisturbed();
}

#[test]
fn garbage_from_many_connections_harms_nobody() {
    let cluster = TestCluster::start();
    let mut honest = Honest::new(&cluster);
    // Fragments of the protocol in random order get further than random bytes do.
    let parts: [&[u8]; 12] = [
        b"*3\r\n",
        b"*1\r\n",
        b"$3\r\n",
        b"SET",
        b"\r\n",
        b"$1\r\nk\r\n",
        b"*-1\r\n",
        b"$0\r\n",
        b"\0\xff",
        b"GET k\r\n",
        b"MULTI\r\n",
        b"EXEC\r\n",
    ];
    let mut rng = Rng::new(7);
    for round in 0..300 {
        let mut garbage = Vec::new();
        while garbage.len() < 2000 {
            if rng.below(4) == 0 && round % 2 == 0 {
                garbage.push(u8::try_from(rng.below(256)).unwrap());
            } else {
                garbage.extend(parts[usize::try_from(rng.below(12)).unwrap()]);
            }
        }
        let mut socket = connect(honest.address);
        let _ = socket.write_all(&garbage);
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
        if round % 50 == 0 {
            honest.is_served();
        }
    }
    honest.memory_within(16.0);
    honest.undisturbed();
}

#[test]
fn clients_that_do_not_read_or_do_not_finish_hold_little_and_are_let_go() {
    let bounds = ["--client-memory=16", "--client-timeout=2"];
    let cluster = TestCluster::start_with(&bounds);
    write_surely(&mut cluster.client(), &["SET", "large", &"v".repeat(1 << 20)]);
    let mut honest = Honest::new(&cluster);
    // Both ask for far more than the memory there is for clients: 40 GiB of replies, 320 MiB of
    // values that never end.
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", 8 << 20);
    let mut hogs = Vec::new();
    for _ in 0..40 {
        let mut deaf = connect(honest.address);
        deaf.write_all("GET large\r\n".repeat(1000).as_bytes()).unwrap();
        let mut slow = connect(honest.address);
        // It may be refused before all of it is sent.
        let _ = slow.write_all(header.as_bytes());
        let _ = slow.write_all(&[b'x'; 2 << 20]);
        hogs.extend([deaf, slow]);
        honest.is_served();
    }
    let held = metric(honest.http, "kv_client_memory_bytes").unwrap();
    assert!(held <= 16.0 * 1_048_576.0, "{held}");
    // Beside the 16 MiB: what each may have without asking, and what the allocator keeps.
    honest.memory_within(64.0);
    until("the end of those that do not move", || {
        honest.is_served();
        let clients = metric(honest.http, "kv_clients").unwrap();
        let held = metric(honest.http, "kv_client_memory_bytes").unwrap();
        // Those who were refused at once have all their replies, and may stay.
        (clients <= 41.0 && held == 0.0).then_some(())
    });
    honest.undisturbed();
    drop(hogs);
}

#[test]
fn more_connections_than_are_allowed_are_told_so_and_the_others_go_on() {
    let cluster = TestCluster::start_with(&["--max-clients=50"]);
    let mut honest = Honest::new(&cluster);
    honest.is_alone();
    let crowd: Vec<_> = (0..100).map(|_| connect(honest.address)).collect();
    honest.is_served();
    for _ in 0..100 {
        let mut said = String::new();
        connect(honest.address).read_to_string(&mut said).unwrap();
        assert!(said.contains("max number of clients reached"), "{said}");
    }
    drop(crowd);
    until("room for another", || Connection::open(honest.address).ok()?.call(&["PING"]).ok());
    honest.is_alone();
    honest.memory_within(16.0);
    honest.undisturbed();
}

#[test]
fn monitoring_answers_beside_those_that_never_end_their_request() {
    let cluster = TestCluster::start();
    let mut honest = Honest::new(&cluster);
    let mut slow: Vec<_> = (0..200).map(|_| connect(honest.http)).collect();
    for socket in &mut slow {
        // The oldest may have been ended already.
        let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    }
    let begun = Instant::now();
    assert_eq!(get(honest.http, "GET", "/healthz").0, 200);
    assert!(begun.elapsed() < SERVED, "{:?}", begun.elapsed());
    for (attack, least, most) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), 0, 0),
        ([&b"GET /"[..], &vec![b'x'; 1 << 20]].concat(), 400, 499),
        ([&b"GET /healthz HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(100_000)].concat(), 400, 499),
        (b"POST /status HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n".to_vec(), 405, 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400, 400),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), 400, 505),
    ] {
        let mut socket = connect(honest.http);
        let _ = socket.write_all(&attack);
        let _ = socket.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        let _ = socket.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let code = said.split(' ').nth(1).map_or(0, |code| code.parse::<u16>().unwrap());
        let shown = String::from_utf8_lossy(&attack[..attack.len().min(40)]).into_owned();
        assert!(code == 0 || (least..=most).contains(&code), "{shown:?}: {said}");
        assert_eq!(get(honest.http, "GET", "/healthz").0, 200);
    }
    // All of a request, with nothing wrong but its length.
    let head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: ";
    let mut long = connect(honest.http);
    let _ = long.write_all(&[&head[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat());
    let mut said = Vec::new();
    let _ = long.read_to_end(&mut said);
    // The reply may be lost with what nobody read.
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"), "{said:?}");
    honest.memory_within(16.0);
    honest.undisturbed();
    drop(slow);
}
