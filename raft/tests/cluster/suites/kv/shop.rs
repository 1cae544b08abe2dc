//! Servers with a key-value service, clients, and the network between the two, in virtual time.
//!
//! ```text
//!   test ─▶ Shop ─▶ Clerk ── request ──▶ Lab::propose ─▶ Sessions<Store>
//!                     ▲                        │
//!                     └──────── answer ◀───────┘     either may be lost or late
//! ```
//! A clerk has one command at a time and repeats it, under the same serial number, from one server
//! to the next until it is answered. Partitions are between servers; a clerk talks to whomever it
//! was given.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hardlog_raft::{
    Config, ProposeError, StateMachine,
    sessions::{Answer, Limits, Request, Sessions},
    sim::lab::{Compaction, Lab, Seed},
};

use super::store::{Command, Reply, Store};
use crate::suites::seeds::Simulated;

/// Milliseconds after which a clerk asks another server.
const PATIENCE: u64 = 300;
/// Milliseconds between a refusal and the next attempt.
const PAUSE: u64 = 10;
/// No command takes longer, in milliseconds, once a majority is there.
const CALL_MAX: u64 = 30_000;

/// A command that was answered.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) clerk: usize,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) command: Command,
    pub(super) reply: Reply,
    /// The attempt that was answered was not the one that took effect.
    pub(super) duplicate: bool,
}

#[derive(Default)]
struct Clerk {
    servers: Vec<usize>,
    /// Which of them it asks.
    at: usize,
    session: Option<u64>,
    serial: u64,
    task: Option<(Command, u64)>,
    /// Number of the attempt that waits for an answer, and when it was sent.
    attempt: Option<(u64, u64)>,
    next_at: u64,
    done: Option<Done>,
}

/// An answer as a server gives it.
struct Answered {
    server: usize,
    clerk: usize,
    attempt: u64,
    result: Result<Bytes, ProposeError>,
}

enum Parcel {
    Request { server: usize, clerk: usize, attempt: u64, bytes: Bytes },
    Answer(Answered),
}

/// How the service is run.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) servers: usize,
    pub(super) config: Config,
    pub(super) compaction: Compaction,
    /// Whether a command that is repeated is applied once.
    pub(super) sessions: bool,
}

/// Servers, clients, and what is on its way between them.
pub(super) struct Shop {
    pub(super) lab: Lab,
    clerks: Vec<Clerk>,
    /// By the time at which they arrive.
    parcels: BTreeMap<(u64, u64), Parcel>,
    answers: Arc<Mutex<Vec<Answered>>>,
    /// Where an attempt stands in the log, should it commit.
    places: BTreeMap<u64, u64>,
    numbers: u64,
    unreliable: bool,
    sessions: bool,
    late_answer: Option<(usize, u64)>,
    crash_before_answer: Option<usize>,
    pub(super) history: Vec<Done>,
}

impl Simulated for Shop {
    fn lab(&self) -> &Lab {
        &self.lab
    }
}

impl Shop {
    pub(super) fn open(terms: Terms, seed: impl Into<Seed>) -> Self {
        let Terms { servers, config, compaction, sessions } = terms;
        let make = Box::new(move |_| match sessions {
            true => Box::new(Sessions::new(Store::default(), Limits::default())),
            false => Box::new(Store::default()) as Box<dyn StateMachine>,
        });
        Self {
            lab: Lab::with_service(servers, config, compaction, seed, make),
            clerks: Vec::new(),
            parcels: BTreeMap::new(),
            answers: Arc::default(),
            places: BTreeMap::new(),
            numbers: 0,
            unreliable: false,
            sessions,
            late_answer: None,
            crash_before_answer: None,
            history: Vec::new(),
        }
    }

    // ---- the world

    /// Between servers, and between them and the clerks.
    pub(super) fn set_unreliable(&mut self, unreliable: bool) {
        self.unreliable = unreliable;
        self.lab.set_unreliable(unreliable);
    }

    /// The next answer of a server comes so many milliseconds late.
    pub(super) fn delay_next_answer(&mut self, server: usize, millis: u64) {
        self.late_answer = Some((server, millis));
    }

