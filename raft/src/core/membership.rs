//! Who takes part (section 6; dissertation 4): voters, learners, and how they change.
//!
//! A [`Membership`] is a value. A change makes another one of it, and that one stands as an entry
//! in the log; it counts from the moment it is there, committed or not, and is gone when the entry
//! is truncated. `Configurations` is that stack: the newest one that is committed, and those
//! after it.
//!
//! Two kinds of change:
//! - one server: add a learner, promote it, remove a node, say where it is now. Majorities before
//!   and after overlap, so the change is one entry (dissertation 4.1).
//! - any set of voters: a *joint* membership, in which the majority of the old and the majority of
//!   the new voters both have to agree, then the new one alone (section 6). The leader leaves the
//!   joint one by itself.
//!
//! INVARIANT: voters and learners of a membership are its members, no learner is a voter, and
//! there is a voter, unless nobody is a member at all: that is a node which waits to be added.
//! INVARIANT: a membership fits a metadata slot of the log.
//!
//! When a change is allowed is the leader's business, in `core/reconfigure.rs`.

use std::collections::{BTreeMap, BTreeSet};

use hardlog::Index;
use serde::{Deserialize, Serialize};

use super::quorum::{self, Tally, Voters};
use crate::{
    codec::{decode_small, encode_small},
    member::{ABOUT_MAX, Member},
    message::NodeId,
};

/// Members of a cluster at most.
pub const MEMBERS_MAX: usize = 32;
/// Bytes of a membership at most; a metadata slot takes no more.
pub(crate) const ENCODED_MAX: u64 = 4096;
/// Configurations that may be in the log and not known to be committed. A leader has one at most.
pub(super) const UNCOMMITTED_MAX: usize = 2;

/// Who takes part in a cluster, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    members: BTreeMap<NodeId, Member>,
    voters: Voters,
    /// The voters before, while the membership is joint.
    outgoing: Voters,
    /// Those that only learn, and whether they become voters once they have caught up.
    learners: BTreeMap<NodeId, bool>,
}

/// A membership and the index of the entry that it came with; 0 for that of the first start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Where it stands in the log.
    pub index: Index,
    /// Who takes part.
    pub membership: Membership,
}

/// A wish to change the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node that is sent everything and counts for nothing.
    AddLearner {
        /// Which node; it must be new.
        id: NodeId,
        /// How it is reached.
        member: Member,
        /// Whether the leader makes it a voter as soon as it has caught up.
        promote: bool,
    },
    /// A learner that has caught up becomes a voter.
    Promote {
        /// Which node.
        id: NodeId,
    },
    /// A member is reached in another way, or the service says something else about it. Who votes
    /// stays as it is.
    Update {
        /// Which node.
        id: NodeId,
        /// How it is reached from now on.
        member: Member,
    },
    /// A node is to take part no longer. It may be the leader itself.
    Remove {
        /// Which node.
        id: NodeId,
    },
    /// Replaces all voters at once, through a joint membership. New voters must be learners that
    /// have caught up; voters that are not among them are removed.
    Voters {
        /// The new ones.
        ids: BTreeSet<NodeId>,
    },
}

/// Why a change makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It is a member already.
    #[error("node {0} is a member already")]
    Member(NodeId),
    /// It is no member.
    #[error("node {0} is no member")]
    Unknown(NodeId),
    /// It is no learner.
    #[error("node {0} is no learner")]
    NotALearner(NodeId),
    /// It is no voter, or the leader itself.
    #[error("node {0} is no other voter")]
    NotAVoter(NodeId),
    /// Somebody has to vote.
    #[error("no voter would be left")]
    NoVoter,
    /// Two majorities decide at the moment; the leader soon leaves that state by itself.
    #[error("the membership is joint")]
    Joint,
    /// The voters are these already.
    #[error("nothing would change")]
    Nothing,
    /// More than [`MEMBERS_MAX`] members, more than [`ABOUT_MAX`] bytes about one, or id 0.
    #[error("a member beyond the limits")]
    Limits,
}

impl Membership {
    /// These voters, nothing known about them.
    #[must_use]
    pub fn of_voters(voters: Voters) -> Self {
        Self::of(voters.iter().map(|id| (id, Member::default())))
    }

    /// These voters and how to reach them.
    pub fn of(members: impl IntoIterator<Item = (NodeId, Member)>) -> Self {
        let members: BTreeMap<_, _> = members.into_iter().collect();
        Self { voters: members.keys().copied().collect(), members, ..Self::default() }
    }

    // ---- who

