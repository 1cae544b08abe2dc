//! Commands that write: what they refuse, what they do, what they leave.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use hardlog::{Log, Options, fs::sim::SimFs};

use crate::{code, directories as made, text, tool};

/// A directory `n1` with the log of `disk` in it.
fn laid(disk: &SimFs) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(disk, &home.path().join("n1"));
    home
}

/// Names, lengths and contents of everything under `dir`, LOCK left out.
fn shape(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for sub in ["", "snapshots", "quarantine"] {
        for entry in fs::read_dir(dir.join(sub)).expect("listed") {
            let entry = entry.expect("read");
            let name = format!("{sub}/{}", entry.file_name().to_string_lossy());
            if entry.metadata().expect("known").is_file() && name != "/LOCK" {
                all.push((name, fs::read(entry.path()).expect("read")));
            }
        }
    }
    all.sort();
    all
}

/// The words of the command that the plan tells to type, behind the name of the tool.
fn told(plan: &str) -> String {
    // A shell joins what a backslash breaks.
    let joined = plan.replace("\\\n", " ");
    let line = joined.lines().find(|line| line.contains("--apply")).expect("a command to type");
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").strip_prefix("wal-tool ").expect("a command").to_owned()
}

#[test]
fn a_repair_is_planned_refused_applied_and_then_has_nothing_to_do() {
    let home = laid(&made::rotten());
    let dir = home.path().join("n1");
    let before = shape(&dir);
    let plan = tool(home.path(), "repair n1");
    let says = text(&plan.stdout);
    assert_eq!(code(&plan), 3, "{says}");
    assert_eq!(text(&tool(home.path(), "repair n1").stdout), says, "the plan is always the same");
    let command = told(&says);
    let (without_loss, loss) = command.split_once(" --accept-loss ").expect("entries are lost");
    let (first, last) = loss.split_once("..").expect("a range");
    let short = format!("{without_loss} --accept-loss {first}..599");
    let other = command.replace("--plan-digest ", "--plan-digest 0");
    for refused in ["repair n1 --apply", without_loss, &short, &other] {
        let output = tool(home.path(), refused);
        assert_eq!(code(&output), 6, "{refused}: {output:?}");
    }
    assert_eq!(shape(&dir), before, "nothing is written without leave");
    let done = tool(home.path(), &command);
    assert_eq!(code(&done), 0, "{done:?}");
    let after = tool(home.path(), "verify n1");
    assert_eq!(code(&after), 0, "{after:?}");
    let (log, report) = Log::open(&dir, Options::default()).expect("opens");
    let first: u64 = first.parse().expect("a number");
    assert_eq!((log.next_log_index(), log.maybe_lost()), (first, Some(first)), "{report}");
    assert_eq!(last, "600");
    log.close().expect("closes");
    let again = tool(home.path(), "repair n1");
    assert_eq!((code(&again), text(&again.stdout).contains("nothing to do")), (0, true));
    let twice = tool(home.path(), &command);
    assert_eq!(code(&twice), 6, "the old digest is of another directory: {twice:?}");
    // The backup holds the log as it was, the sealed files as second names of the same bytes.
    let backup = fs::read_dir(home.path()).expect("listed").map(|e| e.expect("read").path());
    let backup = backup.into_iter().find(|p| p.to_string_lossy().contains("n1.backup-"));
    let backup = backup.expect("a backup");
    assert_eq!(shape(&backup), before);
    let kept = shape(&dir).into_iter().filter(|(name, _)| name.starts_with("quarantine/"));
    let kept: Vec<String> = kept.map(|(name, _)| name).collect();
    assert!(kept.iter().any(|n| n.ends_with(".wal")) && kept.iter().any(|n| n.ends_with(".note")));
    let oldest = fs::metadata(backup.join("00000000000000000001.wal")).expect("there");
    assert!(oldest.nlink() > 1, "a sealed file is linked, not copied");
}

#[test]
fn a_replica_or_a_backup_gives_everything_back() {
    let home = laid(&made::rotten());
    made::lay(&made::healthy(), &home.path().join("n2"));
    let plan = text(&tool(home.path(), "repair n1 --from-replica n2").stdout);
    let command = told(&plan);
    assert!(!command.contains("--accept-loss"), "{plan}");
    let done = tool(home.path(), &command);
    assert_eq!(code(&done), 0, "{done:?}");
    let diff = tool(home.path(), "diff n1 n2");
    assert_eq!(code(&diff), 0, "{diff:?}");
    let (log, _) = Log::open(home.path().join("n1"), Options::default()).expect("opens");
    assert_eq!((log.next_log_index(), log.maybe_lost()), (601, None));
}

