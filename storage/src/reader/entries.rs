//! The iterator over entries: from batch to batch, with as few looks at the index as there are rows.
//!
//! Above: [`LogReader::entries`](super::LogReader::entries). Below: the same pieces as a single read.
//! INVARIANT: it reads one published version to its end. Within a stretch of the index no truncation
//! begins, so the batch behind the last one holds the next entry or none that counts.
//! INVARIANT: each payload is verified before it is handed out. A few are verified ahead, in one go:
//! the processor then overlaps their checksums, which it cannot while payloads are counted in and out.

use std::{ops::Range, sync::Arc};

use super::{Region, STRIDE, hole, inside};
use crate::{
    entry::{Entry, EntryId, Index},
    error::{Reason, Result},
    index::Stretch,
    lookup::{Found, Payload, RunAt, find},
    segment::Segment,
    wal::{Version, Wal},
};

/// So many entries, or bytes of payload, are verified ahead: what the nearest cache holds.
const AHEAD: u64 = 32;
const AHEAD_BYTES: usize = 16 << 10;

/// Iterator over entries; see [`LogReader::entries`](super::LogReader::entries). Ends after the
/// first error.
#[derive(Debug)]
pub struct Entries {
    pub(super) wal: Arc<Wal>,
    pub(super) version: Arc<Version>,
    pub(super) next: Index,
    pub(super) end: Index,
    pub(super) budget: u64,
    pub(super) first: bool,
    pub(super) run: Option<Cursor>,
}

/// Where an iterator stands: in a run of entries, in a batch that lies in memory as a whole.
#[derive(Debug)]
pub(super) struct Cursor {
    segment: Arc<Segment>,
    region: Region,
    place: Place,
    /// One past the last index of the stretch of the index that was found last.
    stretch_next: Index,
    /// One past the last entry whose payload was verified and not handed out yet.
    verified: Index,
    /// Where the payload of the entry before `verified` that comes next begins in the region.
    start: usize,
}

/// A run, as places in a region.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: EntryId,
    /// Where its table begins in the region.
    table: usize,
    /// Where the run's part of the bodies begins in the region.
    body: usize,
    /// One past the last index that counts here.
    next: Index,
    /// Offset in the file where the entry behind the run is looked for.
    after: u64,
}

impl Place {
    fn of(run: &RunAt<'_>, region: &Region, stretch_next: Index) -> Self {
        let head = usize::try_from(run.batch - region.base).expect("within the region");
        Self {
            first: run.run.first,
            table: head + run.table,
            body: head + run.run.body,
            next: (run.run.last() + 1).min(stretch_next),
            after: run.after,
        }
    }
}

impl Cursor {
    /// The run with `index`, if its whole batch lies in `region`.
    fn new(
        segment: &Arc<Segment>,
        region: &Region,
        offset: u64,
        stretch_next: Index,
        index: Index,
    ) -> Option<Self> {
        let Found::Run(run) = find(region.piece(segment), offset, index) else { return None };
        (run.end <= region.end()).then(|| Self {
            segment: Arc::clone(segment),
            place: Place::of(&run, region, stretch_next),
            region: region.clone(),
            stretch_next,
            verified: 0,
            start: 0,
        })
    }

    /// Goes on to `index` in the same stretch and the same region. False where it does not lie there.
    fn follow(&mut self, index: Index) -> bool {
        if index >= self.stretch_next {
            return false;
        }
        match find(self.region.piece(&self.segment), self.place.after, index) {
            Found::Run(run) if run.end <= self.region.end() => {
                self.place = Place::of(&run, &self.region, self.stretch_next);
                true
            }
            _ => false,
        }
    }

    /// End of the payload of `index` in the region, and its CRC.
    #[inline]
    fn row(&self, index: Index) -> Option<(usize, u32)> {
        let i = usize::try_from(index.checked_sub(self.place.first.index)?).ok()?;
        let row = self.region.bytes.get(self.place.table + i * 8..)?.first_chunk::<8>()?;
        let [a, b, c, d, crc @ ..] = *row;
        Some((self.place.body + u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes(crc)))
    }

    fn start_of(&self, index: Index) -> Option<usize> {
        if index == self.place.first.index {
            Some(self.place.body)
        } else {
            self.row(index - 1).map(|row| row.0)
        }
    }

    /// Verifies the payloads of `index` and of some entries behind it, before `end`.
    fn verify(&mut self, index: Index, end: Index) {
        self.verified = index;
        let Some(start) = self.start_of(index) else { return };
        self.start = start;
        let end = end.min(self.place.next).min(index.saturating_add(AHEAD));
        let fresh = crc32fast::Hasher::new();
        let mut from = start;
        while self.verified < end && from - start <= AHEAD_BYTES {
            let Some((to, crc)) = self.row(self.verified) else { return };
            let Some(payload) = self.region.bytes.get(from..to) else { return };
            let mut sum = fresh.clone();
            sum.update(payload);
            if sum.finalize() != crc {
                return;
            }
            (from, self.verified) = (to, self.verified + 1);
        }
    }

