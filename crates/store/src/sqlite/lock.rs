//! One process per data directory: a lock that ends with its process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use headrace_model::Timestamp;

use super::error::{backend, io_error, not_writable};
use crate::directory::make_directory;
use crate::draft::with_ending;
use crate::{Result, StoreError};

const LOCK: &str = "headrace.lock";
/// Holds the number of the database that belongs to the files beside it. Never written in place: of a
/// file that is written and not synced, a power cut may leave any part.
pub(super) const NUMBER: &str = "headrace.db.number";

/// Holds the data directory until it is dropped. Its file names who has it.
#[derive(Debug)]
pub(super) struct DirLock {
    /// Locked as long as it is open.
    _file: File,
    directory: PathBuf,
    database: Option<u32>,
}

impl DirLock {
    /// Makes the directory if need be, for this user only, and takes it.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        make_directory(directory).map_err(|error| not_writable(directory, error))?;
        let mut file = private_file(&directory.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse {
                    path: directory.display().to_string(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(backend("lock the data directory", error));
            }
        }
        file.set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(|error| backend("write the lock file", error))?;
        sync_directory(directory).map_err(|error| backend("sync the data directory", error))?;
        // What is not ours to read names no database.
        let number = fs::read_to_string(directory.join(NUMBER)).ok();
        Ok(Self {
            _file: file,
            directory: directory.to_owned(),
            database: number.and_then(|number| number.trim().parse().ok()),
        })
    }

    /// The database that was opened here last.
    pub(super) fn database(&self) -> Option<u32> {
        self.database
    }

    /// Remembers, durably, which database is opened here.
    pub(super) fn remember(&mut self, database: u32) -> Result<()> {
        if self.database == Some(database) {
            return Ok(());
        }
        let place = self.directory.join(NUMBER);
        let draft = with_ending(&place, ".new");
        let mut file = private_file(&draft)?;
        file.set_len(0)
            .and_then(|()| writeln!(file, "{database}"))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&draft, &place))
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|error| io_error("note which database is here", error))?;
        self.database = Some(database);
        Ok(())
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    File::open(directory)?.sync_all()
}

/// Opens a file that only this user may read, and makes it where it does not exist.
pub(super) fn private_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| not_writable(path, error))
}

/// What the lock file tells of who has it; its modification time is when they started.
fn holder(file: &mut File) -> String {
    let mut content = String::new();
    let pid = match file.read_to_string(&mut content) {
        Ok(_) => content.lines().next(),
        Err(_) => None,
    };
    let Some(pid) = pid else {
        return "unknown".to_owned();
    };
    let since = file
        .metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map(|since_epoch| Timestamp::from_micros(0) + since_epoch);
    match since {
        Some(since) => format!("process {pid}, since {since}"),
        None => format!("process {pid}"),
    }
}
