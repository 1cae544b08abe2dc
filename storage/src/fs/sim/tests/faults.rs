//! Faults that are planned, damage that is done by hand, and the hook.

use super::*;

/// A short history that makes each kind of call that mutates.
fn history(sim: &SimFs) -> io::Result<()> {
    let file = sim.create(Dir::Tmp, "t")?;
    file.allocate(1024)?;
    file.write_at(&sector(b'a'), 0)?;
    file.sync()?;
    sim.rename((Dir::Tmp, "t"), (Dir::Root, "f"))?;
    sim.sync_dir(Dir::Root)?;
    sim.unlink(Dir::Root, "f")
}

#[test]
fn power_goes_at_the_nth_call_and_stays_off() {
    let whole = made();
    history(&whole).unwrap();
    assert_eq!(whole.ops(), 7);
    for n in 0..whole.ops() {
        let sim = made();
        sim.cut_at(n);
        let error = history(&sim).unwrap_err();
        assert!(is_power_off(&error), "{error}");
        assert_eq!(sim.ops(), n, "calls without power are not calls");
        assert!(is_power_off(&sim.list(Dir::Root).unwrap_err()));
        assert!(is_power_off(&sim.random().unwrap_err()));
        assert!(is_power_off(&sim.create(Dir::Root, "x").unwrap_err()));
        assert!(sim.names(Dir::Root).iter().all(|name| name != "x"));
        sim.kill_image().list(Dir::Root).unwrap();
    }
    assert!(!is_power_off(&whole.open(Dir::Root, "f", Access::Read).unwrap_err()));
}

