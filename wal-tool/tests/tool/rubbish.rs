//! Rubbish over the files of a log: an exit code of the list, never a panic, never for ever.

use hardlog::{
    fs::{Dir, sim::SimFs},
    inspect::{self, DumpOptions, VerifyOptions},
    layout::{index_name, segment_name, snapshot_name},
};

use crate::directories::{healthy, segments};

/// Numbers that look random and are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

fn look(disk: &SimFs, what: &str) {
    for quick in [true, false] {
        let report = inspect::verify(disk, VerifyOptions::new().quick(quick), &mut |_| {});
        let report = report.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!([0, 1, 3, 4, 7].contains(&report.outcome().code()), "{what}");
        assert!(!report.to_string().is_empty());
    }
    let mut rows = 0_u64;
    let dumped = inspect::dump(disk, &DumpOptions::default(), &mut |_| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    });
    dumped.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(rows < 100_000, "{what}: {rows} rows");
}

#[test]
fn random_bytes_over_any_file_make_no_panic() {
    let good = healthy();
    let ids = segments(&good);
    let mut names = vec![(Dir::Snapshots, snapshot_name(100, 5))];
    for id in &ids {
        names.extend([(Dir::Root, segment_name(*id)), (Dir::Root, index_name(*id))]);
    }
    names.retain(|(dir, name)| good.read_file(*dir, name).is_some());
    let mut random = Numbers(1);
    for round in 0..150 {
        let disk = good.kill_image();
        for _ in 0..=random.below(3) {
            let (dir, name) =
                &names[usize::try_from(random.below(names.len() as u64)).expect("few")];
            let Some(bytes) = disk.read_file(*dir, name) else { continue };
            let len = bytes.len() as u64;
            let from = random.below(len);
            let to = (from + 1 + random.below(9000)).min(len);
            match random.below(6) {
                0 => disk.garble(*dir, name, 0..len, round),
                1 | 2 => disk.garble(*dir, name, from..to, round),
                3 => disk.zero(*dir, name, from..to),
                4 => disk.truncate_file(*dir, name, from),
                _ => disk.flip_bit(*dir, name, from, 1),
            }
        }
        look(&disk, &format!("round {round}"));
    }
}

#[test]
fn every_cut_of_the_last_segment_is_survived() {
    let good = healthy();
    let name = segment_name(*segments(&good).last().expect("some"));
    let len = good.read_file(Dir::Root, &name).expect("there").len() as u64;
    for cut in (0..len).step_by(911).chain([0, 1, 135, 4096, 8191, 8192, 8193, 8232]) {
        let disk = good.kill_image();
        disk.truncate_file(Dir::Root, &name, cut);
        look(&disk, &format!("cut at {cut}"));
    }
}
