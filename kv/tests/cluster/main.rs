//! Real processes on loopback, on ports the system chose, with real clients.
//!
//! Tests that need redis-cli or redis-benchmark say so and pass where those are missing; the same
//! is then covered with the client of this package alone. Every process ends with its test.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod bench;
mod clients;
mod crash;
mod harness;
mod hostile;
mod linear;
mod members;
mod monitor;
mod once;
mod operate;
mod program;
mod python;
mod rng;
mod syncs;
mod tls;
mod trace;
