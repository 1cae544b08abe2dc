use std::sync::mpsc;

use super::*;
use crate::{
    fs::sim::{Call, SimFs},
    verdict::Verdict,
};

fn options() -> Options {
    Options::new().segment_size(64 << 10).background(false)
}

fn entries(range: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
    range.map(|i| Entry::new(i, term, format!("payload {i} of term {term}"))).collect()
}

fn all(log: &Log) -> Vec<Entry> {
    let (first, next) = (log.first_log_index(), log.next_log_index());
    log.entries(first..next, u64::MAX).map(|entry| entry.expect("readable")).collect()
}

fn reopen(fs: &SimFs, log: Log) -> (Log, RecoveryReport) {
    drop(log);
    Log::open_on(Arc::new(fs.clone()), options()).expect("opens")
}

#[test]
fn what_was_appended_is_read_back_before_and_after_a_reopen() {
    let fs = SimFs::new(1);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    assert_eq!((log.first_log_index(), log.last_log_index()), (1, None));
    for at in (1..2000).step_by(7) {
        log.append(&entries(at..at + 7, 1 + at / 500)).expect("appends");
    }
    log.sync().expect("syncs");
    let before = all(&log);
    assert_eq!(before.len(), 2002);
    for at in [0, 6, 7, 498, 999, 2001] {
        assert_eq!(log.at(at as u64 + 1).expect("readable"), before[at]);
    }
    assert!(matches!(log.at(0), Err(Error::Trimmed { first: 1, .. })));
    assert!(matches!(log.at(2003), Err(Error::BeyondEnd { next: 2003, .. })));

    let (log, report) = reopen(&fs, log);
    assert_eq!(report.verdict, Some(Verdict::CleanEnd), "{report}");
    assert_eq!(all(&log), before);
    log.close().expect("closes");
}

#[test]
fn truncation_across_segments_and_new_terms_survive() {
    let fs = SimFs::new(2);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..3000, 1)).expect("appends");
    log.trim_tail(700).expect("truncates");
    log.append(&entries(700..800, 2)).expect("appends");
    log.trim_prefix(300).expect("trims");
    log.sync().expect("syncs");
    let mut wanted = entries(300..700, 1);
    wanted.extend(entries(700..800, 2));
    assert_eq!(all(&log), wanted);
    let (log, _) = reopen(&fs, log);
    assert_eq!(all(&log), wanted);
    assert_eq!(log.term_at(299).expect("the id before the window"), 1);
    assert_eq!(log.term_at(700).expect("known"), 2);
    let (log, _) = reopen(&fs, log);
    assert_eq!(all(&log), wanted);
}

#[test]
fn files_go_once_a_trim_is_provably_durable() {
    let fs = SimFs::new(3);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..5000, 1)).expect("appends");
    let segments = |fs: &SimFs| fs.list(crate::fs::Dir::Root).expect("lists").len();
    let before = segments(&fs);
    log.trim_prefix(4900).expect("trims");
    log.sync().expect("syncs");
    assert_eq!(segments(&fs), before, "nothing states the trim durable yet");
    log.reclaim().expect("reclaims");
    assert!(segments(&fs) < before);
    let (log, report) = reopen(&fs, log);
    assert_eq!(log.first_log_index(), 4900, "{report}");
    assert_eq!(all(&log), entries(4900..5000, 1));
}

#[test]
fn hard_state_and_slots_survive_and_follow_figure_2() {
    let fs = SimFs::new(4);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..4, 1)).expect("appends");
    let hs = HardState { term: 3, vote: Some(0), commit: 2 };
    log.save_hard_state(hs).expect("saves");
    log.save_meta(7, Class::Promise, b"vote").expect("saves");
    log.save_meta(8, Class::Ordered, b"committed").expect("saves");
    log.sync().expect("syncs");
    let other = HardState { vote: Some(1), ..hs };
    assert!(matches!(log.save_hard_state(other), Err(Error::HardState(_))));
    assert!(matches!(log.trim_tail(2), Err(Error::Invalid(Misfit::Committed { .. }))));
    assert!(matches!(log.save_meta(7, Class::Ordered, b""), Err(Error::Invalid(_))));
    let (log, _) = reopen(&fs, log);
    assert_eq!(log.hard_state(), hs);
    assert_eq!(log.meta(7).expect("set"), "vote");
    assert_eq!(log.meta(8).expect("set"), "committed");
}

