//! Refusals, in the form and with the words of the real API.

use serde_json::{Value, json};

use super::collection::Collection;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request carries no key.
    #[error(
        "You did not provide an API key. You need to provide your API key in the Authorization \
         header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
    )]
    KeyMissing,
    /// The request carries a key the sandbox does not know, shown abridged.
    #[error("Invalid API Key provided: {0}")]
    KeyUnknown(String),
    /// There is nothing at this path, or not for this method.
    #[error("Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs.")]
    UrlUnknown {
        /// HTTP method.
        method: String,
        /// Path asked for.
        path: String,
    },
    /// The object the path names does not exist.
    #[error("No such {}: '{id}'", .collection.object())]
    ObjectMissing {
        /// Where it was looked for.
        collection: Collection,
        /// Its id.
        id: String,
    },
    /// The object a parameter names does not exist.
    #[error("No such {}: '{id}'", .collection.object())]
    ReferenceMissing {
        /// Where it was looked for.
        collection: Collection,
        /// Its id.
        id: String,
        /// The parameter that names it.
        param: String,
    },
    /// An object of a plain list does not exist, or is none of the list.
    #[error("No such object: '{id}'")]
    PlainMissing {
        /// Its id.
        id: String,
        /// The parameter that names it.
        param: &'static str,
        /// The HTTP status that this is told with.
        status: u16,
    },
    /// The body of a write is not a form, or its parameters are not an object.
    #[error(
        "Invalid request (check that your POST content type is \
         application/x-www-form-urlencoded)."
    )]
    NotAForm,
    /// A parameter the endpoint does not take.
    #[error("Received unknown parameter: {0}")]
    ParameterUnknown(String),
    /// A parameter the endpoint cannot do without.
    #[error("Missing required param: {0}.")]
    ParameterMissing(String),
    /// A parameter that should be a whole number is not one.
    #[error("Invalid integer: {value}")]
    IntegerInvalid {
        /// Name of the parameter.
        param: String,
        /// What it held.
        value: String,
    },
    /// A parameter that should be `true` or `false` is neither.
    #[error("Invalid boolean: {value}")]
    BooleanInvalid {
        /// Name of the parameter.
        param: String,
        /// What it held.
        value: String,
    },
    /// A parameter lies outside its range or set of values.
    #[error("{message}")]
    ParameterInvalid {
        /// Name of the parameter.
        param: String,
        /// What is wrong with it.
        message: String,
    },
    /// A list was asked for in both directions.
    #[error("Received both starting_after and ending_before parameters. Please pass in only one.")]
    BothCursors,
    /// The object is in a state that does not permit the operation.
    #[error("{0}")]
    StateForbids(String),
    /// An idempotency key was used before for another request.
    #[error(
        "Keys for idempotent requests can only be used with the same parameters they were first \
         used with. Try using a key other than '{0}' if you meant to execute a different request."
    )]
    KeyReused(String),
    /// More requests came within a second than the limit allows.
    #[error("Request rate limit exceeded. Learn more at https://stripe.com/docs/rate-limits.")]
    RateLimited,
}

impl Error {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::KeyMissing | Self::KeyUnknown(_) => 401,
            Self::UrlUnknown { .. } | Self::ObjectMissing { .. } => 404,
            Self::RateLimited => 429,
            Self::PlainMissing { status, .. } => *status,
            Self::ReferenceMissing { .. }
            | Self::NotAForm
            | Self::ParameterUnknown(_)
            | Self::ParameterMissing(_)
            | Self::IntegerInvalid { .. }
            | Self::BooleanInvalid { .. }
            | Self::ParameterInvalid { .. }
            | Self::BothCursors
            | Self::StateForbids(_)
            | Self::KeyReused(_) => 400,
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let kind = match self {
            Self::KeyReused(_) => "idempotency_error",
            _ => "invalid_request_error",
        };
        let mut error = json!({ "type": kind, "message": self.to_string() });
        if let Some(code) = self.code() {
            error["code"] = code.into();
            let page = code.replace('_', "-");
            error["doc_url"] = format!("https://stripe.com/docs/error-codes/{page}").into();
        }
        if let Some(param) = self.param() {
            error["param"] = param.into();
        }
        json!({ "error": error })
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::ObjectMissing { .. }
            | Self::ReferenceMissing { .. }
            | Self::PlainMissing { .. } => Some("resource_missing"),
            Self::ParameterUnknown(_) => Some("parameter_unknown"),
            Self::ParameterMissing(_) => Some("parameter_missing"),
            Self::IntegerInvalid { .. } => Some("parameter_invalid_integer"),
            Self::RateLimited => Some("rate_limit"),
            Self::KeyMissing
            | Self::KeyUnknown(_)
            | Self::UrlUnknown { .. }
            | Self::NotAForm
            | Self::BooleanInvalid { .. }
            | Self::ParameterInvalid { .. }
            | Self::BothCursors
            | Self::StateForbids(_)
            | Self::KeyReused(_) => None,
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::ObjectMissing { collection, .. } => Some(match collection {
                Collection::PaymentIntent => "intent",
                Collection::Price => "price",
                _ => "id",
            }),
            Self::PlainMissing { param, .. } => Some(param),
            Self::ParameterUnknown(param)
            | Self::ParameterMissing(param)
            | Self::ReferenceMissing { param, .. }
            | Self::IntegerInvalid { param, .. }
            | Self::BooleanInvalid { param, .. }
            | Self::ParameterInvalid { param, .. } => Some(param),
            Self::KeyMissing
            | Self::KeyUnknown(_)
            | Self::UrlUnknown { .. }
            | Self::NotAForm
            | Self::BothCursors
            | Self::StateForbids(_)
            | Self::KeyReused(_)
            | Self::RateLimited => None,
        }
    }
}
