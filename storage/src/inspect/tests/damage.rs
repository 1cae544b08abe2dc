//! One kind of damage each: the code, the verdict, and that everything else is still seen.

use super::*;
use crate::{header::BATCHES_AT, verdict::Verdict};

fn segments(fs: &SimFs) -> Vec<u64> {
    look(fs).expect("a log").segments.into_keys().collect()
}

/// Where `needle` first stands in a segment, from `from` on.
fn find(fs: &SimFs, id: u64, needle: &[u8], from: usize) -> u64 {
    let bytes = fs.read_file(Dir::Root, &segment_name(id)).expect("there");
    let at = bytes[from..].windows(needle.len()).position(|window| window == needle);
    (from + at.expect("found")) as u64
}

fn flip(fs: &SimFs, id: u64, offset: u64) {
    fs.flip_bit(Dir::Root, &segment_name(id), offset, 3);
}

fn opens(fs: &SimFs) -> Result<(), String> {
    let opened = Log::open_on(Arc::new(fs.clone()), options());
    opened.map(drop).map_err(|e| e.to_string())
}

#[test]
fn rot_of_a_payload_names_the_entry_and_the_rest_is_still_read() {
    let fs = healthy(10);
    let sealed = segments(&fs)[1];
    let report = look_at(&fs);
    let (first, _) = report.segments[1].contents.expect("read").indexes.expect("entries");
    let index = first + 2;
    let at = find(&fs, sealed, format!("{index:0>300}").as_bytes(), 8192);
    flip(&fs, sealed, at + 7);

    let report = look_at(&fs);
    assert_eq!(report.outcome(), Outcome::Damaged, "{report}");
    assert_eq!(codes(&report), [(Code::W202, Severity::Error)]);
    let finding = &report.findings[0];
    assert_eq!(finding.indexes, Some((index, index)));
    assert_eq!(finding.verdict, Some(Verdict::Corrupt));
    assert!(finding.detail.starts_with("stored "), "{}", finding.detail);
    assert_eq!(report.acknowledged().count(), 1);
    let entries: u64 = report.segments.iter().map(|s| s.contents.expect("read").entries).sum();
    assert_eq!(entries, 400, "the walk went on behind it");
    assert_eq!(report.summary.window, Some((1, 401)));
}

#[test]
fn rot_of_a_head_says_which_entries_lie_under_it() {
    let fs = healthy(11);
    let sealed = segments(&fs)[1];
    let report = look_at(&fs);
    let (first, _) = report.segments[1].contents.expect("read").indexes.expect("entries");
    // The batch of five entries that begins with the sixth of the segment.
    let body = find(&fs, sealed, format!("{:0>300}", first + 5).as_bytes(), 8192);
    let head = body - (40 + 16 + 32 + 5 * 8);
    flip(&fs, sealed, head + 17);

    let report = look_at(&fs);
    assert_eq!(codes(&report), [(Code::W201, Severity::Error)], "{:?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!(finding.offset, head);
    assert_eq!(finding.indexes, Some((first + 5, first + 9)));
    assert_eq!(report.outcome().code(), 3);
    let entries: u64 = report.segments.iter().map(|s| s.contents.expect("read").entries).sum();
    assert_eq!(entries, 395);
}

#[test]
fn a_torn_last_batch_is_no_damage_and_the_open_agrees() {
    let fs = SimFs::new(12);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).expect("creates");
    log.append(&entries(1..6, 1)).expect("appends");
    log.sync().expect("syncs");
    log.append(&entries(6..11, 1)).expect("appends");
    drop(log);
    let id = *segments(&fs).last().expect("one");
    let at = find(&fs, id, format!("{:0>300}", 8).as_bytes(), 8192);
    fs.zero(Dir::Root, &segment_name(id), at..at + 512);

    let report = look_at(&fs);
    assert_eq!(codes(&report), [(Code::W101, Severity::Warning)], "{:?}", report.findings);
    assert_eq!(report.outcome(), Outcome::Heals);
    assert_eq!(report.summary.window, Some((1, 6)));
    let (_, opened) = Log::open_on(Arc::new(fs), options()).expect("opens");
    assert_eq!(opened.verdict, report.findings[0].verdict);
    assert_eq!(opened.maybe_lost, report.summary.maybe_lost);
    assert_eq!(opened.window, report.summary.window.expect("known"));
}

