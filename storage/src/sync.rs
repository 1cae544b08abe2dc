//! Group commit: who waits for what, and one fdatasync for all of them.
//!
//! ```text
//!   wait(7) ─ leads ──▶ fdatasync ──▶ durable = 9 ─▶ hands the lead to 11, then wakes 8 and 9
//!   wait(8) ─ parks ─────────────────────────────────▲
//!   wait(11) (came meanwhile) ─ parks ─▶ leads ──▶ fdatasync …
//! ```
//!
//! The first waiter syncs in its own thread; whoever comes meanwhile shares the next sync. Each
//! waiter is woken alone, and the next leader first, so that the disk never waits for the waking.
//! A dedicated thread exists only for callbacks: the first `notify` starts it.
//!
//! Above: the callers. Below: `wal`, which knows what a sync covers.
//! INVARIANT: a waiter returns Ok only after the durable watermark reached its ticket.
//! INVARIANT: callbacks run in the order of their tickets, once each, outside all locks.

use std::collections::VecDeque;

use prim::{Arc, AtomicU8, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, Thread, thread};

use crate::error::{Error, Result};

/// The primitives, so that a model checker can put its own in their place.
#[cfg(not(loom))]
mod prim {
    pub(super) use std::{
        sync::{
            Arc, Condvar, Mutex, MutexGuard,
            atomic::{AtomicU8, AtomicU64, Ordering},
        },
        thread::{self, Thread},
    };
}
#[cfg(loom)]
mod prim {
    pub(super) use loom::{
        sync::{
            Arc, Condvar, Mutex, MutexGuard,
            atomic::{AtomicU8, AtomicU64, Ordering},
        },
        thread::{self, Thread},
    };
}

const WAITING: u8 = 0;
const DONE: u8 = 1;
const LEAD: u8 = 2;

type Callback = Box<dyn FnOnce(Result<()>) + Send>;

/// The durable watermark and everybody who waits for it to rise.
pub(crate) struct Watermark {
    durable: AtomicU64,
    queue: Mutex<Queue>,
    /// Tells the callback thread that there is work.
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Somebody is syncing on behalf of all.
    led: bool,
    waiters: Vec<Arc<Waiter>>,
    callbacks: VecDeque<(u64, Callback)>,
    failed: Option<String>,
    closed: bool,
}

struct Waiter {
    ticket: u64,
    thread: Thread,
    state: AtomicU8,
}

