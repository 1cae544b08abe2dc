//! One client's socket: moves bytes between it and its [`Exchange`].
//!
//! The layer above is [`crate::server`], which accepted it. One task reads, waits for the replica
//! and writes, whichever can go on: a client that sends a long pipeline before it reads any reply
//! neither blocks itself nor the server, up to the limits of the exchange.
//!
//! All of a pipeline that has arrived is taken in before anything of it is handed to the replica,
//! so that it becomes one batch of the log and one sync. A client that does not move for long, while
//! it has a reply to take or a request to finish, is let go.

use std::{
    io::{self, ErrorKind},
    pin::pin,
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::ReadHalf},
    sync::mpsc::unbounded_channel,
    time::{Instant, sleep},
};

use crate::{exchange::Exchange, server::Shared};

/// A client that sent so much at once may be about to send more of the same pipeline.
const BURST: usize = 8 << 10;
/// How often it is given the time to.
const YIELDS_MAX: usize = 4;

/// Serves a client until it leaves, breaks the protocol, says QUIT or does not move.
pub(crate) async fn serve(shared: Arc<Shared>, id: i64, mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut from, mut to) = socket.split();
    // Bounded by the exchange: one event for each request under way.
    let (sender, mut events) = unbounded_channel();
    let mut stop = shared.watch_stop();
    let look = shared.stall_max / 2;
    let mut watch = pin!(sleep(look));
    let mut exchange = Exchange::new(shared, id, sender);
    let mut batch = Vec::new();
    // Bytes that moved, and how many had when the client was last seen to be stuck.
    let (mut moved, mut stuck_at) = (0, None);
    let mut burst = 0;
    loop {
        exchange.begin_all();
        if std::mem::take(&mut burst) >= BURST {
            moved += take_in(&mut from, &mut exchange).await?;
        }
        exchange.hand_over();
        if exchange.is_over() {
            return to.shutdown().await;
        }
        let reading = exchange.wants_input();
        if reading {
            exchange.reserve_input();
        }
        tokio::select! {
            _ = stop.wait_for(|stopping| *stopping), if !exchange.is_stopping() => exchange.stop(),
            _ = events.recv_many(&mut batch, 1024), if exchange.awaits_event() => {
                batch.drain(..).for_each(|event| exchange.take(event));
            }
            permit = exchange.permit(), if exchange.awaits_permit() => {
                exchange.take_permit(permit);
            }
            read = from.read_buf(&mut exchange.input), if reading => {
                burst = read?;
                moved += burst as u64;
                exchange.ended = burst == 0;
            }
            written = to.write_buf(&mut exchange.output), if !exchange.output.is_empty() => {
                let written = written?;
                if written == 0 {
                    return Err(ErrorKind::WriteZero.into());
                }
                moved += written as u64;
            }
            () = &mut watch => {
                let stuck = exchange.is_stuck().then_some(moved);
                if stuck.is_some() && stuck == stuck_at {
                    return Err(ErrorKind::TimedOut.into());
                }
                stuck_at = stuck;
                watch.as_mut().reset(Instant::now() + look);
            }
        }
    }
}

/// Takes in and begins what the client has sent already, and what it sends while others get their
/// turn; as much as the limits of the exchange allow. Returns how many bytes that were.
async fn take_in(from: &mut ReadHalf<'_>, exchange: &mut Exchange) -> io::Result<u64> {
    let (mut taken, mut yields) = (0, 0);
    while exchange.wants_input() && yields < YIELDS_MAX {
        exchange.reserve_input();
        match from.try_read_buf(&mut exchange.input) {
            Ok(0) => {
                exchange.ended = true;
                break;
            }
            Ok(read) => {
                taken += read as u64;
                exchange.begin_all();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                yields += 1;
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
