//! `DIR/cluster`: what a local cluster must remember between starts.
//!
//! ```text
//! cluster 00d1c5f0a2b3e4d5
//! begun yes
//! nodes 1=127.0.0.1:40001@40002,2=127.0.0.1:40003@40004
//! http 40005,40006
//! ```
//! The ports for HTTP are in the order of the nodes; a file of an older version has none.

use std::{
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    path::Path,
};

use crate::members::Members;

const NAME: &str = "cluster";

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterFile {
    /// What the nodes know each other by; a node of another cluster is not listened to.
    pub(super) id: u64,
    /// Whether all nodes have run once, so that none may begin anew.
    pub(super) begun: bool,
    /// Where they are.
    pub(super) members: Members,
    /// Each node's port for HTTP, in the order of `members`; as many, or none.
    pub(super) http_ports: Vec<u16>,
}

/// A number that no other cluster has, as good as certainly.
pub(super) fn fresh_id() -> u64 {
    // Its keys come from the system's random source.
    RandomState::new().build_hasher().finish()
}

/// The file of a directory, `None` if there is none.
pub(super) fn load(dir: &Path) -> io::Result<Option<ClusterFile>> {
    let path = dir.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    parse(&text).map(Some).ok_or_else(|| {
        let text = format!("{} is not the file of a local cluster", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Replaces the file; it is there whole before this returns, or as it was.
pub(super) fn save(dir: &Path, file: &ClusterFile) -> io::Result<()> {
    let (path, new) = (dir.join(NAME), dir.join("cluster.new"));
    let mut to = File::create(&new)?;
    to.write_all(render(file).as_bytes())?;
    // DURABILITY: the nodes' logs carry the cluster's number; were the file lost after they have
    // begun, they would not find each other again. So its bytes before its name …
    to.sync_all()?;
    std::fs::rename(&new, &path)?;
    // DURABILITY: … and its name before anything is started.
    File::open(dir)?.sync_all()
}

fn render(file: &ClusterFile) -> String {
    let begun = if file.begun { "yes" } else { "no" };
    let ports: Vec<String> = file.http_ports.iter().map(u16::to_string).collect();
    let (id, members, ports) = (file.id, &file.members, ports.join(","));
    format!("cluster {id:016x}\nbegun {begun}\nnodes {members}\nhttp {ports}\n")
}

fn parse(text: &str) -> Option<ClusterFile> {
    let mut lines = text.lines();
    let mut value = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let id = u64::from_str_radix(value("cluster")?, 16).ok()?;
    let begun = match value("begun")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let members: Members = value("nodes")?.parse().ok()?;
    let http_ports = match lines.next() {
        None => Vec::new(),
        Some(line) => {
            let ports = line.strip_prefix("http ")?.split(',').map(|port| port.parse().ok());
            ports.collect::<Option<Vec<u16>>>()?
        }
    };
    let whole = http_ports.is_empty() || http_ports.len() == members.len();
    whole.then_some(ClusterFile { id, begun, members, http_ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_it_was_written_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        let members: Members = "1=127.0.0.1:1@2,2=127.0.0.1:3@4".parse().unwrap();
        for begun in [false, true] {
            let (members, http_ports) = (members.clone(), vec![5, 6]);
            let file = ClusterFile { id: fresh_id(), begun, members, http_ports };
            save(dir.path(), &file).unwrap();
            assert_eq!(load(dir.path()).unwrap(), Some(file));
        }
        let whole = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        let old = whole.replace("http 5,6\n", "");
        std::fs::write(dir.path().join(NAME), old).unwrap();
        assert_eq!(load(dir.path()).unwrap().unwrap().http_ports, Vec::<u16>::new());
        let (maybe, one) = (whole.replace("yes", "maybe"), whole.replace("5,6", "5"));
        for bad in ["", "cluster x", &whole[..30], &maybe, &one] {
            std::fs::write(dir.path().join(NAME), bad).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
    }

    #[test]
    fn two_clusters_have_two_numbers() {
        assert_ne!(fresh_id(), fresh_id());
    }
}
