//! Majorities, as pure functions over a set of voters.
//!
//! Nothing else in the core counts nodes, so that a second set (joint consensus) has one place to
//! go. A node that is not in the set never counts, whatever it says.

use std::collections::BTreeSet;

use crate::message::NodeId;

/// The nodes whose majority decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}
