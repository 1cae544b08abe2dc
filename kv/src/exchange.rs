//! One client's conversation, without its socket: received bytes become requests, requests become
//! replies in order.
//!
//! The layer above is [`crate::connection`], which moves the bytes; below are the decoder, the
//! [`Pipeline`] of replies and the [`Replica`](crate::replica::Replica). One task owns an
//! exchange, so nothing in it is shared: callbacks of the replica only send it an [`Event`].
//!
//! ```text
//! input ─▶ Decoder ─▶ Command ─▶ propose / read ┄┄ Event ┄┄▶ Pipeline ─▶ output
//! ```
//!
//! INVARIANT: memory is bounded: no more is decoded while there are too many unanswered requests,
//! too many bytes in them, or too much output that the client does not take; and a write begins
//! only with a permit of the gate that all connections share. Every request begun gets exactly one
//! reply: a callback that is dropped uncalled answers that nothing is known.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use hardlog_raft::sessions::{Answer as SessionAnswer, Request};
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender};

use crate::{
    command::{self, Command, Local},
    limits::{OUTPUT_MAX, PIPELINE_MAX, UNDER_WAY_BYTES_MAX, UNDER_WAY_MAX},
    meters::Pending,
    outcome::Outcome,
    pipeline::{Pipeline, Ticket},
    query::Query,
    raft_info,
    replica::{Kind, Order, OrderRefusal, Proposal, Refusal, Role},
    resp::{Decoder, Reply},
    server::Shared,
    session::Session,
    transaction::Transaction,
};

/// A request that is ready to begin.
#[derive(Debug)]
enum Task {
    /// A log entry to propose.
    Write {
        entry: Bytes,
        slot: u16,
    },
    Read {
        query: Query,
        slot: u16,
    },
    Local(Local),
    Order(Order),
}

/// A read that waits for the replica's permission.
#[derive(Debug)]
pub(crate) struct Asked {
    ticket: Ticket,
    query: Query,
    slot: u16,
    since: Instant,
}

/// What the replica's callbacks tell the connection.
#[derive(Debug)]
pub(crate) enum Event {
    Written { ticket: Ticket, slot: u16, since: Instant, result: Result<Bytes, Refusal> },
    Ordered { ticket: Ticket, result: Result<u64, OrderRefusal> },
    Readable { asked: Vec<Asked>, result: Result<(), Refusal> },
}

/// An event on its way; sent when this is dropped, whether or not the callback was called.
struct Answer {
    events: UnboundedSender<Event>,
    event: Option<Event>,
    /// Let go with the answer.
    _under_way: Option<(OwnedSemaphorePermit, Pending)>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            // The connection may be gone; then nobody waits for this.
            let _ = self.events.send(event);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    session: Session,
    decoder: Decoder,
    /// Received and not yet decoded.
    pub(crate) input: BytesMut,
    /// Encoded and not yet sent.
    pub(crate) output: BytesMut,
    /// No more input will come.
    pub(crate) ended: bool,
    pipeline: Pipeline,
    /// Reads begun since the replica was last asked.
    run: Vec<Asked>,
    /// Writes begun and not yet proposed: they go to the replica together.
    writes: Vec<Proposal>,
    /// What is gathered since MULTI.
    transaction: Option<Transaction>,
    /// A request that must wait until what is under way is answered.
    held: Option<Task>,
    /// Permits that the held command waits for, 0 if it waits for something else.
    permits_wanted: u32,
    /// Permits that were waited for.
    permit: Option<OwnedSemaphorePermit>,
    events: UnboundedSender<Event>,
}

impl Exchange {
    pub(crate) fn new(shared: Arc<Shared>, id: i64, events: UnboundedSender<Event>) -> Self {
        Self {
            shared,
            session: Session::new(id),
            decoder: Decoder::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            ended: false,
            pipeline: Pipeline::new(),
            run: Vec::new(),
            writes: Vec::new(),
            transaction: None,
            held: None,
            permits_wanted: 0,
            permit: None,
            events,
        }
    }

