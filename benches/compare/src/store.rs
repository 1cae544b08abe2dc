//! What a Raft asks of the store under its log, and the stores that can be asked.
//!
//! Each is used the way its authors would use it as a Raft log: entries under their indexes, a batch
//! in one write, one sync for it, the library's own group commit where it has one. Settings are the
//! library's defaults but for those that each file names with a reason.
//!
//! Above: the workloads. Below: the libraries. INVARIANT: `append` with [`Sync::Yes`] and `commit`
//! return after the library said that what was written is durable. One means less by it: sled, see
//! there.

use std::{error::Error as StdError, path::Path};

use bytes::Bytes;

mod fjall;
mod hardlog;
mod okaywal;
mod raft_engine;
mod raft_log;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod sled;
mod sqlite;

/// Whatever a library says.
pub type Error = Box<dyn StdError + Send + core::marker::Sync>;
/// Result of a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether a write is durable when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It is.
    Yes,
    /// The system has it, or the library's buffer; a crash may take it.
    No,
}

/// A Raft log in some store. Indexes begin at 1 and have no holes.
pub trait Store: Send + core::marker::Sync {
    /// Appends `payloads` at `first` and what follows, all in one write.
    fn append(&self, first: u64, payloads: &[Bytes], sync: Sync) -> Result<()>;

    /// Appends one entry behind the last, wherever that is by now; durable on return. Called by many
    /// threads at once.
    fn commit(&self, payload: &Bytes) -> Result<()>;

    /// Bytes of the payload at `index`, read and checked as the library does.
    fn read(&self, index: u64) -> Result<usize>;

    /// Bytes of all payloads of `first..=last`, in order.
    fn scan(&self, first: u64, last: u64) -> Result<u64>;

    /// Removes all entries below `to`. With [`Sync::Yes`] durably, and what space the library can give
    /// back in the foreground is given back. With [`Sync::No`] it is durable with the next synced
    /// append, as a Raft needs it, and what its authors leave to a thread is left to one.
    fn trim_prefix(&self, to: u64, sync: Sync) -> Result<()>;

    /// Removes all entries from `from` on. Durable with the next synced append.
    fn trim_tail(&self, from: u64) -> Result<()>;

    /// Waits for what is done in the background so that reads are at their best.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Ends in peace.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A store that can be opened.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As the tables call it.
    pub name: &'static str,
    /// Whether a write can be left unsynced.
    pub buffers: bool,
    /// Opens what `dir` holds, or makes it there.
    pub open: fn(&Path) -> Result<Box<dyn Store>>,
}

/// All of them; ours first.
pub const ALL: &[Kind] = &[
    Kind { name: "hardlog", buffers: true, open: hardlog::open },
    Kind { name: "raft-engine", buffers: true, open: raft_engine::open },
    #[cfg(feature = "rocksdb")]
    Kind { name: "rocksdb", buffers: true, open: rocks::open },
    Kind { name: "redb", buffers: true, open: redb::open },
    Kind { name: "fjall", buffers: true, open: fjall::open },
    Kind { name: "sled", buffers: true, open: sled::open },
    Kind { name: "okaywal", buffers: false, open: okaywal::open },
    Kind { name: "raft-log", buffers: true, open: raft_log::open },
    Kind { name: "sqlite", buffers: false, open: sqlite::open },
];

/// hardlog where the files of trimmed segments are used again: measured where named, and beside hardlog
/// where a log is trimmed all the time.
pub const REUSING: Kind =
    Kind { name: "hardlog-reuse", buffers: true, open: hardlog::open_reusing };

/// The store of that name.
#[must_use]
pub fn named(name: &str) -> Option<Kind> {
    ALL.iter().chain([&REUSING]).find(|kind| kind.name == name).copied()
}

/// What a store that knows only keys and values keeps of an entry: term, then payload.
fn value(payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + payload.len());
    value.extend_from_slice(&1u64.to_be_bytes());
    value.extend_from_slice(payload);
    value
}

/// Bytes of the payload in such a value, all of which were looked at.
fn payload_len(value: &[u8]) -> Result<usize> {
    let payload = value.get(8..).ok_or("a value without a term")?;
    std::hint::black_box(payload.last());
    Ok(payload.len())
}

#[cfg(test)]
mod tests;
