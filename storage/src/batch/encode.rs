//! Batch → bytes. The limit at write is the limit at read: both come from the caller.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{Class, HEAD_LEN, MARKER, Op, SECTION_LEN, Seal, SnapshotMark, kind, magic_at, pad8};
use crate::{
    entry::{Entry, EntryId},
    error::{Error, Result},
    hard_state::HardState,
    state::LogState,
};

/// Encodes `ops` with an empty head, which [`seal`] fills in once the place is known. The buffer has
/// room for the zero head that is written behind it.
///
/// # Errors
/// `TooLarge` when the batch would be longer than `max` bytes.
pub(crate) fn encode(ops: &[Op<'_>], max: u64) -> Result<Vec<u8>> {
    let len = encoded_len(ops);
    if len > max {
        return Err(Error::TooLarge { len, max });
    }
    let mut out = Encoder::with_capacity(usize::try_from(len).expect("bounded by max") + HEAD_LEN);
    for op in ops {
        out.op(op);
    }
    for op in ops {
        out.body(op);
    }
    Ok(out.finish())
}

/// Encodes a State section with an empty head.
pub(crate) fn encode_state(state: &LogState) -> Vec<u8> {
    let mut out = Encoder::with_capacity(512);
    out.state(state);
    for slot in state.slots.values() {
        out.buf.extend_from_slice(&slot.value);
    }
    out.finish()
}

/// The ops of a marker: hard state and all promise slots.
pub(crate) fn promises(state: &LogState) -> Vec<Op<'static>> {
    let mut ops = vec![Op::HardState(state.hard_state)];
    for (&key, slot) in &*state.slots {
        if slot.class == Class::Promise {
            ops.push(Op::Meta { key, class: slot.class, value: slot.value.clone() });
        }
    }
    ops
}

/// Fills in the head of an encoded batch for its place. Can be repeated for another place.
pub(crate) fn seal(buf: &mut [u8], seal: Seal) {
    let Seal { salt, offset, seq, durable, marker } = seal;
    LE::write_u32(&mut buf[0..4], magic_at(salt, offset));
    LE::write_u64(&mut buf[16..24], seq);
    LE::write_u64(&mut buf[24..32], durable);
    LE::write_u64(&mut buf[32..40], if marker { MARKER } else { 0 });
    let sections_len = LE::read_u32(&buf[8..12]) as usize;
    let crc = head_crc(salt, offset, &buf[8..HEAD_LEN + sections_len]);
    LE::write_u32(&mut buf[4..8], crc);
}

/// CRC of a head: salt and offset, then `rest`, the bytes from 8 to the end of the sections.
pub(super) fn head_crc(salt: u64, offset: u64, rest: &[u8]) -> u32 {
    const SEED: usize = 16;
    let mut buf = [0; 256];
    LE::write_u64(&mut buf[..8], salt);
    LE::write_u64(&mut buf[8..SEED], offset);
    // In one piece where that is short, as nearly all are: sixteen bytes alone take as long as a
    // hundred.
    if let Some(tail) = buf.get_mut(SEED..SEED + rest.len()) {
        tail.copy_from_slice(rest);
        return crc32fast::hash(&buf[..SEED + rest.len()]);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&buf[..SEED]);
    hasher.update(rest);
    hasher.finalize()
}

/// Bytes of an encoded batch, padding included.
fn encoded_len(ops: &[Op<'_>]) -> u64 {
    let len: u64 = ops.iter().map(op_len).sum();
    (HEAD_LEN as u64 + len).next_multiple_of(8)
}

fn op_len(op: &Op<'_>) -> u64 {
    let content = match op {
        Op::Entries(entries) => return entries_len(entries),
        Op::HardState(_) | Op::TrimBefore { .. } | Op::Reset { .. } => 32,
        Op::Meta { value, .. } => 24 + value.len() as u64,
        Op::TruncateFrom(_) => 8,
        Op::SnapshotMark(_) => 40,
        Op::Refill(entry) => 32 + entry.payload.len() as u64,
        Op::AcknowledgeLoss => 0,
    };
    SECTION_LEN as u64 + content
}

fn entries_len(entries: &[Entry]) -> u64 {
    let (mut sections, mut bodies, mut run) = (0, 0, None);
    for Entry { id, payload } in entries {
        bodies += payload.len() as u64;
        let here = Some((id.term, id.tag));
        sections += u64::from(run != here);
        run = here;
    }
    sections * (SECTION_LEN as u64 + 32) + entries.len() as u64 * 8 + bodies
}

/// Entries of one term and tag share a section.
fn runs(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|a, b| a.id.term == b.id.term && a.id.tag == b.id.tag)
}

struct Encoder {
    buf: Vec<u8>,
    sections_end: Option<usize>,
}

impl Encoder {
    fn with_capacity(len: usize) -> Self {
        let mut buf = Vec::with_capacity(len);
        buf.resize(HEAD_LEN, 0);
        Self { buf, sections_end: None }
    }

    fn u32(&mut self, value: u32) {
        self.buf.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.buf.extend_from_slice(&value.to_le_bytes());
    }

    fn section(&mut self, kind: u16, len: usize) {
        self.buf.extend_from_slice(&kind.to_le_bytes());
        self.buf.extend_from_slice(&0u16.to_le_bytes());
        self.u32(u32::try_from(len).expect("bounded by the limit of a batch"));
        self.u64(0); // group, reserved
    }