    /// All members, in order of their ids.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Whether the node takes part at all.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether the node votes, by the old or the new set.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(id) || self.outgoing.contains(id)
    }

    /// Whether the node only learns.
    #[must_use]
    pub fn is_learner(&self, id: NodeId) -> bool {
        self.learners.contains_key(&id)
    }

    /// The voters; of a joint membership the new ones.
    #[must_use]
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// The old voters of a joint membership, else nobody.
    #[must_use]
    pub fn outgoing(&self) -> &Voters {
        &self.outgoing
    }

    /// The learners, and whether they become voters once they have caught up.
    #[must_use]
    pub fn learners(&self) -> &BTreeMap<NodeId, bool> {
        &self.learners
    }

    /// Whether two majorities have to agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Nobody takes part: a node that waits to be added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    // ---- counting

    /// How a vote stands.
    pub fn tally(&self, answer: impl Fn(NodeId) -> Option<bool>) -> Tally {
        quorum::joint_tally(&self.voters, &self.outgoing, answer)
    }

    /// The largest value that every majority that has to agree has reached.
    pub fn agreed(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        quorum::joint_agreed(&self.voters, &self.outgoing, value)
    }

    // ---- changes

    /// The membership after a change.
    ///
    /// # Errors
    /// If the change makes no sense here. A joint membership takes none.
    pub fn after(&self, change: &Change) -> Result<Self, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
        let mut next = self.clone();
        match change {
            Change::AddLearner { id, member, promote } => {
                if self.contains(*id) {
                    return Err(ChangeError::Member(*id));
                }
                next.members.insert(*id, member.clone());
                next.learners.insert(*id, *promote);
            }
            Change::Promote { id } => {
                if next.learners.remove(id).is_none() {
                    return Err(ChangeError::NotALearner(*id));
                }
                next.voters.insert(*id);
            }
            Change::Update { id, member } => match next.members.get_mut(id) {
                None => return Err(ChangeError::Unknown(*id)),
                Some(before) if before == member => return Err(ChangeError::Nothing),
                Some(before) => before.clone_from(member),
            },
            Change::Remove { id } => {
                if next.members.remove(id).is_none() {
                    return Err(ChangeError::Unknown(*id));
                }
                next.learners.remove(id);
                next.voters.remove(*id);
            }
            Change::Voters { ids } => next = self.joint(ids)?,
        }
        if next.voters.is_empty() {
            return Err(ChangeError::NoVoter);
        }
        if next.is_sound() { Ok(next) } else { Err(ChangeError::Limits) }
    }

    fn joint(&self, ids: &BTreeSet<NodeId>) -> Result<Self, ChangeError> {
        let voters: Voters = ids.iter().copied().collect();
        if voters == self.voters {
            return Err(ChangeError::Nothing);
        }
        if let Some(stranger) = ids.iter().find(|id| !self.contains(**id)) {
            return Err(ChangeError::NotALearner(*stranger));
        }
        let mut next = self.clone();
        next.learners.retain(|id, _| !ids.contains(id));
        next.outgoing = std::mem::replace(&mut next.voters, voters);
        Ok(next)
    }

    /// The membership that follows a joint one: the new voters alone, and the learners.
    #[must_use]
    pub fn leave_joint(&self) -> Self {
        let mut next = self.clone();
        next.outgoing = Voters::default();
        let Self { members, voters, learners, .. } = &mut next;
        members.retain(|id, _| voters.contains(*id) || learners.contains_key(id));
        next
    }

    /// Whether the invariants hold; what comes from a disk or a peer is checked before it is used.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let voters = || self.voters.iter().chain(self.outgoing.iter());
        let small = |(id, member): (&NodeId, &Member)| *id > 0 && member.about.len() <= ABOUT_MAX;
        let placed = |id: &NodeId| self.is_voter(*id) || self.is_learner(*id);
        self.members.len() <= MEMBERS_MAX
            && self.members.iter().all(small)
            && self.members.keys().all(placed)
            && voters().all(|id| self.contains(id) && !self.is_learner(id))
            && self.learners.keys().all(|id| self.contains(*id))
            && self.members.is_empty() == self.voters.is_empty()
    }

    /// Its bytes, at most 4 KiB.
    ///
    /// # Panics
    /// If it is not sound.
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.is_sound(), "{self:?} breaks a rule of its own");
        encode_small(self, ENCODED_MAX).expect("the limits of a membership keep it below 4 KiB")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        decode_small(bytes, ENCODED_MAX).filter(Self::is_sound)
    }
}

impl Configuration {
    /// Its bytes, for a snapshot's metadata or a slot of the log.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.index.to_le_bytes().to_vec();
        bytes.extend(self.membership.encode());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, membership) = bytes.split_first_chunk()?;
        let membership = Membership::decode(membership)?;
        Some(Self { index: u64::from_le_bytes(*index), membership })
    }
}

/// The newest configuration that is committed and those after it, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Configurations {
    stack: Vec<Configuration>,
    /// As the log took them last.
    written: Vec<Configuration>,
}

impl Configurations {
    /// What a restart found; at least one.
    pub(super) fn new(stack: Vec<Configuration>) -> Self {
        assert!(!stack.is_empty(), "a node without even an empty configuration");
        Self { written: stack.clone(), stack }
    }

    pub(super) fn all(&self) -> &[Configuration] {
        &self.stack
    }

    pub(super) fn newest(&self) -> &Configuration {
        self.stack.last().expect("the committed one is never dropped")
    }

    pub(super) fn push(&mut self, configuration: Configuration) {
        let last = self.newest().index;
        assert!(configuration.index > last, "configuration {configuration:?} after {last}");
        self.stack.push(configuration);
    }

    /// How many are not known to be committed.
    pub(super) fn uncommitted(&self) -> usize {
        self.stack.len() - 1
    }

    /// The log was cut before `from`. Whether that took a configuration away.
    pub(super) fn truncated(&mut self, from: Index) -> bool {
        let before = self.stack.len();
        while self.stack.len() > 1 && self.newest().index >= from {
            self.stack.pop();
        }
        self.stack.len() < before
    }

    pub(super) fn committed(&mut self, commit: Index) {
        let old = self.stack.iter().skip(1).take_while(|c| c.index <= commit).count();
        self.stack.drain(..old);
    }

    /// The log begins anew after a snapshot with this configuration.
    pub(super) fn reset(&mut self, configuration: Configuration) {
        self.stack = vec![configuration];
    }

    /// What the next save must carry, if anything changed.
    pub(super) fn changes(&self) -> Option<Vec<Configuration>> {
        (self.stack != self.written).then(|| self.stack.clone())
    }

    pub(super) fn accepted(&mut self) {
        if self.stack != self.written {
            self.written.clone_from(&self.stack);
        }
    }

    /// Back to what the log holds.
    pub(super) fn abandon(&mut self) {
        self.stack.clone_from(&self.written);
    }
}

#[cfg(test)]
mod tests;
