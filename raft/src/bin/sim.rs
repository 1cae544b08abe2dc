//! Campaigns of the cluster simulator: `sim --seeds A..B [--minutes M]`.
//!
//! Prints a line of progress while it runs. When a rule is broken it prints the seed, the rule and
//! the command that replays it, and writes the trace, its timeline (a page for a browser) and each
//! node's directory.

// Forbidden to the pure core, and free elsewhere.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::{
    fs,
    io::{IsTerminal, Write},
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use hardlog_raft::sim::{
    campaign::{Campaign, Sum, run_caught},
    plan::Bug,
    play::{Ask, Outcome, Wrong},
    remains,
};

const USAGE: &str =
    "usage: sim --seeds A..B [--minutes M] [--threads T] [--out DIR] [--bug NAME | --wrong NAME]
       sim --seed N [--text] [--trace FILE] [--out DIR] [--bug NAME | --wrong NAME]

--seeds    run these seeds, B not included
--minutes  begin no seed after so many minutes
--threads  2 by default
--seed     run one seed
--text     print its trace
--trace    write its trace for tools to a file (see raft/TRACE.md)
--out      where trace, timeline and directories of a failed run go; sim-failure by default
--bug      put a bug into the core or the log; --bug list names them
--wrong    do something wrong around it; --wrong list names that";

/// What was asked for.
struct Args {
    seeds: Range<u64>,
    one: bool,
    minutes: Option<u64>,
    threads: usize,
    text: bool,
    trace: Option<PathBuf>,
    out: PathBuf,
    bug: Option<(&'static str, Bug)>,
    wrong: Option<(&'static str, Wrong)>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args {
        seeds: 0..0,
        one: false,
        minutes: None,
        threads: 2,
        text: false,
        trace: None,
        out: PathBuf::from("sim-failure"),
        bug: None,
        wrong: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        match word.as_str() {
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or(format!("{text} is no range"))?;
                args.seeds = number(from)?..number(to)?;
            }
            "--seed" => {
                let seed = number(&value()?)?;
                (args.seeds, args.one) = (seed..seed + 1, true);
            }
            "--minutes" => args.minutes = Some(number(&value()?)?),
            "--threads" => args.threads = usize::try_from(number(&value()?)?).unwrap_or(1),
            "--text" => args.text = true,
            "--trace" => args.trace = Some(PathBuf::from(value()?)),
            "--out" => args.out = PathBuf::from(value()?),
            "--bug" => args.bug = Some(named(&Bug::ALL, &value()?)?),
            "--wrong" => args.wrong = Some(named(&Wrong::ALL, &value()?)?),
            other => return Err(format!("no option {other}")),
        }
    }
    if args.seeds.is_empty() {
        return Err("no seeds".to_owned());
    }
    if args.trace.is_some() && !args.one {
        return Err("--trace is of one seed: it needs --seed".to_owned());
    }
    Ok(args)
}

fn named<T: Copy>(all: &[(&'static str, T)], name: &str) -> Result<(&'static str, T), String> {
    let found = all.iter().find(|(known, _)| *known == name);
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    found.copied().ok_or(format!("there are: {}", names.join(", ")))
}

#[expect(clippy::print_stdout, reason = "a program that reports")]
fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(what) => {
            println!("{what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (bug, wrong) = (args.bug.map(|(_, bug)| bug), args.wrong.map(|(_, wrong)| wrong));
    let ask = Ask { bug, wrong, ..Ask::default() };
    if args.one {
        let outcome = run_caught(args.seeds.start, &Ask { text: true, events: true, ..ask });
        if let Some(path) = &args.trace
            && let Err(error) = fs::write(path, &outcome.events)
        {
            println!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        if args.text {
            outcome.lines.iter().for_each(|line| println!("{line}"));
        }
        return report(&args, &outcome);
    }
    let campaign = Campaign::new(args.seeds.clone(), args.threads, ask.clone());
    let began = Instant::now();
    let sum = watch(&campaign, args.minutes, began);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("{} seeds in {minutes:.1} minutes: {:?}", campaign.done(), sum.tally);
    match sum.failed {
        None => ExitCode::SUCCESS,
        Some(failed) => {
            report(&args, &run_caught(failed.seed, &Ask { text: true, events: true, ..ask }))
        }
    }
}

/// Runs the campaign with a live line of progress.
fn watch(campaign: &Campaign, minutes: Option<u64>, began: Instant) -> Sum {
    let all = campaign.seeds.end - campaign.seeds.start;
    // A line that is written over where somebody watches, now and then a line in a file.
    let live = std::io::stderr().is_terminal();
    let pause = Duration::from_secs(if live { 1 } else { 20 });
    thread::scope(|scope| {
        let running = scope.spawn(|| campaign.run());
        let mut told = Instant::now();
        while !running.is_finished() {
            thread::sleep(Duration::from_millis(50));
            if minutes.is_some_and(|minutes| began.elapsed().as_secs() >= minutes * 60) {
                campaign.stop();
            }
            if told.elapsed() < pause {
                continue;
            }
            told = Instant::now();
            let (done, tally) = (campaign.done(), campaign.so_far().tally);
            let rate = done as f64 / began.elapsed().as_secs_f64();
            let line = format!(
                "{done} of {all} seeds, {rate:.0}/s; {} committed, {} starts, {} faults, {} changes, {:.0} h",
                tally.committed,
                tally.starts,
                tally.faults,
                tally.changes,
                tally.millis as f64 / 3.6e6
            );
            if live { eprint!("\r{line} ") } else { eprintln!("{line}") }
        }
        if live {
            eprintln!();
        }
        running.join().expect("a campaign catches the panics of its runs")
    })
}

/// Says what a run came to; writes what is left of it if it failed.
#[expect(clippy::print_stdout, reason = "a program that reports")]
fn report(args: &Args, outcome: &Outcome) -> ExitCode {
    let Some(breach) = &outcome.breach else {
        println!("seed {}: trace {:016x}, {:?}", outcome.seed, outcome.trace, outcome.tally);
        return ExitCode::SUCCESS;
    };
    let bug = args.bug.map_or(String::new(), |(name, _)| format!(" --bug {name}"));
    let wrong = args.wrong.map_or(String::new(), |(name, _)| format!(" --wrong {name}"));
    println!("seed {} broke {breach}", outcome.seed);
    println!(
        "replay: cargo run -p hardlog-raft --release --bin sim -- --seed {}{bug}{wrong}",
        outcome.seed
    );
    let dir = args.out.join(format!("seed-{}", outcome.seed));
    match write_out(&dir, outcome) {
        Ok(said) => print!("{said}"),
        Err(error) => println!("not all of it is in {}: {error}", dir.display()),
    }
    ExitCode::FAILURE
}

fn write_out(dir: &Path, outcome: &Outcome) -> std::io::Result<String> {
    let said = remains::write(dir, &outcome.events, &outcome.disks)?;
    let mut text = fs::File::create(dir.join("trace.txt"))?;
    for line in &outcome.lines {
        writeln!(text, "{line}")?;
    }
    Ok(said)
}
