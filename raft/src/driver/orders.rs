//! What an operator asks of the node: change who takes part, hand the leadership over.
//!
//! A change is answered once its entry is committed, a transfer once this node leads no more, or
//! the core gave it up. Whoever asks while the node cannot is told why at once.

use hardlog::{EntryId, Index, Term};

use super::Driver;
use crate::{
    call::Call,
    core::{Change, Refused, RoleName, Slot},
    message::NodeId,
};

/// Who waits for an order, and may be refused by the core.
pub(crate) type Answer<T> = Call<Result<T, Refused>>;

/// Something to be done, and who waits for it.
pub(crate) enum Order {
    /// Change the membership; the answer is the index of the entry.
    Change(Change, Answer<Index>),
    /// Hand the leadership over; the answer is who leads, or was to.
    Transfer(Option<NodeId>, Answer<NodeId>),
    /// Take a snapshot now.
    Snapshot,
}

/// Orders that are being carried out.
#[derive(Default)]
pub(super) struct Orders {
    changes: Vec<(EntryId, Answer<Index>)>,
    /// The term that is to end, who is to take over, who waits.
    transfer: Option<(Term, NodeId, Answer<NodeId>)>,
}

impl Driver {
    pub(super) fn change(&mut self, change: &Change, mut call: Answer<Index>) {
        match self.core.propose_membership(change) {
            Ok(id) => {
                call.may_happen();
                self.orders.changes.push((id, call));
            }
            Err(refused) => call.answer(Ok(Err(refused))),
        }
    }

    pub(super) fn hand_over(&mut self, to: Option<NodeId>, mut call: Answer<NodeId>) {
        match self.core.transfer_leadership(to) {
            Ok(_) if self.orders.transfer.is_some() => call.answer(Ok(Err(Refused::Transferring))),
            Ok(to) => {
                call.may_happen();
                self.orders.transfer = Some((self.core.term(), to, call));
            }
            Err(refused) => call.answer(Ok(Err(refused))),
        }
    }

    /// Answers those whose order is carried out, or can no longer be.
    pub(super) fn answer_orders(&mut self) {
        let (commit, term) = (self.core.commit(), self.core.term());
        let leads = self.core.role() == RoleName::Leader;
        let changes = std::mem::take(&mut self.orders.changes);
        for (id, call) in changes {
            let committed = id.index <= commit;
            if committed && self.core.term_at(id.index) == Slot::Present(id.term) {
                call.answer(Ok(Ok(id.index)));
            } else if !committed && leads && id.term == term {
                self.orders.changes.push((id, call));
            } // Else it is dropped, which says that the outcome is not known.
        }
        let Some((of, to, call)) = self.orders.transfer.take() else { return };
        if !leads || term != of {
            call.answer(Ok(Ok(self.core.leader().unwrap_or(to))));
        } else if self.core.transferring().is_none() {
            call.answer(Ok(Err(Refused::GivenUp)));
        } else {
            self.orders.transfer = Some((of, to, call));
        }
    }
}
