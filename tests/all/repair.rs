//! Repairs, over every damage of the campaign: alone, and with a replica.
//!
//! With `HARDLOG_EVERY_BIT=1` each bit and each length; otherwise one bit of each byte of blocks that
//! hold something (of each third byte with a replica), a few of those that hold nothing, and a part
//! of the lengths.

use std::{collections::BTreeSet, sync::Arc};

use hardlog::{
    Entry, EntryId, Error, HardState, Log,
    fs::{Dir, Fs, sim::SimFs},
    inspect::Outcome,
    repair::{ApplyOptions, Ask, Refusal, RepairError, apply, plan},
};
use hardlog_tests::{
    crash::world::options,
    damage::{Harm, Specimen},
    lazy::{Lazy, Skip},
    repair::{Came, Table, accepting, cut_off, recovered, repair, suffer, view},
    view::View,
};

fn check(table: &Table, what: &str) {
    println!("{what}\n{table}");
    assert!(table.bad.is_empty(), "{what}\n{table}");
}

fn seen(table: &Table) -> BTreeSet<Came> {
    table.counts.keys().map(|(_, came)| *came).collect()
}

/// The damage of this run, and a part of it. What two files that changed names mean is for `damage`:
/// two things are wrong then.
fn chosen(specimen: &Specimen, one_of: u64) -> Vec<Harm> {
    let every = std::env::var_os("HARDLOG_EVERY_BIT").is_some();
    let part = |harm: &Harm| match *harm {
        Harm::Bit(file, at, bit) => {
            let step = if specimen.is_empty_block(file, at) { 61 } else { one_of };
            every || (at % 8 == u64::from(bit) && at % step == 0)
        }
        Harm::Cut(_, len) => every || len % (24 * one_of) == 0 || len % 512 == 0,
        Harm::Swap(..) => false,
        _ => true,
    };
    specimen.harms(every).into_iter().filter(part).collect()
}

#[test]
fn a_repair_drops_what_its_plan_names_and_nothing_else() {
    let specimen = Specimen::new().unwrap();
    let table = suffer(&specimen, &chosen(&specimen, 1), None);
    check(&table, "alone");
    let wanted =
        [Came::Sound, Came::Whole, Came::Unproven, Came::Lost, Came::Hopeless, Came::AsOnce];
    assert_eq!(seen(&table), BTreeSet::from(wanted), "{table}");
}

#[test]
fn a_replica_heals_what_is_lost() {
    let specimen = Specimen::new().unwrap();
    let peer = Specimen::seeded(77).unwrap().fs();
    let table = suffer(&specimen, &chosen(&specimen, 3), Some(&peer));
    check(&table, "with a replica");
    assert!(!seen(&table).contains(&Came::Hopeless), "{table}");
    assert_eq!(table.named, 0, "nothing is lost where a replica has it: {table}");
}

/// One damage of each sort that a repair does something different about.
fn sorts(specimen: &Specimen) -> Vec<(&'static str, Harm)> {
    let file = |end: &str, nth: usize| {
        let names = specimen.files().iter().enumerate();
        let mut fitting = names.filter(|(_, (_, name))| name.ends_with(end));
        fitting.nth(nth).map(|(at, _)| at).unwrap()
    };
    let (first, second, top) = (file(".wal", 0), file(".wal", 1), file(".wal", 2));
    let at = |file, needle: &[u8]| specimen.find(file, needle).unwrap();
    vec![
        ("a payload of a sealed segment", Harm::Bit(first, at(first, &[13; 300]), 3)),
        ("a payload of the open segment", Harm::Bit(top, at(top, &[19; 20]), 0)),
        ("a head of a sealed segment", Harm::Bit(second, at(second, &[15; 100]) - 60, 1)),
        ("State of a sealed segment", Harm::Zero(second, 16)),
        ("one copy of a header", Harm::Zero(first, 0)),
        ("a sealed segment", Harm::Missing(second)),
        ("the newest segment", Harm::Missing(top)),
        ("both headers of a sealed segment", Harm::Headless(first)),
        ("both headers of the newest segment", Harm::Headless(top)),
        ("an index file", Harm::Missing(file(".idx", 0))),
        ("the end of the last batch", Harm::Cut(top, at(top, &[23; 900]) + 70)),
    ]
}

/// As [`sorts`], with what only a replica can heal.
fn sorts_for_a_peer(specimen: &Specimen) -> Vec<(&'static str, Harm)> {
    let snapshot = specimen.files().iter().position(|(_, name)| name.ends_with(".snap")).unwrap();
    let mut all = sorts(specimen);
    all.push(("the marked snapshot", Harm::Bit(snapshot, 500, 2)));
    all
}

