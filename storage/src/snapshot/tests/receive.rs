//! Receiving in pieces.

use super::*;

const ID: EntryId = EntryId { index: 40, term: 5, tag: 1 };

fn offer(bytes: &[u8]) -> SnapshotOffer {
    let crc = Some(crc32fast::hash(bytes));
    SnapshotOffer { id: ID, meta: Bytes::from_static(b"meta"), len: bytes.len() as u64, crc }
}

#[test]
fn a_snapshot_travels_from_one_log_to_another_and_becomes_its_own() {
    let (here, there) = (MemFs::new(), MemFs::new());
    let (from, bytes) = (store(&here), payload(3 * CHUNK + 5));
    put(&from, ID, &bytes);
    let to = SnapshotStore::new(there.clone(), LogId([3; 16]), &Options::new());

    let mut reader = from.open(ID).unwrap();
    let mut receiver = to.receive(reader.offer()).unwrap();
    let mut piece = vec![0; 1000];
    while !receiver.is_complete() {
        let at = receiver.accepted();
        let n = reader.read_at(&mut piece, at).unwrap();
        assert_eq!(receiver.write_chunk(at, &piece[..n]).unwrap(), at + n as u64);
    }
    let mark = receiver.commit().unwrap();
    assert_eq!(to.verify(ID).unwrap().mark, Some(mark));
    assert_eq!(
        (get(&to, ID).unwrap(), to.open(ID).unwrap().meta().clone()),
        (bytes, "meta".into())
    );
    assert_eq!(there.names(Dir::Tmp), [""; 0]);
}

#[test]
fn pieces_may_repeat_and_overlap_but_not_leave_a_gap_nor_pass_the_end() {
    let fs = MemFs::new();
    let bytes = payload(10_000);
    let store = store(&fs);
    let mut receiver = store.receive(offer(&bytes)).unwrap();
    assert_eq!(receiver.write_chunk(0, &bytes[..4000]).unwrap(), 4000);
    assert_eq!(receiver.write_chunk(0, &bytes[..4000]).unwrap(), 4000, "twice");
    assert_eq!(receiver.write_chunk(1000, &bytes[1000..2000]).unwrap(), 4000, "inside");
    assert_eq!(receiver.write_chunk(3000, &bytes[3000..6000]).unwrap(), 6000, "overlap");
    assert_eq!(receiver.write_chunk(6000, &[]).unwrap(), 6000, "nothing");
    match receiver.write_chunk(6001, &bytes[6001..7000]).unwrap_err() {
        Error::Invalid(misfit) => {
            assert_eq!(misfit, Misfit::SnapshotGap { offset: 6001, accepted: 6000 });
        }
        other => panic!("{other}"),
    }
    for (at, len) in [(6000u64, 4001usize), (0, 10_001), (5999, 5000)] {
        let refused = receiver.write_chunk(at, &vec![0; len]).unwrap_err();
        assert!(matches!(refused, Error::Invalid(Misfit::SnapshotLen { .. })), "{refused}");
    }
    assert!(receiver.write_chunk(u64::MAX, &bytes).is_err());
    // None of which took a byte: a new connection goes on where the old one broke.
    let at = receiver.accepted();
    assert_eq!(at, 6000);
    receiver.write_chunk(at, &bytes[6000..]).unwrap();
    assert!(receiver.is_complete());
    receiver.write_chunk(9999, &bytes[9999..]).unwrap();
    receiver.commit().unwrap();
    assert_eq!(get(&store, ID).unwrap(), bytes);
}

#[test]
fn what_is_incomplete_or_not_what_was_announced_never_gets_a_name() {
    let fs = MemFs::new();
    let bytes = payload(CHUNK + 10);
    let store = store(&fs);
    let mut receiver = store.receive(offer(&bytes)).unwrap();
    receiver.write_chunk(0, &bytes[..CHUNK]).unwrap();
    let refused = receiver.commit().unwrap_err();
    assert!(matches!(refused, Error::Invalid(Misfit::SnapshotLen { len: 4096, total: 4106 })));

    let mut receiver = store.receive(offer(&bytes)).unwrap();
    let mut other = bytes.clone();
    other[CHUNK + 9] ^= 1;
    receiver.write_chunk(0, &other).unwrap();
    let refused = receiver.commit().unwrap_err();
    assert!(matches!(refused, Error::Invalid(Misfit::SnapshotCrc { .. })), "{refused}");
    assert_eq!((fs.names(Dir::Snapshots), fs.names(Dir::Tmp)), (vec![], vec![]));
}

#[test]
fn more_than_the_disk_holds_is_refused_before_a_byte_is_written() {
    let mut fs = MemFs::new();
    Arc::get_mut(&mut fs).unwrap().free = 9_999;
    let store = store(&fs);
    let refused = store.receive(offer(&payload(10_000))).unwrap_err();
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    let hostile = SnapshotOffer { len: u64::MAX, ..offer(b"") };
    assert!(matches!(store.receive(hostile).unwrap_err(), Error::Full { .. }));
    let hostile = SnapshotOffer { meta: vec![0; SNAPSHOT_META_MAX + 1].into(), ..offer(b"") };
    assert!(matches!(store.receive(hostile).unwrap_err(), Error::TooLarge { .. }));
    assert_eq!(fs.names(Dir::Tmp), [""; 0]);
}

#[test]
fn a_failed_write_ends_the_receiver() {
    let fs = MemFs::new();
    let bytes = payload(5 * CHUNK);
    let store = store(&fs);
    let mut receiver = store.receive(offer(&bytes)).unwrap();
    fs.fail_after(2, std::io::ErrorKind::StorageFull);
    assert!(matches!(receiver.write_chunk(0, &bytes).unwrap_err(), Error::Full { .. }));
    fs.heal();
    let at = receiver.accepted();
    let poisoned = receiver.write_chunk(at, &bytes[usize::try_from(at).unwrap()..]).unwrap_err();
    assert!(matches!(poisoned, Error::Poisoned { .. }), "{poisoned}");
    drop(receiver);
    assert_eq!(fs.names(Dir::Tmp), [""; 0]);
}
