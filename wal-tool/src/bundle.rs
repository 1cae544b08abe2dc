//! `bundle`: everything that somebody else needs to judge a directory, in one file to send.
//!
//! ```text
//!   NAME/README.txt      what it is, and what it holds that may be secret
//!   NAME/bundle.json     the list of files, and what was left out
//!   NAME/*.txt *.json    what the commands that look say
//!   NAME/hex/…           the bytes around what is wrong           ┐ not with --redact
//!   NAME/log/…           the files themselves, up to a limit      ┘
//! ```
//!
//! Above: `main`. Below: the commands whose words it keeps, run on memory instead of a terminal, and
//! `tar`. It reads as they do: without a lock, also on a live node.
//! INVARIANT: with `--redact` nothing comes in that was read from an entry, a metadata slot, a snapshot
//! or the lock: each part that could hold such bytes is left out as a whole, none is edited.

use std::path::{Path, PathBuf};

use hardlog::{
    fs::{Access, Dir, File, Fs, disk::DiskFs},
    inspect::{self, Severity, VerifyOptions, VerifyReport},
};
use serde_json::{Value, json};

use crate::{
    args::{Format, number as parse},
    dump,
    exit::{self, Ended, Failure},
    hex, ls, next, number,
    out::Out,
    place::FreshFile,
    snapshot, stats, status, tar, verify,
};

/// Entries at the end of the log whose rows are kept.
const TAIL: u64 = 1000;
/// Damaged places that are shown byte by byte.
const PLACES_MAX: usize = 20;
/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// What `bundle` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory; a process may have it open.
    pub(crate) dir: PathBuf,
    /// The tar file, which must not exist; `NAME.bundle.tar` in the current directory by default.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Leave out what was stored: payloads, metadata, snapshots, and who has it open. Lengths and
    /// names stay.
    #[arg(long)]
    pub(crate) redact: bool,
    /// Bytes of the log's own files that may come in, damaged ones first.
    #[arg(long, value_name = "BYTES", value_parser = parse, default_value_t = 256 << 20)]
    pub(crate) files_max: u64,
}

/// What was put in, and what was not.
#[derive(Default)]
struct List {
    files: Vec<(String, u64)>,
    left_out: Vec<String>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let disk = DiskFs::new(&args.dir);
    let options = VerifyOptions::new();
    let report = inspect::verify(&disk, options, &mut |at| out.progress(at))?;
    out.still();
    let name = name(&args.dir);
    let place = args.output.clone().unwrap_or_else(|| format!("{name}.bundle.tar").into());
    let mut file = FreshFile::new(&place)?;
    let mut tar = tar::Writer::new(&mut file, &name, disk.now());
    let mut list = List::default();
    out.busy("bundling");
    words(args, &report, (&mut tar, &mut list))?;
    if args.redact {
        list.left_out.push("hex and log: --redact".to_owned());
    } else {
        places(args, &report, (&mut tar, &mut list))?;
        files(args, (&disk, &report), (&mut tar, &mut list))?;
    }
    let code = report.outcome().code();
    let listed = |(name, len): &(String, u64)| json!({ "name": name, "len": len });
    let mut manifest = json!({
        "schema": "wal-tool.bundle/1",
        "exit": code,
        "verdict": report.outcome().name().to_lowercase(),
        "dir": args.dir.display().to_string(),
        "file": place.display().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "redacted": args.redact,
        "files": list.files.iter().map(listed).collect::<Vec<_>>(),
        "left_out": list.left_out,
    });
    tar.file("bundle.json", format!("{manifest:#}\n").as_bytes())?;
    tar.file("README.txt", readme(args, &manifest).as_bytes())?;
    let bytes = tar.end()?;
    out.still();
    file.done()?;
    if out.human() {
        let count = number::count(list.files.len() as u64 + 2, "file");
        out.line(&format!("{count}, {} in {}", number::size(bytes), place.display()))?;
        out.paragraph("  ", holds(args.redact))?;
        for what in &list.left_out {
            out.paragraph("  ", &format!("left out: {what}"))?;
        }
        let look = format!("tar xf {}", next::typed(&place));
        out.next(&[look, format!("less {}/README.txt", next::typed(Path::new(&name)))])?;
    } else {
        manifest["bytes"] = json!(bytes);
        out.object(&manifest)?;
    }
    Ok(code)
}

