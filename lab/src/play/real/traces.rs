//! The traces of all nodes as one: each process writes a file of its own, with a clock of its own.
//!
//! Above: `real`. Below: the reader of traces. Files of one machine have one clock, so that they
//! are put in order by when each began and how long after that something happened. A line that is
//! not written to its end yet is not there yet.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Cursor},
    path::{Path, PathBuf},
};

use hardlog_raft::trace::{Event, Header, Reader, What};

/// Bytes of all files together that are put in order; a page holds less than that.
const BYTES_MAX: u64 = 256 << 20;

/// The calls of one start of a node are counted below this.
const CALLS: u64 = 1_000_000;

/// An event with the time that all files share.
type Timed = (u64, Event);

/// One trace of all files in `dir` and of what was told here.
pub(super) fn merged(dir: &Path, own: Vec<u8>, nodes: Vec<u64>) -> Result<Vec<u8>, String> {
    let mut events = Vec::new();
    let mut all = own.len() as u64;
    for path in files(dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        all += fs::metadata(&path).map_or(0, |meta| meta.len());
        if all > BYTES_MAX {
            return Err(format!("more than {BYTES_MAX} bytes of traces: see {}", dir.display()));
        }
        let named = |why: String| format!("{}: {why}", path.display());
        let file = File::open(&path).map_err(|error| named(error.to_string()))?;
        // A node that was killed at its very start may not have told what it is.
        let Ok(reader) = Reader::new(BufReader::new(file)) else { continue };
        read(reader, start_of(&path), &mut events).map_err(named)?;
    }
    let own = Reader::new(Cursor::new(own)).map_err(|why| why.to_string())?;
    read(own, 1, &mut events)?;
    events.sort_by_key(|(at, event)| (*at, event.node, event.number));
    written(events, nodes).map_err(|error| error.to_string())
}

/// The verdict of a node's last start, as it told it: its newest file begins with it.
pub(super) fn verdict(dir: &Path, node: u64) -> Option<(String, Option<String>)> {
    let newest = (1..).map(|start| file(dir, node, start)).take_while(|path| path.exists()).last();
    let mut reader = Reader::new(BufReader::new(File::open(newest?).ok()?)).ok()?;
    reader.find_map(|event| match event {
        Ok(Event { what: What::Recover { verdict, detail, .. }, .. }) => {
            Some((verdict.into_owned(), detail.map(Into::into)))
        }
        _ => None,
    })
}

/// What the files got since they were asked last.
#[derive(Default)]
pub(super) struct News {
    readers: BTreeMap<PathBuf, Reader<BufReader<File>>>,
}

impl News {
    /// The new events as lines, in order, with times since `origin`, in microseconds since 1970.
    pub(super) fn lines(&mut self, dir: &Path, origin: u64) -> Vec<u8> {
        let mut events = Vec::new();
        for path in files(dir).unwrap_or_default() {
            if !self.readers.contains_key(&path) {
                let reader = File::open(&path).ok().map(BufReader::new);
                // One without a header yet is tried again the next time.
                let Some(Ok(reader)) = reader.map(Reader::new) else { continue };
                self.readers.insert(path.clone(), reader);
            }
            let Some(reader) = self.readers.get_mut(&path) else { continue };
            let begin = reader.header().start_unix_us.unwrap_or(0);
            let new = reader.by_ref().map_while(Result::ok);
            events.extend(new.map(|event| (begin.saturating_add(event.at), event)));
        }
        events.sort_by_key(|(at, event)| (*at, event.node, event.number));
        let mut lines = Vec::new();
        for (at, event) in events {
            let at = at.saturating_sub(origin);
            if serde_json::to_writer(&mut lines, &Event { at, ..event }).is_ok() {
                lines.push(b'\n');
            }
        }
        lines
    }
}

/// Lines of events by their time, with which each begins; a header comes first.
pub(super) fn in_order(lines: &[u8]) -> Vec<u8> {
    let time = |line: &[u8]| {
        let text = str::from_utf8(line).ok()?.strip_prefix("{\"t\":")?;
        text.split_once(',')?.0.parse::<u64>().ok()
    };
    let mut lines: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_by_key(|line| time(line));
    lines.concat()
}

