//! `/v1/collections` and `/v1/providers`: what can be synced.

use axum::Json;
use axum::extract::{Path, State};
use headrace_engine::{Provider, RefreshView};
use headrace_model::Timestamp;
use headrace_model::config::Refresh;
use headrace_model::provider::{Collection, CredentialKind};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CanAdmin, CanRead, unbound};
use super::error::{ApiError, Code};
use super::extract::{IdPath, NamePath, Query};
use super::list::{List, Part, PartParams};
use super::sync_docs::RateLimitDoc;
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_collections))
        .routes(routes!(get_collection))
        .routes(routes!(start_collection_refresh))
        .routes(routes!(collection_refresh_status))
        .routes(routes!(list_providers))
        .routes(routes!(get_provider))
}

/// A collection: a kind of object at a provider.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionOut {
    /// Its id, such as `stripe:customer`.
    id: String,
    /// Its name at the provider.
    upstream_id: String,
    /// The name people know it by.
    name: String,
    /// What can be written to it.
    mutable: Mutable,
    /// Whether changes arrive by a feed, and not only by reading it again.
    realtime: bool,
    /// By whom Headrace's tests judge how it is read. Of Stripe: `localstripe` and `emulate` are imitations of its API
    /// that are synced and compared record by record, `openapi` is Stripe's own description of requests and answers.
    /// Empty: nobody but Headrace itself.
    verified_by: Vec<String>,
    /// Its fields, as far as they are declared.
    fields: Vec<FieldOut>,
}

/// What can be written.
#[derive(Debug, Serialize, ToSchema)]
struct Mutable {
    /// New records.
    create: bool,
    /// Changes of records.
    update: bool,
    /// Removal of records.
    delete: bool,
}

/// A field of a collection's records.
#[derive(Debug, Serialize, ToSchema)]
struct FieldOut {
    /// Its id, such as `stripe:customer:name`.
    id: String,
    /// Its name.
    name: String,
    /// Where it is in `data`.
    accessor: String,
    /// Its type.
    r#type: &'static str,
    /// Whether it is the record's id.
    primary_key: bool,
}

fn out(collection: &Collection) -> CollectionOut {
    let field = |field: &headrace_model::provider::Field| FieldOut {
        id: format!("{}:{}", collection.id, field.name),
        name: field.name.clone(),
        accessor: field.name.clone(),
        r#type: field.kind.name(),
        primary_key: field.primary_key,
    };
    CollectionOut {
        id: collection.id.clone(),
        upstream_id: collection.name.clone(),
        name: collection.title.clone(),
        mutable: Mutable {
            create: false,
            update: false,
            delete: false,
        },
        realtime: collection.realtime(),
        verified_by: collection.judged_by.clone(),
        fields: collection.fields.iter().map(field).collect(),
    }
}

/// Lists the collections that a credential opens.
#[utoipa::path(get, path = "/v1/collections/{credential_id}", tag = "collections",
    params(("credential_id" = Uuid, Path), PartParams),
    responses((status = 200, body = List<CollectionOut>), Errors))]
async fn list_collections(
    CanRead(caller): CanRead,
    State(app): State<App>,
    IdPath(id): IdPath,
    Query(part): Query<PartParams>,
) -> Result<Json<List<CollectionOut>>, ApiError> {
    unbound(&caller)?;
    let (_, provider) = app.engine.provider_of_credential(caller.org, id).await?;
    let all = provider.definition.collections.iter().map(out).collect();
    Ok(Json(Part::from(part).of_named(all, |one| &one.id)?))
}

/// Reads a collection that a credential opens.
#[utoipa::path(get, path = "/v1/collections/{credential_id}/{id}", tag = "collections",
    params(("credential_id" = Uuid, Path), ("id" = String, Path)),
    responses((status = 200, body = CollectionOut), Errors))]
async fn get_collection(
    CanRead(caller): CanRead,
    State(app): State<App>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Json<CollectionOut>, ApiError> {
    unbound(&caller)?;
    let absent = || ApiError::new(Code::NotFound, "there is no such collection");
    let Path((credential, id)) = path.map_err(|_| absent())?;
    let credential = headrace_model::ids::parse_uuid(&credential).ok_or_else(absent)?;
    let (_, provider) = app
        .engine
        .provider_of_credential(caller.org, credential)
        .await?;
    provider
        .definition
        .collection(&id)
        .map(|found| Json(out(found)))
        .ok_or_else(absent)
}

/// How the discovery of a credential's collections is doing.
#[derive(Debug, Serialize, ToSchema)]
struct RefreshOut {
    /// `processing`, `succeeded` or `failed`.
    status: &'static str,
    /// When it began last.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_started_at: Option<Timestamp>,
    /// When it succeeded last.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_succeeded_at: Option<Timestamp>,
    /// Why it failed.
    error: Option<String>,
}

/// Looks again which collections a credential opens, in the background. Where they are declared, it
/// asks the provider whether the credential still opens them.
#[utoipa::path(post, path = "/v1/collections/{credential_id}/refresh/start", tag = "collections",
    params(("credential_id" = Uuid, Path)),
    responses((status = 200, body = RefreshOut), Errors))]
