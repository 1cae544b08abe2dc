//! A disk that leaves out one of the syncs it is asked for: what something would be worth without it.
//!
//! Above: the controls of repair and recovery into a new directory, whose syncs have no switch in the
//! engine. Below: the simulated disk, which knows what a crash may leave.
//! A sync that is left out says Ok, as a disk that lies would; everything else is passed on.

use std::{
    any::Any,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hardlog::fs::{Access, Dir, File, Found, Fs, LockState, sim::SimFs};

/// Which sync is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// None.
    Nothing,
    /// That of each file in `tmp/` whose name begins and ends so.
    File(&'static str, &'static str),
    /// The nth one, counted from 0, of this directory's names.
    Names(Dir, u64),
}

/// The disk.
#[derive(Debug)]
pub struct Lazy {
    disk: SimFs,
    skip: Skip,
    /// Whether files can have two names.
    links: bool,
    /// How often the names that [`Skip::Names`] is about were synced.
    synced: AtomicU64,
}

impl Lazy {
    /// `disk` without one sync, and without hard links.
    #[must_use]
    pub fn new(disk: &SimFs, skip: Skip) -> Self {
        Self { disk: disk.clone(), skip, links: false, synced: AtomicU64::new(0) }
    }

    /// With hard links.
    #[must_use]
    pub fn with_links(disk: &SimFs, skip: Skip) -> Self {
        Self { links: true, ..Self::new(disk, skip) }
    }

    fn wrapped(&self, dir: Dir, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        let skipped = matches!(self.skip, Skip::File(begin, end)
            if name.starts_with(begin) && name.ends_with(end));
        if skipped && dir == Dir::Tmp { Arc::new(Unsynced(file)) } else { file }
    }
}

impl Fs for Lazy {
    fn root(&self) -> &Path {
        self.disk.root()
    }

    fn make_dirs(&self) -> io::Result<()> {
        self.disk.make_dirs()
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Found>> {
        self.disk.list(dir)
    }

    fn open(&self, dir: Dir, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.disk.open(dir, name, access)
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Arc<dyn File>> {
        self.disk.create(dir, name).map(|file| self.wrapped(dir, name, file))
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        if self.links { self.disk.link(from, to) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        self.disk.unlink(dir, name)
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        match self.skip {
            Skip::Names(of, nth)
                if of == dir && self.synced.fetch_add(1, Ordering::Relaxed) == nth =>
            {
                Ok(())
            }
            _ => self.disk.sync_dir(dir),
        }
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock()
    }

    fn lock_holder(&self) -> Option<String> {
        self.disk.lock_holder()
    }

    fn lock_state(&self) -> LockState {
        self.disk.lock_state()
    }

    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }

    fn random(&self) -> io::Result<u64> {
        self.disk.random()
    }

    fn now(&self) -> Duration {
        self.disk.now()
    }
}

/// A file whose sync does nothing.
#[derive(Debug)]
struct Unsynced(Arc<dyn File>);

impl File for Unsynced {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_back(&self, offset: u64, len: u64) {
        self.0.write_back(offset, len);
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn map(&self) -> io::Result<Option<Bytes>> {
        self.0.map()
    }
}
