//! `raft-lab play` and `raft-lab lesson`: scripts from outside, the numbers of raft-consensus, lines
//! that make no sense, and every lesson with its expectations.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{lab, said};

const LESSONS: [&str; 6] =
    ["election", "log-backup", "figure8", "torn-tail", "corruption", "snapshot"];

/// Plays these lines.
fn play(words: &[&str], lines: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_raft-lab"))
        .arg("play")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines).unwrap();
    child.wait_with_output().unwrap()
}

/// What is printed when every line could be done.
fn played(lines: &str) -> String {
    let output = play(&[], lines.as_bytes());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn every_lesson_shows_what_it_says() {
    let dir = TempDir::new().unwrap();
    for lesson in LESSONS {
        let page = dir.path().join(format!("{lesson}.html"));
        let text = said(&["lesson", lesson, "-o", page.to_str().unwrap()]);
        assert!(!text.contains("error") && !text.contains('✗'), "{lesson}: {text}");
        assert!(text.matches('✓').count() >= 5, "{lesson} shows too little");
        assert!(text.matches("\n\n").count() >= 3, "{lesson} tells too little");
        assert!(fs::metadata(&page).unwrap().len() > 50_000, "{lesson}");
    }
}

#[test]
fn the_same_lines_and_seed_give_the_same_run() {
    let lines = "create 5\nset a 1\ncrash leader\nset b 2\ntear 5\nrestart 5\nlog\n";
    let texts =
        [play(&["--seed", "7"], lines.as_bytes()), play(&["--seed", "7"], lines.as_bytes())];
    assert_eq!(texts[0].stdout, texts[1].stdout);
    assert_ne!(texts[0].stdout, play(&["--seed", "8"], lines.as_bytes()).stdout);
}

#[test]
fn the_numbers_of_raft_consensus_work() {
    let text = played(
        "1 3\n2 x 1\n3 x\n4 1\n5 1\n6 2\n7 2\n9\n11\n12 1\n3 x\nexpect 4 role follower\n8\n1 5\n10\nbogus\n",
    );
    for words in
        ["x = 1\n", "leads\n", "node 4 votes\n", "node 1 votes no more\n", "the cluster ended"]
    {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    assert!(text.contains("node 5"), "a second cluster: {text}");
    assert!(!text.contains("bogus"), "what stands behind `stop` is not read");
}

/// Each line is an error message, and the game goes on.
#[test]
fn bad_input_is_an_error_message_and_nothing_else() {
    let lines: [&[u8]; 24] = [
        b"set a 1",
        b"crash 1",
        b"w",
        b"12 1",
        b"state",
        b"log",
        b"expect 1 role leader",
        b"tear 1",
        b"create 10",
        b"create 3 3",
        b"nonsense",
        b"set",
        b"\xff\xfe",
        b"a\0b",
        b"rot 1 1",
        b"create 3",
        b"create 3",
        b"crash 4",
        b"crash 18446744073709551617",
        b"rot 1 99",
        b"rot 1 x",
        b"restart 1",
        b"add 9",
        b"partition 1 7",
    ];
    let mut script = lines.join(&b'\n');
    script.extend(b"\nset k v\nexpect value k v\nw /nowhere/x.html\n");
    script.extend("x".repeat(100_000).into_bytes());
    let output = play(&[], &script);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\nerror: ").count() + usize::from(text.starts_with("error: ")), 25);
    assert!(text.contains("✓ k is v"), "{text}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("25 lines could not be done"));
}

/// Each of the faults of a disk leads where it should, and the log is what recovery says it is.
#[test]
fn disks_fill_hang_tear_rot_and_are_mended() {
    let text = played(
        "create 3\nset a 1\n\
         name full leader\nfill full\nfails set b 1\nset b 2\nexpect full role follower\n\
         mend full\nwait 1s\nexpect value b 2\n\
         hang 1\nset c 1 leader\nexpect value c 1\nmend 1\nwait 1s\n\
         set d 1\ntear 1\nexpect 1 role down\nrestart 1\nexpect 1 verdict unproven-tail\n\
         set e 1\nwait 1s\npower 2\nrestart 2\nexpect 2 role follower\n\
         rot 3 2\ncrash 3\nrestart 3\nexpect 3 verdict refused\nstate\n",
    );
    for words in ["disk full", "disk hangs", "it lied", "corrupt at offset", "out for good"] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

#[test]
fn what_was_played_is_a_trace_and_a_page() {
    let dir = TempDir::new().unwrap();
    let (trace, page) = (dir.path().join("run.ndjson"), dir.path().join("run.html"));
    let text = played(&format!(
        "# a remark\ncreate 3\n# in the trace\nset a 1\nget a\ntear leader\nwait 1s\nw {}\nw {}\n",
        trace.display(),
        page.display()
    ));
    assert_eq!(text.matches("written: ").count(), 2, "{text}");
    assert!(fs::read_to_string(&page).unwrap().contains("tear"));
    let written = fs::read_to_string(&trace).unwrap();
    for words in ["in the trace", "\"op\":\"set a 1\"", "\"ok\":true", "\"what\":\"tear\""] {
        assert!(written.contains(words), "{words} in {written}");
    }
    assert!(said(&["columns", trace.to_str().unwrap()]).contains("fault tear"));
    for (option, words) in [("--chrome", "\"traceEvents\""), ("--shiviz", "node1 {\"")] {
        let exported = said(&["export", trace.to_str().unwrap(), option]);
        assert!(exported.contains(words), "{option}");
    }
    assert_eq!(lab(&["export", trace.to_str().unwrap()]).status.code(), Some(2));
}
