//! Writing a snapshot: a stream of bytes into `tmp/`, given its name only when it is durable.
//!
//! Above: whoever takes a snapshot, and `receiver`. Below: `format`, the `Fs`.
//!
//! INVARIANT: memory is one chunk, however large the snapshot is.
//! INVARIANT: a file under `snapshots/` was complete and synced before it had that name. A writer
//! that is dropped, or that fails, leaves nothing but what the next open of the log removes.
//! After a failed write the writer only fails: nothing is known about the bytes in the file.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use crc32fast::Hasher;

use super::{
    Inner,
    format::{CHUNK_HEAD_LEN, Head, SNAPSHOT_META_MAX, Trailer, chunk_head},
};
use crate::{
    batch::SnapshotMark,
    entry::{EntryId, INDEX_MAX},
    error::{Error, Misfit, Result},
    fs::{Dir, File, SyncPoint, write_full},
    layout,
};

/// Takes the bytes of one snapshot; see [`SnapshotStore::begin`](super::SnapshotStore::begin).
///
/// Its [`Write`] takes everything it is given, or fails for good. `flush` does nothing: only
/// [`SnapshotWriter::commit`] makes anything durable. Dropped without `commit` it leaves no trace.
#[derive(Debug)]
pub struct SnapshotWriter {
    store: Arc<Inner>,
    file: Arc<dyn File>,
    tmp_name: String,
    id: EntryId,
    head_crc: u32,
    chunk_size: usize,
    /// Room for the head of a chunk, then its bytes so far.
    buf: Vec<u8>,
    /// Where in the file the chunk in `buf` will stand.
    offset: u64,
    chunk_count: u64,
    byte_count: u64,
    payload: Hasher,
    whole: Hasher,
    /// The first failure.
    failed: Option<String>,
    /// Whether the file left `tmp/`.
    placed: bool,
}

impl SnapshotWriter {
    pub(super) fn begin(store: Arc<Inner>, id: EntryId, meta: &[u8]) -> Result<Self> {
        if id.index > INDEX_MAX {
            return Err(Error::Invalid(Misfit::IndexSpace));
        }
        let meta_len = u32::try_from(meta.len()).ok().filter(|_| meta.len() <= SNAPSHOT_META_MAX);
        let Some(meta_len) = meta_len else {
            let (len, max) = (meta.len() as u64, SNAPSHOT_META_MAX as u64);
            return Err(Error::TooLarge { len, max });
        };
        let salt = store.fs.random().map_err(|e| Error::io("random", store.fs.root(), e))?;
        let head = Head {
            log_id: store.log_id,
            id,
            salt,
            chunk_size: store.chunk_size,
            meta_len,
            meta_crc: crc32fast::hash(meta),
        };
        let (mut front, head_crc) = (Vec::new(), head.encode());
        front.extend_from_slice(&head_crc.0);
        front.extend_from_slice(meta);
        let (file, tmp_name) = store.create_tmp(id)?;
        let chunk_size = store.chunk_size as usize;
        let mut writer = Self {
            store,
            file,
            tmp_name,
            id,
            head_crc: head_crc.1,
            chunk_size,
            buf: Vec::with_capacity(CHUNK_HEAD_LEN + chunk_size),
            offset: 0,
            chunk_count: 0,
            byte_count: 0,
            payload: Hasher::new(),
            whole: Hasher::new(),
            failed: None,
            placed: false,
        };
        writer.whole.update(&front);
        writer.put(&front).map_err(|e| Error::io("write", writer.tmp_path(), e))?;
        writer.empty_buf();
        Ok(writer)
    }

