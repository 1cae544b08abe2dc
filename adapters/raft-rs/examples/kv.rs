//! A replicated key-value store on raft-rs and hardlog, to copy from.
//!
//! `kv DIR N` starts N nodes, each a process with its log under DIR, and reads commands:
//! `set KEY VALUE`, `get KEY`, `restart N` (kills it with SIGKILL first). A node listens on a port
//! of the system's choice and writes it to `DIR/N.addr`; peers send it frames, clients lines.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread,
    time::{Duration, Instant},
};

use hardlog::{Log, Options};
use hardlog_raft_rs::LogStorage;
use hardlog_raft_rs::raft::eraftpb::{Entry, Message, MessageType};
use hardlog_raft_rs::raft::{Config, RawNode, SnapshotStatus, StateRole};
use protobuf::Message as _;
use slog::Logger;

type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

const TICK: Duration = Duration::from_millis(20);
const FRAME_MAX: u32 = 128 << 20;
const ENTRIES_KEPT: u64 = 100;
enum Event {
    Raft(Message),
    Client(String, Sender<String>),
    SnapshotSent(u64, SnapshotStatus),
}

struct Node {
    raft: RawNode<LogStorage>,
    /// The state machine: in memory, rebuilt from the snapshot and the entries behind it.
    map: BTreeMap<String, String>,
    applied: u64,
    waiting: HashMap<Vec<u8>, Sender<String>>,
    count: u64,
}

/// Runs a node until its process ends.
pub(crate) fn node(dir: &Path, id: u64, nodes: u64) -> Result {
    let mut node = Node::open(&dir.join(id.to_string()), id, nodes)?;
    let (inbox, events) = mpsc::channel();
    listen(&dir.join(format!("{id}.addr")), inbox.clone())?;
    let mut peers = HashMap::new();
    for peer in (1..=nodes).filter(|peer| *peer != id) {
        let (sender, messages) = mpsc::sync_channel(4096);
        let (addr_file, inbox) = (dir.join(format!("{peer}.addr")), inbox.clone());
        thread::spawn(move || send_all(&addr_file, &messages, &inbox));
        peers.insert(peer, sender);
    }
    let mut next_tick = Instant::now() + TICK;
    loop {
        let wait = next_tick.saturating_duration_since(Instant::now());
        if let Ok(event) = events.recv_timeout(wait) {
            node.handle(event);
            // All that came meanwhile shares one sync.
            events.try_iter().take(1000).for_each(|event| node.handle(event));
        } else {
            node.raft.tick();
            next_tick += TICK;
        }
        node.ready(&peers)?;
    }
}

impl Node {
    fn open(dir: &Path, id: u64, nodes: u64) -> Result<Self> {
        let (log, _) = Log::open(dir, Options::new().create_if_missing(true))?;
        let mut storage = LogStorage::new(log)?;
        if !storage.is_initialized() {
            storage.bootstrap(((1..=nodes).collect::<Vec<_>>(), vec![]))?;
        }
        let (map, applied) = restore(&storage)?;
        let config = Config { applied, pre_vote: true, ..Config::new(id) };
        let config = Config { check_quorum: true, max_size_per_msg: 1 << 20, ..config };
        let raft = RawNode::new(&config, storage, &Logger::root(slog::Discard, slog::o!()))?;
        Ok(Self { raft, map, applied, waiting: HashMap::new(), count: 0 })
    }

    fn handle(&mut self, event: Event) {
        match event {
            // An error is a message of somebody unknown: raft-rs ignores it.
            Event::Raft(message) => drop(self.raft.step(message)),
            Event::SnapshotSent(to, status) => self.raft.report_snapshot(to, status),
            Event::Client(line, reply) if self.raft.raft.state == StateRole::Leader => {
                self.count += 1;
                // Names the request for ever: a log's incarnation grows with each start.
                let incarnation = self.raft.store().log().incarnation();
                let context = format!("{} {incarnation} {}", self.raft.raft.id, self.count);
                match self.raft.propose(context.clone().into(), line.into()) {
                    Ok(()) => drop(self.waiting.insert(context.into(), reply)),
                    Err(e) => drop(reply.send(format!("refused: {e}"))),
                }
            }
            Event::Client(_, reply) => drop(reply.send("not the leader".to_owned())),
        }
    }

