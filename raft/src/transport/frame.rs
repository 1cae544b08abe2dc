//! Frames on a stream: length, checksum, bytes.
//!
//! ```text
//!   0        4        8
//!   │ len    │ crc32  │ len bytes: one message, see `codec`
//! ```
//! Little-endian; the checksum covers the bytes. A length beyond the limit or a checksum that does
//! not match ends the connection: there is no way to find the next frame.

use std::io::{self, Read};

/// Bytes before each message.
pub(super) const HEAD_LEN: usize = 8;

/// Appends a frame whose bytes `fill` writes. On its error nothing is appended.
pub(super) fn append<E>(
    to: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = to.len();
    to.extend_from_slice(&[0; HEAD_LEN]);
    if let Err(error) = fill(to) {
        to.truncate(start);
        return Err(error);
    }
    let body = &to[start + HEAD_LEN..];
    let len = u32::try_from(body.len()).expect("the codec's limit is below 4 GiB");
    let crc = crc32fast::hash(body);
    to[start..start + 4].copy_from_slice(&len.to_le_bytes());
    to[start + 4..start + HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Reads the next frame into `body`; false at the end of the stream.
pub(super) fn read(from: &mut impl Read, body: &mut Vec<u8>, max: u32) -> io::Result<bool> {
    let mut head = [0; HEAD_LEN];
    match from.read(&mut head[..1])? {
        0 => return Ok(false),
        _ => from.read_exact(&mut head[1..])?,
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
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
    if crc32fast::hash(body) != crc {
        return Err(bad("a frame whose checksum does not match".to_owned()));
    }
    Ok(true)
}

pub(super) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            let fill = |to: &mut Vec<u8>| -> Result<(), ()> {
                to.extend_from_slice(body);
                Ok(())
            };
            append(&mut bytes, fill).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_come_back_one_by_one() {
        let bytes = frames(&[b"one", b"", b"three"]);
        let mut from = bytes.as_slice();
        let mut body = Vec::new();
        for expected in [&b"one"[..], b"", b"three"] {
            assert!(read(&mut from, &mut body, 5).unwrap());
            assert_eq!(body, expected);
        }
        assert!(!read(&mut from, &mut body, 5).unwrap());
    }

    #[test]
    fn a_frame_that_fails_to_encode_leaves_nothing() {
        let mut bytes = frames(&[b"one"]);
        let before = bytes.clone();
        let fill = |to: &mut Vec<u8>| {
            to.push(9);
            Err("no")
        };
        assert_eq!(append(&mut bytes, fill), Err("no"));
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
