//! Provider definitions: what an API is and does, as data.
//!
//! A definition is a folder of TOML files. [`Definition::compile`] checks it as a whole, so that a
//! mistake names its file, line and key when it is loaded, never in the middle of a sync. What is
//! left are pure functions: from a definition and the state of a sync to the [`Request`] to make, and
//! from the bytes of an answer to records ([`Row`]), events ([`Event`]) and failures
//! ([`UpstreamError`]). An answer that does not have the declared shape is an error, never an empty
//! list: a swallowed failure must not look like the end of a collection.

mod answer;
mod collection;
mod compile;
mod credential;
mod failure;
mod feed;
mod format;
mod link;
mod list;
mod nested;
mod plan;
mod problem;
mod request;
mod syntax;
mod time_format;

pub use answer::Answer;
pub use collection::{BelongsTo, Collection, Field, Follow, One, Page, Parent, Relist, Row};
pub use credential::{BadCredential, CredentialField, CredentialKind, Header};
pub use failure::{Failure, Left, UpstreamError, http_date};
pub use feed::{Action, Event, EventPage, Events, Feed, Routed};
pub use format::{FieldKind, Order, TimeFormat};
pub use link::{LinkError, MAX_QUERY, next_query};
pub use list::{Above, Listing, PageCursor, PageError, Within};
pub use nested::{Part, Truncated};
pub use problem::Problem;
pub use request::{Method, Request, RequestError};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::json::Path;

#[cfg(test)]
mod tests;

/// A provider, compiled from its files.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The folder's name, such as `stripe`.
    pub name: String,
    /// The name people know it by.
    pub title: String,
    /// Where its API is documented.
    pub docs: Option<String>,
    /// The API version that reads are pinned to. Objects rendered in another one are re-fetched.
    pub version: Option<String>,
    /// How fast it may be asked, where the user sets nothing else.
    pub limits: Limits,
    /// The kinds of credentials it takes, in the order of the file.
    pub credentials: Vec<CredentialKind>,
    /// What is read to see that a credential works.
    pub checks: Vec<Check>,
    /// Its collections, in the order of the file; a parent comes before its children.
    pub collections: Vec<Collection>,
    /// Its feeds of changes.
    pub feeds: Vec<Feed>,
    base: syntax::Template,
    headers: Vec<(String, syntax::Template)>,
    errors: failure::Signs,
    limits_left: Option<format::LeftFile>,
}

/// How fast a provider may be asked with one credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So many requests …
    pub requests: u32,
    /// … in so long a time.
    pub per: Duration,
    /// How many may be under way at once.
    pub concurrent: u32,
}

/// A read that shows whether a credential works, and for which account.
#[derive(Clone, Debug)]
pub struct Check {
    /// What to read.
    pub request: Request,
    /// Where the answer has the account's id.
    pub account: Option<Path>,
    /// Where the answer says whether the account's data is live (`true`) or a test's (`false`).
    pub livemode: Option<Path>,
}

impl Definition {
    /// Compiles a definition from its files, given as (file name, text). All problems that can be
    /// told apart are reported at once.
    pub fn compile(name: &str, files: &[(&str, &str)]) -> Result<Self, Vec<Problem>> {
        compile::compile(name, files)
    }

    /// The collection with this name (`customer`) or id (`stripe:customer`).
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections
            .iter()
            .find(|collection| collection.name == name || collection.id == name)
    }

    /// The feed with this name.
    pub fn feed(&self, name: &str) -> Option<&Feed> {
        self.feeds.iter().find(|feed| feed.name == name)
    }

    /// The credential kind with this id or alias.
    pub fn credential(&self, id: &str) -> Option<&CredentialKind> {
        self.credentials
            .iter()
            .find(|kind| kind.id == id || kind.aliases.iter().any(|alias| alias == id))
    }

    /// Where the API is, without a slash at the end. A request's path is put behind it.
    pub fn base(&self, fields: &BTreeMap<String, String>) -> Option<String> {
        self.base
            .fill_from(fields)
            .map(|base| base.trim_end_matches('/').to_owned())
    }
}
