//! Which rows are shown: filters, and the search for an entry or for what went wrong with the
//! rows around it.
//!
//! Memory: the rows of one context.

use std::collections::VecDeque;

use super::Args;
use crate::{
    clock::Moment,
    paint::Rgb,
    row::{Place, Row},
};

/// Rows around an entry, and around a violation.
const AROUND: usize = 2;
const BEFORE: usize = 20;
/// Rows of context that are kept at most.
const CONTEXT_MAX: usize = 10_000;

/// A row to print: whether something is left out before it, the row, its colour.
type Shown = (bool, Row, Option<Rgb>);

/// What is to be printed after a row was taken.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) rows: Vec<Shown>,
    /// Whether more rows are wanted.
    pub(super) more: bool,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Everything.
    All,
    Entry(u64),
    Violation,
}

/// The filters of one run.
#[derive(Debug)]
pub(super) struct Choice {
    only: Vec<String>,
    skip: Vec<String>,
    nodes: Vec<u64>,
    from: Option<Moment>,
    to: Option<Moment>,
    search: Search,
    context: usize,
    /// Whether `from` was reached.
    begun: bool,
    /// Rows that may turn out to stand before a hit.
    before: VecDeque<(Row, Option<Rgb>)>,
    /// Rows still to be shown behind the last hit.
    after: usize,
    /// A violation was found.
    found: bool,
    /// Rows were left out since the last that was shown.
    gap: bool,
}

impl Choice {
    pub(super) fn new(args: &Args) -> Self {
        let search = match (args.around, args.first_violation) {
            (_, true) => Search::Violation,
            (Some(index), false) => Search::Entry(index),
            (None, false) => Search::All,
        };
        let usual = if search == Search::Violation { BEFORE } else { AROUND };
        Self {
            only: args.only.clone(),
            skip: args.skip.clone(),
            nodes: args.nodes.clone(),
            from: args.from.clone(),
            to: args.to.clone(),
            search,
            context: args.context.unwrap_or(usual).min(CONTEXT_MAX),
            begun: args.from.is_none(),
            before: VecDeque::new(),
            after: 0,
            found: false,
            gap: false,
        }
    }

    /// Whether anything is left out: then finding nothing is a failure.
    pub(super) fn chooses(&self) -> bool {
        let names = self.only.len() + self.skip.len() + self.nodes.len();
        self.searches() || names > 0 || self.from.is_some() || self.to.is_some()
    }

    /// Whether one thing is looked for.
    pub(super) fn searches(&self) -> bool {
        self.search != Search::All
    }

    /// Takes the next row.
    pub(super) fn take(&mut self, row: Row, colour: Option<Rgb>) -> Chosen {
        let reached = |moment: &Moment| moment.reached(row.micros, &row.clock);
        if !self.begun {
            self.begun = self.from.as_ref().and_then(reached).unwrap_or(false);
        }
        if self.to.as_ref().and_then(reached) == Some(true) && !self.is_last_moment(&row) {
            return Chosen::default();
        }
        if !self.begun || !self.wanted(&row) {
            return Chosen { rows: Vec::new(), more: true };
        }
        self.searched(row, colour)
    }

    /// Whether the row stands exactly at the end, which belongs to what is shown.
    fn is_last_moment(&self, row: &Row) -> bool {
        match &self.to {
            Some(Moment::Since(to)) => row.micros == Some(*to),
            Some(Moment::Printed(to)) => row.clock == *to,
            None => true,
        }
    }

    fn wanted(&self, row: &Row) -> bool {
        if row.alarm || row.broken {
            return true;
        }
        let named = |list: &[String]| list.iter().any(|name| row.is(name.trim()));
        let here = match row.place {
            Place::Node(node) => self.nodes.is_empty() || self.nodes.contains(&node),
            Place::World | Place::Wide => true,
        };
        here && (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }

    fn searched(&mut self, row: Row, colour: Option<Rgb>) -> Chosen {
        let hit = match self.search {
            Search::All => return Chosen { rows: vec![(false, row, colour)], more: true },
            Search::Entry(index) => row.concerns(index),
            Search::Violation => row.alarm && !self.found,
        };
        let mut rows = Vec::new();
        if hit {
            self.found = true;
            self.after = self.context;
            for (row, colour) in std::mem::take(&mut self.before) {
                rows.push((std::mem::take(&mut self.gap), row, colour));
            }
            rows.push((std::mem::take(&mut self.gap), row, colour));
        } else if self.after > 0 {
            self.after -= 1;
            rows.push((false, row, colour));
        } else {
            self.before.push_back((row, colour));
            if self.before.len() > self.context {
                self.before.pop_front();
                self.gap = true;
            }
        }
        let more = self.search != Search::Violation || !self.found || self.after > 0;
        Chosen { rows, more }
    }
}
