//! `stats`: what a log is made of.

use std::{io, path::PathBuf};

use hardlog::inspect::{self, Count, Stats, VerifyReport};
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{self, Ended},
    json, number,
    out::Out,
    source::Source,
    table::{Side, Table, bar},
};

/// Terms shown for people; more are counted together.
const TERMS_SHOWN: usize = 12;

/// What `stats` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory, or one segment file.
    pub(crate) dir: PathBuf,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let source = Source::open(&args.dir)?;
    out.busy("reading");
    let counted = inspect::stats(source.fs());
    out.still();
    let (stats, report) = counted?;
    let code = report.outcome().code();
    if out.format == Format::Human {
        human(&stats, &report, out)?;
        return Ok(code);
    }
    let summary = json!({
        "schema": "wal-tool.stats/1",
        "exit": code,
        "dir": args.dir.display().to_string(),
        "terms": rows("term", stats.terms.iter().map(|(term, count)| (json!(term), *count))),
        "older_terms": object(stats.older_terms),
        "kinds": rows("kind", stats.kinds.iter().map(|(kind, count)| (json!(kind), *count))),
        "sizes": rows("below", stats.sizes.iter().map(|(bits, count)| (json!(below(*bits)), *count))),
        "dropped": stats.dropped,
        "damage": stats.damage,
        "trims": trims(&report).into_iter().map(|trim| trim.object()).collect::<Vec<_>>(),
    });
    if out.format == Format::Ndjson {
        for (list, name) in
            [("terms", "term"), ("kinds", "kind"), ("sizes", "size"), ("trims", "trim")]
        {
            for row in summary[list].as_array().into_iter().flatten() {
                out.object(&json::tagged(&format!("wal-tool.stats.{name}/1"), row.clone()))?;
            }
        }
        let mut closing = summary;
        for list in ["terms", "kinds", "sizes", "trims"] {
            closing[list] = json!(closing[list].as_array().map_or(0, Vec::len));
        }
        out.object(&closing)?;
        return Ok(code);
    }
    out.object(&summary)?;
    Ok(code)
}

fn object(count: Count) -> Value {
    json!({ "count": count.count, "bytes": count.bytes })
}

fn rows(key: &str, all: impl Iterator<Item = (Value, Count)>) -> Vec<Value> {
    let row = |(name, count): (Value, Count)| {
        let mut row = object(count);
        row[key] = name;
        row
    };
    all.map(row).collect()
}

/// One more than the longest entry of a row of the histogram, in bytes.
fn below(bits: u32) -> u64 {
    1_u64.checked_shl(bits).unwrap_or(u64::MAX)
}

/// What a trim would free.
struct Trim {
    up_to: &'static str,
    before: u64,
    segments: usize,
    bytes: u64,
}

impl Trim {
    fn object(&self) -> Value {
        let Self { up_to, before, segments, bytes } = *self;
        json!({ "up_to": up_to, "before": before, "segments": segments, "bytes": bytes })
    }
}

fn trims(report: &VerifyReport) -> Vec<Trim> {
    let summary = &report.summary;
    let mark = summary.mark.map(|mark| ("the newest mark", mark.id.index.saturating_add(1)));
    let commit = summary.hard_state.commit;
    let commit = (commit > 0).then(|| ("the commit index", commit.saturating_add(1)));
    let trim = |(up_to, before)| {
        let (segments, bytes) = report.freed_by_trim(before);
        Trim { up_to, before, segments, bytes }
    };
    mark.into_iter().chain(commit).map(trim).collect()
}

fn human(stats: &Stats, report: &VerifyReport, out: &mut Out) -> io::Result<()> {
    use Side::{Left, Right};
    let columns = |name| [(name, Left), ("count", Right), ("bytes", Right)];
    let cells = |name: String, count: &Count| {
        vec![name, number::grouped(count.count), number::size(count.bytes)]
    };
    let mut kinds = Table::new(&columns("kind"));
    for (kind, count) in &stats.kinds {
        kinds.row(cells((*kind).to_owned(), count));
    }
    crate::ls::print(&kinds, out)?;
    out.line("")?;
    let mut terms = Table::new(&columns("term"));
    let hidden = stats.terms.len().saturating_sub(TERMS_SHOWN);
    let older = stats.terms.values().take(hidden).fold(stats.older_terms, |mut sum, count| {
        sum.count += count.count;
        sum.bytes += count.bytes;
        sum
    });
    if older.count > 0 {
        terms.row(cells("older".to_owned(), &older));
    }
    for (term, count) in stats.terms.iter().skip(hidden) {
        terms.row(cells(number::grouped(*term), count));
    }
    crate::ls::print(&terms, out)?;
    out.line("")?;
    let most = stats.sizes.values().map(|count| count.count).max().unwrap_or(0);
    let mut sizes = Table::new(&[("entries below", Right), ("count", Right), ("", Left)]);
    for (bits, count) in &stats.sizes {
        let bar = bar(count.count, most, 40);
        sizes.row(vec![number::size(below(*bits)), number::grouped(count.count), bar]);
    }
    crate::ls::print(&sizes, out)?;
    out.line("")?;
    let dropped = number::count_of(stats.dropped, "entry", "entries");
    out.line(&format!("  {dropped} written and dropped again by truncations and resets"))?;
    if stats.damage > 0 {
        out.line(&format!(
            "  {} met: wal-tool verify",
            number::count(stats.damage, "damaged place")
        ))?;
    }
    for Trim { up_to, segments, bytes, before } in trims(report) {
        out.line(&format!(
            "  a trim up to {up_to} ({}) would free {} in {}",
            number::grouped(before - 1),
            number::size(bytes),
            number::count(segments as u64, "segment")
        ))?;
    }
    Ok(())
}
