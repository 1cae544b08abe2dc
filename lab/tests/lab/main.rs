//! The program from outside: what is printed, and how it ends.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod browser;
mod cluster;
mod columns;
mod play;
mod real;
mod soak;
mod timeline;
mod tour;

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// A file of the samples.
fn sample(name: &str) -> String {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    dir.join(name).to_str().unwrap().to_owned()
}

/// Runs the program without colour or pager, 100 columns wide.
fn lab(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-lab"));
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "COLORTERM", "PAGER"] {
        command.env_remove(name);
    }
    command.env("COLUMNS", "100").args(words).output().unwrap()
}

/// What it prints when it ends well.
fn said(words: &[&str]) -> String {
    let output = lab(words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
