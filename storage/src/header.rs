//! The header of a segment ↔ bytes. Pure.
//!
//! It stands twice, at offset 0 and at 4096, each copy within one sector; either valid copy serves,
//! two valid ones must be equal, both bad is corruption. Batches begin at [`BATCHES_AT`].
//! (FORMAT.md, "Segment header".)

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::{batch::PAGE, entry::LogId, layout::SegmentId};

/// Offset of the first batch.
pub(crate) const BATCHES_AT: u64 = 8192;
/// Bytes of one copy, CRC included.
pub(crate) const HEADER_LEN: usize = 136;
/// First bytes of a segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"hardlog\n";
/// Format written by this version.
pub(crate) const FORMAT_MAJOR: u16 = 1;
/// Minor format written by this version; a reader of the same major reads every minor.
pub(crate) const FORMAT_MINOR: u16 = 0;
/// CRC-32/IEEE.
const CHECKSUM_CRC32: u16 = 1;
/// Bit of the compatible features: see [`Header::reused`].
const REUSED: u64 = 1;

/// What a segment says of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Predecessor {
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    /// P: all before this offset was durable there; nothing beyond it counts any more.
    pub(crate) end: u64,
    /// Sequence of the last batch before P.
    pub(crate) last_seq: u64,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: LogId,
    pub(crate) id: SegmentId,
    /// Seeds every head CRC of the segment. Never printed, never sent.
    pub(crate) salt: u64,
    /// Nanoseconds since 1970; for people only.
    pub(crate) created: u64,
    /// Largest batch that may stand in this segment, in bytes.
    pub(crate) batch_max: u64,
    pub(crate) predecessor: Option<Predecessor>,
    /// All before this offset was synced before the file got its name.
    pub(crate) born_end: u64,
    /// The file held an older segment before: bytes of that may stand behind the last batch.
    pub(crate) reused: bool,
}

/// Why two copies make no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Neither copy checks.
    Both,
    /// Both check and differ.
    Differ,
    /// Written by a newer version: major, minor, or a feature this version does not know.
    Newer { major: u16, minor: u16, incompat: u64 },
}

impl Header {
    /// One copy.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        LE::write_u16(&mut out[8..10], FORMAT_MAJOR);
        LE::write_u16(&mut out[10..12], FORMAT_MINOR);
        LE::write_u16(&mut out[12..14], CHECKSUM_CRC32);
        // 24..40: features incompat and ro-compat: none yet.
        LE::write_u64(&mut out[16..24], if self.reused { REUSED } else { 0 });
        out[40..56].copy_from_slice(&self.log_id.0);
        let pred = self.predecessor.unwrap_or(Predecessor { id: 0, salt: 0, end: 0, last_seq: 0 });
        let words = [
            self.id,
            self.salt,
            self.created,
            self.batch_max,
            pred.id,
            pred.salt,
            pred.end,
            pred.last_seq,
            self.born_end,
        ];
        LE::write_u64_into(&words, &mut out[56..128]);
        let crc = crc32fast::hash(&out[..128]);
        LE::write_u32(&mut out[128..132], crc);
        out
    }

    /// Which of the two copies in the front of a file check.
    pub(crate) fn sound_copies(front: &[u8]) -> [bool; 2] {
        let second = front.get(usize::try_from(PAGE).expect("4096")..).unwrap_or_default();
        [decode_copy(front).is_ok(), decode_copy(second).is_ok()]
    }

    /// The header whose copies stand in the first [`BATCHES_AT`] bytes of a file (or fewer, where
    /// the file is shorter).
    pub(crate) fn decode(front: &[u8]) -> Result<Self, BadHeader> {
        let second = front.get(usize::try_from(PAGE).expect("4096")..).unwrap_or_default();
        match (decode_copy(front), decode_copy(second)) {
            (Ok(a), Ok(b)) if a != b => Err(BadHeader::Differ),
            (Ok(header), _) | (_, Ok(header)) => Ok(header),
            (Err(newer @ BadHeader::Newer { .. }), _) => Err(newer),
            (_, Err(newer @ BadHeader::Newer { .. })) => Err(newer),
            _ => Err(BadHeader::Both),
        }
    }
}

