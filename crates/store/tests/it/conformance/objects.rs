//! Objects: unique names, revisions, all or none.

use headrace_model::OrgId;
use headrace_store::{Kind, Object, Store, StoreError, Write};
use uuid::Uuid;

use super::Backend;
use super::world::*;

fn object(id: u128, names: &[&str]) -> Object {
    Object {
        kind: Kind::Stream,
        id: Uuid::from_u128(id),
        org: ORG,
        revision: 0,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        body: format!("{{\"id\":{id}}}").into_bytes(),
        created_at: at(10),
        updated_at: at(10),
    }
}

async fn put(store: &dyn Store, object: Object) -> headrace_store::Result<()> {
    store.write(vec![Write::Put(object)]).await
}

async fn get(store: &dyn Store, id: u128) -> Option<Object> {
    let id = Uuid::from_u128(id);
    store.object(Kind::Stream, id).await.unwrap()
}

async fn named(store: &dyn Store, name: &str) -> Option<Uuid> {
    let found = store.object_named(Kind::Stream, ORG, name).await.unwrap();
    found.map(|object| object.id)
}

pub(crate) async fn an_object_reads_back(backend: &impl Backend) {
    let store = backend.open().await;
    let written = object(7, &["z", "a"]);
    put(&*store, written.clone()).await.unwrap();
    let first = Object {
        revision: 1,
        ..written
    };
    assert_eq!(get(&*store, 7).await, Some(first.clone()));
    assert_eq!(named(&*store, "a").await, Some(first.id));
    assert_eq!(get(&*store, 8).await, None);

    let changed = Object {
        names: vec!["b".to_owned()],
        body: b"{}".to_vec(),
        created_at: at(99),
        updated_at: at(20),
        ..first
    };
    put(&*store, changed.clone()).await.unwrap();
    let second = Object {
        revision: 2,
        created_at: at(10),
        ..changed
    };
    assert_eq!(get(&*store, 7).await, Some(second));
    assert_eq!(named(&*store, "a").await, None);
}

pub(crate) async fn names_are_unique_within_kind_and_organisation(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, object(1, &["main"])).await.unwrap();
    let taken = put(&*store, object(2, &["main"])).await.unwrap_err();
    assert!(
        matches!(&taken, StoreError::NameTaken { kind: Kind::Stream, name } if name == "main"),
        "{taken}"
    );
    assert_eq!(get(&*store, 2).await, None);

    let other_kind = Object {
        kind: Kind::Consumer,
        ..object(3, &["main"])
    };
    put(&*store, other_kind).await.unwrap();
    let other_org = Object {
        org: OrgId(Uuid::from_u128(5)),
        ..object(4, &["main"])
    };
    put(&*store, other_org).await.unwrap();

    // Its own name does not stand in an object's way, and a removed object's name is free.
    let again = Object {
        revision: 1,
        ..object(1, &["main", "main"])
    };
    put(&*store, again).await.unwrap();
    let delete = Write::Delete {
        kind: Kind::Stream,
        id: Uuid::from_u128(1),
        revision: 2,
    };
    store
        .write(vec![delete, Write::Put(object(2, &["main"]))])
        .await
        .unwrap();
    assert_eq!(named(&*store, "main").await, Some(Uuid::from_u128(2)));
}

pub(crate) async fn a_stale_revision_is_refused(backend: &impl Backend) {
    let store = backend.open().await;
    let changed = |result: headrace_store::Result<()>| {
        matches!(result, Err(StoreError::Changed { kind: Kind::Stream }))
    };
    put(&*store, object(1, &[])).await.unwrap();
    assert!(changed(put(&*store, object(1, &[])).await), "it exists");
    let missing = Object {
        revision: 1,
        ..object(2, &[])
    };
    assert!(changed(put(&*store, missing).await), "it does not exist");
    let stale = Object {
        revision: 2,
        ..object(1, &[])
    };
    assert!(changed(put(&*store, stale).await), "another revision");
    let delete = |revision| Write::Delete {
        kind: Kind::Stream,
        id: Uuid::from_u128(1),
        revision,
    };
    assert!(changed(store.write(vec![delete(2)]).await));
    store.write(vec![delete(1)]).await.unwrap();
    assert!(changed(store.write(vec![delete(1)]).await));
}

pub(crate) async fn writes_are_all_or_none(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, object(1, &["main"])).await.unwrap();
    let writes = vec![
        Write::Put(object(2, &["other"])),
        Write::Put(object(3, &["main"])),
    ];
    assert!(store.write(writes).await.is_err());
    assert_eq!(get(&*store, 2).await, None);
    assert_eq!(named(&*store, "other").await, None);
}

pub(crate) async fn pages_are_in_the_order_of_ids(backend: &impl Backend) {
    let store = backend.open().await;
    let other = OrgId(Uuid::from_u128(5));
    for id in [5, 1, 4, 2, 3] {
        let org = if id == 4 { other } else { ORG };
        let object = Object {
            org,
            ..object(id, &[&format!("name {id}")])
        };
        put(&*store, object).await.unwrap();
    }
    let page = async |org, after: Option<u128>, limit| -> Vec<u128> {
        let after = after.map(Uuid::from_u128);
        let page = store
            .objects(Kind::Stream, org, after, limit)
            .await
            .unwrap();
        for object in &page {
            assert_eq!(object.names, [format!("name {}", object.id.as_u128())]);
        }
        page.iter().map(|object| object.id.as_u128()).collect()
    };
    assert_eq!(page(None, None, 9).await, [1, 2, 3, 4, 5]);
    assert_eq!(page(Some(ORG), None, 9).await, [1, 2, 3, 5]);
    assert_eq!(page(Some(ORG), Some(1), 2).await, [2, 3]);
    assert_eq!(page(Some(other), Some(4), 2).await, []);
}
