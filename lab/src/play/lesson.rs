//! `raft-lab lesson`: scripts that tell and show, a sentence for each step.
//!
//! Above: the command line. Below: the same game that people play; a lesson is a file of lines as
//! anybody may pipe in, and its expectations are checked whenever it runs.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use super::{Table, game::Ground};
use crate::Failure;

/// What is taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lesson {
    /// How a leader is found, and lost.
    Election,
    /// How a leader brings a follower's log in line with its own.
    LogBackup,
    /// Why an entry of an older term is not committed by counting.
    Figure8,
    /// What is left of a write that the power cut in two.
    TornTail,
    /// What becomes of a bit that rots on a disk.
    Corruption,
    /// How a log is kept short, and a node caught up that missed too much.
    Snapshot,
}

/// Which lesson, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    lesson: Lesson,
    /// Waits for Enter before each step.
    #[arg(long)]
    step: bool,
    /// Writes the timeline of the lesson there.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

impl Lesson {
    const fn script(self) -> &'static str {
        match self {
            Self::Election => include_str!("lessons/election.txt"),
            Self::LogBackup => include_str!("lessons/log-backup.txt"),
            Self::Figure8 => include_str!("lessons/figure8.txt"),
            Self::TornTail => include_str!("lessons/torn-tail.txt"),
            Self::Corruption => include_str!("lessons/corruption.txt"),
            Self::Snapshot => include_str!("lessons/snapshot.txt"),
        }
    }
}

/// Gives the lesson.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let output = args.output.clone().unwrap_or_else(|| "lesson.html".into());
    let mut table = Table::new(Ground::Simulator(1), output);
    let mut out = io::stdout();
    let asks = args.step && io::stdin().is_terminal();
    for line in args.lesson.script().lines() {
        let line = line.trim();
        if let Some(said) = line.strip_prefix('#') {
            if asks {
                write!(out, "\n[Enter] ")?;
                out.flush()?;
                if io::stdin().read_line(&mut String::new())? == 0 {
                    return Ok(());
                }
            }
            writeln!(out, "\n{}", said.trim())?;
            // Also into the trace, but said once.
            table.line(Ok(line), &mut io::sink())?;
            continue;
        }
        if !line.is_empty() {
            writeln!(out, "> {line}")?;
            table.line(Ok(line), &mut out)?;
        }
    }
    if args.output.is_some() {
        table.line(Ok("w"), &mut out)?;
    } else {
        writeln!(out, "\n`-o lesson.html` writes the timeline of all this.")?;
    }
    table.end()
}
