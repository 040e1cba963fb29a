//! Tables as `SQLite` itself looks at them.

use rusqlite::{Connection, Error, OptionalExtension, ffi};

use crate::sqlite::error::{Tx, corrupt};

/// The first table behind this one.
pub(super) fn next(db: &Connection, last: Option<&str>) -> Tx<Option<String>> {
    let sql = "select name from sqlite_schema where type = 'table' and name > ? order by name";
    let next = db.query_row(sql, [last.unwrap_or_default()], |row| row.get(0));
    Ok(next.optional()?)
}

/// Has `SQLite` look at a table.
pub(super) fn check(db: &Connection, name: &str) -> Tx<()> {
    let check = "select quick_check from pragma_quick_check(?)";
    let found: Option<String> = db.query_row(check, [name], |row| row.get(0)).optional()?;
    let found = found.as_deref().filter(|found| *found != "ok");
    let Some(found) = found else { return Ok(()) };
    let Some(damage) = damage(found) else {
        let code = ffi::Error::new(ffi::SQLITE_IOERR);
        return Err(Error::SqliteFailure(code, Some(found.to_owned())).into());
    };
    let size: u32 = db.query_row("pragma page_size", [], |row| row.get(0))?;
    let place = page(damage);
    let place = place.map(|page| format!("at byte {}, ", page.saturating_sub(1) * u64::from(size)));
    let what = format!("{}table {name}: {found}", place.unwrap_or_default());
    Err(corrupt(what).into())
}

/// The first line that tells of damage.
fn damage(found: &str) -> Option<&str> {
    let mut lines = found.lines().filter(|line| !line.starts_with("***"));
    lines.find(|line| !is_unread(line))
}

/// Whether it only says that a page could not be read: that may pass, and says nothing of what is stored.
fn is_unread(line: &str) -> bool {
    let unread = [
        "unable to get the page",
        "failed to get page",
        "Failed to read ptrmap",
    ];
    let is_damage = line.ends_with(&format!("error code={}", ffi::SQLITE_CORRUPT));
    unread.iter().any(|words| line.contains(words)) && !is_damage
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
    use super::{damage, page};

    #[test]
    fn what_could_not_be_read_is_no_damage_and_hides_none() {
        let unread = "*** in database main ***
Tree 12 page 34: unable to get the page. error code=266
Tree 12 page 35 cell 2: failed to get page 36
Failed to read ptrmap key=37";
        assert_eq!(damage(unread), None);
        let too = format!("{unread}\nTree 12 page 38 cell 5: Rowid 7 out of order");
        let found = damage(&too).unwrap();
        assert_eq!(page(found), Some(38));
        let beyond = "Tree 12 page 99: unable to get the page. error code=11";
        assert_eq!(damage(beyond), Some(beyond));
    }
}
