//! The file system as the engine sees it: two small traits, each method with its durability contract.
//!
//! Above: every part of the engine that touches a file. Below: [`disk`] (the operating system) and
//! [`sim`] (a seeded disk in memory that can lose, tear, reorder, rot and fail).
//!
//! What is assumed of a disk: a 512-byte sector is written whole or keeps its old bytes, and a failed
//! or torn write harms no other sector (but a failed *writeback* may harm the whole 4 KiB page).
//! Nothing else: not the order of sectors, not more than one sector at once, not a name without a
//! sync of its directory.
//!
//! Names are a directory of the fixed set [`Dir`] and a file name made by `layout`, so no path can
//! lead out of a log's directory.

pub mod disk;
mod holder;
mod map;
pub mod sim;
mod write_back;

use std::{any::Any, fmt, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

/// The directories a log consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// The log's own directory: LOCK, segments, index files.
    Root,
    /// `tmp/`: anything unfinished.
    Tmp,
    /// `snapshots/`.
    Snapshots,
    /// `quarantine/`: bytes that repair set aside.
    Quarantine,
}

impl Dir {
    /// All of them, the root first.
    pub const ALL: [Self; 4] = [Self::Root, Self::Tmp, Self::Snapshots, Self::Quarantine];

    /// Name relative to the root; empty for the root itself.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Tmp => "tmp",
            Self::Snapshots => "snapshots",
            Self::Quarantine => "quarantine",
        }
    }
}

/// What kind of thing a name stands for. Symlinks are not followed: they are `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink, device, socket or pipe: never opened.
    Other,
}

/// One name found by [`Fs::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name; bytes that are not UTF-8 are replaced, which makes it foreign.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Length in bytes; 0 for anything but a file.
    pub len: u64,
}

/// What can be told of a lock without taking it. The text is what the holder wrote into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Nobody holds it.
    Free,
    /// A live process holds it.
    Held(String),
    /// The process that held it is gone: it was killed, or the machine stopped.
    Stale(String),
    /// Somebody on another host may hold it.
    Unknown(String),
}

impl LockState {
    /// Whether files may change while they are looked at.
    #[must_use]
    pub const fn may_be_live(&self) -> bool {
        matches!(self, Self::Held(_) | Self::Unknown(_))
    }
}

/// How [`Fs::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading only.
    Read,
    /// For reading and writing; never creates, never truncates.
    ReadWrite,
}

