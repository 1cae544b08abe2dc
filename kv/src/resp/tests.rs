use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::limits::{BULK_MAX, DEPTH_MAX, ELEMENTS_MAX, LINE_MAX, REQUEST_MAX, VALUE_MAX};

/// Everything a decoder takes from these pieces, and how it ended.
fn decode(
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
    let (mut decoder, mut buffer, mut requests) = (Decoder::new(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece.as_ref());
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn encode(request: &[Bytes]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", request.len()).into_bytes();
    for argument in request {
        out.extend(format!("${}\r\n", argument.len()).into_bytes());
        out.extend(&argument[..]);
        out.extend(b"\r\n");
    }
    out
}

fn refusal(bytes: &[u8]) -> &'static str {
    match decode([bytes]) {
        (requests, Some(error)) if requests.is_empty() => error.0,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn requests_in_one_piece_are_taken_one_by_one() {
    let (requests, error) = decode([b"*2\r\n$3\r\nGET\r\n$0\r\n\r\nPING  a\r\n*1\r\n$1\r\n\n\r\n"]);
    assert_eq!(error, None);
    assert_eq!(requests, [vec![&b"GET"[..], b""], vec![b"PING", b"a"], vec![b"\n"]]);
}

#[test]
fn blank_lines_and_empty_arrays_are_skipped() {
    let mut input = b"\r\n*0\r\n\n*-1\r\n".repeat(20_000);
    input.extend(b"ping\n");
    assert_eq!(decode([&input]), (vec![vec![Bytes::from_static(b"ping")]], None));
}

#[test]
fn malformed_requests_are_refused_by_name() {
    for (bytes, why) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*1\n", "line does not end in CR LF"),
        (b"*1\r\nGET\r\n", "expected '$'"),
        (b"*1\r\n\r\n", "expected '$'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$+1\r\n", "invalid bulk length"),
        (b"*1\r\n$1 \r\n", "invalid bulk length"),
        (b"*1\r\n$1\r\nab\r\n", "bulk string does not end where it said"),
        (b"*1\r\n$1\r\na\n\n", "bulk string does not end where it said"),
        (b"set k \"a b\"\r\n", "quotes in an inline command are not supported"),
        (b"POST / HTTP/1.1\r\n", "this is not an HTTP server"),
        (b"Host: localhost\r\n", "this is not an HTTP server"),
    ] {
        assert_eq!(refusal(bytes), why, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn hostile_lengths_are_refused_before_their_bytes_arrive() {
    for count in [ELEMENTS_MAX + 1, usize::MAX] {
        assert_eq!(refusal(format!("*{count}\r\n").as_bytes()), "invalid multibulk length");
    }
    for len in [VALUE_MAX + 1, usize::MAX] {
        assert_eq!(refusal(format!("*1\r\n${len}\r\n").as_bytes()), "invalid bulk length");
    }
    assert_eq!(refusal(&[b'*'; 40]), "too big mbulk count string");
    assert_eq!(refusal(&[&b"*1\r\n$"[..], &[b'1'; 40]].concat()), "too big bulk count string");
    assert_eq!(refusal(&vec![b'a'; LINE_MAX]), "too big inline request");
    // Each value is short enough, together they are not.
    let (value, mut input) = (vec![b'v'; VALUE_MAX], b"*3\r\n".to_vec());
    for _ in 0..2 {
        input.extend(format!("${VALUE_MAX}\r\n").into_bytes());
        input.extend(&value);
        input.extend(b"\r\n");
    }
    assert!(input.len() > REQUEST_MAX);
    assert_eq!(refusal(&input), "request longer than 16 MiB");
}

#[test]
fn the_longest_value_and_the_longest_array_are_taken() {
    let request = vec![Bytes::from_static(b"SET"), vec![b'v'; VALUE_MAX].into()];
    assert_eq!(decode([encode(&request)]), (vec![request], None));
    let request = vec![Bytes::from_static(b"x"); ELEMENTS_MAX];
    assert_eq!(decode(encode(&request).chunks(70_000)), (vec![request], None));
}

#[test]
fn a_claimed_length_asks_for_little_room() {
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
    assert_eq!(decoder.wanted(0), 16 << 10);
    buffer.extend_from_slice(format!("*1\r\n${VALUE_MAX}\r\n").as_bytes());
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(decoder.wanted(buffer.len()), 1 << 20);
}

fn argument() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..300)].prop_map(Bytes::from)
}

/// Bytes that look a little like the protocol.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"%".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"_\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        Just(b"18446744073709551616".to_vec()),
        Just(b"1048577\r\n".to_vec()),
        (0..12_u8).prop_map(|n| format!("{n}\r\n").into_bytes()),
        vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Where an input is cut into pieces.
fn cut(bytes: &[u8], at: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<_> = at.iter().map(|at| at.index(bytes.len() + 1)).collect();
    at.push(bytes.len());
    at.sort_unstable();
    let mut start = 0;
    at.into_iter().map(|end| bytes[std::mem::replace(&mut start, end)..end].to_vec()).collect()
}

fn reply() -> impl Strategy<Value = Reply> {
    let text = || "[ -~]{0,20}".prop_map(Bytes::from);
    let leaf = prop_oneof![
        text().prop_map(Reply::Simple),
        text().prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        argument().prop_map(Reply::Bulk),
        Just(Reply::Null),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Reply::Array),
            vec((inner.clone(), inner), 0..3).prop_map(Reply::Map),
        ]
    })
}

