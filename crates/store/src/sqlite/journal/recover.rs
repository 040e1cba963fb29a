//! Reading the journal at the start: what the last process had not written yet.
//!
//! A power cut may take any part of what was not synced. So the journal is believed up to the first
//! place where it cannot be read. Where what comes after says that this place was synced, it was
//! damaged later: then something that was promised is lost, and it is better not to start.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::entry::{self, Entry};
use super::header::{self, Beginning, Salt};
use super::unwritten::Net;
use super::{Journal, steps};
use crate::sqlite::error::{Fault, Tx, backend, io_error};
use crate::sqlite::health::Health;
use crate::sqlite::lock::{private_file, sync_directory};
use crate::sqlite::{migrate, restore};
use crate::{Result, StoreError};

/// The names of the files in the data directory.
pub(crate) const FILES: [&str; 2] = ["consumers-a.journal", "consumers-b.journal"];

/// One file, as it was found.
struct Found {
    name: &'static str,
    entries: Vec<Entry>,
    /// Where the entries that can be believed end.
    end: u64,
    /// How much was synced, as far as its entries tell.
    synced: u64,
}

/// Refuses what [`open`] would, and changes nothing. What is wrong with the database is told by who opens
/// it.
pub(crate) fn look(database: &Path) -> Result<()> {
    let looked = (|| -> Tx<()> {
        let directory = database.parent().unwrap_or(database);
        // What cannot be read is told by `open`.
        let files = FILES.map(|name| fs::read(directory.join(name)).unwrap_or_default());
        if files.iter().all(|file| file.len() as u64 <= header::LENGTH) {
            return Ok(());
        }
        let db = open_unchanged(database)?;
        migrate::check(&db)?;
        // The journal was never on top of a backup: it is not believed.
        if restore::made_at(&db)?.is_none() {
            let found = read(&db, &files)?;
            nets(&db, &found)?;
        }
        Ok(())
    })();
    match looked {
        Err(Fault::Refused(error)) => Err(error),
        Err(Fault::Sql(_)) | Ok(()) => Ok(()),
    }
}

/// Opens a database to be read: its log is neither moved into it nor indexed on disk.
fn open_unchanged(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "locking_mode", "exclusive")?;
    Ok(db)
}

/// Opens the journal of the directory; what was in it is written first.
pub(crate) fn open(db: &mut Connection, directory: &Path, health: Health) -> Tx<Journal> {
    let [a, b] = FILES.map(|name| open_file(&directory.join(name)));
    let (files, contents): (Vec<File>, Vec<Vec<u8>>) = [a?, b?].into_iter().unzip();
    sync_directory(directory).map_err(|error| io_error("sync the data directory", error))?;
    let found = read(db, &contents)?;
    let generations = found.iter().map(Found::generation);
    let newest = generations.fold(written(db)?, u64::max);
    if found.iter().any(|file| !file.entries.is_empty()) {
        let tx = db.transaction()?;
        for (no, net) in nets(&tx, &found)? {
            steps::write_net(&tx, no, &net)?;
        }
        tx.execute("update journal set written = ?", [newest.cast_signed()])?;
        tx.commit()?;
    }
    let salt: i64 = db.query_row("select random()", [], |row| row.get(0))?;
    let salt = Salt(salt.cast_unsigned());
    for file in &files {
        header::begin(file, salt).map_err(|error| io_error("begin the journal", error))?;
    }
    let files: [Arc<File>; 2] = match <[File; 2]>::try_from(files) {
        Ok([a, b]) => [Arc::new(a), Arc::new(b)],
        Err(_) => unreachable!("there are two files"),
    };
    Ok(Journal::start(files, salt, newest + 1, health)?)
}

fn open_file(path: &Path) -> Tx<(File, Vec<u8>)> {
    let mut file = private_file(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| io_error("read the journal", error))?;
    Ok((file, bytes))
}

/// The generations up to this one are in the database.
fn written(db: &Connection) -> Tx<u64> {
    let written: i64 = db.query_row("select written from journal", [], |row| row.get(0))?;
    Ok(written.cast_unsigned())
}

/// Reads what the files have beyond the database, the older one first.
fn read(db: &Connection, files: &[Vec<u8>]) -> Tx<Vec<Found>> {
    let written = written(db)?;
    let named = FILES.into_iter().zip(files);
    let mut found = named
        .map(|(name, bytes)| scan(name, bytes, written))
        .collect::<Result<Vec<Found>>>()?;
    found.sort_by_key(Found::generation);
    check_order(&found, written)?;
    Ok(found)
}

