//! The map itself: sharded, so that a frozen copy is cheap and stays cheap.
//!
//! Each shard is a `BTreeMap` behind an `Arc`. Freezing clones the `Arc`s; the first write to a
//! shard after that copies that shard alone, a thousandth of the map, instead of all of it at
//! once: the stall for a snapshot is spread over the writes that follow it. A persistent tree
//! would do the same with a dependency under a licence that is not ours.
//!
//! INVARIANT: a key is in the shard its CRC says, `len` counts the keys of all shards, `bytes` sums
//! the lengths of all keys and values.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

const SHARD_BITS: u32 = 10;
const SHARD_COUNT: usize = 1 << SHARD_BITS;

type Shard = BTreeMap<Bytes, Bytes>;

/// A map of byte strings; a clone shares everything until either side writes.
#[derive(Clone, Debug)]
pub struct Keyspace {
    shards: Vec<Arc<Shard>>,
    len: usize,
    bytes: u64,
}

impl Default for Keyspace {
    fn default() -> Self {
        Self { shards: vec![Arc::default(); SHARD_COUNT], len: 0, bytes: 0 }
    }
}

impl Keyspace {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The value of a key, sharing its memory.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.shards.get(shard_of(key))?.get(key).cloned()
    }

    /// Whether a key is there.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.shards.get(shard_of(key)).is_some_and(|shard| shard.contains_key(key))
    }

    /// Gives a key a value. Both are copied: they are slices of a log entry, and keeping one small
    /// value of a large batch must not keep the batch.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.insert_own(key, Bytes::copy_from_slice(value));
    }

    /// Gives a key a value whose memory is its own.
    pub(super) fn insert_own(&mut self, key: &[u8], value: Bytes) {
        let Some(shard) = self.shards.get_mut(shard_of(key)) else { return };
        let shard = Arc::make_mut(shard);
        self.bytes += value.len() as u64;
        if let Some(old) = shard.get_mut(key) {
            self.bytes -= old.len() as u64;
            *old = value;
        } else {
            self.bytes += key.len() as u64;
            self.len += 1;
            shard.insert(Bytes::copy_from_slice(key), value);
        }
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        // Asked first: removing what is not there must not copy a frozen shard.
        if !self.contains(key) {
            return false;
        }
        let Some(shard) = self.shards.get_mut(shard_of(key)) else { return false };
        let Some(value) = Arc::make_mut(shard).remove(key) else { return false };
        self.len -= 1;
        self.bytes -= (key.len() + value.len()) as u64;
        true
    }

    /// Some keys from a cursor on, and the cursor to go on with; 0 begins, and 0 is the end.
    ///
    /// Keys come in the order of their checksum, turned so that a shard's keys stand together. The
    /// cursor is a place in that order: it means the same on every node, after a restart and after
    /// a snapshot, and a key that is there all the time is met exactly once. Looks at about `count`
    /// keys, fewer when they are longer than `bytes_max` together, and more only where several have
    /// the same checksum. Each call sorts the keys of the shard where it begins.
    #[must_use]
    pub fn scan(&self, cursor: u64, count: usize, bytes_max: usize) -> (u64, Vec<Bytes>) {
        let Ok(from) = u32::try_from(cursor) else { return (0, Vec::new()) };
        let first_shard = usize::try_from(from >> (u32::BITS - SHARD_BITS)).unwrap_or(0);
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for shard in self.shards.iter().skip(first_shard) {
            let mut placed: Vec<_> = shard.keys().map(|key| (place_of(key), key)).collect();
            placed.retain(|(place, _)| *place >= from);
            placed.sort_unstable();
            let mut last = None;
            for (place, key) in placed {
                if (keys.len() >= count.max(1) || bytes >= bytes_max) && last != Some(place) {
                    return (u64::from(place), keys);
                }
                bytes += key.len();
                keys.push(key.clone());
                last = Some(place);
            }
        }
        (0, keys)
    }

    /// All keys and values, in an order that depends on the content alone.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}

fn shard_of(key: &[u8]) -> usize {
    crc32fast::hash(key) as usize % SHARD_COUNT
}

/// Where a key stands in the order of [`Keyspace::scan`]: its shard in the highest bits.
fn place_of(key: &[u8]) -> u32 {
    crc32fast::hash(key).rotate_right(SHARD_BITS)
}
