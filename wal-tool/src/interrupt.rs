//! Ctrl-C: what is not finished goes, what must not stop half-way is finished first, and the exit
//! code is 130.
//!
//! ```text
//!   looking                     ends at once
//!   making something new        what was made is removed, then it ends     (unfinished)
//!   applying a plan             is finished, then it ends                  (whole)
//! ```
//!
//! Above: `main`, and every command that writes. Below: signal-hook, and a thread that waits.
//! INVARIANT: nothing is removed while it is given its name: both happen under one lock.
//! A second Ctrl-C ends even the application of a plan, which may be cut off anywhere: it is planned
//! and run again then. Nothing here helps against SIGKILL; what is left behind then has a name that
//! says so (`.partial`, `tmp/`).

use std::{
    fs,
    io::{IsTerminal, Write, stderr},
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::exit::INTERRUPTED;

static WORK: Mutex<Work> = Mutex::new(Work { unfinished: Vec::new(), whole: false, asked: false });

/// What is under way.
struct Work {
    unfinished: Vec<PathBuf>,
    whole: bool,
    asked: bool,
}

fn work() -> MutexGuard<'static, Work> {
    // Whoever panicked with it left a list that is still right.
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen. Where that is not possible the system's own way stays: the process ends.
pub(crate) fn listen() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        for signal in signals.forever() {
            heard(signal);
        }
    });
}

fn heard(signal: i32) {
    let mut work = work();
    if work.whole && !work.asked {
        work.asked = true;
        say("interrupted: what has begun is finished first (once more to stop at once)");
        return;
    }
    for path in &work.unfinished {
        // A writer may add to the directory while it is removed.
        let mut tries = 0..100;
        while fs::symlink_metadata(path).is_ok() && tries.next().is_some() {
            let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            // What cannot be removed has a name that says what it is.
            drop(gone);
        }
    }
    say("interrupted");
    if signal == SIGTERM {
        // Ends the process as if nobody had listened.
        drop(low_level::emulate_default_handler(SIGTERM));
    }
    // The lock is kept: nothing gets its name any more.
    process::exit(i32::from(INTERRUPTED));
}

fn say(text: &str) {
    // Over the line of progress, if there is one.
    let clear = if stderr().is_terminal() { "\r\x1b[2K" } else { "" };
    // Nobody can be told if that fails.
    let _ = writeln!(stderr(), "{clear}wal-tool: {text}");
}

/// Runs what must not stop half-way.
pub(crate) fn whole<T>(run: impl FnOnce() -> T) -> T {
    work().whole = true;
    let done = run();
    work().whole = false;
    done
}

/// Whether somebody asked to stop while something was finished first.
pub(crate) fn asked() -> bool {
    work().asked
}

/// Something that is removed where the process is interrupted before it is finished.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    pub(crate) fn new(path: &Path) -> Self {
        work().unfinished.push(path.to_path_buf());
        Self(path.to_path_buf())
    }

    /// Finishes it: `name` gives it the name under which it stays.
    pub(crate) fn finish<T>(self, name: impl FnOnce() -> T) -> T {
        let mut work = work();
        let named = name();
        work.unfinished.retain(|path| *path != self.0);
        drop(work);
        named
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        work().unfinished.retain(|path| *path != self.0);
    }
}
