//! What a write is in the replicated log, and what applying it answers.
//!
//! The layer above is [`crate::command`], which makes an [`Op`] of a request; below is
//! [`crate::store`], which applies it on every node. Entries live as long as the log does, so the
//! encoding is our own, explicit and little-endian, and does not change with a library:
//!
//! ```text
//! op       kind u8, then by kind      1 SET   string key, string value
//!                                     2 DEL   count u32, count × string
//!                                     3 INCR  string
//!                                     4 MSET  count u32, count × (string key, string value)
//! string   length u32, bytes
//! outcome  kind u8, then by kind      1 done · 2 count i64 · 3 not an integer · 4 overflow · 5 unreadable op
//! ```
//!
//! INVARIANT: `decode` takes exactly what `encode` makes: trailing bytes, lengths beyond
//! [`crate::limits`] or beyond the input, and unknown kinds are refused, without a panic and
//! without allocating on a length's word.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{ELEMENTS_MAX, KEY_MAX, VALUE_MAX};

/// A write. Keys and values keep to [`crate::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Gives a key a value.
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes keys; counts those that were there.
    Del {
        /// The keys; one named twice counts once.
        keys: Vec<Bytes>,
    },
    /// Adds one to a decimal 64-bit integer; a missing key counts as 0.
    Incr {
        /// The key.
        key: Bytes,
    },
    /// Gives several keys values, all at once.
    MSet {
        /// Keys and values; of a key named twice the last counts.
        pairs: Vec<(Bytes, Bytes)>,
    },
}

/// What applying an [`Op`] answered, the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It took effect; a count or the new number.
    Count(i64),
    /// INCR of a value that is no 64-bit integer: nothing changed.
    NotInteger,
    /// INCR of the largest integer: nothing changed.
    Overflow,
    /// The entry is not an op this version knows: nothing changed.
    Unreadable,
}

/// Bytes that are not an [`Op`], an [`Outcome`] or a snapshot of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be decoded: {0}")]
pub struct DecodeError(pub &'static str);

const SET: u8 = 1;
const DEL: u8 = 2;
const INCR: u8 = 3;
const MSET: u8 = 4;

impl Op {
    /// The op as bytes of a log entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        match self {
            Self::Set { key, value } => {
                out.put_u8(SET);
                put_string(&mut out, key);
                put_string(&mut out, value);
            }
            Self::Del { keys } => {
                out.put_u8(DEL);
                put_len(&mut out, keys.len());
                keys.iter().for_each(|key| put_string(&mut out, key));
            }
            Self::Incr { key } => {
                out.put_u8(INCR);
                put_string(&mut out, key);
            }
            Self::MSet { pairs } => {
                out.put_u8(MSET);
                put_len(&mut out, pairs.len());
                for (key, value) in pairs {
                    put_string(&mut out, key);
                    put_string(&mut out, value);
                }
            }
        }
        out.freeze()
    }

    /// The op of a log entry; keys and values are slices of it.
    ///
    /// # Errors
    /// Anything that [`Op::encode`] does not make.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let kind = from.try_get_u8().map_err(|_| DecodeError("empty"))?;
        let op = match kind {
            SET => {
                let (key, value) = (take_key(&mut from)?, take_value(&mut from)?);
                Self::Set { key, value }
            }
            DEL => Self::Del { keys: take_list(&mut from, take_key)? },
            INCR => Self::Incr { key: take_key(&mut from)? },
            MSET => Self::MSet {
                pairs: take_list(&mut from, |from| Ok((take_key(from)?, take_value(from)?)))?,
            },
            _ => return Err(DecodeError("unknown kind")),
        };
        if from.has_remaining() { Err(DecodeError("trailing bytes")) } else { Ok(op) }
    }

    /// Bytes of [`Op::encode`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let string = |bytes: &Bytes| 4 + bytes.len();
        1 + match self {
            Self::Set { key, value } => string(key) + string(value),
            Self::Del { keys } => 4 + keys.iter().map(string).sum::<usize>(),
            Self::Incr { key } => string(key),
            Self::MSet { pairs } => {
                4 + pairs.iter().map(|(key, value)| string(key) + string(value)).sum::<usize>()
            }
        }
    }
}

impl Outcome {
    /// The outcome as the state machine hands it back.
    #[must_use]
    pub fn encode(self) -> Bytes {
        match self {
            Self::Done => Bytes::from_static(&[1]),
            Self::Count(count) => {
                let mut out = BytesMut::with_capacity(9);
                out.put_u8(2);
                out.put_i64_le(count);
                out.freeze()
            }
            Self::NotInteger => Bytes::from_static(&[3]),
            Self::Overflow => Bytes::from_static(&[4]),
            Self::Unreadable => Bytes::from_static(&[5]),
        }
    }

