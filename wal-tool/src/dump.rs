//! `dump`: the log row by row, as it was written. Nothing is collected: a log of any size streams.

use std::{
    cell::RefCell,
    io::{self, Write},
    ops::{ControlFlow, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use hardlog::{
    fs::Fs,
    inspect::{self, BatchKind, BatchRow, ChangeRow, DumpOptions, EntryRow, Row},
};
use serde_json::{Value as Json, json};

use crate::{
    args::{Format, indexes},
    decode::Decode,
    exit::{self, Ended, Failure},
    json, next, number,
    out::{Out, Tone},
    source::Source,
    verify,
};

/// Characters of a payload that are shown where nobody asked for all of them.
const GLIMPSE: usize = 28;

#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// Only entries with these indexes, both ends included: `7`, `40..60`, `40..`, `..60`.
    #[arg(value_parser = indexes, value_name = "A..B")]
    pub(crate) indexes: Option<RangeInclusive<u64>>,
    /// Only entries of this term.
    #[arg(long)]
    pub(crate) term: Option<u64>,
    /// Only this segment, also one that the log no longer needs.
    #[arg(long)]
    pub(crate) segment: Option<u64>,
    /// Only the last so many entries.
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// Only rows of these kinds.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub(crate) kind: Vec<Kind>,
    /// Go on with what is written from now on; ends with Ctrl-C. Not with --format json.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Decode payloads; replaces their bytes.
    #[arg(long, value_enum)]
    pub(crate) decode: Option<Decode>,
    /// Show the batches too, each before what it holds.
    #[arg(long)]
    pub(crate) batches: bool,
    /// How payloads are shown; without it their beginning, as text (as base64 in JSON).
    #[arg(long, value_enum)]
    pub(crate) value: Option<Value>,
}

impl Args {
    /// The last so many entries of a log, with or without their payloads.
    pub(crate) fn of_the_last(dir: &Path, tail: u64, payloads: bool) -> Self {
        Self {
            dir: dir.to_path_buf(),
            indexes: None,
            term: None,
            segment: None,
            tail: Some(tail),
            kind: Vec::new(),
            follow: false,
            decode: None,
            batches: false,
            value: (!payloads).then_some(Value::None),
        }
    }
}

/// A kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Entry,
    HardState,
    Meta,
    Truncate,
    Trim,
    Reset,
    SnapshotMark,
    Refill,
    Damage,
}

