//! Clients of a simulated cluster, each with one operation at a time, and what they saw.
//!
//! A client that hears nothing for a while gives up: its write may still happen at any time after,
//! and it goes on under another name, as a client that was restarted would. One with a session
//! sends its command again instead, with the same serial, to whoever leads: it must be applied once
//! (rule 13), and each answer to it must be the same.
//!
//! Checked here at once: a read sees each write that was completed before it began. The whole
//! [`History`] is for a linearizability checker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use hardlog::{Index, fs::sim::Rng};

use super::{
    Micros,
    book::{self, Page},
    lock,
    network::{between, chance},
    stage::Stage,
    watch::{Breach, breach},
};
use crate::{
    call::ProposeError,
    message::NodeId,
    sessions::{Answer, Request},
    trace::{Text, Tracer, What},
};

/// How often a command is sent again.
const AGAIN_MAX: u32 = 6;

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
enum Reply {
    Written(Index),
    Found(Index, Option<u64>),
    Opened(u64),
    /// The session is forgotten, or the reply: what became of the command is not known.
    Forgotten,
    Refused(ProposeError),
}

impl Reply {
    fn told(self, client: u64, serial: u64) -> What {
        let (ok, result) = match self {
            Self::Written(index) => (true, format!("done at {index}")),
            Self::Found(_, Some(value)) => (true, value.to_string()),
            Self::Found(_, None) => (true, "nothing".to_owned()),
            Self::Opened(session) => (true, format!("session {session}")),
            Self::Forgotten => (false, "the session or its answer is forgotten".to_owned()),
            Self::Refused(error) => (false, error.to_string()),
        };
        What::Return { client, serial, ok, result: Some(result.into()) }
    }
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Open,
    Write { value: u64, padding: usize },
    Read,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    called: Micros,
    /// When it was sent the last time, and how often before.
    sent: Micros,
    again: u32,
    key: u8,
    task: Task,
    /// Highest index of a write that had completed by then.
    floor: Index,
}

struct Client {
    name: u64,
    node: NodeId,
    next_at: Micros,
    waiting: Option<Waiting>,
    session: Option<u64>,
    serial: u64,
}

/// What clients were told.
#[derive(Debug, Default)]
struct Told {
    replies: BTreeMap<u64, (Micros, Reply)>,
    /// Where each value was written, as it was told first.
    places: BTreeMap<u64, Index>,
    breach: Option<Breach>,
}

type Answers = Arc<Mutex<Told>>;

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
    /// Whether commands go through sessions.
    pub sessions: bool,
    /// Commands are sent again although nothing remembers them: wrong, and for tests of what
    /// notices it.
    pub plain_retries: bool,
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
    /// Commands that were sent again.
    pub(super) again: u64,
}

impl Clients {
    pub(super) fn new(habits: Habits) -> Self {
        let client = |name| Client {
            name,
            node: 1,
            next_at: name * 3000,
            waiting: None,
            session: None,
            serial: 0,
        };
        Self {
            clients: (1..=habits.clients).map(client).collect(),
            names: habits.clients,
            habits,
            answers: Answers::default(),
            numbers: 0,
            history: History::new(),
            acked: BTreeMap::new(),
            reads_done: 0,
            again: 0,
        }
    }

    /// When the next of them looks at its answer or begins something.
    pub(super) fn next_at(&self) -> Micros {
        self.clients.iter().map(|client| client.next_at).min().unwrap_or(Micros::MAX)
    }

