//! `raft-lab columns` over the three foreign formats and a trace, chosen and hostile lines.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::{lab, said, sample};

/// A trace of two nodes in which a rule is broken.
const TRACE: &str = concat!(
    r#"{"trace":"hardlog.trace/1","source":"sim","seed":7,"nodes":[1,2],"clock":"virtual"}"#,
    "\n",
    r#"{"t":1000,"n":1,"q":0,"e":"role","term":1,"role":"candidate","why":"no leader"}"#,
    "\n",
    r#"{"t":1010,"n":1,"q":1,"e":"send","m":1,"to":2,"kind":"vote","term":1}"#,
    "\n",
    r#"{"t":1500,"n":2,"q":2,"e":"vote","term":1,"for":1,"granted":true,"pre":false}"#,
    "\n",
    r#"{"t":1600,"n":0,"q":3,"e":"fault","what":"cut","nodes":[1,2]}"#,
    "\n",
    r#"{"t":2000,"n":1,"q":4,"e":"write","first":1,"last":3,"term":1,"batch":1}"#,
    "\n",
    r#"{"t":2100,"n":1,"q":5,"e":"sync","us":100}"#,
    "\n",
    r#"{"t":2200,"n":0,"q":6,"e":"violation","rule":"log matching","text":"entry 2 differs"}"#,
    "\n",
    r#"{"t":2300,"n":2,"q":7,"e":"role","term":2,"role":"leader"}"#,
    "\n",
);

