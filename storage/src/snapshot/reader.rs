//! Reading a snapshot: by position, each chunk verified before a byte of it is handed out.
//!
//! Above: whoever restores from a snapshot or sends it, and the store's own `verify` and `list`.
//! Below: `format`, the `Fs`.
//!
//! INVARIANT: memory is one chunk and the metadata, both within the format's limits and within what
//! the file holds. An error is not remembered: the next read asks the disk again.
//! It never maps the file: a snapshot is read once, front to back, and a damaged sector must be a
//! typed error.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use crc32fast::Hasher;

use super::{
    SnapshotInfo, SnapshotOffer,
    format::{
        BadHead, CHUNK_HEAD_LEN, Geometry, HEAD_LEN, Head, MAJOR, MINOR, TRAILER_LEN, Trailer,
        chunk_head,
    },
};
use crate::{
    batch::SnapshotMark,
    entry::{EntryId, LogId},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::{Access, Dir, File, Fs, read_full},
};

/// The payload of one snapshot; see [`SnapshotStore::open`](super::SnapshotStore::open).
///
/// [`Read`] and [`Seek`] over the payload bytes. An error of `read` carries the engine's
/// [`Error`] as its source; [`SnapshotReader::read_at`] gives it as it is.
/// The file may be replaced or removed meanwhile: this reader goes on with the one it opened.
#[derive(Debug)]
pub struct SnapshotReader {
    file: Arc<dyn File>,
    path: PathBuf,
    head: Head,
    head_crc: u32,
    meta: Bytes,
    trailer: Trailer,
    geometry: Geometry,
    /// Head and bytes of the chunk `loaded`, verified.
    buf: Vec<u8>,
    loaded: Option<u64>,
    position: u64,
}

impl SnapshotReader {
    /// Opens `name` and verifies everything but the chunks.
    pub(crate) fn open(fs: &dyn Fs, log_id: LogId, name: &str) -> Result<Self> {
        let path = fs.root().join(Dir::Snapshots.name()).join(name);
        let io = |op| {
            let path = path.clone();
            move |e| Error::io(op, path, e)
        };
        let file = fs.open(Dir::Snapshots, name, Access::Read).map_err(io("open"))?;
        let file_len = file.len().map_err(io("stat"))?;
        let damage = |offset, reason| damage(path.clone(), offset, reason);

        let mut front = [0; HEAD_LEN];
        let got = read_full(&*file, &mut front, 0).map_err(io("read"))?;
        let (head, head_crc) = Head::decode(&front[..got]).map_err(|bad| match bad {
            BadHead::Damaged => damage(0, Reason::Snapshot),
            BadHead::Meaning => damage(0, Reason::Meaning),
            BadHead::Newer { major, minor, incompat } => Error::NewerFormat {
                path: path.clone(),
                found: format!("{major}.{minor}, features {incompat:#x}"),
                supported: format!("{MAJOR}.{MINOR}"),
            },
        })?;
        if head.log_id != log_id {
            return Err(damage(40, Reason::ForeignLog));
        }

        // At most 64 KiB: the limit was checked with the head.
        let mut meta = vec![0; head.meta_len as usize];
        let got = read_full(&*file, &mut meta, HEAD_LEN as u64).map_err(io("read"))?;
        if got < meta.len() || crc32fast::hash(&meta) != head.meta_crc {
            return Err(damage(HEAD_LEN as u64, Reason::Snapshot));
        }

        let mut raw = [0; TRAILER_LEN];
        let at = file_len.saturating_sub(TRAILER_LEN as u64);
        let got = read_full(&*file, &mut raw, at).map_err(io("read"))?;
        let trailer = Trailer::decode(&raw[..got], head_crc);
        let geometry = trailer.and_then(|t| Geometry::new(&head, t.byte_count));
        let (Some(trailer), Some(geometry)) = (trailer, geometry) else {
            return Err(damage(at, Reason::Snapshot));
        };
        if geometry.file_len() != file_len || geometry.chunk_count() != trailer.chunk_count {
            return Err(damage(at, Reason::Snapshot));
        }
        let meta = Bytes::from(meta);
        let (buf, loaded, position) = (Vec::new(), None, 0);
        Ok(Self { file, path, head, head_crc, meta, trailer, geometry, buf, loaded, position })
    }

