//! An independent look at the bytes of segments: which heads are valid, and what they prove.
//!
//! Written from FORMAT.md and apart from the engine, so that the judge of the campaigns does not
//! take the engine's word for what a disk proves. It reads heads only; what a batch means is
//! [`crate::view`]'s business.

use hardlog::fs::{Dir, sim::SimFs};

const BATCHES_AT: usize = 8192;
const HEADER_LEN: usize = 132;
const HEAD_LEN: usize = 40;
const MAGIC: u32 = 0x4C47_4F48;
const KIND_STATE: u16 = 9;

/// A head whose CRC is right, of the segment and at the offset where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Where it begins.
    pub at: usize,
    /// Where its batch ends, padding included.
    pub end: usize,
    /// Sequence of the batch.
    pub seq: u64,
    /// Highest sequence that it states durable.
    pub durable: u64,
    /// Whether it is a marker.
    pub marker: bool,
    /// Whether its first section is State.
    pub state: bool,
}

/// A segment file: what its header says of the one before, and all valid heads in it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Name of the file.
    pub name: String,
    /// Last sequence that was durable when this segment was named.
    pub pred_seq: u64,
    /// All before this offset was synced before the file got its name.
    pub born_end: u64,
    /// Valid heads, also those that no longer count.
    pub heads: Vec<Head>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The number of the segment whose header stands in the front of a file, in either copy.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    u64_at(header(bytes)?, 56)
}

/// Whether the header says that the file was used before.
#[must_use]
pub fn is_used_file(bytes: &[u8]) -> bool {
    header(bytes).and_then(|header| u64_at(header, 16)).is_some_and(|features| features & 1 == 1)
}

/// The segments of a disk, oldest first; those without a valid header are left out.
#[must_use]
pub fn segments(fs: &SimFs) -> Vec<Segment> {
    let names = fs.names(Dir::Root).into_iter().filter(|name| name.ends_with(".wal"));
    names.filter_map(|name| segment(&fs.read_file(Dir::Root, &name)?, name)).collect()
}

fn header(bytes: &[u8]) -> Option<&[u8]> {
    [0, 4096].into_iter().find_map(|at| {
        let copy = bytes.get(at..at + HEADER_LEN)?;
        let valid = copy.starts_with(b"hardlog\n")
            && u32_at(copy, 128)? == crc32fast::hash(copy.get(..128)?);
        valid.then_some(copy)
    })
}

fn segment(bytes: &[u8], name: String) -> Option<Segment> {
    let header = header(bytes)?;
    let salt = u64_at(header, 64)?;
    let mut heads = Vec::new();
    for at in (BATCHES_AT..bytes.len()).step_by(8) {
        heads.extend(head(bytes, salt, at));
    }
    let (pred_seq, born_end) = (u64_at(header, 112)?, u64_at(header, 120)?);
    Some(Segment { name, pred_seq, born_end, heads })
}

fn head(bytes: &[u8], salt: u64, at: usize) -> Option<Head> {
    let mixed = (salt ^ at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let high = u32::try_from(mixed >> 32).ok()?;
    if u32_at(bytes, at)? != MAGIC ^ high {
        return None;
    }
    let sections = usize::try_from(u32_at(bytes, at + 8)?).ok()?;
    let body = usize::try_from(u32_at(bytes, at + 12)?).ok()?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&(at as u64).to_le_bytes());
    crc.update(bytes.get(at + 8..at + HEAD_LEN + sections)?);
    if crc.finalize() != u32_at(bytes, at + 4)? {
        return None;
    }
    let kind = bytes.get(at + HEAD_LEN..at + HEAD_LEN + 2);
    Some(Head {
        at,
        end: at + (HEAD_LEN + sections + body).next_multiple_of(8),
        seq: u64_at(bytes, at + 16)?,
        durable: u64_at(bytes, at + 24)?,
        marker: u64_at(bytes, at + 32)? & 1 == 1,
        state: kind == Some(&KIND_STATE.to_le_bytes()),
    })
}

/// The highest sequence that anything readable on the disk states durable.
#[must_use]
pub fn proven(fs: &SimFs) -> u64 {
    let stated = |s: Segment| s.heads.iter().map(|h| h.durable).chain([s.pred_seq]).max();
    segments(fs).into_iter().filter_map(stated).max().unwrap_or(0)
}

/// End of the last batch or marker of the newest segment.
#[must_use]
pub fn end_of_log(fs: &SimFs) -> usize {
    let last = segments(fs).pop();
    last.and_then(|s| s.heads.iter().map(|h| h.end).max()).unwrap_or(BATCHES_AT)
}
