//! What must hold at every step, over all nodes at once. The numbers are those of `Breach::rule`.
//!
//! | | rule |
//! |---|---|
//! | 1 | at most one leader in a term |
//! | 2 | two logs with an entry of the same index and term are equal up to it |
//! | 3 | a leader holds every entry committed in an earlier term |
//! | 4 | what was applied at an index is the same everywhere and for ever (see `book`) |
//! | 5 | what is committed never changes, across restarts too |
//! | 6 | a commit is on the disks of a majority of each voter set that counts for its leader |
//! | 7 | trimmed ≤ snapshot ≤ applied (or being installed) ≤ committed ≤ last |
//! | 8 | term, and within a boot commit and applied, never go back |
//! | 9 | one vote per term and node, across crashes |
//! | 10 | what left a node was covered by its disk |
//! | 11 | at most one uncommitted configuration, neighbours overlap, a removed node never leads |
//! | 12 | a linearizable read sees each write completed before it began (see `client`) |
//! | 13 | a command of a client is applied once, however often it is sent (see `book`, `client`) |
//! | 14 | a crash leaves a state between the last durable and the last written one |
//! | 15 | no log refuses to open, or is shorter, after an ordinary crash |
//! | 16 | two opens agree, also if the first was cut off |
//! | 17 | nothing is written to a file after its sync failed |
//! | 18 | a leader whose disk hangs does not stay leader |
//! | 19 | once faults stop, everybody agrees and goes on |
//! | 20 | a node stops by itself only when its disk gave it a reason |
//! | 21 | a disk that was wiped or put back is noticed, and no other one is refused |
//!
//! Above: `stage`, which calls it after everything that happens. Below: `mirror`,
//! `shadow`, `rolls`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex},
};

use hardlog::{EntryId, HardState, Index, Term, Ticket, fs::sim::SimFs};

use super::{
    lock,
    machine::Machine,
    mirror::{Mirror, Record, Unreadable},
    rolls::Rolls,
    shadow::Shadow,
};
use crate::{
    core::{Core, Membership, RoleName, Slot, quorum::Tally},
    message::{AppendReply, Body, Message, NodeId},
    view::View,
};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which one; see the module's page.
    pub rule: u8,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.rule, self.what)
    }
}

/// What a check says.
pub(super) type Check = Result<(), Breach>;

/// A failed check.
pub(super) fn breach<T>(rule: u8, what: impl Into<String>) -> Result<T, Breach> {
    Err(Breach { rule, what: what.into() })
}

/// What is known of one node.
#[derive(Debug)]
struct Watch {
    shadow: Arc<Mutex<Shadow>>,
    mirror: Mirror,
    ticket: Ticket,
    term: Term,
    commit: Index,
    applied: Index,
    led: Term,
    /// What the core would have written next when it stopped.
    in_flight: Option<(HardState, EntryId)>,
    /// Its disk lied or rotted: it may find less than it had, or fail to read it.
    doubtful: bool,
    /// Its log could not be read, so nothing is known of it any more.
    blind: bool,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    digest: u64,
    /// Term of the leader that committed it.
    by: Term,
}

/// What is known of all nodes.
#[derive(Debug)]
pub(super) struct Checks {
    /// Who takes part.
    pub(super) rolls: Rolls,
    nodes: BTreeMap<NodeId, Watch>,
    /// Up to where commits were found on a majority of disks.
    proved: Index,
    leaders: BTreeMap<Term, NodeId>,
    /// Digest of each entry that ever stood in a log.
    entries: HashMap<EntryId, u64>,
    /// Entry `i` at `i - 1`.
    committed: Vec<Committed>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
}

/// How a process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// With all that it had to find.
    Fine,
    /// Its disk lost something, and that was known to be possible.
    Lost,
    /// Its disk could not be read just now.
    Failed,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The page cache stays.
    Kill,
    /// It does not.
    PowerCut,
}

impl Checks {
    pub(super) fn new(first: Membership) -> Self {
        Self {
            rolls: Rolls::new(first),
            nodes: BTreeMap::new(),
            proved: 0,
            leaders: BTreeMap::new(),
            entries: HashMap::new(),
            committed: Vec::new(),
            votes: BTreeMap::new(),
        }
    }

    /// Highest index committed anywhere.
    pub(super) fn committed(&self) -> Index {
        self.committed.len() as u64
    }

    /// Terms that had a leader.
    pub(super) fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    // ---- a process begins and ends

    /// Watches the disk of a process that is about to start.
    pub(super) fn watch_disk(disk: &SimFs) -> Arc<Mutex<Shadow>> {
        let shadow = Arc::new(Mutex::new(Shadow::default()));
        let seen = Arc::clone(&shadow);
        disk.on_step(move |_, step| lock(&seen).saw(step));
        shadow
    }

