//! openraft 0.10.0-alpha.37: [`LogStore`], [`LogReader`] and [`StateMachine`].
//!
//! Above: openraft. Below: the crate's shelf, where versions of openraft are not known.

mod log;
mod machine;

pub use log::{LogReader, LogStore};
pub use machine::{SnapshotBuilder, StateMachine, receive};

use openraft::{
    NodeId, RaftTypeConfig,
    type_config::alias::{CommittedLeaderIdOf, SnapshotMetaOf, VoteOf},
    vote::{RaftTerm, leader_id_adv, leader_id_std},
};

use crate::codec::{Codec, LeaderTag};

/// A codec for all that a node with this type configuration keeps. Whatever implements [`Codec`] for
/// its entry, vote and snapshot metadata is one.
pub trait Codecs<C: RaftTypeConfig>:
    Codec<C::Entry> + Codec<VoteOf<C>> + Codec<SnapshotMetaOf<C>>
{
}

impl<C: RaftTypeConfig, K> Codecs<C> for K where
    K: Codec<C::Entry> + Codec<VoteOf<C>> + Codec<SnapshotMetaOf<C>>
{
}

/// A type configuration whose leader ids fit the header of an entry; see [`LeaderTag`].
pub trait Config:
    RaftTypeConfig<LeaderId: openraft::vote::RaftLeaderId<Committed: LeaderTag>>
{
}

impl<C> Config for C
where
    C: RaftTypeConfig,
    CommittedLeaderIdOf<C>: LeaderTag,
{
}

impl<T: RaftTerm + TryFrom<u64>> LeaderTag for leader_id_std::CommittedLeaderId<T> {
    fn to_header(&self) -> Option<(u64, u64)> {
        Some((self.term.as_u64()?, 0))
    }

    fn from_header(term: u64, tag: u64) -> Option<Self> {
        (tag == 0).then_some(Self { term: term.try_into().ok()? })
    }
}

impl<T, N> LeaderTag for leader_id_adv::LeaderId<T, N>
where
    T: RaftTerm + TryFrom<u64>,
    N: NodeId + TryFrom<u64> + TryInto<u64>,
{
    fn to_header(&self) -> Option<(u64, u64)> {
        Some((self.term.as_u64()?, self.node_id.clone().try_into().ok()?))
    }

    fn from_header(term: u64, tag: u64) -> Option<Self> {
        Some(Self { term: term.try_into().ok()?, node_id: tag.try_into().ok()? })
    }
}
