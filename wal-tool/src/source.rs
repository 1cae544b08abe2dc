//! What a command was pointed at: a log's directory, or one lone segment file.
//!
//! Above: every command that looks. Below: the engine's file systems, which never follow a symlink
//! inside a directory, never open anything but regular files, and here only for reading.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hardlog::{
    fs::{Fs, disk::DiskFs},
    inspect::LoneFile,
};

use crate::exit::Failure;

/// An opened argument.
#[derive(Debug)]
pub(crate) enum Source {
    /// A directory.
    Whole(DiskFs),
    /// A file.
    Lone(LoneFile<DiskFs>),
}

impl Source {
    /// Looks at what `path` is; opens no file of a directory.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        let Some(name) = path.file_name().filter(|_| is_file) else {
            return Ok(Self::Whole(DiskFs::new(path)));
        };
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let name = name
            .to_str()
            .ok_or_else(|| Failure::Usage(format!("{}: the name is no text", path.display())))?;
        Ok(Self::Lone(LoneFile::new(DiskFs::new(dir), name)?))
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        match self {
            Self::Whole(fs) => fs,
            Self::Lone(fs) => fs,
        }
    }
}

/// A directory's name as it stands at the head of a report.
pub(crate) fn title(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| dir.display().to_string())
}
