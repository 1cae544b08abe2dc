//! The codec on good, bent and hostile bytes.

use std::{collections::BTreeMap, sync::Arc};

use byteorder::{ByteOrder, LittleEndian as LE};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    entry::INDEX_MAX,
    error::Error,
    meaning::{state_of_batch, steps_of_batch, steps_of_ops},
    state::{LogState, Slot},
};

const MAX: u64 = 1 << 20;
const PLACE: Seal = Seal { salt: 77, offset: 8416, seq: 9, durable: 8, marker: false };

fn sealed(ops: &[Op<'_>]) -> Vec<u8> {
    let mut bytes = encode(ops, MAX).expect("fits");
    seal(&mut bytes, PLACE);
    bytes
}

/// What a reader makes of `bytes` at the place of [`PLACE`]: the head, if all of it is valid.
fn read(bytes: &[u8]) -> Option<Head> {
    let head = Head::peek(bytes, PLACE.salt, PLACE.offset)?;
    let sections = bytes.get(HEAD_LEN..head.head_len())?;
    let fits = head.len() <= bytes.len() && head.is_plausible(sections);
    (fits && head.check(bytes, PLACE.salt, PLACE.offset)).then_some(head)
}

fn id(index: u64, term: u64, tag: u64) -> EntryId {
    EntryId { index, term, tag }
}

fn one_of_each() -> Vec<Op<'static>> {
    let end = u64::MAX;
    let mark = SnapshotMark { id: id(INDEX_MAX, end, end), size: end, crc: u32::MAX };
    let entry = |index, term, tag, len| Entry {
        id: id(index, term, tag),
        payload: Bytes::from(vec![0xA5; len]),
    };
    vec![
        Op::HardState(HardState { term: end, vote: Some(end), commit: end }),
        Op::HardState(HardState::default()),
        Op::HardState(HardState { term: 0, vote: Some(0), commit: 0 }),
        Op::Meta { key: end, class: Class::Promise, value: Bytes::from(vec![7; META_LEN_MAX]) },
        Op::Meta { key: 0, class: Class::Ordered, value: Bytes::new() },
        Op::TruncateFrom(INDEX_MAX),
        Op::TrimBefore { first: end, prev: Some(id(INDEX_MAX, end, end)) },
        Op::TrimBefore { first: 0, prev: None },
        Op::Reset { first: 1, prev: Some(id(0, 0, 0)) },
        Op::SnapshotMark(mark),
        Op::SnapshotMark(SnapshotMark::default()),
        Op::Refill(entry(INDEX_MAX, end, end, 3)),
        Op::Refill(entry(0, 0, 0, 0)),
        Op::AcknowledgeLoss,
        Op::Entries(Cow::Owned(vec![entry(INDEX_MAX, end, end, 5)])),
        Op::Entries(Cow::Owned(vec![
            entry(0, 0, 0, 0),
            entry(1, 0, 0, 1),
            entry(2, 1, 0, 13),
            entry(3, 1, 9, 0),
        ])),
    ]
}

fn payloads(head: &Head, bytes: &[u8]) -> Vec<(EntryId, Vec<u8>)> {
    let mut found = Vec::new();
    for section in Sections::of(head, bytes) {
        match section.expect("well-formed") {
            Section::Entries(run) => found.extend((0..run.count).map(|i| {
                let (body, crc) = run.payload(i);
                assert_eq!(crc32fast::hash(&bytes[body.clone()]), crc);
                (run.id(run.first.index + u64::from(i)), bytes[body].to_vec())
            })),
            Section::Refill { id, body, .. } => found.push((id, bytes[body].to_vec())),
            _ => {}
        }
    }
    found
}

