//! One process per data directory: a lock that ends with its process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use headrace_model::Timestamp;

use super::error::{FILE, backend};
use crate::{Result, StoreError};

const LOCK: &str = "headrace.lock";

/// Holds the data directory until it is dropped.
#[derive(Debug)]
pub(super) struct DirLock(#[expect(dead_code, reason = "closing the file ends the lock")] File);

impl DirLock {
    /// Makes the directory if need be, for this user only, and takes it.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        make_directory(directory)?;
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
        // Made here and not by SQLite, so that it and the files SQLite puts beside it are private.
        private_file(&directory.join(FILE))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| backend("sync the data directory", error))?;
        Ok(Self(file))
    }
}

fn make_directory(directory: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(directory)
        .map_err(|error| backend("make the data directory", error))
}

fn private_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| backend("open a file in the data directory", error))
}

/// What the lock file tells of who has it; its modification time is when they started.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    if file.read_to_string(&mut pid).is_err() || pid.is_empty() {
        return "unknown".to_owned();
    }
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
