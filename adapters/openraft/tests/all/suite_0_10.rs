//! openraft 0.10's conformance suite: on a real disk, and on a simulated one with cuts in each step.

use std::{
    fmt::Debug,
    io,
    ops::RangeBounds,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hardlog::{Log, Options};
use hardlog_openraft::v0_10::{LogReader, LogStore, StateMachine};
use openraft::{
    OptionalSend, RaftLogReader, StorageError,
    storage::{IOFlushed, LogState, RaftLogStorage},
    testing::log::{StoreBuilder, Suite},
    type_config::alias::{EntryOf, LogIdOf, VoteOf},
};
use tempfile::TempDir;

use crate::{
    cuts::{Cuts, open},
    notes::{Advanced, Notes, Standard},
};

/// A directory of its own for each case.
struct OnDisk;

type Machine<C> = StateMachine<C, Notes>;

impl StoreBuilder<Advanced, LogStore<Advanced>, Machine<Advanced>, TempDir> for OnDisk {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore<Advanced>, Machine<Advanced>), StorageError<Advanced>> {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().segment_size(1 << 20);
        let store = LogStore::new(Log::create(dir.path().join("log"), options).unwrap());
        let machine = StateMachine::open(&store, Notes::default()).unwrap();
        Ok((dir, store, machine))
    }
}

// Time is paused: the suite sleeps a second wherever a store may purge in the background.
#[tokio::test(start_paused = true)]
async fn the_suite_passes_on_a_real_disk() {
    Suite::test_all(OnDisk).await.unwrap();
}

/// A simulated disk for each case; each call of the log is cut at every step.
#[derive(Default)]
struct Cut {
    seed: AtomicU64,
    compared: Arc<AtomicU64>,
}

#[tokio::test(start_paused = true)]
async fn the_suite_passes_while_the_power_is_cut_in_each_step() {
    let cut = Cut::default();
    let compared = Arc::clone(&cut.compared);
    Suite::test_all(cut).await.unwrap();
    let compared = compared.load(Ordering::Relaxed);
    assert!(compared > 2000, "only {compared} states were compared");
}

impl StoreBuilder<Standard, CutStore, Machine<Standard>> for Cut {
    async fn build(&self) -> Result<((), CutStore, Machine<Standard>), StorageError<Standard>> {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let (cuts, log) = Cuts::new(seed);
        let store = CutStore::new(cuts, log, Arc::clone(&self.compared)).await;
        // Its own disk: what the suite applies here was never in the log above.
        let disk = hardlog::fs::sim::SimFs::new(seed);
        let own = LogStore::<Standard>::inline(open(&disk));
        Ok(((), store, StateMachine::open(&own, Notes::default()).unwrap()))
    }
}

/// A log store whose disk loses power in each call, and which goes on after it.
struct CutStore {
    cuts: Cuts,
    store: Option<LogStore<Standard>>,
    /// Readers outlive the cuts, as openraft thinks.
    reader: Arc<Mutex<LogReader<Standard>>>,
    compared: Arc<AtomicU64>,
}

struct CutReader(Arc<Mutex<LogReader<Standard>>>);

impl CutStore {
    async fn new(cuts: Cuts, log: Log, compared: Arc<AtomicU64>) -> Self {
        let mut store = LogStore::inline(log);
        let reader = Arc::new(Mutex::new(store.get_log_reader().await));
        Self { cuts, store: Some(store), reader, compared }
    }

    fn store(&mut self) -> &mut LogStore<Standard> {
        self.cuts.arm();
        self.store.as_mut().unwrap()
    }

    async fn returned(&mut self, durable: bool, what: &str) {
        if let Some(log) = self.cuts.returned(durable, what) {
            let mut store = LogStore::inline(log);
            *self.reader.lock().unwrap() = store.get_log_reader().await;
            self.store = Some(store);
        }
    }
}

impl Drop for CutStore {
    fn drop(&mut self) {
        self.compared.fetch_add(self.cuts.compared as u64, Ordering::Relaxed);
    }
}

impl RaftLogReader<Standard> for CutReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf<Standard>>> {
        let mut reader = self.0.lock().unwrap().clone();
        reader.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Standard>>> {
        let mut reader = self.0.lock().unwrap().clone();
        reader.read_vote().await
    }
}

impl RaftLogStorage<Standard> for CutStore {
    type LogReader = CutReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Standard>> {
        self.store.as_mut().unwrap().get_log_state().await
    }

    async fn get_log_reader(&mut self) -> CutReader {
        CutReader(Arc::clone(&self.reader))
    }

    async fn save_vote(&mut self, vote: &VoteOf<Standard>) -> io::Result<()> {
        self.store().save_vote(vote).await?;
        self.returned(true, "save_vote").await;
        Ok(())
    }

    async fn save_committed(&mut self, id: Option<LogIdOf<Standard>>) -> io::Result<()> {
        self.store().save_committed(id).await?;
        self.returned(false, "save_committed").await;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Standard>>> {
        self.store.as_mut().unwrap().read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Standard>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Standard>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // Without threads of the log, the callback has run when this returns.
        self.store().append(entries, callback).await?;
        self.returned(true, "append").await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Standard>>) -> io::Result<()> {
        self.store().truncate_after(last).await?;
        self.returned(false, "truncate").await;
        Ok(())
    }

    async fn purge(&mut self, id: LogIdOf<Standard>) -> io::Result<()> {
        self.store().purge(id).await?;
        self.returned(false, "purge").await;
        Ok(())
    }
}
