//! `status`: one screen about a directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use hardlog::{
    fs::LockState,
    inspect::{self, Inventory, Outcome, Role, Severity, VerifyOptions, VerifyReport},
};
use serde_json::json;

use crate::{
    args::Format,
    exit::{self, Ended},
    json, next, number,
    out::{Out, Tone},
    source::Source,
    verify,
};

/// Findings shown on the one screen.
const FINDINGS_MAX: usize = 5;

/// What `status` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
}

pub(crate) fn run(dir: &Path, out: &mut Out) -> Ended {
    let source = Source::open(dir)?;
    let fs = source.fs();
    let report = inspect::verify(fs, VerifyOptions::new().quick(true), &mut |_| {})?;
    let found = inspect::look(fs)?;
    let free = fs.free_space().ok();
    if out.format == Format::Human {
        human(&report, &found, free, (dir, out))?;
    } else {
        let mut object = json::report("wal-tool.status/1", &report, dir);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("free_bytes".to_owned(), json!(free));
            fields.insert("quarantined".to_owned(), json!(found.quarantined.len()));
            fields.insert("temporary".to_owned(), json!(found.temporary.len()));
        }
        out.object(&object)?;
    }
    Ok(report.outcome().code())
}

fn human(
    report: &VerifyReport,
    found: &Inventory,
    free: Option<u64>,
    (dir, out): (&Path, &mut Out),
) -> io::Result<()> {
    let summary = &report.summary;
    let hs = summary.hard_state;
    let head = out.toned(Tone::Strong, &dir.display().to_string());
    out.line(&head)?;
    let id = summary.log_id.map_or("unknown".to_owned(), |id| id.to_string());
    let mut row = |name: &str, text: String| out.line(&format!("  {name:<11} {text}"));
    row("format", format!("1, log {id}"))?;
    row("lock", lock(&report.lock))?;
    if summary.window.is_some() {
        let vote = hs.vote.map_or("none".to_owned(), |vote| format!("n{vote}"));
        let commit = number::grouped(hs.commit);
        row(
            "hard state",
            format!("term {}, vote {vote}, commit {commit}", number::grouped(hs.term)),
        )?;
    }
    row("window", window(report))?;
    if let Some(lost) = summary.maybe_lost {
        row("maybe lost", format!("from entry {} on", number::grouped(lost)))?;
    }
    row("snapshots", snapshots(report))?;
    row("segments", segments(report))?;
    row("bytes", format!("{} in all files of the log", number::size(found.bytes())))?;
    row("free space", free.map_or("unknown".to_owned(), number::size))?;
    if !found.quarantined.is_empty() {
        let files = number::count(found.quarantined.len() as u64, "file");
        row("quarantine", format!("{files} that a repair set aside"))?;
    }
    if !found.foreign.is_empty() {
        row("foreign", format!("{} (left alone)", found.foreign.join(", ")))?;
    }
    verdict(report, dir, out)
}

fn lock(lock: &LockState) -> String {
    match lock {
        LockState::Free => "free: nobody has it open".to_owned(),
        LockState::Held(holder) => format!("live: {holder}"),
        LockState::Stale(holder) => format!("stale: {holder}; that process is gone"),
        LockState::Unknown(holder) => format!("unknown, so taken for live: {holder}"),
    }
}

fn window(report: &VerifyReport) -> String {
    match report.summary.window {
        Some((first, next)) if first < next => format!(
            "{} ({}), last of term {}",
            number::span((first, next - 1)),
            if next - first == 1 {
                "1 entry".to_owned()
            } else {
                format!("{} entries", number::grouped(next - first))
            },
            report.summary.last.map_or("?".to_owned(), |id| number::grouped(id.term))
        ),
        Some((first, _)) => format!("empty; the next entry is {}", number::grouped(first)),
        None => "unknown".to_owned(),
    }
}

fn snapshots(report: &VerifyReport) -> String {
    let files = match report.snapshots.len() {
        0 => "none".to_owned(),
        count => number::count(count as u64, "file"),
    };
    match report.summary.mark {
        Some(mark) => format!(
            "{files}; the newest mark is of entry {} (term {}), {}",
            number::grouped(mark.id.index),
            mark.id.term,
            number::size(mark.size)
        ),
        None => format!("{files}; none is marked"),
    }
}

fn segments(report: &VerifyReport) -> String {
    let of = |role: Role| report.segments.iter().filter(|s| s.role == role).count() as u64;
    let active = report.segments.iter().find(|segment| segment.role == Role::Active);
    let mut text = number::count(report.segments.len() as u64, "segment");
    if let Some(active) = active {
        text.push_str(&format!(
            ", active is {} up to offset {:#x} of {}",
            active.id,
            active.end,
            number::size(active.len)
        ));
    }
    for role in [Role::Leftover, Role::Unreadable] {
        if of(role) > 0 {
            text.push_str(&format!(", {} {}", of(role), role.name()));
        }
    }
    text
}

fn verdict(report: &VerifyReport, dir: &Path, out: &mut Out) -> io::Result<()> {
    let shown = report.findings.iter().filter(|f| f.severity > Severity::Note);
    for finding in shown.clone().take(FINDINGS_MAX) {
        verify::print(finding, dir, out)?;
    }
    let more = shown.count().saturating_sub(FINDINGS_MAX) as u64;
    if more > 0 {
        out.line(&format!("  … and {}", number::count(more, "finding")))?;
    }
    for trouble in &report.troubles {
        out.line(&format!("  ? {trouble}"))?;
    }
    let outcome = report.outcome();
    let (tone, says) = match outcome {
        Outcome::Clean => (Tone::Good, "an open would find nothing wrong"),
        Outcome::Heals => (Tone::Warn, "an open would heal it by itself"),
        Outcome::Damaged => (Tone::Bad, "an operator is needed"),
        Outcome::Unreadable => (Tone::Bad, "not everything could be read"),
        Outcome::NewerFormat => (Tone::Bad, "a newer version wrote it"),
    };
    let word = out.toned(tone, outcome.name());
    out.line(&format!("  {:<11} {word}: {says}", "quick look"))?;
    let mut commands = vec![format!("{}   (reads every byte)", next::verify(dir))];
    if outcome == Outcome::Damaged {
        commands.push(next::repair_said(dir));
    }
    out.next(&commands)
}
