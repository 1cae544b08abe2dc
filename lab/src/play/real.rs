//! The world of processes: each node is a real server on this machine, over a directory of its own.
//!
//! ```text
//!   Real ─┬─▶ processes: start, SIGKILL, SIGSTOP
//!         ├─▶ proxy: what one node hears of another
//!         ├─▶ ask: what a node says of itself
//!         ├─▶ disk: its files, whole and damaged
//!         └─▶ traces: what all of them told, as one
//! ```
//! Above: `game`. Below: the server's own library for clusters on one machine.
//!
//! - Ports are chosen by the system, and everything is on loopback.
//! - No node outlives this program: see `guard`.
//! - A machine that loses power and a disk that is full cannot be had of processes: those are
//!   errors that name the simulator.

mod ask;
mod disk;
mod guard;
mod shape;
mod traces;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hardlog_kv::{
    client::{Client, Connection},
    local::{
        LocalCluster, NodeOptions,
        proxy::{Proxy, Rule},
    },
    resp::Reply,
};
use hardlog_raft::trace::{Header, Part, Recording, Tracer, What};
use rustix::process::{Signal, kill_process};

pub(super) use self::guard::Guard;
use self::traces::News;
use super::world::{Birth, View};

/// Name of the server's program.
const PROGRAM: &str = "hardlog-kv";
/// How long an answer is waited for at first.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How long a cluster gets to find a leader.
const ELECTION: Duration = Duration::from_secs(10);
/// Milliseconds of a tick: a leader that is silent for 15 to 30 of them is replaced.
const TICK: u64 = 20;
/// MiB of a file of a log: small, so that there are several.
const SEGMENT: u64 = 4;

/// Where processes live.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory of a cluster that stays; a temporary one otherwise.
    pub(super) dir: Option<PathBuf>,
    /// The server; beside this program or on the path otherwise.
    pub(super) binary: Option<PathBuf>,
    pub(super) guard: Guard,
}

/// A running cluster.
pub(super) struct Real {
    /// Dropped first, and with it every process.
    cluster: LocalCluster,
    proxy: Proxy,
    home: Home,
    /// Where the nodes of this cluster write their traces.
    traces: PathBuf,
    tracer: Tracer,
    recording: Recording,
    news: News,
    /// Bytes of the recording that were handed out as news.
    told: usize,
    begun: Instant,
    /// The same in microseconds since 1970.
    origin: u64,
    patience: Duration,
    /// Processes that stand still.
    still: BTreeSet<u64>,
    unplugged: BTreeSet<u64>,
    /// Who hears nothing of whom.
    cuts: BTreeSet<(u64, u64)>,
    /// What nodes said that would not start.
    refused: BTreeMap<u64, String>,
    /// What nodes said that ended by themselves.
    ended: BTreeMap<u64, String>,
    /// What nodes that stand still said last.
    last_views: BTreeMap<u64, View>,
    guard: Guard,
}

/// The directory of a cluster.
struct Home {
    path: PathBuf,
    temporary: bool,
    guard: Guard,
}

impl Drop for Home {
    /// No process runs any more, since they are dropped before.
    fn drop(&mut self) {
        self.guard.processes(Vec::new());
        if self.temporary {
            guard::remove(&self.path);
            self.guard.directory(None);
        }
    }
}

