//! A directory for each finding code, with everything that the tool says about it: kept under
//! `codes/`, for people and as JSON.
//!
//! `UPDATE_SAMPLES=1 cargo test -p wal-tool codes` writes them anew; read the difference then.

use std::{collections::BTreeMap, env, fs, path::Path};

use hardlog::{
    Log,
    fs::{Dir, sim::SimFs},
    inspect::Code,
    layout::segment_name,
};
use serde_json::Value;

use crate::{code, directories as made, forge::Forge, samples::settled, text, tool};

/// Code, exit code, and what makes the directory.
type Case = (&'static str, i32, fn() -> SimFs);

const CASES: [Case; 22] = [
    ("W101", 1, made::torn),
    ("W102", 1, markerless),
    ("W103", 1, unfinished),
    ("W104", 1, made::bad_index),
    ("W105", 1, made::harmless),
    ("W201", 3, made::headless),
    ("W202", 3, made::rotten),
    ("W203", 3, too_long),
    ("W204", 3, unknown_section),
    ("W205", 3, another_sequence),
    ("W301", 3, made::gap),
    ("W302", 3, made::short),
    ("W303", 3, made::foreign),
    ("W304", 1, half_a_header),
    ("W401", 3, index_gap),
    ("W402", 3, term_goes_back),
    ("W403", 3, commit_past_the_end),
    ("W404", 3, forgetful),
    ("W501", 3, made::bad_snapshot),
    ("W502", 3, made::stateless),
    ("W503", 3, made::short_snapshot),
    ("W504", 3, hole_behind_the_snapshot),
];

/// The entries batch in the middle of a segment.
fn middle(forge: &Forge) -> usize {
    let all = forge.of_kind(1, false);
    all[all.len() / 2]
}

fn forged(segment: u64, change: impl FnOnce(&mut Forge)) -> SimFs {
    let disk = made::healthy();
    let mut forge = Forge::open(&disk, segment);
    change(&mut forge);
    forge.save(&disk);
    disk
}

/// A marker behind the first vote has become zeros.
fn markerless() -> SimFs {
    forged(1, |forge| {
        let born = forge.born_end();
        let marker = *forge.of_kind(2, true).iter().find(|at| **at > born).expect("a marker");
        forge.zero(marker, 88);
    })
}

fn unfinished() -> SimFs {
    let disk = made::healthy();
    disk.write_file(Dir::Tmp, "0-half.snap", b"half a snapshot");
    disk
}

fn too_long() -> SimFs {
    forged(2, |forge| forge.put(middle(forge) + 12, 4, 0x7fff_fff0))
}

fn unknown_section() -> SimFs {
    forged(2, |forge| {
        let at = middle(forge);
        forge.put(at + 40, 2, 77);
        forge.seal(at);
    })
}

fn another_sequence() -> SimFs {
    forged(2, |forge| {
        let at = middle(forge);
        forge.put(at + 16, 8, forge.number(at + 16, 8) + 3);
        forge.seal(at);
    })
}

fn half_a_header() -> SimFs {
    let disk = made::healthy();
    disk.flip_bit(Dir::Root, &segment_name(3), 60, 3);
    disk
}

fn index_gap() -> SimFs {
    forged(2, |forge| {
        let at = middle(forge);
        forge.put(at + 56, 8, forge.number(at + 56, 8) + 3);
        forge.seal(at);
    })
}

fn term_goes_back() -> SimFs {
    forged(4, |forge| {
        let at = middle(forge);
        forge.put(at + 64, 8, 4);
        forge.seal(at);
    })
}

fn commit_past_the_end() -> SimFs {
    forged(5, |forge| {
        let at = *forge.of_kind(2, false).last().expect("a hard state");
        forge.put(at + 72, 8, 700);
        forge.seal(at);
    })
}

/// Term and vote of an earlier day, in every place that repeats them.
fn forgetful() -> SimFs {
    forged(5, |forge| {
        let born = forge.born_end();
        let all = [forge.of_kind(2, false), forge.of_kind(2, true)].concat();
        for at in all.into_iter().filter(|at| *at > born) {
            forge.put(at + 56, 8, 5);
            forge.seal(at);
        }
    })
}

/// The log was trimmed beyond its newest snapshot.
fn hole_behind_the_snapshot() -> SimFs {
    let disk = made::healthy();
    let options = made::options();
    let (mut log, _) = Log::open_on(std::sync::Arc::new(disk.clone()), options).expect("opens");
    log.trim_prefix(150).expect("trims");
    log.close().expect("closes");
    disk
}

#[test]
fn each_code_has_a_directory_that_shows_it_and_its_words_are_kept() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    let mut runs = Vec::new();
    for (name, exit, make) in CASES {
        made::lay(&make(), &home.join(name));
        runs.push((name, exit, format!("verify {name}"), format!("verify {name} --json")));
    }
    for (at, disk) in made::cluster().iter().chain([&made::forged()]).enumerate() {
        made::lay(disk, &home.join(format!("n{}", at + 1)));
    }
    runs.push(("W601", 3, "diff n1 n4".to_owned(), "diff n1 n4 --json".to_owned()));
    runs.push(("W602", 0, "diff n1 n3".to_owned(), "diff n1 n3 --json".to_owned()));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codes");
    let mut wrong = Vec::new();
    for (name, exit, human, machine) in &runs {
        let mut all = String::new();
        for arguments in [human, machine] {
            let output = tool(home, arguments);
            let stdout = settled(&text(&output.stdout));
            assert_eq!(code(&output), *exit, "{arguments}: {stdout}{}", text(&output.stderr));
            assert!(stdout.contains(name), "{arguments} does not say {name}: {stdout}");
            for line in stdout.lines().filter(|_| arguments == human) {
                assert!(line.chars().count() <= 80, "{arguments}: {line}");
            }
            all.push_str(&format!("$ wal-tool {arguments}\n{stdout}$ echo $?\n{exit}\n"));
        }
        let path = kept.join(format!("{name}.txt"));
        if env::var_os("UPDATE_SAMPLES").is_some() {
            fs::create_dir_all(&kept).expect("makes");
            fs::write(&path, &all).expect("writes");
        }
        if fs::read_to_string(&path).unwrap_or_default() != all {
            wrong.push(format!("--- {name}\n{all}"));
        }
    }
    assert!(wrong.is_empty(), "not as kept:\n{}", wrong.join("\n"));
    let shown: Vec<&str> = runs.iter().map(|run| run.0).collect();
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(shown, known, "each code has a directory");
}

