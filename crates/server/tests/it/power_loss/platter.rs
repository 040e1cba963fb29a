//! What a disk holds after its power was cut: the model.
//!
//! What is assumed of a disk and its file system, and nothing more:
//!
//! * A sync of a file that has returned makes its content durable: every write and every change of
//!   length before it. A sync of a directory makes the names in it durable. A sync of a file does
//!   **not** make its name durable.
//! * What was not synced may be durable or not, each change by itself, whatever came before or after
//!   it: there is no order among the writes of a file, nor among files, nor among names.
//! * A write may be torn: of each sector of 512 bytes either the old or the new content is there. A
//!   file may have grown without its content: it reads as zeros then.
//! * A change of a name (a new file, a rename, a removal) happens whole or not at all. A rename moves
//!   within one directory.
//! * A process that ends without warning loses nothing that it has written: only the power does.
//!
//! Not modelled: sectors that rot, and syncs that lie. What happens then is told by `damage.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::crash::Rng;
use crate::disk::{Change, Entry};

const SECTOR: u64 = 512;

/// The disk, as far as its record was followed.
pub(super) struct Platter {
    root: PathBuf,
    files: Vec<Content>,
    names: Names,
    pending: Vec<NameChange>,
    /// The file or directory that an inode's number means now.
    inodes: HashMap<u64, Inode>,
}

/// Names of files, and of directories.
type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Clone)]
enum Inode {
    File(usize),
    Directory(PathBuf),
}

/// What a file holds for certain, and what was done to it since.
#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Edit>,
}

enum Edit {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// A change of names in one directory that was not synced yet.
struct NameChange {
    directory: PathBuf,
    from: Option<PathBuf>,
    to: Option<(PathBuf, Node)>,
}

/// Which syncs did what they promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Syncs {
    /// All did.
    Honest,
    /// Those of files did nothing.
    NotOfFiles,
    /// Those of directories did nothing.
    NotOfDirectories,
}

/// What is left of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Some of it.
    Chance,
    /// Nothing.
    Nothing,
}

impl Platter {
    /// An empty disk with nothing but its root.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: Vec::new(),
            names: Names::new(),
            pending: Vec::new(),
            inodes: HashMap::new(),
        }
    }

    /// Follows the record by one entry.
    pub(super) fn follow(&mut self, entry: Entry, syncs: Syncs) {
        let inode = entry.inode;
        match entry.change {
            Change::Create => {
                let file = self.files.len();
                self.files.push(Content::default());
                self.inodes.insert(inode, Inode::File(file));
                self.rename(None, Some((entry.name.into(), Node::File(file))));
            }
            Change::Mkdir => {
                let path = PathBuf::from(entry.name);
                self.inodes.insert(inode, Inode::Directory(path.clone()));
                self.rename(None, Some((path, Node::Directory)));
            }
            Change::Write => self.edit(inode, Edit::Write(entry.offset, entry.data)),
            Change::Truncate => self.edit(inode, Edit::Length(entry.offset)),
            Change::Link => {
                let (_, to) = two(&entry.name);
                let file = self.file(inode);
                self.rename(None, Some((to, Node::File(file))));
            }
            Change::Rename => {
                let (from, to) = two(&entry.name);
                assert_eq!(from.parent(), to.parent(), "moved to another directory");
                let file = self.file(inode);
                self.rename(Some(from), Some((to, Node::File(file))));
            }
            Change::Unlink => self.rename(Some(entry.name.into()), None),
            Change::Sync => self.sync(inode, syncs),
        }
    }

    fn sync(&mut self, inode: u64, syncs: Syncs) {
        match self.inodes.get(&inode).cloned() {
            Some(Inode::File(file)) if syncs != Syncs::NotOfFiles => {
                let Content { durable, pending } = &mut self.files[file];
                for edit in pending.drain(..) {
                    edit.apply(durable);
                }
            }
            Some(Inode::File(_)) => {}
            directory => {
                // The root is the one directory that was there before the record began.
                let path = match directory {
                    Some(Inode::Directory(path)) => path,
                    _ => self.root.clone(),
                };
                if syncs == Syncs::NotOfDirectories {
                    return;
                }
                let of_it = |change: &mut NameChange| change.directory == path;
                for change in self.pending.extract_if(.., of_it) {
                    change.apply(&mut self.names);
                }
            }
        }
    }

    fn file(&self, inode: u64) -> usize {
        match self.inodes[&inode] {
            Inode::File(file) => file,
            Inode::Directory(ref path) => panic!("{path:?} is a directory"),
        }
    }

    fn edit(&mut self, inode: u64, edit: Edit) {
        let file = self.file(inode);
        self.files[file].pending.push(edit);
    }

    fn rename(&mut self, from: Option<PathBuf>, to: Option<(PathBuf, Node)>) {
        let path = from.as_ref().or(to.as_ref().map(|(path, _)| path)).unwrap();
        let directory = path.parent().unwrap().to_owned();
        self.pending.push(NameChange {
            directory,
            from,
            to,
        });
    }

    /// Cuts the power, and puts what is left below this folder.
    pub(super) fn cut(&self, left: Left, rng: &mut Rng, folder: &Path) {
        let mut names = self.names.clone();
        let luck = Luck::draw(left, rng);
        for change in &self.pending {
            if luck.holds(rng) {
                change.apply(&mut names);
            }
        }
        std::fs::create_dir_all(folder).unwrap();
        // Parents come before what is in them.
        for (path, node) in names {
            let to = folder.join(path.strip_prefix(&self.root).unwrap());
            if !to.parent().unwrap().is_dir() {
                continue;
            }
            match node {
                Node::Directory => std::fs::create_dir(&to).unwrap(),
                Node::File(file) => self.files[file].cut(left, rng, &to),
            }
        }
    }
}

