use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    limits::{TRANSACTION_REPLY_MAX, VALUE_MAX},
    op::{Answer, Step, When},
    query::Query,
};

fn set(key: &str, value: &str) -> Bytes {
    Op::Set { key: key.to_owned().into(), value: value.to_owned().into() }.encode()
}

fn del(keys: &[&str]) -> Bytes {
    Op::Del { keys: keys.iter().map(|key| (*key).to_owned().into()).collect() }.encode()
}

fn incr(key: &str) -> Bytes {
    Op::Incr { key: key.to_owned().into() }.encode()
}

fn one(store: &mut Store, op: Op) -> Outcome {
    store.apply([&op.encode()]).pop().unwrap()
}

fn set_if(key: &str, value: &str, when: When, answer: Answer) -> Op {
    Op::SetIf { key: key.to_owned().into(), value: value.to_owned().into(), when, answer }
}

fn get(store: &Store, key: &str) -> Option<Bytes> {
    store.view().read().get(key.as_bytes())
}

fn snapshot(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.freeze().write_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_set_is_read_back_and_counted_once() {
    let mut store = Store::new();
    let done = store.apply(&[set("a", "1"), set("a", "22"), set("", "")]);
    assert_eq!(done, vec![Outcome::Done; 3]);
    assert_eq!(get(&store, "a"), Some("22".into()));
    assert_eq!(get(&store, ""), Some("".into()));
    assert_eq!(get(&store, "b"), None);
    let view = store.view();
    assert_eq!((view.read().len(), view.read().bytes()), (2, 3));
}

#[test]
fn a_del_counts_only_what_was_there() {
    let mut store = Store::new();
    store.apply(&[set("a", "1"), set("b", "2")]);
    let done = store.apply(&[del(&["a", "a", "b", "c"]), del(&["a"])]);
    assert_eq!(done, [Outcome::Count(2), Outcome::Count(0)]);
    assert!(store.view().read().is_empty());
    assert_eq!(store.view().read().bytes(), 0);
}

#[test]
fn an_incr_counts_from_zero_and_refuses_what_is_no_number() {
    let mut store = Store::new();
    let commands = [incr("n"), incr("n"), set("x", "1.5"), incr("x"), set("y", "01"), incr("y")];
    let done = store.apply(&commands);
    assert_eq!(done[..2], [Outcome::Count(1), Outcome::Count(2)]);
    assert_eq!((&done[3], &done[5]), (&Outcome::NotInteger, &Outcome::NotInteger));
    assert_eq!(get(&store, "x"), Some("1.5".into()));
}

#[test]
fn an_incr_reaches_the_extremes_and_no_further() {
    let mut store = Store::new();
    let (max, min) = (i64::MAX.to_string(), i64::MIN.to_string());
    let done = store.apply(&[set("n", &max), incr("n"), set("m", &min), incr("m")]);
    assert_eq!((&done[1], &done[3]), (&Outcome::Overflow, &Outcome::Count(i64::MIN + 1)));
    assert_eq!(get(&store, "n"), Some(max.into()));
}

#[test]
fn adding_stops_at_both_ends_of_the_range() {
    let mut store = Store::new();
    let add = |by| Op::Add { key: "n".into(), by };
    assert_eq!(one(&mut store, add(-5)), Outcome::Count(-5));
    assert_eq!(one(&mut store, add(i64::MIN)), Outcome::Overflow);
    assert_eq!(one(&mut store, add(i64::MAX)), Outcome::Count(i64::MAX - 5));
    assert_eq!(one(&mut store, add(6)), Outcome::Overflow);
    assert_eq!(get(&store, "n"), Some((i64::MAX - 5).to_string().into()));
}

#[test]
fn a_condition_decides_and_the_answer_is_as_asked() {
    let mut store = Store::new();
    let equal = |text: &'static str| When::Equal(text.into());
    let old = |text: &'static str| Outcome::Value(text.into());
    for (value, when, answer, outcome, after) in [
        ("1", When::Present, Answer::Done, Outcome::Nothing, None),
        ("1", equal(""), Answer::Flag, Outcome::Count(0), None),
        ("1", When::Missing, Answer::Done, Outcome::Done, Some("1")),
        ("2", When::Missing, Answer::Done, Outcome::Nothing, Some("1")),
        ("2", When::Missing, Answer::Flag, Outcome::Count(0), Some("1")),
        ("2", When::Missing, Answer::Old, old("1"), Some("1")),
        ("2", When::Present, Answer::Old, old("1"), Some("2")),
        ("3", equal("1"), Answer::Flag, Outcome::Count(0), Some("2")),
        ("3", equal("2"), Answer::Flag, Outcome::Count(1), Some("3")),
        ("4", equal("2"), Answer::Done, Outcome::Nothing, Some("3")),
        ("4", equal("3"), Answer::Done, Outcome::Done, Some("4")),
        ("5", When::Always, Answer::Old, old("4"), Some("5")),
    ] {
        let told = format!("{value} {when:?} {answer:?}");
        assert_eq!(one(&mut store, set_if("k", value, when, answer)), outcome, "{told}");
        assert_eq!(get(&store, "k").as_deref(), after.map(str::as_bytes), "{told}");
    }
    assert_eq!(one(&mut store, Op::GetDel { key: "k".into() }), old("5"));
    assert_eq!(one(&mut store, Op::GetDel { key: "k".into() }), Outcome::Nothing);
    assert_eq!(store.view().read().bytes(), 0);
}

#[test]
fn appending_stops_at_the_longest_value() {
    let mut store = Store::new();
    let append = |value: Vec<u8>| Op::Append { key: "k".into(), value: value.into() };
    assert_eq!(one(&mut store, append(b"ab".to_vec())), Outcome::Count(2));
    assert_eq!(one(&mut store, append(b"c".to_vec())), Outcome::Count(3));
    assert_eq!(get(&store, "k"), Some("abc".into()));
    assert_eq!(one(&mut store, append(vec![0; VALUE_MAX - 2])), Outcome::ValueTooLong);
    assert_eq!(get(&store, "k"), Some("abc".into()));
    let full = Outcome::Count(i64::try_from(VALUE_MAX).unwrap());
    assert_eq!(one(&mut store, append(vec![0; VALUE_MAX - 3])), full);
    assert_eq!(store.view().read().bytes(), 1 + VALUE_MAX as u64);
}

#[test]
fn a_transaction_sees_its_own_writes_and_a_step_that_fails_fails_alone() {
    let mut store = Store::new();
    let key = || Bytes::from("k");
    let steps = vec![
        Step::Ask(Query::Get(key())),
        Step::Do(Op::Set { key: key(), value: "x".into() }),
        Step::Ask(Query::MGet(vec![key(), "none".into()])),
        Step::Do(Op::Incr { key: key() }),
        Step::Do(Op::Append { key: key(), value: "y".into() }),
        Step::Ask(Query::DbSize),
    ];
    let value = |text: &'static str| Outcome::Value(text.into());
    let expected = Outcome::List(vec![
        Outcome::Nothing,
        Outcome::Done,
        Outcome::List(vec![value("x"), Outcome::Nothing]),
        Outcome::NotInteger,
        Outcome::Count(2),
        Outcome::Count(1),
    ]);
    let outcome = one(&mut store, Op::Exec { steps });
    assert_eq!(outcome, expected);
    assert_eq!(Outcome::decode(outcome.encode()), Ok(expected));
}

#[test]
fn the_reply_of_a_transaction_is_bounded_and_what_it_did_is_not_undone() {
    let mut store = Store::new();
    let key = || Bytes::from("k");
    one(&mut store, Op::Set { key: key(), value: vec![0; VALUE_MAX].into() });
    let mut steps = vec![Step::Ask(Query::Get(key())); TRANSACTION_REPLY_MAX / VALUE_MAX + 1];
    steps.push(Step::Do(Op::Set { key: key(), value: "v".into() }));
    let Outcome::List(outcomes) = one(&mut store, Op::Exec { steps }) else { panic!("no list") };
    let refused = outcomes.iter().filter(|outcome| **outcome == Outcome::ReplyTooLong).count();
    assert_eq!((refused, outcomes.last()), (2, Some(&Outcome::Done)));
    assert_eq!(get(&store, "k"), Some("v".into()));
}

/// Everything a scan says from a cursor on, and how many calls it took.
fn scan(store: &Store, count: usize) -> (Vec<Bytes>, usize) {
    let (mut keys, mut cursor, mut calls) = (Vec::new(), 0, 0);
    loop {
        let (next, some) = store.view().read().scan(cursor, count, 1 << 20);
        keys.extend(some);
        (cursor, calls) = (next, calls + 1);
        if cursor == 0 {
            return (keys, calls);
        }
    }
}

#[test]
fn a_scan_meets_every_key_once_in_steps_of_about_count() {
    let mut store = Store::new();
    assert_eq!(scan(&store, 10), (vec![], 1));
    let names: Vec<String> = (0..5000).map(|n| format!("key-{n}")).collect();
    store.apply(&names.iter().map(|name| set(name, "v")).collect::<Vec<_>>());
    for count in [1, 10, 1000, 100_000] {
        let (mut keys, calls) = scan(&store, count);
        assert_eq!(keys.len(), names.len(), "some came twice");
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
        assert!(calls >= names.len() / count && calls <= names.len() / count + 1, "{calls}");
    }
    // Long keys make a step shorter.
    assert_eq!(store.view().read().scan(0, 100, 1).1.len(), 1);
    assert_eq!(store.view().read().scan(u64::MAX, 100, 1), (0, vec![]));
}

#[test]
fn a_scan_goes_on_after_a_snapshot_while_keys_come_and_go() {
    let mut store = Store::new();
    let stay: Vec<String> = (0..2000).map(|n| format!("stay-{n}")).collect();
    store.apply(&stay.iter().map(|name| set(name, "v")).collect::<Vec<_>>());
    let (mut seen, mut cursor, mut round) = (Vec::new(), 0, 0);
    loop {
        let (next, some) = store.view().read().scan(cursor, 50, 1 << 20);
        seen.extend(some);
        if next == 0 {
            break;
        }
        (cursor, round) = (next, round + 1);
        let (come, go) = (format!("come-{round}"), format!("come-{}", round - 1));
        store.apply(&[set(&come, "v"), del(&[&go])]);
        let bytes = snapshot(&store);
        store = Store::new();
        store.restore(&mut &bytes[..]).unwrap();
    }
    assert!(round > 30);
    for name in &stay {
        let times = seen.iter().filter(|key| **key == name.as_bytes()).count();
        assert_eq!(times, 1, "{name}");
    }
}

#[test]
fn an_unreadable_command_changes_nothing_and_says_so() {
    let mut store = Store::new();
    store.apply(&[set("a", "1")]);
    let before = snapshot(&store);
    assert_eq!(store.apply(&[Bytes::from_static(b"\xffrubbish")]), [Outcome::Unreadable]);
    assert_eq!(snapshot(&store), before);
}

#[test]
fn a_frozen_view_does_not_see_later_writes() {
    let mut store = Store::new();
    store.apply(&[set("a", "1"), set("b", "2")]);
    let frozen = store.freeze();
    store.apply(&[set("a", "changed"), del(&["b"]), set("c", "3")]);
    let mut bytes = Vec::new();
    frozen.write_to(&mut bytes).unwrap();
    let mut restored = Store::new();
    restored.restore(&mut &bytes[..]).unwrap();
    assert_eq!(get(&restored, "a"), Some("1".into()));
    assert_eq!(get(&restored, "b"), Some("2".into()));
    assert_eq!(get(&restored, "c"), None);
    assert_eq!(get(&store, "a"), Some("changed".into()));
}

#[test]
fn a_snapshot_cut_at_any_length_or_with_more_is_refused_and_changes_nothing() {
    let mut store = Store::new();
    store.apply(&[set("a", "1"), set("bb", "22")]);
    let bytes = snapshot(&store);
    let mut other = Store::new();
    other.apply(&[set("kept", "1")]);
    for len in 0..bytes.len() {
        assert!(other.restore(&mut &bytes[..len]).is_err(), "cut at {len}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(other.restore(&mut &longer[..]).is_err());
    assert_eq!(get(&other, "kept"), Some("1".into()));
    other.restore(&mut &bytes[..]).unwrap();
    assert_eq!((get(&other, "kept"), get(&other, "bb")), (None, Some("22".into())));
}

#[test]
fn a_snapshot_with_a_hostile_length_or_a_key_twice_is_refused() {
    let mut header = b"HLKVSNP1".to_vec();
    header.extend(2_u64.to_le_bytes());
    let entry = |key_len: u32, value_len: u32| {
        [&key_len.to_le_bytes()[..], &value_len.to_le_bytes()[..], b"k"].concat()
    };
    let too_long = u32::try_from(crate::limits::KEY_MAX + 1).unwrap();
    for bad in [entry(u32::MAX, 0), entry(1, u32::MAX), entry(too_long, 0)] {
        let bytes = [&header[..], &bad[..]].concat();
        let error = Store::new().restore(&mut &bytes[..]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    let twice = [&header[..], &entry(1, 0)[..], &entry(1, 0)[..]].concat();
    assert!(Store::new().restore(&mut &twice[..]).is_err());
}

#[derive(Clone, Debug)]
enum Turn {
    Set(u8, u8),
    Del(u8),
    Incr(u8),
    Freeze,
    Restore,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..20_u8, any::<u8>()).prop_map(|(key, value)| Turn::Set(key, value)),
        2 => (0..20_u8).prop_map(Turn::Del),
        2 => (0..20_u8).prop_map(Turn::Incr),
        1 => Just(Turn::Freeze),
        1 => Just(Turn::Restore),
    ]
}

proptest! {
    /// Against a plain map; snapshots taken on the way restore to what the map was then.
    #[test]
    fn the_store_is_a_map(steps in vec(turn(), 0..60)) {
        let (mut store, mut model) = (Store::new(), std::collections::BTreeMap::new());
        let mut frozen = (store.freeze(), model.clone());
        for step in steps {
            match step {
                Turn::Set(key, value) => {
                    store.apply(&[set(&key.to_string(), &value.to_string())]);
                    model.insert(key, i64::from(value));
                }
                Turn::Del(key) => {
                    store.apply(&[del(&[&key.to_string()])]);
                    model.remove(&key);
                }
                Turn::Incr(key) => {
                    let value = model.entry(key).or_insert(0);
                    *value += 1;
                    let done = store.apply(&[incr(&key.to_string())]);
                    prop_assert_eq!(&done[..], [Outcome::Count(*value)]);
                }
                Turn::Freeze => frozen = (store.freeze(), model.clone()),
                Turn::Restore => {
                    let mut bytes = Vec::new();
                    frozen.0.write_to(&mut bytes).unwrap();
                    store.restore(&mut &bytes[..]).unwrap();
                    model = frozen.1.clone();
                }
            }
            let view = store.view();
            prop_assert_eq!(view.read().len(), model.len());
            let bytes: usize =
                model.iter().map(|(k, v)| k.to_string().len() + v.to_string().len()).sum();
            prop_assert_eq!(view.read().bytes(), bytes as u64);
            for key in 0..20_u8 {
                let value = model.get(&key).map(|value| Bytes::from(value.to_string()));
                prop_assert_eq!(get(&store, &key.to_string()), value);
            }
        }
    }
}
