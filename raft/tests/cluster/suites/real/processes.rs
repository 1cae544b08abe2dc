//! [`Servers`] in real time: each server is a process with a directory, killed by SIGKILL; links
//! are cut by [`Net`]. All durations are divided by a scale, so that a suite takes a fraction of
//! the time that the original takes; 1 is the original.
//!
//! Above: the test bodies. Below: `server`, `net`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hardlog::fs::sim::Rng;
use hardlog_raft::{
    Config, NodeId,
    sim::lab::Compaction,
    trace::{Header, Tracer, What},
};
use tempfile::TempDir;

use super::{
    keep::{OWN_TRACE, keep},
    net::Net,
    server::{BIRTH, Birth, DIR, TEST, hex, unhex},
};
use crate::suites::harness::{Index, Servers, Term};

/// A process that does not say hello within this time did not start.
const START: Duration = Duration::from_secs(30);
/// An answer takes no longer, unless the process is gone.
const ANSWER: Duration = Duration::from_secs(30);

type Applied = BTreeMap<Index, Bytes>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all servers of a cluster are compared by.
#[derive(Clone, Default)]
struct Book {
    everywhere: Arc<Mutex<Applied>>,
    /// The membership was changed, so some entries are no commands.
    gaps: Arc<AtomicBool>,
    /// A server applied something that it must not.
    breach: Arc<Mutex<Option<String>>>,
}

impl Book {
    /// Takes what a server says, until it ends.
    fn read(&self, from: TcpStream, shelf: &Mutex<Applied>) {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if let Err(what) = self.line(&line, &mut lock(shelf)) {
                lock(&self.breach).get_or_insert(what);
            }
        }
    }

    fn line(&self, line: &str, applied: &mut Applied) -> Result<(), String> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        if kind == "c" {
            applied.clear();
            return Ok(());
        }
        let entry = rest.split_once(' ').and_then(|(index, data)| {
            Some((index.parse::<Index>().ok()?, unhex(data)?)) //
        });
        let (index, data) = entry.ok_or_else(|| format!("what is {line:?}?"))?;
        let last = applied.last_key_value().map_or(0, |(index, _)| *index);
        let gaps = self.gaps.load(Ordering::Relaxed);
        if index != last + 1 && (!gaps || index <= last) {
            return Err(format!("{index} is applied after {last}"));
        }
        let mut everywhere = lock(&self.everywhere);
        let known = everywhere.entry(index).or_insert_with(|| data.clone());
        if *known != data {
            return Err(format!("{data:?} is applied at {index}, elsewhere {known:?}"));
        }
        applied.insert(index, data);
        Ok(())
    }
}

/// A process.
struct Process {
    child: Child,
    orders: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Process {
    /// The answer to an order; none if the process is gone.
    fn ask(&mut self, order: &str) -> Option<String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok().filter(|len| *len > 0)?;
        Some(answer.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: no chance to write or sync anything.
        self.child.kill().expect("a process of this test can be killed");
        self.child.wait().expect("a process of this test ends");
    }
}

/// A server's place, whether a process runs there or not.
struct Seat {
    process: Mutex<Option<Process>>,
    shelf: Arc<Mutex<Applied>>,
    joins: bool,
}

/// A cluster of processes.
pub(crate) struct Processes {
    dir: TempDir,
    net: Net,
    seats: Vec<Seat>,
    /// Where each node is known to be: its place in the network.
    places: BTreeMap<NodeId, SocketAddr>,
    listener: TcpListener,
    config: Config,
    compaction: Compaction,
    scale: u32,
    began: Instant,
    rng: Rng,
    book: Book,
    /// What is done to the servers, for the timeline of a test that fails.
    tracer: Tracer,
}

fn id(server: usize) -> NodeId {
    server as u64 + 1
}

fn server_of(id: &str) -> Option<usize> {
    usize::try_from(id.parse::<NodeId>().ok()?.checked_sub(1)?).ok()
}

impl Processes {
    /// Starts `size` servers, `scale` times as fast as the configuration says.
    pub(super) fn start(
        size: usize,
        (config, compaction): (Config, Compaction),
        scale: u32,
        seed: u64,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let dir = tempfile::tempdir()?;
        let header = Header::of_process("suite", (0..size).map(id).collect());
        let tracer = Tracer::to_file(dir.path().join(OWN_TRACE), &header)?;
        let mut cluster = Self {
            dir,
            net: Net::new(scale, seed),
            seats: Vec::new(),
            places: BTreeMap::new(),
            listener,
            config,
            compaction,
            scale,
            began: Instant::now(),
            rng: Rng::new(seed),
            book: Book::default(),
            tracer,
        };
        for server in 0..size {
            cluster.places.insert(id(server), cluster.net.place()?);
        }
        for _ in 0..size {
            cluster.sit(false)?;
        }
        cluster.began = Instant::now();
        Ok(cluster)
    }

