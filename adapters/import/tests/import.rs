//! A raft-engine directory is written, imported, and compared with what was written.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use hardlog::{Log, Options};
use hardlog_import::{Error, Plan, StateKey, import};
use hardlog_raft_rs::{
    LogStorage,
    raft::{
        Config as RaftConfig, GetEntriesContext, Storage,
        eraftpb::{ConfState, Entry, EntryType, HardState},
    },
};
use protobuf::{CodedOutputStream, Message};
use raft_engine::{Config, Engine, LogBatch, MessageExt};

struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

fn entry(index: u64, term: u64, len: usize) -> Entry {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, term);
    entry.data = vec![u8::try_from(index % 251).unwrap(); len].into();
    if index.is_multiple_of(10) {
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.context = format!("context {index}").into_bytes().into();
    }
    entry
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    let mut hs = HardState::default();
    (hs.term, hs.vote, hs.commit) = (term, vote, commit);
    hs
}

/// TiKV's `RaftLocalState`.
fn local_state(hs: &HardState, last: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = CodedOutputStream::vec(&mut bytes);
    out.write_bytes(1, &hs.write_to_bytes().unwrap()).unwrap();
    out.write_uint64(2, last).unwrap();
    out.flush().unwrap();
    drop(out);
    bytes
}

fn open(dir: &Path) -> Engine {
    let dir = dir.to_string_lossy().into_owned();
    Engine::open(Config { dir, ..Config::default() }).unwrap()
}

fn put(engine: &Engine, group: u64, key: &[u8], value: Vec<u8>) {
    let mut batch = LogBatch::default();
    batch.put(group, key.to_vec(), value).unwrap();
    engine.write(&mut batch, true).unwrap();
}

fn append(engine: &Engine, group: u64, entries: &[Entry]) {
    let mut batch = LogBatch::default();
    batch.add_entries::<Entries>(group, entries).unwrap();
    engine.write(&mut batch, true).unwrap();
}

/// Three groups: one of 3000 entries whose front was compacted away, one whose end was replaced,
/// one small; and a record of the store itself. Returns what a group's entries are.
fn written(dir: &Path) -> BTreeMap<u64, Vec<Entry>> {
    let engine = open(dir);
    let long: Vec<_> = (1..=3000).map(|i| entry(i, 1 + i / 700, 5000)).collect();
    long.chunks(50).for_each(|chunk| append(&engine, 7, chunk));
    engine.compact_to(7, 1201);
    append(&engine, 2, &(1..=40).map(|i| entry(i, 3, 10)).collect::<Vec<_>>());
    append(&engine, 2, &(31..=35).map(|i| entry(i, 4, 20)).collect::<Vec<_>>());
    append(&engine, 11, &[entry(6, 5, 0)]);
    for (group, hs, last) in [
        (7, hard_state(5, 2, 2990), 3000),
        (2, hard_state(4, 0, 30), 35),
        (11, hard_state(6, 3, 5), 6),
    ] {
        put(&engine, group, b"R", local_state(&hs, last));
    }
    let members = ConfState::from((vec![1, 2, 3], vec![4]));
    put(&engine, 7, b"members", members.write_to_bytes().unwrap());
    put(&engine, 0, b"ident", b"the store's own".to_vec());
    engine.sync().unwrap();
    let replaced = (1..=30).map(|i| entry(i, 3, 10)).chain((31..=35).map(|i| entry(i, 4, 20)));
    [(7, long[1200..].to_vec()), (2, replaced.collect()), (11, vec![entry(6, 5, 0)])].into()
}

fn plan(from: &Path, to: &Path) -> Plan {
    Plan {
        from: from.to_owned(),
        to: to.to_owned(),
        state: StateKey::default(),
        members_key: Some(b"members".to_vec()),
        voters: vec![1, 2],
    }
}

