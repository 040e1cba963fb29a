//! Properties against `serde_json`, which judges what is valid and what a document means.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn compacted(raw: &str) -> String {
    let mut out = Vec::new();
    compact(raw.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn hashed(raw: &str) -> u128 {
    hash(compacted(raw).as_bytes(), &[])
}

#[test]
fn tokens_stay_as_they_are_written() {
    let raw = " { \"a\" : 9007199254740993 , \"a\":1.0,\t\"b \\u00e9\":[ 1e400, -0 , \"x  y\" ] , \"c\":{ } ,\"d\":[ ]}\n";
    assert_eq!(
        compacted(raw),
        r#"{"a":9007199254740993,"a":1.0,"b \u00e9":[1e400,-0,"x  y"],"c":{},"d":[]}"#
    );
}

#[test]
fn an_error_says_where_and_leaves_the_output_alone() {
    let mut out = b"kept".to_vec();
    assert_eq!(
        compact(b"{\"a\": [1, 2}", &mut out),
        Err(Invalid { at: 11 })
    );
    assert_eq!(
        compact(b"{\"a\": \"cut of", &mut out),
        Err(Invalid { at: 13 })
    );
    assert_eq!(compact(b"[\"\xff\"]", &mut out), Err(Invalid { at: 2 }));
    assert_eq!(out, b"kept");
}

#[test]
fn get_finds_members_elements_and_escaped_keys() {
    let json = br#"{"a":{"b":[{"c":1},{"c":"two"}]},"caf\u00e9":true,"n":null}"#;
    assert_eq!(get(json, &path("a.b.1.c")), Some(&b"\"two\""[..]));
    assert_eq!(
        get(json, &path("a.b")),
        Some(&br#"[{"c":1},{"c":"two"}]"#[..])
    );
    assert_eq!(get(json, &path("café")), Some(&b"true"[..]));
    assert_eq!(get(json, &path("a.b.2")), None);
    assert_eq!(get(json, &path("n.x")), None);
    assert_eq!(get(json, &path("a.b.x")), None);
    assert_eq!(elements_at(json, &path("a.b")).unwrap().count(), 2);
    assert!(elements_at(json, &path("a")).is_none());
    assert_eq!(get(b"[]", &path("0")), None);
    assert_eq!(elements(b"[]").count() + members(b"{}").count(), 0);
}

#[test]
fn text_is_what_a_token_stands_for() {
    let json =
        br#"{"s":"a\n\u00e9\ud83d\ude00\ud800","n":12345678901234567890,"t":true,"z":null,"o":{}}"#;
    let text_at = |at: &str| text(json, &path(at)).map(std::borrow::Cow::into_owned);
    assert_eq!(text_at("s").unwrap(), "a\né😀\u{fffd}");
    assert_eq!(text_at("n").unwrap(), "12345678901234567890");
    assert_eq!(text_at("t").unwrap(), "true");
    assert_eq!(text_at("z"), None);
    assert_eq!(text_at("o"), None);
}

#[test]
fn splicing_touches_one_place() {
    let json = br#"{"id":"in_1","lines":{"data":[1],"has_more":true},"n":1.0}"#;
    let whole = replace(json, &path("lines.data"), &array(&[b"1", b"2"])).unwrap();
    let whole = replace(&whole, &path("lines.has_more"), b"false").unwrap();
    assert_eq!(
        whole,
        br#"{"id":"in_1","lines":{"data":[1,2],"has_more":false},"n":1.0}"#
    );
    assert_eq!(replace(json, &path("nope"), b"1"), None);
    let less = remove(json, &[path("id"), path("lines.data"), path("nope.x")]);
    assert_eq!(less, br#"{"lines":{"has_more":true},"n":1.0}"#);
}

#[test]
fn the_hash_ignores_order_and_volatile_members_only() {
    assert_eq!(
        hashed(r#"{"a":1,"b":{"c":2,"d":[]}}"#),
        hashed(r#"{"b":{"d":[],"c":2},"a":1}"#)
    );
    for other in [
        r#"{"a":1,"b":{"c":2,"d":{}}}"#,
        r#"{"a":1.0,"b":{"c":2,"d":[]}}"#,
        r#"{"a":1,"b":{"c":2}}"#,
        r#"{"a":1,"b":{"d":2,"c":[]}}"#,
        r#"{"b":1,"a":{"c":2,"d":[]}}"#,
    ] {
        assert_ne!(
            hashed(r#"{"a":1,"b":{"c":2,"d":[]}}"#),
            hashed(other),
            "{other}"
        );
    }
    assert_ne!(hashed("[1,2]"), hashed("[2,1]"));
    assert_ne!(hashed("[[1],2]"), hashed("[1,[2]]"));

    let left_out = [path("url"), path("lines.data.*.seen"), path("pair.1")];
    let volatile = |raw: &str| hash(compacted(raw).as_bytes(), &left_out);
    assert_eq!(
        volatile(r#"{"url":"a","lines":{"data":[{"seen":1,"id":5}]},"pair":[1,2]}"#),
        volatile(r#"{"lines":{"data":[{"seen":[9],"id":5}]},"pair":[1,3],"url":"b"}"#)
    );
    assert_ne!(
        volatile(r#"{"lines":{"data":[{"id":5}]}}"#),
        volatile(r#"{"lines":{"data":[{"id":6}]}}"#)
    );
}

#[test]
fn deep_nesting_overflows_nothing() {
    let raw = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let json = compacted(&raw);
    assert_eq!(json, raw);
    assert_ne!(hash(json.as_bytes(), &[]), 0);
    assert_eq!(
        get(json.as_bytes(), &path("0.0")).unwrap().len(),
        raw.len() - 4
    );
    hash("{\"a\":".repeat(200_000).as_bytes(), &[]);
}

#[test]
fn paths_need_segments() {
    for bad in ["", ".", "a.", "a..b", "a b", "items[]", "{id}"] {
        assert_eq!(Path::parse(bad), Err(BadPath), "{bad}");
    }
    assert_eq!(path("a.0.*").to_string(), "a.0.*");
}

/// A document as a tree that keeps how its tokens are written.
#[derive(Clone, Debug)]
enum Doc {
    Token(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Writes a document with `space` between all tokens; `turned` reverses the members of every object.
fn write(doc: &Doc, space: &str, turned: bool, out: &mut String) {
    out.push_str(space);
    match doc {
        Doc::Token(token) => out.push_str(token),
        Doc::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                write(item, space, turned, out);
            }
            out.push_str(space);
            out.push(']');
        }
        Doc::Object(members) => {
            let mut order: Vec<_> = members.iter().collect();
            if turned {
                order.reverse();
            }
            out.push('{');
            for (n, (key, value)) in order.into_iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                out.push_str(&format!("{space}{}{space}:", Value::from(key.as_str())));
                write(value, space, turned, out);
            }
            out.push_str(space);
            out.push('}');
        }
    }
    out.push_str(space);
}

fn written(doc: &Doc, space: &str, turned: bool) -> String {
    let mut out = String::new();
    write(doc, space, turned, &mut out);
    out
}

/// The same document with its n-th leaf (counted cyclically) replaced; `false` when it has no leaf.
fn change_leaf(doc: &mut Doc, n: usize) -> bool {
    fn leaves<'a>(doc: &'a mut Doc, found: &mut Vec<&'a mut String>) {
        match doc {
            Doc::Token(token) => found.push(token),
            Doc::List(items) => items.iter_mut().for_each(|item| leaves(item, found)),
            Doc::Object(members) => members
                .iter_mut()
                .for_each(|(_, value)| leaves(value, found)),
        }
    }
    let mut found = Vec::new();
    leaves(doc, &mut found);
    let count = found.len();
    match found.get_mut(n % count.max(1)) {
        Some(leaf) => **leaf = "\"changed, which no generated token is\"".to_owned(),
        None => return false,
    }
    true
}

fn docs() -> impl Strategy<Value = Doc> {
    let token = prop_oneof![
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just(r#""\u00e9\/""#.to_owned()),
    ];
    token
        .prop_map(Doc::Token)
        .prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Doc::List),
                proptest::collection::btree_map("[a-e\"\\\\é]{1,3}", inner, 0..6)
                    .prop_map(|members| Doc::Object(members.into_iter().collect())),
            ]
        })
}

/// Every path of a document, with the JSON pointer that says the same.
fn places(value: &Value, dotted: &str, pointer: &str, found: &mut Vec<(String, String)>) {
    let steps: Vec<(String, &Value)> = match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| (n.to_string(), item))
            .collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (step, value) in steps {
        let dotted = if dotted.is_empty() {
            step.clone()
        } else {
            format!("{dotted}.{step}")
        };
        let pointer = format!("{pointer}/{step}");
        places(value, &dotted, &pointer, found);
        found.push((dotted, pointer));
    }
}

proptest! {
    #[test]
    fn compaction_drops_whitespace_and_nothing_else(doc in docs(), space in "[ \\n\\r\\t]{0,3}") {
        prop_assert_eq!(compacted(&written(&doc, &space, false)), written(&doc, "", false));
    }

    #[test]
    fn the_hash_is_blind_to_space_and_order(doc in docs(), space in "[ \\n]{0,2}", n in any::<usize>()) {
        let plain = hashed(&written(&doc, "", false));
        prop_assert_eq!(plain, hashed(&written(&doc, &space, true)));
        let mut changed = doc;
        if change_leaf(&mut changed, n) {
            prop_assert_ne!(plain, hashed(&written(&changed, "", false)));
        }
    }

    #[test]
    fn get_agrees_with_a_parsed_tree(doc in docs()) {
        let json = compacted(&written(&doc, " ", false));
        // Numbers beyond a float's range are fine as tokens, but not in a tree.
        if let Ok(tree) = serde_json::from_str::<Value>(&json) {
            let mut found = Vec::new();
            places(&tree, "", "", &mut found);
            for (dotted, pointer) in found {
                if let Ok(path) = Path::parse(&dotted) {
                    let raw = get(json.as_bytes(), &path).unwrap();
                    let value: Value = serde_json::from_slice(raw).unwrap();
                    prop_assert_eq!(Some(&value), tree.pointer(&pointer));
                    if let Value::String(string) = value {
                        prop_assert_eq!(token_text(raw).unwrap(), string);
                    }
                }
            }
        }
    }

    #[test]
    fn exactly_the_valid_documents_pass(raw in "[\\[\\]{}:,\"\\\\u0-9a-f.eE+ntrlsb \\n-]{0,24}") {
        let valid = serde_json::from_str::<&RawValue>(&raw).is_ok();
        prop_assert_eq!(compact(raw.as_bytes(), &mut Vec::new()).is_ok(), valid, "{}", raw);
    }

    #[test]
    fn broken_documents_are_judged_alike(doc in docs(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut raw = written(&doc, " ", false).into_bytes();
        let at = at.index(raw.len());
        raw[at] = byte;
        let valid = serde_json::from_slice::<&RawValue>(&raw).is_ok();
        prop_assert_eq!(compact(&raw, &mut Vec::new()).is_ok(), valid);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\":,\\u1t"[..])], 0..64)) {
        let path = path("a.0.b");
        let paths = [path.clone(), Path::parse("*.*").unwrap()];
        hash(&bytes, &paths);
        get(&bytes, &path);
        text(&bytes, &path);
        token_text(&bytes);
        elements_at(&bytes, &path).into_iter().flatten().for_each(drop);
        elements(&bytes).chain(members(&bytes).map(|(_, value)| value)).for_each(drop);
        replace(&bytes, &path, b"1");
        remove(&bytes, &paths);
    }
}
