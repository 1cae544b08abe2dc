//! A log for ShiViz: for each event a line with its host and vector clock, and a line of words.
//!
//! Its standard parser reads it: `(?<host>\S*) (?<clock>{.*})\n(?<event>.*)`. A host's own count
//! rises by one with each of its events; a message that arrives brings all that its sender knew
//! when it left.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Map, Value};

use super::{Export, MESSAGES_MAX, number};
use crate::row::{Place, Row, visible};

/// Events known, by host.
type Clock = BTreeMap<Host, u64>;
/// A node; 0 is what surrounds them.
type Host = u64;

#[derive(Debug, Default)]
pub(super) struct Shiviz {
    clocks: BTreeMap<Host, Clock>,
    /// What the sender of a message knew.
    sent: BTreeMap<u64, Clock>,
}

impl Export for Shiviz {
    fn row(&mut self, row: &Row, to: &mut dyn Write) -> io::Result<()> {
        let host = match row.place {
            Place::Node(node) => node,
            Place::World | Place::Wide => 0,
        };
        let clock = self.clocks.entry(host).or_default();
        *clock.entry(host).or_default() += 1;
        let message = number(row, "m");
        match (&*row.kind, message) {
            ("send", Some(m)) if self.sent.len() < MESSAGES_MAX => {
                self.sent.insert(m, clock.clone());
            }
            // It may come twice, so what was known is kept.
            ("recv", Some(m)) => {
                for (other, count) in self.sent.get(&m).into_iter().flatten() {
                    let known = clock.entry(*other).or_default();
                    *known = (*known).max(*count);
                }
            }
            _ => {}
        }
        let counts: Map<String, Value> =
            clock.iter().map(|(host, count)| (name(*host), Value::from(*count))).collect();
        writeln!(to, "{} {}\n{}", name(host), Value::Object(counts), visible(&row.text))
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn name(host: Host) -> String {
    if host == 0 { "around".to_owned() } else { format!("node{host}") }
}
