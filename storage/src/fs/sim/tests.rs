//! The fault model, held to what was calculated by hand.

mod faults;
mod images;

use std::collections::BTreeSet;

use super::*;

/// A disk with directories.
fn made() -> SimFs {
    let sim = SimFs::new(7);
    sim.make_dirs().unwrap();
    sim
}

/// A file in the root whose name and bytes are durable.
fn durable(sim: &SimFs, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = sim.create(Dir::Root, name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    sim.sync_dir(Dir::Root).unwrap();
    file
}

/// A sector of one letter.
fn sector(letter: u8) -> Vec<u8> {
    vec![letter; 512]
}

/// Contents of sectors as letters: `a` for 512 times that byte, `0` for zeros, `?` for anything
/// that is not one letter; a shorter tail as letters run together.
fn letters(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(512) {
        let mut runs = chunk.to_vec();
        runs.dedup();
        let show = |byte: u8| if byte == 0 { '0' } else { char::from(byte) };
        match runs[..] {
            [one] if chunk.len() == 512 => out.push(show(one)),
            _ => {
                let runs: String = runs.into_iter().map(show).collect();
                out.push_str(&format!("[{}:{runs}]", chunk.len()));
            }
        }
    }
    out
}

/// A disk in one line: `name=letters` for each file, directories shown by their first letter.
fn describe(sim: &SimFs) -> String {
    let mut files = Vec::new();
    for dir in Dir::ALL {
        for name in sim.names(dir) {
            let bytes = sim.read_file(dir, &name).unwrap();
            let dir = dir.name().get(..1).map(|first| format!("{first}/")).unwrap_or_default();
            files.push(format!("{dir}{name}={}", letters(&bytes)));
        }
    }
    files.join(" ")
}

/// All states after a power cut, without those with a harmed sector; each must come once.
fn states(sim: &SimFs, model: Model) -> BTreeSet<String> {
    let images = sim.crash_images(model, 10_000, &mut Rng::new(1));
    let all: Vec<String> =
        images.filter(|image| image.harmed.is_none()).map(|image| describe(&image.fs)).collect();
    let set: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(set.len(), all.len(), "a state came twice: {all:?}");
    set
}

fn set<const N: usize>(states: [&str; N]) -> BTreeSet<String> {
    states.map(str::to_owned).into()
}

#[test]
fn the_same_seed_and_calls_give_the_same_disk() {
    let run = |seed| {
        let sim = SimFs::new(seed);
        sim.make_dirs().unwrap();
        let file = sim.create(Dir::Root, "a").unwrap();
        for at in 0..9 {
            let salt = sim.random().unwrap();
            file.write_at(&salt.to_le_bytes(), at * 700).unwrap();
        }
        let images = sim.crash_images(Model::Strict, 20, &mut Rng::new(seed));
        let digests: Vec<u64> = images.map(|image| image.fs.digest()).collect();
        (digests, sim.now(), sim.digest())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn randomness_goes_on_in_an_image_where_the_disk_stopped() {
    let sim = made();
    let drawn = [sim.random().unwrap(), sim.random().unwrap()];
    let next = sim.kill_image().random().unwrap();
    let image = sim.crash_images(Model::Strict, 1, &mut Rng::new(1)).next().unwrap();
    assert_eq!(image.fs.random().unwrap(), next);
    assert_eq!(sim.random().unwrap(), next);
    assert!(!drawn.contains(&next), "a salt that was used must not come again");
    assert!(image.fs.now() > Duration::from_secs(EPOCH_SECS));
}

#[test]
fn the_lock_is_exclusive_and_no_image_holds_it() {
    let sim = made();
    let lock = sim.lock().unwrap();
    assert_eq!(sim.clone().lock().map(drop).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(sim.lock_holder().is_some());
    let image = sim.crash_images(Model::Strict, 1, &mut Rng::new(1)).next().unwrap().fs;
    for other in [sim.kill_image(), image] {
        assert_eq!(other.lock_holder(), None);
        other.lock().unwrap();
    }
    drop(lock);
    assert_eq!(sim.lock_holder(), None);
    sim.lock().unwrap();
}

#[test]
fn handles_see_each_others_writes_at_once_and_outlive_the_name() {
    let sim = made();
    let writer = sim.create(Dir::Tmp, "a").unwrap();
    let reader = sim.open(Dir::Tmp, "a", Access::Read).unwrap();
    writer.write_at(&sector(b'x'), 0).unwrap();
    sim.rename((Dir::Tmp, "a"), (Dir::Root, "b")).unwrap();
    sim.unlink(Dir::Root, "b").unwrap();
    Dir::ALL.into_iter().for_each(|dir| sim.sync_dir(dir).unwrap());
    assert_eq!(reader.map().unwrap().unwrap(), sector(b'x'));
    assert!(reader.write_at(b"y", 0).is_err(), "opened for reading");
    assert_eq!(describe(&sim), "");
}

#[test]
fn a_long_preallocated_file_costs_little() {
    let sim = made();
    let file = sim.create(Dir::Root, "a").unwrap();
    file.allocate(1 << 30).unwrap();
    file.sync().unwrap();
    sim.sync_dir(Dir::Root).unwrap();
    for round in 0..200u64 {
        file.write_at(&sector(b'x'), round * 8192).unwrap();
        let images = sim.crash_images(Model::Strict, 4, &mut Rng::new(round));
        for image in images {
            assert_eq!(
                image.fs.open(Dir::Root, "a", Access::Read).unwrap().len().unwrap(),
                1 << 30
            );
        }
        file.sync().unwrap();
    }
    assert_eq!(file.len().unwrap(), 1 << 30);
    assert!(file.write_at(b"x", 1 << 40).is_err(), "beyond what is simulated");
    assert!(file.write_at(b"x", u64::MAX).is_err());
}
