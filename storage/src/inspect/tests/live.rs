//! The window as it counts: the same entries that an open hands out.

use std::ops::ControlFlow;

use super::*;
use crate::{Batch, EntryId, OnDamage, fs::sim::Rng};

/// Every row of the window: an entry with its bytes, or what is missing.
fn rows(fs: &SimFs) -> (Vec<Entry>, Vec<(u64, u64)>) {
    let window = Window::look(fs).expect("a log");
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    window
        .entries(fs, 0..=u64::MAX, &mut |row| {
            match row {
                Live::Entry(entry) if entry.sound => {
                    assert_eq!(crc32fast::hash(entry.payload), entry.crc);
                    entries.push(Entry { id: entry.id, payload: entry.payload.to_vec().into() });
                }
                Live::Entry(entry) => missing.push((entry.id.index, entry.id.index)),
                Live::Missing(span, _) => missing.push(span),
            }
            ControlFlow::Continue(())
        })
        .expect("reads");
    (entries, missing)
}

fn opened(fs: &SimFs) -> Vec<Entry> {
    let options = options().on_damage(OnDamage::Faulty);
    let (log, _) = Log::open_on(Arc::new(fs.kill_image()), options).expect("opens");
    let range = log.first_log_index()..log.next_log_index();
    log.entries(range, u64::MAX).map(|entry| entry.expect("reads").detach()).collect()
}

#[test]
fn whatever_a_log_went_through_its_window_is_what_an_open_hands_out() {
    for seed in 0..40 {
        let fs = SimFs::new(900 + seed);
        let small = options().segment_size(32 << 10);
        let mut log = Log::create_on(Arc::new(fs.clone()), small.clone()).expect("creates");
        let mut rng = Rng::new(seed);
        for term in 1..90 {
            let (first, next) = (log.first_log_index(), log.next_log_index());
            let mut batch = Batch::new();
            match rng.below(12) {
                0 if next > first => {
                    let from = first + rng.below((next - first).try_into().expect("few")) as u64;
                    batch.truncate_from(from).append(entries(from..from + 3, term));
                }
                1 => {
                    let id = EntryId::new(first + rng.below(50) as u64, term);
                    batch.reset(id.index + 1, Some(id));
                    batch
                        .append(entries(id.index + 1..id.index + 9, term))
                        .truncate_from(id.index + 4);
                }
                2 if next > first + 9 => drop(batch.trim_before(first + 8)),
                3 => {
                    log.close().expect("closes");
                    log = Log::open_on(Arc::new(fs.clone()), small.clone()).expect("opens").0;
                    continue;
                }
                n => drop(batch.append(entries(next..next + 1 + n as u64, term))),
            }
            log.write(&batch).expect("writes");
            if term % 30 == 29 {
                // On a live log too, where nothing is sealed behind the look.
                let (live, missing) = rows(&fs);
                let now: Vec<Entry> = log
                    .entries(log.first_log_index()..log.next_log_index(), u64::MAX)
                    .map(|entry| entry.expect("reads").detach())
                    .collect();
                assert_eq!((live, missing), (now, Vec::new()), "seed {seed}, term {term}");
            }
        }
        log.close().expect("closes");
        let (live, missing) = rows(&fs);
        assert_eq!((live, missing), (opened(&fs), Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_bad_payload_is_named_and_once_refilled_it_is_whole() {
    let fs = healthy(90);
    let whole = opened(&fs);
    let report = look_at(&fs);
    let id = report.segments[1].id;
    let index = report.segments[1].live.expect("it holds entries").0 + 3;
    let bytes = fs.read_file(Dir::Root, &segment_name(id)).expect("there");
    let needle = format!("{index:0>300}");
    let at = bytes.windows(300).position(|w| w == needle.as_bytes()).expect("there");
    fs.flip_bit(Dir::Root, &segment_name(id), at as u64 + 5, 1);
    assert_eq!(rows(&fs).1, [(index, index)]);

    let options = options().on_damage(OnDamage::Faulty);
    let (mut log, _) = Log::open_on(Arc::new(fs.clone()), options).expect("opens");
    let entry = whole.iter().find(|entry| entry.id.index == index).expect("there");
    log.refill(entry).expect("refills");
    log.close().expect("closes");
    assert_eq!(rows(&fs), (whole, Vec::new()));
}

#[test]
fn what_a_missing_segment_held_is_named_and_nothing_else() {
    let fs = healthy(91);
    let report = look_at(&fs);
    let gone = &report.segments[1];
    fs.remove_file(Dir::Root, &segment_name(gone.id));
    let (entries, missing) = rows(&fs);
    let (first, last) = gone.live.expect("it holds entries");
    assert_eq!(missing, [(first, last)]);
    assert_eq!(entries.len() as u64, 400 - (last - first + 1));
}

#[test]
fn live_spans_cover_the_window_once() {
    let fs = healthy(92);
    let mut log = Log::open_on(Arc::new(fs.clone()), options()).expect("opens").0;
    log.trim_tail(391).expect("truncates");
    log.append(&entries(391..420, 3)).expect("appends");
    log.trim_prefix(30).expect("trims");
    log.close().expect("closes");
    for quick in [false, true] {
        let report = verify(&fs, VerifyOptions::new().quick(quick), &mut |_| {}).expect("a log");
        let mut want = 30;
        for (first, last) in report.segments.iter().filter_map(|segment| segment.live) {
            assert_eq!(first, want, "{:?}", report.segments);
            want = last + 1;
        }
        assert_eq!(want, 420);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let fs = healthy(93);
    fs.garble(Dir::Root, &segment_name(2), 20_000..20_700, 1);
    let look = |threads| {
        let options = VerifyOptions::new().threads(threads);
        let report = verify(&fs, options, &mut |_| {}).expect("a log");
        format!("{:?} {:?} {:?}", report.summary, report.segments, report.findings)
    };
    let one = look(1);
    assert!(one.contains("W201") || one.contains("W202"), "{one}");
    for threads in [2, 3, 8, 64] {
        assert_eq!(look(threads), one, "{threads} threads");
    }
}
