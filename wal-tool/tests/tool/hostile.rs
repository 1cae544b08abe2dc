//! Directories that somebody made to do harm, or that an accident did: no panic, no hang, no more
//! memory than there is.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hardlog::{
    fs::sim::Rng,
    layout::{index_name, segment_name, snapshot_name},
};

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

/// Segments whose names something may get.
pub(crate) const SEGMENTS: std::ops::Range<u64> = 1..9;

/// A name of ours, there or not.
fn ours(dir: &Path, rng: &mut Rng) -> PathBuf {
    let id = SEGMENTS.start + rng.below(8) as u64;
    dir.join(match rng.below(9) {
        0..=3 => segment_name(id),
        4 => index_name(id),
        5 => format!("snapshots/{}", snapshot_name(100 * (rng.below(3) as u64), 5)),
        6 => format!("tmp/{}", segment_name(id)),
        7 => format!("quarantine/{}.2", segment_name(id)),
        _ => "LOCK".to_owned(),
    })
}

fn byte(rng: &mut Rng) -> u8 {
    rng.next_u64().to_le_bytes()[0]
}

/// Takes away whatever stands there.
fn clear(path: &Path) {
    if fs::remove_file(path).is_err() {
        fs::remove_dir_all(path).ok();
    }
}

/// Does one thing to the log in `dir` that no log does, and says what. Things that the system does
/// not allow here (a device without the rights for it) are left out: then less is wrong.
pub(crate) fn befall(dir: &Path, rng: &mut Rng) -> String {
    let (path, other) = (ours(dir, rng), ours(dir, rng));
    let kind = rng.below(16);
    match kind {
        0 => {
            let to = ["/dev/zero", "/proc/self/mem", "loop", ".", "/nowhere", "/dev/full"];
            clear(&path);
            symlink(to[rng.below(to.len())], &path).ok();
        }
        1 => {
            clear(&path);
            symlink(&other, &path).ok();
        }
        2 => {
            clear(&path);
            Command::new("mkfifo").arg(&path).status().ok();
        }
        3 => {
            clear(&path);
            drop(UnixListener::bind(&path));
        }
        4 => {
            clear(&path);
            Command::new("mknod").arg(&path).args(["c", "1", "5"]).output().ok();
        }
        5 => {
            clear(&path);
            fs::create_dir_all(path.join("deeper")).ok();
        }
        6 => {
            clear(&path);
            drop(File::create(&path));
        }
        7 | 8 => {
            // What is read to its end stays short enough for a test; the rest is a terabyte.
            let sealed = path.extension() == Some(OsStr::new("wal"));
            let len = if sealed && path.exists() { 1 << rng.below(26) } else { 1 << rng.below(41) };
            if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                clear(&path);
            }
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            file.and_then(|file| file.set_len(len)).ok();
        }
        9 => {
            let mut name: Vec<u8> = (0..=rng.below(80)).map(|_| byte(rng)).collect();
            name.retain(|byte| !matches!(byte, b'/' | 0));
            let sub = ["", "snapshots", "tmp", "quarantine"][rng.below(4)];
            fs::write(dir.join(sub).join(OsStr::from_bytes(&name)), b"nobody's").ok();
        }
        10 => {
            clear(&path);
            fs::hard_link(&other, &path).ok();
        }
        11 => drop(fs::rename(&other, &path)),
        12 => {
            let sub = dir.join(["snapshots", "tmp", "quarantine"][rng.below(3)]);
            fs::remove_dir_all(&sub).ok();
            match rng.below(3) {
                0 => drop(File::create(&sub)),
                1 => drop(symlink("/proc", &sub)),
                _ => {}
            }
        }
        13 => header(&path, rng),
        14 => clear(&path),
        _ => garble(&path, rng),
    }
    format!("{kind} {path:?} {other:?}")
}

/// A field of a header that checks and says something wild, in both copies.
fn header(path: &Path, rng: &mut Rng) {
    const VALUES: [u64; 7] = [0, 1, 3, 1 << 31, 1 << 40, u64::MAX - 1, u64::MAX];
    let Some(mut bytes) = read_if_file(path) else { return };
    let (field, value) = (8 * (1 + rng.below(15)), VALUES[rng.below(VALUES.len())]);
    for copy in [0, 4096] {
        let Some(copy) = bytes.get_mut(copy..copy + 132) else { return };
        copy[field..field + 8].copy_from_slice(&value.to_le_bytes());
        let crc = crc32fast::hash(&copy[..128]);
        copy[128..].copy_from_slice(&crc.to_le_bytes());
    }
    write_if_file(path, &bytes);
}

fn garble(path: &Path, rng: &mut Rng) {
    let Some(mut bytes) = read_if_file(path) else { return };
    if bytes.is_empty() {
        return;
    }
    let from = rng.below(bytes.len());
    let to = (from + 1 + rng.below(9000)).min(bytes.len());
    match rng.below(3) {
        0 => bytes.truncate(from),
        1 => bytes[from..to].fill(0),
        _ => bytes[from..to].fill_with(|| byte(rng)),
    }
    write_if_file(path, &bytes);
}

/// Never through a link, into a pipe or onto a device.
fn write_if_file(path: &Path, bytes: &[u8]) {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
        fs::write(path, bytes).ok();
    }
}

/// The bytes of a file that is one, and not a terabyte.
fn read_if_file(path: &Path) -> Option<Vec<u8>> {
    let meta = fs::symlink_metadata(path).ok()?;
    if meta.is_file() && meta.len() < 1 << 26 { fs::read(path).ok() } else { None }
}