fn file(text: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_ref()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn a_trace_is_laid_out_whole() {
    let file = file(TRACE);
    let expected = "\
sim, seed 7, virtual time
time        │ around them        │ node 1             │ node 2
   0.001000 │                    │ becomes candidate, │
            │                    │ term 1: no leader  │
   0.001010 │                    │ → 2 vote, term 1   │
   0.001500 │                    │                    │ votes for 1, term
            │                    │                    │ 1
   0.001600 │ fault cut 1 2      │                    │
   0.002000 │                    │ writes 1..3, term  │
            │                    │ 1, batch 1         │
   0.002100 │                    │ synced in 100 µs   │
   0.002200 │ VIOLATION log matching: entry 2 differs
   0.002300 │                    │                    │ becomes leader,
            │                    │                    │ term 2
";
    assert_eq!(said(&["columns", path(&file), "--width", "76"]), expected);
}

#[test]
fn filters_take_topics_kinds_nodes_and_times() {
    let file = file(TRACE);
    let shown = |words: &[&str]| {
        let text = said(&[&["columns", path(&file), "--width", "200"], words].concat());
        text.lines().skip(2).map(|line| line[..11].trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&["--only", "disk"]), ["0.002000", "0.002100", "0.002200"]);
    assert_eq!(shown(&["--only", "sync,fault"]), ["0.001600", "0.002100", "0.002200"]);
    assert_eq!(shown(&["--skip", "role,vote,fault"]), ["0.002000", "0.002100", "0.002200"]);
    assert_eq!(shown(&["--nodes", "2", "--skip", "fault"]), ["0.001500", "0.002200", "0.002300"]);
    assert_eq!(shown(&["--from", "2ms", "--to", "2.1ms"]), ["0.002000", "0.002100"]);
    assert_eq!(shown(&["--around", "3", "-C", "1"]), ["0.001600", "0.002000", "0.002100"]);
    assert_eq!(shown(&["--first-violation", "-C", "1"]), ["0.002100", "0.002200", "0.002300"]);
}

#[test]
fn a_search_that_finds_nothing_ends_with_one() {
    let file = file(TRACE);
    let output = lab(&["columns", path(&file), "--around", "99"]);
    assert_eq!(output.status.code(), Some(1));
    let calm: String = TRACE.lines().take(6).map(|line| format!("{line}\n")).collect();
    let calm = self::file(calm);
    for [name, value] in
        [["--only", "nonsense"], ["--nodes", "7"], ["--from", "9s"], ["--to", "0s"]]
    {
        let filters = [name, value, "--skip", "fault"];
        let output = lab(&[&["columns", path(&calm)], &filters[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{filters:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("nothing like that"));
    }
    let missing = lab(&["columns", "no-such-file"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-file"));
}

#[test]
fn the_logs_of_three_teaching_projects_are_read() {
    let students = said(&["columns", &sample("students.log"), "--only", "LEAD"]);
    assert!(students.starts_with("time     │ S0 "), "{students}");
    assert_eq!(students.matches("converts to Leader").count(), 2);
    assert!(!students.contains("asking for votes") && students.contains("panic: apply"));
    let ignored = said(&["columns", &sample("students.log"), "--ignore", "LEAD,TEST"]);
    assert!(!ignored.contains("to Leader") && ignored.contains("asking for"));

    let eliben = said(&["columns", &sample("eliben.log"), "--width", "120"]);
    assert!(eliben.contains("│ TEST ") && eliben.contains("│ [2]"), "{eliben}");
    assert!(eliben.contains("━━ TestPutThenGet_2 ━"), "{eliben}");
    assert!(eliben.ends_with("FAIL: 2 passed, 1 failed, 0 skipped\n"));
    let failed = said(&["columns", &sample("eliben.log"), "--first-violation", "-C", "0"]);
    assert!(failed.ends_with("FAIL TestPutThenGet (0.21s)\n") && failed.lines().count() == 2);

    let consensus = said(&["columns", &sample("raft-consensus.log"), "--from", "09:15:00.45"]);
    assert!(consensus.contains("Submit received") && !consensus.contains("Candidate"));
    assert!(consensus.ends_with("PASS: 1 passed, 0 failed, 0 skipped\n"));
}

#[test]
fn colour_is_asked_for_or_not_there() {
    let sample = sample("students.log");
    assert!(!said(&["columns", &sample]).contains('\x1b'));
    let topic = said(&["columns", &sample, "--color", "always", "--only", "LEAD"]);
    let term = said(&["columns", &sample, "--color", "always", "--only", "LEAD", "--by", "term"]);
    assert!(topic.contains('\x1b') && term.contains('\x1b') && topic != term);
    // `go test` by role, unless something else is asked for.
    let eliben = self::sample("eliben.log");
    let by = |more: &[&str]| said(&[&["columns", &eliben, "--color", "always"], more].concat());
    assert!(by(&[]) == by(&["--by", "role"]) && by(&[]) != by(&["--by", "topic"]));
    assert!(!said(&["columns", &sample, "--color", "always", "--no-color"]).contains('\x1b'));
}

#[test]
fn hostile_input_is_a_row_that_says_so() {
    let mut bytes = b"000123 VOTE S1 \x1b[2J\x1b]0;owned\x07 asks\n".to_vec();
    bytes.extend(b"\xff\xfe\x00\x01\n000124 VOTE S99999999999999999999 x\n");
    bytes.extend(vec![b'y'; 1 << 20]);
    bytes.extend(b"\n000125 VOTE S2 fine");
    let file = file(bytes);
    let text = said(&["columns", path(&file)]);
    assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text}");
    assert!(text.contains("\\u{1b}[2J") && text.contains("fine"));
    assert!(text.contains("line 2: 4 bytes that are no text"), "{text}");
    assert!(text.contains("line 4: a line of 1048576 bytes is not shown"), "{text}");

    let broken = self::file(format!("{TRACE}{{\"t\":1,\n[]\nnull\n"));
    let text = said(&["columns", path(&broken)]);
    assert!(text.contains("line 10: no JSON") && text.contains("line 11: no object"), "{text}");
    let newer = self::file(TRACE.replace("trace/1", "trace/2"));
    let output = lab(&["columns", path(&newer)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("version 2"));
}

#[test]
fn standard_input_is_read_and_new_nodes_get_a_new_heading() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_raft-lab"))
        .args(["columns", "-", "--width", "60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"000001 VOTE S0 a\n000002 VOTE S1 b\n").unwrap();
    let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(text.matches("time ").count(), 2, "{text}");
}

/// As in `go test -v | raft-lab columns -`: what is said before any node is named has no column.
#[test]
fn the_logs_are_read_from_standard_input_too() {
    for (name, first, last) in [
        ("students.log", "│ Test (2A): election after", "FAIL 6.824/raft 0.642s"),
        ("eliben.log", "━━ TestElectionLeaderDisconnect ━", "FAIL: 2 passed, 1 failed, 0 skipped"),
        ("raft-consensus.log", "━━ TestCommitOneCommand ━", "PASS: 1 passed, 0 failed, 0 skipped"),
    ] {
        let child = Command::new(env!("CARGO_BIN_EXE_raft-lab"))
            .args(["columns", "-", "--width", "120"])
            .stdin(std::fs::File::open(sample(name)).unwrap())
            .output()
            .unwrap();
        let (text, error) =
            (String::from_utf8(child.stdout).unwrap(), String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success() && error.is_empty(), "{name}: {error}");
        let second = text.lines().nth(1).unwrap();
        assert!(second.contains(first) && text.ends_with(&format!("{last}\n")), "{name}: {text}");
    }
}

#[test]
fn a_growing_file_is_followed() {
    let mut file = file("000001 VOTE S0 a\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_raft-lab"))
        .args(["columns", path(&file), "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("time") && next().ends_with(" a"));
    file.write_all(b"000002 VOTE S0 b\n").unwrap();
    file.flush().unwrap();
    assert!(next().ends_with(" b"));
    child.kill().unwrap();
    child.wait().unwrap();
}
