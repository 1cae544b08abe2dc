//! The group commit (`storage/src/sync.rs`) under loom, which runs every interleaving of a few threads
//! and every value that a relaxed load may see.
//!
//! The file itself is compiled here, with loom's primitives in place of the standard ones; around it
//! stands only what it needs of the crate. What is shown: a waiter returns Ok only after its ticket is
//! durable; nobody sleeps for ever (loom reports a deadlock); a failure reaches everybody; callbacks
//! run in order, once each, and only after durability.
//!
//! `cargo test -p hardlog-loom` takes some seconds. With more than two threads the search is bounded
//! to two preemptions.

#[cfg(test)]
#[path = "../../../storage/src/sync.rs"]
mod sync;

/// What `sync.rs` needs of the crate's errors.
#[cfg(test)]
mod error {
    #[derive(Debug)]
    pub(crate) enum Error {
        Poisoned {
            why: String,
        },
        /// A disk that is full for now.
        Full,
    }
    pub(crate) type Result<T> = std::result::Result<T, Error>;
}

#[cfg(test)]
mod tests;
