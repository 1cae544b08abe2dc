//! What can be said without starting a process.

use std::{collections::BTreeMap, fs, time::Duration};

use super::{
    End,
    board::table,
    journal::Journal,
    report::{self, escaped},
    tally::{Run, Score, Tally},
    target::Target,
    words::{duration, file_name, quoted, seconds, seeds},
};
use crate::{
    Failure,
    args::{Arguments, Command},
};

/// The target of a command line.
fn target(words: &[&str]) -> Result<Target, Failure> {
    use clap::Parser;
    let words = ["raft-lab", "soak"].iter().chain(words);
    let Command::Soak(args) = Arguments::parse_from(words).command else { panic!("a soak") };
    Target::of(&args)
}

fn run(test: usize, seed: u64, seconds: f64, failed: Option<&str>) -> Run {
    Run { test, seed, seconds, failed: failed.map(str::to_owned) }
}

#[test]
fn seeds_and_times_are_read_as_people_write_them() {
    assert_eq!(seeds("3..17"), Ok(3..17));
    assert_eq!(seeds("5"), Ok(5..6));
    for wrong in ["", "a", "3..", "..4", "-1", "1...4", "18446744073709551615"] {
        assert!(seeds(wrong).is_err(), "{wrong:?}");
    }
    for (text, millis) in
        [("90", 90_000), ("500ms", 500), ("1.5s", 1500), ("10m", 600_000), ("2h", 7_200_000)]
    {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
    }
    for wrong in ["", "m", "-3s", "ten", "1e300h", "NaN"] {
        assert!(duration(wrong).is_err(), "{wrong:?}");
    }
    let told: Vec<String> = [0.0012, 0.5, 99.9, 119.9, 7200.0].map(seconds).into();
    assert_eq!(told, ["1 ms", "0.50 s", "99.90 s", "2 min 00 s", "2.0 h"]);
}

#[test]
fn words_are_quoted_for_a_shell_and_for_a_path() {
    assert_eq!(quoted("--exact"), "--exact");
    assert_eq!(quoted("a b"), "'a b'");
    assert_eq!(quoted("it's"), r"'it'\''s'");
    assert_eq!(quoted(""), "''");
    assert_eq!(quoted("$(x)"), "'$(x)'");
    assert_eq!(file_name("suites::mit_2a::test_x"), "suites-mit_2a-test_x");
    assert_eq!(file_name("../../etc"), "..-..-etc");
    assert_eq!(file_name(".."), "test");
    assert_eq!(file_name(&"x".repeat(500)).len(), 120);
}

