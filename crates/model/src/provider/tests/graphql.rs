//! Reading GraphQL APIs, by the definition of Linear.

use super::*;

fn linear() -> Definition {
    let files = [
        (
            "provider.toml",
            include_str!("../../../../../providers/linear/provider.toml"),
        ),
        (
            "collections.toml",
            include_str!("../../../../../providers/linear/collections.toml"),
        ),
    ];
    Definition::compile("linear", &files).unwrap()
}

fn variables(request: &Request) -> String {
    let body = request.body.as_ref().unwrap();
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (request.method, &*request.path_and_query),
        (Method::Post, "/graphql")
    );
    body["variables"].to_string()
}

#[test]
fn parameters_are_variables_of_the_document() {
    let linear = linear();
    let issues = linear.collection("issue").unwrap();
    let cursor = PageCursor::Token {
        token: "a\"b".to_owned(),
    };
    let listing = Listing {
        changed_from: Some(crate::Timestamp::from_seconds(1_700_000_000)),
        page_size: Some(7),
        ..Listing::at(Some(&cursor))
    };
    assert_eq!(
        variables(&issues.list(&listing).unwrap()),
        r#"{"after":"a\"b","first":7,"since":"2023-11-14T22:13:20.000000Z"}"#
    );
    assert_eq!(
        variables(&issues.list(&Listing::default()).unwrap()),
        r#"{"after":null,"first":100}"#
    );
    assert_eq!(
        variables(&issues.get("x\"}", None).unwrap()),
        r#"{"id":"x\"}"}"#
    );
}

#[test]
fn a_connection_says_whether_there_is_more() {
    let linear = linear();
    let issues = linear.collection("issue").unwrap();
    let page = |info: &str| {
        let body = format!(
            r#"{{"data":{{"issues":{{"nodes":[{{"id":"i","team":{{"id":"t"}}}}],"pageInfo":{info}}}}}}}"#
        );
        issues.parse_page(&Listing::default(), &plain(&body))
    };
    let last = page(r#"{"hasNextPage":false,"endCursor":"x"}"#).unwrap();
    assert_eq!(last.next, None);
    assert_eq!(last.records[0].parent_id.as_deref(), Some("t"));
    let token = "x".to_owned();
    let more = page(r#"{"hasNextPage":true,"endCursor":"x"}"#).unwrap();
    assert_eq!(more.next, Some(PageCursor::Token { token }));
    let stuck = page(r#"{"hasNextPage":true,"endCursor":null}"#);
    assert_eq!(stuck.unwrap_err(), PageError::Stuck);
    let unsaid = page(r#"{"endCursor":"x"}"#);
    assert!(matches!(unsaid, Err(PageError::NoMore { .. })));
}

#[test]
fn an_answer_with_errors_is_a_failure_and_one_with_nothing_no_record() {
    let linear = linear();
    let issues = linear.collection("issue").unwrap();
    let body = br#"{"data":null,"errors":[{"message":"Entity not found: Issue","extensions":{"code":"INPUT_ERROR"}}]}"#;
    assert!(linear.is_failure(200, body));
    assert_eq!(linear.error(200, |_| None, body).failure, Failure::Hidden);
    let throttled = br#"{"errors":[{"message":"x","extensions":{"code":"RATELIMITED"}}]}"#;
    let failure = linear.error(400, |_| None, throttled).failure;
    assert_eq!(failure, Failure::Throttled(None));
    assert!(!linear.is_failure(200, br#"{"data":{},"errors":[]}"#));
    let (one, _) = issues.parse_one(br#"{"data":{"issue":null}}"#).unwrap();
    assert_eq!(one, One::Nothing);
    assert!(issues.parse_one(br#"{"data":{}}"#).is_err());
}
