//! What is noted beside the pages: the ids that a reading listed, the records that it found gone, and
//! those that the provider refuses to read.

use std::collections::HashSet;

use headrace_model::record::{Observation, Version};
use headrace_model::{RecordId, Timestamp};
use headrace_store::CursorWrite;
use serde::{Deserialize, Serialize};

use super::context::Watched;
use super::failure::Failure;
use super::pages::Fetched;
use super::settle;

/// Bytes that are kept of an id. Two that share them would only hide a delete.
pub(super) const KEPT: usize = 8;

/// A kind of note.
#[derive(Clone, Copy)]
pub(super) enum Note {
    /// Ids that were listed.
    Listed,
    /// Records that are gone, and when that was asked.
    Gone,
    /// Records that the provider refuses to read by id, one each.
    Refused,
}

/// A record that the provider refuses to read, and when it said so last.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) id: String,
    pub(super) at: Timestamp,
}

const ALL: [Note; 3] = [Note::Listed, Note::Gone, Note::Refused];

impl Note {
    /// What the names of a collection's notes begin with.
    fn beneath(self, collection: &str) -> String {
        match self {
            Self::Listed => format!("/listed/{collection}/"),
            Self::Gone => format!("/gone/{collection}/"),
            Self::Refused => format!("/refused/{collection}/"),
        }
    }
}

impl Watched {
    pub(super) fn note(&self, kind: Note, number: u32, body: Vec<u8>) -> CursorWrite {
        CursorWrite {
            collection: format!("{}{number}", kind.beneath(&self.id)).into(),
            body,
        }
    }

    /// The note of what a step listed: the ids, and the parents whose lists are whole.
    pub(super) fn note_of_listed(&self, number: u32, fetched: &Fetched) -> CursorWrite {
        let record = |id| RecordId::of(self.context.id, &self.id, id);
        let ids = fetched.rows.iter().map(|(row, _)| record(&row.upstream_id));
        let parents = fetched
            .whole
            .iter()
            .map(|parent| self.parent_record(parent));
        let body = ids.chain(parents).flat_map(kept).collect();
        self.note(Note::Listed, number, body)
    }

    /// What stands for a parent whose list is whole. No record has it, whose collection has another name.
    pub(super) fn parent_record(&self, parent: &str) -> RecordId {
        RecordId::of(self.context.id, &format!("above/{}", self.id), parent)
    }

    /// The same for sums.
    pub(super) fn mark(&self, parent: &str) -> u64 {
        u64::from_le_bytes(kept(self.parent_record(parent)))
    }

    /// The ids in the first so many notes: any further ones are of a reading that was given up.
    pub(super) async fn seen(&self, count: u32) -> Result<HashSet<[u8; KEPT]>, Failure> {
        let beneath = Note::Listed.beneath(&self.id);
        let mut seen = HashSet::new();
        for (name, body) in self.notes(&beneath).await? {
            let number: Option<u32> = name.get(beneath.len()..).and_then(|n| n.parse().ok());
            if number.is_some_and(|number| number < count) {
                seen.extend(body.as_chunks::<KEPT>().0.iter().copied());
            }
        }
        Ok(seen)
    }

    /// The records that this note says are gone.
    pub(super) async fn gone(&self, number: u32) -> Result<Vec<Observation>, Failure> {
        let name = format!("{}{number}", Note::Gone.beneath(&self.id));
        let found = self.notes(&name).await?;
        let body = found.into_iter().find(|(found, _)| *found == name);
        let (_, body) = body.ok_or(Failure::NoNote { name })?;
        let gone: Vec<(String, Timestamp)> = serde_json::from_slice(&body)?;
        let gone = gone.into_iter();
        Ok(gone.map(|(id, at)| settle::gone_read(id, at)).collect())
    }

    /// The note of a record that the provider refuses to read.
    pub(super) fn note_of_refused(&self, refused: &Refused) -> Result<CursorWrite, Failure> {
        let body = serde_json::to_vec(refused)?;
        let name = self.forgotten_refused(&refused.id);
        Ok(CursorWrite { body, ..name })
    }

    /// The write that removes that note.
    pub(super) fn forgotten_refused(&self, id: &str) -> CursorWrite {
        CursorWrite {
            collection: self.note_name(id).into(),
            body: Vec::new(),
        }
    }

    /// Its name. They are read in this order.
    pub(super) fn note_name(&self, id: &str) -> String {
        let record = RecordId::of(self.context.id, &self.id, id);
        format!("{}{record}", Note::Refused.beneath(&self.id))
    }

    /// The records that the provider refuses to read.
    pub(super) async fn all_refused(&self) -> Result<Vec<Refused>, Failure> {
        let notes = self.notes(&Note::Refused.beneath(&self.id)).await?;
        let refused = notes.iter().map(|(_, body)| serde_json::from_slice(body));
        Ok(refused.collect::<Result<_, _>>()?)
    }

    /// The writes that remove the notes of a reading, when it begins anew or ends.
    pub(super) fn forgotten_notes(&self) -> impl Iterator<Item = CursorWrite> {
        forgotten(&self.id, &[Note::Listed, Note::Gone])
    }

    /// The write that removes the notes of what the provider refuses to read.
    pub(super) fn forgotten_refusals(&self) -> impl Iterator<Item = CursorWrite> {
        forgotten(&self.id, &[Note::Refused])
    }

    async fn notes(&self, beneath: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let store = &self.context.parts.store;
        Ok(store.notes(self.context.id, beneath).await?)
    }
}

/// The writes that remove all notes of a collection.
pub(super) fn all_forgotten(collection: &str) -> impl Iterator<Item = CursorWrite> {
    forgotten(collection, &ALL)
}

fn forgotten(collection: &str, kinds: &[Note]) -> impl Iterator<Item = CursorWrite> {
    kinds.iter().map(move |kind| CursorWrite {
        collection: kind.beneath(collection).into(),
        body: Vec::new(),
    })
}

pub(super) fn kept(record: RecordId) -> [u8; KEPT] {
    let bytes = record.to_bytes();
    std::array::from_fn(|index| bytes.get(index).copied().unwrap_or_default())
}

/// The body of a note of records that are gone; `None` where there are none.
pub(super) fn of_gone(gone: &[Observation]) -> Result<Option<Vec<u8>>, Failure> {
    if gone.is_empty() {
        return Ok(None);
    }
    let at = |seen: &Observation| match seen.version {
        Version::Seen(at) => at,
        Version::Own(_) => Timestamp::default(),
    };
    let told: Vec<(&str, Timestamp)> = gone
        .iter()
        .map(|seen| (seen.upstream_id.as_str(), at(seen)))
        .collect();
    Ok(Some(serde_json::to_vec(&told)?))
}
