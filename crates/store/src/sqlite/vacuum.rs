//! Gives room back to the file system: pages that nothing uses any more, from the end of the file, a
//! few at a time while the writer has nothing else to do.
//!
//! Some are kept: what is written next uses them again. Databases that were made by a version without
//! this keep all of theirs, and use them again.

use rusqlite::Connection;

use super::error::Tx;

/// Free pages, of 4 KiB, that are not worth giving back.
const FEW: i64 = 4_096;
/// One page in so many may be free.
const SHARE: i64 = 8;
/// Pages that are given back in one transaction.
const STEP: u32 = 64;
/// `pragma auto_vacuum` of a database that can.
const INCREMENTAL: i64 = 2;

/// What the writer knows about free pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacuum {
    is_possible: bool,
}

impl Vacuum {
    /// Looks whether the database can give room back.
    pub(super) fn new(db: &Connection) -> Self {
        let mode = number(db, "pragma auto_vacuum");
        Self {
            is_possible: mode.is_ok_and(|mode| mode == INCREMENTAL),
        }
    }

    /// Gives some room back. Answers whether there is more.
    pub(super) fn give_back_some(self, db: &Connection) -> Tx<bool> {
        if !self.is_possible {
            return Ok(false);
        }
        let free = number(db, "pragma freelist_count")?;
        if free <= FEW || free <= number(db, "pragma page_count")? / SHARE {
            return Ok(false);
        }
        // One row for each page: it has given back what has been asked for.
        let mut giving = db.prepare(&format!("pragma incremental_vacuum({STEP})"))?;
        let mut given = giving.query([])?;
        while given.next()?.is_some() {}
        Ok(true)
    }
}

fn number(db: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    db.prepare_cached(pragma)?.query_row([], |row| row.get(0))
}
