//! Each row of the verdict table reached by a segment built for it, and what else the outline says.

use super::*;
use crate::{
    batch::{Op, PAGE, SnapshotMark},
    entry::Entry,
    hard_state::HardState,
    scan::tape::{Image, Tape},
};

fn read(tape: &Tape, sealed: Option<u64>) -> Result<Outline> {
    let image = Image::of(tape);
    let path = Path::new("00000000000000000007.wal");
    read_segment((&image, path), &tape.header, image.bytes.len() as u64, sealed)
}

fn open(tape: &Tape) -> Outline {
    read(tape, None).expect("no corruption")
}

fn refused(tape: &Tape, sealed: Option<u64>) -> (u64, Reason, Evidence) {
    match read(tape, sealed) {
        Err(Error::Corrupt(damage)) => (damage.offset, damage.reason, damage.evidence),
        other => panic!("not refused: {other:?}"),
    }
}

fn ended(outline: &Outline) -> (u64, Option<Row>, Verdict) {
    (outline.x, outline.row, outline.verdict)
}

fn term(term: u64) -> HardState {
    HardState { term, vote: Some(2), commit: 0 }
}

/// A batch that changes a promise, and its marker: where each begins.
fn vote(tape: &mut Tape, number: u64) -> (u64, u64) {
    tape.state.hard_state = term(number);
    let at = tape.batch(&[Op::HardState(term(number))]);
    (at, tape.marker())
}

#[test]
fn row_1_what_was_born_with_the_file_may_not_be_bad() {
    let mut state = Tape::fresh();
    state.flip(BATCHES_AT + 50);
    let born = Evidence::BornEnd(state.header.born_end);
    assert_eq!(refused(&state, None), (BATCHES_AT, Reason::State, born));

    // Not even the marker may be missing, and nothing excuses it.
    let mut marker = Tape::fresh();
    let end = marker.header.born_end;
    marker.entry(1, 10);
    marker.zero(end - 88, end);
    let (x, reason, evidence) = refused(&marker, None);
    assert_eq!((reason, evidence), (Reason::BatchHead, Evidence::BornEnd(end)));
    assert!(x < end, "{x:#x}");
}

#[test]
fn row_1_covers_batches_that_were_written_again() {
    let mut tape = Tape::fresh();
    let at = tape.entry(1, 10);
    tape.header.born_end = tape.at;
    tape.flip(at + 8);
    let evidence = Evidence::BornEnd(tape.header.born_end);
    assert_eq!(refused(&tape, None), (at, Reason::BatchHead, evidence));
}

#[test]
fn row_2_what_lies_before_the_stated_end_was_durable() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    let bad = tape.entry(2, 10);
    tape.entry(3, 10);
    let p = tape.at;
    assert_eq!(ended(&read(&tape, Some(p)).expect("whole")), (p, None, Verdict::CleanEnd));
    tape.flip(bad + 8);
    assert_eq!(ended(&open(&tape)).2, Verdict::Unproven, "without a successor it is unproven");
    let evidence = Evidence::SealedEnd(p);
    assert_eq!(refused(&tape, Some(p)), (bad, Reason::BatchHead, evidence));
    tape.zero(bad, p);
    assert_eq!(ended(&open(&tape)).2, Verdict::CleanEnd);
    assert_eq!(refused(&tape, Some(p)), (bad, Reason::BatchHead, evidence));
}

#[test]
fn row_2_excuses_missing_markers() {
    let mut tape = Tape::fresh();
    let (_, marker) = vote(&mut tape, 1);
    let behind = tape.at;
    let last = tape.entry(1, 10);
    let p = tape.at;
    tape.zero(marker, behind);
    let outline = read(&tape, Some(p)).expect("only a marker is missing");
    assert_eq!((outline.x, outline.verdict), (p, Verdict::MarkersMissing));
    assert_eq!(outline.items.iter().last().map(|item| item.offset), Some(last));
}

#[test]
fn nothing_beyond_the_stated_end_counts() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    let p = tape.at;
    tape.durable = 1;
    vote(&mut tape, 9);
    let outline = read(&tape, Some(p)).expect("whole");
    assert_eq!((outline.x, outline.last_seq(), outline.beyond), (p, 1, 0));
    assert_eq!(outline.promises.hard, Some((0, None)));
}

