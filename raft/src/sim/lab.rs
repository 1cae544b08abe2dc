//! A cluster as the courses' test suites see it: servers that are connected, cut off, crashed and
//! restarted, commands that are submitted and found applied. In virtual time; every rule of the
//! simulator is checked besides, and a broken one is a panic.
//!
//! Above: the suites in the tests of this package. Below: `stage`.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hardlog::{Index, Options, Term, fs::sim::Model};

use super::{
    lock,
    network::{Traffic, Weather, chance},
    stage::{Setting, Stage},
    watch::End,
};
use crate::{
    config::Config,
    message::NodeId,
    state_machine::{Command, FrozenSnapshot, StateMachine},
};

/// Commands by index.
pub type Applied = BTreeMap<Index, Bytes>;

type Shelf = Arc<Mutex<Applied>>;

/// A service that keeps its commands, and compares them with what others were given.
struct Journal {
    applied: Shelf,
    everywhere: Shelf,
}

impl StateMachine for Journal {
    fn apply(&mut self, commands: &[Command]) -> Vec<Bytes> {
        let mut applied = lock(&self.applied);
        let mut everywhere = lock(&self.everywhere);
        for Command { index, data, .. } in commands {
            let last = applied.last_key_value().map_or(0, |(index, _)| *index);
            assert!(*index == last + 1, "{index} is applied after {last}");
            let known = everywhere.entry(*index).or_insert_with(|| data.clone());
            assert!(known == data, "{data:?} is applied at {index}, elsewhere {known:?}");
            applied.insert(*index, data.clone());
        }
        commands.iter().map(|_| Bytes::new()).collect()
    }

    fn snapshot(&self) -> Box<dyn FrozenSnapshot> {
        Box::new(Frozen(lock(&self.applied).clone()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut applied = Applied::new();
        while let Some((index, after)) = number(rest) {
            let Some((len, after)) = number(after) else { break };
            let len = usize::try_from(len).map_err(io::Error::other)?.min(after.len());
            let (data, after) = after.split_at(len);
            applied.insert(index, Bytes::copy_from_slice(data));
            rest = after;
        }
        *lock(&self.applied) = applied;
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*word), rest))
}

struct Frozen(Applied);

impl FrozenSnapshot for Frozen {
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|(index, data)| {
            to.write_all(&index.to_le_bytes())?;
            to.write_all(&(data.len() as u64).to_le_bytes())?;
            to.write_all(data)
        })
    }
}

/// A cluster for a suite. Servers are counted from 0.
pub struct Lab {
    stage: Stage,
    shelves: Arc<Mutex<BTreeMap<NodeId, Shelf>>>,
    everywhere: Shelf,
    unreliable: bool,
    reordering: bool,
}

impl Lab {
    /// `size` servers with reliable links, each with a snapshot after so many bytes of entries.
    #[must_use]
    pub fn new(size: usize, config: Config, snapshot_every_bytes: u64, seed: u64) -> Self {
        let setting = Setting {
            size: size as u64,
            config,
            options: Options::new().background(false).segment_size(256 << 10).snapshot_chunk(4096),
            snapshot_every_bytes,
            keep_behind: 0,
            weather: Weather::fine(),
            sync_time: (100, 2000),
            lag: 0,
            model: Model::Strict,
            restart_after: (1000, 1000),
            count_bytes: true,
            text: false,
        };
        let shelves = Arc::<Mutex<BTreeMap<NodeId, Shelf>>>::default();
        let (all, everywhere) = (Arc::clone(&shelves), Shelf::default());
        let shared = Arc::clone(&everywhere);
        let make = Box::new(move |id| {
            let applied = Shelf::default();
            lock(&all).insert(id, Arc::clone(&applied));
            let everywhere = Arc::clone(&shared);
            Box::new(Journal { applied, everywhere }) as Box<dyn StateMachine>
        });
        let stage = Stage::new(setting, seed, make);
        Self { stage, shelves, everywhere, unreliable: false, reordering: false }
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

    // ---- the network

    /// The server hears and is heard.
    pub fn connect(&mut self, server: usize) {
        let id = id(server);
        self.stage.network.unplugged.retain(|unplugged| *unplugged != id);
    }

    /// Nobody hears the server, and it hears nobody.
    pub fn disconnect(&mut self, server: usize) {
        self.connect(server);
        self.stage.network.unplugged.push(id(server));
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
        for other in self.stage.ids() {
            self.stage.network.cut(id(server), other);
        }
    }

    /// All links that were cut one way are mended.
    pub fn unmute(&mut self) {
        self.stage.network.heal();
    }

    fn set_weather(&mut self) {
        let mut weather = Weather::fine();
        if self.unreliable {
            weather.delay = (0, 26_000);
            weather.loss = 100;
        }
        weather.reply_late = if self.reordering { 667 } else { 0 };
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
        let vote = hard_state.vote.and_then(|id| usize::try_from(id - 1).ok());
        Some((hard_state.term, vote))
    }

    /// Submits a command; where it will stand if it commits. None if the server does not lead.
    pub fn submit(&mut self, server: usize, command: &[u8]) -> Option<(Index, Term)> {
        let id = id(server);
        let machine = self.stage.machine(id).filter(|machine| machine.is_leader())?;
        let before = machine.core().last_id();
        machine.propose(&Bytes::copy_from_slice(command), |_| {});
        let after = machine.core().last_id();
        self.stage.round(id);
        (after != before).then_some((after.index, after.term))
    }

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
}

fn id(server: usize) -> NodeId {
    server as u64 + 1
}