    fn ready(&mut self, peers: &HashMap<u64, SyncSender<Message>>) -> Result {
        let send = |messages: Vec<Message>| {
            for message in messages {
                // What a slow peer cannot take is lost; raft-rs sends it again.
                let _ = peers.get(&message.to).is_some_and(|to| to.try_send(message).is_ok());
            }
        };
        while self.raft.has_ready() {
            let mut ready = self.raft.ready();
            send(ready.take_messages());
            self.raft.mut_store().save(&ready)?;
            send(ready.take_persisted_messages());
            if !ready.snapshot().is_empty() {
                (self.map, self.applied) = restore(self.raft.store())?;
            }
            self.apply(ready.take_committed_entries());
            let mut light = self.raft.advance(ready);
            self.raft.mut_store().save_light(&light)?;
            send(light.take_messages());
            self.apply(light.take_committed_entries());
            self.raft.advance_apply();
        }
        if self.raft.raft.state != StateRole::Leader {
            self.waiting.clear(); // who waits hears "unknown"
        }
        self.snapshot()
    }

    /// Who changes the membership of a group also calls `apply_conf_change` and `save_conf_state`.
    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.applied = entry.index;
            let line = String::from_utf8_lossy(&entry.data);
            let answer = match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
                ["set", key, value] => {
                    self.map.insert(key.to_owned(), value.to_owned());
                    "ok".to_owned()
                }
                // Reads go through the log too: the simplest way to never read what is old.
                ["get", key] => format!("value {}", self.map.get(key).map_or("", String::as_str)),
                _ => "refused: set KEY VALUE, or get KEY".to_owned(),
            };
            let _ = self.waiting.remove(&entry.context[..]).map(|reply| reply.send(answer));
        }
    }

    /// Makes a snapshot when one is due or a follower needs one, and drops entries that it covers.
    fn snapshot(&mut self) -> Result {
        let storage = self.raft.mut_store();
        let first = storage.log().first_log_index();
        let wanted = storage.snapshot_wanted().is_some_and(|index| self.applied >= index);
        if !wanted && self.applied < first + 11 * ENTRIES_KEPT {
            return Ok(());
        }
        let mut file = storage.begin_snapshot(self.applied, &storage.conf_state()?.1)?;
        for (key, value) in &self.map {
            writeln!(file, "{key} {value}")?;
        }
        storage.mark_snapshot(file.commit()?)?;
        storage.compact(self.applied.saturating_sub(ENTRIES_KEPT))?;
        Ok(())
    }
}

/// The state machine as of the snapshot that counts, and its index.
fn restore(storage: &LogStorage) -> Result<(BTreeMap<String, String>, u64)> {
    let Some((meta, file)) = storage.restore()? else { return Ok((BTreeMap::new(), 0)) };
    let pair = |line: String| line.split_once(' ').map(|(k, v)| (k.to_owned(), v.to_owned()));
    let pairs = BufReader::new(file).lines().filter_map(|line| line.map(pair).transpose());
    Ok((pairs.collect::<Result<_, _>>()?, meta.index))
}

fn listen(addr_file: &Path, inbox: Sender<Event>) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    fs::write(addr_file.with_extension("tmp"), listener.local_addr()?.to_string())?;
    fs::rename(addr_file.with_extension("tmp"), addr_file)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let inbox = inbox.clone();
            thread::spawn(move || serve(stream, &inbox));
        }
    });
    Ok(())
}

