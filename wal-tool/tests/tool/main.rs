//! The program as it is run: exit codes, samples of its output, live logs, and rubbish.
//!
//! Directories are made by the engine on the simulated disk, so that they come out the same each
//! time, and are then laid on the real one.

mod bundle;
mod codes;
mod directories;
mod dumping;
mod exits;
mod forge;
mod hostile;
mod live;
mod lone;
mod meta;
mod moving;
mod repair;
mod rubbish;
mod samples;
mod schema;
mod sessions;
mod siege;
mod snapshot;
mod terminal;

use std::{
    path::Path,
    process::{Command, Output},
    sync::Mutex,
};

/// Whoever writes the README anew holds this.
static README: Mutex<()> = Mutex::new(());

/// The program.
const TOOL: &str = env!("CARGO_BIN_EXE_wal-tool");

/// Runs the tool in `dir`; the arguments are split at spaces. What it prints for programs is held
/// against the tool's own schema.
fn tool(dir: &Path, arguments: &str) -> Output {
    let output = run(dir, arguments);
    schema::hold(arguments, &output.stdout);
    output
}

fn run(dir: &Path, arguments: &str) -> Output {
    Command::new(TOOL)
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .env_remove("CLICOLOR_FORCE")
        .env("NO_COLOR", "1")
        .output()
        .expect("the tool runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed by a signal: {output:?}"))
}
