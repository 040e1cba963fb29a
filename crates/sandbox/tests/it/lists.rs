//! Paging, filters and refusals of lists.

use headrace_sandbox::stripe::Collection;
use reqwest::Method;

use crate::client::{Client, START, answer};

#[tokio::test]
async fn paging_has_no_holes_while_rows_arrive_at_the_top() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Customer, 250);
    let before = client.ids("/v1/customers?limit=100").await;

    let mut seen = Vec::new();
    let mut path = "/v1/customers?limit=100".to_owned();
    loop {
        let page = client.get(&path).await;
        seen.extend(page.ids());
        client
            .create("/v1/customers", &[("name", "Latecomer")])
            .await;
        if page.body["has_more"] == false {
            break;
        }
        path = format!(
            "/v1/customers?limit=100&starting_after={}",
            seen.last().unwrap()
        );
    }

    assert_eq!(seen[..100], before);
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (250, 250));
    assert_eq!(client.ids("/v1/customers?limit=3").await.len(), 3);
    assert!(!seen.contains(&client.ids("/v1/customers?limit=1").await[0]));
}

#[tokio::test]
async fn ending_before_reads_the_page_just_newer() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Customer, 30);
    let all = client.ids("/v1/customers?limit=100").await;

    let path = format!("/v1/customers?limit=10&ending_before={}", all[20]);
    let page = client.get(&path).await;
    assert_eq!(page.ids(), all[10..20]);
    assert_eq!(page.body["has_more"], true);

    let path = format!("/v1/customers?limit=10&ending_before={}", all[5]);
    let page = client.get(&path).await;
    assert_eq!(page.ids(), all[..5]);
    assert_eq!(page.body["has_more"], false);
}

#[tokio::test]
async fn a_deleted_cursor_breaks_paging_off() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Customer, 3);
    let all = client.ids("/v1/customers").await;
    client.delete(&format!("/v1/customers/{}", all[1])).await;
    let after = client
        .get(&format!("/v1/customers?starting_after={}", all[1]))
        .await;
    assert_eq!(after.refusal(), (400, "resource_missing", "starting_after"));
}

#[tokio::test]
async fn objects_of_one_second_come_last_inserted_first() {
    let client = Client::new().await;
    let first = client.create("/v1/customers", &[("name", "First")]).await;
    let second = client.create("/v1/customers", &[("name", "Second")]).await;
    client.set_clock(START - 10);
    let older = client.create("/v1/customers", &[("name", "Older")]).await;

    assert_eq!(client.ids("/v1/customers").await, [second, first, older]);
}

#[tokio::test]
async fn created_selects_by_second() {
    let client = Client::new().await;
    let mut ids = Vec::new();
    for second in 0..5 {
        client.set_clock(START + second);
        ids.push(client.create("/v1/customers", &[]).await);
    }
    ids.reverse();

    let query = |filter: &str| format!("/v1/customers?{}", filter.replace('S', "170000000"));
    let check = async |filter: &str, expected: &[String]| {
        assert_eq!(client.ids(&query(filter)).await, expected, "{filter}");
    };
    check("created[gte]=S2", &ids[..3]).await;
    check("created[gt]=S2", &ids[..2]).await;
    check("created[lt]=S2", &ids[3..]).await;
    check("created[lte]=S2", &ids[2..]).await;
    check("created[gt]=S0&created[lt]=S4", &ids[1..4]).await;
    check("created%5Bgt%5D=S4", &[]).await;
    check("created=S3", &ids[1..2]).await;
    let paged = format!("created[gte]=S1&starting_after={}", ids[1]);
    check(&paged, &ids[2..4]).await;
}

#[tokio::test]
async fn filters_select_by_field() {
    let client = Client::new().await;
    let ada = client
        .create("/v1/customers", &[("email", "ada@example.com")])
        .await;
    client
        .create("/v1/customers", &[("email", "alan@example.com")])
        .await;
    assert_eq!(
        client.ids("/v1/customers?email=ada%40example.com").await,
        [ada]
    );

    client.stripe.seed_all(20);
    let invoices = client.stripe.list_all(Collection::Invoice);
    let drafts = invoices
        .iter()
        .filter(|invoice| invoice["status"] == "draft")
        .count();
    assert_eq!(
        client
            .ids("/v1/invoices?status=draft&limit=100")
            .await
            .len(),
        drafts
    );
    assert!(0 < drafts && drafts < invoices.len());
}

