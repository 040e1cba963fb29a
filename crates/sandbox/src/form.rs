//! Query strings and form bodies, with the brackets that carry nested values.
//!
//! `items[0][price]=p&metadata[k]=v&expand[]=x` reads as
//! `{"items":[{"price":"p"}],"metadata":{"k":"v"},"expand":["x"]}`. All leaves are strings.

use serde_json::{Map, Value};

/// The decoded pairs of a query string or form body, in order.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// The nested object the pairs describe. Of pairs with one name the last wins.
pub(crate) fn nested(pairs: Vec<(String, String)>) -> Map<String, Value> {
    let mut root = Map::new();
    for (name, value) in pairs {
        let segments: Vec<&str> = segments(&name);
        insert(&mut root, &segments, value);
    }
    root.into_iter()
        .map(|(name, value)| {
            let value = if name == "metadata" {
                value
            } else {
                with_arrays(value)
            };
            (name, value)
        })
        .collect()
}

/// Whether `name` is `array` with one pair of brackets after it, as in `types[]` and `types[0]`.
pub(crate) fn is_element(name: &str, array: &str) -> bool {
    name.strip_prefix(array).is_some_and(|rest| {
        let index = rest
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        index.is_some_and(|index| index.chars().all(|c| c.is_ascii_digit()))
    })
}

fn segments(name: &str) -> Vec<&str> {
    name.split('[')
        .map(|segment| segment.strip_suffix(']').unwrap_or(segment))
        .collect()
}

fn insert(object: &mut Map<String, Value>, segments: &[&str], value: String) {
    let Some((first, rest)) = segments.split_first() else {
        return;
    };
    let key = if first.is_empty() {
        object.len().to_string()
    } else {
        (*first).to_owned()
    };
    if rest.is_empty() {
        object.insert(key, Value::String(value));
        return;
    }
    let child = object
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    if let Value::Object(child) = child {
        insert(child, rest, value);
    }
}

/// Turns objects whose keys are all numbers into arrays, in the order of the numbers.
fn with_arrays(value: Value) -> Value {
    let Value::Object(object) = value else {
        return value;
    };
    let indices: Option<Vec<u32>> = object.keys().map(|key| key.parse().ok()).collect();
    let children = object.into_iter().map(|(name, child)| {
        let child = if name == "metadata" {
            child
        } else {
            with_arrays(child)
        };
        (name, child)
    });
    match indices {
        Some(indices) if !indices.is_empty() => {
            let mut elements: Vec<(u32, Value)> = indices
                .into_iter()
                .zip(children.map(|(_, child)| child))
                .collect();
            elements.sort_by_key(|(index, _)| *index);
            elements.into_iter().map(|(_, element)| element).collect()
        }
        _ => Value::Object(children.collect()),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                match (ahead.next().and_then(hex), ahead.next().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        decoded.push(high * 16 + low);
                        bytes = ahead;
                    }
                    _ => decoded.push(byte),
                }
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{is_element, nested, pairs};

    fn read(text: &str) -> Value {
        Value::Object(nested(pairs(text)))
    }

    #[test]
    fn brackets_nest() {
        assert_eq!(
            read(
                "items%5B0%5D%5Bprice%5D=p&items[1][price]=q&metadata[k]=a+b&expand[]=x&expand[]=y"
            ),
            json!({
                "items": [{"price": "p"}, {"price": "q"}],
                "metadata": {"k": "a b"},
                "expand": ["x", "y"],
            })
        );
    }

    #[test]
    fn numbers_stay_in_order_and_metadata_stays_an_object() {
        assert_eq!(
            read("a[10]=k&a[9]=j&metadata[0]=zero"),
            json!({"a": ["j", "k"], "metadata": {"0": "zero"}})
        );
    }

    #[test]
    fn elements_have_an_empty_or_numeric_index() {
        assert!(is_element("types[]", "types") && is_element("types[10]", "types"));
        assert!(!is_element("types", "types") && !is_element("types[a]", "types"));
        assert!(!is_element("typescript[]", "types"));
    }

    #[test]
    fn malformed_escapes_are_kept() {
        assert_eq!(
            pairs("a=%zz%4&b"),
            [("a".into(), "%zz%4".into()), ("b".into(), String::new())]
        );
        assert_eq!(pairs("n=J%C3%BCrgen"), [("n".into(), "Jürgen".into())]);
    }
}
