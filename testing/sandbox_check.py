"""Drives our Stripe sandbox with Stripe's own Python library, and says what is not as it expects.

Usage: sandbox_check.py BASE_URL [KEY]    (a sandbox with data: `cargo run -p headrace-sandbox --example stripe`)
"""

import sys
import time
import uuid

import stripe

BASE = sys.argv[1].rstrip("/")
KEY = sys.argv[2] if len(sys.argv) > 2 else "sk_test_sandbox"


def client(key=KEY):
    return stripe.StripeClient(key, base_addresses={"api": BASE}, max_network_retries=0)


def refused(error, call):
    try:
        call()
    except error as refusal:
        return refusal
    raise AssertionError(f"{error.__name__} expected")


def check_account(api):
    account = api.v1.accounts.retrieve_current()
    assert account.object == "account" and account.id.startswith("acct_")


def check_paging(api):
    services = [
        api.v1.customers,
        api.v1.products,
        api.v1.prices,
        api.v1.subscriptions,
        api.v1.invoices,
        api.v1.charges,
        api.v1.payment_intents,
        api.v1.refunds,
        api.v1.balance_transactions,
        api.v1.events,
    ]
    for service in services:
        name = type(service).__name__
        by_seven = [row.id for row in service.list({"limit": 7}).auto_paging_iter()]
        by_hundred = [row.id for row in service.list({"limit": 100}).auto_paging_iter()]
        assert by_seven, f"{name}: no data"
        assert by_seven == by_hundred, f"{name}: pages differ"
        assert len(set(by_seven)) == len(by_seven), f"{name}: an object twice"
        oldest = by_seven[-1]
        upwards = service.list({"limit": 7, "ending_before": oldest}).auto_paging_iter()
        assert [row.id for row in upwards] == by_seven[-2::-1], f"{name}: upwards differs"
        assert service.retrieve(oldest).id == oldest
    archived = api.v1.prices.list({"limit": 1}).data[0]
    api.v1.prices.update(archived.id, {"active": False})
    listed = api.v1.prices.list({"limit": 100}).auto_paging_iter()
    assert archived.id not in {row.id for row in listed}
    hidden = api.v1.prices.list({"active": False, "limit": 100}).data
    assert archived.id in {row.id for row in hidden}
    everything = api.v1.subscriptions.list({"status": "all", "limit": 100})
    statuses = {row.status for row in everything.auto_paging_iter()}
    assert "canceled" in statuses
    live = api.v1.subscriptions.list({"limit": 100}).auto_paging_iter()
    assert "canceled" not in {row.status for row in live}


def check_nested(api):
    rows = api.v1.subscriptions.list({"status": "all", "limit": 100}).auto_paging_iter()
    subscription = next(row for row in rows if row["items"].has_more)
    items = list(subscription["items"].auto_paging_iter())
    assert len(items) > 10 and len({item.id for item in items}) == len(items)
    listed = api.v1.subscription_items.list({"subscription": subscription.id, "limit": 100})
    assert [item.id for item in listed.data] == [item.id for item in items]
    invoice = api.v1.invoices.retrieve(subscription.latest_invoice)
    lines = list(invoice.lines.auto_paging_iter())
    assert len(lines) == len(items)
    listed = api.v1.invoices.line_items.list(invoice.id, {"limit": 100})
    assert [line.id for line in listed.data] == [line.id for line in lines]
    assert sum(line.amount for line in lines) == invoice.total


