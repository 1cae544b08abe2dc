//! RESP, the protocol of Redis, versions 2 and 3: requests in, replies out.
//!
//! The layer above is a connection's exchange (server) and [`crate::client`]; below is nothing:
//! both halves work on bytes alone.
//!
//! ```text
//! request   *2\r\n $3\r\nGET\r\n $1\r\nk\r\n          an array of bulk strings, or an inline line
//! reply     +OK\r\n  -ERR why\r\n  :1\r\n  $1\r\nv\r\n  *2\r\n…  and in version 3 also _ % ~ , # = ( > !
//! ```
//!
//! Written here rather than taken from a crate because the bounds matter more than the grammar:
//! each length is checked against [`crate::limits`] before anything is allocated for it, a request
//! that arrives in many pieces is scanned once and not from its start again, and arguments are
//! slices of the receive buffer.
//!
//! It does not know what a command means, and it never resynchronises: after malformed bytes the
//! connection ends.

pub mod reply;
pub mod request;

pub use reply::{Protocol, Reply};
pub use request::Decoder;

/// Bytes that are not RESP, or more of them than the limits allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(pub &'static str);

/// Parses a decimal integer as the protocol writes lengths: an optional minus, digits, no more.
pub(crate) fn integer(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Counted downwards: i64::MIN has no positive twin.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests;
