//! Replies: written by the server, read by the client.
//!
//! One type for both sides, so that a test can send what it encodes through the reader.
//! [`Reply::encode`] is pure; [`Reply::read`] pulls from a buffered reader and allocates only what
//! [`crate::limits`] allows, however large a length the peer states.

use std::io::{self, BufRead, Read};

use bytes::{BufMut, Bytes, BytesMut};

use super::{ProtocolError, integer};
use crate::limits::{BULK_MAX, DEPTH_MAX, ELEMENTS_MAX, LINE_MAX};

/// Which version of RESP a connection speaks; HELLO changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every client begins with.
    #[default]
    Resp2,
    /// With maps and a null of its own.
    Resp3,
}

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK`: a short text without line ends.
    Simple(Bytes),
    /// `-CODE text`: a refusal.
    Error(Bytes),
    /// `:1`.
    Integer(i64),
    /// `$1 v`: any bytes.
    Bulk(Bytes),
    /// Nothing there.
    Null,
    /// A list, a set or a push message.
    Array(Vec<Reply>),
    /// Pairs; in version 2 a flat list.
    Map(Vec<(Reply, Reply)>),
    /// A floating-point number, a truth value or a big number, as its text; only ever read.
    Scalar(Bytes),
}

impl Reply {
    /// `+OK`.
    pub const OK: Self = Self::Simple(Bytes::from_static(b"OK"));

    /// An error reply. Line ends become spaces: the protocol ends an error at the first one.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.contains(['\r', '\n']) {
            text = text.replace(['\r', '\n'], " ");
        }
        Self::Error(text.into())
    }

    /// A bulk string of a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bulk(text.into().into())
    }

    /// Bytes that it takes while it waits, about, and no less than its encoded length.
    #[must_use]
    pub fn weight(&self) -> usize {
        const EACH: usize = 64;
        EACH + match self {
            Self::Simple(text) | Self::Error(text) | Self::Bulk(text) | Self::Scalar(text) => {
                text.len()
            }
            Self::Integer(_) | Self::Null => 0,
            Self::Array(items) => items.iter().map(Self::weight).sum(),
            Self::Map(pairs) => {
                pairs.iter().map(|(name, value)| name.weight() + value.weight()).sum()
            }
        }
    }

    /// Appends the reply to `out`.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        match self {
            Self::Simple(text) => line(out, b'+', text),
            Self::Error(text) => line(out, b'-', text),
            Self::Scalar(text) => line(out, b'+', text),
            Self::Integer(value) => {
                out.put_u8(b':');
                decimal(out, *value);
            }
            Self::Bulk(bytes) => {
                header(out, b'$', bytes.len());
                out.put_slice(bytes);
                out.put_slice(b"\r\n");
            }
            Self::Null if protocol == Protocol::Resp3 => out.put_slice(b"_\r\n"),
            Self::Null => out.put_slice(b"$-1\r\n"),
            Self::Array(items) => {
                header(out, b'*', items.len());
                items.iter().for_each(|item| item.encode(protocol, out));
            }
            Self::Map(pairs) => {
                match protocol {
                    Protocol::Resp2 => header(out, b'*', pairs.len() * 2),
                    Protocol::Resp3 => header(out, b'%', pairs.len()),
                }
                for (name, value) in pairs {
                    name.encode(protocol, out);
                    value.encode(protocol, out);
                }
            }
        }
    }

    /// Reads one reply of either version.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed in the middle, `InvalidData` (with a
    /// [`ProtocolError`] inside) for malformed or oversized replies, else what the reader said.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        read_nested(from, DEPTH_MAX)
    }
}

fn line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn header(out: &mut BytesMut, kind: u8, count: usize) {
    out.put_u8(kind);
    decimal(out, i64::try_from(count).unwrap_or(i64::MAX));
}

fn decimal(out: &mut BytesMut, value: i64) {
    use std::fmt::Write as _;
    // Writing into a `BytesMut` grows it; it has no way to fail.
    let _ = write!(out, "{value}\r\n");
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, ProtocolError(what))
}

fn read_nested(from: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    let line = read_line(from)?;
    let Some((kind, rest)) = line.split_first() else {
        return Err(invalid("empty line"));
    };
    let rest = line.slice_ref(rest);
    match kind {
        b'+' => Ok(Reply::Simple(rest)),
        b'-' => Ok(Reply::Error(rest)),
        b',' | b'#' | b'(' => Ok(Reply::Scalar(rest)),
        b'_' => Ok(Reply::Null),
        b':' => integer(&rest).map(Reply::Integer).ok_or_else(|| invalid("bad integer")),
        b'$' => Ok(read_bulk(from, &rest)?.map_or(Reply::Null, Reply::Bulk)),
        b'!' => Ok(read_bulk(from, &rest)?.map_or(Reply::Null, Reply::Error)),
        // A verbatim string begins with its format, as in `txt:`.
        b'=' => match read_bulk(from, &rest)? {
            Some(bytes) if bytes.len() >= 4 => Ok(Reply::Bulk(bytes.slice(4..))),
            _ => Err(invalid("bad verbatim string")),
        },
        b'*' | b'~' | b'>' | b'%' => read_aggregate(from, *kind, &rest, depth),
        _ => Err(invalid("unknown type of reply")),
    }
}

fn read_aggregate(
    from: &mut impl BufRead,
    kind: u8,
    digits: &[u8],
    depth: usize,
) -> io::Result<Reply> {
    let count = match integer(digits) {
        Some(-1) if kind == b'*' => return Ok(Reply::Null),
        Some(count) => usize::try_from(count).ok().filter(|count| *count <= ELEMENTS_MAX),
        None => None,
    };
    let count = count.ok_or_else(|| invalid("bad or too large count"))?;
    let depth = depth.checked_sub(1).ok_or_else(|| invalid("nested too deeply"))?;
    // Grown as elements arrive, never by the stated count.
    if kind == b'%' {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((read_nested(from, depth)?, read_nested(from, depth)?));
        }
        return Ok(Reply::Map(pairs));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read_nested(from, depth)?);
    }
    Ok(Reply::Array(items))
}

fn read_bulk(from: &mut impl BufRead, digits: &[u8]) -> io::Result<Option<Bytes>> {
    let len = match integer(digits) {
        Some(-1) => return Ok(None),
        Some(len) => usize::try_from(len).ok().filter(|len| *len <= BULK_MAX),
        None => None,
    };
    let len = len.ok_or_else(|| invalid("bad or too large length"))?;
    let mut bytes = Vec::new();
    // `take` and `read_to_end` grow with what arrives.
    from.by_ref().take(len as u64 + 2).read_to_end(&mut bytes)?;
    if bytes.len() < len + 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !bytes.ends_with(b"\r\n") {
        return Err(invalid("bulk string does not end where it said"));
    }
    bytes.truncate(len);
    Ok(Some(bytes.into()))
}

fn read_line(from: &mut impl BufRead) -> io::Result<Bytes> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Err(if line.len() == LINE_MAX {
            invalid("line too long")
        } else {
            io::ErrorKind::UnexpectedEof.into()
        });
    }
    if !line.ends_with(b"\r\n") {
        return Err(invalid("line does not end in CR LF"));
    }
    line.truncate(line.len() - 2);
    Ok(line.into())
}
