//! Which states a power cut may leave: counted and spelled out by hand.

use super::*;

#[test]
fn each_unsynced_sector_is_there_or_not() {
    let sim = made();
    let file = durable(&sim, "f", &[sector(b'a'), sector(b'a'), sector(b'a')].concat());
    assert_eq!(states(&sim, Model::Strict), set(["f=aaa"]));
    file.write_at(&[sector(b'b'), sector(b'b')].concat(), 512).unwrap();
    let expected = set(["f=aaa", "f=aab", "f=aba", "f=abb"]);
    assert_eq!(states(&sim, Model::Strict), expected);
    assert_eq!(states(&sim, Model::Journal), expected, "a journal orders names, not bytes");
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=abb"]));
}

#[test]
fn a_sector_written_twice_may_hold_either_content() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'b'), 0).unwrap();
    file.write_at(&sector(b'c'), 0).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=b", "f=c"]));
    file.write_at(&sector(b'a'), 0).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=b", "f=c"]), "back to the old one");
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a"]));
}

#[test]
fn writing_what_is_there_leaves_nothing_pending() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'a'), 0).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a"]));
}

#[test]
fn the_length_is_on_its_own() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&[sector(b'b'), sector(b'b')].concat(), 0).unwrap();
    // Old length: the second sector cannot be seen. New length: each sector old or new.
    let expected = set(["f=a", "f=b", "f=a0", "f=ab", "f=b0", "f=bb"]);
    assert_eq!(states(&sim, Model::Strict), expected);
    file.allocate(3 * 512).unwrap();
    assert_eq!(states(&sim, Model::Strict).len(), 6 + 4, "a third length over the same sectors");
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=bb0"]));
}

#[test]
fn bytes_beyond_the_length_make_no_states() {
    let sim = made();
    let file = durable(&sim, "f", &[b'a'; 100]);
    file.write_at(&[b'b'; 50], 100).unwrap();
    let expected = set(["f=[100:a]", "f=[150:a0]", "f=[150:ab]"]);
    assert_eq!(states(&sim, Model::Strict), expected);
}

#[test]
fn what_lay_beyond_a_lost_length_does_not_come_back_when_the_file_grows() {
    let sim = made();
    let file = durable(&sim, "f", &[b'a'; 100]);
    // The length's only sync fails, so it stays unknown; the bytes' second one does not.
    file.write_at(&[b'b'; 5000], 100).unwrap();
    sim.inject(Fault::once(When::Kind(Call::Sync, 1), Effect::Fail(EIO)));
    file.sync().unwrap_err();
    file.write_at(&[b'c'; 5000], 100).unwrap();
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict).len(), 2);
    let short = sim
        .crash_images(Model::Strict, 9, &mut Rng::new(1))
        .find(|image| describe(&image.fs) == "f=[100:a]")
        .unwrap();
    let file = short.fs.open(Dir::Root, "f", Access::ReadWrite).unwrap();
    file.write_at(b"z", 6000).unwrap();
    let bytes = short.fs.read_file(Dir::Root, "f").unwrap();
    assert!(bytes[100..6000].iter().all(|byte| *byte == 0));
}

#[test]
fn a_name_is_lost_without_a_sync_of_its_directory() {
    let sim = made();
    let file = sim.create(Dir::Root, "f").unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "f="]));
    file.write_at(&sector(b'a'), 0).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "f=", "f=0", "f=a"]));
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "f=a"]), "the bytes are, the name is not");
    assert_eq!(states(&sim, Model::Journal), set(["", "f=a"]));
    sim.sync_dir(Dir::Tmp).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "f=a"]), "another directory's sync");
    sim.sync_dir(Dir::Root).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a"]));
}

#[test]
fn a_rename_within_a_directory_is_atomic() {
    let sim = made();
    durable(&sim, "a", &sector(b'a'));
    durable(&sim, "b", &sector(b'b'));
    sim.rename((Dir::Root, "a"), (Dir::Root, "b")).unwrap();
    assert_eq!(describe(&sim), "b=a");
    for model in [Model::Strict, Model::Journal] {
        assert_eq!(states(&sim, model), set(["a=a b=b", "b=a"]));
    }
    sim.sync_dir(Dir::Root).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["b=a"]));
}