    /// Id of `index`, and where its payload lies, if it is the next of those that were verified.
    #[inline]
    fn next(&self, index: Index) -> Option<(EntryId, Range<usize>)> {
        if index >= self.verified {
            return None;
        }
        let (end, _) = self.row(index)?;
        Some((EntryId { index, ..self.place.first }, self.start..end))
    }

    /// Id, place and CRC of the payload of `index`, for the error when it does not check.
    fn payload(&self, index: Index) -> Option<Payload> {
        let (end, crc) = self.row(index)?;
        let offset = |at: usize| self.region.base + at as u64;
        let place = offset(self.start_of(index)?)..offset(end);
        Some(Payload { id: EntryId { index, ..self.place.first }, place, crc })
    }
}

impl Entries {
    /// The next entry from where it must be looked for: none is verified ahead.
    fn step(&mut self) -> Result<Entry> {
        let index = self.next;
        inside(&self.version, index)?;
        if let Some((segment, offset)) = self.version.map.refilled(index) {
            return self.wal.read_refill(&segment, u64::from(offset), index);
        }
        let here = |run: &mut Cursor| index < run.place.next || run.follow(index);
        if !self.run.as_mut().is_some_and(here) {
            self.run = Some(self.locate()?);
        }
        let lost = || hole(&self.wal, index);
        let end = self.version.map.next_refill(index).min(self.end);
        let run = self.run.as_mut().ok_or_else(lost)?;
        run.verify(index, end);
        let Some((id, place)) = run.next(index) else {
            let payload = run.payload(index).ok_or_else(lost)?;
            return Err(self.wal.bad_payload(&run.segment, &payload));
        };
        run.start = place.end;
        Ok(Entry { id, payload: run.region.bytes.slice(place) })
    }

    /// Whether an entry of `len` bytes is still within what was asked for; if so it is counted.
    #[inline]
    fn affords(&mut self, len: u64) -> bool {
        if !std::mem::take(&mut self.first) && len > self.budget {
            self.end = self.next;
            return false;
        }
        self.budget = self.budget.saturating_sub(len);
        self.next += 1;
        true
    }

    fn slow(&mut self) -> Option<Result<Entry>> {
        let result = self.step();
        match &result {
            Err(_) => self.end = self.next,
            Ok(entry) => {
                let len = entry.payload.len() as u64;
                if !self.affords(len) {
                    return None;
                }
            }
        }
        Some(result)
    }

    /// The run that holds the next entry, with its whole batch in memory.
    fn locate(&self) -> Result<Cursor> {
        let index = self.next;
        let Some(stretch) = self.version.map.find(index, self.version.state.next)? else {
            return Err(hole(&self.wal, index));
        };
        let segment = stretch.segment;
        let from = u64::from(stretch.row.offset);
        if let Some(map) = segment.mapped() {
            let region = Region { bytes: map.clone(), base: 0 };
            if let Some(cursor) = Cursor::new(segment, &region, from, stretch.next, index) {
                return Ok(cursor);
            }
        }
        let end = stretch.end.map_or(u64::MAX, u64::from);
        let recent = self.wal.recent().find(segment.id(), (from, end), self.version.seq, |kept| {
            let region = Region { bytes: kept.bytes.clone(), base: kept.offset };
            Cursor::new(segment, &region, kept.offset, stretch.next, index)
        });
        match recent {
            Some(cursor) => Ok(cursor),
            None => self.locate_on_disk(&stretch, index),
        }
    }

    fn locate_on_disk(&self, stretch: &Stretch<'_>, index: Index) -> Result<Cursor> {
        let segment = stretch.segment;
        let from = u64::from(stretch.row.offset);
        // The bytes that were read last may reach into this stretch.
        if let Some(run) = &self.run
            && run.segment.id() == segment.id()
            && run.region.base <= from
            && let Some(cursor) = Cursor::new(segment, &run.region, from, stretch.next, index)
        {
            return Ok(cursor);
        }
        let (mut offset, mut len) = (from, STRIDE);
        loop {
            let region = self.wal.region(segment, offset, len)?;
            let (at, need) = match find(region.piece(segment), offset, index) {
                Found::Run(run) => {
                    (run.batch, usize::try_from(run.end - run.batch).unwrap_or(STRIDE))
                }
                Found::More { offset, len } => (offset, len),
                Found::Lost { offset } => {
                    return Err(self.wal.damage(segment, offset, index, Reason::BatchHead));
                }
            };
            if let Some(cursor) = Cursor::new(segment, &region, offset, stretch.next, index) {
                return Ok(cursor);
            }
            if at == offset && need <= len {
                return Err(self.wal.damage(segment, offset, index, Reason::BatchHead));
            }
            (offset, len) = (at, need.max(STRIDE));
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let ahead = self.run.as_ref().and_then(|run| run.next(self.next));
        let Some((id, place)) = ahead else { return self.slow() };
        if !self.affords(place.len() as u64) {
            return None;
        }
        let run = self.run.as_mut()?;
        run.start = place.end;
        Some(Ok(Entry { id, payload: run.region.bytes.slice(place) }))
    }
}
