//! Bytes → batch, safe on hostile bytes: nothing is believed before its checksum, every length is
//! bounded by the limit and by the bytes at hand, and nothing is allocated on the word of a length.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{
    Class, HEAD_LEN, MARKER, META_LEN_MAX, META_SLOTS_MAX, SECTION_LEN, SnapshotMark, encode, kind,
    magic_at, pad8,
};
use crate::{
    entry::{EntryId, INDEX_MAX, Index, Term},
    hard_state::HardState,
};

/// Why bytes are no valid batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The head is valid and a body's CRC differs.
    Body,
    /// The head is valid and its sections say what no writer of this format writes.
    Meaning,
}

/// The fixed fields of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sections_len: u32,
    pub(crate) body_len: u32,
    pub(crate) seq: u64,
    pub(crate) durable: u64,
    pub(crate) flags: u64,
}

impl Head {
    /// Reads the fixed fields at the start of `bytes` if the magic fits this place. Nothing else
    /// is checked yet, so nothing but the lengths may be used, and those only within bounds.
    pub(crate) fn peek(bytes: &[u8], salt: u64, offset: u64) -> Option<Self> {
        let magic = LE::read_u32(bytes.get(..4)?);
        if magic == magic_at(salt, offset) { Self::peek_any(bytes) } else { None }
    }

    /// The fixed fields of a batch that this process wrote or checked itself.
    pub(crate) fn peek_any(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..HEAD_LEN)?;
        Some(Self {
            sections_len: LE::read_u32(&fixed[8..12]),
            body_len: LE::read_u32(&fixed[12..16]),
            seq: LE::read_u64(&fixed[16..24]),
            durable: LE::read_u64(&fixed[24..32]),
            flags: LE::read_u64(&fixed[32..40]),
        })
    }

    /// Bytes of head and sections.
    pub(crate) const fn head_len(&self) -> usize {
        HEAD_LEN + self.sections_len as usize
    }

    /// Bytes of the whole batch, padding included.
    pub(crate) const fn len(&self) -> usize {
        pad8(HEAD_LEN + self.sections_len as usize + self.body_len as usize)
    }

    pub(crate) const fn is_marker(&self) -> bool {
        self.flags & MARKER != 0
    }

    /// Whether the CRC fits; `bytes` begins with the head and holds all sections.
    pub(crate) fn check(&self, bytes: &[u8], salt: u64, offset: u64) -> bool {
        self.sums(bytes, salt, offset).is_some_and(|(stored, computed)| stored == computed)
    }

    /// The CRC that stands in `bytes`, and the one that should; None where sections are cut off.
    pub(crate) fn sums(&self, bytes: &[u8], salt: u64, offset: u64) -> Option<(u32, u32)> {
        let rest = bytes.get(8..self.head_len())?;
        Some((LE::read_u32(&bytes[4..8]), encode::head_crc(salt, offset, rest)))
    }

    /// Whether the numbers obey the rule for `durable`, as far as that follows from the head.
    pub(crate) fn is_plausible(&self, sections: &[u8]) -> bool {
        let stands_still = self.is_marker() || is_state(sections);
        self.flags & !MARKER == 0
            && (self.durable < self.seq || (self.durable == self.seq && stands_still))
    }
}

/// Whether the first section of a batch is State.
pub(crate) fn is_state(sections: &[u8]) -> bool {
    sections.get(..2).is_some_and(|k| LE::read_u16(k) == kind::STATE)
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // A cache line at once, without an early way out inside: this becomes vector code.
    let (lines, rest) = bytes.as_chunks::<64>();
    lines.iter().all(|line| line.iter().fold(0, |any, byte| any | byte) == 0)
        && rest.iter().all(|&b| b == 0)
}

/// A run of entries of one term and tag inside a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) first: EntryId,
    pub(crate) count: u32,
    /// Per entry: end offset in this section's part of the bodies, CRC of the payload.
    table: &'a [u8],
    /// Where this section's part begins, counted from the start of the batch.
    pub(crate) body: usize,
}

