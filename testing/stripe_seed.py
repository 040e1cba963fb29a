"""Fills a Stripe-shaped server with one small, varied and always equal population of `n` customers."""

from collections import defaultdict

CARD = {"object": "card", "number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
NAMES = ["Ada Lovelace", "Jürgen Groß", "山田 太郎", "Zoë O’Neill", 'Quote " and \\ slash', "👩‍🚀 Astronaut"]


def seed(client, n):
    """Creates the population and answers the created ids by collection, in order of creation."""
    ids = defaultdict(list)

    def create(collection, service, **params):
        created = service.create(params)
        ids[collection].append(created.id)
        return created

    v1 = client.v1
    for i in range(n // 10 + 1):
        product = create("product", v1.products, name=f"Product {i}", metadata={"row": str(i)})
        create(
            "plan",
            v1.plans,
            id=f"plan_{i}",
            product=product.id,
            amount=1000 + i,
            currency="eur",
            interval="month",
            nickname=f"Plan {i}",
        )
        create("coupon", v1.coupons, id=f"coupon_{i}", duration="once", percent_off=10.5)
    create("tax_rate", v1.tax_rates, display_name="VAT", inclusive=False, percentage=19.0)

    for i in range(n):
        customer = create(
            "customer",
            v1.customers,
            name=NAMES[i % len(NAMES)],
            email=f"customer-{i}@example.com",
            description=f"Row {i}",
            address={"line1": f"{i} Main Street", "city": "Tromsø", "country": "NO"},
            metadata={"row": str(i), "empty": "-", "Ünïcode": "ключ"},
            source=CARD,
        )
        if i % 2 == 0:
            plan = ids["plan"][i % len(ids["plan"])]
            create("subscription", v1.subscriptions, customer=customer.id, items=[{"plan": plan}])
        if i % 3 == 0:
            create("invoiceitem", v1.invoice_items, customer=customer.id, amount=500 + i, currency="eur")
        if i % 5 == 0:
            charge = create("charge", v1.charges, customer=customer.id, amount=2000 + i, currency="eur")
            create("refund", v1.refunds, charge=charge.id, amount=100 + i)
        if i % 7 == 0:
            create("payment_intent", v1.payment_intents, customer=customer.id, amount=3000 + i, currency="eur")
            create("setup_intent", v1.setup_intents, customer=customer.id)
            create("payout", v1.payouts, amount=4000 + i, currency="eur", description=f"Payout {i}")
    return ids
