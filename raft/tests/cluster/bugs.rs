//! The simulator itself is tested: bugs that others had are put in one at a time, and each must be
//! found within so many seeds. The seeds that it took are printed.

use hardlog_raft::sim::{campaign::Campaign, plan::Bug, play::Ask};

/// Runs seeds from 0 on until the bug is found.
fn is_found(name: &str, within: u64) {
    let (_, bug) = *Bug::ALL.iter().find(|(known, _)| *known == name).expect("a bug of that name");
    let campaign = Campaign::new(0..within, 1, Ask { bug: Some(bug), ..Ask::default() });
    let failed = campaign.run().failed;
    let failed = failed.unwrap_or_else(|| panic!("{name} is not found within {within} seeds"));
    let breach = failed.breach.expect("a run that failed says why");
    eprintln!("{name}: found by seed {}: rule {}", failed.seed, breach.rule);
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    is_found("ack-before-sync", 10);
}

#[test]
fn a_vote_for_oneself_that_is_not_persisted_is_found() {
    is_found("self-vote-not-persisted", 10);
}

#[test]
fn a_vote_that_is_reset_on_a_step_down_within_the_term_is_found() {
    is_found("vote-reset-on-step-down", 50);
}

#[test]
fn a_commit_counted_over_unsorted_progress_is_found() {
    is_found("commit-over-unsorted-progress", 20);
}

#[test]
fn a_commit_of_an_older_term_by_counting_is_found() {
    is_found("commit-of-old-term-by-counting", 3000);
}

#[test]
fn a_change_before_an_entry_of_the_own_term_is_committed_is_found() {
    is_found("change-before-own-commit", 10_000);
}

#[test]
fn a_truncation_on_a_stale_append_is_found() {
    is_found("truncation-on-stale-append", 50);
}

#[test]
fn next_index_taken_for_match_index_is_found() {
    is_found("next-taken-for-match", 50);
}

#[test]
fn a_mark_before_the_snapshot_file_is_found() {
    is_found("mark-before-snapshot-file", 100);
}

#[test]
fn a_directory_sync_that_is_left_out_is_found() {
    is_found("directory-sync-left-out", 10);
}
