//! The executable model of the format (`tests/model/`), run as a test.
//!
//! The selection takes about 40 s on two cores; `tests/model/run.sh full` searches deeper.
//! Where there is no python3 each of these says so on standard error and passes.

use std::process::{Command, Output};

/// Runs the model; `None` where there is no python3.
fn model(test: &str, args: &[&str]) -> Option<Output> {
    let script = hardlog_tests::repository().join("tests/model/model.py");
    match Command::new("python3").arg(script).args(args).output() {
        Ok(output) => Some(output),
        Err(e) => {
            hardlog_tests::skipped(test, &format!("python3 cannot be run: {e}"));
            None
        }
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Searches, and demands that at least `states_min` crash states were looked at: a model that looks
/// at nothing finds nothing.
fn holds(test: &str, args: &[&str], states_min: u64) {
    let Some(output) = model(test, args) else { return };
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let states: u64 = said
        .lines()
        .find_map(|line| line.strip_prefix("no counter-example in "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no summary in\n{said}"));
    assert!(states >= states_min, "only {states} states\n{said}");
}

/// Each rule removed in turn must break something, and the same history must hold with the rule.
#[test]
fn every_rule_of_the_format_is_needed() {
    let Some(output) = model("model --controls", &["--controls", "--jobs", "2"]) else { return };
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.ends_with("30 of 30 rules are needed\n"), "{said}");
}

#[test]
fn histories_of_two_operations_survive_every_crash_and_one_rotten_sector() {
    holds("model --rot", &["--rot", "--depth", "2"], 25_000);
}

#[test]
fn histories_of_two_operations_survive_a_recovery_that_is_cut_off() {
    holds("model --nested", &["--nested", "--depth", "2"], 8_000);
}

#[test]
fn so_they_do_where_names_become_durable_in_order() {
    holds("model --journal", &["--journal", "--depth", "2"], 7_000);
}

#[test]
fn histories_of_three_operations_survive_every_crash() {
    holds("model --depth 3", &["--depth", "3", "--ops", "ebvgsfGkirTR"], 25_000);
}

/// Files of trimmed segments that are written again: each history begins in one full of old batches.
#[test]
fn files_that_are_used_again_survive_every_crash() {
    holds("model --reuse", &["--reuse", "--rot", "--nested", "--depth", "1"], 4_000);
    holds("model --reuse", &["--reuse", "--depth", "2", "--ops", "ebvgsfirTkohH"], 2_000);
}

/// Histories that once broke it, each with everything at every step.
#[test]
fn the_histories_that_once_broke_it_hold() {
    for history in ["esiiek", "esipses", "gigs", "ereT", "ebus", "eele", "zzs", "eGk", "wes"] {
        holds("model --history", &["--rot", "--nested", "--history", history], 3);
    }
}
