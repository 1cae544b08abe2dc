//! `diff`: the logs of several replicas, entry by entry.

use std::{
    io,
    path::{Path, PathBuf},
};

use hardlog::{
    fs::Fs,
    inspect::{self, Broken, DiffReport, Difference, Replica},
};
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{self, DAMAGED, Ended},
    json, next, number,
    out::{Out, Tone},
    source::{Source, title},
    table::{Side, Table},
};

/// What `diff` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The directories of two to sixteen replicas.
    #[arg(required = true, num_args = 2..=inspect::REPLICAS_MAX, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let sources = args.dirs.iter().map(|dir| Source::open(dir)).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<&dyn Fs> = sources.iter().map(Source::fs).collect();
    out.busy("comparing");
    let compared = inspect::diff(&all);
    out.still();
    let report = compared?;
    let code = report.outcome().code();
    if out.format == Format::Human {
        human(&report, &args.dirs, out)?;
        return Ok(code);
    }
    let mut object = json!({
        "schema": "wal-tool.diff/1",
        "exit": code,
        "verdict": if report.is_consistent() { "consistent" } else { "inconsistent" },
        "common": report.common,
        "compared": report.compared,
        "replicas": replicas(&report, &args.dirs),
        "differences": report.differences.iter().map(|d| difference(d, &args.dirs)).collect::<Value>(),
        "findings": findings(&report, &args.dirs),
    });
    if out.format == Format::Ndjson {
        for list in ["replica", "difference", "finding"] {
            let rows = object[format!("{list}s")].take();
            let rows = rows.as_array().cloned().unwrap_or_default();
            object[format!("{list}s")] = json!(rows.len());
            let schema = match list {
                "finding" => "wal-tool.finding/1".to_owned(),
                list => format!("wal-tool.diff.{list}/1"),
            };
            for row in rows {
                out.object(&json::tagged(&schema, row))?;
            }
        }
    }
    out.object(&object)?;
    Ok(code)
}

fn replicas(report: &DiffReport, dirs: &[PathBuf]) -> Value {
    let row = |(replica, dir): (&Replica, &PathBuf)| {
        let hs = replica.report.summary.hard_state;
        json!({
            "dir": dir.display().to_string(),
            "log": replica.report.summary.log_id.map(|id| id.to_string()),
            "verdict": replica.report.outcome().name().to_lowercase(),
            "indexes": replica.span,
            "term": hs.term,
            "vote": hs.vote,
            "commit": hs.commit,
            "behind": behind(replica, report),
            "missing": replica.missing,
        })
    };
    report.replicas.iter().zip(dirs).map(row).collect()
}

fn difference(difference: &Difference, dirs: &[PathBuf]) -> Value {
    let (a, b) = difference.replicas;
    let (left, right) = difference.ids;
    let breaks = difference.breaks.map(|broken| {
        let (what, index) = match broken {
            Broken::Bytes(index) => ("log matching: other bytes", index),
            Broken::Behind(index) => ("log matching: equal behind a difference", index),
            Broken::Committed(index) => ("state machine safety", index),
            _ => ("something this version has no word for", difference.index),
        };
        json!({ "what": what, "index": index, "says": broken.to_string() })
    });
    json!({
        "dirs": [dirs[a].display().to_string(), dirs[b].display().to_string()],
        "index": difference.index,
        "last": difference.last,
        "terms": [left.term, right.term],
        "committed": difference.committed,
        "breaks": breaks,
    })
}

fn findings(report: &DiffReport, dirs: &[PathBuf]) -> Value {
    let rows = report.findings.iter().zip(&report.differences);
    rows.map(|(finding, difference)| json::finding(finding, &dirs[difference.replicas.1])).collect()
}

/// How many entries a replica lacks that the longest log holds.
fn behind(replica: &Replica, report: &DiffReport) -> u64 {
    let next = |replica: &Replica| replica.report.summary.window.map_or(0, |(_, next)| next);
    let longest = report.replicas.iter().map(next).max().unwrap_or(0);
    longest.saturating_sub(next(replica))
}

