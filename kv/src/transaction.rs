//! What a client gathers between MULTI and EXEC.
//!
//! The layer above is [`crate::exchange`]. Each command is encoded as it comes, straight into the
//! log entry that EXEC will propose, so what is kept is as long as that entry and holds no receive
//! buffer. One entry means: all steps or none, with nothing of other clients in between.
//!
//! As in Redis a command that is refused while gathering spoils the whole, and EXEC then does
//! nothing; one that fails when it is carried out (INCR of a text) fails alone.

use bytes::{Bytes, BytesMut};

use crate::{
    command::Command,
    limits::{COMMAND_MAX, STEPS_MAX},
    op::{self, EXEC_HEADER_LEN, Step},
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

    /// The entry to propose and the slot of its first key, or the reply if there is none.
    pub(crate) fn finish(self) -> Result<(Bytes, u16), Reply> {
        if self.spoilt {
            return Err(Reply::error(
                "EXECABORT Transaction discarded because of previous errors.",
            ));
        }
        if self.count == 0 {
            return Err(Reply::Array(Vec::new()));
        }
        let mut entry = BytesMut::with_capacity(EXEC_HEADER_LEN + self.steps.len());
        op::put_exec(&mut entry, self.count);
        entry.extend_from_slice(&self.steps);
        Ok((entry.freeze(), self.slot.unwrap_or(0)))
    }

    fn spoil(&mut self, why: &str) -> Reply {
        self.refused();
        Reply::error(why)
    }
}
