//! What a follower does with a leader's messages, and what any node does with a vote request
//! (sections 5.2 to 5.4 and 7).

use hardlog::{Entry, EntryId, Index, Term};

use super::{
    Configuration, Core, LogView, Slot, Violation,
    notes::{ABSTAINS, LEADER_ALIVE, LOG_BEHIND, OLDER_TERM},
};
use crate::{
    config::Mutation,
    message::{AppendReply, Body, NodeId, SnapshotChunk},
};

/// What came of completing a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// The log is to begin anew after it: the next save says so, and must mark the snapshot.
    Replace,
    /// The log holds everything that it covers.
    Superfluous,
}

impl<L: LogView> Core<L> {
    // ---- votes

    /// At least as up-to-date as this node's log (section 5.4.1).
    pub(super) fn is_up_to_date(&self, last: EntryId) -> bool {
        let own = self.log.last_id();
        (last.term, last.index) >= (own.term, own.index)
    }

    pub(super) fn on_pre_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        // A node whose disk hangs could not keep what it says: its vote would never leave it.
        let silent = match (self.hears_a_leader(), self.disk_hangs(), self.abstains) {
            (true, ..) => Some(LEADER_ALIVE),
            (false, true, _) => Some("its own disk hangs"),
            (false, false, true) => Some(ABSTAINS),
            (false, false, false) => None,
        };
        if silent.is_some() {
            self.note_vote(from, (term, true), silent);
            return;
        }
        self.is_counted_on(last);
        let granted = term > self.term && self.is_up_to_date(last);
        let refused = if term > self.term { LOG_BEHIND } else { OLDER_TERM };
        self.note_vote(from, (term, true), (!granted).then_some(refused));
        // Binds nobody, so nothing has to be durable before it leaves.
        let about = if granted { term } else { self.term };
        self.send_for_term(from, about, Body::PreVoteReply { granted });
    }

    pub(super) fn on_vote(&mut self, from: NodeId, last: EntryId) {
        let free = match self.vote {
            Some(vote) => vote == from,
            None => self.leader.is_none(),
        };
        self.is_counted_on(last);
        let granted = free && !self.abstains && self.is_up_to_date(last);
        if granted {
            self.vote = Some(from);
            self.restart_election_timer();
        }
        let refused = match (free, self.vote) {
            (true, _) if self.abstains => ABSTAINS,
            (true, _) => LOG_BEHIND,
            (false, Some(_)) => "voted for another",
            (false, None) => "another leads this term",
        };
        self.note_vote(from, (self.term, false), (!granted).then_some(refused));
        self.promise(from, Body::VoteReply { granted });
    }

    // ---- replication

    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        prev: EntryId,
        entries: Vec<Entry>,
        commit: Index,
    ) {
        if !follow_each_other(prev, &entries, self.term) {
            return;
        }
        if self.log.tail_bytes() >= self.config.unsaved_bytes_max {
            return; // The log does not keep up; the leader will send again.
        }
        if let Some(rejected) = self.conflict(prev) {
            self.promise(from, Body::AppendReply(rejected));
            return;
        }
        let Some(configurations) = self.read_configurations(from, &entries) else { return };
        let (entries, configurations) =
            self.bounded(entries, configurations, commit.max(self.commit));
        let matched = prev.index + entries.len() as u64;
        if self.config.has(Mutation::StaleTruncates) && matched < self.log.last_index() {
            let from = matched.max(self.commit) + 1;
            self.log.truncate(from);
            self.saves.truncated(from);
        }
        if !self.take_entries(from, entries, configurations) {
            return;
        }
        let commit = commit.min(matched);
        if commit > self.commit {
            self.set_commit(commit);
        }
        self.promise(from, Body::AppendReply(AppendReply::Accepted { matched }));
    }

    /// Why the entry before the sent ones does not match, if it does not.
    fn conflict(&self, prev: EntryId) -> Option<AppendReply> {
        let (conflict_term, conflict_index) = match self.log.term_at(prev.index) {
            Slot::Present(term) if term == prev.term => return None,
            Slot::Present(term) => {
                let start = self.log.run_start(term, prev.index);
                (Some(term), start)
            }
            Slot::Beyond => (None, self.log.last_index() + 1),
            Slot::Trimmed | Slot::Faulty => (None, self.log.first_index()),
        };
        Some(AppendReply::Rejected { prev: prev.index, conflict_term, conflict_index })
    }

    /// Stores what is not there yet. Entries that are there truncate nothing: requests arrive out
    /// of order. False if a committed entry would have to go.
    fn take_entries(
        &mut self,
        from: NodeId,
        entries: Vec<Entry>,
        configurations: Vec<Configuration>,
    ) -> bool {
        let known =
            entries.iter().take_while(|e| self.log.term_at(e.index()) == Slot::Present(e.term()));
        let known = known.count();
        let Some(first) = entries.get(known).map(Entry::index) else { return true };
        if first <= self.log.last_index() {
            if first <= self.commit {
                let commit = self.commit;
                self.violation = Some(Violation::CommittedConflict { from, index: first, commit });
                return false;
            }
            self.log.truncate(first);
            self.saves.truncated(first);
            if self.configurations.truncated(first) {
                self.note_members();
            }
        }
        self.log.append(entries.into_iter().skip(known));
        let new = configurations.into_iter().filter(|configuration| configuration.index >= first);
        for configuration in new {
            self.configurations.push(configuration);
            self.note_members();
        }
        true
    }

    pub(super) fn on_heartbeat(&mut self, from: NodeId, commit: Index, round: u64) {
        let last = self.log.last_index();
        if commit > last {
            // A leader says no more than what was acknowledged to it: the disk lost some of that
            // since, and the leader would not find out before it has something new to send.
            let (prev, conflict_index) = (commit, last + 1);
            let rejected = AppendReply::Rejected { prev, conflict_term: None, conflict_index };
            self.promise(from, Body::AppendReply(rejected));
        }
        let commit = commit.min(last);
        if commit > self.commit {
            self.set_commit(commit);
        }
        self.promise(from, Body::HeartbeatReply { round });
    }

    // ---- snapshots

    pub(super) fn on_snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotChunk) {
        let index = chunk.offer.id.index;
        if index <= self.commit {
            let matched = index;
            self.promise(from, Body::AppendReply(AppendReply::Accepted { matched }));
            return;
        }
        self.out.snapshots.chunks.push((from, chunk));
    }

    /// Asks the leader for the next chunk.
    pub fn want_chunk(&mut self, from: NodeId, id: EntryId, offset: u64) {
        if self.leader == Some(from) && !self.disk_hangs() {
            self.send(from, Body::SnapshotReply { id, offset });
        }
    }

    /// A snapshot that `from` sent is whole and verified on disk.
    ///
    /// Whatever the log holds beyond it stays only if the log holds the snapshot's last entry
    /// (section 7). `configuration` is the newest one that the snapshot covers.
    ///
    /// # Panics
    /// If the configuration is newer than the snapshot.
    pub fn install_snapshot(
        &mut self,
        from: NodeId,
        id: EntryId,
        configuration: Configuration,
    ) -> Install {
        assert!(configuration.index <= id.index, "{configuration:?} in a snapshot at {id:?}");
        let holds_it = self.log.term_at(id.index) == Slot::Present(id.term);
        let install = if id.index <= self.commit {
            Install::Superfluous
        } else if holds_it {
            self.set_commit(id.index);
            Install::Superfluous
        } else {
            self.log.reset(id);
            self.saves.reset();
            self.configurations.reset(configuration);
            self.note_members();
            self.set_commit(id.index);
            Install::Replace
        };
        if self.leader == Some(from) {
            let matched = id.index;
            self.promise(from, Body::AppendReply(AppendReply::Accepted { matched }));
        }
        install
    }
}

/// Whether entries can stand in a log as they came: no holes, terms that never go back nor reach
/// beyond the sender's.
fn follow_each_other(prev: EntryId, entries: &[Entry], term: Term) -> bool {
    let mut last = prev;
    let in_order = entries.iter().all(|entry| {
        let fits = last.index.checked_add(1) == Some(entry.index())
            && entry.term() >= last.term
            && entry.id.tag == 0;
        last = entry.id;
        fits
    });
    in_order && last.term <= term && last.index <= hardlog::entry::INDEX_MAX
}
