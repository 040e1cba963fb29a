//! A disk that is watched: what a server writes to it is recorded, and it fails when it is told to.
//!
//! A small library (`shim.c`) is loaded into the server's process, between it and the C library.

mod record;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use crate::harness::Setup;

pub(crate) use record::{Change, Entry, Record};

/// Where each number stands in the file that the test and the library share.
#[derive(Clone, Copy)]
enum Number {
    Changes,
    LogEnd,
    PauseAt,
    PauseKinds,
    Paused,
    IsFull,
    Room,
    FailingSyncs,
    FailingFile,
    IsReadOnly,
    ClockIsAhead,
}

/// The disk. Its root holds nothing but the data directory.
pub(crate) struct Disk {
    scratch: Mutex<Option<TempDir>>,
    folder: PathBuf,
    numbers: File,
    is_recorded: bool,
}

impl Disk {
    /// A disk that can fail.
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("disk")).unwrap();
        let numbers = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(folder.join("numbers"))
            .unwrap();
        numbers.set_len(4096).unwrap();
        Self {
            scratch: Mutex::new(Some(scratch)),
            folder,
            numbers,
            is_recorded: false,
        }
    }

    /// One whose every change is recorded too.
    pub(crate) fn recorded() -> Self {
        Self {
            is_recorded: true,
            ..Self::new()
        }
    }

    /// What is watched: everything inside it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The data directory. The server makes it.
    pub(crate) fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    /// What a process on this disk needs in its environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![
            ("LD_PRELOAD", library().to_owned()),
            ("HEADRACE_DISK_ROOT", self.root()),
            ("HEADRACE_DISK_CONTROL", self.folder.join("numbers")),
        ];
        if self.is_recorded {
            environment.push(("HEADRACE_DISK_LOG", self.log()));
        }
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        environment
            .into_iter()
            .map(|(name, path)| (name.to_owned(), text(path)))
            .collect()
    }

    /// A server on this disk.
    pub(crate) fn server(&self) -> Setup {
        let setup = Setup::on(&self.data());
        self.environment()
            .iter()
            .fold(setup, |setup, (name, value)| setup.env(name, value))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("changes")
    }

    /// What was recorded, from the beginning.
    pub(crate) fn record(&self) -> Record {
        Record::open(&self.log(), self.get(Number::LogEnd))
    }

    /// How many changes and syncs there were.
    pub(crate) fn changes(&self) -> u64 {
        self.get(Number::Changes)
    }

    /// Holds the process before the first change after this number of them that is of these kinds.
    pub(crate) fn pause_at(&self, changes: u64, kinds: &[Change]) {
        let kinds = kinds.iter().map(|kind| 1 << *kind as u64).sum();
        self.set(Number::PauseKinds, kinds);
        self.set(Number::PauseAt, changes.max(1));
    }

    /// Holds no process.
    pub(crate) fn pause_never(&self) {
        self.set(Number::PauseAt, 0);
        self.go_on();
    }

    /// Whether a process is held: nothing changes until it goes on.
    pub(crate) fn is_paused(&self) -> bool {
        self.get(Number::Paused) == 1
    }

    /// Lets the process go on.
    pub(crate) fn go_on(&self) {
        self.set(Number::Paused, 0);
    }

    /// Leaves room for files to grow by so many bytes.
    pub(crate) fn fill_up_to(&self, room: u64) {
        self.set(Number::Room, room);
        self.set(Number::IsFull, 1);
    }

    /// There is room again.
    pub(crate) fn make_room(&self) {
        self.set(Number::IsFull, 0);
    }

    /// The next so many syncs fail, as of a drive that lost what it was given.
    pub(crate) fn fail_syncs(&self, count: u64) {
        self.set(Number::FailingSyncs, count);
    }

    /// The next so many syncs of this file fail.
    pub(crate) fn fail_syncs_of(&self, file: &Path, count: u64) {
        self.set(Number::FailingFile, file.metadata().unwrap().ino());
        self.fail_syncs(count);
    }

    /// Syncs that have yet to fail.
    pub(crate) fn failing_syncs(&self) -> u64 {
        self.get(Number::FailingSyncs)
    }

    /// Nothing may be written.
    pub(crate) fn make_read_only(&self) {
        self.set(Number::IsReadOnly, 1);
    }

    /// Sets the clock of the machine by so many seconds ahead of the right time.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.set(Number::ClockIsAhead, ahead.cast_unsigned());
    }

    /// Leaves everything where it is, for whoever looks into a failure.
    pub(crate) fn keep(&self) -> &Path {
        drop(self.scratch.lock().unwrap().take().map(TempDir::keep));
        &self.folder
    }

    fn get(&self, number: Number) -> u64 {
        let mut bytes = [0; 8];
        self.numbers
            .read_exact_at(&mut bytes, number as u64 * 8)
            .unwrap();
        u64::from_le_bytes(bytes)
    }

    fn set(&self, number: Number, value: u64) {
        self.numbers
            .write_all_at(&value.to_le_bytes(), number as u64 * 8)
            .unwrap();
    }
}

/// The library, compiled once per run of the tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (library, draft) = (
            folder.join("disk-shim.so"),
            folder.join(format!("disk-shim.{}.so", std::process::id())),
        );
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/disk/shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&draft)
            .args([source, "-ldl", "-lpthread"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        // In one piece: another run may be loading it.
        std::fs::rename(&draft, &library).unwrap();
        library
    })
}
