//! Where the view goes: standard output, or a pager where a person watches.
//!
//! `$PAGER` is split at spaces and started as it is, without a shell; `less` where it is not set.
//! An empty one, `cat`, or one that cannot be started means no pager.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, Write},
    process::{Child, Command, Stdio},
};

/// Where lines go.
pub(crate) struct Screen {
    to: Option<BufWriter<Box<dyn Write>>>,
    pager: Option<Child>,
}

impl Screen {
    /// Opens the pager if `paged`, standard output otherwise.
    pub(crate) fn open(paged: bool) -> Self {
        let mut pager = if paged && io::stdout().is_terminal() { start() } else { None };
        let to: Box<dyn Write> = match pager.as_mut().and_then(|child| child.stdin.take()) {
            Some(stdin) => Box::new(stdin),
            None => Box::new(io::stdout().lock()),
        };
        Self { to: Some(BufWriter::with_capacity(64 << 10, to)), pager }
    }

    /// One line.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        match &mut self.to {
            Some(to) => writeln!(to, "{text}"),
            None => Ok(()),
        }
    }

    /// Shows what was written so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), Write::flush)
    }

    /// Ends, and waits until the reader has left the pager.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let flushed = self.flush();
        drop(self.to.take());
        if let Some(mut pager) = self.pager.take() {
            pager.wait()?;
        }
        flushed
    }
}

fn start() -> Option<Child> {
    let asked = env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    let mut words = asked.split_whitespace();
    let program = words.next().filter(|program| *program != "cat")?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        // Colours, no folding of lines, no pause over what fits on a screen.
        command.env("LESS", "-RSFX");
    }
    command.spawn().ok()
}
