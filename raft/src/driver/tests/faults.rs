//! Disks that are full, fail or hang.

use std::sync::Arc;

use hardlog::{
    Entry, EntryId, Log, Options, SnapshotMark,
    fs::sim::{Call, EIO, Effect, Fault, Model, SimFs, When},
};

use super::{super::Output, rig::Rig};
use crate::{Error, ProposeError, RoleName, boot, message::Body, node::start, work::Report};

fn led() -> (Rig, u64) {
    let mut rig = Rig::new(3, 1, 1 << 30);
    rig.settle("first");
    let leader = rig.leader().expect("a leader");
    (rig, leader)
}

#[test]
fn a_leader_whose_disk_is_full_steps_down_and_goes_on_once_there_is_room() {
    let (mut rig, leader) = led();
    let disk = rig.machine(leader).disk.clone();
    disk.set_capacity(Some(disk.used()));
    for i in 0..200 {
        rig.propose(leader, format!("{i}-{}", "x".repeat(8000)));
    }
    assert!(rig.machine(leader).failed.is_none(), "{:?}", rig.machine(leader).failed);
    assert_ne!(rig.machine(leader).core().role(), RoleName::Leader);
    rig.rounds(120);
    assert!(rig.leader().is_some_and(|id| id != leader), "{:?} leads", rig.leader());
    assert!(rig.refused.lock().unwrap().contains(&ProposeError::Unknown));
    let term = rig.machine(leader).core().term();
    let saved = rig.machine(leader).driver.log().hard_state().term;
    assert_eq!(saved, term, "it still takes part in elections");
    disk.set_capacity(None);
    rig.settle("room");
    rig.check();
}

#[test]
fn what_no_batch_of_the_log_holds_costs_a_leader_its_term_and_no_node_its_life() {
    let (mut rig, leader) = led();
    rig.propose(leader, "x".repeat(600 << 10));
    rig.rounds(3);
    for id in 1..=3 {
        assert!(rig.machine(id).failed.is_none(), "{:?}", rig.machine(id).failed);
    }
    assert_ne!(rig.machine(leader).core().role(), RoleName::Leader);
    rig.settle("after");
    assert!(rig.state(1).contains(&"after".to_owned()));
    rig.check();
}

#[test]
fn a_node_whose_disk_fails_stops_and_answers_nobody() {
    let (mut rig, leader) = led();
    let disk = rig.machine(leader).disk.clone();
    let now = When::Kind(Call::Sync, disk.count(Call::Sync));
    disk.inject(Fault::from_then_on(now, Effect::Fail(EIO)));
    rig.propose(leader, "lost".to_owned());
    rig.rounds(3);
    disk.inject(Fault::from_then_on(
        When::Kind(Call::Write, disk.count(Call::Write)),
        Effect::Fail(EIO),
    ));
    rig.propose(leader, "lost too".to_owned());
    rig.rounds(1);
    let failed = rig.machine(leader).failed.as_ref().expect("it stopped");
    assert!(matches!(failed, Error::Log(_)), "{failed}");
    rig.wire.clear();
    rig.rounds(200);
    assert!(rig.leader().is_some_and(|id| id != leader));
    // Its disk is mended, and it comes back with what was durable.
    rig.power_cut(leader, Model::Strict);
    rig.settle("mended");
    rig.check();
}

#[test]
fn a_log_that_stops_in_a_sync_stops_the_node_even_if_nothing_is_written_any_more() {
    // It kept all its promises back and went on following in silence.
    let (mut rig, leader) = led();
    let follower = 1 + leader % 3;
    let disk = rig.machine(follower).disk.clone();
    rig.propose(leader, "x".to_owned());
    for message in std::mem::take(&mut rig.wire) {
        rig.deliver(message);
    }
    disk.inject(Fault::from_then_on(When::Mutating(disk.ops()), Effect::Fail(EIO)));
    rig.sync(follower);
    rig.sync(follower);
    let failed = rig.machine(follower).failed.as_ref().expect("it stopped");
    assert!(matches!(failed, Error::Log(_)), "{failed}");
}

