//! A look at the trees of the database, from their roots down.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::number;
use super::page::{self, Bounds, Kind, Looked};
use super::schema;
use super::wal::Wal;
use crate::sqlite::error::backend;
use crate::{Result, StoreError};

/// So many pages are looked at: 8 MiB.
pub(in crate::sqlite) const PAGES: usize = 2_048;
/// The header of the database is before the first tree's page.
const HEADER: usize = 100;
/// The byte that `SQLite` locks.
const LOCKED: u32 = 0x4000_0000;

/// The pages of the database as of the last transaction that was completed, in the log or not.
#[derive(Debug)]
pub(in crate::sqlite) struct Pages {
    database: (PathBuf, File),
    log: Option<(PathBuf, File)>,
    wal: Wal,
    size: u32,
    usable: usize,
    count: u32,
}

impl Pages {
    /// Of a database with pages of this size, and with this log.
    pub(in crate::sqlite) fn new(database: &Path, log: &Path, wal: Wal, size: u32) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::open(path).map_err(|error| backend("open the database", error))?;
            Ok::<_, StoreError>((path.to_owned(), file))
        };
        let mut pages = Self {
            log: (!wal.pages.is_empty()).then(|| open(log)).transpose()?,
            database: open(database)?,
            wal,
            size,
            usable: size as usize,
            count: 1,
        };
        let first = pages.read(1, "the schema")?;
        pages.count = number(&first, 28);
        let reserved = first.get(20).copied().map_or(0, usize::from);
        pages.usable -= reserved.min(pages.usable / 2);
        pages.has_all()?;
        Ok(pages)
    }

    /// What the file is too short for is in the log.
    fn has_all(&self) -> Result<()> {
        let (path, file) = &self.database;
        let length = file.metadata().map(|file| file.len());
        let length = length.map_err(|error| backend("read the length of the database", error))?;
        let size = u64::from(self.size);
        let in_file = u32::try_from(length / size).unwrap_or(u32::MAX);
        let mut behind = in_file.saturating_add(1)..=self.count;
        let is_missing = |page: u32| page != self.locked() && !self.wal.pages.contains_key(&page);
        if !behind.any(is_missing) {
            return Ok(());
        }
        let needed = u64::from(self.count) * size;
        Err(StoreError::Damaged {
            what: format!(
                "{} is cut off: it has {length} bytes and should have {needed}",
                path.display()
            ),
        })
    }

    /// A page that nobody uses: `SQLite` locks a byte of it.
    fn locked(&self) -> u32 {
        LOCKED / self.size + 1
    }

    fn read(&self, page: u32, whose: &str) -> Result<Vec<u8>> {
        self.read_part(page, self.size as usize, whose)
    }

    fn read_part(&self, page: u32, length: usize, whose: &str) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let (_, file, offset) = self.place(page);
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damaged(page, whose, "it is cut off"))
            }
            Err(error) => Err(backend("read a page of the database", error)),
        }
    }

    fn is_leaf(&self, page: u32, whose: &str) -> Result<bool> {
        let kind = self.read_part(page, 1, whose)?;
        Ok(kind.first().is_some_and(|kind| page::is_leaf(*kind)))
    }

    /// Where the page is.
    fn place(&self, page: u32) -> (&Path, &File, u64) {
        match (&self.log, self.wal.pages.get(&page)) {
            (Some((path, file)), Some(offset)) => (path, file, *offset),
            _ => {
                let offset = u64::from(page.saturating_sub(1)) * u64::from(self.size);
                (&self.database.0, &self.database.1, offset)
            }
        }
    }

    fn damaged(&self, page: u32, whose: &str, why: &str) -> StoreError {
        let (path, _, offset) = self.place(page);
        StoreError::Damaged {
            what: format!(
                "{} at byte {offset}, a page of {whose}: {why}",
                path.display()
            ),
        }
    }
}

/// The trees, as far as they were looked at.
#[derive(Debug)]
pub(in crate::sqlite) struct Trees {
    pages: Pages,
    /// By page: whether something leads to it.
    used: Vec<bool>,
}

/// A page that is to be looked at.
struct Visit {
    page: u32,
    within: Bounds,
    /// What the tree it is in is called, by place.
    tree: usize,
    /// That of the page above it.
    kind: Option<Kind>,
}

impl Visit {
    fn root(page: u32, tree: usize) -> Self {
        Self {
            page,
            within: Bounds::default(),
            tree,
            kind: None,
        }
    }
}

/// What comes before the tree's part of a page.
fn start(page: u32) -> usize {
    if page == 1 { HEADER } else { 0 }
}

