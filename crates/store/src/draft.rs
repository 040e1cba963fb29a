//! Files that get their name when they are whole and durable.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is being written beside its place. Removed when it is dropped before it has its name.
#[derive(Debug)]
pub struct Draft {
    place: PathBuf,
    draft: PathBuf,
    is_finished: bool,
}

impl Draft {
    /// Begins a file that only this user may read, for this place. What an earlier attempt left is
    /// removed.
    pub fn begin(place: &Path) -> io::Result<(Self, File)> {
        let draft = with_ending(place, ".part");
        remove(&draft)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&draft)?;
        let begun = Self {
            place: place.to_owned(),
            draft,
            is_finished: false,
        };
        Ok((begun, file))
    }

    /// Where it is meanwhile.
    pub fn path(&self) -> &Path {
        &self.draft
    }

    /// Gives it its name, durably. A file that has it already is kept, and the error is
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn finish(mut self) -> io::Result<()> {
        File::open(&self.draft)?.sync_all()?;
        fs::hard_link(&self.draft, &self.place)?;
        fs::remove_file(&self.draft)?;
        self.is_finished = true;
        sync_directory_of(&self.place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // Left behind, it is in nobody's way.
            drop(fs::remove_file(&self.draft));
        }
    }
}

/// The path with something at its end.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(ending);
    PathBuf::from(path)
}

/// Removes a file, if there is one.
pub(crate) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes what was named or removed beside this file durable.
pub(crate) fn sync_directory_of(file: &Path) -> io::Result<()> {
    let directory = match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
