//! `import`: makes a log of what `export` wrote.
//!
//! The log is made under another name beside its place and gets its own only when everything is
//! there and durable: an import that was cut off never looks like a log.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use crc32fast::Hasher;
use hardlog::{
    Batch, Class, Entry, EntryId, HardState, Log, Options, SnapshotMark, SnapshotStore,
    SnapshotWriter,
};
use serde_json::{Value, json};

use crate::{
    exit::{self, CLEAN, Ended, Failure},
    next, number,
    out::Out,
    place::Fresh,
};

/// Longest line that is read: an entry of half a large segment, in base64.
const LINE_MAX: u64 = 1 << 30;
/// Payload bytes of one batch.
const BATCH: usize = 1 << 20;

/// What `import` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The directory of the new log; it must not exist, or be empty.
    pub(crate) dir: PathBuf,
    /// What `export` wrote; `-` for standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Bytes of a segment of the new log.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) segment_size: u64,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let mut lines = Lines::open(&args.input)?;
    let fresh = Fresh::new(&args.dir)?;
    let options = Options::new().segment_size(args.segment_size).background(false);
    out.busy("importing");
    let imported = import(&mut lines, fresh.path(), options);
    out.still();
    let entries = imported?;
    fresh.done()?;
    if out.human() {
        let entries = number::count_of(entries, "entry", "entries");
        out.line(&format!("{entries} imported into {}", args.dir.display()))?;
        out.line("  It is a log of its own, with an id of its own.")?;
        out.line(&format!("  next: {}", next::verify(&args.dir)))?;
    } else {
        out.object(&json!({
            "schema": "wal-tool.import/1",
            "exit": CLEAN,
            "dir": args.dir.display().to_string(),
            "entries": entries,
        }))?;
    }
    Ok(CLEAN)
}

fn import(lines: &mut Lines<'_>, dir: &Path, options: Options) -> Result<u64, Failure> {
    let header = lines.next()?;
    if header["schema"] != "wal-tool.export/1" {
        return Err(lines.wrong("this is no export, or one of another version"));
    }
    if !header["maybe_lost"].is_null() {
        eprintln!("wal-tool: what the source may have lost is not carried over; see its status");
    }
    let first = lines.number(&header, "first")?;
    let prev = lines.id(&header["prev"])?;
    // The id before the window comes with an entry that is trimmed at once.
    let begin = prev.map_or(first, |prev| prev.index);
    let mut log = Log::create(dir, options.first_index(begin))?;
    if let Some(prev) = prev {
        let mut batch = Batch::new();
        batch.append([Entry { id: prev, payload: bytes::Bytes::new() }]).trim_before(first);
        log.write(&batch)?;
    }
    let mark_id = lines.id(&header["snapshot"])?;
    let (mut mark, mut entries) = (None, 0_u64);
    let (mut waiting, mut size) = (Vec::new(), 0);
    let end = loop {
        let row = lines.next()?;
        match row["row"].as_str() {
            Some("snapshot") => mark = Some(snapshot(lines, &row, &log, mark_id)?),
            Some("entry") => {
                let entry = lines.entry(&row)?;
                size += entry.payload.len();
                waiting.push(entry);
                entries += 1;
                if size >= BATCH {
                    log.append(&waiting)?;
                    waiting.clear();
                    size = 0;
                }
            }
            Some("end") => break row,
            Some("missing") => {
                return Err(lines.wrong("the export has holes: no log is made of it"));
            }
            _ => return Err(lines.wrong("a row that this version does not know")),
        }
    };
    log.append(&waiting)?;
    lines.check_end(&end, Some(entries))?;
    if mark_id.is_some() && mark.is_none() {
        return Err(lines.wrong("the snapshot that the log counts on is not in the export"));
    }
    finish(&mut log, lines, &header, mark)?;
    if log.next_log_index() != lines.number(&header, "next")? {
        return Err(lines.wrong("entries are missing"));
    }
    log.close()?;
    Ok(entries)
}

/// Everything that is no entry, in one batch at the end.
fn finish(
    log: &mut Log,
    lines: &Lines<'_>,
    header: &Value,
    mark: Option<SnapshotMark>,
) -> Result<(), Failure> {
    let mut batch = Batch::new();
    for slot in header["meta"].as_array().into_iter().flatten() {
        let class = if slot["promise"] == true { Class::Promise } else { Class::Ordered };
        let value = slot["base64"].as_str().and_then(number::unbase64);
        let value = value.ok_or_else(|| lines.wrong("a metadata slot without its value"))?;
        batch.meta(lines.number(slot, "key")?, class, value);
    }
    if let Some(mark) = mark {
        batch.snapshot_mark(mark);
    }
    let (term, commit) = (lines.number(header, "term")?, lines.number(header, "commit")?);
    let vote = header["vote"].as_u64();
    let hard_state = HardState { term, vote, commit };
    if hard_state != HardState::default() {
        batch.hard_state(hard_state);
    }
    if !batch.is_empty() {
        log.write(&batch)?;
    }
    log.sync()?;
    Ok(())
}

