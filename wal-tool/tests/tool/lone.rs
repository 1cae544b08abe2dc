//! One segment file on its own, under any name.

use std::fs;

use hardlog::layout::segment_name;

use crate::{code, directories as made, text, tool};

#[test]
fn one_file_of_a_log_can_be_looked_at_wherever_it_lies() {
    let home = tempfile::tempdir().expect("a directory");
    let disk = made::rotten();
    made::lay(&disk, &home.path().join("n1"));
    let second = home.path().join("n1").join(segment_name(2));
    fs::copy(&second, home.path().join("evidence.bin")).expect("copies");
    // The same damage as in its directory, and no word about files that are not here.
    let output = tool(home.path(), "verify evidence.bin --format ndjson");
    let stdout = text(&output.stdout);
    assert_eq!(code(&output), 3, "{stdout}");
    let codes: Vec<&str> = ["W202", "W301", "W104", "W502"]
        .into_iter()
        .filter(|code| stdout.contains(&format!("\"code\":\"{code}\"")))
        .collect();
    assert_eq!(codes, ["W202"], "{stdout}");
    for command in ["status", "ls", "stats", "dump"] {
        let output = tool(home.path(), &format!("{command} evidence.bin"));
        let known = [1, 3].contains(&code(&output)) || command == "status";
        assert!(known && output.stderr.is_empty(), "{command}: {output:?}");
        assert!(!output.stdout.is_empty(), "{command}");
    }
    let output = tool(home.path(), "get evidence.bin 200 --json");
    assert_eq!(code(&output), 3);
    assert!(text(&output.stdout).contains("\"sound\": false"), "{output:?}");
    assert_eq!(code(&tool(home.path(), "get evidence.bin 201")), 0);
    assert_eq!(code(&tool(home.path(), "hex evidence.bin 2")), 0);
    assert_eq!(code(&tool(home.path(), "hex evidence.bin 3")), 2);
}

#[test]
fn a_file_that_is_no_segment_is_named_and_nothing_is_believed() {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("notes.txt"), vec![b'x'; 20_000]).expect("writes");
    assert_eq!(code(&tool(home.path(), "verify notes.txt")), 4);
    // With a segment's name or a segment's first bytes it is one, and damaged.
    for (name, bytes) in [(segment_name(9), "x"), ("begun".to_owned(), "hardlog\n")] {
        fs::write(home.path().join(&name), bytes.repeat(3000)).expect("writes");
        let output = tool(home.path(), &format!("verify {name}"));
        assert_eq!(code(&output), 3, "{output:?}");
        assert!(text(&output.stdout).contains("W304"), "{output:?}");
    }
}