/// The words of a page's first sentence, without what a table cannot hold.
fn first_sentence(cause: &str) -> String {
    let end = cause.find(". ").unwrap_or(cause.trim_end_matches('.').len());
    cause[..end].replace('|', "/")
}

/// How bad a code is in the directory that shows it: what its kept JSON says, at worst.
fn severity(name: &str) -> String {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/codes/{name}.txt"));
    let session = fs::read_to_string(kept).expect("kept");
    let from = session.find("--json\n").expect("a JSON run") + 7;
    let object = session[from..].split("$ echo").next().expect("a part");
    let object: Value = serde_json::from_str(object).expect("JSON");
    let all = object["findings"].as_array().expect("findings").iter();
    let these = all.filter(|finding| finding["code"] == name);
    let words = ["note", "warning", "error"];
    let worst = these.filter_map(|f| words.iter().position(|word| f["severity"] == **word)).max();
    words[worst.expect("it is shown")].to_owned()
}

/// Every code with its meaning, severity, exit code and directory, made of what the code, `explain` and
/// the kept runs say. `UPDATE_SAMPLES=1` writes it anew.
#[test]
fn the_table_of_the_readme_is_what_the_code_and_the_directories_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let _alone = crate::README.lock();
    let readme = fs::read_to_string(&path).expect("a README");
    let pages = tool(Path::new("."), "explain all --json").stdout;
    let pages: Value = serde_json::from_slice(&pages).expect("JSON");
    let exits: BTreeMap<&str, i32> =
        CASES.iter().map(|case| (case.0, case.1)).chain([("W601", 3), ("W602", 0)]).collect();
    let mut table = "| code | what it means | there | exit |\n|---|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let name = code.name();
        let mut pages = pages["pages"].as_array().expect("pages").iter();
        let page = pages.find(|page| page["code"] == name).expect(name);
        assert_eq!(page["title"], code.title());
        let says = first_sentence(page["cause"].as_str().expect("text"));
        table.push_str(&format!(
            "| [{name}](tests/codes/{name}.txt) | **{}**: {says} | {} | {} |\n",
            code.title(),
            severity(name),
            exits[name]
        ));
    }
    let from = readme.find("| code |").expect("the table");
    let len = readme[from..].find("\n\n").expect("its end") + 1;
    let now = format!("{}{table}{}", &readme[..from], &readme[from + len..]);
    if env::var_os("UPDATE_SAMPLES").is_some() {
        return fs::write(&path, &now).expect("writes");
    }
    assert!(now == readme, "the table is now\n{table}");
}
