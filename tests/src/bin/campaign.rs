//! The crash campaign for as many states as there is time for, and single histories again.
//!
//! `campaign --states N --seed S` searches; `campaign --history LETTERS --seed S` looks at every crash
//! state of one history; `campaign --list` shows the letters.

use std::process::ExitCode;

use hardlog::fs::{SyncPoint, sim::Model};
use hardlog_tests::crash::{
    explore::{Opts, explore},
    search::{Campaign, Result, table, tell},
    world::OPS,
};

/// What was asked for.
#[derive(Default)]
struct Args {
    states: u64,
    depth: usize,
    length: usize,
    history: Option<String>,
    letters: Option<String>,
    list: bool,
    opts: Opts,
}

fn parse() -> std::result::Result<Args, String> {
    let mut args = Args { states: 100_000, depth: 2, length: 7, ..Args::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse().map_err(|e| format!("{text}: {e}"));
        let size = |text: String| text.parse().map_err(|e| format!("{text}: {e}"));
        match word.as_str() {
            "--states" => args.states = number(value()?)?,
            "--seed" => args.opts.seed = number(value()?)?,
            "--depth" => args.depth = size(value()?)?,
            "--length" => args.length = size(value()?)?,
            "--limit" => args.opts.limit = size(value()?)?,
            "--rot" => args.opts.rot = size(value()?)?,
            "--history" => args.history = Some(value()?),
            "--ops" => args.letters = Some(value()?),
            "--journal" => args.opts.model = Model::Journal,
            "--without" => {
                let name = value()?;
                let found = SyncPoint::ALL.iter().find(|point| format!("{point:?}") == name);
                args.opts.omit = Some(*found.ok_or(format!("no sync {name}"))?);
            }
            "--gather" => args.opts.gather = true,
            "--reuse" => args.opts.reuse = true,
            "--nested" => args.opts.nested = true,
            "--list" => args.list = true,
            other => return Err(format!("no option {other}")),
        }
    }
    Ok(args)
}

#[expect(clippy::print_stdout, reason = "a program that reports")]
fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(what) => {
            println!(
                "{what}\nusage: campaign [--states N] [--seed S] [--depth D] [--length L] [--ops LETTERS] [--gather] [--reuse]\n       campaign --history LETTERS [--seed S] [--limit N] [--rot N] [--journal] [--nested]\n       campaign --list"
            );
            return ExitCode::from(2);
        }
    };
    if args.list {
        OPS.iter().for_each(|(letter, what)| println!("{letter}  {what}"));
        return ExitCode::SUCCESS;
    }
    let result = match args.history {
        Some(history) => {
            let opts = Opts { every: true, ..args.opts };
            let outcome = explore(&history, &opts);
            let found = outcome.found.map(|found| (history, opts, found));
            Result { tally: outcome.tally, histories: 1, found }
        }
        None => {
            let new = Campaign::new(args.states, args.opts.seed);
            let letters = args.letters.unwrap_or(new.letters.clone());
            let (depth, length) = (args.depth, args.length);
            let Opts { omit, gather, reuse, .. } = args.opts;
            let base = Opts { omit, gather, reuse, ..new.base.clone() };
            Campaign { depth, length, letters, base, progress: true, ..new }.run()
        }
    };
    println!("{}", table(&result));
    match &result.found {
        Some(found) => {
            println!("{}", tell(found));
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
