//! Three nodes of a system, and what they say of themselves. They end when this is dropped.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Arguments, Failure};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    #[value(name = "hardlog-kv")]
    Hardlog,
    Etcd,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hardlog => "hardlog-kv",
            Self::Etcd => "etcd",
        }
    }
}

struct Node {
    child: Child,
    client: SocketAddr,
    metrics: SocketAddr,
}

/// Counters since the nodes began.
pub(crate) struct Counters {
    pub(crate) syncs: f64,
    pub(crate) sync_seconds: f64,
    pub(crate) leader_cpu: f64,
    pub(crate) follower_cpu: f64,
    pub(crate) own_cpu: f64,
    /// Of everything on this machine.
    pub(crate) all_cpu: f64,
    /// Bytes sent over loopback.
    pub(crate) network: f64,
}

impl Counters {
    /// Processor time of everything that is measured.
    pub(crate) fn ours(&self) -> f64 {
        self.leader_cpu + self.follower_cpu + self.own_cpu
    }
}

pub(crate) struct Cluster {
    system: System,
    nodes: Vec<Node>,
    leader: usize,
    _dir: TempDir,
}

impl Cluster {
    pub(crate) fn start(system: System, arguments: &Arguments) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(&arguments.dir)?;
        let ports = free_ports(9)?;
        let port = |node: usize, which: usize| ports[node * 3 + which];
        let mut nodes = Vec::new();
        for node in 0..3 {
            let data = dir.path().join(format!("node-{node}"));
            let mut command = match system {
                System::Hardlog => {
                    let peer = |n| format!("{}=127.0.0.1:{}@{}", n + 1, port(n, 0), port(n, 1));
                    let mut command = Command::new(&arguments.hardlog_kv);
                    command
                        .args(["serve", "--create", &format!("--id={}", node + 1)])
                        .arg(format!("--dir={}", data.display()))
                        .arg(format!("--peers={},{},{}", peer(0), peer(1), peer(2)))
                        .arg(format!("--http=127.0.0.1:{}", port(node, 2)));
                    command
                }
                System::Etcd => {
                    let peer = |n| format!("n{n}=http://127.0.0.1:{}", port(n, 1));
                    let client = format!("http://127.0.0.1:{}", port(node, 0));
                    let own = format!("http://127.0.0.1:{}", port(node, 1));
                    let mut command = Command::new(&arguments.etcd);
                    command
                        .args(["--name", &format!("n{node}"), "--initial-cluster-state", "new"])
                        .arg(format!("--data-dir={}", data.display()))
                        .arg(format!("--initial-cluster={},{},{}", peer(0), peer(1), peer(2)))
                        .args(["--listen-client-urls", &client])
                        .args(["--advertise-client-urls", &client])
                        .args(["--listen-peer-urls", &own])
                        .args(["--initial-advertise-peer-urls", &own])
                        .args(["--log-level", "error", "--logger", "zap"]);
                    command
                }
            };
            let child =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            let metrics = if system == System::Hardlog { port(node, 2) } else { port(node, 0) };
            let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            nodes.push(Node { child, client: at(port(node, 0)), metrics: at(metrics) });
        }
        let mut cluster = Self { system, nodes, leader: 0, _dir: dir };
        cluster.await_leader()?;
        Ok(cluster)
    }

    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// Where clients reach the leader.
    pub(crate) fn leader(&self) -> SocketAddr {
        self.nodes[self.leader].client
    }

    pub(crate) fn counters(&self) -> Result<Counters, Failure> {
        let leader = &self.nodes[self.leader];
        let text = scrape(leader.metrics)?;
        let (is_leader, fsync) = match self.system {
            System::Hardlog => ("raft_server_is_leader", "raft_wal_fsync_duration_seconds"),
            System::Etcd => ("etcd_server_is_leader", "etcd_disk_wal_fsync_duration_seconds"),
        };
        if value(&text, is_leader) != Some(1.0) {
            return Err("the leader changed during the measurement".into());
        }
        let number = |name: String| value(&text, &name).ok_or(format!("no metric {name}"));
        let cpu = |node: &Node| cpu_seconds(&node.child.id().to_string());
        let followers = self.nodes.iter().enumerate().filter(|(n, _)| *n != self.leader);
        Ok(Counters {
            syncs: number(format!("{fsync}_count"))?,
            sync_seconds: number(format!("{fsync}_sum"))?,
            leader_cpu: cpu(leader)?,
            follower_cpu: followers.map(|(_, node)| cpu(node)).sum::<Result<f64, _>>()?,
            own_cpu: cpu_seconds("self")?,
            all_cpu: all_cpu_seconds()?,
            network: loopback_bytes()?,
        })
    }

    fn await_leader(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            for (n, node) in self.nodes.iter().enumerate() {
                let text = scrape(node.metrics).unwrap_or_default();
                let names = ["raft_server_is_leader", "etcd_server_is_leader"];
                if names.iter().any(|name| value(&text, name) == Some(1.0)) {
                    self.leader = n;
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("no leader of {} within a minute", self.system.name()).into())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Gone already is as good.
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
    }
}

fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    // Held together, so that no port comes twice.
    let listeners: Result<Vec<_>, _> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let ports: Result<Vec<_>, _> =
        listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect();
    ports
}

fn scrape(address: SocketAddr) -> Result<String, Failure> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// User and system time of a process.
fn cpu_seconds(process: &str) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').ok_or("no process status")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|text| text.parse::<f64>().ok());
    Ok((ticks(11).ok_or("no user time")? + ticks(12).ok_or("no system time")?) / 100.0)
}

/// Processor time that was not idle, of all processors; what interrupts took is counted here alone.
fn all_cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("no processor times")?;
    let ticks: Result<Vec<f64>, _> = line.split_whitespace().skip(1).map(str::parse).collect();
    let ticks = ticks?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|n| ticks.get(*n)).sum::<f64>();
    Ok(busy / 100.0)
}

fn loopback_bytes() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/sys/class/net/lo/statistics/tx_bytes")?;
    Ok(text.trim().parse()?)
}
