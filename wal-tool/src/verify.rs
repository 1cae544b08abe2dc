//! `verify`: everything is read, every doubt is named, and one word at the end.

use std::{
    io,
    path::{Path, PathBuf},
};

use hardlog::{
    Verdict,
    error::Evidence,
    inspect::{self, Finding, Outcome, Role, SegmentReport, Severity, VerifyOptions, VerifyReport},
};
use serde_json::json;

use crate::{
    args::Format,
    exit::{self, Ended},
    json, next, number,
    out::{Out, Tone},
    source::{Source, title},
};

/// Sound segments named one by one; more are counted.
const SOUND_MAX: usize = 12;
/// Findings printed for people; more are counted.
const FINDINGS_MAX: usize = 100;

/// What `verify` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// Read only what an open reads: headers, index files, the last segment, ends of snapshots.
    #[arg(long)]
    pub(crate) quick: bool,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let source = Source::open(&args.dir)?;
    let options = VerifyOptions::new().quick(args.quick);
    let report = inspect::verify(source.fs(), options, &mut |at| out.progress(at))?;
    out.still();
    show(&report, &args.dir, out)
}

/// What a verification found, in every form.
pub(crate) fn show(report: &VerifyReport, dir: &Path, out: &mut Out) -> Ended {
    match out.format {
        Format::Human => human(report, dir, out)?,
        Format::Json => out.object(&json::report("wal-tool.verify/1", report, dir))?,
        Format::Ndjson => {
            for segment in &report.segments {
                out.object(&json::tagged("wal-tool.segment/1", json::segment(segment)))?;
            }
            for snapshot in &report.snapshots {
                out.object(&json::tagged("wal-tool.snapshot/1", json::snapshot(snapshot)))?;
            }
            for finding in &report.findings {
                let row = json::finding(finding, dir);
                out.object(&json::tagged("wal-tool.finding/1", row))?;
            }
            let mut summary = json::report("wal-tool.verify/1", report, dir);
            if let Some(fields) = summary.as_object_mut() {
                for list in ["segments", "snapshots", "findings"] {
                    let count = fields.get(list).and_then(|v| v.as_array()).map_or(0, Vec::len);
                    fields.insert(list.to_owned(), json!(count));
                }
            }
            out.object(&summary)?;
        }
    }
    Ok(report.outcome().code())
}

fn human(report: &VerifyReport, dir: &Path, out: &mut Out) -> io::Result<()> {
    let head = out.toned(Tone::Strong, &title(dir));
    out.pieces("", "  ", &[vec![head], heading(report)].concat())?;
    if report.lock.may_be_live() {
        out.line("  live: somebody has it open; what is being written is not judged")?;
    }
    sound(report, out)?;
    for finding in report.findings.iter().take(FINDINGS_MAX) {
        print(finding, dir, out)?;
    }
    let hidden = report.findings.len().saturating_sub(FINDINGS_MAX) as u64 + report.omitted;
    if hidden > 0 {
        out.line(&format!("  … and {} (--json lists more)", number::count(hidden, "finding")))?;
    }
    for trouble in &report.troubles {
        let sign = out.toned(Tone::Bad, "?");
        out.line(&format!("  {sign} {trouble}"))?;
    }
    if !report.foreign.is_empty() {
        let names = report.foreign.join(", ");
        out.paragraph("  ", &format!("not of this log, left alone: {names}"))?;
    }
    result(report, out)?;
    advice(report, dir, out)
}

/// What the log says of itself, on one line.
fn heading(report: &VerifyReport) -> Vec<String> {
    let summary = &report.summary;
    let hs = summary.hard_state;
    let vote = hs.vote.map_or("none".to_owned(), |vote| format!("n{vote}"));
    let mut says = vec!["format 1".to_owned()];
    match summary.window {
        None => says.push("what it holds is not known".to_owned()),
        Some((first, next)) => {
            let log = match first < next {
                true => number::span((first, next - 1)),
                false => format!("empty, next {}", number::grouped(first)),
            };
            says.push(format!("term {}", number::grouped(hs.term)));
            says.push(format!("vote {vote}"));
            says.push(format!("commit {}", number::grouped(hs.commit)));
            says.push(format!("log {log}"));
        }
    }
    says.push(number::count(report.segments.len() as u64, "segment"));
    says.push(number::size(report.bytes));
    says
}

/// The segments with which nothing is wrong, three a line.
fn sound(report: &VerifyReport, out: &mut Out) -> io::Result<()> {
    let bad = |segment: &SegmentReport| {
        let mut all = report.findings.iter();
        all.any(|f| f.file == segment.file && f.severity > Severity::Note)
    };
    let good: Vec<&SegmentReport> = report
        .segments
        .iter()
        .filter(|segment| matches!(segment.role, Role::Active | Role::Sealed) && !bad(segment))
        .collect();
    let sign = out.toned(Tone::Good, "✔");
    let cells: Vec<String> = good
        .iter()
        .take(SOUND_MAX)
        .map(|segment| format!("{sign} segment {}  {}", segment.id, holds(segment)))
        .collect();
    for line in cells.chunks(3) {
        out.line(&format!("  {}", line.join("   ")))?;
    }
    if good.len() > SOUND_MAX {
        out.line(&format!("  {sign} … and {} more", good.len() - SOUND_MAX))?;
    }
    let snapshots = report.snapshots.iter().filter(|s| s.sound);
    for snapshot in snapshots.take(SOUND_MAX) {
        let marked = if snapshot.marked { ", the newest marked one" } else { "" };
        out.line(&format!(
            "  {sign} snapshot of entry {} (term {}){marked}",
            number::grouped(snapshot.id.index),
            snapshot.id.term
        ))?;
    }
    Ok(())
}

