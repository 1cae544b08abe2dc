//! What an exchange begins, and what it is told when that is done.
//!
//! The layer above is [`super::Exchange`], below is the replica, whose threads call back: a callback
//! only turns into an [`Event`] for the task that owns the exchange.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender};

use crate::{
    command::Local,
    limits::SMALL_REPLY_MAX,
    meters::Pending,
    pipeline::{Question, Ticket},
    replica::{Order, OrderRefusal, Refusal},
    room::{Room, Share},
    transaction::Transaction,
};

/// A request that is ready to begin.
#[derive(Debug)]
pub(super) enum Task {
    /// A log entry to propose.
    Write {
        entry: Bytes,
        slot: u16,
    },
    Read {
        question: Question,
        slot: u16,
    },
    /// EXEC of what was gathered.
    Exec(Transaction),
    /// What was watched is forgotten.
    Unwatch,
    Local(Local),
    Order(Order),
}

impl Task {
    /// Bytes that it holds while it must wait.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Write { entry, .. } => entry.len(),
            Self::Read { question, .. } => question.len(),
            Self::Exec(transaction) => transaction.held(),
            Self::Unwatch | Self::Local(_) | Self::Order(_) => 0,
        }
    }
}

/// A read that waits for the replica's permission.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) question: Question,
    pub(super) slot: u16,
    pub(super) since: Instant,
}

/// What the replica's callbacks tell the connection.
#[derive(Debug)]
pub(crate) enum Event {
    Written {
        ticket: Ticket,
        slot: u16,
        since: Instant,
        result: Result<Bytes, Refusal>,
        /// For a long reply.
        share: Option<Share>,
    },
    Ordered {
        ticket: Ticket,
        result: Result<u64, OrderRefusal>,
    },
    Readable {
        asked: Vec<Asked>,
        result: Result<(), Refusal>,
    },
}

/// An event on its way; sent when this is dropped, whether or not the callback was called.
pub(super) struct Answer {
    events: UnboundedSender<Event>,
    event: Option<Event>,
    /// Let go with the answer.
    _under_way: Option<(OwnedSemaphorePermit, Pending)>,
}

impl Answer {
    pub(super) fn new(
        events: &UnboundedSender<Event>,
        event: Event,
        under_way: Option<(OwnedSemaphorePermit, Pending)>,
    ) -> Self {
        Self { events: events.clone(), event: Some(event), _under_way: under_way }
    }

    /// What will be said.
    pub(super) fn event(&mut self) -> Option<&mut Event> {
        self.event.as_mut()
    }

    /// Takes in what became of a write. A reply that is long needs room until its client has it: the
    /// connection may have asked for many of them.
    pub(super) fn written(&mut self, outcome: Result<Bytes, Refusal>, room: &Arc<Room>) {
        let Some(Event::Written { result, share, .. }) = &mut self.event else { return };
        *result = outcome;
        let len = result.as_ref().map_or(0, Bytes::len);
        if len > SMALL_REPLY_MAX {
            let mut held = Share::of(room);
            if held.resize(len) {
                *share = Some(held);
            } else {
                *result = Err(Refusal::NotKept);
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            // The connection may be gone; then nobody waits for this.
            let _ = self.events.send(event);
        }
    }
}
