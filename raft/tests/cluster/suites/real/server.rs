//! A server as a process of its own, so that a crash is SIGKILL: a real node over a real directory,
//! told what to do over a socket.
//!
//! ```text
//!   processes ── orders ──▶ control ──▶ Handle            one line each, one line back
//!   processes ◀── applied commands ── Teller (the state machine)
//! ```
//! It is this test binary once more, with one test that does nothing unless it is told to.
//! The process ends when the socket does, so none is left behind.
//!
//! Above: `processes`, which starts it. Below: the package's public API.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::exit,
    str::FromStr,
    sync::mpsc::channel,
    time::Duration,
};

use bytes::Bytes;
use hardlog::Options;
use hardlog_raft::{
    Change, Command, Config, FrozenSnapshot, Handle, Member, Node, NodeConfig, NodeId, RoleName,
    StateMachine,
    trace::{Header, Tracer},
};

/// Bytes of a segment.
const SEGMENT: u64 = 1 << 20;
/// Tells a process that it is a server, and which.
pub(super) const BIRTH: &str = "HARDLOG_SUITE_SERVER";
/// Its directory.
pub(super) const DIR: &str = "HARDLOG_SUITE_DIR";
/// The test to run for that.
pub(super) const TEST: &str = "suites::real::server::a_server_runs_until_it_is_killed";

/// How a server is started, in one line of numbers and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) control: SocketAddr,
    pub(super) id: NodeId,
    pub(super) tick: Duration,
    pub(super) heartbeat_ticks: u32,
    pub(super) election_ticks: (u32, u32),
    pub(super) snapshot_every_bytes: u64,
    pub(super) keep_behind: u64,
    pub(super) joining: bool,
    pub(super) peers: BTreeMap<NodeId, SocketAddr>,
}

impl Birth {
    pub(super) fn encode(&self) -> String {
        let mut line = format!(
            "{} {} {} {} {} {} {} {} {}",
            self.control,
            self.id,
            self.tick.as_micros(),
            self.heartbeat_ticks,
            self.election_ticks.0,
            self.election_ticks.1,
            self.snapshot_every_bytes,
            self.keep_behind,
            u8::from(self.joining),
        );
        for (id, address) in &self.peers {
            write!(line, " {id} {address}").expect("a string takes all");
        }
        line
    }

    fn decode(line: &str) -> Option<Self> {
        fn next<T: FromStr>(words: &mut std::str::SplitWhitespace<'_>) -> Option<T> {
            words.next()?.parse().ok()
        }
        let words = &mut line.split_whitespace();
        let mut birth = Self {
            control: next(words)?,
            id: next(words)?,
            tick: Duration::from_micros(next(words)?),
            heartbeat_ticks: next(words)?,
            election_ticks: (next(words)?, next(words)?),
            snapshot_every_bytes: next(words)?,
            keep_behind: next(words)?,
            joining: next::<u8>(words)? == 1,
            peers: BTreeMap::new(),
        };
        while let Some(id) = next(words) {
            birth.peers.insert(id, next(words)?);
        }
        Some(birth)
    }

