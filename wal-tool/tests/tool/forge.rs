//! Batches changed so that their checksums fit again: what no disk does and a fault in a program may.
//!
//! It knows the format from its description alone, so that it does not share a mistake with the
//! engine.

use hardlog::{
    fs::{Dir, sim::SimFs},
    layout::segment_name,
};

/// A segment's bytes, to be changed.
pub(crate) struct Forge {
    id: u64,
    bytes: Vec<u8>,
    salt: u64,
}

fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Forge {
    pub(crate) fn open(disk: &SimFs, id: u64) -> Self {
        let bytes = disk.read_file(Dir::Root, &segment_name(id)).expect("there");
        let salt = le(&bytes[64..72]);
        Self { id, bytes, salt }
    }

    pub(crate) fn save(self, disk: &SimFs) {
        disk.write_file(Dir::Root, &segment_name(self.id), &self.bytes);
    }

    /// Offsets of the batches, in order.
    pub(crate) fn batches(&self) -> Vec<usize> {
        let at = |offset: &usize| {
            let mixed = (self.salt ^ *offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            le(&self.bytes[*offset..offset + 4]) == 0x4C47_4F48 ^ mixed
        };
        (8192..self.bytes.len() - 40).step_by(8).filter(at).collect()
    }

    /// The batches whose first section has this kind; markers or not.
    pub(crate) fn of_kind(&self, kind: u64, marker: bool) -> Vec<usize> {
        let fits = |at: &usize| {
            self.number(at + 40, 2) == kind && (self.number(at + 32, 8) == 1) == marker
        };
        self.batches().into_iter().filter(fits).collect()
    }

    pub(crate) fn number(&self, at: usize, len: usize) -> u64 {
        le(&self.bytes[at..at + len])
    }

    /// Where the head's account of what was synced before the file got its name ends.
    pub(crate) fn born_end(&self) -> usize {
        usize::try_from(self.number(120, 8)).expect("small")
    }

    pub(crate) fn put(&mut self, at: usize, len: usize, value: u64) {
        self.bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    pub(crate) fn zero(&mut self, from: usize, len: usize) {
        self.bytes[from..from + len].fill(0);
    }

    /// Makes the checksum of the head of the batch at `at` right again.
    pub(crate) fn seal(&mut self, at: usize) {
        let sections = usize::try_from(self.number(at + 8, 4)).expect("small");
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.salt.to_le_bytes());
        crc.update(&(at as u64).to_le_bytes());
        crc.update(&self.bytes[at + 8..at + 40 + sections]);
        self.put(at + 4, 4, u64::from(crc.finalize()));
    }
}
