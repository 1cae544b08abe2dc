//! What was verified once is verified again: places that are known and entries read ahead spare the
//! looking, never the checksum.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

use super::*;
use crate::{Log, Options, ReadMode, log::Ticket};

/// Entries of the sealed segment.
const COUNT: u64 = 100;

/// A log whose first segment is sealed, in batches of one and of ten.
fn sealed(dir: &Path, on_damage: OnDamage) -> Log {
    let options = Options::new().segment_size(64 << 10).background(false);
    let options = options.read_mode(ReadMode::Positioned).on_damage(on_damage);
    let mut log = Log::create(dir.join("log"), options.clone()).unwrap();
    let mut next = 1;
    while next <= COUNT {
        let count = if next > 50 { 10 } else { 1 };
        let entries: Vec<Entry> =
            (next..next + count).map(|i| Entry::new(i, 1, bytes(i))).collect();
        let _: Ticket = log.append(&entries).unwrap();
        next += count;
    }
    log.rotate_now().unwrap();
    // Opened again, so that nothing is in memory.
    log.close().unwrap();
    Log::open(dir.join("log"), options).unwrap().0
}

fn bytes(index: Index) -> Vec<u8> {
    index.to_le_bytes().repeat(20)
}

/// Flips a bit in the payload of `index`, in the file.
fn rot(dir: &Path, index: Index) {
    let path = dir.join("log/00000000000000000001.wal");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let (content, payload) = (std::fs::read(&path).unwrap(), bytes(index));
    let at = content.windows(payload.len()).position(|window| window == payload).unwrap();
    file.write_at(&[payload[0] ^ 1], at as u64).unwrap();
}

#[test]
fn a_place_that_is_known_spares_no_checksum() {
    for index in [7, 64] {
        let dir = tempfile::tempdir().unwrap();
        let log = sealed(dir.path(), OnDamage::Faulty);
        assert_eq!(log.at(index).unwrap().payload, bytes(index));
        assert!(log.reader().wal.places.get(1, index).is_some(), "noted by the first read");
        assert_eq!(log.at(index).unwrap().id, EntryId::new(index, 1));
        rot(dir.path(), index);
        assert!(matches!(log.at(index), Err(Error::Faulty { id }) if id.index == index));
        assert_eq!(log.at(index + 1).unwrap().payload, bytes(index + 1));
    }
}

#[test]
fn places_are_noted_of_the_whole_row_and_of_sealed_segments_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = sealed(dir.path(), OnDamage::Refuse);
    log.append(&[Entry::new(COUNT + 1, 2, "new")]).unwrap();
    assert_eq!(log.at(COUNT + 1).unwrap().payload, "new");
    log.at(1).unwrap();
    let places = &log.reader().wal.places;
    assert!(places.get(1, 5).is_some(), "in the row that was read");
    assert!(places.get(1, 95).is_none(), "in another");
    assert!((1..3).all(|segment| places.get(segment, COUNT + 1).is_none()), "not sealed");
}

#[test]
fn an_iterator_yields_what_is_before_the_damage_then_the_error_then_nothing() {
    for index in [1, 7, 33, 64, 100] {
        let dir = tempfile::tempdir().unwrap();
        let log = sealed(dir.path(), OnDamage::Faulty);
        rot(dir.path(), index);
        let mut entries = log.entries(1..u64::MAX, u64::MAX);
        for before in 1..index {
            assert_eq!(entries.next().unwrap().unwrap().payload, bytes(before));
        }
        let error = entries.next().unwrap();
        assert!(matches!(error, Err(Error::Faulty { id }) if id.index == index), "{error:?}");
        assert!(entries.next().is_none());
    }
}

#[test]
fn a_budget_ends_an_iterator_in_the_midst_of_what_it_verified() {
    let dir = tempfile::tempdir().unwrap();
    let log = sealed(dir.path(), OnDamage::Refuse);
    let len = bytes(1).len() as u64;
    for (budget, count) in [(0, 1), (len, 1), (3 * len, 3), (4 * len - 1, 3), (70 * len, 70)] {
        let indexes = log.entries(51..u64::MAX, budget).map(|entry| entry.unwrap().id.index);
        let expected: Vec<Index> = (51..=COUNT).take(count).collect();
        assert_eq!(indexes.collect::<Vec<_>>(), expected, "{budget}");
    }
    let exact = log.entries(55..58, u64::MAX).map(|entry| entry.unwrap().id.index);
    assert_eq!(exact.collect::<Vec<_>>(), [55, 56, 57]);
}

/// The index file of the sealed segment, once a log is open: rows are loaded from it later.
fn spoil_index(dir: &Path, how: &str) {
    let path = dir.join("log/00000000000000000001.idx");
    match how {
        "gone" => std::fs::remove_file(&path).unwrap(),
        "empty" => std::fs::write(&path, []).unwrap(),
        _ => {
            let mut content = std::fs::read(&path).unwrap();
            // The offset in the first row: believed, it would lead astray.
            content[112 + 8] ^= 0x40;
            std::fs::write(&path, content).unwrap();
        }
    }
}

#[test]
fn rows_whose_index_file_was_lost_since_the_open_come_from_the_segment() {
    for how in ["gone", "empty", "rotten"] {
        for by_iterator in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let log = sealed(dir.path(), OnDamage::Refuse);
            spoil_index(dir.path(), how);
            if !by_iterator {
                assert_eq!(log.at(7).unwrap().payload, bytes(7), "{how}");
                assert_eq!(log.at(64).unwrap().payload, bytes(64), "{how}");
            }
            let all: Vec<Entry> =
                log.entries(1..u64::MAX, u64::MAX).collect::<Result<_>>().unwrap();
            assert_eq!(all.len() as u64, COUNT, "{how}");
            assert_eq!(log.live_bytes(), COUNT * (160 + 16) + 24, "{how}");
        }
    }
}

#[test]
fn where_neither_index_nor_segment_says_where_an_entry_lies_the_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = sealed(dir.path(), OnDamage::Refuse);
    spoil_index(dir.path(), "gone");
    // The table of a batch stands before its payloads: its head is no longer valid.
    let path = dir.path().join("log/00000000000000000001.wal");
    let content = std::fs::read(&path).unwrap();
    let payload = content.windows(160).position(|window| window == bytes(30)).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_at(&[content[payload - 1] ^ 1], payload as u64 - 1).unwrap();
    let named = |e: Error| match e {
        Error::Corrupt(damage) => (damage.file, damage.reason),
        other => panic!("{other}"),
    };
    let expected = (path, Reason::BatchHead);
    assert_eq!(named(log.at(7).unwrap_err()), expected);
    let mut entries = log.entries(1..u64::MAX, u64::MAX);
    assert_eq!(named(entries.next().unwrap().unwrap_err()), expected);
    assert!(entries.next().is_none());
    assert_eq!(log.id_at(7).unwrap(), EntryId::new(7, 1), "ids need no rows");
    assert!(log.live_bytes() >= COUNT * 16);
}
