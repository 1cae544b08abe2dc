//! The README of the repository shows the example that is compiled with this crate.

#[test]
fn both_readmes_show_the_same_example() {
    let example = |readme: &str| {
        let section = readme.split_once("## Use it with openraft").expect("the section").1;
        let code = section.split_once("```rust").expect("code").1;
        code.split_once("```").expect("its end").0.to_owned()
    };
    let own = example(include_str!("../../README.md"));
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    assert_eq!(example(&std::fs::read_to_string(repository).unwrap()), own);
    assert!(own.lines().count() > 20, "{own}");
}
