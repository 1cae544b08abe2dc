//! `raft-lab timeline`: a trace as a page for a browser.
//!
//! Rows go from the file to the page one by one; what is known only at the end (the nodes) is
//! written behind them. The page holds everything, so how much it gets has a limit.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    Failure,
    clock::Moment,
    format::{Format, Reading},
    lines::Lines,
    page::Page,
    row::Row,
};

/// Events on a page unless more are asked for.
const EVENTS_MAX: u64 = 400_000;

/// What is shown, and where the page goes.
#[derive(Debug, clap::Args)]
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
pub(crate) fn write(args: &Args, mut lines: Lines) -> Result<(), Failure> {
    let output = args.output.clone().unwrap_or_else(|| beside(&args.file));
    let to: Box<dyn Write> = if output.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(&output).map_err(|error| named(&output, error))?)
    };
    let name = args.file.file_name().unwrap_or(OsStr::new("trace")).to_string_lossy().into_owned();
    let title = args.title.clone().unwrap_or_else(|| name.clone());
    let mut page = Page::begin(BufWriter::new(to), &format!("{title} · raft-lab"))?;
    let mut reading = Reading::default();
    let left_out = rows(args, &mut lines, &mut reading, &mut page)?;
    let words = reading.header().words();
    let said = if words.is_empty() { name } else { format!("{words} · {name}") };
    let trace = reading.format().is_none_or(|format| format == Format::Trace);
    let format = match reading.format() {
        Some(Format::Students) => "6.824",
        Some(Format::GoTest) => "go test",
        Some(Format::Trace) | None => "hardlog.trace/1",
    };
    page.end(&json!({
        "title": args.title.clone().unwrap_or(said),
        "trace": trace,
        "format": format,
        "nodes": reading.nodes(),
    }))?;
    if left_out > 0 {
        eprintln!("raft-lab: {left_out} events are not on the page: see --from, --to and --max");
    }
    Ok(())
}

/// Hands the rows on; how many were too many.
fn rows(
    args: &Args,
    lines: &mut Lines,
    reading: &mut Reading,
    page: &mut Page<BufWriter<Box<dyn Write>>>,
) -> Result<u64, Failure> {
    let (mut shown, mut left_out, mut begun) = (0, 0, args.from.is_none());
    while let Some(line) = lines.next(|| Ok(()))? {
        let Some(row) = reading.row(&line)? else { continue };
        let reached = |moment: &Option<Moment>| {
            moment.as_ref().and_then(|moment| moment.reached(row.micros, &row.clock))
        };
        begun = begun || reached(&args.from) == Some(true);
        if !begun {
            continue;
        }
        if reached(&args.to) == Some(true) {
            break;
        }
        if shown < args.max {
            shown += 1;
            page.row(&row)?;
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        let words = format!("{left_out} more events are not on this page");
        page.row(&Row::broken(0, &words))?;
    }
    Ok(left_out)
}

/// `FILE.html`.
fn beside(file: &Path) -> PathBuf {
    let mut name =
        if file.as_os_str() == "-" { "trace".into() } else { file.as_os_str().to_owned() };
    name.push(".html");
    name.into()
}
