//! The lines that the helpers of MIT 6.824 and 6.5840 print: `000123 VOTE S0 asks S1 for …`.
//!
//! A time in tenths of a millisecond, a topic of four letters, and words that begin with the
//! server that speaks. Lines about the test itself (topic TEST, the testers' own words, panics)
//! belong to no server.

use super::{is_alarm, number_after};
use crate::row::{Place, Role, Row};

/// Microseconds in a unit of its clock.
const UNIT: u64 = 100;

/// What is remembered from line to line.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The time of the last line that had one.
    last: Option<u64>,
}

/// Whether the line has the format.
pub(super) fn is_line(text: &str) -> bool {
    parts(text).is_some()
}

/// Time, topic and words.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (time, rest) = text.split_once(' ')?;
    let (topic, words) = rest.split_once(' ')?;
    let digits = time.len() >= 5 && time.len() <= 16 && time.bytes().all(|b| b.is_ascii_digit());
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let named = topic.len() == 4 && topic.bytes().all(upper);
    (digits && named).then_some((time, topic, words.trim_start()))
}

impl State {
    pub(super) fn row(&mut self, number: u64, text: &str) -> Row {
        let Some((time, topic, words)) = parts(text) else {
            let topic = if is_alarm(text) { "ERRO" } else { "TEST" };
            let mut row = Row::wide(number, topic, text.trim().to_owned());
            row.alarm = is_alarm(text);
            row.micros = self.last;
            return row;
        };
        let micros = time.parse::<u64>().ok().map(|ticks| ticks.saturating_mul(UNIT));
        self.last = micros;
        let server = server(words).filter(|_| topic != "TEST");
        let mut row = Row::wide(number, "", words.to_owned());
        row.place = server.map_or(Place::Wide, Place::Node);
        row.topic = topic.to_owned().into();
        row.alarm = topic == "ERRO" || topic == "TRCE";
        row.micros = micros;
        time.clone_into(&mut row.clock);
        row.term = number_after(words, "term", true).or_else(|| number_after(words, "t", true));
        row.role = role(words);
        row
    }
}

/// The server that speaks: the number of a leading `S2`.
fn server(words: &str) -> Option<u64> {
    let digits = words.strip_prefix('S')?;
    let end = digits.bytes().take_while(u8::is_ascii_digit).count();
    let next = digits.get(end..)?.chars().next();
    let alone = next.is_none_or(|c| !c.is_alphanumeric());
    digits.get(..end)?.parse().ok().filter(|_| alone)
}

/// A change of role, in the words that students use for it.
fn role(words: &str) -> Option<Role> {
    let lower = words.to_ascii_lowercase();
    let turn = ["becom", "became", "convert", "->", "to "];
    let (_, after) = turn.iter().find_map(|turn| lower.split_once(turn))?;
    after.split(|c: char| !c.is_ascii_alphanumeric()).find_map(Role::named)
}
