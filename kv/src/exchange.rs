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
//! too many bytes in them, or too much output that the client does not take; what a connection holds
//! beyond a little needs a share of the room that all share; and a write begins only with a permit
//! of the gate that all connections share. Every request begun gets exactly one reply: a callback
//! that is dropped uncalled answers that nothing is known.

mod entry;
mod event;

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender};

pub(crate) use self::event::Event;
use self::{
    entry::{elsewhere, full, may_add, outcome_reply, plain, within},
    event::{Answer, Asked, Task},
};
use crate::{
    command::{self, Command, Local},
    limits::{
        CLIENT_FREE, OUTPUT_MAX, PIPELINE_MAX, SMALL_REPLY_MAX, UNDER_WAY_BYTES_MAX, UNDER_WAY_MAX,
    },
    meters::Pending,
    pipeline::{Next, Pipeline, Question},
    raft_info,
    replica::{Kind, Order, OrderRefusal, Proposal, Refusal},
    resp::{Decoder, Reply},
    room::Share,
    server::Shared,
    session::Session,
    transaction::{Transaction, Watched},
};

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
    /// What the next transaction is to find.
    watched: Watched,
    /// What this connection holds of the memory for clients.
    share: Share,
    /// Whether a buffer grew beyond what a connection may keep without using it.
    grew: bool,
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
            share: Share::of(&shared.room),
            grew: false,
            watched: Watched::default(),
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

    /// Begins what can begin, without handing it over: more of a pipeline may be there already.
    pub(crate) fn begin_all(&mut self) {
        self.encode();
        while self.has_room()
            && let Some(task) = self.next()
        {
            self.held = self.begin(task);
            if self.held.is_some() {
                break;
            }
        }
        self.account();
    }

    /// Hands the replica what was begun.
    pub(crate) fn hand_over(&mut self) {
        self.propose();
        self.ask();
        self.encode();
    }

    /// Both: gets as far as possible without waiting.
    #[cfg(test)]
    pub(crate) fn advance(&mut self) {
        self.begin_all();
        self.hand_over();
    }

    /// Takes in what the replica said.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Written { ticket, slot, since, result, share } => {
                self.shared.meters.answered(Kind::Write, since.elapsed(), result.is_ok());
                let reply = match result {
                    Ok(answer) => outcome_reply(&answer),
                    Err(refusal) => self.refuse(refusal, Kind::Write, slot),
                };
                self.pipeline.fill(ticket, reply);
                // From here on it counts as this connection's.
                drop(share);
                self.account();
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
        // A connection that is idle must not keep the buffers of its longest request and reply.
        if self.grew && self.input.is_empty() && self.output.is_empty() {
            (self.input, self.output, self.grew) = (BytesMut::new(), BytesMut::new(), false);
        }
        self.input.reserve(self.decoder.wanted(self.input.len()));
    }

    /// Whether the client has to move: to take what it is sent, or to send the rest of a long request.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.output.is_empty() || (self.wants_input() && self.input.len() > SMALL_REPLY_MAX)
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
            && self.pipeline.ready() + self.output.len() < OUTPUT_MAX
    }

    /// Bytes that this connection makes the server hold.
    fn holdings(&self) -> usize {
        let begun = self.pipeline.bytes() + self.pipeline.ready();
        let gathered = self.transaction.as_ref().map_or(0, Transaction::held) + self.watched.held();
        let waiting = self.held.as_ref().map_or(0, Task::held);
        let buffers = self.input.len() + self.decoder.held() + self.output.len();
        begun + gathered + waiting + buffers
    }

    /// Takes a share of the memory for clients that fits what this one holds. If there is none the
    /// connection is given up: what was begun is answered, and what is held beyond it goes.
    fn account(&mut self) {
        let holdings = self.holdings();
        self.grew |= holdings > CLIENT_FREE;
        if self.share.resize(holdings.saturating_sub(CLIENT_FREE)) || self.session.quit {
            return;
        }
        (self.input, self.decoder) = (BytesMut::new(), Decoder::new());
        (self.held, self.transaction, self.watched) = (None, None, Watched::default());
        (self.permits_wanted, self.permit) = (0, None);
        let why = "OOM clients hold all the memory that they may; nothing was done";
        self.pipeline.push(Reply::error(why));
        self.session.quit = true;
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
                return Some(Task::Exec(transaction.take().unwrap_or_default()));
            }
            (Command::Discard, transaction @ Some(_)) => {
                *transaction = None;
                return Some(Task::Unwatch);
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
            (
                Command::Write { op, .. } | Command::Session(command::Session::Write { op, .. }),
                None,
            ) if may_add(&op) && self.shared.is_full() => full(),
            (Command::Write { op, slot }, None) => return Some(plain(op.encode(), slot)),
            (Command::Session(session), None) => return Some(within(session)),
            (Command::Unwatch, None) => return Some(Task::Unwatch),
            (Command::Watch { keys, slot }, None) => {
                return Some(Task::Read { question: Question::Watch(keys), slot });
            }
            (Command::Order(order), None) => return Some(Task::Order(order)),
            (Command::Read { query, slot }, None) => {
                let question = Question::Query(query.detached());
                return Some(Task::Read { question, slot });
            }
            (Command::Local(local), None) => return Some(Task::Local(local)),
        };
        self.pipeline.push(reply);
        None
    }

    /// Begins a request, or hands it back if it must wait for those under way.
    fn begin(&mut self, task: Task) -> Option<Task> {
        let may_begin = match &task {
            // They end what a WATCH before them began, so that must have been answered.
            Task::Exec(_) | Task::Unwatch => self.pipeline.waiting() == 0,
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
            Task::Exec(transaction) => {
                let watched = std::mem::take(&mut self.watched);
                match transaction.finish(watched) {
                    Ok(_) if self.shared.is_full() => self.pipeline.push(full()),
                    Ok((entry, slot)) => return self.begin(plain(entry, slot)),
                    Err(reply) => self.pipeline.push(reply),
                }
            }
            Task::Unwatch => {
                self.watched = Watched::default();
                self.pipeline.push(Reply::OK);
            }
            Task::Read { question, slot } => {
                let ticket = self.pipeline.begin(Kind::Read, question.len());
                self.run.push(Asked { ticket, question, slot, since: Instant::now() });
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
        let event = Event::Written { ticket, slot, since, result, share: None };
        let mut answer = self.answer(event, under_way);
        let room = Arc::clone(&self.shared.room);
        let done = Box::new(move |outcome| answer.written(outcome, &room));
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
            if let Some(Event::Ordered { result, .. }) = answer.event() {
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
            if let Some(Event::Readable { result, .. }) = answer.event() {
                *result = permission;
            }
        }));
    }

    /// Answers reads. Permission once given holds for later too: the store only moves forward.
    fn read(&mut self, asked: Vec<Asked>, result: Result<(), Refusal>) {
        let stale = self.session.read_only && matches!(result, Err(Refusal::NotLeader { .. }));
        for Asked { ticket, question, slot, since } in asked {
            self.shared.meters.answered(Kind::Read, since.elapsed(), result.is_ok() || stale);
            match result {
                Err(refusal) if !stale => {
                    let reply = self.refuse(refusal, Kind::Read, slot);
                    self.pipeline.fill(ticket, reply);
                }
                _ => self.pipeline.permit(ticket, question),
            }
        }
    }

    /// Answers a read that is permitted and whose turn has come.
    fn look(&mut self, question: Question) -> Reply {
        let reply = match question {
            Question::Query(query) => self.shared.view.read().answer(&query).reply(),
            Question::Watch(keys) => {
                let keyspace = self.shared.view.read();
                for key in keys {
                    let value = keyspace.get(&key);
                    self.watched.add(key, value);
                }
                Reply::OK
            }
        };
        let weight = reply.weight();
        let more = (self.holdings() + weight).saturating_sub(CLIENT_FREE);
        if weight > SMALL_REPLY_MAX && !self.share.resize(more) {
            return Reply::error(
                "TRYAGAIN too many replies wait for their readers; nothing was done",
            );
        }
        reply
    }

    fn refuse(&self, refusal: Refusal, kind: Kind, slot: u16) -> Reply {
        refusal.reply(kind, slot, self.shared.id, &self.shared.members())
    }

    fn answer(&self, event: Event, under_way: Option<(OwnedSemaphorePermit, Pending)>) -> Answer {
        Answer::new(&self.events, event, under_way)
    }

    /// Moves replies that are there to the output, while there is room.
    fn encode(&mut self) {
        while self.output.len() < OUTPUT_MAX
            && let Some(next) = self.pipeline.pop()
        {
            let reply = match next {
                Next::Reply(reply) => reply,
                Next::Ask(question) => self.look(question),
            };
            reply.encode(self.session.protocol, &mut self.output);
        }
    }
}

#[cfg(test)]
mod tests;
