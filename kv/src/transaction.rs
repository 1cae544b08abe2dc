//! What a client gathers between MULTI and EXEC.
//!
//! The layer above is [`crate::exchange`]. Each command is encoded as it comes, straight into the
//! log entry that EXEC will propose, so what is kept is as long as that entry and holds no receive
//! buffer. One entry means: all steps or none, with nothing of other clients in between.
//!
//! As in Redis a command that is refused while gathering spoils the whole, and EXEC then does
//! nothing; one that fails when it is carried out (INCR of a text) fails alone.
//!
//! WATCH before it: what the watched keys held is part of the entry, and the entry does nothing if
//! one of them holds something else when it is applied. So nothing has to be remembered of keys, by
//! any node; a key that was changed and changed back counts as unchanged, which is as good.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::{
    command::Command,
    limits::{COMMAND_MAX, STEPS_MAX},
    op::{self, EXEC_HEADER_LEN, Step, When},
    resp::Reply,
};

/// A transaction that is being gathered.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    steps: BytesMut,
    count: usize,
    /// Hash slot of the first step that has one.
    slot: Option<u16>,
    spoilt: bool,
}

impl Transaction {
    /// Takes a command; the reply says whether it was taken.
    pub(crate) fn gather(&mut self, command: Command) -> Reply {
        let (step, slot) = match command {
            Command::Write { op, slot } => (Step::Do(op), slot),
            Command::Read { query, slot } if query.is_transactional() => (Step::Ask(query), slot),
            Command::Multi => return self.spoil("ERR MULTI calls can not be nested"),
            _ => return self.spoil("ERR this command is not allowed in a transaction"),
        };
        if self.count == STEPS_MAX {
            return self.spoil("ERR more than 65536 commands in a transaction");
        }
        let before = self.steps.len();
        step.put(&mut self.steps);
        if EXEC_HEADER_LEN + self.steps.len() > COMMAND_MAX {
            self.steps.truncate(before);
            return self.spoil("ERR transaction longer than 16 MiB");
        }
        self.count += 1;
        self.slot.get_or_insert(slot);
        Reply::Simple(Bytes::from_static(b"QUEUED"))
    }

    /// A request that was refused before it got here spoils the transaction too.
    pub(crate) fn refused(&mut self) {
        self.spoilt = true;
        self.steps = BytesMut::new();
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        self.steps.len()
    }

    /// The entry to propose and the slot of its first key, or the reply if there is none.
    pub(crate) fn finish(self, watched: Watched) -> Result<(Bytes, u16), Reply> {
        if self.spoilt {
            return Err(Reply::error(
                "EXECABORT Transaction discarded because of previous errors.",
            ));
        }
        if self.count == 0 {
            return Err(Reply::Array(Vec::new()));
        }
        let len = EXEC_HEADER_LEN + watched.bytes + self.steps.len();
        if len > COMMAND_MAX {
            return Err(Reply::error("ERR transaction and watched values longer than 16 MiB"));
        }
        let mut entry = BytesMut::with_capacity(len);
        op::put_exec(&mut entry, &watched.conditions(), self.count);
        entry.extend_from_slice(&self.steps);
        Ok((entry.freeze(), self.slot.unwrap_or(0)))
    }

    fn spoil(&mut self, why: &str) -> Reply {
        self.refused();
        Reply::error(why)
    }
}

/// What WATCH found.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    found: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl Watched {
    /// Remembers what a key holds; what it held when it was watched first counts.
    pub(crate) fn add(&mut self, key: Bytes, value: Option<Bytes>) {
        const EACH: usize = 9;
        let bytes = EACH + key.len() + value.as_ref().map_or(0, Bytes::len);
        if let std::collections::btree_map::Entry::Vacant(place) = self.found.entry(key) {
            place.insert(value);
            self.bytes += bytes;
        }
    }

    /// Bytes that it holds, and adds to an entry at most.
    pub(crate) fn held(&self) -> usize {
        self.bytes
    }

    fn conditions(self) -> Vec<(Bytes, When)> {
        let when = |value: Option<Bytes>| value.map_or(When::Missing, When::Equal);
        self.found.into_iter().map(|(key, value)| (key, when(value))).collect()
    }
}
