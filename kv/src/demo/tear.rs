//! Leaves behind what a power cut leaves of a write that was under way.
//!
//! A killed process cannot tear a write, only a power cut can; so this does it by hand, to the log
//! of a node that was just killed. It writes behind the last whole batch, where the next one would
//! have begun, and so touches nothing that was ever acknowledged: a torn batch is one whose sync
//! never returned.

use std::{
    fs::OpenOptions,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use hardlog::{
    fs::disk::DiskFs,
    inspect::{self, Role, VerifyOptions},
};

/// How much of the batch reached the disk.
const TORN_LEN: u64 = 700;

/// What was torn.
#[derive(Debug)]
pub(super) struct Torn {
    /// The segment.
    pub(super) file: PathBuf,
    /// Where the batch would have begun, in bytes.
    pub(super) offset: u64,
    /// How many bytes of it are there.
    pub(super) len: u64,
}

/// Tears the write that would have come next.
pub(super) fn tear(dir: &Path) -> io::Result<Torn> {
    let report = inspect::verify(&DiskFs::new(dir), VerifyOptions::new().quick(true), &mut |_| {})
        .map_err(io::Error::other)?;
    let active = report.segments.iter().find(|segment| segment.role == Role::Active);
    let active = active.ok_or_else(|| io::Error::other("no active segment"))?;
    // The report names files as they are reached from here, the directory before them.
    let torn = Torn { file: active.file.clone(), offset: active.end, len: TORN_LEN };
    let mut file = OpenOptions::new().read(true).write(true).open(&torn.file)?;
    // What stood there last, shifted: bytes of a batch, and yet no batch, since its checksums are
    // bound to its place.
    file.seek(SeekFrom::Start(torn.offset.saturating_sub(TORN_LEN)))?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(TORN_LEN).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(torn.offset))?;
    file.write_all(&bytes)?;
    // DURABILITY: no sync: nobody relies on these bytes, and a torn write is one without.
    Ok(torn)
}

#[cfg(test)]
mod tests {
    use hardlog::{Entry, Log, Options, Verdict};

    use super::*;

    #[test]
    fn a_torn_write_is_dropped_by_the_next_open_and_harms_nothing_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::create(&path, Options::new().background(false)).unwrap();
        for index in 1..=20 {
            log.append(&[Entry::new(index, 1, vec![b'x'; 200])]).unwrap();
        }
        log.sync().unwrap();
        drop(log);
        let torn = tear(&path).unwrap();
        let (log, report) = Log::open(&path, Options::new().background(false)).unwrap();
        assert_eq!(report.end, Some((torn.file, torn.offset)), "{report}");
        assert_eq!(report.verdict, Some(Verdict::Unproven), "{report}");
        assert_eq!(log.last_log_index(), Some(20));
        assert_eq!(log.at(20).unwrap().payload, vec![b'x'; 200]);
    }
}