    /// A node started: what recovery found must be what the crash can have left.
    pub(super) fn started(
        &mut self,
        id: NodeId,
        machine: &Machine,
        shadow: Arc<Mutex<Shadow>>,
        end: End,
    ) -> Result<Started, Breach> {
        let log = machine.log();
        let entries = &self.entries;
        let mirror = Mirror::of(log, machine.ops(), |id| known(entries, id));
        let before = self.nodes.get(&id);
        let doubtful = before.is_some_and(|before| before.doubtful);
        let mirror = match mirror {
            Ok(mirror) => mirror,
            Err(_) if doubtful => return Ok(Started::Lost),
            Err(Unreadable::Unknown(entry)) => {
                return breach(15, format!("node {id} begins after {entry:?}, which nobody wrote"));
            }
            Err(Unreadable::Damaged(_)) if machine.was_full => return Ok(Started::Failed),
            Err(Unreadable::Damaged(error)) => {
                return breach(15, format!("node {id} cannot read its log after a crash: {error}"));
            }
        };
        if let Some(before) = before
            && let Err(what) = recovered(before, &mirror, end)
        {
            if !doubtful {
                return breach(14, format!("node {id} after {end:?}: {what}"));
            }
            return Ok(Started::Lost);
        }
        let hard_state = log.hard_state();
        let applied = machine.applied();
        let watch = Watch {
            shadow,
            mirror,
            ticket: log.written(),
            term: hard_state.term,
            commit: hard_state.commit.max(applied),
            applied,
            led: 0,
            in_flight: None,
            doubtful,
            blind: false,
        };
        self.nodes.insert(id, watch);
        self.new_entries(id)?;
        self.observe(id, machine)?;
        Ok(Started::Fine)
    }

    /// The process is gone; it was about to write what the core holds.
    pub(super) fn ended(&mut self, id: NodeId, machine: &Machine) {
        if let Some(watch) = self.nodes.get_mut(&id) {
            let ops = lock(&watch.shadow).durable_before();
            watch.mirror.durable(ops);
            let core = machine.core();
            watch.in_flight = Some((core.hard_state(), core.last_id()));
        }
    }

    /// Whether the node wrote entries that are not durable. A commit index or a mark that is not is
    /// nothing that anybody waits for.
    pub(super) fn waits_for_disk(&mut self, id: NodeId) -> bool {
        self.nodes.get_mut(&id).is_some_and(|watch| {
            let ops = lock(&watch.shadow).durable_before();
            watch.mirror.durable(ops);
            watch.mirror.durable_record().shared < watch.mirror.last()
        })
    }