    /// Gets as far as possible without waiting: requests begun, replies encoded.
    pub(crate) fn advance(&mut self) {
        self.encode();
        while self.has_room()
            && let Some(task) = self.next()
        {
            self.held = self.begin(task);
            if self.held.is_some() {
                break;
            }
        }
        self.propose();
        self.ask();
        self.encode();
    }

    /// Takes in what the replica said.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Written { ticket, slot, since, result } => {
                self.shared.meters.answered(Kind::Write, since.elapsed(), result.is_ok());
                let reply = match result {
                    Ok(answer) => outcome_reply(&answer),
                    Err(refusal) => self.refuse(refusal, Kind::Write, slot),
                };
                self.pipeline.fill(ticket, reply);
            }
            Event::Ordered { ticket, result } => {
                let reply = raft_info::ordered(result, |why| self.refuse(why, Kind::Write, 0));
                self.pipeline.fill(ticket, reply);
            }
            Event::Readable { asked, result } => self.read(asked, result),
        }
    }

    /// Whether more input should be read from the client.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && !self.session.quit && self.held.is_none() && self.has_room()
    }

    /// Makes room for input, and only as much as the limits allow.
    pub(crate) fn reserve_input(&mut self) {
        self.input.reserve(self.decoder.wanted(self.input.len()));
    }

    /// Begins nothing more: what is under way is answered, and then all is said.
    pub(crate) fn stop(&mut self) {
        self.session.quit = true;
    }

    /// Whether nothing more is begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.session.quit
    }

    /// Whether an event is to come.
    pub(crate) fn awaits_event(&self) -> bool {
        self.pipeline.waiting() > 0
    }

    #[cfg(test)]
    pub(crate) fn gate(&self) -> Arc<tokio::sync::Semaphore> {
        Arc::clone(&self.shared.gate)
    }

    /// Whether a command is held that needs permits.
    pub(crate) fn awaits_permit(&self) -> bool {
        self.permits_wanted > 0
    }

    /// Waits for the permits of the held command. Given up, it has only lost its place in the row.
    pub(crate) fn permit(&self) -> impl Future<Output = Option<OwnedSemaphorePermit>> + use<> {
        let acquiring = Arc::clone(&self.shared.gate).acquire_many_owned(self.permits_wanted);
        async { acquiring.await.ok() }
    }

    /// Takes in the permits.
    pub(crate) fn take_permit(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.permits_wanted = 0;
        self.permit = permit;
    }

    /// Whether everything is said; looked at after [`Exchange::advance`].
    pub(crate) fn is_over(&self) -> bool {
        let closing = self.ended || self.session.quit;
        let owes = self.pipeline.len() > 0 || self.held.is_some() || !self.output.is_empty();
        closing && !owes
    }

    fn has_room(&self) -> bool {
        self.pipeline.len() < PIPELINE_MAX
            && self.pipeline.waiting() < UNDER_WAY_MAX
            && self.pipeline.bytes() < UNDER_WAY_BYTES_MAX
            && self.output.len() < OUTPUT_MAX
    }

    /// The next request that is to begin; those that can be answered at once are.
    fn next(&mut self) -> Option<Task> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        while !self.session.quit {
            match self.decoder.decode(&mut self.input) {
                Ok(request) => {
                    if let Some(task) = self.understand(request?) {
                        return Some(task);
                    }
                }
                Err(malformed) => {
                    // What was asked before is still answered; what follows has no meaning.
                    self.pipeline.push(Reply::error(format!("ERR {malformed}")));
                    self.session.quit = true;
                }
            }
        }
        None
    }

    /// What a request is to begin, if it does not belong to a transaction or has a reply already.
    fn understand(&mut self, request: Vec<Bytes>) -> Option<Task> {
        let command = match (Command::parse(request), &mut self.transaction) {
            (Ok(command), _) => command,
            (Err(refused), transaction) => {
                if let Some(transaction) = transaction {
                    transaction.refused();
                }
                self.pipeline.push(refused);
                return None;
            }
        };
        let reply = match (command, &mut self.transaction) {
            (Command::Exec, transaction @ Some(_)) => {
                match transaction.take().unwrap_or_default().finish() {
                    Ok((entry, slot)) => return Some(plain(entry, slot)),
                    Err(reply) => reply,
                }
            }
            (Command::Discard, transaction @ Some(_)) => {
                *transaction = None;
                Reply::OK
            }
            (Command::Local(Local::Quit), _) => return Some(Task::Local(Local::Quit)),
            (command, Some(transaction)) => match elsewhere(&command, &self.shared) {
                Some(elsewhere) => {
                    transaction.refused();
                    elsewhere
                }
                None => transaction.gather(command),
            },
            (Command::Multi, transaction) => {
                *transaction = Some(Transaction::default());
                Reply::OK
            }
            (Command::Exec, None) => Reply::error("ERR EXEC without MULTI"),
            (Command::Discard, None) => Reply::error("ERR DISCARD without MULTI"),
            (Command::Write { op, slot }, None) => return Some(plain(op.encode(), slot)),
            (Command::Session(session), None) => return Some(within(session)),
            (Command::Order(order), None) => return Some(Task::Order(order)),
            (Command::Read { query, slot }, None) => {
                return Some(Task::Read { query: query.detached(), slot });
            }
            (Command::Local(local), None) => return Some(Task::Local(local)),
        };
        self.pipeline.push(reply);
        None
    }

    /// Begins a request, or hands it back if it must wait for those under way.
    fn begin(&mut self, task: Task) -> Option<Task> {
        let may_begin = match &task {
            Task::Write { .. } | Task::Order(_) => self.pipeline.admits(Kind::Write),
            Task::Read { .. } => self.pipeline.admits(Kind::Read),
            // They change how replies are written, or how reads are answered.
            Task::Local(Local::Hello(_) | Local::ReadOnly(_)) => {
                self.encode();
                self.pipeline.len() == 0
            }
            Task::Local(_) => true,
        };
        if !may_begin {
            return Some(task);
        }
        match task {
            Task::Write { entry, slot } => return self.begin_write(entry, slot),
            Task::Read { query, slot } => {
                let ticket = self.pipeline.begin(Kind::Read, query.request_len());
                self.run.push(Asked { ticket, query, slot, since: Instant::now() });
            }
            Task::Order(order) => self.begin_order(order),
            Task::Local(local) => {
                let reply = self.session.answer(local, &self.shared);
                self.pipeline.push(reply);
            }
        }
        None
    }

    /// Begins a write, or hands it back if it must wait for those of other connections.
    fn begin_write(&mut self, entry: Bytes, slot: u16) -> Option<Task> {
        let permits = u32::try_from(entry.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let permits = permits.min(self.shared.gate_kib);
        let permit = self.permit.take();
        let permit =
            permit.or_else(|| Arc::clone(&self.shared.gate).try_acquire_many_owned(permits).ok());
        let Some(permit) = permit else {
            self.permits_wanted = permits;
            return Some(Task::Write { entry, slot });
        };
        self.permits_wanted = 0;
        let ticket = self.pipeline.begin(Kind::Write, entry.len());
        let result = Err(Refusal::Unknown);
        let since = Instant::now();
        let under_way = Some((permit, self.shared.meters.proposed()));
        let mut answer = self.answer(Event::Written { ticket, slot, since, result }, under_way);
        let done = Box::new(move |outcome| {
            if let Some(Event::Written { result, .. }) = &mut answer.event {
                *result = outcome;
            }
        });
        self.writes.push(Proposal { entry, done });
        None
    }

    /// Begins an order, after the writes before it.
    fn begin_order(&mut self, order: Order) {
        self.propose();
        let ticket = self.pipeline.begin(Kind::Write, 0);
        let result = Err(OrderRefusal::Refused(Refusal::Unknown));
        let mut answer = self.answer(Event::Ordered { ticket, result }, None);
        let done = move |done| {
            if let Some(Event::Ordered { result, .. }) = &mut answer.event {
                *result = done;
            }
        };
        self.shared.replica.order(order, Box::new(done));
    }

    /// Hands the replica all writes of a run at once: one batch of the log, one sync.
    fn propose(&mut self) {
        if !self.writes.is_empty() {
            self.shared.replica.propose(std::mem::take(&mut self.writes));
        }
    }

    /// Asks the replica once for all reads of a run.
    fn ask(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let asked = std::mem::take(&mut self.run);
        let mut answer =
            self.answer(Event::Readable { asked, result: Err(Refusal::Unknown) }, None);
        self.shared.replica.read(Box::new(move |permission| {
            if let Some(Event::Readable { result, .. }) = &mut answer.event {
                *result = permission;
            }
        }));
    }

    /// Answers reads. Permission once given holds for later too: the store only moves forward.
    fn read(&mut self, asked: Vec<Asked>, result: Result<(), Refusal>) {
        let stale = self.session.read_only && matches!(result, Err(Refusal::NotLeader { .. }));
        for Asked { ticket, query, slot, since } in asked {
            self.shared.meters.answered(Kind::Read, since.elapsed(), result.is_ok() || stale);
            let reply = match result {
                Err(refusal) if !stale => self.refuse(refusal, Kind::Read, slot),
                _ => self.shared.view.read().answer(&query).reply(),
            };
            self.pipeline.fill(ticket, reply);
        }
    }

    fn refuse(&self, refusal: Refusal, kind: Kind, slot: u16) -> Reply {
        refusal.reply(kind, slot, self.shared.id, &self.shared.members())
    }

    fn answer(&self, event: Event, under_way: Option<(OwnedSemaphorePermit, Pending)>) -> Answer {
        Answer { events: self.events.clone(), event: Some(event), _under_way: under_way }
    }

    /// Moves replies that are there to the output, while there is room.
    fn encode(&mut self) {
        while self.output.len() < OUTPUT_MAX
            && let Some(reply) = self.pipeline.pop()
        {
            reply.encode(self.session.protocol, &mut self.output);
        }
    }
}