#[test]
fn every_group_becomes_a_log_from_which_raft_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("engine"), dir.path().join("logs"));
    let expected = written(&from);
    let groups = import(&plan(&from, &to)).unwrap();
    let found: Vec<_> = groups.iter().map(|g| (g.id, g.first, g.last)).collect();
    assert_eq!(found, [(2, 1, 35), (7, 1201, 3000), (11, 6, 6)]);
    for (id, entries) in expected {
        let (log, _) = Log::open(to.join(id.to_string()), Options::new()).unwrap();
        let storage = LogStorage::new(log).unwrap();
        let (first, last) = (storage.first_index().unwrap(), storage.last_index().unwrap());
        let context = GetEntriesContext::empty(false);
        assert!(storage.entries(first, last + 1, None, context).unwrap() == entries, "group {id}");
        let state = storage.initial_state().unwrap();
        let (hs, members) = match id {
            7 => (hard_state(5, 2, 2990), ConfState::from((vec![1, 2, 3], vec![4]))),
            2 => (hard_state(4, 0, 30), ConfState::from((vec![1, 2], vec![]))),
            _ => (hard_state(6, 3, 5), ConfState::from((vec![1, 2], vec![]))),
        };
        assert_eq!((state.hard_state, state.conf_state), (hs, members));
        RaftConfig::new(1).validate().unwrap();
        hardlog_raft_rs::raft::RawNode::new(&RaftConfig::new(1), storage, &logger()).unwrap();
    }
    assert!(!dir.path().join("logs.partial").exists());
}

fn logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

#[test]
fn a_target_that_holds_anything_and_a_source_that_is_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("engine"), dir.path().join("logs"));
    assert!(matches!(import(&plan(&from, &to)), Err(Error::Io { .. })));
    fs::create_dir(&from).unwrap();
    assert!(matches!(import(&plan(&from, &to)), Err(Error::NoSource(_))));
    assert_eq!(fs::read_dir(&from).unwrap().count(), 0, "it made an engine");
    append(&open(&from), 1, &[entry(1, 1, 1)]);
    for dir in [to.clone(), dir.path().join("logs.partial")] {
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("mine"), "mine").unwrap();
        assert!(matches!(import(&plan(&from, &to)), Err(Error::NotEmpty(_))));
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_group_that_is_not_whole_ends_the_import() {
    let refused = |write: &dyn Fn(&Engine)| {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("engine"), dir.path().join("logs"));
        let engine = open(&from);
        append(&engine, 1, &[entry(4, 2, 10), entry(5, 2, 10)]);
        put(&engine, 1, b"R", local_state(&hard_state(2, 1, 4), 5));
        write(&engine);
        drop(engine);
        let error = import(&plan(&from, &to)).unwrap_err();
        assert!(!to.exists(), "{error}");
        error.to_string()
    };
    let state = |hs: HardState| move |engine: &Engine| put(engine, 1, b"R", local_state(&hs, 5));
    assert!(refused(&state(hard_state(2, 1, 6))).contains("entries 4 to 5 with commit 6"));
    assert!(refused(&state(hard_state(2, 1, 2))).contains("entries 4 to 5 with commit 2"));
    let garbage = refused(&|engine| put(engine, 1, b"R", vec![0x0A, 0xFF]));
    assert!(garbage.contains("its hard state"), "{garbage}");
    let alone = refused(&|engine| append(engine, 2, &[entry(1, 1, 1)]));
    assert!(alone.contains("group 2: entries and no hard state"), "{alone}");
    let empty = refused(&|engine| put(engine, 2, b"R", local_state(&hard_state(2, 1, 4), 4)));
    assert!(empty.contains("group 2: a hard state and no entries"), "{empty}");
    let back = refused(&|engine| append(engine, 1, &[entry(6, 1, 10)]));
    assert!(back.contains("term goes back from 2 to 1"), "{back}");
}

#[test]
fn the_program_prints_a_table_and_says_what_it_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("engine"), dir.path().join("logs"));
    let engine = open(&from);
    append(&engine, 3, &[entry(1, 1, 1), entry(2, 1, 1)]);
    put(&engine, 3, b"hs", hard_state(1, 2, 2).write_to_bytes().unwrap());
    drop(engine);
    let run = |args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_hardlog-import"));
        let output = program.args([&from, &to]).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, says) = run(&[]);
    assert!(code == Some(1) && says.contains("no hard state under the given key"), "{says}");
    fs::remove_dir_all(dir.path().join("logs.partial")).unwrap();
    let (code, table, _) = run(&["--hard-state", "hs", "--voters", "1,2,3"]);
    assert_eq!(code, Some(0));
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["3", "1", "2", "2", "1", "2", "2", "verified"]);
    assert!(table.contains("1 groups, 2 entries"), "{table}");
    let (code, _, says) = run(&["--hard-state", "hs"]);
    assert!(code == Some(1) && says.contains("is not empty"), "{says}");
    assert_eq!(run(&["--voters", "1,x"]).0, Some(2));
}