    /// Last entry that the snapshot covers.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Payload bytes taken so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.byte_count
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.byte_count == 0
    }

    /// CRC-32 of the payload bytes taken so far.
    pub(super) fn payload_crc(&self) -> u32 {
        let mut crc = self.payload.clone();
        crc.update(self.buf.get(CHUNK_HEAD_LEN..).unwrap_or_default());
        crc.finalize()
    }

    /// Completes the file, makes it durable, and gives it its name. A snapshot of the same index
    /// and term that was there is replaced atomically.
    ///
    /// The mark belongs into the log next: only a marked snapshot counts.
    ///
    /// # Errors
    /// `Io` and `Full`. The store is as it was then, or (when the rename or the directory sync
    /// failed) holds the new, complete file, which counts for nothing until it is marked.
    /// `Poisoned` when an earlier write had failed.
    pub fn commit(mut self) -> Result<SnapshotMark> {
        let path = self.tmp_path();
        if let Some(why) = &self.failed {
            return Err(Error::Poisoned { why: why.clone() });
        }
        if self.buf.len() > CHUNK_HEAD_LEN {
            self.put_chunk().map_err(|e| Error::io("write", &path, e))?;
        }
        let trailer = Trailer {
            chunk_count: self.chunk_count,
            byte_count: self.byte_count,
            payload_crc: self.payload.clone().finalize(),
            file_crc: self.whole.clone().finalize(),
        };
        let raw = trailer.encode(self.head_crc);
        self.put(&raw).map_err(|e| Error::io("write", &path, e))?;
        // DURABILITY: the bytes before the name. A name that survives a power cut without its bytes
        // would be a snapshot that the log counts on and nobody has.
        if self.store.omit_sync != Some(SyncPoint::Snapshot) {
            self.file.sync().map_err(|e| Error::io("sync", &path, e))?;
        }
        let name = layout::snapshot_name(self.id.index, self.id.term);
        let fs = &self.store.fs;
        let named = self.store.path(&name);
        fs.rename((Dir::Tmp, &self.tmp_name), (Dir::Snapshots, &name))
            .map_err(|e| Error::io("rename", &named, e))?;
        self.placed = true;
        // DURABILITY: the name before the mark. `tmp/` needs no sync: where the old name comes back
        // after a power cut too, the next open removes it.
        if self.store.omit_sync != Some(SyncPoint::SnapshotName) {
            fs.sync_dir(Dir::Snapshots).map_err(|e| Error::io("sync directory of", &named, e))?;
        }
        Ok(SnapshotMark { id: self.id, size: self.offset, crc: trailer.file_crc })
    }

    /// The first failure: the writer only fails since.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Where the unfinished file is, for messages.
    pub(super) fn tmp_path(&self) -> PathBuf {
        self.store.fs.root().join(Dir::Tmp.name()).join(&self.tmp_name)
    }

    /// Writes the chunk in `buf`, which is not empty, and empties it.
    fn put_chunk(&mut self) -> io::Result<()> {
        let mut body = Hasher::new();
        body.update(&self.buf[CHUNK_HEAD_LEN..]);
        let len = self.buf.len() - CHUNK_HEAD_LEN;
        let stated = u32::try_from(len).expect("a chunk is at most 16 MiB");
        let head = chunk_head(self.head_crc, self.chunk_count, stated, &body);
        self.buf[..CHUNK_HEAD_LEN].copy_from_slice(&head);
        self.whole.update(&head);
        self.whole.combine(&body);
        self.payload.combine(&body);
        self.chunk_count += 1;
        let chunk = std::mem::take(&mut self.buf);
        let result = self.put(&chunk);
        self.buf = chunk;
        self.empty_buf();
        result
    }

    fn empty_buf(&mut self) {
        self.buf.clear();
        self.buf.extend_from_slice(&[0; CHUNK_HEAD_LEN]);
    }

    /// Writes at the end of the file; a failure is remembered.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let done = write_full(&*self.file, bytes, self.offset);
        match &done {
            Ok(()) => self.offset += bytes.len() as u64,
            Err(e) => self.failed = Some(format!("write {}: {e}", self.tmp_name)),
        }
        done
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(why.clone()));
        }
        let room = CHUNK_HEAD_LEN + self.chunk_size - self.buf.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buf.extend_from_slice(taken);
        self.byte_count += taken.len() as u64;
        if taken.len() == room {
            self.put_chunk()?;
        }
        Ok(taken.len())
    }

    /// Does nothing: a chunk is written when it is full, or by [`SnapshotWriter::commit`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.placed {
            // DURABILITY: no directory sync. Where the name comes back after a power cut, the next
            // open of the log empties `tmp/`; the same holds where the unlink fails.
            let _ = self.store.fs.unlink(Dir::Tmp, &self.tmp_name);
        }
    }
}
