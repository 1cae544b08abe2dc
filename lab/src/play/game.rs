//! A cluster that is played with: what each command does to it.
//!
//! Above: whoever reads lines. Below: the simulator, in virtual time: it passes only while a
//! command runs, and the same lines with the same seed give the same run.
//!
//! What cannot be done is an error that says why. A rule of Raft that gets broken ends the run:
//! that takes a disk that lies, and is worth looking at in the timeline.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use hardlog_raft::{
    Config,
    sim::lab::{Compaction, Lab, Seed, hands::Sight},
    trace::{Header, Recording, Tracer, What},
};

use super::{
    command::{Command, Deed, Expect, NODES_MAX, WORDS},
    show,
    store::{self, States, Store},
};

/// How long an answer is waited for at first, in microseconds.
const PATIENCE: u64 = 3_000_000;
/// How often it is looked for.
const LOOK: u64 = 10_000;
/// How often an election is tried that somebody asked for, and how long each gets.
const ELECTION_TRIES: u32 = 3;
const ELECTION_TIME: u64 = 50_000;
/// How long a cluster gets to find a leader.
const ELECTION: u64 = 10_000_000;
/// Bytes of a snapshot threshold that is never reached.
const NEVER: u64 = u64::MAX / 2;

/// What a command led to.
pub(super) enum Outcome {
    /// Words, perhaps none.
    Done(String),
    /// The timeline is to be written there.
    Write(Option<String>),
    /// No more lines are read.
    Stop,
}

/// What somebody plays with.
pub(super) struct Game {
    cluster: Option<Cluster>,
    seed: u64,
    pace: u64,
    names: BTreeMap<String, usize>,
}

/// A cluster and its trace.
struct Cluster {
    lab: Lab,
    states: States,
    recording: Recording,
    serial: u64,
    /// How long an answer is waited for.
    patience: u64,
}

impl Game {
    pub(super) fn new(seed: u64, pace: u64) -> Self {
        Self { cluster: None, seed, pace, names: BTreeMap::new() }
    }

    /// The trace so far.
    pub(super) fn trace(&self) -> Option<Vec<u8>> {
        self.cluster.as_ref().map(|cluster| cluster.recording.bytes())
    }

    /// Names of nodes, for completion.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    /// Every node as it is now.
    pub(super) fn sights(&self) -> Vec<Sight> {
        self.cluster.as_ref().map(Cluster::sights).unwrap_or_default()
    }

