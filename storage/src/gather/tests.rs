use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    Entry, Log, LogReader, Options, Syncer,
    fs::sim::{Call, EIO, Effect, Fault, SimFs, When},
};

fn batch(fill: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![fill; len];
    bytes.resize(len + HEAD_LEN, 0);
    bytes
}

#[test]
fn batches_follow_each_other_over_their_zero_heads_and_markers_behind_them() {
    let mut gathered = Gathered::default();
    gathered.add(&batch(1, 8), 4000);
    gathered.add(&batch(2, 16), 4008);
    gathered.add(&batch(3, 8), 8192);
    let mut file = vec![7; 9000];
    let mut calls = 0;
    let written: Result<(), ()> = gathered.give(|bytes, at| {
        calls += 1;
        file[usize::try_from(at).unwrap()..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    });
    assert_eq!((written, calls, gathered.is_empty()), (Ok(()), 1, true));
    let mut whole = vec![7; 4000];
    whole.extend([1; 8]);
    whole.extend([2; 16]);
    whole.resize(8192, 0);
    whole.extend(batch(3, 8));
    whole.resize(9000, 7);
    assert_eq!(file, whole);
}

#[test]
fn what_could_not_be_written_is_forgotten_and_nothing_is_written_of_nothing() {
    let mut gathered = Gathered::default();
    gathered.add(&batch(1, 8), 64);
    assert_eq!(gathered.give(|_, _| Err("no")), Err("no"));
    assert_eq!(gathered.give(|_, _| Err("never called")), Ok(()));
    gathered.add(&batch(2, 8), 128);
    gathered.forget();
    assert_eq!(gathered.give(|_, _| Err("never called")), Ok(()));
}

#[test]
fn large_batches_and_large_heaps_are_not_kept_back() {
    let mut gathered = Gathered::default();
    assert!(gathered.takes(LARGE - 1) && !gathered.takes(LARGE));
    let mut at = 0;
    while gathered.takes(4096) {
        gathered.add(&batch(1, 4096 - HEAD_LEN), at);
        at += 4096;
    }
    assert!(at <= GATHERED_MAX as u64 && at > (GATHERED_MAX - 2 * 4096) as u64);
}

#[test]
#[should_panic(expected = "only rises")]
fn a_batch_over_another_is_a_bug() {
    let mut gathered = Gathered::default();
    gathered.add(&batch(1, 64), 64);
    gathered.add(&batch(2, 8), 96);
}

/// A log that is shared with what happens inside a call of its disk.
struct Rig {
    fs: SimFs,
    log: Arc<Mutex<Option<Log>>>,
    reader: LogReader,
    syncer: Syncer,
}

fn options() -> Options {
    Options::new().segment_size(64 << 10).background(false)
}

fn append(log: &mut Log) {
    let index = log.next_log_index();
    log.append(&[Entry::new(index, 1, format!("payload {index}"))]).expect("appends");
}

impl Rig {
    /// One entry is written and not synced. `meanwhile` happens while the disk is busy with the next
    /// sync; no call may reach the disk from it if `quiet`.
    fn new(quiet: bool, meanwhile: impl Fn(&mut Option<Log>) + Send + 'static) -> Self {
        let fs = SimFs::new(5);
        let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
        append(&mut log);
        let (reader, syncer) = (log.reader(), log.syncer());
        let log = Arc::new(Mutex::new(Some(log)));
        let (inner, mut due) = (Arc::clone(&log), true);
        fs.on_step(move |fs, step| {
            if step.call == Call::Sync && std::mem::take(&mut due) {
                let before = fs.count(Call::Write);
                meanwhile(&mut inner.lock().expect("alone"));
                assert!(!quiet || fs.count(Call::Write) == before, "written beside a sync");
            }
        });
        Self { fs, log, reader, syncer }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Log) -> T) -> T {
        f(self.log.lock().expect("alone").as_mut().expect("not closed"))
    }

    /// Everything up to `last` is there after a power cut, as far as it is durable by now.
    fn survives(self, last: u64) {
        self.fs.clear_hook();
        self.fs.clear_faults();
        self.syncer.sync().expect("syncs");
        drop(self.log.lock().expect("alone").take());
        let mut images = self.fs.crash_images(
            crate::fs::sim::Model::Strict,
            1,
            &mut crate::fs::sim::Rng::new(1),
        );
        let image = images.next().expect("one at least").fs;
        let (log, _) = Log::open_on(Arc::new(image), options()).expect("opens");
        assert_eq!(log.last_log_index(), Some(last));
        for index in 1..=last {
            assert_eq!(log.at(index).expect("readable").payload, format!("payload {index}"));
        }
    }
}

fn three(log: &mut Option<Log>) {
    let log = log.as_mut().expect("open");
    (0..3).for_each(|_| append(log));
    assert_eq!(log.at(4).expect("visible at once").payload, "payload 4");
}

#[test]
fn what_comes_during_a_sync_is_visible_at_once_and_written_in_one_call_after_it() {
    let rig = Rig::new(true, three);
    let before = rig.fs.count(Call::Write);
    rig.syncer.sync().expect("syncs");
    assert_eq!(rig.fs.count(Call::Write), before + 1);
    assert_eq!(rig.syncer.durable().sequence(), 1, "the sync had begun before the others came");
    rig.with(append);
    assert_eq!(rig.fs.count(Call::Write), before + 2, "nobody syncs: written at once");
    assert!((1..=5).all(|index| rig.reader.at(index).is_ok()));
    rig.survives(5);
}

#[test]
fn a_batch_that_is_large_is_written_beside_the_sync_with_what_waits() {
    let rig = Rig::new(false, |log| {
        three(log);
        let large = Entry::new(5, 1, vec![7; LARGE]);
        log.as_mut().expect("open").append(&[large]).expect("appends");
    });
    let before = rig.fs.count(Call::Write);
    rig.syncer.sync().expect("syncs");
    assert_eq!(rig.fs.count(Call::Write), before + 1, "one call for all four");
    assert_eq!(rig.reader.at(5).expect("there").payload.len(), LARGE);
}

#[test]
fn a_failed_sync_takes_what_was_gathered_along_into_the_successor() {
    let rig = Rig::new(true, three);
    let when = When::Kind(Call::Sync, rig.fs.count(Call::Sync));
    rig.fs.inject(Fault::once(when, Effect::Fail(EIO)));
    rig.syncer.sync().expect("goes on in a successor");
    assert_eq!((rig.with(|log| log.incarnation()), rig.with(|log| log.halted())), (2, None));
    assert_eq!(rig.syncer.durable().sequence(), 4);
    rig.survives(4);
}

#[test]
fn what_was_gathered_and_cannot_be_written_goes_on_in_a_successor() {
    let rig = Rig::new(true, three);
    let when = When::Kind(Call::Write, rig.fs.count(Call::Write));
    rig.fs.inject(Fault::once(when, Effect::Short(100)));
    rig.syncer.sync().expect("what it was asked for is durable");
    assert_eq!((rig.with(|log| log.incarnation()), rig.with(|log| log.halted())), (2, None));
    rig.survives(4);
}

#[test]
fn a_log_that_is_dropped_during_a_sync_leaves_what_was_gathered_in_its_file() {
    let rig = Rig::new(false, |log| {
        three(log);
        drop(log.take());
    });
    rig.syncer.sync().expect("the sync itself is good");
    let (log, _) = Log::open_on(Arc::new(rig.fs.kill_image()), options()).expect("opens");
    assert_eq!(log.last_log_index(), Some(4));
}
