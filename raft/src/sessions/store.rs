//! What is remembered of clients, and how it is written into a snapshot.
//!
//! INVARIANT: everything here is a function of the requests in the order of the log.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use bytes::Bytes;
use hardlog::Index;

use super::{Answer, Limits};

const MAGIC: &[u8; 8] = b"hlsess\x01\0";

/// All sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    sessions: BTreeMap<u64, Session>,
    /// The same, by the entry with which each was last heard.
    by_age: BTreeMap<Index, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Session {
    last: Index,
    /// Serials below it are not remembered one by one.
    low: u64,
    /// None for a reply that was too large, or is not there yet.
    replies: BTreeMap<u64, Option<Bytes>>,
}

/// What is to be done with a command.
pub(super) enum Begin {
    Fresh,
    Known(Answer),
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Begins the session of the entry `index`; the oldest goes if there are too many.
    pub(super) fn open(&mut self, index: Index, sessions_max: usize) {
        while self.sessions.len() >= sessions_max {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.sessions.remove(&oldest);
        }
        self.by_age.insert(index, index);
        self.sessions.insert(index, Session { last: index, ..Session::default() });
    }

    pub(super) fn close(&mut self, client: u64) {
        if let Some(session) = self.sessions.remove(&client) {
            self.by_age.remove(&session.last);
        }
    }

    /// A command came in with the entry `seen.0`; at most `seen.1` replies are kept.
    pub(super) fn begin(
        &mut self,
        client: u64,
        serial: u64,
        answered_below: u64,
        seen: (Index, usize),
    ) -> Begin {
        let (index, replies_max) = seen;
        let Some(session) = self.sessions.get_mut(&client) else {
            return Begin::Known(Answer::NoSession);
        };
        self.by_age.remove(&session.last);
        self.by_age.insert(index, client);
        session.last = index;
        session.forget_below(answered_below);
        if let Some(reply) = session.replies.get(&serial) {
            let kept = reply.clone().map(Answer::Reply);
            return Begin::Known(kept.unwrap_or(Answer::NotKept));
        }
        if serial < session.low {
            return Begin::Known(Answer::Stale);
        }
        session.replies.insert(serial, None);
        while session.replies.len() > replies_max {
            let Some((oldest, _)) = session.replies.pop_first() else { break };
            session.low = session.low.max(oldest.saturating_add(1));
        }
        Begin::Fresh
    }

    /// The machine replied. The session may be gone by now, or the serial.
    pub(super) fn finish(&mut self, client: u64, serial: u64, reply: &Bytes, bytes_max: usize) {
        let session = self.sessions.get_mut(&client);
        let kept = session.and_then(|session| session.replies.get_mut(&serial));
        if let Some(kept) = kept.filter(|_| reply.len() <= bytes_max) {
            // A copy: the reply may share a buffer that is much larger.
            *kept = Some(Bytes::copy_from_slice(reply));
        }
    }

    // ---- snapshots

    pub(super) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(MAGIC)?;
        put(to, self.sessions.len() as u64)?;
        for (client, session) in &self.sessions {
            for number in [*client, session.last, session.low, session.replies.len() as u64] {
                put(to, number)?;
            }
            for (serial, reply) in &session.replies {
                put(to, *serial)?;
                // 0 for none, else one more than its length.
                put(to, reply.as_ref().map_or(0, |reply| reply.len() as u64 + 1))?;
                to.write_all(reply.as_deref().unwrap_or_default())?;
            }
        }
        Ok(())
    }

    pub(super) fn read(from: &mut dyn Read, limits: Limits) -> io::Result<Self> {
        let mut magic = [0; 8];
        from.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(bad("no sessions where they should be"));
        }
        let mut table = Self::default();
        for _ in 0..bounded(from, limits.sessions_max)? {
            let (client, last, low) = (get(from)?, get(from)?, get(from)?);
            let mut session = Session { last, low, ..Session::default() };
            for _ in 0..bounded(from, limits.replies_max)? {
                let serial = get(from)?;
                let reply = match bounded(from, limits.reply_bytes_max.saturating_add(1))? {
                    0 => None,
                    len => {
                        let mut reply = vec![0; len - 1];
                        from.read_exact(&mut reply)?;
                        Some(Bytes::from(reply))
                    }
                };
                session.replies.insert(serial, reply);
            }
            let twice = table.by_age.insert(last, client).is_some();
            if table.sessions.insert(client, session).is_some() || twice {
                return Err(bad("a session that is there twice"));
            }
        }
        Ok(table)
    }
}

impl Session {
    fn forget_below(&mut self, serial: u64) {
        self.low = self.low.max(serial);
        self.replies = self.replies.split_off(&self.low);
    }
}

fn put(to: &mut dyn Write, number: u64) -> io::Result<()> {
    to.write_all(&number.to_le_bytes())
}

fn get(from: &mut dyn Read) -> io::Result<u64> {
    let mut number = [0; 8];
    from.read_exact(&mut number)?;
    Ok(u64::from_le_bytes(number))
}

/// A number that a limit bounds; the limits of the node that wrote it are the same.
fn bounded(from: &mut dyn Read, max: usize) -> io::Result<usize> {
    let number = usize::try_from(get(from)?).ok().filter(|number| *number <= max);
    number.ok_or_else(|| bad("more than the limits of sessions allow"))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
