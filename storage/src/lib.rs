//! hardlog: the durable log under Raft.

pub mod batch;
pub mod entry;
pub mod error;
pub mod fs;
pub mod hard_state;
mod header;
pub mod layout;
pub mod options;
pub mod snapshot;
mod state;

pub use batch::{Batch, Class, SnapshotMark};
pub use entry::{Entry, EntryId, Index, LogId, Term};
pub use error::{Error, Result};
pub use hard_state::HardState;
pub use options::{OnDamage, Options, ReadMode};
pub use snapshot::{
    SnapshotInfo, SnapshotOffer, SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter,
};
