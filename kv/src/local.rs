//! A cluster of processes on this machine: which ports, which directories, which are running.
//!
//! The layer above is the program's `cluster` command, the demonstration and the tests; below are
//! child processes of the same program, one `serve` each.
//!
//! - Nodes never outlive this process, however it ends: each holds the reading end of a pipe as its
//!   standard input and stops when the writing end, which is here, is gone.
//! - Ports are chosen by the system once and kept in `DIR/cluster`, so that a restarted node is
//!   found where it was. While this process lives it keeps a bound socket on each of them that
//!   never listens: the system then gives the port to nobody else, also while its node is down.
//! - A node's directory is created only at the very first start. Afterwards a directory that is
//!   missing is an error and not a node that has forgotten its vote.
//!
//! It starts what it is told to start and nothing by itself.

mod file;
mod guests;
pub mod proxy;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::net::TcpSocket;

use self::file::ClusterFile;
use crate::members::{Member, Members};

/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process that must end is looked at; the system has no way to wait with a limit.
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Elsewhere than on Linux a port that is only bound cannot be bound again by the node.
const KEPT: bool = cfg!(target_os = "linux");

/// What nodes are started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The program to run; it must understand `serve`.
    pub program: PathBuf,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
}

/// The nodes of one directory; they end when this is dropped.
#[derive(Debug)]
pub struct LocalCluster {
    dir: PathBuf,
    options: NodeOptions,
    file: ClusterFile,
    running: BTreeMap<u64, Child>,
    /// Ports that stand for those between the nodes.
    fronts: BTreeMap<u64, u16>,
    /// Where nodes listen for the others that stepped back from their own ports.
    backs: BTreeMap<u64, u16>,
    /// Where the nodes write what happens.
    traces: Option<PathBuf>,
    /// Nodes that nobody has heard of yet.
    guests: BTreeSet<u64>,
    /// Keep the ports; never used for anything else.
    ports: Vec<TcpSocket>,
}

impl LocalCluster {
    /// The cluster in `dir`, begun with `node_count` nodes if there is none. Starts nothing.
    ///
    /// # Errors
    /// What the file system or the network said; `InvalidData` for a cluster file that cannot be
    /// read, `InvalidInput` when the cluster there has another number of nodes.
    pub fn open(dir: &Path, node_count: usize, options: NodeOptions) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let found = file::load(dir)?;
        if let Some(found) = &found
            && found.members.len() != node_count
        {
            let text = format!(
                "{} holds a cluster of {} nodes, not of {node_count}",
                dir.display(),
                found.members.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (members, http_ports, ports) = reserve(found.as_ref(), node_count)?;
        let file = ClusterFile {
            id: found.as_ref().map_or_else(file::fresh_id, |file| file.id),
            begun: found.is_some_and(|file| file.begun),
            members,
            http_ports,
        };
        file::save(dir, &file)?;
        Ok(Self {
            dir: dir.to_owned(),
            options,
            file,
            running: BTreeMap::new(),
            fronts: BTreeMap::new(),
            backs: BTreeMap::new(),
            traces: None,
            guests: BTreeSet::new(),
            ports,
        })
    }

    /// Puts something between the nodes, such as a proxy: from their next start on they are told to
    /// connect to a node at the port that is given for it here; it listens where it did before.
    pub fn set_fronts(&mut self, fronts: BTreeMap<u64, u16>) {
        self.fronts = fronts;
    }

    /// Takes the node off the port where the others look for it: from its next start on it listens
    /// at the one returned. A proxy that listens at its own port instead
    /// ([`proxy::Proxy::stand_before`]) stays where it is between starts of the whole cluster.
    ///
    /// # Errors
    /// What the system said.
    pub fn step_back(&mut self, id: u64) -> io::Result<u16> {
        let bound = bind(0)?;
        let port = bound.local_addr()?.port();
        self.keep_port(bound);
        self.backs.insert(id, port);
        Ok(port)
    }

    /// From its next start on each node writes what happens to `DIR/node-ID.ndjson`, then to
    /// `DIR/node-ID.ndjson.2` and so on.
    pub fn set_traces(&mut self, dir: PathBuf) {
        self.traces = Some(dir);
    }

    /// Where a node serves HTTP.
    #[must_use]
    pub fn http_address(&self, id: u64) -> Option<SocketAddr> {
        let place = self.file.members.iter().position(|(member, _)| member == id)?;
        let port = self.file.http_ports.get(place)?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
    }

    /// Where the nodes are.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.file.members
    }

