//! A snapshot file ↔ bytes. Pure: no I/O, no allocation on the word of a length.
//!
//! ```text
//!  0        104      104+M                                                    file length - 36
//!  ┌────────┬────────┬──────────────┬──────────────┬─────┬─────────────────────┬─────────┐
//!  │ head   │ meta-  │ chunk 0      │ chunk 1      │ …   │ last chunk, may be  │ trailer │
//!  │        │ data   │ len CRC bytes│ len CRC bytes│     │ shorter             │         │
//!  └────────┴────────┴──────────────┴──────────────┴─────┴─────────────────────┴─────────┘
//! ```
//!
//! Above: `writer`, `reader`. Below: nothing. (FORMAT.md, "Snapshot file".)
//!
//! INVARIANT: each checksum after the head is seeded with the head's, which covers a salt drawn for
//! this very file; a chunk's also covers its number. So a chunk is valid in one place of one file.
//! INVARIANT: the lengths of all chunks follow from the head and the trailer, so the place of every
//! byte is known without reading what lies before it, and a length field is compared, never obeyed.

use byteorder::{ByteOrder, LittleEndian as LE};
use crc32fast::Hasher;

use crate::entry::{EntryId, INDEX_MAX, LogId};

/// Bytes of the fixed head.
pub(crate) const HEAD_LEN: usize = 104;
/// Bytes in front of each chunk: its length and its CRC.
pub(crate) const CHUNK_HEAD_LEN: usize = 8;
/// Bytes of the trailer.
pub(crate) const TRAILER_LEN: usize = 36;
/// Largest metadata of a snapshot, in bytes.
pub const SNAPSHOT_META_MAX: usize = 64 * 1024;
/// Smallest chunk, in bytes.
pub(crate) const CHUNK_MIN: u32 = 4096;
/// Largest chunk, in bytes.
pub(crate) const CHUNK_MAX: u32 = 16 << 20;
/// First bytes of a snapshot file.
pub(crate) const MAGIC: [u8; 8] = *b"HLSNAP\n\0";
/// First bytes of the trailer. No chunk begins like this: none has length 0.
pub(crate) const TRAILER_MAGIC: [u8; 8] = *b"\0\0\0\0HLSE";
/// Format written by this version.
pub(crate) const MAJOR: u16 = 1;
/// Minor format written by this version; a reader of the same major reads every minor.
pub(crate) const MINOR: u16 = 0;
/// CRC-32/IEEE.
const CHECKSUM_CRC32: u16 = 1;

/// The fixed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) log_id: LogId,
    /// Last entry that the snapshot covers.
    pub(crate) id: EntryId,
    /// Drawn anew for each file. Never printed, never sent.
    pub(crate) salt: u64,
    /// Payload bytes of every chunk but the last.
    pub(crate) chunk_size: u32,
    pub(crate) meta_len: u32,
    pub(crate) meta_crc: u32,
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// Too short, another magic, or the CRC does not check.
    Damaged,
    /// It checks, and says what no version writes.
    Meaning,
    /// Written by a newer version.
    Newer { major: u16, minor: u16, incompat: u64 },
}

impl Head {
    /// The head and its CRC, which seeds all others of the file.
    pub(crate) fn encode(&self) -> ([u8; HEAD_LEN], u32) {
        let mut out = [0; HEAD_LEN];
        out[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut out[8..10], MAJOR);
        LE::write_u16(&mut out[10..12], MINOR);
        LE::write_u16(&mut out[12..14], CHECKSUM_CRC32);
        // 14..16 zero; 16..40 features compat, incompat, ro-compat: none yet.
        out[40..56].copy_from_slice(&self.log_id.0);
        let words = [self.id.index, self.id.term, self.id.tag, self.salt];
        LE::write_u64_into(&words, &mut out[56..88]);
        LE::write_u32_into(&[self.chunk_size, self.meta_len, self.meta_crc], &mut out[88..100]);
        let crc = crc32fast::hash(&out[..100]);
        LE::write_u32(&mut out[100..], crc);
        (out, crc)
    }

    /// The head at the front of a file, and its CRC.
    pub(crate) fn decode(front: &[u8]) -> Result<(Self, u32), BadHead> {
        let raw = front.get(..HEAD_LEN).ok_or(BadHead::Damaged)?;
        let crc = LE::read_u32(&raw[100..]);
        if raw[..8] != MAGIC || crc != crc32fast::hash(&raw[..100]) {
            return Err(BadHead::Damaged);
        }
        let (major, minor) = (LE::read_u16(&raw[8..10]), LE::read_u16(&raw[10..12]));
        let incompat = LE::read_u64(&raw[24..32]);
        if major != MAJOR || incompat != 0 || LE::read_u16(&raw[12..14]) != CHECKSUM_CRC32 {
            return Err(BadHead::Newer { major, minor, incompat });
        }
        let mut log_id = LogId([0; 16]);
        log_id.0.copy_from_slice(&raw[40..56]);
        let mut words = [0; 4];
        LE::read_u64_into(&raw[56..88], &mut words);
        let [index, term, tag, salt] = words;
        let mut lens = [0; 3];
        LE::read_u32_into(&raw[88..100], &mut lens);
        let [chunk_size, meta_len, meta_crc] = lens;
        let sound = (CHUNK_MIN..=CHUNK_MAX).contains(&chunk_size)
            && meta_len as usize <= SNAPSHOT_META_MAX
            && index <= INDEX_MAX;
        if !sound {
            return Err(BadHead::Meaning);
        }
        let id = EntryId { index, term, tag };
        Ok((Self { log_id, id, salt, chunk_size, meta_len, meta_crc }, crc))
    }
}

