//! What every suite needs of a cluster, and the checks of the MIT labs built on it.

use bytes::Bytes;

/// Index of an entry.
pub(crate) type Index = u64;
/// A term.
pub(crate) type Term = u64;

/// Longer than any election takes, in milliseconds.
pub(crate) const ELECTION: u64 = 1000;

/// A cluster of servers, counted from 0, with a service that keeps its commands by index and checks
/// that all servers apply the same in the same order.
pub(crate) trait Servers {
    fn size(&self) -> usize;
    /// Milliseconds since the beginning.
    fn now(&self) -> u64;
    fn sleep(&mut self, millis: u64);
    /// A number below `n`.
    fn random(&mut self, n: u64) -> u64;

    fn connect(&mut self, server: usize);
    fn disconnect(&mut self, server: usize);
    fn is_connected(&self, server: usize) -> bool;
    fn set_unreliable(&mut self, unreliable: bool);
    fn set_reordering(&mut self, reordering: bool);
    /// What a server says gets lost; `unmute` mends that for all.
    fn mute(&mut self, server: usize);
    fn unmute(&mut self);
    /// Requests sent so far, and bytes of all messages.
    fn traffic(&self) -> (u64, u64);
    /// Pieces of snapshots sent so far.
    fn snapshots_sent(&self) -> u64;

    fn crash(&mut self, server: usize);
    fn restart(&mut self, server: usize);
    fn is_up(&self, server: usize) -> bool;
    /// Term, and whether the server believes to lead it.
    fn state(&self, server: usize) -> Option<(Term, bool)>;
    /// Where the command will stand if it commits; none if the server does not lead.
    fn submit(&mut self, server: usize, command: &[u8]) -> Option<(Index, Term)>;
    fn applied(&self, server: usize, index: Index) -> Option<Bytes>;
    fn last_applied(&self, server: usize) -> Index;
    /// Logical bytes of log and hard state.
    fn state_size(&self, server: usize) -> u64;
    /// Index of the newest snapshot.
    fn snapshot(&self, server: usize) -> Index;

    /// One server more starts, and waits to be added. Its number.
    fn join(&mut self) -> usize;
    /// A server is told to add another, which votes once it has caught up.
    fn add(&mut self, leader: usize, server: usize);
    /// A server is told to remove one, perhaps itself.
    fn remove(&mut self, leader: usize, server: usize);
    /// Who votes, by the newest configuration in a server's log.
    fn voters(&self, server: usize) -> Vec<usize>;
}

/// Servers whose disks can be looked into while they run.
pub(crate) trait Disks: Servers {
    /// Term and vote on a server's disk.
    fn saved(&self, server: usize) -> Option<(Term, Option<usize>)>;
}

/// A command that is a number.
pub(crate) fn command(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

pub(crate) fn servers<C: Servers>(c: &C) -> std::ops::Range<usize> {
    0..c.size()
}

/// Servers that are up and connected.
pub(crate) fn reachable<C: Servers>(c: &C) -> Vec<usize> {
    servers(c).filter(|server| c.is_up(*server) && c.is_connected(*server)).collect()
}

/// Within five seconds a leader is found, and never two of one term. The one of the newest term.
pub(crate) fn check_one_leader<C: Servers>(c: &mut C) -> usize {
    for _ in 0..10 {
        let pause = 450 + c.random(100);
        c.sleep(pause);
        let mut leaders: Vec<(Term, usize)> = Vec::new();
        for server in reachable(c) {
            if let Some((term, true)) = c.state(server) {
                assert!(leaders.iter().all(|(other, _)| *other != term), "two leaders of {term}");
                leaders.push((term, server));
            }
        }
        if let Some((_, leader)) = leaders.into_iter().max() {
            return leader;
        }
    }
    panic!("expected one leader, got none");
}

/// All reachable servers are in one term.
pub(crate) fn check_terms<C: Servers>(c: &C) -> Term {
    let mut terms: Vec<Term> =
        reachable(c).into_iter().filter_map(|server| Some(c.state(server)?.0)).collect();
    terms.dedup();
    assert_eq!(terms.len(), 1, "servers disagree on the term: {terms:?}");
    terms[0]
}

/// No reachable server believes to lead.
pub(crate) fn check_no_leader<C: Servers>(c: &C) {
    for server in reachable(c) {
        assert!(!c.state(server).is_some_and(|(_, leads)| leads), "{server} leads a minority");
    }
}

/// How many servers applied a command at an index, and which.
pub(crate) fn committed<C: Servers>(c: &C, index: Index) -> (usize, Option<Bytes>) {
    let found: Vec<Bytes> = servers(c).filter_map(|server| c.applied(server, index)).collect();
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?} are applied at {index}");
    (found.len(), found.into_iter().next())
}

