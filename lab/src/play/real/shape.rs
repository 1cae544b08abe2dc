//! What each command does to a cluster of processes, and how its nodes look.
//!
//! Above: `game`. Below: `real`, which knows how each of it is done.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use hardlog_kv::{members::Member, resp::Reply};
use hardlog_raft::trace::{Part, What};
use rustix::process::Signal;

use super::{Real, ask, disk, simulator, traces};
use crate::play::{
    command::Deed,
    world::{View, World},
};

impl World for Real {
    fn size(&self) -> usize {
        self.cluster.members().len()
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn views(&mut self, entries: bool) -> Vec<View> {
        self.bury();
        let leader = self.leads(false).and_then(|leader| self.address(leader).ok());
        let members = leader.and_then(ask::members);
        let mut views = Vec::new();
        for id in self.ids() {
            let mut view = self.view(id, members.as_deref());
            let dir = self.cluster.node_dir(id);
            view.files = disk::files(&dir);
            if entries {
                view.entries = disk::entries(&dir);
            }
            views.push(view);
        }
        views
    }

    fn leader(&mut self) -> Option<usize> {
        self.leads(false).and_then(|id| usize::try_from(id - 1).ok())
    }

    fn pass(&mut self, micros: u64) -> Result<(), String> {
        thread::sleep(Duration::from_micros(micros));
        Ok(())
    }

    fn set_patience(&mut self, micros: u64) {
        self.patience = Duration::from_micros(micros.max(1));
    }

    fn set(&mut self, key: &str, value: &str, node: Option<usize>) -> Result<String, String> {
        match self.call(&["SET", key, value], node)? {
            Reply::Simple(_) => Ok(format!("{key} = {value}\n")),
            other => Err(ask::words(&other)),
        }
    }

    fn get(&mut self, key: &str, node: Option<usize>) -> Result<Option<String>, String> {
        match self.call(&["GET", key], node)? {
            Reply::Null => Ok(None),
            Reply::Bulk(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            other => Err(ask::words(&other)),
        }
    }

    fn deed(&mut self, deed: Deed, node: usize) -> Result<String, String> {
        let id = node as u64 + 1;
        match deed {
            Deed::Power => {
                let why = "what a killed process wrote stays in the page cache";
                return Err(simulator("power", why) + "; `tear` cuts the last write here");
            }
            Deed::Fill => {
                return Err(simulator("fill", "the disk is this machine's, and stays so"));
            }
            Deed::Crash if !self.runs(id) => return Err(format!("node {id} is down already")),
            Deed::Crash => self.kill(id)?,
            Deed::Restart if self.runs(id) => return Err(format!("node {id} runs already")),
            Deed::Restart => return self.restart(id),
            Deed::Hang => {
                self.freeze(id)?;
                return Ok(format!("node {id} stands still; `resume {id}` lets it go on\n"));
            }
            Deed::Mend if !self.still.contains(&id) => return Ok(format!("node {id} is well\n")),
            Deed::Mend => self.thaw(id)?,
            Deed::Disconnect | Deed::Reconnect => {
                let away = deed == Deed::Disconnect;
                let changed =
                    if away { self.unplugged.insert(id) } else { self.unplugged.remove(&id) };
                self.rewire();
                if changed {
                    self.tell(if away { "disconnect" } else { "connect" }, id, None);
                }
            }
            Deed::Tear => return self.tear(id),
            Deed::Elect | Deed::Transfer => return self.transfer(id),
            Deed::Remove => {
                self.order(&["RAFT", "REMOVE", &id.to_string()])?;
                return Ok(format!("node {id} votes no more\n"));
            }
        }
        Ok(String::new())
    }

    fn rot(&mut self, node: usize, index: u64) -> Result<String, String> {
        let id = node as u64 + 1;
        let dir = self.cluster.node_dir(id);
        // Looked for first: what cannot be done kills nobody.
        disk::payload(&dir, index)?;
        self.kill(id)?;
        let (file, offset) = disk::rot(&dir, index)?;
        self.tell("rot", id, Some(format!("entry {index}")));
        let file = file.file_name().unwrap_or_default().display().to_string();
        let verdict = disk::verdict(&dir);
        Ok(format!(
            "node {id} was killed, and one bit of entry {index} changed at {offset} of {file}\n\
             its log now: {verdict}\n"
        ))
    }

    fn add(&mut self) -> Result<String, String> {
        self.served_by()?;
        let invited = self.invite().map_err(|error| error.to_string());
        self.watch();
        let id = self.cluster.members().len() as u64;
        let joined = invited.and_then(|member| {
            self.rewire();
            let place = format!("{}@{}", member.client(), member.raft_port);
            self.order(&["RAFT", "ADD", &id.to_string(), &place])
        });
        if let Err(why) = joined {
            // It belongs to nobody, and its number is free again.
            self.cluster.send_away(id).map_err(|error| format!("{why}; {error}"))?;
            self.watch();
            return Err(why);
        }
        self.cluster.keep(id).map_err(|error| error.to_string())?;
        // It learns first, and is given a vote once it has caught up.
        let votes = |real: &mut Self| {
            let leader = real.leads(true).and_then(|leader| real.address(leader).ok())?;
            let members = ask::members(leader)?;
            members.iter().any(|member| member.id == id && member.votes).then_some(())
        };
        let patience = self.patience;
        let how = self.until(patience, votes).map_or("does not vote yet", |()| "votes");
        Ok(format!("node {id} {how}\n"))
    }

    fn partition(&mut self, groups: &[Vec<usize>]) -> Result<(), String> {
        let ids = self.ids();
        let group = |id: u64| {
            groups.iter().position(|group| group.iter().any(|node| *node as u64 + 1 == id))
        };
        self.cuts.clear();
        for from in &ids {
            for to in ids.iter().filter(|to| *to != from) {
                if group(*from).is_none() || group(*from) != group(*to) {
                    self.cuts.insert((*from, *to));
                }
            }
        }
        self.rewire();
        let parts: Vec<String> = groups
            .iter()
            .map(|group| {
                let names: Vec<String> = group.iter().map(|node| (node + 1).to_string()).collect();
                names.join(",")
            })
            .collect();
        let detail = Some(parts.join(" | ").into());
        let nodes = ids.clone();
        self.tracer.note(0, || What::Fault { what: "partition".into(), nodes, detail });
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.cuts.clear();
        self.rewire();
        let nodes = self.ids();
        self.tracer.note(0, || What::Fault { what: "heal".into(), nodes, detail: None });
        Ok(())
    }

    fn note(&self, words: &str) {
        self.tracer.note(0, || What::mark("note", words.to_owned()));
    }

    fn trace(&self) -> Result<Vec<u8>, String> {
        traces::merged(&self.traces, self.recording.bytes(), self.ids())
    }

    fn news(&mut self) -> Vec<u8> {
        let own = self.recording.bytes_behind(self.told);
        self.told += own.len();
        let mut news = self.news.lines(&self.traces, self.origin);
        news.extend(own);
        traces::in_order(&news)
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        for id in std::mem::take(&mut self.still) {
            self.signal(id, Signal::CONT)?;
        }
        // Nobody sees a temporary directory again: its nodes are killed when this is dropped.
        if !self.home.temporary {
            self.cluster.stop_all().map_err(|error| error.to_string())?;
            self.watch();
        }
        Ok(())
    }
}

impl Real {
    /// Starts one more node, which belongs to no cluster.
    fn invite(&mut self) -> io::Result<Member> {
        let id = self.cluster.invite()?;
        let member = self.cluster.members().get(id).ok_or(io::ErrorKind::NotFound)?;
        let port = self.cluster.step_back(id)?;
        self.proxy.stand_before(id, port, member.raft_port)?;
        self.cluster.start(id)?;
        Ok(member)
    }

    /// Takes note of nodes that ended by themselves.
    fn bury(&mut self) {
        for (id, status) in self.cluster.take_ended().unwrap_or_default() {
            let words = last_line(&self.cluster.node_output(id)).unwrap_or_default();
            self.ended.insert(id, format!("ended by itself ({status}): {words}"));
            self.still.remove(&id);
            self.tell("crash", id, Some("it ended by itself".to_owned()));
            self.watch();
        }
    }

    fn view(&mut self, id: u64, members: Option<&[ask::Member]>) -> View {
        let told = traces::verdict(&self.traces, id);
        let verdict = told.unwrap_or_else(|| ("unknown".to_owned(), None));
        if !self.runs(id) {
            let refused = self.refused.get(&id).cloned();
            let verdict = refused.map_or(verdict, |words| ("refused".to_owned(), Some(words)));
            let remarks = self.ended.get(&id).cloned().into_iter().collect();
            return View { remarks, ..View::down(verdict) };
        }
        let said = self.address(id).ok().filter(|_| !self.still.contains(&id)).and_then(ask::info);
        let mut view = match said {
            Some(said) => View {
                part: said.part,
                term: said.term,
                window: said.window,
                commit: said.commit,
                applied: said.applied,
                snapshot: said.snapshot,
                ..View::down(verdict)
            },
            None => {
                let last = self.last_views.get(&id).cloned();
                let mut view = last.unwrap_or_else(|| View::down(verdict));
                let still = self.still.contains(&id);
                let how = if still { "stands still" } else { "does not answer" };
                view.remarks.push(how.to_owned());
                return view;
            }
        };
        match members.map(|members| members.iter().find(|member| member.id == id)) {
            Some(Some(member)) if !member.votes => view.part = Part::Learner,
            Some(None) => view.remarks.push("no member".to_owned()),
            _ => {}
        }
        if self.unplugged.contains(&id) {
            view.remarks.push("disconnected".to_owned());
        }
        self.last_views.insert(id, view.clone());
        view
    }

    fn restart(&mut self, id: u64) -> Result<String, String> {
        self.refused.remove(&id);
        self.ended.remove(&id);
        self.tracer.note(0, || What::fault("restart", [id]));
        let started = self.cluster.start(id);
        self.watch();
        match started {
            Ok(()) => Ok(String::new()),
            // It runs and does not listen, which is an error; or it would not run, which is a
            // verdict.
            Err(error) if self.runs(id) => Err(error.to_string()),
            Err(error) => {
                let words = last_line(&self.cluster.node_output(id));
                let words = words.unwrap_or_else(|| error.to_string());
                self.refused.insert(id, words);
                Ok(format!("node {id} does not start\n"))
            }
        }
    }

    fn freeze(&mut self, id: u64) -> Result<(), String> {
        self.signal(id, Signal::STOP)?;
        self.still.insert(id);
        self.tell("hang", id, Some("its process was stopped".to_owned()));
        Ok(())
    }

    fn thaw(&mut self, id: u64) -> Result<(), String> {
        self.signal(id, Signal::CONT)?;
        self.still.remove(&id);
        self.tell("mend", id, None);
        Ok(())
    }

    fn tear(&mut self, id: u64) -> Result<String, String> {
        self.kill(id)?;
        let torn = disk::tear(&self.cluster.node_dir(id))?;
        self.tell("tear", id, Some("its last write".to_owned()));
        Ok(format!(
            "node {id} was killed, and the last {} bytes of its last write are not in {}\n\
             its log now: {}\n",
            torn.bytes,
            torn.file.file_name().unwrap_or_default().display(),
            torn.verdict
        ))
    }

    fn transfer(&mut self, id: u64) -> Result<String, String> {
        if self.served_by()? != id {
            self.order(&["RAFT", "TRANSFER", &id.to_string()])?;
            let end = Instant::now() + self.patience;
            while self.leads(true) != Some(id) {
                if Instant::now() >= end {
                    return Err(format!("node {id} does not lead yet"));
                }
                thread::sleep(super::LOOK);
            }
        }
        Ok(format!("node {id} leads\n"))
    }
}

/// The last line that a node printed.
fn last_line(output: &Path) -> Option<String> {
    let text = fs::read(output).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(last.strip_prefix("hardlog-kv: ").unwrap_or(last).to_owned())
}
