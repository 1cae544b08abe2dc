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
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    connection, limits::WRITES_KIB_MAX, members::Members, replica::Replica, resp::Reply,
    store::View,
};

/// What all connections of a node share.
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) view: View,
    pub(crate) members: Members,
    pub(crate) started: Instant,
    pub(crate) clients_max: usize,
    clients: Arc<Semaphore>,
    /// Room for writes, in KiB.
    pub(crate) gate: Arc<Semaphore>,
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
        let clients_max = clients_max.min(Semaphore::MAX_PERMITS);
        let clients = Arc::new(Semaphore::new(clients_max));
        let started = Instant::now();
        let gate = Arc::new(Semaphore::new(WRITES_KIB_MAX as usize));
        let shared = Shared { id, replica, view, members, started, clients_max, clients, gate };
        Self { shared: Arc::new(shared) }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
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
