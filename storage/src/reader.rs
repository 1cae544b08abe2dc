//! Concurrent, zero-copy reads: recent batches from memory, older ones by position, and from a map
//! once the scrubber has read the sealed segment whole.
//!
//! Above: callers on any thread. Below: `index` (where), `lookup` (which bytes), `recent`, `segment`.
//! INVARIANT: the payload's checksum is verified on each read, wherever the bytes came from.
//! INVARIANT: one call, and one iterator, reads one published version: never old entries followed
//! by new ones. The bytes of a version never change on disk, and its files stay open.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    batch::SnapshotMark,
    entry::{Entry, EntryId, Index, Term},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::read_full,
    hard_state::HardState,
    index::Stretch,
    lookup::{Found, Payload, Piece, find, find_refill},
    metrics,
    options::OnDamage,
    segment::Segment,
    wal::{Version, Wal},
};

/// First read of a positioned `at`: a row of small batches, or the head of a large one.
const PROBE: usize = 8 << 10;
/// Reads of an iterator.
const STRIDE: usize = 256 << 10;
/// What an entry counts besides its payload in [`LogReader::live_bytes`]: index and term.
const ENTRY_OVERHEAD: u64 = 16;
/// What the hard state counts: term, vote, commit.
const HARD_STATE_BYTES: u64 = 24;

/// Reads a log while its owner writes; sees each write at once, durable or not.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use hardlog::{Entry, Log, Options};
///
/// let mut log = Log::create(dir.path().join("n1"), Options::new())?;
/// let reader = log.reader();
/// log.append(&[Entry::new(1, 1, "x")])?;
/// let seen = std::thread::spawn(move || reader.at(1)).join().unwrap()?;
/// assert_eq!(seen.payload, "x");
/// # Ok::<(), hardlog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) wal: Arc<Wal>,
}

impl LogReader {
    /// First index of the window.
    #[must_use]
    pub fn first_log_index(&self) -> Index {
        self.wal.version().state.first
    }

    /// Last index; None while the window is empty.
    #[must_use]
    pub fn last_log_index(&self) -> Option<Index> {
        let version = self.wal.version();
        version.state.last.map(|id| id.index).filter(|_| !version.state.is_empty())
    }

    /// One past the last index.
    #[must_use]
    pub fn next_log_index(&self) -> Index {
        self.wal.version().state.next
    }

    /// Id of the last entry; of the one just before the window while that is empty.
    #[must_use]
    pub fn last_id(&self) -> Option<EntryId> {
        self.wal.version().state.last_id()
    }

    /// Id of the entry just before the window, if known.
    #[must_use]
    pub fn prev_id(&self) -> Option<EntryId> {
        self.wal.version().state.prev
    }

