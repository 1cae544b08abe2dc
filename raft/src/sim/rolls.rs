//! Who takes part, as each node sees it: the configurations in its log, and rule 11 about them.
//!
//! A configuration is *in force* if nobody is known to have committed a newer one: a leader may
//! count by it now or later. What must not be lost is held by a majority of each of those, so
//! damage and operators ask here what a majority is.
//!
//! Above: `watch`, `faults`, `operator`. Below: the memberships of the core.

use std::collections::{BTreeMap, BTreeSet};

use hardlog::{EntryId, Index};

use super::watch::{Check, breach};
use crate::{
    core::{Change, Configuration, Core, Membership, RoleName, Slot, quorum::Tally},
    message::NodeId,
    view::View,
};

/// Learners that are looked at: more never wait to vote.
const LEARNERS_MAX: usize = 8;

/// The configurations of all nodes.
#[derive(Debug)]
pub(super) struct Rolls {
    /// Of each node the newest committed one and those after it, as it last showed them.
    stacks: BTreeMap<NodeId, Vec<Configuration>>,
    /// When each was looked at: where its configurations stood, and where its log ended. Two logs
    /// with the same last entry are equal (rule 2), so no more needs to be compared.
    seen: BTreeMap<NodeId, (Option<Index>, Option<Index>, EntryId)>,
    /// Those that are committed, as far as any node showed them.
    committed: BTreeMap<Index, Membership>,
}

impl Rolls {
    pub(super) fn new(first: Membership) -> Self {
        let committed = BTreeMap::from([(0, first)]);
        Self { stacks: BTreeMap::new(), seen: BTreeMap::new(), committed }
    }

    /// Rule 11: at most one uncommitted configuration, neighbours overlap, what is committed stays,
    /// a removed node never leads.
    pub(super) fn observe(&mut self, id: NodeId, core: &Core<View>) -> Check {
        let all = core.configurations();
        if core.role() == RoleName::Leader {
            if all.len() > 2 {
                return breach(11, format!("leader {id} has begun two changes: {all:?}"));
            }
            if all.len() == 1 && !core.membership().contains(id) {
                return breach(11, format!("node {id} leads and is removed: {all:?}"));
            }
            // A learner may have to, since others count on it, but only until that is not needed.
            let done = core.term_at(core.commit()) == Slot::Present(core.term());
            if all.len() == 1 && core.membership().is_learner(id) && done {
                return breach(11, format!("node {id} goes on leading and has no vote: {all:?}"));
            }
        }
        let index = |configuration: &Configuration| configuration.index;
        let seen = (all.first().map(index), all.last().map(index), core.last_id());
        if self.seen.insert(id, seen) == Some(seen) {
            return Ok(());
        }
        self.stacks.insert(id, all.to_vec());
        let apart = all.windows(2).find(|pair| !overlap(&pair[0].membership, &pair[1].membership));
        if let Some(pair) = apart {
            return breach(11, format!("majorities at node {id} need not overlap: {pair:?}"));
        }
        let Some(base) = all.first().filter(|base| !base.membership.is_empty()) else {
            return Ok(()); // A node that waits to be added.
        };
        let known = self.committed.entry(base.index).or_insert_with(|| base.membership.clone());
        if *known != base.membership {
            return breach(11, format!("node {id} commits {base:?}, others {known:?} there"));
        }
        Ok(())
    }

    /// The newest configuration that is known to be committed, and all that may follow it.
    pub(super) fn in_force(&self) -> Vec<&Membership> {
        let Some((newest, committed)) = self.committed.last_key_value() else { return Vec::new() };
        let later = self.stacks.values().flatten().filter(|c| c.index > *newest);
        let mut all = vec![committed];
        for membership in later.map(|c| &c.membership) {
            if !all.contains(&membership) {
                all.push(membership);
            }
        }
        all
    }