#[test]
fn the_hook_sees_the_disk_after_each_call() {
    let sim = made();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    sim.on_step(move |sim, step| {
        sim.kill_image().make_dirs().unwrap();
        let images = sim.crash_images(Model::Strict, 1000, &mut Rng::new(1));
        // A call by the hook itself, which must neither hang nor call the hook again.
        assert!(sim.unlink(Dir::Quarantine, "missing").is_err());
        log.lock().unwrap().push(format!("{step} -> {} states, {}", images.len(), describe(sim)));
    });
    history(&sim).unwrap();
    let expected = [
        "0: Create tmp/t -> 2 states, t/t=",
        "2: Allocate tmp/t 1024 -> 3 states, t/t=00",
        "4: Write tmp/t 0+512 -> 4 states, t/t=a0",
        "6: Sync tmp/t -> 2 states, t/t=a0",
        "8: Rename /f -> 4 states, f=a0",
        "10: SyncDir / -> 2 states, f=a0",
        "12: Unlink /f -> 4 states, ",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    sim.clear_hook();
    history(&sim).unwrap();
    assert_eq!(seen.lock().unwrap().len(), expected.len());
}

#[test]
fn calls_of_other_threads_wait_for_the_hook() {
    let sim = made();
    let file = sim.create(Dir::Root, "f").unwrap();
    sim.on_step(|sim, step| {
        thread::yield_now();
        assert_eq!(sim.ops(), step.number + 1, "nobody else's call came between");
    });
    thread::scope(|scope| {
        for at in 0..4 {
            let file = &file;
            scope.spawn(move || {
                (0..50).for_each(|_| assert_eq!(file.write_at(b"x", at * 512).unwrap(), 1));
            });
        }
    });
    assert_eq!(sim.count(Call::Write), 200);
}

#[test]
fn a_panic_in_the_hook_leaves_the_disk_usable() {
    let sim = made();
    let file = sim.create(Dir::Root, "f").unwrap();
    sim.on_step(|_, _| panic!("a campaign found something"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.sync()));
    assert!(caught.is_err());
    sim.clear_hook();
    file.sync().unwrap();
}

#[test]
fn steps_are_recorded_on_request() {
    let sim = made();
    sim.create(Dir::Root, "unseen").unwrap();
    sim.record_steps();
    let file = sim.open(Dir::Root, "unseen", Access::ReadWrite).unwrap();
    sim.inject(Fault::once(When::Kind(Call::Write, 0), Effect::Torn(3, ENOSPC)));
    file.write_at(b"abcde", 7).unwrap_err();
    let steps: Vec<String> = sim.steps().iter().map(Step::to_string).collect();
    assert_eq!(steps, ["1: Write /unseen 7+5 failed"]);
}

#[test]
fn a_fault_strikes_its_call_once_or_from_then_on() {
    let strike = |when, lasting| {
        let sim = made();
        sim.inject(Fault { when, effect: Effect::Fail(EIO), lasting });
        let mut failed = Vec::new();
        let file = sim.open(Dir::Root, "f", Access::Read); // no such file; a call all the same
        assert!(file.is_err());
        for name in ["a", "b", "c", "d"] {
            failed.push(sim.create(Dir::Root, name).is_err());
            failed.push(sim.random().is_err());
        }
        let failed: String = failed.iter().map(|failed| if *failed { 'x' } else { '.' }).collect();
        (failed, sim.struck())
    };
    // Calls 0 and 1 are those to make the directories and to open.
    assert_eq!(strike(When::Any(4), false), ("..x.....".to_owned(), 1));
    assert_eq!(strike(When::Any(4), true), ("..xxxxxx".to_owned(), 6));
    assert_eq!(strike(When::Mutating(2), false), ("....x...".to_owned(), 1));
    assert_eq!(strike(When::Mutating(2), true), ("....x.x.".to_owned(), 2));
    assert_eq!(strike(When::Kind(Call::Random, 1), false), ("...x....".to_owned(), 1));
    assert_eq!(strike(When::Kind(Call::Random, 1), true), ("...x.x.x".to_owned(), 3));
    assert_eq!(strike(When::Kind(Call::Map, 0), true), ("........".to_owned(), 0));
}

#[test]
fn every_kind_of_call_can_fail_and_does_nothing_then() {
    for call in Call::ALL {
        let sim = made();
        let file = durable(&sim, "f", &sector(b'a'));
        let before = (sim.digest(), states(&sim, Model::Strict));
        sim.inject(Fault::from_then_on(When::Kind(call, sim.count(call)), Effect::Fail(EIO)));
        let error = match call {
            Call::MakeDirs => sim.make_dirs(),
            Call::List => sim.list(Dir::Root).map(drop),
            Call::Open => sim.open(Dir::Root, "f", Access::Read).map(drop),
            Call::Create => sim.create(Dir::Root, "g").map(drop),
            Call::Rename => sim.rename((Dir::Root, "f"), (Dir::Root, "g")),
            Call::Unlink => sim.unlink(Dir::Root, "f"),
            Call::SyncDir => sim.sync_dir(Dir::Root),
            Call::Lock => sim.lock().map(drop),
            Call::FreeSpace => sim.free_space().map(drop),
            Call::Random => sim.random().map(drop),
            Call::Read => file.read_at(&mut [0], 0).map(drop),
            Call::Write => file.write_at(b"x", 0).map(drop),
            Call::Sync => file.sync(),
            Call::Len => file.len().map(drop),
            Call::Allocate => file.allocate(4096),
            Call::Map => file.map().map(drop),
        };
        assert_eq!(error.unwrap_err().raw_os_error(), Some(EIO), "{call:?}");
        assert_eq!((sim.digest(), states(&sim, Model::Strict)), before, "{call:?}");
        assert_eq!(sim.struck(), 1);
        sim.clear_faults();
        sim.lock().unwrap();
    }
}

#[test]
fn a_call_may_take_effect_and_fail_all_the_same() {
    let strike = |call, run: &dyn Fn(&SimFs) -> io::Result<()>| {
        let sim = made();
        durable(&sim, "f", &sector(b'a'));
        sim.inject(Fault::once(When::Kind(call, sim.count(call)), Effect::DoneButFail(EIO)));
        assert_eq!(run(&sim).unwrap_err().raw_os_error(), Some(EIO));
        describe(&sim)
    };
    let open = |sim: &SimFs| sim.open(Dir::Root, "f", Access::ReadWrite);
    assert_eq!(strike(Call::Create, &|sim| sim.create(Dir::Root, "g").map(drop)), "f=a g=");
    assert_eq!(strike(Call::Rename, &|sim| sim.rename((Dir::Root, "f"), (Dir::Root, "g"))), "g=a");
    assert_eq!(strike(Call::Unlink, &|sim| sim.unlink(Dir::Root, "f")), "");
    assert_eq!(strike(Call::Allocate, &|sim| open(sim)?.allocate(1024)), "f=a0");
    let write = |sim: &SimFs| open(sim)?.write_at(&sector(b'b'), 0).map(drop);
    assert_eq!(strike(Call::Write, &write), "f=b");
}

#[test]
fn a_sync_that_reached_the_disk_may_still_report_a_failure() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'b'), 0).unwrap();
    sim.inject(Fault::once(When::Kind(Call::Sync, 1), Effect::DoneButFail(EIO)));
    file.sync().unwrap_err();
    assert_eq!(states(&sim, Model::Strict), set(["f=b"]));
}

