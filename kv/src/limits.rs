//! Every bound of the server in one place: what a client may send, what the store takes, what a
//! connection may hold.
//!
//! The limit at the socket, the limit at the state machine and the limit at a snapshot's restore
//! are the same constants, so that what was accepted once can always be replayed. What bounds an
//! entry of the log stands beside its encoding, in `hardlog-kv-op`.

pub use hardlog_kv_op::limits::{ELEMENTS_MAX, KEY_MAX, STEPS_MAX, VALUE_MAX};

/// Longest request on the wire, in bytes, framing included.
pub const REQUEST_MAX: usize = 16 << 20;
/// Longest line of the protocol (a header, a simple string, an inline command), in bytes.
pub const LINE_MAX: usize = 64 << 10;
/// Deepest nesting of a reply that the client follows.
pub const DEPTH_MAX: usize = 8;
/// Longest bulk string of a reply that the client takes, in bytes: a little more than a value,
/// because INFO and errors arrive this way too.
pub const BULK_MAX: usize = VALUE_MAX + (64 << 10);
/// Replies that one connection may be owed; beyond it the connection is not read.
pub const PIPELINE_MAX: usize = 64 << 10;
/// Requests of one connection that may be under way; beyond it it is not read.
pub const UNDER_WAY_MAX: usize = 4 << 10;
/// Bytes of one connection's requests that may be under way; beyond it it is not read.
pub const UNDER_WAY_BYTES_MAX: usize = 8 << 20;
/// Writes of all connections that may be under way, in KiB, each rounded up, and a longer one alone:
/// what the replica takes, so that connections wait for each other instead of being refused.
pub const WRITES_KIB_MAX: u32 = 12 << 10;
/// Bytes of replies that wait for a client to read them; beyond it the connection is not read.
pub const OUTPUT_MAX: usize = 1 << 20;
/// Bytes of values in one reply; a request may name one large value many times.
pub const REPLY_MAX: usize = 64 << 20;
/// Bytes of all answers in one transaction: every node makes them, and keeps some at a time.
pub const TRANSACTION_REPLY_MAX: usize = 16 << 20;
/// Bytes that a connection may hold of the server's memory without a share of what all clients may.
pub const CLIENT_FREE: usize = 64 << 10;
/// Bytes that all clients may hold beyond that, if nobody says otherwise: requests that are not
/// whole or not answered, and replies that are not read.
pub const CLIENT_MEMORY: usize = 256 << 20;
/// Longest reply to a write that may wait for its client without a share.
pub const SMALL_REPLY_MAX: usize = 4 << 10;
/// Longest entry of the log that a request becomes, in bytes: never longer than the request.
pub const COMMAND_MAX: usize = REQUEST_MAX;
/// Longest pattern of SCAN MATCH, in bytes.
pub const PATTERN_MAX: usize = 1 << 10;
/// Most keys that one SCAN looks at, whatever COUNT it names.
pub const SCAN_COUNT_MAX: usize = 10_000;
/// Bytes of keys after which a SCAN stops.
pub const SCAN_BYTES_MAX: usize = 1 << 20;
