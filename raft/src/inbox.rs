//! Everything that comes to a node's thread from others, gathered so that one round handles it all.
//!
//! Proposals and reads are bounded by the caller's count; messages of peers by bytes, and whoever
//! brings one waits while there are too many, which slows the peer down through TCP. What the node's
//! own threads report is never refused.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use crate::{call::Call, driver::orders::Order, message::Message, work::Report};

/// What came in since the last look.
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) messages: Vec<Message>,
    pub(crate) proposals: Vec<(Bytes, Call<Bytes>)>,
    pub(crate) reads: Vec<Call<()>>,
    pub(crate) orders: Vec<Order>,
    pub(crate) reports: Vec<Report>,
    pub(crate) closed: bool,
    message_bytes: u64,
    woken: bool,
}

impl Input {
    fn is_empty(&self) -> bool {
        let nothing_new = self.messages.is_empty() && self.proposals.is_empty();
        let nobody_asks = self.reads.is_empty() && self.orders.is_empty();
        nothing_new && nobody_asks && self.reports.is_empty() && !self.woken
    }
}

pub(crate) struct Inbox {
    input: Mutex<Input>,
    came: Condvar,
    room: Condvar,
    message_bytes_max: u64,
}

impl Inbox {
    pub(crate) fn new(message_bytes_max: u64) -> Self {
        Self {
            input: Mutex::default(),
            came: Condvar::new(),
            room: Condvar::new(),
            message_bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Input> {
        // Every change under this lock is one push.
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of a peer; waits while there are too many. False once the inbox is closed.
    pub(crate) fn message(&self, message: Message) -> bool {
        let full =
            |input: &mut Input| input.message_bytes > self.message_bytes_max && !input.closed;
        let waited = self.room.wait_while(self.lock(), full);
        let mut input = waited.unwrap_or_else(PoisonError::into_inner);
        if input.closed {
            return false;
        }
        input.message_bytes += message.weight();
        input.messages.push(message);
        self.announce(input);
        true
    }

    pub(crate) fn propose(&self, data: Bytes, call: Call<Bytes>) {
        let mut input = self.lock();
        // A closed inbox drops the call after the lock, and the call says so to its caller.
        if input.closed {
            return drop((input, call));
        }
        input.proposals.push((data, call));
        self.announce(input);
    }

    /// Several at once: one round takes them all, so they share a batch.
    pub(crate) fn propose_all(&self, proposals: Vec<(Bytes, Call<Bytes>)>) {
        let mut input = self.lock();
        if input.closed {
            return drop((input, proposals));
        }
        input.proposals.extend(proposals);
        self.announce(input);
    }

    pub(crate) fn read(&self, call: Call<()>) {
        let mut input = self.lock();
        if input.closed {
            return drop((input, call));
        }
        input.reads.push(call);
        self.announce(input);
    }

    pub(crate) fn order(&self, order: Order) {
        let mut input = self.lock();
        if input.closed {
            return drop((input, order));
        }
        input.orders.push(order);
        self.announce(input);
    }

    pub(crate) fn report(&self, report: Report) {
        let mut input = self.lock();
        input.reports.push(report);
        self.announce(input);
    }

    /// Something outside changed: have a look.
    pub(crate) fn wake(&self) {
        let mut input = self.lock();
        input.woken = true;
        self.announce(input);
    }

    /// Nothing is taken any more.
    pub(crate) fn close(&self) {
        let mut input = self.lock();
        input.closed = true;
        self.announce(input);
        self.room.notify_all();
    }

    fn announce(&self, input: MutexGuard<'_, Input>) {
        drop(input);
        self.came.notify_one();
    }

    /// Everything that came, at the latest at `deadline`.
    pub(crate) fn take(&self, deadline: Instant) -> Input {
        let mut input = self.lock();
        while input.is_empty() && !input.closed {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            if left.is_zero() {
                break;
            }
            let waited = self.came.wait_timeout(input, left);
            input = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let closed = input.closed;
        let taken = std::mem::replace(&mut *input, Input { closed, ..Input::default() });
        drop(input);
        if taken.message_bytes > 0 {
            self.room.notify_all();
        }
        taken
    }
}
