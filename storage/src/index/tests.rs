//! The map against a naive model that remembers where each entry is, and the `.idx` codec.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use proptest::prelude::*;

use super::{
    file::{Identity, decode, encode},
    *,
};
use crate::{
    entry::LogId,
    error::Error,
    header::Header,
    meaning::{Step, place},
    scan::tape::Image,
    state::LogState,
};

#[derive(Clone, Debug)]
enum Act {
    Append {
        count: u64,
        term: u64,
        tag: u64,
    },
    /// From this share of the window on, in 256ths.
    Truncate(u8),
    Trim(u8),
    TrimBeyond(u64),
    Reset(u64),
    Refill(u8),
}

#[derive(Clone, Debug)]
enum Event {
    Batch { acts: Vec<Act>, len: u32 },
    Rotate,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1..6u64, 0..2u64, 0..2u64)
            .prop_map(|(count, term, tag)| Act::Append { count, term, tag }),
        3 => any::<u8>().prop_map(Act::Truncate),
        2 => any::<u8>().prop_map(Act::Trim),
        1 => (0..5u64).prop_map(Act::TrimBeyond),
        1 => (0..60u64).prop_map(Act::Reset),
        2 => any::<u8>().prop_map(Act::Refill),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        7 => (prop::collection::vec(act(), 1..4), prop_oneof![40..400u32, 3000..6000u32])
            .prop_map(|(acts, len)| Event::Batch { acts, len }),
        1 => Just(Event::Rotate),
    ]
}

/// Where the bytes of an entry are: segment and offset of the batch.
type Place = (u64, u64);

#[derive(Clone, Debug, Default)]
struct Model {
    first: u64,
    next: u64,
    term: u64,
    entries: BTreeMap<u64, (Place, EntryId)>,
    refills: BTreeMap<u64, Place>,
    /// All runs ever written, batch by batch.
    written: BTreeMap<Place, Vec<std::ops::Range<u64>>>,
}

impl Model {
    fn share(&self, share: u8) -> u64 {
        self.first + (self.next - self.first) * u64::from(share) / 256
    }

    /// Takes the act, and says what step a batch at `here` holds for it.
    fn act(&mut self, act: &Act, here: Place) -> Option<Step> {
        Some(match *act {
            Act::Append { count, term, tag } => {
                self.term += term;
                let first = EntryId { index: self.next, term: self.term, tag };
                for index in self.next..self.next + count {
                    self.entries.insert(index, (here, EntryId { index, ..first }));
                }
                self.written.entry(here).or_default().push(self.next..self.next + count);
                self.next += count;
                Step::Entries(Appended { first, count, bytes: count * 10 })
            }
            Act::Truncate(share) => {
                let from = self.share(share);
                self.cut(from);
                self.next = from;
                Step::Truncate(from)
            }
            Act::Trim(share) => self.trim(self.share(share)),
            Act::TrimBeyond(by) => self.trim(self.next + by),
            Act::Reset(to) => {
                self.cut(0);
                (self.first, self.next) = (to, to);
                Step::Reset(to, None)
            }
            Act::Refill(share) => {
                let index = self.share(share);
                let (_, id) = *self.entries.get(&index)?;
                self.refills.insert(index, here);
                Step::Refill(id)
            }
        })
    }

    fn cut(&mut self, from: u64) {
        drop(self.entries.split_off(&from));
        drop(self.refills.split_off(&from));
    }

    fn trim(&mut self, to: u64) -> Step {
        self.entries = self.entries.split_off(&to);
        self.refills = self.refills.split_off(&to);
        self.first = to;
        self.next = self.next.max(to);
        Step::Trim(to, None)
    }

