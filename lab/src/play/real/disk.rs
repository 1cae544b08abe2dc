//! What is done to the files of a log, and what stands in them.
//!
//! Above: `real`. Below: the engine's own look at a log, and plain files. What is damaged here is
//! the log of a node that was killed: of a running one it is only read, and what is read is of
//! yesterday as soon as it is there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use hardlog::{
    fs::disk::DiskFs,
    inspect::{self, Live, VerifyOptions, Window},
};
use hardlog_raft::sim::lab::aim;

/// How many entries are shown.
const SHOWN: u64 = 24;
/// Bytes that are written at a time.
const PIECE: u64 = 64 << 10;

/// What was torn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Torn {
    /// Bytes of the batch that are gone.
    pub(super) bytes: u64,
    /// The file, and where the rest of the batch ends.
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    /// What the engine says of the log now.
    pub(super) verdict: String,
}

/// Files of a log: number and length in bytes.
pub(super) fn files(dir: &Path) -> Vec<(u64, Option<u64>)> {
    let found = inspect::look(&DiskFs::new(dir));
    let found = found.map_or_else(|_| Vec::new(), |found| found.segments.into_iter().collect());
    found.into_iter().map(|(file, len)| (file, Some(len))).collect()
}

/// The last entries of a log: index and term.
pub(super) fn entries(dir: &Path) -> Vec<(u64, u64)> {
    let fs = DiskFs::new(dir);
    let mut entries = Vec::new();
    let Ok(window) = Window::look(&fs) else { return entries };
    let Some((first, last)) = window.span() else { return entries };
    let shown = first.max((last + 1).saturating_sub(SHOWN))..=last;
    let mut each = |live: Live<'_>| {
        if let Live::Entry(entry) = live {
            entries.push((entry.id.index, entry.id.term));
        }
        ControlFlow::Continue(())
    };
    // What could be read before an error is what is shown.
    let _ = window.entries(&fs, shown, &mut each);
    entries
}

/// The second half of the last write, and all behind it, is no more.
pub(super) fn tear(dir: &Path) -> Result<Torn, String> {
    let fs = DiskFs::new(dir);
    let last = aim::last_batch(&fs).map_err(|error| error.to_string())?;
    let (segment, begin, len) = last.ok_or("it wrote nothing since its last start")?;
    let (file, offset) = (file_of(&fs, segment)?, begin + len / 2);
    zero(&file, offset).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Torn { bytes: len - len / 2, file, offset, verdict: verdict(dir) })
}

/// One bit of an entry's payload changes; where.
pub(super) fn rot(dir: &Path, index: u64) -> Result<(PathBuf, u64), String> {
    let (segment, batch, payload) = payload(dir, index)?;
    let file = file_of(&DiskFs::new(dir), segment)?;
    let at = flip(&file, batch, &payload)
        .map_err(|error| format!("{}: {error}", file.display()))?
        .ok_or_else(|| none(index))?;
    Ok((file, at))
}

/// An entry's segment, the offset of its batch, and its bytes.
pub(super) fn payload(dir: &Path, index: u64) -> Result<(u64, u64, Vec<u8>), String> {
    let found = aim::payload(&DiskFs::new(dir), index).map_err(|error| error.to_string())?;
    found.ok_or_else(|| none(index))
}

fn none(index: u64) -> String {
    format!("its log has no entry {index} with bytes to rot")
}

/// What the engine says of a log, in words.
pub(super) fn verdict(dir: &Path) -> String {
    match inspect::verify(&DiskFs::new(dir), VerifyOptions::new(), &mut |_| {}) {
        Ok(report) => report.to_string(),
        Err(error) => error.to_string(),
    }
}

fn file_of(fs: &DiskFs, segment: u64) -> Result<PathBuf, String> {
    let found = aim::file_of(fs, segment).map_err(|error| error.to_string())?;
    found.ok_or_else(|| "its file is gone".to_owned())
}

/// Zeros from an offset to the end of a file, which keeps its length.
fn zero(file: &Path, from: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    let mut left = file.metadata()?.len().saturating_sub(from);
    let zeros = vec![0; usize::try_from(PIECE.min(left)).unwrap_or(0)];
    file.seek(SeekFrom::Start(from))?;
    while left > 0 {
        let now = usize::try_from(left.min(PIECE)).unwrap_or(0);
        file.write_all(zeros.get(..now).unwrap_or_default())?;
        left -= now as u64;
    }
    // DURABILITY: no sync: this is damage, and nobody relies on it.
    Ok(())
}

/// Finds the payload behind the begin of its batch and changes a bit of it.
fn flip(file: &Path, batch: u64, payload: &[u8]) -> io::Result<Option<u64>> {
    let mut from = File::open(file)?;
    from.seek(SeekFrom::Start(batch))?;
    let mut bytes = Vec::new();
    // A batch is no longer than its file, which has a limit.
    from.read_to_end(&mut bytes)?;
    let at = bytes.windows(payload.len().max(1)).position(|window| window == payload);
    let Some(at) = at.map(|at| batch + at as u64) else { return Ok(None) };
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(at))?;
    let bit = payload.first().map_or(0, |byte| byte ^ (1 << 3));
    file.write_all(&[bit])?;
    // DURABILITY: no sync: this is damage, and nobody relies on it.
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use hardlog::{Entry, Log, OnDamage, Options, Verdict};
    use tempfile::TempDir;

    use super::*;

    fn options() -> Options {
        Options::new().background(false)
    }

    /// Twenty entries in batches of two.
    fn log() -> TempDir {
        let dir = TempDir::new().unwrap();
        let mut log = Log::create(dir.path().join("log"), options()).unwrap();
        for index in (1..=20).step_by(2) {
            let entry = |index: u64| Entry::new(index, 1 + index / 10, format!("entry {index}"));
            log.append(&[entry(index), entry(index + 1)]).unwrap();
            log.sync().unwrap();
        }
        drop(log);
        dir
    }

    #[test]
    fn files_and_entries_are_what_was_written() {
        let dir = log();
        let path = dir.path().join("log");
        assert_eq!(files(&path).len(), 1);
        let entries = entries(&path);
        assert_eq!((entries.len(), entries[0], entries[19]), (20, (1, 1), (20, 3)));
        assert_eq!(super::entries(dir.path()), Vec::new());
    }

    #[test]
    fn a_torn_write_is_cut_in_its_middle_and_recovery_drops_it() {
        let dir = log();
        let path = dir.path().join("log");
        let torn = tear(&path).unwrap();
        assert!(torn.bytes > 10 && !torn.verdict.is_empty(), "{torn:?}");
        let (log, report) = Log::open(&path, options()).unwrap();
        assert_eq!(report.verdict, Some(Verdict::Unproven), "{report}");
        assert_eq!(log.last_log_index(), Some(18));
    }

    #[test]
    fn a_rotten_bit_is_found_by_the_next_start() {
        let dir = log();
        let path = dir.path().join("log");
        assert!(rot(&path, 21).unwrap_err().contains("no entry 21"));
        rot(&path, 7).unwrap();
        assert!(verdict(&path).contains("entry 7"), "{}", verdict(&path));
        let refused = Log::open(&path, options().on_damage(OnDamage::Refuse));
        assert!(refused.is_err());
    }
}