def check_writes_and_events(api):
    start = int(time.time())
    customer = api.v1.customers.create(
        {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "address": {"city": "London", "country": "GB"},
            "metadata": {"tier": "gold", "café": "ü & ="},
            "preferred_locales": ["en", "fr"],
        }
    )
    assert customer.address.city == "London" and customer.metadata["café"] == "ü & ="
    assert customer.preferred_locales == ["en", "fr"]
    updated = api.v1.customers.update(
        customer.id, {"name": "Ada", "metadata": {"tier": "", "seat": "1"}}
    )
    assert updated.name == "Ada" and updated.metadata.to_dict() == {"café": "ü & =", "seat": "1"}
    found = api.v1.customers.list({"email": "ada@example.com", "created": {"gte": start}})
    assert customer.id in [row.id for row in found.data]

    product = api.v1.products.create({"name": "Water"})
    price = api.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 1500,
            "recurring": {"interval": "month"},
        }
    )
    assert str(price.unit_amount_decimal) == "1500"
    subscription = api.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id, "quantity": 2}]}
    )
    assert subscription["items"].data[0].quantity == 2
    expanded = api.v1.subscriptions.retrieve(
        subscription.id, {"expand": ["customer", "latest_invoice"]}
    )
    assert expanded.customer.name == "Ada" and expanded.latest_invoice.amount_paid == 3000
    page = api.v1.subscriptions.list(
        {"customer": customer.id, "expand": ["data.items.data.price.product"]}
    )
    assert page.data[0]["items"].data[0].price.product.name == "Water"
    api.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    canceled = api.v1.subscriptions.cancel(subscription.id)
    assert canceled.status == "canceled" and canceled.canceled_at >= start

    charges = api.v1.charges.list({"customer": customer.id}).data
    refund = api.v1.refunds.create({"charge": charges[0].id, "amount": 500})
    assert api.v1.charges.retrieve(charges[0].id).amount_refunded == 500
    assert api.v1.balance_transactions.retrieve(refund.balance_transaction).amount == -500

    deleted = api.v1.customers.delete(customer.id)
    assert deleted.deleted and api.v1.customers.retrieve(customer.id).deleted

    events = api.v1.events.list({"created": {"gte": start}, "limit": 100})
    mine = [event for event in events.auto_paging_iter() if customer.id in str(event.data)]
    types = [event.type for event in reversed(mine)]
    assert types[0] == "customer.created" and types[-1] == "customer.deleted", types
    for expected in [
        "customer.updated",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "invoice.paid",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.refunded",
    ]:
        assert expected in types, expected
    update = next(event for event in mine if event.type == "customer.updated")
    assert update.data.previous_attributes["name"] == "Ada Lovelace"
    assert update.data.previous_attributes["metadata"].to_dict() == {"tier": "gold", "seat": None}
    assert update.request.id.startswith("req_")
    several = api.v1.events.list({"types": ["customer.deleted", "product.created"]})
    assert {event.type for event in several.data} == {"customer.deleted", "product.created"}


def check_idempotency(api):
    options = {"idempotency_key": str(uuid.uuid4())}
    first = api.v1.customers.create({"name": "Once"}, options)
    second = api.v1.customers.create({"name": "Once"}, options)
    assert first.id == second.id
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    refused(
        stripe.IdempotencyError, lambda: api.v1.customers.create({"name": "Other"}, options)
    )


def check_errors(api):
    missing = refused(
        stripe.InvalidRequestError, lambda: api.v1.customers.retrieve("cus_missing")
    )
    assert (missing.http_status, missing.code, missing.param) == (404, "resource_missing", "id")
    assert missing.request_id.startswith("req_")
    cursor = refused(
        stripe.InvalidRequestError,
        lambda: api.v1.customers.list({"starting_after": "cus_missing"}),
    )
    assert (cursor.http_status, cursor.code) == (400, "resource_missing")
    unknown = refused(
        stripe.InvalidRequestError, lambda: api.v1.customers.list({"colour": "blue"})
    )
    assert (unknown.http_status, unknown.code) == (400, "parameter_unknown")
    refused(stripe.InvalidRequestError, lambda: api.v1.customers.list({"limit": 101}))
    refused(
        stripe.AuthenticationError, lambda: client("sk_test_wrong_key_0000").v1.customers.list()
    )


def main():
    api = client()
    for check in [
        check_account,
        check_paging,
        check_nested,
        check_writes_and_events,
        check_idempotency,
        check_errors,
    ]:
        check(api)
        print("ok", check.__name__)


main()
