//! openraft 0.9 with `storage-v2`: [`LogStore`], [`LogReader`] and [`StateMachine`].
//!
//! Above: openraft. Below: the crate's shelf, where versions of openraft are not known.
//! Where an application turns on openraft's `single-term-leader`, it turns on this crate's feature of
//! the same name too: it changes what a leader id is.

mod log;
mod machine;

pub use log::{LogReader, LogStore};
pub use machine::{SnapshotBuilder, StateMachine};

use openraft09::{CommittedLeaderId, NodeId, RaftTypeConfig, SnapshotMeta, Vote};

use crate::codec::{Codec, LeaderTag};

/// A codec for all that a node with this type configuration keeps. Whatever implements [`Codec`] for
/// its entry, vote and snapshot metadata is one.
pub trait Codecs<C: RaftTypeConfig>:
    Codec<C::Entry> + Codec<Vote<C::NodeId>> + Codec<SnapshotMeta<C::NodeId, C::Node>>
{
}

impl<C: RaftTypeConfig, K> Codecs<C> for K where
    K: Codec<C::Entry> + Codec<Vote<C::NodeId>> + Codec<SnapshotMeta<C::NodeId, C::Node>>
{
}

/// A type configuration whose node ids are numbers, so that a leader id fits the header of an entry.
pub trait Config: RaftTypeConfig<NodeId: TryFrom<u64> + TryInto<u64>> {}

impl<C: RaftTypeConfig<NodeId: TryFrom<u64> + TryInto<u64>>> Config for C {}

impl<N: NodeId + TryFrom<u64> + TryInto<u64>> LeaderTag for CommittedLeaderId<N> {
    #[cfg(not(feature = "single-term-leader"))]
    fn to_header(&self) -> Option<(u64, u64)> {
        Some((self.term, self.node_id.clone().try_into().ok()?))
    }

    #[cfg(not(feature = "single-term-leader"))]
    fn from_header(term: u64, tag: u64) -> Option<Self> {
        Some(Self::new(term, tag.try_into().ok()?))
    }

    #[cfg(feature = "single-term-leader")]
    fn to_header(&self) -> Option<(u64, u64)> {
        Some((self.term, 0))
    }

    #[cfg(feature = "single-term-leader")]
    fn from_header(term: u64, tag: u64) -> Option<Self> {
        (tag == 0).then(|| Self::new(term, N::default()))
    }
}