    /// Everybody who has a vote or may get one.
    pub(super) fn members_in_force(&self) -> BTreeSet<NodeId> {
        self.in_force().into_iter().flat_map(|m| m.members().keys().copied()).collect()
    }

    /// Whether those that are there alone can decide, by every configuration that is in force or may
    /// soon be, `next` among them, and those that come of learners which may catch up.
    pub(super) fn can_decide(
        &self,
        next: Option<&Membership>,
        there: &dyn Fn(NodeId) -> bool,
        may_catch_up: &dyn Fn(NodeId) -> bool,
    ) -> bool {
        let decides = |m: &Membership| m.tally(|id| Some(there(id))) == Tally::Won;
        let mut all = self.in_force().into_iter().chain(next);
        all.all(|membership| soon(membership, may_catch_up).all(|membership| decides(&membership)))
    }
}

/// The membership now, and all that may come of it by itself: a joint one is left, and those among
/// its learners that are to vote and may catch up do, in any order.
fn soon(
    membership: &Membership,
    may_catch_up: &dyn Fn(NodeId) -> bool,
) -> impl Iterator<Item = Membership> {
    let next = membership.leave_joint();
    let learners = next.learners().iter().filter(|(id, promote)| **promote && may_catch_up(**id));
    let learners: Vec<NodeId> = learners.map(|(id, _)| *id).take(LEARNERS_MAX).collect();
    let some = (0..1_u32 << learners.len()).map(move |set| {
        let chosen = learners.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        chosen.fold(next.clone(), |membership, (_, id)| {
            membership.after(&Change::Promote { id: *id }).unwrap_or(membership)
        })
    });
    std::iter::once(membership.clone()).chain(some)
}

/// Whether no majority that decides in one can miss all that decide in the other: tried out.
fn overlap(a: &Membership, b: &Membership) -> bool {
    let voters = |m: &Membership| m.voters().iter().chain(m.outgoing().iter()).collect::<Vec<_>>();
    let ids: BTreeSet<NodeId> = voters(a).into_iter().chain(voters(b)).collect();
    let ids: Vec<NodeId> = ids.into_iter().collect();
    let decides = |membership: &Membership, set: u64| {
        let chosen = |id| ids.binary_search(&id).is_ok_and(|at| set >> at & 1 == 1);
        membership.tally(|id| Some(chosen(id))) == Tally::Won
    };
    (0..1_u64 << ids.len()).all(|set| !(decides(a, set) && decides(b, !set)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[NodeId]) -> Membership {
        Membership::of_voters(ids.iter().copied().collect())
    }

    #[test]
    fn majorities_of_neighbours_overlap_and_of_two_steps_need_not() {
        assert!(overlap(&of(&[1, 2, 3]), &of(&[1, 2, 3, 4])));
        assert!(overlap(&of(&[1, 2, 3, 4]), &of(&[1, 3, 4])));
        assert!(!overlap(&of(&[1, 3, 4]), &of(&[2, 3, 4, 1, 5])));
        assert!(!overlap(&of(&[1, 2]), &of(&[3, 4])));
    }

    #[test]
    fn who_can_decide_is_asked_of_each_configuration_in_force() {
        let mut rolls = Rolls::new(of(&[1, 2, 3]));
        let configuration = |index, ids: &[NodeId]| Configuration { index, membership: of(ids) };
        rolls.stacks.insert(1, vec![configuration(0, &[1, 2, 3]), configuration(7, &[1, 2])]);
        assert!(rolls.can_decide(None, &|id| id < 3, &|_| true));
        assert!(
            !rolls.can_decide(None, &|id| id > 1, &|_| true),
            "two of three, but not two of two"
        );
        assert!(!rolls.can_decide(Some(&of(&[4])), &|id| id < 3, &|_| true));
        rolls.committed.insert(9, of(&[2, 3]));
        assert!(rolls.can_decide(None, &|id| id > 1, &|_| true), "older ones count no more");
    }
}
