//! Clients of a simulated cluster, each with one operation at a time, and what they saw.
//!
//! A client that hears nothing for a while gives up: its write may still happen at any time after,
//! and it goes on under another name, as a client that was restarted would.
//!
//! Checked here at once: a read sees each write that was completed before it began. The whole
//! [`History`] is for a linearizability checker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
};

use hardlog::{Index, fs::sim::Rng};

use super::{
    Micros,
    book::{self, Page},
    lock,
    network::between,
    stage::Stage,
    watch::breach,
};
use crate::{call::ProposeError, message::NodeId, trace::What};

/// What a client did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Set it.
    Write {
        /// Which register.
        key: u8,
        /// To what; each value is written once.
        value: u64,
    },
    /// Read it.
    Read {
        /// Which register.
        key: u8,
        /// What stood there, if anything.
        found: Option<u64>,
    },
}

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who: no client has two operations at a time.
    pub client: u64,
    /// When it was called.
    pub called: Micros,
    /// When it returned; a write that never did may have happened or not.
    pub returned: Option<Micros>,
    /// What.
    pub op: Op,
}

/// Everything that clients did, in the order in which it returned or was given up.
pub type History = Vec<Operation>;

/// An answer: for a write its index, for a read how far the node was and what it found.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Written(Index),
    Found(Index, Option<u64>),
    Refused(ProposeError),
}

impl Answer {
    fn told(self, client: u64, serial: u64) -> What {
        let (ok, result) = match self {
            Self::Written(index) => (true, format!("done at {index}")),
            Self::Found(_, Some(value)) => (true, value.to_string()),
            Self::Found(_, None) => (true, "nothing".to_owned()),
            Self::Refused(error) => (false, error.to_string()),
        };
        What::Return { client, serial, ok, result: Some(result.into()) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    called: Micros,
    key: u8,
    /// None for a read.
    value: Option<u64>,
    /// Highest index of a write that had completed by then.
    floor: Index,
}

struct Client {
    name: u64,
    node: NodeId,
    next_at: Micros,
    waiting: Option<Waiting>,
}

type Answers = Arc<Mutex<BTreeMap<u64, (Micros, Answer)>>>;

/// How clients behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habits {
    /// How many at a time.
    pub clients: u64,
    /// Registers that they use.
    pub keys: u64,
    /// Shortest and longest pause between two looks.
    pub pause: (Micros, Micros),
    /// Reads among their operations, in percent.
    pub reads: u64,
    /// Bytes of padding in a command, at most.
    pub padding: u64,
    /// Time after which they give up.
    pub patience: Micros,
    /// Reads are served by whoever thinks that it leads, without asking anybody: wrong, and for
    /// tests of what notices it.
    pub local_reads: bool,
}

/// All clients.
pub(super) struct Clients {
    habits: Habits,
    clients: Vec<Client>,
    answers: Answers,
    names: u64,
    numbers: u64,
    pub(super) history: History,
    /// Index and value of each write that completed.
    pub(super) acked: BTreeMap<Index, u64>,
    pub(super) reads_done: u64,
}

impl Clients {
    pub(super) fn new(habits: Habits) -> Self {
        let client = |name| Client { name, node: 1, next_at: name * 3000, waiting: None };
        Self {
            clients: (1..=habits.clients).map(client).collect(),
            names: habits.clients,
            habits,
            answers: Answers::default(),
            numbers: 0,
            history: History::new(),
            acked: BTreeMap::new(),
            reads_done: 0,
        }
    }

    /// When the next of them looks at its answer or begins something.
    pub(super) fn next_at(&self) -> Micros {
        self.clients.iter().map(|client| client.next_at).min().unwrap_or(Micros::MAX)
    }

    /// Lets those act whose time has come.
    pub(super) fn act(&mut self, stage: &mut Stage, pages: &BTreeMap<NodeId, Arc<Mutex<Page>>>) {
        let now = stage.now();
        for at in 0..self.clients.len() {
            if self.clients[at].next_at > now {
                continue;
            }
            self.clients[at].next_at = now + between(&mut stage.rng, self.habits.pause);
            match self.clients[at].waiting {
                Some(waiting) => self.look(at, waiting, stage),
                None => self.begin(at, stage, pages),
            }
        }
    }

    /// Nobody waits for answers any more.
    pub(super) fn finish(&mut self) {
        for at in 0..self.clients.len() {
            if let Some(waiting) = self.clients[at].waiting {
                self.give_up(at, waiting);
            }
        }
    }

