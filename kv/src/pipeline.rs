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
//! A read that is permitted is answered when its turn comes and there is room for the answer; until
//! then it counts as unanswered, so a write after it cannot be seen by it.
//!
//! INVARIANT: `waiting` counts the places without a reply and `bytes` their requests' bytes, `ready`
//! weighs the replies; place `n` of the queue belongs to ticket `base + n`.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{query::Query, replica::Kind, resp::Reply};

/// The place of one request among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
enum Place {
    Waiting {
        bytes: usize,
    },
    /// May be asked of the store when its turn comes.
    Permitted {
        bytes: usize,
        question: Question,
    },
    Ready(Reply),
}

/// What is next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Reply(Reply),
    /// The answer to this: made now, so that no more than one answer waits for room.
    Ask(Question),
}

/// What is asked of the store.
#[derive(Debug, PartialEq)]
pub(crate) enum Question {
    Query(Query),
    /// What keys hold now, for a transaction that is to find them so.
    Watch(Vec<Bytes>),
}

impl Question {
    /// Bytes of the request that it keeps in memory, about.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Query(query) => query.request_len(),
            Self::Watch(keys) => keys.iter().map(|key| key.len() + 32).sum(),
        }
    }
}

/// Replies in order.
#[derive(Debug)]
pub(crate) struct Pipeline {
    base: u64,
    places: VecDeque<Place>,
    waiting: usize,
    bytes: usize,
    ready: usize,
    kind: Kind,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Self { base: 0, places: VecDeque::new(), waiting: 0, bytes: 0, ready: 0, kind: Kind::Read }
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
        self.ready += reply.weight();
        self.places.push_back(Place::Ready(reply));
    }

    /// Puts a reply where it was awaited. Each ticket is filled once.
    pub(crate) fn fill(&mut self, ticket: Ticket, reply: Reply) {
        self.ready += reply.weight();
        let bytes = self.put(ticket, |_| Place::Ready(reply));
        self.waiting -= 1;
        self.bytes -= bytes;
    }

    /// Puts a question there that may be answered when its turn comes.
    pub(crate) fn permit(&mut self, ticket: Ticket, question: Question) {
        self.put(ticket, |bytes| Place::Permitted { bytes, question });
    }

    fn put(&mut self, ticket: Ticket, place: impl FnOnce(usize) -> Place) -> usize {
        let at = usize::try_from(ticket.0 - self.base).expect("places fit in memory");
        let there = self.places.get_mut(at).expect("an unanswered place is in the queue");
        let Place::Waiting { bytes } = *there else {
            panic!("request {} of a connection was answered twice", ticket.0);
        };
        *there = place(bytes);
        bytes
    }

    /// What is next in order, if it is there.
    pub(crate) fn pop(&mut self) -> Option<Next> {
        if matches!(self.places.front(), Some(Place::Waiting { .. })) {
            return None;
        }
        let next = match self.places.pop_front()? {
            Place::Ready(reply) => {
                self.ready -= reply.weight();
                Next::Reply(reply)
            }
            Place::Permitted { bytes, question } => {
                self.waiting -= 1;
                self.bytes -= bytes;
                Next::Ask(question)
            }
            Place::Waiting { .. } => unreachable!("looked at just now"),
        };
        self.base += 1;
        Some(next)
    }

    /// Replies owed, there or not.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Replies owed that are not there.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What the replies weigh that are there.
    pub(crate) fn ready(&self) -> usize {
        self.ready
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
        let expected = [Reply::Integer(1), Reply::Integer(2), Reply::OK].map(Next::Reply);
        assert_eq!(replies, expected);
        let third = pipeline.begin(Kind::Read, 0);
        pipeline.fill(third, Reply::Null);
        assert_eq!(pipeline.pop(), Some(Next::Reply(Reply::Null)));
        assert_eq!(pipeline.ready(), 0);
    }

    #[test]
    fn a_read_that_is_permitted_counts_until_it_is_asked() {
        let mut pipeline = Pipeline::new();
        let read = pipeline.begin(Kind::Read, 7);
        pipeline.permit(read, Question::Query(Query::DbSize));
        assert!(!pipeline.admits(Kind::Write));
        assert_eq!((pipeline.waiting(), pipeline.bytes()), (1, 7));
        assert_eq!(pipeline.pop(), Some(Next::Ask(Question::Query(Query::DbSize))));
        assert!(pipeline.admits(Kind::Write) && pipeline.bytes() == 0);
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