/// Reads the entries of the generations after `written`.
fn scan(name: &'static str, bytes: &[u8], written: u64) -> Result<Found> {
    let mut found = Found {
        name,
        entries: Vec::new(),
        end: 0,
        synced: 0,
    };
    let salt = match header::read(bytes) {
        Beginning::Salted(salt) => salt,
        Beginning::Empty => return Ok(found),
        Beginning::Damaged => return Err(damaged(name, 0)),
        Beginning::Old => return Err(old(name)),
    };
    let mut broken = None;
    let mut at = header::LENGTH as usize;
    while at < bytes.len() {
        let entry = entry::read(salt, bytes, at);
        let is_new = |entry: &Entry| entry.envelope.generation > written;
        match (entry, broken) {
            // While one is filled, all before the other one is in the database.
            (Some(entry), _) if entry.envelope.generation > written.saturating_add(2) => {
                return Err(too_new(name));
            }
            // What is left of an earlier filling.
            (Some(entry), _) if !is_new(&entry) => {
                broken.get_or_insert(at as u64);
                at += entry.size;
            }
            (Some(entry), None) => {
                at += entry.size;
                found.end = at as u64;
                found.synced = found.synced.max(entry.envelope.synced);
                found.entries.push(entry);
            }
            (Some(entry), Some(broken)) if entry.envelope.synced > broken => {
                return Err(damaged(name, broken));
            }
            (Some(entry), Some(_)) => at += entry.size,
            (None, _) => {
                broken.get_or_insert(at as u64);
                match entry::next_marker(salt, bytes, at) {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }
    Ok(found)
}

/// What was synced before the newer file was begun must be there.
fn check_order(found: &[Found], written: u64) -> Result<()> {
    let [older, newer] = found else {
        return Ok(());
    };
    let before = newer.entries.first().map(|entry| entry.envelope);
    match before {
        Some(envelope)
            // Where the older one was not written, all of it must be there.
            if newer.synced > 0
                && envelope.generation > written + 1
                && older.end < envelope.before =>
        {
            Err(damaged(older.name, older.end))
        }
        _ => Ok(()),
    }
}

/// What the entries that follow the consumers' rows do to those.
fn nets(db: &Connection, found: &[Found]) -> Tx<Vec<(i64, Net)>> {
    let mut nets: HashMap<i64, Option<Net>> = HashMap::new();
    for file in found {
        for Entry { at, step, .. } in &file.entries {
            let net = match nets.entry(step.no) {
                Occupied(begun) => begun.into_mut(),
                Vacant(new) => new.insert(begin(db, step.no)?),
            };
            let Some(net) = net else {
                continue;
            };
            if step.seq == net.seq {
                net.add(step.clone(), None);
            } else if step.seq > net.seq && *at < file.synced {
                return Err(damaged(file.name, *at).into());
            }
        }
    }
    let nets = nets.into_iter();
    Ok(nets.filter_map(|(no, net)| Some((no, net?))).collect())
}

/// What the consumer's row has; `None` where it was removed.
fn begin(db: &Connection, no: i64) -> Tx<Option<Net>> {
    let row = db
        .prepare_cached("select seq, position from consumer where no = ?")?
        .query_row(params![no], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    Ok(row.map(|(seq, position)| Net {
        seq,
        position: position.cast_unsigned(),
        ..Net::default()
    }))
}

impl Found {
    fn generation(&self) -> u64 {
        let first = self.entries.first();
        first.map_or(0, |entry| entry.envelope.generation)
    }
}

fn damaged(name: &str, at: u64) -> StoreError {
    StoreError::Damaged {
        what: format!(
            "{name} cannot be read at byte {at}, and what comes after it was kept safe: acknowledgements would be lost. \
             Restore the last backup (`headrace restore`), or remove {} and {} to go on without them",
            FILES[0], FILES[1]
        ),
    }
}

fn too_new(name: &str) -> StoreError {
    StoreError::Damaged {
        what: format!(
            "{name} is newer than the database beside it: put back the headrace.db that belongs to it, \
             or remove {} and {} to go on without them",
            FILES[0], FILES[1]
        ),
    }
}

fn old(name: &str) -> StoreError {
    let why = format!(
        "{name} was written by an earlier version: start that one again and stop it, so that \
         everything is in the database, then start this one"
    );
    backend("read the journal", why)
}