fn linked(disk: &SimFs) -> Lazy {
    Lazy::with_links(disk, Skip::Nothing)
}

fn interrupted(peer: Option<&SimFs>, sorts: &[(&'static str, Harm)], specimen: &Specimen) -> u64 {
    let (mut cuts, mut states) = (0, 0);
    for (what, harm) in sorts {
        let (c, s) =
            cut_off(specimen, harm, peer, &linked).unwrap_or_else(|e| panic!("{what}: {e}"));
        println!("{what:<32} cut off at {c:>3} calls, {s:>5} states after a crash");
        assert!(c > 5, "{what}: a repair that does nothing is not cut off");
        (cuts, states) = (cuts + c, states + s);
    }
    println!("cut off {cuts} times, {states} states after a crash, each repaired to the same end");
    states
}

#[test]
fn a_repair_that_is_cut_off_anywhere_is_run_again_and_ends_the_same() {
    let specimen = Specimen::new().unwrap();
    let alone = interrupted(None, &sorts(&specimen), &specimen);
    assert!(alone > 1000, "{alone} states");
}

#[test]
fn a_repair_from_a_replica_that_is_cut_off_is_run_again_and_ends_the_same() {
    let specimen = Specimen::new().unwrap();
    let peer = Specimen::seeded(77).unwrap().fs();
    let healed = interrupted(Some(&peer), &sorts_for_a_peer(&specimen), &specimen);
    assert!(healed > 1000, "{healed} states");
}

#[test]
fn what_is_recovered_elsewhere_is_what_a_repair_in_place_keeps() {
    let specimen = Specimen::new().unwrap();
    let healthy = recovered(&specimen.fs(), None).unwrap();
    assert!(healthy.shows(specimen.whole()), "{}", healthy.brief());
    assert_eq!((&healthy.vows, healthy.refused()), (&specimen.whole().vows, 0));
    for (what, harm) in sorts(&specimen) {
        let fs = specimen.harmed(&harm);
        let before = fs.digest();
        let there = recovered(&fs, None).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(fs.digest(), before, "{what}: the source was changed");
        repair(&fs, &Ask::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let here = view(&fs).unwrap();
        assert_eq!(there.entries, here.entries, "{what}");
        let of = |v: &View| (v.first, v.prev, v.commit, v.lost, v.vows.clone(), v.slot.clone());
        assert_eq!(of(&there), of(&here), "{what}");
    }
}

/// A log of 40 entries of term 2 in small segments, the last of them committed; `other` changes one.
fn peer_log(seed: u64, other: Option<(u64, u64, u8)>) -> SimFs {
    let fs = SimFs::new(seed);
    let mut log = Log::create_on(Arc::new(fs.clone()), options()).unwrap();
    log.save_hard_state(HardState { term: 3, vote: None, commit: 0 }).unwrap();
    for index in 1..=40 {
        let (term, fill) = match other {
            Some((at, term, fill)) if at == index => (term, fill),
            Some((at, term, _)) if index > at => (term, 7),
            _ => (2, 7),
        };
        log.append(&[Entry::new(index, term, vec![fill; 1500])]).unwrap();
        log.sync().unwrap();
    }
    log.save_hard_state(HardState { term: 3, vote: None, commit: 39 }).unwrap();
    log.close().unwrap();
    fs
}

/// Entry 5 rots: it is the fifth payload of its bytes in the oldest segment.
fn rotten() -> SimFs {
    let fs = peer_log(1, None);
    let name = fs.names(Dir::Root).into_iter().find(|name| name.ends_with(".wal")).unwrap();
    let bytes = fs.read_file(Dir::Root, &name).unwrap();
    let mut places = bytes.windows(1500).enumerate().filter(|(_, w)| w.iter().all(|b| *b == 7));
    let at = places.nth(4).unwrap().0 as u64;
    fs.flip_bit(Dir::Root, &name, at + 9, 2);
    fs
}

#[test]
fn a_replica_gives_back_what_rotted_and_one_that_conflicts_is_refused() {
    let healthy = peer_log(2, None);
    let fs = rotten();
    let ask = Ask { replica: Some(&healthy), ..Ask::default() };
    let (planned, applied) = repair(&fs, &ask).unwrap();
    assert_eq!((planned.loss, applied.report.outcome()), (None, Outcome::Clean));
    let after = view(&fs).unwrap();
    assert_eq!(after.entries.len(), 40);
    assert!(after.entries.iter().all(|(_, p)| p.as_deref() == Some(&[7_u8; 1500][..])));
    // Another payload in the same place, another term behind it, another payload in a neighbour.
    for other in [(5, 2, 8), (6, 3, 7), (3, 2, 9), (5, 3, 7)] {
        let (fs, peer) = (rotten(), peer_log(3, Some(other)));
        let before = fs.digest();
        let ask = Ask { replica: Some(&peer), ..Ask::default() };
        let refused = repair(&fs, &ask);
        assert!(
            matches!(
                refused,
                Err(RepairError::Refused(Refusal::ReplicaConflicts { index, .. })) if index == other.0
            ),
            "{other:?}: {refused:?}"
        );
        assert_eq!(fs.digest(), before, "{other:?}");
    }
}

#[test]
fn rails_hold_back_what_was_not_read_or_not_accepted() {
    let fs = rotten();
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let ask = Ask::default();
    let planned = plan(&fs, &ask).unwrap();
    let loss = planned.loss.unwrap();
    assert_eq!((loss.first, loss.last, loss.complete, loss.committed), (5, Some(40), 35, 35));
    drop(shared.lock().unwrap());
    let before = fs.digest();
    let refused = |digest: &str, accept: Option<std::ops::RangeInclusive<u64>>| {
        let how =
            ApplyOptions { digest: Some(digest), accept, options: options(), ..Default::default() };
        match apply(&shared, &ask, &how) {
            Err(RepairError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let changed = refused("0123456789abcdef", Some(5..=40));
    assert!(matches!(changed, Refusal::PlanChanged { .. }), "{changed}");
    assert!(matches!(refused(&planned.digest, None), Refusal::LossNotAccepted(_)));
    for other in [5..=39, 4..=40, 5..=u64::MAX] {
        assert!(matches!(refused(&planned.digest, Some(other)), Refusal::OtherLoss { .. }));
    }
    fs.set_capacity(Some(fs.used()));
    let full = refused(&planned.digest, Some(5..=40));
    assert!(matches!(full, Refusal::NoRoom { .. }), "{full}");
    fs.set_capacity(None);
    let held = shared.lock().unwrap();
    let locked = apply(&shared, &ask, &accepting(&planned));
    assert!(matches!(locked, Err(RepairError::Log(Error::Locked { .. }))), "{locked:?}");
    drop(held);
    assert_eq!(fs.digest(), before, "a rail changes nothing");
    apply(&shared, &ask, &accepting(&planned)).unwrap();
    assert_eq!(view(&fs).unwrap().next(), 5);
}

#[test]
fn surgery_drops_exactly_the_end_or_the_front_that_was_named() {
    for to in [1, 7, 20, 39] {
        let fs = peer_log(1, None);
        let ask = Ask { keep_to: Some(to), ..Ask::default() };
        let (planned, _) = repair(&fs, &ask).unwrap();
        assert_eq!(planned.loss.map(|loss| (loss.first, loss.last)), Some((to + 1, Some(40))));
        let after = view(&fs).unwrap();
        assert_eq!((after.first, after.next(), after.commit), (1, to + 1, to.min(39)));
        assert!(after.entries.iter().all(|(_, p)| p.as_deref() == Some(&[7_u8; 1500][..])));
        assert_eq!(after.lost, Some(to + 1), "what was dropped is called lost");
    }
    for from in [2, 7, 20, 40] {
        let fs = peer_log(1, None);
        let ask = Ask { keep_from: Some(from), ..Ask::default() };
        let (planned, applied) = repair(&fs, &ask).unwrap();
        assert_eq!(planned.trimmed.map(|loss| (loss.first, loss.last)), Some((1, Some(from - 1))));
        assert_eq!(applied.report.outcome(), Outcome::Clean);
        let after = view(&fs).unwrap();
        assert_eq!((after.first, after.next(), after.lost), (from, 41, None));
        assert_eq!(after.prev, Some(EntryId::new(from - 1, 2)));
    }
    for ask in
        [Ask { keep_to: Some(41), ..Ask::default() }, Ask { keep_from: Some(42), ..Ask::default() }]
    {
        assert!(matches!(plan(&peer_log(1, None), &ask), Err(RepairError::Refused(_))));
    }
    let on_damage = plan(&rotten(), &Ask { keep_to: Some(20), ..Ask::default() });
    assert!(matches!(on_damage, Err(RepairError::Refused(Refusal::Hopeless(_)))));
}
