//! Everything that comes to a node's thread from others, gathered so that one round handles it all.
//!
//! Proposals and reads are bounded by the caller's count; messages of peers by bytes, and whoever
//! brings one waits while there are too many, which slows the peer down through TCP. What the node's
//! own threads report is never refused.
//!
//! Proposals can be let gather: while the thread has a batch under way, it is not woken for them,
//! until they are many. So commands that come one by one become few batches instead of many.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use crate::{call::Call, driver::orders::Order, message::Message, work::Report};

/// Bytes of proposals that are not let gather any more.
const GATHERED_MAX: usize = 256 << 10;

/// What came in since the last look.
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) messages: Vec<Message>,
    proposals: Vec<(Bytes, Call<Bytes>)>,
    pub(crate) reads: Vec<Call<()>>,
    pub(crate) orders: Vec<Order>,
    pub(crate) reports: Vec<Report>,
    pub(crate) closed: bool,
    message_bytes: u64,
    proposal_bytes: usize,
    /// Proposals gather.
    gathering: bool,
    woken: bool,
}

impl Input {
    fn is_empty(&self) -> bool {
        let nothing_new = self.messages.is_empty() && !self.are_due();
        let nobody_asks = self.reads.is_empty() && self.orders.is_empty();
        nothing_new && nobody_asks && self.reports.is_empty() && !self.woken
    }

    /// Whether there are proposals that need not wait for more.
    fn are_due(&self) -> bool {
        let enough = !self.gathering || self.proposal_bytes >= GATHERED_MAX;
        enough && !self.proposals.is_empty()
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
        input.proposal_bytes += data.len();
        input.proposals.push((data, call));
        self.announce_proposals(input);
    }

    /// Several at once: one round takes them all, so they share a batch.
    pub(crate) fn propose_all(&self, proposals: Vec<(Bytes, Call<Bytes>)>) {
        let mut input = self.lock();
        if input.closed {
            return drop((input, proposals));
        }
        input.proposal_bytes += proposals.iter().map(|(data, _)| data.len()).sum::<usize>();
        input.proposals.extend(proposals);
        self.announce_proposals(input);
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

    /// Nothing is taken any more; whoever waits for an answer to what is here is told so.
    pub(crate) fn close(&self) {
        let mut input = self.lock();
        let rest = std::mem::replace(&mut *input, Input { closed: true, ..Input::default() });
        self.announce(input);
        self.room.notify_all();
        // Calls that are dropped call back: not under the lock.
        drop(rest);
    }

    fn announce(&self, input: MutexGuard<'_, Input>) {
        drop(input);
        self.came.notify_one();
    }

    fn announce_proposals(&self, input: MutexGuard<'_, Input>) {
        if input.are_due() {
            self.announce(input);
        }
    }

    /// The proposals that came; none while they are to gather and are not many.
    pub(crate) fn proposals(&self, gather: bool) -> Vec<(Bytes, Call<Bytes>)> {
        let mut input = self.lock();
        input.gathering = gather;
        if !input.are_due() {
            return Vec::new();
        }
        input.proposal_bytes = 0;
        std::mem::take(&mut input.proposals)
    }

    /// Everything that came but the proposals, at the latest at `deadline`. It is not waited for
    /// anything else while there are proposals, unless they are to `gather`.
    pub(crate) fn take(&self, deadline: Instant, gather: bool) -> Input {
        let mut input = self.lock();
        input.gathering = gather;
        while input.is_empty() && !input.closed {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            if left.is_zero() {
                break;
            }
            let waited = self.came.wait_timeout(input, left);
            input = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let rest = Input {
            closed: input.closed,
            gathering: input.gathering,
            proposals: std::mem::take(&mut input.proposals),
            proposal_bytes: input.proposal_bytes,
            ..Input::default()
        };
        let taken = std::mem::replace(&mut *input, rest);
        drop(input);
        if taken.message_bytes > 0 {
            self.room.notify_all();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        time::Duration,
    };

    use super::*;

    fn propose(inbox: &Inbox, len: usize) {
        let call = Call::new(&Arc::new(AtomicUsize::new(0)), |_| ());
        inbox.propose(vec![0; len].into(), call);
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    #[test]
    fn proposals_gather_until_they_are_wanted_or_many() {
        let inbox = Inbox::new(1000);
        (0..3).for_each(|_| propose(&inbox, 1));
        let begun = Instant::now();
        drop(inbox.take(soon(), true));
        assert!(begun.elapsed() >= Duration::from_millis(30), "it was woken for them");
        assert!(inbox.proposals(true).is_empty());
        propose(&inbox, 1);
        drop(inbox.take(begun + Duration::from_secs(60), false));
        assert_eq!(inbox.proposals(false).len(), 4);
        assert!(inbox.proposals(false).is_empty());
        (0..4).for_each(|_| propose(&inbox, GATHERED_MAX / 4));
        drop(inbox.take(begun + Duration::from_secs(60), true));
        assert_eq!(inbox.proposals(true).len(), 4);
        // What they weighed is forgotten with them.
        propose(&inbox, 1);
        assert!(inbox.proposals(true).is_empty());
    }

    #[test]
    fn who_waits_while_proposals_gather_is_woken_for_everything_else_and_for_many() {
        let inbox = Arc::new(Inbox::new(1000));
        for many in [false, true] {
            let other = Arc::clone(&inbox);
            let waiting = std::thread::spawn(move || {
                let begun = Instant::now();
                drop(other.take(begun + Duration::from_secs(60), true));
                begun.elapsed()
            });
            std::thread::sleep(Duration::from_millis(20));
            propose(&inbox, 1);
            assert!(!waiting.is_finished());
            if many {
                propose(&inbox, GATHERED_MAX);
            } else {
                inbox.wake();
            }
            assert!(waiting.join().unwrap() < Duration::from_secs(30));
        }
        assert_eq!(inbox.proposals(true).len(), 3);
    }

    #[test]
    fn whoever_has_a_proposal_gathered_is_told_at_the_end() {
        let inbox = Inbox::new(1000);
        drop(inbox.take(Instant::now(), true));
        let (sender, told) = std::sync::mpsc::channel();
        let call = Call::new(&Arc::new(AtomicUsize::new(0)), move |answer| {
            sender.send(answer).expect("it is awaited");
        });
        inbox.propose(vec![0].into(), call);
        assert!(told.try_recv().is_err());
        inbox.close();
        assert!(told.try_recv().is_ok_and(|answer| answer.is_err()));
        assert!(inbox.take(soon(), true).closed);
    }
}
