//! The `.idx` file beside a sealed segment ↔ bytes. Pure.
//!
//! Derived, never needed for correctness: where it is missing, bad or of another segment, the
//! segment is scanned. It counts only if it agrees with the segment's own header and with what the
//! successor says of the segment's end. (FORMAT.md, "Index file".)

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{Row, Summary, TermRun};
use crate::{
    entry::{Index, LogId},
    layout::SegmentId,
};

const INDEX_MAGIC: [u8; 8] = *b"hlindex\n";
const VERSION: u32 = 1;
/// Bytes before the tables.
pub(crate) const FIXED: usize = 112;
/// Limit of an index file; a larger one is ignored.
const INDEX_FILE_MAX: u64 = 256 << 20;

/// Which segment an index file speaks of, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) log_id: LogId,
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    /// P of the segment.
    pub(crate) end: u64,
    pub(crate) last_seq: u64,
}

/// The whole file.
pub(crate) fn encode(identity: &Identity, summary: &Summary) -> Vec<u8> {
    let (rows, runs, refills) = (&summary.rows, &summary.runs, &summary.refills);
    let mut out =
        Vec::with_capacity(FIXED + 16 * rows.len() + 24 * runs.len() + 16 * refills.len() + 4);
    out.extend_from_slice(&INDEX_MAGIC);
    u32s(&mut out, &[VERSION, 0]);
    out.extend_from_slice(&identity.log_id.0);
    u64s(&mut out, &[identity.id, identity.salt, identity.end, identity.last_seq, summary.next]);
    u64s(&mut out, &[u64::from(summary.lowest_cut.is_some()), summary.lowest_cut.unwrap_or(0)]);
    let count = |len: usize| u64::try_from(len).expect("a usize fits 64 bits");
    u64s(&mut out, &[count(rows.len()), count(runs.len()), count(refills.len())]);
    for row in rows {
        u64s(&mut out, &[row.first]);
        u32s(&mut out, &[row.offset, row.bytes]);
    }
    for run in runs {
        u64s(&mut out, &[run.first, run.term, run.tag]);
    }
    for &(index, offset) in refills {
        u64s(&mut out, &[index]);
        u32s(&mut out, &[offset, 0]);
    }
    let crc = crc32fast::hash(&out);
    u32s(&mut out, &[crc]);
    out
}

/// Whether a file of `len` bytes that begins so can be an index: asked before so much is allocated.
pub(crate) fn can_be(front: &[u8], len: u64) -> bool {
    let Some(fixed) = front.get(..FIXED).filter(|_| len <= INDEX_FILE_MAX) else { return false };
    let count = |at: usize, each: u64| LE::read_u64(&fixed[at..at + 8]).checked_mul(each);
    let tables = [count(88, 16), count(96, 24), count(104, 16)];
    let sum = tables.into_iter().try_fold(FIXED as u64 + 4, |sum, one| sum.checked_add(one?));
    fixed[..8] == INDEX_MAGIC && sum == Some(len)
}

/// A file whose checksum holds, whose lengths fit, and whose rows and runs rise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked<'a> {
    pub(crate) identity: Identity,
    next: Index,
    lowest_cut: Option<Index>,
    rows: &'a [[u8; 16]],
    runs: &'a [[u8; 24]],
    refills: &'a [[u8; 16]],
}

/// Checks a whole file.
pub(crate) fn check(bytes: &[u8]) -> Option<Checked<'_>> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let fixed = content.get(..FIXED)?;
    if fixed[..8] != INDEX_MAGIC
        || LE::read_u32(crc) != crc32fast::hash(content)
        || LE::read_u32(&fixed[8..12]) != VERSION
    {
        return None;
    }
    let mut log_id = LogId([0; 16]);
    log_id.0.copy_from_slice(&fixed[16..32]);
    let mut words = [0; 10];
    LE::read_u64_into(&fixed[32..112], &mut words);
    let [id, salt, end, last_seq, next, cut_present, cut, rows, runs, refills] = words;
    let tables = &content[FIXED..];
    let len = |count: u64, each: usize| usize::try_from(count).ok()?.checked_mul(each);
    let (rows, tables) = tables.split_at_checked(len(rows, 16)?)?;
    let (runs, tables) = tables.split_at_checked(len(runs, 24)?)?;
    if tables.len() != len(refills, 16)? {
        return None;
    }
    let checked = Checked {
        identity: Identity { log_id, id, salt, end, last_seq },
        next,
        lowest_cut: (cut_present == 1).then_some(cut),
        rows: rows.as_chunks::<16>().0,
        runs: runs.as_chunks::<24>().0,
        refills: tables.as_chunks::<16>().0,
    };
    checked.is_ordered().then_some(checked)
}

/// What a file says, if it checks.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Identity, Summary)> {
    check(bytes).map(|checked| (checked.identity, checked.summary()))
}

impl Checked<'_> {
    /// Everything.
    pub(crate) fn summary(&self) -> Summary {
        Summary { rows: self.rows(), ..self.without_rows() }
    }

    /// Everything but the rows, which are most of it.
    pub(crate) fn without_rows(&self) -> Summary {
        Summary {
            rows: Vec::new(),
            runs: self.runs.iter().map(run).collect(),
            next: self.next,
            lowest_cut: self.lowest_cut,
            refills: self.refills.iter().map(|r| (row(r).first, row(r).offset)).collect(),
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.iter().map(row).collect()
    }

    /// The entries of which there are rows, if there are any.
    pub(crate) fn entries(&self) -> Option<(Index, Index)> {
        self.rows.first().map(|first| (row(first).first, self.next))
    }

    /// Rows and runs must rise: a lookup searches them by halves.
    fn is_ordered(&self) -> bool {
        let (rows, runs) = (self.rows.iter().map(row), self.runs.iter().map(run));
        rows.is_sorted_by(|a, b| a.first < b.first && a.offset < b.offset)
            && runs.is_sorted_by(|a, b| a.first < b.first)
            && self.rows.last().is_none_or(|last| row(last).first < self.next)
    }
}

fn row(bytes: &[u8; 16]) -> Row {
    Row {
        first: LE::read_u64(&bytes[..8]),
        offset: LE::read_u32(&bytes[8..12]),
        bytes: LE::read_u32(&bytes[12..]),
    }
}

fn run(bytes: &[u8; 24]) -> TermRun {
    TermRun {
        first: LE::read_u64(&bytes[..8]),
        term: LE::read_u64(&bytes[8..16]),
        tag: LE::read_u64(&bytes[16..]),
    }
}

fn u32s(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn u64s(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}
