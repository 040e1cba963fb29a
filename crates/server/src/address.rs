//! Where the server of a data directory listens. It keeps the file locked while it serves, so that what is
//! meant for it, such as a token, goes to nobody else who has got hold of an address.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const FILE: &str = "headrace.address";

/// The address is written down for as long as this is.
pub(crate) struct Announced {
    _locked: File,
}

impl Announced {
    /// Writes down where the server of this data directory listens.
    pub(crate) fn begin(data_dir: &Path, address: SocketAddr) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(data_dir.join(FILE))?;
        // Who looks at it holds it for a moment; another server, which has the directory, does not.
        file.lock()?;
        file.set_len(0)?;
        write!(file, "{address}")?;
        Ok(Self { _locked: file })
    }
}

/// Where the server listens that serves this data directory now; `None` where none does.
pub(crate) fn of_server(data_dir: &Path) -> io::Result<Option<SocketAddr>> {
    let path = data_dir.join(FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(io::read_to_string(file)?.parse().ok()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
