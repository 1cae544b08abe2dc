//! Where results go: standard output, with or without colour, and a line of progress on standard
//! error where a person watches.
//!
//! INVARIANT: colour carries nothing: without it the same words and signs stand there.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, Write},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::args::{Colour, Format, Output};

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
    progress: Option<Instant>,
    shown: bool,
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
        let progress = io::stderr().is_terminal().then(Instant::now);
        Self { format, colour, to: BufWriter::new(stdout.lock()), progress, shown: false }
    }

    /// A line for people.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")
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
    pub(crate) fn progress(&mut self, text: &str) {
        let Some(last) = &mut self.progress else { return };
        if last.elapsed() < Duration::from_millis(100) {
            return;
        }
        *last = Instant::now();
        self.shown = true;
        // Nothing depends on it: a terminal that went away is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }

    /// Takes the line of progress away.
    pub(crate) fn still(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.still();
        self.to.flush()
    }
}
