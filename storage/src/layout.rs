//! File names ↔ numbers, both ways. No name is ever made from anything but numbers.

use crate::fs::Dir;

/// Number of a segment; only grows over the life of a log.
pub type SegmentId = u64;

/// Width of a segment's number in its file name, so that names sort as numbers do.
const SEGMENT_DIGITS: usize = 20;
/// Width of a snapshot's term in its file name; a larger term is simply longer.
const TERM_DIGITS: usize = 10;

/// `00000000000000000007.wal`
#[must_use]
pub fn segment_name(id: SegmentId) -> String {
    format!("{id:0SEGMENT_DIGITS$}.wal")
}

/// `00000000000000000007.idx`
#[must_use]
pub fn index_name(id: SegmentId) -> String {
    format!("{id:0SEGMENT_DIGITS$}.idx")
}

/// `00000000000000000040-0000000005.snap`
#[must_use]
pub fn snapshot_name(index: u64, term: u64) -> String {
    format!("{index:0SEGMENT_DIGITS$}-{term:0TERM_DIGITS$}.snap")
}

/// What a file name of a log's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Classified {
    /// `LOCK`
    Lock,
    /// A segment.
    Segment(SegmentId),
    /// The index file of a segment.
    Index(SegmentId),
    /// A snapshot of everything up to `index`, whose entry had `term`.
    Snapshot {
        /// Last index the snapshot covers.
        index: u64,
        /// Term of the entry at that index.
        term: u64,
    },
    /// Anything under `tmp/`.
    Temporary,
    /// Anything under `quarantine/`.
    Quarantined,
    /// One of the directories `snapshots`, `tmp`, `quarantine`.
    Directory,
    /// Not ours: left alone and reported.
    Foreign,
}

/// Classifies the name `name` found in `dir`.
#[must_use]
pub fn classify(dir: Dir, name: &str) -> Classified {
    match dir {
        Dir::Tmp => Classified::Temporary,
        Dir::Quarantine => Classified::Quarantined,
        Dir::Snapshots => snapshot(name).unwrap_or(Classified::Foreign),
        Dir::Root => root(name),
    }
}

fn root(name: &str) -> Classified {
    match name {
        "LOCK" => return Classified::Lock,
        "tmp" | "snapshots" | "quarantine" => return Classified::Directory,
        _ => {}
    }
    if let Some(id) = name.strip_suffix(".wal").and_then(number)
        && name == segment_name(id)
    {
        return Classified::Segment(id);
    }
    if let Some(id) = name.strip_suffix(".idx").and_then(number)
        && name == index_name(id)
    {
        return Classified::Index(id);
    }
    Classified::Foreign
}

fn snapshot(name: &str) -> Option<Classified> {
    let (index, term) = name.strip_suffix(".snap")?.split_once('-')?;
    let (index, term) = (number(index)?, number(term)?);
    (name == snapshot_name(index, term)).then_some(Classified::Snapshot { index, term })
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_at_the_extremes() {
        for id in [0, 1, 99, u64::MAX] {
            assert_eq!(classify(Dir::Root, &segment_name(id)), Classified::Segment(id));
            assert_eq!(classify(Dir::Root, &index_name(id)), Classified::Index(id));
            let found = classify(Dir::Snapshots, &snapshot_name(id, u64::MAX - id));
            assert_eq!(found, Classified::Snapshot { index: id, term: u64::MAX - id });
        }
    }

    #[test]
    fn anything_but_the_canonical_name_is_foreign() {
        for name in ["1.wal", "+0000000000000000001.wal", "00000000000000000001.wal~", ".wal", "x"]
        {
            assert_eq!(classify(Dir::Root, name), Classified::Foreign, "{name}");
        }
        for name in
            ["1-1.snap", "00000000000000000001.snap", "00000000000000000001-00000000001.snap"]
        {
            assert_eq!(classify(Dir::Snapshots, name), Classified::Foreign, "{name}");
        }
        let too_large = format!("{}9.wal", "9".repeat(19));
        assert_eq!(classify(Dir::Root, &too_large), Classified::Foreign);
    }
}
