//! What can be said: the header of a trace and its events.
//!
//! Above: everything that writes or reads a trace. Below: serde, which makes the names below the
//! names in the file. A field that is `None` is left out of the line.

use std::borrow::Cow;

use hardlog::{Index, RecoveryReport, Term, Verdict};
use serde::{Deserialize, Serialize};

use super::{NAME, VERSION};
use crate::{
    core::{Configuration, RoleName},
    message::NodeId,
};

/// A few words.
pub type Text = Cow<'static, str>;

/// The first line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Format and version.
    trace: String,
    /// What wrote it: `sim`, `kv`, `suite`, or the name of a service.
    pub source: Text,
    /// The seed of a run in the simulator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The nodes that are known when it begins.
    pub nodes: Vec<NodeId>,
    /// What its times are.
    pub clock: Time,
    /// Microseconds since 1970 when it began; only where [`Header::clock`] is [`Time::Unix`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_unix_us: Option<u64>,
}

/// What the times of a trace are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// The simulator's own.
    Virtual,
    /// Those of the machine.
    Unix,
}

impl Header {
    /// Of a run of the simulator.
    #[must_use]
    pub fn of_run(source: impl Into<Text>, seed: u64, nodes: Vec<NodeId>) -> Self {
        Self { seed: Some(seed), ..Self::now(source, nodes, Time::Virtual, None) }
    }

    /// Of something that begins now on this machine.
    #[must_use]
    pub fn of_process(source: impl Into<Text>, nodes: Vec<NodeId>) -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        Self::now(source, nodes, Time::Unix, Some(now))
    }

    fn now(
        source: impl Into<Text>,
        nodes: Vec<NodeId>,
        clock: Time,
        start_unix_us: Option<u64>,
    ) -> Self {
        let trace = format!("{NAME}{VERSION}");
        Self { trace, source: source.into(), seed: None, nodes, clock, start_unix_us }
    }
}

/// Something that happened, when and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the trace began.
    #[serde(rename = "t")]
    pub at: u64,
    /// The node; 0 for the world around: tests, clients, the network.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// Its number in the trace, from 1.
    #[serde(rename = "q")]
    pub number: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The part that a node plays, as a reader wants to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks to be elected.
    Candidate,
    /// It leads.
    Leader,
    /// It is sent everything and has no vote.
    Learner,
    /// Its process does not run.
    Down,
}

impl Part {
    /// As it stands in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Learner => "learner",
            Self::Down => "down",
        }
    }
}

impl Part {
    /// What a core plays, given whether it votes.
    #[must_use]
    pub fn of(role: RoleName, votes: bool) -> Self {
        match role {
            RoleName::Follower if !votes => Self::Learner,
            RoleName::Follower => Self::Follower,
            RoleName::PreCandidate => Self::PreCandidate,
            RoleName::Candidate => Self::Candidate,
            RoleName::Leader => Self::Leader,
        }
    }
}

/// A message, as far as it matters to whoever looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its id: the same in what is said of its arrival. See [`message_id`](super::message_id).
    pub m: u64,
    /// To whom.
    pub to: NodeId,
    /// Which kind.
    pub kind: Text,
    /// The sender's term.
    pub term: Term,
    /// Index of the entry before those that are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev: Option<Index>,
    /// First index that is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Index>,
    /// Last index that is sent, acknowledged, or that the sender's log holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Index>,
    /// The sender's commit index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Index>,
    /// Whether an answer says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<bool>,
    /// Term of the entry that stands where another should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_term: Option<Term>,
    /// First index of that term, or where to go on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_index: Option<Index>,
    /// Where a piece of a snapshot begins, or the next is to begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes of entries or of a snapshot in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What happened. `TRACE.md` says more of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "kebab-case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are described in TRACE.md, one by one")]
