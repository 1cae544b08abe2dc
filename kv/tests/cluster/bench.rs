//! redis-benchmark runs to its end, without an error. Its figures are printed, not judged.

use std::process::Command;

use crate::harness::{TestCluster, has};

#[test]
fn redis_benchmark_runs_without_an_error() {
    if !has("redis-benchmark") {
        return;
    }
    let cluster = TestCluster::start();
    let leader = cluster.address(cluster.leader());
    // The last is far more at a time than the log takes: clients wait, and none is refused.
    let runs = [
        ("set,get,incr,mset", "256", "3000", "1"),
        ("set,get,incr,mset", "256", "30000", "16"),
        ("set", "30000", "1000", "32"),
    ];
    for (commands, size, count, pipeline) in runs {
        let output = Command::new("redis-benchmark")
            .args(["-h", &leader.ip().to_string(), "-p", &leader.port().to_string()])
            .args(["-t", commands, "-c", "50", "-d", size, "-r", "1000", "-q"])
            .args(["-n", count, "-P", pipeline])
            .output()
            .unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        assert!(!out.contains("Error") && err.is_empty(), "{out}{err}");
        let figures: Vec<&str> =
            out.split(['\r', '\n']).filter(|line| line.contains("requests per second")).collect();
        assert_eq!(figures.len(), commands.split(',').count(), "{out}");
        println!("{size} bytes, pipeline {pipeline}: {figures:?}");
    }
}