impl Home {
    fn new(place: &Place) -> io::Result<Self> {
        let guard = place.guard.clone();
        if let Some(path) = &place.dir {
            fs::create_dir_all(path)?;
            return Ok(Self { path: path.clone(), temporary: false, guard });
        }
        let name = format!("raft-lab-{}", std::process::id());
        for number in 0.. {
            let path = env::temp_dir().join(format!("{name}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => {
                    guard.directory(Some(path.clone()));
                    return Ok(Self { path, temporary: true, guard });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A directory for the traces of a cluster that begins now.
    fn traces(&self) -> io::Result<PathBuf> {
        for number in 1.. {
            let path = self.path.join(format!("traces-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Real {
    /// Starts a cluster, or one that is there already, and waits for its leader.
    pub(super) fn create(birth: Birth, place: &Place) -> Result<Self, String> {
        let asked = [
            birth.classic.then_some("classic"),
            birth.seed.map(|_| "seed"),
            birth.snapshot.map(|_| "snapshot"),
        ];
        if let Some(word) = asked.into_iter().flatten().next() {
            return Err(simulator(word, "it is no setting of a server"));
        }
        let program = program(place.binary.as_deref())?;
        let home = Home::new(place).map_err(|error| format!("no directory: {error}"))?;
        let arguments = vec![format!("--tick={TICK}"), format!("--segment={SEGMENT}")];
        let options = NodeOptions { program, arguments };
        let begun = || -> io::Result<_> {
            let mut cluster = LocalCluster::open(&home.path, birth.size, options)?;
            let (mut proxy, traces) = (Proxy::default(), home.traces()?);
            cluster.set_traces(traces.clone());
            for (id, member) in cluster.members().clone().iter() {
                let port = cluster.step_back(id)?;
                proxy.stand_before(id, port, member.raft_port)?;
            }
            Ok((cluster, proxy, traces))
        };
        let (cluster, proxy, traces) = begun().map_err(|error| error.to_string())?;
        let nodes = (1..=birth.size as u64).collect();
        let header = Header::of_process("play", nodes);
        let origin = header.start_unix_us.unwrap_or(0);
        let (tracer, recording) = Tracer::to_memory(&header);
        let mut real = Self {
            cluster,
            proxy,
            home,
            traces,
            tracer,
            recording,
            news: News::default(),
            told: 0,
            begun: Instant::now(),
            origin,
            patience: PATIENCE,
            still: BTreeSet::new(),
            unplugged: BTreeSet::new(),
            cuts: BTreeSet::new(),
            refused: BTreeMap::new(),
            ended: BTreeMap::new(),
            last_views: BTreeMap::new(),
            guard: place.guard.clone(),
        };
        let started = real.cluster.start_all();
        real.watch();
        started.map_err(|error| error.to_string())?;
        real.wait_for_leader();
        Ok(real)
    }

    /// Tells the guard which processes there are.
    fn watch(&self) {
        let ids = self.cluster.members().iter();
        let processes = ids.filter_map(|(id, _)| self.cluster.process_id(id)).collect();
        self.guard.processes(processes);
    }

    fn ids(&self) -> Vec<u64> {
        self.cluster.members().iter().map(|(id, _)| id).collect()
    }

    fn address(&self, id: u64) -> Result<SocketAddr, String> {
        self.cluster.members().client(id).ok_or_else(|| format!("no node {id}"))
    }

    fn runs(&self, id: u64) -> bool {
        self.cluster.process_id(id).is_some()
    }

    /// Nodes that can be asked.
    fn awake(&self) -> impl Iterator<Item = (u64, SocketAddr)> {
        let ids = self.ids().into_iter();
        let ids = ids.filter(move |id| self.runs(*id) && !self.still.contains(id));
        ids.filter_map(move |id| Some((id, self.address(id).ok()?)))
    }

    /// Lets time pass until there is an answer, at most as long as somebody would wait.
    fn until<T>(
        &mut self,
        patience: Duration,
        mut answer: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + patience;
        loop {
            if let Some(answer) = answer(self) {
                return Some(answer);
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(LOOK);
        }
    }

    fn wait_for_leader(&mut self) {
        let known = |real: &mut Self| {
            let said: Vec<_> = real.awake().map(|(_, address)| ask::info(address)).collect();
            let leader = said.first()?.as_ref()?.leader;
            let same = |said: &Option<ask::Said>| said.as_ref().is_some_and(|s| s.leader == leader);
            (leader != 0 && said.iter().all(same)).then_some(())
        };
        // Who it is and whether there is one is seen in what is shown.
        let _ = self.until(ELECTION, known);
    }

    /// Who leads the newest term, of those that are heard if that matters.
    fn leads(&self, heard: bool) -> Option<u64> {
        let said = self.awake().filter_map(|(id, address)| Some((ask::info(address)?, id)));
        let said = said.filter(|(said, id)| {
            said.part == Part::Leader && !(heard && self.unplugged.contains(id))
        });
        said.max_by_key(|(said, _)| said.term).map(|(_, id)| id)
    }

    /// Waits for a leader that is heard.
    fn served_by(&mut self) -> Result<u64, String> {
        let patience = self.patience;
        let leader = self.until(patience, |real| real.leads(true));
        leader.ok_or_else(|| "nobody leads".to_owned())
    }

    /// Sends a command to a node, or to whoever leads.
    fn call(&mut self, words: &[&str], node: Option<usize>) -> Result<Reply, String> {
        let Some(node) = node else {
            let leader = self.served_by()?;
            let mut nodes: Vec<_> = self.awake().collect();
            nodes.sort_by_key(|(id, _)| *id != leader);
            let nodes: Vec<_> = nodes.into_iter().map(|(_, address)| address).collect();
            if nodes.is_empty() {
                return Err("nobody leads".to_owned());
            }
            let mut client = Client::new(nodes, self.patience).with_reply_timeout(self.patience);
            return client.call(words).map_err(|error| error.to_string());
        };
        let id = node as u64 + 1;
        if !self.runs(id) {
            return Err(format!("node {id} is down"));
        }
        let answer = || {
            let mut connection = Connection::open(self.address(id).map_err(io::Error::other)?)?;
            connection.set_reply_timeout(self.patience)?;
            connection.call(words)
        };
        answer().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "no answer in time: it may or may not take effect later".to_owned()
            }
            _ => format!("node {id}: {error}"),
        })
    }

    /// Gives an order to whoever leads. Refused while another one is under way: asked until it is
    /// taken.
    fn order(&mut self, words: &[&str]) -> Result<(), String> {
        let end = Instant::now() + self.patience;
        loop {
            let why = match self.call(words, None)? {
                Reply::Integer(_) => return Ok(()),
                other => ask::words(&other),
            };
            if Instant::now() >= end {
                return Err(why);
            }
            thread::sleep(LOOK);
        }
    }

    fn tell(&self, what: &'static str, node: u64, detail: Option<String>) {
        let detail = detail.map(Into::into);
        self.tracer.note(0, || What::Fault { what: what.into(), nodes: vec![node], detail });
    }

    /// The process is killed, if it runs.
    fn kill(&mut self, id: u64) -> Result<(), String> {
        if !self.runs(id) {
            return Ok(());
        }
        let term = self.address(id).ok().filter(|_| !self.still.contains(&id));
        let term = term.and_then(ask::info).map_or(0, |said| said.term);
        self.cluster.kill(id).map_err(|error| error.to_string())?;
        self.still.remove(&id);
        self.watch();
        self.tell("crash", id, Some("killed".to_owned()));
        let (role, leader, why) = (Part::Down, None, Some("its process was killed".into()));
        self.tracer.note(id, || What::Role { term, role, leader, why });
        Ok(())
    }

    fn signal(&mut self, id: u64, signal: Signal) -> Result<(), String> {
        let process = self.cluster.process_id(id).and_then(guard::process);
        let process = process.ok_or_else(|| format!("node {id} is down"))?;
        kill_process(process, signal).map_err(|error| format!("node {id}: {error}"))
    }

    /// What stands between the nodes does what it should by now.
    fn rewire(&self) {
        let ids = self.ids();
        for from in &ids {
            for to in ids.iter().filter(|to| *to != from) {
                let apart = self.unplugged.contains(from)
                    || self.unplugged.contains(to)
                    || self.cuts.contains(&(*from, *to));
                if apart {
                    self.proxy.set(*from, *to, Rule::Cut);
                } else {
                    self.proxy.lift(*from, *to);
                }
            }
        }
    }
}

/// Why only the simulator does something.
fn simulator(word: &str, why: &str) -> String {
    format!("{why}: `{word}` needs the simulator, which is `play` without --real")
}

/// The server's program.
fn program(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(given) = given {
        let found = given.is_file().then(|| given.to_owned());
        return found.ok_or_else(|| format!("there is no program {}", given.display()));
    }
    let own = env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = beside.into_iter().chain(env::split_paths(&path));
    let found = places.find_map(|dir| Some(dir.join(PROGRAM)).filter(|path| path.is_file()));
    found.ok_or_else(|| {
        format!("no program {PROGRAM} here: `cargo install --path kv` makes it, --binary names it")
    })
}