#[test]
fn recover_leaves_the_source_alone_and_gives_an_equal_log_where_nothing_is_wrong() {
    let home = laid(&made::healthy());
    let dir = home.path().join("n1");
    let before = shape(&dir);
    let output = tool(home.path(), "recover n1 --output new");
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(shape(&dir), before);
    let diff = tool(home.path(), "diff n1 new");
    assert_eq!(code(&diff), 0, "{diff:?}");
    let says = |dir: &str| {
        let report = text(&tool(home.path(), &format!("verify {dir} --json")).stdout);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let log = &report["log"];
        let keys = ["id", "first", "next", "last", "term", "vote", "commit", "slots", "mark"];
        keys.map(|key| log[key].clone())
    };
    assert_eq!(says("n1"), says("new"));
    assert_eq!(code(&tool(home.path(), "recover n1 --output new")), 6, "the place is taken");
    made::lay(&made::headless(), &home.path().join("n3"));
    let output = tool(home.path(), "recover n3 --output rest --json");
    let object: serde_json::Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    assert_eq!((code(&output), &object["exit"]), (3, &serde_json::json!(3)), "{object}");
    assert_eq!(code(&tool(home.path(), "verify rest")), 0);
    assert!(fs::read_dir(home.path().join("rest/quarantine")).expect("listed").next().is_some());
}

#[test]
fn surgery_is_a_plan_too() {
    let home = laid(&made::healthy());
    let plan = text(&tool(home.path(), "truncate n1 --after 595").stdout);
    let command = told(&plan);
    assert!(command.ends_with("--accept-loss 596..600"), "{plan}");
    assert_eq!(code(&tool(home.path(), &command)), 0);
    let plan = text(&tool(home.path(), "trim n1 --before 101").stdout);
    assert!(plan.contains("no entry is dropped"), "{plan}");
    let beyond = tool(home.path(), "trim n1 --before 102");
    assert_eq!(code(&beyond), 6, "entries behind the newest snapshot are needed: {beyond:?}");
    let (log, _) = Log::open(home.path().join("n1"), Options::default()).expect("opens");
    assert_eq!((log.first_log_index(), log.next_log_index()), (101, 596));
    let command = "truncate n1 --after 590 --apply --plan-digest 0 --accept-loss 591..595";
    let locked = tool(home.path(), command);
    assert_eq!(code(&locked), 5, "{locked:?}");
    log.close().expect("closes");
    let damaged = laid(&made::rotten());
    assert_eq!(code(&tool(damaged.path(), "truncate n1 --after 590")), 6);
}

#[test]
fn drills_happen_only_in_a_laboratory() {
    let kinds =
        ["bit", "block", "head", "payload", "header", "cut", "missing", "index", "snapshot"];
    let mut alarmed = 0;
    for kind in kinds {
        let home = laid(&made::healthy());
        let before = shape(&home.path().join("n1"));
        let command = format!("corrupt n1 --kind {kind} --seed 3");
        assert_eq!(code(&tool(home.path(), &command)), 6, "{kind}: there is no .lab");
        assert_eq!(shape(&home.path().join("n1")), before);
        fs::write(home.path().join("n1/.lab"), "").expect("writes");
        let output = tool(home.path(), &command);
        assert_eq!(code(&output), 0, "{kind}: {output:?}");
        assert_ne!(shape(&home.path().join("n1")), before, "{kind}");
        let verdict = code(&tool(home.path(), "verify n1"));
        alarmed += u32::from(verdict == 3);
        let certain = ["head", "payload", "header", "missing", "snapshot"];
        assert!(verdict == 3 || !certain.contains(&kind), "{kind}: {verdict}");
        // Whatever it was: there is a plan, or a word on why there is none.
        let plan = tool(home.path(), "repair n1 --json");
        let object: serde_json::Value = serde_json::from_str(&text(&plan.stdout)).expect("JSON");
        assert_eq!(object["schema"], "wal-tool.plan/1", "{kind}");
        assert_eq!(object["digest"].as_str().map(str::len), Some(16), "{kind}");
        let other = laid(&made::healthy());
        fs::write(other.path().join("n1/.lab"), "").expect("writes");
        tool(other.path(), &command);
        assert_eq!(shape(&other.path().join("n1")), shape(&home.path().join("n1")), "{kind}");
    }
    assert!(alarmed >= 5, "{alarmed}");
}

/// More than one new segment has room for, and nothing but a hole: what counts is what it holds.
#[test]
fn a_segment_that_somebody_made_very_long_is_repaired_like_any_other() {
    const LONG: u64 = (3 << 30) + 4096;
    let home = laid(&made::rotten());
    let newest = home.path().join("n1/00000000000000000005.wal");
    let file = fs::OpenOptions::new().write(true).open(&newest).expect("opens");
    if file.set_len(LONG).is_err() {
        eprintln!("SKIPPED: this file system takes no sparse file of {LONG} bytes");
        return;
    }
    let plan = tool(home.path(), "repair n1");
    let says = text(&plan.stdout);
    assert!(says.contains("--accept-loss 200..600"), "{says}");
    let done = tool(home.path(), &format!("{} --backup kept", told(&says)));
    assert_eq!(code(&done), 0, "{done:?}");
    assert_eq!(code(&tool(home.path(), "verify n1")), 0);
    // The hole is one in the backup and in quarantine too.
    for copy in ["kept", "n1/quarantine"] {
        let found = fs::metadata(home.path().join(copy).join("00000000000000000005.wal"));
        let found = found.expect("copied");
        assert_eq!(found.len(), LONG, "{copy}");
        assert!(found.blocks() * 512 < 1 << 24, "{copy}: {} blocks", found.blocks());
    }
}