#[test]
fn writes_can_be_short_or_torn() {
    let sim = made();
    let file = sim.create(Dir::Root, "f").unwrap();
    sim.inject(Fault::once(When::Kind(Call::Write, 0), Effect::Short(512)));
    sim.inject(Fault::once(When::Kind(Call::Write, 1), Effect::Torn(600, ENOSPC)));
    sim.inject(Fault::once(When::Kind(Call::Write, 2), Effect::Short(9999)));
    let bytes = vec![b'x'; 1024];
    assert_eq!(file.write_at(&bytes, 0).unwrap(), 512);
    assert_eq!(file.len().unwrap(), 512);
    assert_eq!(file.write_at(&bytes, 512).unwrap_err().raw_os_error(), Some(ENOSPC));
    assert_eq!(file.len().unwrap(), 512 + 600);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), 1024, "short of more than there is");
}

#[test]
fn a_disk_may_lie() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    sim.inject(Fault::once(When::Kind(Call::Write, 1), Effect::Lie));
    assert_eq!(file.write_at(&sector(b'b'), 0).unwrap(), 512);
    assert_eq!(describe(&sim), "f=a");
    file.write_at(&sector(b'c'), 0).unwrap();
    sim.create(Dir::Root, "g").unwrap();
    for call in [Call::Sync, Call::SyncDir] {
        sim.inject(Fault::from_then_on(When::Kind(call, 1), Effect::Lie));
    }
    file.sync().unwrap();
    sim.sync_dir(Dir::Root).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=c", "f=a g=", "f=c g="]));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let sim = made();
    sim.set_capacity(Some(4 * 4096));
    let a = sim.create(Dir::Root, "a").unwrap();
    a.allocate(2 * 4096).unwrap();
    assert_eq!((sim.used(), sim.free_space().unwrap()), (8192, 8192));
    a.write_at(&vec![1; 8192], 0).unwrap();
    assert_eq!(sim.used(), 8192, "its space was reserved");
    let b = sim.create(Dir::Root, "b").unwrap();
    assert_eq!(b.allocate(3 * 4096).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((b.len().unwrap(), sim.used()), (0, 8192));
    b.write_at(b"x", 5000).unwrap(); // one page, after a hole of one
    assert_eq!(
        b.write_at(&vec![2; 8192], 100).unwrap(),
        8192 - 100,
        "short: the third page is missing"
    );
    assert_eq!(b.write_at(b"x", 8192).unwrap_err().raw_os_error(), Some(ENOSPC));
    assert_eq!(b.write_at(b"y", 5000).unwrap(), 1, "space it has is its own");
    assert_eq!((sim.used(), sim.free_space().unwrap()), (4 * 4096, 0));
    sim.unlink(Dir::Root, "a").unwrap();
    assert_eq!(sim.free_space().unwrap(), 0, "a handle keeps the space");
    drop(a);
    assert_eq!(sim.free_space().unwrap(), 8192);
    b.allocate(4 * 4096).unwrap();
    assert_eq!(sim.free_space().unwrap(), 0);
    sim.set_capacity(Some(4096));
    assert_eq!(sim.free_space().unwrap(), 0, "more used than there is");
    sim.set_capacity(None);
    assert_eq!(sim.free_space().unwrap(), UNBOUNDED);
    b.allocate(1 << 20).unwrap();
}

#[test]
fn an_image_has_the_capacity_of_its_disk() {
    let sim = made();
    sim.set_capacity(Some(8192));
    durable(&sim, "a", &sector(b'a'));
    let image = sim.crash_images(Model::Strict, 1, &mut Rng::new(1)).next().unwrap().fs;
    for other in [image, sim.kill_image()] {
        assert_eq!((other.used(), other.free_space().unwrap()), (4096, 4096));
    }
}

#[test]
fn an_unreadable_sector_fails_reads_that_touch_it_until_written_whole() {
    let sim = made();
    let file = durable(&sim, "f", &vec![b'a'; 4 * 512]);
    sim.make_unreadable(Dir::Root, "f", 2);
    let mut bytes = [0; 600];
    file.read_at(&mut bytes, 0).unwrap();
    file.read_at(&mut bytes[..512], 512).unwrap();
    for (offset, len) in [(512, 513), (1024, 1), (1535, 1), (1500, 600)] {
        let error = file.read_at(&mut bytes[..len], offset).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EIO), "{offset}+{len}");
    }
    assert_eq!(file.map().unwrap_err().raw_os_error(), Some(EIO));
    let image = sim.crash_images(Model::Strict, 1, &mut Rng::new(1)).next().unwrap();
    assert!(image.fs.open(Dir::Root, "f", Access::Read).unwrap().map().is_err(), "it stays so");
    file.write_at(&[b'b'; 511], 1024).unwrap();
    assert!(file.map().is_err(), "a part of it is not enough");
    file.write_at(&[b'b'; 512], 1024).unwrap();
    file.map().unwrap();
}