    /// What the node had promised is no measure for its next start.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.nodes.remove(&id);
    }

    /// The node's disk was damaged from outside.
    pub(super) fn doubt(&mut self, id: NodeId) {
        if let Some(watch) = self.nodes.get_mut(&id) {
            watch.doubtful = true;
        }
    }

    // ---- a process did something

    /// Looks at a node after anything happened to it.
    pub(super) fn observe(&mut self, id: NodeId, machine: &Machine) -> Check {
        self.new_entries_of(id, machine)?;
        self.notice(id, machine.core())?;
        self.rolls.observe(id, machine.core())?;
        let Some(watch) = self.nodes.get_mut(&id) else { return Ok(()) };
        if let Some(misdeed) = lock(&watch.shadow).misdeed.take() {
            return breach(17, format!("node {id}: {misdeed}"));
        }
        let (core, log) = (machine.core(), machine.log());
        let (term, commit, applied) = (core.term(), core.commit(), machine.applied());
        // A node that gave up what a full disk did not take is as good as restarted.
        let restarted = machine.was_full;
        if term < watch.term || (!restarted && commit < watch.commit) || applied < watch.applied {
            return breach(
                8,
                format!(
                    "node {id} went back from {:?} to {:?} (term, commit, applied)",
                    (watch.term, watch.commit, watch.applied),
                    (term, commit, applied)
                ),
            );
        }
        (watch.term, watch.commit, watch.applied) = (term, commit, applied);
        let trimmed = log.first_log_index().saturating_sub(1);
        let snapshot = log.snapshot_mark().map_or(0, |mark| mark.id.index);
        let last = core.last_id().index;
        let reaches = machine.reaches();
        // A snapshot that cannot be read is made up for by an older one and the log.
        let behind = snapshot > reaches && !restarted && !watch.doubtful;
        let ordered = trimmed <= snapshot && snapshot <= commit && commit <= last && !behind;
        // While a full disk refuses what is committed, the state machine is ahead of the log.
        if !ordered || (applied > commit && !restarted) {
            let all = (trimmed, snapshot, applied, commit, last);
            return breach(
                7,
                format!("node {id}: {all:?} trimmed, snapshot, applied, commit, last"),
            );
        }
        if core.role() == RoleName::Leader && watch.led < term {
            watch.led = term;
            self.elected(id, term)?;
        }
        // What the log did not take yet is not in the copy.
        if core.last_id() == log.last_id().unwrap_or_default() {
            self.commits(id, term, commit)?;
            self.counts_the_newest(id, core)?;
        }
        Ok(())
    }

    /// A configuration counts from the moment it is in the log.
    fn counts_the_newest(&self, id: NodeId, core: &Core<View>) -> Check {
        let Some(watch) = self.nodes.get(&id).filter(|watch| !watch.blind) else { return Ok(()) };
        let counted = core.configurations().last().map_or(0, |newest| newest.index);
        let fits = match watch.mirror.newest_membership() {
            Some(newest) => newest == counted,
            None => counted <= watch.mirror.base(),
        };
        if fits {
            return Ok(());
        }
        let held = watch.mirror.newest_membership();
        breach(11, format!("node {id} counts by configuration {counted}, its log has {held:?}"))
    }

    fn elected(&mut self, id: NodeId, term: Term) -> Check {
        let other = *self.leaders.entry(term).or_insert(id);
        if other != id {
            return breach(1, format!("nodes {other} and {id} lead term {term}"));
        }
        let earlier = self.committed.partition_point(|committed| committed.by < term);
        let (Some(newest), Some(watch)) = (earlier.checked_sub(1), self.nodes.get(&id)) else {
            return Ok(());
        };
        let (index, digest) = (earlier as u64, self.committed[newest].digest);
        let held = watch.mirror.digest_at(index);
        if index < watch.mirror.base() || held == Some(digest) || watch.blind {
            return Ok(());
        }
        breach(3, format!("leader {id} of term {term} lacks entry {index}, which is committed"))
    }

    /// What a node takes for committed is committed, and stays so.
    fn commits(&mut self, id: NodeId, term: Term, commit: Index) -> Check {
        let Some(watch) = self.nodes.get(&id) else { return Ok(()) };
        let mirror = &watch.mirror;
        let reach = commit.min(mirror.last());
        if watch.blind {
            return Ok(());
        }
        let known = self.committed.len() as u64;
        let both = reach.min(known);
        if both > 0 && both >= mirror.base() {
            let committed = self.committed[index_of(both)].digest;
            if mirror.digest_at(both) != Some(committed) {
                return breach(5, format!("node {id} commits another entry at or below {both}"));
            }
        }
        if reach <= known {
            return Ok(());
        }
        if known < mirror.base() {
            return breach(5, format!("node {id} trimmed entries that nobody committed"));
        }
        for index in known + 1..=reach {
            let Some(digest) = mirror.digest_at(index) else { break };
            self.committed.push(Committed { digest, by: term });
        }
        Ok(())
    }

    /// Whatever a node commits first is on the disks of a majority, by the voters that count for it
    /// at this moment. To be asked after each input, before the next may change those.
    pub(super) fn notice(&mut self, by: NodeId, core: &Core<View>) -> Check {
        let index = core.commit();
        if index <= self.proved {
            return Ok(());
        }
        let Slot::Present(term) = core.term_at(index) else { return Ok(()) };
        let mut holders = BTreeSet::new();
        for (id, watch) in &mut self.nodes {
            let ops = lock(&watch.shadow).durable_before();
            if watch.in_flight.is_none() {
                watch.mirror.durable(ops);
            }
            if watch.mirror.holds(EntryId::new(index, term)) {
                holders.insert(*id);
            }
        }
        if core.membership().tally(|id| Some(holders.contains(&id))) == Tally::Won {
            self.proved = index;
            return Ok(());
        }
        let by = format!("{by} with {:?}", core.membership());
        breach(6, format!("node {by} commits entry {index}, which is durable on {holders:?} only"))
    }

    // ---- a message leaves

    /// Whether a message may leave, judged by the disk.
    pub(super) fn leaves(&mut self, message: &Message) -> Check {
        let vote = self.votes_once(message)?;
        let Message { from, term, body, .. } = message;
        let Some(watch) = self.nodes.get_mut(from) else { return Ok(()) };
        let promises = vote.is_some()
            || matches!(body, Body::VoteReply { .. })
            || matches!(body, Body::AppendReply(_) | Body::HeartbeatReply { .. });
        if !promises || watch.blind {
            return Ok(());
        }
        let ops = lock(&watch.shadow).durable_before();
        watch.mirror.durable(ops);
        let durable: Record = watch.mirror.durable_record();
        let hard_state = durable.hard_state;
        let voted =
            vote.is_none_or(|vote| hard_state.term > *term || hard_state.vote == Some(vote));
        let acked = match body {
            // What was acknowledged in an older term may be gone again: the state in which it was
            // said came before the durable one, and a message may be late.
            Body::AppendReply(AppendReply::Accepted { matched }) => {
                // Nor need the log as it is now still hold it: it is enough that the durable one ends
                // in that term, and so is its leader's log up to there.
                let held = durable.last.term == *term && *matched <= durable.last.index;
                hard_state.term > *term || *matched <= durable.shared || held
            }
            _ => true,
        };
        if hard_state.term >= *term && voted && acked {
            return Ok(());
        }
        let shadow = format!("{:?}", lock(&watch.shadow));
        breach(10, format!("{message:?} leaves while {durable:?} is durable; {shadow}"))
    }

    /// A vote that a message carries is the only one of that node in that term.
    pub(super) fn votes_once(&mut self, message: &Message) -> Result<Option<NodeId>, Breach> {
        let Message { from, to, term, body } = message;
        let vote = match body {
            Body::Vote { .. } => *from,
            Body::VoteReply { granted: true } => *to,
            _ => return Ok(None),
        };
        let given = *self.votes.entry((*from, *term)).or_insert(vote);
        if given != vote {
            return breach(9, format!("node {from} votes for {given} and {vote} in {term}"));
        }
        Ok(Some(vote))
    }

    // ---- entries

    fn new_entries_of(&mut self, id: NodeId, machine: &Machine) -> Check {
        let Some(watch) = self.nodes.get_mut(&id) else { return Ok(()) };
        let log = machine.log();
        let written = log.written();
        if written == watch.ticket || watch.blind {
            return Ok(());
        }
        watch.ticket = written;
        let mut clash = None;
        // What is known while it grows: two borrows of the map, one after the other.
        let entries = std::mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        let caught_up = watch.mirror.catch_up(
            log,
            machine.ops(),
            |id| known(&entries, id),
            |id, digest| fresh.push((id, digest)),
        );
        self.entries = entries;
        for (entry, digest) in fresh {
            if *self.entries.entry(entry).or_insert(digest) != digest {
                clash = Some(entry);
            }
        }
        match (caught_up, clash) {
            (Err(_), _) if watch.doubtful => {
                watch.blind = true;
                Ok(())
            }
            (Err(error), _) => breach(15, format!("node {id}: {error:?}")),
            (_, Some(entry)) => {
                breach(2, format!("node {id} holds another log up to {entry:?} than others did"))
            }
            (Ok(()), None) => Ok(()),
        }
    }

    /// Entries of a log that was just opened.
    fn new_entries(&mut self, id: NodeId) -> Check {
        let Some(watch) = self.nodes.get(&id) else { return Ok(()) };
        for (entry, digest) in watch.mirror.entries() {
            if *self.entries.entry(entry).or_insert(digest) != digest {
                return breach(2, format!("node {id} recovered another log up to {entry:?}"));
            }
        }
        Ok(())
    }
}

