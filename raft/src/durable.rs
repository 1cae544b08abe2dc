//! Durable before said: the types that make the wrong order impossible to write.
//!
//! The core numbers its saves. Whatever promises something about a save (a vote, an
//! acknowledgement) comes out of it sealed in a [`Promise`], and a promise opens only with a
//! [`Durable`]. There is one way to obtain that: [`Ledger::reached`], which asks the log's own
//! watermark. So a driver that sends before the sync that covers it does not compile.
//!
//! A save is the difference between two states of the core in memory, so what is on disk is always
//! a state that the node was in, and every message that left was made at or before it. A node that
//! crashes is then no different from one that paused there.
//!
//! What does not compile, each checked by a test. Taking a message out of a promise without proof:
//!
//! ```compile_fail,E0616
//! use hardlog_raft::{durable::Promise, Message};
//! fn send_at_once(promise: Promise<Message>) -> Message {
//!     promise.inner
//! }
//! ```
//! Making the proof up:
//!
//! ```compile_fail,E0451
//! use hardlog_raft::durable::Durable;
//! let proof = Durable { number: 7 };
//! ```
//! Proving one save by another watermark than the log's own:
//!
//! ```compile_fail,E0624
//! use hardlog_raft::durable::Ledger;
//! let mut ledger = Ledger::<u64>::new();
//! let proof = ledger.covered(7);
//! ```
//! Sealing something under a save that is known to be durable:
//!
//! ```compile_fail,E0624
//! use hardlog_raft::durable::Promise;
//! let promise = Promise::new(0, "vote");
//! ```
//! And what does: the log's watermark is asked, and opens the promise or gives it back.
//!
//! ```
//! use hardlog::{Syncer, Ticket};
//! use hardlog_raft::{Message, durable::{Ledger, Promise}};
//! fn release(p: Promise<Message>, ledger: &mut Ledger<Ticket>, log: &Syncer) -> Option<Message> {
//!     p.open(ledger.reached(log)).ok()
//! }
//! ```

use std::collections::VecDeque;

use hardlog::{Syncer, Ticket};

/// Number of a save, counted from 1 in each run of a node; 0 stands for what was recovered.
pub type SaveNumber = u64;

/// Proof that a save and all before it are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable {
    number: SaveNumber,
}

impl Durable {
    /// The last save that it covers.
    #[must_use]
    pub fn number(self) -> SaveNumber {
        self.number
    }

    /// For tests of the core, whose disk is a vector.
    #[cfg(test)]
    pub(crate) fn assumed(number: SaveNumber) -> Self {
        Self { number }
    }
}

/// Something that may be said only after a save is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Promise<T> {
    needs: SaveNumber,
    inner: T,
}

impl<T> Promise<T> {
    /// Seals `inner` until `needs` is durable.
    pub(crate) fn new(needs: SaveNumber, inner: T) -> Self {
        Self { needs, inner }
    }

    /// The save that must be durable first.
    #[must_use]
    pub fn needs(&self) -> SaveNumber {
        self.needs
    }

    /// What was sealed.
    ///
    /// # Errors
    /// The promise itself, while the proof does not cover it.
    pub fn open(self, durable: Durable) -> Result<T, Self> {
        if self.needs <= durable.number { Ok(self.inner) } else { Err(self) }
    }
}

/// Which ticket of the log covers which save.
#[derive(Debug, Default)]
pub struct Ledger<T> {
    written: VecDeque<(SaveNumber, T)>,
    durable: SaveNumber,
}

impl<T: Ord + Copy> Ledger<T> {
    /// No save was written yet.
    #[must_use]
    pub fn new() -> Self {
        Self { written: VecDeque::new(), durable: 0 }
    }

    /// The log took save `number` under `ticket`.
    ///
    /// # Panics
    /// If saves come out of order, which would let a later proof cover an earlier loss.
    pub fn written(&mut self, number: SaveNumber, ticket: T) {
        let last = self.written.back().map_or(self.durable, |(number, _)| *number);
        assert!(number == last + 1, "save {number} was written after save {last}");
        self.written.push_back((number, ticket));
    }

    /// Whether everything that was written is known to be durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.written.is_empty()
    }

    fn covered(&mut self, watermark: T) -> Durable {
        while let Some((number, ticket)) = self.written.front().copied() {
            if ticket > watermark {
                break;
            }
            self.durable = number;
            self.written.pop_front();
        }
        Durable { number: self.durable }
    }
}

impl Ledger<Ticket> {
    /// What the log's watermark proves now.
    pub fn reached(&mut self, syncer: &Syncer) -> Durable {
        self.covered(syncer.durable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_opens_only_when_its_save_is_covered() {
        let mut ledger = Ledger::new();
        ledger.written(1, 10);
        ledger.written(2, 12);
        let promise = Promise::new(2, "vote");
        let promise = promise.open(ledger.covered(11)).expect_err("ticket 12 is not durable");
        assert!(!ledger.is_settled());
        assert_eq!(promise.open(ledger.covered(12)), Ok("vote"));
        assert!(ledger.is_settled());
    }

    #[test]
    #[should_panic(expected = "save 3 was written after save 1")]
    fn saves_are_written_in_order() {
        let mut ledger = Ledger::new();
        ledger.written(1, 1);
        ledger.written(3, 2);
    }
}