    /// Microseconds since the cluster was made.
    pub(super) fn micros(&self) -> u64 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.lab.micros())
    }

    /// Time passes.
    pub(super) fn pass(&mut self, micros: u64) -> Result<(), String> {
        self.cluster()?.pass(micros)
    }

    pub(super) fn run(&mut self, command: Command) -> Result<Outcome, String> {
        let text = match command {
            Command::Nothing => String::new(),
            Command::Help => help(),
            Command::Stop => return Ok(Outcome::Stop),
            Command::Write(to) => {
                self.cluster()?;
                return Ok(Outcome::Write(to));
            }
            Command::Create { size, seed, classic, snapshot } => {
                self.create(size, seed, classic, snapshot)?
            }
            Command::Shutdown => {
                self.cluster()?;
                self.cluster = None;
                self.names.clear();
                "the cluster ended\n".to_owned()
            }
            Command::Pace(pace) => {
                self.pace = pace;
                String::new()
            }
            Command::Patience(patience) => {
                self.cluster()?.patience = patience;
                String::new()
            }
            Command::Say(words) => {
                if let Some(cluster) = &self.cluster {
                    cluster.lab.tracer().note(0, || What::mark("note", words.clone()));
                }
                format!("# {words}\n")
            }
            Command::Expect(expect) => self.expect(expect)?,
            Command::Name { name, node } => {
                let node = self.node(&node)?;
                self.names.insert(name.clone(), node);
                format!("{name} is node {}\n", node + 1)
            }
            other => self.play(other)?,
        };
        Ok(Outcome::Done(text))
    }

    /// Whatever needs a cluster that is in order.
    fn play(&mut self, command: Command) -> Result<String, String> {
        let pace = self.pace;
        let all = command == Command::State;
        let text = match command {
            Command::Set { key, value, node } => {
                let node = node.map(|node| self.node(&node)).transpose()?;
                self.cluster()?.set(&key, &value, node)?
            }
            Command::Get { key, node } => {
                let node = node.map(|node| self.node(&node)).transpose()?;
                self.cluster()?.get(&key, node)?
            }
            Command::Each(deed, nodes) => {
                let nodes: Vec<usize> =
                    nodes.iter().map(|node| self.node(node)).collect::<Result<_, _>>()?;
                let cluster = self.cluster()?;
                let mut said = String::new();
                for node in nodes {
                    said.push_str(&cluster.deed(deed, node)?);
                }
                cluster.pass(pace)?;
                said
            }
            Command::Rot { node, index } => {
                let node = self.node(&node)?;
                let cluster = self.cluster()?;
                let said = cluster.rot(node, &index)?;
                cluster.pass(pace)?;
                said
            }
            Command::Add(nodes) => self.cluster()?.add(&nodes)?,
            Command::Partition(groups) => {
                let groups: Vec<Vec<usize>> = groups
                    .iter()
                    .map(|group| group.iter().map(|node| self.node(node)).collect())
                    .collect::<Result<_, String>>()?;
                let groups: Vec<&[usize]> = groups.iter().map(Vec::as_slice).collect();
                let cluster = self.cluster()?;
                cluster.lab.partition(&groups);
                cluster.pass(pace)?;
                String::new()
            }
            Command::Heal => {
                let cluster = self.cluster()?;
                cluster.lab.unmute();
                cluster.pass(pace)?;
                String::new()
            }
            Command::Wait(time) => {
                self.cluster()?.pass(time)?;
                String::new()
            }
            Command::Leader => return self.cluster()?.leader(),
            Command::Log => return Ok(show::logs(&self.cluster()?.sights())),
            _ => String::new(),
        };
        let cluster = self.cluster()?;
        Ok(text + &show::table(cluster.lab.micros(), &cluster.sights(), all))
    }

    fn create(
        &mut self,
        size: usize,
        seed: Option<u64>,
        classic: bool,
        snapshot: Option<u64>,
    ) -> Result<String, String> {
        if self.cluster.is_some() {
            return Err("there is a cluster; `shutdown` ends it".to_owned());
        }
        self.seed = seed.unwrap_or(self.seed);
        let config = if classic { Config::classic() } else { Config::production() };
        let compaction =
            Compaction { every_bytes: snapshot.unwrap_or(NEVER).max(1), keep_behind: 2 };
        let nodes = (1..=size as u64).collect();
        let (tracer, recording) = Tracer::to_memory(&Header::of_run("play", self.seed, nodes));
        let states = States::default();
        let states_of_nodes = Arc::clone(&states);
        let make =
            Box::new(move |id| Box::new(Store::new(id, Arc::clone(&states_of_nodes))) as Box<_>);
        let seed = Seed { number: self.seed, tracer };
        let lab = Lab::with_service(size, config, compaction, seed, make);
        let mut cluster = Cluster { lab, states, recording, serial: 0, patience: PATIENCE };
        cluster.wait_for_leader()?;
        let text = show::table(cluster.lab.micros(), &cluster.sights(), false);
        self.cluster = Some(cluster);
        Ok(text)
    }

    fn cluster(&mut self) -> Result<&mut Cluster, String> {
        self.cluster.as_mut().ok_or_else(|| "there is no cluster yet: `create 3`".to_owned())
    }

    /// The node of a number or a name, counted from 0.
    fn node(&mut self, word: &str) -> Result<usize, String> {
        let named = self.names.get(word).copied();
        let cluster = self.cluster()?;
        if word == "leader" {
            return cluster.lab.leader().ok_or_else(|| "nobody leads now".to_owned());
        }
        if let Some(node) = named {
            return Ok(node);
        }
        let size = cluster.lab.size();
        let known = word.parse::<usize>().ok().filter(|node| (1..=size).contains(node));
        known.map(|node| node - 1).ok_or_else(|| format!("no node {word:?}: there are 1 to {size}"))
    }

    fn expect(&mut self, expect: Expect) -> Result<String, String> {
        let (what, expected, found) = match expect {
            Expect::Leader(node) => {
                let expected = match node.as_str() {
                    "none" => "nobody".to_owned(),
                    node => format!("node {}", self.node(node)? + 1),
                };
                let found = self.cluster()?.lab.leader();
                let found = found.map_or("nobody".to_owned(), |node| format!("node {}", node + 1));
                ("the leader".to_owned(), expected, found)
            }
            Expect::Value { key, value } => {
                let found = self.cluster()?.read(&key, None)?.unwrap_or_else(|| "none".to_owned());
                (key, value, found)
            }
            Expect::Of { node, what, value } => {
                let node = self.node(&node)?;
                let cluster = self.cluster()?;
                let sight = cluster.lab.sight(node).ok_or("no such node")?;
                let found = match what.as_str() {
                    "role" => sight.part.name().to_owned(),
                    "term" => sight.term.to_string(),
                    "commit" => sight.commit.to_string(),
                    "applied" => sight.applied.to_string(),
                    "last" => sight.window.1.to_string(),
                    "first" => sight.window.0.to_string(),
                    "segments" => sight.segments.to_string(),
                    "snapshot" => if sight.snapshot > 0 { "some" } else { "none" }.to_owned(),
                    "verdict" => sight.verdict.0,
                    _ => return Err(format!("nothing is known of the {what:?} of a node")),
                };
                (format!("the {what} of node {}", node + 1), value, found)
            }
        };
        if expected == found {
            return Ok(format!("✓ {what} is {found}\n"));
        }
        Err(format!("✗ {what} is {found}, expected {expected}"))
    }
}

