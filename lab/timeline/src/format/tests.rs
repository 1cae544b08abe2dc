use super::*;
use crate::row::Role;

fn rows(text: &'static str) -> (Reading, Vec<Row>) {
    let mut reading = Reading::default();
    let mut lines = crate::lines::Lines::of(text.as_bytes());
    let mut rows = Vec::new();
    while let Some(line) = lines.next(|| Ok(())).unwrap() {
        rows.extend(reading.row(&line).unwrap());
    }
    (reading, rows)
}

fn only(text: &'static str) -> Row {
    let (_, mut rows) = rows(text);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[test]
fn a_line_of_the_students_helpers_has_time_topic_server_and_term() {
    let row = only("000123 VOTE S0 asks S1 for its vote (T:3)");
    assert_eq!((row.place, &*row.topic, row.clock.as_str()), (Place::Node(0), "VOTE", "000123"));
    assert_eq!((row.micros, row.term), (Some(12_300), Some(3)));
    assert_eq!(only("000123 LEAD S10 converts to Leader at T4").role, Some(Role::Leader));
    assert_eq!(only("000123 TEST S1 is cut").place, Place::Wide);
    assert_eq!(only("000123 INFO Starting").place, Place::Wide);
}

#[test]
fn the_words_of_a_test_and_a_panic_go_across() {
    let (reading, rows) = rows("Test (2A): election ...\n000123 VOTE S0 x\npanic: index\n");
    assert_eq!(reading.format(), Some(Format::Students));
    assert_eq!(rows[0].place, Place::Wide);
    assert!(rows[2].alarm && rows[2].place == Place::Wide);
}

#[test]
fn a_go_log_has_tests_servers_services_and_clients() {
    let (reading, rows) = rows(
        "=== RUN   TestElection\n12:00:00.000010 [0] becomes Candidate (currentTerm=7); log=[]\n\
         12:00:00.000015 [kv 2] reports\n12:00:00.000020 [client001] sends\n\
         --- FAIL: TestElection (0.46s)\n    raft_test.go:1: oh\n",
    );
    assert_eq!(reading.format(), Some(Format::GoTest));
    assert_eq!((&*rows[0].kind, rows[0].text.as_str()), ("test", "TestElection"));
    assert_eq!((rows[1].role, rows[1].term), (Some(Role::Candidate), Some(7)));
    assert_eq!((rows[2].place, rows[2].text.as_str()), (Place::Node(2), "[kv] reports"));
    assert_eq!((rows[3].place, rows[3].micros), (Place::World, Some(10)));
    assert!(rows[4].alarm && &*rows[4].kind == "fail");
    assert!(!rows[5].alarm);
}

#[test]
fn midnight_is_no_step_back() {
    let (_, rows) = rows("23:59:59.500000 [1] a\n00:00:00.500000 [1] b\n00:00:00.400000 [2] c\n");
    let micros: Vec<_> = rows.iter().map(|row| row.micros.unwrap()).collect();
    assert_eq!(micros, [0, 1_000_000, 1_000_000]);
}

const HEAD: &str =
    r#"{"trace":"hardlog.trace/1","source":"sim","seed":7,"nodes":[1,2,3],"clock":"virtual"}"#;

fn event(text: &str) -> Row {
    let text: &'static str = format!("{HEAD}\n{text}\n").leak();
    only(text)
}

#[test]
fn events_of_a_trace_become_sentences() {
    for (event, sentence) in [
        (r#""e":"role","term":3,"role":"leader""#, "becomes leader, term 3"),
        (
            r#""e":"vote","term":3,"for":2,"granted":false,"pre":true,"why":"log behind""#,
            "refuses its vote to 2, term 3 (pre-vote): log behind",
        ),
        (
            r#""e":"send","m":9,"to":2,"kind":"append","term":3,"prev":4,"first":5,"last":7,"commit":4"#,
            "→ 2 append 5..7 after 4, term 3, commit 4",
        ),
        (
            r#""e":"send","m":9,"to":1,"kind":"append-reply","term":3,"reject":true,"conflict_term":2,"conflict_index":4"#,
            "→ 1 append-reply, term 3, rejected, conflict at 4 of term 2",
        ),
        (r#""e":"sync","us":812"#, "synced in 812 µs"),
        (r#""e":"write","first":5,"last":5,"term":3,"batch":8"#, "writes 5, term 3, batch 8"),
        (r#""e":"fault","what":"cut","nodes":[1,2]"#, "fault cut 1 2"),
        (r#""e":"return","client":1,"serial":2,"ok":true,"result":"5""#, "client 1 hears 2: ok, 5"),
        (r#""e":"mark","what":"note","text":"hello""#, "hello"),
        (r#""e":"novel","x":1,"y":"z""#, "novel x=1 y=z"),
    ] {
        let row = self::event(&format!(r#"{{"t":1500000,"n":1,"q":1,{event}}}"#));
        assert_eq!(row.text, sentence);
        assert_eq!(row.clock, "1.500000");
    }
}

#[test]
fn a_commit_concerns_all_that_it_commits() {
    let text: &'static str = format!(
        "{HEAD}\n{}\n{}\n{}\n",
        r#"{"t":1,"n":1,"q":1,"e":"commit","index":3,"term":1}"#,
        r#"{"t":2,"n":1,"q":2,"e":"commit","index":7,"term":1}"#,
        r#"{"t":3,"n":1,"q":3,"e":"trim-tail","after":7}"#
    )
    .leak();
    let (reading, rows) = rows(text);
    assert_eq!(rows[1].indexes, Some(4..=7));
    assert!(rows[2].concerns(8) && !rows[2].concerns(7));
    assert_eq!(reading.header().seed, Some(7));
    assert_eq!(reading.nodes().iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn what_is_hostile_becomes_a_row_that_says_so() {
    for bad in ["{", "[1]", "nonsense", r#"{"t":1}"#, r#"{"e":{}}"#, "{\"e\":\"x\",\"t\":-1"] {
        let row = event(bad);
        assert!(row.broken, "{bad}: {row:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(event(&deep).broken);
    let odd = r#"{"e":"send","t":"x","n":{},"first":9,"last":2,"to":[[1],null]}"#;
    assert!(!event(odd).broken);
    let range = event(r#"{"e":"write","t":1,"n":1,"first":9,"last":2}"#);
    assert!(!range.concerns(5));
}

#[test]
fn a_newer_version_is_refused_and_a_trace_without_its_front_is_read() {
    let mut reading = Reading::default();
    let text = br#"{"trace":"hardlog.trace/2","nodes":[1]}"#.to_vec();
    let line = Line { number: 1, len: text.len() as u64, bytes: text };
    assert!(reading.row(&line).unwrap_err().0.contains("version 2"));
    assert_eq!(only(r#"{"t":1,"n":2,"q":3,"e":"sync","us":5}"#).text, "synced in 5 µs");
}

#[test]
fn no_file_gets_more_columns_than_there_are() {
    let mut text = String::new();
    for server in 0..200 {
        text += &format!("000123 VOTE S{server} x\n");
    }
    let (reading, rows) = rows(text.leak());
    assert_eq!(reading.nodes().len(), NODES_MAX);
    assert_eq!(rows[150].place, Place::Wide);
    assert!(rows[150].text.starts_with("node 150: "));
}
