//! Requests to a provider, relative to its base URL.

use std::fmt;
use std::fmt::Write;

use super::syntax::Template;

/// The method of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// A read.
    Get,
}

/// A request, without the headers: those follow from the credential ([`super::Definition::headers`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the base URL and the query, percent-encoded.
    pub path_and_query: String,
}

impl Request {
    pub(super) fn get(path_and_query: String) -> Self {
        let method = Method::Get;
        Self {
            method,
            path_and_query,
        }
    }

    /// Puts a query, which is encoded, in place of the one it has.
    pub(super) fn set_query(&mut self, query: &str) {
        let path = self.path_and_query.split('?').next();
        self.path_and_query = format!("{}?{query}", path.unwrap_or_default());
    }

    /// Adds a query parameter.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        let separator = if self.path_and_query.contains('?') {
            '&'
        } else {
            '?'
        };
        self.path_and_query.push(separator);
        self.path_and_query.push_str(&encode(name));
        self.path_and_query.push('=');
        self.path_and_query.push_str(&encode(value));
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Get => "GET",
        };
        write!(f, "{method} {}", self.path_and_query)
    }
}

/// A request cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The provider reads this collection in lists only.
    #[error("records of {collection} cannot be read by id")]
    ListsOnly {
        /// The collection's id.
        collection: String,
    },
    /// The definition names no list.
    #[error("{collection} has no list")]
    NoList {
        /// The collection's id.
        collection: String,
    },
    /// The collection is listed under a parent, and none was given.
    #[error("{collection} is listed under a parent")]
    NoParent {
        /// The collection's id.
        collection: String,
    },
    /// Nothing that could be an id: in a path it would address something else.
    #[error("{id:?} cannot be an id")]
    NotAnId {
        /// The text.
        id: String,
    },
}

/// A template's path for an id, which stays within its segment: a slash is encoded, and what would
/// lead to another path even so is refused.
pub(super) fn fill(template: &Template, id: &str) -> Result<String, RequestError> {
    let refused = || RequestError::NotAnId { id: id.to_owned() };
    if matches!(id, "" | "." | "..") {
        return Err(refused());
    }
    template.fill(|_| Some(encode(id))).ok_or_else(refused)
}

/// Percent-encodes all but the characters that never mean anything in a URL.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded() {
        let mut request = Request::get("/a?b=1".to_owned());
        request.push("created[gte]", "é &/");
        assert_eq!(
            request.to_string(),
            "GET /a?b=1&created%5Bgte%5D=%C3%A9%20%26%2F"
        );
    }
}
