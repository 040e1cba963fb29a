//! What may be a slug.

use headrace_model::config::Metadata;
use headrace_model::ids::parse_uuid;

use crate::error::Problems;

/// Words that stand in paths where a slug could stand.
const RESERVED: [&str; 2] = ["postgres", "webhook"];

/// Notes what is wrong with a slug: 1 to 64 letters, digits, `_` and `-`, not a UUID, not reserved.
pub(crate) fn check_slug(field: &str, slug: &str, problems: &mut Problems) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if slug.is_empty() || slug.len() > 64 || !slug.chars().all(plain) {
        problems.add(field, "must be 1 to 64 letters, digits, - or _");
    } else if parse_uuid(slug).is_some() {
        problems.add(
            field,
            "must not look like a UUID: those address objects by id",
        );
    } else if RESERVED.contains(&slug) {
        problems.add(
            field,
            format!("must not be {slug:?}: that word is part of the API"),
        );
    }
}

/// Notes what is wrong with a name for people: at most 255 characters, none of them a control.
pub(crate) fn check_name(field: &str, name: &str, problems: &mut Problems) {
    if name.chars().count() > 255 || name.chars().any(char::is_control) {
        problems.add(
            field,
            "must be at most 255 characters, without control characters",
        );
    }
}

/// The most bytes of JSON in a `metadata`: it stands beside every record that is delivered.
const MAX_METADATA_BYTES: usize = 16 << 10;

/// Notes that metadata is too large.
pub(crate) fn check_metadata(metadata: Option<&Metadata>, problems: &mut Problems) {
    let size = |metadata: &Metadata| serde_json::to_string(metadata).map_or(0, |text| text.len());
    if metadata.is_some_and(|metadata| size(metadata) > MAX_METADATA_BYTES) {
        problems.add("metadata", "must be at most 16 KiB of JSON");
    }
}
