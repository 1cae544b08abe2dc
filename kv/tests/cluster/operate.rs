//! What an operator relies on: monitoring over HTTP, settings from a file, an orderly end, and a
//! node that stays small however long it is written to.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use hardlog_kv::{client::Connection, resp::Reply};

use crate::{
    harness::{PATIENCE, PROGRAM, TestCluster, info, until, write_surely},
    monitor::{get, http_address, metric},
};

#[test]
fn http_says_how_a_node_stands() {
    let mut cluster = TestCluster::start();
    let leader = cluster.leader();
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "foo", "1"]).unwrap(), Reply::OK);
    assert_eq!(client.call(&["GET", "foo"]).unwrap(), Reply::text("1"));
    cluster.settle();
    for id in 1..=3 {
        let http = http_address(&cluster, id);
        let (code, status) = get(http, "GET", "/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!((code, &status["id"], &status["leader"]), (200, &id.into(), &leader.into()));
        assert_eq!(status["role"], if id == leader { "leader" } else { "follower" });
        assert_eq!((&status["keys"], &status["bytes"]), (&1.into(), &4.into()));
        assert_eq!(status["members"][2]["client"], cluster.address(3).to_string());
        assert_eq!(get(http, "GET", "/healthz"), (200, "ok\n".to_owned()));
        let is = f64::from(u8::from(id == leader));
        assert_eq!(metric(http, "raft_server_is_leader"), Some(is));
        assert_eq!(metric(http, "raft_server_has_leader"), Some(1.0));
        assert!(metric(http, "raft_wal_fsync_duration_seconds_count").unwrap() > 0.0);
        assert!(metric(http, "process_resident_memory_bytes").unwrap() > 1e6);
        let writes = metric(http, "kv_request_duration_seconds_count{kind=\"write\"}");
        assert_eq!(writes.unwrap_or(0.0), is);
    }
    let http = http_address(&cluster, leader);
    assert_eq!(metric(http, "raft_server_proposals_pending"), Some(0.0));
    assert_eq!(get(http, "GET", "/nonsense").0, 404);
    assert_eq!(get(http, "POST", "/status").0, 405);
    let mut long = TcpStream::connect(http).unwrap();
    long.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused and closed before everything is sent.
    let _ = long.write_all(&[&b"GET /"[..], &vec![b'x'; 100_000]].concat());
    let mut answer = Vec::new();
    let _ = long.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
    // Without a majority there is no leader, and nobody should be sent here.
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.nodes.kill(id).unwrap();
    }
    until("an ill node", || (get(http, "GET", "/healthz").0 == 503).then_some(()));
}

#[test]
fn a_node_that_is_told_to_stop_answers_what_is_under_way_and_closes_its_log() {
    let mut cluster = TestCluster::start();
    let leader = cluster.leader();
    let mut idle = Connection::open(cluster.address(leader)).unwrap();
    assert_eq!(idle.call(&["PING"]).unwrap(), Reply::Simple("PONG".into()));
    let mut socket = TcpStream::connect(cluster.address(leader)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let pipeline: String = (0..20_000).map(|n| format!("SET k{n} v\r\n")).collect();
    let mut writer = socket.try_clone().unwrap();
    let writing = std::thread::spawn(move || drop(writer.write_all(pipeline.as_bytes())));
    let mut replies = vec![0; 50];
    socket.read_exact(&mut replies).unwrap();
    cluster.signal(leader, "-TERM");
    // Whole replies and then an end: nothing that was begun is left unanswered. What was sent and
    // not read makes the system end with a reset, after the replies.
    let _ = socket.read_to_end(&mut replies);
    writing.join().unwrap();
    let answered = replies.len() / 5;
    assert_eq!(replies, b"+OK\r\n".repeat(answered));
    assert!(idle.call(&["PING"]).is_err());
    let (_, status) = until("the end of the node", || cluster.nodes.take_ended().unwrap().pop());
    assert!(status.success(), "{status}");
    let said = std::fs::read_to_string(cluster.nodes.node_output(leader)).unwrap();
    assert!(said.ends_with("stopped\n") && !said.contains("did not get"), "{said}");
    assert!(said.contains("handed over to node "), "{said}");
    // Whoever was answered finds it with the next leader.
    let mut client = cluster.client();
    let last = format!("k{}", answered - 1);
    assert_eq!(client.call(&["GET", &last]).unwrap(), Reply::text("v"));
    // The log was closed: the next start finds nothing to wonder about.
    cluster.nodes.start(leader).unwrap();
    let said = std::fs::read_to_string(cluster.nodes.node_output(leader)).unwrap();
    let report = said.rsplit_once("stopped\n").unwrap().1;
    assert!(report.to_lowercase().contains("clean"), "{report}");
}

#[test]
fn settings_come_from_a_file_and_a_wrong_name_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "id = 1\nmax-client = 3\n").unwrap();
    let start = |envs: &[(&str, &str)]| {
        let config = format!("--config={}", file.display());
        let output = Command::new(PROGRAM).args(["serve", &config]).envs(envs.to_vec()).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = start(&[]);
    assert!(
        code == Some(1) && said.contains("node.toml: ") && said.contains("max-client"),
        "{said}"
    );
    std::fs::write(&file, "id = 1\n").unwrap();
    let (code, said) = start(&[("HARDLOG_KV_NONSENSE", "1")]);
    assert!(code == Some(1) && said.contains("--nonsense"), "{said}");
    let (code, said) = start(&[]);
    assert!(code == Some(1) && said.contains("peers is not set"), "{said}");
}

