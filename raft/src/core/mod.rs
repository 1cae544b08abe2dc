//! Raft as a state machine: messages, ticks and proposals go in, a [`Ready`] comes out.
//!
//! ```text
//!   step(message)  tick()  propose(command)  read(token)      durable(proof)
//!         └───────────┴──────────┬──────────────┘                  │
//!                       follower / candidate / leader ◀────────────┘
//!                                │
//!   ready(): save, messages, promises, what may be applied        saved(number)
//! ```
//! Above it the driver, which owns the log; below it a [`LogView`] that only reads.
//!
//! The core is a function of what comes in: no clock, no thread, no I/O, no randomness but the
//! seed. Same inputs, same outputs. It never waits: what has to be written stays in an overlay
//! over the log until the driver says that the log took it.
//!
//! Invariants:
//! - `commit ≤ last`, and neither `term` nor `commit` ever goes back within a run.
//! - What a message promises is durable before it leaves: see [`crate::durable`].
//! - A leader never changes or drops an entry of its log while it leads.
//! - Nothing at or below `commit` is ever truncated. A message that would is a breach of Raft by
//!   somebody: the core says so in [`Core::violation`] and takes nothing more.
//!
//! - A configuration counts from the moment it is in the log, and is gone when it is truncated.
//!
//! It does not know client sessions, which are the state machine's.

// The package allows these; here they would break "same inputs, same outputs".
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod candidate;
mod follower;
mod leader;
mod lease;
mod log_view;
pub mod membership;
mod notes;
pub mod progress;
pub mod quorum;
mod reconfigure;
mod refused;
mod rng;
mod saves;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use hardlog::{EntryId, HardState, Index, Term};

use self::{
    candidate::Candidate,
    leader::Leader,
    log_view::Overlay,
    membership::Configurations,
    notes::{LEADER_ALIVE, Notes, OLDER_TERM},
    quorum::Voters,
    rng::Rng,
    saves::Saves,
};
pub use self::{
    follower::Install,
    log_view::{LogView, Slot},
    membership::{Change, ChangeError, Configuration, Membership},
    refused::{Refused, Violation},
};
use crate::{
    config::{Config, Mutation},
    durable::{Durable, Promise, SaveNumber},
    message::{AppendReply, Body, Message, NodeId},
    ready::{ReadReady, ReadToken, Ready, Save},
    trace::What,
};

/// Election timeouts for which a node whose disk is full or does not read does not campaign.
const PAUSE_TIMEOUTS: u32 = 10;

/// No term is later. Elections never get there: at one in each nanosecond it takes a century.
pub(crate) const TERM_MAX: Term = (1 << 62) - 1;

/// The part that a node plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads its term.
    Leader,
}

#[derive(Debug)]
enum Role {
    Follower,
    PreCandidate(Candidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// One node of Raft.
#[derive(Debug)]
pub struct Core<L> {
    id: NodeId,
    config: Config,
    configurations: Configurations,
    log: Overlay<L>,
    term: Term,
    vote: Option<NodeId>,
    commit: Index,
    leader: Option<NodeId>,
    role: Role,
    /// Ticks since the node started.
    ticks: u64,
    election_elapsed: u32,
    election_timeout: u32,
    /// It may have forgotten what it acknowledged, and has no vote until it has caught up.
    abstains: bool,
    /// Ticks for which this node leaves elections to others.
    pause_ticks: u32,
    /// Largest term of a candidate that was ignored since it is no voter here and behind. Others may
    /// have followed it there: the next election of this node begins beyond it.
    ignored_term: Term,
    /// Elections in a row in which a voter had gone on to a later term before it was asked.
    outpaced: u32,
    /// A learner that was asked for its vote by a candidate that it cannot vote for.
    counted_on: bool,
    rng: Rng,
    saves: Saves,
    violation: Option<Violation>,
    /// What the next [`Ready`] carries.
    out: Ready,
    /// What happened, if somebody wants to know.
    notes: Option<Notes>,
}

/// Who a node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node.
    pub id: NodeId,
    /// All voters of a cluster that begins with this node, itself among them; nobody for a node
    /// that is to be added to one. Counts only where the log knows of no configuration.
    pub voters: Voters,
    /// Seed of the election timeouts; two nodes should not share one.
    pub seed: u64,
}

impl<L: LogView> Core<L> {
    /// A node whose log never held a configuration: as [`Core::restored`] without any.
    ///
    /// # Panics
    /// If `config` does not pass [`Config::check`].
    #[must_use]
    pub fn new(identity: Identity, config: Config, log: L, saved: HardState) -> Self {
        Self::restored(identity, config, log, (saved, Vec::new()))
    }

