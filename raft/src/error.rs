//! Why a node does not start, or stopped.

use std::io;

use hardlog::Index;

use crate::{config::ConfigError, core::Violation, message::NodeId, payload::UnknownKind};

/// Why a node does not start, or stopped. A stopped node answers nobody; what it promised stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log said no.
    #[error("the log: {0}")]
    Log(#[source] hardlog::Error),
    /// The configuration does not fit together.
    #[error("the configuration: {0}")]
    Config(#[from] ConfigError),
    /// A batch of the log is smaller than what the node may have to write at once.
    #[error(
        "{needed} bytes may have to be written at once, and the log takes {batch_max}: \
         unsaved_bytes_max, append_bytes_max and command_bytes_max are too large together"
    )]
    BatchTooSmall {
        /// Bytes that [`Config`](crate::Config) allows, with what goes beside them.
        needed: u64,
        /// Largest batch of the log, in bytes: at most half a segment.
        batch_max: u64,
    },
    /// The node is not one of the peers, or has id 0.
    #[error("node {0} is not one of the peers")]
    NotAPeer(NodeId),
    /// The directory belongs to another node.
    #[error(
        "the log belongs to node {found_id} of cluster {found_cluster}, \
         not to node {id} of cluster {cluster}"
    )]
    WrongNode {
        /// Who wanted it.
        id: NodeId,
        /// Of which cluster.
        cluster: u64,
        /// Whose it is.
        found_id: NodeId,
        /// Of which cluster.
        found_cluster: u64,
    },
    /// The directory holds a log that was used and belongs to no node.
    #[error("the log has been used and does not say by which node")]
    Nameless,
    /// The directory was wiped, or put back to an older copy: promises that were made in this node's
    /// name are forgotten. It must join as a new node, with an empty directory and another id.
    #[error(
        "node {by} knew this node with another log or a longer one: the directory was wiped or put \
         back to an older copy; join under a new id, with an empty directory"
    )]
    Disowned {
        /// Who noticed.
        by: NodeId,
    },
    /// Raft counts from 1.
    #[error("the log begins at index 0; Raft counts from 1")]
    FirstIndex,
    /// Who takes part cannot be read from the log or a snapshot.
    #[error("the log or its snapshot holds a configuration that this version cannot read")]
    Configuration,
    /// Entries were trimmed and no snapshot covers them.
    #[error("the log begins at {first} and no marked snapshot covers what was before")]
    NoSnapshot {
        /// First index of the log.
        first: Index,
    },
    /// The state machine did not take a snapshot.
    #[error("the state machine cannot be restored from the snapshot at {index}: {source}")]
    Restore {
        /// Last index of the snapshot.
        index: Index,
        /// What it said.
        source: io::Error,
    },
    /// The log holds an entry of a newer version.
    #[error(transparent)]
    Payload(#[from] UnknownKind),
    /// A peer broke Raft's rules.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The network said no.
    #[error("the network: {0}")]
    Network(#[source] io::Error),
    /// No thread could be started.
    #[error("no thread: {0}")]
    Thread(#[source] io::Error),
    /// A thread of the node, the state machine's most likely, panicked.
    #[error("the thread {0:?} panicked")]
    Panicked(&'static str),
}
