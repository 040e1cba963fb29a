//! The shape of a definition's files. An unknown key, a missing one and a wrong type are mistakes.
//!
//! What can only be judged with other parts at hand keeps its place in the file ([`Spanned`]) for
//! [`super::compile`]. `docs/adding-a-provider.md` explains every key to those who write definitions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::syntax::{Pattern, Span, Status, Template, Wildcard};
use crate::json::Path;

/// `provider.toml`: what all collections share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderFile {
    pub(super) title: String,
    pub(super) docs: Option<String>,
    pub(super) base: Spanned<Template>,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Spanned<Template>>,
    pub(super) credentials: BTreeMap<Spanned<String>, CredentialFile>,
    #[serde(default)]
    pub(super) check: Vec<CheckFile>,
    pub(super) graphql: Option<GraphqlFile>,
    pub(super) limits: LimitsFile,
    pub(super) errors: Arc<ErrorsFile>,
    pub(super) page: PageFile,
    pub(super) record: RecordFile,
    #[serde(default)]
    pub(super) feeds: BTreeMap<Spanned<String>, FeedFile>,
}

/// Where a GraphQL API is, and the documents that its collections share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GraphqlFile {
    pub(super) path: Spanned<Template>,
    pub(super) list: Spanned<String>,
    pub(super) changed: Option<Spanned<String>>,
    pub(super) one: Option<Spanned<String>>,
}

/// What a collection puts into the documents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SelectionFile {
    pub(super) root: String,
    pub(super) one: Option<String>,
    pub(super) fields: String,
}

/// A table of `collections.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectionFile {
    pub(super) title: String,
    pub(super) list: Option<Spanned<Template>>,
    pub(super) graphql: Option<Spanned<SelectionFile>>,
    #[serde(default)]
    pub(super) and_list: Vec<Spanned<Template>>,
    pub(super) get: Option<Spanned<GetFile>>,
    pub(super) id: Option<Path>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) created: Option<TimeFile>,
    pub(super) updated: Option<TimeFile>,
    pub(super) version: Option<VersionFile>,
    pub(super) events: Option<EventsFile>,
    pub(super) parent: Option<ParentFile>,
    pub(super) belongs_to: Option<BelongsFile>,
    pub(super) relist: Option<RelistFile>,
    pub(super) follow: Option<Spanned<FollowFile>>,
    pub(super) without: Option<Path>,
    #[serde(default)]
    pub(super) nested: BTreeMap<Path, Spanned<Template>>,
    pub(super) volatile: Option<Spanned<Vec<Wildcard>>>,
    #[serde(default)]
    pub(super) immutable: bool,
    #[serde(default)]
    pub(super) judged_by: Vec<String>,
}

