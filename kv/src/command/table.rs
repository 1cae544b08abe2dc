//! Every command there is: its name, how many words it takes, what it does, and which are its keys.
//!
//! [`crate::command`] checks a request's length here, and COMMAND shows the table to clients:
//! cluster-aware ones find a command's keys by it.

use crate::resp::Reply;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In capitals.
    pub(crate) name: &'static str,
    /// Words, the name among them; below zero: at least so many.
    arity: i64,
    /// The words of Redis for what it does, separated by spaces.
    flags: &'static str,
    /// First key, last key (from the end if below zero) and step; all 0 without keys.
    keys: (i64, i64, i64),
}

const fn entry(
    name: &'static str,
    arity: i64,
    flags: &'static str,
    keys: (i64, i64, i64),
) -> Entry {
    Entry { name, arity, flags, keys }
}

const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const NONE: (i64, i64, i64) = (0, 0, 0);
const QUICK: &str = "readonly fast";
const WRITE: &str = "write denyoom";

/// In the order of their names.
pub(crate) const COMMANDS: [Entry; 38] = [
    entry("APPEND", 3, WRITE, ONE),
    entry("CAS", 4, WRITE, ONE),
    entry("CLIENT", -2, "noscript", NONE),
    entry("CLUSTER", -2, "stale", NONE),
    entry("COMMAND", -1, "loading stale", NONE),
    entry("CONFIG", -2, "admin noscript", NONE),
    entry("DBSIZE", 1, QUICK, NONE),
    entry("DECR", 2, WRITE, ONE),
    entry("DECRBY", 3, WRITE, ONE),
    entry("DEL", -2, "write", ALL),
    entry("DISCARD", 1, "noscript fast", NONE),
    entry("ECHO", 2, "fast", NONE),
    entry("EXEC", 1, "noscript", NONE),
    entry("EXISTS", -2, QUICK, ALL),
    entry("GET", 2, QUICK, ONE),
    entry("GETDEL", 2, "write fast", ONE),
    entry("GETSET", 3, WRITE, ONE),
    entry("HELLO", -1, "noscript loading stale fast", NONE),
    entry("INCR", 2, WRITE, ONE),
    entry("INCRBY", 3, WRITE, ONE),
    entry("INFO", -1, "loading stale", NONE),
    entry("MGET", -2, QUICK, ALL),
    entry("MSET", -3, WRITE, (1, -1, 2)),
    entry("MULTI", 1, "noscript fast", NONE),
    entry("PING", -1, "fast", NONE),
    entry("QUIT", -1, "loading stale fast", NONE),
    entry("RAFT", -2, "admin noscript", NONE),
    entry("READONLY", 1, "loading stale fast", NONE),
    entry("READWRITE", 1, "loading stale fast", NONE),
    entry("SCAN", -2, "readonly", NONE),
    entry("SELECT", 2, "loading stale fast", NONE),
    entry("SESSION", -2, "write", NONE),
    entry("SET", -3, WRITE, ONE),
    entry("SETNX", 3, WRITE, ONE),
    entry("STRLEN", 2, QUICK, ONE),
    entry("TYPE", 2, QUICK, ONE),
    entry("UNWATCH", 1, "noscript fast", NONE),
    entry("WATCH", -2, "noscript fast", ALL),
];

/// The command of a name in capitals.
pub(crate) fn find(name: &[u8]) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.name.as_bytes() == name)
}

impl Entry {
    /// Whether a request of so many words, the name among them, is one.
    pub(crate) fn fits(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= -self.arity } else { words == self.arity }
    }

    /// As COMMAND describes it.
    fn reply(&self) -> Reply {
        let flags = self.flags.split(' ').map(|flag| Reply::Simple(flag.into())).collect();
        let (first, last, step) = self.keys;
        let nothing = || Reply::Array(Vec::new());
        Reply::Array(vec![
            Reply::text(self.name.to_ascii_lowercase()),
            Reply::Integer(self.arity),
            Reply::Array(flags),
            Reply::Integer(first),
            Reply::Integer(last),
            Reply::Integer(step),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
        ])
    }
}

/// COMMAND and COMMAND INFO without names: all of them.
pub(crate) fn all() -> Reply {
    Reply::Array(COMMANDS.iter().map(Entry::reply).collect())
}

/// COMMAND INFO: one description for each name, nothing for those that are not there.
pub(crate) fn some<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Reply {
    let describe = |name: &[u8]| find(&name.to_ascii_uppercase()).map_or(Reply::Null, Entry::reply);
    Reply::Array(names.into_iter().map(describe).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_each_name_is_there_once() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(find(b"GET").map(|entry| entry.name), Some("GET"));
        assert_eq!(find(b"get"), None);
    }

    #[test]
    fn the_number_of_words_is_exact_or_a_least_one() {
        let (get, del) = (find(b"GET").unwrap(), find(b"DEL").unwrap());
        assert!(get.fits(2) && !get.fits(1) && !get.fits(3));
        assert!(del.fits(2) && del.fits(9) && !del.fits(1));
    }
}
