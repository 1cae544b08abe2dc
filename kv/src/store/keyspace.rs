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

const SHARD_COUNT: usize = 1024;

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
        let Some(shard) = self.shards.get_mut(shard_of(key)) else { return };
        let shard = Arc::make_mut(shard);
        let value = Bytes::copy_from_slice(value);
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

    /// All keys and values, in an order that depends on the content alone.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}

fn shard_of(key: &[u8]) -> usize {
    crc32fast::hash(key) as usize % SHARD_COUNT
}
