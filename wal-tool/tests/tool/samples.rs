//! Samples of the output, kept as files under `samples/`, and the ones in the README.
//!
//! `UPDATE_SAMPLES=1 cargo test -p wal-tool samples` writes them anew; read the difference then.

use std::{env, fs, path::Path};

use crate::{code, directories as made, text, tool};

/// File name, directory, arguments.
const SAMPLES: &[(&str, &str)] = &[
    ("status-healthy", "status healthy"),
    ("status-rotten", "rotten"),
    ("verify-healthy", "verify healthy"),
    ("verify-rotten", "verify rotten"),
    ("verify-headless", "verify headless"),
    ("verify-torn", "verify torn"),
    ("verify-gap", "verify gap"),
    ("verify-stateless", "verify stateless"),
    ("verify-rotten-json", "verify rotten --format ndjson"),
    ("dump-tail", "dump torn --tail 3"),
    ("dump-batches", "dump torn --segment 6 --batches"),
    ("dump-headless", "dump headless 180..200"),
    ("explain", "explain W202"),
    ("repair", "repair rotten"),
    ("repair-replica", "repair rotten --from-replica healthy"),
    ("repair-torn", "repair torn"),
    ("repair-stateless", "repair stateless"),
    ("repair-json", "repair headless --format ndjson"),
    ("truncate", "truncate healthy --after 595"),
    ("ls", "ls rotten"),
    ("ls-snapshots", "ls rotten --snapshots"),
    ("ls-json", "ls rotten --format ndjson"),
    ("get", "get healthy 310"),
    ("get-bad", "get rotten 200 --value none"),
    ("get-json", "get rotten 200 --json --value none"),
    ("hex", "hex headless 2@0x8580"),
    ("hex-header", "hex healthy 1 --format ndjson"),
    ("diff", "diff n1 n2 n3"),
    ("diff-json", "diff n1 n2 n3 --format ndjson"),
    ("diff-forged", "diff n1 n2 n4"),
    ("stats", "stats healthy"),
    ("stats-json", "stats headless --json"),
];

/// What differs from run to run: durations, and the free space of the machine.
pub(crate) fn settled(output: &str) -> String {
    let mut out = String::new();
    for line in output.lines() {
        let line = match (line.find(" in "), line.find(" s (")) {
            (Some(from), Some(to)) if from < to => {
                format!("{} in 0.00{}", &line[..from], &line[to..])
            }
            _ => line.to_owned(),
        };
        let line = match line.find("\"seconds\": ") {
            Some(from) => format!("{}\"seconds\": 0.0,", &line[..from]),
            None => line,
        };
        let line = match line.find("\"seconds\":").filter(|_| !line.contains("\"seconds\": ")) {
            Some(from) => {
                let rest = &line[from + 10..];
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                format!("{}\"seconds\":0.0{}", &line[..from], &rest[end..])
            }
            None => line,
        };
        let line = if line.trim_start().starts_with("free space") {
            "  free space  12.3 GiB".to_owned()
        } else {
            line
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn the_output_is_as_the_samples_say() {
    let home = tempfile::tempdir().expect("a directory");
    made::lay(&made::healthy(), &home.path().join("healthy"));
    made::lay(&made::rotten(), &home.path().join("rotten"));
    made::lay(&made::headless(), &home.path().join("headless"));
    made::lay(&made::torn(), &home.path().join("torn"));
    made::lay(&made::gap(), &home.path().join("gap"));
    made::lay(&made::stateless(), &home.path().join("stateless"));
    for (at, disk) in made::cluster().iter().chain([&made::forged()]).enumerate() {
        made::lay(disk, &home.path().join(format!("n{}", at + 1)));
    }
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut wrong = Vec::new();
    for &(name, arguments) in SAMPLES {
        let output = tool(home.path(), arguments);
        let run = format!(
            "$ wal-tool {arguments}\n{}$ echo $?\n{}\n",
            settled(&text(&output.stdout)),
            code(&output)
        );
        // A person's terminal has 80 columns; what was asked for as JSON is for programs.
        let human = !arguments.contains("json");
        for line in run.lines().filter(|_| human) {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        let path = samples.join(format!("{name}.txt"));
        if env::var_os("UPDATE_SAMPLES").is_some() {
            fs::write(&path, &run).expect("writes");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        if kept != run {
            wrong.push(format!("--- {name}: kept\n{kept}+++ now\n{run}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The README shows nothing that the tool does not print.
#[test]
fn the_sessions_of_the_readme_are_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let _alone = crate::README.lock();
    let readme = fs::read_to_string(root.join("README.md")).expect("a README");
    let sessions: Vec<&str> =
        readme.split("```").filter(|block| block.contains("$ wal-tool ")).collect();
    // Those of several commands are typed by `sessions`.
    let alone = |block: &&str| !block.starts_with("console") && !block.starts_with("terminal");
    let sessions: Vec<&str> = sessions.into_iter().filter(alone).collect();
    assert!(sessions.len() >= 3, "{} sessions", sessions.len());
    let mut samples = Vec::new();
    for &(name, _) in SAMPLES {
        let path = root.join(format!("tests/samples/{name}.txt"));
        samples.push(fs::read_to_string(path).expect("a sample"));
    }
    for session in sessions {
        let session = session.trim_start_matches("text").trim_start();
        let known = samples.iter().any(|sample| sample == session);
        assert!(known, "no sample is\n{session}");
    }
}