impl<'a> Run<'a> {
    /// Per entry: end offset in the run's part of the bodies, CRC of the payload; 4 bytes each.
    pub(crate) const fn table(&self) -> &'a [u8] {
        self.table
    }

    pub(crate) const fn last(&self) -> Index {
        self.first.index + (self.count as u64 - 1)
    }

    pub(crate) fn id(&self, index: Index) -> EntryId {
        EntryId { index, ..self.first }
    }

    /// Where the payload of the `i`th entry lies in the batch, and its CRC.
    pub(crate) fn payload(&self, i: u32) -> (std::ops::Range<usize>, u32) {
        let (end, crc) = self.row(i);
        let start = if i == 0 { 0 } else { self.row(i - 1).0 };
        (self.body + start as usize..self.body + end as usize, crc)
    }

    /// End offset in the run's part of the bodies, and CRC, of the `i`th entry.
    pub(crate) fn row(&self, i: u32) -> (u32, u32) {
        let at = i as usize * 8;
        (LE::read_u32(&self.table[at..at + 4]), LE::read_u32(&self.table[at + 4..at + 8]))
    }

    /// Bytes of all payloads.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.bodies_len().map_or(0, u64::from)
    }

    /// Whether the ends never go back and stay within the bodies; their sum.
    fn bodies_len(&self) -> Option<u32> {
        let rows = self.table.as_chunks::<8>().0;
        let end = |row: &[u8; 8]| LE::read_u32(&row[..4]);
        // Each read of an entry comes by here: without an early way out this is vector code.
        let pairs = rows.iter().zip(rows.iter().skip(1));
        let ordered = pairs.fold(true, |ordered, (a, b)| ordered & (end(a) <= end(b)));
        ordered.then(|| rows.last().map_or(0, end))
    }
}

/// What a State section says; slots follow as `Section::Meta`-like rows.
#[derive(Clone, Debug)]
pub(crate) struct StateSection {
    pub(crate) first: Index,
    pub(crate) next: Index,
    pub(crate) prev: Option<EntryId>,
    pub(crate) last: Option<EntryId>,
    pub(crate) hard_state: HardState,
    pub(crate) mark: Option<SnapshotMark>,
    pub(crate) maybe_lost: Option<Index>,
    pub(crate) slots: Vec<SlotAt>,
}

/// A metadata slot's place in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotAt {
    pub(crate) key: u64,
    pub(crate) class: Class,
    pub(crate) crc: u32,
    pub(crate) body: std::ops::Range<usize>,
}

/// One section of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Section<'a> {
    Entries(Run<'a>),
    HardState(HardState),
    Meta(SlotAt),
    TruncateFrom(Index),
    TrimBefore(Index, Option<EntryId>),
    Reset(Index, Option<EntryId>),
    SnapshotMark(SnapshotMark),
    Refill {
        id: EntryId,
        crc: u32,
        body: std::ops::Range<usize>,
    },
    State(Box<StateSection>),
    AcknowledgeLoss,
    /// Of a kind that this version may skip.
    Unknown,
}

impl Section<'_> {
    /// Bytes of this section's part of the bodies.
    fn body_len(&self) -> Option<usize> {
        Some(match self {
            Self::Entries(run) => run.bodies_len()? as usize,
            Self::Meta(slot) => slot.body.len(),
            Self::Refill { body, .. } => body.len(),
            Self::State(state) => state.slots.iter().map(|slot| slot.body.len()).sum(),
            _ => 0,
        })
    }
}

/// The sections of a batch whose head CRC was checked, in order.
///
/// Yields `Err(Flaw::Meaning)` once and ends where they say what no writer writes.
#[derive(Clone, Debug)]
pub(crate) struct Sections<'a> {
    sections: &'a [u8],
    /// Where the next body begins, counted from the start of the batch.
    body: usize,
    /// End of the bodies.
    end: usize,
}

