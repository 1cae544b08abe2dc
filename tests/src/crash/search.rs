//! All short histories, then random longer ones, on all processors; the one that fails, shortened.

use std::{
    collections::VecDeque,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use hardlog::fs::sim::{Model, Rng};

use super::{
    explore::{Found, Opts, Outcome, Tally, explore},
    world::{OPS, lock},
};

/// A whole campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Stop after so many states.
    pub states: u64,
    /// Seeds everything.
    pub seed: u64,
    /// All histories up to this length come first.
    pub depth: usize,
    /// Length of the random ones.
    pub length: usize,
    /// The letters to use; see [`OPS`].
    pub letters: String,
    /// What all histories have in common.
    pub base: Opts,
    /// Whether each short history is looked at in all ways, not in one of them by turns.
    pub thorough: bool,
    /// Whether to say how far it is.
    pub progress: bool,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Result {
    /// What was looked at.
    pub tally: Tally,
    /// Histories run.
    pub histories: u64,
    /// The shortest history that fails, how to look at it, and what fails.
    pub found: Option<(String, Opts, Found)>,
}

impl Campaign {
    /// `states` states, from `seed`.
    #[must_use]
    pub fn new(states: u64, seed: u64) -> Self {
        let letters = OPS.iter().map(|(letter, _)| letter).collect();
        let base = Opts { seed, ..Opts::default() };
        Self { states, seed, depth: 2, length: 7, letters, base, thorough: false, progress: false }
    }

    /// Runs until there are enough states, or something fails.
    #[must_use]
    pub fn run(&self) -> Result {
        let shared = Mutex::new(Shared {
            jobs: self.short_histories(),
            rng: Rng::new(self.seed),
            result: Result::default(),
            told: Instant::now(),
        });
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| while self.step(&shared) {});
            }
        });
        let mut result = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((history, opts, found)) = result.result.found.take() {
            result.result.found = Some(shorten(&history, opts, found));
        }
        result.result
    }

    /// Everything up to `depth`, short first, each in the modes that suit it.
    fn short_histories(&self) -> VecDeque<(String, Opts)> {
        let mut jobs = VecDeque::new();
        let mut histories = vec![String::new()];
        for depth in 0..=self.depth {
            for (n, history) in histories.iter().enumerate() {
                // The deepest are many: each is looked at in one of three ways.
                let ways = [
                    Opts { rot: 10, limit: 12, ..self.base.clone() },
                    Opts { nested: true, limit: 12, ..self.base.clone() },
                    Opts { model: Model::Journal, ..self.base.clone() },
                ];
                let pick = ways.into_iter().enumerate();
                let all = depth < 2 || self.thorough;
                let pick = pick.filter(|(way, _)| all || n % 3 == *way);
                jobs.extend(pick.map(|(_, opts)| (history.clone(), opts)));
            }
            let longer = histories.iter().flat_map(|history| {
                self.letters.chars().map(move |letter| format!("{history}{letter}"))
            });
            histories = if depth < self.depth { longer.collect() } else { Vec::new() };
        }
        jobs
    }

    fn random(&self, rng: &mut Rng) -> (String, Opts) {
        let letters: Vec<char> = self.letters.chars().collect();
        let length = 3 + rng.below(self.length.saturating_sub(2).max(1));
        let history = (0..length).map(|_| letters[rng.below(letters.len())]).collect();
        let base = Opts { every: true, seed: rng.next_u64(), limit: 8, ..self.base.clone() };
        let opts = match rng.below(4) {
            0 => Opts { rot: 6, ..base },
            1 => Opts { nested: true, limit: 4, ..base },
            2 => Opts { model: Model::Journal, rot: 3, ..base },
            _ => Opts { limit: 16, ..base },
        };
        (history, opts)
    }

    /// One history; false when the campaign is over.
    fn step(&self, shared: &Mutex<Shared>) -> bool {
        let (history, opts) = {
            let mut shared = lock(shared);
            let enough = shared.jobs.is_empty() && shared.result.tally.states >= self.states;
            if enough || shared.result.found.is_some() {
                return false;
            }
            match shared.jobs.pop_front() {
                Some(job) => job,
                None => self.random(&mut shared.rng),
            }
        };
        let Outcome { tally, found, used } = explore(&history, &opts);
        let mut shared = lock(shared);
        shared.result.tally.add(tally);
        shared.result.histories += u64::from(used);
        if let (Some(found), None) = (found, &shared.result.found) {
            shared.result.found = Some((history, opts, found));
        }
        if self.progress && shared.told.elapsed() > Duration::from_secs(10) {
            shared.told = Instant::now();
            let (histories, states) = (shared.result.histories, shared.result.tally.states);
            eprintln!("  {histories} histories, {states} states");
        }
        true
    }
}

struct Shared {
    jobs: VecDeque<(String, Opts)>,
    rng: Rng,
    result: Result,
    told: Instant,
}

/// Leaves out operations as long as the history still fails.
#[must_use]
pub fn shorten(history: &str, opts: Opts, found: Found) -> (String, Opts, Found) {
    let opts = Opts { every: true, ..opts };
    let mut best = (history.to_owned(), found);
    let mut at = 0;
    while at < best.0.chars().count() {
        let less = best.0.chars().enumerate().filter(|(n, _)| *n != at).map(|(_, c)| c);
        let less: String = less.collect();
        match explore(&less, &opts).found {
            Some(found) => (best, at) = ((less, found), 0),
            None => at += 1,
        }
    }
    (best.0, opts, best.1)
}

/// A counter-example, for people, with the command that shows it again.
#[must_use]
pub fn tell((history, opts, found): &(String, Opts, Found)) -> String {
    let mut out = String::from("COUNTER-EXAMPLE\n");
    for letter in history.chars() {
        let what = OPS.iter().find(|(of, _)| *of == letter).map_or("", |(_, what)| *what);
        out.push_str(&format!("  {letter}  {what}\n"));
    }
    let model = if opts.model == Model::Journal { " --journal" } else { "" };
    let gather = if opts.gather { " --gather" } else { "" };
    let gather = if opts.reuse { format!("{gather} --reuse") } else { gather.to_owned() };
    let omit = opts.omit.map(|point| format!(" --without {point:?}")).unwrap_or_default();
    let nested = if opts.nested { " --nested" } else { "" };
    out.push_str(&format!(
        "  broken: {}\n  state: {}\n  again: cargo run -p hardlog-tests --release --bin campaign -- \
         --history '{history}' --seed {} --limit {} --rot {}{model}{nested}{omit}{gather}\n",
        found.broken, found.state, opts.seed, opts.limit, opts.rot
    ));
    out
}

/// How many states, and what was said of them.
#[must_use]
pub fn table(result: &Result) -> String {
    let mut out = format!("{} states of {} histories\n", result.tally.states, result.histories);
    for (row, count) in &result.tally.rows {
        out.push_str(&format!("{count:>9}  {row}\n"));
    }
    out
}
