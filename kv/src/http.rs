//! The HTTP port: for monitoring and for people, never for data.
//!
//! | path | answer |
//! |---|---|
//! | `/status` | how the node stands, as JSON |
//! | `/metrics` | counters and timings for Prometheus ([`crate::meters`]) |
//! | `/healthz` | 200 while the node serves, knows a leader, and gets on, else 503 with the reason |
//!
//! The layer above is the program; beside it is [`crate::server`]. Reads only what the node says of
//! itself without asking its threads, so it answers while the log hangs. Bounded: so many
//! connections, so many bytes of headers, so long for them; a body is not read. One connection too
//! many ends the oldest: connections that are opened and do nothing cannot keep monitoring out.

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::{
    info,
    meters::Scrape,
    replica::Role,
    server::{Server, Shared},
};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 << 10;
/// How long a client may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// A node's thread that has not come round for so long hangs, most likely in a call to its disk. It
/// comes round with each tick, which is at most a second.
const SILENT_MAX: Duration = Duration::from_secs(3);
/// How often recorded timings are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves monitoring for `server` for as long as it is polled.
///
/// # Errors
/// Only what makes the listener useless for good.
pub async fn run(server: &Server, listener: TcpListener, scrape: Scrape) -> io::Result<()> {
    let shared = server.shared();
    let mut upkeep = tokio::time::interval(UPKEEP);
    // In the order in which they came.
    let mut talks = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            _ = upkeep.tick() => {
                scrape.upkeep();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            // The client went away already, or this process has too many files open: both pass.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (shared, scrape) = (Arc::clone(&shared), scrape.clone());
        make_room(&mut talks);
        let talk = tokio::spawn(async move {
            let talk = converse(socket, shared, scrape);
            // An error on one connection concerns nobody else, and so does its end.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, talk).await;
        });
        talks.push_back(talk.abort_handle());
    }
}

/// Leaves room for one more connection.
fn make_room(talks: &mut VecDeque<AbortHandle>) {
    if talks.len() < CONNECTIONS_MAX {
        return;
    }
    talks.retain(|talk| !talk.is_finished());
    while talks.len() >= CONNECTIONS_MAX
        && let Some(oldest) = talks.pop_front()
    {
        oldest.abort();
    }
}

async fn converse(
    socket: TcpStream,
    shared: Arc<Shared>,
    scrape: Scrape,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &shared, &scrape);
        async { Ok::<_, Infallible>(response) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .await
}

fn answer(method: &Method, path: &str, shared: &Shared, scrape: &Scrape) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if method != Method::GET && method != Method::HEAD {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match path {
        "/status" => response(StatusCode::OK, "application/json", status(shared)),
        "/metrics" => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            response(StatusCode::OK, kind, scrape.text(shared))
        }
        "/healthz" => match illness(shared) {
            None => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
            Some(why) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        _ => {
            let text = "there are /status, /metrics and /healthz\n".to_owned();
            response(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn response(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Why this node should get no clients, if so.
fn illness(shared: &Shared) -> Option<&'static str> {
    if shared.is_stopping() {
        return Some("the node is stopping");
    }
    let health = shared.replica.health();
    if health.disk_hangs {
        return Some("the disk has not answered a sync for too long");
    }
    if health.silent > SILENT_MAX {
        return Some("the node's thread does not get on: its disk or its processor hangs");
    }
    // A leader that does not hear from a majority gives up, and then nobody is known to lead.
    shared.replica.status().leader.is_none().then_some("no leader is known: there is no majority")
}

/// `/status`. Names are API.
fn status(shared: &Shared) -> String {
    let status = shared.replica.status();
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
    };
    let (keys, bytes) = {
        let keyspace = shared.view.read();
        (keyspace.len(), keyspace.bytes())
    };
    let members: Vec<_> = shared
        .members()
        .iter()
        .map(|(id, member)| {
            json!({
                "id": id,
                "client": member.client().to_string(),
                "raft": member.raft().to_string(),
            })
        })
        .collect();
    let health = shared.replica.health();
    let mut text = json!({
        "id": status.id,
        "version": info::VERSION,
        "role": role,
        "term": status.term,
        "leader": status.leader,
        "commit": status.commit,
        "applied": status.applied,
        "log": {
            "first": status.first,
            "last": status.last,
            "incarnation": status.incarnation,
            "snapshot": status.snapshot,
        },
        "keys": keys,
        "bytes": bytes,
        "clients": shared.connected(),
        "stopping": shared.is_stopping(),
        "healthy": illness(shared).is_none(),
        "disk_hangs": health.disk_hangs,
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "members": members,
    })
    .to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