/// A command on its way to agreement: looked after by `poll`, so that several can be at once.
pub(crate) struct One {
    command: Vec<u8>,
    expected: usize,
    retry: bool,
    began: u64,
    /// Where it was submitted, and until when to wait for it there.
    waiting: Option<(Index, u64)>,
    next_try: u64,
    first: usize,
}

impl One {
    pub(crate) fn new<C: Servers>(c: &C, command: &[u8], expected: usize, retry: bool) -> Self {
        let now = c.now();
        let command = command.to_vec();
        Self { command, expected, retry, began: now, waiting: None, next_try: now, first: 0 }
    }

    /// The index, once enough servers applied it.
    pub(crate) fn poll<C: Servers>(&mut self, c: &mut C) -> Option<Index> {
        let now = c.now();
        assert!(now - self.began < 10_000, "no agreement on {:?} within 10 s", self.command);
        if let Some((index, until)) = self.waiting {
            let (count, found) = committed(c, index);
            if count >= self.expected && found.as_deref() == Some(&self.command) {
                return Some(index);
            }
            if now > until {
                assert!(self.retry, "no agreement on {:?} within 2 s", self.command);
                self.waiting = None;
            }
            return None;
        }
        if now >= self.next_try {
            for at in servers(c) {
                let server = (self.first + at) % c.size();
                if !c.is_up(server) || !c.is_connected(server) {
                    continue;
                }
                if let Some((index, _)) = c.submit(server, &self.command) {
                    self.waiting = Some((index, now + 2000));
                    self.first = server + 1;
                    return None;
                }
            }
            self.next_try = now + 50;
        }
        None
    }
}

/// Submits a command until enough servers applied it, and returns where.
pub(crate) fn one<C: Servers>(c: &mut C, number: u64, expected: usize, retry: bool) -> Index {
    one_of(c, &command(number), expected, retry)
}

/// As [`one`], for any bytes.
pub(crate) fn one_of<C: Servers>(c: &mut C, command: &[u8], expected: usize, retry: bool) -> Index {
    let mut one = One::new(c, command, expected, retry);
    loop {
        if let Some(index) = one.poll(c) {
            return index;
        }
        c.sleep(20);
    }
}

/// Several commands at the same time.
pub(crate) fn all_of<C: Servers>(c: &mut C, mut ones: Vec<One>) {
    while !ones.is_empty() {
        ones.retain_mut(|one| one.poll(c).is_none());
        c.sleep(20);
    }
}

/// Waits until enough servers applied something at an index; none if a term rose meanwhile.
pub(crate) fn wait<C: Servers>(
    c: &mut C,
    index: Index,
    count: usize,
    term: Option<Term>,
) -> Option<Bytes> {
    let mut pause = 10;
    for _ in 0..30 {
        if committed(c, index).0 >= count {
            break;
        }
        c.sleep(pause);
        pause = (pause * 2).min(1000);
        let rose = |server| c.state(server).is_some_and(|(now, _)| Some(now) > term);
        if term.is_some() && servers(c).any(rose) {
            return None;
        }
    }
    let (found, value) = committed(c, index);
    assert!(found >= count, "only {found} of {count} applied index {index}");
    value
}

/// One of the first `n` servers.
pub(crate) fn any_of<C: Servers>(c: &mut C, n: u64) -> usize {
    usize::try_from(c.random(n)).expect("servers are few")
}
