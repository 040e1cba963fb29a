//! The collections of the API, and what each allows.

/// A collection of Stripe objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Collection {
    /// `/v1/customers`
    Customer,
    /// `/v1/products`
    Product,
    /// `/v1/prices`
    Price,
    /// `/v1/subscriptions`
    Subscription,
    /// `/v1/subscription_items`
    SubscriptionItem,
    /// `/v1/invoices`
    Invoice,
    /// `/v1/invoices/{id}/lines`
    InvoiceLine,
    /// `/v1/payment_intents`
    PaymentIntent,
    /// `/v1/charges`
    Charge,
    /// `/v1/refunds`
    Refund,
    /// `/v1/balance_transactions`
    BalanceTransaction,
    /// `/v1/events`
    Event,
}

impl Collection {
    /// Every collection, parents before children.
    pub const ALL: [Self; 12] = [
        Self::Customer,
        Self::Product,
        Self::Price,
        Self::Subscription,
        Self::SubscriptionItem,
        Self::Invoice,
        Self::InvoiceLine,
        Self::PaymentIntent,
        Self::Charge,
        Self::Refund,
        Self::BalanceTransaction,
        Self::Event,
    ];

    /// The collection at `/v1/{segment}`.
    pub(crate) fn at(segment: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|collection| collection.path() == segment && *collection != Self::InvoiceLine)
    }

    /// The path segment after `/v1/`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Customer => "customers",
            Self::Product => "products",
            Self::Price => "prices",
            Self::Subscription => "subscriptions",
            Self::SubscriptionItem => "subscription_items",
            Self::Invoice => "invoices",
            Self::InvoiceLine => "lines",
            Self::PaymentIntent => "payment_intents",
            Self::Charge => "charges",
            Self::Refund => "refunds",
            Self::BalanceTransaction => "balance_transactions",
            Self::Event => "events",
        }
    }

    /// The value of its objects' `object` field.
    pub fn object(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Product => "product",
            Self::Price => "price",
            Self::Subscription => "subscription",
            Self::SubscriptionItem => "subscription_item",
            Self::Invoice => "invoice",
            Self::InvoiceLine => "line_item",
            Self::PaymentIntent => "payment_intent",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::BalanceTransaction => "balance_transaction",
            Self::Event => "event",
        }
    }

    /// The prefix of its ids, and how many random characters follow.
    pub(crate) fn id_form(self) -> (&'static str, usize) {
        match self {
            Self::Customer => ("cus_", 14),
            Self::Product => ("prod_", 14),
            Self::Price => ("price_1", 23),
            Self::Subscription => ("sub_1", 23),
            Self::SubscriptionItem => ("si_", 14),
            Self::Invoice => ("in_1", 23),
            Self::InvoiceLine => ("il_1", 23),
            Self::PaymentIntent => ("pi_3", 23),
            Self::Charge => ("ch_3", 23),
            Self::Refund => ("re_3", 23),
            Self::BalanceTransaction => ("txn_3", 23),
            Self::Event => ("evt_1", 23),
        }
    }

    /// What the types of its events start with; `None` when changes to it are not announced.
    pub(crate) fn event_prefix(self) -> Option<&'static str> {
        match self {
            Self::Customer => Some("customer"),
            Self::Product => Some("product"),
            Self::Price => Some("price"),
            Self::Subscription => Some("customer.subscription"),
            Self::Invoice => Some("invoice"),
            Self::PaymentIntent => Some("payment_intent"),
            Self::Charge => Some("charge"),
            Self::Refund => Some("refund"),
            Self::SubscriptionItem | Self::InvoiceLine | Self::BalanceTransaction | Self::Event => {
                None
            }
        }
    }

    /// Whether lists can be limited by `created`.
    pub(crate) fn filters_created(self) -> bool {
        !matches!(self, Self::SubscriptionItem | Self::InvoiceLine)
    }

    /// Query parameters that select by equality, and where the value is found in an object.
    pub(crate) fn filters(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Customer => &[("email", "/email")],
            Self::Product => &[
                ("active", "/active"),
                ("shippable", "/shippable"),
                ("url", "/url"),
            ],
            Self::Price => &[
                ("active", "/active"),
                ("currency", "/currency"),
                ("product", "/product"),
                ("type", "/type"),
            ],
            Self::Subscription => &[
                ("status", "/status"),
                ("customer", "/customer"),
                ("collection_method", "/collection_method"),
            ],
            Self::SubscriptionItem => &[("subscription", "/subscription")],
            Self::Invoice => &[
                ("status", "/status"),
                ("customer", "/customer"),
                ("collection_method", "/collection_method"),
                ("subscription", "/parent/subscription_details/subscription"),
            ],
            Self::InvoiceLine => &[("invoice", "/invoice")],
            Self::PaymentIntent => &[("customer", "/customer")],
            Self::Charge => &[
                ("customer", "/customer"),
                ("payment_intent", "/payment_intent"),
                ("transfer_group", "/transfer_group"),
            ],
            Self::Refund => &[("charge", "/charge"), ("payment_intent", "/payment_intent")],
            Self::BalanceTransaction => &[
                ("currency", "/currency"),
                ("type", "/type"),
                ("source", "/source"),
            ],
            Self::Event => &[("type", "/type")],
        }
    }

    /// Where an object names the object it belongs to, for collections read by parent.
    pub(crate) fn parent(self) -> Option<&'static str> {
        match self {
            Self::Price => Some("/product"),
            Self::Subscription => Some("/customer"),
            Self::SubscriptionItem => Some("/subscription"),
            Self::InvoiceLine => Some("/invoice"),
            Self::Customer
            | Self::Product
            | Self::Invoice
            | Self::PaymentIntent
            | Self::Charge
            | Self::Refund
            | Self::BalanceTransaction
            | Self::Event => None,
        }
    }
}
