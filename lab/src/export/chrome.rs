//! The trace event format: a process for each node, and in it a thread for its role, its messages
//! and its disk; arrows between sends and arrivals, lines for commit and applied, clients and faults
//! in a process of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{Export, MESSAGES_MAX, number};
use crate::row::{Place, Role, Row};

/// The process of what surrounds the nodes.
const WORLD: u64 = 0;
/// Threads within a process.
const ROLE: u64 = 1;
const MESSAGES: u64 = 2;
const LOG: u64 = 3;
const DISK: u64 = 4;
const THREADS: [(u64, &str); 4] =
    [(ROLE, "role"), (MESSAGES, "messages"), (LOG, "log"), (DISK, "disk")];
/// How long an event is drawn that takes no time, in microseconds: an arrow needs something to
/// begin at.
const MOMENT: u64 = 1;

#[derive(Debug, Default)]
pub(super) struct Chrome {
    written: bool,
    processes: BTreeSet<u64>,
    roles: BTreeMap<u64, Open>,
    on_their_way: BTreeSet<u64>,
    last: u64,
}

/// A role that has not ended.
#[derive(Debug)]
struct Open {
    since: u64,
    role: Role,
    term: Option<u64>,
}

impl Export for Chrome {
    fn row(&mut self, row: &Row, to: &mut dyn Write) -> io::Result<()> {
        self.last = self.last.max(row.micros.unwrap_or(self.last));
        let node = match row.place {
            Place::Node(node) => node,
            Place::World | Place::Wide => WORLD,
        };
        self.process(node, to)?;
        if let Some(role) = row.role {
            let open = Open { since: self.last, role, term: row.term };
            if let Some(before) = self.roles.insert(node, open) {
                self.span_of(node, &before, to)?;
            }
        }
        match &*row.kind {
            "role" => Ok(()),
            "send" | "recv" => self.message(node, row, to),
            "call" | "return" => self.client(row, to),
            "sync" => {
                let took = number(row, "us").unwrap_or(0).min(self.last);
                self.span((node, DISK), row, (self.last - took, took.max(MOMENT)), to)
            }
            "write" => self.span((node, DISK), row, (self.last, MOMENT), to),
            "commit" => self.counter(node, "commit", number(row, "index"), to),
            "apply" => self.counter(node, "applied", number(row, "last"), to),
            _ => self.instant(node, row, to),
        }
    }

    fn end(&mut self, to: &mut dyn Write) -> io::Result<()> {
        for (node, open) in std::mem::take(&mut self.roles) {
            self.span_of(node, &open, to)?;
        }
        let front = if self.written { "" } else { "{\"traceEvents\":[" };
        writeln!(to, "{front}\n],\"displayTimeUnit\":\"ms\"}}")
    }
}

impl Chrome {
    fn event(&mut self, event: &Value, to: &mut dyn Write) -> io::Result<()> {
        let front = if self.written { ",\n" } else { "{\"traceEvents\":[\n" };
        self.written = true;
        write!(to, "{front}{event}")
    }

    /// Names a process when it is first met.
    fn process(&mut self, node: u64, to: &mut dyn Write) -> io::Result<()> {
        if !self.processes.insert(node) {
            return Ok(());
        }
        let name = if node == WORLD { "around them".to_owned() } else { format!("node {node}") };
        let named = |key: &str, tid: u64, args: Value| json!({ "ph": "M", "name": key, "pid": node, "tid": tid, "args": args });
        self.event(&named("process_name", 0, json!({ "name": name })), to)?;
        self.event(&named("process_sort_index", 0, json!({ "sort_index": node })), to)?;
        for (tid, name) in THREADS {
            self.event(&named("thread_name", tid, json!({ "name": name })), to)?;
        }
        Ok(())
    }

    fn span_of(&mut self, node: u64, open: &Open, to: &mut dyn Write) -> io::Result<()> {
        let term = open.term.map(|term| format!(", term {term}")).unwrap_or_default();
        let event = json!({
            "ph": "X", "cat": "role", "name": format!("{}{term}", open.role.name()),
            "pid": node, "tid": ROLE, "ts": open.since, "dur": self.last - open.since,
        });
        self.event(&event, to)
    }

    fn span(
        &mut self,
        (node, thread): (u64, u64),
        row: &Row,
        (ts, dur): (u64, u64),
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let event = json!({
            "ph": "X", "cat": row.topic, "name": row.text, "pid": node, "tid": thread,
            "ts": ts, "dur": dur, "args": row.fields,
        });
        self.event(&event, to)
    }

    /// A message: something to point at, and the arrow's beginning or end.
    fn message(&mut self, node: u64, row: &Row, to: &mut dyn Write) -> io::Result<()> {
        self.span((node, MESSAGES), row, (self.last, MOMENT), to)?;
        let Some(m) = number(row, "m") else { return Ok(()) };
        let sends = row.kind == "send";
        let draws = if sends {
            self.on_their_way.len() < MESSAGES_MAX && self.on_their_way.insert(m)
        } else {
            self.on_their_way.remove(&m)
        };
        if !draws {
            return Ok(());
        }
        // Ids of numbers above 2^53 would not survive a script: text does.
        let mut event = json!({
            "ph": if sends { "s" } else { "f" }, "cat": "message", "name": "message",
            "id": m.to_string(), "pid": node, "tid": MESSAGES, "ts": self.last,
        });
        if !sends {
            event["bp"] = json!("e");
        }
        self.event(&event, to)
    }

    fn client(&mut self, row: &Row, to: &mut dyn Write) -> io::Result<()> {
        let (Some(client), Some(serial)) = (number(row, "client"), number(row, "serial")) else {
            return self.instant(WORLD, row, to);
        };
        let event = json!({
            "ph": if row.kind == "call" { "b" } else { "e" }, "cat": "client",
            "name": format!("client {client}"), "id": format!("{client}/{serial}"),
            "pid": WORLD, "tid": 0, "ts": self.last, "args": row.fields,
        });
        self.event(&event, to)
    }

    fn counter(
        &mut self,
        node: u64,
        name: &str,
        value: Option<u64>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(value) = value else { return Ok(()) };
        let event = json!({
            "ph": "C", "name": name, "pid": node, "tid": LOG, "ts": self.last,
            "args": { "index": value },
        });
        self.event(&event, to)
    }

    fn instant(&mut self, node: u64, row: &Row, to: &mut dyn Write) -> io::Result<()> {
        let scope = if row.place == Place::Wide || row.topic == "fault" { "g" } else { "t" };
        let thread = match &*row.topic {
            "disk" | "recover" => DISK,
            "vote" | "lost" => MESSAGES,
            _ => LOG,
        };
        let event = json!({
            "ph": "i", "cat": row.topic, "name": row.text, "pid": node, "tid": thread,
            "ts": self.last, "s": scope, "args": row.fields,
        });
        self.event(&event, to)
    }
}