    fn op(&mut self, op: &Op<'_>) {
        match op {
            Op::Entries(entries) => runs(entries).for_each(|run| self.entries(run)),
            Op::HardState(hs) => self.hard_state(hs),
            Op::Meta { key, class, value } => {
                self.section(kind::META, 24);
                self.slot(*key, *class, value);
            }
            Op::TruncateFrom(from) => {
                self.section(kind::TRUNCATE_FROM, 8);
                self.u64(*from);
            }
            Op::TrimBefore { first, prev } => self.start(kind::TRIM_BEFORE, *first, prev.as_ref()),
            Op::Reset { first, prev } => self.start(kind::RESET, *first, prev.as_ref()),
            Op::SnapshotMark(mark) => {
                self.section(kind::SNAPSHOT_MARK, 40);
                self.mark(mark);
            }
            Op::Refill(entry) => {
                self.section(kind::REFILL, 32);
                self.id(&entry.id);
                self.u32(crc32fast::hash(&entry.payload));
                self.len(entry.payload.len());
            }
            Op::AcknowledgeLoss => self.section(kind::ACKNOWLEDGE_LOSS, 0),
        }
    }

    fn entries(&mut self, run: &[Entry]) {
        let first = run[0].id;
        self.section(kind::ENTRIES, 32 + 8 * run.len());
        self.id(&first);
        self.len(run.len());
        self.u32(0); // codec: raw
        let (table, mut end) = (self.buf.len(), 0);
        self.buf.resize(table + 8 * run.len(), 0);
        let (rows, _) = self.buf[table..].as_chunks_mut::<8>();
        // One that has not begun, to be copied: making one asks what the processor can do each time.
        let fresh = crc32fast::Hasher::new();
        for (entry, row) in run.iter().zip(rows) {
            end += entry.payload.len();
            let mut sum = fresh.clone();
            sum.update(&entry.payload);
            LE::write_u32(&mut row[..4], u32::try_from(end).expect("bounded by the limit"));
            LE::write_u32(&mut row[4..], sum.finalize());
        }
    }

    fn body(&mut self, op: &Op<'_>) {
        self.sections_end.get_or_insert(self.buf.len());
        match op {
            Op::Entries(entries) => {
                for entry in entries.iter() {
                    self.buf.extend_from_slice(&entry.payload);
                }
            }
            Op::Meta { value, .. } => self.buf.extend_from_slice(value),
            Op::Refill(entry) => self.buf.extend_from_slice(&entry.payload),
            Op::HardState(_)
            | Op::TruncateFrom(_)
            | Op::TrimBefore { .. }
            | Op::Reset { .. }
            | Op::SnapshotMark(_)
            | Op::AcknowledgeLoss => {}
        }
    }

    fn hard_state(&mut self, hs: &HardState) {
        self.section(kind::HARD_STATE, 32);
        self.u64(hs.term);
        self.u64(hs.vote.unwrap_or(0));
        self.u64(hs.commit);
        self.u64(u64::from(hs.vote.is_some()));
    }

    fn start(&mut self, kind: u16, first: u64, prev: Option<&EntryId>) {
        self.section(kind, 32);
        self.u64(first);
        self.u64(u64::from(prev.is_some()));
        self.u64(prev.map_or(0, |id| id.term));
        self.u64(prev.map_or(0, |id| id.tag));
    }

    fn mark(&mut self, mark: &SnapshotMark) {
        self.id(&mark.id);
        self.u64(mark.size);
        self.u32(mark.crc);
        self.u32(0);
    }

    fn id(&mut self, id: &EntryId) {
        self.u64(id.index);
        self.u64(id.term);
        self.u64(id.tag);
    }

    fn slot(&mut self, key: u64, class: Class, value: &[u8]) {
        self.u64(key);
        self.u32(u32::from(class == Class::Promise));
        self.u32(crc32fast::hash(value));
        self.len(value.len());
        self.u32(0);
    }

    fn state(&mut self, state: &LogState) {
        self.section(kind::STATE, 168 + 24 * state.slots.len());
        let present = u64::from(state.prev.is_some())
            | u64::from(state.last.is_some()) << 1
            | u64::from(state.hard_state.vote.is_some()) << 2
            | u64::from(state.mark.is_some()) << 3
            | u64::from(state.maybe_lost.is_some()) << 4;
        let (prev, last) = (state.prev.unwrap_or_default(), state.last.unwrap_or_default());
        self.u64(present);
        self.u64(state.first);
        self.u64(state.next);
        for value in [prev.term, prev.tag, last.term, last.tag] {
            self.u64(value);
        }
        self.u64(state.hard_state.term);
        self.u64(state.hard_state.vote.unwrap_or(0));
        self.u64(state.hard_state.commit);
        self.mark(&state.mark.unwrap_or_default());
        self.u64(state.maybe_lost.unwrap_or(0));
        for _ in 0..4 {
            self.u64(0); // reserved
        }
        self.len(state.slots.len());
        self.u32(0);
        for (&key, slot) in &*state.slots {
            self.slot(key, slot.class, &slot.value);
        }
        self.sections_end = Some(self.buf.len());
    }

    fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("bounded by the limit of a batch"));
    }

    fn finish(mut self) -> Vec<u8> {
        let end = self.sections_end.unwrap_or(self.buf.len());
        let (sections, body) = (end - HEAD_LEN, self.buf.len() - end);
        let fits = "bounded by the limit of a batch";
        LE::write_u32(&mut self.buf[8..12], u32::try_from(sections).expect(fits));
        LE::write_u32(&mut self.buf[12..16], u32::try_from(body).expect(fits));
        self.buf.resize(pad8(self.buf.len()), 0);
        self.buf
    }
}
