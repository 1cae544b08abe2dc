//! A power cut after every call to the disk: what was acknowledged is there, hard state, entries,
//! membership and snapshot are of one moment, and raft-rs starts from it.
//!
//! A history is run once to learn what the log is after each of its steps. Then it is run again, and
//! after each call that mutates, states that a power cut may leave are opened: each must be what the
//! log was after some step, at or after the last acknowledged one (term and vote may be newer).

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hardlog::{
    EntryId, Log, Options,
    fs::{
        Fs, SyncPoint,
        sim::{Model, Rng, SimFs},
    },
};
use hardlog_raft_rs::{
    LogStorage, Update,
    raft::{
        Config, RawNode, Storage,
        eraftpb::{ConfState, Entry, HardState},
    },
};

use super::rig::{all_entries, hard_state, logger, options, snapshot, voters, with_data};

const STEPS: u64 = 60;
const IMAGES: usize = 12;

/// All that a log means to raft-rs.
#[derive(Clone, Debug, PartialEq)]
struct Meaning {
    hard_state: HardState,
    members: (u64, ConfState),
    mark: Option<EntryId>,
    before: u64,
    entries: Vec<Entry>,
}

fn meaning(storage: &LogStorage) -> Meaning {
    Meaning {
        hard_state: storage.initial_state().unwrap().hard_state,
        members: storage.conf_state().unwrap(),
        mark: storage.log().snapshot_mark().map(|mark| mark.id),
        before: storage.term(storage.first_index().unwrap() - 1).unwrap(),
        entries: all_entries(storage),
    }
}

fn below(rng: &mut Rng, n: u64) -> u64 {
    rng.below(usize::try_from(n).unwrap()) as u64
}

/// One step as a node would take it, drawn with `rng`. True if it ended with a sync.
fn step(storage: &mut LogStorage, rng: &mut Rng) -> bool {
    let now = storage.initial_state().unwrap().hard_state;
    let (first, last) = (storage.first_index().unwrap(), storage.last_index().unwrap());
    let data = "x".repeat(rng.below(1500));
    match below(rng, 12) {
        // A follower's Ready: an election happened, the end of the log is replaced, some is committed.
        0..=5 => {
            let term = now.term + below(rng, 2);
            let from = (now.commit + 1).max(last + 1 - below(rng, 3).min(last));
            let entries: Vec<_> =
                (from..from + below(rng, 4)).map(|index| with_data(index, term, &data)).collect();
            let end = entries.last().map_or(last, |entry| entry.index);
            let vote = if term == now.term { now.vote } else { 1 + below(rng, 3) };
            let hs = hard_state(term, vote, now.commit + below(rng, end - now.commit + 1));
            let update = Update { entries: &entries, hard_state: Some(&hs), ..Update::default() };
            storage.write(update).unwrap();
        }
        6 => {
            let new = snapshot(last + 3, now.term + 1, &[1, 2, 2 + last], &data);
            let hs = hard_state(now.term + 1, 0, last + 3);
            let entries = [with_data(last + 4, now.term + 1, &data)];
            let update = Update { snapshot: Some(&new), entries: &entries, hard_state: Some(&hs) };
            storage.write(update).unwrap();
        }
        7 => {
            let at = now.commit.max(first - 1);
            let (_, members) = storage.conf_state().unwrap();
            let mut file = storage.begin_snapshot(at, &members).unwrap();
            file.write_all(data.as_bytes()).unwrap();
            let mark = file.commit().unwrap();
            storage.mark_snapshot(mark).unwrap();
        }
        8 => {
            let mark = storage.log().snapshot_mark().map_or(0, |mark| mark.id.index);
            storage.compact((mark + 1).saturating_sub(below(rng, 3))).unwrap();
        }
        9 if now.commit > 1 => {
            storage.save_conf_state(now.commit, &voters(&[1, 2, 3, 1000 + last])).unwrap();
        }
        _ => drop(storage.save_commit(last).unwrap()),
    }
    let synced = below(rng, 3) == 0;
    if synced {
        storage.log().sync().unwrap();
    }
    synced
}

