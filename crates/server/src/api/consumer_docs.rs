//! Consumers as the API takes and shows them.

use std::collections::BTreeSet;

use headrace_engine::{ConsumerView, Error, Stored};
use headrace_model::config::{DeliverPolicy, Metadata};
use headrace_model::filter::Filter;
use headrace_model::time::parse_span;
use headrace_model::{OrgId, SyncId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::either::TextOr;
use super::error::ApiError;
use super::list::OneOrMany;

/// Where a consumer starts.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, from = "TextOr<PolicyAt>")]
pub(super) enum PolicyIn {
    /// `all`, `new`, `last`, or a span such as `1h`.
    Word(String),
    /// At an index or a time.
    At(PolicyAt),
}

impl From<TextOr<PolicyAt>> for PolicyIn {
    fn from(given: TextOr<PolicyAt>) -> Self {
        match given {
            TextOr::Text(word) => Self::Word(word),
            TextOr::Other(at) => Self::At(at),
        }
    }
}

/// Where a consumer starts, exactly.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyAt {
    /// The first index to deliver.
    from_idx: Option<u64>,
    /// Deliver what was committed at or after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    from_time: Option<Timestamp>,
}

/// Conditions on records; all must hold. Each is a value, a list, or `"*"`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FiltersIn {
    /// Providers.
    provider: Option<OneOrMany>,
    /// Syncs by id or slug.
    #[serde(alias = "resource_id")]
    sync_id: Option<OneOrMany>,
    /// Collections, such as `stripe:customer`.
    collection_id: Option<OneOrMany>,
    /// Syncs by external id.
    external_id: Option<OneOrMany>,
    /// Only deleted records, or only others.
    deleted: Option<Deleted>,
}

/// `true`, `false`, a list of them, or `"*"` for both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Deleted {
    /// Only deleted records, or only others.
    Is(bool),
    /// Any of these.
    Of(Vec<bool>),
    /// `"*"`.
    Any(String),
}

impl Deleted {
    fn read(self) -> Result<Option<bool>, ApiError> {
        let values = match self {
            Self::Is(deleted) => vec![deleted],
            Self::Of(values) => values,
            Self::Any(any) if any == "*" => vec![true, false],
            Self::Any(_) => Vec::new(),
        };
        match (values.contains(&true), values.contains(&false)) {
            (true, true) => Ok(None),
            (deleted, other) if deleted != other => Ok(Some(deleted)),
            _ => {
                let reason = r#"must be true, false, a list of them, or "*""#;
                Err(ApiError::invalid("filters.deleted", reason))
            }
        }
    }
}

/// A consumer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsumerOut {
    /// Its id.
    id: Uuid,
    /// Its kind: `http`.
    kind: &'static str,
    /// Its organisation.
    org_id: Uuid,
    /// The stream it reads.
    stream_id: Uuid,
    /// A name for people.
    name: Option<String>,
    /// An address besides the id.
    slug: Option<String>,
    /// Where it started.
    #[schema(value_type = PolicyIn)]
    deliver_policy: serde_json::Value,
    /// How long a worker has for a message, in milliseconds.
    ack_wait_ms: u64,
    /// Deliveries of a version in all; -1 for no maximum.
    max_deliver: i64,
    /// Messages outstanding at once.
    max_ack_pending: u32,
    /// Long polls at once.
    max_waiting: u32,
    /// What it is given.
    #[schema(value_type = Object)]
    filters: serde_json::Value,
    /// The user's own.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// `active` or `paused`.
    status: &'static str,
    /// Versions that wait for their first delivery.
    num_pending: u64,
    /// Delivered at least once and not settled.
    num_ack_pending: u64,
    /// Dead letters.
    num_dead: u64,
    /// When the oldest of the dead letters died; `null` while there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_dead_at: Option<Timestamp>,
    /// Where it stands in the stream.
    stats: ConsumerStats,
    /// Whether this change restarted it; only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restarted: Option<bool>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Where a consumer stands in its stream.
#[derive(Debug, Serialize, ToSchema)]
struct ConsumerStats {
    /// The last index it has moved past.
    position: u64,
    /// The stream's newest index.
    last_idx: u64,
    /// How long the oldest message that was never handed out has waited, in milliseconds.
    lag_ms: u64,
    /// Messages handed to workers per second, over the last minute.
    delivered_per_second: f64,
    /// Messages settled per second, over the last minute.
    settled_per_second: f64,
}

