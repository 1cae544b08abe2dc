//! Where results go: standard output, with or without colour, and a line of progress on standard
//! error where a person watches.
//!
//! INVARIANT: colour carries nothing: without it the same words and signs stand there.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, Write},
};

use hardlog::inspect::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::{
    args::{Colour, Format, Output},
    number,
};

/// How far it is: share, bytes, speed, time left, the file that was read last.
const BAR: &str =
    "{percent:>3} % {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {msg}";
/// Columns of a terminal in which everything for people can be read.
pub(crate) const COLUMNS: usize = 80;
/// Bytes that wait for the next write to standard output.
const BUFFER: usize = 64 << 10;

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
    Strong,
    Quiet,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "1;31",
            Self::Strong => "1",
            Self::Quiet => "2",
        }
    }
}

/// Standard output as the arguments ask for it.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) format: Format,
    colour: bool,
    to: BufWriter<io::StdoutLock<'static>>,
    /// Hidden unless a terminal listens on standard error.
    bar: ProgressBar,
}

impl Out {
    pub(crate) fn new(output: &Output) -> Self {
        let format = if output.json { Format::Json } else { output.format };
        let stdout = io::stdout();
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let forced =
            set("CLICOLOR_FORCE") && env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0");
        let colour = match output.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => !set("NO_COLOR") && (forced || stdout.is_terminal()),
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        // A template without colour: the same everywhere, and within 80 columns.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style.progress_chars("█▌ "));
        }
        let to = BufWriter::with_capacity(BUFFER, stdout.lock());
        Self { format, colour, to, bar }
    }

    /// Whether a person reads the result.
    pub(crate) fn human(&self) -> bool {
        self.format == Format::Human
    }

    /// Standard output itself, for what has a form of its own.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        &mut self.to
    }

    /// A line for people.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// Text for people in lines of 80 columns, each behind `indent`.
    pub(crate) fn paragraph(&mut self, indent: &str, text: &str) -> io::Result<()> {
        let width = COLUMNS.saturating_sub(indent.chars().count());
        for line in number::wrapped(text, width) {
            self.line(&format!("{indent}{line}"))?;
        }
        Ok(())
    }

    /// Pieces of text in lines of 80 columns, broken between them; `first` stands before the first
    /// line and is as wide as what stands before the others.
    pub(crate) fn pieces(&mut self, first: &str, between: &str, all: &[String]) -> io::Result<()> {
        let indent = number::columns(first);
        let mut line = first.to_owned();
        let mut empty = true;
        for piece in all.iter().filter(|piece| !piece.is_empty()) {
            let more = if empty { 0 } else { number::columns(between) };
            if !empty && number::columns(&line) + more + number::columns(piece) > COLUMNS {
                self.line(line.trim_end())?;
                line = " ".repeat(indent + 2);
                empty = true;
            }
            if !empty {
                line.push_str(between);
            }
            let room = COLUMNS.saturating_sub(indent + 2);
            let mut lines = number::wrapped(piece, room).into_iter();
            if number::columns(piece) > room {
                line.push_str(&lines.next().unwrap_or_default());
                for next in lines {
                    self.line(line.trim_end())?;
                    line = " ".repeat(indent + 2) + &next;
                }
            } else {
                line.push_str(piece);
            }
            empty = false;
        }
        self.line(line.trim_end())
    }

    /// Raw text, without a line's end.
    pub(crate) fn raw(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes())
    }

    /// One JSON object, on one line or spread out as the format has it.
    pub(crate) fn object(&mut self, object: &Value) -> io::Result<()> {
        match self.format {
            Format::Ndjson => writeln!(self.to, "{object}"),
            Format::Json | Format::Human => writeln!(self.to, "{object:#}"),
        }
    }

    /// `text` in a tone, where there is colour.
    pub(crate) fn toned(&self, tone: Tone, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }

    /// Tells whoever watches how far it is; at most ten times a second.
    pub(crate) fn progress(&mut self, at: Progress<'_>) {
        self.bar.set_length(at.total);
        self.bar.set_position(at.done);
        self.bar.set_message(at.file.to_owned());
    }

    /// Takes the bar away.
    pub(crate) fn still(&mut self) {
        self.bar.finish_and_clear();
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.still();
        self.to.flush()
    }
}