#[test]
fn a_missing_segment_is_named_and_what_is_older_is_still_read() {
    let fs = healthy(13);
    let all = segments(&fs);
    fs.remove_file(Dir::Root, &segment_name(all[1]));
    let report = look_at(&fs);
    assert!(codes(&report).contains(&(Code::W301, Severity::Error)), "{:?}", report.findings);
    let missing = report.findings.iter().find(|f| f.code == Code::W301).expect("found");
    assert_eq!(missing.file_name(), segment_name(all[1]));
    let oldest = report.segments[0].contents.expect("the oldest was read");
    assert_eq!(oldest.indexes.expect("entries").0, 1);
    assert!(opens(&fs).is_err());
}

#[test]
fn a_missing_last_segment_is_known_by_the_index_file_of_the_one_before() {
    let fs = healthy(14);
    let all = segments(&fs);
    fs.remove_file(Dir::Root, &segment_name(*all.last().expect("some")));
    let report = look_at(&fs);
    assert!(codes(&report).contains(&(Code::W301, Severity::Error)), "{:?}", report.findings);
    assert!(opens(&fs).is_err());
}

#[test]
fn a_bad_or_missing_index_file_heals() {
    let fs = healthy(15);
    let all = segments(&fs);
    fs.flip_bit(Dir::Root, &index_name(all[0]), 40, 1);
    fs.remove_file(Dir::Root, &index_name(all[1]));
    let report = look_at(&fs);
    let expected = [(Code::W104, Severity::Warning), (Code::W104, Severity::Warning)];
    assert_eq!(codes(&report), expected, "{:?}", report.findings);
    assert_eq!(report.outcome(), Outcome::Heals);
    opens(&fs).expect("heals");
}

#[test]
fn files_of_nobody_are_listed_and_leftovers_go_at_the_next_open() {
    let fs = healthy(16);
    fs.write_file(Dir::Root, "notes.txt", b"remember the milk");
    fs.write_file(Dir::Tmp, "0-half.snap", b"half");
    let report = look_at(&fs);
    assert_eq!(report.foreign, ["notes.txt"]);
    assert_eq!(codes(&report), [(Code::W103, Severity::Warning)]);
    assert_eq!(report.outcome(), Outcome::Heals);
    opens(&fs).expect("opens");
    assert_eq!(look_at(&fs).count(Severity::Warning), 0);
}

#[test]
fn a_newer_format_is_named_and_not_called_damage() {
    let fs = healthy(17);
    let last = segment_name(*segments(&fs).last().expect("some"));
    let mut bytes = fs.read_file(Dir::Root, &last).expect("there");
    for at in [0, 4096] {
        bytes[at + 8] = 2;
        let crc = crc32fast::hash(&bytes[at..at + 128]);
        bytes[at + 128..at + 132].copy_from_slice(&crc.to_le_bytes());
    }
    fs.write_file(Dir::Root, &last, &bytes);
    let report = look_at(&fs);
    assert_eq!(report.outcome(), Outcome::NewerFormat, "{report}");
    assert_eq!(report.outcome().code(), 7);
}

#[test]
fn one_bad_copy_of_a_header_is_a_warning_and_two_are_damage() {
    let fs = healthy(18);
    let id = *segments(&fs).last().expect("some");
    flip(&fs, id, 60);
    assert_eq!(codes(&look_at(&fs)), [(Code::W304, Severity::Warning)]);
    opens(&fs.kill_image()).expect("the other copy serves");
    flip(&fs, id, 4096 + 60);
    let report = look_at(&fs);
    assert!(codes(&report).contains(&(Code::W304, Severity::Error)), "{:?}", report.findings);
    assert!(report.segments[0].contents.is_some(), "older segments are still read");
    assert!(opens(&fs).is_err());
}

#[test]
fn a_rotten_state_batch_is_damage_and_the_batches_behind_it_are_still_seen() {
    let fs = healthy(19);
    let id = *segments(&fs).last().expect("some");
    flip(&fs, id, BATCHES_AT + 20);
    let report = look_at(&fs);
    assert_eq!(report.outcome(), Outcome::Damaged, "{report}");
    assert_eq!(report.summary.window, None);
    assert!(report.segments.last().expect("some").contents.expect("read").markers > 0);
    assert!(opens(&fs).is_err());
}

#[test]
fn an_unreadable_sector_is_trouble_and_not_damage() {
    let fs = healthy(20);
    let name = segment_name(segments(&fs)[0]);
    fs.make_unreadable(Dir::Root, &name, 20_000 / 512);
    let report = look_at(&fs);
    assert_eq!(report.outcome(), Outcome::Unreadable, "{:?}", report.findings);
    assert_eq!(report.outcome().code(), 4);
    assert_eq!(report.troubles.len(), 1);
    let file = fs.open(Dir::Root, &name, crate::fs::Access::Read).expect("opens");
    assert!(file.read_at(&mut [0; 512], 20_000 / 512 * 512).is_err(), "the sector is bad");
}
