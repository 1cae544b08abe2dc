//! What the operating system must do for us, and what must be refused.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::fs::{read_full, write_full};

fn made() -> (tempfile::TempDir, DiskFs) {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskFs::new(dir.path().join("log"));
    disk.make_dirs().unwrap();
    (dir, disk)
}

fn names(disk: &DiskFs, dir: Dir) -> Vec<String> {
    let mut names: Vec<_> = disk.list(dir).unwrap().into_iter().map(|found| found.name).collect();
    names.sort();
    names
}

#[test]
fn a_missing_directory_is_no_error_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskFs::new(dir.path().join("a/b/log"));
    assert_eq!(disk.list(Dir::Root).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.lock().map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    disk.make_dirs().unwrap();
    disk.make_dirs().unwrap();
    assert_eq!(names(&disk, Dir::Root), ["quarantine", "snapshots", "tmp"]);
    assert!(disk.list(Dir::Root).unwrap().iter().all(|found| found.kind == Kind::Directory));
}

#[test]
fn modes_are_0700_and_0600() {
    let (dir, disk) = made();
    disk.create(Dir::Tmp, "file").unwrap();
    let _lock = disk.lock().unwrap();
    let mode = |path: &str| {
        let path = dir.path().join("log").join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode(""), mode("tmp"), mode("snapshots"), mode("quarantine")), {
        (0o700, 0o700, 0o700, 0o700)
    });
    assert_eq!((mode("tmp/file"), mode("LOCK")), (0o600, 0o600));
}

#[test]
fn a_wider_directory_is_used_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    DiskFs::new(dir.path()).make_dirs().unwrap();
}

#[test]
fn a_relative_root_and_one_behind_a_symlink_work() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let disk = DiskFs::new(dir.path().join("link"));
    disk.make_dirs().unwrap();
    assert!(dir.path().join("real/tmp").is_dir());
    // A relative path of one part has the empty path as its parent.
    sync_parent(Path::new("."), false).unwrap();
}

