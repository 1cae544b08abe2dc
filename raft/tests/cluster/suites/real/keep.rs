//! What a cluster of processes leaves when its test fails: one trace of all of them, its timeline,
//! and each server's directory.
//!
//! ```text
//!   DIR/1  DIR/2 …              directories of servers, whose processes are gone
//!   DIR/1.ndjson  1.ndjson.2    a trace for each start of a server     ─┐
//!   DIR/0.ndjson                what the test did to them              ─┴▶ one trace, by time
//! ```
//! Real time is not replayed, so this is all that there will ever be to look at. The clocks of the
//! processes are one clock, but each trace begins some microseconds after it read it.
//!
//! Above: the runner of the suites in real time. Below: the package's reader of traces.

use std::{
    fs,
    io::{self, BufReader},
    path::Path,
};

use hardlog_raft::{
    NodeId,
    sim::{play::Disks, remains},
    trace::{Event, Header, Reader},
};

/// Where the test itself writes what it does.
pub(super) const OWN_TRACE: &str = "0.ndjson";

/// Writes all of it below `to`. Returns what was written, in words.
pub(super) fn keep(cluster: &Path, to: &Path) -> io::Result<String> {
    let mut disks = Disks::new();
    for entry in fs::read_dir(cluster)? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()?.parse::<NodeId>().ok());
        if let Some(id) = id.filter(|_| path.is_dir()) {
            let mut files = Vec::new();
            read(&path, "", &mut files)?;
            disks.insert(id, files);
        }
    }
    remains::write(to, &merged(cluster)?, &disks)
}

/// All files below a directory, by their path within it.
fn read(dir: &Path, front: &str, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{front}{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => read(&entry.path(), &format!("{name}/"), files)?,
            false => files.push((name, fs::read(entry.path())?)),
        }
    }
    Ok(())
}

/// The traces of all processes as one, in the order of their times.
fn merged(cluster: &Path) -> io::Result<Vec<u8>> {
    let (mut all, mut first): (Vec<(u64, Event)>, Option<Header>) = (Vec::new(), None);
    for entry in fs::read_dir(cluster)? {
        let path = entry?.path();
        if !path.to_string_lossy().contains(".ndjson") {
            continue;
        }
        // One that was killed before its first line was whole said nothing.
        let Ok(events) = Reader::new(BufReader::new(fs::File::open(path)?)) else { continue };
        let header = events.header().clone();
        let began = header.start_unix_us.unwrap_or(0);
        all.extend(events.flatten().map(|event| (began + event.at, event)));
        if first.as_ref().is_none_or(|first| began < first.start_unix_us.unwrap_or(0)) {
            first = Some(header);
        }
    }
    let header = first.ok_or(io::ErrorKind::NotFound)?;
    all.sort_by_key(|(at, event)| (*at, event.number));
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    for (number, (at, event)) in (1..).zip(all) {
        let at = at - header.start_unix_us.unwrap_or(0);
        serde_json::to_writer(&mut bytes, &Event { at, number, ..event })?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

#[test]
fn traces_of_processes_become_one_in_the_order_of_their_times() {
    use hardlog_raft::trace::{Tracer, What};
    let dir = tempfile::tempdir().expect("a directory");
    let tracer = |name: &str| {
        let header = Header::of_process("suite", vec![1, 2]);
        Tracer::to_file(dir.path().join(name), &header).expect("a file")
    };
    let said = |index| move || What::Commit { index, term: 1 };
    let (own, first) = (tracer(OWN_TRACE), tracer("1.ndjson"));
    // Clocks of two processes agree to some microseconds.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(2));
    own.note(0, || What::mark("test", "x"));
    pause();
    first.note(1, said(1));
    let again = tracer("1.ndjson.2");
    pause();
    own.note(2, said(2));
    pause();
    again.note(1, said(3));
    fs::write(dir.path().join("2.ndjson"), "{\"trace\":\"hard").expect("a file");
    fs::create_dir_all(dir.path().join("2/sub")).expect("a directory");
    fs::write(dir.path().join("2/sub/file"), "bytes").expect("a file");
    let to = dir.path().join("kept");
    keep(dir.path(), &to).expect("it is kept");
    assert_eq!(fs::read(to.join("node-2/sub/file")).expect("a file"), b"bytes");
    assert!(to.join("timeline.html").exists());
    let trace = fs::read(to.join("trace.ndjson")).expect("the trace");
    let events = Reader::new(trace.as_slice()).expect("a header").map(|event| event.expect("one"));
    let events: Vec<Event> = events.collect();
    assert!(events.is_sorted_by_key(|event| event.at), "{events:?}");
    let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
    let indexes = events.iter().map(|event| match event.what {
        What::Commit { index, .. } => index,
        _ => 0,
    });
    assert_eq!((numbers, indexes.collect::<Vec<_>>()), (vec![1, 2, 3, 4], vec![0, 1, 2, 3]));
}
