//! The table of suites in `tests/README.md` is held against what this binary runs: every test that
//! it names is there, every test of a suite is in it, and it says the truth about real time.
//!
//! The tests of this binary are asked for with `--list`; those of the package itself are looked up
//! in its sources. That they pass is for the run that this test is part of.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::Command,
};

use super::real;

const HEAD: &str = "| suite | test | where it is here | in virtual time | in real time | passes |";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    suite: &'a str,
    name: &'a str,
    place: &'a str,
    virtual_time: &'a str,
    real_time: &'a str,
    passes: &'a str,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let body = text.lines().skip_while(|line| *line != HEAD).skip(2);
    let cells = body.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let body = cells.take_while(|cells| cells.len() == 8);
    body.map(|cells| Row {
        suite: cells[1],
        name: cells[2],
        place: cells[3].trim_matches('`'),
        virtual_time: cells[4],
        real_time: cells[5],
        passes: cells[6],
    })
    .collect()
}

/// Names of all tests of the suites, without what is in front of them all.
fn tests_here() -> BTreeSet<String> {
    let this = env::current_exe().expect("a test knows its own binary");
    let output = Command::new(this).arg("--list").output().expect("the binary runs again");
    let text = String::from_utf8(output.stdout).expect("names are text");
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    names.filter_map(|name| name.strip_prefix("suites::")).map(str::to_owned).collect()
}

/// `core::tests::elections::x` is the function `x` in `src/core/tests/elections.rs`.
fn is_in_the_package(place: &str) -> bool {
    let Some((module, name)) = place.rsplit_once("::") else { return false };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module.replace("::", "/"));
    let text = fs::read_to_string(path.with_extension("rs")).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {name}()"))
}

/// What is wrong with a table, given the tests that there are.
fn complaints(rows: &[Row<'_>], here: &BTreeSet<String>, real: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut named = BTreeMap::<&str, u32>::new();
    for row in rows {
        *named.entry(row.place).or_default() += 1;
        if !here.contains(row.place) && !is_in_the_package(row.place) {
            found.push(format!("{}: there is no test {}", row.name, row.place));
        }
        let in_real_time = real.contains(row.name) || row.place.starts_with("real::");
        if in_real_time == row.real_time.is_empty() {
            found.push(format!("{}: in real time {:?}", row.name, row.real_time));
        }
        if row.virtual_time.is_empty() != row.place.starts_with("real::") {
            found.push(format!("{}: in virtual time {:?}", row.name, row.virtual_time));
        }
        if row.passes != "yes" {
            found.push(format!("{}: passes {:?}", row.name, row.passes));
        }
    }
    for (place, times) in named {
        if times > 1 {
            found.push(format!("{place} is named {times} times"));
        }
    }
    for test in here.iter().filter(|test| test.contains("::test_")) {
        if !rows.iter().any(|row| row.place == test) {
            found.push(format!("{test} is not in the table"));
        }
    }
    for name in real {
        if !rows.iter().any(|row| row.name == *name) {
            found.push(format!("{name} runs in real time and is not in the table"));
        }
    }
    found
}

#[test]
fn the_table_names_the_tests_that_there_are() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/README.md");
    let text = fs::read_to_string(readme).expect("the repository has it");
    let rows = rows(&text);
    let real: BTreeSet<&str> = real::names().collect();
    let complaints = complaints(&rows, &tests_here(), &real);
    assert!(complaints.is_empty(), "{complaints:#?}");
    for (suite, count) in [("MIT 2", 28), ("MIT 3", 23), ("MIT 4", 8), ("raft-consensus", 23)] {
        assert_eq!(rows.iter().filter(|row| row.suite.starts_with(suite)).count(), count);
    }
    assert_eq!(rows.iter().filter(|row| row.suite == "eliben").count(), 30);
}

#[test]
fn a_table_that_says_something_else_is_refused() {
    let row = |place, real_time| Row {
        suite: "MIT 2A",
        name: "ReElection",
        place,
        virtual_time: "yes",
        real_time,
        passes: "yes",
    };
    let here = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let real = BTreeSet::from(["ReElection"]);
    let one: BTreeSet<String> = here(&["a::test_one"]);
    assert_eq!(complaints(&[row("a::test_one", "yes")], &one, &real), Vec::<String>::new());
    for (rows, here) in [
        (vec![row("a::test_two", "yes")], one.clone()),
        (vec![row("a::test_one", "")], one.clone()),
        (vec![row("a::test_one", "yes"), row("a::test_one", "yes")], one.clone()),
        (vec![row("a::test_one", "yes")], here(&["a::test_one", "b::test_more"])),
        (vec![Row { passes: "", ..row("a::test_one", "yes") }], one.clone()),
        (vec![Row { virtual_time: "", ..row("a::test_one", "yes") }], one),
        (Vec::new(), BTreeSet::new()),
    ] {
        assert!(!complaints(&rows, &here, &real).is_empty(), "{rows:?}");
    }
    assert!(is_in_the_package("core::tests::elections::same_term_double_vote_prevented"));
    assert!(!is_in_the_package("core::tests::elections::no_such_test"));
}
