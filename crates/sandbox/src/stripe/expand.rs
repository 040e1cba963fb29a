//! `expand[]`: ids within an answer replaced by the objects they name.

use serde_json::Value;

use super::collection::Collection;
use super::error::Error;
use super::state::State;
use crate::form;

/// The paths to expand that a query or form asks for.
pub(crate) fn paths(pairs: &[(String, String)]) -> Vec<String> {
    let asked = pairs
        .iter()
        .filter(|(name, _)| name.split('[').next() == Some("expand"));
    asked.map(|(_, path)| path.clone()).collect()
}

/// Whether a parameter of this name holds a path to expand.
pub(crate) fn is_asked_by(name: &str) -> bool {
    form::is_element(name, "expand")
}

/// Expands `paths` such as `data.customer` or `latest_invoice.customer` within `answer`.
pub(crate) fn expand(state: &State, answer: &mut Value, paths: &[String]) -> Result<(), Error> {
    for path in paths {
        let segments: Vec<&str> = path.split('.').collect();
        follow(state, answer, &segments, path)?;
    }
    Ok(())
}

fn follow(state: &State, value: &mut Value, segments: &[&str], path: &str) -> Result<(), Error> {
    let Some((first, rest)) = segments.split_first() else {
        return Ok(());
    };
    match value {
        Value::Null => Ok(()),
        Value::Array(elements) => elements
            .iter_mut()
            .try_for_each(|element| follow(state, element, segments, path)),
        Value::Object(fields) => {
            let field = fields.get_mut(*first).ok_or_else(|| not_expandable(path))?;
            if let Value::String(id) = field {
                *field = named(state, id).ok_or_else(|| not_expandable(path))?;
            }
            follow(state, field, rest, path)
        }
        _ => Err(not_expandable(path)),
    }
}

fn named(state: &State, id: &str) -> Option<Value> {
    let fits = |collection: &Collection| id.starts_with(collection.id_form().0);
    let collection = Collection::ALL.into_iter().find(fits)?;
    state.get(collection, id)
}

fn not_expandable(path: &str) -> Error {
    let message = format!("This property cannot be expanded ({path}).");
    Error::ParameterInvalid {
        param: "expand".to_owned(),
        message,
    }
}
