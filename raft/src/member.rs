//! What the cluster knows of a node besides its id.
//!
//! It stands in the configuration entries, so every node knows how to reach every other without a
//! configuration file of its own, and in the snapshots. The core carries it and never looks at it:
//! the transport reads the address, the service whatever it put beside.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of [`Member::about`] at most.
pub const ABOUT_MAX: usize = 48;

/// A node as the others need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where its transport listens; none if each node is told at its start.
    pub address: Option<SocketAddr>,
    /// Whatever the service wants to know about it, at most [`ABOUT_MAX`] bytes.
    pub about: Bytes,
}

impl Member {
    /// A node that listens at `address`.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address: Some(address), about: Bytes::new() }
    }
}
