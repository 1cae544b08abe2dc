//! The README of the repository shows what the one of this package does, which is a doc test.

/// The first block of Rust that begins with `begin`, without the lines that rustdoc hides.
fn block<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let blocks = text.split("```rust\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let found = blocks.into_iter().find(|block| block.contains(begin));
    found.into_iter().flat_map(str::lines).filter(|line| !line.starts_with("# ")).collect()
}

#[test]
fn the_snippet_of_the_repository_is_the_one_that_is_tested() {
    let shown = block(include_str!("../../../../README.md"), "hardlog_raft_rs");
    let tested = block(include_str!("../../README.md"), "hardlog_raft_rs");
    assert_eq!(shown, tested);
    assert!(shown.len() > 20);
}

#[test]
fn the_example_stays_below_three_hundred_lines() {
    assert!(include_str!("../../examples/kv.rs").lines().count() < 300);
}