    /// The directory of the whole cluster.
    pub(super) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The test failed: the servers are killed, and what is left of them is kept in a directory.
    /// Returns what was written, in words.
    pub(super) fn fail(self, test: &str, to: &std::path::Path) -> io::Result<String> {
        self.tracer.note(0, || What::mark("fail", test.to_owned()));
        for server in 0..self.seats.len() {
            self.net.set_target(id(server), None);
            drop(lock(&self.seats[server].process).take());
        }
        keep(self.dir.path(), to)
    }

    fn tell(&self, what: &'static str, server: usize) {
        self.tracer.note(0, || What::fault(what, [id(server)]));
    }

    fn sit(&mut self, joins: bool) -> io::Result<usize> {
        let server = self.seats.len();
        let shelf = Arc::default();
        self.seats.push(Seat { process: Mutex::new(None), shelf, joins });
        self.launch(server)?;
        Ok(server)
    }

    /// Starts the process of a server.
    fn launch(&mut self, server: usize) -> io::Result<()> {
        let birth = Birth {
            control: self.listener.local_addr()?,
            id: id(server),
            tick: self.config.tick / self.scale,
            heartbeat_ticks: self.config.heartbeat_ticks,
            election_ticks: (self.config.election_ticks_min, self.config.election_ticks_max),
            snapshot_every_bytes: self.compaction.every_bytes,
            keep_behind: self.compaction.keep_behind,
            joining: self.seats[server].joins,
            peers: self.places.clone(),
        };
        let dir = self.dir.path().join(id(server).to_string());
        let errors = fs::File::create(self.dir.path().join(format!("{}.err", id(server))))?;
        let mut child = Command::new(env::current_exe()?)
            .args(["--exact", TEST, "--ignored", "--nocapture"])
            .env(BIRTH, birth.encode())
            .env(DIR, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()?;
        let control = self.accept(&mut child, "control")?;
        let told = self.accept(&mut child, "applied")?;
        let shelf = Arc::<Mutex<Applied>>::default();
        let (book, of_thread) = (self.book.clone(), Arc::clone(&shelf));
        thread::spawn(move || book.read(told, &of_thread));
        control.set_read_timeout(Some(START.max(ANSWER)))?;
        let mut process =
            Process { child, orders: control.try_clone()?, answers: BufReader::new(control) };
        let mut target = String::new();
        process.answers.read_line(&mut target)?;
        let target = target.trim_end().parse().map_err(|_| self.why_not(server))?;
        self.net.set_target(id(server), Some(target));
        let seat = &mut self.seats[server];
        seat.shelf = shelf;
        *lock(&seat.process) = Some(process);
        Ok(())
    }

    /// What a process said before it ended.
    fn why_not(&self, server: usize) -> io::Error {
        let said = fs::read_to_string(self.dir.path().join(format!("{}.err", id(server))));
        io::Error::other(format!("server {server} did not start: {said:?}"))
    }

    /// The next connection of a process, which names itself.
    fn accept(&self, child: &mut Child, expected: &str) -> io::Result<TcpStream> {
        let began = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    let mut name = vec![0; expected.len() + 1];
                    io::Read::read_exact(&mut &stream, &mut name)?;
                    assert_eq!(name.strip_suffix(b"\n"), Some(expected.as_bytes()));
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if began.elapsed() > START || child.try_wait()?.is_some() {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("a server did not start"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What a server answers; none if it does not run.
    fn ask(&self, server: usize, order: &str) -> Option<String> {
        let mut process = lock(&self.seats[server].process);
        let answer = process.as_mut()?.ask(order);
        assert!(answer.is_some(), "server {server} ended by itself: {}", self.why_not(server));
        answer
    }

    /// Term, whether it leads, index of the snapshot, bytes of the log.
    fn look(&self, server: usize) -> Option<[u64; 4]> {
        let answer = self.ask(server, "state")?;
        let mut words = answer.splitn(5, ' ');
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = words.next()?.parse().ok()?;
        }
        let error = words.next().unwrap_or_default();
        assert!(error.is_empty(), "server {server} has stopped: {error}");
        Some(numbers)
    }
}

impl Servers for Processes {
    fn size(&self) -> usize {
        self.seats.len()
    }

    fn now(&self) -> u64 {
        let elapsed = self.began.elapsed() * self.scale;
        u64::try_from(elapsed.as_millis()).expect("no test takes that long")
    }

    fn sleep(&mut self, millis: u64) {
        thread::sleep(Duration::from_millis(millis) / self.scale);
        if let Some(breach) = &*lock(&self.book.breach) {
            panic!("{breach}");
        }
    }

    fn random(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn connect(&mut self, server: usize) {
        if !self.is_connected(server) {
            self.tell("connect", server);
        }
        self.net.connect(id(server));
    }

    fn disconnect(&mut self, server: usize) {
        if self.is_connected(server) {
            self.tell("disconnect", server);
        }
        self.net.disconnect(id(server));
    }

    fn is_connected(&self, server: usize) -> bool {
        self.net.is_connected(id(server))
    }

    fn set_unreliable(&mut self, unreliable: bool) {
        self.net.set_unreliable(unreliable);
    }

    fn set_reordering(&mut self, reordering: bool) {
        self.net.set_reordering(reordering);
    }

    fn mute(&mut self, server: usize) {
        self.net.mute(id(server));
    }

    fn unmute(&mut self) {
        self.net.unmute();
    }

    fn traffic(&self) -> (u64, u64) {
        let traffic = self.net.traffic();
        (traffic.requests, traffic.bytes)
    }

    fn snapshots_sent(&self) -> u64 {
        self.net.traffic().snapshots
    }

    fn crash(&mut self, server: usize) {
        if self.is_up(server) {
            self.tell("crash", server);
        }
        self.net.set_target(id(server), None);
        drop(lock(&self.seats[server].process).take());
    }

    fn restart(&mut self, server: usize) {
        if !self.is_up(server) {
            self.tell("restart", server);
            let started = self.launch(server);
            started.unwrap_or_else(|error| panic!("server {server} does not start: {error}"));
        }
    }

    fn is_up(&self, server: usize) -> bool {
        lock(&self.seats[server].process).is_some()
    }

    fn state(&self, server: usize) -> Option<(Term, bool)> {
        self.look(server).map(|[term, leads, ..]| (term, leads == 1))
    }

    fn submit(&mut self, server: usize, command: &[u8]) -> Option<(Index, Term)> {
        let answer = self.ask(server, &format!("submit {}", hex(command)))?;
        let (index, term) = answer.split_once(' ')?;
        Some((index.parse().ok()?, term.parse().ok()?))
    }

    fn applied(&self, server: usize, index: Index) -> Option<Bytes> {
        lock(&self.seats[server].shelf).get(&index).cloned()
    }

    fn last_applied(&self, server: usize) -> Index {
        lock(&self.seats[server].shelf).keys().next_back().copied().unwrap_or(0)
    }

    fn state_size(&self, server: usize) -> u64 {
        self.look(server).map_or(0, |[.., bytes]| bytes + 24)
    }

    fn snapshot(&self, server: usize) -> Index {
        self.look(server).map_or(0, |[_, _, snapshot, _]| snapshot)
    }

    fn join(&mut self) -> usize {
        self.book.gaps.store(true, Ordering::Relaxed);
        let place = self.net.place().expect("a port is free");
        self.places.insert(id(self.seats.len()), place);
        self.sit(true).expect("a new server starts")
    }

    fn add(&mut self, leader: usize, server: usize) {
        self.book.gaps.store(true, Ordering::Relaxed);
        let place = self.places[&id(server)];
        self.ask(leader, &format!("add {} {place}", id(server)));
    }

    fn remove(&mut self, leader: usize, server: usize) {
        self.book.gaps.store(true, Ordering::Relaxed);
        self.ask(leader, &format!("remove {}", id(server)));
    }

    fn voters(&self, server: usize) -> Vec<usize> {
        let answer = self.ask(server, "voters").unwrap_or_default();
        answer.split_whitespace().filter_map(server_of).collect()
    }
}
