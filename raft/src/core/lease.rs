//! A leader's lease (dissertation 6.4.1): for how long nobody else can have been elected.
//!
//! A follower that answered a heartbeat votes for nobody else for the smallest election timeout
//! after it came. So, counted from when the heartbeat was *sent*, and shortened by how far clocks
//! may run apart, a leader that a majority answered is the only one. It rests on clocks, and exists
//! only where [`Config::lease_drift_percent`](crate::Config::lease_drift_percent) vouches for them.
//!
//! A leader that told somebody to campaign has no lease for the rest of its term: that node
//! campaigns whoever is heard. A node that lost count of time has none until the next round.

use std::collections::VecDeque;

use crate::config::Config;

/// When each recent round of heartbeats was sent.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Round and tick, oldest first.
    sent: VecDeque<(u64, u64)>,
}

impl Lease {
    pub(super) fn sent(&mut self, round: u64, now: u64, config: &Config) {
        let ticks = ticks(config);
        while self.sent.front().is_some_and(|(_, sent)| now - sent >= ticks) {
            self.sent.pop_front();
        }
        self.sent.push_back((round, now));
    }

    /// Whether the round that a majority confirmed was sent recently enough.
    pub(super) fn holds(&self, confirmed: u64, now: u64, config: &Config) -> bool {
        let last = self.sent.iter().rev().find(|(round, _)| *round <= confirmed);
        last.is_some_and(|(_, sent)| now - sent < ticks(config))
    }

    pub(super) fn lapse(&mut self) {
        self.sent.clear();
    }
}

/// How long a lease lasts. One tick less at each end: a tick may be just over, or just begin.
fn ticks(config: &Config) -> u64 {
    let drift = config.lease_drift_percent.unwrap_or(100).min(100);
    let ticks = u64::from(config.election_ticks_min.saturating_sub(1));
    (ticks * u64::from(100 - drift) / 100).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_sending_and_ends_before_the_shortest_election_timeout() {
        let config = Config { lease_drift_percent: Some(10), ..Config::production() };
        assert_eq!(ticks(&config), 11, "14 ticks less a tenth, less one");
        let mut lease = Lease::default();
        assert!(!lease.holds(0, 0, &config), "nothing was sent");
        lease.sent(1, 100, &config);
        lease.sent(2, 103, &config);
        assert!(!lease.holds(0, 104, &config), "nobody answered");
        assert!(lease.holds(1, 110, &config) && !lease.holds(1, 111, &config));
        assert!(lease.holds(2, 113, &config) && !lease.holds(2, 114, &config));
        lease.lapse();
        assert!(!lease.holds(2, 104, &config));
        let config = Config { lease_drift_percent: None, ..config };
        assert_eq!(ticks(&config), 0);
    }
}
