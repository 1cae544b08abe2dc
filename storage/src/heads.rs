//! Tables of large batches that were read and checked, so that the next read of an entry of such a
//! batch goes to its payload at once: by position that is one read and not two, in a map one miss of
//! cache and page table and not two.
//!
//! Two generations: what is asked for moves into the young one; once that is full, it becomes the
//! old one and what was not asked for since is forgotten.
//!
//! Above: `reader`. Below: memory, at most [`Heads::new`]'s bytes.
//! INVARIANT: the head that a table is of was checked by its CRC when it came; no byte of a batch is
//! ever rewritten and no segment id ever used again, so it stays what it is.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, PoisonError},
};

use crate::{
    entry::{EntryId, Index},
    layout::SegmentId,
    lookup::{Payload, RunAt},
};

/// What a table takes besides its rows.
const OVERHEAD: usize = 128;

/// Which batch: segment and offset.
pub(crate) type Key = (SegmentId, u64);

/// The only run of entries of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    first: EntryId,
    /// Where the bodies begin in the file.
    body: u64,
    /// Per entry: end in the bodies, CRC.
    rows: Box<[(u32, u32)]>,
}

impl Table {
    pub(crate) fn of(run: &RunAt<'_>) -> Self {
        let rows = (0..run.run.count).map(|i| run.run.row(i)).collect();
        Self { first: run.run.first, body: run.batch + run.run.body as u64, rows }
    }

    /// Id, place and CRC of the payload of `index`, if it is one of these.
    fn payload(&self, index: Index) -> Option<Payload> {
        let i = usize::try_from(index.checked_sub(self.first.index)?).ok()?;
        let &(end, crc) = self.rows.get(i)?;
        let start = if i == 0 { 0 } else { self.rows.get(i - 1)?.0 };
        let place = self.body + u64::from(start)..self.body + u64::from(end);
        Some(Payload { id: EntryId { index, ..self.first }, place, crc })
    }

    fn len(&self) -> usize {
        self.rows.len() * 8 + OVERHEAD
    }
}

/// Tables in memory.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Bytes of one generation.
    max: usize,
    kept: Mutex<Kept>,
}

type Generation = HashMap<Key, Table, BuildHasherDefault<Mix>>;

#[derive(Debug, Default)]
struct Kept {
    young: Generation,
    old: Generation,
    /// Bytes of the young ones.
    bytes: usize,
}

/// Hashes places in files, which nobody outside chooses.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl Heads {
    /// None yet; at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max / 2, kept: Mutex::default() }
    }

    /// Id, place and CRC of the payload of `index`, if it is in the batch at `key` and that is known.
    pub(crate) fn payload(&self, key: Key, index: Index) -> Option<Payload> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = kept.young.get(&key) {
            return table.payload(index);
        }
        let table = kept.old.remove(&key)?;
        let payload = table.payload(index);
        self.add(&mut kept, key, table);
        payload
    }

    pub(crate) fn put(&self, key: Key, table: Table) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.add(&mut kept, key, table);
    }

    fn add(&self, kept: &mut Kept, key: Key, table: Table) {
        let len = table.len();
        if len > self.max {
            return;
        }
        if kept.bytes + len > self.max {
            kept.old = std::mem::take(&mut kept.young);
            kept.bytes = 0;
        }
        if kept.young.insert(key, table).is_none() {
            kept.bytes += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: u32) -> Table {
        let rows = (1..=count).map(|i| (i * 10, i)).collect();
        Table { first: EntryId { index: 5, term: 2, tag: 0 }, body: 1000, rows }
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let heads = Heads::new(20 * table(10).len());
        heads.put((1, 0), table(10));
        for offset in 1..100 {
            heads.put((2, offset), table(10));
            assert!(heads.payload((1, 0), 5).is_some(), "after {offset} others");
        }
        assert!(heads.payload((2, 50), 5).is_none());
        let kept = heads.kept.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 20, "{kept:?}");
    }

    #[test]
    fn one_that_is_larger_than_all_room_is_not_kept() {
        let heads = Heads::new(200);
        heads.put((1, 0), table(100));
        assert!(heads.payload((1, 0), 5).is_none());
    }

    #[test]
    fn a_table_knows_its_own_entries_and_no_others() {
        let table = table(3);
        assert!(table.payload(4).is_none());
        assert!(table.payload(8).is_none());
        let second = table.payload(6).expect("one of three");
        assert_eq!((second.place, second.crc, second.id.term), (1010..1020, 2, 2));
        assert_eq!(table.payload(5).expect("one of three").place, 1000..1010);
    }
}
