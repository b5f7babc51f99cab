//! The JSON report and its schema. `PDSDOCTOR_BLESS=1 cargo test --test schema` writes the schema
//! anew after a change to `src/render/json.rs`; the difference is part of the change.

mod samples;

use serde::{
    Deserialize,
    de::{MapAccess, SeqAccess, Visitor},
};

use pdsdoctor::{
    cli::Format,
    render::{
        json, report,
        style::{Detail, Style},
    },
};

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/report-v1.json");
const STYLE: Style = Style { width: 80, color: false, unicode: true, detail: Detail::Normal };

fn reports() -> impl Iterator<Item = (&'static str, serde_json::Value)> {
    samples::all().into_iter().map(|sample| {
        let text = report(&sample.run, &sample.diagnosis, Format::Json, &STYLE);
        (sample.name, serde_json::from_str(&text).expect("JSON"))
    })
}

#[test]
fn the_schema_file_is_that_of_the_code() {
    let schema = json::schema();
    if std::env::var_os("PDSDOCTOR_BLESS").is_some() {
        std::fs::write(SCHEMA, &schema).expect("write the schema");
    }
    let kept = std::fs::read_to_string(SCHEMA).unwrap_or_default();
    assert!(kept == schema, "docs/schema/report-v1.json is stale: PDSDOCTOR_BLESS=1 cargo test --test schema");
}

#[test]
fn every_report_fits_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&json::schema()).expect("a schema in JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for (name, value) in reports() {
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"schema": "pdsdoctor/report/v1"})));
}

/// JSON with its order kept.
#[derive(Debug)]
enum Ordered {
    Object(Vec<(String, Ordered)>),
    Array(Vec<Ordered>),
    Leaf(serde_json::Value),
}

impl Ordered {
    fn get(&self, path: &str) -> &Self {
        path.split('/').filter(|part| !part.is_empty()).fold(self, |here, part| match here {
            Self::Object(entries) => {
                &entries.iter().find(|(key, _)| key == part).unwrap_or_else(|| panic!("no {part} in {path}")).1
            }
            Self::Array(items) => &items[part.parse::<usize>().expect("an index")],
            Self::Leaf(_) => panic!("{path} goes too deep"),
        })
    }

    fn keys(&self, path: &str) -> Vec<&str> {
        match self.get(path) {
            Self::Object(entries) => entries.iter().map(|(key, _)| key.as_str()).collect(),
            other => panic!("{path} is no object: {other:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Ordered;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered::Object(entries))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ordered, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Ordered::Array(items))
            }
            fn visit_str<E>(self, text: &str) -> Result<Ordered, E> {
                Ok(Ordered::Leaf(text.into()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
                Ok(Ordered::Leaf(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
                Ok(Ordered::Leaf(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
                Ok(Ordered::Leaf(value.into()))
            }
            fn visit_unit<E>(self) -> Result<Ordered, E> {
                Ok(Ordered::Leaf(serde_json::Value::Null))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The contract of the design, section 3, in its order; `ended`, `headline`, `seen`, `settle`, `differs` and the scope of
/// what is ruled out were added.
#[test]
fn the_fields_are_those_of_the_contract() {
    let sample = samples::first_field_report();
    let text = report(&sample.run, &sample.diagnosis, Format::Json, &STYLE);
    let value: Ordered = serde_json::from_str(&text).expect("JSON");
    for (path, fields) in [
        (
            "",
            "schema version target reference started elapsed_ms ended verdict headline causes ruled_out \
             differs not_measured healthy facts",
        ),
        ("target", "input origin did"),
        ("reference", "origin"),
        (
            "causes/0",
            "code title impact confidence scope summary seen because against contrast settle contributing \
             symptoms remedies",
        ),
        ("causes/0/scope", "host"),
        ("causes/0/contrast/0", "what this that"),
        ("causes/0/symptoms/0", "code title because"),
        ("causes/0/remedies/0", "title steps risk undo verify proven link"),
        ("ruled_out/0", "code scope why because"),
        ("ruled_out/0/scope", "host vantage"),
        ("not_measured/0", "probe why needs"),
        ("healthy/0", "probe summary"),
        ("facts/0", "id probe vantage started_ms took_ms body"),
    ] {
        assert_eq!(value.keys(path).join(" "), fields, "{path}");
    }
    for (path, leaf) in [
        ("schema", json::REPORT_SCHEMA),
        ("verdict", "broken"),
        ("ended", "complete"),
        ("causes/0/code", "oauth-client-metadata-egress"),
        ("causes/0/remedies/0/risk", "safe"),
        ("facts/0/vantage", "here"),
        ("facts/0/body/kind", "own_network"),
    ] {
        assert!(matches!(value.get(path), Ordered::Leaf(value) if value == leaf), "{path}");
    }
}