#[test]
fn row_3_a_later_head_that_states_it_durable_is_proof() {
    for by_marker in [false, true] {
        let mut tape = Tape::fresh();
        tape.entry(1, 10);
        let bad = tape.entry(2, 10);
        tape.entry(3, 10);
        tape.durable = 2;
        let proof = if by_marker { tape.marker() } else { tape.entry(4, 10) };
        tape.flip(bad + 8);
        let evidence = Evidence::LaterBatch { offset: proof, durable: 2 };
        assert_eq!(refused(&tape, None), (bad, Reason::BatchHead, evidence));
        // Zeros in the place of the batch are no less damage.
        tape.zero(bad, bad + 104);
        assert_eq!(refused(&tape, None), (bad, Reason::BatchHead, evidence));
    }
}

/// The marker carries the sequence of the batch that is gone: it must not be taken for that batch.
#[test]
fn row_3_a_marker_is_no_excuse_for_the_batch_before_it() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    let bad = tape.entry(2, 10);
    let end = tape.at;
    tape.durable = 2;
    let proof = tape.marker();
    tape.zero(bad, end);
    let evidence = Evidence::LaterBatch { offset: proof, durable: 2 };
    assert_eq!(refused(&tape, None), (bad, Reason::BatchHead, evidence));
}

#[test]
fn row_3_excuses_missing_markers_that_a_later_batch_proves() {
    let mut tape = Tape::fresh();
    let (_, marker) = vote(&mut tape, 1);
    let behind = tape.at;
    tape.entry(1, 10);
    tape.durable = 2;
    let last = tape.entry(2, 10);
    tape.zero(marker, behind);
    let outline = open(&tape);
    assert_eq!((outline.x, outline.verdict), (tape.at, Verdict::CleanEnd));
    assert_eq!(outline.items.iter().last().map(|item| item.offset), Some(last));
}

#[test]
fn row_4_zeros_behind_a_batch_are_a_clean_end() {
    let mut tape = Tape::fresh();
    assert_eq!(ended(&open(&tape)), (tape.at, Some(Row::Zeros), Verdict::CleanEnd));
    tape.entry(1, 10);
    assert_eq!(ended(&open(&tape)), (tape.at, Some(Row::Zeros), Verdict::CleanEnd));
    vote(&mut tape, 1);
    assert_eq!(ended(&open(&tape)), (tape.at, Some(Row::Zeros), Verdict::CleanEnd));
    // The vote of the same value changes nothing, so no marker was due.
    tape.batch(&[Op::HardState(HardState { commit: 5, ..term(1) })]);
    assert_eq!(ended(&open(&tape)), (tape.at, Some(Row::Zeros), Verdict::CleanEnd));
}

#[test]
fn row_5_zeros_where_a_marker_was_due_are_said_aloud() {
    let mut tape = Tape::fresh();
    let (_, marker) = vote(&mut tape, 1);
    let end = tape.at;
    tape.zero(marker, end);
    let outline = open(&tape);
    assert_eq!((outline.row, outline.verdict), (Some(Row::Otherwise), Verdict::Unproven));
    assert_eq!(outline.promises.hard, Some((1, Some(2))), "the batch itself is there");
}

#[test]
fn row_5_anything_else_is_unproven_and_what_follows_proves_nothing() {
    let mut tape = Tape::fresh();
    tape.entry(1, 10);
    let torn = tape.entry(2, 3000);
    tape.entry(3, 10);
    tape.durable = 1;
    let last = tape.entry(4, 10);
    let end = tape.at;
    tape.flip(torn + 8);
    let outline = open(&tape);
    assert_eq!(ended(&outline), (torn, Some(Row::Otherwise), Verdict::Unproven));
    assert_eq!((outline.beyond, outline.dropped), (2, end - torn));
    assert_eq!((outline.last_seq(), outline.durable), (1, 1), "stated behind X: {last:#x}");
    // A single byte where zeros should be is enough.
    let mut tape = Tape::fresh();
    let x = tape.at;
    tape.flip(60_000);
    assert_eq!(ended(&open(&tape)), (x, Some(Row::Otherwise), Verdict::Unproven));
}

#[test]
fn promises_are_the_newest_found_anywhere() {
    let mut tape = Tape::fresh();
    vote(&mut tape, 1);
    let torn = tape.entry(1, 10);
    let (_, marker) = vote(&mut tape, 5);
    tape.flip(torn + 8);
    assert_eq!(open(&tape).promises.hard, Some((5, Some(2))));
    tape.zero(marker, tape.at);
    assert_eq!(open(&tape).promises.hard, Some((5, Some(2))), "the batch alone");
}