impl<'a> Sections<'a> {
    /// Of the batch whose head and sections are at the start of `bytes`.
    pub(crate) fn of(head: &Head, bytes: &'a [u8]) -> Self {
        let sections = bytes.get(HEAD_LEN..head.head_len()).unwrap_or_default();
        let body = head.head_len();
        Self { sections, body, end: body + head.body_len as usize }
    }

    /// Bytes of the sections that have not been yielded yet.
    pub(crate) const fn left(&self) -> usize {
        self.sections.len()
    }

    fn step(&mut self) -> Option<Section<'a>> {
        let (head, rest) = self.sections.split_at_checked(SECTION_LEN)?;
        let (kind, flags) = (LE::read_u16(&head[0..2]), LE::read_u16(&head[2..4]));
        let len = LE::read_u32(&head[4..8]) as usize;
        let (content, rest) = rest.split_at_checked(len)?;
        if flags != 0 || LE::read_u64(&head[8..16]) != 0 {
            return None;
        }
        let section = parse(kind, content, self.body)?;
        self.sections = rest;
        self.body = self.body.checked_add(section.body_len()?)?;
        (self.body <= self.end).then_some(section)
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.sections.is_empty() {
            let whole = self.body == self.end;
            self.end = self.body;
            return (!whole).then_some(Err(Flaw::Meaning));
        }
        Some(self.step().ok_or_else(|| {
            self.sections = &[];
            self.end = self.body;
            Flaw::Meaning
        }))
    }
}

fn parse(kind: u16, content: &[u8], body: usize) -> Option<Section<'_>> {
    let mut at = Fields { content };
    let section = match kind {
        kind::ENTRIES => Section::Entries(at.run(body)?),
        kind::HARD_STATE => Section::HardState(at.hard_state()?),
        kind::META => Section::Meta(at.slot(body)?),
        kind::TRUNCATE_FROM => Section::TruncateFrom(at.index()?),
        kind::TRIM_BEFORE => at.start().map(|(first, prev)| Section::TrimBefore(first, prev))?,
        kind::RESET => at.start().map(|(first, prev)| Section::Reset(first, prev))?,
        kind::SNAPSHOT_MARK => Section::SnapshotMark(at.mark()?),
        kind::REFILL => {
            let (id, crc, len) = (at.id()?, at.u32()?, at.u32()? as usize);
            Section::Refill { id, crc, body: body..body.checked_add(len)? }
        }
        kind::STATE => Section::State(Box::new(at.state(body)?)),
        kind::ACKNOWLEDGE_LOSS => Section::AcknowledgeLoss,
        unknown if unknown & kind::SKIPPABLE != 0 => return Some(Section::Unknown),
        _ => return None,
    };
    at.content.is_empty().then_some(section)
}

