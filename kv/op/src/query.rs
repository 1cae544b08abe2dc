//! A question to the store.
//!
//! The layer above is the server's commands; its store answers. A question outside a transaction has
//! no bytes; inside one it stands in the log entry between the writes and is answered where it
//! stands:
//!
//! ```text
//! query    kind u8, then by kind   32 GET string · 33 MGET count u32, count × string
//!                                  34 EXISTS count u32, count × string · 35 DBSIZE
//!                                  36 STRLEN string · 37 TYPE string
//! ```
//! SCAN has none: a cursor is no part of a transaction.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    limits::ELEMENTS_MAX,
    wire::{DecodeError, put_len, put_string, take_key, take_list},
};

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The value of a key.
    Get(Bytes),
    /// The values of keys.
    MGet(Vec<Bytes>),
    /// How many of the keys are there; one named twice counts twice.
    Exists(Vec<Bytes>),
    /// How many keys there are.
    DbSize,
    /// The length of a value in bytes, 0 without one.
    StrLen(Bytes),
    /// `string` or `none`.
    Type(Bytes),
    /// Some keys, and the cursor to go on with.
    Scan(Scan),
}

/// What SCAN asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where to go on; 0 to begin.
    pub cursor: u64,
    /// Only keys like this.
    pub pattern: Option<Bytes>,
    /// About how many keys to look at.
    pub count: usize,
    /// Whether only keys of a type are wanted that no key here has.
    pub other_type: bool,
}

pub(crate) const GET: u8 = 32;
pub(crate) const MGET: u8 = 33;
pub(crate) const EXISTS: u8 = 34;
pub(crate) const DBSIZE: u8 = 35;
pub(crate) const STRLEN: u8 = 36;
pub(crate) const TYPE: u8 = 37;

impl Query {
    /// Bytes of the request that it keeps in memory, about.
    #[must_use]
    pub fn request_len(&self) -> usize {
        match self {
            Self::Get(key) | Self::StrLen(key) | Self::Type(key) => key.len(),
            Self::MGet(keys) | Self::Exists(keys) => keys.iter().map(|key| key.len() + 32).sum(),
            Self::Scan(scan) => scan.pattern.as_ref().map_or(0, Bytes::len),
            Self::DbSize => 0,
        }
    }

    /// The same question without a hold on the buffer it was received in, if that costs little: a
    /// few bytes must not keep a whole buffer while they wait.
    #[must_use]
    pub fn detached(self) -> Self {
        const COPIED_MAX: usize = 4 << 10;
        if self.request_len() > COPIED_MAX {
            return self;
        }
        let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let own_all = |keys: Vec<Bytes>| keys.into_iter().map(own).collect();
        match self {
            Self::Get(key) => Self::Get(own(key)),
            Self::MGet(keys) => Self::MGet(own_all(keys)),
            Self::Exists(keys) => Self::Exists(own_all(keys)),
            Self::DbSize => Self::DbSize,
            Self::StrLen(key) => Self::StrLen(own(key)),
            Self::Type(key) => Self::Type(own(key)),
            Self::Scan(scan) => Self::Scan(Scan { pattern: scan.pattern.map(own), ..scan }),
        }
    }

    /// Whether it may stand in a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        !matches!(self, Self::Scan(_))
    }

    /// Appends the question to an entry.
    ///
    /// # Panics
    /// For one that has no place in a transaction.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        let one = |out: &mut BytesMut, kind, key: &Bytes| {
            out.put_u8(kind);
            put_string(out, key);
        };
        let many = |out: &mut BytesMut, kind, keys: &[Bytes]| {
            out.put_u8(kind);
            put_len(out, keys.len());
            keys.iter().for_each(|key| put_string(out, key));
        };
        match self {
            Self::Get(key) => one(out, GET, key),
            Self::MGet(keys) => many(out, MGET, keys),
            Self::Exists(keys) => many(out, EXISTS, keys),
            Self::DbSize => out.put_u8(DBSIZE),
            Self::StrLen(key) => one(out, STRLEN, key),
            Self::Type(key) => one(out, TYPE, key),
            Self::Scan(_) => panic!("SCAN has no place in a transaction"),
        }
    }

    /// The question of a kind; its kind is read already.
    pub(crate) fn take(kind: u8, from: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match kind {
            GET => Self::Get(take_key(from)?),
            MGET => Self::MGet(take_list(from, ELEMENTS_MAX, take_key)?),
            EXISTS => Self::Exists(take_list(from, ELEMENTS_MAX, take_key)?),
            DBSIZE => Self::DbSize,
            STRLEN => Self::StrLen(take_key(from)?),
            TYPE => Self::Type(take_key(from)?),
            _ => return Err(DecodeError("unknown kind")),
        })
    }
}
