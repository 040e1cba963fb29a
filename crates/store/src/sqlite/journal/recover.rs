//! Reading the journal at the start: what the last process had not written yet.
//!
//! A power cut may take any part of what was not synced. So the journal is believed up to the first
//! place where it cannot be read. Where what comes after says that this place was synced, it was
//! damaged later: then something that was promised is lost, and it is better not to start.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::entry::{self, Entry};
use super::unwritten::Net;
use super::{Journal, steps};
use crate::StoreError;
use crate::sqlite::error::{Tx, io_error};
use crate::sqlite::health::Health;
use crate::sqlite::lock::{private_file, sync_directory};

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

/// Opens the journal of the directory; what was in it is written first.
pub(crate) fn open(db: &mut Connection, directory: &Path, health: Health) -> Tx<Journal> {
    let written: i64 = db.query_row("select written from journal", [], |row| row.get(0))?;
    let written = written.cast_unsigned();
    let mut files = Vec::new();
    let mut found = Vec::new();
    for name in FILES {
        let mut file = private_file(&directory.join(name))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| io_error("read the journal", error))?;
        found.push(scan(name, &bytes, written)?);
        files.push(file);
    }
    sync_directory(directory).map_err(|error| io_error("sync the data directory", error))?;
    found.sort_by_key(Found::generation);
    check_order(&found, written)?;
    let newest = found
        .iter()
        .map(Found::generation)
        .max()
        .unwrap_or(0)
        .max(written);
    if found.iter().any(|file| !file.entries.is_empty()) {
        let tx = db.transaction()?;
        replay(&tx, &found)?;
        tx.execute("update journal set written = ?", [newest.cast_signed()])?;
        tx.commit()?;
    }
    // Nothing of before may be taken for something of now.
    for file in &files {
        if file.metadata().map_or(true, |metadata| metadata.len() > 0) {
            file.set_len(0)
                .and_then(|()| file.sync_all())
                .map_err(|error| io_error("empty the journal", error))?;
        }
    }
    let files: [Arc<File>; 2] = match <[File; 2]>::try_from(files) {
        Ok([a, b]) => [Arc::new(a), Arc::new(b)],
        Err(_) => unreachable!("there are two files"),
    };
    Ok(Journal::start(files, newest + 1, health)?)
}

/// Reads the entries of the generations after `written`.
fn scan(name: &'static str, bytes: &[u8], written: u64) -> Tx<Found> {
    let mut found = Found {
        name,
        entries: Vec::new(),
        end: 0,
        synced: 0,
    };
    let mut broken = None;
    let mut at = 0;
    while at < bytes.len() {
        let entry = entry::read(bytes, at);
        let is_new = |entry: &Entry| entry.envelope.generation > written;
        match (entry, broken) {
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
                return Err(damaged(name, broken).into());
            }
            (Some(entry), Some(_)) => at += entry.size,
            (None, _) => {
                broken.get_or_insert(at as u64);
                match entry::next_marker(bytes, at) {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }
    Ok(found)
}

/// What was synced before the newer file was begun must be there.
fn check_order(found: &[Found], written: u64) -> Tx<()> {
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
            Err(damaged(older.name, older.end).into())
        }
        _ => Ok(()),
    }
}

/// Writes the entries that follow what the consumers' rows have.
fn replay(db: &Connection, found: &[Found]) -> Tx<()> {
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
    for (no, net) in nets {
        if let Some(net) = net {
            steps::write_net(db, no, &net)?;
        }
    }
    Ok(())
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
