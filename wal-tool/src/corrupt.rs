//! `corrupt`: damages a log on purpose, for drills. Only where a file `.lab` says that it may.
//!
//! Above: `main`. Below: `inspect`, which says where things are, and the files themselves: the engine
//! has no way to write over what is there.
//! The same directory, kind and seed give the same damage.

use std::{
    fs::{self, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use hardlog::{
    Error,
    fs::{Dir, Fs, disk::DiskFs},
    inspect::{self, DumpOptions, Inventory, Row},
    layout::{index_name, segment_name, snapshot_name},
};
use serde_json::json;

use crate::{
    args::{Format, number},
    exit::{self, CLEAN, Ended, Failure},
    next,
    out::Out,
};

/// The file that marks a directory as one for drills.
const LAB: &str = ".lab";
/// Bytes of a block.
const BLOCK: u64 = 512;

/// What `corrupt` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory; it must hold a file named `.lab`.
    pub(crate) dir: PathBuf,
    /// What is damaged.
    #[arg(long, value_enum)]
    pub(crate) kind: Kind,
    /// Which of the places it hits.
    #[arg(long, value_parser = number, default_value = "0", value_name = "N")]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// One bit of any segment.
    Bit,
    /// A block of 512 bytes of any segment becomes zeros.
    Block,
    /// The head of a batch.
    Head,
    /// The payload of an entry.
    Payload,
    /// Both copies of a segment's header.
    Header,
    /// A segment is cut short.
    Cut,
    /// A segment is removed.
    Missing,
    /// An index file.
    Index,
    /// A snapshot file.
    Snapshot,
}

/// Where, and what is done there.
struct Harm {
    file: PathBuf,
    offset: u64,
    len: u64,
    what: &'static str,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    if !fs::symlink_metadata(args.dir.join(LAB)).is_ok_and(|meta| meta.is_file()) {
        let text = format!(
            "{} has no file {LAB}: only a directory for drills is damaged",
            args.dir.display()
        );
        return Err(Failure::Refused(text));
    }
    let disk = DiskFs::new(&args.dir);
    let found = inspect::look(&disk)?;
    let _lock = disk.lock().map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => {
            Error::Locked { path: args.dir.clone(), holder: disk.lock_holder() }
        }
        _ => failed("lock", &args.dir, e),
    })?;
    let harm = damage(args, &disk, &found)?;
    let name = harm.file.strip_prefix(&args.dir).unwrap_or(&harm.file).display().to_string();
    if out.format == Format::Human {
        let place = if harm.len > 0 {
            format!(" at offset {:#x}, {} bytes", harm.offset, harm.len)
        } else {
            String::new()
        };
        out.line(&format!("{name}: {}{place}", harm.what))?;
        out.line(&format!("  next: {}", next::verify(&args.dir)))?;
    } else {
        out.object(&json!({
            "schema": "wal-tool.corrupt/1",
            "exit": CLEAN,
            "file": name,
            "offset": harm.offset,
            "bytes": harm.len,
            "what": harm.what,
        }))?;
    }
    Ok(CLEAN)
}

fn failed(op: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { op, path: path.to_path_buf(), source }
}

/// Numbers that look random and follow from the seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit.max(1)
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let at = self.below(all.len() as u64);
        all.get(usize::try_from(at).ok()?).cloned()
    }
}

fn damage(args: &Args, disk: &DiskFs, found: &Inventory) -> Result<Harm, Failure> {
    let mut random = Numbers(args.seed);
    let nothing = || Failure::Usage("there is nothing of that kind to damage".to_owned());
    let segments: Vec<(String, u64)> =
        found.segments.iter().map(|(&id, &len)| (segment_name(id), len)).collect();
    let root = &args.dir;
    match args.kind {
        Kind::Bit | Kind::Block | Kind::Cut | Kind::Missing | Kind::Header => {
            let (name, len) = random.pick(&segments).ok_or_else(nothing)?;
            let at = random.below(len);
            let file = root.join(name);
            whole(args.kind, file, (at, len))
        }
        Kind::Index => {
            let names: Vec<String> = found.indexes.keys().map(|&id| index_name(id)).collect();
            let file = root.join(random.pick(&names).ok_or_else(nothing)?);
            let len = length(&file)?;
            flip(file, random.below(len), "one bit of an index file is flipped")
        }
        Kind::Snapshot => {
            let all = found.snapshots.keys();
            let names: Vec<String> = all.map(|&(index, term)| snapshot_name(index, term)).collect();
            let name = random.pick(&names).ok_or_else(nothing)?;
            let file = root.join(Dir::Snapshots.name()).join(name);
            let len = length(&file)?;
            flip(file, random.below(len), "one bit of a snapshot is flipped")
        }
        Kind::Head => {
            let places = batches(disk)?;
            let (segment, offset) = random.pick(&places).ok_or_else(nothing)?;
            // The sequence, which no other bytes can make good.
            let at = offset + 16 + random.below(8);
            flip(root.join(segment_name(segment)), at, "one bit of the head of a batch is flipped")
        }
        Kind::Payload => {
            let places = payloads(disk)?;
            let (segment, offset, payload) = random.pick(&places).ok_or_else(nothing)?;
            let file = root.join(segment_name(segment));
            let at = find(&file, offset, &payload)?.ok_or_else(nothing)?;
            let at = at + random.below(payload.len() as u64);
            flip(file, at, "one bit of a payload is flipped")
        }
    }
}

