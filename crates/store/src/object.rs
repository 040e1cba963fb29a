//! Configuration objects: a kind, an id, an organisation, unique names and a JSON body.

use headrace_model::{OrgId, Timestamp};
use uuid::Uuid;

/// The kinds of object. The numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// An organisation.
    Org = 1,
    /// A stream.
    Stream = 2,
    /// A credential; its properties are sealed.
    Credential = 3,
    /// A sync.
    Sync = 4,
    /// A consumer.
    Consumer = 5,
    /// An API token; its value is a hash.
    Token = 6,
    /// A note of what is still to be done after a removal.
    Removal = 7,
    /// What the time was.
    Time = 8,
}

/// An object as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
    /// The organisation it belongs to.
    pub org: OrgId,
    /// Grows with every write; 1 at first.
    pub revision: u64,
    /// Names it owns, unique among objects of its kind in its organisation.
    pub names: Vec<String>,
    /// The caller's JSON.
    pub body: Vec<u8>,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// One write of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Writes an object. Its `revision` is the one that was read, 0 for an object that must not exist
    /// yet; the stored one is one higher. `created_at` of an existing object is kept.
    Put(Object),
    /// Removes an object, if it still has this revision.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Uuid,
        /// The revision that was read.
        revision: u64,
    },
}
