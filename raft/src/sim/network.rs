//! The network: what becomes of a message, drawn from the seed.
//!
//! A link is one direction between two nodes. It may be cut, or clogged: then everything waits until
//! it is free again. Rates are in thousandths; all may be zero.

use std::collections::BTreeMap;

use hardlog::fs::sim::Rng;

use super::Micros;
use crate::message::{Body, Message, NodeId};

/// How the network treats messages, rates in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Shortest and longest delay.
    pub delay: (Micros, Micros),
    /// Messages that vanish.
    pub loss: u64,
    /// Answers that vanish, besides.
    pub reply_loss: u64,
    /// Messages that come twice.
    pub doubled: u64,
    /// Messages that take up to ten times as long, and so are overtaken.
    pub late: u64,
    /// Answers that take 200 to 2200 ms.
    pub reply_late: u64,
}

impl Weather {
    /// Nothing is lost or late.
    #[must_use]
    pub fn fine() -> Self {
        Self { delay: (100, 1000), loss: 0, reply_loss: 0, doubled: 0, late: 0, reply_late: 0 }
    }
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests to each node.
    pub requests: BTreeMap<NodeId, u64>,
    /// Pieces of snapshots, offers among them.
    pub snapshots: u64,
    /// Bytes of all messages, as the codec writes them.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    clogged_until: Micros,
}

/// All links.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) weather: Weather,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Nodes that nobody hears and that hear nobody.
    pub(super) unplugged: Vec<NodeId>,
}

/// Whether a message answers another.
pub(super) fn is_reply(body: &Body) -> bool {
    matches!(
        body,
        Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply(_)
            | Body::HeartbeatReply { .. }
            | Body::SnapshotReply { .. }
    )
}

/// A chance in thousandths.
pub(super) fn chance(rng: &mut Rng, thousandths: u64) -> bool {
    thousandths > 0 && (rng.next_u64() % 1000) < thousandths
}

/// A number of `low..=high`.
pub(super) fn between(rng: &mut Rng, (low, high): (u64, u64)) -> u64 {
    low + rng.next_u64() % (high - low + 1)
}

impl Network {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather, links: BTreeMap::new(), unplugged: Vec::new() }
    }

    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.links.entry((from, to)).or_default().cut = true;
    }

    pub(super) fn clog(&mut self, from: NodeId, to: NodeId, until: Micros) {
        self.links.entry((from, to)).or_default().clogged_until = until;
    }

    /// Mends all links.
    pub(super) fn heal(&mut self) {
        self.links.clear();
    }

    /// Links through which nothing gets.
    pub(super) fn cuts(&self) -> Vec<(NodeId, NodeId)> {
        self.links.iter().filter(|(_, link)| link.cut).map(|(ends, _)| *ends).collect()
    }

    /// Whether a message that arrives now gets through.
    pub(super) fn lets_through(&self, from: NodeId, to: NodeId) -> bool {
        let unplugged = self.unplugged.contains(&from) || self.unplugged.contains(&to);
        !unplugged && !self.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    /// When the message arrives: never, once or twice.
    pub(super) fn arrivals(
        &self,
        message: &Message,
        now: Micros,
        rng: &mut Rng,
    ) -> [Option<Micros>; 2] {
        let weather = &self.weather;
        let reply = is_reply(&message.body);
        let lost = chance(rng, weather.loss) || (reply && chance(rng, weather.reply_loss));
        if lost || !self.lets_through(message.from, message.to) {
            return [None, None];
        }
        let arrives = |rng: &mut Rng| {
            let mut delay = between(rng, weather.delay);
            if chance(rng, weather.late) {
                delay *= 1 + rng.next_u64() % 10;
            }
            if reply && chance(rng, weather.reply_late) {
                delay += between(rng, (200_000, 2_200_000));
            }
            let link = self.links.get(&(message.from, message.to)).copied().unwrap_or_default();
            Some((now + delay).max(link.clogged_until + delay))
        };
        let first = arrives(rng);
        let second = if chance(rng, weather.doubled) { arrives(rng) } else { None };
        [first, second]
    }
}
