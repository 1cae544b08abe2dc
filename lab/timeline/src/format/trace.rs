//! Our own trace, `hardlog.trace/1`: a JSON object a line, the first of them the header.
//!
//! Here an event gets its topic, its words, and the entries that it concerns. Kinds and fields
//! that are not known are shown as they stand, since a later writer of version 1 may add some.

use std::{collections::BTreeMap, fmt::Write, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::{Header, NODES_MAX};
use crate::{
    clock::seconds,
    row::{Place, Role, Row},
};

/// What the header says it is, up to the version.
const NAME: &str = "hardlog.trace/";
const VERSION: &str = "1";

type Fields = Map<String, Value>;

/// What is remembered from event to event.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The commit index of each node, to know which entries a commit is about.
    commits: BTreeMap<u64, u64>,
}

/// Whether a line looks like a header, of any version.
pub(super) fn is_header(text: &str) -> bool {
    header(text).is_some()
}

/// Whether a line looks like an event.
pub(super) fn is_event(text: &str) -> bool {
    object(text).is_ok_and(|fields| fields.contains_key("t") && fields.contains_key("e"))
}

fn object(text: &str) -> Result<Fields, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("no object".to_owned()),
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

/// The header and its nodes; `None` if the line is none.
pub(super) fn header(text: &str) -> Option<Result<(Header, Vec<u64>), String>> {
    if !text.trim_start().starts_with('{') || !text.contains(NAME) {
        return None;
    }
    let fields = object(text).ok()?;
    let version = fields.get("trace")?.as_str()?.strip_prefix(NAME)?;
    if version != VERSION {
        return Some(Err(format!(
            "this is a trace of version {version}; this program reads version {VERSION}"
        )));
    }
    let word = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let header =
        Header { source: word("source"), seed: number(&fields, "seed"), clock: word("clock") };
    Some(Ok((header, numbers(&fields, "nodes"))))
}

impl State {
    pub(super) fn row(&mut self, line: u64, text: &str) -> Row {
        let fields = match object(text) {
            Ok(fields) => fields,
            Err(why) => return Row::broken(line, &why),
        };
        let Some(kind) = fields.get("e").and_then(Value::as_str).map(str::to_owned) else {
            return Row::broken(line, "an event without a kind (e)");
        };
        let mut row = Row::wide(line, topic(&kind, &fields), words(&kind, &fields));
        row.micros = number(&fields, "t");
        row.clock = row.micros.map(seconds).unwrap_or_default();
        row.place = place(&kind, &fields);
        row.term = number(&fields, "term");
        row.alarm = kind == "violation" || kind == "mark" && word(&fields, "what") == "fail";
        row.role = (kind == "role").then(|| Role::named(word(&fields, "role"))).flatten();
        row.indexes = self.indexes(&kind, row.place, &fields);
        row.kind = kind.into();
        row.fields = fields;
        row
    }

    /// The entries that an event concerns.
    fn indexes(&mut self, kind: &str, place: Place, f: &Fields) -> Option<RangeInclusive<u64>> {
        let index = number(f, "index");
        match kind {
            "commit" => {
                let (Place::Node(node), Some(index)) = (place, index) else { return None };
                if self.commits.len() >= NODES_MAX && !self.commits.contains_key(&node) {
                    return Some(index..=index);
                }
                let before = self.commits.insert(node, index).unwrap_or(0);
                Some(before.saturating_add(1).min(index)..=index)
            }
            "trim-tail" => number(f, "after").map(|after| after.saturating_add(1)..=u64::MAX),
            "trim-prefix" => number(f, "first").map(|first| 0..=first.saturating_sub(1)),
            "snapshot" => index.map(|index| 0..=index),
            _ => {
                let first = number(f, "first").or(index)?;
                Some(first..=number(f, "last").unwrap_or(first))
            }
        }
    }
}

fn place(kind: &str, fields: &Fields) -> Place {
    match (kind, number(fields, "n")) {
        ("violation" | "mark", _) => Place::Wide,
        (_, Some(node)) if node != 0 => Place::Node(node),
        _ => Place::World,
    }
}

fn topic(kind: &str, fields: &Fields) -> &'static str {
    match kind {
        "role" => "role",
        "ask-vote" | "vote" => "vote",
        "send" | "recv" => match word(fields, "kind") {
            message if message.contains("vote") => "vote",
            message if message.starts_with("append") => "append",
            message if message.starts_with("heartbeat") => "heartbeat",
            message if message.starts_with("snapshot") => "snapshot",
            _ => "message",
        },
        "lost" => "lost",
        "commit" | "apply" => "commit",
        "snapshot" => "snapshot",
        "members" => "members",
        "write" | "sync" | "rotate" | "trim-tail" | "trim-prefix" => "disk",
        "recover" => "recover",
        "fault" => "fault",
        "call" | "return" => "client",
        "violation" => "violation",
        "mark" => "test",
        _ => "other",
    }
}

fn number(fields: &Fields, key: &str) -> Option<u64> {
    fields.get(key).and_then(Value::as_u64)
}

fn numbers(fields: &Fields, key: &str) -> Vec<u64> {
    let list = fields.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_u64).collect()
}

fn word<'a>(fields: &'a Fields, key: &str) -> &'a str {
    fields.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A value as words: a string without its quotes.
