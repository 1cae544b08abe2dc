//! `dump` beyond its samples: rows of chosen kinds, payloads of the key-value server, and a log that is
//! followed while it is written to; and what every command does whose reader goes away.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use hardlog::{Entry, HardState, Log};
use hardlog_kv_op::op::Op;
use hardlog_raft::payload::Payload;
use serde_json::{Deserializer, Value};

use crate::{TOOL, code, directories as made, text, tool};

fn rows(output: &[u8]) -> Vec<Value> {
    let all = Deserializer::from_slice(output).into_iter::<Value>();
    all.map(|row| row.expect("JSON")).filter(|row| row["schema"].is_null()).collect()
}

#[test]
fn rows_of_chosen_kinds_are_exactly_those_among_all() {
    let home = tempfile::tempdir().expect("a directory");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1");
    let all_kinds = fixtures.join("all-kinds/data");
    made::lay(&made::headless(), &home.path().join("n1"));
    let mut seen = 0;
    for dir in [all_kinds.to_str().expect("text"), "n1"] {
        let all = rows(&tool(home.path(), &format!("dump {dir} --format ndjson")).stdout);
        let kinds = [
            "entry",
            "hard-state",
            "meta",
            "truncate",
            "trim",
            "reset",
            "snapshot-mark",
            "refill",
            "damage",
        ];
        for kind in kinds {
            let command = format!("dump {dir} --kind {kind} --format ndjson");
            let these = rows(&tool(home.path(), &command).stdout);
            let name = kind.replace('-', " ");
            let those: Vec<&Value> = all.iter().filter(|row| row["row"] == *name).collect();
            assert!(these.iter().collect::<Vec<_>>() == those, "{command}: {these:?}");
            seen += usize::from(!these.is_empty());
        }
        let two = format!("dump {dir} --kind truncate,entry --format ndjson");
        let these = rows(&tool(home.path(), &two).stdout).len();
        let both = |row: &&Value| row["row"] == "entry" || row["row"] == "truncate";
        assert_eq!(these, all.iter().filter(both).count(), "{two}");
    }
    assert!(seen >= 9, "only {seen} kinds were there");
    assert_eq!(code(&tool(home.path(), "dump n1 --kind nonsense")), 2);
}

#[test]
fn entries_of_the_key_value_server_are_decoded_and_others_are_said_to_be_none() {
    let home = tempfile::tempdir().expect("a directory");
    let mut log = Log::create(home.path().join("n1"), made::options()).expect("creates");
    let set = Op::Set { key: Bytes::from("greeting"), value: Bytes::from("hello\n") };
    let payloads = [Payload::no_op(), Payload::command(&set.encode()), Bytes::from("\u{7f}?")];
    for (index, payload) in (1..).zip(payloads) {
        log.append(&[Entry::new(index, 1, payload)]).expect("appends");
    }
    log.close().expect("closes");
    let says = ["no-op: begins a leader's term", r#"SET "greeting" "hello\n""#, "no entry of"];
    let human = text(&tool(home.path(), "dump n1 --decode raft-kv --kind entry").stdout);
    let machine = tool(home.path(), "dump n1 --decode raft-kv --kind entry --format ndjson");
    let machine = rows(&machine.stdout);
    assert_eq!((human.lines().count(), machine.len()), (3, 3), "{human}");
    for ((says, line), row) in says.iter().zip(human.lines()).zip(machine) {
        assert!(line.contains(says), "{line}");
        assert!(row["decoded"].as_str().expect("decoded").contains(says), "{row}");
        assert!(row["base64"].is_null() && row["utf8"].is_null(), "the bytes too: {row}");
    }
    let one = text(&tool(home.path(), "get n1 2 --decode raft-kv").stdout);
    assert!(one.contains(says[1]), "{one}");
    assert_eq!(code(&tool(home.path(), "dump n1 --decode nonsense")), 2);
}

#[test]
fn what_is_written_while_somebody_follows_is_shown_as_it_comes() {
    let home = tempfile::tempdir().expect("a directory");
    let mut log = Log::create(home.path().join("n1"), made::options()).expect("creates");
    log.append(&made::entries(1..21, 1)).expect("appends");
    log.sync().expect("syncs");
    let mut child = Command::new(TOOL)
        .args(["dump", "n1", "--follow", "--tail", "2", "--value", "none", "--format", "ndjson"])
        .current_dir(home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("it goes on").expect("read");
        serde_json::from_str(&line).expect("JSON")
    };
    // Twice a segment's bytes, so that it goes on in another file.
    let mut expected = 19;
    while expected < 21 {
        let row = next();
        if row["row"] == "entry" {
            assert_eq!(row["index"], expected, "{row}");
            expected += 1;
        }
    }
    for from in (21..421).step_by(20) {
        log.append(&made::entries(from..from + 20, 2)).expect("appends");
        log.save_hard_state(HardState { term: 2, vote: None, commit: from }).expect("saves");
        log.sync().expect("syncs");
        while expected < from + 20 {
            let row = next();
            if row["row"] == "entry" {
                assert_eq!(row["index"], expected, "{row}");
                expected += 1;
            }
        }
    }
    // The reader goes, and with the next line it ends, without a word.
    drop(lines);
    log.append(&made::entries(421..422, 2)).expect("appends");
    log.sync().expect("syncs");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    assert_eq!((child.wait().expect("ends").code(), said.as_str()), (Some(0), ""));
}

#[test]
fn whoever_reads_may_go_away_from_every_command() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    made::lay(&made::rotten(), &home.join("n1"));
    made::lay(&made::healthy(), &home.join("n2"));
    fs::write(home.join("n1/.lab"), "").expect("writes");
    let commands = [
        "status n1",
        "verify n1",
        "verify n1 --json",
        "ls n1",
        "dump n1 --value hex",
        "dump n1 --format json",
        "get n2 200",
        "hex n1 2",
        "stats n1",
        "diff n1 n2",
        "export n1",
        "export n2",
        "repair n1",
        "repair n1 --json",
        "truncate n2 --after 595",
        "explain all",
        "schema",
        "man",
        "completions bash",
        "snapshot ls n1",
        "snapshot show n1",
        "snapshot verify n1",
        "snapshot export n1",
        "snapshot export n1 --payload",
        "backup n2 kept",
        "bundle n1 --redact",
        "recover n1 --output saved",
        "bench-disk . --seconds 0.05",
        "corrupt n1 --kind bit",
        "--help",
        "verify --help",
        "--version",
    ];
    for arguments in commands {
        let mut child = Command::new(TOOL)
            .args(arguments.split_whitespace())
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        let said = text(&output.stderr);
        // A short word may have been written before the reader went: then the code is the command's.
        let ends = [Some(0), Some(1), Some(3)].contains(&output.status.code());
        assert!(ends && !said.contains("panicked"), "{arguments}: {output:?}");
        let holes = arguments == "export n1" && said.contains("has holes");
        assert!(said.is_empty() || holes, "{arguments}: {said}");
    }
}

