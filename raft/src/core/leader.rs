//! What a leader does: replicate, count, commit (sections 5.3, 5.4.2), make sure that it still
//! leads, and answer reads without writing (dissertation 6.2, 6.4).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hardlog::{Entry, EntryId, Index};

use super::{
    Core, LogView, Membership, Refused, Role, Slot,
    lease::Lease,
    log_view::{Overlay, entry_bytes},
    progress::{Limits, Peer, Progress},
    reconfigure::Transfer,
};
use crate::{
    config::{Config, Mutation},
    message::{AppendReply, Body, Message, NodeId},
    payload::Payload,
    ready::ReadToken,
};

/// Heartbeats that a removed node still gets once it holds the configuration without it and that is
/// committed: one of them brings the commit index.
const TOLD_HEARTBEATS: u32 = 4;

/// What a node keeps while it leads.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) peers: BTreeMap<NodeId, Peer>,
    heartbeat_elapsed: u32,
    /// An entry of the leader's own term is committed, so its commit index is current.
    pub(super) settled: bool,
    pub(super) transfer: Option<Transfer>,
    /// Somebody was told to campaign whatever it hears of this leader. For the rest of the term
    /// nobody's silence proves anything.
    pub(super) handed_over: bool,
    /// Index and bytes of entries that it proposed and that are not committed.
    uncommitted: VecDeque<(Index, u64)>,
    uncommitted_bytes: u64,
    reads: Reads,
    pub(super) lease: Lease,
}

/// Reads that wait for the proof that this node still leads. One round is on its way at a time;
/// what comes meanwhile shares the next.
#[derive(Debug, Default)]
struct Reads {
    /// The round of the last heartbeats.
    round: u64,
    /// The one that `asked` waits for.
    asked_round: u64,
    waiting: Vec<ReadToken>,
    asked: Vec<ReadToken>,
    /// Commit index when the round began.
    index: Index,
}

impl Leader {
    /// Reads that will not be answered.
    pub(super) fn take_reads(&mut self) -> Vec<ReadToken> {
        let mut tokens = std::mem::take(&mut self.reads.asked);
        tokens.append(&mut self.reads.waiting);
        tokens
    }
}

impl<L: LogView> Core<L> {
    pub(super) fn become_leader(&mut self) {
        let next = self.log.last_index() + 1;
        let others = self.membership().members().keys().filter(|id| **id != self.id);
        let peers = others.map(|id| (*id, Peer::new(next))).collect();
        self.role = Role::Leader(Box::new(Leader {
            peers,
            heartbeat_elapsed: 0,
            settled: false,
            transfer: None,
            handed_over: false,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            reads: Reads::default(),
            lease: Lease::default(),
        }));
        self.tell_the_removed();
        self.leader = Some(self.id);
        (self.outpaced, self.counted_on) = (0, false);
        self.election_elapsed = 0;
        self.note_role("a majority votes for it");
        if self.config.leader_no_op {
            self.log.append([Entry::new(next, self.term, Payload::no_op())]);
        }
        self.send_heartbeats();
    }

