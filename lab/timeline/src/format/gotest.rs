//! The logs of `go test -v` over eliben/raft and raft-consensus:
//!
//! ```text
//! === RUN   TestElectionBasic
//! 12:00:00.000123 [0] becomes Candidate (currentTerm=1); log=[]
//! --- PASS: TestElectionBasic (0.46s)
//! ```
//!
//! The name in brackets is a server's number, `kv N` (the service on server N: shown in its
//! column), or something else (`TEST`, `client…`), which goes to the column of what is not a
//! server. Time is a time of day; a step back by half a day or more is midnight. A test that runs
//! again gets its turn behind its name: `TestElectionBasic_2`.

use std::collections::HashMap;

use super::{is_alarm, number_after};
use crate::{
    clock::time_of_day,
    row::{Place, Role, Row},
};

/// Names of tests that are remembered to number them.
const NAMES_MAX: usize = 10_000;
const DAY: u64 = 24 * 3600 * 1_000_000;

/// What is remembered from line to line.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The first time of day, and the last one with the midnights before it.
    first: Option<u64>,
    last: u64,
    /// How often each test was run so far.
    turns: HashMap<String, u32>,
    /// The tests that ended so far.
    pub(super) tally: Tally,
}

/// How tests ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// With `--- PASS`.
    pub passed: u64,
    /// With `--- FAIL`.
    pub failed: u64,
    /// With `--- SKIP`.
    pub skipped: u64,
}

/// Whether the line has the format.
pub(super) fn is_line(text: &str) -> bool {
    parts(text).is_some() || text.starts_with("=== RUN ") || text.starts_with("--- PASS: ")
}

/// Time, the name in brackets, the words.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (mut time, mut rest) = text.trim_start().split_once(' ')?;
    if time.len() == 10 && time.bytes().all(|b| b.is_ascii_digit() || b == b'/') {
        // The date, where the logger was left as it is.
        (time, rest) = rest.split_once(' ')?;
    }
    time_of_day(time)?;
    let (name, words) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
    Some((time, name, words.trim_start()))
}

impl State {
    pub(super) fn row(&mut self, number: u64, text: &str) -> Row {
        let Some((time, name, words)) = parts(text) else { return self.about_tests(number, text) };
        let (place, spoken) = speaker(name, words);
        let mut row = Row::wide(number, topic(name, words), spoken);
        row.place = place;
        row.micros = time_of_day(time).map(|time| self.since_start(time));
        time.clone_into(&mut row.clock);
        row.term = number_after(words, "term", false).or(number_after(words, "currentTerm", false));
        row.role = role(words).filter(|_| matches!(place, Place::Node(_)));
        row
    }

    /// `=== RUN`, `--- PASS`, and whatever a test prints.
    fn about_tests(&mut self, number: u64, text: &str) -> Row {
        let text = text.trim();
        let result = ["--- PASS: ", "--- FAIL: ", "--- SKIP: "];
        let (kind, said) = if let Some(name) = text.strip_prefix("=== RUN ") {
            ("test", self.turn(name.trim()))
        } else if let Some(end) = result.iter().find_map(|front| text.strip_prefix(front)) {
            let word = text.get(4..8).unwrap_or_default();
            let (kind, count) = match word {
                "FAIL" => ("fail", &mut self.tally.failed),
                "PASS" => ("pass", &mut self.tally.passed),
                _ => ("pass", &mut self.tally.skipped),
            };
            *count += 1;
            (kind, format!("{word} {}", end.trim()))
        } else {
            ("note", text.to_owned())
        };
        let mut row = Row::wide(number, "TEST", said);
        row.kind = kind.into();
        row.alarm = is_alarm(text);
        row.micros = self.first.map(|first| self.last - first);
        row
    }

    /// The test's name, with its turn from the second on.
    fn turn(&mut self, name: &str) -> String {
        if self.turns.len() >= NAMES_MAX && !self.turns.contains_key(name) {
            return name.to_owned();
        }
        let turn = self.turns.entry(name.to_owned()).or_default();
        *turn += 1;
        if *turn == 1 { name.to_owned() } else { format!("{name}_{turn}") }
    }

    fn since_start(&mut self, time: u64) -> u64 {
        let first = *self.first.get_or_insert(time);
        let mut now = self.last - self.last % DAY + time;
        if now + DAY / 2 < self.last {
            now += DAY;
        }
        // Threads print a little out of order: a step back stands still.
        self.last = now.max(self.last).max(first);
        self.last - first
    }
}

/// The column, and the words with what the brackets said where the column does not say it.
fn speaker(name: &str, words: &str) -> (Place, String) {
    let name = name.trim();
    if let Ok(server) = name.parse::<u64>() {
        return (Place::Node(server), words.to_owned());
    }
    let service = name.strip_prefix("kv").map(str::trim).and_then(|n| n.parse::<u64>().ok());
    if let Some(server) = service {
        return (Place::Node(server), format!("[kv] {words}"));
    }
    (Place::World, if name == "TEST" { words.to_owned() } else { format!("[{name}] {words}") })
}

fn topic(name: &str, words: &str) -> &'static str {
    if name.starts_with("kv") {
        return "kv";
    }
    if name.starts_with("client") {
        return "client";
    }
    if !name.trim().bytes().all(|b| b.is_ascii_digit()) {
        return "TEST";
    }
    let lower = words.to_ascii_lowercase();
    let has = |word: &str| lower.contains(word);
    if role(words).is_some() || has("starts election") {
        "role"
    } else if has("vote") {
        "vote"
    } else if has("appendentries") || has("append entries") {
        "append"
    } else if has("commit") {
        "commit"
    } else if has("timer") || has("timeout") {
        "timer"
    } else {
        "log"
    }
}

/// The role in "becomes Follower", "became Leader".
fn role(words: &str) -> Option<Role> {
    let (_, after) = words.split_once("becomes ").or_else(|| words.split_once("became "))?;
    Role::named(after.split(|c: char| !c.is_ascii_alphanumeric()).next()?)
}