    fn begin(&mut self, at: usize, stage: &mut Stage, pages: &BTreeMap<NodeId, Arc<Mutex<Page>>>) {
        let (called, clock) = (stage.now(), stage.clock());
        self.numbers += 1;
        let number = self.numbers;
        let key = key(&mut stage.rng, self.habits.keys);
        let reads = stage.rng.next_u64() % 100 < self.habits.reads;
        let padding = stage.rng.next_u64() % (self.habits.padding + 1);
        let node = self.clients[at].node;
        let (client, tracer) = (self.clients[at].name, stage.setting.tracer.clone());
        let Some(machine) = stage.machine(node) else {
            self.clients[at].node = other(&mut stage.rng, stage.setting.size);
            return;
        };
        tracer.note(0, || {
            let op = if reads { format!("get {key}") } else { format!("set {key} {number}") };
            What::Call { client, serial: number, op: op.into() }
        });
        let floor = self.acked.last_key_value().map_or(0, |(index, _)| *index);
        let value = (!reads).then_some(number);
        self.clients[at].waiting = Some(Waiting { number, called, key, value, floor });
        let answers = Arc::clone(&self.answers);
        let answer = move |answer: Answer| {
            tracer.note(0, || answer.told(client, number));
            lock(&answers).insert(number, (clock.load(Ordering::Relaxed), answer));
        };
        if let Some(value) = value {
            let padding = usize::try_from(padding).unwrap_or(0);
            machine.propose(&book::encode(key, value, padding), move |result| {
                answer(match result {
                    Ok(reply) => Answer::Written(index_in(&reply)),
                    Err(error) => Answer::Refused(error),
                });
            });
        } else if let Some(page) = pages.get(&node) {
            let page = Arc::clone(page);
            let find = move || {
                let page = lock(&page);
                Answer::Found(page.last, page.values.get(&key).copied())
            };
            if self.habits.local_reads && machine.is_leader() {
                return answer(find());
            }
            machine.read(move |result| {
                answer(match result {
                    Ok(()) => find(),
                    Err(error) => Answer::Refused(error),
                });
            });
        }
        stage.round_soon(node);
    }

    fn look(&mut self, at: usize, waiting: Waiting, stage: &mut Stage) {
        let answer = lock(&self.answers).remove(&waiting.number);
        let Some((returned, answer)) = answer else {
            if stage.now() - waiting.called > self.habits.patience {
                self.clients[at].node = other(&mut stage.rng, stage.setting.size);
                self.give_up(at, waiting);
            }
            return;
        };
        self.clients[at].waiting = None;
        let Waiting { called, key, .. } = waiting;
        match answer {
            Answer::Written(index) => {
                let value = waiting.value.unwrap_or_default();
                self.acked.insert(index, value);
                self.record(at, called, Some(returned), Op::Write { key, value });
            }
            Answer::Found(last, found) => {
                self.reads_done += 1;
                self.record(at, called, Some(returned), Op::Read { key, found });
                if last < waiting.floor && !self.habits.local_reads {
                    let what = format!(
                        "a read at {called} sees entries up to {last}, and {} was completed before",
                        waiting.floor
                    );
                    stage.judge(breach(12, what));
                }
            }
            Answer::Refused(ProposeError::NotLeader { leader }) => {
                let random = other(&mut stage.rng, stage.setting.size);
                let known = leader.filter(|_| !stage.rng.next_u64().is_multiple_of(4));
                self.clients[at].node = known.unwrap_or(random);
            }
            Answer::Refused(ProposeError::Unknown | ProposeError::Stopped) => {
                self.clients[at].node = other(&mut stage.rng, stage.setting.size);
                self.give_up(at, waiting);
            }
            Answer::Refused(ProposeError::Busy | ProposeError::TooLarge) => {}
        }
    }

    fn give_up(&mut self, at: usize, waiting: Waiting) {
        self.clients[at].waiting = None;
        if let Waiting { called, key, value: Some(value), .. } = waiting {
            self.record(at, called, None, Op::Write { key, value });
        }
        self.names += 1;
        self.clients[at].name = self.names;
    }

    fn record(&mut self, at: usize, called: Micros, returned: Option<Micros>, op: Op) {
        let client = self.clients[at].name;
        self.history.push(Operation { client, called, returned, op });
    }
}

fn key(rng: &mut Rng, keys: u64) -> u8 {
    u8::try_from(rng.next_u64() % keys.max(1)).unwrap_or(u8::MAX)
}

fn other(rng: &mut Rng, size: u64) -> NodeId {
    1 + rng.next_u64() % size
}

fn index_in(reply: &[u8]) -> Index {
    reply.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
