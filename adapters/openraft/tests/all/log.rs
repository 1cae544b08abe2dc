//! The log under openraft 0.10: what is promised to it, one test for each promise.

use std::{io, sync::Arc};

use hardlog::{
    Class, Entry as Stored, EntryId, Log, Options,
    fs::sim::{Call, EIO, Effect, Fault, Model, Rng, SimFs, When},
};
use hardlog_openraft::{
    Bincode, Codec, Error, LeaderTag, What,
    v0_10::{LogReader, LogStore},
};
use openraft::type_config::TypeConfigExt;
use openraft::{
    RaftLogReader, RaftTypeConfig,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
    type_config::alias::{EntryOf, LogIdOf, OneshotReceiverOf, VoteOf},
    vote::{RaftLeaderIdExt, leader_id_adv, leader_id_std},
};

use crate::{
    cuts::{View, after_kill, open, options},
    notes::{Advanced, Standard},
    now,
};

type C = Advanced;
type Told = OneshotReceiverOf<C, io::Result<()>>;

pub(crate) fn id(term: u64, node: u64, index: u64) -> LogIdOf<C> {
    let leader = <C as RaftTypeConfig>::LeaderId::new_committed(term, node);
    LogIdOf::<C>::new(leader, index)
}

pub(crate) fn entry(term: u64, node: u64, index: u64) -> EntryOf<C> {
    EntryOf::<C>::new_normal(id(term, node, index), format!("line {index} of term {term}"))
}

fn entries(range: std::ops::Range<u64>, term: u64) -> Vec<EntryOf<C>> {
    range.map(|index| entry(term, 1, index)).collect()
}

/// Appends without waiting; the receiver is told when the entries are durable.
fn append(store: &mut LogStore<C>, entries: Vec<EntryOf<C>>) -> io::Result<Told> {
    let (told, durable) = C::oneshot();
    now(store.append(entries, IOFlushed::signal(told)))?;
    Ok(durable)
}

fn read(store: &mut LogStore<C>) -> io::Result<Vec<EntryOf<C>>> {
    now(async { store.get_log_reader().await.try_get_log_entries(..).await })
}

fn state(store: &mut LogStore<C>) -> (Option<LogIdOf<C>>, Option<LogIdOf<C>>) {
    let state = now(store.get_log_state()).unwrap();
    (state.last_purged_log_id, state.last_log_id)
}

/// The adapter's error inside openraft's.
fn typed<T: std::fmt::Debug>(result: io::Result<T>) -> Error {
    *result.unwrap_err().into_inner().expect("a typed error").downcast().expect("the adapter's")
}

/// The least that a power cut leaves now.
fn after_cut(disk: &SimFs) -> Vec<View> {
    let images = disk.crash_images(Model::Strict, 8, &mut Rng::new(1));
    images.filter(|image| image.harmed.is_none()).map(|image| after_kill(&image.fs)).collect()
}

#[test]
fn append_returns_when_readable_and_calls_back_when_durable() {
    let disk = SimFs::new(1);
    let log = open(&disk);
    let syncer = log.syncer();
    let mut store = LogStore::<C>::new(log);
    let mut reader: LogReader<C> = now(store.get_log_reader());
    let mut told = append(&mut store, entries(0..3, 1)).unwrap();

    assert_eq!(now(reader.try_get_log_entries(0..10)).unwrap(), entries(0..3, 1));
    assert!(told.try_recv().is_err(), "told before any sync");
    assert!(after_cut(&disk).iter().any(|view| view.held.entries.is_empty()));

    syncer.sync().unwrap();
    assert!(matches!(told.try_recv(), Ok(Ok(()))));
    assert!(after_cut(&disk).iter().all(|view| view.held.entries.len() == 3));
}

