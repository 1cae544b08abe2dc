//! What a line of any format comes to: when, where, about what, in words.
//!
//! Above: the views, which know no format. Below: `format`, which makes rows.

use std::{borrow::Cow, ops::RangeInclusive};

use serde_json::{Map, Value};

/// Whose column a row stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What surrounds the nodes: tests, clients, the net.
    World,
    /// The node of this number.
    Node(u64),
    /// Across all columns.
    Wide,
}

/// What a node is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks to be elected.
    Candidate,
    /// It leads.
    Leader,
    /// It gets entries and has no vote.
    Learner,
    /// It does not run.
    Down,
}

impl Role {
    /// Reads the word of any of the formats.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "follower" => Self::Follower,
            "pre-candidate" | "precandidate" => Self::PreCandidate,
            "candidate" => Self::Candidate,
            "leader" => Self::Leader,
            "learner" => Self::Learner,
            "down" | "dead" => Self::Down,
            _ => return None,
        })
    }

    /// As a trace spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Learner => "learner",
            Self::Down => "down",
        }
    }
}

/// One line, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The line's number in its file, from 1.
    pub number: u64,
    /// Microseconds since the file's first moment.
    pub micros: Option<u64>,
    /// The time as it is printed.
    pub clock: String,
    /// Whose column it stands in.
    pub place: Place,
    /// What it is about: one of a few words, for filters and colours.
    pub topic: Cow<'static, str>,
    /// The kind of event, where the format knows one.
    pub kind: Cow<'static, str>,
    /// What it says, in words, as it stands in the file: not safe for a terminal, see [`visible`].
    pub text: String,
    /// The term that it names.
    pub term: Option<u64>,
    /// The entries that it concerns; `None` where only the words could tell.
    pub indexes: Option<RangeInclusive<u64>>,
    /// The node has this role from here on.
    pub role: Option<Role>,
    /// A rule was broken, a test failed, a program panicked.
    pub alarm: bool,
    /// The line could not be understood.
    pub broken: bool,
    /// Everything that the event says, for the page; empty for formats of plain text.
    pub fields: Map<String, Value>,
}

impl Row {
    /// A row across all columns.
    pub fn wide(number: u64, topic: &'static str, text: String) -> Self {
        Self {
            number,
            micros: None,
            clock: String::new(),
            place: Place::Wide,
            topic: topic.into(),
            kind: "".into(),
            text,
            term: None,
            indexes: None,
            role: None,
            alarm: false,
            broken: false,
            fields: Map::new(),
        }
    }

    /// A row that says that the line was not understood.
    pub fn broken(number: u64, why: &str) -> Self {
        Self { broken: true, ..Self::wide(number, "broken", format!("line {number}: {why}")) }
    }

    /// Whether `name` is its topic or kind.
    pub fn is(&self, name: &str) -> bool {
        self.topic.eq_ignore_ascii_case(name) || self.kind.eq_ignore_ascii_case(name)
    }

    /// Whether it concerns the entry at `index`. Where the format does not say, the number as a
    /// word of its own does, unless the word before it says that it is a term.
    pub fn concerns(&self, index: u64) -> bool {
        if let Some(indexes) = &self.indexes {
            return indexes.contains(&index);
        }
        let words = self.text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
        let mut before = "";
        self.fields.is_empty()
            && words.into_iter().any(|word| {
                let term = std::mem::replace(&mut before, word).to_ascii_lowercase();
                word.parse() == Ok(index)
                    && !["t", "plt"].contains(&&*term)
                    && !term.ends_with("term")
            })
    }
}

/// `text` with every character that a terminal would obey made visible.
pub fn visible(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() && !is_format(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' => clean.push(' '),
            c if harmless(c) => clean.push(c),
            c => clean.extend(c.escape_default()),
        }
    }
    Cow::Owned(clean)
}

/// Characters that change how others are laid out: writing direction and its kin.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_obey() {
        assert_eq!(visible("plain → 2"), "plain → 2");
        assert_eq!(visible("a\x1b[2Jb\tc"), "a\\u{1b}[2Jb c");
        assert_eq!(visible("\u{202e}x"), "\\u{202e}x");
    }

    #[test]
    fn an_index_is_found_in_its_range_or_as_a_word() {
        let mut row = Row::wide(1, "x", "S1 appended 17 at index 4.".to_owned());
        assert!(row.concerns(4) && row.concerns(17) && !row.concerns(1) && !row.concerns(7));
        row.text = "S1 leads (T:3) PLT:3 term 3 lastLogTerm:3".to_owned();
        assert!(!row.concerns(3));
        row.indexes = Some(5..=9);
        assert!(row.concerns(7) && !row.concerns(4));
    }
}
