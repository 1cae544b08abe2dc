//! The loop and the search over segments built in memory.

use std::{ops::ControlFlow, sync::atomic::Ordering};

use super::{
    tape::{Image, Tape},
    *,
};
use crate::{
    batch::{MAGIC, Op},
    entry::Entry,
    hard_state::HardState,
    header::BATCHES_AT,
    state::LogState,
};

/// Offsets of all batches that the scan yields, and where it stops.
fn walk(tape: &Tape) -> (Vec<u64>, Stop) {
    let image = Image::of(tape);
    let mut scan = Scan::new(&image, tape.frame(), BATCHES_AT, 0);
    let mut offsets = Vec::new();
    loop {
        match scan.next().expect("readable").0 {
            Step::Batch(at) => offsets.push(at.offset),
            Step::BadBody(at) => panic!("bad body at {:#x}", at.offset),
            Step::Stop(stop) => return (offsets, stop),
        }
    }
}

fn found(tape: &Tape, from: u64, seq: u64) -> Vec<u64> {
    let image = Image::of(tape);
    let mut offsets = Vec::new();
    search(&image, tape.frame(), from, seq, |at, bytes| {
        assert_eq!(bytes.len(), at.head.len());
        offsets.push(at.offset);
        ControlFlow::Continue(())
    })
    .expect("readable");
    offsets
}

/// Batches of many sizes, with markers between, to the end of the file.
fn full(len: usize) -> (Tape, Vec<u64>) {
    let mut tape = Tape::new(len, LogState::new(1), 0);
    let mut offsets = vec![BATCHES_AT, tape.header.born_end - 88];
    for index in 1.. {
        let size = usize::try_from(index * index * 37 % 3001).expect("small");
        if tape.at + size as u64 + 9000 > len as u64 {
            break;
        }
        offsets.push(tape.entry(index, size));
        if index % 7 == 0 {
            offsets.push(tape.marker());
        }
    }
    (tape, offsets)
}

#[test]
fn the_scan_yields_every_batch_and_marker_in_order_and_stops_at_the_zero_head() {
    let (tape, offsets) = full(1 << 20);
    assert!(offsets.len() > 500);
    let (seen, stop) = walk(&tape);
    assert_eq!(seen, offsets);
    assert_eq!(stop, Stop { offset: tape.at, at_end: false, zero_head: true });
}

#[test]
fn a_file_that_ends_with_its_last_batch_ends_there() {
    let (mut tape, offsets) = full(64 << 10);
    tape.bytes.truncate(usize::try_from(tape.at).expect("small"));
    let (seen, stop) = walk(&tape);
    assert_eq!(seen, offsets);
    assert_eq!((stop.offset, stop.at_end), (tape.at, true));
    // Some zeros, too few for a head, count as one.
    tape.bytes.resize(tape.bytes.len() + 16, 0);
    assert!(walk(&tape).1.zero_head);
}

#[test]
fn the_scan_stops_where_the_sequence_does_not_fit() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    let x = tape.at;
    tape.seq += 1;
    tape.entry(2, 10);
    let (seen, stop) = walk(&tape);
    assert_eq!((seen.len(), stop.offset, stop.zero_head), (3, x, false));
}

#[test]
fn the_search_finds_every_head_wherever_it_begins() {
    let (tape, offsets) = full(256 << 10);
    for (i, &from) in offsets.iter().enumerate().step_by(11) {
        assert_eq!(found(&tape, from, 1), offsets[i..]);
        assert_eq!(found(&tape, from + 1, 1), offsets[i + 1..], "from {from} + 1");
    }
    assert_eq!(found(&tape, tape.at, 1), Vec::<u64>::new());
}

#[test]
fn the_search_goes_on_behind_a_bad_batch_and_steps_over_the_bodies_of_good_ones() {
    let mut tape = Tape::fresh();
    let first = tape.entry(1, 100);
    // A payload that is itself a valid head of this place: its writer knew the salt.
    let mut inner = Tape::new(64 << 10, LogState::new(1), 0);
    inner.at = Tape::payload_at(tape.at);
    inner.seq = 7;
    let from = inner.entry(8, 100);
    let len = usize::try_from(inner.at - from).expect("small");
    let at = usize::try_from(from).expect("small");
    let evil = Entry::new(2, 1, inner.bytes[at..at + len].to_vec());
    let outer = tape.batch(&[Op::Entries(vec![evil].into())]);
    let last = tape.entry(3, 100);
    assert_eq!(found(&tape, first, 1), [first, outer, last], "bodies are stepped over");
    tape.flip(outer + 8);
    assert_eq!(found(&tape, first, 1), [first, from, last], "only the salt kept it out");
    tape.flip(first + 20);
    tape.flip(from + 20);
    assert_eq!(found(&tape, first, 1), [last]);
}

