//! What the store answers to a [`Query`].
//!
//! The layer above is [`crate::command`] for a question of its own, and [`crate::store`] for one in a
//! transaction; below is [`Keyspace`]. What a question says in an entry is no matter of this file:
//! that is `hardlog-kv-op`.

use bytes::Bytes;
pub use hardlog_kv_op::query::{Query, Scan};

use crate::{
    glob,
    limits::{REPLY_MAX, SCAN_BYTES_MAX},
    outcome::Outcome,
    store::Keyspace,
};

impl Keyspace {
    /// The answer to a question.
    #[must_use]
    pub fn answer(&self, query: &Query) -> Outcome {
        let count = |n: usize| Outcome::Count(i64::try_from(n).unwrap_or(i64::MAX));
        let value = |value: Option<Bytes>| value.map_or(Outcome::Nothing, Outcome::Value);
        match query {
            Query::Get(key) => value(self.get(key)),
            Query::MGet(keys) => {
                let values: Vec<_> = keys.iter().map(|key| self.get(key)).collect();
                // The same large value may be asked for many times in one small request.
                let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
                if bytes > REPLY_MAX {
                    return Outcome::ReplyTooLong;
                }
                Outcome::List(values.into_iter().map(value).collect())
            }
            Query::Exists(keys) => count(keys.iter().filter(|key| self.contains(key)).count()),
            Query::DbSize => count(self.len()),
            Query::StrLen(key) => count(self.get(key).map_or(0, |value| value.len())),
            Query::Type(key) => Outcome::Word(Bytes::from_static(match self.contains(key) {
                true => b"string",
                false => b"none",
            })),
            Query::Scan(scan) => self.some(scan),
        }
    }

    fn some(&self, scan: &Scan) -> Outcome {
        let (next, mut keys) = self.scan(scan.cursor, scan.count, SCAN_BYTES_MAX);
        if let Some(pattern) = &scan.pattern {
            keys.retain(|key| glob::matches(pattern, key));
        }
        if scan.other_type {
            keys.clear();
        }
        let next = Outcome::Value(next.to_string().into());
        Outcome::List(vec![next, Outcome::List(keys.into_iter().map(Outcome::Value).collect())])
    }
}
