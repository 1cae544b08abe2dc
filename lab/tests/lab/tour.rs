//! The tour of the README, step by step, as somebody would type it: in an empty directory beside
//! the repository's `lab`, with the program on the path.

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command};

use tempfile::TempDir;

/// A block of the README: what stands behind its fence, and its text.
type Block<'a> = (&'a str, String);

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((kind, body.join("\n") + "\n"));
        }
    }
    blocks
}

#[test]
fn every_step_of_the_tour_works_and_prints_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let dir = TempDir::new().unwrap();
    symlink(root, dir.path().join("lab")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_raft-lab")).parent().unwrap();
    let path = format!("{}:{}", program.display(), env::var("PATH").unwrap());
    let (mut steps, mut compared, mut printed) = (0, 0, None);
    for (kind, text) in blocks(&readme) {
        match kind {
            "sh tour" => {
                let mut step = Command::new("sh");
                step.args(["-e", "-c", &text]).current_dir(&dir).env("PATH", &path);
                let output = step.env("NO_COLOR", "1").output().unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{text}{said}{error}");
                (steps, printed) = (steps + 1, Some(said));
            }
            // What follows a step; a table of nodes, whose times may change, is an example.
            "text" => {
                let Some(said) = printed.take() else { continue };
                let mut rest = said.as_str();
                for line in text.lines() {
                    let at = rest.find(line);
                    rest = &rest[at.unwrap_or_else(|| panic!("no {line:?} in {said}"))..];
                    compared += 1;
                }
            }
            _ => {}
        }
    }
    assert_eq!((steps, compared), (8, 12));
    for (file, begins) in [
        ("run.html", "<!DOCTYPE html>"),
        ("figure8.html", "<!DOCTYPE html>"),
        ("eliben.html", "<!DOCTYPE html>"),
        ("run.json", "{\"traceEvents\":["),
        ("run.log", "node1 {\"node1\":1}"),
    ] {
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(text.starts_with(begins), "{file}");
    }
}

#[test]
fn the_pictures_of_the_readme_are_there_and_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let names: Vec<&str> =
        readme.split("](pictures/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert_eq!(names.len(), 3);
    for name in names {
        let size = fs::metadata(root.join("pictures").join(name)).unwrap().len();
        assert!((10_000..300 << 10).contains(&size), "{name} has {size} bytes");
    }
}
