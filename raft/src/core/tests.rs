//! Tests of the core, named after what the paper says where it says it.

#![expect(clippy::cast_possible_truncation, reason = "the numbers of a test are small")]

mod elections;
mod membership;
mod net;
mod random;
mod reads;
mod replication;
mod snapshots;
mod transfer;
