//! The SnapshotStore: whole states of the application, each in one file beside the log.
//!
//! ```text
//!  begin ─▶ SnapshotWriter ──▶ tmp/…  ── commit: trailer, sync, rename, sync dir ──▶ snapshots/…
//!  receive ─▶ SnapshotReceiver ──┘                       then: the mark, in a batch of the log
//!  open ─▶ SnapshotReader (Read + Seek), each chunk verified first
//! ```
//!
//! Above: `log`, which decides what counts: only the newest snapshot that it has *marked*, and which
//! calls [`SnapshotStore::remove_older`] once the mark can no longer be lost; and the embedder, who
//! streams bytes in and out. Below: the `Fs`.
//!
//! INVARIANT: a file under its final name is complete and was synced before; it is never changed.
//! INVARIANT: names are made from index and term, never from anything that a peer or a file says.
//! It does not know what a snapshot means, keeps no list in memory, and takes no lock: every call
//! looks at the directory.

pub(crate) mod format;
mod reader;
mod receiver;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

pub use self::{
    format::SNAPSHOT_META_MAX,
    reader::SnapshotReader,
    receiver::{SnapshotOffer, SnapshotReceiver},
    writer::SnapshotWriter,
};
use crate::{
    batch::SnapshotMark,
    entry::{EntryId, Index, LogId, Term},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::{Dir, File, Fs, Kind, SyncPoint},
    layout::{self, Classified},
    options::Options,
};

/// Names that are tried for a file in `tmp/` before its creation fails.
const TMP_TRIES: u32 = 1000;

/// The snapshots of one log. Cheap to clone; any thread may use it.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    fs: Arc<dyn Fs>,
    log_id: LogId,
    chunk_size: u32,
    omit_sync: Option<SyncPoint>,
    /// Numbers the files in `tmp/`.
    tmp_count: AtomicU64,
}

/// What is known of one snapshot file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Last entry that the snapshot covers; with tag 0 where only the file name is to be believed.
    pub id: EntryId,
    /// What stands beside the payload.
    pub meta: Bytes,
    /// Payload bytes; 0 where the file is damaged.
    pub len: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// The mark that `commit` returned for this file; `None` where the file is damaged.
    pub mark: Option<SnapshotMark>,
    /// Why the file cannot be used, if so.
    pub damage: Option<Arc<Error>>,
}

impl SnapshotStore {
    /// The snapshots of the log `log_id` in `fs`, whose directories exist.
    #[must_use]
    pub fn new(fs: Arc<dyn Fs>, log_id: LogId, options: &Options) -> Self {
        let (chunk_size, omit_sync) = (options.snapshot_chunk, options.omit_sync);
        let chunk_size = chunk_size.clamp(format::CHUNK_MIN, format::CHUNK_MAX);
        let tmp_count = AtomicU64::new(0);
        Self { inner: Arc::new(Inner { fs, log_id, chunk_size, omit_sync, tmp_count }) }
    }

    /// Begins a snapshot of everything up to the entry `id`, with `meta` (at most
    /// [`SNAPSHOT_META_MAX`] bytes) beside it.
    ///
    /// # Errors
    /// `TooLarge` for the metadata; `Invalid` for an index beyond `INDEX_MAX`; `Io` and `Full`.
    pub fn begin(&self, id: EntryId, meta: &[u8]) -> Result<SnapshotWriter> {
        SnapshotWriter::begin(self.inner.clone(), id, meta)
    }

    /// Begins to receive a snapshot from a peer. The file that results is this log's own.
    ///
    /// # Errors
    /// As [`SnapshotStore::begin`], and `Full` where the announced bytes exceed the free space:
    /// nothing was written then.
    pub fn receive(&self, offer: SnapshotOffer) -> Result<SnapshotReceiver> {
        let fs = &self.inner.fs;
        let free = fs.free_space().map_err(|e| Error::io("free space of", fs.root(), e))?;
        if offer.len > free {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            let path = fs.root().join(Dir::Tmp.name());
            return Err(Error::Full { op: "receive a snapshot into", path, source });
        }
        let writer = self.begin(offer.id, &offer.meta)?;
        Ok(SnapshotReceiver::new(writer, offer))
    }

    /// Opens the snapshot `id`. Head, metadata and trailer are verified now, each chunk when it is
    /// read.
    ///
    /// # Errors
    /// `Io` of kind `NotFound` where there is none; `Corrupt` where it is damaged, cut short, or of
    /// another log; `NewerFormat`.
    pub fn open(&self, id: EntryId) -> Result<SnapshotReader> {
        let reader = self.open_named(id.index, id.term)?;
        if reader.id() == id {
            return Ok(reader);
        }
        // Same index and term, another tag: not the snapshot that was asked for.
        let path = self.inner.path(&layout::snapshot_name(id.index, id.term));
        Err(Error::Io { op: "open", path, source: io::ErrorKind::NotFound.into() })
    }

    /// Reads the snapshot `id` whole and verifies every checksum.
    ///
    /// # Errors
    /// As [`SnapshotStore::open`]; nothing is kept about it.
    pub fn verify(&self, id: EntryId) -> Result<SnapshotInfo> {
        let mut reader = self.open(id)?;
        reader.verify()?;
        Ok(reader.info())
    }