#[test]
fn an_empty_log_may_begin_anywhere_and_trimming_past_the_end_resets_the_window() {
    for first in [0, 1, 77, u64::MAX - 1] {
        let fs = SimFs::new(5);
        let options = options().first_index(first);
        let mut log = Log::create_on(Arc::new(fs.clone()), options).expect("creates");
        log.append(&[Entry::new(first, 1, "")]).expect("appends an empty payload");
        assert_eq!(log.last_log_index(), Some(first));
        let next = Entry::new(first.wrapping_add(1), 1, "");
        if first == u64::MAX - 1 {
            assert!(log.append(&[next]).is_err(), "u64::MAX is no index");
        } else {
            log.append(&[next]).expect("appends");
        }
        let (log, _) = reopen(&fs, log);
        assert_eq!(log.at(first).expect("there").payload, "");
    }
    let fs = SimFs::new(6);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..4, 1)).expect("appends");
    log.trim_prefix(50).expect("trims");
    assert_eq!((log.first_log_index(), log.last_log_index()), (50, None));
    assert!(log.append(&entries(4..5, 1)).is_err());
    log.append(&entries(50..60, 1)).expect("appends");
    let (mut log, _) = reopen(&fs, log);
    assert_eq!(all(&log), entries(50..60, 1));
    log.reset(20, Some(EntryId::new(19, 1))).expect("resets");
    log.append(&entries(20..22, 2)).expect("appends");
    let (log, _) = reopen(&fs, log);
    assert_eq!(all(&log), entries(20..22, 2));
    assert_eq!(log.prev_id(), Some(EntryId::new(19, 1)));
}

#[test]
fn trimming_through_an_id_keeps_it_as_the_one_before_the_window() {
    let fs = SimFs::new(61);
    let through = |id| {
        let mut batch = Batch::new();
        batch.trim_through(id);
        batch
    };
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..10, 1)).expect("appends");
    let stranger = log.write(&through(EntryId::new(4, 2)));
    assert!(matches!(stranger, Err(Error::Invalid(Misfit::BadPrevious))), "{stranger:?}");
    let nowhere = log.write(&through(EntryId::new(u64::MAX, 2)));
    assert!(matches!(nowhere, Err(Error::Invalid(Misfit::BadPrevious))), "{nowhere:?}");
    log.write(&through(EntryId::new(4, 1))).expect("trims inside the window");
    let (mut log, _) = reopen(&fs, log);
    assert_eq!((log.prev_id(), all(&log)), (Some(EntryId::new(4, 1)), entries(5..10, 1)));

    // Past the end the log never held the entry, and knows its id all the same.
    let id = EntryId { index: 20, term: 3, tag: 9 };
    log.write(&through(id)).expect("trims past the end");
    let (mut log, _) = reopen(&fs, log);
    assert_eq!((log.prev_id(), log.last_id(), log.next_log_index()), (Some(id), Some(id), 21));
    let older = log.append(&entries(21..22, 2));
    assert!(matches!(older, Err(Error::Invalid(Misfit::TermWentBack { .. }))), "{older:?}");

    // So does one whose first entry has nothing before it.
    log.reset(30, None).expect("resets");
    log.append(&entries(30..33, 4)).expect("appends");
    log.write(&through(EntryId::new(29, 3))).expect("names the id before the window");
    let (log, _) = reopen(&fs, log);
    assert_eq!((log.prev_id(), all(&log)), (Some(EntryId::new(29, 3)), entries(30..33, 4)));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let fs = SimFs::new(7);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..10, 1)).expect("appends");
    let mut batch = Batch::new();
    batch.truncate_from(5).append(entries(5..8, 2)).append(entries(9..10, 2));
    assert!(matches!(log.write(&batch), Err(Error::Invalid(Misfit::Gap { .. }))));
    assert_eq!(all(&log), entries(1..10, 1));
    let too_large = Entry::new(10, 1, vec![0; 40 << 10]);
    assert!(matches!(log.append(&[too_large]), Err(Error::TooLarge { .. })));
    let mut batch = Batch::new();
    batch.append(entries(10..12, 1)).truncate_from(8).append(entries(8..9, 2));
    log.write(&batch).expect("writes");
    let mut wanted = entries(1..8, 1);
    wanted.extend(entries(8..9, 2));
    assert_eq!(all(&log), wanted);
    log.append(&entries(9..12, 2)).expect("appends");
    wanted.extend(entries(9..12, 2));
    let (log, _) = reopen(&fs, log);
    assert_eq!(all(&log), wanted);
}

#[test]
fn an_iterator_reads_one_version_to_its_end() {
    let fs = SimFs::new(8);
    let mut log = Log::create_on(Arc::new(fs), options()).expect("creates");
    log.append(&entries(1..500, 1)).expect("appends");
    let mut old = log.entries(1..500, u64::MAX);
    assert_eq!(old.next().expect("one").expect("readable").term(), 1);
    log.trim_tail(2).expect("truncates");
    log.append(&entries(2..2000, 2)).expect("appends over rotations");
    assert!(old.all(|entry| entry.expect("readable").term() == 1));
    let limited: Vec<_> = log.entries(1..2000, 1).collect();
    assert_eq!(limited.len(), 1, "at least one entry, whatever the limit");
    assert!(matches!(log.entries(0..5, 1).next(), Some(Err(Error::Trimmed { .. }))));
}

