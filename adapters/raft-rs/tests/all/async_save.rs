//! Saving without waiting: in order, once durable, never before.

use std::sync::{Arc, Mutex};

use hardlog::fs::sim::{Call, EIO, Effect, Fault, SimFs, When};
use hardlog_raft_rs::{
    LogStorage,
    raft::{Config, RawNode, Ready},
};

use super::rig::{logger, open, voters};

/// The only voter, as a leader with one entry to be saved, on a disk.
fn leader(disk: &SimFs) -> RawNode<LogStorage> {
    let mut storage = open(disk);
    storage.bootstrap(voters(&[1])).unwrap();
    let mut node = RawNode::new(&Config::new(1), storage, &logger()).unwrap();
    node.campaign().unwrap();
    node
}

/// What `on_persist_ready` is to be told, as callbacks come in.
type Told = Arc<Mutex<Vec<Result<u64, String>>>>;

fn save(node: &mut RawNode<LogStorage>, told: &Told) -> Ready {
    let ready = node.ready();
    let told = Arc::clone(told);
    let done = move |result: hardlog::Result<u64>| {
        told.lock().unwrap().push(result.map_err(|e| e.to_string()));
    };
    node.mut_store().save_async(&ready, done).unwrap();
    ready
}

#[test]
fn readies_are_told_in_order_once_a_sync_covers_them() {
    let disk = SimFs::new(1);
    let (mut node, told) = (leader(&disk), Told::default());
    let mut numbers = Vec::new();
    for i in 0..5 {
        let ready = save(&mut node, &told);
        assert!(ready.must_sync());
        numbers.push(ready.number());
        node.advance_append_async(ready);
        // Readable at once, as raft-rs demands, and not durable.
        assert_eq!(node.store().log().last_log_index(), Some(2 + i));
        node.propose(vec![], format!("{i}").into()).unwrap();
    }
    assert_eq!(*told.lock().unwrap(), []);
    assert_eq!(node.raft.raft_log.committed, 1, "nothing is durable anywhere");
    let syncs = disk.count(Call::Sync);
    node.store().log().sync().unwrap();
    assert_eq!(disk.count(Call::Sync), syncs + 1, "one for all");
    let expected: Vec<_> = numbers.iter().map(|number| Ok(*number)).collect();
    assert_eq!(*told.lock().unwrap(), expected);
    node.on_persist_ready(*numbers.last().unwrap());
    assert_eq!(node.raft.raft_log.committed, 6);
}

#[test]
fn a_ready_that_changes_only_commit_waits_for_those_before_it_and_for_no_sync() {
    let disk = SimFs::new(2);
    let (mut node, told) = (leader(&disk), Told::default());
    let first = save(&mut node, &told);
    let number = first.number();
    node.advance_append_async(first);
    node.store().log().sync().unwrap();
    node.on_persist_ready(number);
    let second = save(&mut node, &told);
    assert!(!second.must_sync() && second.hs().is_some());
    let number = second.number();
    node.advance_append_async(second);
    // It is told with the next look at the callbacks, whatever became of its own write.
    disk.inject(Fault::from_then_on(When::Kind(Call::Sync, 0), Effect::Fail(EIO)));
    assert!(node.store().log().sync().is_err());
    assert_eq!(told.lock().unwrap().last(), Some(&Ok(number)));
}

#[test]
fn a_sync_that_fails_is_told_and_never_taken_for_durable() {
    let disk = SimFs::new(3);
    let (mut node, told) = (leader(&disk), Told::default());
    let ready = save(&mut node, &told);
    node.advance_append_async(ready);
    disk.inject(Fault::from_then_on(When::Mutating(disk.ops()), Effect::Fail(EIO)));
    assert!(node.store().log().sync().is_err());
    let _ = node.store().log().sync();
    let told = told.lock().unwrap();
    assert!(matches!(told[..], [Err(_)]), "{told:?}");
}

#[test]
fn a_save_that_a_full_disk_refused_can_be_repeated() {
    let disk = SimFs::new(4);
    let mut node = leader(&disk);
    disk.set_capacity(Some(disk.used()));
    let data = "x".repeat(8 << 10);
    let (ready, error) = (0..20)
        .find_map(|_| {
            let ready = node.ready();
            let error = node.mut_store().save(&ready).err();
            if let Some(error) = error {
                return Some((ready, error));
            }
            node.advance(ready);
            node.advance_apply();
            node.propose(vec![], data.clone().into()).unwrap();
            None
        })
        .expect("the disk is full at some time");
    assert!(matches!(error, hardlog_raft_rs::Error::Log(hardlog::Error::Full { .. })), "{error}");
    disk.set_capacity(None);
    node.mut_store().save(&ready).unwrap();
    node.advance(ready);
    let (log, raft) = (node.store().log(), &node.raft.raft_log);
    assert_eq!((log.last_log_index(), raft.committed), (Some(raft.persisted), raft.persisted));
}
