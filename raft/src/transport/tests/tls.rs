//! Mutual TLS: who is who is shown by certificates, and nothing is legible on the way.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of `by`, with the name of a node, and believing `trusts`.
fn tls(by: &Authority, trusts: &Authority, node: NodeId, cluster: u64) -> Arc<dyn Security> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![Tls::name_of(node, cluster)]).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let trusted: CertificateDer<'static> = trusts.der().clone();
    Arc::new(Tls::new(vec![trusted], &[certificate.der().clone()], &key).unwrap())
}

fn secured(id: NodeId, peers: &BTreeMap<NodeId, SocketAddr>, by: Arc<dyn Security>) -> Settings {
    Settings { security: Some(by), ..settings(id, peers) }
}

struct Pair {
    listeners: (TcpListener, TcpListener),
    peers: BTreeMap<NodeId, SocketAddr>,
}

fn pair() -> Pair {
    let listeners = (listener(), listener());
    let (a, b) = (listeners.0.local_addr().unwrap(), listeners.1.local_addr().unwrap());
    Pair { listeners, peers: BTreeMap::from([(1, a), (2, b)]) }
}

/// What node 2 says when node 1 comes with `security`.
fn refused(two: Arc<dyn Security>, one: Option<Arc<dyn Security>>) -> String {
    let Pair { listeners: (a, b), peers } = pair();
    let (two, at_two) = start(&secured(2, &peers, two), b);
    let (one, _at_one) = start(&Settings { security: one, ..settings(1, &peers) }, a);
    for round in 0..500 {
        one.send(heartbeat(1, 2, round));
        assert!(at_two.recv_timeout(Duration::from_millis(20)).is_err(), "it was let in");
        if let Some((_, why)) = two.refusals().last {
            return why;
        }
    }
    panic!("nobody was refused");
}

#[test]
fn nodes_of_one_authority_talk_in_both_directions() {
    let ours = authority();
    let Pair { listeners: (a, b), peers } = pair();
    let (one, at_one) = start(&secured(1, &peers, tls(&ours, &ours, 1, 7)), a);
    let (two, at_two) = start(&secured(2, &peers, tls(&ours, &ours, 2, 7)), b);
    for round in 0..50 {
        one.send(heartbeat(1, 2, round));
        two.send(heartbeat(2, 1, round));
    }
    for round in 0..50 {
        assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, round));
        assert_eq!(at_one.recv_timeout(WAIT).unwrap(), heartbeat(2, 1, round));
    }
    one.send(append(1, 2, 900_000));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), append(1, 2, 900_000));
    assert_eq!((one.refusals().count, two.refusals().count), (0, 0));
}

#[test]
fn a_certificate_names_its_node_and_cluster() {
    let ours = authority();
    let two = || tls(&ours, &ours, 2, 7);
    for (node, cluster) in [(3, 7), (1, 8)] {
        let why = refused(two(), Some(tls(&ours, &ours, node, cluster)));
        assert!(why.contains("certificate does not name it"), "{node} of {cluster}: {why}");
    }
}

#[test]
fn a_certificate_of_a_node_that_is_no_member_any_more_opens_nothing() {
    let ours = authority();
    let Pair { listeners: (a, b), peers } = pair();
    let (mut two, at_two) = start(&secured(2, &peers, tls(&ours, &ours, 2, 7)), b);
    let (one, _at_one) = start(&secured(1, &peers, tls(&ours, &ours, 1, 7)), a);
    one.send(heartbeat(1, 2, 0));
    assert_eq!(at_two.recv_timeout(WAIT).unwrap(), heartbeat(1, 2, 0));
    let alone = BTreeMap::from([(2, peers[&2])]);
    two.set_peers(&alone).unwrap();
    while at_two.try_recv().is_ok() {}
    for round in 1..500 {
        one.send(heartbeat(1, 2, round));
        let came = at_two.recv_timeout(Duration::from_millis(20));
        assert!(came.is_err(), "its open connection was ended too");
        if two.refusals().last.is_some_and(|(_, why)| why.contains("not one of the peers")) {
            return;
        }
    }
    panic!("it is not refused");
}

#[test]
fn another_authority_and_no_tls_at_all_are_refused() {
    let (ours, theirs) = (authority(), authority());
    let two = || tls(&ours, &ours, 2, 7);
    let why = refused(two(), Some(tls(&theirs, &ours, 1, 7)));
    assert!(why.contains("certificate"), "{why}");
    refused(two(), None);
}

#[test]
fn a_node_sends_nothing_to_one_that_is_not_the_node_it_means() {
    let ours = authority();
    let Pair { listeners: (a, b), peers } = pair();
    // Where node 2 should be listens a node with a certificate of node 3.
    let (_two, at_two) = start(&secured(2, &peers, tls(&ours, &ours, 3, 7)), b);
    let (one, _at_one) = start(&secured(1, &peers, tls(&ours, &ours, 1, 7)), a);
    for round in 0..20 {
        one.send(heartbeat(1, 2, round));
        assert!(at_two.recv_timeout(Duration::from_millis(20)).is_err());
    }
}

#[test]
fn with_tls_an_address_beyond_loopback_is_allowed() {
    let ours = authority();
    let a = listener();
    let peers = BTreeMap::from([(1, a.local_addr().unwrap()), (2, "192.0.2.1:9".parse().unwrap())]);
    let deliver: Deliver = Arc::new(|_| true);
    let settings = secured(1, &peers, tls(&ours, &ours, 1, 7));
    assert!(Transport::start(&settings, a, deliver).is_ok());
}

#[test]
fn certificates_that_do_not_fit_are_told_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![Tls::name_of(1, 7)]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = file("ca.pem", &ours.pem());
    let chain = file("node.pem", &certificate.pem());
    let own_key = file("node.key", &key.serialize_pem());
    let other_key = file("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let junk = file("junk.pem", "nothing");
    assert!(Tls::from_files(&ca, &chain, &own_key).is_ok());
    let missing = dir.path().join("missing.pem");
    for (ca, chain, key, of) in [
        (&missing, &chain, &own_key, "missing.pem"),
        (&ca, &junk, &own_key, "junk.pem"),
        (&ca, &chain, &junk, "junk.pem"),
        (&ca, &chain, &other_key, "cannot be used"),
    ] {
        let error = Tls::from_files(ca, chain, key).unwrap_err().to_string();
        assert!(error.contains(of), "{error}");
    }
}
