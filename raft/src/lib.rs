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
//! Most services need [`Node`], [`NodeConfig`], [`Handle`] and the trait [`StateMachine`].
//!
//! - [`core`]: elections, replication, commitment, reads. A function of what comes in.
//! - [`durable`]: the types that keep a promise sealed until the log's watermark covers it.
//! - [`message`], [`payload`]: what is said, and what stands in an entry.
//! - [`transport`]: messages between nodes over TCP.
//! - [`node`]: threads, timer, handle; with it the driver, where a [`Ready`] meets the log, the
//!   thread that owns the state machine, and the one that moves snapshots between nodes.
//! - [`metrics`]: what is counted and timed.
//! - [`trace`]: what happened, event by event, for tools.
//!
//! What is durable before what is said: a candidate's term and its vote for itself before it asks
//! for votes, a vote before it is given, entries before they are acknowledged, a leader's own
//! entries before it counts itself. A leader's AppendEntries leave at once, in parallel with its
//! own disk write. Term, vote, truncation and entries of one step are one batch and one sync.

// What the pure core may not use is forbidden in `core/mod.rs`, and free elsewhere.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod applier;
mod boot;
mod call;
mod codec;
pub mod config;
pub mod core;
mod courier;
mod driver;
pub mod durable;
pub mod error;
pub mod identity;
mod inbox;
pub mod member;
pub mod message;
pub mod metrics;
pub mod node;
pub mod payload;
pub mod ready;
pub mod sessions;
#[doc(hidden)]
pub mod sim;
pub mod state_machine;
pub mod status;
pub mod trace;
pub mod transport;
pub mod view;
mod work;

pub use self::{
    call::{OrderError, ProposeError},
    config::Config,
    core::{Change, Configuration, Core, Identity, LogView, Membership, Refused, RoleName, Slot},
    error::Error,
    member::Member,
    message::{Message, NodeId},
    node::{Handle, Node, NodeConfig},
    ready::Ready,
    state_machine::{Command, FrozenSnapshot, StateMachine},
    status::{Cluster, Follower, Health, Status},
};
