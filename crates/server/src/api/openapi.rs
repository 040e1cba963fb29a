//! `/v1/openapi.json`: the API's description, generated from the code.

use axum::Json;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, PathItem, RefOr, Required, Schema};
use utoipa::{IntoResponses, Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::CanRead;
use super::error::{ApiError, Code};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// What every operation may answer besides.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum Errors {
    /// The body or the query cannot be read.
    #[response(status = 400)]
    Malformed(ApiError),
    /// No token, or a bad one.
    #[response(status = 401)]
    Unauthorized(ApiError),
    /// The token does not allow it.
    #[response(status = 403)]
    Forbidden(ApiError),
    /// There is no such thing.
    #[response(status = 404)]
    NotFound(ApiError),
    /// It contradicts what is there.
    #[response(status = 409)]
    Conflict(ApiError),
    /// The body did not arrive in time.
    #[response(status = 408)]
    TooSlow(ApiError),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ApiError),
    /// The body is not JSON.
    #[response(status = 415)]
    UnsupportedMediaType(ApiError),
    /// Fields are wrong.
    #[response(status = 422)]
    Invalid(ApiError),
    /// Too many at once.
    #[response(status = 429)]
    TooMany(ApiError),
    /// The provider did not answer usefully.
    #[response(status = 502)]
    Upstream(ApiError),
    /// The provider did not answer in time.
    #[response(status = 504)]
    UpstreamTimeout(ApiError),
    /// Not now.
    #[response(status = 503)]
    Unavailable(ApiError),
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Headrace",
        description = "Streams API data into your app and database.\n\nA POST that makes or changes something \
            takes an `Idempotency-Key`: sent again, it gets the first answer with `Idempotent-Replayed: true`, and \
            does nothing again. Taking and settling messages takes none: a token settles its delivery once, however \
            often it is sent.",
        license(name = "MIT OR Apache-2.0")
    ),
    security(("token" = [])),
    components(schemas(ApiError, Code)),
    modifiers(&Bearer)
)]
struct Head;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some("an API token")).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The whole document.
fn document() -> serde_json::Result<Value> {
    let routes = super::guarded().merge(super::open());
    let mut document = Head::openapi();
    document.merge(routes.into_openapi());
    empty_bodies(&mut document);
    absent_parameters(&mut document);
    let mut document = serde_json::to_value(document)?;
    unsigned_integers(&mut document);
    Ok(document)
}

/// Numbers of 32 bits have no sign here: as `int32` half of them would be out of range.
fn unsigned_integers(schema: &mut Value) {
    if let Value::Object(members) = schema
        && members
            .get("format")
            .is_some_and(|format| format == "int32")
    {
        members.remove("format");
        members.entry("maximum").or_insert_with(|| u32::MAX.into());
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(unsigned_integers),
        Value::Array(elements) => elements.iter_mut().for_each(unsigned_integers),
        _ => {}
    }
}

/// An empty body is read as `{}`: one is needed only where a field is.
fn empty_bodies(document: &mut OpenApi) {
    let components = document.components.clone().unwrap_or_default();
    let needs_a_field = |content: &RefOr<Content>| {
        let RefOr::T(content) = content else {
            return true;
        };
        let Some(RefOr::Ref(name)) = &content.schema else {
            return true;
        };
        let name = name.ref_location.rsplit('/').next().unwrap_or_default();
        let schema = components.schemas.get(name);
        !matches!(schema, Some(RefOr::T(Schema::Object(object))) if object.required.is_empty())
    };
    for operation in operations(document) {
        let Some(RefOr::T(body)) = &mut operation.request_body else {
            continue;
        };
        if !body.content.values().any(needs_a_field) {
            body.required = Some(Required::False);
        }
    }
}

/// A parameter is left out, and never `null`.
fn absent_parameters(document: &mut OpenApi) {
    for parameter in
        operations(document).flat_map(|operation| operation.parameters.iter_mut().flatten())
    {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        match &mut parameter.schema {
            Some(RefOr::T(Schema::Object(object))) => {
                if let SchemaType::Array(types) = &mut object.schema_type {
                    types.retain(|one| *one != Type::Null);
                    if let [only] = types.as_slice() {
                        object.schema_type = SchemaType::Type(only.clone());
                    }
                }
            }
            Some(RefOr::T(Schema::OneOf(one))) => one.items.retain(|item| {
                let null = SchemaType::Type(Type::Null);
                !matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == null)
            }),
            _ => {}
        }
    }
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|path| {
        let PathItem {
            get,
            put,
            post,
            patch,
            delete,
            ..
        } = path;
        [get, put, post, patch, delete].into_iter().flatten()
    })
}

/// The API's description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "health",
    responses((status = 200, body = Object), Errors))]
async fn openapi(CanRead(_caller): CanRead) -> Result<Json<Value>, ApiError> {
    let unwritable = |error: serde_json::Error| ApiError::new(Code::Internal, error.to_string());
    document().map(Json).map_err(unwritable)
}