/// Bytes of all files under a directory.
fn size(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let each = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => data.len(),
        // Removed meanwhile.
        Err(_) => 0,
    });
    each.sum()
}

#[test]
fn under_steady_load_the_directory_and_the_memory_stay_bounded() {
    const WRITTEN: u64 = 96 << 20;
    let small = ["--snapshot-every=2", "--keep-behind=10", "--segment=4"];
    let cluster = TestCluster::start_with(&small);
    let https: Vec<_> = (1..=3).map(|id| http_address(&cluster, id)).collect();
    let memory = || -> Vec<f64> {
        https.iter().map(|http| metric(*http, "process_resident_memory_bytes").unwrap()).collect()
    };
    let (mut client, mut written, mut largest, mut halfway) = (cluster.client(), 0, 0, None);
    // The same few keys again and again: what is kept is small, what is written is not.
    let value = "v".repeat(64 << 10);
    let pairs: Vec<String> = (0..8).flat_map(|n| [format!("key-{n}"), value.clone()]).collect();
    let words = [&["MSET".to_owned()], &pairs[..]].concat();
    // More than a quarter of a file of the log is refused, and harms nobody.
    let long = ["SET", "long", &"v".repeat(2 << 20)];
    assert_eq!(
        client.call(&long).unwrap(),
        Reply::error("ERR the command does not fit a log entry")
    );
    while written < WRITTEN {
        write_surely(&mut client, &words);
        written += 8 * (64 << 10);
        largest = (1..=3).map(|id| size(&cluster.nodes.node_dir(id))).max().unwrap().max(largest);
        if written >= WRITTEN / 2 && halfway.is_none() {
            halfway = Some(memory());
        }
    }
    let first = |id| info(cluster.address(id), "first").unwrap().parse::<u64>().unwrap();
    for id in 1..=3 {
        until("a log that was trimmed", || (first(id) > 1).then_some(()));
    }
    println!("largest directory: {} KiB, memory: {:?}", largest >> 10, memory());
    assert!(largest < 40 << 20, "a directory grew to {largest} bytes");
    for (before, after) in halfway.unwrap().iter().zip(memory()) {
        assert!(after < before + 24e6, "memory grew from {before} to {after}");
    }
}

#[test]
fn a_client_that_asks_and_never_reads_does_not_keep_a_node_from_stopping() {
    let mut cluster = TestCluster::start_with(&["--stop-timeout=1"]);
    let leader = cluster.leader();
    let mut client = cluster.client();
    client.call(&["SET", "k", &"v".repeat(1 << 20)]).unwrap();
    let mut socket = TcpStream::connect(cluster.address(leader)).unwrap();
    socket.write_all("GET k\r\n".repeat(64).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    cluster.signal(leader, "-TERM");
    let begun = Instant::now();
    let (_, status) = until("the end of the node", || cluster.nodes.take_ended().unwrap().pop());
    assert!(status.success() && begun.elapsed() < Duration::from_secs(8), "{status}");
    let said = std::fs::read_to_string(cluster.nodes.node_output(leader)).unwrap();
    assert!(said.contains("some clients did not get their answers in time"), "{said}");
}