    pub(super) fn tick_leader(&mut self) {
        self.election_elapsed += 1;
        if self.disk_hangs() {
            self.become_follower(self.term, None, "its disk hangs");
            return;
        }
        if self.election_elapsed >= self.config.election_ticks_min {
            self.election_elapsed = 0;
            if self.config.check_quorum && !self.heard_a_quorum() {
                self.become_follower(self.term, None, "no majority was heard");
                return;
            }
        }
        let (last, ticks_max) = (self.log.last_index(), self.config.election_ticks_min);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.peers.values_mut().for_each(|peer| peer.tick(last, ticks_max));
        let (commit, left) = (self.commit, TOLD_HEARTBEATS * self.config.heartbeat_ticks);
        leader.peers.retain(|_, peer| peer.stays(commit, left));
        self.tick_transfer();
        self.promote_learners();
        let Role::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_elapsed += 1;
        if leader.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.send_heartbeats();
        }
    }

    /// Whether a majority was heard since this was last asked.
    fn heard_a_quorum(&mut self) -> bool {
        let Role::Leader(leader) = &mut self.role else { return false };
        let heard = |id| id == self.id || leader.peers.get(&id).is_some_and(|p| p.active);
        let membership = &self.configurations.newest().membership;
        let heard = membership.agreed(|id| u64::from(heard(id))) == 1;
        leader.peers.values_mut().for_each(|peer| peer.active = false);
        heard
    }

    fn send_heartbeats(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_elapsed = 0;
        if self.config.lease_drift_percent.is_some() {
            leader.reads.round += 1;
            leader.lease.sent(leader.reads.round, self.ticks, &self.config);
        }
        let round = leader.reads.round;
        let beats: Vec<_> =
            leader.peers.iter().map(|(id, peer)| (*id, self.commit.min(peer.matched))).collect();
        for (peer, commit) in beats {
            self.send(peer, Body::Heartbeat { commit, round });
        }
    }

    // ---- proposals

    pub(super) fn propose_command(&mut self, command: &Bytes) -> Result<EntryId, Refused> {
        let not_leader = Refused::NotLeader { leader: self.leader };
        let Role::Leader(leader) = &mut self.role else { return Err(not_leader) };
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        let len = command.len() as u64;
        if len > self.config.command_bytes_max {
            return Err(Refused::TooLarge);
        }
        if leader.uncommitted_bytes >= self.config.uncommitted_bytes_max
            || self.log.tail_bytes() >= self.config.unsaved_bytes_max
        {
            return Err(Refused::Busy);
        }
        let entry = Entry::new(self.log.last_index() + 1, self.term, Payload::command(command));
        let bytes = entry_bytes(&entry);
        leader.uncommitted.push_back((entry.index(), bytes));
        leader.uncommitted_bytes += bytes;
        let id = entry.id;
        self.log.append([entry]);
        Ok(id)
    }

    // ---- replication

    /// Sends each follower what it may be sent. Called once for all that came in meanwhile, so
    /// that proposals share requests.
    pub(super) fn replicate(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let limits =
            Limits { count: self.config.inflight_max, bytes: self.config.inflight_bytes_max };
        let membership = &self.configurations.newest().membership;
        let mut unreadable = false;
        for (id, peer) in &mut leader.peers {
            while peer.may_send(self.log.last_index(), limits) {
                let Some((prev, entries)) = next_request(&self.log, peer, &self.config) else {
                    peer.progress = Progress::Snapshot;
                    if peer.leaving.is_none() {
                        self.out.snapshots.wanted.push(*id);
                    }
                    break;
                };
                if entries.is_empty() && matches!(peer.progress, Progress::Replicate { .. }) {
                    unreadable |= membership.is_voter(*id);
                    break; // The next entry is faulty here: nothing to send.
                }
                let len = entries.iter().map(entry_bytes).sum();
                peer.sent(prev.index + entries.len() as u64, len);
                let body = Body::Append { prev, entries, commit: self.commit };
                self.out.send.push(Message { from: self.id, to: *id, term: self.term, body });
            }
        }
        if unreadable {
            // Whoever holds it, or never had it, can go on; this node cannot bring anybody past it.
            self.become_follower(self.term, None, "it cannot read an entry that others need");
            self.pause();
        }
    }

    pub(super) fn on_append_reply(&mut self, from: NodeId, reply: AppendReply) {
        let (first, last) = (self.log.first_index(), self.log.last_index());
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard();
        match reply {
            AppendReply::Accepted { matched } if matched > last => {} // Nobody was sent that.
            AppendReply::Accepted { matched } => {
                let wrong = self.config.has(Mutation::NextTakenForMatch);
                let matched = if wrong { matched.max(peer.next - 1) } else { matched };
                if peer.accepted(matched, first) {
                    self.advance_commit();
                    self.hand_over();
                }
            }
            AppendReply::Rejected { prev, conflict_term, conflict_index } => {
                if peer.lost_some(prev, conflict_term, conflict_index) {
                    return;
                }
                if !peer.believes_rejection(prev) || prev > last {
                    return;
                }
                let next = match conflict_term {
                    None => conflict_index.min(last + 1),
                    Some(term) => {
                        // Where the logs meet, the follower's term is at most this one, so the
                        // leader's is too: skip all of its later terms at once. If it does not know
                        // the follower's term at all, skip the follower's whole run as well.
                        let end = self.log.last_of(term, prev);
                        let known = self.log.term_at(end) == Slot::Present(term);
                        let next = if known { end + 1 } else { conflict_index.min(end + 1) };
                        next.min(prev)
                    }
                };
                peer.back_up(next.max(1));
            }
        }
    }

    pub(super) fn on_heartbeat_reply(&mut self, from: NodeId, round: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard();
        peer.round = peer.round.max(round.min(leader.reads.round));
        if peer.beat() {
            let before = peer.next - 1;
            if let Some(term) = self.log.term_at(before).present() {
                let prev = EntryId::new(before, term);
                let commit = self.commit;
                self.send(from, Body::Append { prev, entries: Vec::new(), commit });
            } else {
                // What was lost is trimmed by now: probe, which leads to a snapshot.
                peer.back_up(0);
            }
        }
        self.finish_reads();
    }

    pub(super) fn on_snapshot_reply(&mut self, from: NodeId, id: EntryId, offset: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard();
        if peer.progress == Progress::Snapshot {
            self.out.snapshots.chunks_wanted.push((from, id, offset));
        }
    }

    /// The snapshot could not be sent: try again from scratch at the next heartbeat's answer.
    pub fn snapshot_failed(&mut self, to: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(peer) = leader.peers.get_mut(&to) {
            peer.snapshot_failed();
        }
    }

    /// What this node knows of its followers while it leads.
    pub fn followers(&self) -> Option<&BTreeMap<NodeId, Peer>> {
        match &self.role {
            Role::Leader(leader) => Some(&leader.peers),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Commits what a majority holds durably, if it is of the leader's own term: an entry of an
    /// older term commits only with one after it (Figure 8). The leader counts itself by its own
    /// disk, like anybody else.
    pub(super) fn advance_commit(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let own = self.saves.durable_index();
        let held =
            |id| if id == self.id { own } else { leader.peers.get(&id).map_or(0, |p| p.matched) };
        let membership = &self.configurations.newest().membership;
        let agreed = match self.config.has(Mutation::UnsortedQuorum) {
            true => {
                let members = membership.members();
                members.keys().map(|id| held(*id)).nth(members.len() / 2).unwrap_or(0)
            }
            false => membership.agreed(held),
        };
        let own_term = self.log.term_at(agreed) == Slot::Present(self.term);
        if agreed <= self.commit || !(own_term || self.config.has(Mutation::OldTermCounted)) {
            return;
        }
        leader.settled = true;
        while let Some((index, bytes)) = leader.uncommitted.front().copied() {
            if index > agreed {
                break;
            }
            leader.uncommitted.pop_front();
            leader.uncommitted_bytes -= bytes;
        }
        self.set_commit(agreed);
        self.after_commit();
    }

    // ---- reads

    pub(super) fn register_read(&mut self, token: ReadToken) -> Result<(), Refused> {
        let not_leader = Refused::NotLeader { leader: self.leader };
        let Role::Leader(leader) = &mut self.role else { return Err(not_leader) };
        if leader.reads.waiting.len() + leader.reads.asked.len() >= self.config.pending_max {
            return Err(Refused::Busy);
        }
        leader.reads.waiting.push(token);
        Ok(())
    }

    /// Begins a round for the reads that wait, unless one is on its way or the commit index may be
    /// behind what earlier leaders committed.
    pub(super) fn start_reads(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let reads = &mut leader.reads;
        if !leader.settled || reads.waiting.is_empty() {
            return;
        }
        if self.config.lease_drift_percent.is_some() && !leader.handed_over {
            let membership = &self.configurations.newest().membership;
            let confirmed = confirmed(self.id, membership, reads.round, &leader.peers);
            if leader.lease.holds(confirmed, self.ticks, &self.config) {
                for token in reads.waiting.drain(..) {
                    self.out.read_done(token, self.commit);
                }
                return;
            }
        }
        if !reads.asked.is_empty() {
            return;
        }
        reads.round += 1;
        reads.asked_round = reads.round;
        reads.index = self.commit;
        reads.asked = std::mem::take(&mut reads.waiting);
        self.send_heartbeats();
        self.finish_reads();
    }

    pub(super) fn finish_reads(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Leader { peers, reads, .. } = &mut **leader;
        let membership = &self.configurations.newest().membership;
        if confirmed(self.id, membership, reads.round, peers) < reads.asked_round {
            return;
        }
        for token in reads.asked.drain(..) {
            self.out.read_done(token, reads.index);
        }
    }
}

/// The last round of heartbeats that a majority answered.
fn confirmed(
    own: NodeId,
    membership: &Membership,
    round: u64,
    peers: &BTreeMap<NodeId, Peer>,
) -> u64 {
    membership.agreed(|id| if id == own { round } else { peers.get(&id).map_or(0, |p| p.round) })
}

/// What to send from `peer.next` on, after which entry; none if that is trimmed. No entries if the
/// follower has everything, or if what comes next is faulty.
fn next_request<L: LogView>(
    log: &Overlay<L>,
    peer: &Peer,
    config: &Config,
) -> Option<(EntryId, Vec<Entry>)> {
    let before = peer.next - 1;
    let term = log.term_at(before).present()?;
    let entries = match log.entries(peer.next, config.append_bytes_max) {
        Slot::Present(entries) => entries,
        Slot::Beyond | Slot::Faulty => Vec::new(),
        Slot::Trimmed => return None,
    };
    Some((EntryId::new(before, term), entries))
}
