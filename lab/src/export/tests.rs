//! What other viewers demand, held against a trace with everything in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Export, chrome::Chrome, shiviz::Shiviz};
use crate::{format::Reading, lines::Line};

const TRACE: &str = r#"{"trace":"hardlog.trace/1","source":"sim","seed":1,"nodes":[1,2],"clock":"virtual"}
{"t":10,"n":1,"q":1,"e":"role","term":1,"role":"leader"}
{"t":11,"n":2,"q":2,"e":"role","term":1,"role":"follower","leader":1}
{"t":12,"n":0,"q":3,"e":"call","client":7,"serial":1,"op":"set a\nb"}
{"t":20,"n":1,"q":4,"e":"write","first":1,"last":1,"batch":1}
{"t":20,"n":1,"q":5,"e":"send","m":18446744073709551615,"to":2,"kind":"append","term":1,"first":1,"last":1}
{"t":21,"n":1,"q":6,"e":"send","m":6,"to":2,"kind":"heartbeat","term":1}
{"t":25,"n":2,"q":7,"e":"recv","m":18446744073709551615,"from":1,"kind":"append"}
{"t":26,"n":2,"q":8,"e":"recv","m":18446744073709551615,"from":1,"kind":"append"}
{"t":27,"n":1,"q":9,"e":"lost","m":6,"to":2,"why":"dropped"}
{"t":28,"n":2,"q":10,"e":"send","m":7,"to":1,"kind":"append-reply","term":1,"last":1}
{"t":30,"n":1,"q":11,"e":"sync","us":9}
{"t":33,"n":1,"q":12,"e":"recv","m":7,"from":2,"kind":"append-reply"}
{"t":33,"n":1,"q":13,"e":"commit","index":1,"term":1}
{"t":34,"n":1,"q":14,"e":"apply","first":1,"last":1}
{"t":35,"n":0,"q":15,"e":"return","client":7,"serial":1,"ok":true}
{"t":40,"n":0,"q":16,"e":"fault","what":"crash","nodes":[2]}
{"t":40,"n":2,"q":17,"e":"role","term":1,"role":"down"}
{"t":50,"n":2,"q":18,"e":"recover","verdict":"clean-end","first":1,"last":1}
{"t":60,"n":0,"q":19,"e":"violation","rule":"5","text":"</script>\u001b"}
no json
"#;

fn exported(mut export: impl Export) -> String {
    let (mut reading, mut written) = (Reading::default(), Vec::new());
    for (number, text) in TRACE.lines().enumerate() {
        let (bytes, number) = (text.as_bytes().to_vec(), number as u64 + 1);
        let line = Line { number, len: bytes.len() as u64, bytes };
        if let Some(row) = reading.row(&line).unwrap() {
            export.row(&row, &mut written).unwrap();
        }
    }
    export.end(&mut written).unwrap();
    String::from_utf8(written).unwrap()
}

/// What the description of the trace event format asks of each kind of event.
#[test]
fn the_trace_event_format_is_kept() {
    let whole: Value = serde_json::from_str(&exported(Chrome::default())).unwrap();
    assert_eq!(whole["displayTimeUnit"], "ms");
    let events = whole["traceEvents"].as_array().unwrap();
    let (mut begun, mut kinds) = (BTreeSet::new(), BTreeMap::<&str, u32>::new());
    for event in events {
        let kind = event["ph"].as_str().unwrap();
        *kinds.entry(kind).or_default() += 1;
        assert!(event["name"].is_string() && event["pid"].is_u64(), "{event}");
        assert!(event["tid"].is_u64() && (kind == "M" || event["ts"].is_u64()), "{event}");
        let id = || format!("{}{}", event["cat"], event["id"].as_str().unwrap());
        match kind {
            "X" => assert!(event["dur"].is_u64(), "{event}"),
            "i" => assert!(["g", "p", "t"].contains(&event["s"].as_str().unwrap())),
            "C" => assert!(event["args"]["index"].is_u64()),
            "s" | "b" => assert!(begun.insert(id()), "{event} began before"),
            "f" => assert!(begun.remove(&id()) && event["bp"] == "e", "{event} ends twice"),
            "e" => assert!(begun.remove(&id()), "{event} never began"),
            "M" => assert!(event["args"].is_object()),
            other => panic!("{other}"),
        }
        if ["s", "f"].contains(&kind) {
            let under = |slice: &&Value| {
                ["pid", "tid", "ts"].iter().all(|key| slice[key] == event[key])
                    && slice["ph"] == "X"
            };
            assert!(events.iter().any(|slice| under(&slice)), "{event} hangs in the air");
        }
    }
    assert_eq!(begun.len(), 1, "the lost one");
    let expected = [("C", 2), ("X", 11), ("b", 1), ("e", 1), ("f", 2), ("s", 3)];
    for (kind, count) in expected {
        assert_eq!(kinds[kind], count, "{kind} of {kinds:?}");
    }
    let leader = events.iter().find(|event| event["name"] == "leader, term 1").unwrap();
    assert_eq!((&leader["ts"], &leader["dur"]), (&Value::from(10), &Value::from(50)));
    let sync = events.iter().find(|event| event["name"] == "synced in 9 µs").unwrap();
    assert_eq!((&sync["ts"], &sync["dur"]), (&Value::from(21), &Value::from(9)));
}

#[test]
fn a_trace_without_events_is_still_json() {
    let mut bytes = Vec::new();
    Chrome::default().end(&mut bytes).unwrap();
    let whole: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(whole["traceEvents"], serde_json::json!([]));
}

/// `(?<host>\S*) (?<clock>{.*})\n(?<event>.*)`, and clocks as vector clocks are: a host counts its
/// own events, and knows of others only what a message can have brought.
#[test]
fn shiviz_reads_it_and_its_clocks_are_consistent() {
    let text = exported(Shiviz::default());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len() % 2, 0);
    let mut known = BTreeMap::<String, BTreeMap<String, u64>>::new();
    let mut arrivals = 0;
    for pair in lines.chunks(2) {
        let (host, clock) = pair[0].split_once(' ').unwrap();
        assert!(!host.contains(char::is_whitespace) && clock.starts_with('{'), "{}", pair[0]);
        let clock: BTreeMap<String, u64> = serde_json::from_str(clock).unwrap();
        let counts: BTreeMap<String, u64> =
            known.iter().map(|(host, clock)| (host.clone(), clock[host])).collect();
        let before = known.entry(host.to_owned()).or_default();
        assert_eq!(clock[host], before.get(host).copied().unwrap_or(0) + 1, "{}", pair[0]);
        assert!(clock.values().all(|count| *count > 0), "{host} knows of nothing: {}", pair[0]);
        for (other, count) in clock.iter().filter(|(other, _)| *other != host) {
            assert!(count <= &counts[other], "{host} knows of event {count} of {other} too early");
            assert!(*count >= before.get(other).copied().unwrap_or(0), "{host} forgets");
        }
        let learns =
            clock.iter().any(|(other, count)| other != host && before.get(other) != Some(count));
        assert_eq!(learns, pair[1].starts_with('←') && arrivals != 1, "{}: {}", host, pair[1]);
        arrivals += u32::from(pair[1].starts_with('←'));
        known.insert(host.to_owned(), clock);
    }
    assert_eq!(arrivals, 3, "one of them for the second time");
    assert!(text.contains("node1 {\"node1\":"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
