//! Segments built in memory, byte by byte, for the tests of whoever reads segments.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::Frame;
use crate::{
    batch::{HEAD_LEN, Op, PAGE, Seal, encode, encode_state, marker_at, promises, seal},
    entry::{Entry, LogId},
    fs::File,
    header::{BATCHES_AT, Header, Predecessor},
    state::LogState,
};

/// A segment as its writer would leave it, up to `at`; zeros behind.
pub(crate) struct Tape {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Header,
    /// Where the next batch goes.
    pub(crate) at: u64,
    pub(crate) seq: u64,
    /// What the next batch states durable.
    pub(crate) durable: u64,
    /// Whose promises the next marker holds.
    pub(crate) state: LogState,
}

impl Tape {
    /// A segment of `len` bytes that begins with `state`, after sequence `seq`.
    pub(crate) fn new(len: usize, state: LogState, seq: u64) -> Self {
        let predecessor =
            (seq > 0).then_some(Predecessor { id: 6, salt: 5, end: 9000, last_seq: seq });
        let header = Header {
            log_id: LogId(*b"0123456789abcdef"),
            id: 7,
            salt: 0x1234_5678_9abc_def0,
            created: 0,
            batch_max: 128 << 10,
            predecessor,
            born_end: 0,
            reused: false,
        };
        let mut tape =
            Self { bytes: vec![0; len], header, at: BATCHES_AT, seq, durable: seq, state };
        let state = encode_state(&tape.state);
        tape.put(state, seq, false);
        tape.marker();
        tape.header.born_end = tape.at;
        tape
    }

    /// The usual one: an empty log, 64 KiB.
    pub(crate) fn fresh() -> Self {
        Self::new(64 << 10, LogState::new(1), 0)
    }

    /// Writes a batch; returns where it begins.
    pub(crate) fn batch(&mut self, ops: &[Op<'_>]) -> u64 {
        self.seq += 1;
        let here = self.at;
        self.put(encode(ops, 1 << 20).expect("fits"), self.seq, false);
        here
    }

    /// Writes one entry of `len` bytes; returns where its batch begins.
    pub(crate) fn entry(&mut self, index: u64, len: usize) -> u64 {
        self.batch(&[Op::Entries(vec![Entry::new(index, 1, payload(index, len))].into())])
    }

    /// Writes a marker, where a marker goes; returns where it begins.
    pub(crate) fn marker(&mut self) -> u64 {
        self.at = marker_at(self.at);
        let here = self.at;
        self.put(encode(&promises(&self.state), 1 << 20).expect("fits"), self.seq, true);
        here
    }

    fn put(&mut self, mut bytes: Vec<u8>, seq: u64, marker: bool) {
        let (salt, offset, durable) = (self.header.salt, self.at, self.durable);
        seal(&mut bytes, Seal { salt, offset, seq, durable, marker });
        let at = usize::try_from(offset).expect("small");
        self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
    }

    /// Zeros from `from` to `to`.
    pub(crate) fn zero(&mut self, from: u64, to: u64) {
        self.bytes[usize::try_from(from).expect("small")..usize::try_from(to).expect("small")]
            .fill(0);
    }

    /// Flips one bit.
    pub(crate) fn flip(&mut self, offset: u64) {
        self.bytes[usize::try_from(offset).expect("small")] ^= 0x10;
    }

    /// The first byte of the last payload of a batch that `entry` wrote at `offset`.
    pub(crate) fn payload_at(offset: u64) -> u64 {
        offset + HEAD_LEN as u64 + 16 + 32 + 8
    }

    pub(crate) fn frame(&self) -> Frame {
        let end = self.bytes.len() as u64;
        Frame { salt: self.header.salt, batch_max: self.header.batch_max, end }
    }

    /// To the first multiple of a page at or behind the end, so that the next batch has its own.
    pub(crate) fn next_page(&mut self) {
        let fill = self.at.next_multiple_of(PAGE) - self.at;
        if fill > 0 {
            let len = usize::try_from(fill).expect("small") - HEAD_LEN - 16;
            self.batch(&[Op::Refill(Entry::new(0, 0, vec![9; len - 32]))]);
        }
        assert!(self.at.is_multiple_of(PAGE), "at {}", self.at);
    }
}

/// Bytes that tell which entry they belong to.
pub(crate) fn payload(index: u64, len: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(index % 251).expect("small") + 1; len])
}

/// A file in memory that counts what is read of it.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) read: AtomicU64,
}

impl Image {
    pub(crate) fn of(tape: &Tape) -> Self {
        Self { bytes: tape.bytes.clone(), read: AtomicU64::new(0) }
    }
}

impl File for Image {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let len = buf.len().min(self.bytes.len() - from);
        buf[..len].copy_from_slice(&self.bytes[from..from + len]);
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn map(&self) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}