/// Where a command of a transaction belongs, if not here: said at once, so that a client which
/// follows the leader does so before EXEC.
fn elsewhere(command: &Command, shared: &Shared) -> Option<Reply> {
    let (Command::Write { slot, .. } | Command::Read { slot, .. }) = command else { return None };
    let status = shared.replica.status();
    let refusal = Refusal::NotLeader { leader: status.leader };
    let leads = status.role == Role::Leader;
    (!leads).then(|| refusal.reply(Kind::Write, *slot, shared.id, &shared.members()))
}

/// A write outside of any session.
fn plain(op: Bytes, slot: u16) -> Task {
    Task::Write { entry: Request::Plain(op).encode(), slot }
}

fn within(session: command::Session) -> Task {
    let (request, slot) = match session {
        command::Session::Open => (Request::Open, 0),
        command::Session::Close { client } => (Request::Close { client }, 0),
        command::Session::Write { client, serial, op, slot } => {
            // What is remembered is bounded by number: a client need not say what it has heard.
            let answered_below = 0;
            (Request::Command { client, serial, answered_below, data: op.encode() }, slot)
        }
    };
    Task::Write { entry: request.encode(), slot }
}

fn outcome_reply(answer: &Bytes) -> Reply {
    let outcome = match SessionAnswer::decode(answer) {
        Ok(SessionAnswer::Reply(outcome)) => Outcome::decode(outcome),
        Ok(SessionAnswer::Opened { client }) => {
            return Reply::Integer(i64::try_from(client).unwrap_or(i64::MAX));
        }
        Ok(SessionAnswer::Closed) => return Reply::OK,
        Ok(SessionAnswer::NoSession) => {
            return Reply::error("NOSESSION this session is not known; nothing was done now");
        }
        Ok(SessionAnswer::Stale) => {
            return Reply::error(
                "STALE this serial is older than what is remembered; nothing was done now",
            );
        }
        Ok(SessionAnswer::NotKept) => {
            return Reply::error("NOTKEPT it was done before; its reply was too long to be kept");
        }
        Ok(SessionAnswer::Malformed) | Err(_) => Ok(Outcome::Unreadable),
    };
    match outcome {
        Ok(outcome) => outcome.reply(),
        Err(error) => Reply::error(format!("ERR the outcome of the write {error}")),
    }
}

#[cfg(test)]
mod tests;
