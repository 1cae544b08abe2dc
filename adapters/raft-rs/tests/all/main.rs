//! The adapter as raft-rs and as a power cut see it: one test binary.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod async_save;
mod cluster;
mod crash;
mod example;
mod memory;
mod readme;
mod rig;
mod snapshots;