    /// Lets those act whose time has come.
    pub(super) fn act(&mut self, stage: &mut Stage, pages: &BTreeMap<NodeId, Arc<Mutex<Page>>>) {
        let now = stage.now();
        if let Some(breach) = lock(&self.answers).breach.take() {
            stage.judge(Err(breach));
        }
        for at in 0..self.clients.len() {
            if self.clients[at].next_at > now {
                continue;
            }
            self.clients[at].next_at = now + between(&mut stage.rng, self.habits.pause);
            match self.clients[at].waiting {
                Some(waiting) => self.look(at, waiting, stage, pages),
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
        let called = stage.now();
        self.numbers += 1;
        let number = self.numbers;
        let key = key(&mut stage.rng, self.habits.keys);
        let reads = stage.rng.next_u64() % 100 < self.habits.reads;
        let padding = stage.rng.next_u64() % (self.habits.padding + 1);
        let client = &mut self.clients[at];
        if stage.machine(client.node).is_none() {
            client.node = other(stage);
            return;
        }
        let task = match (reads, self.habits.sessions && client.session.is_none()) {
            (true, _) => Task::Read,
            (false, true) => Task::Open,
            (false, false) => {
                client.serial += 1;
                Task::Write { value: number, padding: usize::try_from(padding).unwrap_or(0) }
            }
        };
        let name = client.name;
        stage.setting.tracer.note(0, || What::Call {
            client: name,
            serial: number,
            op: op(key, task),
        });
        let floor = self.acked.last_key_value().map_or(0, |(index, _)| *index);
        // Somebody doubles what a client says.
        let is_write = matches!(task, Task::Write { .. });
        let doubled = self.habits.sessions && is_write && chance(&mut stage.rng, 50);
        let again = u32::from(doubled);
        let waiting = Waiting { number, called, sent: called, again, key, task, floor };
        client.waiting = Some(waiting);
        for _ in 0..=again {
            self.send(at, waiting, stage, pages);
        }
        self.again += u64::from(doubled);
    }

    fn send(
        &self,
        at: usize,
        waiting: Waiting,
        stage: &mut Stage,
        pages: &BTreeMap<NodeId, Arc<Mutex<Page>>>,
    ) {
        let (node, key) = (self.clients[at].node, waiting.key);
        let teller = (stage.setting.tracer.clone(), self.clients[at].name);
        let answer = answering(&self.answers, stage.clock(), teller, waiting);
        let command = self.command(at, waiting);
        let Some(machine) = stage.machine(node) else { return };
        if let Some(command) = command {
            let sessions = self.habits.sessions;
            machine.propose(&command, move |result| {
                answer(match result {
                    Ok(reply) if sessions => said(&reply),
                    Ok(reply) => Reply::Written(index_in(&reply)),
                    Err(error) => Reply::Refused(error),
                });
            });
        } else if let Some(page) = pages.get(&node) {
            let page = Arc::clone(page);
            let find = move || {
                let page = lock(&page);
                Reply::Found(page.last, page.values.get(&key).copied())
            };
            if self.habits.local_reads && machine.is_leader() {
                return answer(find());
            }
            machine.read(move |result| {
                answer(match result {
                    Ok(()) => find(),
                    Err(error) => Reply::Refused(error),
                });
            });
        }
        stage.round_soon(node);
    }

    /// The bytes that are proposed; none for a read.
    fn command(&self, at: usize, waiting: Waiting) -> Option<Bytes> {
        let Client { session, serial, .. } = self.clients[at];
        let data = match waiting.task {
            Task::Read => return None,
            Task::Open => return Some(Request::Open.encode()),
            Task::Write { value, padding } => book::encode(waiting.key, value, padding),
        };
        let Some(client) = session.filter(|_| self.habits.sessions) else { return Some(data) };
        let request = match self.habits.plain_retries {
            true => Request::Plain(data),
            false => Request::Command { client, serial, answered_below: serial, data },
        };
        Some(request.encode())
    }

    fn look(
        &mut self,
        at: usize,
        waiting: Waiting,
        stage: &mut Stage,
        pages: &BTreeMap<NodeId, Arc<Mutex<Page>>>,
    ) {
        let reply = lock(&self.answers).replies.remove(&waiting.number);
        let Some((returned, reply)) = reply else {
            if stage.now() - waiting.sent > self.habits.patience {
                self.clients[at].node = other(stage);
                self.try_again(at, waiting, stage, pages);
            }
            return;
        };
        let Waiting { called, key, .. } = waiting;
        match reply {
            Reply::Opened(client) => {
                self.clients[at].session = Some(client);
                self.clients[at].waiting = None;
            }
            Reply::Written(index) => {
                self.clients[at].waiting = None;
                let Task::Write { value, .. } = waiting.task else { return };
                self.acked.insert(index, value);
                self.record(at, called, Some(returned), Op::Write { key, value });
            }
            Reply::Found(last, found) => {
                self.clients[at].waiting = None;
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
            Reply::Forgotten => self.give_up(at, waiting),
            Reply::Refused(ProposeError::NotLeader { leader }) => {
                let random = other(stage);
                let known = leader.filter(|_| !stage.rng.next_u64().is_multiple_of(4));
                self.clients[at].node = known.unwrap_or(random);
                self.refused(at, waiting);
            }
            Reply::Refused(ProposeError::Unknown | ProposeError::Stopped) => {
                self.clients[at].node = other(stage);
                self.try_again(at, waiting, stage, pages);
            }
            Reply::Refused(ProposeError::Busy | ProposeError::TooLarge) => {
                self.refused(at, waiting);
            }
        }
    }

    /// Nothing happened this time; what was sent before may still happen.
    fn refused(&mut self, at: usize, waiting: Waiting) {
        self.clients[at].waiting = None;
        if waiting.again > 0 {
            // Looked at again at once, since its time is over.
            self.clients[at].waiting = Some(Waiting { sent: 0, ..waiting });
        }
    }

    /// A command of a session is sent again, any other given up.
    fn try_again(
        &mut self,
        at: usize,
        waiting: Waiting,
        stage: &mut Stage,
        pages: &BTreeMap<NodeId, Arc<Mutex<Page>>>,
    ) {
        let again = self.habits.sessions && matches!(waiting.task, Task::Write { .. });
        if !again || waiting.again >= AGAIN_MAX {
            return self.give_up(at, waiting);
        }
        self.again += 1;
        let waiting = Waiting { sent: stage.now(), again: waiting.again + 1, ..waiting };
        self.clients[at].waiting = Some(waiting);
        self.send(at, waiting, stage, pages);
    }

    fn give_up(&mut self, at: usize, waiting: Waiting) {
        self.clients[at].waiting = None;
        if let Waiting { called, key, task: Task::Write { value, .. }, .. } = waiting {
            // Its next command is of another session: nothing is said of this one any more.
            self.clients[at].session = None;
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

/// An operation, for the trace.
fn op(key: u8, task: Task) -> Text {
    match task {
        Task::Open => "open a session".into(),
        Task::Write { value, .. } => format!("set {key} {value}").into(),
        Task::Read => format!("get {key}").into(),
    }
}

fn key(rng: &mut Rng, keys: u64) -> u8 {
    u8::try_from(rng.next_u64() % keys.max(1)).unwrap_or(u8::MAX)
}

fn other(stage: &mut Stage) -> NodeId {
    let ids = stage.ids();
    ids[stage.rng.below(ids.len())]
}

/// Notes an answer and its time; a second one to the same command must be the same.
fn answering(
    answers: &Answers,
    clock: Arc<AtomicU64>,
    (tracer, client): (Tracer, u64),
    waiting: Waiting,
) -> impl FnOnce(Reply) + Send + 'static + use<> {
    let answers = Arc::clone(answers);
    move |reply| {
        let now = clock.load(Ordering::Relaxed);
        let mut told = lock(&answers);
        if let (Reply::Written(index), Task::Write { value, .. }) = (reply, waiting.task) {
            let first = *told.places.entry(value).or_insert(index);
            if first != index {
                let what = format!("value {value} was written at {first}, now it is {index}");
                told.breach = breach::<()>(13, what).err();
            }
        }
        // The first that says what happened counts.
        let known = told.replies.get(&waiting.number);
        if known.is_none_or(|(_, known)| matches!(known, Reply::Refused(_))) {
            tracer.note(0, || reply.told(client, waiting.number));
            told.replies.insert(waiting.number, (now, reply));
        }
    }
}

/// What an answer of a session means to a client.
fn said(reply: &Bytes) -> Reply {
    match Answer::decode(reply) {
        Ok(Answer::Reply(reply)) => Reply::Written(index_in(&reply)),
        Ok(Answer::Opened { client }) => Reply::Opened(client),
        _ => Reply::Forgotten,
    }
}

fn index_in(reply: &[u8]) -> Index {
    reply.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
