//! The world in virtual time: real nodes, a simulated network and simulated disks in one process.
//!
//! Above: `game`. Below: the simulator. Time passes only while a command runs (or a screen lets it),
//! and the same commands with the same seed give the same run.
//!
//! A rule of Raft that gets broken ends the run: that takes a disk that lies, and is worth looking
//! at in the timeline.

use std::sync::{Arc, Mutex, PoisonError};

use hardlog_raft::{
    Config,
    sim::lab::{Compaction, Lab, Seed, hands::Sight},
    trace::{Header, Recording, Tracer, What},
};

use super::{
    command::Deed,
    store::{self, States, Store},
    world::{Birth, View, World},
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

/// A cluster and its trace.
pub(super) struct Simulated {
    lab: Lab,
    states: States,
    recording: Recording,
    /// Bytes of it that were handed out as news.
    told: usize,
    serial: u64,
    /// How long an answer is waited for.
    patience: u64,
}

impl World for Simulated {
    fn size(&self) -> usize {
        self.lab.size()
    }

    fn micros(&self) -> u64 {
        self.lab.micros()
    }

    fn views(&mut self, _entries: bool) -> Vec<View> {
        self.sights().into_iter().map(View::from).collect()
    }

    fn leader(&mut self) -> Option<usize> {
        self.lab.leader()
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

    fn set_patience(&mut self, micros: u64) {
        self.patience = micros;
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

    fn get(&mut self, key: &str, node: Option<usize>) -> Result<Option<String>, String> {
        let node = self.served_by(node)?;
        let (answer, told) = slot();
        let taken = |lab: &mut Lab| lab.ask(node, move |result| put(&told, result));
        self.ask(format!("get {key}"), taken, &answer, node)?;
        let states = store::lock(&self.states);
        Ok(states.get(&(node as u64 + 1)).and_then(|state| state.get(key)).cloned())
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
            Deed::Transfer => return self.transfer(node),
            Deed::Remove => return self.remove(node),
        }
        Ok(String::new())
    }

    fn rot(&mut self, node: usize, index: u64) -> Result<String, String> {
        if !self.lab.rot(node, index) {
            return Err(format!("node {} has no entry {index} with bytes to rot", node + 1));
        }
        Ok(format!("one bit of entry {index} changed on the disk of node {}\n", node + 1))
    }

    fn add(&mut self) -> Result<String, String> {
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
        Ok(format!("node {} {how}\n", node + 1))
    }

    fn partition(&mut self, groups: &[Vec<usize>]) -> Result<(), String> {
        let groups: Vec<&[usize]> = groups.iter().map(Vec::as_slice).collect();
        self.lab.partition(&groups);
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.lab.unmute();
        Ok(())
    }

    fn note(&self, words: &str) {
        self.lab.tracer().note(0, || What::mark("note", words.to_owned()));
    }

    fn trace(&self) -> Result<Vec<u8>, String> {
        Ok(self.recording.bytes())
    }

    fn news(&mut self) -> Vec<u8> {
        let news = self.recording.bytes_behind(self.told);
        self.told += news.len();
        news
    }

    fn end(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

impl Simulated {
    /// A cluster that has found its leader, if it could.
    pub(super) fn create(birth: Birth, seed: u64) -> Result<Self, String> {
        let config = if birth.classic { Config::classic() } else { Config::production() };
        let compaction =
            Compaction { every_bytes: birth.snapshot.unwrap_or(NEVER).max(1), keep_behind: 2 };
        let nodes = (1..=birth.size as u64).collect();
        let (tracer, recording) = Tracer::to_memory(&Header::of_run("play", seed, nodes));
        let states = States::default();
        let states_of_nodes = Arc::clone(&states);
        let make =
            Box::new(move |id| Box::new(Store::new(id, Arc::clone(&states_of_nodes))) as Box<_>);
        let seed = Seed { number: seed, tracer };
        let lab = Lab::with_service(birth.size, config, compaction, seed, make);
        let (told, serial, patience) = (0, 0, PATIENCE);
        let mut simulated = Self { lab, states, recording, told, serial, patience };
        simulated.wait_for_leader()?;
        Ok(simulated)
    }

    fn sights(&self) -> Vec<Sight> {
        (0..self.lab.size()).filter_map(|server| self.lab.sight(server)).collect()
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

    fn transfer(&mut self, node: usize) -> Result<String, String> {
        let leader = self.served_by(None)?;
        self.lab.transfer(leader, node);
        let leads = |cluster: &mut Self| (cluster.lab.leader() == Some(node)).then_some(());
        match self.until(self.patience, leads)? {
            Some(()) => Ok(format!("node {} leads\n", node + 1)),
            None => Err(format!("node {} does not lead yet", node + 1)),
        }
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
}

impl From<Sight> for View {
    fn from(sight: Sight) -> Self {
        let remarks = [
            (!sight.connected).then_some("disconnected"),
            sight.hangs.then_some("disk hangs"),
            sight.full.then_some("disk full"),
            (!sight.durable).then_some("not all synced"),
            sight.retired.then_some("out for good"),
        ];
        Self {
            part: sight.part,
            term: sight.term,
            window: sight.window,
            commit: sight.commit,
            applied: sight.applied,
            durable: Some(sight.durable_to),
            snapshot: sight.snapshot,
            entries: sight.entries,
            files: sight.files.into_iter().map(|(file, len)| (file, Some(len))).collect(),
            verdict: sight.verdict,
            remarks: remarks.into_iter().flatten().map(str::to_owned).collect(),
        }
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
