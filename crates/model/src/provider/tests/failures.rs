//! Failures, sorted by what to do next.

use super::*;

fn error(status: u16, headers: &[(&str, &str)], body: &str) -> UpstreamError {
    let find = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| *value)
    };
    stripe().error(status, find, body.as_bytes())
}

#[test]
fn the_bodys_words_are_kept() {
    let body = r#"{ "error": { "type": "invalid_request_error", "code": "parameter_unknown", "message": "Unknown \u00e9" } }"#;
    let error = error(400, &[("request-id", "req_1")], body);
    assert_eq!(error.code.as_deref(), Some("parameter_unknown"));
    assert_eq!(error.message.as_deref(), Some("Unknown é"));
    assert_eq!(error.request_id.as_deref(), Some("req_1"));
    assert_eq!(error.failure, Failure::Rejected);
}

#[test]
fn failures_are_sorted() {
    let missing = r#"{"error":{"code":"resource_missing","param":"id"}}"#;
    let cursor = r#"{"error":{"code":"resource_missing","param":"starting_after"}}"#;
    let imitated = r#"{"error":{"type":"invalid_request_error","message":"Not Found"}}"#;
    let no_address = r#"{"error":{"type":"invalid_request_error","message":"Unrecognized request URL (GET: /v1/customer/cus_1)."}}"#;
    let seconds = |n| Some(Duration::from_secs(n));
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let later = "Sun, 06 Nov 1994 08:49:47 GMT";
    for (status, headers, body, expected) in [
        (404, vec![], missing, Failure::Gone),
        (404, vec![], "<html>no such page</html>", Failure::Rejected),
        (404, vec![], "404: Not Found", Failure::Rejected),
        (404, vec![], imitated, Failure::Gone),
        (400, vec![], imitated, Failure::Rejected),
        (404, vec![], no_address, Failure::Rejected),
        (400, vec![], cursor, Failure::UnknownCursor),
        (429, vec![], "{}", Failure::Throttled(None)),
        (
            429,
            vec![("Retry-After", "3")],
            "",
            Failure::Throttled(seconds(3)),
        ),
        (
            429,
            vec![("Retry-After", "0.5")],
            "",
            Failure::Throttled(Some(Duration::from_millis(500))),
        ),
        (
            429,
            vec![("Retry-After", later), ("Date", date)],
            "",
            Failure::Throttled(seconds(10)),
        ),
        (
            429,
            vec![("Retry-After", "soon")],
            "",
            Failure::Throttled(None),
        ),
        (
            429,
            vec![("Retry-After", "-1")],
            "",
            Failure::Throttled(None),
        ),
        (401, vec![], "", Failure::Reauthorize),
        (403, vec![], "", Failure::Forbidden),
        (409, vec![], "", Failure::Retry(None)),
        (
            409,
            vec![("Stripe-Should-Retry", "false")],
            "",
            Failure::Retry(None),
        ),
        (
            400,
            vec![("Stripe-Should-Retry", "true")],
            "",
            Failure::Retry(None),
        ),
        (
            502,
            vec![("Retry-After", "2")],
            "bad gateway",
            Failure::Retry(seconds(2)),
        ),
        (
            500,
            vec![("Stripe-Should-Retry", "false")],
            "",
            Failure::Retry(None),
        ),
    ] {
        assert_eq!(
            error(status, &headers, body).failure,
            expected,
            "{status} {headers:?} {body}"
        );
        let leave_alone = headers.contains(&("Stripe-Should-Retry", "false"));
        assert_eq!(error(status, &headers, body).leave_alone, leave_alone);
    }
}

#[test]
fn failures_in_disguise_need_a_sign() {
    let stripe = stripe();
    assert!(!stripe.is_failure(200, br#"{"error":{"code":"rate_limit"}}"#));
    let hidden = FILES[0].1.replace(
        "[{ status = \"429\" }]",
        "[{ status = \"200\", code = \"rate_limit\" }]",
    );
    let provider = Definition::compile("stripe", &[("provider.toml", &hidden), FILES[1]]).unwrap();
    assert!(provider.is_failure(200, br#"{"error":{"code":"rate_limit"}}"#));
    assert!(!provider.is_failure(200, br#"{"data":[]}"#));
}

#[test]
fn a_message_is_compared_by_its_beginning_and_what_is_hidden_before_what_is_forbidden() {
    let provider = FILES[0].1.replace(
        "forbidden = [",
        "hidden = [{ status = \"403\", message = \"Nobody knows\" }]\nforbidden = [",
    );
    let provider = provider.replace(
        "throttled = [",
        "throttled = [{ status = \"403\", message = \"Slow down*\" }, ",
    );
    assert!(provider.contains("Nobody knows") && provider.contains("Slow down*"));
    let files = [("provider.toml", &*provider), FILES[1]];
    let provider = Definition::compile("stripe", &files).unwrap();
    let failure = |message: &str| {
        let body = format!(r#"{{"error":{{"message":"{message}"}}}}"#);
        provider.error(403, |_| None, body.as_bytes()).failure
    };
    assert_eq!(failure("Slow down, please."), Failure::Throttled(None));
    assert_eq!(failure("Slow dow"), Failure::Forbidden);
    assert_eq!(failure("Nobody knows"), Failure::Hidden);
    assert_eq!(failure("Nobody knows it"), Failure::Forbidden);
}
