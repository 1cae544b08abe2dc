//! Directories that somebody made to do harm, or that an accident did: no panic, no hang, no more
//! memory than there is.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hardlog::layout::{index_name, segment_name, snapshot_name};

use crate::{code, directories as made, text, tool};

/// Longer than that a look at a small directory must not take.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn names_that_stand_for_other_things_are_never_opened() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("n1");
    made::lay(&made::healthy(), &dir);
    fs::write(home.path().join("elsewhere"), vec![0; 9000]).expect("writes");
    symlink(home.path().join("elsewhere"), dir.join(segment_name(6))).expect("links");
    symlink("/dev/zero", dir.join(index_name(7))).expect("links");
    symlink(&dir, dir.join("snapshots/loop")).expect("links");
    fs::create_dir(dir.join(segment_name(8))).expect("makes");
    let fifo = Command::new("mkfifo").arg(dir.join(segment_name(9))).status().expect("runs");
    assert!(fifo.success());
    fs::remove_file(dir.join("LOCK")).ok();
    let lock = Command::new("mkfifo").arg(dir.join("LOCK")).status().expect("runs");
    assert!(lock.success());
    fs::write(dir.join("\u{fffd}name \n of nobody"), "x").expect("writes");
    let begun = Instant::now();
    for command in ["verify", "status", "ls", "stats", "dump", "export"] {
        let output = tool(home.path(), &format!("{command} n1"));
        assert!([0, 3, 4].contains(&code(&output)), "{command}: {output:?}");
    }
    let output = text(&tool(home.path(), "verify n1").stdout);
    assert!(output.contains("not a regular file"), "{output}");
    assert!(begun.elapsed() < LONG);
}

#[test]
fn files_of_no_length_and_of_a_terabyte_are_looked_at_in_seconds() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("n1");
    made::lay(&made::healthy(), &dir);
    File::create(dir.join(segment_name(6))).expect("creates");
    File::create(dir.join(index_name(6))).expect("creates");
    File::create(dir.join("snapshots").join(snapshot_name(500, 6))).expect("creates");
    for (name, len) in [
        (segment_name(7), 1_u64 << 40),
        (index_name(1), 1 << 28),
        (index_name(3), 1 << 40),
        (format!("snapshots/{}", snapshot_name(600, 6)), 1 << 40),
        // Its contents are good, and behind them is nothing but a hole.
        (segment_name(5), 1 << 40),
    ] {
        let file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(name));
        let Ok(()) = file.expect("opens").set_len(len) else {
            eprintln!("SKIPPED: this file system takes no sparse file of {len} bytes");
            return;
        };
    }
    let begun = Instant::now();
    for command in ["status n1", "verify n1", "dump n1 --tail 1"] {
        let child = Command::new("sh")
            .args(["-c", &format!("ulimit -v 3000000; exec \"$0\" {command}")])
            .arg(env!("CARGO_BIN_EXE_wal-tool"))
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("runs");
        assert!([1, 3].contains(&code(&child)), "{command}: {child:?}");
    }
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}
