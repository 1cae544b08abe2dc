//! Snapshots written, read, damaged, cut off, received in pieces, and chosen among.

mod choice;
mod crash;
mod damage;
mod mem;
mod receive;

use std::io::{Read, Seek, SeekFrom, Write};

use proptest::prelude::*;

use self::mem::MemFs;
use super::*;
use crate::error::Misfit;

pub(super) const LOG: LogId = LogId(*b"0123456789abcdef");
/// Payload bytes of a chunk in these tests.
pub(super) const CHUNK: usize = 4096;

pub(super) fn store(fs: &Arc<MemFs>) -> SnapshotStore {
    let options = Options::new().snapshot_chunk(u32::try_from(CHUNK).unwrap());
    SnapshotStore::new(fs.clone(), LOG, &options)
}

/// Bytes in which no chunk is like another.
pub(super) fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
}

pub(super) fn put(store: &SnapshotStore, id: EntryId, bytes: &[u8]) -> SnapshotMark {
    let mut writer = store.begin(id, b"meta").unwrap();
    writer.write_all(bytes).unwrap();
    writer.commit().unwrap()
}

pub(super) fn get(store: &SnapshotStore, id: EntryId) -> Result<Vec<u8>> {
    let mut reader = store.open(id)?;
    let (mut out, mut buf) = (Vec::new(), vec![0; 1000]);
    loop {
        match reader.read_at(&mut buf, out.len() as u64)? {
            0 => return Ok(out),
            n => out.extend_from_slice(&buf[..n]),
        }
    }
}

pub(super) fn name(id: EntryId) -> String {
    layout::snapshot_name(id.index, id.term)
}

#[test]
fn what_was_written_is_read_at_every_size_around_a_chunk() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 17] {
        let fs = MemFs::new();
        let store = store(&fs);
        let id = EntryId { index: 40, term: 5, tag: 9 };
        let mark = put(&store, id, &payload(len));
        assert_eq!(mark.id, id);
        assert_eq!(get(&store, id).unwrap(), payload(len), "{len} bytes");

        let reader = store.open(id).unwrap();
        assert_eq!((reader.id(), reader.len(), &reader.meta()[..]), (id, len as u64, &b"meta"[..]));
        assert_eq!((reader.mark(), reader.is_empty()), (mark, len == 0));
        let info = store.verify(id).unwrap();
        let file = fs.get(Dir::Snapshots, &name(id));
        assert_eq!((info.file_len, info.len), (file.len() as u64, len as u64));
        let before_trailer = &file[..file.len() - format::TRAILER_LEN];
        assert_eq!((mark.size, mark.crc), (info.file_len, crc32fast::hash(before_trailer)));
        assert_eq!(reader.offer().crc, Some(crc32fast::hash(&payload(len))));
        assert_eq!(fs.names(Dir::Tmp), [""; 0], "nothing is left in tmp/");
    }
}

/// The file byte by byte, as FORMAT.md writes it down.
#[test]
fn the_bytes_are_those_of_the_format_document() {
    let fs = MemFs::new();
    let id = EntryId { index: 40, term: 5, tag: 0 };
    put(&store(&fs), id, b"hello");
    let file = fs.get(Dir::Snapshots, "00000000000000000040-0000000005.snap");
    let hex: Vec<String> = file
        .chunks(16)
        .map(|row| row.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    let document = include_str!("../../FORMAT.md");
    for (i, row) in hex.iter().enumerate() {
        let row = format!("{:04x}  {row}", i * 16);
        assert!(document.contains(&row), "FORMAT.md lacks the row\n{}", hex.join("\n"));
    }
}

#[test]
fn metadata_has_a_limit_and_may_be_empty() {
    let fs = MemFs::new();
    let store = store(&fs);
    let id = EntryId::new(1, 1);
    let meta = vec![7; SNAPSHOT_META_MAX];
    store.begin(id, &meta).unwrap().commit().unwrap();
    assert_eq!(store.open(id).unwrap().meta()[..], meta[..]);
    store.begin(id, b"").unwrap().commit().unwrap();
    assert_eq!(store.open(id).unwrap().meta().len(), 0);

    let before = fs.calls();
    let refused = store.begin(id, &vec![7; SNAPSHOT_META_MAX + 1]).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { len: 65_537, max: 65_536 }), "{refused}");
    let refused = store.begin(EntryId::new(u64::MAX, 1), b"").unwrap_err();
    assert!(matches!(refused, Error::Invalid(Misfit::IndexSpace)), "{refused}");
    assert_eq!(fs.calls(), before, "nothing was touched");
}

