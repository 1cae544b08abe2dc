//! How a leader changes who takes part, and hands its leadership over (dissertation 3.10 and 4).
//!
//! INVARIANT: a leader begins a change only after an entry of its own term is committed and the
//! change before is. Without the first, two leaders of different terms could each change something
//! else, and the majorities of the two need not overlap (the flaw of 2015 in the dissertation's
//! single-server changes).
//! INVARIANT: nobody votes before it has caught up.
//!
//! A leader that is no voter of the newest configuration goes on until that is committed, does not
//! count itself meanwhile, and then steps down.

use hardlog::{Entry, EntryId, Index};

use super::{
    Change, ChangeError, Configuration, Core, LogView, Membership, Refused, Role, Violation,
    leader::Leader, membership::UNCOMMITTED_MAX, progress::Peer,
};
use crate::{
    config::Mutation,
    message::{Body, NodeId},
    payload::Payload,
};

/// Election timeouts for which a node that was removed is told so, if it is not heard.
const TELLING_TIMEOUTS: u32 = 4;

/// A leadership that is being handed over.
#[derive(Debug)]
pub(super) struct Transfer {
    to: NodeId,
    elapsed: u32,
    /// When the target was last told to campaign.
    told: Option<u32>,
}

impl<L: LogView> Core<L> {
    // ---- membership, as the leader

