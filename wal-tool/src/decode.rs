//! `--decode`: what a service's commands say, for the services whose entries this program can read.

use bytes::Bytes;
use clap::ValueEnum;
use hardlog::Entry;
use hardlog_kv_op::op::Op;
use hardlog_raft::payload::Payload;

use crate::number;

/// Characters of a key or value that are shown.
const SHOWN_MAX: usize = 60;
/// Keys or pairs of one command that are shown.
const LIST_MAX: usize = 4;

/// Whose entries they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Decode {
    /// Those of the key-value server (hardlog-kv).
    RaftKv,
}

impl Decode {
    /// One line about a payload; what cannot be decoded is said to be so.
    pub(crate) fn of(self, payload: &[u8]) -> String {
        match self {
            Self::RaftKv => raft_kv(payload),
        }
    }
}

fn raft_kv(payload: &[u8]) -> String {
    let entry = Entry::new(0, 0, Bytes::copy_from_slice(payload));
    match Payload::of(&entry) {
        Ok(Payload::NoOp) => "no-op: begins a leader's term".to_owned(),
        Ok(Payload::Command(command)) => match Op::decode(command) {
            Ok(op) => shown(&op),
            Err(e) => format!("a command that {e}"),
        },
        // Raft's own entries, of whatever kinds there will be.
        Ok(other) => shortened(&format!("{other:?}")),
        Err(e) => format!("no entry of hardlog-raft: kind {:?}", e.kind),
    }
}

fn shown(op: &Op) -> String {
    match op {
        Op::Set { key, value } => format!("SET {} {}", text(key), text(value)),
        Op::Del { keys } => format!("DEL {}", list(keys, |key| text(key))),
        Op::Incr { key } => format!("INCR {}", text(key)),
        Op::MSet { pairs } => {
            format!("MSET {}", list(pairs, |(key, value)| format!("{} {}", text(key), text(value))))
        }
        Op::Append { key, value } => format!("APPEND {} {}", text(key), text(value)),
        Op::Add { key, by } => format!("INCRBY {} {by}", text(key)),
        Op::GetDel { key } => format!("GETDEL {}", text(key)),
        // Conditions, transactions, and what will be added: as the server's own code prints them.
        other => shortened(&format!("{other:?}")),
    }
}

fn shortened(whole: &str) -> String {
    let cut: String = whole.chars().take(SHOWN_MAX * LIST_MAX).collect();
    if cut.len() < whole.len() { format!("{cut}…") } else { cut }
}

fn list<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    let mut shown: Vec<String> = all.iter().take(LIST_MAX).map(one).collect();
    if all.len() > LIST_MAX {
        shown.push(format!("… {} more", all.len() - LIST_MAX));
    }
    shown.join(" ")
}

fn text(bytes: &[u8]) -> String {
    let front = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    let more = if front.len() < bytes.len() { "…" } else { "" };
    format!("\"{}{more}\"", number::text(front))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(op: &Op) -> String {
        Decode::RaftKv.of(&Payload::command(&op.encode()))
    }

    #[test]
    fn commands_of_the_key_value_server_are_read() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let set = Op::Set { key: bytes("x"), value: bytes("1\n") };
        assert_eq!(decoded(&set), r#"SET "x" "1\n""#);
        assert_eq!(decoded(&Op::Incr { key: bytes("n") }), r#"INCR "n""#);
        let keys: Vec<Bytes> = (0..6).map(|i| Bytes::from(format!("k{i}"))).collect();
        let del = decoded(&Op::Del { keys });
        assert_eq!(del, r#"DEL "k0" "k1" "k2" "k3" … 2 more"#);
        let mset = Op::MSet { pairs: vec![(bytes("a"), bytes("1")), (bytes("b"), bytes("2"))] };
        assert_eq!(decoded(&mset), r#"MSET "a" "1" "b" "2""#);
        assert_eq!(Decode::RaftKv.of(&Payload::no_op()), "no-op: begins a leader's term");
    }

    #[test]
    fn what_is_none_of_its_entries_is_said_to_be_none() {
        assert!(Decode::RaftKv.of(b"").contains("no entry of hardlog-raft"));
        assert!(Decode::RaftKv.of(&[9, 9]).contains("kind Some(9)"));
        assert!(Decode::RaftKv.of(&[1, 77]).contains("cannot be decoded"));
    }
}
