//! The operating system's file system: with `map` and `write_back`, all system calls of the engine.
//!
//! Above: everything, through the traits of [`super`]. Below: libc, through rustix and std, so that
//! injectors that sit in front of libc see each call.
//!
//! - Every name is resolved relative to a directory handle that is opened once and never follows a
//!   symlink, so nothing that happens to paths meanwhile leads a running log elsewhere. (The root
//!   itself may be reached through symlinks: an operator may keep the data on another disk.)
//! - Only regular files are ever opened: the name is looked at before, the handle after the open.
//!   New files are mode 0600, directories 0700; a wider root that exists is reported, not refused.
//! - One write, sync or allocation of the trait is one system call. Reads, writes and allocations
//!   are repeated when interrupted before they did anything; *nothing* else is ever repeated. Least
//!   of all a sync: one that was interrupted may have swallowed the only report of a lost page.
//! - Handles are opened when first needed, and kept: a writeback error on a directory is reported
//!   to handles that were open when it happened. A `DiskFs` is for one life of the directory.
//!
//! What it does not do: cache, buffer, or retry on the caller's behalf. It also leaves signals
//! alone: where a file size limit (RLIMIT_FSIZE) is set, writing past it raises SIGXFSZ, which Rust
//! programs do not ignore by default and which then ends the process like a kill -9 would (nothing
//! durable is lost). A program that ignores SIGXFSZ gets EFBIG instead, which counts as a full disk.

