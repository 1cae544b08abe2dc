//! A directory that is made under another name and gets its own only when all of it is durable.
//!
//! Above: `import`, `restore`, `backup`. Below: the operating system.
//! INVARIANT: nothing that exists is replaced, and what was not finished never has the name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::exit::Failure;

/// A directory in the making. Dropped without [`Fresh::done`] it is removed.
#[derive(Debug)]
pub(crate) struct Fresh {
    place: PathBuf,
    partial: PathBuf,
    done: bool,
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
        Ok(Self { place: place.to_path_buf(), partial, done: false })
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
        fs::rename(&self.partial, &self.place).map_err(failed)?;
        let parent = self.place.parent().filter(|parent| *parent != Path::new(""));
        let parent = fs::File::open(parent.unwrap_or(Path::new(".")));
        parent.and_then(|parent| parent.sync_all()).map_err(failed)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.done {
            // Nobody can be helped if that fails: the name says what it is.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}
