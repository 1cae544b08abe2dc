//! Torn, corrupt or unproven: what the first bad batch of a segment means.
//!
//! A pure, total decision table over what was observed. Each row carries the reason it exists; the
//! test at the end proves that every combination of evidence matches exactly one row.
//! (The table stands in FORMAT.md, "Verdict".)

/// What was observed about X, the place of the first bad batch, whose expected sequence is s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// X lies before the segment's own `born_end`.
    pub(crate) before_born_end: bool,
    /// X lies before the end P that the successor's header states, or the index file of the highest
    /// segment says that it was sealed and there is no successor.
    pub(crate) before_sealed_end: bool,
    /// A later valid head, a marker included, states a durable sequence ≥ s.
    pub(crate) stated_durable: bool,
    /// The first valid head strictly after X (before P) is no marker, its bodies check, and it has
    /// exactly the sequence s: only markers are missing.
    pub(crate) only_markers_missing: bool,
    /// A zero head stands at X and nothing but zeros follows to the end of the file, whose length is
    /// a whole number of pages: a writer gives it no other, so at any other length it was cut.
    pub(crate) zeros_to_end: bool,
    /// X is directly after State or a batch that changes a promise, whose marker was in the same
    /// write: zeros there mean that something is missing.
    pub(crate) marker_was_due: bool,
}

/// What X means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Verdict {
    /// The segment was read to its stated end, or nothing was ever written at X.
    CleanEnd,
    /// Bytes that may or may not have been durable are missing: what an ordinary power cut leaves.
    Unproven,
    /// Only markers are missing; the batches go on behind them.
    MarkersMissing,
    /// Bytes that were durable are damaged.
    Corrupt,
}

/// A row of the table, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Row {
    /// X lies before `born_end`: all of that was synced before the file got its name.
    BornEnd = 1,
    /// X lies before the end that the successor states.
    SealedEnd = 2,
    /// A later head states the batch durable.
    StatedDurable = 3,
    /// Nothing but zeros, and no marker was due.
    Zeros = 4,
    /// Anything else.
    Otherwise = 5,
}

/// The verdict, with the row it came from.
///
/// Row 1 needs no exception for markers: what lies before `born_end` was written and synced in one
/// piece, so nothing of it may be missing. A successor's P may lie before `born_end` (a failed
/// writeback may have harmed that page); beyond it nothing counts, and nobody asks.
pub(crate) const fn judge(seen: &Observed) -> (Row, Verdict) {
    let excused =
        if seen.only_markers_missing { Verdict::MarkersMissing } else { Verdict::Corrupt };
    match (seen.before_born_end, seen.before_sealed_end, seen.stated_durable) {
        (true, _, _) => (Row::BornEnd, Verdict::Corrupt),
        (false, true, _) => (Row::SealedEnd, excused),
        (false, false, true) => (Row::StatedDurable, excused),
        (false, false, false) if seen.zeros_to_end && !seen.marker_was_due => {
            (Row::Zeros, Verdict::CleanEnd)
        }
        (false, false, false) => (Row::Otherwise, Verdict::Unproven),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Observed> {
        (0u8..64).map(|bits| Observed {
            before_born_end: bits & 1 != 0,
            before_sealed_end: bits & 2 != 0,
            stated_durable: bits & 4 != 0,
            only_markers_missing: bits & 8 != 0,
            zeros_to_end: bits & 16 != 0,
            marker_was_due: bits & 32 != 0,
        })
    }

    /// The rows as the document states them, each with what excludes the rows above it.
    fn rows(o: &Observed) -> [(Row, bool); 5] {
        let damage = o.before_born_end || o.before_sealed_end || o.stated_durable;
        let clean = o.zeros_to_end && !o.marker_was_due;
        [
            (Row::BornEnd, o.before_born_end),
            (Row::SealedEnd, o.before_sealed_end && !o.before_born_end),
            (Row::StatedDurable, o.stated_durable && !o.before_born_end && !o.before_sealed_end),
            (Row::Zeros, clean && !damage),
            (Row::Otherwise, !clean && !damage),
        ]
    }

    #[test]
    fn every_combination_of_evidence_matches_exactly_one_row() {
        for observed in all() {
            let fitting: Vec<Row> =
                rows(&observed).iter().filter(|(_, fits)| *fits).map(|(row, _)| *row).collect();
            assert_eq!(fitting, [judge(&observed).0], "{observed:?}");
        }
    }

    #[test]
    fn damage_is_never_forgiven_where_it_was_durable() {
        for observed in all() {
            let durable =
                observed.before_born_end || observed.before_sealed_end || observed.stated_durable;
            let (row, verdict) = judge(&observed);
            match verdict {
                Verdict::Corrupt => assert!(durable, "{observed:?}"),
                Verdict::MarkersMissing => {
                    assert!(durable && observed.only_markers_missing, "{observed:?}");
                    assert_ne!(row, Row::BornEnd, "{observed:?}");
                }
                Verdict::CleanEnd | Verdict::Unproven => assert!(!durable, "{observed:?}"),
            }
        }
    }

    #[test]
    fn zeros_where_a_marker_was_due_are_said_aloud() {
        let due = Observed { zeros_to_end: true, marker_was_due: true, ..Observed::default() };
        assert_eq!(judge(&due), (Row::Otherwise, Verdict::Unproven));
        let not_due = Observed { marker_was_due: false, ..due };
        assert_eq!(judge(&not_due), (Row::Zeros, Verdict::CleanEnd));
    }
}