    /// A node as its log left it: a follower that knows no leader. `saved` is the hard state and
    /// the configurations of the last save, as they came in [`Save`].
    ///
    /// # Panics
    /// If `config` does not pass [`Config::check`].
    #[must_use]
    pub fn restored(
        identity: Identity,
        config: Config,
        log: L,
        saved: (HardState, Vec<Configuration>),
    ) -> Self {
        config.check().expect("the caller checked the configuration");
        let (saved, mut configurations) = saved;
        if configurations.is_empty() {
            let membership = Membership::of_voters(identity.voters);
            configurations.push(Configuration { index: 0, membership });
        }
        let log = Overlay::new(log);
        // Everything before the window is committed, or it would not have been trimmed.
        let commit = saved.commit.max(log.first_index().saturating_sub(1)).min(log.last_index());
        let mut core = Self {
            id: identity.id,
            configurations: Configurations::new(configurations),
            term: saved.term,
            vote: saved.vote,
            commit,
            leader: None,
            role: Role::Follower,
            ticks: 0,
            election_elapsed: 0,
            election_timeout: 0,
            pause_ticks: 0,
            ignored_term: 0,
            outpaced: 0,
            counted_on: false,
            abstains: false,
            rng: Rng::new(identity.seed),
            saves: Saves::new(saved, log.last_index()),
            violation: None,
            out: Ready::default(),
            notes: None,
            config,
            log,
        };
        core.configurations.committed(commit);
        core.restart_election_timer();
        core
    }

    // ---- inputs

    /// Time passed.
    pub fn tick(&mut self) {
        self.ticks += 1;
        self.saves.tick(self.is_dirty());
        if matches!(self.role, Role::Leader(_)) {
            self.tick_leader();
            return;
        }
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        self.pause_ticks = self.pause_ticks.saturating_sub(1);
        if self.election_elapsed < self.election_timeout {
            return;
        }
        if self.may_campaign() {
            self.campaign();
        } else if self.is_removed() && self.leader.take().is_some() {
            self.note_role("it was removed");
        }
    }

    /// More time passed than ticks were made for: what rests on counted ticks is void.
    pub fn time_was_lost(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.lease.lapse();
        }
    }

    /// A message came in. Whatever it says, this neither panics nor forgets a promise.
    pub fn step(&mut self, message: Message) {
        let Message { from, to, term, .. } = message;
        // Whoever is not in the configuration here may be in a newer one (dissertation 4.1).
        if to != self.id || from == self.id || self.violation.is_some() {
            return;
        }
        if term > TERM_MAX {
            self.note_ignored_vote(&message, "there is no such term");
            return;
        }
        if self.is_disturbed_by(from, &message.body) {
            self.note_ignored_vote(&message, "no voter here, and its log is behind");
            if matches!(message.body, Body::Vote { .. }) {
                self.ignored_term = self.ignored_term.max(term);
            }
            return;
        }
        if term > self.term {
            match message.body {
                // Binds nobody: the term it names has not begun.
                Body::PreVote { .. } | Body::PreVoteReply { granted: true } => {}
                Body::Vote { transfer: false, .. } if self.hears_a_leader() => {
                    self.note_ignored_vote(&message, LEADER_ALIVE);
                    return;
                }
                ref body => {
                    if matches!(body, Body::VoteReply { granted: false }) {
                        self.was_outpaced();
                    }
                    let leader = body.is_from_leader().then_some(from);
                    self.become_follower(term, leader, "a later term");
                }
            }
        } else if term < self.term {
            self.answer_old_term(&message);
            return;
        }
        if message.body.is_from_leader() && !self.follow(from) {
            return;
        }
        self.dispatch(message);
    }