    fn check(&self, map: &Map, what: &str) {
        assert!(map.covers(self.first, self.next), "{what}: a hole in {self:?}");
        for (&index, &((segment, offset), id)) in &self.entries {
            assert_eq!(map.id(index), Some(id), "{what}: id of {index}");
            let stretch = map.find(index, self.next).unwrap().expect("in the window");
            assert_eq!(stretch.segment.id(), segment, "{what}: segment of {index}");
            assert!(stretch.row.first <= index && index < stretch.next, "{what}: row of {index}");
            // Readers take the first batch of the stretch that holds the index.
            let from = (segment, u64::from(stretch.row.offset));
            let to = (segment, stretch.end.map_or(u64::MAX, u64::from));
            let holds = |runs: &[std::ops::Range<u64>]| runs.iter().any(|run| run.contains(&index));
            let first = self.written.range(from..to).find(|(_, runs)| holds(runs));
            assert_eq!(first.map(|(place, _)| place.1), Some(offset), "{what}: place of {index}");
            let refill = map.refilled(index).map(|(segment, at)| (segment.id(), u64::from(at)));
            assert_eq!(refill, self.refills.get(&index).copied(), "{what}: refill of {index}");
        }
        let stretches = map.stretches(self.first, self.next).unwrap();
        // The last row of an older version may have grown since.
        for Stretch { row, next, .. } in stretches.iter().filter(|s| s.sealed) {
            let known = row.payload_bytes().is_none_or(|bytes| bytes == (next - row.first) * 10);
            assert!(known, "{what}: {row:?} up to {next}");
        }
        let ends: Vec<u64> = stretches.iter().map(|s| s.next).collect();
        assert!(ends.is_sorted_by(|a, b| a < b), "{what}: {ends:?}");
        assert_eq!(ends.last().copied().unwrap_or(self.first), self.next, "{what}");
    }
}

fn segment(id: u64) -> Arc<Segment> {
    let header = Header {
        log_id: LogId::default(),
        id,
        salt: id * 7,
        created: 0,
        batch_max: 0,
        predecessor: None,
        born_end: 0,
        reused: false,
    };
    let file = (Arc::new(Image::default()) as _, PathBuf::new());
    Arc::new(Segment::new(header, file, (0, true), 0))
}

fn identity(segment: &Segment) -> Identity {
    let Header { log_id, id, salt, .. } = segment.header;
    Identity { log_id, id, salt, end: 9000, last_seq: 3 }
}

/// As an open leaves it: the rows are loaded when somebody needs them.
fn on_disk(part: &Part) -> Part {
    let Part { segment, summary, .. } = part.clone();
    let Some(first) = summary.rows.first().map(|row| row.first) else { return part.clone() };
    let (rows, entries) = (summary.rows.clone(), (first, summary.next));
    let stored = Some(Arc::new(Stored::new(entries, Box::new(move || Ok(rows.clone())))));
    Part { segment, summary: Summary { rows: Vec::new(), ..summary }, stored }
}

/// Plays the events on the map and the model; checks each, and what the index files say, too.
fn play(events: &[Event]) {
    let mut map = Map::new(segment(1));
    let mut model = Model { first: 1, next: 1, ..Model::default() };
    let mut parts: Vec<Part> = Vec::new();
    let mut offset = 8416;
    for event in events {
        match event {
            Event::Batch { acts, len } => {
                let here = (map.active.segment.id(), offset);
                let before = LogState { first: model.first, next: model.next, ..LogState::new(0) };
                let old = (map.clone(), model.clone());
                let steps: Vec<Step> = acts.iter().filter_map(|act| model.act(act, here)).collect();
                place(&mut map, &before, &steps, offset);
                offset += u64::from(*len);
                old.1.check(&old.0, "an older version");
            }
            Event::Rotate => {
                let old = Arc::clone(&map.active.segment);
                let summary = map.active_summary(model.next);
                let bytes = encode(&identity(&old), &summary);
                assert_eq!(decode(&bytes), Some((identity(&old), summary.clone())));
                let next = segment(old.id() + 1);
                let id = old.id();
                parts.push(Part { segment: old, summary, stored: None });
                map.rotate(model.next, Arc::clone(&next));
                offset = 8416;
                let rebuilt = Map::from_sealed(parts.clone(), Arc::clone(&next));
                model.check(&rebuilt, "from index files");
                let rebuilt = Map::from_sealed(parts.iter().map(on_disk).collect(), next);
                model.check(&rebuilt, "with rows on disk");
                if id.is_multiple_of(2) {
                    // What comes cuts rows that are not loaded, too.
                    map = Map::from_sealed(parts.iter().map(on_disk).collect(), map.active.segment);
                }
            }
        }
        model.check(&map, "live");
    }
}

