//! Requests to a provider, relative to its base URL.

use std::fmt;
use std::fmt::Write;

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

/// Percent-encodes all but the characters that never mean anything in a URL.
pub(super) fn encode(text: &str) -> String {
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
