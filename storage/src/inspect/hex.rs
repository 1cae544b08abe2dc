//! The bytes of a header or a batch, field by field, as they stand there.
//!
//! ```text
//!   0x2000  31 bf 0b c1   magic        as it must be here
//!   0x2004  9b 88 6b 65   head CRC     stored 656b889b computed 656b889b
//! ```
//!
//! Above: whoever prints it. Below: nothing but the layout of the fields: damage is shown, so nothing
//! is believed, and each length is bounded by the bytes at hand.
//! INVARIANT: the salts of a segment are never handed out.

mod batch;

use crate::{
    batch::PAGE,
    entry::Index,
    error::{Error, Result},
    fs::{Access, Dir, File, Fs, read_full},
    header::{BATCHES_AT, HEADER_LEN, SEGMENT_MAGIC},
    inspect::walk::{Event, walk},
    layout::{SegmentId, segment_name},
    recovery::{chain::open_segment, evidence::Place},
    segment::segment_path,
};

/// Whether a field is as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// It checks.
    Yes,
    /// It does not.
    No,
    /// Nothing can be said about it alone.
    Unknown,
}

/// Some bytes and what they mean.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Field {
    /// Where they begin in the file.
    pub offset: u64,
    /// How many they are; 0 for a headline.
    pub len: u64,
    /// The first of them, at most 16; empty where they are secret.
    pub bytes: Vec<u8>,
    /// What the format calls them.
    pub name: String,
    /// What they say.
    pub says: String,
    /// Whether that can be right.
    pub good: Good,
}

impl Field {
    fn title(offset: u64, name: impl Into<String>) -> Self {
        let (bytes, says) = (Vec::new(), String::new());
        Self { offset, len: 0, bytes, name: name.into(), says, good: Good::Unknown }
    }
}

/// Annotates a segment: without an offset its header, else the batch that stands at this offset or
/// around it, or what stands there if that is no batch.
///
/// # Errors
/// `Io`; damage is shown.
pub fn hex(fs: &dyn Fs, segment: SegmentId, offset: Option<u64>) -> Result<Vec<Field>> {
    let path = segment_path(fs, segment);
    let io = |op| {
        let path = path.clone();
        move |e| Error::io(op, path, e)
    };
    let name = segment_name(segment);
    let file = fs.open(Dir::Root, &name, Access::Read).map_err(io("open"))?;
    let mut front = vec![0; usize::try_from(BATCHES_AT).expect("8192")];
    let got = read_full(&*file, &mut front, 0).map_err(io("read"))?;
    front.truncate(got);
    let Some(offset) = offset.filter(|offset| *offset >= BATCHES_AT) else {
        let second = usize::try_from(PAGE).expect("4096");
        let mut fields = header(&front, 0);
        fields.extend(header(front.get(second..).unwrap_or_default(), PAGE));
        return Ok(fields);
    };
    let Ok(opened) = open_segment(fs, segment) else {
        // Without a salt no checksum of a batch can be computed.
        return batch::fields(&*file, None, offset).map_err(io("read"));
    };
    let place = Place::new((&*opened.file, &path), &opened.header, opened.len, None);
    let mut at = offset & !7;
    walk(place, &mut |event| {
        let (Event::State(head, _) | Event::Batch(head, ..)) = &event else {
            return std::ops::ControlFlow::Continue(());
        };
        if (head.offset..head.end()).contains(&offset) {
            at = head.offset;
        }
        if head.offset > offset {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    })?;
    batch::fields(&*opened.file, Some(&place), at).map_err(io("read"))
}

/// The fields of one copy of a header.
fn header(copy: &[u8], base: u64) -> Vec<Field> {
    let mut at = Taker { bytes: copy, offset: base, out: Vec::new() };
    at.out.push(Field::title(base, format!("segment header, copy {}", base / PAGE + 1)));
    let sound = copy.get(..HEADER_LEN).map(|copy| crc32fast::hash(&copy[..128]));
    let magic = copy.get(..8) == Some(&SEGMENT_MAGIC);
    at.raw(8, "magic", if magic { Good::Yes } else { Good::No });
    at.number(2, "format major");
    at.number(2, "format minor");
    at.number(2, "checksum id");
    at.number(2, "reserved");
    for name in ["features, compatible", "features, incompatible", "features, read-only"] {
        at.number(8, name);
    }
    at.raw(16, "log id", Good::Unknown);
    at.number(8, "segment id");
    at.secret(8, "salt");
    at.number(8, "created, ns since 1970");
    at.number(8, "batch_max");
    at.number(8, "predecessor: segment id");
    at.secret(8, "predecessor: salt");
    at.place(8, "predecessor: P");
    at.number(8, "predecessor: sequence");
    at.place(8, "born_end");
    at.crc("CRC of bytes 0..128", sound);
    at.number(4, "reserved");
    at.out
}

/// Takes fields off the front of some bytes.
struct Taker<'a> {
    bytes: &'a [u8],
    offset: u64,
    out: Vec<Field>,
}

impl<'a> Taker<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        self.offset += front.len() as u64;
        front
    }

    fn push(&mut self, len: usize, name: &str, says: impl FnOnce(&[u8]) -> (String, Good)) {
        let offset = self.offset;
        let bytes = self.take(len);
        let (says, good) =
            if bytes.len() < len { ("cut off".to_owned(), Good::No) } else { says(bytes) };
        let shown = bytes.get(..16).unwrap_or(bytes).to_vec();
        let name = name.to_owned();
        self.out.push(Field { offset, len: bytes.len() as u64, bytes: shown, name, says, good });
    }

    /// Bytes that speak for themselves.
    fn raw(&mut self, len: usize, name: &str, good: Good) {
        self.push(len, name, |_| (String::new(), good));
    }

    fn secret(&mut self, len: usize, name: &str) {
        self.push(len, name, |_| {
            ("never shown: the checksums are seeded with it".to_owned(), Good::Unknown)
        });
        if let Some(field) = self.out.last_mut() {
            field.bytes.clear();
        }
    }

    fn number(&mut self, len: usize, name: &str) -> u64 {
        let value = little(self.bytes.get(..len).unwrap_or_default());
        self.push(len, name, |_| (value.to_string(), Good::Unknown));
        value
    }

    fn place(&mut self, len: usize, name: &str) -> u64 {
        let value = little(self.bytes.get(..len).unwrap_or_default());
        self.push(len, name, |_| (format!("{value:#x}"), Good::Unknown));
        value
    }

    /// A checksum beside the one that was computed, if it could be.
    fn crc(&mut self, name: &str, computed: Option<u32>) {
        self.push(4, name, |stored| {
            let stored = little(stored);
            match computed.map(u64::from) {
                Some(found) if found == stored => {
                    (format!("stored {stored:08x} computed {found:08x}"), Good::Yes)
                }
                Some(found) => (format!("stored {stored:08x} computed {found:08x}"), Good::No),
                None => (format!("stored {stored:08x}, cannot be computed"), Good::Unknown),
            }
        });
    }
}

/// A little-endian number of at most 8 bytes.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// As many bytes of the file as there are, at most `len`.
fn read(file: &dyn File, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let there = file.len()?.saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(there).unwrap_or(usize::MAX).min(len)];
    let got = read_full(file, &mut bytes, offset)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Names an index for people.
fn entry_name(index: Index) -> String {
    format!("entry {index}")
}