fn known(entries: &HashMap<EntryId, u64>, id: EntryId) -> Option<u64> {
    entries.get(&id).copied()
}

fn index_of(index: Index) -> usize {
    usize::try_from(index - 1).expect("a simulated log is short")
}

/// Whether recovery found one of the states that the end can have left. Term and vote may be those
/// of a later one: the log keeps a promise that it finds even where the batches before it are torn.
fn recovered(before: &Watch, found: &Mirror, end: End) -> Result<(), String> {
    let now = found.durable_record();
    let mut left: Vec<(HardState, EntryId)> = match end {
        End::Kill => before.mirror.records.back().map(Record::state).into_iter().collect(),
        End::PowerCut => before.mirror.records.iter().map(Record::state).collect(),
    };
    left.extend(before.in_flight);
    let promised =
        |state: &HardState| (state.term, state.vote) == (now.hard_state.term, now.hard_state.vote);
    let fits = |at: usize, (state, last): (HardState, EntryId)| {
        let later = left.iter().skip(at).any(|(later, _)| promised(later));
        last == now.last && state.commit == now.hard_state.commit && later
    };
    if left.iter().enumerate().any(|(at, state)| fits(at, *state)) {
        return Ok(());
    }
    Err(format!("{now:?} was found, none of {left:?}"))
}