#[test]
fn options_that_nobody_knows_end_with_two_everywhere() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::healthy(), &home.path().join("n1"));
    let commands = [
        "status",
        "verify",
        "ls",
        "dump",
        "get",
        "hex",
        "stats",
        "diff",
        "export",
        "import",
        "backup",
        "restore",
        "repair",
        "recover",
        "truncate",
        "trim",
        "corrupt",
        "bench-disk",
        "explain",
        "completions",
        "man",
        "schema",
        "bundle",
        "snapshot",
        "snapshot ls",
        "snapshot show",
        "snapshot verify",
        "snapshot export",
        "snapshot import",
    ];
    for command in commands {
        for arguments in [format!("{command} --nonsense"), format!("{command} n1 --nonsense")] {
            let output = tool(home.path(), &arguments);
            assert_eq!(code(&output), 2, "{arguments}: {output:?}");
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments}");
        }
        let help = tool(home.path(), &format!("{command} --help"));
        assert_eq!(code(&help), 0, "{command}");
        assert!(text(&help.stdout).contains("130  interrupted"), "{command}: no exit codes");
    }
    // A range and an index that are none, options that need another, and a command behind its directory.
    let wrong = [
        "dump n1 9..8",
        "get n1 x",
        "hex n1 2@x",
        "truncate n1",
        "trim n1 --before x",
        "repair n1 --plan-digest 12",
        "repair n1 --accept-loss 1..2",
        "repair n1 --yes",
        "corrupt n1 --kind nonsense",
        "n1 verify",
        "verify n1 n1",
        "get n1 9999",
    ];
    for arguments in wrong {
        assert_eq!(code(&tool(home.path(), arguments)), 2, "{arguments}");
    }
}

/// A mount that cannot be written to, which not even root can.
#[test]
fn looking_works_on_a_mount_that_is_read_only() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::rotten(), &home.path().join("n1"));
    let script = |command: &str| {
        format!(
            "mount --bind n1 n1 && mount -o remount,ro,bind n1 && ! touch n1/x 2>/dev/null && {command}"
        )
    };
    let run = |command: &str| {
        let run = Command::new("unshare")
            .args(["-rm", "sh", "-c", &script(command)])
            .current_dir(home.path())
            .output();
        run.expect("there is unshare")
    };
    if !run("true").status.success() {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let cases = [
        ("status n1", 0),
        ("verify n1", 3),
        ("ls n1", 3),
        ("stats n1", 3),
        ("dump n1", 3),
        ("get n1 300", 0),
        ("hex n1 2", 0),
        ("export n1", 3),
        ("diff n1 n1", 0),
        ("repair n1", 3),
        ("snapshot verify n1", 0),
        ("bundle n1", 3),
        ("backup n1 kept", 0),
        // What has to write says that it cannot.
        ("bench-disk n1 --seconds 0.05", 4),
    ];
    for (arguments, exit) in cases {
        let output = run(&format!("{TOOL} {arguments}"));
        assert_eq!(code(&output), exit, "{arguments}: {output:?}");
    }
}
