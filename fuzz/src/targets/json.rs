//! JSON as bytes, judged by `serde_json`.

use headrace_model::json::{self, Path};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{answers, parts};

/// What is JSON is accepted and nothing else is, and only whitespace goes.
pub(super) fn compact(data: &[u8]) {
    let mut out = b"before".to_vec();
    let accepted = json::compact(data, &mut out);
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(accepted.is_err(), "not UTF-8");
        assert_eq!(out, b"before");
        walk(data);
        return;
    };
    // Of what it passes over, serde_json knows no depth that is too deep and no number that is too large.
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert_eq!(accepted.is_ok(), is_json, "{text:?}: {accepted:?}");
    if let Err(invalid) = accepted {
        assert!(invalid.at <= data.len());
        assert_eq!(out, b"before");
        walk(data);
        return;
    }
    let ours = &out[b"before".len()..];
    assert_eq!(ours, without_whitespace(data), "{text:?}");
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let same: Value = serde_json::from_slice(ours).expect("still JSON");
        assert_eq!(same, value);
    }
    walk(ours);
    let kept: Vec<&[u8]> = json::elements(ours).collect();
    if ours.starts_with(b"[") {
        assert_eq!(json::array(&kept), ours);
    }
    if ours.starts_with(b"{") {
        let mut again = Vec::new();
        for (key, value) in json::members(ours) {
            again.extend_from_slice(if again.is_empty() { b"{\"" } else { b",\"" });
            again.extend_from_slice(key);
            again.extend_from_slice(b"\":");
            again.extend_from_slice(value);
        }
        again.extend_from_slice(if again.is_empty() { b"{}" } else { b"}" });
        assert_eq!(again, ours);
    }
}

/// Nothing that walks over JSON panics or goes on for ever, whatever the bytes are.
fn walk(bytes: &[u8]) {
    let path = Path::parse("a.0.b").expect("a path");
    answers(json::get(bytes, &path));
    answers(json::text(bytes, &path));
    answers(json::token_text(bytes));
    answers(json::replace(bytes, &path, b"1"));
    answers(json::remove(bytes, std::slice::from_ref(&path)));
    answers(json::hash(bytes, &[path]));
    assert!(json::elements(bytes).count() <= bytes.len());
    assert!(json::members(bytes).count() <= bytes.len());
}

fn without_whitespace(data: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let mut kept = data.to_vec();
    kept.retain(|byte| {
        let is_space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let keep = in_string || !is_space;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        keep
    });
    kept
}

/// Two documents have the same hash exactly if they are the same but for the order of members.
pub(super) fn hash(data: &[u8]) {
    let Some([one, two]) = parts(data) else {
        return;
    };
    let values = [one, two].map(serde_json::from_str::<Value>);
    let [Ok(one), Ok(two)] = values else {
        return;
    };
    let hash = |value: &Value, backwards: bool| {
        let mut text = Vec::new();
        write(value, backwards, &mut text);
        json::hash(&text, &[])
    };
    for value in [&one, &two] {
        assert_eq!(hash(value, false), hash(value, true), "{value}");
    }
    assert_eq!(
        one == two,
        hash(&one, false) == hash(&two, true),
        "{one} {two}"
    );
}

fn write(value: &Value, backwards: bool, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b"," } else { b"" });
                write(item, backwards, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            let mut members: Vec<_> = members.iter().collect();
            if backwards {
                members.reverse();
            }
            for (at, (key, value)) in members.into_iter().enumerate() {
                out.extend_from_slice(if at > 0 { b"," } else { b"" });
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write(value, backwards, out);
            }
            out.push(b'}');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// Splicing changes what it is to change and leaves every other byte as it is.
pub(super) fn splice(data: &[u8]) {
    let Some([path, token, document]) = parts(data) else {
        return;
    };
    let (Ok(path), mut token_bytes, mut bytes) = (Path::parse(path), Vec::new(), Vec::new()) else {
        return;
    };
    if json::compact(token.as_bytes(), &mut token_bytes).is_err()
        || json::compact(document.as_bytes(), &mut bytes).is_err()
    {
        return;
    }
    let replaced = json::replace(&bytes, &path, &token_bytes);
    match json::get(&bytes, &path) {
        None => assert_eq!(replaced, None),
        Some(found) => {
            let start = found.as_ptr() as usize - bytes.as_ptr() as usize;
            let mut wanted = bytes[..start].to_vec();
            wanted.extend_from_slice(&token_bytes);
            wanted.extend_from_slice(&bytes[start + found.len()..]);
            let replaced = replaced.expect("there is such a value");
            assert_eq!(replaced, wanted);
            assert_eq!(json::get(&replaced, &path), Some(&*token_bytes));
        }
    }
    let removed = json::remove(&bytes, std::slice::from_ref(&path));
    let mut again = Vec::new();
    assert_eq!(
        json::compact(&removed, &mut again),
        Ok(()),
        "it is no JSON any more"
    );
    assert_eq!(again, removed);
    if json::get(&bytes, &path).is_none() {
        assert_eq!(removed, bytes);
    }
    assert!(removed.len() <= bytes.len());
}
