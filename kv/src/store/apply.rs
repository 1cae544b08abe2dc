//! What each op does to the map, and what it answers.
//!
//! Pure in the sense that counts for replication: the same op on the same map gives the same map
//! and the same answer on every node. An op either takes effect whole or changes nothing; of a
//! transaction that holds for each step, and its steps follow each other with nothing in between.

use bytes::{Bytes, BytesMut};

use super::Keyspace;
use crate::{
    limits::{TRANSACTION_REPLY_MAX, VALUE_MAX},
    op::{Answer, Op, Step, When},
    outcome::Outcome,
};

pub(super) fn apply(keyspace: &mut Keyspace, op: Op) -> Outcome {
    match op {
        Op::Set { key, value } => {
            keyspace.insert(&key, &value);
            Outcome::Done
        }
        Op::MSet { pairs } => {
            for (key, value) in pairs {
                keyspace.insert(&key, &value);
            }
            Outcome::Done
        }
        Op::Del { keys } => {
            let removed = keys.iter().filter(|key| keyspace.remove(key)).count();
            Outcome::Count(i64::try_from(removed).unwrap_or(i64::MAX))
        }
        Op::Incr { key } => add(keyspace, &key, 1),
        Op::Add { key, by } => add(keyspace, &key, by),
        Op::Append { key, value } => append(keyspace, &key, &value),
        Op::GetDel { key } => match keyspace.get(&key) {
            None => Outcome::Nothing,
            Some(value) => {
                keyspace.remove(&key);
                Outcome::Value(value)
            }
        },
        Op::SetIf { key, value, when, answer } => {
            let old = keyspace.get(&key);
            let holds = holds(old.as_ref(), &when);
            if holds {
                keyspace.insert(&key, &value);
            }
            match answer {
                Answer::Done if holds => Outcome::Done,
                Answer::Done => Outcome::Nothing,
                Answer::Old => old.map_or(Outcome::Nothing, Outcome::Value),
                Answer::Flag => Outcome::Count(i64::from(holds)),
            }
        }
        Op::Exec { steps } => exec(keyspace, steps),
        Op::ExecIf { conditions, steps } => {
            let hold = conditions.iter().all(|(key, when)| holds(keyspace.get(key).as_ref(), when));
            if hold { exec(keyspace, steps) } else { Outcome::Nothing }
        }
    }
}

fn holds(value: Option<&Bytes>, when: &When) -> bool {
    match when {
        When::Always => true,
        When::Missing => value.is_none(),
        When::Present => value.is_some(),
        When::Equal(expected) => value == Some(expected),
    }
}

/// The steps in order. An answer that would make the reply too long is left out, not its effect.
fn exec(keyspace: &mut Keyspace, steps: Vec<Step>) -> Outcome {
    let mut room = TRANSACTION_REPLY_MAX;
    let mut outcomes = Vec::with_capacity(steps.len());
    for step in steps {
        let outcome = match step {
            Step::Do(op) => apply(keyspace, op),
            Step::Ask(query) => keyspace.answer(&query),
        };
        let len = outcome.encoded_len();
        let fits = len <= room;
        room -= if fits { len } else { 0 };
        outcomes.push(if fits { outcome } else { Outcome::ReplyTooLong });
    }
    Outcome::List(outcomes)
}

fn append(keyspace: &mut Keyspace, key: &[u8], value: &[u8]) -> Outcome {
    let old = keyspace.get(key).unwrap_or_default();
    let len = old.len() + value.len();
    if len > VALUE_MAX {
        return Outcome::ValueTooLong;
    }
    let mut whole = BytesMut::with_capacity(len);
    whole.extend_from_slice(&old);
    whole.extend_from_slice(value);
    keyspace.insert_own(key, whole.freeze());
    Outcome::Count(i64::try_from(len).unwrap_or(i64::MAX))
}

fn add(keyspace: &mut Keyspace, key: &[u8], by: i64) -> Outcome {
    let value = match keyspace.get(key) {
        None => 0,
        Some(value) => match integer(&value) {
            Some(value) => value,
            None => return Outcome::NotInteger,
        },
    };
    let Some(value) = value.checked_add(by) else {
        return Outcome::Overflow;
    };
    keyspace.insert_own(key, Bytes::from(value.to_string()));
    Outcome::Count(value)
}

/// A number only as Redis writes it: no plus, no leading zeros, no `-0`.
fn integer(bytes: &[u8]) -> Option<i64> {
    let value = crate::resp::integer(bytes)?;
    (value.to_string().as_bytes() == bytes).then_some(value)
}