#[test]
fn a_disk_that_hangs_ends_the_leadership() {
    let (mut rig, leader) = led();
    rig.propose(leader, "x".to_owned());
    // Time passes and messages flow, but the leader's disk does not answer.
    for _ in 0..150 {
        for id in 1..=3 {
            rig.tick(id);
            if id != leader {
                rig.sync(id);
            }
        }
        for message in std::mem::take(&mut rig.wire) {
            rig.deliver(message);
        }
    }
    assert_ne!(rig.machine(leader).core().role(), RoleName::Leader);
    let other = rig.leader().expect("somebody else leads");
    assert!(rig.state(other).contains(&"x".to_owned()));
    rig.settle("end");
    rig.check();
}

#[test]
fn an_installed_snapshot_reaches_the_machine_only_after_its_mark_is_durable() {
    let mut rig = Rig::new(3, 5, 400);
    rig.settle("first");
    let leader = rig.leader().expect("a leader");
    let follower = 1 + leader % 3;
    rig.cut = vec![follower];
    for i in 0..30 {
        rig.propose(leader, format!("command {i}"));
        rig.rounds(2);
    }
    assert!(rig.machine(leader).driver.log().first_log_index() > 20, "nothing was trimmed");
    rig.cut.clear();
    let mut installed = false;
    for _ in 0..2000 {
        let log = rig.machine(follower).driver.log();
        installed = log.snapshot_mark().is_some() && log.first_log_index() > 20;
        if installed {
            break;
        }
        // Everything but the follower's disk goes on; that syncs only until the mark is written.
        for id in 1..=3 {
            rig.tick(id);
            let pending = rig.machine(follower).driver.install.is_some();
            if id != follower || !pending {
                rig.sync(id);
            }
        }
        if let Some(message) = (!rig.wire.is_empty()).then(|| rig.wire.remove(0)) {
            rig.deliver(message);
        }
    }
    assert!(installed, "no snapshot was installed");
    assert!(rig.state(follower).len() < 5, "restored before the mark is durable");
    rig.sync(follower);
    assert!(rig.state(follower).len() > 20, "not restored after the mark is durable");
    rig.settle("end");
    rig.check();
}

#[test]
fn a_snapshot_that_was_being_written_while_a_newer_one_was_installed_is_not_marked() {
    // The mark went back behind the first entry of the log, and the node did not start again.
    let mut rig = Rig::new(3, 5, 400);
    rig.settle("first");
    let leader = rig.leader().expect("a leader");
    let follower = 1 + leader % 3;
    rig.cut = vec![follower];
    for i in 0..30 {
        rig.propose(leader, format!("command {i}"));
        rig.rounds(2);
    }
    rig.cut.clear();
    rig.settle("second");
    let machine = rig.machine(follower);
    let installed = machine.driver.log().snapshot_mark().expect("a snapshot was installed");
    assert!(machine.driver.log().first_log_index() > 20, "nothing was installed");
    let late = SnapshotMark { id: EntryId::new(3, 1), ..installed };
    machine.driver.report(Report::Taken(late), &mut Output::default()).expect("it is taken");
    rig.rounds(2);
    let marked = rig.machine(follower).driver.log().snapshot_mark().expect("a mark");
    assert!(marked.id.index >= installed.id.index, "{marked:?} is older than {installed:?}");
    rig.kill(follower);
    rig.settle("third");
    rig.check();
}

#[test]
fn a_node_does_not_begin_on_entries_that_are_not_durable() {
    // A log without room for a new segment was handed out for reading; the core took what it found
    // for durable and acknowledged entries that a power cut then took away.
    let options = || Options::new().background(false).segment_size(64 << 10);
    let disk = SimFs::new(1);
    let mut log = Log::create_on(Arc::new(disk.clone()), options()).expect("a log");
    log.append(&[Entry::new(1, 1, "x")]).expect("it is written");
    let killed = disk.kill_image();
    killed.set_capacity(Some(killed.used()));
    let (log, report) = Log::open_on(Arc::new(killed.clone()), options()).expect("to be read");
    assert!(report.read_only.is_some() && log.last_log_index() == Some(1), "{report}");
    assert!(start::all_durable(&log).is_err(), "there is no room to make it durable");
    killed.set_capacity(None);
    start::all_durable(&log).expect("there is room now");
    assert_eq!(log.durable(), log.written());
}