#[test]
fn damage_reaches_what_is_live_what_is_durable_and_what_is_between() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'c'), 0).unwrap();
    sim.flip_bit(Dir::Root, "f", 3, 1);
    let flipped = |sim: &SimFs| sim.read_file(Dir::Root, "f").unwrap()[3];
    assert_eq!(flipped(&sim), b'c' ^ 2);
    let images = sim.crash_images(Model::Strict, 10, &mut Rng::new(1));
    let seen: BTreeSet<u8> = images.map(|image| flipped(&image.fs)).collect();
    assert_eq!(seen, [b'a' ^ 2, b'c' ^ 2].into());
    sim.zero(Dir::Root, "f", 0..512);
    assert_eq!(describe(&sim), "f=0");
    sim.garble(Dir::Root, "f", 100..200, 1);
    let bytes = sim.read_file(Dir::Root, "f").unwrap();
    assert!(bytes[100..200].iter().any(|byte| *byte != 0));
    assert!(bytes[..100].iter().chain(&bytes[200..]).all(|byte| *byte == 0));
    assert_eq!(sim.durable_file(Dir::Root, "f").unwrap(), bytes);
}

/// Two settled files that nobody has open: in the middle of a swap one of them had no name, and the
/// disk forgot it.
#[test]
fn files_without_a_handle_can_be_swapped() {
    let sim = made();
    sim.write_file(Dir::Root, "f", &sector(b'a'));
    sim.write_file(Dir::Root, "g", &sector(b'b'));
    let sim = sim.kill_image();
    sim.swap_files((Dir::Root, "f"), (Dir::Root, "g"));
    assert_eq!(states(&sim, Model::Strict), set(["f=b g=a"]));
}

#[test]
fn files_can_be_replaced_cut_swapped_and_removed_by_hand() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    sim.write_file(Dir::Root, "f", &[sector(b'b'), sector(b'c')].concat());
    assert_eq!(file.len().unwrap(), 1024, "under an open handle too");
    sim.write_file(Dir::Snapshots, "g", &sector(b'g'));
    assert_eq!(states(&sim, Model::Strict), set(["f=bc s/g=g"]));
    sim.swap_files((Dir::Root, "f"), (Dir::Snapshots, "g"));
    assert_eq!(states(&sim, Model::Strict), set(["f=g s/g=bc"]));
    sim.truncate_file(Dir::Snapshots, "g", 700);
    sim.truncate_file(Dir::Root, "f", 1024);
    assert_eq!(states(&sim, Model::Strict), set(["f=g0 s/g=b[188:c]"]));
    sim.remove_file(Dir::Root, "f");
    assert_eq!(states(&sim, Model::Strict), set(["s/g=b[188:c]"]));
    assert_eq!(file.len().unwrap(), 700, "its handle went along with the bytes");
    let calls = (sim.calls(), sim.ops());
    sim.settle();
    assert_eq!((sim.calls(), sim.ops()), calls, "none of this is a call");
}

#[test]
fn settling_leaves_one_state() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&vec![b'b'; 2048], 0).unwrap();
    sim.fail_writeback(Dir::Root, "f");
    sim.create(Dir::Tmp, "t").unwrap();
    sim.settle();
    assert_eq!(states(&sim, Model::Strict), set(["f=bbbb t/t="]));
    assert_eq!(sim.crash_images(Model::Strict, 10, &mut Rng::new(1)).len(), 1, "nor is any harmed");
    file.sync().unwrap();
}

#[test]
fn counters_tell_what_a_history_cost() {
    let sim = made();
    history(&sim).unwrap();
    let counts = [Call::Create, Call::Allocate, Call::Write, Call::Sync, Call::Rename];
    assert!(counts.into_iter().all(|call| sim.count(call) == 1));
    assert_eq!(
        (sim.count(Call::SyncDir), sim.count(Call::Unlink), sim.count(Call::Read)),
        (1, 1, 0)
    );
    assert_eq!((sim.calls(), sim.ops()), (8, 7), "one more to make the directories");
    assert_eq!(Call::ALL.iter().map(|call| sim.count(*call)).sum::<u64>(), sim.calls());
}
