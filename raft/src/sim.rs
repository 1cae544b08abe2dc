//! Whole clusters in one thread, in virtual time, from one seed.
//!
//! ```text
//!   campaign ─▶ play ─▶ clients, faults ─▶ stage ─▶ machine: core, driver, log, applier, courier
//!                                            │         │
//!                                         network   fs::sim (a disk of its own for each node)
//!                                            └──▶ watch: every rule, after every step
//! ```
//! The nodes are the real ones without their threads and sockets; only time, network and disks are
//! made up. The same seed gives the same run to the last bit, and its trace has the same digest.
//!
//! It is for the tests of this package and for those who break it on purpose; nothing of it is
//! linked into a program that does not ask for it. It promises no stable interface.
//!
//! What it does not do: threads that race within a process (that is for a model checker), bytes on
//! a wire (the transport has its own tests), clocks that jump (there is none to jump).

mod book;
pub mod campaign;
pub mod client;
mod faults;
pub mod lab;
mod machine;
mod mirror;
pub mod network;
mod operator;
pub mod plan;
pub mod play;
pub mod remains;
mod rolls;
mod shadow;
pub mod stage;
mod told;
mod trace;
pub mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Virtual time, in microseconds.
pub type Micros = u64;

/// Takes a mutex; there is one thread, so nobody left it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