    /// Changes the membership; the entry that says so, should it ever commit there. The new
    /// configuration counts at once.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn propose_membership(&mut self, change: &Change) -> Result<EntryId, Refused> {
        let leader = self.leading()?;
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        let settled = leader.settled || self.config.has(Mutation::ChangeBeforeOwnCommit);
        let settled = settled && self.configurations.uncommitted() == 0;
        if !settled || self.membership().is_joint() {
            return Err(Refused::ChangeUnderWay);
        }
        let next = self.membership().after(change).map_err(Refused::Change)?;
        let leader = self.leading()?;
        let lags = |id: &NodeId| {
            let is_new = !self.membership().is_voter(*id);
            is_new && !leader.peers.get(id).is_some_and(Peer::has_caught_up)
        };
        if let Some(id) = next.voters().iter().find(lags) {
            return Err(Refused::NotCaughtUp(id));
        }
        if self.log.tail_bytes() >= self.config.unsaved_bytes_max {
            return Err(Refused::Busy);
        }
        Ok(self.append_membership(next))
    }

    fn leading(&self) -> Result<&Leader, Refused> {
        match &self.role {
            Role::Leader(leader) => Ok(leader),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => {
                Err(Refused::NotLeader { leader: self.leader })
            }
        }
    }

    fn append_membership(&mut self, membership: Membership) -> EntryId {
        let index = self.log.last_index() + 1;
        let entry = Entry::new(index, self.term, Payload::membership(&membership));
        let id = entry.id;
        self.log.append([entry]);
        self.configurations.push(Configuration { index, membership });
        self.note_members();
        self.meet_peers();
        // A majority may be smaller now, and nobody may be left whose answer would be awaited.
        self.advance_commit();
        self.finish_reads();
        id
    }

    /// Follows those that the newest configuration names, and for a while those that it names no
    /// more: a node that is removed would not know it otherwise, and would campaign for ever.
    fn meet_peers(&mut self) {
        let next = self.log.last_index() + 1;
        let ticks = TELLING_TIMEOUTS * self.config.election_ticks_max;
        let Role::Leader(leader) = &mut self.role else { return };
        let Configuration { index, membership } = self.configurations.newest();
        for (id, peer) in &mut leader.peers {
            if !membership.contains(*id) {
                peer.leaves(*index, ticks);
            }
        }
        for id in membership.members().keys().filter(|id| **id != self.id) {
            let peer = leader.peers.entry(*id).or_insert_with(|| Peer::new(next));
            // It was on its way out and comes back: one that leaves is sent no snapshot, so what was
            // found out about it is found out again.
            if peer.leaving.is_some() {
                *peer = Peer::new(next);
            }
        }
    }

    /// A new leader takes over who was removed and may not know it yet.
    pub(super) fn tell_the_removed(&mut self) {
        let next = self.log.last_index() + 1;
        let ticks = TELLING_TIMEOUTS * self.config.election_ticks_max;
        let Role::Leader(leader) = &mut self.role else { return };
        let newest = self.configurations.newest();
        let before = self.configurations.all().iter().flat_map(|c| c.membership.members().keys());
        for id in before.filter(|id| **id != self.id && !newest.membership.contains(**id)) {
            leader.peers.entry(*id).or_insert_with(|| Peer::new(next)).leaves(newest.index, ticks);
        }
    }

    /// What follows once the newest configuration is committed: a joint one is left, and a leader
    /// that has no vote steps down.
    pub(super) fn after_commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        if !leader.settled || self.configurations.uncommitted() > 0 {
            return;
        }
        if self.membership().is_joint() {
            let next = self.membership().leave_joint();
            self.append_membership(next);
        } else if !self.membership().is_voter(self.id) {
            if let Some(heir) = self.best_heir() {
                self.send(heir, Body::TimeoutNow);
            }
            self.become_follower(self.term, None, "it is no voter any more");
        }
    }

    /// Makes a voter of a learner that is to become one and has caught up.
    pub(super) fn promote_learners(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let learners = self.membership().learners();
        let due = learners.iter().find(|(id, promote)| {
            **promote && leader.peers.get(id).is_some_and(Peer::has_caught_up)
        });
        let Some(id) = due.map(|(id, _)| *id) else { return };
        // Whatever is in the way now, time passes and this is asked again.
        let _later = self.propose_membership(&Change::Promote { id });
    }

    // ---- membership, as a follower

    /// Whether the newest configuration here is committed and does not name this node.
    pub fn is_removed(&self) -> bool {
        let [committed] = self.configurations() else { return false };
        let membership = &committed.membership;
        !membership.is_empty() && !membership.contains(self.id)
    }

    /// Whether that is so, and was not known while `commit` was the commit index.
    pub(super) fn is_removed_since(&self, commit: Index) -> bool {
        self.configurations.newest().index > commit && self.is_removed()
    }

    /// The configurations among entries of a leader. None if one cannot be read: a node that does
    /// not know who takes part cannot go on.
    pub(super) fn read_configurations(
        &mut self,
        from: NodeId,
        entries: &[Entry],
    ) -> Option<Vec<Configuration>> {
        let mut found = Vec::new();
        for entry in entries.iter().filter(|entry| Payload::is_membership(entry)) {
            let index = entry.index();
            match Payload::of(entry) {
                Ok(Payload::Membership(membership)) if !membership.is_empty() => {
                    found.push(Configuration { index, membership });
                }
                _ => {
                    self.violation = Some(Violation::UnknownConfiguration { from, index });
                    return None;
                }
            }
        }
        Some(found)
    }

    /// As many of the entries as bring no more configurations beyond `commit` than a correct leader
    /// ever has: what a node keeps of them is bounded.
    pub(super) fn bounded(
        &self,
        mut entries: Vec<Entry>,
        mut configurations: Vec<Configuration>,
        commit: Index,
    ) -> (Vec<Entry>, Vec<Configuration>) {
        let Some(first) = entries.first().map(Entry::index) else {
            return (entries, configurations);
        };
        let open = |c: &&Configuration| c.index > commit;
        let before = self.configurations().iter().skip(1).filter(|c| c.index < first);
        let room = UNCOMMITTED_MAX.saturating_sub(before.filter(open).count());
        if let Some(end) = configurations.iter().filter(open).nth(room).map(|c| c.index) {
            entries.retain(|entry| entry.index() < end);
            configurations.retain(|configuration| configuration.index < end);
        }
        (entries, configurations)
    }

    /// Whether a candidate that is no voter here is to be ignored altogether, its term too: its log
    /// ends before this one, so it was removed, or is new, and cannot be elected by this node
    /// (dissertation 4.2.3, without relying on timeouts).
    pub(super) fn is_disturbed_by(&self, from: NodeId, body: &Body) -> bool {
        match body {
            Body::Vote { last, .. } | Body::PreVote { last } => {
                !self.membership().is_voter(from) && !self.is_up_to_date(*last)
            }
            _ => false,
        }
    }

    // ---- leadership transfer

    /// Hands the leadership to a voter, the one that has most of the log if none is named. Nothing
    /// is proposed meanwhile; after an election timeout it is given up. Whom it goes to.
    ///
    /// # Errors
    /// If this node does not lead, hands over to somebody else, or the node is no other voter.
    pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Result<NodeId, Refused> {
        let leader = self.leading()?;
        let under_way = leader.transfer.as_ref().map(|transfer| transfer.to);
        let to = to.or(under_way).or_else(|| self.best_heir());
        let to = to.ok_or(Refused::Change(ChangeError::NoVoter))?;
        if under_way.is_some_and(|other| other != to) {
            return Err(Refused::Transferring);
        }
        if to == self.id || !self.membership().is_voter(to) {
            return Err(Refused::Change(ChangeError::NotAVoter(to)));
        }
        let Role::Leader(leader) = &mut self.role else { return Ok(to) };
        if under_way.is_none() {
            leader.transfer = Some(Transfer { to, elapsed: 0, told: None });
        }
        self.hand_over();
        Ok(to)
    }

    /// To whom this leader is handing over.
    pub fn transferring(&self) -> Option<NodeId> {
        self.leading().ok()?.transfer.as_ref().map(|transfer| transfer.to)
    }

    fn best_heir(&self) -> Option<NodeId> {
        let leader = self.leading().ok()?;
        let voters = leader.peers.iter().filter(|(id, _)| self.membership().is_voter(**id));
        let best = voters.max_by_key(|(id, peer)| (peer.matched, std::cmp::Reverse(**id)));
        best.map(|(id, _)| *id)
    }

    pub(super) fn tick_transfer(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        transfer.elapsed += 1;
        if transfer.elapsed > self.config.election_ticks_max {
            leader.transfer = None;
        }
        self.hand_over();
    }

    /// Tells the target to campaign once its log equals this one; again if that seems lost.
    pub(super) fn hand_over(&mut self) {
        let last = self.log.last_index();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let Some(peer) = leader.peers.get(&transfer.to) else {
            leader.transfer = None;
            return;
        };
        let again = self.config.heartbeat_ticks;
        let told = transfer.told.is_some_and(|told| transfer.elapsed < told + again);
        if told || peer.matched < last {
            return;
        }
        transfer.told = Some(transfer.elapsed);
        leader.handed_over = true;
        let to = transfer.to;
        self.send(to, Body::TimeoutNow);
    }
}
