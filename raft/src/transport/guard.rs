//! What no correct node says.
//!
//! A frame that decodes may still be the work of a broken or hostile peer: indexes at the end of
//! their range, entries that do not follow each other, a leader whose term goes back. Each of these
//! would cost more care in the core than here, where the connection can simply be ended.
//!
//! Above: `inbound`, one [`Guard`] for each connection. Below: nothing, a function of its arguments.
//!
//! Only what Raft rules out for messages of one lane, in order, is refused. A reply of an older
//! term is not: it may have waited for the disk while the term rose. Nor is a `prev` that goes
//! back: that is how a leader finds where two logs meet.

use hardlog::{Entry, EntryId, Index, Term};

use crate::{
    core::TERM_MAX,
    message::{AppendReply, Body, Message, SnapshotChunk},
};

/// Terms and indexes of correct nodes never come near it; arithmetic below it never overflows.
pub(super) const NUMBER_MAX: u64 = TERM_MAX + 1;

/// Remembers of one connection what may not go back.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The term of the last message that only a leader sends, and that leader's commit index.
    led: Option<(Term, Index)>,
}

/// Why a connection is ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Implausible {
    #[error("{what} {number} is beyond anything that was ever counted")]
    Number { what: &'static str, number: u64 },
    #[error("entry {found} where {expected} would follow")]
    Gap { expected: Index, found: Index },
    #[error("entry {index} has term {term}, before it stood term {before}")]
    TermOfEntry { index: Index, term: Term, before: Term },
    #[error("entry {index} of term {term} from a leader of term {leader}")]
    LaterThanLeader { index: Index, term: Term, leader: Term },
    #[error("a leader of term {now} after one of term {before} on the same connection")]
    TermWentBack { before: Term, now: Term },
    #[error("commit {now} after commit {before} in the same term")]
    CommitWentBack { before: Index, now: Index },
    #[error("a chunk at {offset} of {len} bytes, of a snapshot of {of}")]
    Chunk { offset: u64, len: usize, of: u64 },
}

impl Guard {
    /// Looks at the next message of the connection.
    pub(super) fn look(&mut self, message: &Message) -> Result<(), Implausible> {
        number("term", message.term)?;
        match &message.body {
            Body::PreVote { last } | Body::Vote { last, .. } => id(*last)?,
            Body::Append { prev, entries, commit } => {
                number("commit", *commit)?;
                follows(message.term, *prev, entries)?;
            }
            Body::AppendReply(reply) => answer(*reply)?,
            Body::Heartbeat { commit, round: _ } => number("commit", *commit)?,
            Body::Snapshot(chunk) => piece(message.term, chunk)?,
            Body::SnapshotReply { id: of, offset } => {
                id(*of)?;
                number("offset", *offset)?;
            }
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::HeartbeatReply { .. }
            | Body::TimeoutNow => {}
        }
        if message.body.is_from_leader() { self.leads(message) } else { Ok(()) }
    }

    /// A leader's messages leave in the order in which they are made: its term never goes back, and
    /// within a term neither does what it says is committed.
    fn leads(&mut self, message: &Message) -> Result<(), Implausible> {
        let now = message.term;
        let (before, commit) = self.led.unwrap_or((now, 0));
        if now < before {
            return Err(Implausible::TermWentBack { before, now });
        }
        let commit = if now == before { commit } else { 0 };
        let said = match &message.body {
            Body::Append { commit, .. } => *commit,
            // A heartbeat's commit depends on what the receiver is known to have.
            _ => commit,
        };
        if said < commit {
            return Err(Implausible::CommitWentBack { before: commit, now: said });
        }
        self.led = Some((now, said));
        Ok(())
    }
}

fn number(what: &'static str, number: u64) -> Result<(), Implausible> {
    if number < NUMBER_MAX { Ok(()) } else { Err(Implausible::Number { what, number }) }
}

fn id(id: EntryId) -> Result<(), Implausible> {
    number("index", id.index)?;
    number("term", id.term)
}

fn follows(leader: Term, prev: EntryId, entries: &[Entry]) -> Result<(), Implausible> {
    id(prev)?;
    let mut before = prev;
    for entry in entries {
        let EntryId { index, term, .. } = entry.id;
        let expected = before.index + 1;
        if index != expected {
            return Err(Implausible::Gap { expected, found: index });
        }
        if term < before.term {
            return Err(Implausible::TermOfEntry { index, term, before: before.term });
        }
        before = entry.id;
        number("index", index)?;
    }
    if before.term > leader {
        let EntryId { index, term, .. } = before;
        return Err(Implausible::LaterThanLeader { index, term, leader });
    }
    Ok(())
}

fn answer(reply: AppendReply) -> Result<(), Implausible> {
    match reply {
        AppendReply::Accepted { matched } => number("index", matched),
        AppendReply::Rejected { prev, conflict_term, conflict_index } => {
            number("index", prev)?;
            number("term", conflict_term.unwrap_or(0))?;
            number("index", conflict_index)
        }
    }
}

fn piece(leader: Term, chunk: &SnapshotChunk) -> Result<(), Implausible> {
    let SnapshotChunk { offer, offset, data } = chunk;
    id(offer.id)?;
    number("length", offer.len)?;
    if offer.id.term > leader {
        let EntryId { index, term, .. } = offer.id;
        return Err(Implausible::LaterThanLeader { index, term, leader });
    }
    let end = offset.checked_add(data.len() as u64);
    if end.is_none_or(|end| end > offer.len) {
        let (offset, len, of) = (*offset, data.len(), offer.len);
        return Err(Implausible::Chunk { offset, len, of });
    }
    Ok(())
}