#[test]
fn a_sync_that_fails_is_told_to_the_append_it_was_for() {
    let disk = SimFs::new(2);
    let log = open(&disk);
    let syncer = log.syncer();
    let mut store = LogStore::<C>::new(log);
    let mut told = append(&mut store, entries(0..3, 1)).unwrap();
    let first = disk.count(Call::Sync);
    disk.inject(Fault::from_then_on(When::Kind(Call::Sync, first), Effect::Fail(EIO)));
    disk.inject(Fault::from_then_on(When::Kind(Call::Create, 0), Effect::Fail(EIO)));
    assert!(syncer.sync().is_err());
    drop(store);
    syncer.sync().expect_err("the log is closed");
    let error = told.try_recv().expect("told").expect_err("not durable");
    assert!(error.into_inner().is_some_and(|inner| inner.is::<Error>()));
}

#[tokio::test]
async fn votes_and_appends_become_durable_in_their_order() {
    let disk = SimFs::new(3);
    let (log, _) = Log::open_on(Arc::new(disk.clone()), options().background(true)).unwrap();
    let mut store = LogStore::<C>::new(log);
    for round in 0..20 {
        let mut told = Vec::new();
        for index in round * 10..round * 10 + 10 {
            let (tell, durable) = C::oneshot();
            store.append([entry(round, 1, index)], IOFlushed::signal(tell)).await.unwrap();
            told.push(durable);
        }
        let vote = VoteOf::<C>::new_committed(round, 1);
        store.save_vote(&vote).await.unwrap();
        // The vote stands behind the appends: it is durable, so they are, and were told so.
        for durable in &mut told {
            assert!(matches!(durable.try_recv(), Ok(Ok(()))));
        }
        let want = <Bincode as Codec<VoteOf<C>>>::encode(&vote).unwrap();
        for view in after_cut(&disk) {
            assert_eq!(view.vote.as_ref(), Some(&want));
            assert_eq!(view.held.entries.len() as u64, round * 10 + 10);
        }
        let mut reader = store.get_log_reader().await;
        assert_eq!(reader.read_vote().await.unwrap(), Some(vote));
    }
}

#[test]
fn a_purge_past_the_end_moves_the_log_behind_it_and_is_remembered() {
    let disk = SimFs::new(4);
    let mut store = LogStore::<C>::inline(open(&disk));
    append(&mut store, entries(0..5, 1)).unwrap();
    now(store.purge(id(3, 7, 20))).unwrap();
    assert_eq!(state(&mut store), (Some(id(3, 7, 20)), Some(id(3, 7, 20))));
    // An older purge that comes late changes nothing, nor do entries that are applied already.
    now(store.purge(id(1, 1, 3))).unwrap();
    let mut told = append(&mut store, entries(17..20, 1)).unwrap();
    assert!(matches!(told.try_recv(), Ok(Ok(()))));
    assert_eq!(read(&mut store).unwrap(), []);
    let gap = append(&mut store, entries(22..23, 3)).map(drop);
    assert!(matches!(typed(gap), Error::Log(hardlog::Error::Invalid(_))));
    append(&mut store, entries(21..23, 3)).unwrap();
    drop(store);
    let mut store = LogStore::<C>::inline(open(&disk));
    assert_eq!(state(&mut store), (Some(id(3, 7, 20)), Some(id(3, 1, 22))));
    assert_eq!(read(&mut store).unwrap(), entries(21..23, 3));
}

#[test]
fn a_purge_of_an_entry_that_lost_takes_its_history_along() {
    let mut store = LogStore::<C>::inline(open(&SimFs::new(5)));
    append(&mut store, entries(0..9, 1)).unwrap();
    now(store.purge(id(2, 1, 4))).unwrap();
    assert_eq!(state(&mut store), (Some(id(2, 1, 4)), Some(id(2, 1, 4))));
    assert_eq!(read(&mut store).unwrap(), []);

    append(&mut store, entries(5..9, 2)).unwrap();
    now(store.purge(id(2, 1, 6))).unwrap();
    assert_eq!(state(&mut store), (Some(id(2, 1, 6)), Some(id(2, 1, 8))));
}

