//! Random runs with power cuts, and with disks that fail or are full: nothing that a caller was
//! told is done is ever lost.

use hardlog::fs::sim::{EIO, ENOSPC, Effect, Fault, Model, When};

use super::rig::Rig;

/// What happened in a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    done: usize,
    cuts: usize,
    snapshots: usize,
    stopped: usize,
}

struct Run {
    rig: Rig,
    seed: u64,
    model: Model,
    faults: bool,
    sum: Sum,
}

impl Run {
    fn step(&mut self, step: u32) {
        let rig = &mut self.rig;
        let id = 1 + rig.rng.below(3) as u64;
        match rig.rng.below(100) {
            0..50 if !rig.wire.is_empty() => {
                let at = rig.rng.below(rig.wire.len().min(4));
                let message = rig.wire.remove(at);
                if rig.rng.below(20) > 0 {
                    rig.deliver(message);
                }
            }
            0..65 => rig.tick(id),
            65..80 => rig.sync(id),
            91..94 if self.faults => self.spoil(id),
            80..95 => {
                let leader = rig.leader().unwrap_or(id);
                rig.propose(leader, format!("{}-{step}", self.seed));
            }
            95..97 => {
                rig.power_cut(id, self.model);
                self.sum.cuts += 1;
            }
            97 => rig.kill(id),
            98 => rig.cut = vec![id],
            _ => rig.cut.clear(),
        }
    }

    /// The disk fails once soon, or is full for now.
    fn spoil(&mut self, id: u64) {
        let disk = self.rig.machine(id).disk.clone();
        let soon = disk.ops() + self.rig.rng.below(10) as u64;
        let effect = match self.rig.rng.below(5) {
            0 => Effect::Fail(EIO),
            1 => Effect::Fail(ENOSPC),
            2 => Effect::DoneButFail(EIO),
            3 => Effect::Torn(600, EIO),
            _ => {
                disk.set_capacity(Some(disk.used() + 20_000));
                return;
            }
        };
        disk.inject(Fault::once(When::Mutating(soon), effect));
    }

    /// Disks are mended, and nodes that had stopped begin again.
    fn mend(&mut self) {
        for id in 1..=3 {
            let machine = self.rig.machine(id);
            machine.disk.clear_faults();
            machine.disk.set_capacity(None);
            if self.rig.machine(id).failed.is_some() {
                self.sum.stopped += 1;
                self.rig.power_cut(id, self.model);
            }
        }
    }

    fn finish(mut self) -> Sum {
        self.rig.cut.clear();
        // A log that stopped is noticed at its next write only.
        for _ in 0..5 {
            self.mend();
            self.rig.rounds(40);
        }
        self.mend();
        self.rig.settle("the last");
        self.rig.check();
        self.sum.done = self.rig.done.lock().unwrap().len();
        let marks = self.rig.machines.values().filter_map(|m| m.driver.log().snapshot_mark());
        self.sum.snapshots = marks.count();
        self.sum
    }
}

fn run(seed: u64, model: Model, faults: bool) -> Sum {
    let mut run = Run { rig: Rig::new(3, seed, 600), seed, model, faults, sum: Sum::default() };
    for step in 0..600 {
        run.step(step);
        if step % 100 == 99 {
            // Long enough for somebody to win, so that a run is not all elections.
            run.rig.cut.clear();
            run.mend();
            run.rig.rounds(40);
        }
    }
    run.finish()
}

fn campaign(model: Model, faults: bool, seeds: std::ops::Range<u64>) {
    let mut sum = Sum::default();
    for seed in seeds {
        println!("seed {seed}");
        let one = run(seed, model, faults);
        sum.done += one.done;
        sum.cuts += one.cuts;
        sum.snapshots += one.snapshots;
        sum.stopped += one.stopped;
    }
    // A run in which nothing happens proves nothing.
    assert!(sum.done > 400 && sum.cuts > 100 && sum.snapshots > 20, "{sum:?}");
    assert!(!faults || sum.stopped > 10, "{sum:?}");
}

#[test]
fn nothing_that_is_done_is_lost_by_power_cuts_with_names_in_any_order() {
    campaign(Model::Strict, false, 1..31);
}

#[test]
fn nothing_that_is_done_is_lost_by_power_cuts_with_names_in_order() {
    campaign(Model::Journal, false, 101..121);
}

#[test]
fn nothing_that_is_done_is_lost_by_disks_that_fail_or_are_full() {
    campaign(Model::Strict, true, 201..231);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, Model::Strict, true), run(7, Model::Strict, true));
}
