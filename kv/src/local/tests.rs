use std::net::TcpListener;

use super::*;

fn options() -> NodeOptions {
    NodeOptions { program: "hardlog-kv".into(), arguments: vec!["--extra".into()] }
}

#[test]
fn ports_are_kept_between_starts_and_differ() {
    let dir = tempfile::tempdir().unwrap();
    let first = LocalCluster::open(dir.path(), 3, options()).unwrap().members().clone();
    let again = LocalCluster::open(dir.path(), 3, options()).unwrap();
    assert_eq!(again.members(), &first);
    let mut ports: Vec<u16> =
        first.iter().flat_map(|(_, member)| [member.client_port, member.raft_port]).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 6);
}

#[test]
fn a_reserved_port_can_be_listened_on_and_is_given_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = LocalCluster::open(dir.path(), 1, options()).unwrap();
    let address = cluster.addresses()[0];
    drop(TcpListener::bind(address).unwrap());
    drop(TcpListener::bind(address).unwrap());
    // Whoever does not know of the arrangement, as the system when it looks for a free port.
    let stranger = TcpSocket::new_v4().unwrap();
    stranger.set_reuseaddr(false).unwrap();
    let refused = stranger.bind(address).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_port_that_was_taken_meanwhile_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let address = LocalCluster::open(dir.path(), 1, options()).unwrap().addresses()[0];
    let _taken = TcpListener::bind(address).unwrap();
    let cluster = LocalCluster::open(dir.path(), 1, options()).unwrap();
    assert_ne!(cluster.addresses()[0], address);
}

#[test]
fn a_cluster_of_another_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(LocalCluster::open(dir.path(), 3, options()).unwrap());
    let error = LocalCluster::open(dir.path(), 5, options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("3 nodes"), "{error}");
}

#[test]
fn a_node_that_ends_at_once_is_reported_with_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let options = NodeOptions { program: "cat".into(), arguments: Vec::new() };
    let mut cluster = LocalCluster::open(dir.path(), 1, options).unwrap();
    let error = cluster.start(1).unwrap_err();
    assert!(error.to_string().contains("node 1 ended"), "{error}");
    assert!(error.to_string().contains("cat:"), "{error}");
    assert_eq!(cluster.running_count(), 0);
}

#[test]
fn the_arguments_of_a_node_say_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = LocalCluster::open(dir.path(), 2, options()).unwrap();
    let arguments = cluster.serve_arguments(2);
    assert_eq!(arguments[..2], ["serve", "--id=2"]);
    assert!(arguments.contains(&format!("--peers={}", cluster.members())));
    assert_eq!(arguments.last().unwrap(), "--extra");
}
