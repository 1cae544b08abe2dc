//! What applying an [`Op`](crate::op::Op) or asking a [`Query`](crate::query::Query) answered.
//!
//! The state machine makes it, the same on every node; the connection that asked turns it into a
//! [`Reply`]. It travels as bytes between the two:
//!
//! ```text
//! outcome  kind u8, then by kind   1 done · 2 count i64 · 3 not an integer · 4 overflow
//!                                  5 unreadable op · 6 nothing · 7 value string · 8 value too long
//!                                  9 list: count u32, count × outcome · 10 word string
//!                                  11 reply too long
//! ```
//!
//! INVARIANT: `decode` takes exactly what `encode` makes. A list holds no deeper list than two
//! levels: the answers of a transaction, and the values of one MGET in it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    limits::ELEMENTS_MAX,
    resp::Reply,
    wire::{self, DecodeError, put_len, put_string, take_i64, take_list, take_u8, take_value},
};

/// An answer of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// A count or the new number.
    Count(i64),
    /// Arithmetic on a value that is no 64-bit integer: nothing changed.
    NotInteger,
    /// Arithmetic beyond 64 bits: nothing changed.
    Overflow,
    /// The entry is not an op this version knows: nothing changed.
    Unreadable,
    /// There is no such value, or the condition did not hold.
    Nothing,
    /// A value.
    Value(Bytes),
    /// The value would be longer than the limit: nothing changed.
    ValueTooLong,
    /// Several answers.
    List(Vec<Outcome>),
    /// A short text such as the name of a type.
    Word(Bytes),
    /// The answer would be longer than a reply may be.
    ReplyTooLong,
}

/// Lists within lists that are taken.
const DEPTH_MAX: u8 = 2;

impl Outcome {
    /// The outcome as the state machine hands it back.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Done => Bytes::from_static(&[1]),
            Self::Nothing => Bytes::from_static(&[6]),
            _ => {
                let mut out = BytesMut::with_capacity(self.encoded_len());
                self.put(&mut out);
                out.freeze()
            }
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Done => out.put_u8(1),
            Self::Count(count) => {
                out.put_u8(2);
                out.put_i64_le(*count);
            }
            Self::NotInteger => out.put_u8(3),
            Self::Overflow => out.put_u8(4),
            Self::Unreadable => out.put_u8(5),
            Self::Nothing => out.put_u8(6),
            Self::Value(value) => {
                out.put_u8(7);
                put_string(out, value);
            }
            Self::ValueTooLong => out.put_u8(8),
            Self::List(items) => {
                out.put_u8(9);
                put_len(out, items.len());
                items.iter().for_each(|item| item.put(out));
            }
            Self::Word(word) => {
                out.put_u8(10);
                put_string(out, word);
            }
            Self::ReplyTooLong => out.put_u8(11),
        }
    }

    /// Bytes of [`Outcome::encode`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Count(_) => 9,
            Self::Value(bytes) | Self::Word(bytes) => 5 + bytes.len(),
            Self::List(items) => 5 + items.iter().map(Self::encoded_len).sum::<usize>(),
            _ => 1,
        }
    }

    /// What [`Outcome::encode`] made.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let outcome = take(&mut from, DEPTH_MAX)?;
        wire::ended(&from, outcome)
    }

    /// The reply that a client gets.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Done => Reply::OK,
            Self::Count(count) => Reply::Integer(count),
            Self::Nothing => Reply::Null,
            Self::Value(value) => Reply::Bulk(value),
            Self::Word(word) => Reply::Simple(word),
            Self::List(items) => Reply::Array(items.into_iter().map(Self::reply).collect()),
            Self::NotInteger => Reply::error("ERR value is not an integer or out of range"),
            Self::Overflow => Reply::error("ERR increment or decrement would overflow"),
            Self::ValueTooLong => Reply::error("ERR the value would be longer than 8 MiB"),
            Self::ReplyTooLong => Reply::error("ERR the reply would be longer than 64 MiB"),
            Self::Unreadable => {
                Reply::error("ERR the log entry is of a kind this version does not know")
            }
        }
    }
}

fn take(from: &mut Bytes, depth: u8) -> Result<Outcome, DecodeError> {
    Ok(match take_u8(from)? {
        1 => Outcome::Done,
        2 => Outcome::Count(take_i64(from)?),
        3 => Outcome::NotInteger,
        4 => Outcome::Overflow,
        5 => Outcome::Unreadable,
        6 => Outcome::Nothing,
        7 => Outcome::Value(take_value(from)?),
        8 => Outcome::ValueTooLong,
        9 if depth > 0 => {
            Outcome::List(take_list(from, ELEMENTS_MAX, |from| take(from, depth - 1))?)
        }
        10 => Outcome::Word(take_value(from)?),
        11 => Outcome::ReplyTooLong,
        _ => return Err(DecodeError("unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        let value = || vec(any::<u8>(), 0..9).prop_map(Bytes::from);
        let leaf = prop_oneof![
            Just(Outcome::Done),
            any::<i64>().prop_map(Outcome::Count),
            Just(Outcome::Nothing),
            Just(Outcome::Overflow),
            Just(Outcome::ReplyTooLong),
            value().prop_map(Outcome::Value),
            value().prop_map(Outcome::Word),
        ];
        leaf.prop_recursive(2, 20, 4, |inner| vec(inner, 0..4).prop_map(Outcome::List))
    }

    proptest! {
        #[test]
        fn any_outcome_comes_back(outcome in outcome()) {
            let bytes = outcome.encode();
            prop_assert_eq!(bytes.len(), outcome.encoded_len());
            prop_assert_eq!(Outcome::decode(bytes), Ok(outcome));
        }

        #[test]
        fn any_bytes_are_the_bytes_of_their_outcome_or_refused(bytes in vec(0_u8..12, 0..24)) {
            let bytes = Bytes::from(bytes);
            if let Ok(outcome) = Outcome::decode(bytes.clone()) {
                prop_assert_eq!(outcome.encode(), bytes);
            }
        }
    }

    #[test]
    fn lists_nested_deeper_than_a_transaction_are_refused() {
        let list = |inner| Outcome::List(vec![inner]);
        let two = list(list(Outcome::Done));
        assert_eq!(Outcome::decode(two.encode()), Ok(two.clone()));
        assert!(Outcome::decode(list(two).encode()).is_err());
    }
}
