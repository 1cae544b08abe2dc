//! `snapshot export` and `snapshot import`: a snapshot as lines of JSON, and back.
//!
//! ```text
//!   header   which entry it covers                     (row "header")
//!   snapshot how long it is, what stands beside it     (row "snapshot")
//!   piece    its payload, piece by piece               (row "piece")
//!   end      a checksum of all bytes before            (row "end")
//! ```
//!
//! Above: `snapshot`. Below: the lines of `export` and `import`, of which these are a part.
//! INVARIANT: a snapshot comes only into a log of whose history it is by what the log itself says: the
//! one that it counts on, or one of an entry that it holds and calls committed. Everything else would
//! let a node confirm what it never had. A directory that holds nothing becomes a new log behind it.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use hardlog::{
    Batch, EntryId, HardState, Log, Options, SnapshotMark,
    error::Error,
    fs::{Fs, disk::DiskFs},
    snapshot::{SnapshotReader, SnapshotStore},
};
use serde_json::{Value, json};

use super::Shelf;
use crate::{
    args::number as parse,
    exit::{CLEAN, Ended, Failure},
    export, import, json, next, number,
    out::Out,
    place::{Fresh, FreshFile},
};

/// Payload bytes that are copied at once.
const PIECE: usize = 192 << 10;

/// What `snapshot export` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The log's directory.
    dir: PathBuf,
    /// The last entry that it covers; without it the one that the log counts on.
    #[arg(value_parser = parse)]
    index: Option<u64>,
    /// Write to this file, which must not exist, instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the bytes that the application wrote, as they are.
    #[arg(long)]
    payload: bool,
}

/// What `snapshot import` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// A log's directory that nobody has open, or a new one.
    dir: PathBuf,
    /// What `snapshot export` wrote; `-` for standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    input: PathBuf,
}

pub(super) fn export(args: &ExportArgs, out: &mut Out) -> Ended {
    let shelf = Shelf::open(&args.dir)?;
    let info = shelf.find((&args.dir, args.index))?;
    let mut reader = shelf.store.open(info.id)?;
    match args.output {
        Some(_) => out.busy("exporting"),
        None => out.busy_behind("exporting"),
    }
    let mut file = args.output.as_deref().map(FreshFile::new).transpose()?;
    let mut to: Box<dyn Write + '_> = match &mut file {
        Some(file) => Box::new(file),
        None => Box::new(out.writer()),
    };
    if args.payload {
        let mut piece = vec![0; PIECE];
        loop {
            match fill(&mut reader, &mut piece)? {
                0 => break,
                got => to.write_all(&piece[..got])?,
            }
        }
        to.flush()?;
        drop(to);
    } else {
        lines(&mut reader, export::Lines::new(to))?;
    }
    if let Some(file) = file {
        file.done()?;
    }
    Ok(CLEAN)
}

fn lines(reader: &mut SnapshotReader, mut lines: export::Lines<'_>) -> Result<(), Failure> {
    lines.object(&json!({
        "schema": "wal-tool.snapshot.export/1",
        "row": "header",
        "id": json::id(&reader.id()),
    }))?;
    let (len, meta) = (reader.len(), number::base64(reader.meta()));
    lines.object(&json!({ "row": "snapshot", "len": len, "meta": meta }))?;
    let mut piece = vec![0; PIECE];
    loop {
        match fill(reader, &mut piece)? {
            0 => break,
            got => {
                let base64 = number::base64(&piece[..got]);
                lines.object(&json!({ "row": "piece", "base64": base64 }))?;
            }
        }
    }
    lines.end("wal-tool.snapshot.export.end/1", None, CLEAN)?;
    Ok(())
}

/// Fills `piece` as far as the payload goes.
fn fill(reader: &mut SnapshotReader, piece: &mut [u8]) -> Result<usize, Failure> {
    let mut got = 0;
    while got < piece.len() {
        match reader.read(&mut piece[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                return Err(Failure::Damaged(e.to_string()));
            }
            Err(e) => return Err(Failure::Io(e.to_string())),
        }
    }
    Ok(got)
}

/// What became of a snapshot.
enum Became {
    /// The file that the log counts on is there again.
    Replaced,
    /// The log counts on it from now on.
    Marked,
    /// A log of its own begins behind it.
    New,
    /// It was there, whole.
    There,
}

impl Became {
    const fn word(&self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Marked => "marked",
            Self::New => "new log",
            Self::There => "was there",
        }
    }

    const fn says(&self) -> &'static str {
        match self {
            Self::Replaced => "The log counted on it, and its file is there again.",
            Self::Marked => "The log counts on it from now on.",
            Self::New => {
                "A new log begins behind it. It has no vote, and no other node knows it: \
                 add it to the cluster under a new id."
            }
            Self::There => "It was there, whole: nothing was changed.",
        }
    }
}