#[test]
fn a_batch_that_drops_what_it_brought_and_brings_it_again_is_found() {
    let again = vec![
        Act::Append { count: 3, term: 1, tag: 0 },
        Act::Truncate(128),
        Act::Append { count: 4, term: 1, tag: 0 },
    ];
    let plain = vec![Act::Append { count: 5, term: 0, tag: 0 }];
    let batch = |acts: &Vec<Act>| Event::Batch { acts: acts.clone(), len: 100 };
    play(&[batch(&plain), batch(&again), batch(&plain), Event::Rotate, batch(&again)]);
}

/// The next batch joined the row of the one that holds dropped entries, and a reader who looked for
/// entry 5 was handed the dropped one.
#[test]
fn a_batch_that_dropped_what_it_brought_ends_its_row() {
    let append = |count| Act::Append { count, term: 0, tag: 0 };
    let batch = |acts: &[Act]| Event::Batch { acts: acts.to_vec(), len: 40 };
    let drops = [append(3), Act::Truncate(0), append(1)];
    play(&[batch(&[append(4)]), batch(&drops), batch(&[append(4)]), Event::Rotate]);
    let drops = [append(3), Act::TrimBeyond(9), Act::Reset(5), append(1)];
    play(&[batch(&[append(4)]), batch(&drops), batch(&[append(4)]), Event::Rotate]);
}

/// The third act began a row of its own, so the row that holds entry 2 ended before the batch that
/// holds it: payload damage there was called harmless.
#[test]
fn a_batch_that_drops_a_part_of_what_it_brought_stays_in_its_row() {
    let first = vec![Act::Append { count: 1, term: 0, tag: 0 }];
    let second = vec![
        Act::Append { count: 2, term: 0, tag: 0 },
        Act::Truncate(171),
        Act::Append { count: 1, term: 0, tag: 0 },
    ];
    let batch = |acts: &Vec<Act>| Event::Batch { acts: acts.clone(), len: 40 };
    play(&[batch(&first), batch(&second), batch(&first), Event::Rotate]);
}

#[test]
fn rows_are_a_page_of_log_apart_and_so_few() {
    let mut map = Map::new(segment(1));
    for i in 0..1000u64 {
        let first = EntryId::new(1 + i, 1);
        map.append(&Appended { first, count: 1, bytes: 10 }, 8416 + i * 100);
    }
    let rows = map.active_summary(1001).rows;
    assert_eq!(rows.len(), 1000 / 41 + 1);
    let bytes: u64 = rows.iter().map(|row| row.payload_bytes().expect("known")).sum();
    assert_eq!(bytes, 10_000);
}

fn sample() -> (Identity, Summary) {
    let row = |first, offset| Row { first, offset, bytes: 9 };
    let run = |first, term| TermRun { first, term, tag: 3 };
    let summary = Summary {
        rows: vec![row(5, 8416), row(9, 16_000)],
        runs: vec![run(5, 1), run(8, 4)],
        next: 12,
        lowest_cut: Some(4),
        refills: vec![(6, 20_000)],
    };
    let log_id = LogId(*b"0123456789abcdef");
    (Identity { log_id, id: 3, salt: u64::MAX, end: 24_000, last_seq: 40 }, summary)
}

#[test]
fn an_index_file_with_any_bit_flipped_or_any_part_missing_is_ignored() {
    let (identity, summary) = sample();
    let good = encode(&identity, &summary);
    assert_eq!(decode(&good), Some((identity, summary)));
    for bit in 0..good.len() * 8 {
        let mut bent = good.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bent), None, "bit {bit}");
    }
    for len in 0..good.len() {
        assert_eq!(decode(&good[..len]), None, "{len} bytes");
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(decode(&longer), None);
}