#[test]
fn a_node_that_starts_on_a_full_disk_waits_and_promises_nothing_until_there_is_room() {
    let (mut rig, leader) = led();
    let follower = 1 + leader % 3;
    rig.propose(leader, "in the page cache".to_owned());
    for message in std::mem::take(&mut rig.wire) {
        rig.deliver(message);
    }
    let last = rig.machine(follower).core().last_id();
    let disk = rig.machine(follower).disk.kill_image();
    disk.set_capacity(Some(disk.used()));
    rig.machines.remove(&follower);
    rig.wire.retain(|message| message.from != follower && message.to != follower);
    rig.boot(follower, disk.clone());
    assert_eq!(rig.machine(follower).core().last_id(), last, "it can be read");
    for _ in 0..100 {
        rig.round();
        let binds = |body: &Body| !matches!(body, Body::PreVoteReply { .. } | Body::PreVote { .. });
        let said = rig.wire.iter().find(|m| m.from == follower && binds(&m.body));
        assert!(said.is_none(), "{said:?}");
    }
    let machine = rig.machine(follower);
    assert!(machine.failed.is_none() && machine.core().disk_hangs(), "{:?}", machine.failed);
    disk.set_capacity(None);
    rig.settle("room");
    assert!(!rig.machine(follower).core().disk_hangs());
    rig.check();
}

#[test]
fn a_node_whose_loss_was_accepted_has_no_vote_until_a_later_term_has_committed() {
    let (mut rig, leader) = led();
    let (follower, third) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let disk = rig.machine(follower).disk.kill_image();
    let options = Options::new().background(false).segment_size(1 << 20);
    let (mut log, _) = Log::open_on(Arc::new(disk.clone()), options).expect("a log");
    boot::abstain(&mut log).expect("it is written");
    drop(log);
    rig.machines.remove(&follower);
    rig.wire.clear();
    rig.boot(follower, disk);
    // The leader is gone, and the other one needs a vote.
    rig.cut = vec![leader];
    rig.rounds(300);
    assert_ne!(rig.machine(third).core().role(), RoleName::Leader, "who voted for it?");
    let role = rig.machine(follower).core().role();
    assert_eq!(role, RoleName::Follower, "nor does it campaign");
    rig.kill(follower);
    rig.rounds(100);
    assert_ne!(rig.machine(third).core().role(), RoleName::Leader, "it remembers");
    // With a majority that does not need it a later term commits, and it may vote again.
    rig.cut.clear();
    rig.settle("caught up");
    assert!(!boot::abstains(rig.machine(follower).driver.log()));
    let leader = rig.leader().expect("a leader");
    let other = [leader, follower, third].into_iter().find(|id| *id != leader && *id != follower);
    if leader != follower {
        rig.cut = vec![leader];
        rig.rounds(300);
        let leads = |id| rig.machines[&id].core().role() == RoleName::Leader;
        assert!(leads(follower) || other.is_some_and(leads), "its vote counts again");
    }
    rig.check();
}

#[test]
fn a_lone_voter_whose_loss_was_accepted_goes_on_with_what_is_left() {
    let mut rig = Rig::new(1, 1, 1 << 30);
    rig.settle("first");
    let disk = rig.machine(1).disk.kill_image();
    let options = Options::new().background(false).segment_size(1 << 20);
    let (mut log, _) = Log::open_on(Arc::new(disk.clone()), options).expect("a log");
    boot::abstain(&mut log).expect("it is written");
    drop(log);
    rig.machines.remove(&1);
    rig.boot(1, disk);
    rig.settle("second");
    assert!(!boot::abstains(rig.machine(1).driver.log()));
}

#[test]
fn what_may_be_lost_is_acknowledged_once_a_later_term_has_committed_and_not_before() {
    let (mut rig, leader) = led();
    let follower = 1 + leader % 3;
    let lost = |rig: &mut Rig| rig.machine(follower).driver.log().maybe_lost();
    for i in 0..50 {
        rig.propose(leader, format!("unsynced {i} {}", "x".repeat(3000)));
        for message in std::mem::take(&mut rig.wire) {
            rig.deliver(message);
        }
        rig.power_cut(follower, Model::Strict);
        if lost(&mut rig).is_some() {
            break;
        }
        rig.rounds(5);
    }
    assert!(lost(&mut rig).is_some(), "no power cut left doubts");
    rig.settle("in the same term");
    assert_eq!(rig.leader(), Some(leader));
    assert!(lost(&mut rig).is_some(), "this leader may have counted what was lost");
    rig.kill(leader);
    rig.settle("in a later term");
    assert_eq!(lost(&mut rig), None);
    rig.check();
}
