//! Random runs with membership changes and transfers over real logs that lose power: who takes part
//! is what the log says, and nothing that a caller was told is done is ever lost.

use hardlog::fs::sim::Model;

use super::rig::Rig;
use crate::{Member, RoleName, core::Change};

struct Run {
    rig: Rig,
    model: Model,
    changed: usize,
    transferred: usize,
    cuts: usize,
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
            80..86 => {
                let leader = rig.leader().unwrap_or(id);
                rig.propose(leader, format!("command {step}"));
            }
            86..93 => self.change(id),
            93 => {
                let leader = rig.leader().unwrap_or(id);
                self.transferred += usize::from(rig.transfer(leader, id));
            }
            94..97 => {
                rig.power_cut(id, self.model);
                self.cuts += 1;
            }
            97 => rig.kill(id),
            98 => rig.cut = vec![id],
            _ => rig.cut.clear(),
        }
    }

    fn change(&mut self, id: u64) {
        let rig = &mut self.rig;
        let change = match rig.rng.below(4) {
            0 | 1 => Change::AddLearner { id, member: Member::default(), promote: true },
            2 => Change::Remove { id },
            _ => Change::Voters { ids: (1..=3).filter(|_| rig.rng.below(3) > 0).collect() },
        };
        if let Some(leader) = rig.leader() {
            self.changed += usize::from(rig.change(leader, &change));
        }
    }

    /// Everybody takes part again, one after the other.
    fn gather(&mut self) {
        for _ in 0..60 {
            self.rig.rounds(20);
            let Some(leader) = self.rig.leader() else { continue };
            let membership = self.rig.machine(leader).core().membership().clone();
            let Some(id) = (1..=3).find(|id| !membership.is_voter(*id)) else { return };
            let add = match membership.is_learner(id) {
                true => Change::Promote { id },
                false => Change::AddLearner { id, member: Member::default(), promote: true },
            };
            self.rig.change(leader, &add);
            // In a term without a command nothing can be changed.
            self.rig.propose(leader, "goes on".to_owned());
        }
        panic!("not everybody takes part again");
    }
}

#[test]
fn memberships_survive_power_cuts_with_the_entries_that_they_came_with() {
    let (mut changed, mut transferred, mut cuts) = (0, 0, 0);
    for seed in 301..351 {
        println!("seed {seed}");
        let model = if seed % 2 == 0 { Model::Strict } else { Model::Journal };
        let rig = Rig::new(3, seed, 600);
        let mut run = Run { rig, model, changed: 0, transferred: 0, cuts: 0 };
        for step in 0..600 {
            run.step(step);
            if step % 100 == 99 {
                run.rig.cut.clear();
                run.rig.rounds(40);
            }
        }
        run.rig.cut.clear();
        run.gather();
        run.rig.settle("the last");
        run.rig.check();
        let leaders = run.rig.machines.values().filter(|m| m.core().role() == RoleName::Leader);
        assert_eq!(leaders.count(), 1);
        changed += run.changed;
        transferred += run.transferred;
        cuts += run.cuts;
    }
    println!("{changed} changes, {transferred} transfers, {cuts} cuts");
    assert!(changed > 100 && transferred > 20 && cuts > 100, "{changed} {transferred} {cuts}");
}
