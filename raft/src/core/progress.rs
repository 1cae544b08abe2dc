//! What a leader knows of one follower, and what it may send to it (section 5.3).
//!
//! INVARIANT: `matched < next`. `matched` moves only by what an answered request proved
//! (`prev + entries.len()`), never by what was sent, and back only when the follower says that its
//! log ends before; `next` is a guess and may move both ways, but
//! never to or below `matched`.

use std::collections::VecDeque;

use hardlog::{Index, Term};

/// A follower in its leader's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Highest index up to which its durable log equals the leader's.
    pub matched: Index,
    /// First index to send next.
    pub next: Index,
    /// How to send.
    pub progress: Progress,
    /// Whether it was heard since the last check of the quorum.
    pub active: bool,
    /// Highest round of leadership confirmation it answered.
    pub round: u64,
    /// How far it is from voting.
    pub catch_up: CatchUp,
    /// It is no member any more, and is sent what it takes to know that.
    pub leaving: Option<Leaving>,
}

/// A node that was removed. Nobody counts it, and it is followed only for a while: it may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Index of the configuration without it.
    pub index: Index,
    /// Ticks until it is given up.
    ticks: u32,
}

/// Rounds in which a new server catches up (dissertation 4.2.1): in each it is sent what the leader
/// had when the round began. One that takes less than an election timeout says that the server
/// would not hold the cluster up for long if it voted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    /// What it must hold for the round to end.
    target: Index,
    /// Ticks since the round began.
    elapsed: u32,
    /// Ticks since it was last heard.
    quiet: u32,
    /// Whether the last round was short enough.
    done: bool,
}

impl CatchUp {
    /// Time passes; the leader's log ends at `last`.
    fn tick(&mut self, matched: Index, last: Index, ticks_max: u32) {
        self.elapsed = self.elapsed.saturating_add(1);
        self.quiet = self.quiet.saturating_add(1);
        if matched >= self.target && self.target > 0 {
            self.done = self.elapsed <= ticks_max;
            (self.target, self.elapsed) = (last, 0);
        } else if self.target == 0 {
            (self.target, self.elapsed) = (last, 0);
        }
        if self.elapsed > ticks_max || self.quiet > ticks_max {
            self.done = false;
        }
    }
}

/// How entries go to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Where the logs meet is not known: one request at a time.
    Probe {
        /// A request is on its way; a heartbeat's answer allows the next.
        waiting: bool,
    },
    /// The logs meet: requests follow each other without waiting.
    Replicate {
        /// Last index and bytes of each request that is not answered.
        inflight: VecDeque<(Index, u64)>,
        /// Bytes in `inflight`.
        bytes: u64,
        /// Heartbeats answered since `matched` last moved.
        stalled: u32,
    },
    /// What it needs is trimmed: a snapshot is on its way, entries wait.
    Snapshot,
}

/// Bounds of what is on its way to one follower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) count: usize,
    pub(super) bytes: u64,
}

impl Peer {
    /// Nothing is known but where the leader's own log ends.
    pub(super) fn new(next: Index) -> Self {
        let progress = Progress::Probe { waiting: false };
        Self {
            matched: 0,
            next,
            progress,
            active: false,
            round: 0,
            catch_up: CatchUp::default(),
            leaving: None,
        }
    }

    /// The configuration at `index` is without it. It is told for `ticks`.
    pub(super) fn leaves(&mut self, index: Index, ticks: u32) {
        self.leaving.get_or_insert(Leaving { index, ticks });
    }

    /// A tick passed, after which it has `left` ticks at most if it holds the configuration without
    /// it and `commit` covers that. Whether it is to be followed on.
    pub(super) fn stays(&mut self, commit: Index, left: u32) -> bool {
        let Some(leaving) = &mut self.leaving else { return true };
        if self.matched >= leaving.index && commit >= leaving.index {
            leaving.ticks = leaving.ticks.min(left);
        }
        leaving.ticks = leaving.ticks.saturating_sub(1);
        leaving.ticks > 0 && self.progress != Progress::Snapshot
    }

    /// It said something.
    pub(super) fn heard(&mut self) {
        self.active = true;
        self.catch_up.quiet = 0;
    }

