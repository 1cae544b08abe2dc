//! What the core tells of itself for a trace: roles, votes and why not, commits, memberships.
//!
//! Above: whoever drives the core, and takes the notes away after each input. Below: nothing. Until
//! somebody asks for notes, each costs one comparison. They have no time, since the core has none,
//! and nothing in here ever looks at them.

use hardlog::Term;

use super::{Core, LogView};
use crate::{
    message::{Body, Message, NodeId},
    trace::{Part, What},
};

/// What was noted and not taken yet.
#[derive(Debug)]
pub(super) struct Notes {
    list: Vec<What>,
    /// The part that was noted last.
    part: Part,
}

/// Why a vote is refused.
pub(super) const LEADER_ALIVE: &str = "a leader is alive";
pub(super) const ABSTAINS: &str = "it lost entries and has not caught up";
pub(super) const OLDER_TERM: &str = "older term";
pub(super) const LOG_BEHIND: &str = "its log is behind";

impl<L: LogView> Core<L> {
    /// From now on notes are kept, beginning with how things stand. They must be taken.
    pub fn keep_notes(&mut self) {
        self.notes = Some(Notes { list: Vec::new(), part: self.part() });
        self.note_members();
        self.note_commit();
        self.note_role("it starts");
    }

    fn part(&self) -> Part {
        Part::of(self.role(), self.membership().is_voter(self.id))
    }

    /// What happened since the last time, in order.
    pub fn take_notes(&mut self) -> Vec<What> {
        self.notes.as_mut().map(|notes| std::mem::take(&mut notes.list)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn note(&mut self, what: impl FnOnce(&Self) -> What) {
        if self.notes.is_some() {
            let (part, what) = (self.part(), what(self));
            if let Some(notes) = &mut self.notes {
                notes.part = if matches!(what, What::Role { .. }) { part } else { notes.part };
                notes.list.push(what);
            }
        }
    }

    pub(super) fn note_role(&mut self, why: &'static str) {
        self.note(|core| What::Role {
            term: core.term,
            role: core.part(),
            leader: core.leader,
            why: Some(why.into()),
        });
    }

    pub(super) fn note_commit(&mut self) {
        if self.commit == 0 {
            return;
        }
        self.note(|core| What::Commit {
            index: core.commit,
            term: core.log.term_at(core.commit).present().unwrap_or(0),
        });
    }

    pub(super) fn note_members(&mut self) {
        self.note(|core| What::members(core.configurations.newest()));
        // Whether a follower is a learner stands in the membership.
        if self.notes.as_ref().is_some_and(|notes| notes.part != self.part()) {
            self.note_role("the membership changed");
        }
    }

    pub(super) fn note_asking(&mut self, pre: bool) {
        self.note(|core| What::AskVote {
            term: core.term + u64::from(pre),
            pre,
            last_index: core.log.last_id().index,
            last_term: core.log.last_id().term,
        });
    }

    /// Somebody asked for this node's vote in a term, or whether it would get it; refused if there
    /// is a reason.
    pub(super) fn note_vote(
        &mut self,
        candidate: NodeId,
        (term, pre): (Term, bool),
        refused: Option<&'static str>,
    ) {
        self.note(|_| What::Vote {
            term,
            candidate,
            granted: refused.is_none(),
            pre,
            why: refused.map(Into::into),
        });
    }

    /// The same, where the message is not even looked at further.
    pub(super) fn note_ignored_vote(&mut self, message: &Message, why: &'static str) {
        let pre = match message.body {
            Body::Vote { .. } => false,
            Body::PreVote { .. } => true,
            _ => return,
        };
        self.note_vote(message.from, (message.term, pre), Some(why));
    }
}
