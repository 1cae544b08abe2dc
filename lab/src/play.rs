//! `raft-lab play`: a cluster to break, line by line.
//!
//! ```text
//!   terminal (editor, ─┐
//!     or a screen)     │
//!   standard input ────┼─▶ command ─▶ game ─▶ the simulator: real nodes, simulated time and disks
//!   lesson ────────────┘                │
//!                                       └─▶ show: every node after each command
//! ```
//! A line that makes no sense or cannot be done is an error message. On a terminal nothing else
//! comes of it; a script goes on too, and ends with exit code 1.

mod command;
mod editor;
mod game;
pub(crate) mod lesson;
mod screen;
mod show;
mod store;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use self::game::{Game, Outcome};
use crate::{Failure, lines::Lines, row::visible, timeline};

/// How the game begins.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run is drawn from this number: the same lines give the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where `w` writes the timeline.
    #[arg(short, long, default_value = "play.html")]
    output: PathBuf,
    /// Keeps the lines of a terminal in this file, for the next time.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Shows nodes, logs and their files on the whole screen, while time passes.
    #[arg(long)]
    tui: bool,
}

/// Time that passes after a command that takes none itself, in microseconds.
const PACE: u64 = 1_000_000;

/// Plays until there are no more lines.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut table = Table::new(args.seed, args.output.clone());
    if args.tui {
        return screen::play(&mut table);
    }
    if io::stdin().is_terminal() {
        return editor::play(&mut table, args.history.as_deref());
    }
    let mut lines = Lines::open(Path::new("-"), false)?;
    while let Some(line) = lines.next(|| Ok(()))? {
        let text = line.text().map(str::to_owned);
        if let Ok(text) = &text
            && !text.trim().is_empty()
            && !text.trim().starts_with('#')
        {
            writeln!(io::stdout(), "> {}", visible(text.trim()))?;
        }
        if !table.line(text.as_deref().map_err(Clone::clone), &mut io::stdout())? {
            break;
        }
    }
    table.end()
}

/// A game, and what becomes of its lines.
struct Table {
    game: Game,
    output: PathBuf,
    /// Lines that could not be done.
    errors: u64,
}

impl Table {
    fn new(seed: u64, output: PathBuf) -> Self {
        Self { game: Game::new(seed, PACE), output, errors: 0 }
    }

    /// Does what a line says. False if it was the last.
    fn line(&mut self, text: Result<&str, String>, to: &mut dyn Write) -> Result<bool, Failure> {
        // `fails` in front of a line: it is right only if it fails.
        let (text, fails) = match text.map(|text| (text, text.trim().strip_prefix("fails "))) {
            Ok((_, Some(rest))) => (Ok(rest), true),
            Ok((text, None)) => (Ok(text), false),
            Err(why) => (Err(why), false),
        };
        let outcome = text.and_then(command::parse).and_then(|command| self.game.run(command));
        let said = match outcome {
            Ok(Outcome::Stop) => return Ok(false),
            Ok(Outcome::Done(said)) => Ok(said),
            Ok(Outcome::Write(path)) => self.write(path),
            Err(why) => Err(why),
        };
        let said = match (said, fails) {
            (Err(why), true) => Ok(format!("✓ fails: {}\n", visible(&why))),
            (Ok(said), true) => Err(format!("✗ it should fail: {}", said.trim())),
            (said, false) => said,
        };
        match said {
            Ok(said) => to.write_all(said.as_bytes())?,
            Err(why) => {
                self.errors += 1;
                writeln!(to, "error: {}", visible(&why))?;
            }
        }
        Ok(true)
    }

    /// Writes the timeline, or the trace as it is.
    fn write(&self, path: Option<String>) -> Result<String, String> {
        let path = path.map_or_else(|| self.output.clone(), PathBuf::from);
        let trace = self.game.trace().unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            fs::write(&path, trace).map_err(|error| format!("{}: {error}", path.display()))?;
        } else {
            let args = timeline::Args::of(PathBuf::from("play"), path.clone());
            timeline::write(&args, Lines::of(trace)).map_err(Failure::words)?;
        }
        Ok(format!("written: {}\n", path.display()))
    }

    /// A script whose lines could not all be done has failed.
    fn end(self) -> Result<(), Failure> {
        match self.errors {
            0 => Ok(()),
            1 => Err(Failure::Nothing("one line could not be done".to_owned())),
            n => Err(Failure::Nothing(format!("{n} lines could not be done"))),
        }
    }
}