#[test]
fn a_rename_across_directories_may_come_apart() {
    let sim = made();
    let file = sim.create(Dir::Tmp, "t").unwrap();
    file.write_at(&sector(b'a'), 0).unwrap();
    file.sync().unwrap();
    sim.sync_dir(Dir::Tmp).unwrap();
    sim.rename((Dir::Tmp, "t"), (Dir::Root, "f")).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["t/t=a", "f=a t/t=a", "", "f=a"]));
    assert_eq!(states(&sim, Model::Journal), set(["t/t=a", "f=a"]));
    let root_only = sim.kill_image();
    root_only.sync_dir(Dir::Root).unwrap();
    assert_eq!(states(&root_only, Model::Strict), set(["f=a t/t=a", "f=a"]));
    assert_eq!(states(&root_only, Model::Journal), set(["f=a"]), "one journal for both");
    sim.sync_dir(Dir::Tmp).unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "f=a"]), "synced the wrong one of the two");
}

#[test]
fn both_names_of_a_rename_that_came_apart_are_one_file() {
    let sim = made();
    sim.create(Dir::Tmp, "t").unwrap();
    sim.sync_dir(Dir::Tmp).unwrap();
    sim.rename((Dir::Tmp, "t"), (Dir::Root, "f")).unwrap();
    let both = sim
        .crash_images(Model::Strict, 100, &mut Rng::new(1))
        .find(|image| describe(&image.fs) == "f= t/t=")
        .unwrap();
    let file = both.fs.open(Dir::Tmp, "t", Access::ReadWrite).unwrap();
    file.write_at(&sector(b'x'), 0).unwrap();
    assert_eq!(describe(&both.fs), "f=x t/t=x");
    assert_eq!(both.fs.used(), 4096, "counted once");
}

#[test]
fn unlinks_survive_in_any_combination_or_in_order() {
    let sim = made();
    for name in ["a", "b", "c"] {
        durable(&sim, name, b"");
    }
    for name in ["a", "b", "c"] {
        sim.unlink(Dir::Root, name).unwrap();
    }
    let strict = ["", "a=", "b=", "c=", "a= b=", "a= c=", "b= c=", "a= b= c="];
    assert_eq!(states(&sim, Model::Strict), set(strict));
    assert_eq!(states(&sim, Model::Journal), set(["a= b= c=", "b= c=", "c=", ""]));
}

#[test]
fn names_that_come_to_the_same_are_one_state() {
    let sim = made();
    sim.create(Dir::Root, "a").unwrap();
    sim.unlink(Dir::Root, "a").unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "a="]));
    assert_eq!(states(&sim, Model::Journal), set(["", "a="]));
}

#[test]
fn an_unlinked_name_may_come_back_with_what_was_durable() {
    let sim = made();
    let file = durable(&sim, "a", &sector(b'a'));
    file.write_at(&sector(b'b'), 0).unwrap();
    drop(file);
    sim.unlink(Dir::Root, "a").unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["", "a=a", "a=b"]));
    sim.sync_dir(Dir::Root).unwrap();
    assert_eq!(states(&sim, Model::Strict), set([""]));
}

#[test]
fn old_changes_in_tmp_settle_by_themselves() {
    let sim = made();
    for name in ["a", "b", "c"] {
        sim.create(Dir::Tmp, name).unwrap();
    }
    assert_eq!(
        states(&sim, Model::Strict),
        set(["t/a=", "t/a= t/b=", "t/a= t/c=", "t/a= t/b= t/c="])
    );
}

#[test]
fn files_are_independent() {
    let sim = made();
    let (a, b) = (durable(&sim, "a", &sector(b'a')), durable(&sim, "b", &sector(b'b')));
    a.write_at(&sector(b'x'), 0).unwrap();
    b.write_at(&sector(b'y'), 0).unwrap();
    let expected = set(["a=a b=b", "a=a b=y", "a=x b=b", "a=x b=y"]);
    assert_eq!(states(&sim, Model::Strict), expected);
    b.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["a=a b=y", "a=x b=y"]));
}