fn snapshot(
    lines: &mut Lines<'_>,
    row: &Value,
    log: &Log,
    id: Option<EntryId>,
) -> Result<SnapshotMark, Failure> {
    let id = id.ok_or_else(|| lines.wrong("a snapshot that the header does not name"))?;
    Ok(pieces(lines, row, (&log.snapshots(), id))?.commit()?)
}

/// The payload of the snapshot that `row` announces.
pub(crate) fn pieces(
    lines: &mut Lines<'_>,
    row: &Value,
    (store, id): (&SnapshotStore, EntryId),
) -> Result<SnapshotWriter, Failure> {
    let meta = row["meta"].as_str().and_then(number::unbase64);
    let meta = meta.ok_or_else(|| lines.wrong("a snapshot without its metadata"))?;
    let len = lines.number(row, "len")?;
    let mut writer = store.begin(id, &meta)?;
    while writer.len() < len {
        let piece = lines.next()?;
        let bytes = piece["base64"].as_str().filter(|_| piece["row"] == "piece");
        let bytes = bytes.and_then(number::unbase64).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| lines.wrong("a snapshot that ends too early"))?;
        writer.write_all(&bytes).map_err(|e| Failure::Io(e.to_string()))?;
    }
    Ok(writer)
}

/// The lines of an export, counted and summed.
pub(crate) struct Lines<'a> {
    input: Box<dyn BufRead + 'a>,
    line: Vec<u8>,
    /// Of all lines before the current one.
    sum: Hasher,
    bytes: u64,
    number: u64,
}

impl Lines<'_> {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let input: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(BufReader::new(io::stdin().lock()))
        } else {
            let file = fs::File::open(path);
            let file = file.map_err(|e| Failure::Io(format!("open {}: {e}", path.display())))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        };
        Ok(Self { input, line: Vec::new(), sum: Hasher::new(), number: 0, bytes: 0 })
    }

    pub(crate) fn next(&mut self) -> Result<Value, Failure> {
        self.sum.update(&self.line);
        self.bytes += self.line.len() as u64;
        self.line.clear();
        self.number += 1;
        let mut input = io::Read::take(&mut self.input, LINE_MAX);
        let read = input.read_until(b'\n', &mut self.line);
        let read = read.map_err(|e| Failure::Io(format!("read the export: {e}")))?;
        if read == 0 || self.line.last() != Some(&b'\n') {
            return Err(self.wrong("the export ends too early"));
        }
        serde_json::from_slice(&self.line).map_err(|e| self.wrong(&e.to_string()))
    }

    pub(crate) fn wrong(&self, what: &str) -> Failure {
        Failure::Refused(format!("line {}: {what}", self.number))
    }

    fn number(&self, of: &Value, name: &str) -> Result<u64, Failure> {
        of[name].as_u64().ok_or_else(|| self.wrong(&format!("{name} is no number")))
    }

    pub(crate) fn id(&self, of: &Value) -> Result<Option<EntryId>, Failure> {
        if of.is_null() {
            return Ok(None);
        }
        let (index, term) = (self.number(of, "index")?, self.number(of, "term")?);
        Ok(Some(EntryId { index, term, tag: self.number(of, "tag")? }))
    }

    fn entry(&self, row: &Value) -> Result<Entry, Failure> {
        let id = self.id(row)?.ok_or_else(|| self.wrong("an entry without an id"))?;
        let payload = row["base64"].as_str().and_then(number::unbase64);
        let payload = payload.ok_or_else(|| self.wrong("an entry without its bytes"))?;
        Ok(Entry { id, payload: payload.into() })
    }

    /// Holds the last line against all lines before it.
    pub(crate) fn check_end(&self, end: &Value, entries: Option<u64>) -> Result<(), Failure> {
        let crc = format!("{:08x}", self.sum.clone().finalize());
        if end["crc"] != crc || end["bytes"] != self.bytes || entries != end["entries"].as_u64() {
            return Err(self.wrong("the export is not as it was written: its checksum differs"));
        }
        Ok(())
    }
}