#[test]
fn callbacks_run_in_order_once_and_after_durability() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = Log::create(dir.path().join("log"), Options::new()).expect("creates");
    let syncer = log.syncer();
    let (tx, rx) = mpsc::channel();
    for i in 1..100 {
        let ticket = log.append(&entries(i..i + 1, 1)).expect("appends");
        let (tx, seen) = (tx.clone(), log.syncer());
        syncer.notify(ticket, move |result| {
            result.expect("durable");
            assert!(seen.durable() >= ticket);
            tx.send(ticket).expect("sent");
        });
    }
    drop(tx);
    let order: Vec<Ticket> = rx.iter().collect();
    assert_eq!(order.len(), 99);
    assert!(order.is_sorted());
    log.close().expect("closes");
}

#[test]
fn many_threads_wait_for_one_sync() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::create(dir.path().join("log"), Options::new().segment_size(1 << 20));
    let log = std::sync::Mutex::new(log.expect("creates"));
    let syncer = log.lock().expect("unpoisoned").syncer();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let ticket = {
                        let mut log = log.lock().expect("unpoisoned");
                        let next = log.next_log_index();
                        log.append(&[Entry::new(next, 1, vec![7; 300])]).expect("appends")
                    };
                    syncer.wait(ticket).expect("durable");
                    assert!(syncer.durable() >= ticket);
                }
            });
        }
    });
    let log = log.into_inner().expect("unpoisoned");
    assert_eq!(log.last_log_index(), Some(1600));
    log.close().expect("closes");
    let (log, report) = Log::open(dir.path().join("log"), Options::new()).expect("opens");
    assert_eq!(log.last_log_index(), Some(1600), "{report}");
}

#[test]
fn a_second_handle_is_refused_and_nothing_is_created_by_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    assert!(matches!(Log::open(&path, Options::new()), Err(Error::NotALog { .. })));
    assert!(!path.exists());
    let log = Log::create(&path, Options::new()).expect("creates");
    assert!(matches!(Log::open(&path, Options::new()), Err(Error::Locked { .. })));
    assert!(matches!(Log::create(&path, Options::new()), Err(Error::Locked { .. })));
    drop(log);
    assert!(matches!(Log::create(&path, Options::new()), Err(Error::Exists { .. })));
    Log::open(&path, Options::new()).expect("opens");
}

#[test]
fn a_rotation_stalls_for_at_most_three_syncs() {
    let fs = SimFs::new(9);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    let syncs = |fs: &SimFs| fs.count(Call::Sync) + fs.count(Call::SyncDir);
    let incarnation = log.incarnation();
    let mut most = 0;
    for index in 1..2000 {
        let before = syncs(&fs);
        log.append(&entries(index..index + 1, 1)).expect("appends");
        most = most.max(syncs(&fs) - before);
    }
    assert!(log.incarnation() > incarnation, "it rotated");
    assert!(most <= 4, "{most} syncs: the old file, the new file, its name, and its index");
}

/// A trimmed segment stayed open in the versions that recent batches hold, so that a full disk had no
/// more room after a trim than before.
#[cfg(target_os = "linux")]
#[test]
fn files_that_a_trim_removed_are_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let mut log = Log::create(&path, options()).expect("creates");
    for at in (1..3000).step_by(10) {
        log.append(&entries(at..at + 10, 1)).expect("appends");
    }
    log.sync().expect("syncs");
    log.trim_prefix(2900).expect("trims");
    log.reclaim().expect("removes files");
    let open_and_removed = || {
        let handles = std::fs::read_dir("/proc/self/fd").expect("linux");
        let targets = handles.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let ours = targets.filter(|target| target.starts_with(&path));
        ours.filter(|target| target.to_string_lossy().ends_with("(deleted)")).count()
    };
    assert_eq!(open_and_removed(), 0);
    assert_eq!(all(&log), entries(2900..3001, 1));
    let reader = log.entries(2900..3001, u64::MAX);
    log.append(&entries(3001..3002, 1)).expect("appends");
    assert_eq!(reader.count(), 101);
    drop(log);
    let (log, _) = Log::open(&path, options()).expect("opens");
    assert_eq!(
        all(&log),
        entries(2900..3001, 1).into_iter().chain(entries(3001..3002, 1)).collect::<Vec<_>>()
    );
}

/// The batch that an older version reads had left the recent ones, and a later batch with another
/// entry of the same index stood behind it in the same row: an iterator was handed the later one.
#[test]
fn a_pinned_iterator_is_never_handed_a_later_entry_of_the_same_index() {
    let fs = SimFs::new(11);
    let mut log = Log::create_on(Arc::new(fs), options().recent_max(0)).expect("creates");
    let sized =
        |index, term| Entry::new(index, term, vec![u8::try_from(term).expect("small"); 900]);
    for index in 1..20 {
        log.append(&[sized(index, 1)]).expect("appends");
    }
    log.sync().expect("syncs");
    let old = log.entries(1..20, u64::MAX);
    log.trim_tail(5).expect("truncates");
    for index in 5..20 {
        log.append(&[sized(index, 2)]).expect("appends");
    }
    for (entry, index) in old.zip(1..) {
        assert_eq!(entry.expect("readable").id, sized(index, 1).id);
    }
}
