//! The listener: accepts clients, bounds their number, and knows what all of them share.
//!
//! The layer above is the program (`serve`); below is one connection per client.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    connection,
    limits::{CLIENT_MEMORY, WRITES_KIB_MAX},
    members::Members,
    meters::Meters,
    replica::Replica,
    resp::Reply,
    room::Room,
    store::View,
};

/// Most clients that can be asked for.
const CLIENTS_MAX: usize = 1 << 20;
/// How often it is looked who leads.
const LEADER_LOOK: Duration = Duration::from_millis(100);

/// How long a client may be stuck, if nobody says otherwise.
pub const STALL_MAX: Duration = Duration::from_secs(60);

/// What clients may make a node hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of requests and replies of all clients, beyond a little that each may have.
    pub client_memory: usize,
    /// How long a client may take nothing of what it is sent, or send no more of a long request.
    pub stall_max: Duration,
    /// Bytes of keys and values beyond which writes that may add to them are refused; `u64::MAX`
    /// for no bound.
    pub data_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { client_memory: CLIENT_MEMORY, stall_max: STALL_MAX, data_max: u64::MAX }
    }
}

/// What all connections of a node share.
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) view: View,
    /// The nodes that this one was started with.
    known: Members,
    pub(crate) started: Instant,
    pub(crate) clients_max: usize,
    clients: Arc<Semaphore>,
    /// Room for writes, in KiB.
    pub(crate) gate: Arc<Semaphore>,
    /// All of that room.
    pub(crate) gate_kib: u32,
    /// What clients may hold of the memory.
    pub(crate) room: Arc<Room>,
    /// How long a client may take nothing of what it is sent, or send no more of a long request.
    pub(crate) stall_max: Duration,
    /// Bytes of keys and values beyond which nothing is added.
    data_max: u64,
    pub(crate) meters: Meters,
    /// True from the moment the node begins to stop.
    stopping: watch::Sender<bool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shared {
    /// How many clients are connected.
    pub(crate) fn connected(&self) -> usize {
        self.clients_max - self.clients.available_permits()
    }

    /// Who belongs to the cluster now.
    pub(crate) fn members(&self) -> Members {
        self.replica.members(&self.known)
    }

    /// Whether the store is full.
    pub(crate) fn is_full(&self) -> bool {
        self.data_max < u64::MAX && self.view.read().bytes() >= self.data_max
    }

    /// Whether the node has begun to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Tells when the node begins to stop.
    pub(crate) fn watch_stop(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// A node's side towards its clients.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// A server of node `id` that answers for `replica`, whose state machine `view` reads.
    /// At most `clients_max` clients are served at once.
    #[must_use]
    pub fn new(
        id: u64,
        replica: Arc<dyn Replica>,
        view: View,
        members: Members,
        clients_max: usize,
    ) -> Self {
        let clients_max = clients_max.min(CLIENTS_MAX);
        let clients = Arc::new(Semaphore::new(clients_max));
        let started = Instant::now();
        let gate = Arc::new(Semaphore::new(WRITES_KIB_MAX as usize));
        let shared = Shared {
            id,
            replica,
            view,
            known: members,
            started,
            clients_max,
            clients,
            gate,
            gate_kib: WRITES_KIB_MAX,
            room: Room::new(CLIENT_MEMORY),
            stall_max: STALL_MAX,
            data_max: u64::MAX,
            meters: Meters::new(),
            stopping: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// With room for other than [`WRITES_KIB_MAX`] of writes under way: as much as the replica
    /// takes at once. Only before anything is served.
    #[must_use]
    pub fn with_write_room(mut self, kib: u32) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.gate = Arc::new(Semaphore::new(kib as usize));
            shared.gate_kib = kib;
        }
        self
    }

    /// With other than the usual bounds. Only before anything is served.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.room = Room::new(bounds.client_memory);
            shared.stall_max = bounds.stall_max;
            shared.data_max = bounds.data_max;
        }
        self
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Ends every connection once it has its answers: nothing new is begun. Returns whether all
    /// ended within `patience`. Call it after [`Server::run`] was given up, so that nobody comes.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.shared.stopping.send_replace(true);
        let all = u32::try_from(self.shared.clients_max).unwrap_or(u32::MAX);
        let gone = self.shared.clients.acquire_many(all);
        tokio::time::timeout(patience, gone).await.is_ok()
    }

    /// Counts changes of the leader for as long as it is polled.
    pub async fn watch_leader(&self) {
        let mut look = tokio::time::interval(LEADER_LOOK);
        let mut last = None;
        loop {
            look.tick().await;
            let status = self.shared.replica.status();
            let now = status.leader.map(|leader| (status.term, leader));
            if now.is_some() && now != last {
                self.shared.meters.leader_changed();
                last = now;
            }
        }
    }

    /// Accepts clients for as long as it is polled; connections go on in tasks of their own.
    ///
    /// # Errors
    /// Only what makes the listener useless for good.
    pub async fn run(&self, listener: TcpListener) -> io::Result<()> {
        let ids = AtomicI64::new(1);
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                // The client went away already, or this process has too many files open: both pass.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let id = ids.fetch_add(1, Ordering::Relaxed);
            match Arc::clone(&self.shared.clients).try_acquire_owned() {
                Ok(permit) => {
                    tokio::spawn(serve(Arc::clone(&self.shared), id, socket, permit));
                }
                Err(_) => refuse(socket),
            }
        }
    }
}

/// An error on one connection concerns nobody else, and there is nobody left to tell.
async fn serve(shared: Arc<Shared>, id: i64, socket: TcpStream, permit: OwnedSemaphorePermit) {
    let _ = connection::serve(shared, id, socket).await;
    drop(permit);
}

fn refuse(mut socket: TcpStream) {
    tokio::spawn(async move {
        let mut text = bytes::BytesMut::new();
        Reply::error("ERR max number of clients reached").encode(Default::default(), &mut text);
        let said = socket.write_all(&text);
        // A client that does not even read this is left alone.
        let _ = tokio::time::timeout(Duration::from_secs(1), said).await;
    });
}

#[cfg(test)]
mod tests;
