//! The contract of the traits, held against both storages: the same calls must show the same
//! results, so that what a campaign proves on the simulated disk holds for the real one.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    disk::DiskFs,
    sim::{Rng, SimFs},
    *,
};

/// Names that calls are tried with; `tmp` is a directory in the root and no name elsewhere.
const NAMES: [&str; 5] = ["a", "b", "c", "tmp", "../a"];

/// One storage and the handles opened on it, by number.
struct Player {
    fs: Arc<dyn Fs>,
    files: BTreeMap<usize, Arc<dyn File>>,
    lock: Option<Box<dyn Any + Send + Sync>>,
}

impl Player {
    fn new(fs: impl Fs + 'static) -> Self {
        Self { fs: Arc::new(fs), files: BTreeMap::new(), lock: None }
    }

    /// Makes one call drawn from `rng` and tells its visible outcome.
    fn play(&mut self, rng: &mut Rng) -> String {
        let (dir, name) = (Dir::ALL[rng.below(4)], NAMES[rng.below(NAMES.len())]);
        let (slot, offset, len) = (rng.below(4), rng.below(9_000) as u64, rng.below(6_000));
        let second = (Dir::ALL[rng.below(4)], NAMES[rng.below(NAMES.len())]);
        let fs = Arc::clone(&self.fs);
        match rng.below(24) {
            0..=2 => {
                let access = [Access::Read, Access::ReadWrite][rng.below(2)];
                self.keep(
                    slot,
                    format!("open {dir:?} {name} {access:?}"),
                    fs.open(dir, name, access),
                )
            }
            3..=5 => self.keep(slot, format!("create {dir:?} {name}"), fs.create(dir, name)),
            // No caller has a name for a directory; what is said of renaming one, or over one, is
            // each file system's own.
            6..=8 if name != "tmp" && second != (Dir::Root, "tmp") => {
                show(format!("rename {dir:?} {name} {second:?}"), fs.rename((dir, name), second))
            }
            9 => show(format!("unlink {dir:?} {name}"), fs.unlink(dir, name)),
            10 => show(format!("sync {dir:?}"), fs.sync_dir(dir)),
            11 if rng.below(4) == 0 => show("make".to_owned(), fs.make_dirs()),
            12 if rng.below(2) == 0 => {
                self.lock = None;
                show("unlocked".to_owned(), Ok(fs.lock_holder().is_some()))
            }
            12 => {
                let result = fs.lock().map(|lock| {
                    self.lock = Some(lock);
                    fs.lock_holder().is_some()
                });
                show("lock".to_owned(), result)
            }
            13 => show("free".to_owned(), fs.free_space().map(|bytes| bytes > 0)),
            11 | 14 => show("list".to_owned(), list(&*fs, dir)),
            other => self.play_file(other, slot, offset, len),
        }
    }

    fn play_file(&mut self, call: usize, slot: usize, offset: u64, len: usize) -> String {
        let Some(file) = self.files.get(&slot).cloned() else { return "no handle".to_owned() };
        let label = format!("{call} on {slot} at {offset}+{len}");
        match call {
            15..=17 => {
                let bytes = [b'a' + u8::try_from(len % 26).unwrap()].repeat(len);
                show(label, file.write_at(&bytes, offset))
            }
            18 => show(label, file.write_at(&[], offset)),
            19 => show(label, file.sync()),
            20 => show(label, file.allocate(offset / 4)),
            21 => show(label, file.len()),
            22 => show(label, file.map().map(|bytes| bytes.map(|bytes| summary(&bytes)))),
            23 => {
                self.files.remove(&slot);
                label
            }
            _ => {
                let mut bytes = vec![0xAA; len];
                show(label, file.read_at(&mut bytes, offset).map(|n| (n, summary(&bytes))))
            }
        }
    }

    fn keep(&mut self, slot: usize, label: String, result: io::Result<Arc<dyn File>>) -> String {
        show(label, result.map(|file| drop(self.files.insert(slot, file))))
    }

    /// All that can be seen from outside.
    fn survey(&self) -> String {
        let mut out = String::new();
        for dir in Dir::ALL {
            for found in list(&*self.fs, dir).unwrap() {
                let file = self.fs.open(dir, &found.name, Access::Read);
                let content = file.map(|file| summary(&file.map().unwrap().unwrap()));
                // What LOCK says of its holder is each storage's own business.
                let content = (found.name != "LOCK").then(|| content.map_err(|e| e.kind()));
                writeln!(out, "{dir:?} {found:?} {content:?}").unwrap();
            }
        }
        out
    }
}

/// The names, sorted; LOCK without its length.
fn list(fs: &dyn Fs, dir: Dir) -> io::Result<Vec<Found>> {
    let mut all = fs.list(dir)?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.iter_mut().filter(|found| found.name == "LOCK").for_each(|found| found.len = 0);
    Ok(all)
}

fn summary(bytes: &[u8]) -> (usize, u32) {
    (bytes.len(), crc32fast::hash(bytes))
}

