//! Where results go: standard output, with or without colour, and a line of progress on standard
//! error where a person watches.
//!
//! INVARIANT: colour carries nothing: without it the same words and signs stand there.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, Write},
    time::Duration,
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
    "{percent:>3} % {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {wide_msg}";
/// The same where the end is not known: what, and for how long by now.
const BUSY: &str = "{spinner} wal-tool: {msg} {elapsed}";
/// Columns of a terminal in which everything for people can be read.
pub(crate) const COLUMNS: usize = 80;
/// Bytes that wait for the next write to standard output.
const BUFFER: usize = 64 << 10;
/// Bytes that are kept of what is said into memory.
const KEPT_MAX: usize = 64 << 20;

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

/// Where it goes.
#[derive(Debug)]
enum Target {
    Stdout(io::StdoutLock<'static>),
    /// What is kept, and how much of it may be.
    Memory(Vec<u8>, usize),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(to) => to.write(bytes),
            Self::Memory(kept, max) if kept.len() + bytes.len() > *max => {
                Err(io::Error::other(format!("more than {} bytes", number::grouped(*max as u64))))
            }
            Self::Memory(kept, _) => kept.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(to) => to.flush(),
            Self::Memory(..) => Ok(()),
        }
    }
}

/// Standard output as the arguments ask for it.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) format: Format,
    colour: bool,
    to: BufWriter<Target>,
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
        let to = BufWriter::with_capacity(BUFFER, Target::Stdout(stdout.lock()));
        Self { format, colour, to, bar: line(BAR) }
    }

    /// One that keeps what is said, up to a limit, and shows nothing.
    pub(crate) fn in_memory(format: Format) -> Self {
        let to = BufWriter::with_capacity(BUFFER, Target::Memory(Vec::new(), KEPT_MAX));
        Self { format, colour: false, to, bar: ProgressBar::hidden() }
    }

    /// What was kept; an end that did not fit is missing.
    pub(crate) fn taken(mut self) -> Vec<u8> {
        // What does not fit was said when it was written.
        let _ = self.to.flush();
        match self.to.into_parts().0 {
            Target::Memory(kept, _) => kept,
            Target::Stdout(_) => Vec::new(),
        }
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
    /// line, and the others begin two columns further in.
    pub(crate) fn pieces(&mut self, first: &str, between: &str, all: &[String]) -> io::Result<()> {
        self.broken(first, number::columns(first) + 2, (between, all))
    }

    /// What to type next: commands one behind the other, or below each other where they are long.
    pub(crate) fn next(&mut self, commands: &[String]) -> io::Result<()> {
        let first = "  next: ";
        self.broken(first, number::columns(first), ("   ·   ", commands))
    }

    fn broken(
        &mut self,
        first: &str,
        indent: usize,
        (between, all): (&str, &[String]),
    ) -> io::Result<()> {
        let mut line = first.to_owned();
        let mut empty = true;
        for piece in all.iter().filter(|piece| !piece.is_empty()) {
            let more = if empty { 0 } else { number::columns(between) };
            if !empty && number::columns(&line) + more + number::columns(piece) > COLUMNS {
                self.line(line.trim_end())?;
                line = " ".repeat(indent);
                empty = true;
            }
            if !empty {
                line.push_str(between);
            }
            let room = COLUMNS.saturating_sub(indent);
            let mut lines = number::wrapped(piece, room).into_iter();
            if number::columns(piece) > room {
                line.push_str(&lines.next().unwrap_or_default());
                for next in lines {
                    self.line(line.trim_end())?;
                    line = " ".repeat(indent) + &next;
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

    /// Whether what is said goes where somebody may watch.
    fn is_watched(&self) -> bool {
        matches!(self.to.get_ref(), Target::Stdout(_))
    }

    /// Tells whoever watches how far it is; at most ten times a second.
    pub(crate) fn progress(&mut self, at: Progress<'_>) {
        self.step((at.done, at.total), at.file);
    }

    /// The same for so many of so many bytes.
    pub(crate) fn step(&mut self, (done, total): (u64, u64), what: &str) {
        if !self.is_watched() {
            return;
        }
        if self.bar.is_finished() {
            self.bar = line(BAR);
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        // Names of segments begin with many zeros, and the line is as wide as the terminal.
        self.bar.set_message(what.trim_start_matches('0').to_owned());
    }

    /// Tells whoever watches that something is under way of which nobody knows how long it takes.
    pub(crate) fn busy(&mut self, what: &'static str) {
        if !self.is_watched() {
            return;
        }
        self.bar = line(BUSY);
        self.bar.set_message(what);
        self.bar.tick();
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// The same, but not where the rows of a result run over the same terminal.
    pub(crate) fn busy_behind(&mut self, what: &'static str) {
        if !io::stdout().is_terminal() {
            self.busy(what);
        }
    }

    /// Takes the line away.
    pub(crate) fn still(&mut self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.still();
        self.to.flush()
    }
}

/// A line of progress on standard error, at most ten times a second, hidden where nobody watches.
fn line(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    // A template without colour: the same everywhere, and within 80 columns.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▌ "));
    }
    bar
}