pub(super) fn out(view: ConsumerView) -> ConsumerOut {
    let ConsumerView {
        consumer,
        counts,
        position,
        last_idx,
        lag,
        oldest_dead_at,
        rate,
    } = view;
    let lag_ms = lag.map_or(0, |lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    let Stored {
        id,
        org,
        revision: _,
        created_at,
        updated_at,
        value,
    } = consumer;
    ConsumerOut {
        id,
        kind: "http",
        org_id: org.0,
        stream_id: value.stream_id.0,
        name: value.name,
        slug: value.slug,
        deliver_policy: policy_out(value.deliver_policy),
        ack_wait_ms: value.ack_wait_ms,
        max_deliver: value.max_deliver,
        max_ack_pending: value.max_ack_pending,
        max_waiting: value.max_waiting,
        filters: filters_out(&value.filters),
        metadata: value.metadata,
        status: if value.paused { "paused" } else { "active" },
        num_pending: counts.pending,
        num_ack_pending: counts.ack_pending,
        num_dead: counts.dead,
        oldest_dead_at,
        stats: ConsumerStats {
            position,
            last_idx,
            lag_ms,
            delivered_per_second: rate.delivered,
            settled_per_second: rate.settled,
        },
        restarted: None,
        created_at,
        updated_at,
    }
}

fn policy_out(policy: DeliverPolicy) -> serde_json::Value {
    match policy {
        DeliverPolicy::All => "all".into(),
        DeliverPolicy::New => "new".into(),
        DeliverPolicy::Last => "last".into(),
        DeliverPolicy::Window(millis) => match millis {
            m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000).into(),
            m if m % 60_000 == 0 => format!("{}m", m / 60_000).into(),
            m if m % 1_000 == 0 => format!("{}s", m / 1_000).into(),
            m => format!("{m}ms").into(),
        },
        DeliverPolicy::FromIdx(idx) => serde_json::json!({ "from_idx": idx }),
        DeliverPolicy::FromTime(time) => serde_json::json!({ "from_time": time }),
    }
}

impl PolicyIn {
    pub(super) fn read(self) -> Result<DeliverPolicy, ApiError> {
        let wrong = || {
            let reason =
                r#"must be all, new, last, a span such as 1h, {"from_idx": n} or {"from_time": t}"#;
            ApiError::invalid("deliver_policy", reason)
        };
        match self {
            Self::Word(word) => match word.as_str() {
                "all" => Ok(DeliverPolicy::All),
                "new" => Ok(DeliverPolicy::New),
                "last" => Ok(DeliverPolicy::Last),
                span => {
                    let millis = parse_span(span).ok_or_else(wrong)?.as_millis();
                    Ok(DeliverPolicy::Window(
                        u64::try_from(millis).map_err(|_| wrong())?,
                    ))
                }
            },
            Self::At(PolicyAt {
                from_idx: Some(idx),
                from_time: None,
            }) => Ok(DeliverPolicy::FromIdx(idx)),
            Self::At(PolicyAt {
                from_idx: None,
                from_time: Some(time),
            }) => Ok(DeliverPolicy::FromTime(time)),
            Self::At(_) => Err(wrong()),
        }
    }
}

fn filters_out(filter: &Filter) -> serde_json::Value {
    let mut out = serde_json::to_value(filter).unwrap_or_default();
    if let Some(members) = out.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    out
}

impl FiltersIn {
    /// The filter; syncs that are given by slug are looked up.
    pub(super) async fn read(self, app: &App, org: OrgId) -> Result<Filter, ApiError> {
        let Self {
            provider,
            sync_id,
            collection_id,
            external_id,
            deleted,
        } = self;
        let deleted = match deleted {
            Some(deleted) => deleted.read()?,
            None => None,
        };
        let sync_id = match set("filters.sync_id", sync_id)? {
            None => None,
            Some(names) => {
                let mut ids = BTreeSet::new();
                for name in names {
                    ids.insert(sync_id_of(app, org, "filters.sync_id", &name).await?);
                }
                Some(ids)
            }
        };
        let provider = set("filters.provider", provider)?;
        let collection_id = set("filters.collection_id", collection_id)?;
        let external_id = set("filters.external_id", external_id)?;
        Ok(Filter {
            provider,
            sync_id,
            collection_id,
            external_id,
            deleted,
        })
    }
}

/// The id of a sync that is given by id or slug. One that was removed still has records.
pub(super) async fn sync_id_of(
    app: &App,
    org: OrgId,
    field: &str,
    name: &str,
) -> Result<String, ApiError> {
    if let Some(id) = SyncId::parse(name) {
        return Ok(id.to_string());
    }
    match app.engine.sync(org, name).await {
        Ok(sync) => Ok(SyncId(sync.id).to_string()),
        Err(Error::NotFound { .. }) => Err(ApiError::invalid(
            field,
            format!("has {name:?}, which is no sync's id or slug"),
        )),
        Err(error) => Err(error.into()),
    }
}

fn set(field: &str, values: Option<OneOrMany>) -> Result<Option<BTreeSet<String>>, ApiError> {
    let values: BTreeSet<String> = match values {
        None => return Ok(None),
        Some(OneOrMany::One(value)) => BTreeSet::from([value]),
        Some(OneOrMany::Many(values)) => values.into_iter().collect(),
    };
    if values.is_empty() {
        return Err(ApiError::invalid(
            field,
            r#"must name at least one, or be "*""#,
        ));
    }
    Ok((!values.contains("*")).then_some(values))
}
