//! `compare DIR`: hardlog beside other logs and stores that a Raft could keep its log in, and beside
//! the bare disk, in one run: see the README beside it.
//!
//! Above: nothing. Below: the workloads, the stores, the tables.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use compare::{
    sheet::{Sheet, summary},
    store::{self, ALL, Result},
    work::{Plan, buffered, sealed, steady, synced, threads},
};

const USAGE: &str = "\
usage: compare DIR [--quick] [--rounds N] [--steady SECONDS] [--only WORKLOAD]... [--stores A,B,...]

Runs the same workloads on all stores, in turns, in directories below DIR, which must exist, and
removes them. Prints tables in Markdown.

  --quick           small sizes, under a minute: shows that it works, not how fast
  --rounds N        medians are over N rounds, 3 or more (default: 3)
  --steady SECONDS  how long each has in the steady state, over all rounds (default: 60)
  --only WORKLOAD   synced, threads, buffered, sealed or steady; may be repeated
  --stores A,B      only these (hardlog, raft-engine, rocksdb, redb, fjall, sled, okaywal, raft-log,
                    sqlite; hardlog-reuse, which else is only in steady, beside hardlog)
";

const SLED: &str = "\
sled's flush is sync_file_range on Linux: it does not make the disk empty its cache, so its synced
figures are of less than the others'.";

/// A workload, by its name on the command line.
type Work = (&'static str, fn(&Plan) -> Result<Vec<Sheet>>);

const WORKS: [Work; 5] = [
    ("synced", synced::run),
    ("threads", threads::run),
    ("buffered", buffered::run),
    ("sealed", sealed::run),
    ("steady", steady::run),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [sealed::FILL, name, mib, dir] => {
            child(mib, |mib| sealed::fill_child(name, mib, Path::new(dir)))
        }
        [sealed::OPEN, name, mib, dir] => {
            child(mib, |mib| sealed::open_child(name, mib, Path::new(dir)))
        }
        _ => match parse(&words) {
            Some((plan, works)) => run(&plan, &works),
            None => {
                let _ = io::stderr().write_all(USAGE.as_bytes());
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn child(mib: &str, work: impl FnOnce(u64) -> Result<()>) -> Result<()> {
    work(mib.parse()?)
}

fn parse(words: &[&str]) -> Option<(Plan, Vec<Work>)> {
    let (mut dir, mut only) = (None, Vec::new());
    let mut plan = Plan {
        dir: PathBuf::new(),
        rounds: 3,
        quick: false,
        steady: Duration::from_secs(60),
        kinds: ALL.to_vec(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--quick" => plan.quick = true,
            "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|n| *n >= 3)?,
            "--steady" => {
                let seconds = words.next()?.parse().ok().filter(|n| *n > 0)?;
                plan.steady = Duration::from_secs(seconds);
            }
            "--only" => {
                let name = words.next()?;
                only.push(*WORKS.iter().find(|work| work.0 == *name)?);
            }
            "--stores" => {
                let named = words.next()?.split(',');
                plan.kinds = named.map(store::named).collect::<Option<_>>()?;
            }
            word if word.starts_with('-') => return None,
            word => dir = dir.xor(Some(PathBuf::from(word))),
        }
    }
    plan.dir = dir?;
    Some((plan, if only.is_empty() { WORKS.to_vec() } else { only }))
}

fn run(plan: &Plan, works: &[Work]) -> Result<()> {
    let mut sheets = Vec::new();
    for (_, work) in works {
        for sheet in work(plan)? {
            writeln!(io::stdout(), "{}", sheet.markdown())?;
            sheets.push(sheet);
        }
    }
    if plan.kinds.iter().any(|kind| kind.name == "sled") {
        writeln!(io::stdout(), "{SLED}\n")?;
    }
    writeln!(io::stdout(), "### All ratios\n\n{}", summary(&sheets))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_not_run() {
        for words in [&[][..], &["a", "b"], &["a", "--rounds", "2"], &["a", "--only", "x"], &["-h"]]
        {
            assert!(parse(words).is_none(), "{words:?}");
        }
        let (plan, works) = parse(&["d", "--stores", "redb,hardlog", "--only", "steady"]).unwrap();
        assert_eq!(
            plan.kinds.iter().map(|kind| kind.name).collect::<Vec<_>>(),
            ["redb", "hardlog"]
        );
        assert_eq!(works.len(), 1);
    }
}
