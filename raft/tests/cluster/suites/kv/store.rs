//! The service: strings by key. Every command is answered with what stood there before it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use bytes::Bytes;
use hardlog_raft::{Command as Entry, FrozenSnapshot, StateMachine};

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get,
    Put(String),
    Append(String),
    /// Sets it to the second if it is the first.
    Cas(String, String),
}

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) key: String,
    pub(super) op: Op,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Where the command stands in the log.
    pub(super) index: u64,
    /// What stood there before it.
    pub(super) previous: Option<String>,
}

impl Op {
    /// What stands there after it.
    pub(super) fn apply(&self, before: Option<&String>) -> Option<String> {
        match self {
            Self::Get => before.cloned(),
            Self::Put(value) => Some(value.clone()),
            Self::Append(more) => Some(before.cloned().unwrap_or_default() + more),
            Self::Cas(expected, value) if before == Some(expected) => Some(value.clone()),
            Self::Cas(..) => before.cloned(),
        }
    }
}

pub(super) fn command(key: impl Into<String>, op: Op) -> Command {
    Command { key: key.into(), op }
}

pub(super) fn get(key: impl Into<String>) -> Command {
    command(key, Op::Get)
}

pub(super) fn put(key: impl Into<String>, value: impl Into<String>) -> Command {
    command(key, Op::Put(value.into()))
}

pub(super) fn append(key: impl Into<String>, more: impl Into<String>) -> Command {
    command(key, Op::Append(more.into()))
}

pub(super) fn cas(key: &str, expected: &str, value: &str) -> Command {
    command(key, Op::Cas(expected.to_owned(), value.to_owned()))
}

fn push(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&u32::try_from(text.len()).expect("a short text").to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn pop(from: &mut &[u8]) -> Option<String> {
    let (len, rest) = from.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    *from = rest;
    String::from_utf8(text.to_vec()).ok()
}

impl Command {
    pub(super) fn encode(&self) -> Bytes {
        let (kind, texts): (u8, [&str; 2]) = match &self.op {
            Op::Get => (0, ["", ""]),
            Op::Put(value) => (1, [value, ""]),
            Op::Append(more) => (2, [more, ""]),
            Op::Cas(expected, value) => (3, [expected, value]),
        };
        let mut bytes = vec![kind];
        push(&mut bytes, &self.key);
        texts.into_iter().for_each(|text| push(&mut bytes, text));
        Bytes::from(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let (key, one, two) = (pop(&mut rest)?, pop(&mut rest)?, pop(&mut rest)?);
        let op = match kind {
            0 => Op::Get,
            1 => Op::Put(one),
            2 => Op::Append(one),
            3 => Op::Cas(one, two),
            _ => return None,
        };
        Some(Self { key, op })
    }
}

impl Reply {
    fn encode(&self) -> Bytes {
        let mut bytes = self.index.to_le_bytes().to_vec();
        if let Some(previous) = &self.previous {
            push(&mut bytes, previous);
        }
        Bytes::from(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, mut rest) = bytes.split_first_chunk()?;
        let previous = if rest.is_empty() { None } else { Some(pop(&mut rest)?) };
        Some(Self { index: u64::from_le_bytes(*index), previous })
    }
}

/// The state machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Store(BTreeMap<String, String>);

impl StateMachine for Store {
    fn apply(&mut self, entries: &[Entry]) -> Vec<Bytes> {
        let apply = |entry: &Entry| {
            let command = Command::decode(&entry.data).expect("a command of this test");
            let previous = self.0.get(&command.key).cloned();
            if let Some(value) = command.op.apply(previous.as_ref()) {
                self.0.insert(command.key, value);
            }
            Reply { index: entry.index, previous }.encode()
        };
        entries.iter().map(apply).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(self.clone())
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        self.0.clear();
        while let Some(key) = pop(&mut rest) {
            self.0.insert(key, pop(&mut rest).ok_or(io::ErrorKind::InvalidData)?);
        }
        Ok(())
    }
}

impl FrozenSnapshot for Store {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            push(&mut bytes, key);
            push(&mut bytes, value);
        }
        to.write_all(&bytes)
    }
}

#[test]
fn commands_and_replies_come_back() {
    for command in [get("k"), put("k", "v"), append("", "more"), cas("k", "", "x")] {
        assert_eq!(Command::decode(&command.encode()), Some(command));
    }
    for previous in [None, Some(String::new()), Some("x".to_owned())] {
        let reply = Reply { index: 9, previous };
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }
}