#[test]
fn a_symlinked_sub_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    symlink("../elsewhere", dir.path().join("log/tmp")).unwrap();
    let disk = DiskFs::new(dir.path().join("log"));
    assert!(disk.make_dirs().is_err());
    assert!(disk.create(Dir::Tmp, "file").is_err());
    assert_eq!(fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn symlinks_pipes_sockets_and_directories_are_listed_but_never_opened() {
    let (dir, disk) = made();
    let root = dir.path().join("log");
    fs::write(dir.path().join("target"), b"x").unwrap();
    symlink("../target", root.join("link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), FILE_MODE).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let mut names = vec!["link", "dangling", "pipe", "socket", "tmp"];
    // Only root may make a device (this is the one that swallows everything).
    let null = rustix::fs::makedev(1, 3);
    let kind = FileType::CharacterDevice;
    if rustix::fs::mknodat(rustix::fs::CWD, root.join("device"), kind, FILE_MODE, null).is_ok() {
        names.push("device");
    }
    for name in names {
        for access in [Access::Read, Access::ReadWrite] {
            let error = disk.open(Dir::Root, name, access).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name} {error}");
        }
        let kind = disk.list(Dir::Root).unwrap().into_iter().find(|found| found.name == name);
        let expected = if name == "tmp" { Kind::Directory } else { Kind::Other };
        assert_eq!(kind.unwrap().kind, expected, "{name}");
        assert_eq!(
            disk.create(Dir::Root, name).unwrap_err().kind(),
            ErrorKind::AlreadyExists,
            "{name}"
        );
    }
}

#[test]
fn the_look_after_the_open_refuses_what_the_look_before_missed() {
    let (dir, _) = made();
    let path = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, FILE_MODE).unwrap();
    let flags = OFlags::RDWR | OFlags::NONBLOCK;
    let fd = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    assert_eq!(regular(fd).unwrap_err().kind(), ErrorKind::InvalidInput);
    symlink("pipe", dir.path().join("link")).unwrap();
    let errno = rustix::fs::open(dir.path().join("link"), flags | OFlags::NOFOLLOW, Mode::empty());
    assert_eq!(not_followed(errno.unwrap_err()).kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_lock_that_is_a_pipe_or_a_symlink_is_refused() {
    for symlinked in [true, false] {
        let (dir, disk) = made();
        let path = dir.path().join("log/LOCK");
        if symlinked {
            symlink("elsewhere", &path).unwrap();
        } else {
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, FILE_MODE).unwrap();
        }
        assert_eq!(disk.lock().map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(disk.lock_holder(), None);
    }
}

#[test]
fn one_holder_at_a_time_and_the_text_goes_with_it() {
    let (dir, disk) = made();
    let other = DiskFs::new(dir.path().join("log"));
    assert_eq!(disk.lock_holder(), None);
    let lock = disk.lock().unwrap();
    for second in [&disk, &other] {
        assert_eq!(second.lock().map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    let text = other.lock_holder().unwrap();
    fs::remove_file(dir.path().join("log/LOCK")).unwrap();
    for second in [&disk, &other] {
        let error = second.lock().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "LOCK was removed, its holder was not");
    }
    assert!(text.starts_with(&format!("process {} on ", std::process::id())), "{text}");
    drop(lock);
    assert_eq!(other.lock_holder(), None);
    other.lock().unwrap();
}

#[test]
fn a_file_longer_than_the_name_of_a_holder_is_not_read_whole() {
    let (dir, disk) = made();
    fs::write(dir.path().join("log/LOCK"), vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(disk.lock_holder().unwrap().len(), HOLDER_LEN_MAX);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_dir, disk) = made();
    for name in ["", ".", "..", "a/b", "/etc/passwd", "../log/LOCK", "a\0b"] {
        let errors = [
            disk.open(Dir::Root, name, Access::Read).map(drop),
            disk.create(Dir::Root, name).map(drop),
            disk.unlink(Dir::Root, name),
            disk.rename((Dir::Root, name), (Dir::Root, "x")),
            disk.rename((Dir::Root, "x"), (Dir::Root, name)),
        ];
        for error in errors {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }
}

#[test]
fn a_handle_that_was_opened_for_reading_does_not_write() {
    let (_dir, disk) = made();
    disk.create(Dir::Root, "file").unwrap().write_at(b"abc", 0).unwrap();
    let file = disk.open(Dir::Root, "file", Access::Read).unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.allocate(10).is_err());
    assert_eq!(file.len().unwrap(), 3);
}

#[test]
fn a_map_outlives_the_name_and_the_handle() {
    let (_dir, disk) = made();
    let file = disk.create(Dir::Root, "file").unwrap();
    assert_eq!(file.map().unwrap().unwrap(), Bytes::new());
    write_full(&*file, &[7; 10_000], 0).unwrap();
    let slice = file.map().unwrap().unwrap().slice(9_990..);
    drop(file);
    disk.unlink(Dir::Root, "file").unwrap();
    assert_eq!(slice, [7; 10][..]);
}

#[test]
fn allocated_space_is_reserved_and_zero() {
    let (dir, disk) = made();
    let file = disk.create(Dir::Root, "file").unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.allocate(1 << 16).unwrap();
    file.allocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 16);
    let mut bytes = vec![1; 1 << 17];
    assert_eq!(read_full(&*file, &mut bytes, 0).unwrap(), 1 << 16);
    assert_eq!(&bytes[..3], b"abc");
    assert!(bytes[3..1 << 16].iter().all(|byte| *byte == 0));
    // What a hole would not have. (A file system that cannot reserve is let off.)
    let blocks = fs::metadata(dir.path().join("log/file")).unwrap().blocks();
    assert!(blocks >= (1 << 16) / 512 || blocks == 8, "{blocks} blocks");
}

#[test]
fn a_hint_to_write_back_changes_nothing_and_never_fails() {
    let (_dir, disk) = made();
    let file = disk.create(Dir::Tmp, "a").unwrap();
    file.write_at(b"written", 0).unwrap();
    // What there is, what there is not, and what no file can have.
    for (offset, len) in [(0, 7), (3, 1 << 20), (1 << 40, 0), (u64::MAX, 1), (1, u64::MAX)] {
        file.write_back(offset, len);
    }
    let mut bytes = [0; 8];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 7);
    assert_eq!(&bytes[..7], b"written");
    file.sync().unwrap();
    disk.open(Dir::Tmp, "a", Access::Read).unwrap().write_back(0, 7);
}

#[test]
fn syncs_space_randomness_and_time_come_from_the_system() {
    let (_dir, disk) = made();
    let file = disk.create(Dir::Tmp, "file").unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.sync().unwrap();
    Dir::ALL.into_iter().for_each(|dir| disk.sync_dir(dir).unwrap());
    assert!(disk.free_space().unwrap() > 0);
    assert_ne!(disk.random().unwrap(), disk.random().unwrap());
    assert!(disk.now() > Duration::from_secs(1_700_000_000));
}

#[test]
fn a_call_interrupted_before_it_did_anything_is_made_again() {
    let mut left = 3;
    let result = uninterrupted(|| {
        left -= 1;
        if left == 0 { Ok(7) } else { Err(ErrorKind::Interrupted.into()) }
    });
    assert_eq!((result.unwrap(), left), (7, 0));
}

/// Asking is not trying: somebody who takes the lock at that instant must get it.
#[test]
fn the_state_of_the_lock_is_told_without_taking_it() {
    let (dir, disk) = made();
    let path = dir.path().join("log/LOCK");
    let other = DiskFs::new(dir.path().join("log"));
    assert_eq!(other.lock_state(), LockState::Free);
    let lock = disk.lock().unwrap();
    assert_eq!(other.lock_state(), LockState::Held(self_portrait().trim().to_owned()));
    // A full disk: the lock is held and its holder could not write who it is.
    fs::write(&path, "").unwrap();
    let nameless = LockState::Held(format!("process {}", std::process::id()));
    assert_eq!(other.lock_state(), nameless);
    drop(lock);

    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mine = self_portrait();
    let dead = mine
        .replace(&format!("process {} ", std::process::id()), &format!("process {} ", child.id()));
    fs::write(&path, &dead).unwrap();
    assert_eq!(other.lock_state(), LockState::Stale(dead.trim().to_owned()));
    // A process that is younger than the lock was given the number of one that is gone.
    let young = "process 1 on ".to_owned() + mine.split(" on ").nth(1).unwrap();
    let young = young.split(", since ").next().unwrap().to_owned() + ", since 1 (long ago)";
    fs::write(&path, &young).unwrap();
    assert_eq!(other.lock_state(), LockState::Stale(young));
    let elsewhere = "process 1 on the moon, since 1700000000 (seconds after 1970, UTC)";
    fs::write(&path, elsewhere).unwrap();
    assert_eq!(other.lock_state(), LockState::Unknown(elsewhere.to_owned()));
}