impl Cluster {
    fn sights(&self) -> Vec<Sight> {
        (0..self.lab.size()).filter_map(|server| self.lab.sight(server)).collect()
    }

    /// Time passes, unless a rule was broken.
    fn pass(&mut self, micros: u64) -> Result<(), String> {
        match self.lab.pass(micros) {
            None => Ok(()),
            Some(breach) => Err(format!(
                "a rule of Raft is broken, and the run ends here: {breach}; `w` writes the timeline"
            )),
        }
    }

    /// Lets time pass until there is an answer, at most as long as somebody would wait.
    fn until<T>(
        &mut self,
        patience: u64,
        mut answer: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let end = self.lab.micros().saturating_add(patience);
        loop {
            if let Some(answer) = answer(self) {
                return Ok(Some(answer));
            }
            if self.lab.micros() >= end {
                return Ok(None);
            }
            self.pass(LOOK)?;
        }
    }

    fn wait_for_leader(&mut self) -> Result<(), String> {
        let known = |cluster: &mut Self| {
            let leader = cluster.lab.leader();
            let all = cluster.sights().iter().all(|sight| sight.leader == leader);
            leader.filter(|_| all)
        };
        // Who it is and whether there is one is seen in what is shown.
        self.until(ELECTION, known).map(drop)
    }

    /// Who is asked unless somebody is named.
    fn served_by(&mut self, node: Option<usize>) -> Result<usize, String> {
        if let Some(node) = node {
            return Ok(node);
        }
        let leads = |cluster: &mut Self| {
            let leader = cluster.lab.leader()?;
            cluster.lab.is_connected(leader).then_some(leader)
        };
        self.until(self.patience, leads)?.ok_or_else(|| "nobody leads".to_owned())
    }

    fn leader(&mut self) -> Result<String, String> {
        Ok(match self.lab.leader() {
            Some(leader) => format!("node {} leads\n", leader + 1),
            None => "nobody leads\n".to_owned(),
        })
    }

    fn set(&mut self, key: &str, value: &str, node: Option<usize>) -> Result<String, String> {
        let node = self.served_by(node)?;
        let command = store::encode(key, value);
        let (answer, told) = slot();
        let taken = |lab: &mut Lab| lab.offer(node, &command, move |result| put(&told, result));
        let answer = self.ask(format!("set {key} {value}"), taken, &answer, node)?;
        let index = String::from_utf8_lossy(&answer).into_owned();
        Ok(format!("{key} = {value}, entry {index}\n"))
    }

    fn get(&mut self, key: &str, node: Option<usize>) -> Result<String, String> {
        let value = self.read(key, node)?;
        Ok(value.map_or(format!("{key} has no value\n"), |value| format!("{key} = {value}\n")))
    }

    fn read(&mut self, key: &str, node: Option<usize>) -> Result<Option<String>, String> {
        let node = self.served_by(node)?;
        let (answer, told) = slot();
        let taken = |lab: &mut Lab| lab.ask(node, move |result| put(&told, result));
        self.ask(format!("get {key}"), taken, &answer, node)?;
        let states = store::lock(&self.states);
        Ok(states.get(&(node as u64 + 1)).and_then(|state| state.get(key)).cloned())
    }

    /// Asks as a client does: the call and its return stand in the trace.
    fn ask<T: Clone>(
        &mut self,
        op: String,
        taken: impl FnOnce(&mut Lab) -> bool,
        answer: &Slot<T>,
        node: usize,
    ) -> Result<T, String> {
        self.serial += 1;
        let (client, serial) = (1, self.serial);
        let tracer = self.lab.tracer().clone();
        tracer.note(0, || What::Call { client, serial, op: op.into() });
        if !taken(&mut self.lab) {
            let result = Some("the node is down".into());
            tracer.note(0, || What::Return { client, serial, ok: false, result });
            return Err(format!("node {} is down", node + 1));
        }
        let answer = self.until(self.patience, |_| take(answer))?;
        let Some(answer) = answer else {
            return Err("no answer in time: it may or may not take effect later".to_owned());
        };
        let ok = answer.is_ok();
        let result = answer.as_ref().err().map(|error| error.clone().into());
        tracer.note(0, || What::Return { client, serial, ok, result });
        answer.map_err(|error| format!("node {}: {error}", node + 1))
    }

