//! Files that get their name when they are whole and durable.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::directory::directory_of;

/// What the names of drafts end in: `NAME.<random>.part`.
const ENDING: &str = ".part";

/// A file that is being written beside its place, under a name that nobody else has. Removed when it is
/// dropped before it has its name.
#[derive(Debug)]
pub struct Draft {
    place: PathBuf,
    file: NamedTempFile,
}

impl Draft {
    /// Begins a file that only this user may read, for this place.
    pub fn begin(place: &Path) -> io::Result<Self> {
        let Some(name) = place.file_name() else {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        };
        let file = tempfile::Builder::new()
            .prefix(&with_ending(Path::new(name), "."))
            .suffix(ENDING)
            .tempfile_in(directory_of(place))?;
        Ok(Self {
            place: place.to_owned(),
            file,
        })
    }

    /// Where it is meanwhile.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Bytes that this user may still write on its file system. Some tell no size: there is no end to
    /// them.
    pub fn room(&self) -> io::Result<u64> {
        let system = rustix::fs::fstatvfs(self.file.as_file())?;
        Ok(match system.f_blocks {
            0 => u64::MAX,
            _ => system.f_bavail.saturating_mul(system.f_frsize),
        })
    }

    /// Gives it its name, durably. A file that has it already is kept, and the error is
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file
            .persist_noclobber(&self.place)
            .map_err(|refused| refused.error)?;
        sync_directory_of(&self.place)
    }
}

/// Removes what processes that were killed left of drafts for this place, with what `SQLite` put beside
/// them. Only for a place where nobody else is at work.
pub fn remove_drafts(place: &Path) -> io::Result<()> {
    let name = place.file_name().unwrap_or_default();
    let beginning = with_ending(Path::new(name), ".");
    let beginning = beginning.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir(directory_of(place))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let endings = [ENDING, ".part-wal", ".part-shm"];
        let is_draft =
            name.starts_with(beginning) && endings.iter().any(|end| name.ends_with(end.as_bytes()));
        if is_draft {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Bytes that a large file gives back at once. With 8 MiB a commit beside it took up to 54 ms, with these up to 41.
const STEP: u64 = 2 << 20;

/// Gives the room of a file back, that nobody needs any more, in steps while nobody is `in_a_hurry`: while
/// a file system takes back gigabytes at once, the syncs of others stand still.
pub fn give_back(file: &File, in_a_hurry: impl Fn() -> bool) -> io::Result<()> {
    let mut length = file.metadata()?.len();
    while length > 0 && !in_a_hurry() {
        length = length.saturating_sub(STEP);
        file.set_len(length)?;
        file.sync_data()?;
    }
    Ok(())
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
    File::open(directory_of(file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_two_drafts_for_one_place_the_first_that_is_whole_gets_it_and_no_other_file_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("monday");
        let precious = folder.path().join("monday.part");
        fs::write(&precious, "somebody's").unwrap();
        let mut first = Draft::begin(&place).unwrap();
        first.file().write_all(b"the first, ").unwrap();
        let mut second = Draft::begin(&place).unwrap();
        second.file().write_all(b"cut").unwrap();
        first.file().write_all(b"whole").unwrap();
        first.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"the first, whole");
        let refused = second.finish().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place).unwrap(), b"the first, whole");
        assert_eq!(fs::read(&precious).unwrap(), b"somebody's");
        assert_eq!(names(folder.path()), ["monday", "monday.part"]);
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("copy");
        let left = Draft::begin(&place).unwrap().file.keep().unwrap().1;
        fs::write(with_ending(&left, "-wal"), "").unwrap();
        for others in ["copy", "copy.monday", "other.x.part"] {
            fs::write(folder.path().join(others), "").unwrap();
        }
        remove_drafts(&place).unwrap();
        assert_eq!(
            names(folder.path()),
            ["copy", "copy.monday", "other.x.part"]
        );
    }
}
