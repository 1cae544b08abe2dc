//! Entry points for fuzzing what is read from a disk. Not part of the API: it may change at any time.
//!
//! Each takes any bytes, must come back without a panic and without memory beyond the limits, and
//! asserts what must hold of whatever it understood. Checksums would keep a fuzzer out, so where the
//! last byte is odd they are made right first: then lengths, orders and meanings are what is tried.
//!
//! Above: the targets under `tests/fuzz/` and the test that runs them for a moment. Below: the codecs,
//! recovery, and the log itself on a simulated disk.

use std::{
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::{
    EntryId, Error, Log, OnDamage, Options,
    batch::{HEAD_LEN, Head, PAGE, Seal, bodies_check, seal},
    entry::LogId,
    fs::{Dir, Fs, sim::SimFs},
    header::{BATCHES_AT, HEADER_LEN, Header},
    index::{
        Map, Part,
        file::{decode, encode},
    },
    inspect::{DumpOptions, Live, VerifyOptions, Window, diff, dump, verify},
    layout::{segment_name, snapshot_name},
    lookup::{Piece, find, find_refill},
    meaning::{state_of_batch, steps_of_batch},
    repair::{Ask, plan},
    segment::Segment,
    snapshot::SnapshotStore,
};

/// Where a fuzzed batch stands: salt and offset.
const PLACE: (u64, u64) = (0x5EED, 8416);
/// At most this many entries of a log are read.
const READ_MAX: usize = 256;

/// The bytes of a batch.
pub fn batch(data: &[u8]) {
    let (salt, offset) = PLACE;
    let mut bytes = data.to_vec();
    if mends(data) && bytes.len() >= HEAD_LEN {
        mend_batch(&mut bytes, salt, offset);
    }
    let Some(head) = Head::peek(&bytes, salt, offset) else { return };
    let sections = bytes.get(HEAD_LEN..head.head_len());
    if !sections.is_some_and(|s| head.is_plausible(s)) || !head.check(&bytes, salt, offset) {
        return;
    }
    let whole = bodies_check(&head, &bytes).is_ok();
    let steps = steps_of_batch(&head, &bytes);
    let state = state_of_batch(&head, &bytes);
    assert!(!whole || (steps.is_ok() && state.is_ok()), "a valid batch without a meaning");
    assert!(!whole || head.len() <= bytes.len(), "a valid batch that is not there");
    for index in [0, 1, u64::MAX - 1] {
        let piece = Piece { bytes: &bytes, base: offset, salt };
        let _ = find(piece, offset, index);
        let _ = find_refill(piece, offset, index);
    }
}

/// The bytes of a segment, opened as the only one of a log.
pub fn segment(data: &[u8]) {
    let mut bytes = data.to_vec();
    if mends(data) {
        mend_segment(&mut bytes);
    }
    let Ok(header) = Header::decode(bytes.get(..8192).unwrap_or(&bytes)) else { return };
    let sim = SimFs::new(1);
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    if fs.make_dirs().is_err() {
        return;
    }
    sim.write_file(Dir::Root, &segment_name(header.id), &bytes);
    let options = Options::new().background(false).segment_size(64 << 10);
    for on_damage in [OnDamage::Refuse, OnDamage::Faulty] {
        let fs: Arc<dyn Fs> = Arc::new(sim.kill_image());
        let Some((first, next)) = open(&fs, options.clone().on_damage(on_damage)) else { continue };
        let again = open(&fs, options.clone().on_damage(on_damage));
        assert_eq!(again, Some((first, next)), "the second open differs");
    }
}

/// Opens, reads what it can, and drops the log: its window, or None if it was refused.
fn open(fs: &Arc<dyn Fs>, options: Options) -> Option<(u64, u64)> {
    let (log, _) = Log::open_on(Arc::clone(fs), options).ok()?;
    let (first, next) = (log.first_log_index(), log.next_log_index());
    for index in (first..next).take(READ_MAX) {
        match log.at(index) {
            Ok(entry) => assert_eq!(Some(entry.id), log.id_at(index).ok(), "at {index}"),
            Err(Error::Faulty { id }) => assert_eq!(id.index, index, "faulty"),
            Err(e) => panic!("entry {index} of a log that was opened: {e}"),
        }
    }
    for entry in log.entries(first..next, 1 << 20).take(READ_MAX) {
        let _ = entry.map(|entry| assert!((first..next).contains(&entry.index()), "outside"));
    }
    Some((first, next))
}

/// The bytes of an index file.
pub fn index(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Some(content) = bytes.len().checked_sub(4).filter(|_| mends(data)) {
        let crc = crc32fast::hash(&bytes[..content]);
        LE::write_u32(&mut bytes[content..], crc);
    }
    let Some((identity, summary)) = decode(&bytes) else { return };
    let said = encode(&identity, &summary);
    assert_eq!(decode(&said), Some((identity, summary.clone())), "it says something else");
    let Some(segments) = segments() else { return };
    let next = summary.next;
    let first = summary.rows.first().map_or(next, |row| row.first);
    let indexes: Vec<u64> = summary.rows.iter().map(|row| row.first).collect();
    let [sealed, active] = segments;
    let map = Map::from_sealed(vec![Part { segment: sealed, summary, stored: None }], active);
    let _ = map.covers(first, next);
    for index in indexes {
        let stretch = map.find(index, next).ok().flatten();
        assert!(stretch.is_some_and(|s| s.row.first <= index && index < s.next), "row of {index}");
        let _ = (map.id(index), map.refilled(index));
    }
    let stretches = map.stretches(first, next).map_or(0, |stretches| stretches.len());
    assert!(stretches <= bytes.len() / 16, "more stretches than rows");
}

/// Two segments that hold nothing, to hang a map on.
fn segments() -> Option<[Arc<Segment>; 2]> {
    let sim = SimFs::new(1);
    sim.make_dirs().ok()?;
    let file = sim.create(Dir::Tmp, "x").ok()?;
    let header = Header {
        log_id: LogId::default(),
        id: 1,
        salt: 0,
        created: 0,
        batch_max: 0,
        predecessor: None,
        born_end: 0,
        reused: false,
    };
    let segment = |id| {
        let named = (Arc::clone(&file), "x".into());
        Arc::new(Segment::new(Header { id, ..header }, named, (0, true), 0))
    };
    Some([segment(1), segment(2)])
}

/// The bytes of a snapshot file.
pub fn snapshot(data: &[u8]) {
    let mut bytes = data.to_vec();
    let log_id = LogId(*b"0123456789abcdef");
    if mends(data) && bytes.len() >= 104 {
        bytes[40..56].copy_from_slice(&log_id.0);
        let crc = crc32fast::hash(&bytes[..100]);
        LE::write_u32(&mut bytes[100..104], crc);
    }
    let Some(words) = bytes.get(56..80) else { return };
    let word = |at| LE::read_u64(&words[at..at + 8]);
    let id = EntryId { index: word(0), term: word(8), tag: word(16) };
    let sim = SimFs::new(1);
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    if fs.make_dirs().is_err() {
        return;
    }
    sim.write_file(Dir::Snapshots, &snapshot_name(id.index, id.term), &bytes);
    let store = SnapshotStore::new(fs, log_id, &Options::new());
    let verified = store.verify(id).is_ok();
    let read = store.open(id).and_then(|mut reader| {
        let mut payload = Vec::new();
        let read = std::io::Read::read_to_end(&mut reader, &mut payload);
        assert!(payload.len() <= bytes.len(), "more came out than is there");
        read.map_err(|e| Error::io("read", "snapshot", e))
    });
    assert!(!verified || read.is_ok(), "verified, and cannot be read: {read:?}");
    let _ = store.list();
}

/// What is done to the files of a log's directory, eight bytes for each thing; then everything that
/// looks, looks. What an open takes for a log has the same window for all of them.
pub fn directory(data: &[u8]) {
    /// Things that are done at most.
    const STEPS: usize = 24;
    let Some(whole) = whole_log() else { return };
    let disk = whole.kill_image();
    for step in data.as_chunks::<8>().0.iter().take(STEPS) {
        befall(&disk, *step);
    }
    let reports = [true, false].map(|quick| {
        let options = VerifyOptions::new().quick(quick).threads(1);
        verify(&disk, options, &mut |_| {})
    });
    let mut rows = 0_u64;
    let _ = dump(&disk, &DumpOptions::default(), &mut |_| {
        rows += 1;
        assert!(rows < 1 << 16, "more rows than bytes can hold");
        ControlFlow::Continue(())
    });
    if let Ok(window) = Window::look(&disk) {
        let mut next = window.span().map_or(0, |(first, _)| first);
        let _ = window.entries(&disk, 0..=u64::MAX, &mut |row| {
            let (first, last) = match row {
                Live::Entry(entry) => (entry.id.index, entry.id.index),
                Live::Missing(span, _) => span,
            };
            assert!(first == next && last >= first, "{first}..={last} where {next} was due");
            next = last.saturating_add(1);
            ControlFlow::Continue(())
        });
    }
    let _ = diff(&[&disk as &dyn Fs, whole]);
    for replica in [None, Some(whole as &dyn Fs)] {
        let _ = plan(&disk, &Ask { replica, ..Ask::default() });
    }
    let options = Options::new().background(false).segment_size(32 << 10);
    if let Ok((log, opened)) = Log::open_on(Arc::new(disk.kill_image()), options) {
        for report in reports {
            let window = report.map(|report| report.summary.window);
            assert_eq!(window.ok().flatten(), Some(opened.window), "an open disagrees: {opened}");
        }
        drop(log);
    }
}

/// A closed log of three segments with entries, votes, a truncation, a trim and a snapshot.
fn whole_log() -> Option<&'static SimFs> {
    static WHOLE: OnceLock<Option<SimFs>> = OnceLock::new();
    let make = || -> crate::Result<SimFs> {
        let disk = SimFs::new(4);
        let options = Options::new().background(false).segment_size(32 << 10);
        let mut log = Log::create_on(Arc::new(disk.clone()), options)?;
        for index in 1..=50_u64 {
            let term = 1 + index / 20;
            log.save_hard_state(crate::HardState { term, vote: Some(1), commit: index / 2 })?;
            log.append(&[crate::Entry::new(index, term, vec![7; 900])])?;
            // DURABILITY: nothing rests on it here; it lets later batches state that this one was synced.
            log.sync()?;
        }
        let mut snapshot = log.snapshots().begin(EntryId::new(9, 1), b"about")?;
        // A writer that failed says so at commit.
        let _ = std::io::Write::write_all(&mut snapshot, &[5; 3000]);
        let mark = snapshot.commit()?;
        log.mark_snapshot(mark)?;
        log.trim_prefix(10)?;
        log.trim_tail(45)?;
        log.append(&[crate::Entry::new(45, 4, vec![8; 90])])?;
        log.close()?;
        Ok(disk)
    };
    WHOLE.get_or_init(|| make().ok()).as_ref()
}

