//! Finds entry i in a piece of a segment: hops from head to head, then reads one table.
//!
//! Above: `reader`. Below: `batch`. Pure. The hops trust nothing but their bounds: lengths that lead
//! astray end in [`Found::Lost`], never in a wrong entry, since the head that names the entry is
//! checked (heads up to 16 KiB whenever they are looked at) and so is the payload (always).

use crate::{
    batch::{HEAD_LEN, Head, Run, Section, Sections, marker_at},
    entry::{EntryId, Index},
};

/// Heads longer than this are checked once, when the segment is read whole, not on every read.
const CHECKED_HEAD_MAX: usize = 16 << 10;

/// A piece of a segment file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of `bytes[0]` in the file.
    pub(crate) base: u64,
    pub(crate) salt: u64,
}

/// A run of entries found in a piece; all places are offsets in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunAt<'a> {
    pub(crate) run: Run<'a>,
    /// Offset of the batch.
    pub(crate) batch: u64,
    /// End of the batch.
    pub(crate) end: u64,
    /// Whether the batch holds no other entries, and its head was checked.
    pub(crate) alone: bool,
    /// Where the run's table begins, counted from the start of the batch.
    pub(crate) table: usize,
    /// Where to look for the entry behind the run's last: in this batch, or in the next.
    pub(crate) after: u64,
}

impl RunAt<'_> {
    /// Id, place and CRC of the payload of `index`, which the run holds.
    pub(crate) fn payload(&self, index: Index) -> Payload {
        let i = u32::try_from(index - self.run.first.index).expect("an index of the run");
        let (range, crc) = self.run.payload(i);
        let place = self.batch + range.start as u64..self.batch + range.end as u64;
        Payload { id: self.run.id(index), place, crc }
    }
}

/// Where a payload lies in its file.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) id: EntryId,
    pub(crate) place: std::ops::Range<u64>,
    pub(crate) crc: u32,
}

/// Outcome of [`find`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    Run(RunAt<'a>),
    /// The piece ends too early: read `len` bytes at this offset and go on there.
    More {
        offset: u64,
        len: usize,
    },
    /// No valid head where one must be.
    Lost {
        offset: u64,
    },
}

/// Hops from the batch at `offset` to the first one that holds `index`.
pub(crate) fn find(piece: Piece<'_>, mut offset: u64, index: Index) -> Found<'_> {
    loop {
        let Some(rest) = tail(piece, offset, HEAD_LEN) else {
            return Found::More { offset, len: HEAD_LEN };
        };
        let Some(head) = Head::peek(rest, piece.salt, offset) else {
            let marker = marker_at(offset);
            let zero = crate::batch::is_zero(&rest[..HEAD_LEN]);
            if !zero || marker == offset {
                return Found::Lost { offset };
            }
            match tail(piece, marker, HEAD_LEN) {
                None => return Found::More { offset: marker, len: HEAD_LEN },
                Some(rest) if Head::peek(rest, piece.salt, marker).is_some() => offset = marker,
                Some(_) => return Found::Lost { offset },
            }
            continue;
        };
        let Some(bytes) = rest.get(..head.head_len()) else {
            return Found::More { offset, len: head.head_len() };
        };
        if let Some((run, left, only)) = run_with(&head, bytes, index) {
            let known = head.head_len() > CHECKED_HEAD_MAX || head.check(bytes, piece.salt, offset);
            let end = offset + head.len() as u64;
            let table = head.head_len() - left - run.table().len();
            let after = if left == 0 { end } else { offset };
            let alone = only && head.head_len() <= CHECKED_HEAD_MAX;
            return if known {
                Found::Run(RunAt { run, batch: offset, end, alone, table, after })
            } else {
                Found::Lost { offset }
            };
        }
        offset += head.len() as u64;
    }
}

fn tail(piece: Piece<'_>, offset: u64, len: usize) -> Option<&[u8]> {
    let at = usize::try_from(offset.checked_sub(piece.base)?).ok()?;
    piece.bytes.get(at..).filter(|rest| rest.len() >= len)
}

/// The last run of a batch that holds `index`: a batch may drop what it brought itself. And how many
/// bytes of sections follow it, and whether it is the batch's only run.
fn run_with<'a>(head: &Head, bytes: &'a [u8], index: Index) -> Option<(Run<'a>, usize, bool)> {
    let (mut found, mut runs) = (None, 0);
    let mut sections = Sections::of(head, bytes);
    while let Some(section) = sections.next() {
        let Section::Entries(run) = section.ok()? else { continue };
        runs += 1;
        if run.first.index <= index && index <= run.last() {
            found = Some((run, sections.left()));
        }
    }
    found.map(|(run, left)| (run, left, runs == 1))
}

/// Id, place and CRC of the bytes that refill `index` in the batch at `offset`.
pub(crate) fn find_refill(piece: Piece<'_>, offset: u64, index: Index) -> Option<Payload> {
    let rest = tail(piece, offset, HEAD_LEN)?;
    let head = Head::peek(rest, piece.salt, offset)?;
    let bytes = rest.get(..head.head_len()).filter(|b| head.check(b, piece.salt, offset))?;
    let mut found = None;
    for section in Sections::of(&head, bytes) {
        if let Section::Refill { id, crc, body } = section.ok()?
            && id.index == index
        {
            let place = offset + body.start as u64..offset + body.end as u64;
            found = Some(Payload { id, place, crc });
        }
    }
    found
}
