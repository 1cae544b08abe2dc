//! The workloads, and what they share: the plan of a run, a store in a directory of its own, the raw
//! limits.
//!
//! Contenders take turns, so that all meet the same weather; a round's ratio is of that round's raw
//! limit. Rounds are at least three; tables show the median and both ends.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use crate::store::{Kind, Result, Store, Sync};

pub mod buffered;
pub mod sealed;
pub mod steady;
pub mod synced;
pub mod threads;

/// What is run, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On the file system to be measured.
    pub dir: PathBuf,
    /// How many rounds the medians are over.
    pub rounds: usize,
    /// Whether all sizes are small: a smoke test of the comparison, under a minute.
    pub quick: bool,
    /// How long the steady state lasts for each, over all rounds.
    pub steady: Duration,
    /// Who takes part.
    pub kinds: Vec<Kind>,
}

impl Plan {
    /// One size or the other.
    #[must_use]
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A directory that goes with the value.
    ///
    /// # Errors
    /// What the file system says.
    pub fn scratch(&self) -> io::Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.dir)
    }

    /// Says what is being done; on a terminal a run takes many minutes.
    pub fn note(&self, what: &str) {
        use io::Write;
        let _ = writeln!(io::stderr(), "… {what}");
    }
}

/// A store in its directory, and where its log ends.
pub struct Contender {
    /// As the tables call it.
    pub name: &'static str,
    /// The next index.
    pub next: u64,
    store: Box<dyn Store>,
}

impl Contender {
    /// In a new directory below `dir`.
    ///
    /// # Errors
    /// What the library says.
    pub fn create(kind: &Kind, dir: &Path) -> Result<Self> {
        let dir = dir.join(kind.name);
        std::fs::create_dir_all(&dir)?;
        Ok(Self { name: kind.name, next: 1, store: (kind.open)(&dir)? })
    }

    /// Appends at the end.
    ///
    /// # Errors
    /// What the library says.
    pub fn append(&mut self, payloads: &[Bytes], sync: Sync) -> Result<()> {
        self.store.append(self.next, payloads, sync)?;
        self.next += payloads.len() as u64;
        Ok(())
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Ends in peace.
    ///
    /// # Errors
    /// What the library says.
    pub fn close(self) -> Result<()> {
        self.store.close()
    }
}

/// A file that grows with each write: the raw limit of those that prepare nothing.
#[derive(Debug)]
pub struct Growing {
    file: File,
    offset: u64,
}

impl Growing {
    /// An empty one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self { file, offset: 0 })
    }

    /// Writes behind the last byte.
    ///
    /// # Errors
    /// What the disk says.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// fdatasync.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
