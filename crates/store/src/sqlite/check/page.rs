//! What `SQLite` keeps in a page of a tree, and what cannot be in one.
//!
//! The format is in <https://www.sqlite.org/fileformat2.html#b_tree_pages>. The content of cells is not
//! looked at: only that they, what is free between them and the page's header make up the page, and that
//! they are in order, as far as a cell says so without its record.

use super::number;

/// How a tree is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By rowid.
    Table,
    /// By the content.
    Index,
}

/// The rowids that may be in a page: above the first, up to the second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    after: Option<i64>,
    upto: Option<i64>,
}

/// What is in a page that was looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) kind: Kind,
    pub(super) is_empty: bool,
    /// In order.
    pub(super) children: Vec<Child>,
}

/// A page below one that was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) page: u32,
    pub(super) within: Bounds,
}

/// What a page's header says.
struct Header {
    kind: Kind,
    is_leaf: bool,
    cells: usize,
    /// Where the first pointer to a cell is.
    pointers: usize,
    /// Where the part begins that cells and free blocks share.
    content: usize,
    free_block: usize,
    fragments: usize,
}

/// Whether a page of this kind has no others below it.
pub(super) fn is_leaf(kind: u8) -> bool {
    kind_of(kind).is_some_and(|(_, is_leaf)| is_leaf)
}

/// Where the cells of a page are that was looked at.
pub(super) fn cells(page: &[u8], start: usize) -> impl Iterator<Item = usize> {
    let header = Header::read(page, start);
    let pointers = header.map_or(0..0, |header| {
        header.pointers..header.pointers + 2 * header.cells
    });
    pointers.step_by(2).map(|at| short(page, at))
}

/// Looks at a page that begins after `start` bytes, and of which `page` is the part that `SQLite` uses.
/// Answers what is in it, or what is wrong.
pub(super) fn look(page: &[u8], start: usize, within: Bounds) -> Result<Looked, &'static str> {
    let header = Header::read(page, start).ok_or("it is no page of a tree")?;
    if header.pointers + 2 * header.cells > header.content || header.content > page.len() {
        return Err("its cells have no room");
    }
    let mut taken = free(page, &header)?;
    let mut children = Vec::new();
    let mut last = within.after;
    for at in cells(page, start) {
        let cell = Cell::read(page, at, &header)
            .filter(|cell| at >= header.content && at + cell.size <= page.len())
            .ok_or("a cell is outside of it")?;
        taken.push((at, cell.size));
        let before = last;
        if header.kind == Kind::Table {
            let is_behind = last.is_none_or(|last| last < cell.key);
            if !is_behind || within.upto.is_some_and(|upto| upto < cell.key) {
                return Err("its cells are not in order");
            }
            last = Some(cell.key);
        }
        if !header.is_leaf {
            let within = Bounds {
                after: before,
                upto: last,
            };
            children.push(Child {
                page: number(page, at),
                within,
            });
        }
    }
    if !makes_up(&mut taken, header.content, page.len(), header.fragments) {
        return Err("its cells overlap, or something is missing between them");
    }
    if !header.is_leaf {
        let within = Bounds {
            after: last,
            upto: within.upto,
        };
        children.push(Child {
            page: number(page, start + 8),
            within,
        });
    }
    Ok(Looked {
        kind: header.kind,
        is_empty: header.cells == 0,
        children,
    })
}

fn kind_of(kind: u8) -> Option<(Kind, bool)> {
    match kind {
        2 => Some((Kind::Index, false)),
        5 => Some((Kind::Table, false)),
        10 => Some((Kind::Index, true)),
        13 => Some((Kind::Table, true)),
        _ => None,
    }
}

impl Header {
    fn read(page: &[u8], start: usize) -> Option<Self> {
        let (kind, is_leaf) = kind_of(*page.get(start)?)?;
        let content = match short(page, start + 5) {
            0 => 65_536,
            content => content,
        };
        Some(Self {
            kind,
            is_leaf,
            cells: short(page, start + 3),
            pointers: start + if is_leaf { 8 } else { 12 },
            content,
            free_block: short(page, start + 1),
            fragments: usize::from(*page.get(start + 7)?),
        })
    }
}

/// The free blocks: where each is, and its size.
fn free(page: &[u8], header: &Header) -> Result<Vec<(usize, usize)>, &'static str> {
    let (mut at, mut free, mut behind) = (header.free_block, Vec::new(), header.content);
    while at != 0 {
        let size = short(page, at + 2);
        if at < behind || size < 4 || at + size > page.len() {
            return Err("what is free in it is outside of it");
        }
        free.push((at, size));
        // What is less than a block apart belongs to one of them.
        behind = at + size + 4;
        at = short(page, at);
    }
    Ok(free)
}

/// Whether these parts lie side by side from here to there, but for so many bytes.
fn makes_up(parts: &mut [(usize, usize)], from: usize, to: usize, but: usize) -> bool {
    parts.sort_unstable();
    let mut at = from;
    let mut gaps = 0;
    for (part, size) in parts {
        if *part < at {
            return false;
        }
        gaps += *part - at;
        at = *part + *size;
    }
    at <= to && gaps + (to - at) == but
}

struct Cell {
    /// The rowid, in a table.
    key: i64,
    /// What it takes of the page.
    size: usize,
}

impl Cell {
    fn read(page: &[u8], at: usize, header: &Header) -> Option<Self> {
        let start = if header.is_leaf { at } else { at + 4 };
        let (first, behind) = varint(page, start)?;
        if header.kind == Kind::Table && !header.is_leaf {
            let size = behind - at;
            return Some(Self {
                key: first.cast_signed(),
                size,
            });
        }
        let (key, behind) = match header.kind {
            Kind::Table => varint(page, behind)?,
            Kind::Index => (0, behind),
        };
        let size = behind - at + local(page.len(), usize::try_from(first).ok()?, header);
        // A free block takes its place one day.
        Some(Self {
            key: key.cast_signed(),
            size: size.max(4),
        })
    }
}

/// How many bytes of a record of this size are in the page, with the number of the page where it goes on.
fn local(usable: usize, record: usize, header: &Header) -> usize {
    let part = |of_255: usize| ((usable - 12) * of_255 / 255).saturating_sub(23);
    let most = match header.kind {
        Kind::Table => usable - 35,
        Kind::Index => part(64),
    };
    if record <= most {
        return record;
    }
    let least = part(32);
    let rest = least + (record - least) % (usable - 4);
    4 + if rest <= most { rest } else { least }
}

fn short(page: &[u8], at: usize) -> usize {
    let bytes = page.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)))
}

/// A number of one to nine bytes, and what is behind it.
pub(super) fn varint(page: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (place, byte) in page.get(at..)?.iter().take(9).enumerate() {
        if place == 8 {
            return Some((value << 8 | u64::from(*byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + place + 1));
        }
    }
    None
}
