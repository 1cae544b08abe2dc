//! Somebody who changes the cluster while it runs: adds nodes, removes them, hands the leadership
//! over. A wish is tried at every node that believes to lead, until one that leads takes it.
//!
//! An operator may be clumsy, but leaves a majority of every configuration to nodes that can be
//! counted on: nothing can help a cluster whose majority is gone.
//!
//! Above: `play`. Below: `stage`.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, atomic::AtomicUsize},
};

use super::{Micros, network::chance, plan::Kind, stage::Stage};
use crate::{
    call::Call,
    core::{Change, Membership, Slot},
    driver::orders::Order,
    member::Member,
    message::NodeId,
};

/// Time between two tries.
const PATIENCE: Micros = 15_000;
/// Time after which a wish is forgotten.
const WISH_LIFE: Micros = 2_000_000;
/// Wishes at a time.
const WISHES_MAX: usize = 4;

/// What an operator is likely to want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Churn {
    /// Everything.
    Any,
    /// To remove a voter of four, and to bring back the fourth.
    AroundFour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// A new node comes, or one that was removed comes back.
    Grow,
    /// A node is added that nobody can reach.
    Ghost,
    /// A learner gets a vote.
    Promote,
    Remove,
    RemoveLeader,
    /// Other voters, all at once.
    Joint,
    /// One of four is removed, or the fourth comes back.
    AroundFour,
    Transfer,
}

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    churn: Churn,
    wishes: VecDeque<(Wish, Micros)>,
    pub(super) next_at: Micros,
    pub(super) changes: u64,
    pub(super) transfers: u64,
}

impl Operator {
    pub(super) fn new(churn: Churn) -> Self {
        Self { churn, wishes: VecDeque::new(), next_at: Micros::MAX, changes: 0, transfers: 0 }
    }

    /// Begins to want something.
    pub(super) fn wish(&mut self, kind: Kind, stage: &mut Stage) {
        let wish = match (kind, self.churn) {
            (Kind::Transfer, _) => Wish::Transfer,
            (_, Churn::AroundFour) => Wish::AroundFour,
            (_, Churn::Any) => [
                Wish::Grow,
                Wish::Grow,
                Wish::Grow,
                Wish::Ghost,
                Wish::Promote,
                Wish::Remove,
                Wish::Remove,
                Wish::RemoveLeader,
                Wish::Joint,
                Wish::Joint,
            ][stage.rng.below(10)],
        };
        if self.wishes.len() < WISHES_MAX {
            self.wishes.push_back((wish, stage.now() + WISH_LIFE));
            self.next_at = stage.now();
        }
    }

    /// Tries what it wants, if its time has come.
    pub(super) fn act(&mut self, stage: &mut Stage) {
        if self.next_at > stage.now() {
            return;
        }
        self.wishes.retain(|(_, until)| *until > stage.now());
        let Some((wish, _)) = self.wishes.front().copied() else {
            self.next_at = Micros::MAX;
            return;
        };
        self.next_at = stage.now() + PATIENCE;
        let newest = stage.leader();
        for id in stage.ids() {
            let leads = stage.machine(id).is_some_and(|machine| machine.is_leader());
            if leads && self.ask(wish, id, stage) && Some(id) == newest {
                self.wishes.pop_front();
            }
        }
    }

    /// Asks a leader. Whether it took it.
    fn ask(&mut self, wish: Wish, leader: NodeId, stage: &mut Stage) -> bool {
        let Some(machine) = stage.machine(leader) else { return false };
        let membership = machine.core().membership().clone();
        if wish == Wish::Transfer {
            let voters: Vec<NodeId> = membership.voters().iter().collect();
            let to = voters[stage.rng.below(voters.len())];
            let named = chance(&mut stage.rng, 700).then_some(to);
            let taken = transfer(stage, leader, named);
            self.transfers += u64::from(taken);
            return taken;
        }
        // A new node is started only where it would be taken.
        if machine.core().configurations().len() > 1 {
            return false;
        }
        let Some(what) = pick(wish, &membership, leader, stage) else { return true };
        let taken = change(stage, leader, &membership, what);
        self.changes += u64::from(taken);
        taken
    }

