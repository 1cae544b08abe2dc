//! What a Raft server must remember besides its entries (Figure 2 of the paper), and how it may change.

use crate::entry::{Index, Term};

/// Term, vote and commit index.
///
/// Term and vote are *promises*: they are never forgotten in favour of an older one, whatever the
/// disk does. `commit` is only a hint that saves work after a restart and is ordered like entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HardState {
    /// Latest term the server has seen.
    pub term: Term,
    /// Candidate that received the vote in `term`, if any.
    pub vote: Option<u64>,
    /// Highest index known to be committed; 0 where nothing is.
    pub commit: Index,
}

/// Why a change of the hard state was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardStateError {
    /// The term would go back.
    TermRegressed,
    /// The vote of a term would change after it was given.
    VoteChanged,
    /// The commit index would go back.
    CommitRegressed,
    /// The commit index would lie beyond the last entry.
    CommitBeyondEnd,
}

impl HardState {
    /// Whether `next` may follow `self`, `next_index` being one past the last entry.
    ///
    /// # Errors
    /// The first rule of Figure 2 that the change would break.
    pub fn check_change(
        &self,
        next: &Self,
        next_index: Index,
    ) -> std::result::Result<(), HardStateError> {
        if next.term < self.term {
            return Err(HardStateError::TermRegressed);
        }
        if next.term == self.term && self.vote.is_some() && next.vote != self.vote {
            return Err(HardStateError::VoteChanged);
        }
        if next.commit < self.commit {
            return Err(HardStateError::CommitRegressed);
        }
        if next.commit > self.commit && next.commit >= next_index {
            return Err(HardStateError::CommitBeyondEnd);
        }
        Ok(())
    }

    /// Whether the promises (term and vote) of the two are the same.
    #[must_use]
    pub fn same_promise(&self, other: &Self) -> bool {
        self.term == other.term && self.vote == other.vote
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hs(term: u64, vote: Option<u64>, commit: u64) -> HardState {
        HardState { term, vote, commit }
    }

    #[test]
    fn a_vote_is_given_once_a_term() {
        let given = hs(3, Some(1), 0);
        assert_eq!(given.check_change(&hs(3, Some(1), 0), 1), Ok(()));
        assert_eq!(given.check_change(&hs(3, Some(2), 0), 1), Err(HardStateError::VoteChanged));
        assert_eq!(given.check_change(&hs(3, None, 0), 1), Err(HardStateError::VoteChanged));
        assert_eq!(given.check_change(&hs(4, None, 0), 1), Ok(()));
        assert_eq!(hs(3, None, 0).check_change(&given, 1), Ok(()));
    }

    #[test]
    fn term_and_commit_never_go_back_and_commit_stays_within_the_log() {
        assert_eq!(
            hs(3, None, 0).check_change(&hs(2, None, 0), 1),
            Err(HardStateError::TermRegressed)
        );
        assert_eq!(
            hs(3, None, 5).check_change(&hs(3, None, 4), 9),
            Err(HardStateError::CommitRegressed)
        );
        assert_eq!(
            hs(3, None, 5).check_change(&hs(3, None, 9), 9),
            Err(HardStateError::CommitBeyondEnd)
        );
        assert_eq!(hs(3, None, 5).check_change(&hs(3, None, 8), 9), Ok(()));
        assert_eq!(hs(0, None, 0).check_change(&hs(1, None, 0), 0), Ok(()));
    }
}