    fn dispatch(&mut self, message: Message) {
        let Message { from, term, body, .. } = message;
        match body {
            Body::PreVote { last } => self.on_pre_vote(from, term, last),
            Body::PreVoteReply { granted } => self.on_pre_vote_reply(from, term, granted),
            Body::Vote { last, .. } => self.on_vote(from, last),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted),
            Body::Append { prev, entries, commit } => self.on_append(from, prev, entries, commit),
            Body::AppendReply(reply) => self.on_append_reply(from, reply),
            Body::Heartbeat { commit, round } => self.on_heartbeat(from, commit, round),
            Body::HeartbeatReply { round } => self.on_heartbeat_reply(from, round),
            Body::Snapshot(chunk) => self.on_snapshot_chunk(from, chunk),
            Body::SnapshotReply { id, offset } => self.on_snapshot_reply(from, id, offset),
            Body::TimeoutNow => self.on_timeout_now(),
        }
    }

    /// A command to be replicated; its place in the log, should it ever commit there.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn propose(&mut self, command: &Bytes) -> Result<EntryId, Refused> {
        self.propose_command(command)
    }

    /// A linearizable read: once [`Ready::reads`] names `token`, whatever was committed before this
    /// call lies at or below its index.
    ///
    /// # Errors
    /// If this node does not lead, or too many reads wait.
    pub fn read(&mut self, token: ReadToken) -> Result<(), Refused> {
        self.register_read(token)
    }

    /// What the log proved durable: promises may be counted.
    pub fn durable(&mut self, proof: Durable) {
        self.saves.durable(proof.number());
        match &self.role {
            Role::Candidate(_) => self.count_own_vote(),
            Role::Leader(_) => self.advance_commit(),
            Role::Follower | Role::PreCandidate(_) => {}
        }
    }

    /// What the log was opened with is not durable yet, since there is no room for it: nothing rests
    /// on it before. It is save number what is returned. To be said at most once, at the start.
    pub fn found_undurable(&mut self) -> SaveNumber {
        self.saves.found_undurable()
    }

    // ---- outputs

    /// What is to be done now. Cheap when there is nothing.
    pub fn ready(&mut self) -> Ready {
        if matches!(self.role, Role::Leader(_)) {
            self.start_reads();
            self.replicate();
        }
        let mut ready = std::mem::take(&mut self.out);
        if self.is_dirty() {
            let (reset, truncate_from, entries) = self.log.changes();
            let hard_state = self.hard_state();
            let hard_state = (hard_state != self.saves.hard_state()).then_some(hard_state);
            let number = self.saves.next_number();
            let configurations = self.configurations.changes();
            ready.save =
                Some(Save { number, reset, truncate_from, entries, hard_state, configurations });
        }
        ready.apply_to = self.commit.min(self.saves.durable_index());
        ready
    }

    /// The log took the save of the last [`Ready`]; it is visible, not durable.
    ///
    /// # Panics
    /// If it is another save, or the log does not show it.
    pub fn saved(&mut self, number: SaveNumber) {
        assert!(number == self.saves.next_number(), "save {number} is not the one that is due");
        let hard_state = self.hard_state();
        self.log.written();
        self.configurations.accepted();
        self.saves.accepted(hard_state, self.log.last_index());
    }

    /// The log took a commit index outside a save, with a snapshot's mark.
    pub fn commit_saved(&mut self, commit: Index) {
        self.saves.commit_accepted(commit);
    }

    /// Gives up what the log did not take, as if the node had stopped before and started again:
    /// the way out when the disk is full, which `why` says. Promises about it are gone too. A leader steps down,
    /// since it can no longer lead a term whose entries it forgot, and for a while it leaves
    /// elections to nodes that have room for entries. It still votes.
    pub fn abandon_unsaved(&mut self, why: &'static str) {
        let due = self.saves.next_number();
        self.out.promises.retain(|promise| promise.needs() < due);
        self.out.send.clear();
        let shared = self.log.abandon().unwrap_or(0);
        self.configurations.abandon();
        self.saves.truncated(self.log.last_index() + 1);
        // What was committed after that is not what the log holds there now.
        self.commit = self.commit.min(shared).max(self.saves.hard_state().commit);
        // The log may hold older configurations than are needed: it did not take that they are.
        self.configurations.committed(self.commit);
        self.note(|core| What::Recover {
            verdict: "abandoned".into(),
            first: core.log.first_index(),
            last: core.log.last_index(),
            detail: Some(format!("{why}: back to what the log holds").into()),
        });
        self.note_commit();
        self.note_members();
        self.become_follower(self.term, None, why);
        self.pause();
    }

    /// For a while this node leaves elections to others.
    fn pause(&mut self) {
        self.pause_ticks = PAUSE_TIMEOUTS * self.config.election_ticks_max;
    }

    // ---- state

    /// Who this is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Who leads the current term, if it is known.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The commit index.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// Who takes part, by the newest configuration in the log, committed or not.
    pub fn membership(&self) -> &Membership {
        &self.configurations.newest().membership
    }

    /// The newest committed configuration and those after it, oldest first.
    pub fn configurations(&self) -> &[Configuration] {
        self.configurations.all()
    }

    /// Term of an entry, as far as the log knows it.
    pub fn term_at(&self, index: Index) -> Slot<Term> {
        self.log.term_at(index)
    }

    /// Id of the last entry, written or not.
    pub fn last_id(&self) -> EntryId {
        self.log.last_id()
    }

    /// The part that the node plays.
    pub fn role(&self) -> RoleName {
        match self.role {
            Role::Follower => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// The breach of Raft that stopped this node.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Term, vote and commit index as they should be written.
    pub fn hard_state(&self) -> HardState {
        let commit = self.commit.min(self.log.last_index());
        let unsaved = self.config.has(Mutation::SelfVoteNotSaved);
        let vote = self.vote.filter(|vote| !unsaved || *vote != self.id);
        HardState { term: self.term, vote, commit }
    }

    /// Bytes of entries that wait to be written.
    pub fn unsaved_bytes(&self) -> u64 {
        self.log.tail_bytes()
    }

    // ---- what all roles share

    /// Whether there is something to write that has to be durable. A commit index alone has not:
    /// it goes with the next batch, unless it says that this node was removed, after which no other
    /// may come.
    fn is_dirty(&self) -> bool {
        let saved = self.saves.hard_state();
        let promises = saved.term != self.term || saved.vote != self.vote;
        !self.log.is_clean() || promises || self.is_removed_since(saved.commit)
    }

    fn send(&mut self, to: NodeId, body: Body) {
        self.send_for_term(to, self.term, body);
    }

    fn send_for_term(&mut self, to: NodeId, term: Term, body: Body) {
        self.out.send.push(Message { from: self.id, to, term, body });
    }

    /// Sends once everything that the core knows now is durable.
    fn promise(&mut self, to: NodeId, body: Body) {
        let message = Message { from: self.id, to, term: self.term, body };
        let needs = self.due_number();
        self.out.promises.push(Promise::new(needs, message));
    }

    /// The save that covers the state as it is now.
    fn due_number(&self) -> SaveNumber {
        self.saves.next_number() - u64::from(!self.is_dirty())
    }

    /// The other voters.
    fn voters(&self) -> Vec<NodeId> {
        let membership = self.membership();
        let others = membership.members().keys().filter(|id| **id != self.id);
        others.copied().filter(|id| membership.is_voter(*id)).collect()
    }

    fn become_follower(&mut self, term: Term, leader: Option<NodeId>, why: &'static str) {
        assert!(term >= self.term, "term goes back from {} to {term}", self.term);
        let news = term > self.term || self.leader != leader || self.role() != RoleName::Follower;
        if term > self.term || self.config.has(Mutation::VoteForgotten) && leader.is_none() {
            self.term = term;
            self.vote = None;
        }
        let led = std::mem::replace(&mut self.role, Role::Follower);
        self.leader = leader;
        if let Role::Leader(mut led) = led {
            self.out.reads_lost.extend(led.take_reads());
            self.restart_election_timer();
        }
        if leader.is_some() {
            (self.outpaced, self.counted_on) = (0, false);
            self.restart_election_timer();
        }
        if news {
            self.note_role(why);
        }
    }

    /// Takes the sender for the leader of the current term. False if that cannot be.
    fn follow(&mut self, from: NodeId) -> bool {
        if self.leader.is_some_and(|leader| leader != from) {
            self.violation = Some(Violation::TwoLeaders { from, term: self.term });
            return false;
        }
        self.become_follower(self.term, Some(from), "it leads");
        true
    }

    /// Somebody lives in an older term: it learns of the current one, everything else is void.
    fn answer_old_term(&mut self, message: &Message) {
        let body = match message.body {
            Body::Append { prev, .. } => Body::AppendReply(AppendReply::Rejected {
                prev: prev.index,
                conflict_term: None,
                conflict_index: 0,
            }),
            Body::Heartbeat { .. } | Body::Snapshot(_) => Body::HeartbeatReply { round: 0 },
            Body::Vote { .. } => {
                self.note_ignored_vote(message, OLDER_TERM);
                Body::VoteReply { granted: false }
            }
            Body::PreVote { .. } => {
                self.note_ignored_vote(message, OLDER_TERM);
                Body::PreVoteReply { granted: false }
            }
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply(_)
            | Body::HeartbeatReply { .. }
            | Body::SnapshotReply { .. }
            | Body::TimeoutNow => return,
        };
        self.promise(message.from, body);
    }

    fn set_commit(&mut self, index: Index) {
        assert!(
            index >= self.commit && index <= self.log.last_index(),
            "commit {} to {index}, last {}",
            self.commit,
            self.log.last_index()
        );
        let news = index > self.commit;
        self.commit = index;
        self.configurations.committed(index);
        if news {
            self.note_commit();
        }
    }

    /// The disk has not answered for so long that it counts as hung.
    pub(crate) fn disk_hangs(&self) -> bool {
        let max = self.config.disk_ticks_max;
        max > 0 && self.saves.oldest_age() > max
    }
}

impl Ready {
    fn read_done(&mut self, token: ReadToken, index: Index) {
        self.reads.push(ReadReady { token, index });
    }
}
