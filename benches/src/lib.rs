//! What the benches share: the disk without the engine, logs of a given content, percentiles, and
//! the table of ratios.
//!
//! Two benches stand on it. `engine` is criterion's: absolute times, for comparing one commit with
//! the next. `ratios` runs the engine and the bare disk in turns, `A B A B …`, so that both meet the
//! same weather, and holds the quotient against the targets: on a busy machine only that is worth
//! anything.
//!
//! The raw limit is what the disk alone takes for the same *payload* bytes: a pwrite into a file
//! that was written before, and an fdatasync. What the engine adds to the payload (heads, checksums)
//! counts against it.
//!
//! Nothing here is used by the engine.

pub mod data;
pub mod group;
pub mod measure;
pub mod process;
pub mod raw;
pub mod stats;
pub mod table;

/// What the engine's group commit, which `group` takes as it is, expects around it.
mod error {
    pub(crate) use hardlog::{Error, Result};
}
