//! From received bytes to requests, piece by piece.
//!
//! A [`Decoder`] belongs to one connection. It remembers how far it has understood the front of
//! the receive buffer, so a request of 16 MiB that arrives in a thousand pieces costs one pass.
//! When a request is whole, its bytes leave the buffer and the arguments are slices of them.
//!
//! INVARIANT: `position` never exceeds the buffer's length, and every remembered argument lies
//! below `position`; the caller may only append to the buffer between calls.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{ProtocolError, integer};
use crate::limits::{ELEMENTS_MAX, LINE_MAX, REQUEST_MAX, VALUE_MAX};

/// The state of one connection's receiving side.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the buffer that are understood.
    position: usize,
    /// Arguments found so far, as places in the buffer.
    arguments: Vec<Range<usize>>,
    /// Arguments still to come; `None` between requests.
    missing: Option<usize>,
    /// Length of the argument whose header was read and whose bytes are awaited.
    bulk_len: Option<usize>,
}

impl Decoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next whole request off the front of `buffer`; `None` when more bytes are needed.
    /// A request is never empty: blank lines and empty arrays are skipped, as Redis does.
    ///
    /// # Errors
    /// Malformed bytes, or more than the limits allow. The connection must then end: the decoder
    /// does not find its way again.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        loop {
            let request = match (self.missing, buffer.first()) {
                (None, None) => return Ok(None),
                (None, Some(b'*')) => self.array_header(buffer)?.then(Vec::new),
                (None, Some(_)) => inline(buffer)?,
                (Some(0), _) => Some(self.finish(buffer)),
                (Some(_), _) => self.argument(buffer)?.then(Vec::new),
            };
            match request {
                None => return Ok(None),
                Some(request) if request.is_empty() => {}
                Some(request) => return Ok(Some(request)),
            }
        }
    }

    /// How many bytes the buffer should have room for to make progress, beyond what it holds: a
    /// hint, at most 1 MiB, so that a length that is only claimed costs no more than that.
    #[must_use]
    pub fn wanted(&self, buffered: usize) -> usize {
        let whole = self.position + self.bulk_len.map_or(0, |len| len + 2);
        whole.saturating_sub(buffered).clamp(16 << 10, 1 << 20)
    }

    /// Bytes that it keeps beside the buffer.
    #[must_use]
    pub fn held(&self) -> usize {
        self.arguments.len() * size_of::<Range<usize>>()
    }

    fn array_header(&mut self, buffer: &BytesMut) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(buffer, "too big mbulk count string")? else {
            return Ok(false);
        };
        let count = buffer.get(line).and_then(|line| integer(line.get(1..)?));
        match count.map(usize::try_from) {
            Some(Ok(count)) if count <= ELEMENTS_MAX => self.missing = Some(count),
            // Redis takes a negative count for an empty request.
            Some(Err(_)) if count.is_some_and(|count| count < 0) => self.missing = Some(0),
            _ => return Err(ProtocolError("invalid multibulk length")),
        }
        Ok(true)
    }

    /// Reads one argument's header or bytes; true when it got further.
    fn argument(&mut self, buffer: &BytesMut) -> Result<bool, ProtocolError> {
        let Some(len) = self.bulk_len else {
            let Some(line) = self.line(buffer, "too big bulk count string")? else {
                return Ok(false);
            };
            let line = buffer.get(line).unwrap_or_default();
            let Some((b'$', digits)) = line.split_first() else {
                return Err(ProtocolError("expected '$'"));
            };
            let len = integer(digits).and_then(|len| usize::try_from(len).ok());
            let Some(len) = len.filter(|len| *len <= VALUE_MAX) else {
                return Err(ProtocolError("invalid bulk length"));
            };
            if self.position + len + 2 > REQUEST_MAX {
                return Err(ProtocolError("request longer than 16 MiB"));
            }
            self.bulk_len = Some(len);
            return Ok(true);
        };
        let end = self.position + len;
        match buffer.get(end..end + 2) {
            None => return Ok(false),
            Some(b"\r\n") => {}
            Some(_) => return Err(ProtocolError("bulk string does not end where it said")),
        }
        self.arguments.push(self.position..end);
        self.position = end + 2;
        self.bulk_len = None;
        self.missing = self.missing.map(|missing| missing.saturating_sub(1));
        Ok(true)
    }

    /// The next line without its CR LF, moving past it; `None` while its end is not there.
    fn line(
        &mut self,
        buffer: &BytesMut,
        too_long: &'static str,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        // Headers are short: a longer one is no header, whatever comes.
        const HEADER_MAX: usize = 32;
        let rest = buffer.get(self.position..).unwrap_or_default();
        let Some(len) = rest.iter().take(HEADER_MAX).position(|byte| *byte == b'\n') else {
            return if rest.len() >= HEADER_MAX { Err(ProtocolError(too_long)) } else { Ok(None) };
        };
        if len == 0 || rest.get(len - 1) != Some(&b'\r') {
            return Err(ProtocolError("line does not end in CR LF"));
        }
        let line = self.position..self.position + len - 1;
        self.position += len + 1;
        if self.position > REQUEST_MAX {
            return Err(ProtocolError("request longer than 16 MiB"));
        }
        Ok(Some(line))
    }

    fn finish(&mut self, buffer: &mut BytesMut) -> Vec<Bytes> {
        let whole = buffer.split_to(self.position).freeze();
        self.position = 0;
        self.missing = None;
        std::mem::take(&mut self.arguments).into_iter().map(|at| whole.slice(at)).collect()
    }
}

/// A command typed by hand: words on a line, none on a blank one; `None` while its end is missing.
fn inline(buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
    let Some(end) = buffer.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        let too_long = buffer.len() >= LINE_MAX;
        return if too_long { Err(ProtocolError("too big inline request")) } else { Ok(None) };
    };
    words(&buffer.split_to(end + 1).freeze()).map(Some)
}

/// The words of an inline command.
///
/// Quotes are refused instead of taken literally: storing `"a` where `a b` was meant would be a
/// silent error. The first words of an HTTP request are refused too, so that a web page cannot
/// have a browser talk to a server on loopback.
fn words(line: &Bytes) -> Result<Vec<Bytes>, ProtocolError> {
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        return Err(ProtocolError("quotes in an inline command are not supported"));
    }
    let words: Vec<Bytes> = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| line.slice_ref(word))
        .collect();
    match words.first() {
        Some(first) if first.eq_ignore_ascii_case(b"POST") || first.as_ref() == b"Host:" => {
            Err(ProtocolError("this is not an HTTP server"))
        }
        _ => Ok(words),
    }
}
