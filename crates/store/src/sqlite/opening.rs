//! Before `SQLite` touches the data: whether it is ours and whole, as far as a glance can tell.
//!
//! `SQLite` makes a new database where one is missing, and cuts a damaged log off. Here neither may
//! happen without a word. A database gets its name only when it is whole, and before anything that
//! belongs to it: so one that is empty, or missing beside that, was there before.
//!
//! Not all of a large database is read: see [`super::check`]. Damage to the rest is noticed by whoever
//! reads it: `SQLite` knows its pages, and [`super::sums`] the records.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::check::{Pages, Trees, read_wal};
use super::error::{FILE, Tx, backend, not_writable};
use super::lock::{DirLock, NUMBER, private_file, sync_directory};
use super::{journal, migrate, open_writer};
use crate::{Result, StoreError};

/// Names Headrace in the header of its databases: `head` in ASCII.
const APPLICATION: u32 = 0x6865_6164;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER: usize = 100;
/// What a database is called until it is whole.
const DRAFT: &str = "headrace.db.new";

/// Opens the writer's connection to the database in this directory; makes the database where there is
/// none. What a process that ended without warning left in the log is durable when this answers.
pub(super) fn open(directory: &Path, lock: &mut DirLock) -> Result<Connection> {
    let file = directory.join(FILE);
    if !exists(&file)? {
        refuse_an_orphaned_rest(directory)?;
        create(directory, &file)?;
    }
    let number = look(directory, &file, lock.database())?;
    (|| -> Tx<_> {
        journal::look(&file)?;
        let mut db = open_writer(&file)?;
        refuse_foreign(&db, &file)?;
        // Before there is anything in the log. One that is refused must not be taken for ours later.
        lock.remember(number)?;
        migrate::migrate(&mut db)?;
        // Those of before there was a name have none.
        let name: u32 = db.query_row("pragma application_id", [], |row| row.get(0))?;
        if name != APPLICATION {
            db.pragma_update(None, "application_id", APPLICATION)?;
        }
        // Readers may see what is in the log: it must not get lost any more.
        db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(db)
    })()
    .map_err(|fault| fault.during("open the database"))
}

fn exists(file: &Path) -> Result<bool> {
    file.try_exists()
        .map_err(|error| backend("look for the database", error))
}

/// Where the database is missing, nothing that belongs to one may be there.
fn refuse_an_orphaned_rest(directory: &Path) -> Result<()> {
    let log = format!("{FILE}-wal");
    let files = [&log, NUMBER].into_iter().chain(journal::FILES);
    let is_there =
        |name: &&str| fs::metadata(directory.join(name)).is_ok_and(|file| file.len() > 0);
    let rest: Vec<&str> = files.filter(is_there).collect();
    if rest.is_empty() {
        return Ok(());
    }
    Err(StoreError::Damaged {
        what: format!(
            "{} is missing, but what belongs to it is there ({}): put it back, or, where all data is meant to be gone, remove these files too",
            directory.join(FILE).display(),
            rest.join(", ")
        ),
    })
}

/// Makes the database under another name first.
fn create(directory: &Path, file: &Path) -> Result<()> {
    let draft = directory.join(DRAFT);
    for rest in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(directory.join(format!("{DRAFT}{rest}"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(not_writable(&draft, error));
            }
            _ => {}
        }
    }
    // Made here and not by SQLite, so that it and the files SQLite puts beside it are private.
    private_file(&draft)?;
    (|| -> Tx<()> {
        let mut db = open_writer(&draft)?;
        migrate::migrate(&mut db)?;
        db.pragma_update(None, "application_id", APPLICATION)?;
        give_number(&db)?;
        db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        db.close().map_err(|(_, error)| error)?;
        Ok(())
    })()
    .map_err(|fault| fault.during("make the database"))?;
    fs::rename(&draft, file)
        .and_then(|()| sync_directory(directory))
        .map_err(|error| backend("name the database", error))
}

/// A glance at the database's header, through its log and at its pages. Answers the database's number.
fn look(directory: &Path, file: &Path, known: Option<u32>) -> Result<u32> {
    let damaged = |why: &str| StoreError::Damaged {
        what: format!("{} {why}", file.display()),
    };
    let mut database = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .map_err(|error| not_writable(file, error))?;
    let header = read_header(&mut database)
        .map_err(|error| backend("read the header of the database", error))?;
    let Some(header) = header else {
        return Err(damaged("is cut off"));
    };
    let number = |at| number(&header, at);
    let page_size = page_size(&header);
    let is_readable = header.starts_with(MAGIC) && page_size.is_power_of_two() && page_size >= 512;
    if !is_readable {
        return Err(damaged("is no database"));
    }
    // Ours is in WAL mode from the beginning; another program's must not be turned into that.
    let is_wal = number(16) & 0xffff == 0x0202;
    if !is_wal || ![0, APPLICATION].contains(&number(68)) {
        return Err(foreign(file));
    }
    let log = log(directory);
    let has_log = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    // A database that was put in the place of another one has a log that is not its own.
    let database = number(60);
    if has_log && database != 0 && known.is_some_and(|known| known != database) {
        return Err(damaged(&format!(
            "is not the database that its log {} belongs to",
            log.display()
        )));
    }
    let wal =
        read_wal(&log, page_size).map_err(|error| backend("read the write-ahead log", error))?;
    if let Some(offset) = wal.damaged_at {
        return Err(StoreError::Damaged {
            what: format!(
                "{} at byte {offset}, before transactions that were completed",
                log.display()
            ),
        });
    }
    Trees::new(Pages::new(file, &log, wal, page_size)?).look()?;
    Ok(database)
}

fn page_size(header: &[u8; HEADER]) -> u32 {
    match number(header, 14) & 0xffff {
        1 => 65_536,
        size => size,
    }
}

fn number(header: &[u8; HEADER], at: usize) -> u32 {
    let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The header, unless the file is too short for it.
fn read_header(file: &mut File) -> std::io::Result<Option<[u8; HEADER]>> {
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(header)),
    }
}

/// A database that has tables, but none of ours, is another program's.
fn refuse_foreign(db: &Connection, file: &Path) -> Tx<()> {
    let is_ours: bool = db.query_row(
        "select count(*) = 0 or sum(name = 'schema_migration') > 0 from sqlite_schema",
        [],
        |row| row.get(0),
    )?;
    match is_ours {
        true => Ok(()),
        false => Err(foreign(file).into()),
    }
}

fn foreign(file: &Path) -> StoreError {
    StoreError::Foreign {
        path: file.display().to_string(),
    }
}

fn log(directory: &Path) -> PathBuf {
    directory.join(format!("{FILE}-wal"))
}

/// Gives the database a number of its own, by which it is told from one that was put in its place.
pub(super) fn give_number(db: &Connection) -> Tx<()> {
    let number = "select 1 + abs(random() % 2147483646)";
    let number: i64 = db.query_row(number, [], |row| row.get(0))?;
    db.pragma_update(None, "user_version", number)?;
    Ok(())
}
