//! A replica without a cluster, for the server's tests: it applies what is proposed, at once or
//! when the test says so, or refuses as the test wants.

use std::sync::Mutex;

use bytes::Bytes;

use super::{
    Health, Order, OrderDone, OrderRefusal, Peer, Proposal, ReadDone, Refusal, Replica, Role,
    Status, WriteDone,
};
use hardlog_raft::{
    Command, StateMachine,
    sessions::{Limits, Sessions},
};

use crate::{
    members::Members,
    store::{Store, View},
};

enum Call {
    Write(Bytes, WriteDone),
    Read(ReadDone),
}

struct State {
    store: Sessions<Store>,
    view: View,
    holding: bool,
    held: Vec<Call>,
    refusal: Option<Refusal>,
    applied: u64,
    read_calls: usize,
    propose_calls: usize,
    orders: Vec<Order>,
    snapshots: usize,
    health: Health,
}

pub(crate) struct Alone {
    state: Mutex<State>,
}

impl Default for Alone {
    fn default() -> Self {
        let store = Store::new();
        let state = State {
            view: store.view(),
            store: Sessions::new(store, Limits::default()),
            holding: false,
            held: Vec::new(),
            refusal: None,
            applied: 0,
            read_calls: 0,
            propose_calls: 0,
            orders: Vec::new(),
            snapshots: 0,
            health: Health::default(),
        };
        Self { state: Mutex::new(state) }
    }
}

impl Alone {
    pub(crate) fn view(&self) -> View {
        self.state.lock().unwrap().view.clone()
    }

    /// From now on it is no better than this.
    pub(crate) fn ail(&self, health: Health) {
        self.state.lock().unwrap().health = health;
    }

    /// The orders that came.
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.state.lock().unwrap().orders.clone()
    }

    /// How many snapshots were asked for.
    pub(crate) fn snapshots(&self) -> usize {
        self.state.lock().unwrap().snapshots
    }

    /// From now on nothing is answered until [`Alone::release`].
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().holding = true;
    }

    /// Answers what was held, in order; what comes meanwhile is held again.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut self.state.lock().unwrap().held);
        held.into_iter().for_each(|call| self.carry_out(call));
    }

    /// Drops what was held without answering it.
    pub(crate) fn forget(&self) {
        drop(std::mem::take(&mut self.state.lock().unwrap().held));
    }

    /// How many calls are held.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().unwrap().held.len()
    }

    /// How often a read was asked for.
    pub(crate) fn read_calls(&self) -> usize {
        self.state.lock().unwrap().read_calls
    }

    /// How often writes were proposed, however many at a time.
    pub(crate) fn propose_calls(&self) -> usize {
        self.state.lock().unwrap().propose_calls
    }

    /// From now on everything is refused like this.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.state.lock().unwrap().refusal = Some(refusal);
    }

    fn come(&self, call: Call) {
        let mut state = self.state.lock().unwrap();
        if state.holding {
            state.held.push(call);
        } else {
            drop(state);
            self.carry_out(call);
        }
    }

    fn carry_out(&self, call: Call) {
        let mut state = self.state.lock().unwrap();
        match (call, state.refusal) {
            (Call::Write(_, done), Some(refusal)) => done(Err(refusal)),
            (Call::Read(done), Some(refusal)) => done(Err(refusal)),
            (Call::Read(done), None) => done(Ok(())),
            (Call::Write(op, done), None) => {
                state.applied += 1;
                let command = Command { index: state.applied, term: 7, data: op };
                let answer = state.store.apply(&[command]).pop().unwrap();
                done(Ok(answer));
            }
        }
    }
}

impl Replica for Alone {
    fn propose(&self, proposals: Vec<Proposal>) {
        self.state.lock().unwrap().propose_calls += 1;
        for Proposal { entry, done } in proposals {
            self.come(Call::Write(entry, done));
        }
    }

    fn read(&self, done: ReadDone) {
        self.state.lock().unwrap().read_calls += 1;
        self.come(Call::Read(done));
    }

    fn health(&self) -> Health {
        self.state.lock().unwrap().health
    }

    fn members(&self, known: &Members) -> Members {
        known.clone()
    }

    fn peers(&self) -> Vec<Peer> {
        let peer = |id, matched, active| Peer { id, votes: true, matched, active };
        vec![peer(1, None, false), peer(2, Some(7), true)]
    }

    fn order(&self, order: Order, done: OrderDone) {
        self.state.lock().unwrap().orders.push(order);
        done(match self.state.lock().unwrap().refusal {
            Some(refusal) => Err(OrderRefusal::Refused(refusal)),
            None => Ok(9),
        });
    }

    fn take_snapshot(&self) {
        self.state.lock().unwrap().snapshots += 1;
    }

    fn status(&self) -> Status {
        let state = self.state.lock().unwrap();
        let (role, leader) = match state.refusal {
            None => (Role::Leader, Some(1)),
            Some(Refusal::NotLeader { leader }) => (Role::Follower, leader),
            Some(_) => (Role::Candidate, None),
        };
        let (commit, applied, last) = (state.applied, state.applied, state.applied);
        let (first, incarnation, snapshot) = (1, 3, 0);
        Status { id: 1, role, term: 7, leader, commit, applied, first, last, incarnation, snapshot }
    }
}