/// What version 2 makes of a reply: a map is a flat list there.
fn flat(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => Reply::Array(items.into_iter().map(flat).collect()),
        Reply::Map(pairs) => Reply::Array(
            pairs.into_iter().flat_map(|(name, value)| [flat(name), flat(value)]).collect(),
        ),
        other => other,
    }
}

proptest! {
    #[test]
    fn requests_are_the_same_however_they_are_cut(
        requests in vec(vec(argument(), 1..5), 0..5),
        at in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
        prop_assert_eq!(decode(cut(&bytes, &at)), (requests, None));
    }

    #[test]
    fn a_request_that_is_cut_short_is_awaited(
        request in vec(argument(), 1..5), at in any::<prop::sample::Index>(),
    ) {
        let bytes = encode(&request);
        prop_assert_eq!(decode([&bytes[..at.index(bytes.len())]]), (vec![], None));
    }

    #[test]
    fn any_bytes_are_taken_or_refused_however_they_are_cut(
        bytes in noise(), at in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assert_eq!(decode(cut(&bytes, &at)), decode([&bytes]));
        // No panic is all that is asked of the reader of replies here.
        let _ = Reply::read(&mut &bytes[..]);
    }

    #[test]
    fn a_reply_is_read_as_it_was_written(reply in reply()) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut bytes = BytesMut::new();
            reply.encode(protocol, &mut bytes);
            let mut from = &bytes[..];
            let expected =
                if protocol == Protocol::Resp2 { flat(reply.clone()) } else { reply.clone() };
            prop_assert_eq!(Reply::read(&mut from).unwrap(), expected);
            prop_assert!(from.is_empty());
        }
    }

    #[test]
    fn a_reply_that_is_cut_short_is_an_end_and_never_another_reply(
        reply in reply(), at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = BytesMut::new();
        reply.encode(Protocol::Resp3, &mut bytes);
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert_eq!(Reply::read(&mut &cut[..]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_integer_is_read_as_it_is_printed(value in any::<i64>()) {
        prop_assert_eq!(integer(value.to_string().as_bytes()), Some(value));
    }
}

#[test]
fn the_kinds_of_version_3_are_read() {
    for (bytes, expected) in [
        (&b"_\r\n"[..], Reply::Null),
        (b"*-1\r\n", Reply::Null),
        (b"$-1\r\n", Reply::Null),
        (b",1.5\r\n", Reply::Scalar("1.5".into())),
        (b"#t\r\n", Reply::Scalar("t".into())),
        (b"(123\r\n", Reply::Scalar("123".into())),
        (b"!3\r\nERR\r\n", Reply::Error("ERR".into())),
        (b"=6\r\ntxt:ab\r\n", Reply::Bulk("ab".into())),
        (b"~1\r\n:1\r\n", Reply::Array(vec![Reply::Integer(1)])),
    ] {
        assert_eq!(Reply::read(&mut &bytes[..]).unwrap(), expected);
    }
}

#[test]
fn hostile_replies_are_refused_before_anything_is_allocated() {
    let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
    let long = vec![b'+'; LINE_MAX];
    for bytes in [
        &deep[..],
        &long,
        format!("*{}\r\n", ELEMENTS_MAX + 1).as_bytes(),
        format!("${}\r\n", BULK_MAX + 1).as_bytes(),
        b"$-2\r\n",
        b"%-1\r\n",
        b"=3\r\nabc\r\n",
        b"?\r\n",
        b"\r\n",
        b"+OK\n",
        b":1x\r\n",
    ] {
        let error = Reply::read(&mut &bytes[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn an_error_stays_on_one_line() {
    let mut bytes = BytesMut::new();
    Reply::error("ERR a\r\n+OK").encode(Protocol::Resp2, &mut bytes);
    assert_eq!(&bytes[..], b"-ERR a  +OK\r\n");
}
