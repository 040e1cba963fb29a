//! The Stripe definition, judged by Stripe's own description of its API: every request that it makes is one that the
//! document knows, with every parameter, and every answer of the shape that the document gives is read as it is meant.
//!
//! The document is of an API version some months before the one that is read. What is newer it cannot judge.

mod births;
mod complete;
mod document;
mod server;

use std::collections::BTreeMap;

use headrace_engine::Providers;
use headrace_model::Timestamp;
use headrace_model::provider::{
    Above, Answer, Collection, Definition, Listing, One, PageCursor, Request,
};
use serde_json::{Value, json};

use super::claims;
use complete::NEWER;
use server::Server;

fn stripe() -> Definition {
    let providers = Providers::load(None, &BTreeMap::new()).unwrap();
    providers.get("stripe").unwrap().definition.clone()
}

#[tokio::test]
async fn every_request_is_known_to_stripes_openapi_and_every_answer_is_read() {
    let (server, stripe) = (Server::start().await, stripe());
    for check in &stripe.checks {
        server.ask(&check.request).await;
    }
    of_the_feed(&server, &stripe).await;
    let mut judged = Vec::new();
    let is_known = |collection: &&Collection| !NEWER.contains(&collection.name.as_str());
    for collection in stripe.collections.iter().filter(is_known) {
        of_lists(&server, collection).await;
        of_one(&server, collection).await;
        of_lists_inside(&server, collection).await;
        judged.push(collection.name.as_str());
    }
    claims::are_exactly("stripe", "openapi", &judged);
}

async fn of_the_feed(server: &Server, stripe: &Definition) {
    let feed = stripe.feed("events").unwrap();
    let (since, until) = (Timestamp::from_seconds(1), Some(Timestamp::from_seconds(2)));
    let after = after("evt_1");
    let resumed = feed.resume(&after).unwrap();
    for cursor in [None, Some(after), Some(resumed)] {
        let body = server.ask(&feed.list(since, until, cursor.as_ref())).await;
        let page = feed.parse_page(cursor.as_ref(), &answer(&body.to_string()));
        let page = page.unwrap();
        assert_eq!(page.events.len(), 1);
    }
}

/// The pages of all its lists: the first, the one after a record, and the one at a time.
async fn of_lists(server: &Server, collection: &Collection) {
    let created = Some(Timestamp::from_seconds(1)).filter(|_| collection.filters_created());
    for first in lists(collection) {
        let place = |at: PageCursor| match &first {
            Some(PageCursor::List { number, .. }) => PageCursor::List {
                number: *number,
                at: Some(Box::new(at)),
            },
            _ => at,
        };
        let after = place(after("id_1"));
        let resumed = collection.resume(&after);
        for cursor in [first.as_ref(), Some(&after), resumed.as_ref()] {
            let listing = Listing {
                parent: parent(collection).map(Above::of),
                created_from: created,
                created_until: created,
                cursor,
                page_size: None,
                changed_from: None,
            };
            let body = server.ask(&collection.list(&listing).unwrap()).await;
            reads(collection, cursor, &body);
        }
    }
}

/// Where each of its lists begins.
fn lists(collection: &Collection) -> Vec<Option<PageCursor>> {
    let mut lists = vec![None];
    let empty = answer(r#"{"data": [], "has_more": false}"#);
    while let Some(next) = {
        let last = lists.last().unwrap();
        collection
            .parse_page(&Listing::at(last.as_ref()), &empty)
            .unwrap()
            .next
    } {
        lists.push(Some(next));
    }
    lists
}

fn reads(collection: &Collection, cursor: Option<&PageCursor>, body: &Value) {
    let name = &collection.name;
    let page = collection.parse_page(&Listing::at(cursor), &answer(&body.to_string()));
    let page = page.unwrap_or_else(|error| panic!("{name}: {error} in {body}"));
    assert_eq!(page.records.len(), 1, "{name}: {body}");
    let (row, record) = (&page.records[0], &body["data"][0]);
    assert_eq!(record["id"], row.upstream_id.as_str());
    assert_eq!(record["object"], name.as_str(), "another kind of object");
    assert!(!row.gone, "{name}: {record}");
    let time = if name == "invoiceitem" {
        "date"
    } else {
        "created"
    };
    let created = record[time].as_i64().map(Timestamp::from_seconds);
    assert_eq!(row.created_at, created, "{name}: {record}");
    let more = json!({"data": body["data"], "has_more": true}).to_string();
    let page = collection
        .parse_page(&Listing::default(), &answer(&more))
        .unwrap();
    assert!(matches!(page.next, Some(PageCursor::After { .. })));
}

async fn of_one(server: &Server, collection: &Collection) {
    if !collection.reads_by_id() {
        return;
    }
    let name = &collection.name;
    let body = server.ask(&collection.get("id_1", None).unwrap()).await;
    let (one, _) = collection.parse_one(body.to_string().as_bytes()).unwrap();
    assert_eq!(body["object"], name.as_str(), "another kind of object");
    match one {
        One::Present(row) => assert_eq!(body["id"], row.upstream_id.as_str()),
        One::Gone => assert_eq!(body["deleted"], true, "{name}: {body}"),
        One::Nothing => panic!("{name}: {body}"),
    }
}

/// The lists inside a record are the ones that the document says a record always has, and are completed from where they
/// are.
async fn of_lists_inside(server: &Server, collection: &Collection) {
    let name = &collection.name;
    let schema = server.document.object(name);
    let mut record = json!({"id": "id_1", "object": name});
    let mut always = Vec::new();
    for (member, schema) in schema["properties"].as_object().unwrap() {
        if schema["properties"]["has_more"].is_object() {
            record[member] = json!({"data": [{"id": "part_1"}], "has_more": true});
            always.push(member);
        }
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    always.retain(|member| required.contains(&json!(member)));
    let (one, _) = collection.parse_one(record.to_string().as_bytes()).unwrap();
    let One::Present(mut row) = one else {
        panic!("{name} is gone: {record}");
    };
    let cut: Vec<String> = row
        .truncated
        .iter()
        .map(|cut| cut.path.to_string())
        .collect();
    for member in always {
        assert!(cut.contains(member), "{name}.{member} may come cut short");
    }
    for cut in row.truncated.clone() {
        let body = server.ask(&collection.part(&cut).unwrap()).await;
        let part = collection.parse_part(&cut, body.to_string().as_bytes());
        let part = part.unwrap();
        assert_eq!(part.elements.len(), 1, "{name}: {body}");
        collection
            .complete(&mut row, &cut.path, &part.elements)
            .unwrap();
    }
    assert!(row.truncated.is_empty());
}

fn parent(collection: &Collection) -> Option<&'static str> {
    collection.parent.as_ref().map(|_| "parent_1")
}

fn answer(body: &str) -> Answer<'_> {
    Answer::without_links(body.as_bytes())
}

fn after(id: &str) -> PageCursor {
    PageCursor::After {
        id: id.to_owned(),
        created: Some(Timestamp::from_seconds(1)),
    }
}

/// The path of a request, without its query.
fn path(request: &Request) -> &str {
    let path = &request.path_and_query;
    path.split_once('?').map_or(path, |(path, _)| path)
}