/// Takes fields off the front of a section.
struct Fields<'a> {
    content: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.content.split_at_checked(len)?;
        self.content = rest;
        Some(front)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(LE::read_u32)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).map(LE::read_u64)
    }

    fn index(&mut self) -> Option<Index> {
        self.u64().filter(|&index| index <= INDEX_MAX)
    }

    fn flag(&mut self) -> Option<bool> {
        self.u64().filter(|&flag| flag <= 1).map(|flag| flag == 1)
    }

    fn id(&mut self) -> Option<EntryId> {
        Some(EntryId { index: self.index()?, term: self.u64()?, tag: self.u64()? })
    }

    fn run(&mut self, body: usize) -> Option<Run<'a>> {
        let (first, count, codec) = (self.id()?, self.u32()?, self.u32()?);
        let table = self.take((count as usize).checked_mul(8)?)?;
        let fits =
            count > 0 && codec == 0 && first.index.checked_add(u64::from(count) - 1)? <= INDEX_MAX;
        fits.then_some(Run { first, count, table, body })
    }

    fn hard_state(&mut self) -> Option<HardState> {
        let (term, vote, commit) = (self.u64()?, self.u64()?, self.u64()?);
        Some(HardState { term, vote: self.flag()?.then_some(vote), commit })
    }

    fn start(&mut self) -> Option<(Index, Option<EntryId>)> {
        // One past the last index is a legal place for a window to begin, so u64::MAX is.
        let (first, has_prev) = (self.u64()?, self.flag()?);
        let (term, tag) = (self.u64()?, self.u64()?);
        Some((first, before(first, has_prev, term, tag)?))
    }

    fn mark(&mut self) -> Option<SnapshotMark> {
        let mark = SnapshotMark { id: self.id()?, size: self.u64()?, crc: self.u32()? };
        (self.u32()? == 0).then_some(mark)
    }

    fn slot(&mut self, body: usize) -> Option<SlotAt> {
        let (key, class, crc, len) = (self.u64()?, self.u32()?, self.u32()?, self.u32()? as usize);
        let class = match class {
            0 => Class::Ordered,
            1 => Class::Promise,
            _ => return None,
        };
        let fits = self.u32()? == 0 && len <= META_LEN_MAX;
        fits.then_some(SlotAt { key, class, crc, body: body..body.checked_add(len)? })
    }

    fn state(&mut self, body: usize) -> Option<StateSection> {
        let present = self.u64().filter(|&bits| bits < 1 << 5)?;
        let has = |bit: u32| present >> bit & 1 == 1;
        let first = self.u64()?;
        let next = self.u64().filter(|&next| next >= first)?;
        let prev = before(first, has(0), self.u64()?, self.u64()?)?;
        let last = before(next, has(1), self.u64()?, self.u64()?)?;
        let (term, vote, commit): (Term, u64, Index) = (self.u64()?, self.u64()?, self.u64()?);
        let hard_state = HardState { term, vote: has(2).then_some(vote), commit };
        let mark = self.mark()?;
        let maybe_lost = self.u64()?;
        self.take(32)?;
        let (count, pad) = (self.u32()?, self.u32()?);
        if count as usize > META_SLOTS_MAX || pad != 0 || (has(1) && first == next) {
            return None;
        }
        let mut slots = Vec::with_capacity(count as usize);
        let mut at = body;
        for _ in 0..count {
            let slot = self.slot(at)?;
            at = slot.body.end;
            slots.push(slot);
        }
        let (mark, maybe_lost) = (has(3).then_some(mark), has(4).then_some(maybe_lost));
        Some(StateSection { first, next, prev, last, hard_state, mark, maybe_lost, slots })
    }
}

/// The id just before `first`. The outer None means that there cannot be one.
#[expect(clippy::option_option, reason = "absent, and absent for a wrong reason, differ")]
fn before(first: Index, present: bool, term: Term, tag: u64) -> Option<Option<EntryId>> {
    if !present {
        return Some(None);
    }
    Some(Some(EntryId { index: first.checked_sub(1)?, term, tag }))
}

/// Whether all bodies of a batch check. `bytes` is the whole batch, its head CRC checked.
pub(crate) fn bodies_check(head: &Head, bytes: &[u8]) -> Result<(), Flaw> {
    let good = |body: std::ops::Range<usize>, crc: u32| {
        bytes.get(body).is_some_and(|body| crc32fast::hash(body) == crc)
    };
    let mut all = true;
    for section in Sections::of(head, bytes) {
        all &= match section? {
            Section::Entries(run) => (0..run.count).all(|i| {
                let (body, crc) = run.payload(i);
                good(body, crc)
            }),
            Section::Meta(slot) => good(slot.body, slot.crc),
            Section::Refill { crc, body, .. } => good(body, crc),
            Section::State(state) => state.slots.iter().all(|s| good(s.body.clone(), s.crc)),
            Section::HardState(_)
            | Section::TruncateFrom(_)
            | Section::TrimBefore(..)
            | Section::Reset(..)
            | Section::SnapshotMark(_)
            | Section::AcknowledgeLoss
            | Section::Unknown => true,
        };
    }
    // The padding is part of the batch: it was written as zeros with it.
    all &= bytes.get(head.head_len() + head.body_len as usize..head.len()).is_some_and(is_zero);
    if all { Ok(()) } else { Err(Flaw::Body) }
}
