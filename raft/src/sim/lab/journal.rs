//! The service of the labs: it keeps its commands by index, and compares them with what others
//! were given.
//!
//! Above: `lab`. Below: the trait that every service implements.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use hardlog::Index;

use crate::{
    sim::lock,
    state_machine::{Command, FrozenSnapshot, StateMachine},
};

/// Commands by index.
pub type Applied = BTreeMap<Index, Bytes>;

pub(super) type Shelf = Arc<Mutex<Applied>>;

/// A service that keeps its commands, and compares them with what others were given.
pub(super) struct Journal {
    pub(super) applied: Shelf,
    pub(super) everywhere: Shelf,
    /// The membership was changed, so some entries are no commands.
    pub(super) gaps: Arc<AtomicBool>,
}

impl StateMachine for Journal {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut applied = lock(&self.applied);
        let mut everywhere = lock(&self.everywhere);
        for Command { index, data, .. } in commands {
            let last = applied.last_key_value().map_or(0, |(index, _)| *index);
            let gaps = self.gaps.load(Ordering::Relaxed);
            let follows = *index == last + 1 || (gaps && *index > last);
            assert!(follows, "{index} is applied after {last}");
            let known = everywhere.entry(*index).or_insert_with(|| data.clone());
            assert!(known == data, "{data:?} is applied at {index}, elsewhere {known:?}");
            applied.insert(*index, data.clone());
        }
        commands.iter().map(|_| Bytes::new()).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(lock(&self.applied).clone()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut applied = Applied::new();
        while let Some((index, after)) = number(rest) {
            let Some((len, after)) = number(after) else { break };
            let len = usize::try_from(len).map_err(io::Error::other)?.min(after.len());
            let (data, after) = after.split_at(len);
            applied.insert(index, Bytes::copy_from_slice(data));
            rest = after;
        }
        *lock(&self.applied) = applied;
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*word), rest))
}

struct Frozen(Applied);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|(index, data)| {
            to.write_all(&index.to_le_bytes())?;
            to.write_all(&(data.len() as u64).to_le_bytes())?;
            to.write_all(data)
        })
    }
}
