//! Repairs, over every damage of the campaign: alone, and with a replica.
//!
//! With `HARDLOG_EVERY_BIT=1` each bit and each length; otherwise one bit of each byte of blocks that
//! hold something (of each third byte with a replica), a few of those that hold nothing, and a part
//! of the lengths.

use std::collections::BTreeSet;

use hardlog_tests::{
    damage::{Harm, Specimen},
    repair::{Came, Table, suffer},
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
