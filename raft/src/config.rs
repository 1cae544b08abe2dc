//! Everything that can be chosen about a Raft node, with unit, range and default.
//!
//! Two profiles: [`Config::production`] with pre-vote, check-quorum and a no-op at the start of
//! each term; [`Config::classic`] is Figure 2 of the paper and nothing else, as the courses' test
//! suites expect it. Time is counted in ticks; only the node, which makes the ticks, knows how long
//! one lasts.

use std::time::Duration;

/// Bytes of a batch besides its entries: hard state, slots of metadata, a snapshot's mark.
const BATCH_EXTRA: u64 = 48 << 10;

/// Choices for a node. All fields may be set; [`Config::check`] says whether they fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Length of a tick. 20 ms by default.
    pub tick: Duration,
    /// Ticks between two heartbeats of a leader. 3 by default.
    pub heartbeat_ticks: u32,
    /// Smallest election timeout, in ticks. 15 by default; at least twice the heartbeat.
    pub election_ticks_min: u32,
    /// Largest election timeout, in ticks. 30 by default; above the smallest.
    pub election_ticks_max: u32,
    /// Ask for votes without a new term first, so that a node that comes back from a partition
    /// does not depose the leader (dissertation 9.6).
    pub pre_vote: bool,
    /// A leader that has not heard from a majority for an election timeout steps down, and nobody
    /// votes while a leader is heard (dissertation 6.2, 4.2.3).
    pub check_quorum: bool,
    /// A new leader appends an empty entry, so that the entries before it commit (section 8).
    pub leader_no_op: bool,
    /// Ticks for which a write may stay un-synced before the disk counts as hung: a leader then
    /// steps down, a follower does not campaign. 60 by default; 0 for never.
    pub disk_ticks_max: u32,
    /// Largest command, in bytes. 8 MiB by default. Must fit one batch of the log.
    pub command_bytes_max: u64,
    /// Bytes of entries in one AppendEntries, unless a single entry is larger. 1 MiB by default.
    pub append_bytes_max: u64,
    /// AppendEntries to one peer that are not answered yet. 64 by default.
    pub inflight_max: usize,
    /// Bytes of entries to one peer that are not answered yet. 8 MiB by default.
    pub inflight_bytes_max: u64,
    /// Bytes of a leader's entries that are not committed yet; beyond it proposals are refused.
    /// 32 MiB by default.
    pub uncommitted_bytes_max: u64,
    /// Bytes of entries that wait for the log to take them; beyond it proposals are refused and
    /// AppendEntries ignored. 4 MiB by default. Together with a command and an AppendEntries it
    /// must fit one batch of the log, or the node does not start: see [`Config::within_batch`].
    pub unsaved_bytes_max: u64,
    /// Proposals and reads that wait in a node, answered or not. 65,536 by default.
    pub pending_max: usize,
    /// Bytes of a snapshot in one message. 512 KiB by default.
    pub snapshot_chunk_bytes: u64,
    /// How far the clocks of two nodes may run apart, in percent, if anybody vouches for it: reads
    /// are then answered from the leader's lease, without asking anybody (dissertation 6.4.1).
    /// None by default: reads wait for a round of heartbeats. At most 50, and only with
    /// [`Config::check_quorum`]. The bound must cover the suspension of a machine.
    pub lease_drift_percent: Option<u32>,
    /// Entries after which a snapshot is due, besides the bytes that the node is started with; 0,
    /// the default, for none.
    pub snapshot_every_entries: u64,
    /// The node is new and is to be added to a cluster that runs: it knows of no voters, itself
    /// included, until a leader tells it. Counts only while its log is empty.
    pub joining: bool,
    /// An operator accepted that this node's log lost entries which it may have acknowledged, or a
    /// newer vote: it neither votes nor campaigns until it holds a committed entry of a later term
    /// than the one in which its log was opened, unless it is the only voter. The log remembers
    /// that, so one start with it is enough.
    pub abstain: bool,
    /// Listen and connect beyond loopback, without encryption or authentication.
    pub insecure: bool,
    /// A bug that is put in on purpose, for tests of the simulator only.
    #[doc(hidden)]
    pub mutation: Option<Mutation>,
}

/// Bugs that others had, to see whether the simulator would find them. Never set one outside of
/// tests.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A candidate's vote for itself is not written.
    SelfVoteNotSaved,
    /// Who steps down within a term forgets whom it voted for.
    VoteForgotten,
    /// The majority is taken from what followers hold in the order of their ids.
    UnsortedQuorum,
    /// A leader commits entries of older terms by counting (Figure 8).
    OldTermCounted,
    /// AppendEntries truncates whatever stands behind its last entry.
    StaleTruncates,
    /// A follower is believed to hold everything that it was sent.
    NextTakenForMatch,
    /// A leader changes the membership before an entry of its own term is committed.
    ChangeBeforeOwnCommit,
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub &'static str);

