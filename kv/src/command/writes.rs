//! The arguments of commands that write.

use bytes::Bytes;

use super::{Command, check_key, integer, syntax, wrong_arity};
use crate::{
    op::{Answer, Op, When},
    resp::Reply,
    slot,
};

pub(super) fn parse(name: &str, arguments: Vec<Bytes>) -> Result<Command, Reply> {
    if name == "MSET" && !arguments.len().is_multiple_of(2) {
        return Err(wrong_arity(name));
    }
    // Everything that is no key is a value, which the decoder has bounded.
    let keys = match name {
        "DEL" => arguments.len(),
        "MSET" => arguments.len() - 1,
        _ => 1,
    };
    let step = if name == "MSET" { 2 } else { 1 };
    arguments.iter().take(keys).step_by(step).try_for_each(check_key)?;
    let slot = arguments.first().map_or(0, |key| slot::slot(key));
    Ok(Command::Write { op: op(name, arguments)?, slot })
}

fn op(name: &str, arguments: Vec<Bytes>) -> Result<Op, Reply> {
    match name {
        "DEL" => return Ok(Op::Del { keys: arguments }),
        "MSET" => {
            let pair = |pair: &[Bytes]| Some((pair.first()?.clone(), pair.last()?.clone()));
            let pairs = arguments.chunks_exact(2).filter_map(pair).collect();
            return Ok(Op::MSet { pairs });
        }
        _ => {}
    }
    let mut words = arguments.into_iter();
    let mut word = || words.next().unwrap_or_default();
    let key = word();
    let set_if = |key, value, when, answer| Ok(Op::SetIf { key, value, when, answer });
    match name {
        "INCR" => Ok(Op::Incr { key }),
        "DECR" => Ok(Op::Add { key, by: -1 }),
        "INCRBY" => Ok(Op::Add { key, by: integer(&word())? }),
        "DECRBY" => {
            let by = integer(&word())?.checked_neg();
            let by = by.ok_or_else(|| Reply::error("ERR decrement would overflow"))?;
            Ok(Op::Add { key, by })
        }
        "APPEND" => Ok(Op::Append { key, value: word() }),
        "GETDEL" => Ok(Op::GetDel { key }),
        "GETSET" => set_if(key, word(), When::Always, Answer::Old),
        "SETNX" => set_if(key, word(), When::Missing, Answer::Flag),
        "CAS" => {
            let expected = word();
            set_if(key, word(), When::Equal(expected), Answer::Flag)
        }
        _ => {
            let value = word();
            set(key, value, words.as_slice())
        }
    }
}

/// `SET key value [NX | XX | IFEQ expected] [GET]`, options in any order.
fn set(key: Bytes, value: Bytes, mut options: &[Bytes]) -> Result<Op, Reply> {
    if options.is_empty() {
        return Ok(Op::Set { key, value });
    }
    let (mut when, mut answer) = (When::Always, Answer::Done);
    while let Some((option, mut rest)) = options.split_first() {
        let condition = match option.to_ascii_uppercase().as_slice() {
            b"GET" => {
                answer = Answer::Old;
                None
            }
            b"NX" => Some(When::Missing),
            b"XX" => Some(When::Present),
            b"IFEQ" => {
                let (expected, after) = rest.split_first().ok_or_else(syntax)?;
                rest = after;
                Some(When::Equal(expected.clone()))
            }
            b"EX" | b"PX" | b"EXAT" | b"PXAT" | b"KEEPTTL" => {
                return Err(Reply::error(
                    "ERR keys do not expire here: EX, PX, EXAT, PXAT and KEEPTTL are not known",
                ));
            }
            _ => return Err(syntax()),
        };
        if let Some(condition) = condition {
            if when != When::Always {
                return Err(syntax());
            }
            when = condition;
        }
        options = rest;
    }
    Ok(Op::SetIf { key, value, when, answer })
}
