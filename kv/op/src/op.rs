//! What a write is in the replicated log.
//!
//! The layer above is the server, which makes an [`Op`] of a request and whose store applies it on
//! every node. Entries live as long as the log does, so the encoding is our own, explicit and
//! little-endian, and does not change with a library:
//!
//! ```text
//! op       kind u8, then by kind      1 SET    string key, string value
//!                                     2 DEL    count u32, count × string
//!                                     3 INCR   string
//!                                     4 MSET   count u32, count × (string key, string value)
//!                                     5 SET if string key, string value, answer u8, when
//!                                     6 APPEND string key, string value
//!                                     7 ADD    string key, i64
//!                                     8 GETDEL string
//!                                     9 EXEC   steps
//!                                    10 EXEC if count u32, count × (string key, when), steps
//! steps    count u32, count × (op, but no EXEC; or query)
//! when     u8: 0 always · 1 missing · 2 present · 3 equal, string
//! answer   0 OK or nothing · 1 the old value · 2 one or zero
//! string   length u32, bytes
//! ```
//!
//! INVARIANT: `decode` takes exactly what `encode` makes: trailing bytes, lengths beyond
//! [`crate::limits`] or beyond the input, and unknown kinds are refused, without a panic and
//! without allocating on a length's word.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    limits::{ELEMENTS_MAX, STEPS_MAX},
    query::{self, Query},
    wire::{
        self, DecodeError, put_len, put_string, take_i64, take_key, take_list, take_u8, take_value,
    },
};

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
    /// Gives a key a value if a condition holds.
    SetIf {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The condition.
        when: When,
        /// What is answered.
        answer: Answer,
    },
    /// Appends to a value; a missing key counts as empty. Answers the new length.
    Append {
        /// The key.
        key: Bytes,
        /// What is appended.
        value: Bytes,
    },
    /// Adds to a decimal 64-bit integer; a missing key counts as 0.
    Add {
        /// The key.
        key: Bytes,
        /// What is added.
        by: i64,
    },
    /// Removes a key and answers its value.
    GetDel {
        /// The key.
        key: Bytes,
    },
    /// Several writes and questions, with nothing in between.
    Exec {
        /// In this order.
        steps: Vec<Step>,
    },
    /// The same if all conditions hold, else nothing.
    ExecIf {
        /// Keys that were watched, and how each was found.
        conditions: Vec<(Bytes, When)>,
        /// In this order.
        steps: Vec<Step>,
    },
}

/// Under which condition a key gets its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Under any.
    Always,
    /// If it has none.
    Missing,
    /// If it has one.
    Present,
    /// If it has this one.
    Equal(Bytes),
}

/// What a conditional write answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That it is done, or nothing if the condition did not hold.
    Done,
    /// The value before, or nothing if there was none; whether the condition held is not said.
    Old,
    /// 1 if the condition held, else 0.
    Flag,
}

/// A part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A write.
    Do(Op),
    /// A question.
    Ask(Query),
}

const SET: u8 = 1;
const DEL: u8 = 2;
const INCR: u8 = 3;
const MSET: u8 = 4;
const SET_IF: u8 = 5;
const APPEND: u8 = 6;
const ADD: u8 = 7;
const GET_DEL: u8 = 8;
const EXEC: u8 = 9;
const EXEC_IF: u8 = 10;

/// Bytes that an entry of a transaction begins with, before its steps, besides its conditions.
pub const EXEC_HEADER_LEN: usize = 9;

