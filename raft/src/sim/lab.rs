//! A cluster as the courses' test suites see it: servers that are connected, cut off, crashed and
//! restarted, commands that are submitted and found applied. In virtual time; every rule of the
//! simulator is checked besides, and a broken one is a panic.
//!
//! Above: the suites in the tests of this package. Below: `stage`.

pub mod aim;
pub mod hands;
mod journal;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use hardlog::{Index, Options, Term, fs::sim::Model};

pub use self::journal::Applied;
use self::journal::{Journal, Shelf};
use super::{
    lock,
    network::{Traffic, Weather, chance},
    play::files,
    stage::{Make, Setting, Stage},
    watch::End,
};
use crate::{
    call::{Call, ProposeError},
    config::Config,
    core::{Change, quorum::Voters},
    driver::orders::Order,
    member::Member,
    message::NodeId,
    state_machine::StateMachine,
    trace::{Tracer, What},
};

/// A cluster for a suite. Servers are counted from 0.
pub struct Lab {
    stage: Stage,
    /// What each server applied, unless the service is the suite's own.
    shelves: Arc<Mutex<BTreeMap<NodeId, Shelf>>>,
    everywhere: Shelf,
    /// Some entries are no commands.
    gaps: Arc<AtomicBool>,
    unreliable: bool,
    reordering: bool,
    /// Commands submitted.
    submitted: u64,
}

/// When a server takes a snapshot, and what stays in its log then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes of entries after which a snapshot is taken.
    pub every_bytes: u64,
    /// Entries that stay behind it.
    pub keep_behind: u64,
}

/// What a run is drawn from, and who is told of it.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The number.
    pub number: u64,
    /// Where everything worth seeing is told. Its time must be virtual.
    pub tracer: Tracer,
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Self { number, tracer: Tracer::off_in_virtual_time() }
    }
}

impl Lab {
    /// `size` servers with reliable links.
    #[must_use]
    pub fn new(size: usize, config: Config, compaction: Compaction, seed: impl Into<Seed>) -> Self {
        let shelves = Arc::<Mutex<BTreeMap<NodeId, Shelf>>>::default();
        let (all, everywhere) = (Arc::clone(&shelves), Shelf::default());
        let gaps = Arc::<AtomicBool>::default();
        let shared = (Arc::clone(&everywhere), Arc::clone(&gaps));
        let make = Box::new(move |id| {
            let applied = Shelf::default();
            lock(&all).insert(id, Arc::clone(&applied));
            let (everywhere, gaps) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
            Box::new(Journal { applied, everywhere, gaps }) as Box<dyn StateMachine>
        });
        let lab = Self::with_service(size, config, compaction, seed, make);
        Self { shelves, everywhere, gaps, ..lab }
    }

    /// The same with a service of the suite's own; what asks for applied commands finds none.
    #[must_use]
    pub fn with_service(
        size: usize,
        config: Config,
        compaction: Compaction,
        seed: impl Into<Seed>,
        make: Make,
    ) -> Self {
        let Seed { number: seed, tracer } = seed.into();
        let setting = Setting {
            size: size as u64,
            config,
            options: Options::new().background(false).segment_size(256 << 10).snapshot_chunk(4096),
            snapshot_every_bytes: compaction.every_bytes,
            keep_behind: compaction.keep_behind,
            rates: (1000, 1000),
            identity_checks: true,
            weather: Weather::fine(),
            sync_time: (100, 2000),
            lag: 0,
            model: Model::Strict,
            restart_after: (1000, 1000),
            count_bytes: true,
            text: false,
            tracer,
        };
        Self {
            stage: Stage::new(setting, seed, make),
            shelves: Arc::default(),
            everywhere: Shelf::default(),
            gaps: Arc::default(),
            unreliable: false,
            reordering: false,
            submitted: 0,
        }
    }

