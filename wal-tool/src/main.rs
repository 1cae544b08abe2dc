//! `wal-tool`: what an operator holds in hand when a node does not start.
//!
//! Everything it knows comes from `hardlog::inspect`; here are the arguments, the words and the exit
//! codes. It takes no lock and writes nothing, so it may be pointed at a node that runs, at a
//! read-only mount, and at evidence.
//!
//! Exit codes, the same for every command: 0 clean · 1 only what opening heals by itself · 2 usage ·
//! 3 damage that needs an operator · 4 I/O error, or not a log · 7 a newer format · 130 interrupted
//! (as the shell reports it). A closed pipe is silent success.

mod args;
mod dump;
mod explain;
mod json;
mod number;
mod out;
mod status;
mod verify;

use std::{io, process::ExitCode};

use clap::Parser;
use hardlog::Error;

use crate::{
    args::{Arguments, Command},
    out::Out,
};

/// What a command ends with: an exit code, or a failure that has none of its own yet.
type Ended = Result<u8, Failure>;

/// Why a command could not do its work.
#[derive(Debug)]
enum Failure {
    /// The engine could not look.
    Log(Error),
    /// The output could not be written.
    Output(io::Error),
    /// The question makes no sense.
    Usage(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = Out::new(&arguments.output);
    let ended = run(arguments, &mut out).and_then(|code| {
        out.finish()?;
        Ok(code)
    });
    ExitCode::from(match ended {
        Ok(code) => code,
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(Failure::Output(e)) => fail(4, &format!("cannot write the output: {e}")),
        Err(Failure::Usage(text)) => fail(2, &text),
        Err(Failure::Log(e @ Error::NewerFormat { .. })) => fail(7, &e.to_string()),
        Err(Failure::Log(e)) => fail(4, &e.to_string()),
    })
}

fn fail(code: u8, text: &str) -> u8 {
    eprintln!("wal-tool: {text}");
    code
}

fn run(arguments: Arguments, out: &mut Out) -> Ended {
    match (arguments.command, arguments.dir) {
        (Some(Command::Status { dir }), _) | (None, Some(dir)) => status::run(&dir, out),
        (Some(Command::Verify(args)), _) => verify::run(&args, out),
        (Some(Command::Dump(args)), _) => dump::run(&args, out),
        (Some(Command::Explain { code }), _) => explain::run(&code, out),
        (None, None) => Err(Failure::Usage("which directory? See wal-tool --help".to_owned())),
    }
}