    /// A server crashes when it has an answer, before the answer leaves.
    pub(super) fn crash_before_next_answer(&mut self, server: usize) {
        self.crash_before_answer = Some(server);
    }

    pub(super) fn crash(&mut self, server: usize) {
        self.lab.crash(server);
        // What it had to say went with it.
        self.said().retain(|answered| answered.server != server);
    }

    /// Who leads the newest term, among servers that run.
    pub(super) fn leader(&self) -> Option<usize> {
        let states = (0..self.lab.size()).filter_map(|server| {
            let (term, leads) = self.lab.state(server)?;
            (leads && self.lab.is_connected(server)).then_some((term, server))
        });
        states.max().map(|(_, server)| server)
    }

    /// Waits for a leader.
    pub(super) fn await_leader(&mut self) -> usize {
        for _ in 0..5000 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.step();
        }
        panic!("nobody leads after five seconds");
    }

    // ---- clerks

    /// A new client of these servers, which it asks in this order.
    pub(super) fn hire(&mut self, servers: impl IntoIterator<Item = usize>) -> usize {
        let servers = servers.into_iter().collect();
        self.clerks.push(Clerk { servers, ..Clerk::default() });
        self.clerks.len() - 1
    }

    /// A new client of all servers.
    pub(super) fn hire_for_all(&mut self) -> usize {
        self.hire(0..self.lab.size())
    }

    /// From now on a clerk asks these servers.
    pub(super) fn send_on(&mut self, clerk: usize, servers: impl IntoIterator<Item = usize>) {
        let clerk = &mut self.clerks[clerk];
        clerk.servers = servers.into_iter().collect();
        clerk.at = 0;
    }

    /// A clerk gets a command.
    pub(super) fn begin(&mut self, clerk: usize, command: Command) {
        let now = self.lab.now();
        let clerk = &mut self.clerks[clerk];
        assert!(clerk.task.is_none(), "a clerk has one command at a time");
        clerk.task = Some((command, now));
        clerk.serial += 1;
        clerk.next_at = now;
        clerk.done = None;
    }

    pub(super) fn is_busy(&self, clerk: usize) -> bool {
        self.clerks[clerk].task.is_some()
    }

    /// What became of a clerk's last command.
    pub(super) fn done(&mut self, clerk: usize) -> Option<Done> {
        self.clerks[clerk].done.take()
    }

    /// A command from beginning to end.
    pub(super) fn call(&mut self, clerk: usize, command: Command) -> Done {
        self.begin(clerk, command);
        self.finish(clerk)
    }

    /// Waits for a clerk's command.
    pub(super) fn finish(&mut self, clerk: usize) -> Done {
        for _ in 0..CALL_MAX {
            if let Some(done) = self.done(clerk) {
                return done;
            }
            self.step();
        }
        panic!("{:?} is not answered", self.clerks[clerk].task);
    }

    /// The same, given up after a while: whether it is answered by then.
    pub(super) fn is_answered_within(&mut self, clerk: usize, command: Command, ms: u64) -> bool {
        self.begin(clerk, command);
        self.pass(ms);
        let answered = self.done(clerk).is_some();
        let clerk = &mut self.clerks[clerk];
        (clerk.task, clerk.attempt) = (None, None);
        answered
    }

    // ---- time

    /// So many milliseconds pass.
    pub(super) fn pass(&mut self, millis: u64) {
        (0..millis).for_each(|_| self.step());
    }

    /// A millisecond passes.
    pub(super) fn step(&mut self) {
        self.lab.sleep(1);
        self.collect();
        self.deliver();
        (0..self.clerks.len()).for_each(|clerk| self.poll(clerk));
        self.deliver();
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Vec<Answered>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers leave their servers.
    fn collect(&mut self) {
        let answers = std::mem::take(&mut *self.said());
        for answered in answers {
            let server = answered.server;
            let applied = answered.result.is_ok();
            if applied && self.crash_before_answer == Some(server) {
                self.crash_before_answer = None;
                self.crash(server);
            }
            if !self.lab.is_up(server) {
                continue;
            }
            let late = self.late_answer.take_if(|(of, _)| applied && *of == server);
            let late = late.map_or(0, |(_, millis)| millis);
            self.post(Parcel::Answer(answered), late);
        }
    }

    fn post(&mut self, parcel: Parcel, late: u64) {
        let lost = self.unreliable && self.lab.random(10) == 0;
        let delay = if self.unreliable { self.lab.random(27) } else { 0 };
        if !lost {
            self.numbers += 1;
            self.parcels.insert((self.lab.now() + delay + late, self.numbers), parcel);
        }
    }

    fn deliver(&mut self) {
        let later = self.parcels.split_off(&(self.lab.now() + 1, 0));
        for (_, parcel) in std::mem::replace(&mut self.parcels, later) {
            match parcel {
                Parcel::Request { server, clerk, attempt, bytes } => {
                    self.serve(server, clerk, attempt, &bytes);
                }
                Parcel::Answer(answered) => self.answer(answered),
            }
        }
    }

    fn serve(&mut self, server: usize, clerk: usize, attempt: u64, bytes: &Bytes) {
        if !self.lab.is_up(server) {
            return;
        }
        let answers = Arc::clone(&self.answers);
        let done = move |result| {
            let answered = Answered { server, clerk, attempt, result };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        };
        match self.lab.propose(server, bytes, done) {
            Some((index, _)) => drop(self.places.insert(attempt, index)),
            None => {
                let result = Err(ProposeError::NotLeader { leader: None });
                self.post(Parcel::Answer(Answered { server, clerk, attempt, result }), 0);
            }
        }
    }

    fn poll(&mut self, number: usize) {
        let now = self.lab.now();
        let sessions = self.sessions;
        let clerk = &mut self.clerks[number];
        if clerk.attempt.is_some_and(|(_, sent)| now > sent + PATIENCE) {
            clerk.ask_another(now);
        }
        if clerk.attempt.is_some() || now < clerk.next_at {
            return;
        }
        let Some((command, _)) = &clerk.task else { return };
        let bytes = match clerk.session {
            _ if !sessions => command.encode(),
            None => Request::Open.encode(),
            Some(client) => {
                let (serial, data) = (clerk.serial, command.encode());
                Request::Command { client, serial, answered_below: serial, data }.encode()
            }
        };
        self.numbers += 1;
        let attempt = self.numbers;
        clerk.attempt = Some((attempt, now));
        let server = clerk.servers[clerk.at];
        self.post(Parcel::Request { server, clerk: number, attempt, bytes }, 0);
    }

    fn answer(&mut self, answered: Answered) {
        let now = self.lab.now();
        let place = self.places.remove(&answered.attempt);
        let clerk = &mut self.clerks[answered.clerk];
        if clerk.attempt.is_none_or(|(attempt, _)| attempt != answered.attempt) {
            return;
        }
        let bytes = match answered.result {
            Ok(bytes) => bytes,
            Err(_) => return clerk.ask_another(now + PAUSE),
        };
        clerk.attempt = None;
        let bytes = match (self.sessions, Answer::decode(&bytes)) {
            (false, _) => bytes,
            (true, Ok(Answer::Opened { client })) => {
                clerk.session = Some(client);
                clerk.next_at = now;
                return;
            }
            (true, Ok(Answer::Reply(reply))) => reply,
            (true, other) => panic!("{other:?} to a client that is remembered"),
        };
        let reply = Reply::decode(&bytes).expect("a reply of this service");
        let (command, began) = clerk.task.take().expect("whoever waits has a task");
        let duplicate = place.is_some_and(|place| place != reply.index);
        let done = Done { clerk: answered.clerk, began, ended: now, command, reply, duplicate };
        clerk.done = Some(done.clone());
        self.history.push(done);
    }
}

impl Clerk {
    fn ask_another(&mut self, at: u64) {
        self.attempt = None;
        self.at = (self.at + 1) % self.servers.len();
        self.next_at = at;
    }
}