async fn start_collection_refresh(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
    IdPath(id): IdPath,
) -> Result<Json<RefreshOut>, ApiError> {
    Ok(Json(refresh(
        app.engine.start_refresh(caller.org, id).await?,
    )))
}

/// How the last look for collections went.
#[utoipa::path(get, path = "/v1/collections/{credential_id}/refresh/status", tag = "collections",
    params(("credential_id" = Uuid, Path)),
    responses((status = 200, body = RefreshOut), Errors))]
async fn collection_refresh_status(
    CanRead(caller): CanRead,
    State(app): State<App>,
    IdPath(id): IdPath,
) -> Result<Json<RefreshOut>, ApiError> {
    unbound(&caller)?;
    Ok(Json(refresh(app.engine.refresh_of(caller.org, id).await?)))
}

fn refresh(view: RefreshView) -> RefreshOut {
    let RefreshView {
        is_running,
        last:
            Refresh {
                last_started_at,
                last_succeeded_at,
                error,
            },
    } = view;
    RefreshOut {
        status: match (is_running, &error) {
            (true, _) => "processing",
            (false, None) => "succeeded",
            (false, Some(_)) => "failed",
        },
        last_started_at,
        last_succeeded_at,
        error,
    }
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderOut {
    /// Its id, such as `stripe`.
    id: String,
    /// The name people know it by.
    name: String,
    /// Where its API is documented.
    docs: Option<String>,
    /// The API version that is read.
    api_version: Option<String>,
    /// The kinds of credentials it takes.
    credential_kinds: Vec<KindOut>,
    /// How fast it is asked, where nothing else is set.
    rate_limit: RateLimitDoc,
    /// Its collections.
    collections: Vec<CollectionOut>,
}

/// A kind of credential.
#[derive(Debug, Serialize, ToSchema)]
struct KindOut {
    /// Its id, such as `stripe_key`.
    id: String,
    /// The name people know it by.
    name: String,
    /// Other ids it is accepted under.
    aliases: Vec<String>,
    /// Its fields.
    fields: Vec<KindField>,
}

/// A field of a credential.
#[derive(Debug, Serialize, ToSchema)]
struct KindField {
    /// Its name in `properties`.
    name: String,
    /// The name people know it by.
    title: String,
    /// Whether it is shown masked.
    secret: bool,
    /// Whether it is needed.
    required: bool,
    /// Other names it is accepted under.
    aliases: Vec<String>,
}

fn provider_out(provider: &Provider) -> ProviderOut {
    let definition = &provider.definition;
    ProviderOut {
        id: definition.name.clone(),
        name: definition.title.clone(),
        docs: definition.docs.clone(),
        api_version: definition.version.clone(),
        credential_kinds: definition.credentials.iter().map(kind_out).collect(),
        rate_limit: headrace_engine::default_limit(definition).into(),
        collections: definition.collections.iter().map(out).collect(),
    }
}

fn kind_out(kind: &CredentialKind) -> KindOut {
    let field = |field: &headrace_model::provider::CredentialField| KindField {
        name: field.name.clone(),
        title: field.title.clone(),
        secret: field.secret,
        required: !field.optional,
        aliases: field.aliases.clone(),
    };
    KindOut {
        id: kind.id.clone(),
        name: kind.title.clone(),
        aliases: kind.aliases.clone(),
        fields: kind.fields.iter().map(field).collect(),
    }
}

/// Lists the providers.
#[utoipa::path(get, path = "/v1/providers", tag = "collections", params(PartParams),
    responses((status = 200, body = List<ProviderOut>), Errors))]
async fn list_providers(
    CanRead(_caller): CanRead,
    State(app): State<App>,
    Query(part): Query<PartParams>,
) -> Result<Json<List<ProviderOut>>, ApiError> {
    let all = app.engine.providers();
    let all = all.iter().map(|provider| provider_out(provider)).collect();
    Ok(Json(Part::from(part).of_named(all, |one| &one.id)?))
}

/// Reads a provider.
#[utoipa::path(get, path = "/v1/providers/{id}", tag = "collections", params(("id" = String, Path)),
    responses((status = 200, body = ProviderOut), Errors))]
async fn get_provider(
    CanRead(_caller): CanRead,
    State(app): State<App>,
    NamePath(id): NamePath,
) -> Result<Json<ProviderOut>, ApiError> {
    Ok(Json(provider_out(&*app.engine.provider(&id)?)))
}
