//! What `SQLite` made is never taken for damaged, and what leads to its content is never damaged unnoticed.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::number;
use super::trees::{Pages, Trees};
use super::wal;
use crate::{Result, StoreError};

/// A database in a directory of its own, and the trees that are in it.
struct Database {
    directory: TempDir,
    page_size: u32,
    /// Without the schema itself.
    trees: Vec<(String, u32)>,
}

impl Database {
    /// As this makes it, with what is in its log or not.
    fn made(page_size: u32, has_log: bool, make: impl FnOnce(&Connection)) -> Self {
        let made = tempfile::tempdir().unwrap();
        let db = Connection::open(made.path().join("db")).unwrap();
        db.pragma_update(None, "page_size", page_size).unwrap();
        db.pragma_update(None, "auto_vacuum", "incremental")
            .unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        db.execute_batch(
            "create table row (id integer primary key, text blob);
             create table key (text blob primary key, id integer) without rowid;
             create index row_text on row (text);",
        )
        .unwrap();
        make(&db);
        if !has_log {
            checkpoint(&db);
        }
        let mut query = db
            .prepare("select name, rootpage from sqlite_schema where rootpage > 0 order by name")
            .unwrap();
        let named = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let trees = named.unwrap().map(|tree| tree.unwrap()).collect();
        let directory = tempfile::tempdir().unwrap();
        for name in ["db", "db-wal"] {
            fs::copy(made.path().join(name), directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            page_size,
            trees,
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    fn look(&self) -> Result<()> {
        Trees::new(self.pages()?).look()
    }

    fn pages(&self) -> Result<Pages> {
        let log = self.directory.path().join("db-wal");
        let wal = wal::read(&log, self.page_size).unwrap();
        assert_eq!(wal.damaged_at, None);
        Pages::new(&self.file(), &log, wal, self.page_size)
    }

    /// What is said where this is written over, if it is noticed.
    fn said_with(&self, offset: usize, bytes: &[u8]) -> Option<String> {
        let mut before = vec![0; bytes.len()];
        let file = open(&self.file());
        file.read_exact_at(&mut before, offset as u64).unwrap();
        file.write_all_at(bytes, offset as u64).unwrap();
        let said = self.look();
        file.write_all_at(&before, offset as u64).unwrap();
        match said {
            Ok(()) => None,
            Err(StoreError::Damaged { what }) => Some(what),
            Err(error) => panic!("{error}"),
        }
    }
}

fn open(file: &Path) -> fs::File {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).open(file).unwrap()
}

fn checkpoint(db: &Connection) {
    let checkpoint = "pragma wal_checkpoint(truncate)";
    db.query_row(checkpoint, [], |_| Ok(())).unwrap();
}

/// Two levels of each, and pages that are free.
fn filled(db: &Connection) {
    db.execute_batch(
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 600)
         insert into row select n * 3, cast(n || printf('%.*d', 20 + n % 60, n * n) as blob) from n;
         insert into key select text, id from row;
         insert into row values (5000, zeroblob(60000));
         delete from row where id = 5000;",
    )
    .unwrap();
}

#[derive(Clone, Debug)]
enum Change {
    Put(i64, usize),
    Remove(i64),
    Vacuum,
}

fn change() -> impl Strategy<Value = Change> {
    let size = prop_oneof![8 => 0..100_usize, 2 => 100..5_000_usize, 1 => 5_000..40_000_usize];
    prop_oneof![
        6 => (0..300_i64, size).prop_map(|(id, size)| Change::Put(id << 40, size)),
        4 => (0..300_i64).prop_map(|id| Change::Remove(id << 40)),
        1 => Just(Change::Vacuum),
    ]
}

fn apply(db: &Connection, changes: &[Change]) {
    for change in changes {
        let result = match change {
            Change::Put(id, size) => db
                .execute(
                    "insert or replace into row values (?, randomblob(?))",
                    [*id, i64::try_from(*size).unwrap()],
                )
                .and_then(|_| {
                    let key = "insert into key select text, id from row where id = ? on conflict do nothing";
                    db.execute(key, [id])
                })
                .map(drop),
            Change::Remove(id) => db
                .execute("delete from row where id = ?", [id])
                .and_then(|_| db.execute("delete from key where id = ?", [id]))
                .map(drop),
            Change::Vacuum => db.execute_batch("pragma incremental_vacuum(3)"),
        };
        result.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_sqlite_made_is_not_refused(
        changes in prop::collection::vec(change(), 0..400),
        page_size in prop_oneof![Just(512_u32), Just(4_096), Just(65_536)],
        has_log in any::<bool>(),
    ) {
        let database = Database::made(page_size, has_log, |db| apply(db, &changes));
        database.look().unwrap();
    }
}

#[test]
fn what_is_in_the_log_counts() {
    let database = Database::made(4_096, true, filled);
    assert_eq!(open(&database.file()).metadata().unwrap().len(), 4_096);
    database.look().unwrap();
}

#[test]
fn a_flipped_bit_of_what_leads_to_the_content_is_told_with_its_place() {
    let database = Database::made(4_096, false, filled);
    database.look().unwrap();
    let content = fs::read(database.file()).unwrap();
    let (mut looked_at, mut missed) = (0, Vec::new());
    for (page, bytes) in content.chunks(4_096).enumerate().skip(1) {
        let head = match bytes[0] {
            2 | 5 => 12,
            10 | 13 => 8,
            _ => continue,
        };
        // It is in a tree.
        if database.said_with(page * 4_096, &[0]).is_none() {
            continue;
        }
        looked_at += 1;
        let cells = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        for at in 0..head + 2 * cells {
            let offset = page * 4_096 + at;
            let flipped = content[offset] ^ 1 << (at % 8);
            // Where another page is led to, that one may be told.
            let is_link = head == 12 && (8..12).contains(&at);
            let place = if is_link {
                String::new()
            } else {
                format!("{},", page * 4_096)
            };
            match database.said_with(offset, &[flipped]) {
                Some(said) => assert!(said.contains(&format!("db at byte {place}")), "{said}"),
                None => missed.push((bytes[0], at, content[offset], flipped)),
            }
        }
    }
    assert!(looked_at > 30, "{looked_at}");
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_page_that_is_used_and_free_is_told() {
    let database = Database::made(4_096, false, filled);
    let first = fs::read(database.file()).unwrap();
    let list = number(&first, 32);
    assert!(list > 0);
    let (_, root) = database.trees[0];
    let at = (list as usize - 1) * 4_096;
    let said = database.said_with(at + 8, &root.to_be_bytes()).unwrap();
    assert!(said.contains("something else leads to"), "{said}");
    let said = database.said_with(at + 8, &[0xff]).unwrap();
    let named = format!("db at byte {at}, a page of the list of free pages: ");
    assert!(said.contains(&named), "{said}");
    let said = database.said_with(at + 4, &[0xff]).unwrap();
    assert!(said.contains(&named), "{said}");
}

#[test]
fn a_page_that_is_missing_is_told() {
    let database = Database::made(4_096, false, filled);
    let file = open(&database.file());
    let length = file.metadata().unwrap().len();
    file.set_len(length - 1).unwrap();
    let said = database.look().unwrap_err().to_string();
    assert!(said.contains("db is cut off"), "{said}");
}

/// What was added since is in the log, and nothing else.
#[test]
fn a_page_that_is_neither_in_the_log_is_told() {
    let database = Database::made(4_096, true, |db| {
        filled(db);
        checkpoint(db);
        db.execute_batch("create table later (id)").unwrap();
    });
    database.look().unwrap();
    let file = open(&database.file());
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let said = database.look().unwrap_err().to_string();
    assert!(said.contains("db is cut off"), "{said}");
}

#[test]
fn a_page_that_leads_to_nowhere_is_told_itself() {
    let database = Database::made(4_096, false, filled);
    let content = fs::read(database.file()).unwrap();
    let inner = content.chunks(4_096).position(|page| page[0] == 5).unwrap() * 4_096;
    let first = usize::from(u16::from_be_bytes([
        content[inner + 12],
        content[inner + 13],
    ]));
    let said = database.said_with(inner + first, &[0xff; 4]).unwrap();
    let named = format!("db at byte {inner}, a page of row: it leads behind the end");
    assert!(said.contains(&named), "{said}");
}

#[test]
fn the_trees_of_a_schema_of_many_pages_are_found() {
    let database = Database::made(4_096, false, |db| {
        for no in 0..300 {
            let view = format!("create view view_{no} as select * from row");
            let table = format!(
                "create table table_{no} (id, {:width$} text)",
                "x",
                width = no * 20
            );
            db.execute_batch(&format!("{view}; {table}")).unwrap();
        }
    });
    let mut found = Trees::new(database.pages().unwrap()).schema().unwrap();
    found.sort();
    assert_eq!(found, database.trees);
    assert!(found.len() > 300);
}
