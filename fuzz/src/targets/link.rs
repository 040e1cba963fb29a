//! `Link` headers: what is followed is a query that one of them has, and nothing else of it.

use std::sync::LazyLock;

use headrace_model::provider::{Answer, Definition, Listing, MAX_QUERY, next_query};

const PROVIDER: &str = r#"
title = "Shelf"
base = "https://api.example.com"
page = { order = "newest_first", next = "link" }
record.id = "id"
errors = { code = ["error"], message = ["error"] }
limits = { requests = 1, per = "1s", concurrent = 1 }
[credentials.key]
title = "Key"
auth = { bearer = "secret" }
fields.secret = { title = "Key", secret = true }
"#;

const COLLECTIONS: &str = r#"
[book]
title = "Books"
list = "/books?all=1"
relist.every = "1h"
"#;

/// Each line is one header.
pub(super) fn link(data: &[u8]) {
    static DEFINITION: LazyLock<Definition> = LazyLock::new(|| {
        let files = [
            ("provider.toml", PROVIDER),
            ("collections.toml", COLLECTIONS),
        ];
        Definition::compile("shelf", &files).expect("the definition holds")
    });
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let found = next_query(&lines);
    assert_eq!(next_query(&lines), found);
    let answer = Answer {
        body: b"[]",
        links: lines.clone(),
    };
    let books = DEFINITION.collection("book").expect("it has books");
    let page = books.parse_page(&Listing::default(), &answer);
    assert_eq!(page.is_ok(), found.is_ok(), "an error is no end");
    let Ok(found) = found else {
        return;
    };
    // Several lines mean the same as one.
    assert_eq!(next_query(&[&lines.join(&b", "[..])]), Ok(found));
    let cursor = page.expect("it was read").next;
    assert_eq!(cursor.is_some(), found.is_some());
    let Some(query) = found else {
        return;
    };
    let asked = format!("?{query}");
    let has = |line: &&[u8]| {
        line.windows(asked.len())
            .any(|part| part == asked.as_bytes())
    };
    assert!(lines.iter().any(has), "{query:?} is in no line");
    assert!((1..=MAX_QUERY).contains(&query.len()));
    assert!(
        query
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    );
    let again = format!("<{asked}>; rel=next");
    assert_eq!(next_query(&[again.as_bytes()]), Ok(Some(query)));
    let listing = Listing {
        cursor: cursor.as_ref(),
        ..Listing::default()
    };
    let request = books.list(&listing).expect("books have no parent");
    assert_eq!(request.path_and_query, format!("/books{asked}"));
    // The same again leads nowhere.
    assert!(
        books
            .parse_page(&Listing::at(cursor.as_ref()), &answer)
            .is_err()
    );
}
