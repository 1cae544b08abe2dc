//! Concurrent, zero-copy reads: recent batches from memory, older ones by position, and from a map
//! once the scrubber has read the sealed segment whole.
//!
//! Above: callers on any thread. Below: `index` (where), `lookup` (which bytes), `recent`, `segment`.
//! INVARIANT: the payload's checksum is verified on each read, wherever the bytes came from.
//! INVARIANT: one call, and one iterator, reads one published version: never old entries followed
//! by new ones. The bytes of a version never change on disk, and its files stay open.

mod entries;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    batch::SnapshotMark,
    entry::{Entry, EntryId, Index, Term},
    error::{Damage, Error, Evidence, Reason, Result},
    fs::read_full,
    hard_state::HardState,
    index::Stretch,
    lookup::{Found, Payload, Piece, RunAt, find, find_refill},
    metrics,
    options::OnDamage,
    places::Place,
    segment::Segment,
    wal::{Version, Wal},
};

pub use entries::Entries;

/// First read of a positioned `at`: a row of small batches, or the head of a large one.
const PROBE: usize = 8 << 10;
/// Of a large batch, so many entries around the one that is read are noted.
const NOTED: u64 = 64;
/// Reads of an iterator, and what a read may always take.
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
        if let Some(entry) = self.wal.read_known(index) {
            return Ok(entry);
        }
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
        // What cannot be told for now, since an index cannot be read, counts its overhead alone.
        for stretch in version.map.stretches(first, next).unwrap_or_default() {
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
        piece(&self.bytes, self.base, segment)
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The bytes at `place`, if they lie here.
    fn slice(&self, place: &Range<u64>) -> Option<Bytes> {
        slice(&self.bytes, self.base, place)
    }
}

fn piece<'a>(bytes: &'a [u8], base: u64, segment: &Segment) -> Piece<'a> {
    Piece { bytes, base, salt: segment.header.salt }
}

