//! Following by the time of the last change, reading by links, and addresses that need more of a parent.

use super::*;
use crate::Timestamp;

const PROVIDER: &str = r#"
title = "Shelf"
base = "https://api.example.com/v1"
page = { order = "oldest_first", next = "link" }
record.id = "id"
errors = { code = ["error"], message = ["error"], after = "Retry-After", throttled = [
    { status = "403", header = { name = "left", value = "0" } },
    { status = "403", header = { name = "Retry-After" } },
] }

[limits]
requests = 10
per = "1h"
concurrent = 2
left = { remaining = "left", resets = "resets", format = "unix" }

[credentials.key]
title = "Key"
auth = { bearer = "secret" }
fields.secret = { title = "Key", secret = true }
"#;

const COLLECTIONS: &str = r#"
[shelf]
title = "Shelves"
list = "/shelves"
relist.every = "1h"

[book]
title = "Books"
list = "/shelves/{parent.owner.name}/{parent.name}/books?sort=made"
get = { link = "links.self" }
parent = { collection = "shelf", id = "shelf" }
updated = { take = "changed", format = "rfc3339_seconds", from = "since" }
follow = { every = "1m", overlap = "10s" }

[film]
title = "Films"
list = "/films?sort=made"
without = "is_a_book"
updated = { take = "changed", format = "rfc3339" }
follow = { every = "1m", overlap = "10s", list = "/films?sort=changed&direction=desc" }
"#;

fn shelf() -> Definition {
    small(PROVIDER, COLLECTIONS).unwrap()
}

#[test]
fn an_address_takes_what_it_needs_of_the_parent() {
    let shelf = shelf();
    let books = shelf.collection("book").unwrap();
    assert!(books.needs_parents() && !shelf.collection("film").unwrap().needs_parents());
    let record = br#"{"id":7,"name":"a/b","owner":{"name":"Zo\u00eb"}}"#;
    let below = |record| Listing {
        parent: Some(Above { id: "7", record }),
        ..Listing::default()
    };
    let request = books.list(&below(Some(record))).unwrap();
    let path = "/shelves/Zo%C3%AB/a%2Fb/books?sort=made";
    assert_eq!(request.path_and_query, path);
    for record in [
        None,
        Some(&b"{}"[..]),
        Some(br#"{"name":"..","owner":{"name":"x"}}"#),
    ] {
        let refused = books.list(&below(record)).unwrap_err();
        assert!(
            matches!(refused, RequestError::NoParent { .. }),
            "{refused}"
        );
    }
}

/// What cannot be done is told where it is asked for, not where it would go wrong.
#[test]
fn what_cannot_be_followed_or_found_is_told() {
    let told = |collections: &str| {
        let problems = small(PROVIDER, collections).unwrap_err();
        problems[0].to_string()
    };
    let in_lists = COLLECTIONS.replace(
        "list = \"/films?sort=made\"",
        "list = \"/films?sort=made\"\nand_list = [\"/old\"]",
    );
    let said = told(&in_lists);
    assert!(said.contains("`and_list` cannot be followed"), "{said}");
    let by_events = COLLECTIONS.replace(
        "get = { link = \"links.self\" }",
        "get = { link = \"links.self\" }\nevents = { feed = \"news\", types = [\"book.*\"] }",
    );
    let said = small(PROVIDER, &by_events).unwrap_err();
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|said| said.contains("no link is known")),
        "{said:?}"
    );
}

