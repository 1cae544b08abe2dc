//! Where the payloads of sealed segments lie, as far as that was looked up before: the next read of
//! such an entry goes to its bytes at once, without the index, without the table of its batch.
//!
//! ```text
//!   index ──▶ line (index / 4) mod count ──▶ segment, index / 4 │ start, length, CRC of four entries
//! ```
//!
//! A table of lines of 64 bytes, one line of cache each, found by the index itself: the entries of a
//! stretch of a log are neighbours, so none pushes another out before the whole table is in use. A
//! line that somebody writes is a line that nobody finds: readers take no lock and wait for nobody.
//! Memory comes in pieces, when they are first written to.
//!
//! Above: `reader`. Below: memory, at most [`Places::new`]'s bytes.
//! INVARIANT: only entries of sealed segments stand here, as of the segment's end. There an index has
//! one place for ever, no byte of it is ever rewritten, and no segment id is used again.
//! INVARIANT: what stands here was read from a head whose CRC was checked. It says where to look and
//! which checksum to expect; the payload is verified on each read as always.

use std::sync::{
    OnceLock,
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
};

use crate::{entry::Index, layout::SegmentId};

/// Entries of a line.
const OF_LINE: u64 = 4;
/// Lines of a piece of the table.
const OF_PIECE: usize = 512;
/// The length of what is not known: no payload is as long.
const UNKNOWN: u32 = u32::MAX;

/// Where a payload lies in its segment, and its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

/// Four entries in a row.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    /// Odd while somebody writes the line; another number after.
    version: AtomicU32,
    /// No segment has the number 0.
    segment: AtomicU32,
    /// Index / 4.
    group: AtomicU64,
    cells: [Cell; 4],
}

#[derive(Debug, Default)]
struct Cell {
    start: AtomicU32,
    len: AtomicU32,
    crc: AtomicU32,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Places {
    pieces: Box<[OnceLock<Box<[Line]>>]>,
    /// A power of two, or 0 where there is no room for any.
    lines: usize,
}

impl Places {
    /// Nothing is known yet; at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        let fit = max / size_of::<Line>();
        let lines: usize = if fit == 0 { 0 } else { 1 << fit.ilog2() };
        let pieces = lines.div_ceil(OF_PIECE);
        Self { pieces: (0..pieces).map(|_| OnceLock::new()).collect(), lines }
    }

    /// Where the payload of `index` lies in `segment`, if that is known.
    pub(crate) fn get(&self, segment: SegmentId, index: Index) -> Option<Place> {
        let group = index / OF_LINE;
        let at = self.line_of(group)?;
        let line = self.pieces.get(at / OF_PIECE)?.get()?.get(at % OF_PIECE)?;
        let version = line.version.load(Acquire);
        let known =
            u64::from(line.segment.load(Relaxed)) == segment && line.group.load(Relaxed) == group;
        let cell = &line.cells[of_line(index)];
        let place = Place {
            start: cell.start.load(Relaxed),
            len: cell.len.load(Relaxed),
            crc: cell.crc.load(Relaxed),
        };
        // What was read above is of one piece only if nobody wrote meanwhile.
        fence(Acquire);
        let whole = version.is_multiple_of(2) && line.version.load(Relaxed) == version;
        (whole && known && place.len != UNKNOWN).then_some(place)
    }

    /// Notes the places of entries of `segment`, in order. A line that somebody else is writing is
    /// left to them.
    pub(crate) fn put(&self, segment: SegmentId, places: impl IntoIterator<Item = (Index, Place)>) {
        let Ok(segment) = u32::try_from(segment) else { return };
        let mut places = places.into_iter().peekable();
        while let Some(&(index, _)) = places.peek() {
            let group = index / OF_LINE;
            let Some(line) = self.line_of(group).and_then(|at| self.made(at)) else { return };
            let free = line.begin();
            if free {
                line.claim(segment, group);
            }
            while let Some((index, place)) = places.next_if(|(index, _)| index / OF_LINE == group) {
                if free {
                    line.cells[of_line(index)].set(place);
                }
            }
            if free {
                line.version.fetch_add(1, Release);
            }
        }
    }

    fn line_of(&self, group: u64) -> Option<usize> {
        let mask = self.lines.checked_sub(1)? as u64;
        usize::try_from(group & mask).ok()
    }

