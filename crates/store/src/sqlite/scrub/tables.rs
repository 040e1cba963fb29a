//! Tables as `SQLite` itself looks at them.

use rusqlite::{Connection, Error, ffi};

use crate::sqlite::error::{Tx, corrupt};

/// The names of all tables.
pub(super) fn names(db: &Connection) -> Tx<Vec<String>> {
    let sql = "select name from sqlite_schema where type = 'table' order by name";
    let mut query = db.prepare_cached(sql)?;
    let names = query.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Has `SQLite` look at a table and its indexes. What it says of pages that could not be read looks like
/// damage where it gives no reason: that is damage which it says again.
pub(super) fn check(db: &Connection, name: &str) -> Tx<()> {
    let Some(found) = said(db, name)? else {
        return Ok(());
    };
    if found.lines().any(is_unread) || said(db, name)?.as_ref() != Some(&found) {
        let code = ffi::Error::new(ffi::SQLITE_IOERR);
        return Err(Error::SqliteFailure(code, Some(found)).into());
    }
    let size: u32 = db.query_row("pragma page_size", [], |row| row.get(0))?;
    let place = page(&found);
    let place = place.map(|page| format!("at byte {}, ", page.saturating_sub(1) * u64::from(size)));
    let what = format!("{}table {name}: {found}", place.unwrap_or_default());
    Err(corrupt(what).into())
}

/// What it says of a table that is not whole.
fn said(db: &Connection, name: &str) -> Tx<Option<String>> {
    let check = "select integrity_check from pragma_integrity_check(?)";
    let mut query = db.prepare_cached(check)?;
    let found = query.query_map([name], |row| row.get::<_, String>(0))?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?.join("\n");
    Ok((found != "ok").then_some(found))
}

/// Whether it says that a page could not be read, by an error that is none of what is stored: that may
/// pass, and what else is said may only follow from it.
fn is_unread(line: &str) -> bool {
    let code = line.split_once("unable to get the page. error code=");
    let code = code.and_then(|(_, code)| code.trim().parse::<i32>().ok());
    // The kind of an error is in its lowest byte.
    code.is_some_and(|code| code & 0xff != ffi::SQLITE_CORRUPT)
}

/// The page that is named: `Tree 12 page 34 cell 5: …`.
fn page(found: &str) -> Option<u64> {
    let (_, behind) = found.split_once(" page ")?;
    let digits = behind
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_unread, page};

    #[test]
    fn only_an_error_that_is_none_of_what_is_stored_may_pass() {
        let unread = "Tree 12 page 34: unable to get the page. error code=266";
        assert!(is_unread(unread));
        for damaged in [
            "*** in database main ***",
            "Tree 12 page 38 cell 5: Rowid 7 out of order",
            "Tree 12 page 99: unable to get the page. error code=11",
            "Tree 12 page 99: unable to get the page. error code=779",
            "Tree 12 page 99: Failed to read ptrmap key=98",
        ] {
            assert!(!is_unread(damaged), "{damaged}");
        }
        assert_eq!(page(unread), Some(34));
    }
}