    fn config(&self, dir: PathBuf, listener: TcpListener) -> io::Result<NodeConfig> {
        let nodes = self.peers.keys().copied().collect();
        // Beside the directory; the next start of the server begins another.
        let trace = dir.with_extension("ndjson");
        let (tracer, _) = Tracer::to_new_file(trace, &Header::of_process("suite", nodes))?;
        let raft = Config {
            tick: self.tick,
            heartbeat_ticks: self.heartbeat_ticks,
            election_ticks_min: self.election_ticks.0,
            election_ticks_max: self.election_ticks.1,
            joining: self.joining,
            ..Config::classic()
        }
        .within_batch(SEGMENT / 2);
        Ok(NodeConfig {
            id: self.id,
            cluster: 7,
            peers: self.peers.clone(),
            dir,
            raft,
            log: Options::new().create_if_missing(true).segment_size(SEGMENT),
            snapshot_every_bytes: self.snapshot_every_bytes,
            keep_behind: self.keep_behind,
            listener: Some(listener),
            security: None,
            tracer,
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

pub(super) fn unhex(text: &str) -> Option<Bytes> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// A service that keeps its commands and tells the test of each.
struct Teller {
    applied: BTreeMap<u64, Bytes>,
    to: BufWriter<TcpStream>,
}

impl Teller {
    fn tell(&mut self, what: &str) {
        // A test that is over needs to hear nothing.
        let _over = self.to.write_all(what.as_bytes()).and_then(|()| self.to.flush());
    }
}

impl StateMachine for Teller {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let line = |command: &Command| format!("a {} {}\n", command.index, hex(&command.data));
        let text: String = commands.iter().map(line).collect();
        self.tell(&text);
        let own = |command: &Command| (command.index, Bytes::copy_from_slice(&command.data));
        self.applied.extend(commands.iter().map(own));
        commands.iter().map(|_| Bytes::new()).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(self.applied.clone()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        let entry = |line: &str| {
            let (index, data) = line.strip_prefix("r ")?.split_once(' ')?;
            Some((index.parse().ok()?, unhex(data)?))
        };
        let entries: Option<BTreeMap<_, _>> = text.lines().map(entry).collect();
        self.applied = entries.ok_or(io::ErrorKind::InvalidData)?;
        self.tell(&format!("c\n{text}"));
        Ok(())
    }
}

struct Frozen(BTreeMap<u64, Bytes>);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|(index, data)| writeln!(to, "r {index} {}", hex(data)))
    }
}

fn serve(birth: &Birth, dir: PathBuf) -> io::Result<()> {
    let mut control = TcpStream::connect(birth.control)?;
    control.set_nodelay(true)?;
    control.write_all(b"control\n")?;
    let mut told = TcpStream::connect(birth.control)?;
    told.set_nodelay(true)?;
    told.write_all(b"applied\n")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let machine = Teller { applied: BTreeMap::new(), to: BufWriter::new(told) };
    let node = Node::start(birth.config(dir, listener)?, machine).map_err(io::Error::other)?;
    let handle = node.handle();
    writeln!(control, "{address}")?;
    let mut orders = BufReader::new(control.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        if orders.read_line(&mut line)? == 0 {
            // The test is over. Not an orderly end: nobody needs the directory any more.
            exit(0);
        }
        let answer = obey(&handle, line.trim_end()).unwrap_or_else(|| "what?".to_owned());
        control.write_all(format!("{answer}\n").as_bytes())?;
    }
}

/// Carries out an order; its answer.
fn obey(handle: &Handle, order: &str) -> Option<String> {
    let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
    Some(match verb {
        "state" => {
            let status = handle.status();
            let leads = u8::from(status.role == RoleName::Leader);
            let error = status.error.unwrap_or_default().replace('\n', " ");
            let numbers = (status.snapshot, handle.log_bytes());
            format!("{} {leads} {} {} {error}", status.term, numbers.0, numbers.1)
        }
        "submit" => submit(handle, unhex(rest)?),
        "voters" => {
            let membership = handle.cluster().membership;
            membership.voters().iter().map(|id| format!("{id} ")).collect()
        }
        "add" => {
            let (id, address) = rest.split_once(' ')?;
            let (id, member) = (id.parse().ok()?, Member::at(address.parse().ok()?));
            handle.change_membership(Change::AddLearner { id, member, promote: true }, |_| {});
            "told".to_owned()
        }
        "remove" => {
            handle.change_membership(Change::Remove { id: rest.parse().ok()? }, |_| {});
            "told".to_owned()
        }
        _ => return None,
    })
}

/// Where the command will stand; nothing if this node does not lead.
fn submit(handle: &Handle, command: Bytes) -> String {
    let (placed, place) = channel();
    let refused = placed.clone();
    handle.submit(
        command,
        move |id| drop(placed.send(format!("{} {}", id.index, id.term))),
        move |_| drop(refused.send(String::new())),
    );
    place.recv().unwrap_or_default()
}

#[test]
#[ignore = "it is a server; the suites in real time start it as a process of its own"]
fn a_server_runs_until_it_is_killed() {
    let Ok(birth) = env::var(BIRTH) else { return };
    let birth = Birth::decode(&birth).expect("a line that another process of this test wrote");
    let dir = env::var_os(DIR).expect("a directory").into();
    // The test is gone, or the node could not start: the test that waits for it says so.
    if let Err(error) = serve(&birth, dir) {
        eprintln!("server {}: {error}", birth.id);
        exit(1);
    }
}

#[test]
fn what_a_server_is_told_comes_back() {
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let birth = Birth {
        control: address(1),
        id: 2,
        tick: Duration::from_micros(6666),
        heartbeat_ticks: 3,
        election_ticks: (15, 30),
        snapshot_every_bytes: 330,
        keep_behind: 5,
        joining: true,
        peers: [(1, address(7)), (2, address(8))].into(),
    };
    assert_eq!(Birth::decode(&birth.encode()), Some(birth));
    assert_eq!(Birth::decode("127.0.0.1:1 2 3"), None);
    assert_eq!(unhex(&hex(&[0, 255, 16])).as_deref(), Some(&[0, 255, 16][..]));
    assert_eq!(unhex("0g"), None);
}