fn payloads_of_ops(ops: &[Op<'_>]) -> Vec<(EntryId, Vec<u8>)> {
    let entries = ops.iter().flat_map(|op| match op {
        Op::Entries(entries) => entries.to_vec(),
        Op::Refill(entry) => vec![entry.clone()],
        _ => Vec::new(),
    });
    entries.map(|entry| (entry.id, entry.payload.to_vec())).collect()
}

fn round_trip(ops: &[Op<'_>]) {
    let bytes = sealed(ops);
    let head = read(&bytes).expect("valid");
    assert_eq!((head.len(), bytes.len() % 8), (bytes.len(), 0));
    assert_eq!((head.seq, head.durable, head.is_marker()), (9, 8, false));
    assert_eq!(bodies_check(&head, &bytes), Ok(()));
    assert_eq!(steps_of_batch(&head, &bytes).expect("known"), steps_of_ops(ops));
    assert_eq!(payloads(&head, &bytes), payloads_of_ops(ops));
}

#[test]
fn every_op_comes_back_at_its_extremes() {
    for op in one_of_each() {
        round_trip(&[op]);
    }
    round_trip(&one_of_each());
    round_trip(&[]);
}

#[test]
fn a_state_comes_back_at_its_extremes() {
    let slot = |class, len| Slot { class, value: Bytes::from(vec![1; len]) };
    let slots: BTreeMap<u64, Slot> =
        (0..16).map(|i| (u64::MAX - i, slot(Class::Promise, 4096))).collect();
    let end = u64::MAX;
    let full = LogState {
        first: 1,
        next: end,
        prev: Some(id(0, 3, 4)),
        last: Some(id(INDEX_MAX, end, end)),
        hard_state: HardState { term: end, vote: Some(0), commit: end },
        slots: Arc::new(slots),
        mark: Some(SnapshotMark { id: id(1, 2, 3), size: end, crc: 1 }),
        maybe_lost: Some(end),
    };
    for state in [full, LogState::new(0), LogState::new(end)] {
        let mut bytes = encode_state(&state);
        seal(&mut bytes, Seal { durable: 9, ..PLACE });
        let head = read(&bytes).expect("valid: durable may equal the sequence in State");
        assert!(is_state(&bytes[HEAD_LEN..]));
        assert_eq!(bodies_check(&head, &bytes), Ok(()));
        assert_eq!(state_of_batch(&head, &bytes).expect("known"), Some(state));
    }
}

#[test]
fn each_flipped_bit_of_a_batch_is_noticed() {
    let bytes = sealed(&[
        Op::Meta { key: 1, class: Class::Ordered, value: Bytes::from_static(b"value") },
        Op::Entries(Cow::Owned(vec![Entry::new(1, 1, "payload"), Entry::new(2, 1, "")])),
    ]);
    let head = read(&bytes).expect("valid");
    let len = head.head_len() + head.body_len as usize;
    assert!(len < bytes.len(), "this batch has padding, which is checked too");
    for bit in 0..bytes.len() * 8 {
        let mut bent = bytes.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        match read(&bent) {
            None => assert!(bit / 8 < head.head_len(), "bit {bit}: the head is whole"),
            Some(bent_head) => {
                assert!(bit / 8 >= head.head_len(), "bit {bit} of the head passed");
                assert_eq!(bodies_check(&bent_head, &bent), Err(Flaw::Body), "bit {bit}");
            }
        }
    }
}

#[test]
fn each_truncation_of_a_batch_is_noticed() {
    let bytes = sealed(&one_of_each());
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_none(), "{len} of {} bytes passed", bytes.len());
    }
}

#[test]
fn a_batch_is_valid_in_one_place_of_one_file() {
    let bytes = sealed(&one_of_each());
    let valid = |salt, offset| {
        Head::peek(&bytes, salt, offset).is_some_and(|head| head.check(&bytes, salt, offset))
    };
    assert!(valid(77, 8416));
    for shift in 0..64 {
        assert!(!valid(77 ^ (1 << shift), 8416), "another salt");
        assert!(!valid(77, 8416 ^ (1 << shift)), "another place");
        // Salt and offset that agree when mixed share a magic, never a CRC.
        assert!(!valid(77 ^ (1 << shift), 8416 ^ (1 << shift)), "both");
    }
}

#[test]
fn the_limit_is_exact_and_known_before_anything_is_encoded() {
    let ops = one_of_each();
    let len = sealed(&ops).len() as u64;
    assert!(encode(&ops, len).is_ok());
    let refused = encode(&ops, len - 1);
    assert!(matches!(refused, Err(Error::TooLarge { len: l, max }) if l == len && max == len - 1));
}

#[test]
fn durable_is_below_the_sequence_but_in_markers_and_state() {
    let mut bytes = encode(&[Op::AcknowledgeLoss], MAX).expect("fits");
    let mut valid = |durable, marker| {
        seal(&mut bytes, Seal { durable, marker, ..PLACE });
        read(&bytes).is_some()
    };
    assert!(valid(8, false) && valid(9, true));
    assert!(!valid(9, false) && !valid(10, true));
}

