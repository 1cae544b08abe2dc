//! Which format a line has, and the row that it makes.
//!
//! Three are known, and told apart by content, at the first line that has one:
//!
//! - `hardlog.trace/1`: our own, a JSON object a line (`trace`);
//! - the lines of the 6.824 helpers, `000123 VOTE S0 …` (`students`);
//! - the test logs of eliben/raft and raft-consensus, `12:00:00.000000 [0] …` (`gotest`).
//!
//! What stands before that line, and what does not follow the format (the words of a test, a
//! panic), becomes a row across all columns. No line is an error: one that cannot be understood is
//! a row that says so. Only a trace of a newer version is refused.
//!
//! Memory: a few numbers for each node.

mod gotest;
mod students;
mod trace;

use std::collections::BTreeSet;

pub use self::gotest::Tally;
use crate::{
    lines::Line,
    row::{Place, Row},
};

/// Nodes that get a column; a hostile file may name any number of them.
pub const NODES_MAX: usize = 64;

/// The formats that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Our own, `hardlog.trace/1`.
    Trace,
    /// Lines of the 6.824 helpers.
    Students,
    /// `go test -v` over eliben/raft or raft-consensus.
    GoTest,
}

/// What the first line of a trace says of all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// What wrote it: `sim`, `kv`, `suite`; empty if it does not say.
    pub source: String,
    /// The seed of a run in virtual time.
    pub seed: Option<u64>,
    /// `virtual` or `unix`; empty if it does not say.
    pub clock: String,
}

impl Header {
    /// In a few words: `sim, seed 7, virtual time`.
    pub fn words(&self) -> String {
        let seed = self.seed.map(|seed| format!("seed {seed}"));
        let clock = (!self.clock.is_empty()).then(|| format!("{} time", self.clock));
        let source = Some(self.source.clone()).filter(|source| !source.is_empty());
        [source, seed, clock].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Why a file is not read at all.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// Reads lines of one file, one after another.
#[derive(Debug, Default)]
pub struct Reading {
    format: Option<Format>,
    header: Header,
    /// Nodes named so far, at most `NODES_MAX`.
    nodes: BTreeSet<u64>,
    /// Whether something was said by what surrounds them.
    world: bool,
    trace: trace::State,
    gotest: gotest::State,
    students: students::State,
}

impl Reading {
    /// The format, once a line showed it.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// How the tests of a Go log ended so far.
    pub fn tally(&self) -> Tally {
        self.gotest.tally
    }

    /// What the first line of a trace said; empty in other formats.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The nodes that were named so far, in order.
    pub fn nodes(&self) -> &BTreeSet<u64> {
        &self.nodes
    }

    /// Whether what surrounds the nodes said something so far.
    pub fn world(&self) -> bool {
        self.world
    }

    /// The row of a line; `None` for a line with nothing to show.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the file is a trace of a version that this program does not know.
    pub fn row(&mut self, line: &Line) -> Result<Option<Row>, Refused> {
        let text = match line.text() {
            Ok(text) => text.trim_end(),
            Err(why) => return Ok(Some(Row::broken(line.number, &why))),
        };
        if text.trim_start().is_empty() {
            return Ok(None);
        }
        if self.format.is_none() && trace::is_header(text) {
            self.format = Some(Format::Trace);
        }
        let row = match self.format {
            Some(Format::Trace) => self.trace_row(line.number, text)?,
            Some(Format::Students) => Some(self.students.row(line.number, text)),
            Some(Format::GoTest) => Some(self.gotest.row(line.number, text)),
            None => Some(self.first_row(line.number, text)),
        };
        Ok(row.map(|row| self.placed(row)))
    }

    fn trace_row(&mut self, number: u64, text: &str) -> Result<Option<Row>, Refused> {
        match trace::header(text) {
            Some(Ok((header, nodes))) => {
                self.header = header;
                self.nodes.extend(nodes.into_iter().take(NODES_MAX));
                Ok(None)
            }
            Some(Err(why)) => Err(Refused(why)),
            None => Ok(Some(self.trace.row(number, text))),
        }
    }

    /// A line before the format is known.
    fn first_row(&mut self, number: u64, text: &str) -> Row {
        if students::is_line(text) {
            self.format = Some(Format::Students);
            return self.students.row(number, text);
        }
        if gotest::is_line(text) {
            self.format = Some(Format::GoTest);
            return self.gotest.row(number, text);
        }
        match trace::is_event(text) {
            // A trace whose front was cut away, as by `tail -f`.
            true => {
                self.format = Some(Format::Trace);
                self.trace.row(number, text)
            }
            false => Row::wide(number, "text", text.to_owned()),
        }
    }

    /// Remembers the row's node; one too many has no column of its own.
    fn placed(&mut self, mut row: Row) -> Row {
        self.world |= row.place == Place::World;
        if let Place::Node(node) = row.place {
            if self.nodes.len() < NODES_MAX {
                self.nodes.insert(node);
            }
            if !self.nodes.contains(&node) {
                row.text = format!("node {node}: {}", row.text);
                row.place = Place::Wide;
            }
        }
        row
    }
}

/// The number right behind the first `word` that stands alone in `text`, with `=`, `:` or a space
/// between: `term=3`, `T:3`, `term 3`, and `T3` too where `tight`.
fn number_after(text: &str, word: &str, tight: bool) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    for (at, _) in lower.match_indices(&word.to_ascii_lowercase()) {
        let before = lower.get(..at)?;
        if before.ends_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let behind = lower.get(at + word.len()..)?;
        let rest = behind.trim_start_matches([' ', '=', ':']);
        if rest.len() == behind.len() && !tight {
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(number) = rest.get(..digits).and_then(|digits| digits.parse().ok()) {
            return Some(number);
        }
    }
    None
}

/// Whether a line tells of a test or a program that failed.
fn is_alarm(text: &str) -> bool {
    let text = text.trim_start();
    ["--- FAIL", "panic:", "FAIL", "fatal error:", "WARNING: DATA RACE"]
        .iter()
        .any(|front| text.starts_with(front))
}

#[cfg(test)]
mod tests;
