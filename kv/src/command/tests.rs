use super::*;

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
        &["READONLY", "x"],
    ] {
        let name = words[0].to_lowercase();
        let text = format!("ERR wrong number of arguments for '{name}' command");
        assert_eq!(refused(words), text, "{words:?}");
    }
}

#[test]
fn what_is_not_known_is_refused_and_never_half_done() {
    assert_eq!(refused(&["FLUSHALL"]), "ERR unknown command 'FLUSHALL'");
    assert!(refused(&["SET", "k", "v", "EX", "10"]).contains("options are not known"));
    let long = "x".repeat(1 << 20);
    assert!(refused(&[&long]).len() < 100);
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
    ] {
        assert_eq!(refused(words), "ERR key longer than 64 KiB");
    }
}

#[test]
fn a_query_is_answered_from_the_store() {
    let mut keyspace = Keyspace::default();
    keyspace.insert(b"a", b"1");
    keyspace.insert(b"b", b"2");
    let answer = |query: Query| query.answer(&keyspace);
    assert_eq!(answer(Query::Get(bytes("a"))), Reply::Bulk(bytes("1")));
    assert_eq!(answer(Query::Get(bytes("c"))), Reply::Null);
    let values = vec![Reply::Bulk(bytes("2")), Reply::Null, Reply::Bulk(bytes("2"))];
    let keys = vec![bytes("b"), bytes("c"), bytes("b")];
    assert_eq!(answer(Query::MGet(keys.clone())), Reply::Array(values));
    assert_eq!(answer(Query::Exists(keys)), Reply::Integer(2));
    assert_eq!(answer(Query::DbSize), Reply::Integer(2));
}

#[test]
fn a_small_request_cannot_ask_for_an_endless_reply() {
    let mut keyspace = Keyspace::default();
    keyspace.insert(b"a", &vec![0; 1 << 20]);
    let Reply::Array(values) = Query::MGet(vec![bytes("a"); 64]).answer(&keyspace) else {
        panic!("64 MiB are allowed");
    };
    assert_eq!(values.len(), 64);
    assert!(matches!(Query::MGet(vec![bytes("a"); 65]).answer(&keyspace), Reply::Error(_)));
}
