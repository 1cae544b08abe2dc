//! MIT 6.824 2D, 6.5840 3D: snapshots. The service takes one after each ten commands.

use super::{
    harness::{Servers, check_one_leader, command, one, servers},
    simulated::{TEN_COMMANDS, TEN_COMMANDS_AND_SOME, mit_with_snapshots},
};

/// Bytes of log and hard state that a server may keep.
const STATE_MAX: u64 = 2000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Stays,
    IsCutOff,
    Crashes,
}

fn snapshots<C: Servers>(c: &mut C, becomes: Victim, reliable: bool) {
    c.set_unreliable(!reliable);
    let sent = c.snapshots_sent();
    let mut next = 0;
    let mut value = || {
        next += 1;
        next
    };
    one(c, value(), 3, true);
    let mut leader = check_one_leader(c);
    for round in 0..30 {
        let (victim, sender) = match round % 3 {
            1 => (leader, (leader + 1) % 3),
            _ => ((leader + 1) % 3, leader),
        };
        match becomes {
            Victim::Stays => {}
            Victim::IsCutOff => {
                c.disconnect(victim);
                one(c, value(), 2, true);
            }
            Victim::Crashes => {
                c.crash(victim);
                one(c, value(), 2, true);
            }
        }
        // Enough for a snapshot, perhaps.
        for _ in 0..5 + c.random(10) {
            c.submit(sender, &command(value()));
        }
        // Lets the others come along, or the victim would not need a snapshot.
        let those_left = if becomes == Victim::Stays { 3 } else { 2 };
        one(c, value(), those_left, true);
        let sizes: Vec<u64> = servers(c).map(|server| c.state_size(server)).collect();
        assert!(sizes.iter().all(|size| *size < STATE_MAX), "{sizes:?} bytes are kept");
        match becomes {
            Victim::Stays => {}
            Victim::IsCutOff => {
                c.connect(victim);
                one(c, value(), 3, true);
                leader = check_one_leader(c);
            }
            Victim::Crashes => {
                c.restart(victim);
                one(c, value(), 3, true);
                leader = check_one_leader(c);
            }
        }
    }
    let last: Vec<u64> = servers(c).map(|server| c.snapshot(server)).collect();
    assert!(last.iter().all(|index| *index > 10), "snapshots at {last:?}");
    let sent = c.snapshots_sent() - sent;
    let needed = becomes != Victim::Stays;
    assert_eq!(sent > 0, needed, "{sent} pieces of snapshots were sent");
}

pub(crate) fn snapshot_basic<C: Servers>(c: &mut C) {
    snapshots(c, Victim::Stays, true);
}

pub(crate) fn snapshot_install<C: Servers>(c: &mut C) {
    snapshots(c, Victim::IsCutOff, true);
}

pub(crate) fn snapshot_install_unreliable<C: Servers>(c: &mut C) {
    snapshots(c, Victim::IsCutOff, false);
}

pub(crate) fn snapshot_install_crash<C: Servers>(c: &mut C) {
    snapshots(c, Victim::Crashes, true);
}

pub(crate) fn snapshot_install_un_crash<C: Servers>(c: &mut C) {
    snapshots(c, Victim::Crashes, false);
}

pub(crate) fn snapshot_all_crash<C: Servers>(c: &mut C) {
    let mut next = 0;
    let mut value = || {
        next += 1;
        next
    };
    one(c, value(), 3, true);
    for _ in 0..5 {
        for _ in 0..5 + c.random(10) {
            one(c, value(), 3, true);
        }
        let before = one(c, value(), 3, true);
        servers(c).for_each(|server| c.crash(server));
        servers(c).for_each(|server| c.restart(server));
        let after = one(c, value(), 3, true);
        assert!(after > before, "{after} comes after {before}");
    }
}

/// What a snapshot holds survives a second start that has nothing to add to it.
pub(crate) fn snapshot_init<C: Servers>(c: &mut C) {
    let mut next = 0;
    let mut value = || {
        next += 1;
        next
    };
    for _ in 0..12 {
        one(c, value(), 3, true);
    }
    for _ in 0..2 {
        servers(c).for_each(|server| c.crash(server));
        servers(c).for_each(|server| c.restart(server));
        one(c, value(), 3, true);
    }
    assert_eq!(c.last_applied(0), 14);
    assert!(c.applied(0, 1).is_some_and(|bytes| *bytes == command(1)), "the first is lost");
}

#[test]
fn test_snapshot_basic_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS_AND_SOME, snapshot_basic);
}

#[test]
fn test_snapshot_install_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS, snapshot_install);
}

#[test]
fn test_snapshot_install_unreliable_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS, snapshot_install_unreliable);
}

#[test]
fn test_snapshot_install_crash_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS, snapshot_install_crash);
}

#[test]
fn test_snapshot_install_un_crash_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS, snapshot_install_un_crash);
}

#[test]
fn test_snapshot_all_crash_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS, snapshot_all_crash);
}

#[test]
fn test_snapshot_init_2d() {
    mit_with_snapshots(3, 20, TEN_COMMANDS, snapshot_init);
}