    /// What [`Outcome::encode`] made.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode(mut from: &[u8]) -> Result<Self, DecodeError> {
        let kind = from.try_get_u8().map_err(|_| DecodeError("empty"))?;
        let outcome = match kind {
            1 => Self::Done,
            2 => Self::Count(from.try_get_i64_le().map_err(|_| DecodeError("cut short"))?),
            3 => Self::NotInteger,
            4 => Self::Overflow,
            5 => Self::Unreadable,
            _ => return Err(DecodeError("unknown kind")),
        };
        if from.has_remaining() { Err(DecodeError("trailing bytes")) } else { Ok(outcome) }
    }
}

fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32_le(u32::try_from(len).expect("requests are limited to 16 MiB"));
}

fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

fn take_key(from: &mut Bytes) -> Result<Bytes, DecodeError> {
    take_string(from, KEY_MAX)
}

fn take_value(from: &mut Bytes) -> Result<Bytes, DecodeError> {
    take_string(from, VALUE_MAX)
}

fn take_string(from: &mut Bytes, max: usize) -> Result<Bytes, DecodeError> {
    let len = from.try_get_u32_le().map_err(|_| DecodeError("cut short"))? as usize;
    if len > max {
        return Err(DecodeError("key or value too long"));
    }
    if len > from.len() { Err(DecodeError("cut short")) } else { Ok(from.split_to(len)) }
}

fn take_list<T>(
    from: &mut Bytes,
    mut take: impl FnMut(&mut Bytes) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = from.try_get_u32_le().map_err(|_| DecodeError("cut short"))? as usize;
    if count > ELEMENTS_MAX {
        return Err(DecodeError("too many elements"));
    }
    // Each element takes four bytes at least, so this room is bounded by the input.
    let mut items = Vec::with_capacity(count.min(from.len() / 4));
    for _ in 0..count {
        items.push(take(from)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (bytes(), bytes()).prop_map(|(key, value)| Op::Set { key, value }),
            vec(bytes(), 0..5).prop_map(|keys| Op::Del { keys }),
            bytes().prop_map(|key| Op::Incr { key }),
            vec((bytes(), bytes()), 0..5).prop_map(|pairs| Op::MSet { pairs }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(op in op()) {
            let bytes = op.encode();
            prop_assert_eq!(bytes.len(), op.encoded_len());
            prop_assert_eq!(Op::decode(bytes), Ok(op));
        }

        #[test]
        fn an_op_that_is_cut_or_has_more_is_refused(op in op(), at in any::<prop::sample::Index>()) {
            let bytes = op.encode();
            prop_assert!(Op::decode(bytes.slice(..at.index(bytes.len()))).is_err());
            prop_assert!(Op::decode([&bytes[..], b"x"].concat().into()).is_err());
        }

        #[test]
        fn any_bytes_are_decoded_to_the_same_bytes_or_refused(bytes in bytes()) {
            if let Ok(op) = Op::decode(bytes.clone()) {
                prop_assert_eq!(op.encode(), bytes);
            }
        }

        #[test]
        fn any_outcome_comes_back(count in any::<i64>(), bytes in vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(Outcome::decode(&Outcome::Count(count).encode()), Ok(Outcome::Count(count)));
            if let Ok(outcome) = Outcome::decode(&bytes) {
                prop_assert_eq!(outcome.encode(), Bytes::from(bytes));
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_believed() {
        let mut huge = vec![DEL];
        huge.extend(u32::MAX.to_le_bytes());
        assert_eq!(Op::decode(huge.into()), Err(DecodeError("too many elements")));
        let mut long = vec![INCR];
        long.extend(u32::try_from(KEY_MAX + 1).unwrap().to_le_bytes());
        long.resize(KEY_MAX + 10, 0);
        assert_eq!(Op::decode(long.into()), Err(DecodeError("key or value too long")));
    }

    #[test]
    fn the_bytes_of_an_entry_do_not_change() {
        let op = Op::Set { key: "k".into(), value: "vv".into() };
        assert_eq!(&op.encode()[..], b"\x01\x01\0\0\0k\x02\0\0\0vv");
        let op = Op::MSet { pairs: vec![("a".into(), "1".into())] };
        assert_eq!(&op.encode()[..], b"\x04\x01\0\0\0\x01\0\0\0a\x01\0\0\x001");
    }
}
