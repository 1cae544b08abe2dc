//! Histories, and what they are held against: one register for each key, checked alone, since
//! linearizability is local.
//!
//! A write whose outcome nobody knows may happen at any time after its call, or never: it returns
//! after everything else. It is not left out where nobody saw its value: a compare and set that failed
//! may have met it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History as Actions},
    },
    specifications::Specification,
};

/// What a client did to a register, and what it was told. `None`: it was told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Write(u64),
    Read(Option<u64>),
    /// A write that tells what was there before.
    Swap {
        new: u64,
        old: Option<Option<u64>>,
    },
    /// Compare and set.
    Cas {
        expected: u64,
        new: u64,
        done: Option<bool>,
    },
}

impl Op {
    /// The value that it may leave.
    pub(super) fn written(&self) -> Option<u64> {
        match self {
            Self::Write(new) | Self::Swap { new, .. } | Self::Cas { new, .. } => Some(*new),
            Self::Read(_) => None,
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was carried out, with this result.
    Done(Op),
    /// Nobody knows.
    Unknown,
    /// The server says that nothing was done.
    Refused,
}

/// One operation. Times are nanoseconds since the history began; `returned` is `None` for one whose
/// outcome nobody knows.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) key: String,
    pub(super) called: u64,
    pub(super) returned: Option<u64>,
    pub(super) op: Op,
}

/// Everything that all clients did.
#[derive(Debug, Default)]
pub(super) struct History {
    operations: Vec<Operation>,
    /// Attempts of which the server said that nothing was done.
    pub(super) refused: usize,
}

impl History {
    pub(super) fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.operations.append(&mut other.operations);
        self.refused += other.refused;
    }

    /// Operations with a result.
    pub(super) fn done(&self) -> usize {
        self.operations.iter().filter(|operation| operation.returned.is_some()).count()
    }

    /// A key whose operations have no order that explains them, with those.
    pub(super) fn violation(&self) -> Option<(&str, Vec<&Operation>)> {
        let mut registers: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            registers.entry(&operation.key).or_default().push(operation);
        }
        registers.into_iter().find(|(_, operations)| !is_one_register(operations))
    }

    /// Panics if there is no such order.
    pub(super) fn check(&self) {
        if let Some((key, mut operations)) = self.violation() {
            operations.sort_by_key(|operation| operation.called);
            let lines: Vec<String> = operations.iter().map(|line| format!("{line:?}")).collect();
            panic!("{key} is not linearizable:\n{}", lines.join("\n"));
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: BTreeSet<&str> = self.operations.iter().map(|one| one.key.as_str()).collect();
        let reads = self.operations.iter().filter(|one| one.op.written().is_none()).count();
        let (all, done) = (self.operations.len(), self.done());
        let unknown = all - done;
        write!(f, "{all} operations ({reads} reads, {unknown} of unknown outcome) ")?;
        write!(f, "on {} keys, {} refused", keys.len(), self.refused)
    }
}

struct Register;

impl Specification for Register {
    type State = Option<u64>;
    type Operation = Op;

    fn init() -> Self::State {
        None
    }

    fn apply(operation: &Op, state: &Self::State) -> (bool, Self::State) {
        match operation {
            Op::Write(new) => (true, Some(*new)),
            Op::Read(found) => (found == state, *state),
            Op::Swap { new, old } => (old.is_none_or(|old| old == *state), Some(*new)),
            Op::Cas { expected, new, done } => {
                let holds = *state == Some(*expected);
                (done.is_none_or(|done| done == holds), if holds { Some(*new) } else { *state })
            }
        }
    }
}

fn is_one_register(operations: &[&Operation]) -> bool {
    let mut actions = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        // Each operation as a client of its own: one that is never answered must not stand in the
        // way of the next. At the same instant calls come before returns: more is concurrent then.
        actions.push(((operation.called, 0, number), Action::Call(operation.op)));
        let returned = operation.returned.unwrap_or(u64::MAX);
        actions.push(((returned, 1, number), Action::Response(operation.op)));
    }
    actions.sort_by_key(|(at, _)| *at);
    let actions: Vec<_> =
        actions.into_iter().map(|((_, _, number), action)| (number, action)).collect();
    actions.is_empty() || WGLChecker::<Register>::is_linearizable(Actions::from_actions(actions))
}

fn history(operations: &[(u64, Option<u64>, Op)]) -> History {
    let mut history = History::default();
    for (called, returned, op) in operations {
        let (called, returned, op) = (*called, *returned, *op);
        history.push(Operation { key: "k".to_owned(), called, returned, op });
    }
    history
}

#[test]
fn the_checker_accepts_what_has_an_order_and_nothing_else() {
    let holds = |operations: &[_]| history(operations).violation().is_none();
    let wrote = (0, Some(10), Op::Write(7));
    let read = |found| Op::Read(found);
    assert!(holds(&[]));
    assert!(holds(&[wrote, (11, Some(12), read(Some(7)))]));
    assert!(!holds(&[wrote, (11, Some(12), read(None))]), "a stale read");
    assert!(holds(&[wrote, (5, Some(12), read(None))]), "it was under way");
    assert!(!holds(&[wrote, (11, Some(12), read(Some(8)))]), "nobody wrote that");
    // A write that was given up may be seen late, and then not unseen again.
    let lost = (0, None, Op::Write(7));
    assert!(holds(&[lost, (50, Some(51), read(None)), (60, Some(61), read(Some(7)))]));
    assert!(!holds(&[lost, (50, Some(51), read(Some(7))), (60, Some(61), read(None))]));
    // The same of a compare and set, and the two outcomes of one.
    let cas = |done| Op::Cas { expected: 7, new: 8, done };
    assert!(holds(&[wrote, (11, None, cas(None)), (20, Some(21), read(Some(8)))]));
    assert!(holds(&[wrote, (11, Some(12), cas(Some(true))), (20, Some(21), read(Some(8)))]));
    assert!(!holds(&[wrote, (11, Some(12), cas(Some(false)))]));
    assert!(!holds(&[(11, Some(12), cas(Some(true)))]), "it was never 7");
    // What it found in place of 7 may be what nobody ever saw, but not what came later.
    let other = |called| (called, None, Op::Write(9));
    let (fails, next) = ((30, Some(31), cas(Some(false))), (40, Some(41), Op::Write(10)));
    assert!(holds(&[wrote, (11, Some(12), read(Some(7))), other(20), fails, next]));
    assert!(holds(&[wrote, (11, None, cas(None)), fails]), "it was done before");
    assert!(!holds(&[wrote, other(32), fails, next]));
    assert!(!holds(&[wrote, other(20), fails, (40, Some(41), read(Some(7)))]), "7 came back");
    let swap = |new, old| Op::Swap { new, old: Some(old) };
    assert!(holds(&[wrote, (11, Some(12), swap(8, Some(7))), (13, Some(14), swap(9, Some(8)))]));
    assert!(!holds(&[wrote, (11, Some(12), swap(8, None))]));
}