pub(super) fn import(args: &ImportArgs, out: &mut Out) -> Ended {
    let mut lines = import::Lines::open(&args.input)?;
    let header = lines.next()?;
    if header["schema"] != "wal-tool.snapshot.export/1" {
        return Err(lines.wrong("this is no export of a snapshot, or one of another version"));
    }
    let id = lines.id(&header["id"])?;
    let id = id.ok_or_else(|| lines.wrong("it does not say which entry it covers"))?;
    out.busy("importing");
    let became = match is_empty(&args.dir) {
        true => new(&args.dir, id, &mut lines),
        false => into(&args.dir, id, &mut lines),
    };
    out.still();
    let became = became?;
    if out.human() {
        let (index, term) = (number::grouped(id.index), number::grouped(id.term));
        out.line(&format!("snapshot of entry {index} (term {term}): {}", became.word()))?;
        out.paragraph("  ", became.says())?;
        out.next(&[next::verify(&args.dir)])?;
    } else {
        out.object(&json!({
            "schema": "wal-tool.snapshot.import/1",
            "exit": CLEAN,
            "dir": args.dir.display().to_string(),
            "id": json::id(&id),
            "became": became.word(),
        }))?;
    }
    Ok(CLEAN)
}

fn is_empty(dir: &Path) -> bool {
    match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// A new log behind the snapshot.
fn new(dir: &Path, id: EntryId, lines: &mut import::Lines<'_>) -> Result<Became, Failure> {
    let fresh = Fresh::new(dir)?;
    let mut log = Log::create(fresh.path(), Options::new().background(false))?;
    let mark = copy(&log.snapshots(), id, lines)?;
    let hard_state = HardState { term: id.term, vote: None, commit: id.index };
    let mut batch = Batch::new();
    batch.reset(id.index + 1, Some(id)).snapshot_mark(mark).hard_state(hard_state);
    log.write(&batch)?;
    log.close()?;
    fresh.done()?;
    Ok(Became::New)
}

/// Into a log that is there.
fn into(dir: &Path, id: EntryId, lines: &mut import::Lines<'_>) -> Result<Became, Failure> {
    let disk = DiskFs::new(dir);
    let shelf = Shelf::open(dir)?;
    let marked = shelf.report.summary.mark.filter(|mark| mark.id == id);
    if marked.is_some() {
        let lock = disk.lock().map_err(|e| locked(&disk, &e))?;
        if shelf.store.verify(id).is_ok() {
            return Ok(Became::There);
        }
        disk.make_dirs().map_err(|e| Failure::Io(format!("{}: {e}", dir.display())))?;
        // The mark's checksum is of the file that was: any snapshot of the same entry will do, as
        // when one is taken again.
        copy(&shelf.store, id, lines)?;
        drop(lock);
        return Ok(Became::Replaced);
    }
    let (mut log, _) = Log::open(dir, Options::new().background(false))?;
    if let Some(why) = misfit(&log, id) {
        return Err(Failure::Refused(why));
    }
    let mark = copy(&log.snapshots(), id, lines)?;
    log.mark_snapshot(mark)?;
    log.close()?;
    Ok(Became::Marked)
}

fn locked(disk: &DiskFs, error: &std::io::Error) -> Failure {
    let path = disk.root().to_path_buf();
    if error.kind() == std::io::ErrorKind::WouldBlock {
        return Failure::Log(Error::Locked { path, holder: disk.lock_holder() });
    }
    Failure::Io(format!("lock {}: {error}", path.display()))
}

/// Why a snapshot of `id` is none of this log's, as far as the log knows.
fn misfit(log: &Log, id: EntryId) -> Option<String> {
    let index = number::grouped(id.index);
    if let Some(mark) = log.snapshot_mark().filter(|mark| mark.id.index >= id.index) {
        let newer = number::grouped(mark.id.index);
        return Some(format!("the log already counts on a snapshot of entry {newer}"));
    }
    let commit = log.hard_state().commit;
    if id.index > commit {
        let commit = number::grouped(commit);
        return Some(format!(
            "entry {index} is not committed by what this log knows (commit {commit}): only a leader \
             can install such a snapshot; or import it into a new directory"
        ));
    }
    let held = log.prev_id().filter(|prev| prev.index == id.index).or(log.id_at(id.index).ok());
    match held {
        Some(held) if held == id => None,
        Some(held) => Some(format!(
            "entry {index} has term {} here and term {} in the snapshot: not the same history",
            number::grouped(held.term),
            number::grouped(id.term)
        )),
        None => Some(format!("the log does not hold entry {index}, so nothing vouches for it")),
    }
}

/// The payload into a file of this log's own, complete and durable.
fn copy(
    store: &SnapshotStore,
    id: EntryId,
    lines: &mut import::Lines<'_>,
) -> Result<SnapshotMark, Failure> {
    let row = lines.next()?;
    if row["row"] != "snapshot" {
        return Err(lines.wrong("the snapshot is missing"));
    }
    let writer = import::pieces(lines, &row, (store, id))?;
    let end: Value = lines.next()?;
    lines.check_end(&end, None)?;
    Ok(writer.commit()?)
}
