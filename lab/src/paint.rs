//! Colours in a terminal: which colour a row has, and how a terminal is asked for it.
//!
//! INVARIANT: colour carries nothing; without it the same words stand there.

use std::{env, fmt::Write};

use clap::ValueEnum;

use crate::row::{Role, Row};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Where a terminal listens, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a row's colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Its topic.
    Topic,
    /// The term that its node is in.
    Term,
    /// The role that its node has.
    Role,
}

/// Red, green, blue.
pub(crate) type Rgb = (u8, u8, u8);

/// How many colours the terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    None,
    Palette,
    Full,
}

impl Depth {
    /// What `when` comes to for standard output.
    pub(crate) fn of(when: When, terminal: bool) -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let forced = env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0");
        let wanted = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => !set("NO_COLOR") && (forced || terminal),
        };
        if !wanted {
            return Self::None;
        }
        let full =
            env::var("COLORTERM").is_ok_and(|value| value == "truecolor" || value == "24bit");
        if full { Self::Full } else { Self::Palette }
    }

    /// Adds `text` to `out` in `colour`.
    pub(crate) fn paint(self, out: &mut String, colour: Option<Rgb>, bold: bool, text: &str) {
        let Some((red, green, blue)) = colour.filter(|_| self != Self::None) else {
            out.push_str(text);
            return;
        };
        let bold = if bold { "1;" } else { "" };
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Full => write!(out, "\x1b[{bold}38;2;{red};{green};{blue}m{text}\x1b[0m"),
            _ => write!(out, "\x1b[{bold}38;5;{}m{text}\x1b[0m", nearest((red, green, blue))),
        };
    }
}

/// The nearest colour of the 6×6×6 cube that terminals with 256 colours have.
pub(crate) fn nearest((red, green, blue): Rgb) -> u8 {
    let level = |value: u8| match value {
        0..=47 => 0,
        48..=114 => 1,
        _ => (value - 35) / 40,
    };
    16 + 36 * level(red) + 6 * level(green) + level(blue)
}

/// What is said by the way: the frame, the time.
pub(crate) const QUIET: Rgb = (0x9a, 0x9a, 0x99);
/// What is wrong.
pub(crate) const ALARM: Rgb = (0xfe, 0x26, 0x26);

/// Colours of topics: those of the 6.824 helpers, and ours in the same key.
const TOPICS: [(&str, Rgb); 32] = [
    ("TIMR", QUIET),
    ("VOTE", (0x67, 0xa0, 0xb2)),
    ("LEAD", (0xd0, 0xb3, 0x43)),
    ("TERM", (0x70, 0xc4, 0x3f)),
    ("LOG1", (0x48, 0x78, 0xbc)),
    ("LOG2", (0x39, 0x82, 0x80)),
    ("CMIT", (0x98, 0x71, 0x9f)),
    ("PERS", (0xd0, 0x83, 0x41)),
    ("SNAP", (0xfd, 0x97, 0x1f)),
    ("DROP", (0xff, 0x61, 0x5c)),
    ("CLNT", (0x00, 0x81, 0x3c)),
    ("TEST", (0xfe, 0x2c, 0x79)),
    ("INFO", (0xff, 0xff, 0xff)),
    ("WARN", (0xd0, 0x83, 0x41)),
    ("ERRO", ALARM),
    ("TRCE", ALARM),
    ("role", (0xd0, 0xb3, 0x43)),
    ("append", (0x48, 0x78, 0xbc)),
    ("heartbeat", QUIET),
    ("snapshot", (0xfd, 0x97, 0x1f)),
    ("message", (0x39, 0x82, 0x80)),
    ("lost", (0xff, 0x61, 0x5c)),
    ("commit", (0x98, 0x71, 0x9f)),
    ("members", (0x70, 0xc4, 0x3f)),
    ("disk", (0xd0, 0x83, 0x41)),
    ("recover", (0xff, 0xd7, 0x5f)),
    ("fault", (0xfe, 0x2c, 0x79)),
    ("client", (0x00, 0x81, 0x3c)),
    ("kv", (0x00, 0x81, 0x3c)),
    ("timer", QUIET),
    ("violation", ALARM),
    ("broken", ALARM),
];

/// Colours of terms, in turn.
const TERMS: [Rgb; 8] = [
    (0x5f, 0xaf, 0xff),
    (0xff, 0xaf, 0x5f),
    (0x87, 0xd7, 0x5f),
    (0xff, 0x87, 0xaf),
    (0xaf, 0x87, 0xff),
    (0x5f, 0xd7, 0xd7),
    (0xd7, 0xd7, 0x5f),
    (0xd7, 0x87, 0x5f),
];

/// The colour of a row; `term` and `role` are those that its node has.
pub(crate) fn colour(by: By, row: &Row, term: Option<u64>, role: Option<Role>) -> Option<Rgb> {
    if row.alarm || row.broken {
        return Some(ALARM);
    }
    match by {
        By::Topic => {
            let found = TOPICS.iter().find(|(topic, _)| row.topic.eq_ignore_ascii_case(topic));
            found.map(|(_, colour)| *colour)
        }
        By::Term => term.map(of_term),
        By::Role => role.and_then(of_role),
    }
}

/// The colour of a term.
pub(crate) fn of_term(term: u64) -> Rgb {
    let at = usize::try_from(term % TERMS.len() as u64).unwrap_or(0);
    TERMS.get(at).copied().unwrap_or(QUIET)
}

/// The colour of a role, if it has one.
pub(crate) fn of_role(role: Role) -> Option<Rgb> {
    match role {
        Role::Leader => Some((0x70, 0xc4, 0x8f)),
        Role::Candidate | Role::PreCandidate => Some((0xd7, 0xd7, 0x5f)),
        Role::Down => Some((0x80, 0x80, 0x80)),
        Role::Follower | Role::Learner => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_what_it_understands() {
        let painted = |depth: Depth| {
            let mut out = String::new();
            depth.paint(&mut out, Some((255, 0, 0)), false, "x");
            out
        };
        assert_eq!(painted(Depth::None), "x");
        assert_eq!(painted(Depth::Palette), "\x1b[38;5;196mx\x1b[0m");
        assert_eq!(painted(Depth::Full), "\x1b[38;2;255;0;0mx\x1b[0m");
        assert_eq!((nearest((0, 0, 0)), nearest((255, 255, 255))), (16, 231));
    }

    #[test]
    fn an_alarm_is_red_whatever_the_colours_say() {
        let mut row = Row::wide(1, "vote", String::new());
        assert_eq!(colour(By::Topic, &row, None, None), Some((0x67, 0xa0, 0xb2)));
        assert_eq!(colour(By::Role, &row, None, None), None);
        assert_ne!(colour(By::Term, &row, Some(1), None), colour(By::Term, &row, Some(2), None));
        row.alarm = true;
        assert_eq!(colour(By::Role, &row, None, None), Some(ALARM));
    }
}
