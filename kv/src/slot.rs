//! Hash slots, as Redis Cluster counts them.
//!
//! Here every slot lives in the same replicated map, so a slot decides nothing; it is only named in
//! `-MOVED <slot> host:port`, where clients put it into their table of who serves what.

use std::net::SocketAddr;

use crate::resp::Reply;

/// How many slots there are.
pub const SLOT_COUNT: u16 = 16384;

/// The slot of a key: CRC16 of it, or of what stands between its first `{` and the next `}` if
/// that is not empty, modulo [`SLOT_COUNT`].
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key).unwrap_or(key)) % SLOT_COUNT
}

/// The redirection to the node that can answer.
#[must_use]
pub fn moved(slot: u16, to: SocketAddr) -> Reply {
    Reply::error(format!("MOVED {slot} {to}"))
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = key.get(open + 1..)?;
    let close = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..close).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, begins and ends with zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn a_tag_in_braces_alone_decides_the_slot() {
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }

    #[test]
    fn an_empty_or_open_tag_is_no_tag() {
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOT_COUNT);
        assert_eq!(slot(b"foo{bar"), crc16(b"foo{bar") % SLOT_COUNT);
    }

    #[test]
    fn a_redirection_names_slot_and_address() {
        let to = "127.0.0.1:6380".parse().unwrap();
        assert_eq!(moved(12182, to), Reply::error("MOVED 12182 127.0.0.1:6380"));
    }
}
