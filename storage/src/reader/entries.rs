//! The iterator over entries: from batch to batch, with as few looks at the index as there are rows.
//!
//! Above: [`LogReader::entries`](super::LogReader::entries). Below: the same pieces as a single read.
//! INVARIANT: it reads one published version to its end. Within a stretch of the index no truncation
//! begins, so the batch behind the last one holds the next entry or none that counts.

use std::sync::Arc;

use super::{Region, STRIDE, hole, inside};
use crate::{
    entry::{Entry, EntryId, Index},
    error::{Reason, Result},
    index::Stretch,
    lookup::{Found, Payload, RunAt, find},
    segment::Segment,
    wal::{Version, Wal},
};

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
}

/// A run, as places in a region.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: EntryId,
    /// Where its table begins in the region.
    table: usize,
    /// Offset in the file of the run's part of the bodies.
    body: u64,
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
            body: run.batch + run.run.body as u64,
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

    fn payload(&self, index: Index) -> Option<Payload> {
        let Place { first, table, body, .. } = self.place;
        let i = usize::try_from(index - first.index).ok()?;
        let row = |i: usize| {
            let row = self.region.bytes.get(table + i * 8..)?.first_chunk::<8>()?;
            let (end, crc) = row.split_at(4);
            let word = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
            Some((u64::from(word(end)?), word(crc)?))
        };
        let (end, crc) = row(i)?;
        let start = if i == 0 { 0 } else { row(i - 1)?.0 };
        Some(Payload { id: EntryId { index, ..first }, place: body + start..body + end, crc })
    }
}

impl Entries {
    fn step(&mut self) -> Result<Entry> {
        inside(&self.version, self.next)?;
        if let Some((segment, offset)) = self.version.map.refilled(self.next) {
            return self.wal.read_refill(&segment, u64::from(offset), self.next);
        }
        let index = self.next;
        let here = |run: &mut Cursor| index < run.place.next || run.follow(index);
        if !self.run.as_mut().is_some_and(here) {
            self.run = Some(self.locate()?);
        }
        let lost = || hole(&self.wal, index);
        let run = self.run.as_ref().ok_or_else(lost)?;
        let payload = run.payload(index).ok_or_else(lost)?;
        match run.region.slice(&payload.place) {
            Some(bytes) => self.wal.checked(&run.segment, &payload, bytes),
            None => Err(self.wal.bad_payload(&run.segment, &payload)),
        }
    }

    /// The run that holds the next entry, with its whole batch in memory.
    fn locate(&self) -> Result<Cursor> {
        let index = self.next;
        let Some(stretch) = self.version.map.find(index, self.version.state.next) else {
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

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let result = self.step();
        match &result {
            Err(_) => self.end = self.next,
            Ok(entry) => {
                let len = entry.payload.len() as u64;
                if !std::mem::take(&mut self.first) && len > self.budget {
                    self.end = self.next;
                    return None;
                }
                self.budget = self.budget.saturating_sub(len);
                self.next += 1;
            }
        }
        Some(result)
    }
}