    /// All snapshot files, oldest first: marked, unmarked and damaged ones. Heads and trailers are
    /// verified, chunks are not.
    ///
    /// # Errors
    /// `Io` where the directory cannot be listed. What is wrong with one file stands in its row.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let rows = self.names()?.into_iter().filter_map(|(index, term, file_len)| {
            match self.open_named(index, term) {
                Ok(reader) => Some(reader.info()),
                // Removed since the directory was listed.
                Err(e) if is_missing(&e) => None,
                Err(e) => Some(SnapshotInfo {
                    id: EntryId::new(index, term),
                    meta: Bytes::new(),
                    len: 0,
                    file_len,
                    mark: None,
                    damage: Some(Arc::new(e)),
                }),
            }
        });
        Ok(rows.collect())
    }

    /// The snapshot to restore from: the marked one if it verifies, else the newest older one that
    /// does *and* that the log reaches back to (`log_first` ≤ its index + 1). An unmarked newer
    /// file never counts.
    ///
    /// The file is not compared with the mark's size and checksum: a snapshot of the same entry may
    /// have been taken again, and its new mark been lost.
    ///
    /// # Errors
    /// What is wrong with the marked one, where no other serves: `Corrupt` (also where it is
    /// missing), `NewerFormat`, `Io`.
    pub fn usable(&self, marked: EntryId, log_first: Index) -> Result<SnapshotInfo> {
        let wrong = match self.verify(marked) {
            Ok(info) => return Ok(info),
            Err(e) if is_missing(&e) => self.missing(marked),
            Err(e) => e,
        };
        for (index, term, _) in self.names()?.into_iter().rev() {
            // INVARIANT: indexes are at most u64::MAX - 1.
            let older = index < marked.index && log_first <= index.saturating_add(1);
            let verified = older.then(|| {
                let mut reader = self.open_named(index, term)?;
                reader.verify().map(|()| reader.info())
            });
            if let Some(Ok(info)) = verified {
                return Ok(info);
            }
        }
        Err(wrong)
    }

    /// Removes the files older than the newest marked snapshot, oldest first, but keeps as many as
    /// make `kept` together with it (1 keeps none). Newer files stay: they may be an install under
    /// way. Returns how many went.
    ///
    /// Only for the log, once a synced marker states the batch with the mark durable.
    ///
    /// # Errors
    /// `Io`; some may be gone then.
    pub fn remove_older(&self, newest_marked: EntryId, kept: usize) -> Result<usize> {
        let mut older = self.names()?;
        older
            .retain(|(index, term, _)| (*index, *term) < (newest_marked.index, newest_marked.term));
        let count = older.len().saturating_sub(kept.saturating_sub(1));
        for (index, term, _) in older.iter().take(count) {
            let name = layout::snapshot_name(*index, *term);
            // DURABILITY: no directory sync. A name that comes back after a power cut is an older
            // snapshot that counts for nothing, and goes with the next removal.
            match self.inner.fs.unlink(Dir::Snapshots, &name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("unlink", self.inner.path(&name), e));
                }
                _ => {}
            }
        }
        Ok(count)
    }

    /// Index, term and file length of all snapshot files, oldest first.
    fn names(&self) -> Result<Vec<(Index, Term, u64)>> {
        let fs = &self.inner.fs;
        let found = fs
            .list(Dir::Snapshots)
            .map_err(|e| Error::io("list", fs.root().join(Dir::Snapshots.name()), e))?;
        let mut names: Vec<_> = found
            .into_iter()
            .filter(|found| found.kind != Kind::Directory)
            .filter_map(|found| match layout::classify(Dir::Snapshots, &found.name) {
                Classified::Snapshot { index, term } => Some((index, term, found.len)),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Opens by name; a head that names another entry than the file does is damage.
    fn open_named(&self, index: Index, term: Term) -> Result<SnapshotReader> {
        let name = layout::snapshot_name(index, term);
        let reader = SnapshotReader::open(&*self.inner.fs, self.inner.log_id, &name)?;
        let id = reader.id();
        if (id.index, id.term) != (index, term) {
            return Err(reader::damage(self.inner.path(&name), 56, Reason::Snapshot));
        }
        Ok(reader)
    }

    fn missing(&self, id: EntryId) -> Error {
        Error::Corrupt(Box::new(Damage {
            file: self.inner.path(&layout::snapshot_name(id.index, id.term)),
            offset: 0,
            indexes: None,
            reason: Reason::MissingSnapshot,
            evidence: Evidence::Marked,
        }))
    }
}

impl Inner {
    /// Where a snapshot file is, for messages.
    fn path(&self, name: &str) -> PathBuf {
        self.fs.root().join(Dir::Snapshots.name()).join(name)
    }

    /// A new file in `tmp/`, under a name that nobody has.
    fn create_tmp(&self, id: EntryId) -> Result<(Arc<dyn File>, String)> {
        let mut tries = 0;
        loop {
            let n = self.tmp_count.fetch_add(1, Ordering::Relaxed);
            let name = format!("{n}-{}", layout::snapshot_name(id.index, id.term));
            tries += 1;
            match self.fs.create(Dir::Tmp, &name) {
                Ok(file) => return Ok((file, name)),
                // A leftover whose unlink failed, or another store's: the next number is free.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < TMP_TRIES => {}
                Err(e) => {
                    let path = self.fs.root().join(Dir::Tmp.name()).join(&name);
                    return Err(Error::io("create", path, e));
                }
            }
        }
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
