//! The service of the simulated clusters: a few registers, and a digest of all that was applied.
//!
//! What was applied at an index, and the state after it, must be the same on every node and for
//! ever; the nodes compare themselves in a `Library`.
//!
//! Above: `play`. Below: the trait that every service implements.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hardlog::Index;

use super::{
    lock,
    mirror::mix,
    watch::{Breach, breach},
};
use crate::state_machine::{Command, FrozenSnapshot, StateMachine};

/// Bytes of a command before its padding: a register and a value.
const COMMAND_BYTES: usize = 9;
/// Value that the last write carries; no client writes it.
pub(super) const LAST_VALUE: u64 = u64::MAX;

/// A command that sets a register, padded.
pub(super) fn encode(key: u8, value: u64, padding: usize) -> Bytes {
    let mut bytes = vec![key];
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes.resize(COMMAND_BYTES + padding, b'.');
    Bytes::from(bytes)
}

fn decode(data: &[u8]) -> Option<(u8, u64)> {
    let (key, rest) = data.split_first()?;
    let (value, _padding) = rest.split_first_chunk()?;
    Some((*key, u64::from_le_bytes(*value)))
}

/// What one node's registers hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Index of the last command.
    pub(super) last: Index,
    pub(super) digest: u64,
    pub(super) values: BTreeMap<u8, u64>,
}

/// What was applied anywhere: by index, the value and the digest after it.
#[derive(Debug, Default)]
pub(super) struct Library {
    pub(super) applied: BTreeMap<Index, (u64, u64)>,
    /// Where each value was written: no client writes one twice.
    places: BTreeMap<u64, Index>,
    pub(super) breach: Option<Breach>,
}

impl Library {
    /// Rule 13: however often a client sends a command, it is applied at one index.
    fn once(&mut self, index: Index, value: u64) {
        let place = *self.places.entry(value).or_insert(index);
        if place != index && value != LAST_VALUE {
            let what = format!("the command of value {value} is applied at {place} and {index}");
            self.breach = self.breach.take().or(breach::<()>(13, what).err());
        }
    }

    fn compare(&mut self, index: Index, value: Option<u64>, digest: u64) {
        let known = match value {
            Some(value) => Some(*self.applied.entry(index).or_insert((value, digest))),
            None => self.applied.get(&index).copied(),
        };
        let same = known.is_some_and(|(of, sum)| sum == digest && value.is_none_or(|v| v == of));
        if !same && index > 0 {
            let what = format!("at {index} {value:?} gives {digest:x}, elsewhere {known:x?}");
            self.breach = self.breach.take().or(breach::<()>(4, what).err());
        }
    }
}

/// One node's state machine.
pub(super) struct Book {
    pub(super) page: Arc<Mutex<Page>>,
    pub(super) library: Arc<Mutex<Library>>,
}

impl StateMachine for Book {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut page = lock(&self.page);
        let mut library = lock(&self.library);
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let (key, value) = decode(&command.data).unwrap_or_default();
            if command.index <= page.last {
                let what = format!("{} is applied after {}", command.index, page.last);
                library.breach = breach::<()>(4, what).err();
            }
            page.last = command.index;
            page.digest = mix(mix(mix(page.digest, command.index), command.term), value);
            page.values.insert(key, value);
            library.compare(command.index, Some(value), page.digest);
            library.once(command.index, value);
            replies.push(Bytes::copy_from_slice(&command.index.to_le_bytes()));
        }
        replies
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(lock(&self.page).clone())
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut page = Page { last: number(from)?, digest: number(from)?, values: BTreeMap::new() };
        for _ in 0..number(from)? {
            let key = number(from)?.to_le_bytes()[0];
            page.values.insert(key, number(from)?);
        }
        lock(&self.library).compare(page.last, None, page.digest);
        *lock(&self.page) = page;
        Ok(())
    }
}

fn number(from: &mut dyn Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

impl FrozenSnapshot for Page {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut words = vec![self.last, self.digest, self.values.len() as u64];
        words.extend(self.values.iter().flat_map(|(key, value)| [u64::from(*key), *value]));
        words.iter().try_for_each(|word| to.write_all(&word.to_le_bytes()))
    }
}
