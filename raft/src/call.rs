//! A caller that waits for an answer, and the promise that it gets exactly one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hardlog::EntryId;

use crate::{core::Refused, message::NodeId};

/// Why a proposal or a read was not answered as wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead, and nothing happened. The leader, if it is known, does.
    #[error("this node does not lead (leader: {leader:?})")]
    NotLeader {
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// The command may or may not take effect.
    #[error("whether the command takes effect is not known")]
    Unknown,
    /// The command is larger than the limit; nothing happened.
    #[error("the command is too large")]
    TooLarge,
    /// Too much is waiting already; nothing happened.
    #[error("too much is waiting")]
    Busy,
    /// The node has stopped; nothing happened.
    #[error("the node has stopped")]
    Stopped,
}

/// Why an operator's order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The node says no; nothing happened.
    #[error("{0}")]
    Refused(Refused),
    /// The node has stopped, or its leadership ended before the outcome was known.
    #[error(transparent)]
    Node(#[from] ProposeError),
}

impl From<Refused> for ProposeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotLeader { leader } => Self::NotLeader { leader },
            // Nothing happened, and it may be tried again.
            Refused::Busy
            | Refused::Transferring
            | Refused::ChangeUnderWay
            | Refused::NotCaughtUp(_)
            | Refused::Change(_)
            | Refused::GivenUp => Self::Busy,
            Refused::TooLarge => Self::TooLarge,
        }
    }
}

type Callback<T> = Box<dyn FnOnce(Result<T, ProposeError>) + Send>;
type Placed = Box<dyn FnOnce(EntryId) + Send>;

/// Answers its caller once; with `otherwise` if it is dropped before.
pub(crate) struct Call<T> {
    callback: Option<Callback<T>>,
    /// Who wants to know where a command will stand.
    placed: Option<Placed>,
    otherwise: ProposeError,
    waiting: Arc<AtomicUsize>,
}

impl<T> Call<T> {
    /// A call that counts in `waiting` until it is answered.
    pub(crate) fn new(
        waiting: &Arc<AtomicUsize>,
        callback: impl FnOnce(Result<T, ProposeError>) + Send + 'static,
    ) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        let callback: Callback<T> = Box::new(callback);
        let waiting = Arc::clone(waiting);
        let otherwise = ProposeError::Stopped;
        Self { callback: Some(callback), placed: None, otherwise, waiting }
    }

    /// Says where the command will stand as soon as that is known.
    pub(crate) fn and_place(mut self, placed: impl FnOnce(EntryId) + Send + 'static) -> Self {
        self.placed = Some(Box::new(placed));
        self
    }

    pub(crate) fn answer(mut self, result: Result<T, ProposeError>) {
        self.finish(result);
    }

    /// From here on the command may take effect, whatever happens to the caller.
    pub(crate) fn may_happen(&mut self) {
        self.otherwise = ProposeError::Unknown;
    }

    /// The command stands in the log under this id, and may take effect.
    pub(crate) fn place(&mut self, id: EntryId) {
        self.may_happen();
        if let Some(placed) = self.placed.take() {
            placed(id);
        }
    }

    fn finish(&mut self, result: Result<T, ProposeError>) {
        if let Some(callback) = self.callback.take() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            callback(result);
        }
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        let otherwise = self.otherwise;
        self.finish(Err(otherwise));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_asks_is_told_the_place_once_and_the_command_may_happen_from_then_on() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel();
        let done = move |result: Result<u8, _>| assert_eq!(result, Err(ProposeError::Unknown));
        let placed = move |id| sender.send(id).unwrap();
        let mut call = Call::new(&waiting, done).and_place(placed);
        call.place(EntryId::new(7, 2));
        call.place(EntryId::new(8, 2));
        drop(call);
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [EntryId::new(7, 2)]);
    }

    #[test]
    fn a_call_is_answered_exactly_once_even_if_it_is_dropped() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel();
        let call = |waiting: &Arc<AtomicUsize>| {
            let sender = sender.clone();
            Call::<u8>::new(waiting, move |result| sender.send(result).unwrap())
        };
        call(&waiting).answer(Ok(7));
        drop(call(&waiting));
        let mut late = call(&waiting);
        late.may_happen();
        assert_eq!(waiting.load(Ordering::Relaxed), 1);
        drop(late);
        drop(sender);
        let answers: Vec<_> = receiver.into_iter().collect();
        assert_eq!(answers, [Ok(7), Err(ProposeError::Stopped), Err(ProposeError::Unknown)]);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