#[test]
fn payloads_that_rotted_after_they_were_durable_are_named() {
    let mut tape = Tape::fresh();
    let entries = [Entry::new(1, 4, "good"), Entry::new(2, 4, "bad"), Entry::new(3, 4, "")];
    let bad = tape.batch(&[Op::Entries(entries.as_slice().into())]);
    tape.durable = 1;
    tape.entry(4, 10);
    tape.flip(bad + 40 + 16 + 32 + 24 + 5);
    let outline = open(&tape);
    assert_eq!((outline.last_seq(), outline.verdict), (2, Verdict::CleanEnd));
    let [found] = outline.bad.as_slice() else { panic!("{:?}", outline.bad) };
    assert_eq!((found.offset, found.entries.as_slice()), (bad, &[EntryId::new(2, 4)][..]));
    assert!(matches!(found.evidence, Evidence::LaterBatch { durable: 1, .. }));
}

#[test]
fn payloads_that_rotted_unproven_end_the_log_there_but_their_promise_counts() {
    let mut tape = Tape::fresh();
    tape.state.hard_state = term(3);
    let entries = vec![Entry::new(1, 3, "payload")];
    let torn = tape.batch(&[Op::Entries(entries.into()), Op::HardState(term(3))]);
    tape.marker();
    tape.flip(torn + 40 + 16 + 40 + 16 + 32 + 1);
    let outline = open(&tape);
    assert_eq!(ended(&outline), (torn, Some(Row::Otherwise), Verdict::Unproven));
    assert_eq!(outline.promises.hard, Some((3, Some(2))));
    assert!(outline.bad.is_empty());
}

#[test]
fn a_slot_that_rotted_is_no_payload() {
    let mut tape = Tape::fresh();
    let value = bytes::Bytes::from_static(b"vote");
    let at = tape.batch(&[Op::Meta { key: 1, class: Class::Ordered, value }]);
    tape.durable = 1;
    tape.entry(1, 10);
    tape.flip(at + 40 + 16 + 24);
    assert_eq!(refused(&tape, None).1, Reason::BatchHead);
}

#[test]
fn a_valid_batch_that_no_version_writes_is_refused() {
    let mut tape = Tape::fresh();
    let at = tape.batch(&[Op::SnapshotMark(SnapshotMark::default())]);
    // A kind that nobody knows, under a good checksum.
    let mut bytes = tape.bytes[usize::try_from(at).expect("small")..][..96].to_vec();
    bytes[40] = 0x77;
    let place = crate::batch::Seal {
        salt: tape.header.salt,
        offset: at,
        seq: 1,
        durable: 0,
        marker: false,
    };
    crate::batch::seal(&mut bytes, place);
    tape.bytes[usize::try_from(at).expect("small")..][..96].copy_from_slice(&bytes);
    assert_eq!(refused(&tape, None).1, Reason::Meaning);
}

#[test]
fn p_is_the_end_of_what_is_proven_before_the_page_of_the_first_unproven_byte() {
    let p_of = |tape: &Tape| {
        let outline = open(tape);
        outline.items.iter().nth(outline.proven(tape.header.born_end)).expect("one").end
    };
    // Nothing is proven but what the file was born with: State, and its marker if it ends in time.
    let mut tape = Tape::fresh();
    let state_end = marker_free_state_end();
    assert_eq!(p_of(&tape), state_end, "the marker shares its page with what comes next");
    tape.next_page();
    let proven = tape.at;
    tape.entry(1, 10);
    assert_eq!(p_of(&tape), state_end, "nothing states the first batch durable");
    tape.durable = 1;
    tape.entry(2, 10);
    assert_eq!(p_of(&tape), proven, "entry 1 shares its page with entry 2, so only batch 1");
    tape.durable = 3;
    tape.marker();
    let before_last = tape.at;
    assert!(before_last > proven + PAGE);
    assert_eq!(p_of(&tape), before_last - 88 - before_last_gap(&tape, before_last));
}

fn marker_free_state_end() -> u64 {
    BATCHES_AT + 224
}

/// From the end of the last batch to the marker whose end is `end`.
fn before_last_gap(tape: &Tape, end: u64) -> u64 {
    let outline = open(tape);
    let batch = outline.items.iter().filter(|item| !item.marker).last().expect("one");
    end - 88 - batch.end
}
