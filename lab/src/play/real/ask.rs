//! What running nodes say of themselves, asked as any client asks.
//!
//! Above: `real`. Below: the client of the server. Nobody is waited for longer than a moment: a node
//! that does not answer is what somebody wanted to see.

use std::{net::SocketAddr, time::Duration};

use hardlog_kv::{client::Connection, resp::Reply};
use hardlog_raft::trace::Part;

/// How long a node may take to say how it is.
const MOMENT: Duration = Duration::from_millis(700);

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) part: Part,
    pub(super) term: u64,
    pub(super) leader: u64,
    pub(super) window: (u64, u64),
    pub(super) commit: u64,
    pub(super) applied: u64,
    pub(super) snapshot: u64,
}

/// One member, as the leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) votes: bool,
}

/// Asks a node how it is.
pub(super) fn info(address: SocketAddr) -> Option<Said> {
    let Ok(Reply::Bulk(text)) = connect(address)?.call(&["RAFT", "INFO"]) else { return None };
    said(&String::from_utf8_lossy(&text))
}

/// Asks a node who belongs to the cluster.
pub(super) fn members(address: SocketAddr) -> Option<Vec<Member>> {
    match connect(address)?.call(&["RAFT", "PEERS"]) {
        Ok(Reply::Array(peers)) => peers.iter().map(member).collect(),
        _ => None,
    }
}

/// A reply as words for people.
pub(super) fn words(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) | Reply::Simple(text) | Reply::Bulk(text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        other => format!("an answer that makes no sense: {other:?}"),
    }
}

fn connect(address: SocketAddr) -> Option<Connection> {
    let connection = Connection::open(address).ok()?;
    connection.set_reply_timeout(MOMENT).ok()?;
    Some(connection)
}

fn said(text: &str) -> Option<Said> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let number = |name: &str| value(name)?.parse::<u64>().ok();
    let part = match value("role")? {
        "leader" => Part::Leader,
        "candidate" => Part::Candidate,
        "follower" => Part::Follower,
        _ => return None,
    };
    Some(Said {
        part,
        term: number("term")?,
        leader: number("leader")?,
        window: (number("first")?, number("last")?),
        commit: number("commit")?,
        applied: number("applied")?,
        snapshot: number("snapshot")?,
    })
}

/// One of the peers: names and values in turn.
fn member(peer: &Reply) -> Option<Member> {
    let Reply::Array(words) = peer else { return None };
    let of = |name: &str| {
        let at = words.iter().position(|word| *word == Reply::text(name))?;
        words.get(at + 1)
    };
    let Reply::Integer(id) = of("id")? else { return None };
    let learns = *of("role")? == Reply::text("learner");
    Some(Member { id: u64::try_from(*id).ok()?, votes: !learns })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Replication\r\nrole:leader\r\nterm:4\r\nleader:2\r\n\
        leader_address:127.0.0.1:1\r\ncommit:9\r\napplied:8\r\n\r\n\
        # Log\r\nfirst:1\r\nlast:10\r\nincarnation:2\r\nsnapshot:0\r\n";

    #[test]
    fn what_a_node_says_is_read_and_what_makes_no_sense_is_nothing() {
        let node = said(TEXT).unwrap();
        assert_eq!((node.part, node.term, node.leader), (Part::Leader, 4, 2));
        assert_eq!((node.window, node.commit, node.applied), ((1, 10), 9, 8));
        for (from, to) in [("role:leader", "role:king"), ("term:4", "term:-4"), ("last:10", "")] {
            assert_eq!(said(&TEXT.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn a_member_is_read_from_a_flat_list() {
        let list = |role: &str| {
            let words = ["id", "client", "role"].map(Reply::text);
            let [id, client, part] = words;
            Reply::Array(vec![id, Reply::Integer(4), client, Reply::Null, part, Reply::text(role)])
        };
        assert_eq!(member(&list("learner")), Some(Member { id: 4, votes: false }));
        assert_eq!(member(&list("leader")), Some(Member { id: 4, votes: true }));
        assert_eq!(member(&Reply::Null), None);
    }
}