/// One thing that happens to a directory: what, to which file, where, and how much of it.
fn befall(disk: &SimFs, step: [u8; 8]) {
    const VALUES: [u64; 8] = [0, 1, 2, 1 << 16, 1 << 31, 1 << 40, u64::MAX - 1, u64::MAX];
    let mut files = Vec::new();
    for dir in [Dir::Root, Dir::Snapshots] {
        files.extend(disk.names(dir).into_iter().filter(|name| name != "LOCK").map(|n| (dir, n)));
    }
    let file = |pick: u8| files.get(usize::from(pick) % files.len().max(1));
    let (Some((dir, name)), Some(other)) = (file(step[1]), file(step[2])) else { return };
    let mut bytes = disk.read_file(*dir, name).unwrap_or_default();
    let len = bytes.len() as u64;
    // Half of the places are where the meaning is: just behind the headers.
    let far = u64::from(LE::read_u16(&step[3..5]));
    let at = if far & 1 == 0 { far * 4 } else { BATCHES_AT + far / 2 };
    let at = at.min(len.saturating_sub(1));
    let to = (at + u64::from(LE::read_u16(&step[5..7])).max(1)).min(len);
    let value = VALUES[usize::from(step[7] >> 1) % VALUES.len()];
    match step[0] % 10 {
        _ if len == 0 => disk.write_file(*dir, name, &step),
        0 => disk.flip_bit(*dir, name, at, u32::from(step[7] & 7)),
        1 => disk.zero(*dir, name, at..to),
        2 => disk.garble(*dir, name, at..to, u64::from(step[7])),
        3 => disk.truncate_file(*dir, name, at),
        4 => disk.remove_file(*dir, name),
        5 => disk.swap_files((*dir, name), (other.0, &other.1)),
        6 => disk.write_file(other.0, &other.1, &bytes),
        7 => disk.write_file(Dir::Root, &segment_name(u64::from(step[7])), &bytes),
        // A number in its place, and every checksum made right again.
        8 | 9 => {
            let at = usize::try_from(at & !7).unwrap_or(0);
            let at = if step[0] % 10 == 8 { (at % HEADER_LEN) & !7 } else { at };
            for at in [Some(at), (at < HEADER_LEN).then_some(at + 4096)].into_iter().flatten() {
                if let Some(field) = bytes.get_mut(at..at + 8) {
                    LE::write_u64(field, value);
                }
            }
            mend_segment(&mut bytes);
            disk.write_file(*dir, name, &bytes);
        }
        _ => {}
    }
}

