//! The model's histories (`tests/model/`), driven through the engine and judged.
//!
//! A history is a word; each letter is an operation (`letters`). It runs on a simulated disk; after
//! every call to that disk the states that a crash may leave are opened, and a `ledger::Ledger`,
//! which knows what the caller was told and nothing of the engine's insides, judges what came back:
//! what was acknowledged is there, nothing that never was, no promise forgotten, what was lost to rot
//! is refused or said aloud, and a second open gives the same.
//!
//! What it takes from the format, beside the public API: the offset and length of each write (from
//! the disk), the place of `born_end` and of the salt in a segment's header, and that a marker begins
//! at a page. Nothing of sections or index files.
//!
//! What it leaves out: concurrent callers, faulty entries, a full disk, rot in snapshots and index
//! files. Other campaigns have those.

mod explore;
mod ledger;
mod letters;
mod look;

pub use self::{
    explore::{Check, Found, Stats, explore},
    letters::{AFTER_POISON, Did, LETTERS, World},
    look::{Outcome, Seen, View, Vows, options, recover},
};
