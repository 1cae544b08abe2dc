//! The engine and the bare disk in turns, as a table of ratios against the targets.
//!
//! `cargo bench -p hardlog-benches --bench ratios -- [--quick] [--rounds N] [--only NAME] [DIR]`
//!
//! DIR is a directory on the file system to be measured; by default one beside the build's output.
//! NAME is one of the groups below. The exit code is 0 whatever the table says: a busy machine
//! makes no test fail.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use hardlog_benches::{
    data::Content,
    measure::{
        Plan,
        append::{buffered, rotation, synced},
        commit::group,
        open::{FILL, OPEN, fill_child, filled_and_killed, open_child, opened},
        read::reads,
        trim::half,
    },
    table::{Figure, HEADING},
};

/// A group of measurements, and what it is called on the command line.
type Group = (&'static str, fn(&Plan) -> Vec<Figure>);

const GROUPS: [Group; 6] = [
    ("synced", synced),
    ("buffered", buffered),
    ("group", group),
    ("sealed", |plan| sealed(plan, 64)),
    ("single", |plan| sealed(plan, 1)),
    ("rotation", rotation),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [OPEN, dir] => open_child(Path::new(dir)),
        [FILL, bytes, batch, dir] => match (bytes.parse(), batch.parse()) {
            (Ok(bytes), Ok(batch)) => fill_child(bytes, batch, Path::new(dir)),
            _ => return usage(),
        },
        words => {
            let Some((plan, only)) = parse(words) else { return usage() };
            if let Err(e) = run(&plan, only) {
                eprintln!("ratios: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: ratios [--quick] [--rounds N] [--only GROUP] [DIR]");
    eprintln!("groups: {}", GROUPS.map(|(name, _)| name).join(", "));
    ExitCode::from(2)
}

fn parse<'a>(words: &[&'a str]) -> Option<(Plan, Option<&'a str>)> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut plan = Plan { dir, rounds: 5, quick: false };
    let mut only = None;
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--quick" => (plan.quick, plan.rounds) = (true, 3),
            "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|&n| n >= 3)?,
            "--only" => {
                only = GROUPS.iter().map(|g| g.0).find(|g| words.as_slice().first() == Some(g))
            }
            dir if !dir.starts_with('-') => plan.dir = PathBuf::from(dir),
            _ => return None,
        }
        if word == "--only" {
            only?;
            words.next();
        }
    }
    Some((plan, only))
}

fn run(plan: &Plan, only: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout();
    let mode = if plan.quick { " (quick)" } else { "" };
    writeln!(out, "{} rounds{mode} in {}\n\n{HEADING}", plan.rounds, plan.dir.display())?;
    let (mut met, mut judged) = (0, 0);
    for (name, measure) in GROUPS {
        if only.is_some_and(|only| only != name)
            || (plan.quick && only.is_none() && name == "single")
        {
            continue;
        }
        for figure in measure(plan) {
            writeln!(out, "{figure}")?;
            judged += u32::from(figure.is_met().is_some());
            met += u32::from(figure.is_met() == Some(true));
        }
        out.flush()?;
    }
    writeln!(out, "\n{met} of {judged} targets met")
}

/// One large log: opened, read, trimmed.
fn sealed(plan: &Plan, batch: usize) -> Vec<Figure> {
    let content = Content { bytes: plan.pick(160 << 20, 1 << 30), batch };
    let scratch = plan.scratch();
    let log = scratch.path().join("log");
    filled_and_killed(&log, content);
    let mut figures = opened(plan, &log, content);
    figures.extend(reads(plan, &log, content));
    figures.extend(half(plan, &log, content));
    figures
}
