//! The demonstration: three processes, killed one by one and then all at once, while a client writes.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{net::TcpSocket, time::sleep};

use crate::{
    network::{Request, ask},
    store::Set,
};

/// A node's process; killed with the value.
struct Running(Child);

impl Running {
    /// SIGKILL: the node gets no chance to tidy up. Its lock goes with it.
    fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}

fn start(index: usize, dir: &Path, addrs: &[SocketAddr]) -> io::Result<Running> {
    let list: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["node", &(index + 1).to_string()]);
    command.arg(dir.join(format!("n{}", index + 1))).arg(list.join(","));
    Ok(Running(command.stderr(Stdio::null()).spawn()?))
}

#[expect(clippy::print_stdout, reason = "a program")]
pub(crate) async fn run(dir: &Path) -> Result<(), Box<dyn Error>> {
    // Bound and never listening: while a node is down nobody else gets its port.
    let reserve = |_| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok::<_, io::Error>(socket)
    };
    let reserved = (0..3).map(reserve).collect::<io::Result<Vec<_>>>()?;
    let addrs = reserved.iter().map(|s| s.local_addr()).collect::<io::Result<Vec<_>>>()?;
    let mut nodes = (0..3).map(|i| start(i, dir, &addrs)).collect::<io::Result<Vec<_>>>()?;
    println!("three nodes at {addrs:?}, their logs in {}", dir.display());

    let run = std::process::id();
    let written = AtomicU64::new(0);
    let write = async {
        loop {
            let n = written.load(Ordering::Relaxed);
            let set = Set { key: format!("{run}-{n}"), value: n.to_string() };
            match ask(&addrs, Request::Set(set)).await {
                Ok(()) => written.store(n + 1, Ordering::Relaxed),
                Err(e) => break e,
            }
        }
    };
    let kill = async {
        // Six times one node, at last all of them, always in the middle of a write.
        for victims in [&[0][..], &[1], &[2], &[0], &[1], &[2], &[0, 1, 2]] {
            let before = written.load(Ordering::Relaxed);
            while written.load(Ordering::Relaxed) < before + 40 {
                sleep(Duration::from_millis(1)).await;
            }
            victims.iter().try_for_each(|victim| nodes[*victim].kill())?;
            println!("killed {victims:?} after {} writes", written.load(Ordering::Relaxed));
            for &victim in victims {
                nodes[victim] = start(victim, dir, &addrs)?;
            }
        }
        Ok::<_, io::Error>(())
    };
    tokio::select! {
        failed = write => return Err(failed.into()),
        killed = kill => killed?,
    }
    let written = written.into_inner();
    for n in 0..written {
        let found: Option<String> = ask(&addrs, Request::Get(format!("{run}-{n}"))).await?;
        if found != Some(n.to_string()) {
            return Err(format!("write {n} was acknowledged and is lost: {found:?}").into());
        }
    }
    println!("all {written} acknowledged writes are there");
    Ok(())
}