/// A directory of a log on some storage.
///
/// Names become visible at once, and *durable* only by [`Fs::sync_dir`] of each directory involved.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Where this is, for messages.
    fn root(&self) -> &Path;

    /// Whether this is only a part of a log, so that a file which is not here may well exist.
    fn is_part(&self) -> bool {
        false
    }

    /// Makes the root and its sub-directories where they are missing (mode 0700) and syncs the
    /// parent of the root, so that the log's directory itself survives a power cut.
    ///
    /// # Errors
    /// Whatever the file system says; a part of the directories may exist then.
    fn make_dirs(&self) -> io::Result<()>;

    /// All names in `dir`, in no particular order, `.` and `..` left out.
    ///
    /// # Errors
    /// `NotFound` where the directory does not exist.
    fn list(&self, dir: Dir) -> io::Result<Vec<Found>>;

    /// Opens an existing regular file.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a symlink, device or anything that is no regular file.
    fn open(&self, dir: Dir, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Creates a new, empty file (mode 0600) for reading and writing. The name is not durable.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the file system says.
    fn create(&self, dir: Dir, name: &str) -> io::Result<Arc<dyn File>>;

    /// Renames, replacing what stands at `to`. Atomic when seen from outside; durable only after
    /// both directories are synced. After an error either name may be in force.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()>;

    /// Gives a file a second name. Only for files that nobody writes to any more.
    ///
    /// # Errors
    /// `AlreadyExists`; `Unsupported` where there are no hard links; what the file system says.
    fn link(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a name. Open handles of the file stay valid.
    ///
    /// # Errors
    /// `NotFound`, and what the file system says.
    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()>;

    /// Makes all changes of names in `dir` up to now durable.
    ///
    /// # Errors
    /// Nothing is known about the names then.
    fn sync_dir(&self, dir: Dir) -> io::Result<()>;

    /// Takes the exclusive lock of the directory (`LOCK`, which then tells the holder's process,
    /// host and start time). It is held as long as the returned value lives, and dies with the process.
    ///
    /// # Errors
    /// `WouldBlock` when somebody holds it.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// What the holder of the lock wrote into it, if anything.
    fn lock_holder(&self) -> Option<String>;

    /// Whether somebody holds the lock, found out without taking it: for those who only look.
    fn lock_state(&self) -> LockState {
        self.lock_holder().map_or(LockState::Free, LockState::Held)
    }

    /// Bytes free for this process.
    ///
    /// # Errors
    /// What the file system says.
    fn free_space(&self) -> io::Result<u64>;

    /// 64 random bits: salts and log ids come from here and nowhere else.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    fn random(&self) -> io::Result<u64>;

    /// Wall clock since 1970, for the creation time in headers. Nothing depends on it.
    fn now(&self) -> Duration;
}

/// An open file. All methods take positions; there is no cursor, and any thread may call any method.
#[expect(clippy::len_without_is_empty, reason = "nobody asks a file whether it is empty")]
pub trait File: Send + Sync + fmt::Debug {
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file. Retries EINTR.
    ///
    /// # Errors
    /// What the disk says; nothing is cached about it.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`: one call of the system, repeated only while it is interrupted before it
    /// wrote anything. Visible at once, durable after [`File::sync`]. May be short; after an error
    /// or a short write nothing is known about the bytes from `offset` on.
    ///
    /// # Errors
    /// What the file system says.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// fdatasync: everything that `write_at` and `allocate` did before this call, length included,
    /// is durable when it returns Ok. After an error *nothing* is known about any of it, and a
    /// second call that says Ok proves nothing. At most one call per file may be under way.
    ///
    /// # Errors
    /// What the disk says. An interrupted call failed like any other: it is not repeated, since it
    /// may have consumed the only report of a lost page.
    fn sync(&self) -> io::Result<()>;

    /// Begins to write these bytes out, and does not wait for it, so that a later [`File::sync`] has
    /// less to do. A hint: it promises nothing, it fails silently, and it takes no report of a
    /// failed writeback away from `sync`. A storage may do nothing, as here.
    fn write_back(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Makes the file at least `len` bytes long, with space reserved and reading as zeros. Never
    /// shrinks. Blocks that were only allocated still cost more to sync than written ones.
    ///
    /// # Errors
    /// `StorageFull` and its kin; the length may have grown or not.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Maps the whole file for reading, if this storage can. The file must never change again.
    ///
    /// # Errors
    /// What the system says.
    fn map(&self) -> io::Result<Option<Bytes>>;

    /// Whether nobody but the holder of this handle has a way to the file's bytes, as far as can be
    /// known: it has exactly one name, and of the maps made through this handle none is left. Other
    /// handles of the file are not seen. A file for which this holds may be written over. A storage
    /// that cannot tell says no, as here.
    ///
    /// # Errors
    /// What the file system says.
    fn is_sole(&self) -> io::Result<bool> {
        Ok(false)
    }
}

/// Refuses a name that is no plain file name: every implementation asks this first.
fn check_name(name: &str) -> io::Result<()> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"));
    }
    Ok(())
}

/// Reads exactly `buf.len()` bytes at `offset`, or fewer at the end of the file; tells how many.
pub(crate) fn read_full(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Writes all of `buf`, going on after short writes: for files in `tmp/` only, never for batches.
pub(crate) fn write_full(file: &dyn File, buf: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, offset + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => done += n,
        }
    }
    Ok(())
}

/// Whether an error means "no room": ENOSPC, EDQUOT, EFBIG.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Every sync of the engine on which a promise rests, by name.
///
/// The campaigns leave out one at a time (`Options::omit_sync`, for tests only) and must then find
/// a crash that loses something: a sync whose removal nobody notices would be a sync nobody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncPoint {
    /// The group commit's fdatasync of the active segment.
    Batches,
    /// The old segment, before its successor is named.
    Seal,
    /// The new segment in `tmp/`, before its rename.
    Successor,
    /// The root directory after that rename.
    SuccessorName,
    /// The root directory at open, whose names may so far be in the page cache only.
    FoundNames,
    /// The snapshot file, before its rename.
    Snapshot,
    /// The snapshots directory after that rename.
    SnapshotName,
    /// The active segment with a trim, before the files below it go.
    Trim,
    /// The marker that states that the trim is durable, before the files below it go.
    TrimMarker,
    /// The root directory after a trimmed file lost its name there, before the file is written over
    /// (`Options::reuse_files`). No call of its own: the sync of the next rotation serves.
    LostName,
}

impl SyncPoint {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Batches,
        Self::Seal,
        Self::Successor,
        Self::SuccessorName,
        Self::FoundNames,
        Self::Snapshot,
        Self::SnapshotName,
        Self::Trim,
        Self::TrimMarker,
        Self::LostName,
    ];
}

#[cfg(test)]
mod tests;