fn start(disk: &SimFs, options: Options) -> LogStorage {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let mut storage = LogStorage::new(Log::create_on(fs, options).unwrap()).unwrap();
    storage.bootstrap(voters(&[1, 2, 3])).unwrap();
    storage
}

/// Opens a disk as a node does after a power cut, and compares it with the history.
fn check(image: &SimFs, history: &[Meaning], acked: usize, begun: usize) {
    let fs: Arc<dyn Fs> = Arc::new(image.clone());
    let (log, report) = Log::open_on(fs, options()).unwrap();
    let storage = LogStorage::new(log).unwrap();
    let found = meaning(&storage);
    let is_step = |step: &usize| {
        let promise = |m: &Meaning| (m.hard_state.term, m.hard_state.vote);
        let newer = (*step..=begun).any(|newer| promise(&history[newer]) == promise(&found));
        let mut expected = history[*step].clone();
        (expected.hard_state.term, expected.hard_state.vote) = promise(&found);
        newer && expected == found
    };
    assert!(
        (acked..=begun).any(|step| is_step(&step)),
        "acknowledged step {acked}, begun {begun}; found {found:?}\n{report}"
    );
    let applied = match storage.restore().unwrap() {
        Some((meta, mut file)) => {
            assert_eq!(Some(EntryId::new(meta.index, meta.term)), found.mark);
            std::io::copy(&mut file, &mut std::io::sink()).unwrap();
            meta.index
        }
        None => 0,
    };
    // It panics on a state that it cannot have left.
    let config = Config { applied, ..Config::new(1) };
    RawNode::new(&config, storage, &logger()).unwrap();
}

/// Runs the history of a seed with a power cut after every call; tells how many states were opened.
fn campaign(seed: u64, options: &Options) -> usize {
    let mut rng = Rng::new(seed);
    let mut storage = start(&SimFs::new(seed), options.clone());
    let mut history = vec![meaning(&storage)];
    for _ in 0..STEPS {
        step(&mut storage, &mut rng);
        history.push(meaning(&storage));
    }
    drop(storage);

    let disk = SimFs::new(seed);
    let (mut rng, mut storage) = (Rng::new(seed), start(&disk, options.clone()));
    let (acked, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let opened = Arc::new(AtomicUsize::new(0));
    let (acked2, begun2, opened2) = (Arc::clone(&acked), Arc::clone(&begun), Arc::clone(&opened));
    let known = history.clone();
    disk.on_step(move |disk, step| {
        let mut rng = Rng::new(seed ^ step.number << 8);
        for image in disk.crash_images(Model::Strict, IMAGES, &mut rng) {
            // A failed writeback is no power cut: the engine's own campaigns have it.
            if image.harmed.is_none() {
                let (acked, begun) = (acked2.load(Ordering::SeqCst), begun2.load(Ordering::SeqCst));
                check(&image.fs, &known, acked, begun);
                opened2.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for (number, expected) in history.iter().enumerate().skip(1) {
        begun.store(number, Ordering::SeqCst);
        if step(&mut storage, &mut rng) {
            acked.store(number, Ordering::SeqCst);
        }
        assert_eq!(meaning(&storage), *expected, "seed {seed}: the second run differs");
    }
    disk.clear_hook();
    opened.load(Ordering::SeqCst)
}

#[test]
fn after_a_power_cut_anywhere_all_is_of_one_moment_and_what_was_acknowledged_is_there() {
    let opened: usize = (1..=6).map(|seed| campaign(seed, &options())).sum();
    assert!(opened > 2000, "only {opened} states were opened");
}

#[test]
fn the_campaign_finds_a_sync_that_is_left_out() {
    // Its control: without these syncs something must be found missing.
    for point in [SyncPoint::Batches, SyncPoint::Snapshot, SyncPoint::SnapshotName] {
        let found = (1..=6).any(|seed| {
            let run = || campaign(seed, &options().omit_sync(point));
            catch_unwind(AssertUnwindSafe(run)).is_err()
        });
        assert!(found, "nobody missed {point:?}");
    }
}