    fn deed(&mut self, deed: Deed, node: usize) -> Result<String, String> {
        let sight = self.lab.sight(node).ok_or("no such node")?;
        let name = node + 1;
        let up = self.lab.is_up(node);
        if sight.retired && deed != Deed::Remove {
            return Err(format!("the disk of node {name} is of no use any more: add another node"));
        }
        match deed {
            Deed::Disconnect => self.lab.disconnect(node),
            Deed::Reconnect => self.lab.connect(node),
            Deed::Crash | Deed::Power if !up => return Err(format!("node {name} is down already")),
            Deed::Crash => self.lab.kill(node),
            Deed::Power => self.lab.power_cut(node),
            Deed::Restart if up => return Err(format!("node {name} runs already")),
            Deed::Restart => self.lab.restart(node),
            Deed::Fill => self.lab.fill(node),
            Deed::Hang => self.lab.hang(node),
            Deed::Mend => self.lab.mend(node),
            Deed::Tear => return self.tear(node),
            Deed::Elect => return self.elect(node),
            Deed::Remove => return self.remove(node),
        }
        Ok(String::new())
    }

    fn tear(&mut self, node: usize) -> Result<String, String> {
        let torn = self.lab.tear(node);
        let torn = torn.ok_or("it wrote nothing since its last start")?;
        let mut said =
            format!("the last {} bytes of its last write are not on the disk\n", torn.bytes);
        if torn.was_durable {
            said.push_str("the disk had said that they are: it lied\n");
        }
        Ok(said)
    }

    fn rot(&mut self, node: usize, index: &str) -> Result<String, String> {
        let index: u64 = super::command::number(index)
            .map_err(|why| why.unwrap_or_else(|| "an index is a number".to_owned()))?;
        if !self.lab.rot(node, index) {
            return Err(format!("node {} has no entry {index} with bytes to rot", node + 1));
        }
        Ok(format!("one bit of entry {index} changed on the disk of node {}\n", node + 1))
    }

    /// An election in an old term only tells the node which term it is: it tries again then.
    fn elect(&mut self, node: usize) -> Result<String, String> {
        let leads = |cluster: &mut Self| (cluster.lab.leader() == Some(node)).then_some(());
        for _ in 0..ELECTION_TRIES {
            if !self.lab.campaign(node) {
                return Err(format!("node {} is down", node + 1));
            }
            if self.until(ELECTION_TIME, leads)?.is_some() {
                return Ok(format!("node {} leads\n", node + 1));
            }
        }
        Ok(format!("node {} was not elected\n", node + 1))
    }

    fn remove(&mut self, node: usize) -> Result<String, String> {
        self.served_by(None)?;
        // Refused while another change is under way, as after an `add`: asked until it is taken.
        let gone = |cluster: &mut Self| {
            let leader = cluster.lab.leader()?;
            let votes = cluster.lab.voters(leader).contains(&node);
            if votes {
                cluster.lab.remove(leader, node);
            }
            (!votes).then_some(())
        };
        match self.until(self.patience, gone)? {
            Some(()) => Ok(format!("node {} votes no more\n", node + 1)),
            None => Err(format!("node {} could not be removed yet", node + 1)),
        }
    }

    fn add(&mut self, nodes: &[String]) -> Result<String, String> {
        let next = (self.lab.size() + 1).to_string();
        let nodes = if nodes.is_empty() { std::slice::from_ref(&next) } else { nodes };
        let mut said = String::new();
        for word in nodes {
            let next = self.lab.size() + 1;
            if *word != next.to_string() {
                return Err(format!("the next node is {next}"));
            }
            if next > NODES_MAX {
                return Err(format!("a cluster has at most {NODES_MAX} nodes"));
            }
            let leader = self.served_by(None)?;
            let node = self.lab.join();
            self.lab.add(leader, node);
            let votes = |cluster: &mut Self| {
                let leader = cluster.lab.leader()?;
                cluster.lab.voters(leader).contains(&node).then_some(())
            };
            let how = match self.until(self.patience, votes)? {
                Some(()) => "votes",
                None => "does not vote yet",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(said, "node {next} {how}");
        }
        Ok(said)
    }
}

type Slot<T> = Arc<Mutex<Option<Result<T, String>>>>;

/// Where an answer will lie, twice.
fn slot<T>() -> (Slot<T>, Slot<T>) {
    let slot = Slot::default();
    (Arc::clone(&slot), slot)
}

fn put<T, E: std::fmt::Display>(slot: &Slot<T>, result: Result<T, E>) {
    let result = result.map_err(|error| error.to_string());
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
}

fn take<T>(slot: &Slot<T>) -> Option<Result<T, String>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn help() -> String {
    let mut text = String::new();
    for (word, number, usage, what) in WORDS {
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        let _ = writeln!(text, "{number:>3} {:<46} {what}", format!("{word} {usage}"));
    }
    text.push_str("    NODE is a number, `leader`, or what `name` gave; # begins a remark\n");
    text
}
