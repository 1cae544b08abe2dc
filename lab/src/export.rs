//! `raft-lab export`: a trace in the format of other viewers.
//!
//! ```text
//!   rows ─▶ chrome   the trace event format: Perfetto, chrome://tracing
//!        ─▶ shiviz   a line with a vector clock, then the event: ShiViz
//! ```
//! Rows go through one by one. What an event leaves behind for a later one (open spans, clocks of
//! messages that may still come) is bounded.

mod chrome;
mod shiviz;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{Failure, format::Reading, lines::Lines, row::Row};

/// Messages on their way that are remembered; later ones have no arrow.
const MESSAGES_MAX: usize = 1 << 20;

/// What is exported, as what, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace; `-` reads standard input.
    file: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
    /// The file that is written; `-`, the default, is standard output.
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct FormatArgs {
    /// Trace event format (JSON), for ui.perfetto.dev and chrome://tracing.
    #[arg(long)]
    chrome: bool,
    /// A log with vector clocks for ShiViz, as its standard parser reads it.
    #[arg(long)]
    shiviz: bool,
}

/// Writes a trace in another format.
trait Export {
    fn row(&mut self, row: &Row, to: &mut dyn Write) -> io::Result<()>;

    /// Everything was seen.
    fn end(&mut self, to: &mut dyn Write) -> io::Result<()>;
}

/// Writes the file.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let named =
        |path: &Path, error: io::Error| Failure::Wrong(format!("{}: {error}", path.display()));
    let mut lines = Lines::open(&args.file, false).map_err(|error| named(&args.file, error))?;
    let to: Box<dyn Write> = if args.output.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(&args.output).map_err(|error| named(&args.output, error))?)
    };
    let mut to = BufWriter::new(to);
    let mut export: Box<dyn Export> = if args.format.chrome {
        Box::new(chrome::Chrome::default())
    } else {
        Box::new(shiviz::Shiviz::default())
    };
    let mut reading = Reading::default();
    while let Some(line) = lines.next(|| Ok(()))? {
        if let Some(row) = reading.row(&line)? {
            export.row(&row, &mut to)?;
        }
    }
    export.end(&mut to)?;
    to.flush()?;
    Ok(())
}

/// A number of an event.
fn number(row: &Row, key: &str) -> Option<u64> {
    row.fields.get(key).and_then(serde_json::Value::as_u64)
}
