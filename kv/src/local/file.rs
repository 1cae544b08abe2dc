//! `DIR/cluster`: what a local cluster must remember between starts.
//!
//! ```text
//! cluster 00d1c5f0a2b3e4d5
//! begun yes
//! nodes 1=127.0.0.1:40001@40002,2=127.0.0.1:40003@40004
//! ```

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
    format!("cluster {:016x}\nbegun {begun}\nnodes {}\n", file.id, file.members)
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
    Some(ClusterFile { id, begun, members: value("nodes")?.parse().ok()? })
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
            let file = ClusterFile { id: fresh_id(), begun, members: members.clone() };
            save(dir.path(), &file).unwrap();
            assert_eq!(load(dir.path()).unwrap(), Some(file));
        }
        let whole = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        for bad in ["", "cluster x", &whole[..30], &whole.replace("yes", "maybe")] {
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
