//! What a node says of itself over HTTP.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::harness::{PATIENCE, TestCluster};

pub(crate) fn http_address(cluster: &TestCluster, id: u64) -> SocketAddr {
    cluster.nodes.http_address(id).unwrap()
}

/// Code and body of a request.
pub(crate) fn get(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of a metric, labels included in its name.
pub(crate) fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let (code, text) = get(address, "GET", "/metrics");
    assert_eq!(code, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// What a node says of its health.
pub(crate) fn healthz(cluster: &TestCluster, id: u64) -> (u16, String) {
    get(http_address(cluster, id), "GET", "/healthz")
}
