//! Every call failing once and from then on, and a disk that fills up.

use std::sync::Arc;

use hardlog::{
    Entry, Error, HardState, Log, Options,
    fs::sim::{EIO, ENOSPC, Effect, SimFs},
};
use hardlog_tests::{
    calls::{self, Way},
    crash::world::options,
};

#[test]
fn any_call_may_fail_once_or_from_then_on() {
    each_call_fails(Way::Plain);
}

/// The same where batches are kept back and written together, as beside a sync.
#[test]
fn any_call_may_fail_while_batches_are_gathered() {
    each_call_fails(Way::Gathered);
}

/// The same where the files of trimmed segments are used again.
#[test]
fn any_call_may_fail_while_files_are_reused() {
    each_call_fails(Way::Reused);
}

fn each_call_fails(way: Way) {
    let calls = calls::count(way).unwrap();
    assert!(calls > if way == Way::Gathered { 180 } else { 200 }, "only {calls} calls");
    let effects = [
        Effect::Fail(EIO),
        Effect::Fail(ENOSPC),
        Effect::DoneButFail(EIO),
        Effect::Short(300),
        Effect::Torn(700, EIO),
    ];
    let (mut broken, mut struck, mut errors, mut poisoned, mut judged) = (Vec::new(), 0, 0, 0, 0);
    for n in 0..calls {
        for effect in effects {
            for lasting in [false, true] {
                match calls::strike(n, effect, lasting, way) {
                    Ok(run) => {
                        struck += u64::from(run.struck > 0);
                        errors += u64::from(run.errors > 0);
                        poisoned += u64::from(run.poisoned);
                        judged += run.judged;
                    }
                    Err(what) => {
                        broken.push(format!("call {n}, {effect:?}, lasting {lasting}: {what}"));
                    }
                }
            }
        }
    }
    println!(
        "{calls} calls: {struck} runs struck, {errors} told, {poisoned} poisoned, {judged} judged"
    );
    let shown: Vec<&String> = broken.iter().take(20).collect();
    assert!(broken.is_empty(), "{} runs are wrong: {shown:#?}", broken.len());
    assert!(struck > calls * 5 && errors > calls && poisoned > 20, "{struck} {errors} {poisoned}");
}

fn appended(log: &mut Log, len: usize) -> hardlog::Result<()> {
    let next = log.next_log_index();
    log.append(&[Entry::new(next, 1, vec![7; len])])?;
    log.sync()
}

/// Segments large enough that their reserve holds a vote and a trim, each with its marker.
fn roomy() -> Options {
    options().segment_size(128 << 10)
}

/// A log on a disk without a page left: entries 1.. until the append that did not fit.
fn full() -> (SimFs, Log) {
    let fs = SimFs::new(5);
    let mut log = Log::create_on(Arc::new(fs.clone()), roomy()).unwrap();
    fs.set_capacity(Some(512 << 10));
    loop {
        match appended(&mut log, 3000) {
            Ok(()) => assert!(log.next_log_index() < 1000, "512 KiB are never full"),
            Err(Error::Full { .. }) => return (fs, log),
            Err(e) => panic!("a full disk is called {e}"),
        }
    }
}

fn all_there(log: &Log) {
    for index in log.first_log_index()..log.next_log_index() {
        assert_eq!(log.at(index).unwrap().payload.len(), 3000, "entry {index}");
    }
}

/// Once the recent batches in memory held on to versions of the log from before the trim, those to the
/// removed files, and a trim on a full disk brought no room.
#[test]
fn a_full_disk_leaves_the_log_readable_able_to_vote_and_to_trim() {
    let (fs, mut log) = full();
    fs.set_capacity(Some(fs.used()));
    all_there(&log);
    let vote = HardState { term: 2, vote: Some(3), commit: 0 };
    log.save_hard_state(vote).unwrap();
    log.sync().unwrap();
    assert!(matches!(appended(&mut log, 3000), Err(Error::Full { .. })));
    all_there(&log);
    let last = log.last_log_index().unwrap();
    log.trim_prefix(last).unwrap();
    log.reclaim().unwrap();
    // The trim has freed whole segments: that is room.
    appended(&mut log, 3000).unwrap();
    drop(log);
    let (log, report) = Log::open_on(Arc::new(fs), roomy()).unwrap();
    assert_eq!((log.hard_state(), log.first_log_index()), (vote, last), "{report}");
    all_there(&log);
}

#[test]
fn appends_go_on_in_the_same_process_once_there_is_room() {
    let (fs, mut log) = full();
    let before = log.next_log_index();
    assert!(matches!(appended(&mut log, 3000), Err(Error::Full { .. })));
    fs.set_capacity(None);
    appended(&mut log, 3000).unwrap();
    assert_eq!(log.next_log_index(), before + 1);
    all_there(&log);
    log.close().unwrap();
    let (log, report) = Log::open_on(Arc::new(fs), roomy()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(log.next_log_index(), before + 1);
}

#[test]
fn a_log_opens_for_reading_without_a_free_byte_and_goes_on_once_there_is_room() {
    let (fs, log) = full();
    let next = log.next_log_index();
    drop(log);
    fs.set_capacity(Some(0));
    let (mut log, report) = Log::open_on(Arc::new(fs.clone()), roomy()).unwrap();
    assert!(report.read_only.is_some(), "{report}");
    assert_eq!(log.next_log_index(), next);
    all_there(&log);
    let vote = HardState { term: 2, vote: Some(3), commit: 0 };
    assert!(matches!(log.save_hard_state(vote), Err(Error::Full { .. })), "nowhere to put it");
    assert!(matches!(log.trim_prefix(5), Err(Error::Full { .. })));
    assert_eq!(log.hard_state().vote, None, "and nobody is told otherwise");
    all_there(&log);
    fs.set_capacity(None);
    log.save_hard_state(vote).unwrap();
    appended(&mut log, 3000).unwrap();
    all_there(&log);
    drop(log);
    let (log, _) = Log::open_on(Arc::new(fs), roomy()).unwrap();
    assert_eq!((log.hard_state(), log.next_log_index()), (vote, next + 1));
}
