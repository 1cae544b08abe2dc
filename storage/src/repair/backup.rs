//! Copies of files: the backup that is made before a repair, and what is set aside in quarantine.
//!
//! Above: `apply`, `recover`. Below: `copy`, `fs`.
//! INVARIANT: a copy gets its name only after its bytes are synced, and what has the name already is
//! kept if it holds the same bytes: so copying can be cut off and begun again.

use std::io;

use crate::{
    copy::{At, CHUNK, copy, write_anew},
    error::{Error, Result},
    fs::{Access, Dir, Fs, read_full, write_full},
    inspect::Inventory,
    layout::{index_name, segment_name, snapshot_name},
    repair::{Refusal, RepairError},
};

/// Tries to give a file of the log a second name in the backup; an error means that it is copied.
pub type Linker<'a> = &'a dyn Fn(Dir, &str) -> io::Result<()>;

/// Copies all files of the log to `to`, the newest segment first. All segments but the newest, index
/// files and snapshots are never written to again, so a second name serves where `link` can give one.
pub(crate) fn backup(
    from: &dyn Fs,
    to: &dyn Fs,
    (found, link): (&Inventory, Option<Linker<'_>>),
) -> Result<(), RepairError> {
    to.make_dirs().map_err(|e| Error::io("make directories in", to.root(), e))?;
    let newest = found.segments.keys().next_back().copied();
    let mut files: Vec<(Dir, String, u64, bool)> = Vec::new();
    for (&(index, term), &len) in &found.snapshots {
        files.push((Dir::Snapshots, snapshot_name(index, term), len, true));
    }
    for (&id, &len) in &found.segments {
        files.push((Dir::Root, segment_name(id), len, Some(id) != newest));
    }
    files.extend(found.indexes.iter().map(|(&id, &len)| (Dir::Root, index_name(id), len, true)));
    let mut missing = Vec::new();
    for (dir, name, len, sealed) in files {
        if !is_there((to, dir, &name))? {
            missing.push((dir, name, len, sealed));
        } else if !same((from, dir, &name), (to, dir, &name))? {
            let place = to.root().join(dir.name()).join(name);
            return Err(Refusal::PlaceTaken(place.display().to_string()).into());
        }
    }
    if let Some((dir, name, len, _)) = missing.iter().find(|(.., sealed)| !sealed) {
        room(to, *len)?;
        copy((from, *dir, name), (to, *dir, name), None)?;
    }
    // DURABILITY: the newest first, also where an earlier attempt named it: older ones alone would be a
    // shorter log.
    to.sync_dir(Dir::Root).map_err(|e| Error::io("sync", to.root(), e))?;
    let rest = missing.iter().filter(|(dir, name, _, sealed)| {
        let linked = *sealed && link.is_some_and(|link| link(*dir, name).is_ok());
        *sealed && !linked
    });
    let rest: Vec<_> = rest.collect();
    room(to, rest.iter().map(|(_, _, len, _)| len).sum())?;
    for (dir, name, ..) in rest {
        copy((from, *dir, name), (to, *dir, name), None)?;
    }
    for dir in [Dir::Snapshots, Dir::Root] {
        // DURABILITY: the names of the backup, before the log itself is touched.
        to.sync_dir(dir).map_err(|e| Error::io("sync", to.root().join(dir.name()), e))?;
    }
    Ok(())
}

/// Refuses where fewer than `needed` bytes, and some to spare, are free.
pub(crate) fn room(fs: &dyn Fs, needed: u64) -> Result<(), RepairError> {
    const SPARE: u64 = 4 << 20;
    let free = fs.free_space().map_err(|e| Error::io("free space of", fs.root(), e))?;
    if free < needed.saturating_add(SPARE) {
        let place = fs.root().display().to_string();
        return Err(Refusal::NoRoom { place, needed: needed.saturating_add(SPARE), free }.into());
    }
    Ok(())
}

pub(crate) fn is_there((fs, dir, name): At<'_>) -> Result<bool> {
    match fs.open(dir, name, Access::Read) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("open", fs.root().join(dir.name()).join(name), e)),
    }
}

/// Whether two files hold the same bytes.
pub(crate) fn same(a: At<'_>, b: At<'_>) -> Result<bool> {
    let open = |(fs, dir, name): At<'_>| {
        let path = fs.root().join(dir.name()).join(name);
        fs.open(dir, name, Access::Read)
            .map(|file| (file, path.clone()))
            .map_err(|e| Error::io("open", path, e))
    };
    let ((a, a_path), (b, b_path)) = (open(a)?, open(b)?);
    let len = a.len().map_err(|e| Error::io("stat", &a_path, e))?;
    if len != b.len().map_err(|e| Error::io("stat", &b_path, e))? {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    while offset < len {
        let read = read_full(&*a, &mut left, offset).map_err(|e| Error::io("read", &a_path, e))?;
        let other =
            read_full(&*b, &mut right, offset).map_err(|e| Error::io("read", &b_path, e))?;
        if read == 0 || left[..read] != right[..other] {
            return Ok(false);
        }
        offset += read as u64;
    }
    Ok(true)
}

/// Keeps a file of the log in `quarantine/`, under its name or, where another one has that, with a
/// number behind it; and a note beside it. The names are not durable yet.
pub(crate) fn set_aside(fs: &dyn Fs, dir: Dir, name: &str, note: &str) -> Result<()> {
    /// Files of one name that are kept.
    const MAX: u32 = 1000;
    let mut kept = name.to_owned();
    for number in 2..MAX {
        if !is_there((fs, Dir::Quarantine, &kept))? {
            let linked = fs.link((dir, name), (Dir::Quarantine, &kept));
            if linked.is_err() {
                copy((fs, dir, name), (fs, Dir::Quarantine, &kept), None)?;
            }
            break;
        }
        if same((fs, dir, name), (fs, Dir::Quarantine, &kept))? {
            break;
        }
        kept = format!("{name}.{number}");
    }
    let beside = format!("{kept}.note");
    if is_there((fs, Dir::Quarantine, &beside))? {
        return Ok(());
    }
    let path = fs.root().join(Dir::Quarantine.name()).join(&beside);
    write_anew((fs, Dir::Quarantine, &beside), &mut |out| {
        write_full(out, note.as_bytes(), 0).map_err(|e| Error::io("write", &path, e))
    })
}