use std::{
    any::Any,
    fs, io,
    io::ErrorKind,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{Ordering, fence},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use rustix::{
    fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{Access, Dir, File, Found, Fs, Kind, LockState, check_name, holder, map, write_back};

/// Mode of each file the engine creates: entries are stored in clear.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Mode of each directory the engine creates.
const DIR_MODE: u32 = 0o700;
/// The file whose lock is the log's lock.
const LOCK: &str = "LOCK";
/// By how much the wall clock and the clock of processes may disagree.
const CLOCK_SLACK_SECS: u64 = 10;
/// More than this of `LOCK` is never read.
const HOLDER_LEN_MAX: usize = 256;

/// A log's directory on a real disk.
#[derive(Debug)]
pub struct DiskFs {
    root: PathBuf,
    /// Handles, in the order of [`Dir::ALL`], opened at first use.
    dirs: [OnceLock<OwnedFd>; Dir::ALL.len()],
}

impl DiskFs {
    /// A file system rooted at `root`, which need not exist yet. Touches nothing.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), dirs: Default::default() }
    }

    /// The handle of `dir`, from the first use on always the same.
    fn dir(&self, dir: Dir) -> io::Result<BorrowedFd<'_>> {
        let slot = &self.dirs[dir as usize];
        if let Some(fd) = slot.get() {
            return Ok(fd.as_fd());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match dir {
            Dir::Root => rustix::fs::open(&self.root, flags, Mode::empty())?,
            _ => {
                let root = self.dir(Dir::Root)?;
                rustix::fs::openat(root, dir.name(), flags | OFlags::NOFOLLOW, Mode::empty())?
            }
        };
        Ok(slot.get_or_init(|| fd).as_fd())
    }

    /// Makes the sub-directories that are missing; tells whether there were any.
    fn make_sub_dirs(&self) -> io::Result<bool> {
        let mut made = false;
        for dir in Dir::ALL.into_iter().filter(|dir| *dir != Dir::Root) {
            let mode = Mode::from_raw_mode(DIR_MODE);
            match rustix::fs::mkdirat(self.dir(Dir::Root)?, dir.name(), mode) {
                Ok(()) => made = true,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            // A file or symlink that stands in the way shows itself here.
            self.dir(dir)?;
        }
        Ok(made)
    }

    /// Opens `LOCK` for [`Fs::lock`]: for writing if possible, for reading on a read-only disk.
    fn open_lock(&self) -> io::Result<fs::File> {
        let root = self.dir(Dir::Root)?;
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let create = flags | OFlags::RDWR | OFlags::CREATE;
        let fd = match rustix::fs::openat(root, LOCK, create, FILE_MODE) {
            Err(Errno::ROFS) => {
                rustix::fs::openat(root, LOCK, flags | OFlags::RDONLY, Mode::empty())
            }
            other => other,
        };
        regular(fd.map_err(not_followed)?)
    }
}

impl Fs for DiskFs {
    fn root(&self) -> &Path {
        &self.root
    }

    fn make_dirs(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self
            .root
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        for path in missing.iter().rev() {
            match fs::DirBuilder::new().mode(DIR_MODE).create(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        let root = rustix::fs::fstat(self.dir(Dir::Root)?)?;
        if root.st_mode & 0o077 != 0 {
            let mode = format!("{:o}", root.st_mode & 0o7777);
            tracing::warn!(path = %self.root.display(), mode, "others can look into the log");
        }
        if self.make_sub_dirs()? {
            // DURABILITY: the sub-directories' names; a file in one of them can be no more durable.
            self.sync_dir(Dir::Root)?;
        }
        // DURABILITY: the names of the root and of each ancestor made here, from the bottom up. The
        // root's own also when it was found: whoever made it may have been cut off before this line.
        for path in missing.iter().chain(missing.is_empty().then_some(&self.root.as_path())) {
            sync_parent(path, !missing.is_empty())?;
        }
        Ok(())
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Found>> {
        let fd = self.dir(dir)?;
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue, // removed since it was read
                other => other?,
            };
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                _ => Kind::Other,
            };
            let len = if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
            found.push(Found { name: name.to_string_lossy().into_owned(), kind, len });
        }
        Ok(found)
    }

    fn open(&self, dir: Dir, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        let dir = self.dir(dir)?;
        // Looked at first because to open a device or a pipe can itself do something; looked at
        // again below because the name may stand for something else by then.
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        only_regular(FileType::from_raw_mode(stat.st_mode))?;
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let flags = mode | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(not_followed)?;
        Ok(Arc::new(DiskFile { file: regular(fd)?, maps: map::Maps::default() }))
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.dir(dir)?, name, flags, FILE_MODE)?;
        Ok(Arc::new(DiskFile { file: fd.into(), maps: map::Maps::default() }))
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        check_name(from.1)?;
        check_name(to.1)?;
        Ok(rustix::fs::renameat(self.dir(from.0)?, from.1, self.dir(to.0)?, to.1)?)
    }

    fn link(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        check_name(from.1)?;
        check_name(to.1)?;
        let (old, new) = (self.dir(from.0)?, self.dir(to.0)?);
        Ok(rustix::fs::linkat(old, from.1, new, to.1, AtFlags::empty())?)
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        check_name(name)?;
        Ok(rustix::fs::unlinkat(self.dir(dir)?, name, AtFlags::empty())?)
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        // DURABILITY: fsync, since a directory's names are its data to some file systems and its
        // metadata to others.
        Ok(rustix::fs::fsync(self.dir(dir)?)?)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        // The directory itself too: people remove a LOCK they take for stale, and a new file of that
        // name would be free to lock. Not every file system locks directories (NFS does not).
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(self.dir(Dir::Root)?, ".", flags, Mode::empty())?;
        let dir = fs::File::from(dir);
        match fs2::FileExt::try_lock_exclusive(&dir) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let file = self.open_lock()?;
        // By path: std's method of the same name would shadow it, and only this one is flock, which
        // also keeps out a second handle in this very process.
        fs2::FileExt::try_lock_exclusive(&file)?;
        // DURABILITY: not synced, and a failure (a full disk) is no matter: the text is for people,
        // the lock is the kernel's.
        let _ = file.set_len(0).and_then(|()| file.write_all_at(self_portrait().as_bytes(), 0));
        Ok(Box::new(Lock { file, _dir: dir }))
    }

    fn lock_holder(&self) -> Option<String> {
        let file = self.open(Dir::Root, LOCK, Access::Read).ok()?;
        let mut text = vec![0; HOLDER_LEN_MAX];
        let len = super::read_full(&*file, &mut text, 0).ok()?;
        text.truncate(len);
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn lock_state(&self) -> LockState {
        let text = self.lock_holder();
        let stat = self
            .dir(Dir::Root)
            .and_then(|root| Ok(rustix::fs::statat(root, LOCK, AtFlags::SYMLINK_NOFOLLOW)?));
        let table = fs::read_to_string("/proc/locks").unwrap_or_default();
        let flocked = stat.ok().and_then(|stat| {
            let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
            holder::flock_holder(&table, device, stat.st_ino)
        });
        match (flocked, text) {
            (Some(_), Some(text)) => LockState::Held(text),
            (Some(pid), None) => LockState::Held(format!("process {pid}")),
            (None, None) => LockState::Free,
            (None, Some(text)) => by_portrait(text),
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.dir(Dir::Root)?)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// An open file on a real disk.
#[derive(Debug)]
struct DiskFile {
    file: fs::File,
    maps: map::Maps,
}

impl File for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // The system may stop short in front of a sector it cannot read. Asked again, it says so; a
        // caller that took the short read for the end of the file would take damage for a torn tail.
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match uninterrupted(|| self.file.read_at(rest, offset.saturating_add(done as u64)))? {
                0 => break,
                len => done += len,
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| self.file.write_at(buf, offset))
    }

    fn sync(&self) -> io::Result<()> {
        // DURABILITY: the one fdatasync of the engine. Not std's `sync_data`, which begins anew when
        // interrupted: the interrupted call may have consumed the report of a failed writeback, and
        // the second would then say Ok about bytes that are lost.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn write_back(&self, offset: u64, len: u64) {
        write_back::begin(&self.file, offset, len);
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let reserved = uninterrupted(|| {
            Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)?)
        });
        match reserved {
            Err(error) if cannot_reserve(&error) => {
                // A file system without reservation: a hole of the right length will do, and a full
                // disk then shows at the write.
                if self.len()? < len { self.file.set_len(len) } else { Ok(()) }
            }
            other => other,
        }
    }

    fn map(&self) -> io::Result<Option<Bytes>> {
        map::map(&self.file, &self.maps).map(Some)
    }

    fn is_sole(&self) -> io::Result<bool> {
        let unmapped = Arc::strong_count(&self.maps) == 1;
        // Whoever read through a map did so before it was counted out.
        fence(Ordering::Acquire);
        Ok(unmapped && rustix::fs::fstat(&self.file)?.st_nlink == 1)
    }
}

