//! `ls`: a row for each segment, or for each snapshot file.

use std::{io, path::PathBuf};

use hardlog::inspect::{self, SegmentReport, SnapshotReport, VerifyOptions, VerifyReport};
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{self, Ended},
    json, next, number,
    out::Out,
    source::Source,
    table::{Side, Table},
};

/// What `ls` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory, or one segment file.
    pub(crate) dir: PathBuf,
    /// The snapshot files instead.
    #[arg(long)]
    pub(crate) snapshots: bool,
    /// Leave out what only reading every segment can tell: terms, batches, entries.
    #[arg(long)]
    pub(crate) quick: bool,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let source = Source::open(&args.dir)?;
    let options = VerifyOptions::new().quick(args.quick || args.snapshots);
    let report = inspect::verify(source.fs(), options, &mut |at| out.progress(at))?;
    out.still();
    let code = report.outcome().code();
    let rows: Vec<Value> = match args.snapshots {
        true => report.snapshots.iter().map(json::snapshot).collect(),
        false => report.segments.iter().map(json::segment).collect(),
    };
    let (list, row) = match args.snapshots {
        true => ("snapshots", "wal-tool.snapshot/1"),
        false => ("segments", "wal-tool.segment/1"),
    };
    let mut object = json!({
        "schema": "wal-tool.ls/1",
        "exit": code,
        "verdict": report.outcome().name().to_lowercase(),
        "dir": args.dir.display().to_string(),
        "first": report.summary.window.map(|(first, _)| first),
        "next": report.summary.window.map(|(_, next)| next),
        "rows": rows.len(),
    });
    match out.format {
        Format::Human => {
            if args.snapshots {
                snapshots(&report, out)?;
            } else {
                segments(&report, out)?;
            }
            next_command(&report, args, out)?;
        }
        Format::Json => {
            object[list] = Value::Array(rows);
            out.object(&object)?;
        }
        Format::Ndjson => {
            for object in rows {
                out.object(&json::tagged(row, object))?;
            }
            out.object(&object)?;
        }
    }
    Ok(code)
}

fn segments(report: &VerifyReport, out: &mut Out) -> io::Result<()> {
    use Side::{Left, Right};
    let mut table = Table::new(&[
        ("segment", Right),
        ("", Left),
        ("entries", Left),
        ("terms", Left),
        ("batches", Right),
        ("count", Right),
        ("bytes", Right),
        ("live", Right),
    ]);
    for segment in &report.segments {
        table.row(row(segment));
    }
    print(&table, out)?;
    let live: u64 = report.segments.iter().filter_map(|s| s.live).map(|(a, b)| b - a + 1).sum();
    out.line(&format!(
        "{}, {}, {} that count; {}",
        number::count(report.segments.len() as u64, "segment"),
        number::size(report.segments.iter().map(|segment| segment.len).sum()),
        number::count_of(live, "entry", "entries"),
        report.outcome().name().to_lowercase(),
    ))
}

/// Where somebody has to look closer.
fn next_command(report: &VerifyReport, args: &Args, out: &mut Out) -> io::Result<()> {
    if report.outcome().code() < exit::DAMAGED {
        return Ok(());
    }
    let commands = [next::verify(&args.dir), next::repair_said(&args.dir)];
    out.next(&commands)
}

fn row(segment: &SegmentReport) -> Vec<String> {
    let contents = segment.contents;
    let unknown = || "?".to_owned();
    let number = |value: Option<u64>| value.map_or_else(unknown, number::grouped);
    let live = segment.live.map_or(0, |(first, last)| last - first + 1);
    let share = contents.map_or_else(unknown, |contents| match contents.entries {
        0 => "-".to_owned(),
        all => format!("{} %", u128::from(live) * 100 / u128::from(all)),
    });
    vec![
        segment.id.to_string(),
        segment.role.name().to_owned(),
        crate::verify::holds(segment),
        contents.map_or_else(unknown, |c| c.terms.map_or("-".to_owned(), number::span)),
        number(contents.map(|c| c.batches)),
        number(contents.map(|c| c.entries)),
        number::size(segment.len),
        share,
    ]
}

fn snapshots(report: &VerifyReport, out: &mut Out) -> io::Result<()> {
    use Side::{Left, Right};
    let columns =
        [("entry", Right), ("term", Right), ("file", Right), ("payload", Right), ("", Left)];
    let mut table = Table::new(&columns);
    for snapshot in &report.snapshots {
        table.row(vec![
            number::grouped(snapshot.id.index),
            number::grouped(snapshot.id.term),
            number::size(snapshot.file_len),
            snapshot.len.map_or("?".to_owned(), number::size),
            about(snapshot).to_owned(),
        ]);
    }
    print(&table, out)?;
    out.line(&number::count(report.snapshots.len() as u64, "snapshot"))
}

/// What a snapshot file is to the log.
pub(crate) fn about(snapshot: &SnapshotReport) -> &'static str {
    match (snapshot.sound, snapshot.marked) {
        (true, true) => "the newest marked one",
        (true, false) => "not marked",
        (false, true) => "DAMAGED, and the log counts on it",
        (false, false) => "damaged, and nothing counts on it",
    }
}

pub(crate) fn print(table: &Table, out: &mut Out) -> io::Result<()> {
    for (at, line) in table.lines().iter().enumerate() {
        let line = if at == 0 { out.toned(crate::out::Tone::Quiet, line) } else { line.clone() };
        out.line(&line)?;
    }
    Ok(())
}
