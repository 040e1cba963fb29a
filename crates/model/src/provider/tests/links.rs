//! Pages that are found by `Link` headers.

use proptest::prelude::*;

use super::*;
use crate::Timestamp;

const SHELF: &str = r#"
title = "Shelf"
base = "https://api.example.com"
page = { records = "items", order = "newest_first", size = { send = "per_page", max = 50 }, next = "link" }
record.id = "id"
errors = { code = ["error"], message = ["error"] }

[credentials.key]
title = "Key"
auth = { bearer = "secret" }
fields.secret = { title = "Key", secret = true }

[limits]
requests = 10
per = "1s"
concurrent = 2

[feeds.news]
list = "/news"
id = "id"
type = "type"
object = "book"
at = { take = "at", format = "unix", from = "since" }
overlap = "1s"
retention = "1d"
"#;

const BOOKS: &str = r#"
[book]
title = "Books"
list = "/books?sort=id"
and_list = ["/old_books"]
relist.every = "1h"

[page]
title = "Pages"
list = "/books/{parent}/pages"
parent = { collection = "book", id = "book" }
relist.every = "1h"
"#;

fn next_in<'a>(lines: &[&'a str]) -> Result<Option<&'a str>, LinkError> {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    next_query(&lines)
}

#[test]
fn the_next_page_is_found_as_the_standard_and_providers_write_it() {
    let github = r#"<https://api.github.com/repositories/1300192/issues?page=2>; rel="prev", <https://api.github.com/repositories/1300192/issues?page=4>; rel="next", <https://api.github.com/repositories/1300192/issues?page=515>; rel="last", <https://api.github.com/repositories/1300192/issues?page=1>; rel="first""#;
    for (lines, next) in [
        (&[github][..], Some("page=4")),
        (&[], None),
        (&[""], None),
        // What RFC 8288 shows.
        (
            &[r#"<http://example.com/TheBook/chapter2>; rel="previous"; title="previous chapter""#],
            None,
        ),
        (&[r#"</>; rel="http://example.net/foo""#], None),
        (&[r##"</terms>; rel="copyright"; anchor="#foo""##], None),
        (
            &[
                r#"<http://example.org/>; rel="start http://example.net/relation/other""#,
                r#"</TheBook/chapter2>; rel="previous"; title*=UTF-8'de'letztes%20Kapitel, </TheBook/chapter4?a>; rel="next"; title*=UTF-8'de'n%c3%a4chstes%20Kapitel"#,
            ],
            Some("a"),
        ),
        // And allows.
        (&["<?a=1,2;3>;rel=next"], Some("a=1,2;3")),
        (&["\t, ,<//x?a>\t ; REL = NEXT ; , ,"], Some("a")),
        (&[r#"<x?a?b=c>; rel="last Next""#], Some("a?b=c")),
        (&[r#"<?a#?b>; crossorigin; rel="n\ext""#], Some("a")),
        (
            &[r#"<?b>; title="x\",<?c>; rel=next"; rel="up", <?a>; rel="next""#],
            Some("a"),
        ),
        (&["<?a>; rel=prev; rel=next"], None),
        (&["<?a>; rel=next; rel=prev"], Some("a")),
        (&["<?a>; rel; rel=next"], None),
        (&["<?a>; rev=next", "<?a>; rel=nextish", "<?a>"], None),
        (&["<?a>; rel=next, </b?a>; rel=next"], Some("a")),
    ] {
        assert_eq!(next_in(lines), Ok(next), "{lines:?}");
    }
}

#[test]
fn what_is_no_link_to_a_next_page_is_an_error_and_never_an_end() {
    let malformed = |at| LinkError::Malformed { at };
    for (lines, error) in [
        (&["?a; rel=next"][..], malformed(0)),
        (&["<?a; rel=next"], malformed(13)),
        (&[r#"<?a>; rel="next"#], malformed(15)),
        (&[r#"<?a>; rel="next\"#], malformed(16)),
        (&["<?a>; rel="], malformed(10)),
        (&["<?a>; =next"], malformed(6)),
        (&["<?a> rel=next"], malformed(5)),
        (&["<?a>; rel=next <?b>; rel=last"], malformed(15)),
        (&["<?a>; rel=next", "<"], malformed(1)),
        (&["<?a>; rel=next", "<?b>; rel=next"], LinkError::Ambiguous),
        (&[r#"<?a>; rel=next; anchor="/other""#], LinkError::Anchored),
        (&["<>; rel=next"], LinkError::NoQuery),
        (&["<https://example.com/2>; rel=next"], LinkError::NoQuery),
        (&["</2?>; rel=next"], LinkError::NoQuery),
        (&["</2#?a>; rel=next"], LinkError::NoQuery),
        (&["<?a b>; rel=next"], LinkError::BadQuery),
        (&["<?a\r\nX: y>; rel=next"], LinkError::BadQuery),
        (&["<?é>; rel=next"], LinkError::BadQuery),
    ] {
        assert_eq!(next_in(lines), Err(error), "{lines:?}");
    }
    let bytes: &[u8] = b"</\xff?a>; rel=next; title=\"\xff\", <?\xff>; rel=last";
    assert_eq!(next_query(&[bytes]), Ok(Some("a")), "of others' bytes");
    let of = |length| format!("<?{}>; rel=next", "a".repeat(length));
    assert!(next_in(&[&of(MAX_QUERY)]).is_ok());
    assert_eq!(next_in(&[&of(MAX_QUERY + 1)]), Err(LinkError::LongQuery));
}

#[test]
fn each_page_is_asked_for_at_the_address_of_the_list() {
    let shelf = small(SHELF, BOOKS).unwrap();
    let list = |name: &str, cursor: Option<&PageCursor>| {
        let collection = shelf.collection(name).unwrap();
        let parent = collection.parent.as_ref().map(|_| "a?b");
        let listing = Listing {
            parent: parent.map(Above::of),
            cursor,
            page_size: Some(20),
            ..Listing::default()
        };
        collection.list(&listing).unwrap().path_and_query
    };
    let next = |name: &str, cursor: Option<&PageCursor>, link: &str| {
        let answer = Answer {
            body: br#"{"items":[{"id":1}]}"#,
            links: vec![link.as_bytes()],
        };
        let page = shelf
            .collection(name)
            .unwrap()
            .parse_page(&Listing::at(cursor), &answer);
        page.map(|page| page.next)
    };
    assert_eq!(list("book", None), "/books?sort=id&per_page=20");
    let link = "<http://169.254.169.254/secrets?cursor=%2F&n[]=1>; rel=next";
    let second = next("book", None, link).unwrap();
    let stored = serde_json::to_string(&second).unwrap();
    assert_eq!(stored, r#"{"link":{"query":"cursor=%2F&n[]=1"}}"#);
    let second: Option<PageCursor> = serde_json::from_str(&stored).unwrap();
    assert_eq!(list("book", second.as_ref()), "/books?cursor=%2F&n[]=1");
    assert_eq!(
        list("page", second.as_ref()),
        "/books/a%3Fb/pages?cursor=%2F&n[]=1"
    );
    let books = shelf.collection("book").unwrap();
    assert_eq!(books.resume(second.as_ref().unwrap()), None);
    assert_eq!(
        next("book", second.as_ref(), link),
        Err(PageError::Stuck),
        "it leads to itself"
    );
    assert_eq!(
        next("book", None, "<?cursor"),
        Err(LinkError::Malformed { at: 8 }.into())
    );

    // Without a link the list is at its end, and the next one begins.
    let other = next("book", second.as_ref(), "<?cursor=1>; rel=first").unwrap();
    assert_eq!(list("book", other.as_ref()), "/old_books?per_page=20");
    let other = next("book", other.as_ref(), link).unwrap();
    assert_eq!(list("book", other.as_ref()), "/old_books?cursor=%2F&n[]=1");
    assert_eq!(next("book", other.as_ref(), link), Err(PageError::Stuck));
    assert_eq!(next("book", other.as_ref(), ""), Ok(None));
    assert_eq!(next("page", second.as_ref(), ""), Ok(None));
}

#[test]
fn a_feed_is_paged_by_links_too() {
    let shelf = small(SHELF, BOOKS).unwrap();
    let feed = shelf.feed("news").unwrap();
    let mut answer = Answer {
        body: br#"{"items":[{"id":1,"type":"a","at":5,"book":{}}]}"#,
        links: vec![b"<?since=0&page=2>; rel=next"],
    };
    let next = feed.parse_page(None, &answer).unwrap().next;
    let request = feed.list(Timestamp::from_seconds(5), None, next.as_ref());
    assert_eq!(request.path_and_query, "/news?since=0&page=2");
    let stuck = feed.parse_page(next.as_ref(), &answer).unwrap_err();
    assert_eq!(stuck, PageError::Stuck);
    answer.links.clear();
    let last = feed.parse_page(next.as_ref(), &answer).unwrap();
    assert_eq!(last.next, None);
}

#[test]
fn an_answer_may_be_the_array_itself() {
    let shelf = small(&SHELF.replace("records = \"items\", ", ""), BOOKS).unwrap();
    let books = shelf.collection("book").unwrap();
    let read = |body: &str| books.parse_page(&Listing::default(), &plain(body));
    let page = read(r#" [ {"id":1}, {"id":"b"} ] "#).unwrap();
    let ids = page.records.iter().map(|row| row.upstream_id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["1", "b"]);
    assert!(read("[]").unwrap().records.is_empty());
    let error = read(r#"{"items":[]}"#).unwrap_err();
    assert_eq!(error.to_string(), "the answer has no list at its top");
}

#[test]
fn lists_inside_records_cannot_be_paged_by_links() {
    let problems = |provider: &str, collections: &str| {
        let problems = small(provider, collections).unwrap_err();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        texts.join("\n")
    };
    let nested = format!("{BOOKS}nested = {{ lines = \"/pages/{{id}}/lines\" }}\n");
    let told = problems(SHELF, &nested);
    assert!(
        told.starts_with("collections.toml:13: page.nested.lines: a list inside a record comes"),
        "{told}"
    );
    let embedded = BOOKS.replace("id = \"book\" }", "id = \"book\", embedded = \"pages\" }");
    let told = problems(SHELF, &embedded);
    assert!(
        told.starts_with("collections.toml:11: page.parent.embedded: a list inside a record comes"),
        "{told}"
    );
    let by_token = SHELF.replace("records = \"items\", ", "").replace(
        "next = \"link\"",
        "next.token = { send = \"a\", take = \"b\" }",
    );
    let told = problems(&by_token, BOOKS);
    assert!(
        told.starts_with("provider.toml:4: page.next") && told.contains("without `records`"),
        "{told}"
    );
}

#[test]
fn the_plan_tells_that_a_list_begins_anew_without_its_link() {
    let told = "begins anew when a page cursor is lost";
    let created = "record.created = { take = \"at\", format = \"unix\", until = \"before\" }";
    let by_link = SHELF.replace(
        "[credentials.key]",
        &format!("{created}\n[credentials.key]"),
    );
    let plan = |provider: &str| small(provider, BOOKS).unwrap().plan().join("\n");
    assert!(plan(&by_link).contains(told));
    let by_record = by_link.replace(
        "next = \"link\"",
        "next.after_last = { send = \"after\", take = \"id\", more = \"more\" }",
    );
    assert!(!plan(&by_record).contains(told));
}

/// A link as somebody else may write it.
fn link(target: &str, rels: &[String], title: &str, spaces: &str) -> String {
    let escaped = title.replace('\\', "\\\\").replace('"', "\\\"");
    let rels = rels.join(" ");
    format!(
        "{spaces}<{target}>{spaces};{spaces}title{spaces}={spaces}\"{escaped}\";Rel=\"{rels}\"{spaces}"
    )
}

proptest! {
    #[test]
    fn what_is_written_as_links_is_read_back(
        others in proptest::collection::vec(("[!-=?-~]{0,20}", proptest::collection::vec("[a-m]{1,4}", 1..4), ".{0,20}"), 0..5),
        at in any::<prop::sample::Index>(),
        path in "[!-\"$-=@-~]{0,20}",
        query in "[!-\"$-=?-~]{1,40}",
        title in "[ -~]{0,20}",
        kinds in proptest::collection::vec("[a-m]{1,4}", 0..3),
        spaces in "[ \t]{0,2}",
        in_lines in any::<bool>(),
    ) {
        let mut links: Vec<String> = others
            .iter()
            .map(|(target, rels, title)| link(target, rels, title, &spaces))
            .collect();
        let mut rels = kinds;
        rels.insert(at.index(rels.len() + 1), "NexT".to_owned());
        let next = link(&format!("{path}?{query}#a?b"), &rels, &title, &spaces);
        links.insert(at.index(links.len() + 1), next);
        if !in_lines {
            links = vec![links.join(",")];
        }
        let lines: Vec<&[u8]> = links.iter().map(String::as_bytes).collect();
        prop_assert_eq!(next_query(&lines), Ok(Some(query.as_str())));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([<>;,=\"\\\\? \t#]|rel|next|anchor|.){0,40}") {
        if let Ok(Some(query)) = next_in(&[&text]) {
            let asked = format!("?{query}");
            prop_assert!(text.contains(&asked));
            prop_assert!(query.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
