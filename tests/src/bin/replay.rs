//! Searches further than the tests do: random histories on the engine until a number of crash states
//! was judged, each failure made shorter.
//!
//! ```text
//! cargo run --release -p hardlog-tests --bin replay -- --states 1000000 --rot --nested --seed 5
//! cargo run --release -p hardlog-tests --bin replay -- --history esipses --rot
//! ```

use std::{
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use hardlog::fs::sim::{Model, Rng};
use hardlog_tests::replay::{Check, Found, LETTERS, explore};

struct Args {
    check: Check,
    total: u64,
    length: usize,
    jobs: usize,
    history: Option<String>,
}

const USAGE: &str = "replay [--states N] [--length N] [--seed N] [--jobs N] [--per-call N] [--rot] \
                     [--nested] [--journal] [--history LETTERS]";

fn args() -> Result<Args, String> {
    let check = Check { every: true, ..Check::default() };
    let mut args = Args { check, total: 100_000, length: 9, jobs: 2, history: None };
    let mut rest = std::env::args().skip(1);
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{flag} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        let small = |text: String| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
        match flag.as_str() {
            "--states" => args.total = number(value()?)?,
            "--length" => args.length = small(value()?)?,
            "--seed" => args.check.seed = number(value()?)?,
            "--jobs" => args.jobs = small(value()?)?.max(1),
            "--per-call" => args.check.states = small(value()?)?,
            "--rot" => args.check.rot = true,
            "--nested" => args.check.nested = true,
            "--journal" => args.check.model = Model::Journal,
            "--history" => args.history = Some(value()?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let known = |letter: char| LETTERS.contains(letter);
    match &args.history {
        Some(history) if !history.chars().all(known) => Err(format!("the letters are {LETTERS}")),
        _ => Ok(args),
    }
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => return say(2, &why),
    };
    if let Some(history) = &args.history {
        let stats = explore(history, args.check);
        return match stats.found {
            Some(found) => tell(history, &found),
            None => say(0, &format!("{} states hold", stats.states)),
        };
    }
    let (states, histories) = (AtomicU64::new(0), AtomicU64::new(0));
    let found = std::thread::scope(|scope| {
        let (args, states, histories) = (&args, &states, &histories);
        let start = |job| scope.spawn(move || search(args, job as u64, states, histories));
        let jobs: Vec<_> = (0..args.jobs).map(start).collect();
        jobs.into_iter().find_map(|job| job.join().expect("a search does not panic"))
    });
    match found {
        Some((history, found)) => {
            let (history, found) = shorten(history, found, args.check);
            tell(&history, &found)
        }
        None => {
            let (histories, states) = (histories.into_inner(), states.into_inner());
            say(0, &format!("{histories} histories, {states} states hold"))
        }
    }
}

fn search(
    args: &Args,
    job: u64,
    states: &AtomicU64,
    histories: &AtomicU64,
) -> Option<(String, Found)> {
    let letters: Vec<char> = LETTERS.chars().collect();
    let mut rng = Rng::new(args.check.seed ^ (job << 32));
    while states.load(Ordering::Relaxed) < args.total {
        let history: String = (0..args.length).map(|_| letters[rng.below(letters.len())]).collect();
        let stats = explore(&history, args.check);
        states.fetch_add(stats.states, Ordering::Relaxed);
        histories.fetch_add(1, Ordering::Relaxed);
        if let Some(found) = stats.found {
            // The others end at their next look at the count.
            states.store(u64::MAX, Ordering::Relaxed);
            return Some((history, found));
        }
    }
    None
}

/// Leaves out letters as long as the history still fails.
fn shorten(mut history: String, mut found: Found, check: Check) -> (String, Found) {
    let mut at = 0;
    while at < history.len() {
        let mut less = history.clone();
        less.remove(at);
        match explore(&less, check).found {
            Some(still) => (history, found, at) = (less, still, 0),
            None => at += 1,
        }
    }
    (history, found)
}

fn tell(history: &str, found: &Found) -> ExitCode {
    say(
        1,
        &format!("COUNTER-EXAMPLE {history}\n  broken: {}\n  state: {}", found.broken, found.state),
    )
}

fn say(code: u8, what: &str) -> ExitCode {
    // Where nobody listens there is nobody to tell; the exit code says it all the same.
    let _ = writeln!(std::io::stdout(), "{what}");
    ExitCode::from(code)
}
