//! Majorities, as pure functions over one set of voters, or over two of which both have to agree
//! (joint consensus, section 6).
//!
//! Nothing else in the core counts nodes. A node that is not in a set never counts, whatever it
//! says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::message::NodeId;

/// The nodes whose majority decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voters(BTreeSet<NodeId>);

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A majority said yes.
    Won,
    /// A majority can no longer be reached.
    Lost,
    /// Neither yet.
    Open,
}

impl FromIterator<NodeId> for Voters {
    fn from_iter<I: IntoIterator<Item = NodeId>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

impl Voters {
    /// Whether the node counts.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.0.contains(&id)
    }

    /// The voters, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().copied()
    }

    /// Whether nobody votes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, id: NodeId) {
        self.0.insert(id);
    }

    pub(super) fn remove(&mut self, id: NodeId) {
        self.0.remove(&id);
    }

    /// How many make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// How a vote stands: each voter's answer is yes, no, or not known yet.
    pub fn tally(&self, answer: impl Fn(NodeId) -> Option<bool>) -> Tally {
        let answers: Vec<_> = self.iter().map(answer).collect();
        let yes = answers.iter().filter(|a| **a == Some(true)).count();
        let open = answers.iter().filter(|a| a.is_none()).count();
        if yes >= self.majority() && !answers.is_empty() {
            Tally::Won
        } else if yes + open < self.majority() {
            Tally::Lost
        } else {
            Tally::Open
        }
    }

    /// The largest value that a majority has reached; 0 without voters.
    pub fn agreed(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let mut values: Vec<u64> = self.iter().map(value).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(self.majority() - 1).copied().unwrap_or(0)
    }
}

/// How a vote stands that `voters` and, unless it is empty, `outgoing` have to win.
pub fn joint_tally(
    voters: &Voters,
    outgoing: &Voters,
    answer: impl Fn(NodeId) -> Option<bool>,
) -> Tally {
    let first = voters.tally(&answer);
    if outgoing.is_empty() {
        return first;
    }
    match (first, outgoing.tally(&answer)) {
        (Tally::Won, Tally::Won) => Tally::Won,
        (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
        (Tally::Open, _) | (_, Tally::Open) => Tally::Open,
    }
}

/// The largest value that a majority of `voters` and, unless it is empty, of `outgoing` reached.
pub fn joint_agreed(voters: &Voters, outgoing: &Voters, value: impl Fn(NodeId) -> u64) -> u64 {
    let first = voters.agreed(&value);
    if outgoing.is_empty() { first } else { first.min(outgoing.agreed(&value)) }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the ids of a test are small")]
mod tests {
    use super::*;

    fn voters(n: u64) -> Voters {
        (1..=n).collect()
    }

    #[test]
    fn a_majority_of_each_size() {
        let sizes: Vec<_> = (1..=7).map(|n| voters(n).majority()).collect();
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn the_agreed_value_is_the_median_from_below_whatever_the_order() {
        for values in [[5, 1, 9], [9, 5, 1], [1, 9, 5], [5, 9, 1]] {
            assert_eq!(voters(3).agreed(|id| values[id as usize - 1]), 5);
        }
        assert_eq!(voters(4).agreed(|id| [7, 7, 3, 1][id as usize - 1]), 3);
        assert_eq!(voters(1).agreed(|_| 4), 4);
        assert_eq!(voters(0).agreed(|_| 4), 0);
    }

    #[test]
    fn a_vote_is_won_lost_or_open() {
        let three = voters(3);
        let tally = |a: [Option<bool>; 3]| three.tally(|id| a[id as usize - 1]);
        assert_eq!(tally([Some(true), None, None]), Tally::Open);
        assert_eq!(tally([Some(true), None, Some(true)]), Tally::Won);
        assert_eq!(tally([Some(true), Some(false), Some(false)]), Tally::Lost);
        assert_eq!(tally([Some(true), Some(false), None]), Tally::Open);
        assert_eq!(voters(0).tally(|_| Some(true)), Tally::Lost, "nobody elects nobody");
    }

    #[test]
    fn two_sets_decide_only_together() {
        let (old, new): (Voters, Voters) = ((1..=3).collect(), (3..=5).collect());
        let tally = |yes: &[NodeId], no: &[NodeId]| {
            let answer = |id| {
                if yes.contains(&id) { Some(true) } else { no.contains(&id).then_some(false) }
            };
            joint_tally(&new, &old, answer)
        };
        assert_eq!(tally(&[1, 2], &[]), Tally::Open, "the old majority alone decides nothing");
        assert_eq!(tally(&[4, 5], &[]), Tally::Open, "nor does the new one");
        assert_eq!(tally(&[1, 2, 4, 5], &[]), Tally::Won);
        assert_eq!(tally(&[3, 1, 4], &[]), Tally::Won, "node 3 counts in both");
        assert_eq!(tally(&[1, 2, 3, 4], &[]), Tally::Won);
        assert_eq!(tally(&[4, 5], &[1, 2]), Tally::Lost);
        let agreed = |values: [u64; 5]| joint_agreed(&new, &old, |id| values[id as usize - 1]);
        assert_eq!(agreed([9, 9, 2, 1, 1]), 1);
        assert_eq!(agreed([9, 9, 2, 7, 1]), 2);
        assert_eq!(agreed([9, 9, 8, 7, 1]), 7);
    }
}
