//! `raft-lab play --real`: processes that are killed, stopped, cut off and whose files are damaged,
//! by scripts that are piped in; and that none of them is left, however the program ends.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::said;

/// How long anything may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server, which is there if the whole workspace was built. Says so where it is not, and fails
/// where it must be there.
fn server() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_BIN_EXE_raft-lab"));
    let server = own.parent().unwrap().join("hardlog-kv");
    if server.is_file() {
        return Some(server);
    }
    assert!(std::env::var_os("HARDLOG_REQUIRE_PROGRAMS").is_none(), "no {}", server.display());
    eprintln!("SKIPPED: not built: hardlog-kv (`cargo build -p hardlog-kv` does)");
    None
}

/// Begins to play, with all of it in `dir`: temporary directories too.
fn begin(server: &Path, dir: &Path, words: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-lab"));
    command.args(["play", "--real", "--binary"]).arg(server).args(words);
    command.env("TMPDIR", dir).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Processes whose arguments name `dir`.
fn processes(dir: &Path) -> Vec<String> {
    let name = dir.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(name) && line.contains("serve")).collect()
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Says a line, and reads what is printed up to the words wanted.
fn ask(child: &mut Child, from: &mut BufReader<ChildStdout>, line: &str, wanted: &str) {
    writeln!(child.stdin.as_mut().unwrap(), "{line}").unwrap();
    let mut read = String::new();
    while !read.contains(wanted) {
        assert_ne!(from.read_line(&mut read).unwrap(), 0, "no {wanted:?} in {read}");
    }
}

#[test]
fn processes_are_killed_torn_cut_off_and_removed_and_come_back() {
    let Some(server) = server() else { return };
    let dir = TempDir::new().unwrap();
    let mut child = begin(&server, dir.path(), &["--dir", "cluster"]);
    let script = "\
        pace 0\ncreate 3\n# a remark\nset colour green\nname old leader\ncrash old\n\
        expect old role down\nfails get colour old\nget colour\nrestart old\n\
        name rotten leader\nset a 1\nrot rotten 2\nrestart rotten\n\
        expect rotten verdict refused\nremove rotten\nadd\nexpect 4 role follower\n\
        name torn leader\nset b 2\nwait 300ms\ntear torn\nexpect torn role down\n\
        restart torn\nexpect torn verdict unproven-tail\nexpect value a 1\nwait 300ms\n\
        name cut leader\ndisconnect cut\nset c 3\nreconnect cut\nwait 300ms\n\
        name still leader\nhang still\nset d 4\nresume still\nwait 300ms\n\
        expect value b 2\ntransfer 4\nexpect leader 4\n\
        fails fill 4\nfails power 4\nfails create 3\nfails rot old 999\nfails crash rotten\n\
        state\nlog\nw run.html\nw run.ndjson\nstop\n";
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{error}");
    for words in [
        "colour = green\n",
        "DAMAGED: log 1..",
        " does not start\n",
        " votes no more\n",
        "node 4 votes\n",
        "bytes of its last write are not in",
        "HEALS ON OPEN: log 1..",
        "node 4 leads\n",
        "`fill` needs the simulator",
        "`power` needs the simulator",
        "stands still",
        "disconnected",
        "refused: ",
        "2:t1 ",
    ] {
        assert!(text.contains(words), "{words:?} in {text}{error}");
    }
    assert_eq!(processes(dir.path()), Vec::<String>::new());
    // The pages hold what all processes told, in one order of time.
    assert!(fs::read_to_string(dir.path().join("run.html")).unwrap().contains("unproven-tail"));
    let trace = dir.path().join("run.ndjson");
    let written = fs::read_to_string(&trace).unwrap();
    for what in ["crash", "rot", "tear", "disconnect", "hang"] {
        assert!(written.contains(&format!("\"what\":\"{what}\"")), "{what}");
    }
    assert!(written.contains("a remark") && written.contains("\"e\":\"call\""));
    assert!(said(&["columns", trace.to_str().unwrap()]).contains("its process"));
}

#[test]
fn a_cluster_that_was_left_in_a_directory_goes_on() {
    let Some(server) = server() else { return };
    let dir = TempDir::new().unwrap();
    for script in ["create 1\nset a 1\nadd\n", "create 2\nget a\nexpect 2 verdict clean-end\n"] {
        let mut child = begin(&server, dir.path(), &["--dir", "cluster"]);
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        assert!(text.contains("a = 1\n"), "{text}");
    }
}

/// One stands still when Ctrl-C comes: it could not end by itself.
#[test]
fn ctrl_c_ends_all_processes_and_removes_what_nobody_keeps() {
    let Some(server) = server() else { return };
    let dir = TempDir::new().unwrap();
    let mut child = begin(&server, dir.path(), &[]);
    let mut from = BufReader::new(child.stdout.take().unwrap());
    ask(&mut child, &mut from, "create 2", "node 2");
    ask(&mut child, &mut from, "hang 2", "stands still");
    assert_eq!(processes(dir.path()).len(), 2);
    let number = child.id().to_string();
    // Kept open: the end of its input is another way to end.
    let _input = child.stdin.take();
    assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(processes(dir.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn nodes_end_when_nobody_is_left_to_end_them() {
    let Some(server) = server() else { return };
    let dir = TempDir::new().unwrap();
    let mut child = begin(&server, dir.path(), &[]);
    let mut from = BufReader::new(child.stdout.take().unwrap());
    ask(&mut child, &mut from, "create 1", "node 1");
    assert_eq!(processes(dir.path()).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    until("the node to end", || processes(dir.path()).is_empty());
}

#[test]
fn what_cannot_begin_says_why() {
    let dir = TempDir::new().unwrap();
    let play = |words: &[&str], script: &str| {
        let mut child = begin(Path::new("/nowhere/kv"), dir.path(), words);
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = play(&[], "create 3\ncreate 3 classic\nset a 1\nhelp\n");
    assert_eq!(code, Some(1), "{text}");
    for words in ["no program /nowhere/kv", "`classic` needs the simulator", "no cluster yet"] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    let (code, text) = play(&["--tui"], "");
    assert!(code == Some(2) && text.contains("a screen needs a terminal"), "{text}");
    assert_eq!(play(&["--seed", "3"], "").0, Some(2));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