/// Serves a peer (first byte `r`) or a client (`c`) until it or the node is gone.
fn serve(mut stream: TcpStream, inbox: &Sender<Event>) -> Result {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut kind = [0];
    reader.read_exact(&mut kind)?;
    while let b"r" = &kind {
        let mut len = [0; 4];
        reader.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len).min(FRAME_MAX);
        let mut frame = Vec::new(); // grows with what comes, not with what a length claims
        reader.by_ref().take(len.into()).read_to_end(&mut frame)?;
        let mut message = Message::default();
        message.merge_from_bytes(&frame)?;
        inbox.send(Event::Raft(message))?;
    }
    for line in reader.lines() {
        let (reply, answer) = mpsc::channel();
        inbox.send(Event::Client(line?, reply))?;
        let answer = answer.recv_timeout(Duration::from_secs(5)).unwrap_or("unknown".into());
        writeln!(stream, "{answer}")?;
    }
    Ok(())
}

fn send_all(addr_file: &Path, messages: &Receiver<Message>, inbox: &Sender<Event>) {
    let mut stream = None;
    for message in messages {
        let sent = send_one(&mut stream, addr_file, &message);
        let status = if sent.is_ok() { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        stream = stream.filter(|_| sent.is_ok());
        // Until this is reported, raft-rs sends that peer nothing more.
        if message.get_msg_type() == MessageType::MsgSnapshot {
            let _ = inbox.send(Event::SnapshotSent(message.to, status));
        }
    }
}

fn send_one(stream: &mut Option<TcpStream>, addr_file: &Path, message: &Message) -> Result {
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(connect(addr_file, b"r")?),
    };
    let frame = message.write_to_bytes()?;
    stream.write_all(&u32::try_from(frame.len())?.to_le_bytes())?;
    Ok(stream.write_all(&frame)?)
}

fn connect(addr_file: &Path, kind: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(fs::read_to_string(addr_file)?)?;
    stream.set_nodelay(true)?;
    stream.write_all(kind)?;
    Ok(stream)
}

/// Sends a client's line to one node after the other until a leader answers it.
pub(crate) fn request(dir: &Path, nodes: u64, line: &str) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    for id in (1..=nodes).cycle().take_while(|_| Instant::now() < deadline) {
        let mut answer = String::new();
        if let Ok(mut stream) = connect(&dir.join(format!("{id}.addr")), b"c") {
            let sent = writeln!(stream, "{line}");
            // No answer: it may have been done before the node died.
            let read = sent.and_then(|()| BufReader::new(stream).read_line(&mut answer));
            let answer = if read.is_ok_and(|len| len > 0) { answer.trim_end() } else { "unknown" };
            if answer != "not the leader" {
                return Ok(answer.to_owned());
            }
        }
        thread::sleep(if id == nodes { TICK } else { Duration::ZERO });
    }
    Err("nobody leads".into())
}

/// The other end of a child's standard input ends with its parent, however that ends.
pub(crate) fn end_with_parent() {
    thread::spawn(|| process::exit(io::copy(&mut io::stdin(), &mut io::sink()).map_or(1, |_| 0)));
}

fn main() -> Result {
    let args: Vec<String> = env::args().skip(1).collect();
    let [dir, nodes, id @ ..] = &args[..] else { return Err("usage: kv DIR NODES".into()) };
    let (dir, nodes) = (PathBuf::from(dir), nodes.parse()?);
    if let [id] = id {
        end_with_parent();
        return node(&dir, id.parse()?, nodes);
    }
    fs::create_dir_all(&dir)?;
    let start = |id: u64| {
        let mut command = Command::new(env::current_exe()?);
        command.args(&args).arg(id.to_string()).stdin(Stdio::piped()).spawn()
    };
    let mut children =
        (1..=nodes).map(|id| Ok((id, start(id)?))).collect::<Result<HashMap<_, _>>>()?;
    for line in io::stdin().lines() {
        let line = line?;
        let restart = line.strip_prefix("restart ").and_then(|id| id.parse().ok());
        let answer = match restart.and_then(|id| Some((id, children.get_mut(&id)?))) {
            Some((id, child)) => {
                child.kill().and_then(|()| child.wait())?;
                *child = start(id)?;
                format!("process {}", child.id())
            }
            None => request(&dir, nodes, &line)?,
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}
