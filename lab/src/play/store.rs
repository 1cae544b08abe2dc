//! The service that is played with: keys and values.
//!
//! Above: `game`. Below: the trait that every service implements.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use hardlog_raft::{Command, FrozenSnapshot, StateMachine};

/// The state of one node.
pub(super) type State = BTreeMap<String, String>;
/// The states of all nodes, by id.
pub(super) type States = Arc<Mutex<BTreeMap<u64, State>>>;

/// The service on one node. Its state lies where a reader gets at it.
pub(super) struct Store {
    pub(super) node: u64,
    pub(super) states: States,
}

/// Takes the states; there is one thread, so nobody left them half changed.
pub(super) fn lock(states: &States) -> MutexGuard<'_, BTreeMap<u64, State>> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write as the log holds it. Neither contains white space.
pub(super) fn encode(key: &str, value: &str) -> Bytes {
    Bytes::from(format!("{key}\t{value}"))
}

impl Store {
    pub(super) fn new(node: u64, states: States) -> Self {
        lock(&states).insert(node, State::new());
        Self { node, states }
    }
}

impl StateMachine for Store {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut states = lock(&self.states);
        let state = states.entry(self.node).or_default();
        for command in commands {
            let text = String::from_utf8_lossy(&command.data);
            if let Some((key, value)) = text.split_once('\t') {
                state.insert(key.to_owned(), value.to_owned());
            }
        }
        commands.iter().map(|command| Bytes::from(command.index.to_string())).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(lock(&self.states).get(&self.node).cloned().unwrap_or_default()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        let state = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        lock(&self.states).insert(self.node, state);
        Ok(())
    }
}

struct Frozen(State);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|(key, value)| writeln!(to, "{key}\t{value}"))
    }
}
