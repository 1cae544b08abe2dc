//! The bounds of an entry of the log: what is refused when it is written and when it is read.

/// Longest key, in bytes.
pub const KEY_MAX: usize = 64 << 10;
/// Longest value, in bytes.
pub const VALUE_MAX: usize = 8 << 20;
/// Most elements of a request's array, and of any aggregate of a reply.
pub const ELEMENTS_MAX: usize = 1 << 20;
/// Most commands in one transaction.
pub const STEPS_MAX: usize = 64 << 10;
