//! `storage/examples/ack.rs` under a rig that knows nothing of the log but its lines: killed with
//! SIGKILL at random instants, its last write torn, its files damaged or put back.
//!
//! SIGKILL keeps the page cache, so this tests the program and the state machine of recovery, not
//! power loss: that is the simulated disk's business.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use hardlog::fs::sim::Rng;

const ACK: &str = env!("CARGO_BIN_EXE_ack");
/// How long the rounds of kills may take.
const KILLING: Duration = Duration::from_secs(15);

struct Rig {
    dir: PathBuf,
    acks: PathBuf,
}

impl Rig {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ack").join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Self { dir: root.join("log"), acks: root.join("acks") }
    }

    fn start(&self, steps: u64, seed: u64) -> Command {
        let acks = OpenOptions::new().create(true).append(true).open(&self.acks).unwrap();
        let mut command = Command::new(ACK);
        command.arg("run").arg(&self.dir).arg(steps.to_string());
        command.args(["--segment-size", "65536", "--seed", &seed.to_string()]);
        command.stdout(acks).stderr(Stdio::piped());
        command
    }

    fn run(&self, steps: u64, seed: u64) {
        let output = self.start(steps, seed).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Exit code of `ack check` on `dir`, and what it said.
    fn check_in(&self, dir: &Path) -> (i32, String) {
        let mut command = Command::new(ACK);
        command.arg("check").arg(dir).arg("--acks").arg(&self.acks);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), told + &said(&output))
    }

    fn check(&self) -> (i32, String) {
        self.check_in(&self.dir)
    }

    /// Checks a copy, so that the next run meets the directory as it is; returns the last step.
    fn holds(&self, when: &str) -> u64 {
        let copy = self.dir.with_extension("checked");
        let _ = fs::remove_dir_all(&copy);
        copy_dir(&self.dir, &copy);
        let (code, said) = self.check_in(&copy);
        assert_eq!(code, 0, "{when}: {said}");
        let step = said.strip_prefix("holds: step ").and_then(|rest| rest.split(',').next());
        step.and_then(|step| step.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    }

    fn lines(&self) -> usize {
        fs::read_to_string(&self.acks).unwrap().lines().count()
    }

    fn segments(&self) -> Vec<PathBuf> {
        // A run that was killed early enough has not even made the directory.
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut segments: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
        segments.sort();
        segments
    }
}

fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Where in the newest segment the slot value of the last step stands, if that step comes after
/// `acked`: from there on nothing was acknowledged. What the file was born with was synced.
fn unacknowledged(segment: &[u8], acked: u64, seed: u64) -> Option<usize> {
    let number = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().unwrap());
    let born_end = usize::try_from(number(120)).unwrap();
    let all = (born_end..segment.len() - 16).filter(|&at| number(at + 8) == seed);
    let last = all.max_by_key(|&at| number(at))?;
    (number(last) > acked).then_some(last)
}

/// Every other kill is followed by a torn write: zeros, or a shorter file, from inside the last
/// batch on. Only that batch goes, and only if no line names it.
#[test]
fn nothing_acknowledged_is_lost_by_kills_and_torn_writes() {
    let seed = 0x5EED_0FAC_CA11_0001;
    let rig = Rig::new("kills");
    let mut rng = Rng::new(seed);
    let (begun, mut torn, mut rounds, mut step) = (Instant::now(), 0, 0, 0);
    fs::write(&rig.acks, "").unwrap();
    while begun.elapsed() < KILLING || rounds < 4 {
        let before = rig.lines();
        let mut child = rig.start(1_000_000, seed).spawn().unwrap();
        // One in three dies at any instant, so also while it opens; the others once they work.
        let due = Instant::now() + Duration::from_secs(5);
        while rounds % 3 != 0 && rig.lines() < before + 5 && Instant::now() < due {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(rng.next_u64() % 100));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code().is_none(), "it ended by itself: {}", said(&output));
        let acked = step + (rig.lines() - before) as u64;
        if let Some(path) = rig.segments().pop().filter(|_| rounds % 2 == 1) {
            torn += usize::from(tear(&path, acked, seed, &mut rng));
        }
        rounds += 1;
        if rig.dir.exists() && rig.lines() > 0 {
            step = rig.holds(&format!("round {rounds}, step {acked}, seed {seed}"));
            assert!(step >= acked, "{step} of {acked} steps");
        }
    }
    println!("{rounds} kills, {torn} torn writes, {step} steps, {} lines", rig.lines());
    assert!(rig.lines() > 100 && torn > 0, "{} lines, {torn} torn", rig.lines());
}