#[tokio::test]
async fn canceled_subscriptions_hide_unless_asked_for() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Subscription, 3);
    let all = client.ids("/v1/subscriptions").await;
    let canceled = client
        .delete(&format!("/v1/subscriptions/{}", all[1]))
        .await;
    assert_eq!(canceled.body["status"], "canceled");

    assert_eq!(
        client.ids("/v1/subscriptions").await,
        [all[0].clone(), all[2].clone()]
    );
    assert_eq!(client.ids("/v1/subscriptions?status=all").await, all);
    let after = client
        .get(&format!("/v1/subscriptions?starting_after={}", all[1]))
        .await;
    assert_eq!(after.refusal(), (400, "resource_missing", "starting_after"));
    let path = format!("/v1/subscriptions?status=all&starting_after={}", all[1]);
    assert_eq!(client.ids(&path).await, all[2..]);
    assert_eq!(
        client.ids("/v1/subscriptions?status=canceled").await,
        [all[1].clone()]
    );
    assert_eq!(client.ids("/v1/subscriptions?status=active").await.len(), 2);
    let retrieved = client.get(&format!("/v1/subscriptions/{}", all[1])).await;
    assert_eq!(retrieved.body["status"], "canceled");
    let again = client
        .delete(&format!("/v1/subscriptions/{}", all[1]))
        .await;
    assert_eq!(again.refusal(), (404, "resource_missing", "id"));
}

#[tokio::test]
async fn a_list_has_the_stripe_form() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Customer, 11);
    let request = client
        .request(Method::GET, "/v1/customers")
        .header("stripe-version", "2020-08-27");
    let page = answer(request).await;

    assert_eq!(page.body["object"], "list");
    assert_eq!(page.body["url"], "/v1/customers");
    assert_eq!(page.body["has_more"], true);
    assert_eq!(page.ids().len(), 10);
    assert_eq!(page.header("stripe-version"), "2020-08-27");
    assert_eq!(page.header("date"), "Tue, 14 Nov 2023 22:13:20 GMT");
    assert!(page.header("request-id").starts_with("req_"));
    assert_eq!(
        client.get("/v1/customers").await.header("stripe-version"),
        "2026-10-28.endive"
    );
}

#[tokio::test]
async fn malformed_lists_are_refused() {
    let client = Client::new().await;
    client.stripe.seed(Collection::Customer, 2);
    let check = async |path: &str, expected: (u16, &str, &str)| {
        assert_eq!(client.get(path).await.refusal(), expected, "{path}");
    };
    check("/v1/customers?limit=0", (400, "", "limit")).await;
    check("/v1/customers?limit=101", (400, "", "limit")).await;
    check(
        "/v1/customers?limit=x",
        (400, "parameter_invalid_integer", "limit"),
    )
    .await;
    check("/v1/customers?nmae=x", (400, "parameter_unknown", "nmae")).await;
    check(
        "/v1/customers?limit[]=1",
        (400, "parameter_unknown", "limit[]"),
    )
    .await;
    check(
        "/v1/customers?types[]=x",
        (400, "parameter_unknown", "types[]"),
    )
    .await;
    check(
        "/v1/subscription_items?created[gt]=1",
        (400, "parameter_unknown", "created[gt]"),
    )
    .await;
    check(
        "/v1/customers/cus_0?limit=1",
        (400, "parameter_unknown", "limit"),
    )
    .await;
    check(
        "/v1/customers?created[ge]=1",
        (400, "parameter_unknown", "created[ge]"),
    )
    .await;
    check(
        "/v1/customers?starting_after=cus_0",
        (400, "resource_missing", "starting_after"),
    )
    .await;
    check(
        "/v1/customers?ending_before=cus_0",
        (400, "resource_missing", "ending_before"),
    )
    .await;
    check(
        "/v1/customers?starting_after=a&ending_before=b",
        (400, "", ""),
    )
    .await;
    check(
        "/v1/subscription_items",
        (400, "parameter_missing", "subscription"),
    )
    .await;
    check("/v1/customers/cus_0", (404, "resource_missing", "id")).await;
    check("/v1/customer", (404, "", "")).await;
    check("/v2/core/events", (404, "", "")).await;
}

#[tokio::test]
async fn only_the_key_opens_the_door() {
    let client = Client::new().await;
    let http = reqwest::Client::new();
    let url = format!("{}/v1/account", client.base);
    assert_eq!(answer(http.get(&url)).await.refusal(), (401, "", ""));
    let refused = answer(http.get(&url).bearer_auth("sk_test_abcdefgh1234")).await;
    assert_eq!(refused.status, 401);
    let message = "Invalid API Key provided: sk_test*********1234";
    assert_eq!(refused.body["error"]["message"], message);
    let basic = answer(http.get(&url).basic_auth(crate::client::KEY, Some(""))).await;
    assert_eq!(basic.body["object"], "account");
    assert_eq!(basic.body["id"], client.stripe.account_id());

    client.stripe.set_key("sk_test_rolled");
    assert_eq!(client.get("/v1/account").await.status, 401);
}
