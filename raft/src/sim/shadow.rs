//! A second opinion on what is durable, by watching the calls that the disk was really asked for.
//!
//! The log says what is durable by its watermark. Here the same question is answered from below:
//! a write counts once a sync of its file came after it, and a segment's name once a sync of the
//! directory did. A watermark that rises without a sync, or too early, then shows.
//!
//! It also notices a write to a file whose sync had failed.
//!
//! Above: `watch`. Below: the hook of [`hardlog::fs::sim::SimFs`].

use std::collections::{BTreeMap, BTreeSet};

use hardlog::fs::{
    Dir,
    sim::{Call, Step},
};

type Key = (Dir, String);

/// What one process has asked of its disk since it opened it.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    /// Segments with the number of their first call that is not synced.
    pending: BTreeMap<Key, u64>,
    /// The first rename of a segment whose directory is not synced.
    names_pending: Option<u64>,
    /// Segments in which a write or a sync failed: a successor takes over what they held.
    failed: BTreeSet<Key>,
    sync_failed: BTreeSet<Key>,
    /// What was written to a file after its sync had failed.
    pub(super) misdeed: Option<String>,
}

impl Shadow {
    /// Every call with a lower number is durable, as far as segments go.
    pub(super) fn durable_before(&self) -> u64 {
        let named = self.pending.iter().filter(|((dir, _), _)| *dir == Dir::Root);
        let pending = named.map(|(_, number)| *number).chain(self.names_pending);
        pending.min().unwrap_or(u64::MAX)
    }

    /// A call was made.
    pub(super) fn saw(&mut self, step: &Step) {
        if step.call == Call::SyncDir {
            if step.dir == Dir::Root && !step.failed {
                self.names_are_durable();
            }
            return;
        }
        if !step.name.ends_with(".wal") {
            return;
        }
        let key = (step.dir, step.name.clone());
        match step.call {
            Call::Create => self.forget(&key),
            Call::Unlink if !step.failed => self.forget(&key),
            Call::Write => self.written(step, key),
            Call::Sync if step.failed => {
                self.failed.insert(key.clone());
                self.sync_failed.insert(key);
            }
            Call::Sync => drop(self.pending.remove(&key)),
            Call::Rename => self.renamed(step, &key),
            _ => {}
        }
    }

    fn written(&mut self, step: &Step, key: Key) {
        if self.sync_failed.contains(&key) {
            self.misdeed = Some(format!("{step}, after a sync of that file had failed"));
        }
        if step.failed {
            self.failed.insert(key);
        } else {
            self.pending.entry(key).or_insert(step.number);
        }
    }

    fn renamed(&mut self, step: &Step, key: &Key) {
        let from = (Dir::Tmp, step.name.clone());
        if let Some(number) = self.pending.remove(&from) {
            self.pending.insert(key.clone(), number);
        }
        self.names_pending.get_or_insert(step.number);
    }

    /// The newest segment has its name for good: what failed before it counts no more.
    fn names_are_durable(&mut self) {
        if self.names_pending.take().is_some() {
            for key in std::mem::take(&mut self.failed) {
                self.pending.remove(&key);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.pending.remove(key);
        self.failed.remove(key);
        self.sync_failed.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64, call: Call, dir: Dir, failed: bool) -> Step {
        let name = if call == Call::SyncDir { "" } else { "1.wal" };
        Step { number, call, dir, name: name.to_owned(), offset: 0, len: 9, failed }
    }

    #[test]
    fn a_write_is_durable_after_a_sync_of_its_file_and_of_its_name() {
        let mut shadow = Shadow::default();
        shadow.saw(&step(3, Call::Write, Dir::Tmp, false));
        assert_eq!(shadow.durable_before(), u64::MAX, "nothing rests on a file in tmp/");
        shadow.saw(&step(4, Call::Sync, Dir::Tmp, false));
        shadow.saw(&step(5, Call::Rename, Dir::Root, false));
        assert_eq!(shadow.durable_before(), 5);
        shadow.saw(&step(6, Call::SyncDir, Dir::Snapshots, false));
        assert_eq!(shadow.durable_before(), 5);
        shadow.saw(&step(7, Call::SyncDir, Dir::Root, false));
        assert_eq!(shadow.durable_before(), u64::MAX);
        shadow.saw(&step(8, Call::Write, Dir::Root, false));
        assert_eq!(shadow.durable_before(), 8);
        shadow.saw(&step(9, Call::Sync, Dir::Root, true));
        assert_eq!(shadow.durable_before(), 8, "a failed sync proves nothing");
        assert_eq!(shadow.misdeed, None);
    }

    #[test]
    fn a_write_after_a_failed_sync_is_a_misdeed() {
        let mut shadow = Shadow::default();
        shadow.saw(&step(3, Call::Sync, Dir::Root, true));
        shadow.saw(&step(4, Call::Write, Dir::Root, false));
        assert!(shadow.misdeed.is_some());
    }

    #[test]
    fn what_failed_counts_no_more_once_its_successor_is_named() {
        let mut shadow = Shadow::default();
        shadow.saw(&step(3, Call::Write, Dir::Root, false));
        shadow.saw(&step(4, Call::Sync, Dir::Root, true));
        let mut rename = step(5, Call::Rename, Dir::Root, false);
        rename.name = "2.wal".to_owned();
        shadow.saw(&rename);
        assert_eq!(shadow.durable_before(), 3);
        shadow.saw(&step(6, Call::SyncDir, Dir::Root, false));
        assert_eq!(shadow.durable_before(), u64::MAX);
    }
}
