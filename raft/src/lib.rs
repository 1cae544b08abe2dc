//! Raft as a pure state machine, and the parts that drive it over a durable log.
//!
//! ```text
//!   proposals, reads ─▶ core ──Ready──▶ driver ──Batch──▶ hardlog::Log ──▶ disk
//!       messages ─▶    (pure)             │                    │
//!          ticks ─▶                       ▼                    ▼
//!                                  what may leave      durable watermark
//!                                  at once                     │
//!                                                       promises, commit, apply
//! ```
//! - [`core`]: elections, replication, commitment, reads. A function of what comes in.
//! - [`durable`]: the types that keep a promise sealed until the log's watermark covers it.
//! - [`message`], [`payload`]: what is said, and what stands in an entry.
//! - [`transport`]: messages between nodes over TCP.
//!
//! `#![allow]`: what the pure core may not use is forbidden in `core/mod.rs`, and free elsewhere.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod config;
pub mod core;
pub mod durable;
pub mod message;
pub mod payload;
pub mod ready;
pub mod transport;

pub use self::{
    config::Config,
    core::{Core, Identity, LogView, RoleName, Slot},
    message::{Message, NodeId},
    ready::Ready,
};
