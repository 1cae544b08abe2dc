//! A directory or a file that is made under another name and gets its own only when all of it is
//! durable.
//!
//! Above: `import`, `restore`, `backup`, `recover`; `export`, `bundle`, `snapshot export`. Below: the
//! operating system.
//! INVARIANT: nothing that exists is replaced, and what was not finished never has the name.

use std::{
    fs, io,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{exit::Failure, interrupt::Unfinished};

/// A directory in the making. Dropped without [`Fresh::done`] it is removed.
#[derive(Debug)]
pub(crate) struct Fresh {
    place: PathBuf,
    partial: PathBuf,
    unfinished: Option<Unfinished>,
}

impl Fresh {
    /// Prepares to make `place`, which must not exist, or be an empty directory.
    pub(crate) fn new(place: &Path) -> Result<Self, Failure> {
        match fs::read_dir(place) {
            Ok(mut found) => {
                if found.next().is_some() {
                    let text = format!("{} is not empty: nothing is overwritten", place.display());
                    return Err(Failure::Refused(text));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::Io(format!("look into {}: {e}", place.display()))),
        }
        let mut name = place.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = place.with_file_name(name);
        if let Err(e) = fs::create_dir(&partial) {
            let text = match e.kind() {
                io::ErrorKind::AlreadyExists => {
                    let partial = partial.display();
                    return Err(Failure::Refused(format!(
                        "{partial} is left of one that was cut off, or one is under way: look, \
                         then remove it"
                    )));
                }
                _ => format!("make {}: {e}", partial.display()),
            };
            return Err(Failure::Io(text));
        }
        let unfinished = Some(Unfinished::new(&partial));
        Ok(Self { place: place.to_path_buf(), partial, unfinished })
    }

    /// Where to make it.
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name.
    pub(crate) fn done(mut self) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::Io(format!("name {}: {e}", self.place.display()));
        // DURABILITY: what is inside was synced by whoever made it; its names with this call, and
        // the new name with the one behind the rename.
        fs::File::open(&self.partial).and_then(|dir| dir.sync_all()).map_err(failed)?;
        if let Some(unfinished) = self.unfinished.take() {
            let named = unfinished.finish(|| fs::rename(&self.partial, &self.place));
            named.inspect_err(|_| drop(fs::remove_dir_all(&self.partial))).map_err(failed)?;
        }
        sync_parent(&self.place).map_err(failed)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.unfinished.is_some() {
            // Nobody can be helped if that fails: the name says what it is.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

fn sync_parent(place: &Path) -> io::Result<()> {
    let parent = place.parent().filter(|parent| *parent != Path::new(""));
    // DURABILITY: the name, before anybody is told that it is there.
    fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all())
}

/// A file in the making. Dropped without [`FreshFile::done`] it is removed.
#[derive(Debug)]
pub(crate) struct FreshFile {
    place: PathBuf,
    partial: PathBuf,
    to: BufWriter<fs::File>,
    unfinished: Option<Unfinished>,
}

impl FreshFile {
    /// Bytes that wait for the next write.
    const BUFFER: usize = 256 << 10;

    /// Prepares to make `place`, where nothing may be.
    pub(crate) fn new(place: &Path) -> Result<Self, Failure> {
        if fs::symlink_metadata(place).is_ok() {
            let text = format!("{} is there: nothing is overwritten", place.display());
            return Err(Failure::Refused(text));
        }
        let mut name = place.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = place.with_file_name(name);
        let file = fs::File::create_new(&partial);
        let file = file.map_err(|e| Failure::Io(format!("create {}: {e}", partial.display())))?;
        let unfinished = Some(Unfinished::new(&partial));
        let to = BufWriter::with_capacity(Self::BUFFER, file);
        Ok(Self { place: place.to_path_buf(), partial, to, unfinished })
    }

    /// Gives it its name.
    pub(crate) fn done(mut self) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::Io(format!("write {}: {e}", self.place.display()));
        self.to.flush().map_err(failed)?;
        // DURABILITY: all bytes before the name.
        self.to.get_ref().sync_all().map_err(failed)?;
        if let Some(unfinished) = self.unfinished.take() {
            let named = unfinished.finish(|| fs::rename(&self.partial, &self.place));
            named.inspect_err(|_| drop(fs::remove_file(&self.partial))).map_err(failed)?;
        }
        sync_parent(&self.place).map_err(failed)
    }
}

impl Write for FreshFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.to.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Drop for FreshFile {
    fn drop(&mut self) {
        if self.unfinished.is_some() {
            // Nobody can be helped if that fails: the name says what it is.
            let _ = fs::remove_file(&self.partial);
        }
    }
}
