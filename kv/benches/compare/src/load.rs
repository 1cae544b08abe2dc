//! Clients that write, each when its last write is answered.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tonic::{client::Grpc, transport::Channel};

use crate::{Failure, nodes::System};

/// Different keys that are written.
const KEYS: u64 = 100_000;

/// What came of a load.
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Writes per second.
    pub(crate) rate: f64,
    /// Seconds.
    pub(crate) p50: f64,
    /// Seconds.
    pub(crate) p99: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Its fields are not needed.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

enum Client {
    Resp(TcpStream),
    Grpc(Grpc<Channel>),
}

impl Client {
    async fn connect(system: System, address: SocketAddr) -> Result<Self, Failure> {
        Ok(match system {
            System::Hardlog => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Self::Resp(socket)
            }
            System::Etcd => {
                let endpoint = Channel::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
                Self::Grpc(Grpc::new(endpoint.connect().await?))
            }
        })
    }

    async fn put(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Resp(socket) => {
                let (keys, values) = (key.len(), value.len());
                let mut request =
                    format!("*3\r\n$3\r\nSET\r\n${keys}\r\n{key}\r\n${values}\r\n").into_bytes();
                request.extend_from_slice(value);
                request.extend_from_slice(b"\r\n");
                socket.write_all(&request).await?;
                let mut reply = [0; 5];
                socket.read_exact(&mut reply).await?;
                if &reply == b"+OK\r\n" { Ok(()) } else { Err("a write was refused".into()) }
            }
            Self::Grpc(grpc) => {
                grpc.ready().await?;
                let put = PutRequest { key: key.as_bytes().to_vec(), value: value.to_vec() };
                let path = http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Put");
                let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
                grpc.unary(tonic::Request::new(put), path, codec).await?;
                Ok(())
            }
        }
    }
}

/// Loads one node for a while.
pub(crate) async fn run(
    system: System,
    address: SocketAddr,
    clients: usize,
    size: usize,
    length: Duration,
) -> Result<Outcome, Failure> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect(system, address).await?);
    }
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (n, mut client) in connected.into_iter().enumerate() {
        tasks.spawn(async move {
            let value = vec![b'v'; size];
            let mut took = Vec::new();
            let mut state = n as u64 + 1;
            while begun.elapsed() < length {
                // A linear congruential step is as random as keys need to be.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let key = format!("key:{:012}", (state >> 33) % KEYS);
                let sent = Instant::now();
                client.put(&key, &value).await?;
                took.push(sent.elapsed().as_secs_f64());
            }
            Ok::<_, Failure>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    Ok(Outcome { seconds, rate: took.len() as f64 / seconds, p50: at(0.5), p99: at(0.99) })
}
