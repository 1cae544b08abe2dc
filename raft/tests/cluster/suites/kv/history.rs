//! What clients saw of each key, for the linearizability checker. Since every answer says what
//! stood there before, there is little that a checker has to guess.

use std::collections::BTreeMap;

use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History},
    },
    specifications::Specification,
};

use super::{
    shop::Done,
    store::{Op, append, get, put},
};

/// One key.
struct Text;

/// A command and what it was told.
#[derive(Clone, Debug)]
struct Seen {
    op: Op,
    previous: Option<String>,
}

impl Specification for Text {
    type State = Option<String>;
    type Operation = Seen;

    fn init() -> Self::State {
        None
    }

    fn apply(seen: &Seen, state: &Self::State) -> (bool, Self::State) {
        (seen.previous == *state, seen.op.apply(state.as_ref()))
    }
}

/// Whether everything that clients saw could have happened in one order.
pub(super) fn is_linearizable(history: &[Done]) -> bool {
    let mut keys: BTreeMap<&str, Vec<&Done>> = BTreeMap::new();
    for done in history {
        keys.entry(&done.command.key).or_default().push(done);
    }
    keys.values().all(|history| {
        let mut actions = Vec::new();
        for (number, done) in history.iter().enumerate() {
            let (op, previous) = (done.command.op.clone(), done.reply.previous.clone());
            let seen = Seen { op, previous };
            // At the same instant calls come before returns: then more is concurrent, never less.
            actions.push(((done.began, 0, number), done.clerk, Action::Call(seen.clone())));
            actions.push(((done.ended, 1, number), done.clerk, Action::Response(seen)));
        }
        actions.sort_by_key(|(at, ..)| *at);
        let actions = actions.into_iter().map(|(_, clerk, action)| (clerk, action)).collect();
        WGLChecker::<Text>::is_linearizable(History::from_actions(actions))
    })
}

#[test]
fn an_append_that_is_delivered_twice_is_not_linearizable() {
    let done = |clerk, began, command, previous: Option<&str>| {
        let previous = previous.map(str::to_owned);
        let reply = super::store::Reply { index: 0, previous };
        Done { clerk, began, ended: began + 10, command, reply, duplicate: false }
    };
    let history = |seen| {
        let first = done(1, 0, put("k", "a"), None);
        vec![first, done(1, 20, append("k", "b"), Some("a")), done(2, 40, get("k"), Some(seen))]
    };
    assert!(is_linearizable(&history("ab")));
    assert!(!is_linearizable(&history("abb")), "twice");
    assert!(!is_linearizable(&history("a")), "stale");
}