fn human(report: &DiffReport, dirs: &[PathBuf], out: &mut Out) -> io::Result<()> {
    use Side::{Left, Right};
    let mut table = Table::new(&[
        ("replica", Left),
        ("log", Left),
        ("term", Right),
        ("vote", Right),
        ("commit", Right),
        ("behind", Right),
        ("", Left),
    ]);
    for (replica, dir) in report.replicas.iter().zip(dirs) {
        let hs = replica.report.summary.hard_state;
        let quick = replica.report.outcome();
        table.row(vec![
            title(dir),
            replica.span.map_or("empty".to_owned(), number::span),
            number::grouped(hs.term),
            hs.vote.map_or("none".to_owned(), |vote| format!("n{vote}")),
            number::grouped(hs.commit),
            number::grouped(behind(replica, report)),
            if quick.code() == 0 { String::new() } else { quick.name().to_lowercase() },
        ]);
    }
    crate::ls::print(&table, out)?;
    let common = report.common.map_or("none".to_owned(), number::span);
    out.line(&format!("  the same in all  {common}"))?;
    for difference in &report.differences {
        one(difference, dirs, out)?;
    }
    for (replica, dir) in report.replicas.iter().zip(dirs).filter(|(r, _)| r.missing > 0) {
        let missing = number::count_of(replica.missing, "entry", "entries");
        out.line(&format!(
            "  ? {missing} of {} cannot be read, and were not compared",
            title(dir)
        ))?;
    }
    let (tone, word) = match report.is_consistent() {
        true => (Tone::Good, "CONSISTENT"),
        false => (Tone::Bad, "INCONSISTENT"),
    };
    let word = out.toned(tone, word);
    let compared = number::count_of(report.compared, "index", "indexes");
    let unmatched = |broken| matches!(broken, Broken::Bytes(_) | Broken::Behind(_));
    let breaks = report.differences.iter().filter_map(|difference| difference.breaks);
    let matching = if breaks.into_iter().any(unmatched) { "does not hold" } else { "holds" };
    out.line(&format!("RESULT  {word}  {compared} compared; Log Matching {matching}"))?;
    next(report, dirs, out)
}

fn one(difference: &Difference, dirs: &[PathBuf], out: &mut Out) -> io::Result<()> {
    let (a, b) = difference.replicas;
    let (left, right) = difference.ids;
    let (tone, sign) = match difference.breaks {
        Some(_) => (Tone::Bad, "✘"),
        None => (Tone::Quiet, "·"),
    };
    let code = if difference.committed { "W601" } else { "W602" };
    let (sign, code) = (out.toned(tone, sign), out.toned(Tone::Strong, code));
    let (a, b) = (title(&dirs[a]), title(&dirs[b]));
    let span = number::span((difference.index, difference.last));
    let noun = if difference.index == difference.last { "entry" } else { "entries" };
    out.line(&format!("  {sign} {code} {noun} {span} of {a} and {b} differ"))?;
    let (left, right) = (number::grouped(left.term), number::grouped(right.term));
    let index = number::grouped(difference.index);
    out.line(&format!("      entry {index} has term {left} in {a} and term {right} in {b}"))?;
    match difference.breaks {
        None => out.line("      not committed by both: the next leader settles it"),
        Some(broken) => out.paragraph("      ", &broken.to_string()),
    }
}

fn next(report: &DiffReport, dirs: &[PathBuf], out: &mut Out) -> io::Result<()> {
    let broken = report.differences.iter().find(|difference| difference.breaks.is_some());
    if let Some(difference) = broken {
        let code = if difference.committed { "W601" } else { "W602" };
        let dir = next::typed(&dirs[difference.replicas.1]);
        let index = difference.index;
        return out
            .line(&format!("  next: wal-tool explain {code}   ·   wal-tool get {dir} {index}"));
    }
    if report.outcome().code() >= DAMAGED {
        let bad = report.replicas.iter().zip(dirs);
        let bad = bad.filter(|(replica, _)| replica.report.outcome().code() >= DAMAGED);
        let dirs: Vec<&Path> = bad.map(|(_, dir)| dir.as_path()).collect();
        if let Some(dir) = dirs.first() {
            return out.line(&format!("  next: {}", next::verify(dir)));
        }
    }
    Ok(())
}