#[test]
fn a_sequence_that_the_rest_of_the_file_could_not_hold_is_no_head() {
    let mut tape = Tape::fresh();
    let x = tape.at;
    tape.seq = 1 << 40;
    tape.entry(1, 10);
    assert!(found(&tape, x, 1).is_empty());
    assert_eq!(found(&tape, x, 1 << 40), [x]);
}

#[test]
fn a_payload_full_of_forged_heads_is_not_found_and_costs_one_read() {
    // Whoever does not know the salt can copy a head, or write the constant of the format.
    let mut model = Tape::fresh();
    let at = model.entry(1, 0);
    let head = usize::try_from(at).expect("small");
    let copied = model.bytes[head..head + 104].to_vec();
    for forged in [copied, [&MAGIC.to_le_bytes()[..], &[0; 36]].concat()] {
        let mut tape = Tape::new(4 << 20, LogState::new(1), 0);
        let x = tape.at;
        let entries = (1..9u64).map(|i| Entry::new(i, 1, forged.repeat(100 << 10 >> 7)));
        for entry in entries {
            tape.batch(&[Op::Entries(vec![entry].into())]);
        }
        // Damage all real heads, so that the search must walk through the payloads.
        let real = found(&tape, x, 1);
        assert_eq!(real.len(), 8);
        real.iter().for_each(|&at| tape.flip(at + 4));
        let image = Image::of(&tape);
        search(&image, tape.frame(), x, 1, |at, _| panic!("found {:#x}", at.offset)).expect("read");
        let read = image.read.load(Ordering::Relaxed);
        assert!(read < 2 * image.bytes.len() as u64, "{read} bytes read");
    }
}

#[test]
fn a_forged_length_makes_nobody_read_a_body() {
    let mut tape = Tape::new(4 << 20, LogState::new(1), 0);
    let mut heads = 0;
    while tape.at < 1 << 20 {
        // The magic is right and the checksum is not: 120 KiB of sections are claimed each time.
        let at = usize::try_from(tape.entry(1, 8)).expect("small");
        tape.bytes[at + 12..at + 16].copy_from_slice(&(120u32 << 10).to_le_bytes());
        heads += 1;
    }
    assert!(heads > 5000);
    let image = Image::of(&tape);
    search(&image, tape.frame(), BATCHES_AT, 1, |_, _| ControlFlow::Continue(()))
        .expect("readable");
    let read = image.read.load(Ordering::Relaxed);
    assert!(read < 3 * image.bytes.len() as u64, "{read} bytes read for {heads} heads");
}

#[test]
fn zeros_are_told_from_a_single_bit() {
    let mut tape = Tape::new(1 << 20, LogState::new(1), 0);
    let (from, end) = (tape.at, tape.bytes.len() as u64);
    let content = |tape: &Tape| content_end(&Image::of(tape), from, end).expect("readable");
    assert_eq!(content(&tape), from);
    for at in [from, from + 1, end / 2, end - 1] {
        tape.flip(at);
        assert_eq!(content(&tape), at + 1);
        tape.flip(at);
    }
}

#[test]
fn a_body_that_rotted_is_told_from_a_head_that_did() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    let at = tape.entry(2, 10);
    tape.flip(Tape::payload_at(at));
    let image = Image::of(&tape);
    let mut scan = Scan::new(&image, tape.frame(), BATCHES_AT, 0);
    for _ in 0..3 {
        assert!(matches!(scan.next().expect("readable").0, Step::Batch(_)));
    }
    let Step::BadBody(bad) = scan.next().expect("readable").0 else { panic!("not noticed") };
    assert_eq!((bad.offset, bad.head.seq, bad.bodies), (at, 2, Err(Flaw::Body)));
    assert!(matches!(scan.next().expect("readable").0, Step::BadBody(_)), "it does not move");
    scan.pass(bad.end(), bad.head.seq);
    assert!(matches!(scan.next().expect("readable").0, Step::Stop(_)));
}

#[test]
fn a_marker_is_looked_for_only_behind_a_zero_head() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    tape.state.hard_state = HardState { term: 1, vote: None, commit: 0 };
    let x = tape.batch(&[Op::HardState(tape.state.hard_state)]);
    let end = tape.at;
    tape.marker();
    assert_eq!(walk(&tape).0.len(), 5);
    tape.flip(end + 3);
    let (seen, stop) = walk(&tape);
    assert_eq!((seen.last(), stop.offset, stop.zero_head), (Some(&x), end, false));
}
