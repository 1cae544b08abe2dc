//! Store: the replicated state, a map, and the types that openraft is told.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Result, Write},
};

use hardlog_openraft::App;
use openraft::{EntryPayload, type_config::alias::EntryOf};
use serde::{Deserialize, Serialize};

/// What a client wants done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Set {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {}", self.key)
    }
}

openraft::declare_raft_types!(pub(crate) C: D = Set, R = ());

#[derive(Clone, Default)]
pub(crate) struct Store(pub(crate) BTreeMap<String, String>);

impl App<EntryOf<C>, ()> for Store {
    fn apply(&mut self, entry: &EntryOf<C>) {
        if let EntryPayload::Normal(set) = &entry.payload {
            self.0.insert(set.key.clone(), set.value.clone());
        }
    }

    fn write_to(&self, out: &mut dyn Write) -> Result<()> {
        Ok(serde_json::to_writer(out, &self.0)?)
    }

    fn read_from(input: &mut dyn Read) -> Result<Self> {
        Ok(Self(serde_json::from_reader(input)?))
    }
}
