//! Requests to a provider, relative to its base URL.

use std::fmt;
use std::fmt::Write;

use bytes::Bytes;

use super::syntax::Template;
use crate::json::{self, Path};

/// The method of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// A read.
    Get,
    /// A read that is asked for in the body, as JSON.
    Post,
}

/// A request, without the headers: those follow from the credential ([`super::Definition::headers`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the base URL and the query, percent-encoded.
    pub path_and_query: String,
    /// Whether the path is told from the root of the base's host instead. It is below the base all the same.
    pub from_root: bool,
    /// The JSON of a [`Method::Post`].
    pub body: Option<Bytes>,
}

/// A GraphQL document as a request that takes variables.
#[derive(Clone, Debug)]
pub(super) struct Query {
    path: String,
    /// The body, with `null` for each variable.
    body: Bytes,
    /// The same without what every such request has in it, for people.
    in_words: Bytes,
}

impl Query {
    pub(super) fn new(path: String, document: &str, in_words: &str, variables: &[&str]) -> Self {
        let body = |document: &str| {
            let variables = variables
                .iter()
                .map(|name| ((*name).to_owned(), serde_json::Value::Null));
            let variables = variables.collect::<serde_json::Map<_, _>>();
            let body = serde_json::json!({"query": document, "variables": variables});
            Bytes::from(body.to_string())
        };
        Self {
            path,
            body: body(document),
            in_words: body(in_words),
        }
    }

    pub(super) fn request(&self) -> Request {
        self.with(self.body.clone())
    }

    /// The request as it is shown to people.
    pub(super) fn in_words(&self) -> Request {
        self.with(self.in_words.clone())
    }

    fn with(&self, body: Bytes) -> Request {
        Request {
            method: Method::Post,
            body: Some(body),
            ..Request::get(self.path.clone())
        }
    }
}

impl Request {
    pub(super) fn get(path_and_query: String) -> Self {
        Self {
            method: Method::Get,
            path_and_query,
            from_root: false,
            body: None,
        }
    }

    /// A read of what a link of the provider's leads to: its path and query, whatever its host. `None` where
    /// it is no link.
    pub(super) fn link(link: &str) -> Option<Self> {
        let path = match link.split_once("://") {
            Some((_, behind)) => behind.get(behind.find('/')?..)?,
            None => link,
        };
        let path = path.split('#').next()?;
        let sound = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self {
            from_root: true,
            ..Self::get(path.to_owned())
        })
    }

    /// Puts a query, which is encoded, in place of the one it has.
    pub(super) fn set_query(&mut self, query: &str) {
        let path = self.path_and_query.split('?').next();
        self.path_and_query = format!("{}?{query}", path.unwrap_or_default());
    }

    /// Adds a number as a parameter.
    pub(super) fn push_number(&mut self, name: &str, value: u32) {
        match self.body {
            Some(_) => self.set(name, value.to_string().as_bytes()),
            None => self.push(name, &value.to_string()),
        }
    }

    /// Sets a variable of the body's document.
    fn set(&mut self, name: &str, token: &[u8]) {
        let place = Path::parse(&format!("variables.{name}")).ok();
        let body = self.body.as_ref().zip(place);
        if let Some(body) = body.and_then(|(body, place)| json::replace(body, &place, token)) {
            self.body = Some(body.into());
        }
    }

    /// Adds a parameter: to the query, or to the variables of the body's document.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        if self.body.is_some() {
            return self.set(name, serde_json::Value::from(value).to_string().as_bytes());
        }
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
            Method::Post => "POST",
        };
        write!(f, "{method} {}", self.path_and_query)?;
        match &self.body {
            Some(body) => write!(f, " {}", String::from_utf8_lossy(body)),
            None => Ok(()),
        }
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
    /// The collection is listed under a parent, and none was given, or not what is needed of it.
    #[error("{collection} is listed under a parent, and nothing tells where")]
    NoParent {
        /// The collection's id.
        collection: String,
    },
    /// A record is read by the link that it has itself, and it is not at hand, or has none.
    #[error("records of {collection} can be read by their own links only")]
    NoLink {
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
    template.fill(|_| segment(id)).ok_or_else(refused)
}

/// The text as a segment of a path; `None` for what would lead to another path even so.
pub(super) fn segment(text: &str) -> Option<String> {
    (!matches!(text, "" | "." | "..")).then(|| encode(text))
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
