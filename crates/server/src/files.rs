//! File descriptors: how many this process may have, and how many of them are for callers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that callers cannot take, at least: the store opens files when it is read by many at
/// once, and every request to a provider is a socket.
const RESERVED: u64 = 64;

/// Raises the limit of this process as far as it may, and tells how many connections of callers leave
/// enough for everything else: no more than `wanted`.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it cannot be raised it is used as it is.
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "could not raise the limit of open files");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let connections = usize::try_from(spare(files)).unwrap_or(usize::MAX);
    if connections < wanted {
        tracing::warn!(
            open_files = files,
            max_connections = wanted,
            connections,
            "the limit of open files is low: fewer connections are accepted at once; raise it (ulimit -n)"
        );
    }
    connections.min(wanted)
}

/// What is left of so many descriptors for callers: three quarters, and never none.
fn spare(files: u64) -> u64 {
    files.saturating_sub(RESERVED.max(files / 4)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_kept_and_a_caller_always_gets_in() {
        assert_eq!(spare(1_024), 768);
        assert_eq!(spare(100), 36);
        assert_eq!(spare(10), 1);
    }
}
