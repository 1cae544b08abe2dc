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
    for (count, pipeline) in [("3000", "1"), ("30000", "16")] {
        let output = Command::new("redis-benchmark")
            .args(["-h", &leader.ip().to_string(), "-p", &leader.port().to_string()])
            .args(["-t", "set,get,incr,mset", "-c", "50", "-d", "256", "-r", "1000", "-q"])
            .args(["-n", count, "-P", pipeline])
            .output()
            .unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        assert!(!out.contains("Error") && err.is_empty(), "{out}{err}");
        let figures: Vec<&str> =
            out.split(['\r', '\n']).filter(|line| line.contains("requests per second")).collect();
        assert_eq!(figures.len(), 4, "{out}");
        println!("pipeline {pipeline}: {figures:?}");
    }
}
