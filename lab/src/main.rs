//! `raft-lab`: see a cluster run, crash and come back.
//!
//! ```text
//!   args ─▶ one file per command ─▶ raft-lab-timeline (bytes ─▶ a line ─▶ a row; rows ─▶ a page)
//!              └─▶ layout, paint, pager: a terminal
//! ```
//!
//! It reads `hardlog.trace/1` and the logs of three teaching projects, tells them apart by their
//! content, and knows nothing of Raft but words: whatever a file says is shown, and what cannot be
//! understood is shown as that.
//!
//! Exit codes: 0, done; 1, nothing found of what was asked for; 2, wrong arguments or a file that
//! cannot be read; 130, stopped by Ctrl-C.

mod args;
mod columns;
mod export;
mod layout;
mod pager;
mod paint;
mod play;
mod soak;
mod timeline;

use std::{io, process::ExitCode};

use clap::Parser;
// Under the names that they have there.
use raft_lab_timeline::{clock, format, lines, row};

use crate::args::{Arguments, Command};

/// Why a command did not end well.
#[derive(Debug)]
enum Failure {
    /// What was asked for is not there.
    Nothing(String),
    /// The arguments or the file are not what they should be.
    Wrong(String),
    /// Somebody pressed Ctrl-C.
    Stopped,
    /// Whoever read the output has gone.
    Gone,
}

impl Failure {
    /// Why, in words.
    fn words(self) -> String {
        match self {
            Self::Nothing(why) | Self::Wrong(why) => why,
            Self::Stopped => "it was stopped".to_owned(),
            Self::Gone => "whoever read it has gone".to_owned(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Wrong(error.to_string()),
        }
    }
}

impl From<format::Refused> for Failure {
    fn from(refused: format::Refused) -> Self {
        Self::Wrong(refused.0)
    }
}

impl From<raft_lab_timeline::Error> for Failure {
    fn from(error: raft_lab_timeline::Error) -> Self {
        match error {
            raft_lab_timeline::Error::Io(error) => error.into(),
            raft_lab_timeline::Error::Refused(refused) => refused.into(),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        Command::Columns(args) => columns::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::SoakGuard => soak::guard::run(),
        Command::Timeline(args) => timeline::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Play(args) => play::run(&args),
        Command::Lesson(args) => play::lesson::run(&args),
    };
    let (code, why) = match ended {
        Ok(()) | Err(Failure::Gone) => return ExitCode::SUCCESS,
        Err(Failure::Stopped) => return ExitCode::from(130),
        Err(Failure::Nothing(why)) => (1, why),
        Err(Failure::Wrong(why)) => (2, why),
    };
    eprintln!("raft-lab: {}", row::visible(&why));
    ExitCode::from(code)
}
