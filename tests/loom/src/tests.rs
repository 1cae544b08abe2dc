//! The histories. `Disk` stands for the log: a count of what was written, and of what is durable.

use loom::{
    model::Builder,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    error::{Error, Result},
    sync::Watermark,
};

struct Disk {
    watermark: Watermark,
    written: AtomicU64,
    /// What the device has; the watermark may never be ahead of it.
    durable: AtomicU64,
    /// One sync at a time, as in the log. Holds how many more succeed, and what happens then.
    lane: Mutex<(u64, Then)>,
}

#[derive(Clone, Copy)]
enum Then {
    /// The device is broken for good.
    Fail,
    /// It is full for one sync, then goes on.
    Full,
}

impl Disk {
    fn new(good: u64, then: Then) -> Arc<Self> {
        Arc::new(Self {
            watermark: Watermark::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            lane: Mutex::new((good, then)),
        })
    }

    fn good() -> Arc<Self> {
        Self::new(u64::MAX, Then::Fail)
    }

    fn write(&self) -> u64 {
        self.written.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn sync(&self) -> Result<()> {
        let mut lane = self.lane.lock().unwrap();
        let seq = self.written.load(Ordering::Acquire);
        match *lane {
            (0, Then::Fail) => {
                self.watermark.fail("broken");
                return Err(Error::Poisoned { why: "broken".to_owned() });
            }
            (0, Then::Full) => {
                *lane = (u64::MAX, Then::Fail);
                return Err(Error::Full);
            }
            (good, then) => *lane = (good - 1, then),
        }
        self.durable.fetch_max(seq, Ordering::AcqRel);
        self.watermark.advance(seq);
        Ok(())
    }

    /// Writes, waits, and checks what Ok promises.
    fn write_and_wait(&self) -> Result<()> {
        let ticket = self.write();
        let result = self.watermark.wait(ticket, &|| self.sync());
        if result.is_ok() {
            assert!(self.durable.load(Ordering::Acquire) >= ticket, "not on the device");
            assert!(self.watermark.durable() >= ticket, "below the watermark");
        }
        result
    }
}

fn explore(preemptions: Option<usize>, history: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(history);
}

/// Starts `n` threads that write and wait, does the same here, and gives all results.
fn all_write_and_wait(disk: &Arc<Disk>, n: usize) -> Vec<Result<()>> {
    let threads: Vec<_> = (0..n)
        .map(|_| {
            let disk = Arc::clone(disk);
            thread::spawn(move || disk.write_and_wait())
        })
        .collect();
    let mut results = vec![disk.write_and_wait()];
    results.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    results
}

#[test]
fn ok_means_durable_for_two_waiters() {
    explore(None, || {
        let disk = Disk::good();
        assert!(all_write_and_wait(&disk, 1).iter().all(Result::is_ok));
        assert_eq!(disk.durable.load(Ordering::Acquire), 2);
    });
}

#[test]
fn the_lead_is_handed_on_among_three_waiters() {
    explore(Some(2), || {
        let disk = Disk::good();
        assert!(all_write_and_wait(&disk, 2).iter().all(Result::is_ok));
    });
}

#[test]
fn a_failure_reaches_everybody_who_is_not_durable() {
    for good in [0, 1] {
        explore(Some(2), move || {
            let disk = Disk::new(good, Then::Fail);
            let results = all_write_and_wait(&disk, 2);
            let failed = results.iter().filter(|result| result.is_err()).count();
            let durable = disk.durable.load(Ordering::Acquire);
            assert_eq!(failed as u64, 3 - durable, "{results:?} with {durable} durable");
        });
    }
}

#[test]
fn a_full_disk_fails_one_waiter_and_the_others_go_on() {
    explore(Some(2), || {
        let disk = Disk::new(0, Then::Full);
        let results = all_write_and_wait(&disk, 2);
        let full = results.iter().filter(|result| matches!(result, Err(Error::Full))).count();
        let ok = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!((full, ok), (1, 2), "{results:?}");
    });
}

#[test]
fn a_sync_by_somebody_else_wakes_who_waits() {
    explore(Some(2), || {
        let disk = Disk::good();
        let other = Arc::clone(&disk);
        let syncs = thread::spawn(move || {
            other.sync().unwrap();
            other.watermark.settle();
        });
        assert!(all_write_and_wait(&disk, 1).iter().all(Result::is_ok));
        syncs.join().unwrap();
    });
}

#[test]
fn closing_wakes_everybody() {
    explore(Some(2), || {
        let disk = Disk::good();
        let other = Arc::clone(&disk);
        let closes = thread::spawn(move || other.watermark.close());
        for result in all_write_and_wait(&disk, 1) {
            match result {
                Ok(()) => {}
                Err(Error::Poisoned { why }) => assert!(why.contains("closed"), "{why}"),
                Err(Error::Full) => panic!("the disk was never full"),
            }
        }
        closes.join().unwrap();
    });
}

type Calls = Arc<Mutex<Vec<(u64, bool)>>>;

/// Asks for a callback that records its ticket and whether it was Ok.
fn notify(disk: &Arc<Disk>, calls: &Calls) -> u64 {
    let ticket = disk.write();
    let (disk_too, calls) = (Arc::clone(disk), Arc::clone(calls));
    let callback = move |result: Result<()>| {
        let durable = disk_too.durable.load(Ordering::Acquire) >= ticket;
        assert!(result.is_err() || durable, "{ticket} is not on the device");
        calls.lock().unwrap().push((ticket, result.is_ok()));
    };
    disk.watermark.notify(ticket, Box::new(callback));
    ticket
}

fn serve(disk: &Arc<Disk>) -> thread::JoinHandle<()> {
    let disk = Arc::clone(disk);
    thread::spawn(move || disk.watermark.serve(&|| disk.sync()))
}

#[test]
fn callbacks_run_in_order_once_and_after_durability() {
    explore(Some(2), || {
        let (disk, calls) = (Disk::good(), Calls::default());
        let server = serve(&disk);
        notify(&disk, &calls);
        let last = notify(&disk, &calls);
        disk.watermark.wait(last, &|| disk.sync()).unwrap();
        disk.watermark.close();
        server.join().unwrap();
        assert_eq!(*calls.lock().unwrap(), [(1, true), (2, true)]);
    });
}

#[test]
fn each_callback_runs_once_when_the_disk_fails_or_the_log_is_closed() {
    for good in [0, 1] {
        explore(Some(2), move || {
            let (disk, calls) = (Disk::new(good, Then::Fail), Calls::default());
            let server = serve(&disk);
            notify(&disk, &calls);
            notify(&disk, &calls);
            disk.watermark.close();
            server.join().unwrap();
            let calls = calls.lock().unwrap();
            let tickets: Vec<u64> = calls.iter().map(|call| call.0).collect();
            assert_eq!(tickets, [1, 2]);
        });
    }
}

#[test]
fn a_callback_whose_sync_met_a_full_disk_is_told_and_the_next_is_served() {
    explore(Some(2), || {
        let (disk, calls) = (Disk::new(0, Then::Full), Calls::default());
        let server = serve(&disk);
        notify(&disk, &calls);
        let last = notify(&disk, &calls);
        // The full disk may strike here or in the server; the second wait finds it well again.
        let mine = disk.watermark.wait(last, &|| disk.sync());
        if mine.is_err() {
            disk.watermark.wait(last, &|| disk.sync()).unwrap();
        }
        disk.watermark.close();
        server.join().unwrap();
        let calls = calls.lock().unwrap();
        let tickets: Vec<u64> = calls.iter().map(|call| call.0).collect();
        assert_eq!(tickets, [1, 2]);
        let failed = calls.iter().filter(|call| !call.1).count() + usize::from(mine.is_err());
        assert!(failed <= 1, "{calls:?}");
    });
}
