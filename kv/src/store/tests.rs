use proptest::{collection::vec, prelude::*};

use super::*;

fn set(key: &str, value: &str) -> Bytes {
    Op::Set { key: key.to_owned().into(), value: value.to_owned().into() }.encode()
}

fn del(keys: &[&str]) -> Bytes {
    Op::Del { keys: keys.iter().map(|key| (*key).to_owned().into()).collect() }.encode()
}

fn incr(key: &str) -> Bytes {
    Op::Incr { key: key.to_owned().into() }.encode()
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
    assert_eq!(done, [Outcome::Done; 3]);
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
    assert_eq!((done[3], done[5]), (Outcome::NotInteger, Outcome::NotInteger));
    assert_eq!(get(&store, "x"), Some("1.5".into()));
}

#[test]
fn an_incr_reaches_the_extremes_and_no_further() {
    let mut store = Store::new();
    let (max, min) = (i64::MAX.to_string(), i64::MIN.to_string());
    let done = store.apply(&[set("n", &max), incr("n"), set("m", &min), incr("m")]);
    assert_eq!((done[1], done[3]), (Outcome::Overflow, Outcome::Count(i64::MIN + 1)));
    assert_eq!(get(&store, "n"), Some(max.into()));
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
enum Step {
    Set(u8, u8),
    Del(u8),
    Incr(u8),
    Freeze,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20_u8, any::<u8>()).prop_map(|(key, value)| Step::Set(key, value)),
        2 => (0..20_u8).prop_map(Step::Del),
        2 => (0..20_u8).prop_map(Step::Incr),
        1 => Just(Step::Freeze),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    /// Against a plain map; snapshots taken on the way restore to what the map was then.
    #[test]
    fn the_store_is_a_map(steps in vec(step(), 0..60)) {
        let (mut store, mut model) = (Store::new(), std::collections::BTreeMap::new());
        let mut frozen = (store.freeze(), model.clone());
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    store.apply(&[set(&key.to_string(), &value.to_string())]);
                    model.insert(key, i64::from(value));
                }
                Step::Del(key) => {
                    store.apply(&[del(&[&key.to_string()])]);
                    model.remove(&key);
                }
                Step::Incr(key) => {
                    let value = model.entry(key).or_insert(0);
                    *value += 1;
                    let done = store.apply(&[incr(&key.to_string())]);
                    prop_assert_eq!(&done[..], [Outcome::Count(*value)]);
                }
                Step::Freeze => frozen = (store.freeze(), model.clone()),
                Step::Restore => {
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