/// Changes one field and makes the checksum fit.
fn bent(at: usize, value: u64) -> Option<(Identity, Summary)> {
    let (identity, summary) = sample();
    let mut bytes = encode(&identity, &summary);
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let content = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..content]);
    bytes[content..].copy_from_slice(&crc.to_le_bytes());
    decode(&bytes)
}

#[test]
fn counts_and_orders_that_lie_under_a_good_checksum_are_ignored() {
    assert!(bent(80, 4).is_some(), "nothing was bent");
    for (at, value, what) in [
        (8, 2, "another version"),
        (88, 3, "more rows than there are"),
        (88, u64::MAX, "the most rows"),
        (88, u64::MAX / 16 + 1, "rows whose bytes overflow"),
        (96, u64::MAX / 24 + 1, "runs whose bytes overflow"),
        (96, 1, "fewer runs than there are"),
        (104, u64::MAX, "the most refills"),
        (112, 9, "rows that do not rise"),
        (64, 9, "a row beyond the end"),
        (144, 8, "runs that do not rise"),
    ] {
        assert_eq!(bent(at, value), None, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_map_agrees_with_a_naive_model(events in prop::collection::vec(event(), 1..40)) {
        play(&events);
    }

    #[test]
    fn hostile_bytes_of_an_index_file_end_without_a_panic(
        counts in prop::array::uniform3(0..6u64),
        tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = encode(&sample().0, &Summary::default());
        for (i, count) in counts.iter().enumerate() {
            bytes[88 + 8 * i..96 + 8 * i].copy_from_slice(&count.to_le_bytes());
        }
        bytes.truncate(112);
        bytes.extend_from_slice(&tail);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let fits = tail.len() as u64 == counts[0] * 16 + counts[1] * 24 + counts[2] * 16;
        prop_assert!(decode(&bytes).is_none() || fits);
    }
}

#[test]
fn a_row_is_found_wherever_it_stands_between_its_neighbours() {
    for shape in [[1, 1, 1], [1, 50, 3], [900, 1, 1], [1, 1, 4000]] {
        for count in 1..40usize {
            let steps = shape.iter().cycle().take(count);
            let firsts = steps.scan(10, |at, step| {
                let first = *at;
                *at += step;
                Some(first)
            });
            let rows: Vec<Row> = firsts.map(|first| Row { first, offset: 0, bytes: 0 }).collect();
            let end = rows.last().expect("at least one").first + 5;
            for index in 0..end {
                let expected = rows.partition_point(|row| row.first <= index).checked_sub(1);
                assert_eq!(super::row_of(&rows, index), expected, "{index} in {rows:?}");
            }
        }
    }
}

#[test]
fn rows_that_cannot_be_loaded_are_an_error_until_they_can() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let tell = Arc::clone(&broken);
    let load = move || {
        let io = std::io::Error::from(std::io::ErrorKind::Interrupted);
        let broken = tell.load(std::sync::atomic::Ordering::Relaxed);
        if broken {
            Err(Error::io("read", "x", io))
        } else {
            Ok(vec![Row { first: 1, offset: 9000, bytes: 9 }])
        }
    };
    let stored = Some(Arc::new(Stored::new((1, 9), Box::new(load))));
    let part =
        Part { segment: segment(1), summary: Summary { next: 9, ..Summary::default() }, stored };
    let map = Map::from_sealed(vec![part], segment(2));
    assert!(map.covers(1, 9), "known without rows");
    assert_eq!(map.sealed_at(3).map(|segment| segment.id()), Some(1), "without rows, too");
    assert!(matches!(map.find(3, 9), Err(Error::Io { .. })));
    assert!(matches!(map.stretches(1, 9), Err(Error::Io { .. })));
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(map.find(3, 9).unwrap().map(|found| found.row.offset), Some(9000));
}
