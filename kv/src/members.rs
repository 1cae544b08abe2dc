//! Who belongs to the cluster and where each node is reached.
//!
//! Written as Redis Cluster writes a node's address, the port for clients first and the one
//! between nodes after the `@`: `1=127.0.0.1:7001@17001,2=127.0.0.1:7002@17002`.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// The two addresses of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it is reached, by clients and nodes alike.
    pub ip: IpAddr,
    /// Port for clients: RESP.
    pub client_port: u16,
    /// Port for the other nodes: Raft.
    pub raft_port: u16,
}

impl Member {
    /// `IP:PORT@RAFTPORT`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (client, raft_port) = text.split_once('@')?;
        let client: SocketAddr = client.parse().ok()?;
        let raft_port = raft_port.parse().ok()?;
        Some(Self { ip: client.ip(), client_port: client.port(), raft_port })
    }

    /// Where clients connect.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.client_port)
    }

    /// Where nodes connect.
    #[must_use]
    pub fn raft(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.raft_port)
    }
}

/// All nodes by their number; never empty, numbers from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(BTreeMap<u64, Member>);

/// A list of nodes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in {text:?}; a node is written ID=IP:PORT@RAFTPORT, nodes are separated by commas")]
pub struct MembersError {
    what: &'static str,
    text: String,
}

impl Members {
    /// The nodes given, or `None` for none at all or a node 0.
    pub fn new(members: impl IntoIterator<Item = (u64, Member)>) -> Option<Self> {
        let members: BTreeMap<_, _> = members.into_iter().collect();
        (!members.is_empty() && !members.contains_key(&0)).then_some(Self(members))
    }

    /// One node.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Member> {
        self.0.get(&id).copied()
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn client(&self, id: u64) -> Option<SocketAddr> {
        self.get(id).map(|member| member.client())
    }

    /// All nodes, by their number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Member)> {
        self.0.iter().map(|(id, member)| (*id, *member))
    }

    /// How many nodes there are, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (id, member)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{id}={}@{}", member.client(), member.raft_port)?;
        }
        Ok(())
    }
}

impl FromStr for Members {
    type Err = MembersError;

    fn from_str(text: &str) -> Result<Self, MembersError> {
        let error = |what, text: &str| MembersError { what, text: text.to_owned() };
        let mut members = BTreeMap::new();
        for node in text.split(',') {
            let (id, member) = parse(node).ok_or_else(|| error("no address", node))?;
            if id == 0 {
                return Err(error("nodes are numbered from 1", node));
            }
            if members.insert(id, member).is_some() {
                return Err(error("the same node twice", node));
            }
        }
        Ok(Self(members))
    }
}

fn parse(node: &str) -> Option<(u64, Member)> {
    let (id, address) = node.split_once('=')?;
    Some((id.parse().ok()?, Member::parse(address)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_as_it_was_read() {
        let text = "1=127.0.0.1:7001@17001,2=[::1]:7002@17002";
        let members: Members = text.parse().unwrap();
        assert_eq!(members.to_string(), text);
        assert_eq!(members.len(), 2);
        assert_eq!(members.client(2), Some("[::1]:7002".parse().unwrap()));
        assert_eq!(members.get(1).unwrap().raft(), "127.0.0.1:17001".parse().unwrap());
        assert_eq!(members.client(3), None);
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_part_that_is_wrong() {
        for bad in ["", "1", "1=127.0.0.1:1", "x=127.0.0.1:1@2", "1=127.0.0.1:1@2,", "1=h:1@2"] {
            assert!(bad.parse::<Members>().is_err(), "{bad}");
        }
        let twice = "1=127.0.0.1:1@2,1=127.0.0.1:3@4".parse::<Members>().unwrap_err();
        assert!(twice.to_string().contains("twice") && twice.to_string().contains(":3@4"));
        let zero = "0=127.0.0.1:1@2".parse::<Members>().unwrap_err();
        assert!(zero.to_string().contains("from 1"));
    }
}