#[test]
fn what_changed_is_listed_from_a_time_on() {
    let shelf = shelf();
    let at = Timestamp::from_micros(1_700_000_000_900_000);
    let listing = Listing {
        parent: Some(Above {
            id: "7",
            record: Some(br#"{"name":"n","owner":{"name":"o"}}"#),
        }),
        changed_from: Some(at),
        ..Listing::default()
    };
    let books = shelf.collection("book").unwrap().list(&listing).unwrap();
    let path = "/shelves/o/n/books?sort=made&since=2023-11-14T22%3A13%3A20Z";
    assert_eq!(books.path_and_query, path);
    let films = shelf.collection("film").unwrap();
    let listing = Listing {
        parent: None,
        ..listing
    };
    let path = "/films?sort=changed&direction=desc";
    assert_eq!(films.list(&listing).unwrap().path_and_query, path);
    let whole = films.list(&Listing::default()).unwrap();
    assert_eq!(whole.path_and_query, "/films?sort=made");
}

/// A list that goes back from the newest change is left where nothing is new any more.
#[test]
fn what_cannot_be_limited_is_left_at_what_is_older() {
    let shelf = shelf();
    let films = shelf.collection("film").unwrap();
    let link: &[u8] = b"<?page=2>; rel=next";
    let next = |from: i64, listed: &str| {
        let listing = Listing {
            changed_from: Some(Timestamp::from_seconds(from)),
            ..Listing::default()
        };
        let answer = Answer {
            body: listed.as_bytes(),
            links: vec![link],
        };
        films.parse_page(&listing, &answer).unwrap().next
    };
    let listed =
        r#"[{"id":1,"changed":"1970-01-01T00:00:30Z"},{"id":2,"changed":"1970-01-01T00:00:20Z"}]"#;
    assert!(next(20, listed).is_some());
    assert_eq!(next(21, listed), None);
    // Who does not say when it changed is no end.
    assert!(next(21, r#"[{"id":1}]"#).is_some());
    assert!(next(21, "[]").is_some());
}

#[test]
fn a_record_is_read_where_it_says_itself() {
    let shelf = shelf();
    let books = shelf.collection("book").unwrap();
    assert!(books.reads_by_link());
    let get = |record: &str| books.get("1", Some(record.as_bytes()));
    let request = get(r#"{"links":{"self":"https://elsewhere.example.com/v1/books/1?x=y#z"}}"#);
    let request = request.unwrap();
    assert_eq!(request.path_and_query, "/v1/books/1?x=y");
    assert!(request.from_root);
    let request = get(r#"{"links":{"self":"/v1/books/1"}}"#).unwrap();
    assert_eq!(request.path_and_query, "/v1/books/1");
    for record in [
        "{}",
        r#"{"links":{"self":""}}"#,
        r#"{"links":{"self":"https://elsewhere.example.com"}}"#,
        r#"{"links":{"self":"v1/books/1"}}"#,
        r#"{"links":{"self":"/v1/a b"}}"#,
        r#"{"links":{"self":7}}"#,
    ] {
        let refused = get(record).unwrap_err();
        assert!(
            matches!(refused, RequestError::NoLink { .. }),
            "{record}: {refused}"
        );
    }
    assert!(books.get("1", None).is_err());
}

#[test]
fn what_has_another_collections_mark_is_not_of_this_one() {
    let shelf = shelf();
    let films = shelf.collection("film").unwrap();
    let body = r#"[{"id":1,"is_a_book":{}},{"id":2,"is_a_book":null},{"id":3}]"#;
    let page = films.parse_page(&Listing::default(), &plain(body)).unwrap();
    let ids: Vec<String> = page
        .records
        .into_iter()
        .map(|row| row.upstream_id)
        .collect();
    assert_eq!(ids, ["2", "3"]);
}

#[test]
fn answers_tell_what_is_left_of_the_budget() {
    let shelf = shelf();
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let headers = |given: &'static [(&str, &str)]| {
        move |name: &str| {
            let mut found = given
                .iter()
                .filter(move |(of, _)| of.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| *value)
        }
    };
    let told = shelf.left(headers(&[
        ("left", "7"),
        ("resets", "784111837"),
        ("Date", DATE),
    ]));
    let resets_in = Duration::from_secs(60);
    assert_eq!(
        told,
        Some(Left {
            requests: 7,
            resets_in
        })
    );
    assert_eq!(
        shelf.left(headers(&[("left", "7"), ("resets", "784111837")])),
        None
    );
    assert_eq!(
        shelf.left(headers(&[("left", "x"), ("resets", "1"), ("Date", DATE)])),
        None
    );
    let used_up = headers(&[("left", "0"), ("resets", "784111837"), ("Date", DATE)]);
    let error = shelf.error(403, used_up, b"{}");
    assert_eq!(error.failure, Failure::Throttled(Some(resets_in)));
    let error = shelf.error(403, headers(&[("Retry-After", "5")]), b"{}");
    assert_eq!(
        error.failure,
        Failure::Throttled(Some(Duration::from_secs(5)))
    );
    let error = shelf.error(403, headers(&[("left", "3")]), b"{}");
    assert_eq!(error.failure, Failure::Rejected);
}

#[test]
fn mistakes_are_told() {
    for (from, to, message) in [
        (
            "updated = { take = \"changed\", format = \"rfc3339_seconds\", from = \"since\" }\n",
            "",
            "which is missing",
        ),
        (
            ", list = \"/films?sort=changed&direction=desc\"",
            "",
            "give a `list`",
        ),
        (
            "/books?sort=made",
            "/books?sort=made&a={other.name}",
            "no variable {other.name} here",
        ),
        (
            "link = \"links.self\"",
            "link = \"links.self\", more = 1",
            "unknown field `more`",
        ),
        (
            "get = { link = \"links.self\" }",
            "get = 7",
            "a path with {id}",
        ),
        (
            "{parent.owner.name}",
            "{parent..name}",
            "a variable is a name",
        ),
    ] {
        let broken = COLLECTIONS.replacen(from, to, 1);
        assert_ne!(broken, COLLECTIONS, "{from}");
        let problems = small(PROVIDER, &broken).unwrap_err();
        let told = problems
            .iter()
            .any(|problem| problem.to_string().contains(message));
        assert!(told, "{message} in {problems:?}");
    }
}
