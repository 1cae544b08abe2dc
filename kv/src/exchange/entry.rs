//! From a command to the entry that goes to the log, and from what came of that to a reply.
//!
//! The layer above is [`super::Exchange`]; below are the encoding of commands and the sessions of
//! the Raft package, a layer around the store that every entry passes.

use bytes::Bytes;
use hardlog_raft::sessions::{Answer as SessionAnswer, Request};

use super::Task;
use crate::{
    command::{self, Command},
    op::Op,
    outcome::Outcome,
    replica::{Kind, Refusal, Role},
    resp::Reply,
    server::Shared,
};

/// Whether a write may make the store larger.
pub(super) fn may_add(op: &Op) -> bool {
    !matches!(op, Op::Del { .. } | Op::GetDel { .. })
}

/// The reply to such a write while the store is full.
pub(super) fn full() -> Reply {
    Reply::error("OOM the store holds as much as it may (max-data); nothing was done")
}

/// Where a command of a transaction belongs, if not here: said at once, so that a client which
/// follows the leader does so before EXEC.
pub(super) fn elsewhere(command: &Command, shared: &Shared) -> Option<Reply> {
    let (Command::Write { slot, .. } | Command::Read { slot, .. }) = command else { return None };
    let status = shared.replica.status();
    let refusal = Refusal::NotLeader { leader: status.leader };
    let leads = status.role == Role::Leader;
    (!leads).then(|| refusal.reply(Kind::Write, *slot, shared.id, &shared.members()))
}

/// A write outside of any session.
pub(super) fn plain(op: Bytes, slot: u16) -> Task {
    Task::Write { entry: Request::Plain(op).encode(), slot }
}

pub(super) fn within(session: command::Session) -> Task {
    let (request, slot) = match session {
        command::Session::Open => (Request::Open, 0),
        command::Session::Close { client } => (Request::Close { client }, 0),
        command::Session::Write { client, serial, op, slot } => {
            // What is remembered is bounded by number: a client need not say what it has heard.
            let answered_below = 0;
            (Request::Command { client, serial, answered_below, data: op.encode() }, slot)
        }
    };
    Task::Write { entry: request.encode(), slot }
}

pub(super) fn outcome_reply(answer: &Bytes) -> Reply {
    let outcome = match SessionAnswer::decode(answer) {
        Ok(SessionAnswer::Reply(outcome)) => Outcome::decode(outcome),
        Ok(SessionAnswer::Opened { client }) => {
            return Reply::Integer(i64::try_from(client).unwrap_or(i64::MAX));
        }
        Ok(SessionAnswer::Closed) => return Reply::OK,
        Ok(SessionAnswer::NoSession) => {
            return Reply::error("NOSESSION this session is not known; nothing was done now");
        }
        Ok(SessionAnswer::Stale) => {
            return Reply::error(
                "STALE this serial is older than what is remembered; nothing was done now",
            );
        }
        Ok(SessionAnswer::NotKept) => {
            return Reply::error("NOTKEPT it was done before; its reply was too long to be kept");
        }
        Ok(SessionAnswer::Malformed) | Err(_) => Ok(Outcome::Unreadable),
    };
    match outcome {
        Ok(outcome) => outcome.reply(),
        Err(error) => Reply::error(format!("ERR the outcome of the write {error}")),
    }
}
