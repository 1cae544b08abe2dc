//! What is done wrong around the core must be noticed too: clocks beyond the bound of a lease, a
//! node that comes back without its memory, a command that is sent again. Where nothing is wrong,
//! the same plans keep every rule: that is what the campaign shows.

use hardlog_raft::sim::{
    campaign::Campaign,
    play::{Ask, Wrong},
};

/// Runs seeds from 0 on until a rule is broken, which must be one of these.
fn is_noticed(wrong: Wrong, within: u64, rules: &[u8]) {
    let campaign = Campaign::new(0..within, 1, Ask { wrong: Some(wrong), ..Ask::default() });
    let failed = campaign.run().failed;
    let failed = failed.unwrap_or_else(|| panic!("{wrong:?} is not noticed within {within} seeds"));
    let breach = failed.breach.expect("a run that failed says why");
    eprintln!("{wrong:?}: noticed by seed {}: {breach}", failed.seed);
    assert!(rules.contains(&breach.rule), "{breach}");
}

#[test]
fn a_lease_under_clocks_that_run_apart_further_than_it_allows_for_is_noticed() {
    is_noticed(Wrong::Drift, 1000, &[12]);
}

#[test]
fn a_node_that_forgot_its_promises_and_is_believed_is_noticed() {
    is_noticed(Wrong::Identity, 200, &[1, 3, 5, 6, 9]);
}

#[test]
fn a_command_that_is_sent_again_and_applied_again_is_noticed() {
    is_noticed(Wrong::Retries, 50, &[13]);
}
