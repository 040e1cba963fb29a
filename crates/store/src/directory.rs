//! Directories that survive a power cut.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes a directory, for this user only, with those above it that are missing. When this answers, their
/// names survive a power cut, also where a process that has ended since had begun to make them.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let missing: Vec<&Path> = directory
        .ancestors()
        .skip(1)
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    // Each is durable before the next is made: so at most the innermost that is there is not.
    if let Some(innermost) = missing.last().unwrap_or(&directory).parent() {
        sync_names_beside(innermost)?;
    }
    for path in missing.into_iter().rev().chain([directory]) {
        builder.create(path)?;
        sync_names_beside(path)?;
    }
    Ok(())
}

/// Makes the names in the directory of this file or directory durable. Where this user may not, or
/// nothing can be made there, somebody else looks after it.
pub fn sync_names_beside(path: &Path) -> io::Result<()> {
    match File::open(directory_of(path)).and_then(|directory| directory.sync_all()) {
        Err(error) if is_not_ours(error.kind()) => Ok(()),
        synced => synced,
    }
}

fn is_not_ours(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    [PermissionDenied, ReadOnlyFilesystem, InvalidInput].contains(&kind)
}

/// Where the name of this file or directory is.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent().unwrap_or(path) {
        here if here.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    }
}
