//! Frames on a stream: length, checksum, number, bytes.
//!
//! ```text
//!   0        4        8              16
//!   │ len    │ crc32  │ number       │ len bytes: one message, see `codec`
//! ```
//! Little-endian; the checksum covers number and bytes. The number is the sender's own count of its
//! messages: a trace of both ends tells by it which message came. A length beyond the limit or a checksum that does
//! not match ends the connection: there is no way to find the next frame.

use std::io::{self, Read};

/// Bytes before each message.
pub(super) const HEAD_LEN: usize = 16;

/// Appends a frame whose bytes `fill` writes. On its error nothing is appended.
pub(super) fn append<E>(
    to: &mut Vec<u8>,
    number: u64,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = to.len();
    to.extend_from_slice(&[0; HEAD_LEN]);
    if let Err(error) = fill(to) {
        to.truncate(start);
        return Err(error);
    }
    let len = to.len() - start - HEAD_LEN;
    let len = u32::try_from(len).expect("the codec's limit is below 4 GiB");
    to[start + 8..start + HEAD_LEN].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&to[start + 8..]);
    to[start..start + 4].copy_from_slice(&len.to_le_bytes());
    to[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Reads the next frame into `body`; its number, or none at the end of the stream.
pub(super) fn read(from: &mut impl Read, body: &mut Vec<u8>, max: u32) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD_LEN];
    match from.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut head[1..])?,
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3, number @ ..] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    if len > max {
        return Err(bad(format!("a frame of {len} bytes, {max} allowed")));
    }
    body.clear();
    // Grows with what arrives, not with what is claimed.
    let read = from.take(u64::from(len)).read_to_end(body)?;
    if read as u64 != u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number);
    hasher.update(body);
    if hasher.finalize() != crc {
        return Err(bad("a frame whose checksum does not match".to_owned()));
    }
    Ok(Some(u64::from_le_bytes(number)))
}

pub(super) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, body) in (1..).zip(bodies) {
            let fill = |to: &mut Vec<u8>| -> Result<(), ()> {
                to.extend_from_slice(body);
                Ok(())
            };
            append(&mut bytes, number, fill).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_come_back_one_by_one() {
        let bytes = frames(&[b"one", b"", b"three"]);
        let mut from = bytes.as_slice();
        let mut body = Vec::new();
        for (number, expected) in (1..).zip([&b"one"[..], b"", b"three"]) {
            assert_eq!(read(&mut from, &mut body, 5).unwrap(), Some(number));
            assert_eq!(body, expected);
        }
        assert_eq!(read(&mut from, &mut body, 5).unwrap(), None);
    }

    #[test]
    fn a_frame_that_fails_to_encode_leaves_nothing() {
        let mut bytes = frames(&[b"one"]);
        let before = bytes.clone();
        let fill = |to: &mut Vec<u8>| {
            to.push(9);
            Err("no")
        };
        assert_eq!(append(&mut bytes, 7, fill), Err("no"));
        assert_eq!(bytes, before);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error() {
        let bytes = frames(&[b"some bytes"]);
        let mut body = Vec::new();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&mut bytes.as_slice(), &mut body, 100).is_err(), "bit {bit}");
        }
        for len in 1..bytes.len() {
            assert!(read(&mut &bytes[..len], &mut body, 100).is_err(), "{len} bytes");
        }
        assert!(read(&mut bytes.as_slice(), &mut body, 9).is_err(), "beyond the limit");
    }
}
