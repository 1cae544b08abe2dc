//! The example as its README runs it: three processes, killed and restarted while they are written
//! to. This test's own binary is the node's program, so that it is never an old one.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

#[expect(dead_code, reason = "its main and its console are for people")]
#[path = "../../examples/kv.rs"]
mod kv;

#[test]
#[ignore = "the process of a node, started by the test below"]
fn node() {
    let arg = |name| std::env::var(name).expect("the test below sets it");
    kv::end_with_parent();
    let (dir, id) = (arg("KV_DIR"), arg("KV_ID").parse().unwrap());
    kv::node(Path::new(&dir), id, 3).unwrap();
}

struct Process(Child);

impl Process {
    fn start(dir: &Path, id: u64) -> Self {
        let args = ["--exact", "example::node", "--ignored", "--nocapture"];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(args).env("KV_DIR", dir).env("KV_ID", id.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn processes_that_are_killed_lose_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut nodes: BTreeMap<u64, Process> =
        (1..=3).map(|id| (id, Process::start(dir, id))).collect();
    let answered = Mutex::new(Vec::new());
    let set = &|key: String| {
        let answer = kv::request(dir, 3, &format!("set {key} value of {key}")).unwrap();
        // "unknown" is an answer too: it may have been done or not.
        if answer == "ok" {
            answered.lock().unwrap().push(key);
        }
    };
    for round in 0..3 {
        let victim = 1 + round % 3;
        (0..5).for_each(|i| set(format!("before-{round}-{i}")));
        nodes.remove(&victim);
        (0..5).for_each(|i| set(format!("without-{round}-{i}")));
        nodes.insert(victim, Process::start(dir, victim));
    }
    // Enough that a snapshot is made, and that a node must get it that was away meanwhile.
    nodes.remove(&1);
    std::thread::scope(|scope| {
        for client in 0..10 {
            scope.spawn(move || (0..125).for_each(|i| set(format!("key-{client}-{i}"))));
        }
    });
    nodes.insert(1, Process::start(dir, 1));
    (0..5).for_each(|i| set(format!("last-{i}")));
    // All at once, as when the machine stops. One stays away: the others must have everything.
    nodes.clear();
    for id in 1..=2 {
        nodes.insert(id, Process::start(dir, id));
    }
    let answered = answered.into_inner().unwrap();
    assert!(answered.len() > 1200, "only {} of them were answered", answered.len());
    for key in answered.iter().filter(|key| !key.starts_with("key-") || key.ends_with('7')) {
        let answer = kv::request(dir, 3, &format!("get {key}")).unwrap();
        assert_eq!(answer, format!("value value of {key}"));
    }
    let kept = std::fs::read_dir(dir.join("1/snapshots")).unwrap().count();
    assert!(kept > 0, "node 1 neither made nor got a snapshot");
}
