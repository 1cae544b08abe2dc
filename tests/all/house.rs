//! House rules that no lint knows, checked over the text of the repository.
//!
//! Each rule is a function from files to complaints, and each has a test that shows it a file that
//! breaks it.

use std::{fs, path::Path};

/// A source file: its path from the repository's root, and its text.
struct Source {
    path: String,
    text: String,
}

/// Lines of a file, tests and all.
const LINES_MAX: usize = 600;
/// A `DURABILITY:` comment stands at most this many lines above its sync.
const COMMENT_LINES: usize = 6;

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    none(long(&sources()));
}

#[test]
fn every_sync_of_the_engine_says_what_rests_on_it() {
    none(silent_syncs(&sources()));
}

#[test]
fn only_two_files_of_the_engine_touch_the_operating_system() {
    none(outside_fs(&sources()));
}

#[test]
fn the_codec_the_verdicts_and_the_protocol_are_pure() {
    none(impure(&sources()));
}

#[test]
fn nothing_is_left_for_later_and_no_lint_is_silenced_without_a_reason() {
    none(unfinished(&sources()));
}

#[test]
fn every_file_says_what_it_is() {
    none(undocumented(&sources()));
}

#[test]
fn every_package_obeys_the_lints_of_the_workspace() {
    let root = hardlog_tests::repository();
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = workspace.lines().find(|line| line.starts_with("members")).unwrap();
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.contains(&"storage") && members.contains(&"tests"), "{members:?}");
    for member in members {
        let manifest = fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member} sets no lints");
    }
}

fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// All Rust files of the repository.
fn sources() -> Vec<Source> {
    let root = hardlog_tests::repository();
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    assert!(found.len() > 20, "only {} files under {}", found.len(), root.display());
    found
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else if name.ends_with(".rs") {
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

impl Source {
    /// Whether the file is nothing but tests.
    fn is_test(&self) -> bool {
        let dirs_and_name: Vec<&str> = self.path.split('/').collect();
        dirs_and_name.iter().any(|part| ["tests", "tests.rs", "benches", "fuzz"].contains(part))
    }

    fn is_engine(&self) -> bool {
        self.path.starts_with("storage/src/") && !self.is_test()
    }

    /// The lines of code: number from 1, and text without comments. Ends where the tests begin.
    fn code(&self) -> Vec<(usize, &str)> {
        let mut code = Vec::new();
        let mut lines = self.text.lines().enumerate().peekable();
        while let Some((i, line)) = lines.next() {
            let tests = line.trim() == "#[cfg(test)]"
                && lines
                    .peek()
                    .is_some_and(|next| next.1.starts_with("mod ") && next.1.ends_with('{'));
            if tests {
                break;
            }
            let uncommented = match line.trim_start().strip_prefix("//") {
                Some(_) => "",
                None => line.split(" // ").next().unwrap_or_default(),
            };
            code.push((i + 1, uncommented));
        }
        code
    }

    fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn long(files: &[Source]) -> Vec<String> {
    let long = files.iter().filter(|file| file.text.lines().count() > LINES_MAX);
    long.map(|file| file.complain(file.text.lines().count(), "a file this long is two files"))
        .collect()
}

/// Calls that pass a sync on to whoever has the comment.
const PASSED_ON: [&str; 5] = ["self", "self.wal", "self.log", "wal", "syncer()"];

fn silent_syncs(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_engine() && !f.path.starts_with("storage/src/fs/")) {
        let all: Vec<&str> = file.text.lines().collect();
        for (number, line) in file.code() {
            let sync = line.split_once(".sync(").is_some_and(|(receiver, _)| {
                !PASSED_ON.iter().any(|known| {
                    let before = receiver.strip_suffix(known);
                    before.is_some_and(|b| !b.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
                })
            });
            if !sync && !line.contains(".sync_dir(") {
                continue;
            }
            let above = &all[number.saturating_sub(1 + COMMENT_LINES)..number];
            if !above.iter().any(|line| line.contains("DURABILITY:")) {
                complaints
                    .push(file.complain(number, "a sync without a DURABILITY: comment above"));
            }
        }
    }
    complaints
}

/// What the files of the engine may not name. The numbers of errors are no call: the simulated disk
/// needs them to fail like a real one.
fn outside_fs(files: &[Source]) -> Vec<String> {
    let allowed = ["disk", "map", "write_back"].map(|name| format!("storage/src/fs/{name}.rs"));
    let banned = ["rustix", "fs2", "memmap2", "libc", "std::fs", "std::os"];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_engine() && !allowed.contains(&f.path)) {
        let text = match file.path.starts_with("storage/src/fs/") {
            true => file.text.replace("rustix::io::Errno", "Errno"),
            false => file.text.clone(),
        };
        complaints.extend(mentions(&Source { path: file.path.clone(), text }, &banned));
    }
    complaints
}

fn impure(files: &[Source]) -> Vec<String> {
    let pure = [
        "storage/src/batch.rs",
        "storage/src/batch/",
        "storage/src/header.rs",
        "storage/src/state.rs",
        "storage/src/verdict.rs",
        "storage/src/snapshot/format.rs",
        "raft/src/core/",
        "raft/src/core.rs",
    ];
    let banned = [
        "std::fs",
        "std::io",
        "std::net",
        "std::time",
        "std::thread",
        "std::env",
        "std::process",
        "rand",
        "Instant",
        "SystemTime",
        "RandomState",
    ];
    let mut complaints = Vec::new();
    let pure = |file: &&Source| !file.is_test() && pure.iter().any(|p| file.path.starts_with(p));
    for file in files.iter().filter(pure) {
        complaints.extend(mentions(file, &banned));
    }
    complaints
}

fn unfinished(files: &[Source]) -> Vec<String> {
    // In pieces, so that this file does not contain them.
    let banned = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[al", "low("),
        concat!("db", "g!("),
    ];
    let mut complaints = Vec::new();
    for file in files {
        for (i, line) in file.text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(*word)) {
                complaints.push(file.complain(i + 1, word));
            }
        }
    }
    complaints
}

fn undocumented(files: &[Source]) -> Vec<String> {
    let silent = files.iter().filter(|file| !file.is_test() && !file.text.starts_with("//!"));
    silent.map(|file| file.complain(1, "no module documentation")).collect()
}

/// Where code names one of these paths or words, also inside `use std::{…}`.
fn mentions(file: &Source, banned: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inside_std = false;
    for (number, line) in file.code() {
        inside_std |= line.trim_start().starts_with("use std::{");
        for word in banned {
            let std = word.strip_prefix("std::").filter(|_| inside_std);
            if has_word(line, word) || std.is_some_and(|word| has_word(line, word)) {
                complaints.push(file.complain(number, word));
            }
        }
        inside_std &= !line.contains(';');
    }
    complaints
}

/// Whether `line` has `word` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> [Source; 1] {
        [Source { path: path.to_owned(), text: text.to_owned() }]
    }

    #[test]
    fn a_long_file_is_noticed() {
        assert_eq!(long(&file("a.rs", &"//!\n".repeat(600))).len(), 0);
        assert_eq!(long(&file("a.rs", &"//!\n".repeat(601))).len(), 1);
    }

    #[test]
    fn a_silent_sync_is_noticed_and_one_that_speaks_is_not() {
        let silent = |text| silent_syncs(&file("storage/src/wal.rs", text)).len();
        assert_eq!(silent("    self.file.sync()?;"), 1);
        assert_eq!(silent("    file\n        .sync()?;"), 1);
        assert_eq!(silent("    fs.sync_dir(Dir::Root)?;"), 1);
        assert_eq!(silent("// DURABILITY: because\nself.file.sync()?;"), 0);
        assert_eq!(silent("// DURABILITY: far\n\n\n\n\n\n\nself.file.sync()?;"), 1);
        assert_eq!(silent("self.sync()?; self.wal.sync()"), 0);
        assert_eq!(silent("myself.sync()"), 1);
        assert_eq!(silent("/// log.sync()?;\n#[cfg(test)]\nmod tests {\n file.sync()"), 0);
        assert_eq!(silent_syncs(&file("storage/src/fs/disk.rs", "file.sync()")).len(), 0);
    }

    #[test]
    fn the_operating_system_is_noticed_outside_its_files() {
        let found = |text| outside_fs(&file("storage/src/log.rs", text)).len();
        assert_eq!(found("use std::fs::File;"), 1);
        assert_eq!(found("use std::{\n    fs, io,\n};\nuse crate::fs::Fs;"), 1);
        assert_eq!(found("use std::{io, sync::Arc};\nuse crate::{fs::Fs};"), 0);
        assert_eq!(found("let fd = rustix::fs::open();"), 1);
        assert_eq!(found("// rustix does it"), 0);
        assert_eq!(outside_fs(&file("storage/src/fs/disk.rs", "use std::fs;")).len(), 0);
        assert_eq!(outside_fs(&file("storage/src/fs/sim.rs", "use std::fs;")).len(), 1);
        let errno = "use rustix::io::Errno;";
        assert_eq!(outside_fs(&file("storage/src/fs/sim.rs", errno)).len(), 0);
        assert_eq!(found(errno), 1);
    }

    #[test]
    fn a_clock_or_a_thread_in_pure_code_is_noticed() {
        let found = |path, text| impure(&file(path, text)).len();
        assert_eq!(found("storage/src/verdict.rs", "use std::time::Duration;"), 1);
        assert_eq!(found("storage/src/batch/decode.rs", "use std::{io, mem};"), 1);
        assert_eq!(found("raft/src/core/leader.rs", "std::thread::spawn(f)"), 1);
        assert_eq!(found("storage/src/wal.rs", "std::thread::spawn(f)"), 0);
        assert_eq!(found("storage/src/batch/tests.rs", "use std::io;"), 0);
    }

    #[test]
    fn what_is_left_for_later_is_noticed() {
        for text in [concat!("to", "do!()"), concat!("// FIX", "ME"), concat!("#[al", "low(x)]")] {
            assert_eq!(unfinished(&file("a.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(unfinished(&file("a.rs", "// all done")).len(), 0);
        assert_eq!(undocumented(&file("a.rs", "use x;")).len(), 1);
    }
}