    fn made(&self, at: usize) -> Option<&Line> {
        let piece = || (0..self.lines.min(OF_PIECE)).map(|_| Line::default()).collect();
        self.pieces.get(at / OF_PIECE)?.get_or_init(piece).get(at % OF_PIECE)
    }
}

impl Line {
    /// Marks the line as being written. False where somebody else does already.
    fn begin(&self) -> bool {
        let version = self.version.load(Relaxed);
        let free = version.is_multiple_of(2)
            && self
                .version
                .compare_exchange(version, version.wrapping_add(1), Acquire, Relaxed)
                .is_ok();
        // Nothing that is written from here on is seen before the mark.
        fence(Release);
        free
    }

    /// Makes the line one of `group` of `segment`.
    fn claim(&self, segment: u32, group: u64) {
        if self.segment.load(Relaxed) == segment && self.group.load(Relaxed) == group {
            return;
        }
        self.segment.store(segment, Relaxed);
        self.group.store(group, Relaxed);
        self.cells.iter().for_each(|cell| cell.len.store(UNKNOWN, Relaxed));
    }
}

impl Cell {
    fn set(&self, place: Place) {
        self.start.store(place.start, Relaxed);
        self.len.store(place.len, Relaxed);
        self.crc.store(place.crc, Relaxed);
    }
}

/// Which of a line's entries.
const fn of_line(index: Index) -> usize {
    (index % OF_LINE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place that tells segment and index.
    fn place(segment: u64, index: u64) -> Place {
        let number = u32::try_from(segment * 10_000 + index).unwrap();
        Place { start: number, len: number + 1, crc: number + 2 }
    }

    fn put(places: &Places, segment: u64, range: std::ops::Range<u64>) {
        places.put(segment, range.map(|index| (index, place(segment, index))));
    }

    #[test]
    fn a_place_is_found_under_its_own_segment_and_index_only() {
        let places = Places::new(1 << 20);
        put(&places, 3, 6..11);
        for index in 0..20 {
            let known = (6..11).contains(&index);
            assert_eq!(places.get(3, index), known.then(|| place(3, index)), "{index}");
        }
        assert_eq!(places.get(2, 7), None);
        assert_eq!(places.get(3, 7 + (1 << 20)), None, "the same line, another index");
        put(&places, 3, 4..6);
        assert_eq!((places.get(3, 5), places.get(3, 6)), (Some(place(3, 5)), Some(place(3, 6))));
        put(&places, 4, 5..6);
        assert_eq!((places.get(3, 6), places.get(4, 6)), (None, None), "another one has the line");
    }

    #[test]
    fn neighbours_do_not_push_each_other_out_before_the_table_is_full() {
        let places = Places::new(100 << 10);
        let count = places.lines as u64 * OF_LINE;
        assert!((64 << 10..=100 << 10).contains(&(places.lines * size_of::<Line>())));
        put(&places, 1, 7..7 + count - OF_LINE);
        assert!((7..7 + count - OF_LINE).all(|index| places.get(1, index).is_some()));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        for max in [0, 63] {
            let places = Places::new(max);
            put(&places, 1, 0..9);
            assert_eq!(places.get(1, 3), None);
        }
    }

    #[test]
    fn a_line_that_is_being_written_is_not_found_and_not_written_by_another() {
        let places = Places::new(64);
        put(&places, 1, 0..4);
        let line = places.made(0).unwrap();
        assert!(line.begin());
        assert_eq!(places.get(1, 2), None);
        put(&places, 2, 0..4);
        line.version.fetch_add(1, Release);
        assert_eq!((places.get(1, 2), places.get(2, 2)), (Some(place(1, 2)), None));
    }

    #[test]
    fn readers_beside_writers_see_whole_places() {
        let places = Places::new(64);
        std::thread::scope(|scope| {
            for segment in 1..3 {
                let places = &places;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let first = round % 8 * 4;
                        put(places, segment, first..first + 4);
                    }
                });
            }
            for _ in 0..20_000 {
                for index in 0..32 {
                    for segment in 1..3 {
                        let found = places.get(segment, index);
                        assert!(found.is_none_or(|found| found == place(segment, index)));
                    }
                }
            }
        });
    }
}
