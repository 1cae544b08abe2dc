//! The example does what it says: processes die by SIGKILL, and nothing that was acknowledged is lost.

use std::process::Command;

#[test]
fn three_nodes_that_are_killed_while_a_client_writes_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hardlog-openraft-example"));
        let run = command.arg("demo").arg(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(said.matches("killed").count(), 7, "{said}");
        let line = said.lines().last().unwrap();
        let count = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        assert!(line.contains("acknowledged writes are there") && count > Some(200), "{said}");
    };
    demo();
    // Enough for snapshots and purges: the nodes go on with what is in their directories.
    let files = |name: &str| {
        let nodes = (1..=3).map(|id| dir.path().join(format!("n{id}")).join(name));
        nodes.map(|dir| std::fs::read_dir(dir).unwrap().count()).collect::<Vec<_>>()
    };
    assert!(files("snapshots").iter().all(|count| *count > 0), "{:?}", files("snapshots"));
}
