//! Lists within objects.

use crate::client::Client;

#[tokio::test]
async fn nested_lists_stop_at_ten_and_page_on_at_their_url() {
    let client = Client::new().await;
    let customer = client.create("/v1/customers", &[]).await;
    let price = client.price().await;
    let names: Vec<String> = (0..12)
        .map(|index| format!("items[{index}][price]"))
        .collect();
    let mut form = vec![("customer", customer.as_str())];
    form.extend(names.iter().map(|name| (name.as_str(), price.as_str())));
    let subscription = client.create("/v1/subscriptions", &form).await;

    let subscription = client
        .get(&format!("/v1/subscriptions/{subscription}"))
        .await
        .body;
    let invoice = subscription["latest_invoice"].as_str().unwrap();
    let invoice = client.get(&format!("/v1/invoices/{invoice}")).await.body;
    assert_eq!(invoice["amount_paid"], 12 * 500);
    for (list, joint) in [(&subscription["items"], '&'), (&invoice["lines"], '?')] {
        let data = list["data"].as_array().unwrap();
        assert_eq!((data.len(), &list["has_more"]), (10, &true.into()));
        assert_eq!(list["total_count"], 12);
        let url = list["url"].as_str().unwrap();
        let last = data[9]["id"].as_str().unwrap();
        let rest = client
            .get(&format!("{url}{joint}starting_after={last}"))
            .await;
        assert_eq!(
            (rest.ids().len(), &rest.body["has_more"]),
            (2, &false.into())
        );
        let whole = client.ids(&format!("{url}{joint}limit=100")).await;
        assert_eq!(whole[9], last);
        assert_eq!(whole[10..], rest.ids());
    }
}

#[tokio::test]
async fn a_change_to_an_item_changes_its_subscription() {
    let client = Client::new().await;
    let customer = client.create("/v1/customers", &[]).await;
    let price = client.price().await;
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    let id = client.create("/v1/subscriptions", &form).await;
    let path = format!("/v1/subscriptions/{id}");
    let first = client
        .ids(&format!("/v1/subscription_items?subscription={id}"))
        .await
        .remove(0);

    let refused = client
        .delete(&format!("/v1/subscription_items/{first}"))
        .await;
    assert_eq!(refused.status, 400);
    let form = [
        ("subscription", id.as_str()),
        ("price", &price),
        ("quantity", "4"),
    ];
    let second = client.create("/v1/subscription_items", &form).await;
    let items = client.get(&path).await.body["items"]["data"].clone();
    assert_eq!(
        (&items[0]["id"], &items[0]["quantity"]),
        (&second.clone().into(), &4.into())
    );

    client
        .post(
            &format!("/v1/subscription_items/{second}"),
            &[("quantity", "7")],
        )
        .await;
    assert_eq!(
        client.get(&path).await.body["items"]["data"][0]["quantity"],
        7
    );
    let form = [
        ("items[0][id]", first.as_str()),
        ("items[0][deleted]", "true"),
    ];
    let updated = client.post(&path, &form).await;
    assert_eq!(updated.body["items"]["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        client.get(&path).await.body["items"]["data"][0]["id"],
        second
    );

    client.delete(&path).await;
    let refused = client
        .post(
            &format!("/v1/subscription_items/{second}"),
            &[("quantity", "8")],
        )
        .await;
    assert_eq!(refused.status, 400);

    let updates = client
        .get("/v1/events?type=customer.subscription.updated")
        .await;
    assert_eq!(updates.ids().len(), 3);
    assert_eq!(
        updates.body["data"][0]["data"]["previous_attributes"]["items"]["total_count"],
        2
    );
}

#[tokio::test]
async fn a_change_to_an_item_that_is_not_shown_is_announced() {
    let client = Client::new().await;
    let customer = client.create("/v1/customers", &[]).await;
    let price = client.price().await;
    let names: Vec<String> = (0..11)
        .map(|index| format!("items[{index}][price]"))
        .collect();
    let mut form = vec![("customer", customer.as_str())];
    form.extend(names.iter().map(|name| (name.as_str(), price.as_str())));
    let id = client.create("/v1/subscriptions", &form).await;
    let all = format!("/v1/subscription_items?subscription={id}&limit=100");
    let last = client.ids(&all).await.pop().unwrap();
    let path = format!("/v1/subscription_items/{last}");
    for quantity in ["3", "3"] {
        client.post(&path, &[("quantity", quantity)]).await;
    }
    let updates = "/v1/events?type=customer.subscription.updated";
    assert_eq!(client.get(updates).await.ids().len(), 1);
}