/// What the directory is called; `.` and the like by what they are.
fn name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = full.file_name().map_or_else(|| "log".to_owned(), |n| n.to_string_lossy().into());
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(40).collect()
}

const fn holds(redacted: bool) -> &'static str {
    if redacted {
        "It holds no payload, no metadata, no snapshot and no name of a process or host. It does hold \
         indexes, terms, lengths, checksums, and the directory as you typed it. A short payload can be \
         guessed from its checksum."
    } else {
        "It holds payloads, as they were written: send it only to whom you would show the data; \
         --redact leaves them out."
    }
}

fn readme(args: &Args, manifest: &Value) -> String {
    let mut text = format!(
        "Made by wal-tool {} of a hardlog directory: {}.\n\n",
        env!("CARGO_PKG_VERSION"),
        manifest["verdict"].as_str().unwrap_or_default()
    );
    for line in number::wrapped(holds(args.redact), 76) {
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(
        "\nverify.txt and verify.json: what is wrong, if anything; begin there.\n\
         ls.txt, snapshots.json, stats.json, status.json: what the directory holds.\n\
         dump.ndjson: the rows of the last entries, and what is damaged between them.\n\
         hex/: the bytes of damaged places, each field named. log/: the files themselves.\n\
         bundle.json: this list, and what was left out.\n",
    );
    text
}

type Into<'a, 'b> = (&'a mut tar::Writer<'b>, &'a mut List);

/// What the commands say, each as it would be typed.
fn words(args: &Args, report: &VerifyReport, (tar, list): Into<'_, '_>) -> Result<(), Failure> {
    let dir = &args.dir;
    let mut keep = |name: &str, format: Format, say: &mut dyn FnMut(&mut Out) -> Ended| {
        let mut out = Out::in_memory(format);
        let said = say(&mut out);
        let said = said.and_then(|code| out.finish().map(|()| code).map_err(Failure::Output));
        let mut text = out.taken();
        match said {
            Ok(_) => {}
            // A part that cannot be made is no reason to have none.
            Err(Failure::Output(e)) => list.left_out.push(format!("part of {name}: {e}")),
            Err(failure) => {
                let (_, why) = failure.says();
                list.left_out.push(format!("{name}: {}", why.unwrap_or_default()));
            }
        }
        if args.redact && name.ends_with(".json") {
            text = without_holder(&text);
        }
        list.files.push((name.to_owned(), text.len() as u64));
        tar.file(name, &text)
    };
    let (human, json, rows) = (Format::Human, Format::Json, Format::Ndjson);
    keep("verify.txt", human, &mut |out| verify::show(report, dir, out))?;
    keep("verify.json", json, &mut |out| verify::show(report, dir, out))?;
    keep("status.json", json, &mut |out| status::run(dir, out))?;
    let segments = ls::Args { dir: dir.clone(), snapshots: false, quick: true };
    keep("ls.txt", human, &mut |out| ls::run(&segments, out))?;
    keep("snapshots.json", json, &mut |out| snapshot::list(dir, out))?;
    let all = stats::Args { dir: dir.clone() };
    keep("stats.json", json, &mut |out| stats::run(&all, out))?;
    let last = dump::Args::of_the_last(dir, TAIL, !args.redact);
    keep("dump.ndjson", rows, &mut |out| dump::run(&last, out))
}

/// The same without who has the log open.
fn without_holder(text: &[u8]) -> Vec<u8> {
    let Ok(mut object) = serde_json::from_slice::<Value>(text) else { return Vec::new() };
    if let Some(holder) = object.pointer_mut("/lock/holder") {
        *holder = Value::Null;
    }
    format!("{object:#}\n").into_bytes()
}

/// The bytes around what is wrong.
fn places(args: &Args, report: &VerifyReport, (tar, list): Into<'_, '_>) -> Result<(), Failure> {
    let bad = report.findings.iter().filter(|finding| finding.severity > Severity::Note);
    let mut bad: Vec<(u64, u64)> = bad
        .filter_map(|finding| {
            let name = finding.file_name();
            let id = name.strip_suffix(".wal")?.parse().ok()?;
            Some((id, finding.offset))
        })
        .collect();
    bad.dedup();
    if bad.len() > PLACES_MAX {
        list.left_out.push(format!("hex of {} more places", bad.len() - PLACES_MAX));
    }
    for (id, offset) in bad.into_iter().take(PLACES_MAX) {
        let of = hex::Args { dir: args.dir.clone(), place: (id, Some(offset)) };
        let mut out = Out::in_memory(Format::Human);
        let name = format!("hex/{id}@{offset:#x}.txt");
        if let Err(failure) = hex::run(&of, &mut out) {
            // A file that is missing or cannot be read is a finding itself.
            let (_, why) = failure.says();
            list.left_out.push(format!("{name}: {}", why.unwrap_or_default()));
            continue;
        }
        out.finish()?;
        let text = out.taken();
        list.files.push((name.clone(), text.len() as u64));
        tar.file(&name, &text)?;
    }
    Ok(())
}

/// The log's own files, the damaged first, then the newest, as long as there is room.
fn files(
    args: &Args,
    (disk, report): (&DiskFs, &VerifyReport),
    (tar, list): Into<'_, '_>,
) -> Result<(), Failure> {
    let mut room = args.files_max;
    let mut all: Vec<(Dir, String)> = Vec::new();
    for dir in [Dir::Root, Dir::Snapshots] {
        // What cannot be listed is in the findings.
        for found in disk.list(dir).unwrap_or_default() {
            let ours = [".wal", ".idx", ".snap"].iter().any(|end| found.name.ends_with(end));
            if ours {
                all.push((dir, found.name));
            }
        }
    }
    let is_bad = |name: &str| report.findings.iter().any(|finding| finding.file_name() == *name);
    all.sort_by_key(|(_, name)| (is_bad(name), name.clone()));
    for (dir, name) in all.into_iter().rev() {
        let kept = format!("log/{}{}{name}", dir.name(), if dir == Dir::Root { "" } else { "/" });
        let opened = disk.open(dir, &name, Access::Read);
        let sized = opened.and_then(|file| file.len().map(|len| (file, len)));
        let (file, len) = match sized {
            Ok(sized) => sized,
            Err(e) => {
                list.left_out.push(format!("{kept}: {e}"));
                continue;
            }
        };
        if len > room {
            let size = number::size(len);
            list.left_out.push(format!("{kept}: {size}, more than --files-max leaves"));
            continue;
        }
        room -= len;
        copy(&*file, (&kept, len), tar)?;
        list.files.push((kept, len));
    }
    Ok(())
}

/// A file as long as it was when it was opened: where it shrinks meanwhile zeros stand for the rest.
fn copy(
    file: &dyn File,
    (name, len): (&str, u64),
    tar: &mut tar::Writer<'_>,
) -> Result<(), Failure> {
    let mut body = tar.begin(name, len)?;
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    while offset < len {
        let want = usize::try_from((len - offset).min(PIECE as u64)).unwrap_or(PIECE);
        let got = file.read_at(&mut piece[..want], offset).unwrap_or(0);
        if got == 0 {
            piece.fill(0);
        }
        let got = if got == 0 { want } else { got };
        body.put(&piece[..got])?;
        offset += got as u64;
    }
    body.end()
}
