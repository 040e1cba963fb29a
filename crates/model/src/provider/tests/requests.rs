//! The exact requests.

use super::*;
use crate::Timestamp;

fn list(name: &str, listing: &Listing<'_>) -> String {
    stripe()
        .collection(name)
        .unwrap()
        .list(listing)
        .unwrap()
        .path_and_query
}

#[test]
fn first_pages() {
    assert_eq!(
        list("customer", &Listing::default()),
        "/customers?limit=100"
    );
    assert_eq!(
        list("subscription", &Listing::default()),
        "/subscriptions?status=all&limit=100"
    );
    let from = Some(Timestamp::from_seconds(1_700_000_000));
    let since = Listing {
        created_from: from,
        page_size: Some(7),
        ..Listing::default()
    };
    assert_eq!(
        list("charge", &since),
        "/charges?limit=7&created%5Bgte%5D=1700000000"
    );
    let items = Listing {
        parent: Some(Above::of("sub/1")),
        created_from: from,
        ..Listing::default()
    };
    assert_eq!(
        list("subscription_item", &items),
        "/subscription_items?subscription=sub%2F1&limit=100"
    );
    let sizes = [(0, 1), (1_000, 100)];
    for (wanted, sent) in sizes {
        let listing = Listing {
            page_size: Some(wanted),
            ..Listing::default()
        };
        assert_eq!(list("product", &listing), format!("/products?limit={sent}"));
    }
}

#[test]
fn following_pages_and_a_lost_cursor() {
    let stripe = stripe();
    let charges = stripe.collection("charge").unwrap();
    let cursor = PageCursor::After {
        id: "ch_9".to_owned(),
        created: Some(Timestamp::from_seconds(50)),
    };
    let at = |cursor: &PageCursor| {
        let listing = Listing {
            cursor: Some(cursor),
            created_from: Some(Timestamp::from_seconds(10)),
            ..Listing::default()
        };
        charges.list(&listing).unwrap().path_and_query
    };
    assert_eq!(
        at(&cursor),
        "/charges?limit=100&created%5Bgte%5D=10&starting_after=ch_9"
    );
    let resumed = charges.resume(&cursor).unwrap();
    assert_eq!(
        at(&resumed),
        "/charges?limit=100&created%5Bgte%5D=10&created%5Blte%5D=50"
    );
    assert_eq!(charges.resume(&resumed), None);
    // Its list takes no creation time: begin anew.
    assert_eq!(
        stripe
            .collection("subscription_item")
            .unwrap()
            .resume(&cursor),
        None
    );
    let blind = PageCursor::After {
        id: "ch_9".to_owned(),
        created: None,
    };
    assert_eq!(charges.resume(&blind), None);
}

/// Stripe's definition with its paging declared in another way.
fn paged(next: &str, order: &str) -> Definition {
    let provider = FILES[0].1.replace("newest_first", order);
    let (before, after) = provider.split_once("next.after_last").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    let provider = format!("{before}next.{next}\n{after}");
    Definition::compile("stripe", &[("provider.toml", &provider), FILES[1]]).unwrap()
}

