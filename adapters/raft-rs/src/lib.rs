//! The durable log for raft-rs: its `Storage`, and a Ready as one batch.
//!
#![doc = include_str!("../README.md")]
//!
//! # Layers
//!
//! ```text
//! RawNode ── Storage ──▶ storage ─┐
//! Ready ───────────────▶ write ───┼─▶ convert ──▶ hardlog::Log
//! Snapshot ────────────▶ snapshot ┘               hardlog::SnapshotStore
//! ```

mod convert;
mod error;
mod snapshot;
mod storage;
mod write;

pub use error::{Error, Result};
pub use snapshot::SnapshotData;
pub use storage::{CONF_STATE_SLOT, LogStorage};
/// The raft-rs that this adapter is for.
pub use tikv_raft as raft;
pub use write::Update;
