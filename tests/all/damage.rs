//! Damage of every kind to a small log: the table of `tests/OUTCOMES.md`, made again.
//!
//! With `HARDLOG_EVERY_BIT=1` also the bits of blocks that hold nothing are flipped each; otherwise
//! one of each byte there.

use std::collections::BTreeSet;

use hardlog::OnDamage;
use hardlog_tests::damage::{Harm, Outcome, Specimen, Table};

fn check(table: &Table, what: &str) {
    println!("{what}\n{table}");
    assert!(table.bad.is_empty(), "{what}\n{table}");
}

/// What may come of each kind of damage; which of it does is in `tests/OUTCOMES.md`.
fn seen(table: &Table) -> BTreeSet<Outcome> {
    table.counts.keys().map(|(_, outcome)| outcome.clone()).collect()
}

#[test]
fn no_damage_is_silent_and_none_is_a_panic() {
    let specimen = Specimen::new().unwrap();
    let names: Vec<&str> = specimen.files().iter().map(|(_, name)| name.as_str()).collect();
    let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((count(".wal"), count(".idx"), count(".snap")), (3, 2, 1), "{names:?}");
    let every = std::env::var_os("HARDLOG_EVERY_BIT").is_some();
    let harms = specimen.harms(every);
    let refuse = specimen.suffer(&harms, OnDamage::Refuse);
    check(&refuse, "OnDamage::Refuse");
    let wanted = [
        Outcome::Equal,
        Outcome::Refused,
        Outcome::Unproven,
        Outcome::EntryRefused,
        Outcome::SnapshotRefused,
        Outcome::AsOnce,
    ];
    assert_eq!(seen(&refuse), BTreeSet::from(wanted), "{refuse}");
    // The other mode differs only where a payload is damaged: a part of the bits and lengths tells.
    let some = |harm: &&Harm| match harm {
        Harm::Bit(_, at, bit) => every || at % 8 == u64::from(*bit) && at % 3 == 0,
        Harm::Cut(_, len) => every || len % 16 == 0,
        _ => true,
    };
    let some: Vec<Harm> = harms.iter().filter(some).cloned().collect();
    let faulty = specimen.suffer(&some, OnDamage::Faulty);
    check(&faulty, "OnDamage::Faulty");
}
