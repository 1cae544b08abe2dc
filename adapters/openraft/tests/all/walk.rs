//! Random walks: any calls of the log in any order, the power cut at each step of each.

use hardlog_openraft::v0_10::LogStore;
use openraft::{
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
    type_config::alias::{EntryOf, VoteOf},
};

use crate::{cuts::Cuts, log::id, notes::Advanced, now};

type C = Advanced;

/// One walk of `calls` calls. Panics with the seed where a cut leaves what no caller was promised.
fn walk(seed: u64, calls: u64) -> usize {
    let (mut cuts, log) = Cuts::new(seed);
    let mut store = LogStore::<C>::inline(log);
    let mut term = 1;
    for _ in 0..calls {
        let state = now(store.get_log_state()).unwrap();
        let next = state.last_log_id.map_or(0, |last| last.index + 1);
        let purged = state.last_purged_log_id.map_or(0, |id| id.index + 1);
        term += u64::from(cuts.below(4) == 0);
        let some = 1 + cuts.below(4) as u64;
        let choice = cuts.below(10);
        let line = "x".repeat([3, 40, 3000, 12_000][cuts.below(4)]);
        let held = usize::try_from(next - purged).unwrap();
        let inside = purged + cuts.below(held + 1) as u64;
        cuts.arm();
        let (durable, what) = match choice {
            0..=3 => {
                let of = |index| EntryOf::<C>::new_normal(id(term, 1, index), line.clone());
                let entries: Vec<_> = (next..next + some).map(of).collect();
                now(store.append(entries, IOFlushed::noop())).unwrap();
                (true, "append")
            }
            4 | 5 => {
                now(store.save_vote(&VoteOf::<C>::new_committed(term, some))).unwrap();
                (true, "save_vote")
            }
            6 => {
                let last = inside.checked_sub(1).map(|index| id(term, 1, index));
                now(store.truncate_after(last)).unwrap();
                (false, "truncate")
            }
            7 => {
                now(store.purge(id(term, 1, inside))).unwrap();
                (false, "purge")
            }
            8 if some == 1 => {
                now(store.purge(id(term, 1, next + 3))).unwrap();
                (false, "purge past the end")
            }
            _ => {
                now(store.save_committed(Some(id(term, 1, inside)))).unwrap();
                (false, "save_committed")
            }
        };
        if let Some(log) = cuts.returned(durable, what) {
            store = LogStore::inline(log);
        }
    }
    cuts.compared
}

#[test]
fn what_was_acknowledged_survives_every_cut_of_random_walks() {
    let compared: usize = (0..12).map(|seed| walk(seed, 60)).sum();
    assert!(compared > 5000, "only {compared} states were compared");
}