/// The bytes at `place` of the file, of which `bytes` begin at `base`.
fn slice(bytes: &Bytes, base: u64, place: &Range<u64>) -> Option<Bytes> {
    let from = usize::try_from(place.start.checked_sub(base)?).ok()?;
    let to = usize::try_from(place.end.checked_sub(base)?).ok()?;
    (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
}

/// Where the bytes of an entry are.
enum Source {
    Mapped(Bytes),
    File(Arc<Segment>, Place),
}

impl Wal {
    /// The entry at `index`, if it is known where it lies and its bytes check. Whatever is not right
    /// is left to [`Self::read`], which finds out what it is.
    fn read_known(&self, index: Index) -> Option<Entry> {
        let (id, crc, source) = {
            // No copy of the version is taken: nothing in here waits for anything.
            let version = self.published();
            if index < version.state.first || index >= version.state.next {
                return None;
            }
            let segment =
                version.map.sealed_at(index).filter(|_| !version.map.is_refilled(index))?;
            let place = self.places.get(segment.id(), index)?;
            let range = place.start as usize..place.start as usize + place.len as usize;
            let source = match segment.mapped() {
                Some(map) if range.end <= map.len() => Source::Mapped(map.slice(range)),
                _ => Source::File(Arc::clone(segment), place),
            };
            (version.map.id(index)?, place.crc, source)
        };
        let payload = match source {
            Source::Mapped(bytes) => bytes,
            Source::File(segment, place) => {
                let mut bytes = vec![0; place.len as usize];
                let read = read_full(&*segment.file, &mut bytes, u64::from(place.start)).ok()?;
                bytes.truncate(read);
                bytes.into()
            }
        };
        (crc32fast::hash(&payload) == crc).then_some(Entry { id, payload })
    }

    /// The entry at `index` of the window of `version`.
    fn read(&self, version: &Version, index: Index) -> Result<Entry> {
        if let Some((segment, offset)) = version.map.refilled(index) {
            return self.read_refill(&segment, u64::from(offset), index);
        }
        let Some(stretch) = version.map.find(index, version.state.next)? else {
            return Err(hole(self, index));
        };
        let segment = &**stretch.segment;
        if let Some((payload, bytes)) = self.in_memory(&stretch, index, version.seq) {
            return match bytes {
                Some(bytes) => self.checked(segment, &payload, bytes),
                None => self.read_payload(segment, &payload),
            };
        }
        let (region, payload) = self.on_disk(segment, &stretch, index)?;
        match region.slice(&payload.place) {
            Some(bytes) => self.checked(segment, &payload, bytes),
            None => self.read_payload(segment, &payload),
        }
    }

    /// From the map or from the recent batches.
    fn in_memory(
        &self,
        stretch: &Stretch<'_>,
        index: Index,
        seq: u64,
    ) -> Option<(Payload, Option<Bytes>)> {
        let segment = stretch.segment;
        if let Some(map) = segment.mapped() {
            let payload = self.in_map(map, stretch, index)?;
            let bytes = slice(map, 0, &payload.place);
            return Some((payload, bytes));
        }
        let (from, end) = (u64::from(stretch.row.offset), stretch.end.map_or(u64::MAX, u64::from));
        self.recent().find(segment.id(), (from, end), seq, |kept| {
            let piece = piece(&kept.bytes, kept.offset, segment);
            let Found::Run(run) = find(piece, kept.offset, index) else { return None };
            let payload = run.payload(index);
            let bytes = slice(&kept.bytes, kept.offset, &payload.place);
            Some((payload, bytes))
        })
    }

    fn in_map(&self, map: &[u8], stretch: &Stretch<'_>, index: Index) -> Option<Payload> {
        let offset = u64::from(stretch.row.offset);
        let piece = piece(map, 0, stretch.segment);
        let Found::Run(run) = find(piece, offset, index) else { return None };
        self.note(piece, stretch, &run, index);
        Some(run.payload(index))
    }

    /// By position: one read for small batches, two for large ones.
    fn on_disk(
        &self,
        segment: &Segment,
        stretch: &Stretch<'_>,
        index: Index,
    ) -> Result<(Region, Payload)> {
        let mut offset = u64::from(stretch.row.offset);
        let mut len = span(stretch).min(PROBE);
        loop {
            let region = self.region(segment, offset, len)?;
            match find(region.piece(segment), offset, index) {
                Found::Run(run) => {
                    self.note(region.piece(segment), stretch, &run, index);
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

    /// Notes where entries lie: of a large batch those around `index`, of small ones all of the row.
    fn note(&self, piece: Piece<'_>, stretch: &Stretch<'_>, run: &RunAt<'_>, index: Index) {
        if !stretch.sealed {
            return;
        }
        if span(stretch) > PROBE {
            let first = (index / NOTED * NOTED).max(stretch.row.first);
            return self.note_run(stretch, run, first..(first | (NOTED - 1)).saturating_add(1));
        }
        let (mut offset, mut next) = (u64::from(stretch.row.offset), stretch.row.first);
        while next < stretch.next {
            let Found::Run(run) = find(piece, offset, next) else { return };
            if !run.alone || run.run.first.index != next {
                return;
            }
            self.note_run(stretch, &run, next..Index::MAX);
            (offset, next) = (run.after, run.run.last() + 1);
        }
    }

    /// Notes those entries of a run that lie within `wanted` and count here.
    fn note_run(&self, stretch: &Stretch<'_>, run: &RunAt<'_>, wanted: Range<Index>) {
        let first = run.run.first.index.max(wanted.start);
        let end = (run.run.last() + 1).min(wanted.end).min(stretch.next);
        if !run.alone {
            return;
        }
        let places = (first..end).map_while(|index| {
            let Payload { place, crc, .. } = run.payload(index);
            let len = u32::try_from(place.end - place.start).ok()?;
            Some((index, Place { start: u32::try_from(place.start).ok()?, len, crc }))
        });
        self.places.put(stretch.segment.id(), places);
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

/// Bytes from the beginning of a row to that of the next.
fn span(stretch: &Stretch<'_>) -> usize {
    stretch.end.map_or(usize::MAX, |end| (end - stretch.row.offset) as usize)
}

#[cfg(test)]
mod tests;
