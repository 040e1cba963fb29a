//! Tells a write-ahead log that a power cut tore from one that is damaged.
//!
//! `SQLite` reads the log up to the first frame whose checksum is wrong, and takes what follows for the
//! rest of a transaction that was cut off. If it is damage, transactions that were answered are lost
//! without a word. So the log is looked through before `SQLite` does.
//!
//! A commit syncs the log before anything is written behind it. So when a transaction was begun
//! behind a commit, everything up to that commit is on disk, and a wrong checksum before it is
//! damage: no power cut leaves that. Each frame's checksum goes on from its predecessor's, which
//! tells what was written on top of what:
//!
//! * A frame is *linked* when its checksum follows from the one that its predecessor carries.
//! * A linked frame proves that its predecessor's checksum is the one that was written; and all of the
//!   predecessor's header, where that lies in one sector and so was written whole or not at all.
//! * Behind the first wrong frame, a commit with a linked frame on top of it is damage.
//!
//! Frames of earlier rounds of the log have other salts and count for nothing. What cannot be told
//! from a torn write is damage within the very last transaction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use super::number;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const SECTOR: u64 = 512;
/// The file's first number; the lowest bit tells the byte order of checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

type Checksum = (u32, u32);

/// What is in a log.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct Wal {
    /// By the number of a page, the offset of its content as of the last transaction that was completed.
    pub(super) pages: HashMap<u32, u64>,
    /// The offset of damage.
    pub(in crate::sqlite) damaged_at: Option<u64>,
}

/// Looks through a log of a database with pages of this size.
pub(in crate::sqlite) fn read(log: &Path, page_size: u32) -> io::Result<Wal> {
    let mut wal = Wal::default();
    let file = match File::open(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(wal),
        file => file?,
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    if !fill(&mut file, &mut header)? {
        return Ok(wal);
    }
    let mut reader = Reader::new(&header, page_size);
    let mut frame = vec![0; FRAME_HEADER + page_size as usize];
    let mut begun = Vec::new();
    while fill(&mut file, &mut frame)? {
        let at = reader.offset;
        if reader.shows_damage(&frame) {
            wal.damaged_at = reader.broken_at;
            return Ok(wal);
        }
        if reader.broken_at.is_none() {
            begun.push((number(&frame, 0), at + FRAME_HEADER as u64));
        }
        if reader.broken_at.is_none() && reader.previous.is_commit {
            wal.pages.extend(begun.drain(..));
        }
    }
    Ok(wal)
}

/// What is known of the log up to a frame.
struct Reader {
    is_big_endian: bool,
    /// `None` where the log's header cannot be trusted: frames are compared with their neighbours.
    salts: Option<[u8; 8]>,
    /// Where the first wrong checksum is.
    broken_at: Option<u64>,
    offset: u64,
    previous: Frame,
}

/// What a frame's header says.
#[derive(Clone, Copy)]
struct Frame {
    salts: [u8; 8],
    checksum: Checksum,
    is_commit: bool,
    /// What it says was written, if its checksum was.
    is_whole: bool,
}

impl Reader {
    fn new(header: &[u8; HEADER], page_size: u32) -> Self {
        let magic = number(header, 0);
        let is_big_endian = match magic & !1 == MAGIC {
            true => magic & 1 == 1,
            false => cfg!(target_endian = "big"),
        };
        let stored = (number(header, 24), number(header, 28));
        let computed = checksum(is_big_endian, (0, 0), header.get(..24).unwrap_or_default());
        let is_good = magic & !1 == MAGIC
            && number(header, 4) == VERSION
            && number(header, 8) == page_size
            && stored == computed;
        let salts = salts(header, 16);
        Self {
            is_big_endian,
            salts: is_good.then_some(salts),
            // A header is in one sector and synced before there are frames: a power cut tears none.
            broken_at: (!is_good).then_some(0),
            offset: HEADER as u64,
            previous: Frame {
                salts,
                checksum: stored,
                is_commit: false,
                is_whole: false,
            },
        }
    }

    /// Takes the next frame. Whether it proves that something before it is damaged.
    fn shows_damage(&mut self, bytes: &[u8]) -> bool {
        let at = self.offset;
        self.offset += bytes.len() as u64;
        let salts = salts(bytes, 8);
        let (numbers, page) = (
            bytes.get(..8).unwrap_or_default(),
            bytes.get(FRAME_HEADER..).unwrap_or_default(),
        );
        let stored = (number(bytes, 16), number(bytes, 20));
        let is_current = self.salts.unwrap_or(self.previous.salts) == salts;
        let is_linked = is_current && {
            let before = checksum(self.is_big_endian, self.previous.checksum, numbers);
            checksum(self.is_big_endian, before, page) == stored
        };
        let previous = self.previous;
        let frame = Frame {
            salts,
            checksum: stored,
            is_commit: is_current && number(bytes, 4) != 0,
            is_whole: is_linked || at % SECTOR <= SECTOR - FRAME_HEADER as u64,
        };
        self.previous = frame;
        if self.broken_at.is_none() && !is_linked {
            self.broken_at = Some(at);
            return false;
        }
        if self.broken_at.is_none() || !is_linked {
            return false;
        }
        let is_on_a_commit = previous.is_commit && previous.is_whole;
        let is_without_header = self.salts.is_none() && frame.is_commit;
        is_on_a_commit || is_without_header
    }
}

/// Reads all of it; false at the end of the file.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn salts(bytes: &[u8], at: usize) -> [u8; 8] {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.copied().unwrap_or_default()
}

/// `SQLite`'s checksum of these bytes, going on from another one.
fn checksum(is_big_endian: bool, (mut one, mut two): Checksum, bytes: &[u8]) -> Checksum {
    let word = match is_big_endian {
        true => u32::from_be_bytes,
        false => u32::from_le_bytes,
    };
    let (words, _) = bytes.as_chunks();
    for &[a, b, c, d, e, f, g, h] in words {
        one = one.wrapping_add(word([a, b, c, d])).wrapping_add(two);
        two = two.wrapping_add(word([e, f, g, h])).wrapping_add(one);
    }
    (one, two)
}