    /// How many servers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.stage.seats.len()
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.stage.now() / 1000
    }

    /// Time passes.
    ///
    /// # Panics
    /// If a rule is broken meanwhile.
    pub fn sleep(&mut self, millis: u64) {
        self.stage.run_until(self.stage.now() + millis * 1000);
        if let Some(breach) = &self.stage.breach {
            panic!("{breach}");
        }
    }

    /// A number below `n`, from the seed.
    pub fn random(&mut self, n: u64) -> u64 {
        self.stage.rng.next_u64() % n
    }

    /// Where events are told, for marks of a test.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.stage.setting.tracer
    }

    // ---- the network

    /// The server hears and is heard.
    pub fn connect(&mut self, server: usize) {
        if !self.is_connected(server) {
            self.tell("connect", server);
        }
        let id = id(server);
        self.stage.network.unplugged.retain(|unplugged| *unplugged != id);
    }

    /// Nobody hears the server, and it hears nobody.
    pub fn disconnect(&mut self, server: usize) {
        if self.is_connected(server) {
            self.tell("disconnect", server);
            self.stage.network.unplugged.push(id(server));
        }
    }

    fn tell(&self, what: &'static str, server: usize) {
        self.tracer().note(0, || What::fault(what, [id(server)]));
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_connected(&self, server: usize) -> bool {
        !self.stage.network.unplugged.contains(&id(server))
    }

    /// Whether messages are delayed, and a tenth of them lost.
    pub fn set_unreliable(&mut self, unreliable: bool) {
        self.unreliable = unreliable;
        self.set_weather();
    }

    /// Whether two thirds of the answers come 200 to 2200 ms late.
    pub fn set_reordering(&mut self, reordering: bool) {
        self.reordering = reordering;
        self.set_weather();
    }

    /// Nothing that the server says gets through, though it hears others.
    pub fn mute(&mut self, server: usize) {
        let cuts = self.stage.network.cuts();
        for other in self.stage.ids() {
            self.stage.network.cut(id(server), other);
        }
        self.stage.tell_links(&cuts);
    }

    /// Only servers of the same group hear each other; a server in none hears nobody.
    pub fn partition(&mut self, groups: &[&[usize]]) {
        let cuts = self.stage.network.cuts();
        self.stage.network.heal();
        let group = |server: usize| groups.iter().position(|group| group.contains(&server));
        for a in 0..self.size() {
            for b in (0..self.size()).filter(|b| *b != a) {
                if group(a).is_none() || group(a) != group(b) {
                    self.stage.network.cut(id(a), id(b));
                }
            }
        }
        self.stage.tell_links(&cuts);
    }

    /// All links that were cut one way, or by a partition, are mended.
    pub fn unmute(&mut self) {
        let cuts = self.stage.network.cuts();
        self.stage.network.heal();
        self.stage.tell_links(&cuts);
    }

    fn set_weather(&mut self) {
        let mut weather = Weather::fine();
        if self.unreliable {
            weather.delay = (0, 26_000);
            weather.loss = 100;
        }
        weather.reply_late = if self.reordering { 667 } else { 0 };
        let text = match (self.unreliable, self.reordering) {
            (false, false) => "the network is reliable",
            (true, false) => "the network delays, and loses a tenth",
            (false, true) => "the network delays answers",
            (true, true) => "the network delays, loses a tenth, and delays answers longer",
        };
        self.tracer().note(0, || What::mark("note", text));
        self.stage.network.weather = weather;
    }

    /// What was sent so far.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.stage.traffic
    }

    // ---- the servers

    /// The process ends: it is killed, or its machine loses power.
    pub fn crash(&mut self, server: usize) {
        let end = if chance(&mut self.stage.rng, 500) { End::Kill } else { End::PowerCut };
        if let Some(seat) = self.stage.seats.get_mut(&id(server)) {
            seat.stays_down = true;
        }
        self.stage.end(id(server), end);
    }

    /// The process starts again, with what its disk holds.
    pub fn restart(&mut self, server: usize) {
        if let Some(seat) = self.stage.seats.get_mut(&id(server)) {
            seat.stays_down = false;
        }
        if !self.is_up(server) {
            self.stage.start(id(server));
        }
    }

    /// Whether the process runs.
    #[must_use]
    pub fn is_up(&self, server: usize) -> bool {
        self.stage.seats.get(&id(server)).is_some_and(|seat| seat.machine.is_some())
    }

    /// The term it is in and whether it believes to lead it, if it runs.
    #[must_use]
    pub fn state(&self, server: usize) -> Option<(Term, bool)> {
        let machine = self.stage.seats.get(&id(server))?.machine.as_ref()?;
        Some((machine.core().term(), machine.is_leader()))
    }

    /// Term and vote on its disk, as a process would find them.
    #[must_use]
    pub fn saved(&self, server: usize) -> Option<(Term, Option<usize>)> {
        let machine = self.stage.seats.get(&id(server))?.machine.as_ref()?;
        let hard_state = machine.log().hard_state();
        let vote = hard_state.vote.and_then(server_of);
        Some((hard_state.term, vote))
    }

    /// Submits a command; where it will stand if it commits. None if the server does not lead.
    pub fn submit(&mut self, server: usize, command: &[u8]) -> Option<(Index, Term)> {
        self.propose(server, &Bytes::copy_from_slice(command), |_| {})
    }

    /// The same for a caller that wants the reply, or what prevented it: `done` is called once,
    /// unless the server does not lead.
    pub fn propose(
        &mut self,
        server: usize,
        command: &Bytes,
        done: impl FnOnce(Result<Bytes, ProposeError>) + Send + 'static,
    ) -> Option<(Index, Term)> {
        let id = id(server);
        let machine = self.stage.machine(id).filter(|machine| machine.is_leader())?;
        let before = machine.core().last_id();
        machine.propose(command, done);
        let after = machine.core().last_id();
        self.stage.round(id);
        let taken = (after != before).then_some((after.index, after.term));
        self.tell_submitted(command, taken);
        taken
    }

    /// The suites do not wait for answers: what is told back is where the command will stand.
    fn tell_submitted(&mut self, command: &[u8], taken: Option<(Index, Term)>) {
        self.submitted += 1;
        let serial = self.submitted;
        let op = || format!("submit {}", command.escape_ascii()).into();
        self.tracer().note(0, || What::Call { client: 0, serial, op: op() });
        let result = || taken.map(|(index, term)| format!("index {index} term {term}").into());
        let ok = taken.is_some();
        self.tracer().note(0, || What::Return { client: 0, serial, ok, result: result() });
    }

    // ---- who takes part

    /// One server more starts, and waits to be added.
    pub fn join(&mut self) -> usize {
        self.gaps.store(true, Ordering::Relaxed);
        let server = self.size();
        self.stage.recruit();
        server
    }

    /// A server is told to add another one, which votes once it has caught up.
    pub fn add(&mut self, leader: usize, server: usize) {
        let (id, member) = (id(server), Member::default());
        self.change(leader, Change::AddLearner { id, member, promote: true });
    }

    /// A server is told to remove one, which may be itself.
    pub fn remove(&mut self, leader: usize, server: usize) {
        self.change(leader, Change::Remove { id: id(server) });
    }

    fn change(&mut self, leader: usize, change: Change) {
        self.gaps.store(true, Ordering::Relaxed);
        if let Some(machine) = self.stage.machine(id(leader)) {
            let call = Call::new(&Arc::default(), |_| {});
            let sent = machine.order(Order::Change(change, call));
            self.stage.ordered(id(leader), sent);
        }
    }

    /// The server hands over to another one, if it leads: what came of it is told to nobody but the
    /// trace. False if it does not run or stands still.
    pub fn transfer(&mut self, server: usize, to: usize) -> bool {
        let Some(machine) = self.stage.machine(id(server)) else { return false };
        let call = Call::new(&Arc::default(), |_| {});
        let sent = machine.order(Order::Transfer(Some(id(to)), call));
        self.stage.ordered(id(server), sent);
        true
    }

    /// Who votes, by the newest configuration in a server's log.
    #[must_use]
    pub fn voters(&self, server: usize) -> Vec<usize> {
        let seat = self.stage.seats.get(&id(server));
        let machine = seat.and_then(|seat| seat.machine.as_ref());
        let voters = machine.map(|machine| machine.core().membership().voters());
        voters.into_iter().flat_map(Voters::iter).filter_map(server_of).collect()
    }

    // ---- what became of it

    /// What the server applied, also before it crashed.
    #[must_use]
    pub fn applied(&self, server: usize, index: Index) -> Option<Bytes> {
        let shelves = lock(&self.shelves);
        let shelf = shelves.get(&id(server))?;
        lock(shelf).get(&index).cloned()
    }

    /// Index of the last command that the server applied.
    #[must_use]
    pub fn last_applied(&self, server: usize) -> Index {
        let shelves = lock(&self.shelves);
        let last = shelves.get(&id(server)).and_then(|s| lock(s).keys().next_back().copied());
        last.unwrap_or(0)
    }

    /// Everything that was applied anywhere.
    #[must_use]
    pub fn everything(&self) -> Applied {
        lock(&self.everywhere).clone()
    }

    /// The files of each server's disk, as readers would see them.
    #[must_use]
    pub fn disks(&self) -> BTreeMap<NodeId, Vec<(String, Vec<u8>)>> {
        files(&self.stage)
    }

    /// Bytes of log, term and vote that the server would have to keep: logical ones, not of files.
    #[must_use]
    pub fn state_size(&self, server: usize) -> u64 {
        let seat = self.stage.seats.get(&id(server));
        let machine = seat.and_then(|seat| seat.machine.as_ref());
        machine.map_or(0, |machine| machine.log().live_bytes() + 24)
    }

    /// Index of the server's newest snapshot.
    #[must_use]
    pub fn snapshot(&self, server: usize) -> Index {
        let seat = self.stage.seats.get(&id(server));
        let mark = seat.and_then(|seat| seat.machine.as_ref()?.log().snapshot_mark());
        mark.map_or(0, |mark| mark.id.index)
    }

    /// Bytes of the server's newest snapshot, 0 without one.
    #[must_use]
    pub fn snapshot_size(&self, server: usize) -> u64 {
        let seat = self.stage.seats.get(&id(server));
        let mark = seat.and_then(|seat| seat.machine.as_ref()?.log().snapshot_mark());
        mark.map_or(0, |mark| mark.size)
    }
}

fn id(server: usize) -> NodeId {
    server as u64 + 1
}

fn server_of(id: NodeId) -> Option<usize> {
    usize::try_from(id.checked_sub(1)?).ok()
}
