//! `export`: the log as lines of JSON, from which `import` makes an equal one.
//!
//! ```text
//!   header   window, id before it, hard state, metadata, what snapshot it counts on
//!   snapshot its payload in pieces                    (row "snapshot")
//!   entries  in order                                 (row "entry")
//!   end      how many, and a checksum of all bytes before      (row "end")
//! ```
//!
//! It holds what a log means and not how it lies on the disk: no log id, no segment, no salt. So the
//! export of an import is the same text again.

use std::{
    io::{self, Read, Write},
    ops::ControlFlow,
    path::PathBuf,
};

use crc32fast::Hasher;
use hardlog::{
    Class, Options, SnapshotStore,
    fs::disk::DiskFs,
    inspect::{Live, LiveEntry, Summary, VerifyReport, Window},
};
use serde_json::{Value, json};

use crate::{
    exit::{self, DAMAGED, Ended, Failure},
    json, next, number,
    out::Out,
    place::FreshFile,
};

/// Payload bytes of a snapshot on one line.
const PIECE: usize = 192 << 10;
/// Bytes that are collected before they are written.
const BUFFER: usize = 256 << 10;

/// What `export` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// Write to this file, which must not exist, instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let fs = DiskFs::new(&args.dir);
    match args.output {
        Some(_) => out.busy("exporting"),
        None => out.busy_behind("exporting"),
    }
    let window = Window::look(&fs)?;
    let report = window.report();
    if report.summary.window.is_none() {
        let (dir, next) = (args.dir.display(), next::verify(&args.dir));
        let text = format!("{dir}: what the log holds is not known; see {next}");
        return Err(Failure::Damaged(text));
    }
    let mut file = args.output.as_deref().map(FreshFile::new).transpose()?;
    let to: Box<dyn Write + '_> = match &mut file {
        Some(file) => Box::new(file),
        None => Box::new(out.writer()),
    };
    let mut lines = Lines::new(to);
    lines.object(&header(&report.summary))?;
    let mut damaged = !snapshot(&args.dir, report, &mut lines)?;
    let (mut entries, mut failed) = (0_u64, None);
    window.entries(&fs, 0..=u64::MAX, &mut |row| {
        let written = match row {
            Live::Entry(entry) if entry.sound => {
                entries += 1;
                lines.entry(&entry)
            }
            Live::Entry(LiveEntry { id, .. }) => {
                damaged = true;
                lines.object(&missing((id.index, id.index)))
            }
            Live::Missing(span, _) => {
                damaged = true;
                lines.object(&missing(span))
            }
            _ => Ok(()),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(e) = failed {
        return Err(Failure::Output(e));
    }
    let code = if damaged { DAMAGED } else { 0 };
    lines.end("wal-tool.export.end/1", Some(entries), code)?;
    if let Some(file) = file {
        file.done()?;
    }
    if damaged {
        eprintln!("wal-tool: the export has holes; see {}", next::verify(&args.dir));
    }
    Ok(code)
}

fn missing((first, last): (u64, u64)) -> Value {
    json!({ "row": "missing", "first": first, "last": last })
}

fn header(summary: &Summary) -> Value {
    let hs = summary.hard_state;
    let slot = |(key, class, value): &(u64, Class, bytes::Bytes)| {
        let promise = *class == Class::Promise;
        json!({ "key": key, "promise": promise, "base64": number::base64(value) })
    };
    json!({
        "schema": "wal-tool.export/1",
        "row": "header",
        "first": summary.window.map(|(first, _)| first),
        "next": summary.window.map(|(_, next)| next),
        "prev": summary.prev.as_ref().map(json::id),
        "term": hs.term,
        "vote": hs.vote,
        "commit": hs.commit,
        "meta": summary.meta.iter().map(slot).collect::<Vec<_>>(),
        "snapshot": summary.mark.map(|mark| json::id(&mark.id)),
        "maybe_lost": summary.maybe_lost,
    })
}

/// Writes the marked snapshot, if there is one; false where it cannot be read whole.
fn snapshot(dir: &PathBuf, report: &VerifyReport, lines: &mut Lines<'_>) -> Result<bool, Failure> {
    let Some((mark, log_id)) = report.summary.mark.zip(report.summary.log_id) else {
        return Ok(true);
    };
    let fs = std::sync::Arc::new(DiskFs::new(dir));
    let store = SnapshotStore::new(fs, log_id, &Options::new());
    let Ok(mut reader) = store.open(mark.id) else { return Ok(false) };
    let (len, meta) = (reader.len(), number::base64(reader.meta()));
    lines.object(&json!({ "row": "snapshot", "len": len, "meta": meta }))?;
    let mut piece = vec![0; PIECE];
    loop {
        let mut got = 0;
        while got < PIECE {
            match reader.read(&mut piece[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(_) => return Ok(false),
            }
        }
        if got == 0 {
            return Ok(true);
        }
        lines.object(&json!({ "row": "piece", "base64": number::base64(&piece[..got]) }))?;
    }
}

/// Lines on their way, with a checksum of all of them.
pub(crate) struct Lines<'a> {
    to: Box<dyn Write + 'a>,
    line: Vec<u8>,
    sum: Hasher,
    written: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(to: Box<dyn Write + 'a>) -> Self {
        Self { to, line: Vec::with_capacity(BUFFER), sum: Hasher::new(), written: 0 }
    }

    pub(crate) fn object(&mut self, object: &Value) -> io::Result<()> {
        writeln!(self.line, "{object}")?;
        self.pass(BUFFER)
    }

    fn entry(&mut self, entry: &LiveEntry<'_>) -> io::Result<()> {
        self.line.extend_from_slice(b"{\"base64\":\"");
        number::base64_into(&mut self.line, entry.payload);
        let id = entry.id;
        let (index, tag, term) = (id.index, id.tag, id.term);
        writeln!(
            self.line,
            "\",\"index\":{index},\"row\":\"entry\",\"tag\":{tag},\"term\":{term}}}"
        )?;
        self.pass(BUFFER)
    }

    /// Passes on what was collected once it is `enough`.
    fn pass(&mut self, enough: usize) -> io::Result<()> {
        if self.line.len() < enough {
            return Ok(());
        }
        self.sum.update(&self.line);
        self.written += self.line.len() as u64;
        self.to.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    /// The last line: how many entries, where there are any to count, and a checksum of all bytes.
    pub(crate) fn end(mut self, schema: &str, entries: Option<u64>, code: u8) -> io::Result<()> {
        self.pass(0)?;
        let crc = self.sum.clone().finalize();
        let mut end = json!({
            "schema": schema,
            "row": "end",
            "exit": code,
            "bytes": self.written,
            "crc": format!("{crc:08x}"),
        });
        if let Some(entries) = entries {
            end["entries"] = json!(entries);
        }
        writeln!(self.to, "{end}")?;
        self.to.flush()
    }
}
