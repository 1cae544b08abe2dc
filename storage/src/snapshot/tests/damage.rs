//! Damaged bytes: never handed out, never a panic, always named.

use super::*;
use crate::snapshot::format::{HEAD_LEN, TRAILER_LEN};

const ID: EntryId = EntryId { index: 40, term: 5, tag: 1 };

/// A store with a snapshot of two chunks, the second short, and the bytes of its file.
fn small() -> (Arc<MemFs>, SnapshotStore, Vec<u8>) {
    let fs = MemFs::new();
    let store = store(&fs);
    put(&store, ID, &payload(CHUNK + 100));
    let file = fs.get(Dir::Snapshots, &name(ID));
    (fs, store, file)
}

fn with(fs: &MemFs, bytes: &[u8]) {
    fs.put(Dir::Snapshots, &name(ID), bytes.to_vec());
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Corrupt(damage) => damage.reason,
        other => panic!("{other}"),
    }
}

fn offset(error: &Error) -> u64 {
    match error {
        Error::Corrupt(damage) => damage.offset,
        other => panic!("{other}"),
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_placed() {
    let (fs, store, file) = small();
    let chunk_1 = HEAD_LEN + 4 + 8 + CHUNK;
    let trailer = file.len() - TRAILER_LEN;
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        with(&fs, &bad);
        let error = store.verify(ID).unwrap_err();
        let expected = match bit / 8 {
            byte if byte < HEAD_LEN => 0,
            byte if byte < HEAD_LEN + 4 => HEAD_LEN,
            byte if byte < chunk_1 => HEAD_LEN + 4,
            byte if byte < trailer => chunk_1,
            _ => trailer,
        };
        assert_eq!((reason(&error), offset(&error)), (Reason::Snapshot, expected as u64), "{bit}");
    }
}

#[test]
fn a_reader_hands_out_no_byte_of_a_bad_chunk_and_all_of_a_good_one() {
    let (fs, store, mut file) = small();
    let chunk_1 = HEAD_LEN + 4 + 8 + CHUNK;
    file[chunk_1 + 8 + 99] ^= 0x80;
    with(&fs, &file);
    let mut reader = store.open(ID).unwrap();
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).unwrap_err();
    assert_eq!(read, payload(CHUNK));
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(offset(inner), chunk_1 as u64);
    // The good one again, after the bad one.
    assert_eq!(reader.read_at(&mut [0; 10], 5).unwrap(), 10);
    assert_eq!(reason(&reader.read_at(&mut [0; 10], CHUNK as u64).unwrap_err()), Reason::Snapshot);
}

#[test]
fn every_shorter_or_longer_file_is_noticed_at_open() {
    let (fs, store, file) = small();
    for len in 0..file.len() {
        with(&fs, &file[..len]);
        assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Snapshot, "cut to {len}");
        assert!(store.list().unwrap()[0].damage.is_some());
    }
    for more in [&[0][..], &file[file.len() - TRAILER_LEN..]] {
        let longer = [&file[..], more].concat();
        with(&fs, &longer);
        assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Snapshot);
    }
}

#[test]
fn every_zeroed_sector_is_noticed() {
    let (fs, store, file) = small();
    for start in (0..file.len()).step_by(512) {
        let mut bad = file.clone();
        let end = file.len().min(start + 512);
        bad[start..end].fill(0);
        with(&fs, &bad);
        assert_eq!(reason(&store.verify(ID).unwrap_err()), Reason::Snapshot, "sector at {start}");
    }
}

/// Each chunk is valid where it stands and nowhere else: an old block that comes back, or one that
/// was written elsewhere, is found by the reader and not only by `verify`.
#[test]
fn chunks_that_moved_or_belong_to_another_file_are_noticed_when_read() {
    let fs = MemFs::new();
    let store = store(&fs);
    let one = [payload(CHUNK), vec![1; CHUNK], vec![2; CHUNK]].concat();
    put(&store, ID, &one);
    let old = fs.get(Dir::Snapshots, &name(ID));
    put(&store, ID, &one);
    let new = fs.get(Dir::Snapshots, &name(ID));
    let (at, step) = (HEAD_LEN + 4, CHUNK + 8);

    let mut swapped = new.clone();
    swapped.copy_within(at + step..at + 2 * step, at + 2 * step);
    swapped[at + step..at + 2 * step].copy_from_slice(&new[at + 2 * step..at + 3 * step]);
    with(&fs, &swapped);
    assert_eq!(offset(&get(&store, ID).unwrap_err()), (at + step) as u64);

    let mut stale = new.clone();
    stale[at..at + step].copy_from_slice(&old[at..at + step]);
    with(&fs, &stale);
    assert_eq!(offset(&get(&store, ID).unwrap_err()), at as u64);

    let mut stale = new.clone();
    let trailer = new.len() - TRAILER_LEN;
    stale[trailer..].copy_from_slice(&old[trailer..]);
    with(&fs, &stale);
    assert_eq!(offset(&store.open(ID).unwrap_err()), trailer as u64);
}