fn show<T: fmt::Debug>(label: String, result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{label}: {value:?}"),
        Err(error) => format!("{label}: {:?}", error.kind()),
    }
}

#[test]
fn both_storages_answer_every_call_alike() {
    let mut outcomes = BTreeMap::new();
    for seed in 0..16 {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Player::new(DiskFs::new(dir.path().join("log")));
        let mut sim = Player::new(SimFs::new(seed));
        let (mut left, mut right) = (Rng::new(seed), Rng::new(seed));
        if seed % 4 != 0 {
            disk.fs.make_dirs().unwrap();
            sim.fs.make_dirs().unwrap();
        }
        for step in 0..150 {
            let (real, simulated) = (disk.play(&mut left), sim.play(&mut right));
            assert_eq!(real, simulated, "seed {seed}, step {step}: real, simulated");
            let kind = real.rsplit(": ").next().unwrap();
            *outcomes
                .entry(kind.chars().take_while(char::is_ascii_alphabetic).collect())
                .or_insert(0) += 1;
        }
        disk.fs.make_dirs().unwrap();
        sim.fs.make_dirs().unwrap();
        assert_eq!(disk.survey(), sim.survey(), "seed {seed}");
    }
    // A comparison in which everything fails, or nothing does, would prove nothing.
    let outcomes: BTreeMap<String, i32> = outcomes;
    for kind in ["NotFound", "AlreadyExists", "InvalidInput", "IsADirectory", "WouldBlock"] {
        assert!(outcomes.get(kind).is_some_and(|n| *n > 1), "{kind}: {outcomes:?}");
    }
}

/// Each storage, fresh, with its directories.
fn both() -> (tempfile::TempDir, [Arc<dyn Fs>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let both: [Arc<dyn Fs>; 2] = [Arc::new(DiskFs::new(dir.path())), Arc::new(SimFs::new(1))];
    both.iter().for_each(|fs| fs.make_dirs().unwrap());
    (dir, both)
}

#[test]
fn a_handle_keeps_a_file_that_was_renamed_replaced_or_removed() {
    let (_dir, both) = both();
    for fs in both {
        let a = fs.create(Dir::Tmp, "a").unwrap();
        let b = fs.create(Dir::Root, "b").unwrap();
        write_full(&*a, b"aaa", 0).unwrap();
        write_full(&*b, b"b", 0).unwrap();
        fs.rename((Dir::Tmp, "a"), (Dir::Root, "b")).unwrap();
        write_full(&*a, b"xx", 3).unwrap();
        assert_eq!((a.len().unwrap(), b.len().unwrap()), (5, 1), "{fs:?}");
        assert_eq!(fs.open(Dir::Root, "b", Access::Read).unwrap().len().unwrap(), 5, "{fs:?}");
        fs.unlink(Dir::Root, "b").unwrap();
        assert_eq!(a.map().unwrap().unwrap(), b"aaaxx"[..], "{fs:?}");
        assert!(fs.open(Dir::Root, "b", Access::Read).is_err(), "{fs:?}");
    }
}

#[test]
fn full_reads_stop_at_the_end_and_holes_read_as_zeros() {
    let (_dir, both) = both();
    for fs in both {
        let file = fs.create(Dir::Root, "a").unwrap();
        write_full(&*file, b"end", 10_000).unwrap();
        let mut bytes = vec![1; 20_000];
        assert_eq!(read_full(&*file, &mut bytes, 0).unwrap(), 10_003, "{fs:?}");
        assert!(bytes[..10_000].iter().all(|byte| *byte == 0), "{fs:?}");
        assert_eq!(&bytes[10_000..10_004], b"end\x01", "{fs:?}");
        assert_eq!(read_full(&*file, &mut bytes, 10_003).unwrap(), 0, "{fs:?}");
    }
}

#[test]
fn a_full_write_goes_on_after_short_ones_and_gives_up_when_nothing_goes() {
    use sim::{Call, Effect, Fault, When};
    let sim = SimFs::new(1);
    sim.make_dirs().unwrap();
    let file = sim.create(Dir::Root, "a").unwrap();
    for (n, len) in [(0, 3), (1, 1)] {
        sim.inject(Fault::once(When::Kind(Call::Write, n), Effect::Short(len)));
    }
    write_full(&*file, b"abcdef", 0).unwrap();
    assert_eq!(sim.read_file(Dir::Root, "a").unwrap(), b"abcdef");
    assert_eq!(sim.count(Call::Write), 3);
    sim.inject(Fault::once(When::Kind(Call::Write, 3), Effect::Short(0)));
    let error = write_full(&*file, b"x", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    use sim::{EDQUOT, EIO, EMFILE, ENOSPC, EROFS};
    let full = |errno| is_full(&io::Error::from_raw_os_error(errno));
    assert!([ENOSPC, EDQUOT, rustix::io::Errno::FBIG.raw_os_error()].into_iter().all(full));
    assert!(![EIO, EMFILE, EROFS].into_iter().any(full));
}