fn tear(path: &Path, acked: u64, seed: u64, rng: &mut Rng) -> bool {
    let mut bytes = fs::read(path).unwrap();
    let Some(at) = unacknowledged(&bytes, acked, seed) else { return false };
    let end = bytes.iter().rposition(|&b| b != 0).map_or(at, |last| last + 1).max(at + 1);
    let from = at + rng.below(end - at);
    if rng.below(2) == 0 {
        bytes.truncate(from);
    } else {
        bytes[from..].fill(0);
    }
    fs::write(path, bytes).unwrap();
    true
}

#[test]
fn a_run_goes_on_where_the_log_ends_and_the_lines_name_every_kind_of_step() {
    let rig = Rig::new("goes-on");
    for _ in 0..4 {
        rig.run(100, 7);
        rig.holds("between runs");
    }
    assert_eq!(rig.lines(), 400);
    let lines = fs::read_to_string(&rig.acks).unwrap();
    for kind in ["append ", "vote ", "trim-tail ", "snapshot ", "trim-prefix "] {
        assert!(lines.lines().any(|line| line.starts_with(kind)), "no {kind} in\n{lines}");
    }
    let once = Rig::new("at-once");
    once.run(400, 7);
    assert_eq!(fs::read_to_string(&once.acks).unwrap(), lines, "one run or four, the same steps");
}

#[test]
fn a_line_that_was_cut_off_does_not_count_and_a_whole_one_does() {
    let rig = Rig::new("cut-line");
    rig.run(50, 1);
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).open(&rig.acks).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("append 99999 te");
    rig.holds("with half a line");
    append("rm 9\n");
    let (code, said) = rig.check();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("append 99999"), "{said}");
}

#[test]
fn what_was_put_back_to_an_older_copy_is_found_to_be_lost() {
    let rig = Rig::new("put-back");
    rig.run(60, 1);
    let copy = rig.dir.with_extension("copy");
    copy_dir(&rig.dir, &copy);
    rig.run(60, 1);
    rig.holds("before");
    fs::remove_dir_all(&rig.dir).unwrap();
    fs::rename(&copy, &rig.dir).unwrap();
    assert_eq!(rig.check().0, 1);
    fs::remove_dir_all(&rig.dir).unwrap();
    assert_eq!(rig.check().0, 1, "all of it is lost");
}

#[test]
fn damage_of_what_was_durable_is_called_corrupt() {
    let rig = Rig::new("damage");
    rig.run(150, 1);
    let written = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        let end = bytes.iter().rposition(|&b| b != 0).unwrap();
        (bytes, end)
    };
    let (path, (mut bytes, end)) = (rig.segments().into_iter().rev())
        .map(|path| (path.clone(), written(&path)))
        .find(|(_, (_, end))| *end > 24 << 10)
        .unwrap();
    // Behind State and long before the last marker; several heads lie in there.
    let middle = (8192 + end) / 2;
    let harmed = bytes[middle..middle + 3000].iter_mut().filter(|b| **b != 0);
    harmed.for_each(|b| *b ^= 0x55);
    fs::write(&path, bytes).unwrap();
    let (code, said) = rig.check();
    assert_eq!(code, 10, "{said}");
    let output = rig.start(10, 1).output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", self::said(&output));
}

#[test]
fn a_log_begins_where_nothing_or_only_the_leavings_of_a_creation_are() {
    for leavings in [&[][..], &["tmp"], &["tmp", "snapshots", "quarantine"]] {
        let rig = Rig::new("begins");
        fs::create_dir(&rig.dir).unwrap();
        for name in leavings {
            fs::create_dir(rig.dir.join(name)).unwrap();
        }
        if !leavings.is_empty() {
            fs::write(rig.dir.join("LOCK"), "").unwrap();
            fs::write(rig.dir.join("tmp/00000000000000000001.wal"), "half a segment").unwrap();
        }
        rig.run(20, 1);
        rig.holds("begun");
    }
}

#[test]
fn a_failure_of_the_disk_or_of_the_listener_is_a_message_and_no_panic() {
    let rig = Rig::new("failures");
    fs::write(&rig.dir, "a file where the directory should be").unwrap();
    let output = rig.start(10, 1).output().unwrap();
    assert!(!output.status.success() && !said(&output).is_empty());
    fs::remove_file(&rig.dir).unwrap();
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        let output = rig.start(10, 1).stdout(full).output().unwrap();
        assert!(!output.status.success() && !said(&output).is_empty());
    }
    let output = Command::new(ACK).arg("run").arg(&rig.dir).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    rig.run(10, 1);
    rig.holds("and it goes on");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
