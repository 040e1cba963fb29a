//! The record of everything that changed on a disk, as `shim.c` writes it.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

/// The kinds of changes, by their numbers in the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Create = 1,
    Mkdir,
    Write,
    Truncate,
    Link,
    Rename,
    Unlink,
    Sync,
}

impl Change {
    pub(crate) const ALL: [Self; 8] = [
        Self::Create,
        Self::Mkdir,
        Self::Write,
        Self::Truncate,
        Self::Link,
        Self::Rename,
        Self::Unlink,
        Self::Sync,
    ];
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) change: Change,
    /// Which file or directory; numbers are used again after a file is gone.
    pub(crate) inode: u64,
    /// Where it is written, or how long it becomes.
    pub(crate) offset: u64,
    /// The path; two of them, from and to, with a line end between.
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
}

/// The record, read from its beginning.
pub(crate) struct Record(std::io::Take<BufReader<File>>);

impl Record {
    pub(super) fn open(path: &Path, end: u64) -> Self {
        let file = BufReader::with_capacity(1 << 20, File::open(path).unwrap());
        Self(file.take(end))
    }

    fn number<const N: usize>(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes[..N]).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; count as usize];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

impl Iterator for Record {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.0.limit() == 0 {
            return None;
        }
        let kind = self.number::<4>();
        let change = Change::ALL[kind as usize - 1];
        let name_bytes = self.number::<4>();
        let inode = self.number::<8>();
        let offset = self.number::<8>();
        let data_bytes = self.number::<8>();
        let name = String::from_utf8(self.bytes(name_bytes)).unwrap();
        let data = self.bytes(data_bytes);
        Some(Entry {
            change,
            inode,
            offset,
            name,
            data,
        })
    }
}