impl Kind {
    fn of(row: &Row<'_>) -> Option<Self> {
        Some(match row {
            Row::Entry(_) => Self::Entry,
            Row::Damage(_) => Self::Damage,
            Row::Change(_, _, change) => match change {
                ChangeRow::HardState(_) => Self::HardState,
                ChangeRow::Meta(..) => Self::Meta,
                ChangeRow::TruncateFrom(_) => Self::Truncate,
                ChangeRow::TrimBefore(_) => Self::Trim,
                ChangeRow::Reset(_) => Self::Reset,
                ChangeRow::SnapshotMark(_) => Self::SnapshotMark,
                ChangeRow::Refill(_) => Self::Refill,
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// How a payload is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Value {
    /// Not at all.
    None,
    /// As text; what is no text is escaped.
    Utf8,
    /// Two digits a byte.
    Hex,
    /// RFC 4648.
    Base64,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    if args.follow && out.format == Format::Json {
        return Err(Failure::Usage("one object cannot be followed: --format ndjson".to_owned()));
    }
    let source = Source::open(&args.dir)?;
    if let Some(id) = args.segment
        && !inspect::look(source.fs())?.segments.contains_key(&id)
    {
        return Err(Failure::Usage(format!("there is no segment {id} in {}", args.dir.display())));
    }
    let mut options = DumpOptions::default();
    options.indexes.clone_from(&args.indexes);
    (options.term, options.segment, options.tail) = (args.term, args.segment, args.tail);

    let mut printer =
        Printer { args, out, kind: BatchKind::Batch, rows: 0, failed: None, line: Vec::new() };
    if args.follow {
        return printer.follow(source.fs(), &options);
    }
    printer.out.busy_behind("reading");
    let report = inspect::dump(source.fs(), &options, &mut |row| printer.row(&row));
    let Printer { rows, failed, .. } = printer;
    if let Some(e) = failed {
        return Err(Failure::Output(e));
    }
    let report = match report {
        Err(e) if rows > 0 && out.format == Format::Json => {
            return cut_short(out, rows, &Failure::Log(e));
        }
        other => other?,
    };
    let code = report.outcome().code();
    close(args, out, (rows, code))?;
    if out.format == Format::Human {
        for trouble in &report.troubles {
            out.line(&format!("  ? {trouble}"))?;
        }
        if code == exit::DAMAGED {
            let commands = [next::verify(&args.dir), next::repair_said(&args.dir)];
            out.next(&commands)?;
        }
    }
    Ok(code)
}

fn close(args: &Args, out: &mut Out, (rows, code): (u64, u8)) -> io::Result<()> {
    let summary = json!({
        "schema": "wal-tool.dump/1",
        "exit": code,
        "dir": args.dir.display().to_string(),
        "rows": rows,
    });
    match out.format {
        Format::Human => Ok(()),
        Format::Ndjson => out.object(&summary),
        Format::Json => {
            if rows == 0 {
                open(args, out)?;
            }
            let end = if rows == 0 { "]" } else { "\n]" };
            out.raw(&format!("{end}, \"exit\": {code}, \"row_count\": {rows}}}\n"))
        }
    }
}

/// The one object of `--format json` begins with the first row: a failure before it is an object of
/// its own.
fn open(args: &Args, out: &mut Out) -> io::Result<()> {
    let dir = json!(args.dir.display().to_string());
    out.raw(&format!("{{\"schema\": \"wal-tool.dump/1\", \"dir\": {dir}, \"rows\": ["))
}

/// Ends the one object where a failure ended the dump.
fn cut_short(out: &mut Out, rows: u64, failure: &Failure) -> Ended {
    let (code, text) = failure.says();
    let text = text.unwrap_or_default();
    eprintln!("wal-tool: {text}");
    let text = json!(text);
    let end = format!("\"exit\": {code}, \"row_count\": {rows}, \"error\": {text}");
    out.raw(&format!("\n], {end}}}\n"))?;
    Ok(code)
}

/// Prints rows as they come.
struct Printer<'a> {
    args: &'a Args,
    out: &'a mut Out,
    /// Of the last batch: markers and State repeat what is known.
    kind: BatchKind,
    rows: u64,
    failed: Option<io::Error>,
    /// Where a line is put together.
    line: Vec<u8>,
}

impl Printer<'_> {
    /// Shows what is there and then what is written, until somebody ends it.
    fn follow(mut self, fs: &dyn Fs, options: &DumpOptions) -> Ended {
        /// Between two looks at a log to which nothing was written.
        const PAUSE: Duration = Duration::from_millis(100);
        let printer = RefCell::new(&mut self);
        let each = &mut |row: Row<'_>| printer.borrow_mut().row(&row);
        inspect::follow(fs, options, each, &mut || {
            let mut printer = printer.borrow_mut();
            if let Err(e) = printer.out.finish() {
                printer.failed = Some(e);
                return ControlFlow::Break(());
            }
            std::thread::sleep(PAUSE);
            ControlFlow::Continue(())
        })?;
        self.failed.map_or(Ok(exit::CLEAN), |e| Err(Failure::Output(e)))
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        match self.print(row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                self.failed = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    fn print(&mut self, row: &Row<'_>) -> io::Result<()> {
        if let Row::Batch(batch) = row {
            self.kind = batch.kind;
        }
        let asked = self.args.batches || self.args.segment.is_some();
        let hidden = match row {
            Row::Batch(_) => !self.args.batches,
            // State and markers repeat what other batches said.
            Row::Change(..) => !asked && self.kind != BatchKind::Batch,
            _ => false,
        };
        let kinds = &self.args.kind;
        let other = !kinds.is_empty() && !Kind::of(row).is_some_and(|kind| kinds.contains(&kind));
        if hidden || other {
            return Ok(());
        }
        self.rows += 1;
        if self.rows == 1 && self.out.format == Format::Json {
            open(self.args, self.out)?;
        }
        if let (Row::Entry(entry), Format::Json | Format::Ndjson) = (row, self.out.format) {
            return self.entry_json(entry);
        }
        match self.out.format {
            Format::Human => self.human(row),
            Format::Ndjson => {
                let object = as_json(row, &self.args.dir);
                self.out.object(&object)
            }
            Format::Json => {
                let comma = if self.rows == 1 { "" } else { "," };
                let object = as_json(row, &self.args.dir);
                self.out.raw(&format!("{comma}\n  {object}"))
            }
        }
    }

    fn human(&mut self, row: &Row<'_>) -> io::Result<()> {
        match row {
            Row::Batch(batch) => {
                let BatchRow { kind, segment, offset, len, sequence, durable, sound, .. } = *batch;
                let bad = if sound { "" } else { "  BAD BODY" };
                let text = format!(
                    "── {} {segment}@{offset:#08x}  sequence {}  durable {}  {} bytes{bad}",
                    kind.name(),
                    number::grouped(sequence),
                    number::grouped(durable),
                    number::grouped(len)
                );
                let text = self.out.toned(Tone::Quiet, &text);
                self.out.line(&text)
            }
            Row::Change(segment, offset, change) => {
                let text = format!("{:>12}  {segment}@{offset:#08x}  {}", "·", changed(change));
                self.out.line(&text)
            }
            Row::Entry(entry) => self.entry(entry),
            Row::Damage(finding) => verify::print(finding, &self.args.dir, self.out),
            _ => Ok(()),
        }
    }

    /// An entry as JSON, without a tree in between: most of a dump is entries.
    fn entry_json(&mut self, entry: &EntryRow<'_>) -> io::Result<()> {
        let EntryRow { id, segment, offset, payload, sound, .. } = *entry;
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        if self.out.format == Format::Json {
            line.extend_from_slice(if self.rows == 1 { b"\n  " } else { b",\n  " });
        }
        line.push(b'{');
        let value = self.args.value.unwrap_or(Value::Base64);
        match (self.args.decode, value) {
            (Some(decode), _) => write!(line, "\"decoded\":{},", json!(decode.of(payload)))?,
            (None, Value::None) => {}
            (None, Value::Base64) => {
                line.extend_from_slice(b"\"base64\":\"");
                number::base64_into(&mut line, payload);
                line.extend_from_slice(b"\",");
            }
            (None, Value::Hex) => {
                line.extend_from_slice(b"\"hex\":\"");
                number::hex_into(&mut line, payload);
                line.extend_from_slice(b"\",");
            }
            (None, Value::Utf8) => {}
        }
        let (index, term, tag, len) = (id.index, id.term, id.tag, payload.len());
        write!(
            line,
            "\"index\":{index},\"len\":{len},\"offset\":{offset},\"row\":\"entry\",\
             \"segment\":{segment},\"sound\":{sound},\"tag\":{tag},\"term\":{term}"
        )?;
        if self.args.decode.is_none() && value == Value::Utf8 {
            write!(line, ",\"utf8\":{}", json!(String::from_utf8_lossy(payload)))?;
        }
        line.push(b'}');
        if self.out.format == Format::Ndjson {
            line.push(b'\n');
        }
        let written = self.out.writer().write_all(&line);
        self.line = line;
        written
    }

    /// An entry for people, without a string in between: most of a dump is entries.
    fn entry(&mut self, entry: &EntryRow<'_>) -> io::Result<()> {
        /// Columns of the index.
        const WIDTH: usize = 12;
        let EntryRow { id, segment, offset, payload, sound, .. } = *entry;
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.resize(WIDTH, b' ');
        let columns = number::grouped_into(&mut line, id.index);
        line.drain(..columns.min(WIDTH));
        write!(line, "  {segment}@{offset:#08x}  term {}", id.term)?;
        if id.tag != 0 {
            write!(line, " tag {}", id.tag)?;
        }
        line.extend_from_slice(b"  ");
        number::grouped_into(&mut line, payload.len() as u64);
        line.extend_from_slice(b" bytes  ");
        if !sound {
            line.extend_from_slice(self.out.toned(Tone::Bad, "BAD  ").as_bytes());
        }
        match (self.args.decode, self.args.value) {
            (Some(decode), _) => line.extend_from_slice(decode.of(payload).as_bytes()),
            (None, Some(asked)) => value_into(&mut line, asked, payload),
            (None, None) => {
                let front = payload.get(..GLIMPSE).unwrap_or(payload);
                line.push(b'"');
                number::text_into(&mut line, front);
                if front.len() < payload.len() {
                    line.extend_from_slice("…".as_bytes());
                }
                line.push(b'"');
            }
        }
        line.push(b'\n');
        let written = self.out.writer().write_all(&line);
        self.line = line;
        written
    }
}

/// A payload for people, behind what is in `line`.
fn value_into(line: &mut Vec<u8>, asked: Value, payload: &[u8]) {
    match asked {
        Value::None => {}
        Value::Utf8 => {
            line.push(b'"');
            number::text_into(line, payload);
            line.push(b'"');
        }
        Value::Hex => number::hex_into(line, payload),
        Value::Base64 => number::base64_into(line, payload),
    }
}

/// A payload for people.
pub(crate) fn value(asked: Value, payload: &[u8]) -> String {
    let mut line = Vec::new();
    value_into(&mut line, asked, payload);
    String::from_utf8(line).expect("all that is put there is text")
}

/// A payload for programs: the name of the field, and its text.
pub(crate) fn value_json(value: Option<Value>, payload: &[u8]) -> Option<(&'static str, String)> {
    match value.unwrap_or(Value::Base64) {
        Value::None => None,
        Value::Utf8 => Some(("utf8", String::from_utf8_lossy(payload).into_owned())),
        Value::Hex => Some(("hex", number::hex(payload))),
        Value::Base64 => Some(("base64", number::base64(payload))),
    }
}

fn changed(change: &ChangeRow) -> String {
    match change {
        ChangeRow::HardState(hs) => format!(
            "hard state: term {}, vote {}, commit {}",
            number::grouped(hs.term),
            hs.vote.map_or("none".to_owned(), |vote| format!("n{vote}")),
            number::grouped(hs.commit)
        ),
        ChangeRow::Meta(key, promise, len) => {
            let class = if *promise { "promise" } else { "ordered" };
            format!("metadata slot {key} ({class}): {len} bytes")
        }
        ChangeRow::TruncateFrom(from) => format!("truncate from {}", number::grouped(*from)),
        ChangeRow::TrimBefore(first) => format!("trim before {}", number::grouped(*first)),
        ChangeRow::Reset(first) => format!("reset: go on at {}", number::grouped(*first)),
        ChangeRow::SnapshotMark(mark) => format!(
            "snapshot of entry {} (term {}), {}",
            number::grouped(mark.id.index),
            mark.id.term,
            number::size(mark.size)
        ),
        ChangeRow::Refill(id) => {
            format!("refill of entry {} (term {})", number::grouped(id.index), id.term)
        }
        ChangeRow::AcknowledgeLoss => "loss acknowledged".to_owned(),
        _ => "a section this version may skip".to_owned(),
    }
}

fn as_json(row: &Row<'_>, dir: &Path) -> Json {
    match row {
        Row::Batch(batch) => json!({
            "row": batch.kind.name(),
            "segment": batch.segment,
            "offset": batch.offset,
            "len": batch.len,
            "sequence": batch.sequence,
            "durable": batch.durable,
            "sound": batch.sound,
        }),
        Row::Change(segment, offset, change) => {
            let mut object = change_json(change);
            if let Some(fields) = object.as_object_mut() {
                fields.insert("segment".to_owned(), json!(segment));
                fields.insert("offset".to_owned(), json!(offset));
            }
            object
        }
        // Entries have a way of their own.
        Row::Damage(finding) => {
            let mut object = json::finding(finding, dir);
            if let Some(fields) = object.as_object_mut() {
                fields.insert("row".to_owned(), json!("damage"));
            }
            object
        }
        _ => json!({ "row": "unknown" }),
    }
}

fn change_json(change: &ChangeRow) -> Json {
    match change {
        ChangeRow::HardState(hs) => {
            json!({ "row": "hard state", "term": hs.term, "vote": hs.vote, "commit": hs.commit })
        }
        ChangeRow::Meta(key, promise, len) => {
            json!({ "row": "meta", "key": key, "promise": promise, "len": len })
        }
        ChangeRow::TruncateFrom(from) => json!({ "row": "truncate", "from": from }),
        ChangeRow::TrimBefore(first) => json!({ "row": "trim", "first": first }),
        ChangeRow::Reset(first) => json!({ "row": "reset", "first": first }),
        ChangeRow::SnapshotMark(mark) => json!({
            "row": "snapshot mark",
            "id": json::id(&mark.id),
            "size": mark.size,
            "crc": format!("{:08x}", mark.crc),
        }),
        ChangeRow::Refill(id) => json!({ "row": "refill", "id": json::id(id) }),
        ChangeRow::AcknowledgeLoss => json!({ "row": "loss acknowledged" }),
        _ => json!({ "row": "unknown" }),
    }
}
