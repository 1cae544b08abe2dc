//! `snapshot`: the snapshot files beside a log, looked at, checked, and carried elsewhere.
//!
//! ```text
//!   ls   show   verify                         (here: only reading)
//!   export ─▶ lines of JSON, or the bare payload ─▶ import      (carry)
//! ```
//!
//! Above: `main`. Below: `hardlog::SnapshotStore` and `hardlog::inspect`.
//! A file counts for a log only when the log marks it; what is said of marks is what `verify` says.

mod carry;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use hardlog::{
    Error, Options,
    fs::disk::DiskFs,
    inspect::{self, Finding, Severity, SnapshotReport, VerifyOptions, VerifyReport},
    layout::snapshot_name,
    snapshot::{SnapshotInfo, SnapshotStore},
};
use serde_json::{Value, json};

use crate::{
    args::{Format, number as parse},
    exit::{self, CLEAN, DAMAGED, Ended, Failure},
    json, ls, next, number,
    out::{Out, Tone},
    verify,
};

/// Payload bytes that are shown.
const GLIMPSE: usize = 40;

/// What `snapshot` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A row for each snapshot file.
    #[command(after_help = exit::CODES)]
    Ls {
        /// The log's directory.
        dir: PathBuf,
    },
    /// One of them: what it covers, what it is to the log, how its payload begins.
    #[command(after_help = exit::CODES)]
    Show(One),
    /// Reads them whole and verifies every checksum.
    #[command(after_help = exit::CODES)]
    Verify(One),
    /// Writes one as lines of JSON, from which `import` makes an equal one; or only its payload.
    #[command(after_help = exit::CODES)]
    Export(carry::ExportArgs),
    /// WRITES what `export` wrote into a log that counts on it, or a new log behind it.
    #[command(after_help = exit::CODES)]
    Import(carry::ImportArgs),
}

/// Which snapshot of which log.
#[derive(Debug, clap::Args)]
struct One {
    /// The log's directory.
    dir: PathBuf,
    /// The last entry that it covers; without it the one that the log counts on.
    #[arg(value_parser = parse)]
    index: Option<u64>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    match &args.what {
        What::Ls { dir } => list(dir, out),
        What::Show(one) => show(one, out),
        What::Verify(one) => check(one, out),
        What::Export(args) => carry::export(args, out),
        What::Import(args) => carry::import(args, out),
    }
}

/// A row for each.
pub(crate) fn list(dir: &Path, out: &mut Out) -> Ended {
    ls::run(&ls::Args { dir: dir.to_path_buf(), snapshots: true, quick: true }, out)
}

/// The snapshots of a log, and what the log says of itself.
struct Shelf {
    store: SnapshotStore,
    report: VerifyReport,
}

impl Shelf {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let fs = DiskFs::new(dir);
        let report = inspect::verify(&fs, VerifyOptions::new().quick(true), &mut |_| {})?;
        let unknown = || {
            let next = next::verify(dir);
            Failure::Damaged(format!("{}: whose log it is is not known; see {next}", dir.display()))
        };
        let log_id = report.summary.log_id.ok_or_else(unknown)?;
        let store = SnapshotStore::new(Arc::new(fs), log_id, &Options::new());
        Ok(Self { store, report })
    }

    /// The one of `index`; without it the newest that is marked, and where none is, the newest.
    fn find(&self, (dir, index): (&Path, Option<u64>)) -> Result<SnapshotInfo, Failure> {
        let all = match self.store.list() {
            // A copy without its empty directories is still a log.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let marked = self.report.summary.mark.map(|mark| mark.id.index);
        let wanted = index.or(marked).or(all.last().map(|info| info.id.index));
        let found = all.iter().rev().find(|info| Some(info.id.index) == wanted);
        found.cloned().ok_or_else(|| {
            let dir_said = dir.display();
            let have: Vec<String> = all.iter().map(|i| number::grouped(i.id.index)).collect();
            match (index, wanted) {
                (Some(index), _) if have.is_empty() => {
                    let index = number::grouped(index);
                    Failure::Usage(format!("{dir_said} has no snapshots, so none of entry {index}"))
                }
                (Some(index), _) => Failure::Usage(format!(
                    "{dir_said} has no snapshot of entry {}; there are those of {}",
                    number::grouped(index),
                    have.join(", ")
                )),
                (None, Some(wanted)) => Failure::Damaged(format!(
                    "the log counts on a snapshot of entry {} (W502), and there is no such file; \
                     see {}",
                    number::grouped(wanted),
                    next::verify(dir)
                )),
                (None, None) => Failure::Usage(format!("{dir_said} has no snapshots")),
            }
        })
    }

    fn is_marked(&self, info: &SnapshotInfo) -> bool {
        let id = (info.id.index, info.id.term);
        self.report.summary.mark.is_some_and(|mark| (mark.id.index, mark.id.term) == id)
    }
}