fn said(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(said).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Builds a sentence of the fields that are there.
struct Words<'a> {
    fields: &'a Fields,
    text: String,
}

impl<'a> Words<'a> {
    fn new(fields: &'a Fields, front: impl Into<String>) -> Self {
        Self { fields, text: front.into() }
    }

    /// ` front VALUE`, if the field is there.
    fn with(mut self, front: &str, key: &str) -> Self {
        if let Some(value) = self.fields.get(key) {
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{front}{}", said(value));
        }
        self
    }

    /// The range `first..last`, or the one index.
    fn range(mut self, front: &str) -> Self {
        let (first, last) = (number(self.fields, "first"), number(self.fields, "last"));
        let _ = match (first, last) {
            (Some(first), Some(last)) if first > last => write!(self.text, "{front}nothing"),
            (Some(first), Some(last)) if first < last => {
                write!(self.text, "{front}{first}..{last}")
            }
            (Some(one), _) | (None, Some(one)) => write!(self.text, "{front}{one}"),
            (None, None) => Ok(()),
        };
        self
    }

    /// `text`, if the field is true.
    fn when(mut self, key: &str, text: &str) -> Self {
        if self.fields.get(key) == Some(&Value::Bool(true)) {
            self.text.push_str(text);
        }
        self
    }
}

/// The event as a sentence whose subject is the node.
fn words(kind: &str, f: &Fields) -> String {
    let new = |front: &str| Words::new(f, front);
    let words = match kind {
        "role" => {
            let role = word(f, "role");
            let new = new(if role == "down" { "goes " } else { "becomes " }).with("", "role");
            new.with(", term ", "term").with(", leader ", "leader").with(": ", "why")
        }
        "ask-vote" => new("asks for votes")
            .when("pre", " (pre-vote)")
            .with(", term ", "term")
            .with(", log ends at ", "last_index")
            .with(" of term ", "last_term"),
        "vote" => {
            let granted = f.get("granted") == Some(&Value::Bool(true));
            new(if granted { "votes for " } else { "refuses its vote to " })
                .with("", "for")
                .with(", term ", "term")
                .when("pre", " (pre-vote)")
                .with(": ", "why")
        }
        "send" => message(f),
        "recv" => new("← ").with("", "from").with(" ", "kind"),
        "lost" => new("✗ lost").with(" to ", "to").with(": ", "why"),
        "commit" => new("commits ").with("", "index").with(", term ", "term"),
        "apply" => new("applies ").range(""),
        "snapshot" => {
            new("snapshot ").with("", "what").with(" at ", "index").with(", term ", "term")
        }
        "members" => new("members ")
            .with("", "voters")
            .with(", outgoing ", "outgoing")
            .with(", learners ", "learners")
            .with(", by entry ", "index"),
        _ => return rest(kind, f),
    };
    words.text
}

/// `→ 2 append 5..7 after 4, …`
fn message(f: &Fields) -> Words<'_> {
    let first = number(f, "first");
    let last = number(f, "last");
    let empty = matches!((first, last), (Some(first), Some(last)) if first > last);
    let words = Words::new(f, "→ ").with("", "to").with(" ", "kind");
    let words = if empty { words } else { words.range(" ") };
    words
        .with(" after ", "prev")
        .with(", term ", "term")
        .with(", commit ", "commit")
        .when("reject", ", rejected")
        .with(", conflict at ", "conflict_index")
        .with(" of term ", "conflict_term")
}

/// Disk, faults, clients, tests, and what is not known.
fn rest(kind: &str, f: &Fields) -> String {
    let new = |front: &str| Words::new(f, front);
    let words = match kind {
        "write" => new("writes")
            .range(" ")
            .with(", term ", "term")
            .with(", vote ", "vote")
            .with(", batch ", "batch"),
        "sync" => new("synced").with(" in ", "us"),
        "rotate" => new("goes on in segment ").with("", "segment"),
        "trim-tail" => new("drops its log after ").with("", "after"),
        "trim-prefix" => new("its log begins at ").with("", "first"),
        "recover" => new("recovers").range(" ").with(": ", "verdict").with("; ", "detail"),
        "fault" => new("fault ").with("", "what").with(" ", "nodes").with(": ", "detail"),
        "call" => new("client ").with("", "client").with(" asks ", "serial").with(": ", "op"),
        "return" => {
            let ok = f.get("ok") == Some(&Value::Bool(true));
            let new = new("client ").with("", "client").with(" hears ", "serial");
            let text = new.text + if ok { ": ok" } else { ": failed" };
            Words::new(f, text).with(", ", "result")
        }
        "violation" => new("VIOLATION ").with("", "rule").with(": ", "text"),
        "mark" => {
            let note = word(f, "what") == "note";
            new("").with("", if note { "" } else { "what" }).with(" ", "text")
        }
        unknown => {
            let known = ["t", "n", "q", "e"];
            let others = f.iter().filter(|(key, _)| !known.contains(&key.as_str()));
            let pairs = others.map(|(key, value)| format!(" {key}={}", said(value)));
            return unknown.to_owned() + &pairs.collect::<String>();
        }
    };
    let unit = if kind == "sync" && f.contains_key("us") { " µs" } else { "" };
    words.text.trim().to_owned() + unit
}