impl Trees {
    pub(in crate::sqlite) fn new(pages: Pages) -> Self {
        let used = vec![false; pages.count as usize + 1];
        Self { pages, used }
    }

    /// Looks at the list of free pages, and at the trees.
    pub(in crate::sqlite) fn look(&mut self) -> Result<()> {
        self.look_at_free()?;
        let trees = self.schema()?;
        self.look_at(&trees)
    }

    /// Looks at the list of pages that are free: one that is not would be written over.
    fn look_at_free(&mut self) -> Result<()> {
        const LIST: &str = "the list of free pages";
        let (mut from, mut free) = (1, number(&self.pages.read(1, LIST)?, 32));
        for _ in 0..PAGES {
            if free == 0 {
                break;
            }
            self.take(free, from, LIST)?;
            let bytes = self.pages.read(free, LIST)?;
            let count = number(&bytes, 4) as usize;
            if count > self.pages.usable / 4 - 2 {
                let why = "it lists more than has room";
                return Err(self.pages.damaged(free, LIST, why));
            }
            for place in 0..count {
                self.take(number(&bytes, 8 + 4 * place), free, LIST)?;
            }
            (from, free) = (free, number(&bytes, 0));
        }
        Ok(())
    }

    /// Looks at the schema. Answers the names and roots of the other trees.
    pub(super) fn schema(&mut self) -> Result<Vec<(String, u32)>> {
        const SCHEMA: &str = "the schema";
        self.take(1, 1, SCHEMA)?;
        let mut trees = Vec::new();
        let mut pages = vec![Visit::root(1, 0)];
        while let Some(visit) = pages.pop() {
            let (looked, bytes) = self.visit(&visit, SCHEMA)?;
            if looked.children.is_empty() {
                trees.extend(schema::trees(&bytes, start(visit.page)));
            }
            pages.extend(self.below(&visit, looked, SCHEMA)?);
        }
        Ok(trees)
    }

    /// Looks at the trees with these names and roots, level by level, and at what leads to others first.
    fn look_at(&mut self, trees: &[(String, u32)]) -> Result<()> {
        let (mut inner, mut leaves) = (VecDeque::new(), VecDeque::new());
        for (tree, (name, root)) in trees.iter().enumerate() {
            self.take(*root, 1, name)?;
            inner.push_back(Visit::root(*root, tree));
        }
        for left in (0..PAGES).rev() {
            let Some(visit) = inner.pop_front().or_else(|| leaves.pop_front()) else {
                break;
            };
            let name = trees.get(visit.tree).map_or("", |(name, _)| name);
            let (looked, _) = self.visit(&visit, name)?;
            let mut visits = self.below(&visit, looked, name)?;
            // All leaves of a tree are on one level.
            let below = match visits.first() {
                Some(first) if self.pages.is_leaf(first.page, name)? => &mut leaves,
                _ => &mut inner,
            };
            visits.truncate(left.saturating_sub(below.len()));
            below.extend(visits);
        }
        Ok(())
    }

    /// Looks at one page. Answers what is in it, and its bytes.
    fn visit(&self, visit: &Visit, name: &str) -> Result<(Looked, Vec<u8>)> {
        let mut bytes = self.pages.read(visit.page, name)?;
        bytes.truncate(self.pages.usable);
        let looked = page::look(&bytes, start(visit.page), visit.within);
        let why = match (looked, visit.kind) {
            (Err(why), _) => why,
            (Ok(looked), Some(above)) if looked.kind != above => {
                "it is of another kind than the page above it"
            }
            (Ok(looked), Some(_)) if looked.is_empty => "nothing is in it",
            (Ok(looked), _) => return Ok((looked, bytes)),
        };
        Err(self.pages.damaged(visit.page, name, why))
    }

    /// The pages below one that was looked at.
    fn below(&mut self, visit: &Visit, looked: Looked, name: &str) -> Result<Vec<Visit>> {
        let mut visits = Vec::with_capacity(looked.children.len());
        for child in looked.children {
            self.take(child.page, visit.page, name)?;
            visits.push(Visit {
                page: child.page,
                within: child.within,
                tree: visit.tree,
                kind: Some(looked.kind),
            });
        }
        Ok(visits)
    }

    /// Notes that one page leads to another one, which nothing else may lead to.
    fn take(&mut self, page: u32, from: u32, name: &str) -> Result<()> {
        let locked = self.pages.locked();
        let why = match self.used.get_mut(page as usize) {
            None => "it leads behind the end",
            Some(_) if page == 0 || page == locked => "it leads to where nothing is",
            Some(true) => "it leads to a page that something else leads to",
            Some(used) => {
                *used = true;
                return Ok(());
            }
        };
        Err(self.pages.damaged(from, name, why))
    }
}
