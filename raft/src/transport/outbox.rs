//! Messages that wait for one lane of one peer.
//!
//! Bounded in number and bytes: when it is full the oldest goes, since Raft sends again what
//! matters and an old message is worth less than a new one. Pushing never waits.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    message::{Message, NodeId},
    metrics::Outgoing,
    trace::{self, Voice, What},
};

/// A message and its number among all that the node sent.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) message: Message,
}

/// Tells of messages that did not get to a peer.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    pub(super) voice: Voice,
    pub(super) from: NodeId,
    pub(super) incarnation: u64,
    pub(super) to: NodeId,
    pub(super) meter: Outgoing,
}

impl Losses {
    pub(super) fn of(&self, number: u64, why: &'static str) {
        let m = || trace::message_id(self.from, self.incarnation, number);
        self.voice.note(|| What::Lost { m: m(), to: self.to, why: why.into() });
    }
}

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Outbox {
    bounds: Bounds,
    losses: Losses,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Numbered>,
    bytes: u64,
    dropped: u64,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(bounds: Bounds, losses: Losses) -> Self {
        Self { bounds, losses, queue: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that runs under this lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, message: Numbered) {
        let mut queue = self.lock();
        queue.bytes += message.message.weight();
        queue.messages.push_back(message);
        while queue.messages.len() > self.bounds.messages
            || (queue.bytes > self.bounds.bytes && queue.messages.len() > 1)
        {
            let Some(oldest) = queue.messages.pop_front() else { break };
            queue.bytes -= oldest.message.weight();
            queue.dropped += 1;
            self.losses.meter.failures.increment(1);
            self.losses.of(oldest.number, "queue full");
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Waits for messages and takes all of them; none once the outbox is closed.
    pub(super) fn take(&self) -> Option<VecDeque<Numbered>> {
        let mut queue = self.lock();
        while queue.messages.is_empty() && !queue.closed {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return None;
        }
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.messages))
    }

    /// Nothing waits, and something still may.
    pub(super) fn is_idle(&self) -> bool {
        let queue = self.lock();
        queue.messages.is_empty() && !queue.closed
    }

    /// Waits for `time`, whatever comes in; false once the outbox is closed.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let closed = |queue: &mut Queue| !queue.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), time, closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// The numbers of messages, if anybody wants to be told of those that are lost.
    pub(super) fn numbers(&self, messages: &VecDeque<Numbered>) -> Vec<u64> {
        match self.losses.voice.is_on() {
            true => messages.iter().map(|message| message.number).collect(),
            false => Vec::new(),
        }
    }

    /// Bytes went out to the peer.
    pub(super) fn sent(&self, bytes: usize) {
        self.losses.meter.bytes.increment(bytes as u64);
    }

    /// So many were taken and did not get through, as far as is known here; which, if anybody wants
    /// to be told.
    pub(super) fn lost(&self, count: usize, numbers: &[u64]) {
        self.losses.meter.failures.increment(count as u64);
        numbers.iter().for_each(|number| self.losses.of(*number, "connection lost"));
    }

    /// Messages that were dropped because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use hardlog::{Entry, EntryId};

    use super::*;
    use crate::{message::Body, trace::Tracer};

    fn message(term: u64, len: usize) -> Numbered {
        let entries = vec![Entry::new(1, 1, vec![0; len])];
        let body = Body::Append { prev: EntryId::default(), entries, commit: 0 };
        Numbered { number: term, message: Message { from: 1, to: 2, term, body } }
    }

    fn outbox() -> Outbox {
        let (voice, meter) = (Tracer::off().of(1), Outgoing::to(2));
        let losses = Losses { voice, from: 1, incarnation: 1, to: 2, meter };
        Outbox::new(Bounds { messages: 3, bytes: 1000 }, losses)
    }

    fn terms(outbox: &Outbox) -> Vec<u64> {
        outbox.take().into_iter().flatten().map(|message| message.number).collect()
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_messages_or_bytes() {
        let outbox = outbox();
        (1..=5).for_each(|term| outbox.push(message(term, 1)));
        assert_eq!((terms(&outbox), outbox.dropped()), (vec![3, 4, 5], 2));
        (1..=3).for_each(|term| outbox.push(message(term, 400)));
        assert_eq!(terms(&outbox), [2, 3]);
        outbox.push(message(9, 5000));
        assert_eq!(terms(&outbox), [9], "one message always fits");
    }

    #[test]
    fn a_closed_outbox_wakes_its_sender() {
        let outbox = std::sync::Arc::new(outbox());
        let other = std::sync::Arc::clone(&outbox);
        let sender = std::thread::spawn(move || other.take());
        outbox.close();
        assert!(sender.join().unwrap().is_none());
        assert!(!outbox.pause(Duration::from_secs(60)));
    }
}
