//! A look at the trees of the database, from their roots down.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::number;
use super::page::{self, Bounds, Kind};
use super::wal::Wal;
use crate::sqlite::error::backend;
use crate::{Result, StoreError};

/// So many pages are looked at: 8 MiB.
pub(in crate::sqlite) const PAGES: usize = 2_048;
/// The header of the database is before the first tree's page.
const HEADER: usize = 100;
/// The byte that `SQLite` locks is in a page that nobody uses.
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

    /// Where the first page is in the log, so is what was added to the database since.
    fn has_all(&self) -> Result<()> {
        let (path, file) = &self.database;
        let length = file
            .metadata()
            .map_err(|error| backend("read the length of the database", error))?
            .len();
        let needed = u64::from(self.count) * u64::from(self.size);
        if self.wal.pages.contains_key(&1) || length >= needed {
            return Ok(());
        }
        Err(StoreError::Damaged {
            what: format!(
                "{} is cut off: it has {length} bytes and should have {needed}",
                path.display()
            ),
        })
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
    left: usize,
}

/// A page that is to be looked at.
struct Visit {
    page: u32,
    within: Bounds,
    /// What the tree it is in is called, by place.
    tree: usize,
    kind: Option<Kind>,
}

impl Trees {
    pub(in crate::sqlite) fn new(pages: Pages) -> Self {
        let used = vec![false; pages.count as usize + 1];
        Self {
            pages,
            used,
            left: PAGES,
        }
    }

    /// Whether some of it is in the log only.
    pub(in crate::sqlite) fn has_log(&self) -> bool {
        self.pages.log.is_some()
    }

    /// Looks at the trees with these names and roots, level by level, and at what leads to others first.
    pub(in crate::sqlite) fn look(&mut self, trees: &[(String, u32)]) -> Result<()> {
        let mut inner = VecDeque::new();
        let mut leaves = VecDeque::new();
        for (tree, (name, root)) in trees.iter().enumerate() {
            self.take(*root, *root, name)?;
            inner.push_back(Visit {
                page: *root,
                within: Bounds::default(),
                tree,
                kind: None,
            });
        }
        while let Some(visit) = inner.pop_front().or_else(|| leaves.pop_front()) {
            if self.left == 0 {
                return Ok(());
            }
            let name = trees.get(visit.tree).map_or("", |(name, _)| name);
            let (kind, children) = self.visit(&visit, name)?;
            // All leaves of a tree are on one level.
            let below = match children.first() {
                Some(child) if self.pages.is_leaf(child.page, name)? => &mut leaves,
                _ => &mut inner,
            };
            for child in children {
                let (page, within) = (child.page, child.within);
                self.take(page, visit.page, name)?;
                if below.len() >= self.left {
                    continue;
                }
                below.push_back(Visit {
                    page,
                    within,
                    tree: visit.tree,
                    kind: Some(kind),
                });
            }
        }
        Ok(())
    }

    /// Looks at the list of pages that are free: one that is not would be written over.
    pub(in crate::sqlite) fn look_at_free(&mut self) -> Result<()> {
        const LIST: &str = "the list of free pages";
        let (mut from, mut free) = (1, number(&self.pages.read(1, LIST)?, 32));
        while free != 0 && self.left > 0 {
            self.left -= 1;
            self.take(free, from, LIST)?;
            let bytes = self.pages.read(free, LIST)?;
            let count = number(&bytes, 4) as usize;
            if count > self.pages.usable / 4 - 2 {
                return Err(self
                    .pages
                    .damaged(free, LIST, "it lists more than has room"));
            }
            for place in 0..count {
                self.take(number(&bytes, 8 + 4 * place), free, LIST)?;
            }
            (from, free) = (free, number(&bytes, 0));
        }
        Ok(())
    }

    /// Looks at one page. Answers those below it.
    fn visit(&mut self, visit: &Visit, name: &str) -> Result<(Kind, Vec<page::Child>)> {
        self.left -= 1;
        let bytes = self.pages.read(visit.page, name)?;
        let usable = bytes.get(..self.pages.usable).unwrap_or_default();
        let start = if visit.page == 1 { HEADER } else { 0 };
        let (kind, children) = page::look(usable, start, visit.within)
            .map_err(|why| self.pages.damaged(visit.page, name, why))?;
        if visit.kind.is_some_and(|above| above != kind) {
            let why = "it is of another kind than the page above it";
            return Err(self.pages.damaged(visit.page, name, why));
        }
        Ok((kind, children))
    }

    /// Notes that one page leads to another one, which nothing else may lead to.
    fn take(&mut self, page: u32, from: u32, name: &str) -> Result<()> {
        let locked = LOCKED / self.pages.size + 1;
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
