//! Nodes that talk by TLS, with certificates from files.

use std::{path::Path, process::Command};

use hardlog_kv::resp::Reply;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::harness::{PROGRAM, TestCluster};

fn files(dir: &Path) -> [String; 3] {
    let argument = |name: &str, file: &str| format!("--tls-{name}={}", dir.join(file).display());
    [
        argument("authority", "ca.pem"),
        argument("certificate", "node.pem"),
        argument("key", "key.pem"),
    ]
}

/// An authority and one certificate for all three nodes of the cluster in `dir`.
fn certify(dir: &Path) {
    let cluster = std::fs::read_to_string(dir.join("cluster")).unwrap();
    let cluster = cluster.lines().find_map(|line| line.strip_prefix("cluster ")).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> =
        (1..=3).map(|id| format!("node-{id}.cluster-{cluster}.hardlog")).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(dir.join("node.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn a_cluster_over_tls_serves_and_survives_its_leader() {
    let mut cluster = TestCluster::start_prepared(|dir| files(dir).to_vec(), |dir, _| certify(dir));
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    let leader = cluster.leader();
    cluster.nodes.kill(leader).unwrap();
    assert_eq!(client.call(&["GET", "foo"]).unwrap(), Reply::text("1"));
    cluster.nodes.start(leader).unwrap();
    cluster.settle();
}

#[test]
fn certificates_that_are_not_there_are_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    let out = Command::new(PROGRAM)
        .args(["serve", "--id=1", "--peers=1=127.0.0.1:1@2", "--create", "--dir"])
        .arg(&node)
        .args(files(dir.path()))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && said.contains("ca.pem"), "{said}");
    assert!(!node.exists(), "nothing is made before that is known");
}
