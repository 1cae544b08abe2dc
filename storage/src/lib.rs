//! hardlog: the durable log under Raft.
//!
//! A segmented, checksummed write-ahead log with the operations that a Raft server needs (append,
//! truncate, trim, hard state, snapshots), atomic batches, group commit, zero-copy concurrent
//! reads, and a recovery that tells a torn write from rot and says what it found.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("n1");
//! use hardlog::{Batch, Entry, HardState, Log, Options};
//!
//! let mut log = Log::create(&path, Options::new())?;
//! let mut batch = Batch::new();
//! batch
//!     .hard_state(HardState { term: 1, vote: Some(1), commit: 0 })
//!     .append([Entry::new(1, 1, "set x 1")]);
//! let ticket = log.write(&batch)?; // visible to every reader, not durable yet
//! log.syncer().wait(ticket)?; // durable: any number of threads share one fdatasync
//! assert_eq!(log.reader().at(1)?.payload, "set x 1");
//! log.close()?;
//!
//! let (log, report) = Log::open(&path, Options::new())?;
//! println!("{report}");
//! assert_eq!(log.last_log_index(), Some(1));
//! # Ok::<(), hardlog::Error>(())
//! ```
//!
//! # Durability
//!
//! An Ok from [`Log::sync`], [`Syncer::wait`] or a callback of [`Syncer::notify`] means that
//! everything written before survives a crash of the process, the kernel or the power, given a disk
//! that honours fdatasync. An error from a write or a sync means *unknown*. A batch is there as a
//! whole or not at all; term, vote and promise slots are never forgotten in favour of older ones.
//! What was durable and is damaged is an error with evidence, never a silently shorter log.
//!
//! # Layers
//!
//! ```text
//! Log ─ LogReader ─ Syncer        the surface
//! wal · succeed · sync · keeper   write, rotate, group commit, housekeeping
//! index · recent · lookup         where an entry is
//! recovery · verdict · inspect    what is on disk, and what it means
//! repair                          what can be done about damage, said first and done then
//! batch · header · meaning        bytes ↔ batches, batches ↔ changes: pure
//! fs                              the operating system, or a simulated disk
//! ```
//!
//! Everything is synchronous and works with or without an async runtime around it. FORMAT.md beside
//! this crate describes every byte on disk.

pub mod backup;
pub mod batch;
mod copy;
pub mod entry;
pub mod error;
#[cfg(test)]
mod format_examples;
pub mod fs;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
pub mod hard_state;
mod header;
mod index;
pub mod inspect;
mod keeper;
pub mod layout;
mod log;
mod lookup;
mod meaning;
pub mod metrics;
pub mod options;
mod places;
mod reader;
mod recent;
mod recovery;
pub mod repair;
mod report;
mod reuse;
mod scan;
mod scrub;
mod segment;
pub mod snapshot;
mod state;
mod succeed;
mod sync;
mod verdict;
mod wal;

pub use batch::{Batch, Class, SnapshotMark};
pub use entry::{Entry, EntryId, Index, LogId, Term};
pub use error::{Error, Result};
pub use hard_state::HardState;
pub use log::{Log, Syncer, Ticket};
pub use options::{OnDamage, Options, ReadMode};
pub use reader::{Entries, LogReader};
pub use report::{MissingMarkers, RecoveryReport};
pub use snapshot::{
    SnapshotInfo, SnapshotOffer, SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter,
};
pub use verdict::{Row, Verdict};