/// How one record is read: at an address, or where it says itself.
pub(super) enum GetFile {
    At(Template),
    Link(Path),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFile {
    link: Path,
}

impl<'de> Deserialize<'de> for GetFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        // By hand: an untagged enum would not say what is wrong with either.
        impl<'de> Visitor<'de> for Either {
            type Value = GetFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path with {id}, or { link = \"…\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<GetFile, E> {
                Template::parse(text).map(GetFile::At).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<GetFile, A::Error> {
                let file = LinkFile::deserialize(MapAccessDeserializer::new(table))?;
                Ok(GetFile::Link(file.link))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// `fields.toml`: for each collection and type the fields of that type.
pub(super) type FieldsFile = BTreeMap<Spanned<String>, BTreeMap<FieldKind, Vec<Spanned<String>>>>;

/// The type of a field.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A point in time, in whatever form the provider writes it.
    Time,
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
}

impl FieldKind {
    /// Its name in definitions and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::Object => "object",
            Self::Array => "array",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialFile {
    pub(super) title: String,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    pub(super) auth: Spanned<AuthFile>,
    pub(super) fields: BTreeMap<Spanned<String>, CredentialFieldFile>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum AuthFile {
    Bearer(String),
    Header { name: String, value: Template },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialFieldFile {
    pub(super) title: String,
    #[serde(default)]
    pub(super) secret: bool,
    #[serde(default)]
    pub(super) optional: bool,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckFile {
    pub(super) get: Option<Spanned<Template>>,
    pub(super) query: Option<Spanned<String>>,
    pub(super) account: Option<Path>,
    pub(super) livemode: Option<Path>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    pub(super) requests: Spanned<u32>,
    pub(super) per: Span,
    pub(super) concurrent: Spanned<u32>,
    pub(super) left: Option<LeftFile>,
}

/// The headers in which answers tell how much of the budget is left.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct LeftFile {
    pub(super) remaining: String,
    pub(super) resets: String,
    pub(super) format: TimeFormat,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorsFile {
    /// Where an answer has errors, whatever its status.
    pub(super) within: Option<Path>,
    pub(super) code: Vec<Path>,
    pub(super) message: Vec<Path>,
    pub(super) param: Option<Path>,
    pub(super) request_id: Option<String>,
    pub(super) decide: Option<String>,
    pub(super) after: Option<String>,
    #[serde(default)]
    pub(super) throttled: Vec<Sign>,
    #[serde(default)]
    pub(super) reauthorize: Vec<Sign>,
    #[serde(default)]
    pub(super) forbidden: Vec<Sign>,
    #[serde(default)]
    pub(super) gone: Vec<Sign>,
    #[serde(default)]
    pub(super) hidden: Vec<Sign>,
    #[serde(default)]
    pub(super) unknown_cursor: Vec<Sign>,
    #[serde(default)]
    pub(super) retry: Vec<Sign>,
}

/// What an answer is recognised by: all that is given must be so.
#[derive(Deserialize, Clone, Debug)]
#[serde(try_from = "SignFile")]
pub(super) struct Sign {
    pub(super) status: Option<Status>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) param: Option<String>,
    pub(super) header: Option<HeaderSign>,
}

/// A header, which has this value if one is given.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderSign {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignFile {
    status: Option<Status>,
    code: Option<String>,
    message: Option<String>,
    param: Option<String>,
    header: Option<HeaderSign>,
}

impl TryFrom<SignFile> for Sign {
    type Error = &'static str;

    fn try_from(file: SignFile) -> Result<Self, &'static str> {
        let SignFile {
            status,
            code,
            message,
            param,
            header,
        } = file;
        let texts = [&code, &message, &param];
        if status.is_none() && texts.iter().all(|text| text.is_none()) && header.is_none() {
            return Err(
                "give a status, a code, a message, a param or a header: nothing at all would fit every answer",
            );
        }
        Ok(Self {
            status,
            code,
            message,
            param,
            header,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageFile {
    pub(super) records: Option<Path>,
    pub(super) order: Order,
    pub(super) size: Option<Spanned<SizeFile>>,
    pub(super) next: Spanned<PageNext>,
    #[serde(default)]
    pub(super) numbered: bool,
}

/// The order in which a list answers.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The newest record comes first.
    NewestFirst,
    /// The oldest record comes first.
    OldestFirst,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SizeFile {
    pub(super) send: String,
    pub(super) max: u32,
}

/// How the next page is asked for.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum PageNext {
    /// By the id of the last record, while a flag in the answer says that there is more.
    AfterLast {
        send: String,
        take: Path,
        more: Path,
    },
    /// By a token of the answer; the last page has none, or says that there is no more.
    Token {
        send: String,
        take: Path,
        more: Option<Path>,
    },
    /// As GraphQL connections do, by their `pageInfo`.
    Connection,
    /// By the link of the answer's headers; the last page has none.
    Link,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordFile {
    pub(super) id: Path,
    #[serde(rename = "type")]
    pub(super) kind: Option<Path>,
    pub(super) deleted: Option<Path>,
    pub(super) created: Option<TimeFile>,
}

/// A time of a record, and the parameters that filter a list by it.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeFile {
    pub(super) take: Path,
    pub(super) format: TimeFormat,
    pub(super) from: Option<String>,
    pub(super) until: Option<String>,
}

/// How a provider writes an instant.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// Seconds since the epoch.
    Unix,
    /// Milliseconds since the epoch.
    UnixMs,
    /// RFC 3339 text.
    Rfc3339,
    /// RFC 3339 text, written in whole seconds.
    Rfc3339Seconds,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum VersionFile {
    Number(Path),
    Time { take: Path, format: TimeFormat },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedFile {
    pub(super) list: Spanned<Template>,
    pub(super) id: Path,
    #[serde(rename = "type")]
    pub(super) kind: Path,
    pub(super) object: Path,
    pub(super) version: Option<Path>,
    pub(super) at: TimeFile,
    pub(super) overlap: Span,
    pub(super) retention: Span,
    #[serde(default)]
    pub(super) deleted: Vec<Pattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsFile {
    pub(super) feed: Spanned<String>,
    #[serde(rename = "types")]
    pub(super) kinds: Vec<Pattern>,
    #[serde(default)]
    pub(super) except: Vec<Pattern>,
    pub(super) deleted: Option<Vec<Pattern>>,
    #[serde(default)]
    pub(super) refetch: BTreeMap<Pattern, Path>,
    #[serde(default)]
    pub(super) whole: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParentFile {
    pub(super) collection: Spanned<String>,
    pub(super) id: Path,
    pub(super) touched_by: Option<Spanned<Vec<Pattern>>>,
    pub(super) embedded: Option<Spanned<Path>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BelongsFile {
    pub(super) collection: Spanned<String>,
    pub(super) id: Path,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelistFile {
    pub(super) every: Span,
    pub(super) window: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowFile {
    pub(super) every: Span,
    pub(super) overlap: Span,
    pub(super) list: Option<Spanned<Template>>,
}
