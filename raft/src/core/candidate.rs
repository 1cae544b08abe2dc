//! Elections (section 5.2), with a pre-vote before them where it is configured (dissertation 9.6).
//!
//! A candidate counts its own vote like anybody else's: only once it is durable.
//!
//! An election may begin in any term beyond the own one, and the paper takes the next. Where a voter
//! was found in a later term than it was asked in, it campaigns too, and its clock may be so much
//! faster that it is always gone when the candidate comes: then each election goes twice as far
//! ahead as the one before, until it meets that voter.

use std::collections::BTreeMap;

use hardlog::{EntryId, Term};

use super::{Core, LogView, Role, TERM_MAX, quorum::Tally};
use crate::{
    config::Config,
    durable::SaveNumber,
    message::{Body, NodeId},
};

/// How often the step from one election to the next is doubled at most.
const DOUBLINGS_MAX: u32 = 6;

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    answers: BTreeMap<NodeId, bool>,
    /// The save that holds the candidate's term and its vote for itself.
    own_vote: SaveNumber,
}

impl<L: LogView> Core<L> {
    pub(super) fn restart_election_timer(&mut self) {
        let Config { election_ticks_min: min, election_ticks_max: max, .. } = self.config;
        self.election_elapsed = 0;
        self.election_timeout = self.rng.between(min, max);
    }

    /// Leader stickiness: as long as a leader is heard, nobody helps to depose it. Where leases
    /// rest on that, a node that has just started may have heard one right before.
    pub(super) fn hears_a_leader(&self) -> bool {
        let min = self.config.election_ticks_min;
        let heard = self.leader.is_some() && self.election_elapsed < min;
        let may_have = self.config.lease_drift_percent.is_some() && self.ticks < u64::from(min);
        self.config.check_quorum && (heard || may_have)
    }

    /// A node that is no voter and whose removal is committed, or whose disk hangs or is full, has no business being elected.
    pub(super) fn may_campaign(&self) -> bool {
        let forgetful = self.abstains && !self.voters().is_empty();
        let able =
            !forgetful && !self.disk_hangs() && self.pause_ticks == 0 && self.violation.is_none();
        // A leader whose own removal is in its log and nowhere else has to be elected again, to
        // bring it to the others: they may need its vote and cannot win it (dissertation 4.2.2).
        let votes = self.configurations().iter().any(|c| c.membership.is_voter(self.id));
        able && (votes || self.counted_on && self.membership().is_learner(self.id))
    }

    /// Somebody whose log ends at `last` asks for the vote of this node. If it is a learner here it
    /// was made a voter there, and if it cannot vote for that one, its log may be the only one that
    /// others can vote for. So it campaigns, as one does that is no voter of its newest configuration
    /// (dissertation 4.2.2): by the votes of those who are, and until an entry of its is committed.
    pub(super) fn is_counted_on(&mut self, last: EntryId) {
        if self.membership().is_learner(self.id) && !self.is_up_to_date(last) {
            self.counted_on = true;
        }
    }

    /// Whether this node may have forgotten what it acknowledged: then it neither votes nor
    /// campaigns, unless there is no other voter.
    pub fn abstain(&mut self, abstains: bool) {
        self.abstains = abstains;
    }

    /// Begins an election now, without waiting for the timeout.
    pub fn campaign(&mut self) {
        if matches!(self.role, Role::Leader(_)) || !self.may_campaign() {
            return;
        }
        match self.term.checked_add(1) {
            Some(term) if self.config.pre_vote && term <= TERM_MAX => self.ask_whether(term),
            _ => self.ask_for_votes(false),
        }
    }

    /// The leader hands over: an election at once, without asking whether, since everybody still
    /// hears the leader (dissertation 3.10).
    pub(super) fn on_timeout_now(&mut self) {
        if self.may_campaign() {
            self.ask_for_votes(true);
        }
    }

    /// A voter had gone on to a later term before it was asked for its vote.
    pub(super) fn was_outpaced(&mut self) {
        if matches!(self.role, Role::Candidate(_)) {
            self.outpaced = self.outpaced.saturating_add(1).min(DOUBLINGS_MAX);
        }
    }

    /// The term of the next election, if there is one.
    fn next_term(&self) -> Option<Term> {
        let behind = self.term.max(self.ignored_term);
        let steps = [1_u64 << self.outpaced, 1].into_iter();
        steps.filter_map(|step| behind.checked_add(step)).find(|term| *term <= TERM_MAX)
    }

    fn ask_whether(&mut self, term: Term) {
        self.restart_election_timer();
        self.leader = None;
        let mut candidate = Candidate::default();
        candidate.answers.insert(self.id, true);
        self.role = Role::PreCandidate(candidate);
        let last = self.log.last_id();
        self.note_role("no leader was heard");
        self.note_asking(true);
        for peer in self.voters() {
            self.send_for_term(peer, term, Body::PreVote { last });
        }
        self.count_pre_votes();
    }

    fn ask_for_votes(&mut self, transfer: bool) {
        self.restart_election_timer();
        let Some(term) = self.next_term() else {
            self.leader = None;
            self.role = Role::Follower;
            self.note_role("there is no later term");
            return;
        };
        self.leader = None;
        self.term = term;
        self.vote = Some(self.id);
        let own_vote = self.due_number();
        self.role = Role::Candidate(Candidate { answers: BTreeMap::new(), own_vote });
        let last = self.log.last_id();
        let why = match (transfer, self.config.pre_vote) {
            (true, _) => "it was told to take over",
            (false, true) => "a majority would vote for it",
            (false, false) => "no leader was heard",
        };
        self.note_role(why);
        self.note_asking(false);
        for peer in self.voters() {
            self.promise(peer, Body::Vote { last, transfer });
        }
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: NodeId, term: Term, granted: bool) {
        let about_this = term.checked_sub(u64::from(granted)) == Some(self.term);
        let Role::PreCandidate(candidate) = &mut self.role else { return };
        if about_this {
            candidate.answers.insert(from, granted);
            self.count_pre_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        let Role::PreCandidate(candidate) = &self.role else { return };
        match self.membership().tally(|id| candidate.answers.get(&id).copied()) {
            Tally::Won => self.ask_for_votes(false),
            Tally::Lost => {
                self.become_follower(self.term, None, "a majority would not vote for it")
            }
            Tally::Open => {}
        }
    }

    pub(super) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.answers.insert(from, granted);
        self.count_votes();
    }

    /// The candidate's own vote counts once it is durable.
    pub(super) fn count_own_vote(&mut self) {
        let durable = self.saves.durable_number();
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidate.own_vote <= durable {
            candidate.answers.insert(self.id, true);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let Role::Candidate(candidate) = &self.role else { return };
        match self.membership().tally(|id| candidate.answers.get(&id).copied()) {
            Tally::Won => self.become_leader(),
            Tally::Lost => self.become_follower(self.term, None, "a majority votes against it"),
            Tally::Open => {}
        }
    }
}
