//! The fields of a batch: head, sections, bodies, padding, and the zero head behind it.
//!
//! Above: `hex`. Below: nothing; the lengths that stand there are used only within what was read.

use std::io;

use super::{Field, Good, Taker, entry_name, little, read};
use crate::{
    batch::{HEAD_LEN, Head, SECTION_LEN, is_zero, kind, magic_at, pad8},
    entry::Index,
    fs::File,
    recovery::evidence::Place,
};

/// Bytes of a batch that are read; what lies behind is said to be left out.
const READ_MAX: usize = 1 << 20;
/// Entries of a section that are shown one by one.
const ENTRIES_MAX: u64 = 1000;

/// What stands at `offset`, read as a batch.
pub(super) fn fields(
    file: &dyn File,
    place: Option<&Place<'_>>,
    offset: u64,
) -> io::Result<Vec<Field>> {
    let bytes = read(file, offset, READ_MAX)?;
    let salt = place.map(|place| place.header.salt);
    let head = Head::peek_any(&bytes);
    let mut at = Taker { bytes: &bytes, offset, out: Vec::new() };
    at.out.push(Field::title(offset, "batch"));
    if is_zero(bytes.get(..HEAD_LEN).unwrap_or_default()) {
        at.push(HEAD_LEN, "zero head", |_| ("nothing was written here".to_owned(), Good::Unknown));
        return Ok(at.out);
    }
    let magic = salt.map(|salt| u64::from(magic_at(salt, offset)));
    at.push(4, "magic", |found| match magic {
        Some(magic) if magic == little(found) => ("as it must be here".to_owned(), Good::Yes),
        Some(_) => ("not that of a batch at this place".to_owned(), Good::No),
        None => ("cannot be checked without a header".to_owned(), Good::Unknown),
    });
    let sums = head.zip(salt).and_then(|(head, salt)| head.sums(&bytes, salt, offset));
    at.crc("head CRC", sums.map(|(_, computed)| computed));
    let sections_len = at.number(4, "sections, bytes");
    let bodies_len = at.number(4, "bodies, bytes");
    at.number(8, "sequence");
    at.number(8, "durable");
    at.push(8, "flags", |flags| match little(flags) {
        0 => ("0".to_owned(), Good::Yes),
        1 => ("1: a marker".to_owned(), Good::Yes),
        other => (format!("{other:#x}: no such flags"), Good::No),
    });
    let limit = place.map_or(u64::MAX, |place| place.frame.batch_max);
    let total = pad8(HEAD_LEN) as u64 + sections_len + bodies_len;
    if total > limit {
        let says = format!("{total} bytes, where {limit} are the limit of this segment");
        at.out.push(Field { says, good: Good::No, ..Field::title(offset, "length") });
        return Ok(at.out);
    }
    let mut bodies = Vec::new();
    let mut left = sections_len;
    while left >= SECTION_LEN as u64 && at.bytes.len() >= SECTION_LEN {
        left = left.saturating_sub(section(&mut at, left, &mut bodies));
    }
    if left > 0 {
        let rest = usize::try_from(left).unwrap_or(usize::MAX);
        at.push(rest, "no section", |_| (String::new(), Good::No));
    }
    for Body { name, len, crc } in bodies {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        at.push(len, &name, |bytes| {
            let found = crc32fast::hash(bytes);
            let good = if found == crc { Good::Yes } else { Good::No };
            (format!("stored {crc:08x} computed {found:08x}"), good)
        });
    }
    let end = offset + total;
    if let Some(padding) = usize::try_from(end.next_multiple_of(8) - end).ok().filter(|n| *n > 0) {
        at.push(padding, "padding", |bytes| {
            let good = if is_zero(bytes) { Good::Yes } else { Good::No };
            ("zeros to a multiple of 8".to_owned(), good)
        });
    }
    Ok(at.out)
}

/// A body that a section announces.
struct Body {
    name: String,
    len: u64,
    crc: u32,
}