impl Content {
    fn cut(&self, left: Left, rng: &mut Rng, path: &Path) {
        let file = File::create(path).unwrap();
        let luck = Luck::draw(left, rng);
        if self.pending.is_empty() {
            file.write_all_at(&self.durable, 0).unwrap();
            return;
        }
        let mut content = self.durable.clone();
        for edit in &self.pending {
            match edit {
                Edit::Write(offset, data) if left == Left::Chance && rng.percent(20) => {
                    Edit::tear(&mut content, *offset, data, rng);
                }
                edit if luck.holds(rng) => edit.apply(&mut content),
                _ => {}
            }
        }
        file.write_all_at(&content, 0).unwrap();
    }
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                content.resize(content.len().max(to), 0);
                content[from..to].copy_from_slice(data);
            }
            Self::Length(length) => content.resize(*length as usize, 0),
        }
    }

    /// Some sectors of a write. The file grows, whether its last sector is there or not.
    fn tear(content: &mut Vec<u8>, offset: u64, data: &[u8], rng: &mut Rng) {
        let end = offset + data.len() as u64;
        content.resize(content.len().max(end as usize), 0);
        let mut at = offset;
        while at < end {
            let next = end.min((at / SECTOR + 1) * SECTOR);
            if rng.percent(50) {
                let from = (at - offset) as usize..(next - offset) as usize;
                content[at as usize..next as usize].copy_from_slice(&data[from]);
            }
            at = next;
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        let moved = match &self.from {
            Some(from) => names.remove(from).is_some(),
            None => true,
        };
        if let Some((to, node)) = &self.to
            && moved
        {
            names.insert(to.clone(), *node);
        }
    }
}

/// How much of what was not synced is there: now nearly all, now nearly nothing.
struct Luck(u64);

impl Luck {
    fn draw(left: Left, rng: &mut Rng) -> Self {
        match left {
            Left::Chance => Self([0, 10, 50, 90, 100][rng.below(5) as usize]),
            Left::Nothing => Self(0),
        }
    }

    fn holds(&self, rng: &mut Rng) -> bool {
        rng.percent(self.0)
    }
}

fn two(names: &str) -> (PathBuf, PathBuf) {
    let (from, to) = names.split_once('\n').unwrap();
    (from.into(), to.into())
}