/// Which entries a segment holds, as far as they were read.
pub(crate) fn holds(segment: &SegmentReport) -> String {
    match (segment.contents, segment.begins) {
        (Some(contents), _) => match contents.indexes {
            Some(span) => number::span(span),
            None => "no entries".to_owned(),
        },
        (None, Some(begins)) => format!("from {}", number::grouped(begins)),
        (None, None) => "?".to_owned(),
    }
}

/// One finding: place, what, which entries, and what proves it.
pub(crate) fn print(finding: &Finding, dir: &Path, out: &mut Out) -> io::Result<()> {
    let (tone, sign) = match finding.severity {
        Severity::Error => (Tone::Bad, "✘"),
        Severity::Warning => (Tone::Warn, "!"),
        Severity::Note => (Tone::Quiet, "·"),
    };
    let sign = out.toned(tone, sign);
    let code = out.toned(Tone::Strong, finding.code.name());
    let name = finding.file.strip_prefix(dir).unwrap_or(&finding.file).display().to_string();
    let name = if name.is_empty() { title(dir) } else { name };
    let mut pieces = vec![name];
    if finding.offset > 0 || finding.len > 0 {
        pieces.push(format!("offset {:#08x}", finding.offset));
    }
    let mut what = format!("{code} {}", finding.code.title());
    if finding.len > 0 {
        what.push_str(&format!(", {} bytes", number::grouped(finding.len)));
    }
    pieces.push(what);
    if let Some(span) = finding.indexes {
        let noun = if span.0 == span.1 { "entry" } else { "entries" };
        let term =
            finding.term.map_or(String::new(), |t| format!(" (term {})", number::grouped(t)));
        pieces.push(format!("{noun} {}{term}", number::span(span)));
    }
    pieces.push(finding.detail.clone());
    out.pieces(&format!("  {sign} "), "  ", &pieces)?;
    if let Some(proof) = proof(finding) {
        out.paragraph("      ", &format!("proof: {proof}"))?;
    }
    Ok(())
}

/// Why it is damage and not a torn write.
fn proof(finding: &Finding) -> Option<String> {
    let evidence = finding.evidence.filter(|_| finding.verdict == Some(Verdict::Corrupt))?;
    let text = match evidence {
        Evidence::LaterBatch { offset, durable } => format!(
            "the batch at {offset:#08x} states everything up to sequence {} durable",
            number::grouped(durable)
        ),
        other => other.to_string(),
    };
    Some(format!("{text} → corrupt, not torn"))
}

fn result(report: &VerifyReport, out: &mut Out) -> io::Result<()> {
    let outcome = report.outcome();
    let tone = match outcome {
        Outcome::Clean => Tone::Good,
        Outcome::Heals => Tone::Warn,
        _ => Tone::Bad,
    };
    let word = out.toned(tone, outcome.name());
    let errors = report.count(Severity::Error) as u64;
    let warnings = report.count(Severity::Warning) as u64;
    let looked = if report.quick { "quick look: what an open reads" } else { "all bytes read" };
    let (errors, warnings) = (number::count(errors, "error"), number::count(warnings, "warning"));
    let (size, seconds) = (number::size(report.bytes), report.took.as_secs_f64());
    let pieces =
        [format!("{word}  {errors}, {warnings}"), format!("{size} in {seconds:.2} s ({looked})")];
    out.pieces("RESULT  ", "   ", &pieces)
}

/// What to make of it, and the next command to type.
fn advice(report: &VerifyReport, dir: &Path, out: &mut Out) -> io::Result<()> {
    let commit = report.summary.hard_state.commit;
    if let Some((first, last)) = report.acknowledged().find_map(|finding| finding.indexes) {
        let (noun, is, was) =
            if first == last { ("entry", "is", "it was") } else { ("entries", "are", "they were") };
        let what = format!("{noun} {} {is}", number::span((first, last)));
        let commit = number::grouped(commit);
        let says = format!("{what} not above commit {commit}: {was} acknowledged.");
        out.pieces("  ", " ", &[says, "Do not truncate here.".to_owned()])?;
    }
    if let Some(lost) = report.summary.maybe_lost {
        out.line(&format!(
            "  maybe lost: from entry {} on; the cluster knows, this disk does not",
            number::grouped(lost)
        ))?;
    }
    let worst = report.findings.iter().max_by_key(|f| (f.severity, std::cmp::Reverse(f.code)));
    if let Some(finding) = worst.filter(|f| f.severity > Severity::Note) {
        let mut commands = next::about(finding, dir);
        if let Some(first) = commands.first_mut().filter(|first| first.contains(" repair ")) {
            *first = next::repair_said(dir);
        }
        out.next(&commands)?;
    }
    Ok(())
}
