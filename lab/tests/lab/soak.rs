//! `raft-lab soak` from outside: what runs, what it leaves, and how it ends.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory to soak in.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raft-lab"));
        command.arg("soak").args(words).current_dir(self.0.path());
        command
    }

    fn soak(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Begins a soak that says nothing, with a run that writes who it is to `pid` and hangs.
    fn hang(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the run hangs", || self.pid().ends_with('\n'));
        child
    }

    /// What the run that hangs wrote. The file is there before its line is.
    fn pid(&self) -> String {
        fs::read_to_string(self.path("pid")).unwrap_or_default()
    }

    /// A script that is run as a program.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// Runs that the journal has.
    fn runs(&self) -> usize {
        fs::read_to_string(self.path("soak/journal.ndjson")).unwrap().lines().count() - 1
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const TRACE: &str = r#"{"trace":"hardlog.trace/1","source":"suite","seed":3,"nodes":[1],"clock":"virtual"}
{"t":1,"n":1,"q":1,"e":"role","term":1,"role":"leader","leader":1}
"#;

#[test]
fn a_seed_that_fails_is_told_with_its_replay_and_everything_it_left() {
    let scene = Scene::new();
    let script = scene.script(
        "test.sh",
        &format!(
            "echo \"this is seed $RAFT_LAB_SEED\"; echo \"trace: $2/deep\"\n[ $1 -eq 3 ] || exit 0\n\
             mkdir -p $2/deep/node-1; echo log > $2/deep/node-1/segment\n\
             cat > $2/deep/trace.ndjson <<'END'\n{TRACE}END\n\
             echo 'thread main panicked at here:'; echo '  no leader after 5 s'; exit 101\n"
        ),
    );
    let words = ["-n", "6", "-j", "2", "--json", "r.json", "--junit", "r.xml"];
    let output = scene.soak(&[&words[..], &["--", &script, "{seed}", "{out}"]].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("FAILED test.sh, seed 3, after"), "{err}");
    assert!(err.contains("no leader after 5 s (exit status: 101)"), "{err}");
    let replay = format!("RAFT_LAB_SEED=3 RAFT_LAB_TEST=test.sh RAFT_LAB_OUT=out {script} 3 out");
    assert!(err.contains(&format!("replay: {replay}")), "{err}");
    assert!(out.contains("test.sh failed with seed 3\n"), "{out}");
    assert!(out.contains("6 runs, 1 failed, "), "{out}");
    let kept = scene.path("soak/failures/test.sh-seed-3");
    let read = |name: &str| fs::read_to_string(kept.join(name)).unwrap();
    // What it said of its own directory holds where that is now.
    let said = format!("this is seed 3\ntrace: {}/deep\n", kept.canonicalize().unwrap().display());
    assert!(read("output.txt").starts_with(&said), "{}", read("output.txt"));
    assert_eq!(read("replay.txt"), format!("{replay}\n"));
    assert_eq!(read("deep/node-1/segment"), "log\n");
    assert!(read("deep/timeline.html").contains("<html"), "the timeline stands beside the trace");
    assert_eq!(fs::read_dir(scene.path("soak/failures")).unwrap().count(), 1);
    let json = scene.json("r.json");
    assert_eq!(
        (&json["total"], &json["failed"], &json["end"]),
        (&6.into(), &1.into(), &"done".into())
    );
    assert_eq!(json["tests"][0]["failures"][0]["kept"], "failures/test.sh-seed-3");
    let junit = fs::read_to_string(scene.path("r.xml")).unwrap();
    assert!(junit.contains("<testcase classname=\"soak\" name=\"test.sh (seed 3)\""), "{junit}");
    // And the replay does what it says.
    let again = Command::new("sh").args(["-c", &replay]).current_dir(scene.0.path()).output();
    assert_eq!(again.unwrap().status.code(), Some(101));
}

#[test]
fn every_test_has_its_first_seed_before_any_has_its_second_and_nothing_failed_is_success() {
    let scene = Scene::new();
    let words = ["--test", "a", "--test", "b", "-j", "1", "--seeds", "5..8"];
    let command = ["--", "sh", "-c", "echo {test}{seed} >> log; sleep 0.01"];
    let output = scene.soak(&[&words[..], &command].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let log = fs::read_to_string(scene.path("log")).unwrap();
    assert_eq!(log.split_whitespace().collect::<Vec<_>>(), ["a5", "b5", "a6", "b6", "a7", "b7"]);
    let out = text(&output.stdout);
    let row = out.lines().find(|line| line.starts_with("a ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[1..4], ["3", "0", "3"], "{row}");
    assert!(row.contains(" ms ± "), "{row}");
}

#[test]
fn until_fail_stops_and_resume_runs_what_is_left() {
    let scene = Scene::new();
    let command = ["--", "sh", "-c", "echo {seed} >> log; test {seed} -ne 2"];
    let with = |words: &[&str]| {
        scene.soak(&[&["-n", "6", "-j", "1", "--json", "r.json"], words, &command].concat())
    };
    let output = with(&["--until-fail"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("3 runs, 1 failed"), "{}", text(&output.stdout));
    assert_eq!(scene.json("r.json")["end"], "failed");
    let refused = with(&[]);
    assert_eq!(refused.status.code(), Some(2), "there is one already");
    assert!(text(&refused.stderr).contains("--resume"));
    let output = with(&["--resume"]);
    assert_eq!(output.status.code(), Some(1), "it still has its failure");
    assert!(text(&output.stdout).contains("6 runs, 1 failed"), "{}", text(&output.stdout));
    let log = fs::read_to_string(scene.path("log")).unwrap();
    assert_eq!(log.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
    let other = scene.soak(&["--resume", "--", "false"]);
    assert_eq!(other.status.code(), Some(2), "another command");
}

#[test]
fn the_time_that_is_up_begins_nothing_more() {
    let scene = Scene::new();
    let began = Instant::now();
    let words = ["-n", "1000", "-j", "2", "--max-time", "1s", "--", "sleep", "0.1"];
    let output = scene.soak(&words);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("the time is up"), "{}", text(&output.stdout));
    assert!(began.elapsed() < Duration::from_secs(30) && scene.runs() < 100, "{}", scene.runs());
}

/// Whether a process of that id runs.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_that_takes_too_long_is_killed_with_everything_it_started() {
    let scene = Scene::new();
    let hang = "sleep 1000 & echo $! > pid; wait";
    let output = scene.soak(&["-n", "1", "--timeout", "1s", "--", "sh", "-c", hang]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("killed after 1 s"), "{}", text(&output.stderr));
    let pid = scene.pid();
    assert!(pid.ends_with('\n'), "its child began");
    wait_until("its child lives", || !runs(&pid));
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

fn said(child: &mut Child) -> (String, Option<i32>) {
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    (out, child.wait().unwrap().code())
}

#[test]
fn ctrl_c_ends_everything_with_a_summary_and_what_was_under_way_is_run_again() {
    let scene = Scene::new();
    let command =
        ["--", "sh", "-c", "[ {seed} -lt 2 ] || [ -e go ] || { echo $$ > pid; sleep 1000; }"];
    let words = [&["-n", "4", "-j", "1"], &command[..]].concat();
    let mut child =
        scene.command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the third run begins", || scene.pid().ends_with('\n'));
    interrupt(&child);
    let (out, code) = said(&mut child);
    assert_eq!(code, Some(130), "{out}");
    assert!(out.contains("2 runs, 0 failed") && out.contains("stopped by a signal"), "{out}");
    assert_eq!(scene.runs(), 2);
    wait_until("its run lives", || !runs(&scene.pid()));
    fs::write(scene.path("go"), "").unwrap();
    let output = scene.soak(&[&["--resume"], &words[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("4 runs, 0 failed"), "{}", text(&output.stdout));
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_and_leaves_no_run() {
    let scene = Scene::new();
    let hang = "sleep 1000 & echo $! > pid; wait";
    let words = ["-n", "1", "--", "sh", "-c", hang];
    let mut child = scene.hang(&words);
    for _ in 0..2 {
        interrupt(&child);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_until("its run outlives it", || !runs(&scene.pid()));
}

#[test]
fn a_soak_that_is_killed_goes_on_where_it_was_and_nobody_else_writes_beside_it() {
    let scene = Scene::new();
    let hang = "[ {seed} -lt 3 ] || [ -e go ] || { echo $$ > pid; exec sleep 1000; }";
    let script = format!("echo {{seed}} >> log; {hang}");
    let words = ["-n", "6", "-j", "1", "--", "sh", "-c", &script];
    let mut child = scene.hang(&words);
    let journal = || fs::read_to_string(scene.path("soak/journal.ndjson")).unwrap_or_default();
    let beside = scene.soak(&[&["--resume"], &words[..]].concat());
    assert_eq!(beside.status.code(), Some(2));
    assert!(text(&beside.stderr).contains("under way"), "{}", text(&beside.stderr));
    // SIGKILL, perhaps in the middle of a line.
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("its run outlives it", || !runs(&scene.pid()));
    fs::write(scene.path("soak/journal.ndjson"), journal() + "{\"test\":0,\"se").unwrap();
    fs::write(scene.path("go"), "").unwrap();
    let output = scene.soak(&[&["--resume"], &words[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("6 runs, 0 failed"), "{}", text(&output.stdout));
    let log = fs::read_to_string(scene.path("log")).unwrap();
    assert_eq!(log.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "3", "4", "5"]);
    assert_eq!(journal().lines().count(), 7, "a line for each run, and the head");
}

#[test]
fn the_suites_are_those_that_their_binary_lists_and_must_say_that_they_passed() {
    let scene = Scene::new();
    let binary = scene.script(
        "cluster",
        "if [ \"$1\" = --list ]; then\n\
         echo 'suites::mit_2c::test_figure_8_2c: test'\n\
         echo 'suites::mit_2c::test_figure_8_unreliable_2c: test'\n\
         echo 'suites::mit_2a::test_re_election_2a: test'\n\
         echo 'suites::real::service::test_server_client: test'\n\
         echo 'suites::table::the_table: test'\nexit 0; fi\n\
         [ \"$1\" = --exact ] || exit 1\n\
         [ \"$HARDLOG_SUITES_SEEDS\" = 1..2 ] && exit 0\n\
         echo 'test result: ok. 1 passed; 0 failed'\n",
    );
    let words = ["suites", "Figure8", "-n", "3", "-j", "1", "--binary", &binary];
    let output = scene.soak(&words);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("6 runs, 2 failed"), "two tests have that in their name: {out}");
    assert!(err.contains("it did not say \"test result: ok. 1 passed\""), "{err}");
    let replay = "HARDLOG_SUITES_SEEDS=1..2 cargo test -p hardlog-raft --test cluster -- \
                  --exact suites::mit_2c::test_figure_8_2c";
    assert!(err.contains(replay), "{err}");
    assert!(!out.contains("re_election") && !out.contains("table"), "{out}");
    let none = scene.soak(&["suites", "NoSuchTest", "-o", "other", "--binary", &binary]);
    assert_eq!(none.status.code(), Some(1));
    assert!(!Path::new(&scene.path("other/journal.ndjson")).exists());
}

#[test]
fn what_cannot_be_started_ends_the_soak() {
    let scene = Scene::new();
    let output = scene.soak(&["-n", "3", "--", "/no/such/program"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/no/such/program"), "{}", text(&output.stderr));
}