#[test]
fn pages_by_token() {
    let definition = paged(
        "token = { send = \"after\", take = \"paging.next.after\" }",
        "newest_first",
    );
    let products = definition.collection("product").unwrap();
    let page = products
        .parse_page(
            &Listing::default(),
            &plain(r#"{"data":[{"id":"a"}],"paging":{"next":{"after":"a b"}}}"#),
        )
        .unwrap();
    let listing = Listing {
        cursor: page.next.as_ref(),
        ..Listing::default()
    };
    assert_eq!(
        products.list(&listing).unwrap().path_and_query,
        "/products?limit=100&after=a%20b"
    );
    for last in [
        r#"{"data":[]}"#,
        r#"{"data":[],"paging":{"next":{"after":""}}}"#,
    ] {
        assert_eq!(
            products
                .parse_page(&Listing::default(), &plain(last))
                .unwrap()
                .next,
            None,
            "{last}"
        );
    }
    // A cursor from before the definition changed begins anew.
    let cursor = PageCursor::After {
        id: "a".to_owned(),
        created: None,
    };
    let listing = Listing {
        cursor: Some(&cursor),
        ..Listing::default()
    };
    assert_eq!(
        products.list(&listing).unwrap().path_and_query,
        "/products?limit=100"
    );
}

#[test]
fn an_ascending_list_resumes_upwards() {
    let next = "after_last = { send = \"after\", take = \"id\", more = \"has_more\" }";
    let definition = paged(next, "oldest_first");
    let products = definition.collection("product").unwrap();
    let cursor = PageCursor::After {
        id: "a".to_owned(),
        created: Some(Timestamp::from_seconds(50)),
    };
    let resumed = products.resume(&cursor).unwrap();
    let listing = Listing {
        cursor: Some(&resumed),
        created_from: Some(Timestamp::from_seconds(10)),
        ..Listing::default()
    };
    assert_eq!(
        products.list(&listing).unwrap().path_and_query,
        "/products?limit=100&created%5Bgte%5D=50"
    );
}

#[test]
fn cursors_are_stored_and_read_back() {
    let cursor = PageCursor::After {
        id: "ch_9".to_owned(),
        created: Some(Timestamp::from_seconds(0)),
    };
    let stored = serde_json::to_string(&cursor).unwrap();
    assert_eq!(
        stored,
        r#"{"after":{"id":"ch_9","created":"1970-01-01T00:00:00.000000Z"}}"#
    );
    assert_eq!(serde_json::from_str::<PageCursor>(&stored).unwrap(), cursor);
}

#[test]
fn points_and_feeds() {
    let stripe = stripe();
    let get = stripe
        .collection("customer")
        .unwrap()
        .get("cus_1?x", None)
        .unwrap();
    assert_eq!(get.to_string(), "GET /customers/cus_1%3Fx");
    for id in ["", ".", ".."] {
        let refused = RequestError::NotAnId { id: id.to_owned() };
        assert_eq!(
            stripe.collection("customer").unwrap().get(id, None),
            Err(refused)
        );
    }
    let items = stripe.collection("subscription_item").unwrap();
    let collection = items.id.clone();
    assert_eq!(
        items.list(&Listing::default()),
        Err(RequestError::NoParent { collection })
    );
    let feed = stripe.feed("events").unwrap();
    let since = Timestamp::from_seconds(1_000);
    assert_eq!(
        feed.list(since, None, None).path_and_query,
        "/events?limit=100&created%5Bgte%5D=700"
    );
    assert!(!feed.has_gap(since, since + Duration::from_secs(30 * 86_400)));
    assert!(feed.has_gap(since, since + Duration::from_secs(30 * 86_400 + 1)));
    let checks: Vec<String> = stripe
        .checks
        .iter()
        .map(|check| check.request.to_string())
        .collect();
    assert_eq!(checks, ["GET /account", "GET /balance"]);
}

#[test]
fn headers_follow_from_the_credential() {
    let stripe = stripe();
    let headers = |kind: &str, given: &[(&str, &str)]| {
        let read = stripe.credential(kind).unwrap().read(&fields(given))?;
        let headers = stripe.headers(kind, &read)?;
        Ok(headers
            .into_iter()
            .map(|header| format!("{}: {}", header.name, header.value))
            .collect::<Vec<_>>())
    };
    assert_eq!(
        headers("stripe_key", &[("secret_key", "sk_1")]),
        Ok(vec![
            "Authorization: Bearer sk_1".to_owned(),
            "Stripe-Version: 2026-10-28.endive".to_owned()
        ])
    );
    assert_eq!(
        headers(
            "stripe_oauth2",
            &[("secret", "sk_1"), ("account", "acct_1")]
        )
        .unwrap()[1],
        "Stripe-Account: acct_1"
    );
    assert_eq!(
        headers("stripe_key", &[("secret", "")]),
        Err(BadCredential::Missing("secret".to_owned()))
    );
    assert_eq!(
        headers("stripe_key", &[("key", "x")]),
        Err(BadCredential::UnknownField("key".to_owned()))
    );
    let twice = [("secret", "a"), ("secret_key", "b")];
    assert_eq!(
        headers("stripe_key", &twice),
        Err(BadCredential::Twice("secret".to_owned()))
    );
    let split = [("secret", "a\r\nX-Evil: 1")];
    assert_eq!(
        headers("stripe_key", &split),
        Err(BadCredential::NotAHeader("Authorization".to_owned()))
    );
    assert!(stripe.headers("nope", &fields(&[])).is_err());
    let header = Header {
        name: "Authorization".to_owned(),
        value: "Bearer sk_1".to_owned(),
    };
    assert!(!format!("{header:?}").contains("sk_1"));
    assert_eq!(
        stripe.base(&fields(&[])).unwrap(),
        "https://api.stripe.com/v1"
    );
}

#[test]
fn a_credential_may_have_a_header_of_its_own() {
    let auth = "auth = { header = { name = \"X-Key\", value = \"key={secret}\" } }";
    let provider = FILES[0]
        .1
        .replacen("auth = { bearer = \"secret\" }", auth, 1);
    let definition =
        Definition::compile("stripe", &[("provider.toml", &provider), FILES[1]]).unwrap();
    let headers = definition
        .headers("stripe_key", &fields(&[("secret", "s")]))
        .unwrap();
    assert_eq!(
        (headers[0].name.as_str(), headers[0].value.as_str()),
        ("X-Key", "key=s")
    );
    assert!(definition.headers("stripe_key", &fields(&[])).is_err());
}

#[test]
fn the_plan_names_every_request() {
    let plan = stripe().plan().join("\n");
    for expected in [
        "Stripe (stripe) at https://api.stripe.com/v1",
        "GET /subscription_items?subscription=PARENT&limit=100, newest first",
        "at most 25 requests per 1s, 8 at once",
        "kept 30d, overlap 5m",
        "once for each subscription",
        "cannot be limited by creation time",
        "lines from GET /invoices/{id}/lines",
        "events events of invoice.* except invoice.upcoming",
        "list the last 30d again every 1h",
    ] {
        assert!(plan.contains(expected), "{expected} in\n{plan}");
    }
}

#[test]
fn what_one_list_hides_is_in_the_next() {
    let stripe = stripe();
    let prices = stripe.collection("price").unwrap();
    let list = |cursor: Option<&PageCursor>| {
        let listing = Listing {
            cursor,
            ..Listing::default()
        };
        prices.list(&listing).unwrap().path_and_query
    };
    let next = |cursor: Option<&PageCursor>, more: bool| {
        let body = format!(
            r#"{{"data":[{{"id":"price_1","object":"price","created":7}}],"has_more":{more}}}"#
        );
        prices
            .parse_page(&Listing::at(cursor), &plain(&body))
            .unwrap()
            .next
    };
    assert_eq!(list(None), "/prices?active=true&limit=100");
    let second = next(None, true).unwrap();
    let after = "&limit=100&starting_after=price_1";
    assert_eq!(list(Some(&second)), format!("/prices?active=true{after}"));
    let archived = next(Some(&second), false).unwrap();
    assert_eq!(list(Some(&archived)), "/prices?active=false&limit=100");
    let last = next(Some(&archived), true).unwrap();
    assert_eq!(list(Some(&last)), format!("/prices?active=false{after}"));
    assert_eq!(last.created(), Some(Timestamp::from_seconds(7)));
    let stored: PageCursor = serde_json::from_slice(&serde_json::to_vec(&last).unwrap()).unwrap();
    let resumed = prices.resume(&stored).unwrap();
    assert_eq!(
        list(Some(&resumed)),
        "/prices?active=false&limit=100&created%5Blte%5D=7"
    );
    assert_eq!(next(Some(&last), false), None);
    let blind = PageCursor::List {
        number: 1,
        at: None,
    };
    assert_eq!(prices.resume(&blind), Some(blind));
}
