//! Random runs with power cuts: nothing that a caller was told is done is ever lost.

use hardlog::fs::sim::Model;

use super::rig::Rig;

/// What a run of this seed does; how many commands were done, cuts made, and snapshots installed.
fn run(seed: u64, model: Model) -> (usize, usize, usize) {
    let mut rig = Rig::new(3, seed, 600);
    let mut cuts = 0;
    for step in 0..600 {
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
            80..95 => {
                let leader = rig.leader().unwrap_or(id);
                rig.propose(leader, format!("{seed}-{step}"));
            }
            95..97 => {
                rig.power_cut(id, model);
                cuts += 1;
            }
            97 => rig.kill(id),
            98 => rig.cut = vec![id],
            _ => rig.cut.clear(),
        }
        if step % 100 == 99 {
            // Long enough for somebody to win, so that a run is not all elections.
            rig.cut.clear();
            rig.rounds(40);
        }
    }
    rig.cut.clear();
    rig.settle("the last");
    rig.check();
    let done = rig.done.lock().unwrap().len();
    let marks = rig.machines.values().filter_map(|m| m.driver.log().snapshot_mark());
    (done, cuts, marks.count())
}

fn campaign(model: Model, seeds: std::ops::Range<u64>) {
    let mut sum = (0, 0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let (done, cuts, snapshots) = run(seed, model);
        sum = (sum.0 + done, sum.1 + cuts, sum.2 + snapshots);
    }
    // A run in which nothing happens proves nothing.
    assert!(sum.0 > 500 && sum.1 > 100 && sum.2 > 20, "{sum:?}");
}

#[test]
fn nothing_that_is_done_is_lost_by_power_cuts_with_names_in_any_order() {
    campaign(Model::Strict, 1..31);
}

#[test]
fn nothing_that_is_done_is_lost_by_power_cuts_with_names_in_order() {
    campaign(Model::Journal, 101..121);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, Model::Strict), run(7, Model::Strict));
}
