//! Network: a request and its response are a line of JSON each; one connection to each peer.

use std::{io, net::SocketAddr, time::Duration};

use hardlog::SnapshotReader;
use openraft::{
    BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
    type_config::alias::{SnapshotMetaOf, SnapshotOf, VoteOf},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::store::{C, Set};

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<C>),
    Vote(VoteRequest<C>),
    /// The whole snapshot: fine while it is small.
    Snapshot(VoteOf<C>, SnapshotMetaOf<C>, Vec<u8>),
    Set(Set),
    Get(String),
}

pub(crate) struct Network;

/// A connection to a node, made when it is needed.
pub(crate) struct Peer {
    addr: String,
    connection: Option<BufStream<TcpStream>>,
}

impl RaftNetworkFactory<C> for Network {
    type Network = Peer;

    async fn new_client(&mut self, _: u64, node: &BasicNode) -> Peer {
        Peer { addr: node.addr.clone(), connection: None }
    }
}

impl Peer {
    async fn call<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, Unreachable<C>> {
        self.ask(&request).await.map_err(|e| Unreachable::new(&e))
    }

    async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> io::Result<T> {
        // Taken out, so that a connection on which something failed is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufStream::new(TcpStream::connect(&self.addr).await?),
        };
        send(&mut connection, request).await?;
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        self.connection = Some(connection);
        serde_json::from_str::<Result<T, String>>(&line)?.map_err(io::Error::other)
    }
}

/// Sends a message as a line.
pub(crate) async fn send(to: &mut BufStream<TcpStream>, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

/// Asks one node after the other until the leader answers, for some ten seconds.
pub(crate) async fn ask<T: DeserializeOwned>(
    addrs: &[SocketAddr],
    request: Request,
) -> io::Result<T> {
    let mut last = io::Error::other("no nodes");
    for _ in 0..200 {
        for addr in addrs {
            let mut peer = Peer { addr: addr.to_string(), connection: None };
            // A leader without a majority does not answer.
            match timeout(Duration::from_secs(3), peer.ask(&request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(e)) => last = e,
                Err(e) => last = e.into(),
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(last)
}

impl RaftNetworkV2<C> for Peer {
    type SnapshotData = SnapshotReader;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<C>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        Ok(self.call(Request::Append(request)).await?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<C>,
        _: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        Ok(self.call(Request::Vote(request)).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        mut snapshot: SnapshotOf<C, SnapshotReader>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let mut bytes = Vec::new();
        let read = io::Read::read_to_end(&mut snapshot.snapshot, &mut bytes);
        read.map_err(|e| Unreachable::new(&e))?;
        Ok(self.call(Request::Snapshot(vote, snapshot.meta, bytes)).await?)
    }
}
