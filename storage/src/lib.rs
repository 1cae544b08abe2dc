//! hardlog: the durable log under Raft.

pub mod batch;
pub mod entry;
pub mod error;
pub mod fs;
pub mod hard_state;
mod header;
mod index;
mod keeper;
pub mod layout;
mod log;
mod lookup;
mod meaning;
pub mod metrics;
pub mod options;
mod reader;
mod recent;
mod recovery;
mod report;
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
pub use report::RecoveryReport;
pub use snapshot::{
    SnapshotInfo, SnapshotOffer, SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter,
};
pub use verdict::{Row, Verdict};
