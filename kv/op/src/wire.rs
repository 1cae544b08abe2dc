//! The small pieces that an [`crate::op::Op`], a [`crate::query::Query`] and an outcome of the server
//! are encoded with: lengths, strings and lists.
//!
//! Little-endian, explicit, independent of any library, since entries live as long as the log does.
//!
//! INVARIANT: no length is believed before it was held against [`crate::limits`] and against what
//! is there; nothing here panics on input.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{KEY_MAX, VALUE_MAX};

/// Bytes that are not an op, an outcome or a snapshot of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be decoded: {0}")]
pub struct DecodeError(pub &'static str);

/// The input ends before what it announces.
pub const CUT_SHORT: DecodeError = DecodeError("cut short");

/// Appends a length.
///
/// # Panics
/// Beyond 2³² − 1, which no request reaches.
pub fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32_le(u32::try_from(len).expect("requests are limited to 16 MiB"));
}

/// Appends a length and bytes.
///
/// # Panics
/// As [`put_len`].
pub fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

/// Takes a byte.
///
/// # Errors
/// [`CUT_SHORT`].
pub fn take_u8(from: &mut Bytes) -> Result<u8, DecodeError> {
    from.try_get_u8().map_err(|_| CUT_SHORT)
}

/// Takes a signed integer of 64 bits.
///
/// # Errors
/// [`CUT_SHORT`].
pub fn take_i64(from: &mut Bytes) -> Result<i64, DecodeError> {
    from.try_get_i64_le().map_err(|_| CUT_SHORT)
}

/// Takes a string of at most [`KEY_MAX`] bytes.
///
/// # Errors
/// A longer one, or one that is cut short.
pub fn take_key(from: &mut Bytes) -> Result<Bytes, DecodeError> {
    take_string(from, KEY_MAX)
}

/// Takes a string of at most [`VALUE_MAX`] bytes.
///
/// # Errors
/// A longer one, or one that is cut short.
pub fn take_value(from: &mut Bytes) -> Result<Bytes, DecodeError> {
    take_string(from, VALUE_MAX)
}

fn take_string(from: &mut Bytes, max: usize) -> Result<Bytes, DecodeError> {
    let len = from.try_get_u32_le().map_err(|_| CUT_SHORT)? as usize;
    if len > max {
        return Err(DecodeError("key or value too long"));
    }
    if len > from.len() { Err(CUT_SHORT) } else { Ok(from.split_to(len)) }
}

/// Takes a list of at most `max` elements.
///
/// # Errors
/// A longer one, and those of `take`.
pub fn take_list<T>(
    from: &mut Bytes,
    max: usize,
    mut take: impl FnMut(&mut Bytes) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = from.try_get_u32_le().map_err(|_| CUT_SHORT)? as usize;
    if count > max {
        return Err(DecodeError("too many elements"));
    }
    // Room for what the input can hold; elements of fewer bytes make it grow.
    let mut items = Vec::with_capacity(count.min(from.len() / 4));
    for _ in 0..count {
        items.push(take(from)?);
    }
    Ok(items)
}

/// Refuses what goes on after its end.
///
/// # Errors
/// Bytes are left.
pub fn ended<T>(from: &Bytes, value: T) -> Result<T, DecodeError> {
    if from.has_remaining() { Err(DecodeError("trailing bytes")) } else { Ok(value) }
}