#[test]
fn another_logs_snapshot_and_another_entrys_file_are_refused() {
    let (fs, store, file) = small();
    let other = SnapshotStore::new(fs.clone(), LogId([9; 16]), &Options::new());
    assert_eq!(reason(&other.open(ID).unwrap_err()), Reason::ForeignLog);
    assert_eq!(reason(other.list().unwrap()[0].damage.as_ref().unwrap()), Reason::ForeignLog);
    let renamed = EntryId { index: 41, ..ID };
    fs.put(Dir::Snapshots, &name(renamed), file);
    assert_eq!(reason(&store.open(renamed).unwrap_err()), Reason::Snapshot);
    assert_eq!(store.list().unwrap().len(), 2);
}

/// A head with a right checksum over whatever `change` makes of it.
fn forged(file: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bad = file.to_vec();
    change(&mut bad[..100]);
    let crc = crc32fast::hash(&bad[..100]);
    bad[100..104].copy_from_slice(&crc.to_le_bytes()[..]);
    bad
}

#[test]
fn hostile_heads_are_refused_before_anything_is_allocated() {
    let (fs, store, file) = small();
    for (at, value) in [(88, u32::MAX), (88, 0), (92, u32::MAX), (92, 65_537)] {
        with(&fs, &forged(&file, |head| head[at..at + 4].copy_from_slice(&value.to_le_bytes())));
        assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Meaning, "{at} {value}");
    }
    // The largest index is free, so that one past the end exists.
    with(&fs, &forged(&file, |head| head[56..64].fill(0xFF)));
    assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Meaning);
    // Within the limit, but not in the file: found by its length.
    with(&fs, &forged(&file, |head| head[92..96].copy_from_slice(&65_536u32.to_le_bytes())));
    assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Snapshot);
    for (at, found) in [(8, "2.0"), (24, "1.0, features 0x2")] {
        with(&fs, &forged(&file, |head| head[at] = 2));
        match store.open(ID).unwrap_err() {
            Error::NewerFormat { found: said, .. } => assert!(said.starts_with(found), "{said}"),
            other => panic!("{other}"),
        }
    }
    // A newer minor, and features that do not matter to a reader, are read.
    with(&fs, &forged(&file, |head| head[10] = 3));
    assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Snapshot, "the trailer is another's");
}

#[test]
fn hostile_trailers_are_refused_by_arithmetic_that_cannot_overflow() {
    let (fs, store, file) = small();
    let (_, head_crc) = format::Head::decode(&file).unwrap();
    let trailer = file.len() - TRAILER_LEN;
    for byte_count in [0, CHUNK as u64, u64::MAX, u64::MAX - 4096, i64::MAX as u64] {
        for chunk_count in [0, 1, 2, u64::MAX] {
            let forged = format::Trailer { chunk_count, byte_count, payload_crc: 0, file_crc: 0 };
            let mut bad = file.clone();
            bad[trailer..].copy_from_slice(&forged.encode(head_crc));
            with(&fs, &bad);
            assert_eq!(reason(&store.open(ID).unwrap_err()), Reason::Snapshot);
        }
    }
}

#[test]
fn a_trailer_that_counts_wrong_is_refused_and_one_that_sums_wrong_fails_the_verify() {
    let (fs, store, file) = small();
    let (_, head_crc) = format::Head::decode(&file).unwrap();
    let at = file.len() - TRAILER_LEN;
    let good = format::Trailer::decode(&file[at..], head_crc).unwrap();
    let put = |trailer: format::Trailer| {
        let forged = [&file[..at], &trailer.encode(head_crc)].concat();
        with(&fs, &forged);
    };
    put(format::Trailer { chunk_count: 3, ..good });
    assert_eq!(offset(&store.open(ID).unwrap_err()), at as u64);
    for bad in [
        format::Trailer { payload_crc: !good.payload_crc, ..good },
        format::Trailer { file_crc: !good.file_crc, ..good },
    ] {
        put(bad);
        assert_eq!(get(&store, ID).unwrap(), payload(CHUNK + 100), "each chunk is good");
        assert_eq!(offset(&store.verify(ID).unwrap_err()), at as u64);
    }
}

#[test]
fn a_list_shows_good_and_damaged_files_and_leaves_the_rest_alone() {
    let (fs, store, mut file) = small();
    file[0] = b'?';
    let bad = EntryId::new(30, 5);
    fs.put(Dir::Snapshots, &name(bad), file);
    fs.put(Dir::Snapshots, "notes.txt", vec![1]);
    fs.put(Dir::Snapshots, "40-5.snap", vec![1]);
    let list = store.list().unwrap();
    let rows: Vec<_> = list.iter().map(|info| (info.id, info.damage.is_some())).collect();
    assert_eq!(rows, [(bad, true), (ID, false)]);
    assert_eq!((list[0].mark, list[1].mark.unwrap().id), (None, ID));
}

#[test]
fn an_unreadable_sector_is_an_io_error_and_is_not_remembered() {
    let (fs, store, _) = small();
    let mut reader = store.open(ID).unwrap();
    fs.fail_after(0, std::io::ErrorKind::TimedOut);
    assert!(matches!(reader.read_at(&mut [0; 9], 0), Err(Error::Io { .. })));
    assert_eq!(reader.read(&mut [0; 9]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(matches!(store.verify(ID), Err(Error::Io { .. })));
    fs.heal();
    assert_eq!(reader.read_at(&mut [0; 9], 0).unwrap(), 9);
}
