//! The arguments of commands that read.

use bytes::Bytes;

use super::{Command, check_key, first, syntax};
use crate::{
    limits::{PATTERN_MAX, SCAN_COUNT_MAX},
    query::{Query, Scan},
    resp::Reply,
    slot,
};

/// Keys that a SCAN looks at if it does not say how many, as in Redis.
const SCAN_COUNT: usize = 10;

pub(super) fn parse(name: &str, arguments: Vec<Bytes>) -> Result<Command, Reply> {
    if name == "SCAN" {
        let scan = scan(&arguments)?;
        return Ok(Command::Read { query: Query::Scan(scan), slot: 0 });
    }
    arguments.iter().try_for_each(check_key)?;
    let slot = arguments.first().map_or(0, |key| slot::slot(key));
    let query = match name {
        "GET" => Query::Get(first(arguments)),
        "STRLEN" => Query::StrLen(first(arguments)),
        "TYPE" => Query::Type(first(arguments)),
        "MGET" => Query::MGet(arguments),
        "EXISTS" => Query::Exists(arguments),
        _ => Query::DbSize,
    };
    Ok(Command::Read { query, slot })
}

/// `cursor [MATCH pattern] [COUNT count] [TYPE type]`, options in any order.
fn scan(arguments: &[Bytes]) -> Result<Scan, Reply> {
    let (cursor, mut options) = arguments.split_first().ok_or_else(syntax)?;
    let cursor = crate::resp::integer(cursor).and_then(|cursor| u64::try_from(cursor).ok());
    let cursor = cursor.ok_or_else(|| Reply::error("ERR invalid cursor"))?;
    let mut scan = Scan { cursor, pattern: None, count: SCAN_COUNT, other_type: false };
    while let Some((option, rest)) = options.split_first() {
        let (value, rest) = rest.split_first().ok_or_else(syntax)?;
        match option.to_ascii_uppercase().as_slice() {
            b"MATCH" if value.len() > PATTERN_MAX => {
                return Err(Reply::error("ERR pattern longer than 1 KiB"));
            }
            b"MATCH" => scan.pattern = Some(value.clone()),
            b"COUNT" => {
                let count = super::integer(value)?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                scan.count = count.ok_or_else(syntax)?.min(SCAN_COUNT_MAX);
            }
            b"TYPE" => scan.other_type = !value.eq_ignore_ascii_case(b"string"),
            _ => return Err(syntax()),
        }
        options = rest;
    }
    Ok(scan)
}
