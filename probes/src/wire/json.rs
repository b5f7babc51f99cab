//! JSON from strangers: the whole text is checked, only a bounded part of it is kept.
//!
//! A [`Value`] takes up to sixteen times the room of its text (`[0,0,0,…]`), so half a megabyte
//! of body could become many megabytes, once per address. What exceeds the budget is checked for
//! syntax and dropped; a document that a PDS or an application serves is far below it.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The most values kept of one document. OAuth metadata of the reference PDS has about 120.
const VALUES: usize = 4096;

/// The most bytes of one string that are kept: more than a [`crate::text::Text`] ever shows.
const STRING: usize = 8 * 1024;

/// Reads a document; `None` if it is not JSON, or nested deeper than `serde_json` allows (128).
pub(crate) fn parse(raw: &[u8]) -> Option<Value> {
    // `fetch` and Node drop a byte order mark before they parse (WHATWG Encoding, "UTF-8 decode").
    let raw = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
    let budget = Cell::new(VALUES);
    let mut deserializer = serde_json::Deserializer::from_slice(raw);
    let value = Bounded { budget: &budget }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    value
}

/// Reads one value; gives `None` when the budget is used up.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    budget: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn take(self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left > 0
    }

    fn keep(self, value: impl FnOnce() -> Value) -> Option<Value> {
        self.take().then(value)
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.keep(|| Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.keep(|| Value::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.keep(|| Value::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.keep(|| Value::from(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.keep(|| Value::String(cut(value).to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.keep(|| Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let kept = self.take();
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.extend(item);
        }
        Ok(kept.then_some(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let kept = self.take();
        let mut map = serde_json::Map::new();
        while let Some(name) = fields.next_key_seed(Name)? {
            if let Some(value) = fields.next_value_seed(self)? {
                map.insert(name, value);
            }
        }
        Ok(kept.then_some(Value::Object(map)))
    }
}

/// Reads a field name.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
        Ok(cut(value).to_owned())
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(STRING);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_documents_are_kept_whole() {
        let raw = br#"{"a":[1,-2,3.5,null,true],"b":{"c":"d"}}"#;
        assert_eq!(parse(raw), serde_json::from_slice(raw).ok());
        assert_eq!(parse(b"\xef\xbb\xbf{}"), Some(Value::Object(serde_json::Map::new())));
    }

    #[test]
    fn large_documents_cost_little_and_are_still_checked() {
        let numbers = format!("{{\"version\":\"1\",\"x\":[{}0]}}", "0,".repeat(250_000));
        let value = parse(numbers.as_bytes()).expect("valid");
        assert_eq!(value["version"], "1");
        assert!(value["x"].as_array().expect("array").len() < VALUES);
        assert_eq!(parse(&numbers.as_bytes()[..numbers.len() - 1]), None, "the end is missing");
    }

    #[test]
    fn deep_nesting_is_no_json() {
        for depth in [200, 100_000] {
            let deep = format!("{{\"version\":\"1\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(parse(deep.as_bytes()), None);
        }
    }

    #[test]
    fn what_is_not_json_is_none() {
        for raw in [&b""[..], b"{", b"{}x", b"\xff\xfe", b"{\"a\":\"\xff\"}", b"nul"] {
            assert_eq!(parse(raw), None);
        }
    }
}
