//! Typed access to the store's configuration objects.

use headrace_model::{OrgId, Timestamp, config};
use headrace_store::{Kind, Object, Store, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::Error;

/// A kind of configuration object.
pub trait Entity: Serialize + DeserializeOwned + Send + Sync {
    /// Its kind in the store.
    const KIND: Kind;
    /// What people call it, such as `stream`.
    const WHAT: &'static str;

    /// The names it owns, unique in its organisation.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Entity for config::Org {
    const KIND: Kind = Kind::Org;
    const WHAT: &'static str = "organisation";
    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}

impl Entity for config::Stream {
    const KIND: Kind = Kind::Stream;
    const WHAT: &'static str = "stream";
    fn names(&self) -> Vec<String> {
        vec![self.slug.clone()]
    }
}

impl Entity for config::Credential {
    const KIND: Kind = Kind::Credential;
    const WHAT: &'static str = "credential";
    fn names(&self) -> Vec<String> {
        // One credential per upstream account: importing it again updates it.
        let account = self.account.as_ref();
        account
            .map(|account| account_name(&self.kind, account))
            .into_iter()
            .collect()
    }
}

impl Entity for config::Sync {
    const KIND: Kind = Kind::Sync;
    const WHAT: &'static str = "sync";
    fn names(&self) -> Vec<String> {
        self.slug.clone().into_iter().collect()
    }
}

impl Entity for config::HttpConsumer {
    const KIND: Kind = Kind::Consumer;
    const WHAT: &'static str = "consumer";
    fn names(&self) -> Vec<String> {
        self.slug.clone().into_iter().collect()
    }
}

/// The unique name of the credential for an account.
pub(crate) fn account_name(kind: &str, account: &config::Account) -> String {
    let mode = match account.live {
        Some(true) => "live",
        Some(false) => "test",
        None => "any",
    };
    format!("{kind} {mode} {}", account.id)
}

/// An object with what the store knows of it.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// Its id.
    pub id: Uuid,
    /// Its organisation.
    pub org: OrgId,
    /// The revision that was read.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// The object.
    pub value: T,
}

impl<T: Entity> Stored<T> {
    /// An object that does not exist yet.
    pub fn new(id: Uuid, org: OrgId, now: Timestamp, value: T) -> Self {
        Self {
            id,
            org,
            revision: 0,
            created_at: now,
            updated_at: now,
            value,
        }
    }

    fn read(object: Object) -> Result<Self, Error> {
        let Object {
            kind: _,
            id,
            org,
            revision,
            names: _,
            body,
            created_at,
            updated_at,
        } = object;
        let value = serde_json::from_slice(&body).map_err(|source| Error::Stored {
            what: T::WHAT,
            source,
        })?;
        Ok(Self {
            id,
            org,
            revision,
            created_at,
            updated_at,
            value,
        })
    }

    /// The write that stores it as it is now.
    pub fn put(&self) -> Result<Write, Error> {
        let body = serde_json::to_vec(&self.value).map_err(|source| Error::Stored {
            what: T::WHAT,
            source,
        })?;
        Ok(Write::Put(Object {
            kind: T::KIND,
            id: self.id,
            org: self.org,
            revision: self.revision,
            names: self.value.names(),
            body,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }))
    }

    /// The write that removes it.
    pub fn delete(&self) -> Write {
        Write::Delete {
            kind: T::KIND,
            id: self.id,
            revision: self.revision,
        }
    }

    /// Stores it, as changed `now`.
    pub async fn save(&mut self, store: &dyn Store, now: Timestamp) -> Result<(), Error> {
        self.save_with(Vec::new(), store, now).await
    }

    /// Stores it, as changed `now`, after other writes: all or none.
    pub(crate) async fn save_with(
        &mut self,
        mut writes: Vec<Write>,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), Error> {
        writes.push(self.as_changed(now)?);
        store.write(writes).await?;
        self.stored();
        Ok(())
    }

    /// The write that stores it, as changed `now`.
    pub(crate) fn as_changed(&mut self, now: Timestamp) -> Result<Write, Error> {
        self.updated_at = now.max(self.updated_at);
        self.put()
    }

    /// That was written.
    pub(crate) fn stored(&mut self) {
        self.revision += 1;
    }
}

/// The object with this id, if the organisation has it.
pub(crate) async fn load<T: Entity>(
    store: &dyn Store,
    org: OrgId,
    id: Uuid,
) -> Result<Stored<T>, Error> {
    find(store, org, id)
        .await?
        .ok_or_else(|| Error::not_found(T::WHAT, id))
}

/// The object with this id, if the organisation has it.
pub(crate) async fn find<T: Entity>(
    store: &dyn Store,
    org: OrgId,
    id: Uuid,
) -> Result<Option<Stored<T>>, Error> {
    let object = store.object(T::KIND, id).await?;
    object
        .filter(|object| object.org == org)
        .map(Stored::read)
        .transpose()
}

/// The object with this id or unique name.
pub(crate) async fn load_named<T: Entity>(
    store: &dyn Store,
    org: OrgId,
    name: &str,
) -> Result<Stored<T>, Error> {
    if let Some(id) = headrace_model::ids::parse_uuid(name) {
        return load(store, org, id).await;
    }
    match store.object_named(T::KIND, org, name).await? {
        Some(object) => Stored::read(object),
        None => Err(Error::not_found(T::WHAT, name)),
    }
}

/// The object whatever its organisation: for the program's own use, never for a caller's id.
pub(crate) async fn load_any<T: Entity>(
    store: &dyn Store,
    id: Uuid,
) -> Result<Option<Stored<T>>, Error> {
    store
        .object(T::KIND, id)
        .await?
        .map(Stored::read)
        .transpose()
}

/// The ids of every object of the kind, whether or not it can be read.
pub(crate) async fn ids(store: &dyn Store, kind: Kind) -> Result<Vec<Uuid>, Error> {
    const PAGE: usize = 1_000;
    let mut found = Vec::new();
    loop {
        let page = store
            .objects(kind, None, found.last().copied(), PAGE)
            .await?;
        found.extend(page.iter().map(|object| object.id));
        if page.len() < PAGE {
            return Ok(found);
        }
    }
}

/// Every object of the kind, of one organisation or of all, in the order of their ids.
pub(crate) async fn all<T: Entity>(
    store: &dyn Store,
    org: Option<OrgId>,
) -> Result<Vec<Stored<T>>, Error> {
    const PAGE: usize = 1_000;
    let mut found: Vec<Stored<T>> = Vec::new();
    loop {
        let after = found.last().map(|last| last.id);
        let page = store.objects(T::KIND, org, after, PAGE).await?;
        let full = page.len() == PAGE;
        for object in page {
            found.push(Stored::read(object)?);
        }
        if !full {
            return Ok(found);
        }
    }
}