fn decode_copy(copy: &[u8]) -> Result<Header, BadHeader> {
    let copy = copy.get(..HEADER_LEN).ok_or(BadHeader::Both)?;
    if copy[..8] != SEGMENT_MAGIC || LE::read_u32(&copy[128..132]) != crc32fast::hash(&copy[..128])
    {
        return Err(BadHeader::Both);
    }
    let (major, minor) = (LE::read_u16(&copy[8..10]), LE::read_u16(&copy[10..12]));
    // This version writes whatever it opens, so a feature that allows reading only refuses as well.
    let incompat = LE::read_u64(&copy[24..32]) | LE::read_u64(&copy[32..40]);
    if major != FORMAT_MAJOR || incompat != 0 || LE::read_u16(&copy[12..14]) != CHECKSUM_CRC32 {
        return Err(BadHeader::Newer { major, minor, incompat });
    }
    let mut log_id = LogId([0; 16]);
    log_id.0.copy_from_slice(&copy[40..56]);
    let mut words = [0; 9];
    LE::read_u64_into(&copy[56..128], &mut words);
    let [id, salt, created, batch_max, pred_id, pred_salt, end, last_seq, born_end] = words;
    let predecessor =
        (pred_id != 0).then_some(Predecessor { id: pred_id, salt: pred_salt, end, last_seq });
    let reused = LE::read_u64(&copy[16..24]) & REUSED != 0;
    Ok(Header { log_id, id, salt, created, batch_max, predecessor, born_end, reused })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let predecessor = Some(Predecessor { id: 6, salt: 11, end: 70_000, last_seq: 99 });
        Header {
            log_id: LogId(*b"0123456789abcdef"),
            id: 7,
            salt: 12,
            created: 13,
            batch_max: 1 << 20,
            predecessor,
            born_end: 8200,
            reused: false,
        }
    }

    fn front(a: &Header, b: &Header) -> Vec<u8> {
        let mut front = vec![0; 8192];
        front[..HEADER_LEN].copy_from_slice(&a.encode());
        front[4096..4096 + HEADER_LEN].copy_from_slice(&b.encode());
        front
    }

    #[test]
    fn either_copy_serves_and_each_flipped_bit_is_noticed() {
        let good = front(&header(), &header());
        assert_eq!(Header::decode(&good), Ok(header()));
        for bit in 0..132 * 8 {
            let mut one = good.clone();
            one[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&one), Ok(header()), "bit {bit}: the other copy serves");
            one[4096 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&one), Err(BadHeader::Both), "bit {bit} in both");
        }
    }

    #[test]
    fn two_valid_copies_that_differ_are_damage() {
        let other = Header { born_end: 9000, ..header() };
        assert_eq!(Header::decode(&front(&header(), &other)), Err(BadHeader::Differ));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut copy = header().encode();
        copy[8] = 2;
        let crc = crc32fast::hash(&copy[..128]);
        LE::write_u32(&mut copy[128..132], crc);
        let newer = BadHeader::Newer { major: 2, minor: 0, incompat: 0 };
        assert_eq!(Header::decode(&copy), Err(newer));
        for (feature, refused) in [(16, false), (24, true), (32, true)] {
            let mut copy = header().encode();
            copy[feature] = 4;
            let crc = crc32fast::hash(&copy[..128]);
            LE::write_u32(&mut copy[128..132], crc);
            let newer = BadHeader::Newer { major: 1, minor: 0, incompat: 4 };
            let wanted = if refused { Err(newer) } else { Ok(header()) };
            assert_eq!(Header::decode(&copy), wanted, "features at {feature}");
        }
        for len in 0..HEADER_LEN {
            assert_eq!(Header::decode(&copy[..len]), Err(BadHeader::Both));
        }
    }
}