    /// What is left to do once faults have stopped: those that are gone for good are removed, and
    /// new ones take their place. Whether nothing is left.
    pub(super) fn tidy(&mut self, stage: &mut Stage) -> bool {
        let Some(leader) = stage.leader() else { return false };
        let Some(machine) = stage.machine(leader) else { return false };
        let core = machine.core();
        let settled = core.term_at(core.commit()) == Slot::Present(core.term());
        let open = core.configurations().len() > 1 || !settled;
        let membership = core.membership().clone();
        let gone = |id: &&NodeId| stage.seats.get(*id).is_none_or(|seat| seat.retired);
        let gone = membership.members().keys().find(gone).copied();
        let few = membership.members().len() < usize::try_from(stage.setting.size).unwrap_or(0);
        let next = match gone {
            _ if open || membership.is_joint() => return false,
            Some(id) => Change::Remove { id },
            None if few && stage.has_room() => {
                Change::AddLearner { id: stage.recruit(), member: Member::default(), promote: true }
            }
            None => return membership.learners().values().all(|promote| !promote),
        };
        self.changes += u64::from(change(stage, leader, &membership, next));
        false
    }
}

/// What the wish comes to at this leader; none if it makes no sense there.
fn pick(wish: Wish, membership: &Membership, leader: NodeId, stage: &mut Stage) -> Option<Change> {
    let members: Vec<NodeId> = membership.members().keys().copied().collect();
    let voters: Vec<NodeId> = membership.voters().iter().collect();
    let any = |ids: &[NodeId], stage: &mut Stage| {
        (!ids.is_empty()).then(|| ids[stage.rng.below(ids.len())])
    };
    let member = Member::default();
    Some(match wish {
        Wish::Grow => {
            let id = newcomer(membership, stage)?;
            Change::AddLearner { id, member, promote: chance(&mut stage.rng, 800) }
        }
        Wish::Ghost => Change::AddLearner { id: stage.ghost(), member, promote: true },
        Wish::Promote => {
            let learners: Vec<NodeId> = membership.learners().keys().copied().collect();
            Change::Promote { id: any(&learners, stage)? }
        }
        Wish::Remove => Change::Remove { id: any(&members, stage)? },
        Wish::RemoveLeader => Change::Remove { id: leader },
        Wish::Joint => {
            let mut ids: BTreeSet<NodeId> = members.into_iter().collect();
            ids.retain(|_| chance(&mut stage.rng, 650));
            Change::Voters { ids }
        }
        Wish::AroundFour if voters.len() >= 4 => Change::Remove { id: any(&voters, stage)? },
        Wish::AroundFour => {
            let id = newcomer(membership, stage)?;
            Change::AddLearner { id, member, promote: true }
        }
        Wish::Transfer => return None,
    })
}

/// A node that is no member: one that was removed and still runs, or a new one.
fn newcomer(membership: &Membership, stage: &mut Stage) -> Option<NodeId> {
    let back = stage.ids().into_iter().find(|id| !membership.contains(*id) && stage.is_sound(*id));
    match back {
        Some(id) => Some(id),
        None if stage.has_room() => Some(stage.recruit()),
        None => None,
    }
}

/// Whether the leader took the change. Not tried where too few would be left that can be counted on.
fn change(stage: &mut Stage, leader: NodeId, now: &Membership, change: Change) -> bool {
    let Ok(next) = now.after(&change) else { return false };
    if !stage.can_spare(None, Some(&next)) {
        return false;
    }
    let words = [22, leader];
    stage.trace.note(stage.now(), &words, || format!("operator asks node {leader}: {change:?}"));
    let Some(machine) = stage.machine(leader) else { return false };
    let before = machine.core().last_id();
    let call = Call::new(&Arc::new(AtomicUsize::new(0)), |_| {});
    let sent = machine.order(Order::Change(change, call));
    let taken = machine.core().last_id() != before;
    stage.ordered(leader, sent);
    taken
}

fn transfer(stage: &mut Stage, leader: NodeId, to: Option<NodeId>) -> bool {
    let words = [23, leader];
    stage.trace.note(stage.now(), &words, || format!("operator asks node {leader}: lead, {to:?}"));
    let Some(machine) = stage.machine(leader) else { return false };
    let call = Call::new(&Arc::new(AtomicUsize::new(0)), |_| {});
    let sent = machine.order(Order::Transfer(to, call));
    let taken = machine.core().transferring().is_some();
    stage.ordered(leader, sent);
    taken
}
