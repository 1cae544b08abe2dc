//! `raft-lab play`: a cluster to break, line by line.
//!
//! ```text
//!   terminal (editor, ─┐
//!     or a screen)     │
//!   standard input ────┼─▶ command ─▶ game ─▶ world ─┬─▶ simulated: time, network and disks
//!   lesson ────────────┘                │            └─▶ real: one process a node
//!                                       └─▶ show: every node after each command
//! ```
//! A line that makes no sense or cannot be done is an error message. On a terminal nothing else
//! comes of it; a script goes on too, and ends with exit code 1.

mod command;
mod editor;
mod game;
pub(crate) mod lesson;
mod real;
mod screen;
mod show;
mod simulated;
mod store;
mod world;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use self::game::{Game, Ground, Outcome};
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
    /// Plays with processes of hardlog-kv on this machine, and not in the simulator.
    #[arg(long, conflicts_with = "seed")]
    real: bool,
    /// The directory of their cluster: what is there goes on, and it stays [default: a temporary
    /// one]
    #[arg(long, requires = "real")]
    dir: Option<PathBuf>,
    /// The program hardlog-kv; beside this one or on the path otherwise.
    #[arg(long, requires = "real")]
    binary: Option<PathBuf>,
}

/// Plays until there are no more lines.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Asked for before anything else, so that nothing is begun.
    if args.tui && (!io::stdin().is_terminal() || !io::stdout().is_terminal()) {
        return Err(Failure::Wrong("a screen needs a terminal".to_owned()));
    }
    let mut table = Table::new(ground(args)?, args.output.clone());
    if args.tui {
        screen::play(&mut table)?;
        return table.game.end().map_err(Failure::Wrong);
    }
    if io::stdin().is_terminal() {
        editor::play(&mut table, args.history.as_deref())?;
        return table.game.end().map_err(Failure::Wrong);
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

/// Where the cluster is to live.
fn ground(args: &Args) -> Result<Ground, Failure> {
    if !args.real && !args.tui {
        return Ok(Ground::Simulator(args.seed));
    }
    let guard = real::Guard::set()?;
    if args.tui {
        guard.at_last(ratatui::restore);
    }
    if !args.real {
        return Ok(Ground::Simulator(args.seed));
    }
    let place = real::Place { dir: args.dir.clone(), binary: args.binary.clone(), guard };
    Ok(Ground::Processes(place))
}

/// A game, and what becomes of its lines.
struct Table {
    game: Game,
    output: PathBuf,
    /// Lines that could not be done.
    errors: u64,
}

impl Table {
    fn new(ground: Ground, output: PathBuf) -> Self {
        Self { game: Game::new(ground), output, errors: 0 }
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
        let trace = self.game.trace()?;
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            fs::write(&path, trace).map_err(|error| format!("{}: {error}", path.display()))?;
        } else {
            let args = timeline::Args::of(PathBuf::from("play"), path.clone());
            timeline::write(&args, Lines::of(trace)).map_err(Failure::words)?;
        }
        Ok(format!("written: {}\n", path.display()))
    }

    /// A script whose lines could not all be done has failed.
    fn end(mut self) -> Result<(), Failure> {
        self.game.end().map_err(Failure::Wrong)?;
        match self.errors {
            0 => Ok(()),
            1 => Err(Failure::Nothing("one line could not be done".to_owned())),
            n => Err(Failure::Nothing(format!("{n} lines could not be done"))),
        }
    }
}
