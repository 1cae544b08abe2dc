//! A file system that counts what is asked of it: each method that is one call to the system.
//!
//! Above: `counted/`. Below: any other file system.

use std::{
    any::Any,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hardlog::fs::{Access, Dir, File, Found, Fs, LockState};

/// How many calls there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// pread.
    pub reads: u64,
    /// pwrite.
    pub writes: u64,
    /// fdatasync, and fsync of directories.
    pub syncs: u64,
    /// Everything else.
    pub others: u64,
}

impl Calls {
    /// All of them.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.reads + self.writes + self.syncs + self.others
    }
}

#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    others: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub struct CountingFs<F> {
    inner: F,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn File>,
    counters: Arc<Counters>,
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl<F: Fs> CountingFs<F> {
    /// Counts what is asked of `inner`.
    #[must_use]
    pub fn new(inner: F) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// What `work` asks for.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> (T, Calls) {
        let before = self.calls();
        let result = work();
        let after = self.calls();
        let calls = Calls {
            reads: after.reads - before.reads,
            writes: after.writes - before.writes,
            syncs: after.syncs - before.syncs,
            others: after.others - before.others,
        };
        (result, calls)
    }

    fn calls(&self) -> Calls {
        let Counters { reads, writes, syncs, others } = &*self.counters;
        Calls {
            reads: reads.load(Relaxed),
            writes: writes.load(Relaxed),
            syncs: syncs.load(Relaxed),
            others: others.load(Relaxed),
        }
    }

    fn other(&self) -> &F {
        one(&self.counters.others);
        &self.inner
    }

    fn counted(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile { inner, counters: Arc::clone(&self.counters) })
    }
}

impl<F: Fs> Fs for CountingFs<F> {
    fn root(&self) -> &Path {
        self.inner.root()
    }

    fn make_dirs(&self) -> io::Result<()> {
        self.other().make_dirs()
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Found>> {
        self.other().list(dir)
    }

    fn open(&self, dir: Dir, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.other().open(dir, name, access).map(|file| self.counted(file))
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Arc<dyn File>> {
        self.other().create(dir, name).map(|file| self.counted(file))
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        self.other().rename(from, to)
    }

    fn link(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        self.other().link(from, to)
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        self.other().unlink(dir, name)
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        one(&self.counters.syncs);
        // DURABILITY: the caller's; this only counts.
        self.inner.sync_dir(dir)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.other().lock()
    }

    fn lock_holder(&self) -> Option<String> {
        self.other().lock_holder()
    }

    fn lock_state(&self) -> LockState {
        self.other().lock_state()
    }

    fn free_space(&self) -> io::Result<u64> {
        self.other().free_space()
    }

    fn random(&self) -> io::Result<u64> {
        self.other().random()
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}

impl File for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        one(&self.counters.reads);
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        one(&self.counters.writes);
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        one(&self.counters.syncs);
        // DURABILITY: the caller's; this only counts.
        self.inner.sync()
    }

    fn write_back(&self, offset: u64, len: u64) {
        one(&self.counters.others);
        self.inner.write_back(offset, len);
    }

    fn len(&self) -> io::Result<u64> {
        one(&self.counters.others);
        self.inner.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        one(&self.counters.others);
        self.inner.allocate(len)
    }

    fn map(&self) -> io::Result<Option<Bytes>> {
        one(&self.counters.others);
        self.inner.map()
    }
}
