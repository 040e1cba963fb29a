//! The key file: made at the first start, and never without the owner's eyes only.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use headrace_model::CredentialId;
use headrace_model::config::Credential;
use headrace_model::seal::{KeyFileError, Keyring, SealError};
use headrace_store::{Draft, Store, make_directory, sync_names_beside};

use crate::outbound::can_open;
use crate::{Error, entity};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is there but cannot be read.
    #[error("could not read the key file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is there but is no key file.
    #[error(
        "the key file {path} is damaged: put it back from a backup; sealed credentials cannot be opened without it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyFileError,
    },
    /// There is no file, but there are secrets that were sealed with its keys.
    #[error(
        "the key file {path} is missing, and {sealed} credentials were sealed with its keys: put it back from a backup"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// How many.
        sealed: usize,
    },
    /// The secrets were sealed with other keys.
    #[error(
        "the key file {path} does not open credential {credential}: the file or the data is another installation's; put back the key file that belongs to the data"
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// One that it does not open.
        credential: CredentialId,
        /// Why.
        #[source]
        source: SealError,
    },
    /// What was sealed could not be read.
    #[error("could not read the sealed credentials")]
    Store(#[source] Box<Error>),
    /// The file could not be made.
    #[error("could not make the key file {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The keys of what is sealed in this store: loads the key file, or makes one where there is neither a
/// file nor anything sealed.
pub async fn of_store(
    store: &dyn Store,
    path: &Path,
    random: [u8; 36],
) -> Result<Keyring, KeyError> {
    let credentials = entity::all::<Credential>(store, None)
        .await
        .map_err(|error| KeyError::Store(Box::new(error)))?;
    let sealed: Vec<_> = credentials
        .iter()
        .filter(|one| !one.value.sealed.is_empty())
        .collect();
    let is_missing = matches!(path.try_exists(), Ok(false));
    if is_missing && !sealed.is_empty() {
        return Err(KeyError::Missing {
            path: path.to_owned(),
            sealed: sealed.len(),
        });
    }
    let keyring = load_or_create(path, random)?;
    let mut refused = Vec::new();
    for one in &sealed {
        let credential = CredentialId(one.id);
        if let Err(source) = can_open(&keyring, credential, &one.value.sealed) {
            refused.push((credential, source));
        }
    }
    // A single one that was changed is told when it is used: the others work.
    let is_wrong = refused.len() == sealed.len();
    let unknown = |(_, source): &(_, SealError)| matches!(source, SealError::UnknownKey { .. });
    match refused.into_iter().find(|one| is_wrong || unknown(one)) {
        None => Ok(keyring),
        Some((credential, source)) => Err(KeyError::Wrong {
            path: path.to_owned(),
            credential,
            source,
        }),
    }
}

/// Loads the key file, or makes one with a key of these random bytes where there is none. When this
/// answers, the file survives a power cut.
fn load_or_create(path: &Path, random: [u8; 36]) -> Result<Keyring, KeyError> {
    let found = fs::read_to_string(path).and_then(|text| {
        // Who made it may have ended before this.
        sync_names_beside(path)?;
        Ok(text)
    });
    match found {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, random),
        Err(source) => Err(KeyError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn create(path: &Path, random: [u8; 36]) -> Result<Keyring, KeyError> {
    let text = format!(
        "# The keys of this Headrace. Back this file up: sealed credentials cannot be opened without it.\n\
         # The first key seals, the others only open.\n{}\n",
        Keyring::line(random)
    );
    write(path, &text).map_err(|source| KeyError::Create {
        path: path.to_owned(),
        source,
    })?;
    // Another process may have been faster: what is in the file counts.
    let text = fs::read_to_string(path).map_err(|source| KeyError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Keyring, KeyError> {
    Keyring::parse(text).map_err(|source| KeyError::Damaged {
        path: path.to_owned(),
        source,
    })
}

/// Writes the file beside its place and names it then, which fails when there is one already: a key
/// file is never half written, and never replaced.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_directory(folder)?;
    }
    let mut draft = Draft::begin(path)?;
    draft.file().write_all(text.as_bytes())?;
    match draft.finish() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        finished => finished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_the_file_and_the_next_ones_load_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("keys");
        let first = load_or_create(&path, [1; 36]).unwrap();
        let envelope = first.seal(b"a", [0; 24], b"secret").unwrap();
        let second = load_or_create(&path, [2; 36]).unwrap();
        assert_eq!(second.open(b"a", &envelope).unwrap(), b"secret");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        load_or_create(&path, [1; 36]).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_kept_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "garbage").unwrap();
        let error = load_or_create(&path, [1; 36]).unwrap_err();
        assert!(matches!(error, KeyError::Damaged { .. }));
        assert!(!error.to_string().contains("garbage"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    }
}