#[test]
fn nothing_is_pending_in_an_image_and_writing_to_one_harms_no_other() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'b'), 0).unwrap();
    let images: Vec<Image> = sim.crash_images(Model::Strict, 10, &mut Rng::new(1)).collect();
    for image in &images {
        assert_eq!(states(&image.fs, Model::Strict), set([&*describe(&image.fs)]));
        let file = image.fs.open(Dir::Root, "f", Access::ReadWrite).unwrap();
        file.write_at(&sector(b'z'), 0).unwrap();
        assert_eq!(states(&image.fs, Model::Strict).len(), 2);
    }
    assert_eq!(describe(&sim), "f=b");
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=b"]));
}

#[test]
fn a_killed_process_leaves_the_page_cache_and_what_is_pending() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'b'), 0).unwrap();
    sim.create(Dir::Root, "g").unwrap();
    let killed = sim.kill_image();
    assert_eq!(describe(&killed), "f=b g=");
    assert_eq!(states(&killed, Model::Strict), set(["f=a", "f=b", "f=a g=", "f=b g="]));
    killed.open(Dir::Root, "f", Access::Read).unwrap().sync().unwrap();
    assert_eq!(
        states(&killed, Model::Strict),
        set(["f=b", "f=b g="]),
        "a sync by the next process"
    );
    assert_eq!(states(&sim, Model::Strict).len(), 4);
}

#[test]
fn a_failed_sync_and_then_a_good_one_make_nothing_durable() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.write_at(&sector(b'b'), 0).unwrap();
    sim.inject(Fault::once(When::Kind(Call::Sync, 1), Effect::Fail(EIO)));
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=b"]));
    // Only a new write makes the page dirty, and a good sync then takes all of it along.
    file.write_at(&sector(b'c'), 512).unwrap();
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=bc"]));
}

#[test]
fn a_length_whose_sync_failed_stays_unknown() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    file.allocate(1024).unwrap();
    sim.inject(Fault::once(When::Kind(Call::Sync, 1), Effect::Fail(EIO)));
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=a0"]));
}

#[test]
fn a_failed_sync_may_harm_any_sector_of_its_pages_and_no_other() {
    let sim = made();
    let file = durable(&sim, "f", &vec![b'a'; 2 * 4096 + 512]);
    file.write_at(&sector(b'b'), 4096 + 512).unwrap();
    sim.inject(Fault::once(When::Kind(Call::Sync, 1), Effect::Fail(EIO)));
    file.sync().unwrap_err();
    let images: Vec<Image> = sim.crash_images(Model::Strict, 1000, &mut Rng::new(1)).collect();
    let harmed: Vec<&Image> = images.iter().filter(|image| image.harmed.is_some()).collect();
    assert_eq!((images.len(), harmed.len()), (2 + 16, 16));
    for image in harmed {
        let harm = image.harmed.clone().unwrap();
        assert_eq!((harm.dir, &*harm.name), (Dir::Root, "f"));
        assert!((8..16).contains(&harm.sector));
        let file = image.fs.open(Dir::Root, "f", Access::Read).unwrap();
        let (mut bytes, at) = ([0; 512], harm.sector * 512);
        let read = file.read_at(&mut bytes, at);
        if harm.unreadable {
            assert_eq!(read.unwrap_err().raw_os_error(), Some(EIO));
        } else {
            assert_eq!((read.unwrap(), bytes), (512, [0xEE; 512]));
        }
        file.read_at(&mut bytes, (at + 512) % (2 * 4096 + 512)).unwrap();
    }
}