/// The file of a node's start, counted from 1.
fn file(dir: &Path, node: u64, start: u64) -> PathBuf {
    match start {
        1 => dir.join(format!("node-{node}.ndjson")),
        start => dir.join(format!("node-{node}.ndjson.{start}")),
    }
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("node-") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Which start of its node a file is of.
fn start_of(path: &Path) -> u64 {
    let number = path.extension().and_then(|number| number.to_str()?.parse().ok());
    number.filter(|start| *start > 0).unwrap_or(1)
}

fn read<R: BufRead>(reader: Reader<R>, start: u64, to: &mut Vec<Timed>) -> Result<(), String> {
    let begin = reader.header().start_unix_us.ok_or("its clock is not the machine's")?;
    for event in reader {
        let mut event = event.map_err(|why| why.to_string())?;
        // Each start counts its clients' calls from 1; in one trace they must differ.
        if let What::Call { serial, .. } | What::Return { serial, .. } = &mut event.what {
            *serial = serial.saturating_add((start - 1).saturating_mul(CALLS));
        }
        to.push((begin.saturating_add(event.at), event));
    }
    Ok(())
}

/// Events in order as one trace.
fn written(events: Vec<Timed>, nodes: Vec<u64>) -> io::Result<Vec<u8>> {
    let begin = events.first().map_or(0, |(at, _)| *at);
    let mut header = Header::of_process("play", nodes);
    header.start_unix_us = Some(begin);
    let mut text = serde_json::to_vec(&header)?;
    text.push(b'\n');
    for (number, (at, event)) in (1..).zip(events) {
        serde_json::to_writer(&mut text, &Event { at: at - begin, number, ..event })?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use hardlog_raft::trace::Tracer;
    use tempfile::TempDir;

    use super::*;

    fn trace(dir: &Path, name: &str, begin: u64, lines: &str) {
        let header = format!(
            r#"{{"trace":"hardlog.trace/1","source":"kv","nodes":[1,2],"clock":"unix","start_unix_us":{begin}}}"#
        );
        fs::write(dir.join(name), format!("{header}\n{lines}")).unwrap();
    }

    #[test]
    fn files_of_several_starts_become_one_trace_in_order() {
        let dir = TempDir::new().unwrap();
        trace(
            dir.path(),
            "node-1.ndjson",
            1_000,
            "{\"t\":5,\"n\":1,\"q\":1,\"e\":\"recover\",\"verdict\":\"new\",\"first\":1,\"last\":0}\n\
             {\"t\":50,\"n\":1,\"q\":2,\"e\":\"commit\",\"index\":1,\"term\":1}\n",
        );
        trace(
            dir.path(),
            "node-1.ndjson.2",
            2_000,
            "{\"t\":1,\"n\":1,\"q\":1,\"e\":\"recover\",\"verdict\":\"unproven-tail\",\"first\":1,\"last\":1}\n\
             {\"t\":2,\"n\":1,\"q\":2,\"e\":\"com",
        );
        trace(
            dir.path(),
            "node-2.ndjson",
            1_020,
            "{\"t\":10,\"n\":2,\"q\":1,\"e\":\"commit\",\"index\":1,\"term\":1}\n",
        );
        fs::write(dir.path().join("node-3.ndjson"), "{\"trace\":").unwrap();
        let (tracer, recording) = Tracer::to_memory(&Header::of_process("play", vec![1, 2]));
        tracer.note(0, || What::mark("note", "the last of all"));
        let text = merged(dir.path(), recording.bytes(), vec![1, 2]).unwrap();
        let events: Vec<Event> =
            Reader::new(text.as_slice()).unwrap().map(Result::unwrap).collect();
        let seen: Vec<_> =
            events.iter().map(|event| (event.at, event.node, event.number)).collect();
        assert_eq!(seen[..4], [(0, 1, 1), (25, 2, 2), (45, 1, 3), (996, 1, 4)]);
        assert_eq!((seen.len(), seen[4].1, seen[4].2), (5, 0, 5));
        assert_eq!(verdict(dir.path(), 1), Some(("unproven-tail".to_owned(), None)));
        assert_eq!(verdict(dir.path(), 2), None);
    }

    #[test]
    fn lines_are_put_in_order_behind_a_header() {
        let lines = b"{\"t\":20,\"n\":1}\n{\"trace\":1}\n{\"t\":3,\"n\":2}\n";
        let ordered = String::from_utf8(in_order(lines)).unwrap();
        assert_eq!(ordered, "{\"trace\":1}\n{\"t\":3,\"n\":2}\n{\"t\":20,\"n\":1}\n");
    }

    #[test]
    fn news_are_told_once() {
        let dir = TempDir::new().unwrap();
        let mut news = News::default();
        let line = "{\"t\":1,\"n\":1,\"q\":1,\"e\":\"commit\",\"index\":1,\"term\":1}\n";
        trace(dir.path(), "node-1.ndjson", 7, line);
        assert_eq!(String::from_utf8(news.lines(dir.path(), 7)).unwrap(), line);
        assert_eq!(news.lines(dir.path(), 7), b"");
        trace(dir.path(), "node-1.ndjson", 7, &format!("{line}{line}"));
        assert_eq!(String::from_utf8(news.lines(dir.path(), 7)).unwrap(), line);
    }
}