#[test]
fn mean_and_deviation_are_those_of_all_runs() {
    let mut tally = Tally::new(&["a".to_owned()]);
    let times = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    for (seed, time) in (0..).zip(times) {
        tally.add(&run(0, seed, time, (seed == 3).then_some("why")));
    }
    let score = &tally.scores[0];
    assert_eq!((score.passed, score.total(), score.mean()), (7, 8, 5.0));
    assert!((score.deviation() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    assert_eq!(score.failed, BTreeMap::from([(3, "why".to_owned())]));
    assert_eq!(Score::default().deviation(), 0.0);
}

#[test]
fn the_table_shows_what_failed_first_and_says_what_it_leaves_out() {
    let names: Vec<String> = (0..10).map(|n| format!("suites::part::test_{n}")).collect();
    let mut tally = Tally::new(&names);
    tally.add(&run(7, 1, 1.0, Some("no leader")));
    tally.begin(5);
    let text = table(&tally, 2, 100, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[1].starts_with("suites::part::test_7 ") && lines[1].contains(" 1 "), "{text}");
    assert!(lines[2].starts_with("suites::part::test_5 "), "{text}");
    assert_eq!(lines[3], "and 8 more");
    let narrow = table(&tally, 20, 50, false);
    assert!(narrow.contains("…s::part::test_3 "), "the end tells more: {narrow}");
    assert!(table(&tally, 2, 100, true).contains("\x1b[31m"));
}

#[test]
fn a_command_gets_its_seed_its_test_and_its_directory() {
    let words = ["--test", "3A", "--test", "3B", "--", "go", "-run={test}", "{seed}", "{out}"];
    let target = target(&words).unwrap();
    assert_eq!(target.names(), ["3A", "3B"]);
    let process = target.process(1, 17, "/o/left".as_ref());
    assert_eq!(process.words, ["go", "-run=3B", "17", "/o/left"]);
    assert!(process.vars.contains(&("RAFT_LAB_SEED", "17".to_owned())));
    assert_eq!(
        target.replay(1, 17),
        "RAFT_LAB_SEED=17 RAFT_LAB_TEST=3B RAFT_LAB_OUT=out go -run=3B 17 out"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for words in [&["nonsense"][..], &[], &["sim", "x"], &["sim", "--", "true"]] {
        assert!(matches!(target(words), Err(Failure::Wrong(_))), "{words:?}");
    }
    assert!(matches!(target(&["--", "echo", "{test}"]), Err(Failure::Wrong(_))));
    assert!(matches!(target(&["sim", "--binary", "/no/such"]), Err(Failure::Wrong(_))));
}

#[test]
fn the_simulator_and_the_suites_in_real_time_are_asked_in_their_own_words() {
    let sim = target(&["sim", "--binary", "/bin/sh"]).unwrap();
    let words = sim.process(0, 9, "/o".as_ref()).words;
    assert_eq!(words[1..], ["--seed", "9", "--out", "/o"]);
    assert_eq!(sim.replay(0, 9), "cargo run -p hardlog-raft --release --bin sim -- --seed 9");
    let real = target(&["real", "Backup", "--binary", "/bin/sh"]).unwrap();
    let process = real.process(0, 9, "/o".as_ref());
    assert!(process.vars.contains(&("HARDLOG_SUITES_ONLY", "Backup".to_owned())));
    assert_eq!(process.says, Some("test result: ok. 1 passed"));
    assert!(
        real.replay(0, 9).starts_with("HARDLOG_SUITES_SEED=9 HARDLOG_SUITES_ONLY=Backup cargo")
    );
}

#[test]
fn a_journal_is_taken_up_where_it_was_torn_and_only_by_its_own_target() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (target(&["--", "true"]).unwrap(), target(&["--", "false"]).unwrap());
    let refused = |target, resume| {
        matches!(Journal::open(dir.path(), target, resume), Err(Failure::Wrong(_)))
    };
    assert!(refused(&one, true), "nothing is there yet");
    let runs = [run(0, 1, 0.5, None), run(0, 2, 1.5, Some("it \"broke\"\n"))];
    let (mut journal, before) = Journal::open(dir.path(), &one, false).unwrap();
    assert_eq!(before, []);
    runs.iter().for_each(|run| journal.add(run).unwrap());
    assert!(refused(&one, true), "it is under way");
    drop(journal);
    assert!(refused(&one, false), "nobody asked to go on");
    assert!(refused(&other, true), "something else");
    let path = dir.path().join("journal.ndjson");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{{\"test\":0,\"se")).unwrap();
    let (mut journal, before) = Journal::open(dir.path(), &one, true).unwrap();
    assert_eq!(before, runs);
    journal.add(&run(0, 3, 0.25, None)).unwrap();
    drop(journal);
    assert_eq!(Journal::open(dir.path(), &one, true).unwrap().1.len(), 3);
    fs::write(&path, format!("{text}{{}}\n")).unwrap();
    assert!(refused(&one, true), "a line that is no run");
    fs::write(&path, "{\"soak\":\"raft-lab.soak/2\"}\n").unwrap();
    assert!(refused(&one, true), "a version of later");
}

#[test]
fn junit_has_a_case_for_each_seed_that_failed_and_json_says_how_to_replay_it() {
    let target = target(&["--", "do", "{seed}"]).unwrap();
    let mut tally = Tally::new(&target.names());
    tally.add(&run(0, 1, 0.5, None));
    tally.add(&run(0, 2, 0.5, Some("<a> & \"b\" \u{1}")));
    let seconds = Duration::from_secs(3);
    let result = report::Result { target: &target, tally: &tally, end: End::Time, seconds };
    let junit = result.junit();
    assert!(junit.contains("tests=\"2\" failures=\"1\" time=\"3.000\""), "{junit}");
    assert!(junit.contains("name=\"do (1 seeds that pass)\" time=\"0.500\"/>"), "{junit}");
    assert!(junit.contains("message=\"&lt;a&gt; &amp; &quot;b&quot; \u{fffd}\">RAFT_LAB_SEED=2 "));
    assert_eq!(junit.matches("<testcase").count(), 2);
    assert_eq!(escaped("a\u{0}\u{ffff}b\n"), "a\u{fffd}\u{fffd}b\n");
    let json: serde_json::Value = serde_json::from_str(&result.json()).unwrap();
    assert_eq!(
        (&json["end"], &json["total"], &json["failed"]),
        (&"time".into(), &2.into(), &1.into())
    );
    let failure = &json["tests"][0]["failures"][0];
    assert_eq!(failure["seed"], 2);
    assert!(failure["replay"].as_str().unwrap().ends_with(" do 2"));
    let text = result.summary();
    assert!(text.contains("do failed with seed 2\n  replay: RAFT_LAB_SEED=2"), "{text}");
    assert!(text.ends_with("2 runs, 1 failed, 3.00 s: the time is up\n"), "{text}");
}