pub enum What {
    /// A node plays another part, or the same in another term or under another leader.
    Role {
        term: Term,
        role: Part,
        #[serde(skip_serializing_if = "Option::is_none")]
        leader: Option<NodeId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<Text>,
    },
    /// A node begins to ask for votes, or whether it would get them.
    AskVote { term: Term, pre: bool, last_index: Index, last_term: Term },
    /// A node was asked for its vote.
    Vote {
        term: Term,
        #[serde(rename = "for")]
        candidate: NodeId,
        granted: bool,
        pre: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<Text>,
    },
    /// A message leaves.
    Send(Sent),
    /// A message came.
    Recv { m: u64, from: NodeId, kind: Text },
    /// A message did not come.
    Lost { m: u64, to: NodeId, why: Text },
    /// The commit index rose.
    Commit { index: Index, term: Term },
    /// Entries were applied.
    Apply { first: Index, last: Index },
    /// Something about a snapshot: `taken`, `sending`, `received`, `installed`.
    Snapshot { what: Text, index: Index, term: Term },
    /// Who takes part changed.
    Members {
        index: Index,
        voters: Vec<NodeId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        outgoing: Vec<NodeId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        learners: Vec<NodeId>,
    },
    /// A batch was handed to the log; it is not durable yet.
    Write {
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<Index>,
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<Index>,
        #[serde(skip_serializing_if = "Option::is_none")]
        term: Option<Term>,
        #[serde(skip_serializing_if = "Option::is_none")]
        vote: Option<NodeId>,
        batch: u64,
    },
    /// Batches became durable; microseconds since the oldest of them was handed over.
    Sync { us: u64 },
    /// The log goes on in another file.
    Rotate { segment: u64 },
    /// The log now ends after this index.
    TrimTail { after: Index },
    /// The log now begins at this index.
    TrimPrefix { first: Index },
    /// The log was opened, or went back to what it held.
    Recover {
        verdict: Text,
        first: Index,
        last: Index,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<Text>,
    },
    /// Something was broken on purpose, or mended.
    Fault {
        what: Text,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<NodeId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<Text>,
    },
    /// A client asked for something.
    Call { client: u64, serial: u64, op: Text },
    /// A client was answered.
    Return {
        client: u64,
        serial: u64,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Text>,
    },
    /// A rule of Raft or of the log was broken.
    Violation { rule: Text, text: Text },
    /// Something that a test or a person wants to be seen: `test`, `pass`, `fail`, `note`.
    Mark { what: Text, text: Text },
    /// A kind that this version does not know. A [`Reader`](super::Reader) leaves it out.
    #[serde(other)]
    Unknown,
}

impl What {
    /// A fault of some nodes.
    pub fn fault(what: impl Into<Text>, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self::Fault { what: what.into(), nodes: nodes.into_iter().collect(), detail: None }
    }

    /// A mark.
    pub fn mark(what: impl Into<Text>, text: impl Into<Text>) -> Self {
        Self::Mark { what: what.into(), text: text.into() }
    }

    /// What opening a log found.
    #[must_use]
    pub fn recovered(report: &RecoveryReport) -> Self {
        let (first, next) = report.window;
        let verdict = match report.verdict {
            None => "new",
            Some(Verdict::CleanEnd) => "clean-end",
            Some(Verdict::Unproven) => "unproven-tail",
            Some(Verdict::MarkersMissing) => "markers-missing",
            Some(Verdict::Corrupt) => "corrupt",
        };
        let said = [
            (report.dropped_bytes > 0).then(|| format!("{} bytes dropped", report.dropped_bytes)),
            report.maybe_lost.map(|index| format!("maybe lost from {index} on")),
            (!report.faulty.is_empty()).then(|| format!("{} entries faulty", report.faulty.len())),
            report.read_only.as_ref().map(|why| format!("read only: {why}")),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        Self::Recover {
            verdict: verdict.into(),
            first,
            last: next.saturating_sub(1),
            detail: (!said.is_empty()).then(|| said.join(", ").into()),
        }
    }

    /// Who takes part, by a configuration.
    #[must_use]
    pub fn members(configuration: &Configuration) -> Self {
        let membership = &configuration.membership;
        Self::Members {
            index: configuration.index,
            voters: membership.voters().iter().collect(),
            outgoing: membership.outgoing().iter().collect(),
            learners: membership.learners().keys().copied().collect(),
        }
    }
}
