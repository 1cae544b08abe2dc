//! One exit code and the codes of the findings for each kind of directory.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use hardlog::fs::sim::SimFs;

use crate::{code, directories as made, text, tool};

/// The codes and severities that `verify --format ndjson` prints.
fn findings(stdout: &str) -> Vec<String> {
    let field = |line: &str, name: &str| {
        let from = line.find(&format!("\"{name}\":\"")).expect(name) + name.len() + 4;
        line[from..].split('"').next().expect("ends").to_owned()
    };
    let rows = stdout.lines().filter(|line| line.contains("wal-tool.finding/1"));
    rows.map(|line| format!("{} {}", field(line, "code"), field(line, "severity"))).collect()
}

#[test]
fn every_kind_of_damage_has_its_exit_code_and_its_finding() {
    type Case = (&'static str, fn() -> SimFs, i32, &'static [&'static str]);
    let cases: [Case; 14] = [
        ("healthy", made::healthy, 0, &[]),
        ("torn", made::torn, 1, &["W101 warning"]),
        ("rotten", made::rotten, 3, &["W202 error"]),
        ("headless", made::headless, 3, &["W201 error"]),
        ("gap", made::gap, 3, &["W301 error"]),
        ("stateless", made::stateless, 3, &["W502 error"]),
        ("bad-snapshot", made::bad_snapshot, 3, &["W501 error"]),
        ("short-snapshot", made::short_snapshot, 3, &["W503 error"]),
        ("bad-index", made::bad_index, 1, &["W104 warning", "W104 warning"]),
        ("cluttered", made::cluttered, 0, &[]),
        ("newer", made::newer, 7, &[]),
        ("harmless", made::harmless, 1, &["W105 warning", "W105 warning"]),
        ("foreign", made::foreign, 3, &["W303 error"]),
        ("short", made::short, 3, &["W302 error"]),
    ];
    let home = tempfile::tempdir().expect("a directory");
    for (name, make, exit, expected) in cases {
        made::lay(&make(), &home.path().join(name));
        let output = tool(home.path(), &format!("verify {name} --format ndjson"));
        let stdout = text(&output.stdout);
        assert_eq!(code(&output), exit, "{name}: {stdout}");
        let found: Vec<String> = findings(&stdout);
        let worth: Vec<&str> = found.iter().map(String::as_str).collect();
        let worth: Vec<&str> = worth.into_iter().filter(|f| !f.ends_with("note")).collect();
        if ["gap", "foreign", "short"].contains(&name) {
            // What is missing there shows in other places too.
            assert!(worth.contains(&expected[0]), "{name}: {worth:?}");
        } else {
            assert_eq!(worth, expected, "{name}: {stdout}");
        }
        let last = stdout.lines().last().expect("a summary");
        assert!(last.contains(&format!("\"exit\":{exit},")), "{name}: {last}");
        assert!(last.contains("\"schema\":\"wal-tool.verify/1\""), "{name}: {last}");
    }
    // Names that are nobody's are listed.
    let output = tool(home.path(), "verify cluttered");
    assert!(text(&output.stdout).contains("left alone: 1.wal, notes.txt"), "{output:?}");
    // What a quick look can see it sees.
    for (name, exit) in [("healthy", 0), ("torn", 1), ("gap", 3), ("stateless", 3), ("newer", 7)] {
        assert_eq!(code(&tool(home.path(), &format!("verify {name} --quick"))), exit, "{name}");
        assert_eq!(code(&tool(home.path(), &format!("status {name}"))), exit, "{name}");
        assert_eq!(code(&tool(home.path(), name)), exit, "{name}: bare is status");
    }
}

/// The kept directories of format 1, whose contents another reader has checked.
#[test]
fn the_fixtures_of_the_format_get_the_verdict_they_deserve() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1");
    let cases: [(&str, i32, &[&str]); 11] = [
        ("all-kinds", 0, &[]),
        ("empty", 0, &[]),
        ("missing-marker", 1, &["W102 warning"]),
        ("promise-beyond-the-end", 1, &["W101 warning"]),
        ("reopened", 3, &["W404 error"]),
        ("reset", 1, &["W103 warning", "W103 warning"]),
        ("rotten-head", 3, &["W201 error"]),
        ("rotten-payload", 3, &["W202 error"]),
        ("torn-tail", 1, &["W101 warning"]),
        ("trimmed", 0, &[]),
        ("trimmed-past-the-end", 1, &["W103 warning", "W103 warning"]),
    ];
    for (name, exit, expected) in cases {
        let output = tool(&fixtures.join(name), "verify data --format ndjson");
        let stdout = text(&output.stdout);
        assert_eq!(code(&output), exit, "{name}: {stdout}");
        assert_eq!(findings(&stdout), expected, "{name}: {stdout}");
    }
}

#[test]
fn usage_is_two_and_what_is_no_log_is_four() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("file"), "x").expect("writes");
    std::fs::create_dir(home.path().join("empty")).expect("makes");
    for arguments in ["", "verify", "dump x 9..8", "--format yaml x", "explain W999", "verify a b"]
    {
        let output = tool(home.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in ["missing", "file", "empty", "verify missing", "dump empty"] {
        let output = tool(home.path(), arguments);
        assert_eq!(code(&output), 4, "{arguments:?}: {output:?}");
        assert!(text(&output.stderr).starts_with("wal-tool: "), "{arguments:?}: {output:?}");
    }
    for arguments in ["--help", "--version", "explain w202", "explain all"] {
        assert_eq!(code(&tool(home.path(), arguments)), 0, "{arguments}");
    }
}

#[test]
fn a_closed_pipe_is_silent_success() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::rotten(), &home.path().join("n1"));
    for arguments in [&["dump", "n1", "--value", "hex"][..], &["dump", "n1", "--json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wal-tool"))
            .args(arguments)
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        assert_eq!((code(&output), text(&output.stderr)), (0, String::new()), "{arguments:?}");
    }
}

#[test]
fn colour_is_asked_for_and_carries_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::rotten(), &home.path().join("n1"));
    let plain = text(&tool(home.path(), "verify n1").stdout);
    let coloured = text(&tool(home.path(), "verify n1 --color always").stdout);
    assert!(!plain.contains('\x1b') && coloured.contains("\x1b[1;31mDAMAGED\x1b[0m"), "{coloured}");
    let mut bare = String::new();
    for part in coloured.split('\x1b') {
        bare.push_str(part.strip_prefix('[').and_then(|p| p.split_once('m')).map_or(part, |p| p.1));
    }
    let words =
        |text: &str| text.lines().filter(|l| !l.contains(" s (")).collect::<Vec<_>>().join("\n");
    assert_eq!(words(&bare), words(&plain));
}

#[test]
fn looking_needs_no_right_but_to_read_and_changes_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("n1");
    made::lay(&made::torn(), &dir);
    let shape = || {
        let mut all = Vec::new();
        for sub in ["", "snapshots", "tmp", "quarantine"] {
            for entry in std::fs::read_dir(dir.join(sub)).expect("listed") {
                let entry = entry.expect("read");
                let meta = entry.metadata().expect("known");
                all.push((entry.path(), meta.len(), meta.modified().expect("known")));
            }
        }
        all.sort();
        all
    };
    let before = shape();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o500)).expect("read-only");
    for command in ["status", "verify", "dump"] {
        assert_eq!(code(&tool(home.path(), &format!("{command} n1"))), 1, "{command}");
    }
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).expect("as before");
    assert_eq!(shape(), before);
}
