//! The replies a connection owes, in the order of its requests.
//!
//! Requests are begun before earlier ones are answered, and their answers arrive in any order;
//! each has a place here, and replies leave from the front only.
//!
//! Reads and writes of one connection never overlap: a client that sends SET and GET in one go
//! must read its own write, and a GET before a SET must not see it. So [`Pipeline::admits`] lets a
//! command begin only when every unanswered one is of its kind; the writes of a run go to the log
//! together, and so do the reads of a run to the replica.
//!
//! INVARIANT: `waiting` counts the empty places and `bytes` their requests' bytes; place `n` of the
//! queue belongs to ticket `base + n`.

use std::collections::VecDeque;

use crate::{replica::Kind, resp::Reply};

/// The place of one request among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
enum Place {
    Waiting { bytes: usize },
    Ready(Reply),
}

/// Replies in order.
#[derive(Debug)]
pub(crate) struct Pipeline {
    base: u64,
    places: VecDeque<Place>,
    waiting: usize,
    bytes: usize,
    kind: Kind,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Self { base: 0, places: VecDeque::new(), waiting: 0, bytes: 0, kind: Kind::Read }
    }

    /// Whether a command of this kind may begin now.
    pub(crate) fn admits(&self, kind: Kind) -> bool {
        self.waiting == 0 || kind == self.kind
    }

    /// A place for a reply that will come, of a request that holds so many bytes.
    pub(crate) fn begin(&mut self, kind: Kind, bytes: usize) -> Ticket {
        assert!(self.admits(kind), "a {kind:?} began among unanswered {:?}s", self.kind);
        self.kind = kind;
        self.waiting += 1;
        self.bytes += bytes;
        let ticket = Ticket(self.base + self.places.len() as u64);
        self.places.push_back(Place::Waiting { bytes });
        ticket
    }

    /// A reply that is there already.
    pub(crate) fn push(&mut self, reply: Reply) {
        self.places.push_back(Place::Ready(reply));
    }

    /// Puts a reply where it was awaited. Each ticket is filled once.
    pub(crate) fn fill(&mut self, ticket: Ticket, reply: Reply) {
        let place = usize::try_from(ticket.0 - self.base).expect("places fit in memory");
        let place = self.places.get_mut(place).expect("an unanswered place is in the queue");
        let Place::Waiting { bytes } = std::mem::replace(place, Place::Ready(reply)) else {
            panic!("request {} of a connection was answered twice", ticket.0);
        };
        self.waiting -= 1;
        self.bytes -= bytes;
    }

    /// The next reply in order, if it is there.
    pub(crate) fn pop(&mut self) -> Option<Reply> {
        match self.places.pop_front()? {
            Place::Ready(reply) => {
                self.base += 1;
                Some(reply)
            }
            waiting @ Place::Waiting { .. } => {
                self.places.push_front(waiting);
                None
            }
        }
    }

    /// Replies owed, there or not.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Replies owed that are not there.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes of the requests whose replies are not there.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let mut pipeline = Pipeline::new();
        let first = pipeline.begin(Kind::Write, 10);
        let second = pipeline.begin(Kind::Write, 5);
        pipeline.push(Reply::OK);
        assert_eq!((pipeline.len(), pipeline.waiting(), pipeline.bytes()), (3, 2, 15));
        pipeline.fill(second, Reply::Integer(2));
        assert_eq!((pipeline.pop(), pipeline.bytes()), (None, 10));
        pipeline.fill(first, Reply::Integer(1));
        let replies: Vec<_> = std::iter::from_fn(|| pipeline.pop()).collect();
        assert_eq!(replies, [Reply::Integer(1), Reply::Integer(2), Reply::OK]);
        let third = pipeline.begin(Kind::Read, 0);
        pipeline.fill(third, Reply::Null);
        assert_eq!(pipeline.pop(), Some(Reply::Null));
    }

    #[test]
    fn a_read_waits_for_writes_and_a_write_for_reads() {
        let mut pipeline = Pipeline::new();
        let write = pipeline.begin(Kind::Write, 1);
        assert!(pipeline.admits(Kind::Write) && !pipeline.admits(Kind::Read));
        pipeline.fill(write, Reply::OK);
        let read = pipeline.begin(Kind::Read, 1);
        assert!(pipeline.admits(Kind::Read) && !pipeline.admits(Kind::Write));
        pipeline.fill(read, Reply::Null);
        assert!(pipeline.admits(Kind::Write));
    }
}