    pub(super) fn tick(&mut self, last: Index, ticks_max: u32) {
        self.catch_up.tick(self.matched, last, ticks_max);
    }

    /// Whether it keeps up with the leader within `ticks_max` of a round.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        self.catch_up.done
    }

    /// Whether a request may be sent, given the leader's last index.
    pub(super) fn may_send(&self, last: Index, limits: Limits) -> bool {
        match &self.progress {
            Progress::Probe { waiting } => !waiting && self.matched < last,
            Progress::Replicate { inflight, bytes, .. } => {
                self.next <= last && inflight.len() < limits.count && *bytes < limits.bytes
            }
            Progress::Snapshot => false,
        }
    }

    /// A request with entries up to `last` was sent.
    pub(super) fn sent(&mut self, last: Index, len: u64) {
        match &mut self.progress {
            Progress::Probe { waiting } => *waiting = true,
            Progress::Replicate { inflight, bytes, .. } => {
                inflight.push_back((last, len));
                *bytes += len;
                self.next = last + 1;
            }
            Progress::Snapshot => {}
        }
    }

    /// The follower's log equals the leader's up to `index`. Whether that is news.
    pub(super) fn accepted(&mut self, index: Index, first: Index) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        match &mut self.progress {
            Progress::Probe { .. } => self.replicate(),
            Progress::Replicate { inflight, bytes, stalled } => {
                while let Some((last, len)) = inflight.front().copied() {
                    if last > index {
                        break;
                    }
                    inflight.pop_front();
                    *bytes -= len;
                }
                if news {
                    *stalled = 0;
                }
            }
            Progress::Snapshot if self.matched + 1 >= first => self.replicate(),
            Progress::Snapshot => {}
        }
        news
    }

    fn replicate(&mut self) {
        self.next = self.matched + 1;
        self.progress = Progress::Replicate { inflight: VecDeque::new(), bytes: 0, stalled: 0 };
    }

    /// Whether a rejection of a request after `prev` says something new: requests and answers
    /// arrive late and twice.
    pub(super) fn believes_rejection(&self, prev: Index) -> bool {
        match self.progress {
            Progress::Probe { .. } => prev + 1 == self.next,
            Progress::Replicate { .. } => prev > self.matched,
            Progress::Snapshot => false,
        }
    }

    /// The follower's log ends before what it once acknowledged: its disk lost some of it, and said
    /// so when it was opened. It is sent again. An answer from before only makes the leader count
    /// less than it could for a moment.
    pub(super) fn lost_some(
        &mut self,
        prev: Index,
        conflict_term: Option<Term>,
        end: Index,
    ) -> bool {
        let lost = conflict_term.is_none() && (1..=self.matched).contains(&end);
        if prev < self.matched || !lost {
            return false;
        }
        self.matched = end - 1;
        self.next = end;
        self.progress = Progress::Probe { waiting: false };
        true
    }

    /// Probe again from `next`.
    pub(super) fn back_up(&mut self, next: Index) {
        self.next = next.max(self.matched + 1);
        self.progress = Progress::Probe { waiting: false };
    }

    /// Probe again at the next heartbeat's answer.
    pub(super) fn snapshot_failed(&mut self) {
        if self.progress == Progress::Snapshot {
            self.next = self.matched + 1;
            self.progress = Progress::Probe { waiting: true };
        }
    }

    /// A heartbeat was answered. Whether what is on its way seems lost and the log should be
    /// probed after `next - 1`.
    pub(super) fn beat(&mut self) -> bool {
        match &mut self.progress {
            Progress::Probe { waiting } => {
                *waiting = false;
                false
            }
            Progress::Replicate { inflight, stalled, .. } if !inflight.is_empty() => {
                *stalled += 1;
                let lost = *stalled > 1;
                if lost {
                    *stalled = 0;
                }
                lost
            }
            Progress::Replicate { stalled, .. } => {
                *stalled = 0;
                false
            }
            Progress::Snapshot => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { count: 2, bytes: 100 };

    fn replicating() -> Peer {
        let mut peer = Peer::new(5);
        peer.accepted(4, 1);
        peer
    }

    #[test]
    fn a_probe_sends_one_request_and_waits_for_an_answer_or_a_heartbeat() {
        let mut peer = Peer::new(5);
        assert!(peer.may_send(4, LIMITS), "an empty request finds out where the logs meet");
        peer.sent(4, 0);
        assert!(!peer.may_send(4, LIMITS));
        assert_eq!(peer.next, 5, "a probe does not move on by itself");
        assert!(!peer.beat());
        assert!(peer.may_send(4, LIMITS));
    }

    #[test]
    fn replication_runs_ahead_up_to_both_limits() {
        let mut peer = replicating();
        assert!(!peer.may_send(4, LIMITS), "nothing new");
        peer.sent(5, 10);
        assert!(peer.may_send(6, LIMITS));
        peer.sent(6, 10);
        assert!(!peer.may_send(7, LIMITS), "two are on their way");
        peer.accepted(5, 1);
        assert!(peer.may_send(7, LIMITS));
        peer.sent(7, 90);
        peer.accepted(6, 1);
        assert!(peer.may_send(8, LIMITS), "90 bytes are on their way");
        let mut peer = replicating();
        peer.sent(5, 100);
        assert!(!peer.may_send(6, LIMITS), "100 bytes are on their way");
    }

    #[test]
    fn matched_moves_only_by_what_was_answered() {
        let mut peer = replicating();
        peer.sent(9, 10);
        assert_eq!((peer.matched, peer.next), (4, 10));
        assert!(!peer.accepted(3, 1), "an old answer is no news");
        assert_eq!((peer.matched, peer.next), (4, 10));
        assert!(peer.accepted(7, 1));
        assert_eq!((peer.matched, peer.next), (7, 10));
    }

    #[test]
    fn an_old_rejection_is_not_believed() {
        let mut peer = Peer::new(9);
        assert!(peer.believes_rejection(8));
        assert!(!peer.believes_rejection(6), "not what was asked last");
        peer.accepted(8, 1);
        assert!(!peer.believes_rejection(8), "already matched");
        assert!(peer.believes_rejection(9));
        peer.back_up(3);
        assert_eq!(peer.next, 9, "never to what is matched");
    }

    #[test]
    fn two_idle_heartbeats_with_requests_on_their_way_mean_a_loss() {
        let mut peer = replicating();
        assert!(!peer.beat() && !peer.beat(), "nothing is on its way");
        peer.sent(5, 10);
        assert!(!peer.beat());
        assert!(peer.beat());
        assert!(!peer.beat());
        peer.accepted(5, 1);
        assert!(!peer.beat());
    }

    #[test]
    fn a_snapshot_holds_entries_back_until_the_window_is_reached() {
        let mut peer = Peer::new(5);
        peer.progress = Progress::Snapshot;
        assert!(!peer.may_send(9, LIMITS));
        peer.accepted(3, 7);
        assert_eq!(peer.progress, Progress::Snapshot, "entry 4 is still trimmed");
        peer.accepted(6, 7);
        assert_eq!((peer.matched, peer.next), (6, 7));
        assert!(peer.may_send(9, LIMITS));
        peer.progress = Progress::Snapshot;
        peer.snapshot_failed();
        assert_eq!((&peer.progress, peer.next), (&Progress::Probe { waiting: true }, 7));
    }

    #[test]
    fn dissertation_4_2_1_a_new_server_has_caught_up_after_a_short_round() {
        let mut peer = Peer::new(1);
        let mut tick = |matched, last, heard| {
            peer.matched = matched;
            if heard {
                peer.heard();
            }
            peer.tick(last, 3);
            peer.has_caught_up()
        };
        assert!(!tick(0, 100, false), "the first round begins");
        for _ in 0..5 {
            assert!(!tick(50, 110, true));
        }
        assert!(!tick(100, 120, true), "the first round was too long");
        assert!(!tick(110, 130, true));
        assert!(tick(120, 140, true), "the second one took two ticks");
        assert!(tick(140, 140, true));
        assert!(tick(140, 140, false) && tick(140, 140, false));
        assert!(!tick(140, 140, false), "it is silent");
        assert!(tick(140, 140, true));
        let lags: Vec<_> = (0..6).map(|_| tick(140, 200, true)).collect();
        assert_eq!(lags, [true, true, true, true, false, false], "it falls behind");
    }
}
