//! Writes a segment anew: what a repair puts in the place of damaged ones.
//!
//! The bytes are those of any successor (`succeed`): headers, State, batches, a marker, all of it
//! synced before the file gets its name. Only the batches come from somewhere else.
//!
//! Above: `apply`, `recover`. Below: `batch`, `header`, `fs`. Memory is one batch.

use std::sync::Arc;

use crate::{
    batch::{Op, PAGE, Seal, encode, encode_state, marker_at, promises, seal},
    entry::{Entry, Index, LogId},
    error::{Error, Result},
    fs::{Dir, File, Fs, write_full},
    header::{BATCHES_AT, Header, Predecessor},
    layout::{SegmentId, segment_name},
    segment::fill,
    state::LogState,
};

/// A segment written anew is at most so long: offsets in it have 32 bits.
pub(crate) const SEGMENT_MAX: u64 = 3 << 30;
/// Payload bytes that are put into one batch, unless one entry alone is larger.
const BATCH_BYTES: u64 = 1 << 20;
/// Entries that are put into one batch.
const BATCH_ENTRIES: usize = 4096;
/// What a batch takes besides payloads, at most, for each entry and for itself.
const OVERHEAD: u64 = 128;

/// What the new segment begins with.
pub(crate) struct Site<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) log_id: LogId,
    pub(crate) id: SegmentId,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) batch_max: u64,
    /// State: the log as of P, with everything but entries as it shall be.
    pub(crate) state: &'a LogState,
}

/// A segment on its way; it stands in `tmp/` until [`Draft::finish`] has synced it.
pub(crate) struct Draft<'a> {
    site: Site<'a>,
    file: Arc<dyn File>,
    salt: u64,
    offset: u64,
    seq: u64,
    durable: u64,
    batch: Vec<Entry>,
    bytes: u64,
    largest: u64,
}

impl<'a> Draft<'a> {
    pub(crate) fn begin(site: Site<'a>) -> Result<Self> {
        let name = segment_name(site.id);
        let path = site.fs.root().join(Dir::Tmp.name()).join(&name);
        let wrap = |op, e| Error::io(op, &path, e);
        // DURABILITY: none needed: nobody relies on a name in tmp/.
        match site.fs.unlink(Dir::Tmp, &name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(wrap("remove", e)),
            _ => {}
        }
        let file = site.fs.create(Dir::Tmp, &name).map_err(|e| wrap("create", e))?;
        let salt = site.fs.random().map_err(|e| wrap("draw the salt of", e))?;
        let seq = site.predecessor.map_or(0, |p| p.last_seq);
        let mut draft = Self {
            site,
            file,
            salt,
            offset: BATCHES_AT,
            seq,
            durable: seq,
            batch: Vec::new(),
            bytes: 0,
            largest: 0,
        };
        let mut state = encode_state(draft.site.state);
        draft.put(&mut state, BATCHES_AT, false)?;
        Ok(draft)
    }

    /// Drops everything from `from` on, of what the segments before hold.
    pub(crate) fn truncate(&mut self, from: Index) -> Result<()> {
        self.write(&[Op::TruncateFrom(from)])
    }

    /// The next entry.
    pub(crate) fn entry(&mut self, entry: Entry) -> Result<()> {
        let len = entry.payload.len() as u64 + OVERHEAD;
        let full = self.bytes + len > BATCH_BYTES || self.batch.len() >= BATCH_ENTRIES;
        if full {
            self.flush()?;
        }
        self.bytes += len;
        self.batch.push(entry);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.write(&[Op::Entries(batch.into())])
    }

    fn write(&mut self, ops: &[Op<'_>]) -> Result<()> {
        let mut bytes = encode(ops, SEGMENT_MAX / 2)?;
        self.seq += 1;
        self.put(&mut bytes, self.offset, false)
    }

    fn put(&mut self, bytes: &mut [u8], offset: u64, marker: bool) -> Result<()> {
        let (salt, seq, durable) = (self.salt, self.seq, self.durable);
        let end = offset + bytes.len() as u64;
        if end > SEGMENT_MAX {
            return Err(Error::TooLarge { len: end, max: SEGMENT_MAX });
        }
        seal(bytes, Seal { salt, offset, seq, durable, marker });
        write_full(&*self.file, bytes, offset).map_err(|e| self.io("write to", e))?;
        self.largest = self.largest.max(bytes.len() as u64);
        self.offset = end;
        Ok(())
    }

    /// Bytes so far, with what waits for its batch.
    pub(crate) fn len(&self) -> u64 {
        self.offset + self.bytes
    }

    /// The marker, zeros up to the end of its page, the headers; and the sync. Tells what a successor
    /// says of the segment.
    pub(crate) fn finish(mut self) -> Result<Predecessor> {
        self.flush()?;
        let mut marker = encode(&promises(self.site.state), u64::MAX)?;
        let at = marker_at(self.offset);
        self.put(&mut marker, at, true)?;
        let (end, room) = (self.offset, self.offset.next_multiple_of(PAGE));
        fill(&*self.file, end, room).map_err(|e| self.io("write to", e))?;
        let header = Header {
            log_id: self.site.log_id,
            id: self.site.id,
            salt: self.salt,
            created: u64::try_from(self.site.fs.now().as_nanos()).unwrap_or(u64::MAX),
            batch_max: self.site.batch_max.max(self.largest),
            predecessor: self.site.predecessor,
            born_end: end,
            reused: false,
        };
        let copy = header.encode();
        for offset in [0, PAGE] {
            write_full(&*self.file, &copy, offset).map_err(|e| self.io("write to", e))?;
        }
        // DURABILITY: everything before born_end, before the file gets its name.
        self.file.sync().map_err(|e| self.io("sync", e))?;
        Ok(Predecessor { id: self.site.id, salt: self.salt, end, last_seq: self.seq })
    }

    fn io(&self, op: &'static str, e: std::io::Error) -> Error {
        let path = self.site.fs.root().join(Dir::Tmp.name()).join(segment_name(self.site.id));
        Error::io(op, path, e)
    }
}
