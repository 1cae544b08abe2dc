//! `raft-lab timeline`: a trace as a page for a browser.
//!
//! Above: the command line, `play`. Below: `raft-lab-timeline`, which writes pages.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use raft_lab_timeline::{Ask, EVENTS_MAX};

use crate::{Failure, clock::Moment, lines::Lines};

/// What is shown, and where the page goes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// A trace, a log in the format of the 6.824 helpers, or the output of `go test -v`; `-` reads
    /// standard input.
    file: PathBuf,
    /// The page; `-` writes to standard output [default: FILE.html]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Its heading; the trace's source and seed otherwise.
    #[arg(long)]
    title: Option<String>,
    /// Begin at this time: 1.5s, 200ms, 12:00:01.5, or as `columns` prints it.
    #[arg(long, value_parser = Moment::parse)]
    from: Option<Moment>,
    /// End at this time.
    #[arg(long, value_parser = Moment::parse)]
    to: Option<Moment>,
    /// Events on the page at most; a browser gets slow with more.
    #[arg(long, default_value_t = EVENTS_MAX)]
    max: u64,
}

impl Args {
    /// Everything in a trace that has this name.
    pub(crate) fn of(file: PathBuf, output: PathBuf) -> Self {
        Self { file, output: Some(output), title: None, from: None, to: None, max: EVENTS_MAX }
    }
}

/// Writes the page of a file.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    write(args, Lines::open(&args.file, false).map_err(|error| named(&args.file, error))?)
}

fn named(path: &Path, error: io::Error) -> Failure {
    Failure::Wrong(format!("{}: {error}", path.display()))
}

/// Writes the page of these lines.
pub(crate) fn write(args: &Args, lines: Lines) -> Result<(), Failure> {
    let output = args.output.clone().unwrap_or_else(|| beside(&args.file));
    let to: Box<dyn Write> = if output.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(&output).map_err(|error| named(&output, error))?)
    };
    let Args { title, from, to: until, max, .. } = args.clone();
    let ask = Ask { title, from, to: until, max, ..Ask::of(&args.file) };
    let left_out = raft_lab_timeline::write(lines, &ask, to)?;
    if left_out > 0 {
        eprintln!("raft-lab: {left_out} events are not on the page: see --from, --to and --max");
    }
    Ok(())
}

/// `FILE.html`.
fn beside(file: &Path) -> PathBuf {
    let mut name =
        if file.as_os_str() == "-" { "trace".into() } else { file.as_os_str().to_owned() };
    name.push(".html");
    name.into()
}