impl Watermark {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            durable: AtomicU64::new(durable),
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
        }
    }

    /// Highest sequence that is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything up to `seq` is durable. Wakes nobody: see [`Self::settle`].
    pub(crate) fn advance(&self, seq: u64) {
        // Rises only: a successor repeats the sequence it took over.
        self.durable.fetch_max(seq, Ordering::AcqRel);
    }

    /// Nothing will become durable any more.
    pub(crate) fn fail(&self, why: &str) {
        self.lock().failed.get_or_insert_with(|| why.to_owned());
    }

    /// Blocks until `ticket` is durable; `sync` makes everything written so far durable.
    pub(crate) fn wait(&self, ticket: u64, sync: &dyn Fn() -> Result<()>) -> Result<()> {
        if self.durable() >= ticket {
            return Ok(());
        }
        let mut queue = self.lock();
        if let Some(result) = self.outcome(&queue, ticket) {
            return result;
        }
        if !std::mem::replace(&mut queue.led, true) {
            drop(queue);
            return self.lead(ticket, sync);
        }
        let waiter =
            Arc::new(Waiter { ticket, thread: thread::current(), state: AtomicU8::new(WAITING) });
        queue.waiters.push(Arc::clone(&waiter));
        drop(queue);
        loop {
            match waiter.state.load(Ordering::Acquire) {
                DONE => return self.outcome(&self.lock(), ticket).unwrap_or(Ok(())),
                LEAD => return self.lead(ticket, sync),
                _ => thread::park(),
            }
        }
    }

    /// Syncs for all, then hands the lead on and wakes those who are done.
    fn lead(&self, ticket: u64, sync: &dyn Fn() -> Result<()>) -> Result<()> {
        let result = if self.durable() >= ticket { Ok(()) } else { sync() };
        let mut queue = self.lock();
        let done = self.take_done(&mut queue);
        let next = queue.waiters.pop();
        queue.led = next.is_some();
        let outcome = self.outcome(&queue, ticket);
        drop(queue);
        if let Some(next) = next {
            next.wake(LEAD);
        }
        done.iter().for_each(|waiter| waiter.wake(DONE));
        match (result, outcome) {
            (Err(e), _) => Err(e),
            (Ok(()), outcome) => outcome.unwrap_or(Ok(())),
        }
    }

    /// Wakes everybody whose ticket is durable by now; called without any lock of the log.
    pub(crate) fn settle(&self) {
        let mut queue = self.lock();
        let done = self.take_done(&mut queue);
        let work = !queue.callbacks.is_empty();
        drop(queue);
        done.iter().for_each(|waiter| waiter.wake(DONE));
        if work {
            self.work.notify_all();
        }
    }

    fn take_done(&self, queue: &mut Queue) -> Vec<Arc<Waiter>> {
        let (durable, failed) = (self.durable(), queue.failed.is_some());
        let is_done = |waiter: &Arc<Waiter>| failed || waiter.ticket <= durable;
        let (done, rest) = std::mem::take(&mut queue.waiters).into_iter().partition(is_done);
        queue.waiters = rest;
        done
    }

    /// What is known about `ticket`: durable, failed for good, or (None) neither.
    fn outcome(&self, queue: &Queue, ticket: u64) -> Option<Result<()>> {
        if self.durable() >= ticket {
            return Some(Ok(()));
        }
        queue.failed.as_ref().map(|why| Err(Error::Poisoned { why: why.clone() }))
    }

    /// Adds a callback behind all of lower or equal ticket.
    pub(crate) fn notify(&self, ticket: u64, callback: Callback) {
        let mut queue = self.lock();
        let at = queue.callbacks.partition_point(|(other, _)| *other <= ticket);
        queue.callbacks.insert(at, (ticket, callback));
        drop(queue);
        self.work.notify_all();
    }

    /// Runs every callback whose fate is known. One thread at a time may call it.
    pub(crate) fn run_callbacks(&self) {
        loop {
            let mut queue = self.lock();
            let known = |(ticket, _): &(u64, Callback)| self.outcome(&queue, *ticket);
            let Some(result) = queue.callbacks.front().and_then(known) else { return };
            let Some((_, callback)) = queue.callbacks.pop_front() else { return };
            drop(queue);
            callback(result);
        }
    }

    /// The callback thread: syncs whenever a callback waits for it, until the log is closed.
    pub(crate) fn serve(&self, sync: &dyn Fn() -> Result<()>) {
        loop {
            let queue = self.lock();
            let Some((ticket, _)) = queue.callbacks.front() else {
                if queue.closed {
                    return;
                }
                drop(self.work.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner));
                continue;
            };
            let ticket = *ticket;
            let hopeless = queue.closed && self.outcome(&queue, ticket).is_none();
            drop(queue);
            if hopeless {
                self.fail("the log was closed");
            } else if let Err(e) = self.wait(ticket, sync) {
                // A disk that is full for now: say so, and try again with the next callback.
                self.drop_front(ticket, e);
            }
            self.run_callbacks();
        }
    }

    /// Gives the first callback the error that its sync met, unless its fate is known meanwhile.
    fn drop_front(&self, ticket: u64, error: Error) {
        let mut queue = self.lock();
        let changed = queue.callbacks.front().is_none_or(|(front, _)| *front != ticket);
        if changed || self.outcome(&queue, ticket).is_some() {
            return;
        }
        let Some((_, callback)) = queue.callbacks.pop_front() else { return };
        drop(queue);
        callback(Err(error));
    }

    /// The log is closed: waiters and callbacks that are not served by now never will be.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.failed.get_or_insert_with(|| "the log was closed".to_owned());
        drop(queue);
        self.settle();
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Waiter {
    fn wake(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.thread.unpark();
    }
}

impl std::fmt::Debug for Watermark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watermark").field("durable", &self.durable()).finish_non_exhaustive()
    }
}
