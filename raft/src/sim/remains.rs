//! What is left of a run that failed, as files: the trace, its timeline beside it, and each node's
//! directory.
//!
//! ```text
//!   DIR/trace.ndjson    what happened (see `TRACE.md`)
//!   DIR/timeline.html   the same as a page for a browser
//!   DIR/node-1/…        the files of a node's disk
//! ```
//! Above: the binary `sim`, and the tests. Below: the writer of pages, which nothing else of this
//! package knows.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::play::Disks;

/// Writes it all into a directory, which is made if it is not there. Returns what was written, in
/// words: a line for the trace, the timeline and each node.
///
/// # Errors
/// If something cannot be written.
pub fn write(dir: &Path, trace: &[u8], disks: &Disks) -> io::Result<String> {
    fs::create_dir_all(dir)?;
    let path = dir.join("trace.ndjson");
    fs::write(&path, trace)?;
    let page = raft_lab_timeline::beside(&path).map_err(io::Error::other)?;
    let mut said =
        format!("its trace: {}\nits timeline: {}\n", path.display(), openable(&page).display());
    for (id, files) in disks {
        let node = dir.join(format!("node-{id}"));
        for (name, bytes) in files {
            let path = node.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&node))?;
            fs::write(path, bytes)?;
        }
        said += &format!("node {id}: {}\n", node.display());
    }
    Ok(said)
}

/// The path from the root, which a browser wants, where there is one.
fn openable(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Header, Tracer, What};

    #[test]
    fn a_run_leaves_its_trace_its_timeline_and_its_directories() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tracer, recording) = Tracer::to_memory(&Header::of_run("sim", 9, vec![1, 2]));
        tracer.note(0, || What::mark("fail", "the reason"));
        let files = vec![("a.log".to_owned(), vec![1]), ("snap/b".to_owned(), vec![2, 3])];
        let at = dir.path().join("made/here");
        let said =
            write(&at, &recording.bytes(), &Disks::from([(2, files)])).expect("it is written");
        assert_eq!(fs::read(at.join("trace.ndjson")).expect("the trace"), recording.bytes());
        assert_eq!(fs::read(at.join("node-2/snap/b")).expect("a file"), [2, 3]);
        let page = fs::read_to_string(at.join("timeline.html")).expect("the page");
        assert!(page.contains("the reason") && page.contains("seed 9"), "{page}");
        assert!(said.contains("/timeline.html\n") && said.contains("node 2: "), "{said}");
    }
}