fn show(args: &One, out: &mut Out) -> Ended {
    let shelf = Shelf::open(&args.dir)?;
    let info = shelf.find((&args.dir, args.index))?;
    let marked = shelf.is_marked(&info);
    let mut front = vec![0; GLIMPSE];
    let glimpse = match info.damage.as_ref() {
        Some(damage) => Err(damage.to_string()),
        None => shelf.store.open(info.id).map_err(|e| e.to_string()).and_then(|mut reader| {
            let got = reader.read(&mut front).map_err(|e| e.to_string())?;
            front.truncate(got);
            Ok(front)
        }),
    };
    let code = match (&glimpse, marked) {
        (Ok(_), _) => CLEAN,
        (Err(_), true) => DAMAGED,
        (Err(_), false) => exit::HEALS,
    };
    let file = format!("snapshots/{}", snapshot_name(info.id.index, info.id.term));
    if out.format != Format::Human {
        out.object(&json!({
            "schema": "wal-tool.snapshot.show/1",
            "exit": code,
            "dir": args.dir.display().to_string(),
            "file": file,
            "id": json::id(&info.id),
            "marked": marked,
            "bytes": info.file_len,
            "payload_bytes": info.mark.map(|_| info.len),
            "crc": info.mark.map(|mark| format!("{:08x}", mark.crc)),
            "meta": number::base64(&info.meta),
            "begins": glimpse.as_ref().ok().map(|front| number::base64(front)),
            "damage": glimpse.as_ref().err(),
        }))?;
        return Ok(code);
    }
    let head = out.toned(Tone::Strong, &file);
    out.line(&head)?;
    let (index, term) = (number::grouped(info.id.index), number::grouped(info.id.term));
    let mut row = |name: &str, text: String| out.line(&format!("  {name:<9} {text}"));
    row("covers", format!("every entry up to {index} (term {term})"))?;
    row("role", about(marked, glimpse.is_ok()).to_owned())?;
    let crc = info.mark.map_or(String::new(), |mark| format!(", CRC {:08x}", mark.crc));
    row("file", format!("{}{crc}", number::size(info.file_len)))?;
    match &glimpse {
        Ok(front) => {
            row("metadata", glimpsed(&info.meta, info.meta.len() as u64))?;
            row("payload", glimpsed(front, info.len))?;
            out.line(&format!("  next: wal-tool snapshot verify {}", next::typed(&args.dir)))?;
        }
        Err(why) => {
            let word = out.toned(Tone::Bad, "DAMAGED");
            out.pieces(&format!("  {word}   "), " ", std::slice::from_ref(why))?;
            advice(code, &args.dir, out)?;
        }
    }
    Ok(code)
}

/// How many bytes, and how they begin.
fn glimpsed(front: &[u8], len: u64) -> String {
    if len == 0 {
        return "none".to_owned();
    }
    let shown = front.get(..GLIMPSE).unwrap_or(front);
    // A binary payload says nothing in forty escapes of four characters.
    let text: String = number::text(shown).chars().take(GLIMPSE).collect();
    let more = if (shown.len() as u64) < len || text.len() == GLIMPSE { "…" } else { "" };
    format!("{}  \"{text}{more}\"", number::size(len))
}

/// What a snapshot file is to the log.
fn about(marked: bool, sound: bool) -> &'static str {
    match (marked, sound) {
        (true, true) => "the newest marked one: the log counts on it",
        (true, false) => "the log counts on it",
        (false, _) => "not marked: the log does not count on it",
    }
}

fn advice(code: u8, dir: &Path, out: &mut Out) -> io::Result<()> {
    match code {
        DAMAGED => out.next(&[next::verify(dir), next::repair_said(dir)]),
        _ => out.next(&[next::verify(dir)]),
    }
}

/// Whether a row, or a finding, is about the snapshot that was asked for.
fn concerns(finding: &Finding, shown: &[&SnapshotReport], all: bool) -> bool {
    let name = finding.file_name();
    let named = shown.iter().any(|row| snapshot_name(row.id.index, row.id.term) == name);
    named || (all && name.ends_with(".snap"))
}

fn check(args: &One, out: &mut Out) -> Ended {
    let fs = DiskFs::new(&args.dir);
    let options = VerifyOptions::new().quick(true).whole_snapshots(true);
    let report = inspect::verify(&fs, options, &mut |at| out.progress(at))?;
    out.still();
    let rows = report.snapshots.iter();
    let rows: Vec<_> = rows.filter(|row| args.index.is_none_or(|i| row.id.index == i)).collect();
    if rows.is_empty() && args.index.is_some() {
        Shelf::open(&args.dir)?.find((&args.dir, args.index))?;
    }
    let all = report.findings.iter();
    let found: Vec<_> = all.filter(|f| concerns(f, &rows, args.index.is_none())).collect();
    let worst = found.iter().map(|finding| finding.severity).max();
    let (code, verdict, tone) = match worst {
        Some(Severity::Error) => (DAMAGED, "DAMAGED", Tone::Bad),
        Some(Severity::Warning) => (exit::HEALS, "HEALS ON OPEN", Tone::Warn),
        Some(Severity::Note) | None => (CLEAN, "CLEAN", Tone::Good),
    };
    if out.format != Format::Human {
        let list = |all: Vec<Value>| Value::Array(all);
        out.object(&json!({
            "schema": "wal-tool.snapshot.verify/1",
            "exit": code,
            "dir": args.dir.display().to_string(),
            "verdict": verdict.to_lowercase(),
            "snapshots": list(rows.iter().map(|row| json::snapshot(row)).collect()),
            "findings": list(found.iter().map(|f| json::finding(f, &args.dir)).collect()),
        }))?;
        return Ok(code);
    }
    for row in rows.iter().filter(|row| row.sound) {
        let sign = out.toned(Tone::Good, "✔");
        let (index, term) = (number::grouped(row.id.index), number::grouped(row.id.term));
        let size = number::size(row.file_len);
        out.line(&format!("  {sign} snapshot of entry {index} (term {term}), {size}"))?;
    }
    for finding in &found {
        verify::print(finding, &args.dir, out)?;
    }
    let word = out.toned(tone, verdict);
    let bytes = number::size(rows.iter().map(|row| row.file_len).sum());
    let count = number::count(rows.len() as u64, "snapshot");
    out.line(&format!("RESULT  {word}  {count}, {bytes} read"))?;
    if code > CLEAN {
        advice(code, &args.dir, out)?;
    }
    Ok(code)
}
