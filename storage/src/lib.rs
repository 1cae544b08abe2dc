//! hardlog: the durable log under Raft.

pub mod entry;
pub mod error;
pub mod fs;
pub mod hard_state;
pub mod layout;
pub mod options;

pub use entry::{Entry, EntryId, Index, Term};
pub use error::{Error, Result};
pub use hard_state::HardState;
pub use options::{OnDamage, Options, ReadMode};