#[test]
fn a_conflicting_tail_is_truncated_and_replaced() {
    let disk = SimFs::new(6);
    let mut store = LogStore::<C>::inline(open(&disk));
    append(&mut store, entries(0..9, 1)).unwrap();
    let (reader, vote) = (now(store.get_log_reader()), VoteOf::<C>::new(2, 1));
    now(store.truncate_after(Some(id(1, 1, 4)))).unwrap();
    // Nothing to drop: not behind the end, nor before the beginning once that is purged.
    now(store.truncate_after(Some(id(1, 1, 40)))).unwrap();
    append(&mut store, entries(5..7, 2)).unwrap();
    now(store.save_vote(&vote)).unwrap();
    let want = [entries(0..5, 1), entries(5..7, 2)].concat();
    for view in after_cut(&disk) {
        assert_eq!(view.held.entries.len(), want.len());
        assert_eq!(view.held.entries[5].id, EntryId { index: 5, term: 2, tag: 1 });
    }
    assert_eq!(now(reader.clone().try_get_log_entries(..)).unwrap(), want);
    now(store.purge(id(2, 1, 5))).unwrap();
    now(store.truncate_after(Some(id(1, 1, 2)))).unwrap();
    assert_eq!(state(&mut store), (Some(id(2, 1, 5)), Some(id(2, 1, 5))));
}

#[tokio::test]
async fn lists_larger_than_a_batch_are_split_and_an_entry_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_size(1 << 20);
    let mut store =
        LogStore::<C>::new(Log::create(dir.path().join("log"), options.clone()).unwrap());
    let line = |index, len| EntryOf::<C>::new_normal(id(1, 1, index), "x".repeat(len));
    let big: Vec<_> = (0..10).map(|index| line(index, 200_000)).collect();
    let (tell, told) = C::oneshot();
    store.append(big.clone(), IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap();
    let huge = store.append([line(10, 600_000)], IOFlushed::noop()).await;
    assert!(matches!(typed(huge), Error::Log(hardlog::Error::TooLarge { .. })));
    drop(store);

    let (log, _) = Log::open(dir.path().join("log"), options).unwrap();
    let mut reader = LogStore::<C>::new(log).get_log_reader().await;
    assert_eq!(reader.try_get_log_entries(..).await.unwrap(), big);
}

#[test]
fn a_limited_read_returns_some_and_a_full_one_all() {
    let mut store = LogStore::<C>::inline(
        Log::create_on(Arc::new(SimFs::new(8)), options().segment_size(16 << 20)).unwrap(),
    );
    let line = |index| EntryOf::<C>::new_normal(id(1, 1, index), "x".repeat(1 << 20));
    append(&mut store, (0..6).map(line).collect()).unwrap();
    let mut reader = now(store.get_log_reader());
    let some = now(reader.limited_get_log_entries(1, 6)).unwrap();
    assert!((1..5).contains(&some.len()), "{} entries", some.len());
    assert_eq!(some[0], line(1));
    assert_eq!(now(reader.try_get_log_entries(1..=4)).unwrap().len(), 4);
    let (after, to) = (std::ops::Bound::Excluded(1), std::ops::Bound::Included(2));
    assert_eq!(now(reader.try_get_log_entries((after, to))).unwrap(), [line(2)]);
}

#[test]
fn committed_ids_are_kept_and_taken_back() {
    let disk = SimFs::new(9);
    let mut store = LogStore::<C>::inline(open(&disk));
    assert_eq!(now(store.read_committed()).unwrap(), None);
    for committed in [Some(id(1, 2, 0)), Some(id(2, 3, 9)), None] {
        now(store.save_committed(committed)).unwrap();
        drop(store);
        store = LogStore::inline(open(&disk));
        assert_eq!(now(store.read_committed()).unwrap(), committed);
    }
}