/// The log's lock, held until dropped.
struct Lock {
    file: fs::File,
    _dir: fs::File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here; so that nobody is told of a holder that has gone in peace.
        let _ = self.file.set_len(0);
    }
}

/// Whether the process that `text` names lives, where the kernel's table of locks says nothing: some
/// file systems stand there under another number.
fn by_portrait(text: String) -> LockState {
    let here = rustix::system::uname();
    let Some(who) = holder::portrait(&text) else { return LockState::Unknown(text) };
    if who.host != here.nodename().to_string_lossy() || !Path::new("/proc/self").exists() {
        return LockState::Unknown(text);
    }
    let read = |path: &str| fs::read_to_string(path).ok();
    let started = read(&format!("/proc/{}/stat", who.pid))
        .filter(|process| !holder::is_ended(process))
        .map(|process| holder::started(&process, &read("/proc/stat").unwrap_or_default()));
    match started {
        None => LockState::Stale(text),
        // Started after the lock was taken: another process that was given the same number.
        Some(Some(started)) if started > who.since.saturating_add(CLOCK_SLACK_SECS) => {
            LockState::Stale(text)
        }
        Some(_) => LockState::Held(text),
    }
}

/// What `LOCK` says about its holder.
fn self_portrait() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("process {} on {host}, since {since} (seconds after 1970, UTC)\n", std::process::id())
}

/// Syncs the directory that holds the name of `path`, which must exist.
fn sync_parent(path: &Path, made: bool) -> io::Result<()> {
    let path = path.canonicalize()?;
    let Some(parent) = path.parent() else {
        return Ok(()); // the root of everything has no name
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::ACCESS) if !made => {
            // DURABILITY: left out where it is not allowed: an administrator made the directory for
            // this user, in a place the user cannot read.
            tracing::warn!(path = %parent.display(), "not readable, so not synced");
            Ok(())
        }
        other => Ok(rustix::fs::fsync(other?)?),
    }
}

/// Repeats a call that was interrupted before it did anything.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Whether fallocate is not to be had here, rather than refused.
fn cannot_reserve(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::NOSYS))
}

/// What an open with O_NOFOLLOW says about a symlink, made the trait's error.
fn not_followed(errno: Errno) -> io::Error {
    match errno {
        Errno::LOOP => irregular("a symlink"),
        Errno::ISDIR => irregular("a directory"),
        Errno::NXIO | Errno::NODEV => irregular("a socket, pipe or device"),
        other => other.into(),
    }
}

/// Refuses a handle of anything but a regular file.
fn regular(fd: OwnedFd) -> io::Result<fs::File> {
    only_regular(FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode))?;
    Ok(fd.into())
}

fn only_regular(kind: FileType) -> io::Result<()> {
    match kind {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(irregular("a symlink")),
        FileType::Directory => Err(irregular("a directory")),
        _ => Err(irregular("a socket, pipe or device")),
    }
}

fn irregular(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("{what}, not a regular file"))
}

#[cfg(test)]
mod tests;
