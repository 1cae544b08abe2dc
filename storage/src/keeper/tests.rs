use super::*;
use crate::{
    Entry, Log, Options,
    fs::sim::{Call, SimFs},
};

const MIB: u64 = 1 << 20;

/// A log that does nothing by itself, on a disk that counts.
fn made() -> (SimFs, Log) {
    let fs = SimFs::new(3);
    let options = Options::new().segment_size(4 * MIB).background(false);
    let log = Log::create_on(Arc::new(fs.clone()), options).expect("creates");
    (fs, log)
}

/// Appends and syncs until the last batch ends at or beyond `offset`.
fn fill_to(log: &mut Log, offset: u64) {
    while log.wal().writer().offset < offset {
        let index = log.next_log_index();
        log.append(&[Entry::new(index, 1, vec![7; 16 << 10])]).expect("appends");
        log.sync().expect("syncs");
    }
}

fn seen() -> Seen {
    Seen { activity: 0, at: Instant::now() + Duration::from_secs(3600), spare: None }
}

#[test]
fn a_spare_is_made_in_step_with_the_writer_and_synced_once() {
    let (fs, mut log) = made();
    let mut seen = seen();
    fill_to(&mut log, MIB);
    let writes = fs.count(Call::Write);
    log.wal().prepare_spare(&mut seen).expect("prepares");
    assert_eq!(fs.count(Call::Write), writes, "too early");
    let (mut rounds, mut syncs, mut at) = (0, 0, 21 * MIB / 16);
    while log.wal().writer().spare.is_none() {
        fill_to(&mut log, at);
        at += STEP;
        let before = (fs.count(Call::Write), fs.count(Call::Sync));
        log.wal().prepare_spare(&mut seen).expect("prepares");
        let steps = fs.count(Call::Write) - before.0;
        assert!(steps <= 4, "{steps} steps in round {rounds}");
        syncs += fs.count(Call::Sync) - before.1;
        rounds += 1;
    }
    assert_eq!(syncs, 1);
    assert!((24..=36).contains(&rounds), "{rounds} rounds");
    assert!(log.wal().writer().offset < 4 * MIB - MIB / 4, "complete before it is needed");
}

#[test]
fn a_spare_that_is_late_waits_for_the_disk_after_each_quarter_of_a_mebibyte() {
    let (fs, mut log) = made();
    fill_to(&mut log, 5 * MIB / 2);
    let (writes, syncs) = (fs.count(Call::Write), fs.count(Call::Sync));
    let due = log.wal().spare_due(false).expect("half of it");
    let mut late = seen();
    log.wal().prepare_spare(&mut late).expect("prepares");
    let to = late.spare.as_ref().expect("half of it").len;
    assert!((5 * MIB / 2..3 * MIB).contains(&to), "{to}");
    let (rounds, steps) = (due / ROUND, (due % ROUND).div_ceil(STEP));
    assert_eq!(fs.count(Call::Write) - writes, rounds + steps);
    assert_eq!(fs.count(Call::Sync) - syncs, rounds);
    // The writer pauses: the rest at once.
    late.at = Instant::now();
    while late.at.elapsed() < log.wal().options.idle_marker {
        std::thread::sleep(Duration::from_millis(5));
    }
    log.wal().prepare_spare(&mut late).expect("prepares");
    assert!(log.wal().writer().spare.is_some() && late.spare.is_none());
    assert_eq!(fs.count(Call::Sync) - syncs, rounds + (4 * MIB - to).div_ceil(ROUND));
}

#[test]
fn the_more_is_due_the_more_comes_at_once() {
    for idle in [false, true] {
        assert_eq!(round(1, idle), (STEP, false));
        assert_eq!(round(ROUND - 1, idle), (STEP, false));
        assert_eq!(round(ROUND, idle), (ROUND, true));
        assert_eq!(round(FAR - 1, idle), (ROUND, true));
    }
    assert_eq!(round(FAR, false), (ROUND_MAX, true));
    assert_eq!(round(FAR, true), (ROUND, true), "who comes back would meet it");
}

#[test]
fn the_space_ahead_grows_with_what_was_written() {
    let (_, mut log) = made();
    let born = log.wal().writer().segment.header.born_end;
    assert_eq!(log.wal().writer().ahead(), AHEAD_MIN);
    fill_to(&mut log, born + MIB);
    let mut writer = log.wal().writer();
    assert_eq!(writer.ahead(), AHEAD_MIN + writer.offset - born);
    writer.offset = born + 100 * MIB;
    assert_eq!(writer.ahead(), AHEAD_MAX);
}

#[test]
fn the_first_batches_after_an_open_find_room_that_is_there() {
    let (fs, mut log) = made();
    let writes = fs.count(Call::Write);
    log.append(&[Entry::new(1, 1, vec![7; 32 << 10])]).expect("appends");
    assert_eq!(fs.count(Call::Write), writes + 1, "nothing but the batch");
}

#[test]
fn the_keeper_looks_more_often_while_there_is_something_to_prepare() {
    let (_, log) = made();
    let spare = log.wal().begin_spare().expect("a file");
    let mut writer = log.wal().writer();
    let go = |writer: &mut Writer, bytes: u64, writes: u64| {
        writer.offset += bytes;
        writer.activity += writes;
        writer.is_look_due()
    };
    assert!(go(&mut writer, 2 * STRIDE, 0), "far enough for anything");
    assert!(!go(&mut writer, STEP - 8, STEP_WRITES) && go(&mut writer, 8, 1));
    assert!(!go(&mut writer, 8 * STEP, STEP_WRITES - 1), "a few large writes");
    assert!(go(&mut writer, 0, 1));
    writer.offset = 8192;
    assert!(go(&mut writer, 0, 0), "another segment");
    writer.spare = Some(spare);
    assert!(!go(&mut writer, STRIDE - 8, 1000) && go(&mut writer, 8, 1));
}