    /// Term, vote and commit as last written.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.wal.version().state.hard_state
    }

    /// A metadata slot.
    #[must_use]
    pub fn meta(&self, key: u64) -> Option<Bytes> {
        self.wal.version().state.slots.get(&key).map(|slot| slot.value.clone())
    }

    /// The newest snapshot mark.
    #[must_use]
    pub fn snapshot_mark(&self) -> Option<SnapshotMark> {
        self.wal.version().state.mark
    }

    /// Lowest index that an earlier open may have lost; None once acknowledged.
    #[must_use]
    pub fn maybe_lost(&self) -> Option<Index> {
        self.wal.version().state.maybe_lost
    }

    /// The entry at `index`. Its payload shares memory with the log: see [`Entry::detach`].
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd`; `Faulty` or `Corrupt` where the bytes are damaged; `Io`.
    pub fn at(&self, index: Index) -> Result<Entry> {
        let version = self.wal.version();
        inside(&version, index)?;
        self.wal.read(&version, index)
    }

    /// Id of the entry at `index`, also of the one just before the window. Never touches the disk.
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd`.
    pub fn id_at(&self, index: Index) -> Result<EntryId> {
        let version = self.wal.version();
        if let Some(prev) = version.state.prev.filter(|prev| prev.index == index) {
            return Ok(prev);
        }
        inside(&version, index)?;
        version.map.id(index).ok_or_else(|| hole(&self.wal, index))
    }

    /// Term of the entry at `index`, also of the one just before the window.
    ///
    /// # Errors
    /// `Trimmed`, `BeyondEnd`.
    pub fn term_at(&self, index: Index) -> Result<Term> {
        self.id_at(index).map(|id| id.term)
    }

    /// The entries of `range`, cut at the end of the log and after `max_bytes` of payload, but with
    /// at least one entry. Reads one version of the log to its end.
    #[must_use]
    pub fn entries(&self, range: Range<Index>, max_bytes: u64) -> Entries {
        let version = self.wal.version();
        let end = range.end.min(version.state.next);
        Entries {
            wal: Arc::clone(&self.wal),
            version,
            next: range.start,
            end,
            budget: max_bytes,
            first: true,
            region: None,
            run: None,
        }
    }

    /// Logical bytes of the window: payloads, 16 bytes for each entry, 24 for the hard state.
    /// Counts what a log of this content needs, not what the files take.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        let version = self.wal.version();
        let (first, next) = (version.state.first, version.state.next);
        let mut bytes = (next - first).saturating_mul(ENTRY_OVERHEAD) + HARD_STATE_BYTES;
        let mut at = first;
        for stretch in version.map.stretches(first, next) {
            let whole = stretch.row.first == at;
            let known = stretch.row.payload_bytes().filter(|_| whole);
            bytes += known.unwrap_or_else(|| {
                let cut = self.entries(at..stretch.next, u64::MAX);
                cut.filter_map(Result::ok).map(|entry| entry.payload.len() as u64).sum()
            });
            at = stretch.next;
        }
        bytes
    }
}

/// # Errors
/// `Trimmed`, `BeyondEnd`.
fn inside(version: &Version, index: Index) -> Result<()> {
    let (first, next) = (version.state.first, version.state.next);
    if index < first {
        return Err(Error::Trimmed { index, first });
    }
    if index >= next {
        return Err(Error::BeyondEnd { index, next });
    }
    Ok(())
}

fn hole(wal: &Wal, index: Index) -> Error {
    Error::Corrupt(Box::new(Damage {
        file: wal.root(),
        offset: 0,
        indexes: Some((index, index)),
        reason: Reason::Entries,
        evidence: Evidence::Chain,
    }))
}

/// A piece of a segment, in memory.
#[derive(Clone, Debug)]
struct Region {
    bytes: Bytes,
    base: u64,
}

