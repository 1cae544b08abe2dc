//! Copies a log's files from one place to another: to keep, or to bring back.
//!
//! ```text
//!   look ─▶ snapshots ─▶ segments, newest first ─▶ their index files      each: tmp/, sync, rename
//! ```
//!
//! Above: `wal-tool backup` and `restore`, and a service that wants the same. Below: `copy` and
//! one quick look. It takes no lock: of a log that is open it copies what stood in it at the look.
//! INVARIANT: nothing of the source is changed; nothing in the target is overwritten.
//! INVARIANT: a file has its name in the target only when it is durable there.
//! INVARIANT: the newest segment gets its name first, alone, and durably: a copy that was cut off lacks
//! files that it names, and is refused by an open instead of passing for a shorter log.
//! What it does not do: judge. A damaged log is copied with its damage, byte for byte.

use std::{io, sync::Arc};

use crate::{
    copy::{Copied, copy as copy_one},
    error::{Error, Result},
    fs::{Access, Dir, File, Fs, read_full},
    header::BATCHES_AT,
    inspect::{Role, VerifyOptions, VerifyReport, look, verify},
    layout::{index_name, segment_name, snapshot_name},
};

/// Looks at a live log whose files go while they are copied.
const TRIES: usize = 5;

/// A file that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedFile {
    /// Where it lies.
    pub dir: Dir,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub len: u64,
    /// Their CRC-32.
    pub crc: u32,
}

/// What was copied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Backup {
    /// The files, in the order in which they were copied.
    pub files: Vec<CopiedFile>,
    /// The quick look at the source that the copy rests on.
    pub report: VerifyReport,
}

impl Backup {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}

/// Copies the log in `from` to `to`, whose directory is made. `progress` hears of each file.
///
/// # Errors
/// `Exists` where `to` holds anything; `NotALog`; `Io` and `Full`. What was copied until then stays.
pub fn backup(from: &dyn Fs, to: &dyn Fs, progress: &mut dyn FnMut(&CopiedFile)) -> Result<Backup> {
    refuse_what_is_there(to)?;
    to.make_dirs().map_err(|e| Error::io("make", to.root(), e))?;
    let mut files: Vec<CopiedFile> = Vec::new();
    let mut tries = 0;
    loop {
        tries += 1;
        let report = verify(from, VerifyOptions::new().quick(true), &mut |_| {})?;
        match copy_all((from, to), &report, &mut files, progress) {
            Err(e) if is_gone(&e) && tries < TRIES => {
                // A trim took it under our eyes: what is left is copied anew from the new first.
                for file in files.drain(..) {
                    let name = &file.name;
                    to.unlink(file.dir, name).map_err(|e| Error::io("unlink", name, e))?;
                }
            }
            Err(e) => return Err(e),
            Ok(()) => {
                for dir in [Dir::Root, Dir::Snapshots] {
                    // DURABILITY: the names of the copies; without it a backup that was reported
                    // may be gone after a power cut.
                    to.sync_dir(dir).map_err(|e| Error::io("sync", to.root(), e))?;
                }
                return Ok(Backup { files, report });
            }
        }
    }
}

fn refuse_what_is_there(to: &dyn Fs) -> Result<()> {
    let mut names = Vec::new();
    for dir in Dir::ALL {
        match to.list(dir) {
            Ok(found) => names.extend(found.into_iter().map(|found| found.name)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("list", to.root(), e)),
        }
    }
    names.retain(|name| Dir::ALL.iter().all(|dir| dir.name() != name));
    match names.into_iter().next() {
        Some(found) => Err(Error::Exists { path: to.root().to_path_buf(), found }),
        None => Ok(()),
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn copy_all(
    (from, to): (&dyn Fs, &dyn Fs),
    report: &VerifyReport,
    files: &mut Vec<CopiedFile>,
    progress: &mut dyn FnMut(&CopiedFile),
) -> Result<()> {
    let found = look(from)?;
    let live = report.lock.may_be_live();
    let mut copy = |dir, name: String, end| {
        let Copied { len, crc } = copy_one((from, dir, &name), (to, dir, &name), end)?;
        let copied = CopiedFile { dir, name, len, crc };
        progress(&copied);
        files.push(copied);
        Ok(())
    };
    for &(index, term) in found.snapshots.keys() {
        copy(Dir::Snapshots, snapshot_name(index, term), None)?;
    }
    for (at, segment) in report.segments.iter().rev().enumerate() {
        // What is written behind the end of the look is not copied: half of it may be there.
        let end = (live && segment.role == Role::Active).then_some(segment.end);
        let watch = Watch::begin(from, segment_name(segment.id))?;
        copy(Dir::Root, segment_name(segment.id), end)?;
        watch.end()?;
        if at == 0 {
            // DURABILITY: the newest first: older ones alone would be a shorter log.
            to.sync_dir(Dir::Root).map_err(|e| Error::io("sync", to.root(), e))?;
        }
    }
    let sealed = |id: &u64| {
        let mut rows = report.segments.iter();
        !live || rows.any(|row| row.id == *id && row.role == Role::Sealed)
    };
    for id in found.indexes.keys().copied().filter(sealed) {
        // Beside the newest segment of the copy it would say that a newer one is missing.
        copy(Dir::Root, index_name(id), None)?;
    }
    Ok(())
}

/// Sees whether a file was given to another segment while it was copied (`reuse`): its headers are
/// the first that is written over.
struct Watch {
    name: String,
    file: Arc<dyn File>,
    front: Vec<u8>,
}

impl Watch {
    fn begin(fs: &dyn Fs, name: String) -> Result<Self> {
        let file =
            fs.open(Dir::Root, &name, Access::Read).map_err(|e| Error::io("open", &name, e))?;
        let front = Self::front(&*file, &name)?;
        Ok(Self { name, file, front })
    }

    fn front(file: &dyn File, name: &str) -> Result<Vec<u8>> {
        let mut front = vec![0; usize::try_from(BATCHES_AT).expect("8192")];
        let len = read_full(file, &mut front, 0).map_err(|e| Error::io("read", name, e))?;
        front.truncate(len);
        Ok(front)
    }

    /// # Errors
    /// As if the name were gone, which it is.
    fn end(self) -> Result<()> {
        if Self::front(&*self.file, &self.name)? == self.front {
            return Ok(());
        }
        Err(Error::io("copy", &self.name, io::ErrorKind::NotFound.into()))
    }
}

#[cfg(test)]
mod tests;