impl Default for Config {
    fn default() -> Self {
        Self::production()
    }
}

impl Config {
    /// Pre-vote, check-quorum, and a no-op at the start of each term.
    #[must_use]
    pub fn production() -> Self {
        Self {
            tick: Duration::from_millis(20),
            heartbeat_ticks: 3,
            election_ticks_min: 15,
            election_ticks_max: 30,
            pre_vote: true,
            check_quorum: true,
            leader_no_op: true,
            disk_ticks_max: 60,
            command_bytes_max: 8 << 20,
            append_bytes_max: 1 << 20,
            inflight_max: 64,
            inflight_bytes_max: 8 << 20,
            uncommitted_bytes_max: 32 << 20,
            unsaved_bytes_max: 4 << 20,
            pending_max: 65_536,
            snapshot_chunk_bytes: 512 << 10,
            lease_drift_percent: None,
            snapshot_every_entries: 0,
            joining: false,
            abstain: false,
            insecure: false,
            mutation: None,
        }
    }

    /// Figure 2 of the paper and nothing else: no pre-vote, no check-quorum, no stickiness, no
    /// no-op. The first command gets index 1.
    #[must_use]
    pub fn classic() -> Self {
        Self {
            pre_vote: false,
            check_quorum: false,
            leader_no_op: false,
            disk_ticks_max: 0,
            ..Self::production()
        }
    }

    /// These choices with commands and messages made small enough for a log whose batches hold
    /// `batch_max` bytes, where they are not already. Below 64 KiB there is no such choice.
    #[must_use]
    pub fn within_batch(mut self, batch_max: u64) -> Self {
        let room = batch_max.saturating_sub(BATCH_EXTRA);
        self.command_bytes_max = self.command_bytes_max.min(room / 2);
        self.unsaved_bytes_max = self.unsaved_bytes_max.min(room / 8 * 3);
        self.append_bytes_max = self.append_bytes_max.min(room / 8).max(1);
        self
    }

    /// Bytes that the log may have to take at once: entries that wait, and one message or command
    /// that comes on top, whichever form it has.
    pub(crate) fn batch_needed(&self) -> u64 {
        self.unsaved_bytes_max
            .saturating_add(self.append_bytes_max)
            .saturating_add(self.command_bytes_max)
            .saturating_add(BATCH_EXTRA)
    }

    /// Whether this bug was put in.
    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether the fields fit together.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.tick.is_zero(), "tick must not be zero"),
            (self.heartbeat_ticks == 0, "heartbeat_ticks must be at least 1"),
            (
                self.election_ticks_min / 2 < self.heartbeat_ticks,
                "election_ticks_min must be at least twice heartbeat_ticks",
            ),
            (
                self.election_ticks_max <= self.election_ticks_min,
                "election_ticks_max must be above election_ticks_min",
            ),
            (self.append_bytes_max == 0, "append_bytes_max must be at least 1"),
            (self.inflight_max == 0, "inflight_max must be at least 1"),
            (self.inflight_bytes_max == 0, "inflight_bytes_max must be at least 1"),
            (self.pending_max == 0, "pending_max must be at least 1"),
            (
                !(1..=16 << 20).contains(&self.snapshot_chunk_bytes),
                "snapshot_chunk_bytes must lie between 1 and 16 MiB",
            ),
            (
                self.lease_drift_percent.is_some_and(|percent| percent > 50 || !self.check_quorum),
                "lease_drift_percent must be at most 50 and needs check_quorum",
            ),
            (self.command_bytes_max > 256 << 20, "command_bytes_max must be at most 256 MiB"),
        ];
        rules.iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, why)| Err(ConfigError(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_are_valid_and_differ_as_the_suites_expect() {
        assert_eq!(Config::production().check(), Ok(()));
        assert_eq!(Config::classic().check(), Ok(()));
        let classic = Config::classic();
        assert!(!classic.pre_vote && !classic.check_quorum && !classic.leader_no_op);
    }

    #[test]
    fn an_election_timeout_below_two_heartbeats_is_refused() {
        let config = Config { election_ticks_min: 5, ..Config::production() };
        assert!(config.check().is_err());
        let config = Config { election_ticks_max: 15, ..Config::production() };
        assert!(config.check().is_err());
    }
}
