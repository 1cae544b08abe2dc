//! The demonstration: a cluster, a crash in the middle of writing, and nothing acknowledged lost.
//!
//! The layer above is the program's `demo` command; below are [`LocalCluster`] and [`Client`].
//! Real processes, a real SIGKILL, a real file system. A line per step, with the seconds since the
//! start. It fails, rather than only saying so, when something acknowledged is not there.

mod tear;
mod writer;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use hardlog::{
    fs::disk::DiskFs,
    inspect::{self, VerifyOptions},
};

use self::{
    tear::tear,
    writer::{Outcome, Writer},
};
use crate::{
    client::{Client, Connection},
    local::{LocalCluster, NodeOptions},
    resp::Reply,
};

/// How long anything may take that the cluster does by itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at the cluster.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Runs the demonstration in `dir`, or in a temporary directory that is removed when all went well.
///
/// # Errors
/// Whatever went wrong; the directory is kept then.
pub fn run(dir: Option<&Path>, options: NodeOptions, out: &mut dyn Write) -> io::Result<()> {
    let temporary = std::env::temp_dir().join(format!("hardlog-demo-{}", std::process::id()));
    let place = dir.map_or(temporary, Path::to_owned);
    if place.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(io::Error::other(format!("{} is not empty", place.display())));
    }
    let cluster = LocalCluster::open(&place, 3, options)?;
    let (acknowledged, unsure) = (BTreeMap::new(), BTreeMap::new());
    let mut demo = Demo { out, begun: Instant::now(), cluster, acknowledged, unsure };
    demo.all().map_err(|error| {
        io::Error::new(error.kind(), format!("{error}; see {}", place.display()))
    })?;
    if dir.is_none() {
        drop(demo);
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

struct Demo<'a> {
    out: &'a mut dyn Write,
    begun: Instant,
    cluster: LocalCluster,
    /// What was acknowledged: must be there at the end.
    acknowledged: BTreeMap<String, String>,
    /// What nobody knows about: may be there.
    unsure: BTreeMap<String, String>,
}