    /// Last entry that the snapshot covers.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.head.id
    }

    /// What was given to `begin` beside the payload.
    #[must_use]
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// Payload bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.geometry.byte_count()
    }

    /// Whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The mark that `commit` returned for this file.
    #[must_use]
    pub fn mark(&self) -> SnapshotMark {
        let (size, crc) = (self.geometry.file_len(), self.trailer.file_crc);
        SnapshotMark { id: self.head.id, size, crc }
    }

    /// What a receiver must know before the first byte.
    #[must_use]
    pub fn offer(&self) -> SnapshotOffer {
        let (len, crc) = (self.len(), self.trailer.payload_crc);
        SnapshotOffer { id: self.head.id, meta: self.meta.clone(), len, crc: Some(crc) }
    }

    /// Reads payload bytes from `position` on, up to the end of their chunk; 0 only at the end of
    /// the payload or into an empty `buf`.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the chunk that does not check; `Io`.
    pub fn read_at(&mut self, buf: &mut [u8], position: u64) -> Result<usize> {
        if position >= self.len() || buf.is_empty() {
            return Ok(0);
        }
        let (number, within) = self.geometry.locate(position);
        self.load(number)?;
        let chunk = self.buf.get(CHUNK_HEAD_LEN + within..).unwrap_or_default();
        let n = chunk.len().min(buf.len());
        buf[..n].copy_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Reads and verifies all of it, the checksums over the whole file too.
    pub(crate) fn verify(&mut self) -> Result<()> {
        let (front, _) = self.head.encode();
        let (mut payload, mut whole) = (Hasher::new(), Hasher::new());
        whole.update(&front);
        whole.update(&self.meta);
        for number in 0..self.geometry.chunk_count() {
            self.loaded = None;
            let body = self.load(number)?.expect("a chunk that was not loaded is hashed");
            whole.update(&self.buf[..CHUNK_HEAD_LEN]);
            whole.combine(&body);
            payload.combine(&body);
        }
        let sums = (payload.finalize(), whole.finalize());
        if sums != (self.trailer.payload_crc, self.trailer.file_crc) {
            let at = self.geometry.chunk_offset(self.geometry.chunk_count());
            return Err(damage(self.path.clone(), at, Reason::Snapshot));
        }
        Ok(())
    }

    pub(super) fn info(&self) -> SnapshotInfo {
        SnapshotInfo {
            id: self.head.id,
            meta: self.meta.clone(),
            len: self.len(),
            file_len: self.geometry.file_len(),
            mark: Some(self.mark()),
            damage: None,
        }
    }

    /// Brings chunk `number` into `buf`, verified; returns the hash of its bytes if it was read.
    fn load(&mut self, number: u64) -> Result<Option<Hasher>> {
        if self.loaded == Some(number) {
            return Ok(None);
        }
        self.loaded = None;
        let (len, offset) = (self.geometry.chunk_len(number), self.geometry.chunk_offset(number));
        // At most one chunk, and the file is that long: both were checked when it was opened.
        self.buf.resize(CHUNK_HEAD_LEN + len as usize, 0);
        let got = read_full(&*self.file, &mut self.buf, offset)
            .map_err(|e| Error::io("read", &self.path, e))?;
        let mut body = Hasher::new();
        body.update(&self.buf[CHUNK_HEAD_LEN..]);
        let head = chunk_head(self.head_crc, number, len, &body);
        if got < self.buf.len() || self.buf[..CHUNK_HEAD_LEN] != head {
            return Err(damage(self.path.clone(), offset, Reason::Snapshot));
        }
        self.loaded = Some(number);
        Ok(Some(body))
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.read_at(buf, self.position).map_err(into_io)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for SnapshotReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

pub(super) fn damage(file: PathBuf, offset: u64, reason: Reason) -> Error {
    let evidence = Evidence::WholeFile;
    Error::Corrupt(Box::new(Damage { file, offset, indexes: None, reason, evidence }))
}

/// An error of the engine as one of `std::io`, of the same kind, with the engine's as its source.
fn into_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io { source, .. } | Error::Full { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