#[test]
fn the_extreme_ids_have_names_and_come_back() {
    let fs = MemFs::new();
    let store = store(&fs);
    for id in [
        EntryId::default(),
        EntryId { index: u64::MAX - 1, term: u64::MAX, tag: u64::MAX },
        EntryId { index: 0, term: u64::MAX, tag: 0 },
    ] {
        put(&store, id, b"x");
        assert_eq!(store.verify(id).unwrap().id, id);
    }
    assert_eq!(store.list().unwrap().len(), 3);
}

#[test]
fn a_snapshot_that_is_not_there_is_not_found_whatever_its_tag() {
    let fs = MemFs::new();
    let store = store(&fs);
    let id = EntryId { index: 40, term: 5, tag: 1 };
    put(&store, id, b"x");
    for absent in [EntryId { tag: 2, ..id }, EntryId { index: 41, ..id }, EntryId { term: 6, ..id }]
    {
        assert!(is_missing(&store.open(absent).unwrap_err()));
        assert!(is_missing(&store.verify(absent).unwrap_err()));
    }
}

#[test]
fn a_reader_goes_on_with_its_file_when_that_is_replaced_or_removed() {
    let fs = MemFs::new();
    let store = store(&fs);
    let id = EntryId::new(40, 5);
    put(&store, id, &payload(3 * CHUNK));
    let mut old = store.open(id).unwrap();
    put(&store, id, b"new");
    fs.unlink(Dir::Snapshots, &name(id)).unwrap();
    let mut read = Vec::new();
    old.read_to_end(&mut read).unwrap();
    assert_eq!(read, payload(3 * CHUNK));
}

#[test]
fn an_abandoned_writer_leaves_nothing_and_harms_nothing() {
    let fs = MemFs::new();
    let store = store(&fs);
    let id = EntryId::new(40, 5);
    put(&store, id, b"old");
    let mut writer = store.begin(id, b"").unwrap();
    writer.write_all(&payload(2 * CHUNK)).unwrap();
    assert_eq!(fs.names(Dir::Tmp).len(), 1);
    drop(writer);
    assert_eq!(fs.names(Dir::Tmp), [""; 0]);
    assert_eq!(get(&store, id).unwrap(), b"old");
}

#[test]
fn names_taken_in_tmp_are_passed_over() {
    let fs = MemFs::new();
    let id = EntryId::new(40, 5);
    let first = store(&fs).begin(id, b"").unwrap();
    let second = store(&fs).begin(id, b"").unwrap();
    assert_eq!(fs.names(Dir::Tmp).len(), 2);
    first.commit().unwrap();
    second.commit().unwrap();
}

#[test]
fn seeking_before_the_start_is_an_error_and_past_the_end_reads_nothing() {
    let fs = MemFs::new();
    let store = store(&fs);
    let id = EntryId::new(40, 5);
    put(&store, id, &payload(CHUNK + 1));
    let mut reader = store.open(id).unwrap();
    assert!(reader.seek(SeekFrom::End(-5000)).is_err());
    assert!(reader.seek(SeekFrom::Current(-1)).is_err());
    assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert!(reader.seek(SeekFrom::Current(1)).is_err());
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), CHUNK as u64);
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Start(u64),
    End(i64),
    Current(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..10_000).prop_map(Step::Read),
        (0u64..30_000).prop_map(Step::Start),
        (-30_000i64..100).prop_map(Step::End),
        (-9_000i64..9_000).prop_map(Step::Current),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A reader is a `Cursor` over the bytes that were written, whatever sizes they came in.
    #[test]
    fn reading_and_seeking_is_as_in_memory(
        len in 0usize..25_000,
        piece in 1usize..9_000,
        steps in steps(),
    ) {
        let fs = MemFs::new();
        let store = store(&fs);
        let id = EntryId::new(40, 5);
        let bytes = payload(len);
        let mut writer = store.begin(id, b"m").unwrap();
        bytes.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        writer.commit().unwrap();
        let mut reader = store.open(id).unwrap();
        let mut model = std::io::Cursor::new(&bytes);
        for step in steps {
            let to = match step {
                Step::Start(at) => SeekFrom::Start(at),
                Step::End(by) => SeekFrom::End(by),
                Step::Current(by) => SeekFrom::Current(by),
                Step::Read(n) => {
                    let (mut a, mut b) = (Vec::new(), Vec::new());
                    reader.by_ref().take(n as u64).read_to_end(&mut a).unwrap();
                    model.by_ref().take(n as u64).read_to_end(&mut b).unwrap();
                    prop_assert_eq!(a, b);
                    continue;
                }
            };
            prop_assert_eq!(reader.seek(to).ok(), model.seek(to).ok());
        }
    }
}