/// Takes one section of at most `left` bytes; returns how many it took.
fn section(at: &mut Taker<'_>, left: u64, bodies: &mut Vec<Body>) -> u64 {
    let begins = at.offset;
    let number = |at: &Taker<'_>, from: usize, len: usize| {
        little(at.bytes.get(from..from + len).unwrap_or_default())
    };
    let kind = u16::try_from(number(at, 0, 2)).unwrap_or(u16::MAX);
    let len = number(at, 4, 4);
    at.out.push(Field::title(begins, format!("section: {}", kind_name(kind))));
    at.push(2, "kind", |_| {
        let known = kind_name(kind) != "unknown" || kind & kind::SKIPPABLE != 0;
        (kind.to_string(), if known { Good::Unknown } else { Good::No })
    });
    at.number(2, "flags");
    at.number(4, "length");
    at.number(4, "group");
    at.number(4, "reserved");
    let len = usize::try_from(len.min(left - SECTION_LEN as u64)).unwrap_or(usize::MAX);
    let content = at.bytes.get(..len).unwrap_or(at.bytes);
    let mut inner = Taker { bytes: content, offset: at.offset, out: Vec::new() };
    contents(&mut inner, kind, bodies);
    if !inner.bytes.is_empty() {
        let rest = inner.bytes.len();
        inner.raw(rest, "more", Good::Unknown);
    }
    let Taker { out, .. } = inner;
    at.out.extend(out);
    at.take(len);
    at.offset - begins
}

fn kind_name(kind: u16) -> &'static str {
    match kind {
        kind::ENTRIES => "entries",
        kind::HARD_STATE => "hard state",
        kind::META => "meta",
        kind::TRUNCATE_FROM => "truncate from",
        kind::TRIM_BEFORE => "trim before",
        kind::RESET => "reset",
        kind::SNAPSHOT_MARK => "snapshot mark",
        kind::REFILL => "refill",
        kind::STATE => "state",
        kind::ACKNOWLEDGE_LOSS => "acknowledge loss",
        _ => "unknown",
    }
}

fn contents(at: &mut Taker<'_>, kind: u16, bodies: &mut Vec<Body>) {
    match kind {
        kind::ENTRIES => entries(at, bodies),
        kind::HARD_STATE => {
            for name in ["term", "vote", "commit", "has a vote"] {
                at.number(8, name);
            }
        }
        kind::META => slot(at, bodies),
        kind::TRUNCATE_FROM => drop(at.number(8, "first index dropped")),
        kind::TRIM_BEFORE | kind::RESET => {
            for name in ["new first index", "id before it is known", "its term", "its tag"] {
                at.number(8, name);
            }
        }
        kind::SNAPSHOT_MARK => mark(at),
        kind::REFILL => {
            let index = id(at);
            let crc = at.number(4, "CRC");
            let len = at.number(4, "length");
            let crc = u32::try_from(crc).unwrap_or(0);
            bodies.push(Body { name: format!("{}, its bytes", entry_name(index)), len, crc });
        }
        kind::STATE => state(at, bodies),
        _ => {}
    }
}

fn id(at: &mut Taker<'_>) -> Index {
    let index = at.number(8, "index");
    at.number(8, "term");
    at.number(8, "tag");
    index
}

fn mark(at: &mut Taker<'_>) {
    id(at);
    at.number(8, "snapshot file, bytes");
    at.push(4, "snapshot file, CRC", |crc| (format!("{:08x}", little(crc)), Good::Unknown));
    at.number(4, "reserved");
}

fn slot(at: &mut Taker<'_>, bodies: &mut Vec<Body>) {
    let key = at.number(8, "key");
    at.number(4, "class (1 is a promise)");
    let crc = u32::try_from(at.number(4, "CRC")).unwrap_or(0);
    let len = at.number(4, "length");
    at.number(4, "reserved");
    bodies.push(Body { name: format!("slot {key}, its value"), len, crc });
}

fn entries(at: &mut Taker<'_>, bodies: &mut Vec<Body>) {
    let first = id(at);
    let count = at.number(4, "count");
    at.number(4, "codec");
    let mut begins = 0;
    for i in 0..count.min(ENTRIES_MAX) {
        if at.bytes.is_empty() {
            break;
        }
        let name = entry_name(first.saturating_add(i));
        let end = at.number(4, &format!("{name}: end"));
        let crc = u32::try_from(little(at.bytes.get(..4).unwrap_or_default())).unwrap_or(0);
        at.push(4, &format!("{name}: CRC"), |_| (format!("{crc:08x}"), Good::Unknown));
        let len = end.saturating_sub(begins);
        bodies.push(Body { name: format!("{name}, its bytes"), len, crc });
        begins = end;
    }
}

fn state(at: &mut Taker<'_>, bodies: &mut Vec<Body>) {
    for name in [
        "present, bits",
        "first index",
        "next index",
        "term before the window",
        "tag before the window",
        "term of the last entry",
        "tag of the last entry",
        "term",
        "vote",
        "commit",
    ] {
        at.number(8, name);
    }
    mark(at);
    at.number(8, "maybe lost from");
    at.raw(32, "reserved", Good::Unknown);
    let slots = at.number(4, "metadata slots");
    at.number(4, "reserved");
    for _ in 0..slots.min(crate::batch::META_SLOTS_MAX as u64) {
        slot(at, bodies);
    }
}
