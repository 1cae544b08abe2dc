//! Hostile directories at random: each round lays a log, does a few things to it that no log does to
//! itself, and looks at it with everything there is, in this process and with the program.
//!
//! Nothing may panic, hang, or take memory that a file asks for; the program ends with a code of its
//! list. `HARDLOG_ROUNDS=N` makes it longer, `HARDLOG_SEED=S` another one; a round that fails says its
//! seed, and `HARDLOG_ROUNDS=1 HARDLOG_SEED=S` is that round alone.

use std::{
    env, fs,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use hardlog::{
    fs::{
        Fs,
        disk::DiskFs,
        sim::{Rng, SimFs},
    },
    inspect::{self, DumpOptions, Live, LoneFile, VerifyOptions, Window},
    layout::segment_name,
    repair::{self, Ask},
};

use crate::{
    directories as made,
    hostile::{self, SEGMENTS},
    text,
};

/// Longer than that a look at a directory of this size must not take.
const LONG: Duration = Duration::from_secs(60);

/// Every command that looks; `n1` is the hostile directory and `n2` a healthy one.
const COMMANDS: [&str; 20] = [
    "n1",
    "status n1 --json",
    "ls n1",
    "ls n1 --snapshots",
    "dump n1 --value hex",
    "dump n1 --batches --json",
    "dump n1 --tail 3",
    "dump n1 --segment 2 --batches",
    "get n1 200",
    "hex n1 2",
    "hex n1 2@8192 --json",
    "stats n1",
    "diff n1 n2",
    "diff n2 n1 --json",
    "verify n1",
    "verify n1 --format ndjson",
    "export n1",
    "repair n1",
    "repair n1 --json --from-replica n2",
    "truncate n1 --after 595",
];

const BASES: [fn() -> SimFs; 8] = [
    made::healthy,
    made::healthy,
    made::rotten,
    made::torn,
    made::gap,
    made::stateless,
    made::headless,
    made::harmless,
];

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_stands_in_a_directory_it_is_looked_at_and_left() {
    let (rounds, seed) = (number("HARDLOG_ROUNDS", 24), number("HARDLOG_SEED", 1));
    let bases = BASES.map(|make| make());
    let (mut codes, mut begun) = ([0_u64; 8], Instant::now());
    for seed in seed..seed + rounds {
        let mut rng = Rng::new(seed);
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("n1");
        made::lay(&bases[rng.below(bases.len())], &dir);
        made::lay(&bases[0], &home.path().join("n2"));
        let done: Vec<String> =
            (0..=rng.below(4)).map(|_| hostile::befall(&dir, &mut rng)).collect();
        let what = format!("HARDLOG_ROUNDS=1 HARDLOG_SEED={seed}: {done:?}");
        let looked = catch_unwind(AssertUnwindSafe(|| look(home.path())));
        assert!(looked.is_ok(), "{what}: panicked");
        // A few of the commands each time: the others had their turn, or will.
        for _ in 0..7 {
            let command = COMMANDS[rng.below(COMMANDS.len())];
            let code =
                run(home.path(), command).unwrap_or_else(|e| panic!("{what}: {command}: {e}"));
            codes[code] += 1;
        }
        assert!(begun.elapsed() < LONG, "{what}: {:?}", begun.elapsed());
        begun = Instant::now();
    }
    println!("{rounds} directories, exit codes 0 to 7: {codes:?}");
    assert!(rounds < 20 || (codes[3] > 10 && codes[0] > 0 && codes[4] > 0), "{codes:?}");
}

/// Everything that the library can look with.
fn look(home: &Path) {
    let (fs, other) = (DiskFs::new(home.join("n1")), DiskFs::new(home.join("n2")));
    let _ = inspect::look(&fs);
    for options in [VerifyOptions::new().quick(true), VerifyOptions::new().threads(2)] {
        if let Ok(report) = inspect::verify(&fs, options, &mut |_| {}) {
            assert!(
                [0, 1, 3, 4, 7].contains(&report.outcome().code())
                    && !report.to_string().is_empty()
            );
        }
    }
    let mut rows = 0_u64;
    let _ = inspect::dump(&fs, &DumpOptions::default(), &mut |_| {
        rows += 1;
        ControlFlow::Continue(())
    });
    assert!(rows < 100_000, "{rows} rows");
    let _ = inspect::stats(&fs);
    if let Ok(window) = Window::look(&fs) {
        let mut next = window.span().map_or(0, |(first, _)| first);
        let _ = window.entries(&fs, 0..=u64::MAX, &mut |row| {
            let (first, last) = match row {
                Live::Entry(entry) => (entry.id.index, entry.id.index),
                Live::Missing(span, _) => span,
                _ => panic!("another row"),
            };
            assert!(first == next && last >= first, "{first}..{last} where {next} was due");
            next = last.saturating_add(1);
            ControlFlow::Continue(())
        });
    }
    for id in SEGMENTS {
        for offset in [None, Some(8192), Some(20_000), Some(1 << 40)] {
            let _ = inspect::hex(&fs, id, offset);
        }
        if let Ok(lone) = LoneFile::new(DiskFs::new(home.join("n1")), &segment_name(id)) {
            let _ = inspect::verify(&lone, VerifyOptions::new(), &mut |_| {});
        }
    }
    let both: [&dyn Fs; 2] = [&fs, &other];
    let _ = inspect::diff(&both);
    for replica in [None, Some(&other as &dyn Fs)] {
        let _ = repair::plan(&fs, &Ask { replica, ..Ask::default() });
    }
}

/// The exit code of a command, with little memory and not for ever.
fn run(home: &Path, command: &str) -> Result<usize, String> {
    let limits = format!("ulimit -v 2000000; exec timeout 60 \"$0\" {command}");
    let output = Command::new("sh")
        .args(["-c", &limits, env!("CARGO_BIN_EXE_wal-tool")])
        .current_dir(home)
        .env("NO_COLOR", "1")
        .output()
        .map_err(|e| e.to_string())?;
    let said = text(&output.stderr);
    match output.status.code() {
        Some(code @ (0..=4 | 6 | 7)) if !said.contains("panicked") => {
            usize::try_from(code).map_err(|e| e.to_string())
        }
        other => Err(format!("{other:?} {said}")),
    }
}

/// What a reader has no right to read is said, and everything else is still looked at.
#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("n1");
    made::lay(&made::healthy(), &dir);
    made::lay(&made::healthy(), &home.path().join("n2"));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changes");
    };
    mode(home.path(), 0o755);
    let root = fs::metadata(&dir).expect("there").uid() == 0;
    let able = Command::new("setpriv").args(["--reuid", "65534", "true"]).output();
    if root && !able.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: root may read everything, and there is no setpriv");
        return;
    }
    for secret in [segment_name(2), segment_name(5), "snapshots".to_owned()] {
        mode(&dir.join(&secret), 0o000);
        for command in COMMANDS {
            let tool = env!("CARGO_BIN_EXE_wal-tool");
            let mut run = if root { Command::new("setpriv") } else { Command::new(tool) };
            if root {
                run.args(["--reuid", "65534", "--clear-groups", tool]);
            }
            let output = run.args(command.split_whitespace()).current_dir(home.path()).output();
            let output = output.expect("runs");
            let (code, said) = (output.status.code(), text(&output.stderr));
            assert!(matches!(code, Some(0..=4 | 6)), "{secret}, {command}: {code:?} {said}");
            assert!(!said.contains("panicked"), "{secret}, {command}: {said}");
            if command == "verify n1" {
                let both = format!("{}{said}", text(&output.stdout));
                assert_eq!(code, Some(4), "{secret}: {both}");
                assert!(both.contains(&secret) && both.contains("ermission"), "{both}");
            }
        }
        mode(&dir.join(&secret), 0o755);
    }
}