    /// Where clients reach the nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.file.members.iter().map(|(_, member)| member.client()).collect()
    }

    /// Directory of a node's log.
    #[must_use]
    pub fn node_dir(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    /// File that collects what a node prints.
    #[must_use]
    pub fn node_output(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}.out"))
    }

    /// The arguments a node is started with, for a person who wants to do it by hand.
    #[must_use]
    pub fn serve_arguments(&self, id: u64) -> Vec<String> {
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--id={id}"),
            format!("--dir={}", self.node_dir(id).display()),
            format!("--cluster={:016x}", self.file.id),
        ];
        let front = |(id, member): (u64, Member)| {
            let raft_port = self.fronts.get(&id).copied().unwrap_or(member.raft_port);
            (id, Member { raft_port, ..member })
        };
        let peers = Members::new(self.file.members.iter().map(front));
        arguments.extend(peers.map(|peers| format!("--peers={peers}")));
        if let Some(member) = self.file.members.get(id).filter(|_| self.fronts.contains_key(&id)) {
            arguments.push(format!("--raft-listen={}", member.raft()));
        }
        if let Some(port) = self.backs.get(&id) {
            arguments.push(format!("--raft-listen={}:{port}", Ipv4Addr::LOCALHOST));
        }
        if let Some(http) = self.http_address(id) {
            arguments.push(format!("--http={http}"));
        }
        if let Some(dir) = &self.traces {
            arguments.push(format!("--trace={}", dir.join(format!("node-{id}.ndjson")).display()));
        }
        arguments.extend(self.options.arguments.iter().cloned());
        arguments
    }

    /// Process number of a running node.
    #[must_use]
    pub fn process_id(&self, id: u64) -> Option<u32> {
        self.running.get(&id).map(Child::id)
    }

    /// Starts every node and waits until each accepts clients.
    ///
    /// # Errors
    /// As [`LocalCluster::start`]; nodes that were started stay so.
    pub fn start_all(&mut self) -> io::Result<()> {
        let ids: Vec<u64> = self.file.members.iter().map(|(id, _)| id).collect();
        for id in &ids {
            self.spawn(*id)?;
        }
        for id in &ids {
            self.await_listening(*id)?;
        }
        if !self.file.begun {
            self.file.begun = true;
            file::save(&self.dir, &self.file)?;
        }
        Ok(())
    }

    /// Starts one node and waits until it accepts clients.
    ///
    /// # Errors
    /// When it cannot be started or ends at once; its own words are in [`Self::node_output`].
    ///
    /// # Panics
    /// When it is running.
    pub fn start(&mut self, id: u64) -> io::Result<()> {
        self.spawn(id)?;
        self.await_listening(id)
    }

    /// Kills a node with SIGKILL, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self, id: u64) -> io::Result<()> {
        if let Some(mut child) = self.running.remove(&id) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Stops every node in an orderly way; those that do not stop in time are killed.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop_all(&mut self) -> io::Result<()> {
        // The end of its standard input is what tells a node to stop.
        self.running.values_mut().for_each(|child| drop(child.stdin.take()));
        let deadline = Instant::now() + STOP_TIMEOUT;
        for child in self.running.values_mut() {
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    child.kill()?;
                }
                std::thread::sleep(POLL_PAUSE);
            }
        }
        self.running.clear();
        Ok(())
    }

    /// The nodes that ended without being told to, since this was asked last.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take_ended(&mut self) -> io::Result<Vec<(u64, ExitStatus)>> {
        let mut ended = Vec::new();
        for (id, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                ended.push((*id, status));
            }
        }
        for (id, _) in &ended {
            self.running.remove(id);
        }
        Ok(ended)
    }

    /// How many nodes are running, as far as is known.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    fn keep_port(&mut self, bound: TcpSocket) {
        if KEPT {
            self.ports.push(bound);
        }
    }

    fn spawn(&mut self, id: u64) -> io::Result<()> {
        assert!(!self.running.contains_key(&id), "node {id} is running already");
        let output = OpenOptions::new().create(true).append(true).open(self.node_output(id))?;
        let mut arguments = self.serve_arguments(id);
        arguments.push("--stop-with-stdin".to_owned());
        let guest = self.guests.contains(&id);
        if guest || !self.file.begun {
            arguments.push("--create".to_owned());
        }
        if guest {
            arguments.push("--join".to_owned());
        }
        let child = Command::new(&self.options.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        self.running.insert(id, child);
        Ok(())
    }

    fn await_listening(&mut self, id: u64) -> io::Result<()> {
        let address = self.file.members.client(id).expect("a node that was started is a member");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if std::net::TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            let ended = match self.running.get_mut(&id) {
                Some(child) => child.try_wait()?,
                None => None,
            };
            let problem = match ended {
                Some(status) => {
                    self.running.remove(&id);
                    format!("node {id} ended ({status})")
                }
                None if Instant::now() > deadline => format!("node {id} does not listen"),
                None => {
                    std::thread::sleep(POLL_PAUSE);
                    continue;
                }
            };
            let output = self.node_output(id);
            let said = last_lines(&output).unwrap_or_default();
            return Err(io::Error::other(format!("{problem}; {}:\n{said}", output.display())));
        }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // Not there any more is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Binds the ports of `wanted`, or others where one is taken meanwhile: the nodes, their ports for
/// HTTP, and what keeps all those.
fn reserve(
    wanted: Option<&ClusterFile>,
    count: usize,
) -> io::Result<(Members, Vec<u16>, Vec<TcpSocket>)> {
    let mut ports = Vec::new();
    let mut bind = |port: Option<u16>| -> io::Result<u16> {
        let bound = port.and_then(|port| bind(port).ok()).map_or_else(|| bind(0), Ok)?;
        let port = bound.local_addr()?.port();
        if KEPT {
            ports.push(bound);
        }
        Ok(port)
    };
    let (mut members, mut http_ports) = (Vec::new(), Vec::new());
    for (place, id) in (1..).take(count).enumerate() {
        let member = wanted.and_then(|wanted| wanted.members.get(id));
        http_ports.push(bind(wanted.and_then(|wanted| wanted.http_ports.get(place).copied()))?);
        let client_port = bind(member.map(|member| member.client_port))?;
        let raft_port = bind(member.map(|member| member.raft_port))?;
        members.push((id, Member { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), client_port, raft_port }));
    }
    let members = Members::new(members)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a cluster has a node"))?;
    Ok((members, http_ports, ports))
}

fn bind(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // With this on both sides a node may listen on a port that is bound here.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

/// The end of a file, for an error message.
fn last_lines(path: &Path) -> io::Result<String> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests;