#[test]
fn a_failed_writeback_is_reported_to_one_sync_once() {
    let sim = made();
    let file = durable(&sim, "f", &sector(b'a'));
    let second = sim.open(Dir::Root, "f", Access::ReadWrite).unwrap();
    file.write_at(&sector(b'b'), 0).unwrap();
    sim.fail_writeback(Dir::Root, "f");
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
    second.sync().unwrap();
    file.sync().unwrap();
    assert_eq!(states(&sim, Model::Strict), set(["f=a", "f=b"]));
    file.write_at(&sector(b'b'), 0).unwrap();
    sim.fail_writeback(Dir::Root, "f");
    sim.inject(Fault::once(When::Kind(Call::Sync, 4), Effect::Fail(EIO)));
    assert_eq!(second.sync().unwrap_err().raw_os_error(), Some(EIO));
    file.sync().unwrap();
    assert_eq!(describe(&sim), "f=b", "readers still find it in the page cache");
    sim.evict_clean();
    assert_eq!(describe(&sim), "f=a", "until it forgets");
}

#[test]
fn the_page_cache_forgets_only_what_is_clean() {
    let sim = made();
    let file = durable(&sim, "f", &vec![b'a'; 8192]);
    file.write_at(&sector(b'b'), 0).unwrap();
    sim.fail_writeback(Dir::Root, "f");
    file.write_at(&sector(b'c'), 4096).unwrap();
    sim.evict_clean();
    assert_eq!(describe(&sim), "f=aaaaaaaacaaaaaaa");
    assert_eq!(states(&sim, Model::Strict).len(), 2);
}

/// 40 pending sectors and two lengths: far more states than anybody can look at.
fn too_many() -> SimFs {
    let sim = made();
    let file = durable(&sim, "f", &vec![b'a'; 39 * 512]);
    file.write_at(&vec![b'b'; 40 * 512], 0).unwrap();
    sim.create(Dir::Root, "g").unwrap();
    sim
}

#[test]
fn a_sample_has_the_extremes_and_no_state_twice() {
    let sim = too_many();
    let (old, new) = ("a".repeat(39), "b".repeat(40));
    for limit in [4, 10, 100, 1000] {
        let images = sim.crash_images(Model::Strict, limit, &mut Rng::new(3));
        assert_eq!(images.len(), limit);
        let all: Vec<String> = images.map(|image| describe(&image.fs)).collect();
        assert_eq!(all[0], format!("f={old}"), "nothing survived");
        assert_eq!(all[1], format!("f={new} g="), "everything survived");
        assert_eq!(all[2], format!("f={new}"));
        assert_eq!(all[3], format!("f={old} g="));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), limit);
    }
}

#[test]
fn a_sample_has_all_but_one_and_only_one() {
    let images = too_many().crash_images(Model::Strict, 500, &mut Rng::new(3));
    let all: BTreeSet<String> = images.map(|image| describe(&image.fs)).collect();
    let replace = |text: &str, at: usize, with: &str| {
        let mut text = text.to_owned();
        text.replace_range(at..=at, with);
        text
    };
    for at in 0..39 {
        let all_but = format!("f={} g=", replace(&"b".repeat(40), at, "a"));
        let only = format!("f={} g=", replace(&"a".repeat(39), at, "b"));
        assert!(all.contains(&all_but) && all.contains(&only), "sector {at}");
    }
    assert!(all.contains(&format!("f={}0 g=", "b".repeat(39))), "all but the last sector");
    assert!(all.contains(&format!("f={} g=", "b".repeat(39))), "all but the length");
    assert!(all.contains(&format!("f={}0 g=", "a".repeat(39))), "only the length");
}

#[test]
fn many_changes_of_names_are_sampled_with_their_extremes() {
    let sim = made();
    (0..30).for_each(|n| drop(durable(&sim, &format!("{n:02}"), b"")));
    (0..30).for_each(|n| sim.unlink(Dir::Root, &format!("{n:02}")).unwrap());
    let images = sim.crash_images(Model::Strict, 200, &mut Rng::new(3));
    let all: Vec<Vec<String>> = images.map(|image| image.fs.names(Dir::Root)).collect();
    assert_eq!(all.len(), 200);
    assert_eq!((all[0].len(), all[1].len()), (30, 0));
    let of_len = |len: usize| all.iter().filter(|names| names.len() == len).count();
    assert_eq!((of_len(29), of_len(1)), (30, 30), "only one survived, and all but one");
    assert_eq!(states(&sim, Model::Journal).len(), 31);
}
