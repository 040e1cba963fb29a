//! Syncs as the API shows them.

use headrace_engine::{CollectionStatus, Problems, Stored, SyncView, check_limit};
use headrace_model::Timestamp;
use headrace_model::config::{Metadata, RateLimit};
use headrace_model::health::{Health, HealthStatus};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;

/// How many requests may be made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RateLimit)]
pub(super) struct RateLimitDoc {
    /// Requests per interval.
    #[schema(minimum = 1)]
    allowed_requests: u32,
    /// The interval, in seconds.
    #[serde(serialize_with = "seconds")]
    #[schema(minimum = 0.001, maximum = 86400)]
    interval: f64,
    /// Requests under way at once; 0: no cap.
    #[serde(default)]
    max_concurrent_requests: u32,
}

/// Whole seconds are shown as they are given: `60`, not `60.0`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn seconds<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match seconds.fract() == 0.0 {
        true => serializer.serialize_u64(*seconds as u64),
        false => serializer.serialize_f64(*seconds),
    }
}

impl RateLimitDoc {
    pub(super) fn read(self, field: &str) -> Result<RateLimit, ApiError> {
        let Self {
            allowed_requests,
            interval,
            max_concurrent_requests,
        } = self;
        let limit = RateLimit {
            allowed_requests,
            interval,
            max_concurrent_requests,
        };
        let mut problems = Problems::default();
        check_limit(field, &limit, &mut problems);
        problems.check()?;
        Ok(limit)
    }
}

impl From<RateLimit> for RateLimitDoc {
    fn from(limit: RateLimit) -> Self {
        let RateLimit {
            allowed_requests,
            interval,
            max_concurrent_requests,
        } = limit;
        Self {
            allowed_requests,
            interval,
            max_concurrent_requests,
        }
    }
}

/// Health, in plain words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthDoc {
    /// `healthy`, `initializing`, `warning` or `error`.
    status: String,
    /// Why, and what to do.
    notes: Vec<String>,
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The sync; only with a sync's health.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_id: Option<Uuid>,
}

impl HealthDoc {
    fn of(health: Health, sync: Uuid) -> Self {
        let Health {
            status,
            notes,
            time,
        } = health;
        let status = match status {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Initializing => "initializing",
            HealthStatus::Warning => "warning",
            HealthStatus::Error => "error",
        };
        Self {
            status: status.to_owned(),
            notes,
            time,
            sync_id: Some(sync),
        }
    }
}

pub(super) fn read_status(text: &str) -> Result<HealthStatus, ApiError> {
    match text {
        "healthy" => Ok(HealthStatus::Healthy),
        "initializing" => Ok(HealthStatus::Initializing),
        "warning" => Ok(HealthStatus::Warning),
        "error" => Ok(HealthStatus::Error),
        _ => Err(ApiError::invalid(
            "health.status",
            "must be healthy, initializing, warning or error",
        )),
    }
}

/// A sync.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncOut {
    /// Its id.
    id: Uuid,
    /// Its organisation.
    org_id: Uuid,
    /// The provider.
    provider: String,
    /// A name for people.
    name: String,
    /// An address besides the id.
    slug: Option<String>,
    /// The stream it fills.
    stream_id: Uuid,
    /// The credential it reads with.
    credential_id: Uuid,
    /// The collections it reads.
    collection_ids: Vec<String>,
    /// Its share of the credential's budget.
    rate_limit: Option<RateLimitDoc>,
    /// The age it admits.
    max_age_days: Option<u32>,
    /// `continuous` or a span.
    sync_frequency: String,
    /// Your name for whose account it is.
    external_id: Option<String>,
    /// Your own.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// `active` or `disabled`.
    status: &'static str,
    /// How it is doing.
    health: HealthDoc,
    /// When all collections had been read once.
    #[schema(value_type = Option<String>, format = DateTime)]
    initial_backfill_completed_at: Option<Timestamp>,
    /// Its collections.
    collections: Vec<CollectionDoc>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A collection of a sync.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SyncCollection)]
struct CollectionDoc {
    /// Its id.
    id: String,
    /// `waiting`, `backfilling`, `live`, `paused`, `retrying`, `failed` or `disabled`.
    #[schema(value_type = String)]
    status: headrace_engine::Activity,
    /// Records in the stream, deleted ones included.
    records: u64,
    /// Its reading from beginning to end.
    backfill: BackfillDoc,
    /// When changes were last looked for.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_checked_at: Option<Timestamp>,
    /// How long the newest change took from the provider to the stream, in milliseconds.
    lag_ms: Option<u64>,
    /// What is wrong.
    error: Option<String>,
    /// What should be known besides.
    notes: Vec<String>,
}

/// A reading of a collection from beginning to end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backfill)]
struct BackfillDoc {
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it was complete.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// Records read.
    records: u64,
    /// About how many records there are, once that can be told.
    estimated_total: Option<u64>,
    /// About when it will be complete, while it goes on.
    #[schema(value_type = Option<String>, format = DateTime)]
    estimated_completion_at: Option<Timestamp>,
    /// Where it is.
    cursor: Option<String>,
}

pub(super) fn out(view: SyncView) -> SyncOut {
    let SyncView {
        sync,
        status,
        records,
    } = view;
    let Stored {
        id,
        org,
        revision: _,
        created_at,
        updated_at,
        value,
    } = sync;
    let count = |collection: &str| {
        records
            .iter()
            .find(|(id, _)| id == collection)
            .map_or(0, |(_, count)| *count)
    };
    let collection = |one: CollectionStatus| CollectionDoc {
        records: count(&one.id),
        id: one.id,
        status: one.status,
        backfill: BackfillDoc {
            started_at: one.backfill.started_at,
            completed_at: one.backfill.completed_at,
            records: one.backfill.records,
            estimated_total: one.backfill.estimated_total,
            estimated_completion_at: one.backfill.estimated_completion_at,
            cursor: one.backfill.cursor,
        },
        last_checked_at: one.last_checked_at,
        lag_ms: one.lag_ms,
        error: one.error,
        notes: one.notes,
    };
    SyncOut {
        id,
        org_id: org.0,
        provider: value.provider,
        name: value.name,
        slug: value.slug,
        stream_id: value.stream_id.0,
        credential_id: value.credential_id.0,
        collection_ids: value.collection_ids,
        rate_limit: value.rate_limit.map(Into::into),
        max_age_days: value.max_age_days,
        sync_frequency: value.sync_frequency.to_string(),
        external_id: value.external_id,
        metadata: value.metadata,
        status: if value.enabled { "active" } else { "disabled" },
        health: HealthDoc::of(status.health, id),
        initial_backfill_completed_at: status.initial_backfill_completed_at,
        collections: status.collections.into_iter().map(collection).collect(),
        created_at,
        updated_at,
    }
}
