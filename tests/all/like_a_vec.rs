//! A log behaves like a `Vec` and a few fields, whatever is done to it, reopened and killed included;
//! and an iterator shows the log as it was when the iterator was made, whatever came after.

use std::sync::Arc;

use bytes::Bytes;
use hardlog::{Class, Entries, Entry, HardState, Log, fs::sim::SimFs};
use hardlog_tests::{
    crash::world::options,
    view::{Op, View, batch_of},
};
use proptest::prelude::*;

struct Pair {
    fs: SimFs,
    log: Log,
    view: View,
    pinned: Vec<(Entries, View)>,
}

impl Pair {
    fn new() -> Self {
        let fs = SimFs::new(1);
        let log = Log::create_on(Arc::new(fs.clone()), options()).unwrap();
        Self { fs, log, view: View::new(1), pinned: Vec::new() }
    }

    fn write(&mut self, op: Op) {
        self.log.write(&batch_of(std::slice::from_ref(&op))).unwrap();
        self.view.apply(&op);
    }

    fn step(&mut self, (what, amount): (u8, u16)) {
        let (first, next, commit) = (self.view.first, self.view.next(), self.view.commit);
        let hs = self.view.hard_state();
        let below = next.saturating_sub(u64::from(amount % 5));
        match what {
            0..=3 => {
                let term = hs.term.max(self.log.last_id().map_or(0, |id| id.term));
                let entry = |i| Entry::new(i, term, vec![what; usize::from(amount) * 4]);
                self.write(Op::Entries((next..next + 1 + u64::from(what)).map(entry).collect()));
            }
            4 if below >= first && below > commit => {
                // As in Raft, what replaces an entry has a higher term.
                self.write(Op::Truncate(below));
                self.write(Op::Hard(HardState { term: hs.term + 1, vote: None, ..hs }));
            }
            5 if below > first => self.write(Op::Trim(below)),
            6 => self.write(Op::Hard(HardState { term: hs.term + 1, vote: Some(7), ..hs })),
            7 if next > first + 1 && below > commit + 1 => {
                self.write(Op::Hard(HardState { commit: below - 1, ..hs }));
            }
            8 => self.write(Op::Meta(Class::Promise, Bytes::from(amount.to_string()))),
            9 => self.write(Op::Meta(Class::Ordered, Bytes::from(amount.to_string()))),
            10 => self.log.sync().unwrap(),
            11 => self.log.rotate_now().unwrap(),
            12 => self.log.reclaim().unwrap(),
            13 => self.reopen(amount % 2 == 0),
            14 => {
                let entries = self.log.reader().entries(first..next, u64::MAX);
                self.pinned.push((entries, self.view.clone()));
            }
            _ => {}
        }
    }

    fn reopen(&mut self, kill: bool) {
        if !kill {
            self.log.sync().unwrap();
        }
        self.fs = self.fs.kill_image();
        let (log, report) = Log::open_on(Arc::new(self.fs.clone()), options()).unwrap();
        assert!(report.is_clean(), "{report}");
        self.log = log;
    }
}

/// A trim behind P keeps recovery from reading the segment that held the last entry as of P: the State
/// it wrote named none, and the next open refused that.
#[test]
fn a_trim_that_is_written_again_does_not_spoil_state() {
    let mut pair = Pair::new();
    for step in [(3, 0), (11, 0), (4, 65), (1, 0), (14, 0), (10, 0), (5, 215), (13, 0), (13, 0)] {
        pair.step(step);
        assert_eq!(View::of(&pair.log).unwrap(), pair.view, "after {step:?}");
    }
    for (entries, then) in pair.pinned {
        assert_eq!(entries.count(), then.entries.len());
    }
}

/// P lay before a trim that was proven and had let files go, since the page rule moves P back: a
/// recovery that walked the chain for the window as of P called the log corrupt for their absence.
#[test]
fn files_that_a_proven_trim_let_go_are_not_missed_though_p_lies_before_it() {
    let mut pair = Pair::new();
    for step in [(0, 0), (11, 0), (5, 305), (10, 0), (4, 275), (12, 0), (13, 0), (13, 1), (13, 0)] {
        pair.step(step);
        assert_eq!(View::of(&pair.log).unwrap(), pair.view, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(150)
    })]
    #[test]
    fn a_log_is_a_vec_that_survives(steps in prop::collection::vec((0u8..15, 0u16..800), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
            prop_assert_eq!(&View::of(&pair.log).unwrap(), &pair.view, "after {:?}", step);
        }
        for (entries, then) in pair.pinned {
            let seen: Vec<_> = entries.map(|e| e.map(|e| (e.id, Some(e.payload))).unwrap()).collect();
            prop_assert!(seen == then.entries, "an iterator shows what came later");
        }
    }
}
