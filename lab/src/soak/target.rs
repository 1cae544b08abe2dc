//! What is run: one process for a test and a seed, and the command that repeats it by hand.
//!
//! Above: `pool`. Below: `build`, which has the suites and the simulator, and the binary of the
//! suites, which lists its tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    Args,
    build::{build, package},
    words::{file_name, quoted},
};
use crate::Failure;

/// What is run, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    kind: Kind,
    /// Where the processes start.
    dir: PathBuf,
    /// The binary, and what stands before the arguments of a command.
    program: Vec<String>,
    tests: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tests of the suites in virtual time.
    Suites,
    /// The suites in real time.
    Real,
    /// The simulator.
    Sim,
    /// Anything.
    Command,
}

/// The test in which all suites run in real time.
const REAL: &str = "suites::real::the_suites_pass_in_real_time";
/// The name for all of it.
const ALL: &str = "all";

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) words: Vec<String>,
    pub(super) vars: Vec<(&'static str, String)>,
    /// What it must have said to have passed.
    pub(super) says: Option<&'static str>,
}

impl Target {
    /// What the arguments ask for; built, if it is not there.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        if !args.command.is_empty() {
            if let Some(word) = args.what.first() {
                return Err(Failure::Wrong(format!("{word:?} and a command are two things")));
            }
            return Self::of_command(&args.command, &args.tests);
        }
        let (what, names) = args.what.split_first().ok_or_else(|| {
            Failure::Wrong("nothing to run: suites, real, sim, or a command after --".to_owned())
        })?;
        let binary = args.binary.as_deref();
        match what.as_str() {
            "suites" => Self::of_suites(binary, names),
            "real" => {
                let tests = if names.is_empty() { vec![ALL.to_owned()] } else { names.to_vec() };
                Self::built(Kind::Real, binary, tests)
            }
            "sim" if names.is_empty() => Self::built(Kind::Sim, binary, vec!["sim".to_owned()]),
            other => Err(Failure::Wrong(format!(
                "{other:?} is none of suites, real and sim; a command stands after --"
            ))),
        }
    }

    fn of_command(command: &[String], tests: &[String]) -> Result<Self, Failure> {
        let named = command.iter().any(|word| word.contains("{test}"));
        if named && tests.is_empty() {
            return Err(Failure::Wrong("{test} needs names: --test NAME".to_owned()));
        }
        let first = command.first().map_or("command", |word| {
            Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or(word)
        });
        let tests = if tests.is_empty() { vec![first.to_owned()] } else { tests.to_vec() };
        let dir = env::current_dir()?;
        Ok(Self { kind: Kind::Command, dir, program: command.to_vec(), tests })
    }

    fn built(kind: Kind, binary: Option<&Path>, tests: Vec<String>) -> Result<Self, Failure> {
        let package = package();
        let binary = match binary {
            Some(binary) => binary.to_path_buf(),
            None => build(kind, package.as_deref())?,
        };
        let binary = fs::canonicalize(&binary)
            .map_err(|error| Failure::Wrong(format!("{}: {error}", binary.display())))?;
        let dir = package.map_or_else(env::current_dir, Ok)?;
        Ok(Self { kind, dir, program: vec![binary.to_string_lossy().into_owned()], tests })
    }

    fn of_suites(binary: Option<&Path>, names: &[String]) -> Result<Self, Failure> {
        let mut target = Self::built(Kind::Suites, binary, Vec::new())?;
        let output = Command::new(&target.program[0]).arg("--list").output();
        let output =
            output.map_err(|error| Failure::Wrong(format!("{}: {error}", target.program[0])))?;
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        // Their tests of themselves have no such name.
        let tests = tests.filter(|test| test.starts_with("suites::") && test.contains("::test_"));
        let tests = tests.filter(|test| !test.starts_with("suites::real::"));
        let asked = |test: &&str| {
            let test = plain(test);
            names.is_empty() || names.iter().any(|name| test.contains(&plain(name)))
        };
        target.tests = tests.filter(asked).map(str::to_owned).collect();
        if target.tests.is_empty() {
            return Err(Failure::Nothing("no test of the suites has such a name".to_owned()));
        }
        Ok(target)
    }

    /// The tests, by name.
    pub(super) fn names(&self) -> Vec<String> {
        self.tests.clone()
    }

    /// The name of a test.
    pub(super) fn name(&self, test: usize) -> &str {
        self.tests.get(test).map_or("?", String::as_str)
    }

    /// A directory's name for a run.
    pub(super) fn file_name(&self, test: usize, seed: u64) -> String {
        format!("{}-seed-{seed}", file_name(self.name(test)))
    }

    /// Where its processes start.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a journal says of it: two targets that say the same run the same.
    pub(super) fn said(&self) -> Value {
        let kind = match self.kind {
            Kind::Suites => "suites",
            Kind::Real => "real",
            Kind::Sim => "sim",
            Kind::Command => "command",
        };
        let command = if self.kind == Kind::Command { self.program.as_slice() } else { &[] };
        json!({ "kind": kind, "command": command, "tests": self.tests })
    }

    /// The process of a run; `out` is a directory for what it leaves.
    pub(super) fn process(&self, test: usize, seed: u64, out: &Path) -> Process {
        let (name, out) = (self.name(test), out.to_string_lossy().into_owned());
        let next = seed.saturating_add(1);
        let mut words = self.program.clone();
        let mut vars = vec![("RUST_BACKTRACE", "0".to_owned())];
        let more: &[&str] = match self.kind {
            Kind::Suites => {
                vars.push(("HARDLOG_SUITES_SEEDS", format!("{seed}..{next}")));
                vars.push(("HARDLOG_SUITES_OUT", out));
                &["--exact", name, "--nocapture"]
            }
            Kind::Real => {
                vars.push(("HARDLOG_SUITES_SEED", seed.to_string()));
                vars.push(("HARDLOG_SUITES_OUT", out));
                if name != ALL {
                    vars.push(("HARDLOG_SUITES_ONLY", name.to_owned()));
                }
                &["--exact", REAL, "--nocapture"]
            }
            Kind::Sim => &["--seed", &seed.to_string(), "--out", &out],
            Kind::Command => {
                let replace = |word: &mut String| *word = self.filled(word, test, seed, &out);
                words.iter_mut().for_each(replace);
                vars = vec![
                    ("RAFT_LAB_SEED", seed.to_string()),
                    ("RAFT_LAB_TEST", name.to_owned()),
                    ("RAFT_LAB_OUT", out.clone()),
                ];
                &[]
            }
        };
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let passed = matches!(self.kind, Kind::Suites | Kind::Real);
        Process { words, vars, says: passed.then_some("test result: ok. 1 passed") }
    }

    fn filled(&self, word: &str, test: usize, seed: u64, out: &str) -> String {
        let word = word.replace("{seed}", &seed.to_string());
        word.replace("{test}", self.name(test)).replace("{out}", out)
    }

    /// The command that runs a seed again, by hand.
    pub(super) fn replay(&self, test: usize, seed: u64) -> String {
        let (name, next) = (self.name(test), seed.saturating_add(1));
        match self.kind {
            Kind::Suites => format!(
                "HARDLOG_SUITES_SEEDS={seed}..{next} cargo test -p hardlog-raft --test cluster -- \
                 --exact {name}"
            ),
            Kind::Real => {
                let only = match name {
                    ALL => String::new(),
                    name => format!("HARDLOG_SUITES_ONLY={} ", quoted(name)),
                };
                format!(
                    "HARDLOG_SUITES_SEED={seed} {only}cargo test -p hardlog-raft --test cluster -- \
                     --exact {REAL} --nocapture"
                )
            }
            Kind::Sim => {
                format!("cargo run -p hardlog-raft --release --bin sim -- --seed {seed}")
            }
            Kind::Command => {
                let words = self.program.iter().map(|word| self.filled(word, test, seed, "out"));
                let words: Vec<String> = words.map(|word| quoted(&word)).collect();
                let test = quoted(name);
                let vars = format!("RAFT_LAB_SEED={seed} RAFT_LAB_TEST={test} RAFT_LAB_OUT=out");
                format!("{vars} {}", words.join(" "))
            }
        }
    }
}

/// Without case and underscores: `figure_8_unreliable_2c` is `Figure8Unreliable`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}
