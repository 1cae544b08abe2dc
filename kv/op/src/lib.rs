//! What the entries of hardlog-kv's log say: the encoding of its commands.
//!
//! ```text
//!   server ─▶ Op (Query inside a transaction) ─▶ wire ─▶ bytes of a log entry
//!   wal-tool dump --decode raft-kv ◀─────────────────────┘
//! ```
//! Above: the server, which makes and applies commands, and tools that read its log without it.
//! Below: nothing but `bytes`. It knows no store, no socket and no Raft.
//!
//! INVARIANT: what is accepted here is what was accepted when the entry was written: the limits are
//! the same constants.

pub mod limits;
pub mod op;
pub mod query;
pub mod wire;
