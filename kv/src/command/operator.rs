//! The arguments of RAFT, which an operator says, and of SESSION, which makes a write happen once.

use bytes::Bytes;

use super::{Command, Local, Raft, Session, syntax};
use crate::{members::Member, replica::Order, resp::Reply};

/// `INFO | LEADER | PEERS | SNAPSHOT | ADD id IP:PORT@RAFTPORT [LEARNER] | REMOVE id | TRANSFER [id]`.
pub(super) fn raft(arguments: &[Bytes]) -> Result<Command, Reply> {
    let (name, rest) = arguments.split_first().ok_or_else(syntax)?;
    let ask = |raft| Ok(Command::Local(Local::Raft(raft)));
    let order = match (name.to_ascii_uppercase().as_slice(), rest) {
        (b"INFO", []) => return ask(Raft::Info),
        (b"LEADER", []) => return ask(Raft::Leader),
        (b"PEERS", []) => return ask(Raft::Peers),
        (b"SNAPSHOT", []) => return ask(Raft::Snapshot),
        (b"ADD", [id, address]) => add(id, address, true)?,
        (b"ADD", [id, address, learner]) if learner.eq_ignore_ascii_case(b"LEARNER") => {
            add(id, address, false)?
        }
        (b"REMOVE", [id]) => Order::Remove { id: number(id)? },
        (b"TRANSFER", []) => Order::Transfer { to: None },
        (b"TRANSFER", [id]) => Order::Transfer { to: Some(number(id)?) },
        _ => {
            return Err(Reply::error(
                "ERR RAFT knows INFO, LEADER, PEERS, SNAPSHOT, ADD id IP:PORT@RAFTPORT [LEARNER], \
                 REMOVE id and TRANSFER [id]",
            ));
        }
    };
    Ok(Command::Order(order))
}

fn add(id: &[u8], address: &[u8], votes: bool) -> Result<Order, Reply> {
    let text = std::str::from_utf8(address).ok();
    let member = text.and_then(Member::parse);
    let member =
        member.ok_or_else(|| Reply::error("ERR an address is written IP:PORT@RAFTPORT"))?;
    Ok(Order::Add { id: number(id)?, member, votes })
}

/// `OPEN | CLOSE session | session serial command…`.
pub(super) fn session(mut arguments: Vec<Bytes>) -> Result<Session, Reply> {
    let first = arguments.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    match (first.as_slice(), arguments.as_slice()) {
        (b"OPEN", [_]) => Ok(Session::Open),
        (b"CLOSE", [_, client]) => Ok(Session::Close { client: number(client)? }),
        (_, [client, serial, _, ..]) => {
            let (client, serial) = (number(client)?, number(serial)?);
            match Command::parse(arguments.split_off(2))? {
                Command::Write { op, slot } => Ok(Session::Write { client, serial, op, slot }),
                _ => Err(Reply::error("ERR a session is for commands that write, one at a time")),
            }
        }
        _ => Err(Reply::error(
            "ERR SESSION knows OPEN, CLOSE session, and session serial command ...",
        )),
    }
}

fn number(word: &[u8]) -> Result<u64, Reply> {
    let number = super::integer(word)?;
    u64::try_from(number).map_err(|_| Reply::error("ERR a number must not be below zero"))
}