impl Region {
    fn piece<'a>(&'a self, segment: &Segment) -> Piece<'a> {
        Piece { bytes: &self.bytes, base: self.base, salt: segment.header.salt }
    }

    /// The bytes at `place`, if they lie here.
    fn slice(&self, place: &Range<u64>) -> Option<Bytes> {
        let from = usize::try_from(place.start.checked_sub(self.base)?).ok()?;
        let to = usize::try_from(place.end - self.base).ok()?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

impl Wal {
    /// The entry at `index` of the window of `version`.
    fn read(&self, version: &Version, index: Index) -> Result<Entry> {
        if let Some((segment, offset)) = version.map.refilled(index) {
            return self.read_refill(&segment, u64::from(offset), index);
        }
        let Some(stretch) = version.map.find(index, version.state.next) else {
            return Err(hole(self, index));
        };
        let segment = &stretch.segment;
        let (region, payload) = match self.in_memory(&stretch, index) {
            Some(found) => found,
            None => self.on_disk(segment, &stretch, index)?,
        };
        match region.slice(&payload.place) {
            Some(bytes) => self.checked(segment, &payload, bytes),
            None => self.read_payload(segment, &payload),
        }
    }

    /// From the map or from the recent batches.
    fn in_memory(&self, stretch: &Stretch, index: Index) -> Option<(Region, Payload)> {
        let segment = &stretch.segment;
        let located = |region: Region, offset| match find(region.piece(segment), offset, index) {
            Found::Run(run) => {
                let payload = run.payload(index);
                Some((region, payload))
            }
            Found::More { .. } | Found::Lost { .. } => None,
        };
        let from = u64::from(stretch.row.offset);
        if let Some(map) = segment.mapped() {
            return located(Region { bytes: map.clone(), base: 0 }, from);
        }
        let end = stretch.end.map_or(u64::MAX, u64::from);
        self.recent().find(segment.id(), (from, end), |kept| {
            located(Region { bytes: kept.bytes.clone(), base: kept.offset }, kept.offset)
        })
    }

    /// By position: one read for small batches, two for large ones.
    fn on_disk(
        &self,
        segment: &Segment,
        stretch: &Stretch,
        index: Index,
    ) -> Result<(Region, Payload)> {
        let mut offset = u64::from(stretch.row.offset);
        let span = stretch.end.map_or(PROBE, |end| (end - stretch.row.offset) as usize);
        let mut len = span.min(PROBE);
        loop {
            let region = self.region(segment, offset, len)?;
            match find(region.piece(segment), offset, index) {
                Found::Run(run) => {
                    let payload = run.payload(index);
                    return Ok((region, payload));
                }
                Found::More { offset: at, len: need } if at > offset || need > len => {
                    (offset, len) = (at, need.max(PROBE));
                }
                Found::More { offset, .. } | Found::Lost { offset } => {
                    return Err(self.damage(segment, offset, index, Reason::BatchHead));
                }
            }
        }
    }

    fn region(&self, segment: &Segment, base: u64, len: usize) -> Result<Region> {
        let max = usize::try_from(segment.header.batch_max).unwrap_or(usize::MAX).max(STRIDE);
        // Not beyond P: a failed writeback may have made sectors there unreadable, and they count for
        // nothing. (A version from before the failure may still point there.)
        let left = match segment.sealed() {
            Some((end, _)) if base < end => usize::try_from(end - base).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let mut bytes = vec![0; len.min(max).min(left)];
        let read = read_full(&*segment.file, &mut bytes, base)
            .map_err(|e| Error::io("read", &segment.path, e))?;
        bytes.truncate(read);
        Ok(Region { bytes: bytes.into(), base })
    }

    fn read_payload(&self, segment: &Segment, payload: &Payload) -> Result<Entry> {
        let len = usize::try_from(payload.place.end - payload.place.start).unwrap_or(usize::MAX);
        let region = self.region(segment, payload.place.start, len)?;
        match region.slice(&payload.place) {
            Some(bytes) => self.checked(segment, payload, bytes),
            None => Err(self.bad_payload(segment, payload)),
        }
    }

    fn read_refill(&self, segment: &Segment, offset: u64, index: Index) -> Result<Entry> {
        let max = usize::try_from(segment.header.batch_max).unwrap_or(usize::MAX);
        let region = self.region(segment, offset, max)?;
        let payload = find_refill(region.piece(segment), offset, index)
            .ok_or_else(|| self.damage(segment, offset, index, Reason::BatchHead))?;
        self.read_payload(segment, &payload)
    }

    fn checked(&self, segment: &Segment, payload: &Payload, bytes: Bytes) -> Result<Entry> {
        if crc32fast::hash(&bytes) == payload.crc {
            Ok(Entry { id: payload.id, payload: bytes })
        } else {
            Err(self.bad_payload(segment, payload))
        }
    }

    fn bad_payload(&self, segment: &Segment, payload: &Payload) -> Error {
        metrics::damaged(1);
        match self.options.on_damage {
            OnDamage::Faulty => Error::Faulty { id: payload.id },
            OnDamage::Refuse => {
                self.damage(segment, payload.place.start, payload.id.index, Reason::Payload)
            }
        }
    }

    fn damage(&self, segment: &Segment, offset: u64, index: Index, reason: Reason) -> Error {
        Error::Corrupt(Box::new(Damage {
            file: segment.path.clone(),
            offset,
            indexes: Some((index, index)),
            reason,
            evidence: Evidence::Sealed,
        }))
    }
}

/// Iterator over entries; see [`LogReader::entries`]. Ends after the first error.
#[derive(Debug)]
pub struct Entries {
    wal: Arc<Wal>,
    version: Arc<Version>,
    next: Index,
    end: Index,
    budget: u64,
    first: bool,
    /// Bytes read last, and of which segment.
    region: Option<(u64, Region)>,
    run: Option<Cursor>,
}

/// Where an iterator stands inside a run of entries.
#[derive(Debug)]
struct Cursor {
    segment: Arc<Segment>,
    region: Region,
    table: Bytes,
    first: EntryId,
    /// Offset in the file of the run's part of the bodies.
    body: u64,
    /// One past the last index that counts here.
    next: Index,
}

impl Cursor {
    fn payload(&self, index: Index) -> Payload {
        let i = usize::try_from(index - self.first.index).expect("an index of the run");
        let row = |i: usize| {
            let row = &self.table[i * 8..i * 8 + 8];
            let word =
                |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
            (u64::from(word(0)), word(4))
        };
        let (end, crc) = row(i);
        let start = if i == 0 { 0 } else { row(i - 1).0 };
        let place = self.body + start..self.body + end;
        Payload { id: EntryId { index, ..self.first }, place, crc }
    }
}

impl Entries {
    fn step(&mut self) -> Result<Entry> {
        inside(&self.version, self.next)?;
        if let Some((segment, offset)) = self.version.map.refilled(self.next) {
            return self.wal.read_refill(&segment, u64::from(offset), self.next);
        }
        if self.run.as_ref().is_none_or(|run| self.next >= run.next) {
            self.run = Some(self.locate()?);
        }
        let Some(run) = &self.run else { return Err(hole(&self.wal, self.next)) };
        let payload = run.payload(self.next);
        match run.region.slice(&payload.place) {
            Some(bytes) => self.wal.checked(&run.segment, &payload, bytes),
            None => Err(self.wal.bad_payload(&run.segment, &payload)),
        }
    }

    /// The run that holds the next entry, with its whole batch in memory.
    fn locate(&mut self) -> Result<Cursor> {
        let index = self.next;
        let Some(stretch) = self.version.map.find(index, self.version.state.next) else {
            return Err(hole(&self.wal, index));
        };
        let segment = Arc::clone(&stretch.segment);
        let from = u64::from(stretch.row.offset);
        if let Some(map) = segment.mapped() {
            let region = Region { bytes: map.clone(), base: 0 };
            if let Some(cursor) = cursor(&segment, &region, from, &stretch, index) {
                return Ok(cursor);
            }
        }
        let end = stretch.end.map_or(u64::MAX, u64::from);
        let recent = self.wal.recent().find(segment.id(), (from, end), |kept| {
            let region = Region { bytes: kept.bytes.clone(), base: kept.offset };
            cursor(&segment, &region, kept.offset, &stretch, index)
        });
        match recent {
            Some(cursor) => Ok(cursor),
            None => self.locate_on_disk(&segment, &stretch, index),
        }
    }

    fn locate_on_disk(
        &mut self,
        segment: &Arc<Segment>,
        stretch: &Stretch,
        index: Index,
    ) -> Result<Cursor> {
        let from = u64::from(stretch.row.offset);
        if let Some((_, region)) =
            self.region.as_ref().filter(|(id, r)| *id == segment.id() && r.base <= from)
            && let Some(cursor) = cursor(segment, region, from, stretch, index)
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
            if let Some(cursor) = cursor(segment, &region, offset, stretch, index) {
                self.region = Some((segment.id(), region));
                return Ok(cursor);
            }
            if at == offset && need <= len {
                return Err(self.wal.damage(segment, offset, index, Reason::BatchHead));
            }
            (offset, len) = (at, need.max(STRIDE));
        }
    }
}

/// The run that holds `index`, if its whole batch lies in `region`.
fn cursor(
    segment: &Arc<Segment>,
    region: &Region,
    offset: u64,
    stretch: &Stretch,
    index: Index,
) -> Option<Cursor> {
    let Found::Run(found) = find(region.piece(segment), offset, index) else { return None };
    let here = region.base + region.bytes.len() as u64;
    (found.end <= here).then(|| Cursor {
        segment: Arc::clone(segment),
        table: region.bytes.slice_ref(found.run.table()),
        region: region.clone(),
        first: found.run.first,
        body: found.batch + found.run.body as u64,
        next: (found.run.last() + 1).min(stretch.next),
    })
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