fn mends(data: &[u8]) -> bool {
    data.last().is_some_and(|last| last & 1 == 1)
}

/// Makes magic and checksum of a head right, with lengths that stay inside.
fn mend_batch(bytes: &mut [u8], salt: u64, offset: u64) {
    let room = u32::try_from(bytes.len() - HEAD_LEN).unwrap_or(u32::MAX);
    let said = LE::read_u32(&bytes[8..12]);
    LE::write_u32(&mut bytes[8..12], said % (room + 1));
    let (seq, durable) = (LE::read_u64(&bytes[16..24]), LE::read_u64(&bytes[24..32]));
    let marker = bytes[32] & 1 == 1;
    seal(bytes, Seal { salt, offset, seq, durable, marker });
}

/// Makes right the checksums of the header and of every head whose magic stands in its place.
fn mend_segment(bytes: &mut [u8]) {
    for at in [0, usize::try_from(PAGE).unwrap_or(0)] {
        if let Some(copy) = bytes.get_mut(at..at + HEADER_LEN) {
            let crc = crc32fast::hash(&copy[..128]);
            LE::write_u32(&mut copy[128..132], crc);
        }
    }
    let Ok(header) = Header::decode(bytes) else { return };
    let mut at = usize::try_from(BATCHES_AT).unwrap_or(usize::MAX);
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEAD_LEN) {
        let offset = at as u64;
        let head = Head::peek(rest, header.salt, offset);
        if head.is_some_and(|head| head.head_len() <= rest.len()) {
            mend_batch(rest, header.salt, offset);
        }
        at += 8;
    }
}
