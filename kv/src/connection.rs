//! One client's socket: moves bytes between it and its [`Exchange`].
//!
//! The layer above is [`crate::server`], which accepted it. One task reads, waits for the replica
//! and writes, whichever can go on: a client that sends a long pipeline before it reads any reply
//! neither blocks itself nor the server, up to the limits of the exchange.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::unbounded_channel,
};

use crate::{exchange::Exchange, server::Shared};

/// Serves a client until it leaves, breaks the protocol or says QUIT.
pub(crate) async fn serve(shared: Arc<Shared>, id: i64, mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut from, mut to) = socket.split();
    // Bounded by the exchange: one event for each request under way.
    let (sender, mut events) = unbounded_channel();
    let mut stop = shared.watch_stop();
    let mut exchange = Exchange::new(shared, id, sender);
    let mut batch = Vec::new();
    loop {
        exchange.advance();
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
                exchange.ended = read? == 0;
            }
            written = to.write_buf(&mut exchange.output), if !exchange.output.is_empty() => {
                if written? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
        }
    }
}
