//! The format, by the examples of its page.

use std::{
    collections::BTreeSet,
    io::{BufReader, Write},
};

use super::*;

/// Lines of the examples in TRACE.md: headers, events.
fn examples() -> (Vec<&'static str>, Vec<&'static str>) {
    let page = include_str!("../../TRACE.md");
    let lines = page.lines().filter(|line| line.starts_with('{'));
    lines.partition(|line| line.starts_with("{\"trace\""))
}

fn header() -> Header {
    Header::of_run("sim", 7, vec![1, 2, 3])
}

fn read(lines: &[&str]) -> Reader<BufReader<std::io::Cursor<String>>> {
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    Reader::new(BufReader::new(std::io::Cursor::new(text))).unwrap()
}

#[test]
fn the_examples_of_the_page_are_what_is_written_and_what_is_read() {
    let (headers, events) = examples();
    assert_eq!(serde_json::to_string(&header()).unwrap(), headers[0]);
    for line in &headers {
        assert_eq!(&serde_json::to_string(read(&[line]).header()).unwrap(), line);
    }
    let mut kinds = std::collections::HashSet::new();
    let all: Vec<_> = [&headers[..1], &events[..]].concat();
    for (event, line) in read(&all).zip(&events) {
        let event = event.unwrap();
        assert_eq!(&serde_json::to_string(&event).unwrap(), line);
        kinds.insert(std::mem::discriminant(&event.what));
    }
    assert_eq!(kinds.len(), 21, "an example of each kind");
}

#[test]
fn a_newer_version_is_refused_and_what_is_no_trace_too() {
    let new = |first: &str| Reader::new(format!("{first}\n").as_bytes()).map(|_| ());
    let newer = new(&serde_json::to_string(&header()).unwrap().replace("trace/1", "trace/2"));
    assert!(matches!(newer, Err(ReadError::Newer(2))), "{newer:?}");
    for other in ["", "{}", "000123 VOTE S0 hello", "{\"trace\":\"other/1\"}", "{\"trace\":1}"] {
        assert!(matches!(new(other), Err(ReadError::NotATrace)), "{other}");
    }
}

#[test]
fn what_a_reader_does_not_know_it_leaves_out() {
    let (headers, events) = examples();
    let odd = "{\"t\":1,\"n\":0,\"q\":1,\"e\":\"weather\",\"rain\":true}";
    let more = events[0].replace('}', ",\"mood\":\"good\"}");
    let found: Vec<_> = read(&[headers[0], odd, &more]).map(Result::unwrap).collect();
    let expected: Vec<_> = read(&[headers[0], events[0]]).map(Result::unwrap).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_line_that_is_no_event_is_an_error_and_the_next_is_read() {
    let (headers, events) = examples();
    let long = "x".repeat(usize::try_from(LINE_MAX).unwrap() * 3);
    let mut reader = read(&[headers[0], "nonsense", &long, "", events[0]]);
    for line in 2..=4 {
        let error = reader.next().unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Line { line: at, .. } if at == line), "{error}");
    }
    assert!(reader.next().unwrap().is_ok());
    assert!(reader.next().is_none());
}

#[test]
fn a_reader_goes_on_where_the_writer_was() {
    let (headers, events) = examples();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let mut file = std::fs::File::create(&path).unwrap();
    let (begin, end) = events[0].split_at(20);
    write!(file, "{}\n{begin}", headers[0]).unwrap();
    let from = BufReader::new(std::fs::File::open(&path).unwrap());
    let mut reader = Reader::new(from).unwrap();
    assert!(reader.next().is_none(), "the line has no end yet");
    assert!(reader.next().is_none());
    writeln!(file, "{end}").unwrap();
    assert!(reader.next().unwrap().is_ok());
    assert!(reader.next().is_none());
}

#[test]
fn every_prefix_of_a_trace_reads_as_its_whole_lines() {
    let (headers, events) = examples();
    let text = [headers[0], events[0], events[1], ""].join("\n");
    for len in headers[0].len() + 1..=text.len() {
        let found = Reader::new(&text.as_bytes()[..len]).unwrap().map(Result::unwrap).count();
        let whole = text[..len].matches('\n').count() - 1;
        assert_eq!(found, whole, "of {len} bytes");
    }
}

#[test]
fn a_tracer_that_is_off_builds_nothing_and_one_that_is_on_writes_whole_lines() {
    Tracer::off().note(1, || unreachable!("nobody listens"));
    let (tracer, recording) = Tracer::to_memory(&header());
    tracer.set_time(5);
    tracer.note(2, || What::Sync { us: 9 });
    tracer.set_time(8);
    tracer.of(3).note(|| What::mark("note", "two\nlines"));
    let bytes = recording.bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(text.lines().nth(1), Some(r#"{"t":5,"n":2,"q":1,"e":"sync","us":9}"#));
    let events: Vec<_> = Reader::new(&bytes[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!((events[1].at, events[1].node, events[1].number), (8, 3, 2));
    assert_eq!(events[1].what, What::mark("note", "two\nlines"));
}

#[test]
fn the_trace_of_an_earlier_start_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    for name in ["trace", "trace.2", "trace.3"] {
        let (tracer, at) = Tracer::to_new_file(&path, &header()).unwrap();
        assert_eq!(at, dir.path().join(name));
        tracer.note(1, || What::mark("note", name));
    }
    for name in ["trace", "trace.2", "trace.3"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        let events: Vec<_> = Reader::new(&bytes[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(events[0].what, What::mark("note", name));
    }
    let nowhere = Tracer::to_new_file(dir.path().join("no/such"), &header());
    assert!(nowhere.is_err());
}

#[test]
fn a_trace_that_cannot_be_written_ends_and_nobody_else_notices() {
    /// Takes so many writes.
    struct Full(u32);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let tracer = Tracer::to_writer(Full(2), &header()).unwrap();
    (0..5).for_each(|us| tracer.note(1, || What::Sync { us }));
    assert!(Tracer::to_writer(Full(0), &header()).is_err());
}

#[test]
fn ids_of_messages_differ_by_sender_start_and_number() {
    let mut ids = BTreeSet::new();
    for from in 1..=32 {
        for incarnation in 1..=20 {
            for number in [0, 1, 2, 1 << 36] {
                let id = message_id(from, incarnation, number);
                assert!(ids.insert(id) && id < 1 << 53, "{from} {incarnation} {number}");
            }
        }
    }
    assert!(message_id(u64::MAX, u64::MAX, u64::MAX) < 1 << 53);
}
