use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{limits::KEY_MAX, wire::CUT_SHORT};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        Just(When::Always),
        Just(When::Missing),
        Just(When::Present),
        bytes().prop_map(When::Equal),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Done), Just(Answer::Old), Just(Answer::Flag)]
}

fn simple() -> impl Strategy<Value = Op> {
    prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Op::Set { key, value }),
        vec(bytes(), 0..5).prop_map(|keys| Op::Del { keys }),
        bytes().prop_map(|key| Op::Incr { key }),
        vec((bytes(), bytes()), 0..5).prop_map(|pairs| Op::MSet { pairs }),
        (bytes(), bytes(), when(), answer()).prop_map(|(key, value, when, answer)| Op::SetIf {
            key,
            value,
            when,
            answer
        }),
        (bytes(), bytes()).prop_map(|(key, value)| Op::Append { key, value }),
        (bytes(), any::<i64>()).prop_map(|(key, by)| Op::Add { key, by }),
        bytes().prop_map(|key| Op::GetDel { key }),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        bytes().prop_map(Query::Get),
        vec(bytes(), 0..4).prop_map(Query::MGet),
        vec(bytes(), 0..4).prop_map(Query::Exists),
        Just(Query::DbSize),
        bytes().prop_map(Query::StrLen),
        bytes().prop_map(Query::Type),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let step = prop_oneof![simple().prop_map(Step::Do), query().prop_map(Step::Ask)];
    prop_oneof![
        4 => simple(),
        1 => vec(step.clone(), 0..5).prop_map(|steps| Op::Exec { steps }),
        1 => (vec((bytes(), when()), 1..4), vec(step, 0..5))
            .prop_map(|(conditions, steps)| Op::ExecIf { conditions, steps }),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(op in op()) {
        let bytes = op.encode();
        prop_assert_eq!(bytes.len(), op.encoded_len());
        prop_assert_eq!(Op::decode(bytes), Ok(op));
    }

    #[test]
    fn an_op_that_is_cut_or_has_more_is_refused(op in op(), at in any::<prop::sample::Index>()) {
        let bytes = op.encode();
        prop_assert!(Op::decode(bytes.slice(..at.index(bytes.len()))).is_err());
        prop_assert!(Op::decode([&bytes[..], b"x"].concat().into()).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_to_the_same_bytes_or_refused(kind in 0..40_u8, bytes in vec(0..3_u8, 0..40)) {
        let bytes = Bytes::from([&[kind], &bytes[..]].concat());
        if let Ok(op) = Op::decode(bytes.clone()) {
            prop_assert_eq!(op.encode(), bytes);
        }
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_it_is_believed() {
    for kind in [DEL, MSET, EXEC, EXEC_IF] {
        let mut huge = vec![kind];
        huge.extend(u32::MAX.to_le_bytes());
        assert_eq!(Op::decode(huge.into()), Err(DecodeError("too many elements")));
    }
    let mut long = vec![INCR];
    long.extend(u32::try_from(KEY_MAX + 1).unwrap().to_le_bytes());
    long.resize(KEY_MAX + 10, 0);
    assert_eq!(Op::decode(long.into()), Err(DecodeError("key or value too long")));
    assert_eq!(Op::decode(Bytes::new()), Err(CUT_SHORT));
}

#[test]
fn a_transaction_in_a_transaction_is_refused() {
    let mut nested = BytesMut::new();
    put_exec(&mut nested, &[], 1);
    put_exec(&mut nested, &[], 0);
    assert_eq!(Op::decode(nested.freeze()), Err(DecodeError("unknown kind")));
}

#[test]
fn the_bytes_of_an_entry_do_not_change() {
    let bytes = |op: Op| op.encode();
    let op = Op::Set { key: "k".into(), value: "vv".into() };
    assert_eq!(&bytes(op)[..], b"\x01\x01\0\0\0k\x02\0\0\0vv");
    let op = Op::MSet { pairs: vec![("a".into(), "1".into())] };
    assert_eq!(&bytes(op)[..], b"\x04\x01\0\0\0\x01\0\0\0a\x01\0\0\x001");
    let set = |when, answer| Op::SetIf { key: "k".into(), value: "v".into(), when, answer };
    assert_eq!(&bytes(set(When::Missing, Answer::Flag))[..], b"\x05\x01\0\0\0k\x01\0\0\0v\x02\x01");
    let equal = set(When::Equal("x".into()), Answer::Old);
    assert_eq!(&bytes(equal)[..], b"\x05\x01\0\0\0k\x01\0\0\0v\x01\x03\x01\0\0\0x");
    let op = Op::Append { key: "k".into(), value: "v".into() };
    assert_eq!(&bytes(op)[..], b"\x06\x01\0\0\0k\x01\0\0\0v");
    let op = Op::Add { key: "k".into(), by: -2 };
    assert_eq!(&bytes(op)[..], b"\x07\x01\0\0\0k\xfe\xff\xff\xff\xff\xff\xff\xff");
    let op = Op::Exec {
        steps: vec![Step::Do(Op::GetDel { key: "k".into() }), Step::Ask(Query::Get("k".into()))],
    };
    assert_eq!(&bytes(op)[..], b"\x09\x02\0\0\0\x08\x01\0\0\0k\x20\x01\0\0\0k");
    let (conditions, steps) = (vec![("k".into(), When::Missing)], Vec::new());
    let op = Op::ExecIf { conditions, steps };
    assert_eq!(&bytes(op)[..], b"\x0a\x01\0\0\0\x01\0\0\0k\x01\0\0\0\0");
}
