//! Opens that went wrong once, and what an open refuses.

use std::sync::Arc;

use crate::{
    Entry, Error, HardState, Log, Options,
    error::{Evidence, Reason},
    fs::{Dir, Fs, sim::SimFs},
    layout::{Classified, classify, segment_name},
};

fn options() -> Options {
    Options::new().segment_size(1 << 20).background(false)
}

fn on(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn newest(fs: &SimFs) -> u64 {
    let names = fs.list(Dir::Root).expect("lists");
    let id = |name: &str| match classify(Dir::Root, name) {
        Classified::Segment(id) => Some(id),
        _ => None,
    };
    names.iter().filter_map(|found| id(&found.name)).max().expect("a segment")
}

/// The header of the new segment stated the smaller limit, so that the next open called the large
/// batch that was written again corrupt.
#[test]
fn a_smaller_batch_max_does_not_spoil_batches_that_are_written_again() {
    let fs = SimFs::new(1);
    let mut log = Log::create_on(on(&fs), options()).expect("creates");
    let entry = Entry::new(1, 1, vec![7; 300 << 10]);
    log.append(std::slice::from_ref(&entry)).expect("appends, and is killed before the sync");
    let killed = fs.kill_image();
    let (log, report) = Log::open_on(on(&killed), options().batch_max(4096)).expect("opens");
    assert_eq!(report.batches_again, 1, "{report}");
    drop(log);
    let (log, report) = Log::open_on(on(&killed), options().batch_max(4096)).expect("opens again");
    assert_eq!(log.at(1).expect("there"), entry, "{report}");
}

/// Commit 0 means that nothing is committed, not that entry 0 is.
#[test]
fn a_lost_entry_0_is_said_to_be_lost() {
    for (first, commit, lost) in [(0, 0, 0), (1, 0, 1), (1, 2, 3), (5, 0, 5)] {
        let fs = SimFs::new(2);
        let options = options().first_index(first);
        let mut log = Log::create_on(on(&fs), options.clone()).expect("creates");
        if commit > 0 {
            let entries = [Entry::new(1, 1, "a"), Entry::new(2, 1, "b")];
            log.append(&entries).expect("appends");
            log.save_hard_state(HardState { term: 0, vote: None, commit }).expect("saves");
            log.sync().expect("syncs");
        }
        let next = log.next_log_index();
        log.append(&[Entry::new(next, 1, "lost")]).expect("appends");
        let killed = fs.kill_image();
        let name = segment_name(newest(&killed));
        let bytes = killed.read_file(Dir::Root, &name).expect("there");
        let at = bytes.windows(4).position(|w| w == b"lost").expect("there");
        let file = killed.open(Dir::Root, &name, crate::fs::Access::ReadWrite).expect("opens");
        file.write_at(b"torn", at as u64).expect("writes");
        drop(log);
        let (log, report) = Log::open_on(on(&killed), options).expect("opens");
        assert_eq!(report.maybe_lost, Some(lost), "first {first}, commit {commit}: {report}");
        assert_eq!(log.next_log_index(), next);
    }
}

#[test]
fn a_sealed_segment_without_its_successor_is_refused_where_the_index_file_proves_it() {
    let fs = SimFs::new(3);
    let mut log = Log::create_on(on(&fs), options().segment_size(64 << 10)).expect("creates");
    for index in 1..200 {
        log.append(&[Entry::new(index, 1, vec![1; 1000])]).expect("appends");
    }
    log.close().expect("closes");
    let last = newest(&fs);
    assert!(last > 2);
    fs.unlink(Dir::Root, &segment_name(last)).expect("removes");
    match Log::open_on(on(&fs), options()) {
        Err(Error::Corrupt(damage)) => {
            assert_eq!(damage.reason, Reason::MissingSegment);
            assert_eq!(damage.evidence, Evidence::IndexWithoutSuccessor);
        }
        other => panic!("not refused: {other:?}"),
    }
}
