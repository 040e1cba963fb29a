//! Where the trees of a database begin, by a page of its schema.

use super::page::{cells, varint};

/// What is called `type`, `name`, `tbl_name`, `rootpage` and `sql`: the place of two of them.
const NAME: usize = 1;
const ROOT: usize = 3;

/// The names and first pages of the trees that a leaf of the schema tells of. What cannot be read is left
/// out: `SQLite` reads all of it when it opens the database.
pub(super) fn trees(page: &[u8], start: usize) -> Vec<(String, u32)> {
    let trees = cells(page, start).filter_map(|at| tree(page, at));
    trees.filter(|(_, root)| *root > 0).collect()
}

fn tree(page: &[u8], at: usize) -> Option<(String, u32)> {
    let (_size, rowid) = varint(page, at)?;
    let (_rowid, record) = varint(page, rowid)?;
    let (header, mut types) = varint(page, record)?;
    let mut content = record.checked_add(usize::try_from(header).ok()?)?;
    let mut columns = Vec::new();
    while columns.len() <= ROOT {
        let (serial, next) = varint(page, types)?;
        let end = content.checked_add(size(serial)?)?;
        columns.push(page.get(content..end)?);
        (types, content) = (next, end);
    }
    let name = String::from_utf8_lossy(columns.get(NAME)?).into_owned();
    let root = columns.get(ROOT)?.iter().try_fold(0_u32, |root, byte| {
        Some(root.checked_mul(256)? | u32::from(*byte))
    })?;
    Some((name, root))
}

/// How many bytes a value of this type takes.
fn size(serial: u64) -> Option<usize> {
    match serial {
        0 | 8 | 9 => Some(0),
        1..=4 => usize::try_from(serial).ok(),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        _ => usize::try_from((serial - 12) / 2).ok(),
    }
}