/// Bends one field of a section, with a checksum that fits: only the meaning is wrong then.
fn bent(ops: &[Op<'_>], at: usize, bend: impl FnOnce(&mut [u8])) -> Option<Flaw> {
    let mut bytes = sealed(ops);
    bend(&mut bytes[at..]);
    seal(&mut bytes, PLACE);
    let head = Head::peek(&bytes, PLACE.salt, PLACE.offset)?;
    bodies_check(&head, &bytes).err()
}

#[test]
fn lengths_that_lie_under_a_good_checksum_are_no_meaning() {
    let entries = [Op::Entries(Cow::Owned(vec![Entry::new(1, 1, "abc"), Entry::new(2, 1, "d")]))];
    let meta = [Op::Meta { key: 1, class: Class::Ordered, value: Bytes::from_static(b"value") }];
    let refill = [Op::Refill(Entry::new(1, 1, "abc"))];
    let (section, content) = (HEAD_LEN, HEAD_LEN + SECTION_LEN);
    let u32_at = |value: u32| move |bytes: &mut [u8]| LE::write_u32(bytes, value);
    let all: Vec<(&str, Option<Flaw>)> = vec![
        ("a section longer than the rest", bent(&entries, section + 4, u32_at(u32::MAX))),
        ("a section of no length", bent(&entries, section + 4, u32_at(0))),
        ("flags", bent(&entries, section, u32_at(1 | 1 << 16))),
        ("an unknown kind", bent(&entries, section, u32_at(0x7fff))),
        ("a group", bent(&entries, section + 8, u32_at(1))),
        ("the most entries", bent(&entries, content + 24, u32_at(u32::MAX))),
        ("no entries", bent(&entries, content + 24, u32_at(0))),
        ("another codec", bent(&entries, content + 28, u32_at(1))),
        ("a payload that ends before it begins", bent(&entries, content + 40, u32_at(2))),
        ("a payload beyond the bodies", bent(&entries, content + 40, u32_at(u32::MAX))),
        ("less than the bodies", bent(&entries, content + 40, u32_at(3))),
        ("an index that is none", bent(&entries, content, |b| b[..8].fill(0xff))),
        (
            "a run past the last index",
            bent(&entries, content, |b| {
                LE::write_u64(b, INDEX_MAX);
            }),
        ),
        ("a third class", bent(&meta, content + 8, u32_at(2))),
        ("a value beyond its limit", bent(&meta, content + 16, u32_at(4097))),
        ("a value beyond the bodies", bent(&meta, content + 16, u32_at(6))),
        ("a refill beyond the bodies", bent(&refill, content + 28, u32_at(u32::MAX))),
    ];
    for (what, flaw) in all {
        assert_eq!(flaw, Some(Flaw::Meaning), "{what}");
    }
}

#[test]
fn a_slot_longer_than_its_limit_is_no_meaning_even_if_it_is_there() {
    let of_len = |len| {
        let value = Bytes::from(vec![1; len]);
        bent(&[Op::Meta { key: 1, class: Class::Ordered, value }], 0, |_| {})
    };
    assert_eq!(of_len(META_LEN_MAX), None);
    assert_eq!(of_len(META_LEN_MAX + 1), Some(Flaw::Meaning));
}

#[test]
fn a_section_of_an_unknown_kind_is_skipped_only_where_it_says_so() {
    let with_kind = |kind: u16| bent(&[Op::AcknowledgeLoss], HEAD_LEN, |b| LE::write_u16(b, kind));
    assert_eq!(with_kind(kind::SKIPPABLE | 99), None);
    assert_eq!(with_kind(99), Some(Flaw::Meaning));
}

#[test]
fn markers_stand_in_a_page_of_their_own() {
    for end in 8192..8192 + 3 * PAGE {
        let at = marker_at(end);
        assert!(at.is_multiple_of(PAGE) && at >= end, "{end}");
        assert!(at == end || at >= end + 40, "{end}: over the zero head");
        assert!(at < end + PAGE + 40, "{end}: further away than it must be");
    }
}

proptest! {
    #[test]
    fn any_entries_come_back(
        first in 0..u64::MAX - 100,
        runs in prop::collection::vec((any::<u64>(), 0..3u64, 0..40usize), 1..40),
    ) {
        let entries = runs.iter().enumerate().map(|(i, &(term, tag, len))| Entry {
            id: id(first + i as u64, term, tag),
            payload: Bytes::from(vec![u8::try_from(i).expect("at most 40"); len]),
        });
        round_trip(&[Op::Entries(Cow::Owned(entries.collect()))]);
    }

    #[test]
    fn sections_of_anything_end_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 40..600),
        kinds in prop::collection::vec((0..600usize, 0..12u16, 0..200u32), 0..6),
        lens in (0..700u32, 0..700u32),
    ) {
        let mut bytes = bytes;
        for (at, kind, len) in kinds {
            if let Some(head) = bytes.get_mut(at..at + 16) {
                head.fill(0);
                LE::write_u16(&mut head[..2], kind);
                LE::write_u32(&mut head[4..8], len);
            }
        }
        LE::write_u32(&mut bytes[8..12], lens.0);
        LE::write_u32(&mut bytes[12..16], lens.1);
        let head = Head::peek_any(&bytes).expect("40 bytes");
        let _ = bodies_check(&head, &bytes);
        let _ = steps_of_batch(&head, &bytes);
        let _ = state_of_batch(&head, &bytes);
        prop_assert!(Sections::of(&head, &bytes).count() <= bytes.len() / SECTION_LEN + 1);
    }
}