/// Damage that needs no knowledge of what stands there.
fn whole(kind: Kind, file: PathBuf, (at, len): (u64, u64)) -> Result<Harm, Failure> {
    let (offset, bytes, what) = match kind {
        Kind::Missing => {
            fs::remove_file(&file).map_err(|e| failed("remove", &file, e))?;
            (0, 0, "the file is removed")
        }
        Kind::Cut => {
            let open = OpenOptions::new().write(true).open(&file);
            open.and_then(|open| open.set_len(at)).map_err(|e| failed("cut", &file, e))?;
            (at, len - at, "the file is cut")
        }
        Kind::Header => {
            for copy in [0, 4096] {
                write(&file, copy, &[0; 136])?;
            }
            (0, 4096 + 136, "both copies of the header are zeros")
        }
        Kind::Block => {
            let from = at / BLOCK * BLOCK;
            let bytes = BLOCK.min(len - from);
            write(&file, from, &vec![0; usize::try_from(bytes).unwrap_or(0)])?;
            (from, bytes, "a block is zeros")
        }
        _ => return flip(file, at, "one bit is flipped"),
    };
    Ok(Harm { file, offset, len: bytes, what })
}

fn write(file: &Path, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
    let open = OpenOptions::new().write(true).open(file);
    let written = open.and_then(|open| open.write_all_at(bytes, offset));
    Ok(written.map_err(|e| failed("write to", file, e))?)
}

fn flip(file: PathBuf, offset: u64, what: &'static str) -> Result<Harm, Failure> {
    let mut byte = [0];
    let open = fs::File::open(&file);
    open.and_then(|open| open.read_exact_at(&mut byte, offset))
        .map_err(|e| failed("read", &file, e))?;
    write(&file, offset, &[byte[0] ^ 0x10])?;
    Ok(Harm { file, offset, len: 1, what })
}

fn length(file: &Path) -> Result<u64, Failure> {
    Ok(fs::metadata(file).map_err(|e| failed("stat", file, e))?.len())
}

/// Segment and offset of batches.
fn batches(disk: &DiskFs) -> Result<Vec<(u64, u64)>, Failure> {
    let mut places = Vec::new();
    inspect::dump(disk, &DumpOptions::default(), &mut |row| {
        if let Row::Batch(batch) = row {
            places.push((batch.segment, batch.offset));
        }
        bounded(places.len())
    })?;
    Ok(places)
}

/// Segment, offset of the batch, and bytes of payloads.
fn payloads(disk: &DiskFs) -> Result<Vec<(u64, u64, Vec<u8>)>, Failure> {
    let mut places = Vec::new();
    inspect::dump(disk, &DumpOptions::default(), &mut |row| {
        if let Row::Entry(entry) = row
            && (8..4096).contains(&entry.payload.len())
        {
            places.push((entry.segment, entry.offset, entry.payload.to_vec()));
        }
        bounded(places.len())
    })?;
    Ok(places)
}

/// A drill needs no more places to choose from.
fn bounded(places: usize) -> ControlFlow<()> {
    if places < 10_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Where the payload stands behind the head of its batch.
fn find(file: &Path, offset: u64, payload: &[u8]) -> Result<Option<u64>, Failure> {
    let mut bytes = vec![0; 4 << 20];
    let open = fs::File::open(file).map_err(|e| failed("open", file, e))?;
    let read = open.read_at(&mut bytes, offset).map_err(|e| failed("read", file, e))?;
    let at = bytes[..read].windows(payload.len()).position(|window| window == payload);
    Ok(at.map(|at| offset + at as u64))
}