/// A log with bytes that no store has written.
fn planted(entry: &[u8], slots: &[(u64, Class, &[u8])]) -> LogStore<C> {
    let mut log = open(&SimFs::new(10));
    let id = EntryId { index: 1, term: 1, tag: 1 };
    log.append(&[Stored { id, payload: entry.to_vec().into() }]).unwrap();
    for (key, class, value) in slots {
        log.save_meta(*key, *class, value).unwrap();
    }
    LogStore::inline(log)
}

#[test]
fn bytes_that_the_codec_refuses_are_typed_errors() {
    let good = <Bincode as Codec<EntryOf<C>>>::encode(&entry(1, 1, 1)).unwrap();
    assert_eq!(read(&mut planted(&good, &[])).unwrap(), [entry(1, 1, 1)]);
    for bad in [&[][..], &[0xFF; 40], &good[..good.len() - 1], &[&good[..], &[0]].concat()] {
        let refused = typed(read(&mut planted(bad, &[])));
        assert!(matches!(refused, Error::Decode { what: What::Entry(1), .. }), "{refused:?}");
    }
    for other in [entry(1, 1, 2), entry(1, 2, 1), entry(2, 1, 1)] {
        let bytes = <Bincode as Codec<EntryOf<C>>>::encode(&other).unwrap();
        let refused = typed(read(&mut planted(&bytes, &[])));
        assert!(matches!(refused, Error::OtherEntry { index: 1 }), "{refused:?}");
    }
    let slots = [(1, Class::Promise, &b"no vote"[..]), (2, Class::Ordered, b"no id")];
    let mut store = planted(&good, &slots);
    let vote = now(async { store.get_log_reader().await.read_vote().await });
    assert!(matches!(typed(vote), Error::Decode { what: What::Vote, .. }));
    let committed = now(store.read_committed());
    assert!(matches!(typed(committed), Error::Decode { what: What::Committed, .. }));
}

#[test]
fn no_bytes_make_the_codec_panic() {
    let mut rng = Rng::new(11);
    let mut bytes = <Bincode as Codec<EntryOf<C>>>::encode(&entry(1, 1, 1)).unwrap();
    for _ in 0..20_000 {
        let (at, byte) = (rng.below(bytes.len()), rng.next_u64().to_le_bytes()[0]);
        bytes[at] = byte;
        let _ = <Bincode as Codec<EntryOf<C>>>::decode(&bytes);
        let _ = <Bincode as Codec<VoteOf<C>>>::decode(&bytes[at..]);
    }
}

#[test]
fn leader_ids_fit_the_header_or_are_refused() {
    type Std<T> = leader_id_std::CommittedLeaderId<T>;
    type Adv<N> = leader_id_adv::LeaderId<u64, N>;
    assert_eq!(Std::<u64>::new(7).to_header(), Some((7, 0)));
    assert_eq!(Std::<u64>::from_header(7, 0), Some(Std::new(7)));
    assert_eq!(Std::<u64>::from_header(7, 1), None, "a standard id has no node");
    assert_eq!(Std::<i64>::new(-7).to_header(), None);
    assert_eq!(Std::<u8>::from_header(256, 0), None);
    let adv = Adv::<u32> { term: 7, node_id: 9 };
    assert_eq!(adv.to_header(), Some((7, 9)));
    assert_eq!(Adv::<u32>::from_header(7, 9), Some(adv));
    assert_eq!(Adv::<u32>::from_header(7, 1 << 40), None);

    // Written under one configuration, read under another.
    let disk = SimFs::new(12);
    let mut store = LogStore::<C>::inline(open(&disk));
    append(&mut store, entries(0..1, 1)).unwrap();
    drop(store);
    let mut store = LogStore::<Standard>::inline(open(&disk));
    let refused = typed(now(store.get_log_state()));
    assert!(matches!(refused, Error::Leader { index: 0 }), "{refused:?}");
}
