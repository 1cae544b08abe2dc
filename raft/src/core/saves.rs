//! What was handed to the log and what of it is durable.
//!
//! The core counts its saves; the driver says which was taken and, with proof, which is durable.
//! Here the numbers are turned back into what Raft needs: up to which index the log *as it is now*
//! is durable. A truncation takes back what earlier saves had made durable.

use std::collections::VecDeque;

use hardlog::{HardState, Index};

use super::{Core, LogView};
use crate::durable::SaveNumber;

#[derive(Debug)]
pub(super) struct Saves {
    next: SaveNumber,
    /// Last hard state that the log took.
    hard_state: HardState,
    /// Saves that the log took and that are not durable yet.
    pending: VecDeque<Pending>,
    durable_number: SaveNumber,
    durable_index: Index,
    /// Ticks for which something has been waiting to be taken.
    dirty_ticks: u32,
}

#[derive(Debug)]
struct Pending {
    number: SaveNumber,
    last: Index,
    ticks: u32,
}

impl Saves {
    /// Everything that recovery found is durable; else see [`Saves::found_undurable`].
    pub(super) fn new(hard_state: HardState, last: Index) -> Self {
        Self {
            next: 1,
            hard_state,
            pending: VecDeque::new(),
            durable_number: 0,
            durable_index: last,
            dirty_ticks: 0,
        }
    }

    /// What recovery found is not known to be durable: it is the first save, and is pending.
    pub(super) fn found_undurable(&mut self) -> SaveNumber {
        let (number, last) = (self.next, std::mem::take(&mut self.durable_index));
        self.pending.push_back(Pending { number, last, ticks: 0 });
        self.next += 1;
        number
    }

    pub(super) fn next_number(&self) -> SaveNumber {
        self.next
    }

    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Up to where the log as it is now is durable.
    pub(super) fn durable_index(&self) -> Index {
        self.durable_index
    }

    pub(super) fn durable_number(&self) -> SaveNumber {
        self.durable_number
    }

    /// The log took the next save.
    pub(super) fn accepted(&mut self, hard_state: HardState, last: Index) {
        self.hard_state = hard_state;
        self.pending.push_back(Pending { number: self.next, last, ticks: self.dirty_ticks });
        self.next += 1;
        self.dirty_ticks = 0;
    }

    /// The log took a commit index besides.
    pub(super) fn commit_accepted(&mut self, commit: Index) {
        self.hard_state.commit = self.hard_state.commit.max(commit);
    }

    /// The log was cut before `from`: nothing from there on is durable any more.
    pub(super) fn truncated(&mut self, from: Index) {
        let last = from.saturating_sub(1);
        self.durable_index = self.durable_index.min(last);
        for pending in &mut self.pending {
            pending.last = pending.last.min(last);
        }
    }

    /// The log was replaced: nothing of what it held counts.
    pub(super) fn reset(&mut self) {
        self.truncated(0);
    }

    pub(super) fn durable(&mut self, number: SaveNumber) {
        assert!(number < self.next, "save {number} was never taken");
        while let Some(pending) = self.pending.front() {
            if pending.number > number {
                break;
            }
            self.durable_index = self.durable_index.max(pending.last);
            self.pending.pop_front();
        }
        self.durable_number = self.durable_number.max(number);
    }

    pub(super) fn tick(&mut self, dirty: bool) {
        self.dirty_ticks = if dirty { self.dirty_ticks.saturating_add(1) } else { 0 };
        for pending in &mut self.pending {
            pending.ticks = pending.ticks.saturating_add(1);
        }
    }

    /// Ticks for which the oldest save has not been durable.
    pub(super) fn oldest_age(&self) -> u32 {
        self.pending.front().map_or(self.dirty_ticks, |pending| pending.ticks)
    }
}

impl<L: LogView> Core<L> {
    /// Up to where the log as it is now is durable here.
    #[must_use]
    pub fn durable_index(&self) -> Index {
        self.saves.durable_index()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saves() -> Saves {
        Saves::new(HardState::default(), 3)
    }

    #[test]
    fn a_truncation_takes_back_what_older_saves_will_have_made_durable() {
        let mut saves = saves();
        saves.accepted(HardState::default(), 9);
        saves.truncated(6);
        saves.accepted(HardState::default(), 7);
        saves.durable(1);
        assert_eq!(saves.durable_index(), 5, "entries 6 to 9 of save 1 are no longer the log's");
        saves.durable(2);
        assert_eq!(saves.durable_index(), 7);
    }

    #[test]
    fn after_a_reset_nothing_counts_until_its_own_save_is_durable() {
        let mut saves = saves();
        saves.accepted(HardState::default(), 9);
        saves.reset();
        saves.accepted(HardState::default(), 50);
        saves.durable(1);
        assert_eq!(saves.durable_index(), 0);
        saves.durable(2);
        assert_eq!(saves.durable_index(), 50);
    }

    #[test]
    fn what_was_found_and_may_yet_be_lost_counts_once_it_is_durable() {
        let mut saves = saves();
        let number = saves.found_undurable();
        assert_eq!((saves.durable_index(), saves.oldest_age()), (0, 0));
        saves.tick(false);
        assert_eq!(saves.oldest_age(), 1, "a disk without room is like one that hangs");
        saves.accepted(HardState::default(), 4);
        saves.durable(number);
        assert_eq!(saves.durable_index(), 3);
    }

    #[test]
    fn the_age_counts_from_the_moment_there_was_something_to_write() {
        let mut saves = saves();
        saves.tick(false);
        assert_eq!(saves.oldest_age(), 0);
        saves.tick(true);
        saves.tick(true);
        assert_eq!(saves.oldest_age(), 2);
        saves.accepted(HardState::default(), 4);
        saves.tick(false);
        assert_eq!(saves.oldest_age(), 3);
        saves.durable(1);
        assert_eq!(saves.oldest_age(), 0);
    }
}