/// The end of the file: without it there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) chunk_count: u64,
    /// Payload bytes, all chunks together.
    pub(crate) byte_count: u64,
    /// CRC of the payload bytes alone.
    pub(crate) payload_crc: u32,
    /// CRC of every byte of the file before the trailer.
    pub(crate) file_crc: u32,
}

impl Trailer {
    pub(crate) fn encode(&self, head_crc: u32) -> [u8; TRAILER_LEN] {
        let mut out = [0; TRAILER_LEN];
        out[..8].copy_from_slice(&TRAILER_MAGIC);
        LE::write_u64_into(&[self.chunk_count, self.byte_count], &mut out[8..24]);
        LE::write_u32_into(&[self.payload_crc, self.file_crc], &mut out[24..32]);
        let crc = seeded(head_crc, &out[..32]).finalize();
        LE::write_u32(&mut out[32..], crc);
        out
    }

    /// The trailer, if `raw` is the valid trailer of the file with this head.
    pub(crate) fn decode(raw: &[u8], head_crc: u32) -> Option<Self> {
        let raw = raw.get(..TRAILER_LEN)?;
        let crc = seeded(head_crc, &raw[..32]).finalize();
        if raw[..8] != TRAILER_MAGIC || LE::read_u32(&raw[32..]) != crc {
            return None;
        }
        Some(Self {
            chunk_count: LE::read_u64(&raw[8..16]),
            byte_count: LE::read_u64(&raw[16..24]),
            payload_crc: LE::read_u32(&raw[24..28]),
            file_crc: LE::read_u32(&raw[28..32]),
        })
    }
}

/// A hasher that has seen the head's CRC and `bytes`.
fn seeded(head_crc: u32, bytes: &[u8]) -> Hasher {
    let mut seed = [0; 4];
    LE::write_u32(&mut seed, head_crc);
    let mut hasher = Hasher::new();
    hasher.update(&seed);
    hasher.update(bytes);
    hasher
}

/// What stands in front of chunk `number`, whose `len` bytes `body` has seen and nothing else.
///
/// The hasher is combined, not fed: a payload byte is hashed once for all three checksums over it.
pub(crate) fn chunk_head(
    head_crc: u32,
    number: u64,
    len: u32,
    body: &Hasher,
) -> [u8; CHUNK_HEAD_LEN] {
    let mut prefix = [0; 12];
    LE::write_u64(&mut prefix[..8], number);
    LE::write_u32(&mut prefix[8..], len);
    let mut crc = seeded(head_crc, &prefix);
    crc.combine(body);
    let mut out = [0; CHUNK_HEAD_LEN];
    LE::write_u32_into(&[len, crc.finalize()], &mut out);
    out
}

/// Where everything lies in a file with this many payload bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Offset of chunk 0.
    base: u64,
    chunk_size: u64,
    byte_count: u64,
    chunk_count: u64,
    file_len: u64,
}

impl Geometry {
    /// `None` where such a file would be longer than a file can be.
    pub(crate) fn new(head: &Head, byte_count: u64) -> Option<Self> {
        let base = HEAD_LEN as u64 + u64::from(head.meta_len);
        let chunk_size = u64::from(head.chunk_size);
        let chunk_count = byte_count.div_ceil(chunk_size);
        let file_len = chunk_count
            .checked_mul(CHUNK_HEAD_LEN as u64)?
            .checked_add(byte_count)?
            .checked_add(base + TRAILER_LEN as u64)?;
        let fits = i64::try_from(file_len).is_ok();
        fits.then_some(Self { base, chunk_size, byte_count, chunk_count, file_len })
    }

    pub(crate) fn chunk_count(&self) -> u64 {
        self.chunk_count
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Payload bytes.
    pub(crate) fn byte_count(&self) -> u64 {
        self.byte_count
    }

    /// Offset of chunk `number`'s length field; of the trailer for the number after the last.
    pub(crate) fn chunk_offset(&self, number: u64) -> u64 {
        if number >= self.chunk_count {
            return self.file_len - TRAILER_LEN as u64;
        }
        self.base + number * (self.chunk_size + CHUNK_HEAD_LEN as u64)
    }

    /// Payload bytes of chunk `number`.
    pub(crate) fn chunk_len(&self, number: u64) -> u32 {
        let rest = self.byte_count.saturating_sub(number.saturating_mul(self.chunk_size));
        u32::try_from(rest.min(self.chunk_size)).expect("a chunk is at most 16 MiB")
    }

    /// The chunk in which the payload byte at `position` lies, and where in it.
    pub(crate) fn locate(&self, position: u64) -> (u64, usize) {
        let within = position % self.chunk_size;
        (position / self.chunk_size, usize::try_from(within).expect("a chunk is at most 16 MiB"))
    }
}