impl Demo<'_> {
    fn all(&mut self) -> io::Result<()> {
        self.cluster.start_all()?;
        for (id, member) in self.cluster.members().clone().iter() {
            let process = self.cluster.process_id(id).unwrap_or(0);
            self.say(&format!("node {id} started: process {process}, {}", member.client()))?;
        }
        let leader = self.await_leader(None)?;
        self.say(&format!("node {leader} was elected and leads"))?;
        self.write_some()?;
        self.crash(leader)?;
        self.come_back(leader)?;
        self.read_back()?;
        self.cluster.stop_all()?;
        self.say("all nodes stopped; what wal-tool says of their logs:")?;
        self.inspect()
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{:5.1} s  {text}", self.begun.elapsed().as_secs_f32())?;
        self.out.flush()
    }

    /// A quiet second of writes.
    fn write_some(&mut self) -> io::Result<()> {
        let mut writer = Writer::start(self.client(), "quiet");
        std::thread::sleep(Duration::from_secs(1));
        let outcome = writer.stop()?;
        let count = outcome.acknowledged.len();
        self.note(outcome);
        self.say(&format!("{count} writes, each durable on two nodes or more when acknowledged"))
    }

    /// Kills the leader in the middle of writes, and waits for another one.
    fn crash(&mut self, leader: u64) -> io::Result<()> {
        let mut writer = Writer::start(self.client(), "crash");
        std::thread::sleep(Duration::from_millis(500));
        let process = self.cluster.process_id(leader).unwrap_or(0);
        self.cluster.kill(leader)?;
        let killed = Instant::now();
        self.say(&format!("node {leader} (process {process}) killed with SIGKILL while writing"))?;
        let torn = tear(&self.cluster.node_dir(leader))?;
        let new = self.await_leader(Some(leader))?;
        let took = killed.elapsed().as_millis();
        self.say(&format!(
            "its last write torn: {} bytes of a batch that was never whole, at {:#x} of {}",
            torn.len,
            torn.offset,
            torn.file.file_name().unwrap_or_default().display()
        ))?;
        self.say(&format!("node {new} was elected {took} ms later; writing goes on"))?;
        std::thread::sleep(Duration::from_secs(1));
        let outcome = writer.stop()?;
        let (acknowledged, unsure) = (outcome.acknowledged.len(), outcome.unsure.len());
        let pause = outcome.longest_pause.as_millis();
        self.note(outcome);
        self.say(&format!(
            "{acknowledged} writes acknowledged before and after, {unsure} without an answer, \
             {pause} ms without a leader"
        ))
    }

    fn come_back(&mut self, id: u64) -> io::Result<()> {
        let output = self.cluster.node_output(id);
        let before = std::fs::metadata(&output)?.len();
        self.cluster.start(id)?;
        let process = self.cluster.process_id(id).unwrap_or(0);
        self.say(&format!("node {id} comes back as process {process}; its recovery says:"))?;
        let said = std::fs::read(&output)?;
        let said = said.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
        for line in String::from_utf8_lossy(said).lines() {
            writeln!(self.out, "         | {line}")?;
        }
        let leader = self.await_leader(None)?;
        let wanted = self.info(leader, "commit")?;
        let deadline = Instant::now() + PATIENCE;
        while self.info(id, "applied")? < wanted {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("node {id} does not catch up")));
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        self.say(&format!("node {id} has caught up: entry {wanted} is applied"))
    }

    /// Reads every write back, on every node.
    fn read_back(&mut self) -> io::Result<()> {
        let leader = self.await_leader(None)?;
        let wanted = self.info(leader, "commit")?;
        for (id, member) in self.cluster.members().clone().iter() {
            let deadline = Instant::now() + PATIENCE;
            while self.info(id, "applied")? < wanted && Instant::now() < deadline {
                std::thread::sleep(LOOK_PAUSE);
            }
            let mut node = Connection::open(member.client())?;
            node.call(&["READONLY"])?;
            for (key, value) in &self.acknowledged {
                let found = node.call(&["GET", key])?;
                if found != Reply::text(value.as_str()) {
                    return Err(io::Error::other(format!(
                        "node {id} has {found:?} for {key}, which was acknowledged as {value:?}"
                    )));
                }
            }
            let count = self.acknowledged.len();
            self.say(&format!("node {id} has all {count} acknowledged writes"))?;
        }
        let found = self.unsure.iter().filter(|(key, value)| {
            self.client()
                .call(&["GET", key])
                .is_ok_and(|found| found == Reply::text(value.as_str()))
        });
        let (found, all) = (found.count(), self.unsure.len());
        self.say(&format!(
            "of the {all} writes without an answer {found} took effect: both is right"
        ))
    }

    /// The verdict of the library that wal-tool prints.
    fn inspect(&mut self) -> io::Result<()> {
        for (id, _) in self.cluster.members().clone().iter() {
            let fs = DiskFs::new(self.cluster.node_dir(id));
            let report = inspect::verify(&fs, VerifyOptions::new(), &mut |_| {});
            let report = report.map_err(io::Error::other)?;
            writeln!(self.out, "         | node {id}: {report}")?;
            if report.outcome().code() > inspect::Outcome::Heals.code() {
                return Err(io::Error::other(format!("the log of node {id} is damaged")));
            }
        }
        Ok(())
    }

    fn note(&mut self, outcome: Outcome) {
        self.acknowledged.extend(outcome.acknowledged);
        self.unsure.extend(outcome.unsure);
    }

    fn client(&self) -> Client {
        Client::new(self.cluster.addresses(), PATIENCE)
    }

    /// Waits for a leader that is not `former`.
    fn await_leader(&self, former: Option<u64>) -> io::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (id, _) in self.cluster.members().iter() {
                let leads = Some(id) != former
                    && self.cluster.process_id(id).is_some()
                    && self.info(id, "leader").is_ok_and(|leader| leader == id);
                if leads {
                    return Ok(id);
                }
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Err(io::Error::other("no leader was elected"))
    }

    /// A number of a node's INFO.
    fn info(&self, id: u64, name: &str) -> io::Result<u64> {
        let address = self.cluster.members().client(id);
        let address = address.ok_or_else(|| io::Error::other("no such node"))?;
        let reply = Connection::open(address)?.call(&["INFO"])?;
        let Reply::Bulk(text) = reply else {
            return Err(io::Error::other(format!("INFO answered {reply:?}")));
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("INFO has no {name}")))
    }
}
