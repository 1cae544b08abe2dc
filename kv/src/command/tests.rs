use super::*;
use crate::{
    limits::SCAN_COUNT_MAX,
    op::{Answer, When},
    outcome::Outcome,
    query::Scan,
    store::Keyspace,
};

fn parse(words: &[&str]) -> Result<Command, Reply> {
    Command::parse(words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn refused(words: &[&str]) -> String {
    match parse(words) {
        Err(Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{words:?} gave {other:?}"),
    }
}

#[test]
fn writes_become_ops_with_the_slot_of_their_first_key() {
    let op = |words| match parse(words) {
        Ok(Command::Write { op, slot }) => (op, slot),
        other => panic!("{words:?} gave {other:?}"),
    };
    let set = Op::Set { key: bytes("foo"), value: bytes("v") };
    assert_eq!(op(&["set", "foo", "v"]), (set, 12182));
    assert_eq!(op(&["Incr", "foo"]), (Op::Incr { key: bytes("foo") }, 12182));
    let del = Op::Del { keys: vec![bytes("foo"), bytes("b")] };
    assert_eq!(op(&["DEL", "foo", "b"]), (del, 12182));
    let pairs = vec![(bytes("foo"), bytes("1")), (bytes("b"), bytes("2"))];
    assert_eq!(op(&["MSET", "foo", "1", "b", "2"]), (Op::MSet { pairs }, 12182));
}

#[test]
fn reads_become_queries() {
    let query = |words| match parse(words) {
        Ok(Command::Read { query, slot }) => (query, slot),
        other => panic!("{words:?} gave {other:?}"),
    };
    assert_eq!(query(&["get", "foo"]), (Query::Get(bytes("foo")), 12182));
    assert_eq!(query(&["MGET", "foo"]), (Query::MGet(vec![bytes("foo")]), 12182));
    assert_eq!(query(&["EXISTS", "foo", "foo"]).0, Query::Exists(vec![bytes("foo"); 2]));
    assert_eq!(query(&["DBSIZE"]), (Query::DbSize, 0));
}

#[test]
fn a_wrong_number_of_arguments_is_refused_with_the_command_s_name() {
    for words in [
        &["GET"][..],
        &["GET", "a", "b"],
        &["SET", "a"],
        &["DEL"],
        &["EXISTS"],
        &["MGET"],
        &["MSET"],
        &["MSET", "a"],
        &["MSET", "a", "1", "b"],
        &["INCR"],
        &["INCR", "a", "2"],
        &["DBSIZE", "x"],
        &["ECHO"],
        &["PING", "a", "b"],
        &["SELECT"],
        &["CLIENT"],
        &["CAS", "a", "b"],
        &["INCRBY", "a"],
        &["SETNX", "a"],
        &["STRLEN"],
        &["SCAN"],
        &["MULTI", "x"],
        &["READONLY", "x"],
    ] {
        let name = words[0].to_lowercase();
        let text = format!("ERR wrong number of arguments for '{name}' command");
        assert_eq!(refused(words), text, "{words:?}");
    }
}

#[test]
fn conditional_writes_become_one_kind_of_op() {
    let op = |words: &[&str]| match parse(words) {
        Ok(Command::Write { op, slot: 12182 }) => op,
        other => panic!("{words:?} gave {other:?}"),
    };
    let set_if = |when, answer| Op::SetIf { key: bytes("foo"), value: bytes("v"), when, answer };
    let equal = || When::Equal(bytes("x"));
    for (words, when, answer) in [
        (&["SET", "foo", "v", "NX"][..], When::Missing, Answer::Done),
        (&["SET", "foo", "v", "xx", "get"], When::Present, Answer::Old),
        (&["SET", "foo", "v", "GET", "NX"], When::Missing, Answer::Old),
        (&["SET", "foo", "v", "IFEQ", "x"], equal(), Answer::Done),
        (&["SET", "foo", "v", "GET"], When::Always, Answer::Old),
        (&["GETSET", "foo", "v"], When::Always, Answer::Old),
        (&["SETNX", "foo", "v"], When::Missing, Answer::Flag),
        (&["CAS", "foo", "x", "v"], equal(), Answer::Flag),
    ] {
        assert_eq!(op(words), set_if(when, answer), "{words:?}");
    }
    assert_eq!(op(&["DECR", "foo"]), Op::Add { key: bytes("foo"), by: -1 });
    assert_eq!(op(&["INCRBY", "foo", "-7"]), Op::Add { key: bytes("foo"), by: -7 });
    assert_eq!(op(&["DECRBY", "foo", "-7"]), Op::Add { key: bytes("foo"), by: 7 });
    assert_eq!(op(&["GETDEL", "foo"]), Op::GetDel { key: bytes("foo") });
    let append = Op::Append { key: bytes("foo"), value: bytes("v") };
    assert_eq!(op(&["APPEND", "foo", "v"]), append);
}

#[test]
fn what_is_not_known_is_refused_and_never_half_done() {
    assert_eq!(refused(&["FLUSHALL"]), "ERR unknown command 'FLUSHALL'");
    for option in ["EX", "px", "EXAT", "PXAT", "KEEPTTL"] {
        assert!(refused(&["SET", "k", "v", option, "10"]).contains("do not expire"), "{option}");
    }
    for words in [
        &["SET", "k", "v", "NX", "XX"][..],
        &["SET", "k", "v", "NX", "IFEQ", "a"],
        &["SET", "k", "v", "IFEQ"],
        &["SET", "k", "v", "NONSENSE"],
        &["SCAN", "0", "COUNT", "0"],
        &["SCAN", "0", "COUNT"],
        &["SCAN", "0", "NONSENSE", "1"],
    ] {
        assert_eq!(refused(words), "ERR syntax error", "{words:?}");
    }
    for words in [
        &["INCRBY", "k", "x"][..],
        &["DECRBY", "k", "1.5"],
        &["INCRBY", "k", "9223372036854775808"],
        &["SCAN", "0", "COUNT", "x"],
    ] {
        assert!(refused(words).contains("not an integer"), "{words:?}");
    }
    assert!(refused(&["DECRBY", "k", "-9223372036854775808"]).contains("overflow"));
    assert_eq!(refused(&["SCAN", "-1"]), "ERR invalid cursor");
    assert_eq!(
        refused(&["SCAN", "0", "MATCH", &"*".repeat(1025)]),
        "ERR pattern longer than 1 KiB"
    );
    let long = "x".repeat(1 << 20);
    assert!(refused(&[&long]).len() < 100);
}

#[test]
fn a_scan_takes_its_options_in_any_order() {
    let scan = |words: &[&str]| match parse(words) {
        Ok(Command::Read { query: Query::Scan(scan), slot: 0 }) => scan,
        other => panic!("{words:?} gave {other:?}"),
    };
    let plain = Scan { cursor: 0, pattern: None, count: 10, other_type: false };
    assert_eq!(scan(&["SCAN", "0"]), plain);
    let all = ["SCAN", "17", "count", "99999999", "TYPE", "string", "MATCH", "a*"];
    let pattern = Some(bytes("a*"));
    assert_eq!(scan(&all), Scan { cursor: 17, pattern, count: SCAN_COUNT_MAX, ..plain.clone() });
    assert_eq!(scan(&["SCAN", "0", "TYPE", "hash"]), Scan { other_type: true, ..plain });
}

#[test]
fn a_key_beyond_the_limit_is_refused_in_every_place() {
    let (fits, long) = ("k".repeat(KEY_MAX), "k".repeat(KEY_MAX + 1));
    assert!(parse(&["SET", &fits, &long]).is_ok());
    for words in [
        &["GET", &long][..],
        &["MGET", "a", &long],
        &["EXISTS", &long],
        &["SET", &long, "v"],
        &["MSET", "a", "1", &long, "2"],
        &["DEL", "a", &long],
        &["INCR", &long],
        &["APPEND", &long, "v"],
        &["CAS", &long, "a", "b"],
        &["STRLEN", &long],
    ] {
        assert_eq!(refused(words), "ERR key longer than 64 KiB");
    }
}

#[test]
fn a_query_is_answered_from_the_store() {
    let mut keyspace = Keyspace::default();
    keyspace.insert(b"a", b"1");
    keyspace.insert(b"b", b"2");
    let answer = |query: Query| keyspace.answer(&query);
    let value = |text| Outcome::Value(bytes(text));
    assert_eq!(answer(Query::Get(bytes("a"))), value("1"));
    assert_eq!(answer(Query::Get(bytes("c"))), Outcome::Nothing);
    let values = vec![value("2"), Outcome::Nothing, value("2")];
    let keys = vec![bytes("b"), bytes("c"), bytes("b")];
    assert_eq!(answer(Query::MGet(keys.clone())), Outcome::List(values));
    assert_eq!(answer(Query::Exists(keys)), Outcome::Count(2));
    assert_eq!(answer(Query::DbSize), Outcome::Count(2));
    assert_eq!(answer(Query::StrLen(bytes("a"))), Outcome::Count(1));
    assert_eq!(answer(Query::StrLen(bytes("c"))), Outcome::Count(0));
    assert_eq!(answer(Query::Type(bytes("a"))).reply(), Reply::Simple(bytes("string")));
    assert_eq!(answer(Query::Type(bytes("c"))).reply(), Reply::Simple(bytes("none")));
}

#[test]
fn a_small_request_cannot_ask_for_an_endless_reply() {
    let mut keyspace = Keyspace::default();
    keyspace.insert(b"a", &vec![0; 1 << 20]);
    let Outcome::List(values) = keyspace.answer(&Query::MGet(vec![bytes("a"); 64])) else {
        panic!("64 MiB are allowed");
    };
    assert_eq!(values.len(), 64);
    assert_eq!(keyspace.answer(&Query::MGet(vec![bytes("a"); 65])), Outcome::ReplyTooLong);
}
