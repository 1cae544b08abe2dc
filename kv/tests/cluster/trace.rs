//! `--trace`: what the processes of a cluster write of themselves, read as tools read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::Path,
};

use hardlog_raft::trace::{Reader, What};

use crate::harness::{TestCluster, until, write_surely};

#[test]
fn every_process_writes_a_trace_and_messages_are_found_at_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let cluster = TestCluster::start_with(&["--trace", path.to_str().unwrap()]);
    let mut client = cluster.client();
    (0..20).for_each(|i| write_surely(&mut client, &["SET", "key", &i.to_string()]));
    let paths = ["trace", "trace.2", "trace.3"].map(|name| dir.path().join(name));
    let expected = [
        "ask-vote", "vote", "role", "send", "recv", "commit", "apply", "members", "write", "sync",
        "recover", "call", "return",
    ];
    until("everything was told", || {
        let mut kinds = BTreeSet::new();
        let (mut sent, mut came) = (BTreeMap::new(), Vec::new());
        for path in &paths {
            for event in events(path) {
                let line = serde_json::to_value(&event).unwrap();
                kinds.insert(line["e"].as_str().unwrap_or_default().to_owned());
                match event {
                    What::Send(message) => drop(sent.insert(message.m, message.kind)),
                    What::Recv { m, kind, .. } => came.push((m, kind)),
                    _ => {}
                }
            }
        }
        let found = came.iter().filter(|(m, kind)| sent.get(m) == Some(kind)).count();
        let all = expected.iter().all(|kind| kinds.contains(*kind));
        (all && found > 50).then_some(())
    });
}

fn events(path: &Path) -> Vec<What> {
    let reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    assert_eq!(reader.header().source, "kv");
    reader.map(|event| event.unwrap().what).collect()
}
