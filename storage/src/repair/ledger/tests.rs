//! The rules of doubt, one by one: what is kept in front of lost batches, and why.

use super::*;
use crate::hard_state::HardState;

fn run(first: Index, count: u64, term: Term) -> Step {
    Step::Entries(Appended { first: EntryId::new(first, term), count, bytes: 0 })
}

fn hard(term: Term, commit: Index) -> Step {
    Step::HardState(HardState { term, vote: None, commit })
}

/// Entries 1..=4 of term 1, 5..=8 of term 2, commit 3; then batches are lost.
fn broken() -> Ledger {
    let mut ledger = Ledger::adrift();
    assert!(ledger.reconcile(&LogState::new(1)));
    assert!(ledger.replay(&[hard(2, 3), run(1, 4, 1), run(5, 4, 2)], 1, 8192));
    assert_eq!(ledger.whole_to(), 9);
    ledger.gap();
    ledger
}

#[test]
fn what_is_committed_is_kept_and_the_rest_is_doubtful() {
    let ledger = broken();
    assert_eq!((ledger.whole_to(), ledger.lost), (4, true));
    assert!(ledger.doubts(4) && ledger.doubts(8) && !ledger.doubts(3) && !ledger.doubts(9));
}

#[test]
fn a_later_entry_of_the_same_term_vouches_for_all_before_it() {
    let mut ledger = broken();
    assert!(ledger.replay(&[run(12, 2, 2)], 1, 20_000));
    // 9..=11 were in the lost batches; what stood before them was not dropped.
    assert_eq!((ledger.whole_to(), ledger.state.next, ledger.lost), (9, 14, false));
    assert_eq!(ledger.id(10), None);
    assert_eq!(ledger.id(12), Some(EntryId::new(12, 2)));
}

#[test]
fn a_later_entry_of_a_newer_term_vouches_for_nothing() {
    let mut ledger = broken();
    assert!(ledger.replay(&[run(9, 2, 3)], 1, 20_000));
    assert_eq!(ledger.whole_to(), 4);
    // Nor does one more of that term: it says nothing of what the lost batches did.
    assert!(ledger.replay(&[run(11, 2, 3)], 1, 30_000));
    assert_eq!(ledger.whole_to(), 4);
}

#[test]
fn a_term_that_has_not_changed_vouches_and_a_newer_one_does_not() {
    let mut ledger = broken();
    ledger.vouch(3);
    assert_eq!(ledger.whole_to(), 4);
    ledger.vouch(0);
    assert_eq!(ledger.whole_to(), 4);
    ledger.vouch(2);
    assert_eq!(ledger.whole_to(), 9);
}

#[test]
fn entries_that_begin_lower_show_a_truncation_that_was_lost() {
    let mut ledger = broken();
    assert!(ledger.replay(&[run(6, 1, 3)], 1, 20_000));
    assert_eq!((ledger.state.next, ledger.whole_to()), (7, 4));
    assert_eq!((ledger.id(5), ledger.id(6)), (Some(EntryId::new(5, 2)), Some(EntryId::new(6, 3))));
}

#[test]
fn the_state_of_the_next_segment_says_where_the_log_stood() {
    let mut ledger = broken();
    let mut said = LogState { first: 1, next: 12, ..LogState::new(1) };
    said.last = Some(EntryId::new(11, 3));
    said.hard_state.term = 3;
    assert!(ledger.reconcile(&said));
    assert_eq!((ledger.whole_to(), ledger.state.next), (4, 12));
    // The very last entry is the one that stood there: nothing was dropped.
    let mut ledger = broken();
    let same = LogState { next: 9, last: Some(EntryId::new(8, 2)), ..LogState::new(1) };
    assert!(ledger.reconcile(&same));
    assert_eq!(ledger.whole_to(), 9);
}

#[test]
fn each_lost_stretch_is_doubted_on_its_own() {
    let mut ledger = broken();
    assert!(ledger.replay(&[run(9, 2, 3)], 1, 20_000));
    ledger.gap();
    // Term 3 vouches for what came between the two, not for what came before the first.
    assert!(ledger.replay(&[run(11, 1, 3)], 1, 30_000));
    assert_eq!(ledger.whole_to(), 4);
    assert!(!ledger.doubts(9) && !ledger.doubts(10) && ledger.doubts(8));
}

#[test]
fn a_bad_payload_is_named_and_a_refill_replaces_it() {
    let mut ledger = Ledger::adrift();
    assert!(ledger.reconcile(&LogState::new(1)));
    assert!(ledger.replay(&[run(1, 5, 1)], 1, 8192));
    ledger.spoil(EntryId::new(3, 1), 77);
    assert_eq!((ledger.whole_to(), ledger.pieces.len()), (3, 3));
    assert!(!ledger.replay(&[Step::Refill(EntryId::new(3, 2))], 1, 9000), "another term");
    assert!(ledger.replay(&[Step::Refill(EntryId::new(3, 1))], 1, 9000));
    assert_eq!(ledger.whole_to(), 6);
}

#[test]
fn the_pieces_cover_the_window_whatever_is_dropped() {
    let mut ledger = Ledger::adrift();
    assert!(ledger.reconcile(&LogState::new(1)));
    assert!(ledger.replay(&[run(1, 9, 1)], 1, 8192));
    let steps = [Step::Truncate(6), run(6, 3, 2), Step::Trim(4, None)];
    assert!(ledger.replay(&steps, 1, 9000));
    let spans: Vec<_> = ledger.pieces.iter().map(|piece| (piece.first, piece.last)).collect();
    assert_eq!(spans, [(4, 5), (6, 8)]);
    assert_eq!(ledger.state.prev, Some(EntryId::new(3, 1)));
    assert!(ledger.replay(&[Step::Reset(20, None)], 1, 9500));
    assert!(ledger.pieces.is_empty() && (ledger.state.first, ledger.state.next) == (20, 20));
}