impl Op {
    /// The op as bytes of a log entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        self.put(&mut out);
        out.freeze()
    }

    pub(crate) fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Set { key, value } => put_pair(out, SET, key, value),
            Self::Del { keys } => {
                out.put_u8(DEL);
                put_len(out, keys.len());
                keys.iter().for_each(|key| put_string(out, key));
            }
            Self::Incr { key } => {
                out.put_u8(INCR);
                put_string(out, key);
            }
            Self::MSet { pairs } => {
                out.put_u8(MSET);
                put_len(out, pairs.len());
                for (key, value) in pairs {
                    put_string(out, key);
                    put_string(out, value);
                }
            }
            Self::SetIf { key, value, when, answer } => {
                put_pair(out, SET_IF, key, value);
                answer.put(out);
                when.put(out);
            }
            Self::Append { key, value } => put_pair(out, APPEND, key, value),
            Self::Add { key, by } => {
                out.put_u8(ADD);
                put_string(out, key);
                out.put_i64_le(*by);
            }
            Self::GetDel { key } => {
                out.put_u8(GET_DEL);
                put_string(out, key);
            }
            Self::Exec { steps } => {
                put_exec(out, &[], steps.len());
                steps.iter().for_each(|step| step.put(out));
            }
            Self::ExecIf { conditions, steps } => {
                put_exec(out, conditions, steps.len());
                steps.iter().for_each(|step| step.put(out));
            }
        }
    }

    /// The op of a log entry; keys and values are slices of it.
    ///
    /// # Errors
    /// Anything that [`Op::encode`] does not make.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let kind = take_u8(&mut from)?;
        let op = match kind {
            EXEC => Self::Exec { steps: take_list(&mut from, STEPS_MAX, Step::take)? },
            EXEC_IF => {
                let condition = |from: &mut Bytes| Ok((take_key(from)?, When::take(from)?));
                let conditions = take_list(&mut from, ELEMENTS_MAX, condition)?;
                if conditions.is_empty() {
                    return Err(DecodeError("no condition"));
                }
                let steps = take_list(&mut from, STEPS_MAX, Step::take)?;
                Self::ExecIf { conditions, steps }
            }
            _ => Self::take(kind, &mut from)?,
        };
        wire::ended(&from, op)
    }

    /// Any op but a transaction; its kind is read already.
    fn take(kind: u8, from: &mut Bytes) -> Result<Self, DecodeError> {
        let op = match kind {
            SET => Self::Set { key: take_key(from)?, value: take_value(from)? },
            DEL => Self::Del { keys: take_list(from, ELEMENTS_MAX, take_key)? },
            INCR => Self::Incr { key: take_key(from)? },
            MSET => Self::MSet {
                pairs: take_list(from, ELEMENTS_MAX, |from| {
                    Ok((take_key(from)?, take_value(from)?))
                })?,
            },
            SET_IF => {
                let (key, value) = (take_key(from)?, take_value(from)?);
                let (answer, when) = (Answer::take(from)?, When::take(from)?);
                Self::SetIf { key, value, when, answer }
            }
            APPEND => Self::Append { key: take_key(from)?, value: take_value(from)? },
            ADD => Self::Add { key: take_key(from)?, by: take_i64(from)? },
            GET_DEL => Self::GetDel { key: take_key(from)? },
            _ => return Err(DecodeError("unknown kind")),
        };
        Ok(op)
    }

    /// Bytes of [`Op::encode`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let string = |bytes: &Bytes| 4 + bytes.len();
        1 + match self {
            Self::Set { key, value } | Self::Append { key, value } => string(key) + string(value),
            Self::Del { keys } => 4 + keys.iter().map(string).sum::<usize>(),
            Self::Incr { key } | Self::GetDel { key } => string(key),
            Self::MSet { pairs } => {
                4 + pairs.iter().map(|(key, value)| string(key) + string(value)).sum::<usize>()
            }
            Self::SetIf { key, value, when, .. } => {
                let expected = if let When::Equal(value) = when { string(value) } else { 0 };
                string(key) + string(value) + 2 + expected
            }
            Self::Add { key, .. } => string(key) + 8,
            // Only tests measure one: a connection builds it step by step.
            Self::Exec { steps } => {
                let mut out = BytesMut::new();
                steps.iter().for_each(|step| step.put(&mut out));
                4 + out.len()
            }
            Self::ExecIf { .. } => {
                let mut out = BytesMut::new();
                self.put(&mut out);
                out.len() - 1
            }
        }
    }
}

impl Step {
    /// Appends the step to an entry.
    ///
    /// # Panics
    /// For a question that has no place in a transaction.
    pub fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Do(op) => op.put(out),
            Self::Ask(query) => query.put(out),
        }
    }

    fn take(from: &mut Bytes) -> Result<Self, DecodeError> {
        let kind = take_u8(from)?;
        if kind >= query::GET {
            Query::take(kind, from).map(Self::Ask)
        } else {
            Op::take(kind, from).map(Self::Do)
        }
    }
}

impl When {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Always => out.put_u8(0),
            Self::Missing => out.put_u8(1),
            Self::Present => out.put_u8(2),
            Self::Equal(value) => {
                out.put_u8(3);
                put_string(out, value);
            }
        }
    }

    fn take(from: &mut Bytes) -> Result<Self, DecodeError> {
        match take_u8(from)? {
            0 => Ok(Self::Always),
            1 => Ok(Self::Missing),
            2 => Ok(Self::Present),
            3 => Ok(Self::Equal(take_value(from)?)),
            _ => Err(DecodeError("unknown condition")),
        }
    }
}

impl Answer {
    fn put(self, out: &mut BytesMut) {
        out.put_u8(match self {
            Self::Done => 0,
            Self::Old => 1,
            Self::Flag => 2,
        });
    }

    fn take(from: &mut Bytes) -> Result<Self, DecodeError> {
        match take_u8(from)? {
            0 => Ok(Self::Done),
            1 => Ok(Self::Old),
            2 => Ok(Self::Flag),
            _ => Err(DecodeError("unknown answer")),
        }
    }
}

/// The beginning of a transaction's entry; its steps follow.
///
/// # Panics
/// With more conditions or steps than a request has bytes.
pub fn put_exec(out: &mut BytesMut, conditions: &[(Bytes, When)], count: usize) {
    if conditions.is_empty() {
        out.put_u8(EXEC);
    } else {
        out.put_u8(EXEC_IF);
        put_len(out, conditions.len());
        for (key, when) in conditions {
            put_string(out, key);
            when.put(out);
        }
    }
    put_len(out, count);
}

fn put_pair(out: &mut BytesMut, kind: u8, key: &Bytes, value: &Bytes) {
    out.put_u8(kind);
    put_string(out, key);
    put_string(out, value);
}

#[cfg(test)]
mod tests;
