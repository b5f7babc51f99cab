//! Saved runs: what `--save` writes and `replay` reads. The file may be anybody's.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    path::Path,
};

use pdsdoctor_probes::{
    fact::{Fact, NotMeasured, ProbeName},
    files,
    record::{RUN_SCHEMA, Run},
    text::Text,
};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// More facts than this no run measures (a hundred are usual); judging looks some up one by one.
const MOST_FACTS: usize = 2_000;

/// The largest run that is read. A run with every list at its limit stays under 4 MiB.
pub const SIZE_LIMIT: u64 = 32 * 1024 * 1024;

/// No list of a run is longer: the longest is that of its facts, and every list within a fact has a limit of its own far
/// below.
const LONGEST_LIST: usize = MOST_FACTS;

/// The most values of a run, names of fields among them. A fact has some 60, one with every list at its limit 1,000; of
/// those there are a few dozen.
const MOST_VALUES: usize = 400_000;

/// The most bytes of text in it: twice a run with every list at its limit.
const MOST_TEXT: usize = 8 * 1024 * 1024;

/// So much of what was not understood is enough to know it again.
const LONGEST_LINE: usize = 120;

/// More lines of it help nobody.
const MOST_LINES: usize = 8;

/// Reads a saved run; `-` is standard input.
///
/// # Errors
///
/// Why it is none, in words.
pub fn read(path: &Path) -> Result<Run, String> {
    let bytes = if path == Path::new("-") {
        bounded(io::stdin().lock()).map_err(|error| error.to_string())?
    } else {
        // Damaged is what is too large for any run.
        files::read(path, SIZE_LIMIT, files::PATIENCE).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput if error.to_string().starts_with("larger") => format!("{error}: no saved run"),
            _ => error.to_string(),
        })?
    };
    parse(&bytes)
}

fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        let words = format!("larger than {} MiB: no saved run", SIZE_LIMIT / 1024 / 1024);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    Ok(bytes)
}

/// Nothing in a run begins later, or takes longer: a year.
const LONGEST_MS: u64 = 366 * 24 * 3_600 * 1_000;

/// Reads the text of a saved run. The form is looked at first, so that another kind of file is told
/// from a damaged one.
pub fn parse(bytes: &[u8]) -> Result<Run, String> {
    #[derive(serde::Deserialize)]
    struct Form {
        schema: Option<String>,
    }
    let form: Form = serde_json::from_slice(bytes).map_err(|error| format!("not a JSON object of a run: {error}"))?;
    let schema = form.schema.unwrap_or_default();
    if schema != RUN_SCHEMA {
        return Err(match schema.split_once("/v") {
            Some(("pdsdoctor/run", version)) if version.parse::<u32>().is_ok() => {
                format!("written by a newer pdsdoctor (run format {version}); this one reads {RUN_SCHEMA}")
            }
            Some(("pdsdoctor/report", _)) => {
                "a report, not a saved run; `pdsdoctor check TARGET --save FILE` writes one".to_owned()
            }
            _ => format!("not a saved run: its \"schema\" is not {RUN_SCHEMA:?}"),
        });
    }
    // Its lists are counted before anything is made of them: [0,0,0,…] takes many times its room in memory.
    let counted = Counted { values: &Cell::new(MOST_VALUES), text: &Cell::new(MOST_TEXT) };
    counted
        .deserialize(&mut serde_json::Deserializer::from_slice(bytes))
        .map_err(|error| format!("a damaged saved run: {error}"))?;
    let mut run: Run = match serde_json::from_slice(bytes) {
        Ok(run) => run,
        Err(error) if is_unknown(&error) => as_far_as_known(bytes)?,
        Err(error) => return Err(format!("a damaged saved run: {error}")),
    };
    if run.facts.len() > MOST_FACTS {
        return Err(format!("{} facts; a run has no more than {MOST_FACTS}", run.facts.len()));
    }
    // A file edited by hand must not break what judging relies on: order and distinct ids, and times that can be added up.
    for fact in &mut run.facts {
        fact.started_ms = fact.started_ms.min(LONGEST_MS);
        fact.took_ms = fact.took_ms.min(LONGEST_MS);
    }
    run.put_in_order();
    Ok(run)
}

/// A word that is none of those known: of a newer program, which may have more of them. All else is damage.
fn is_unknown(error: &serde_json::Error) -> bool {
    let words = error.to_string();
    words.starts_with("unknown variant") || words.starts_with("unknown vantage")
}

/// A run of a newer program without the facts that this one has no words for; it is noted what they were.
fn as_far_as_known(bytes: &[u8]) -> Result<Run, String> {
    let damaged = |error: serde_json::Error| format!("a damaged saved run: {error}");
    let mut value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
    let version = value.get("version").and_then(Value::as_str).unwrap_or("of an unknown version").to_owned();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    known::<Fact>(value.pointer_mut("/facts"), &mut unknown).map_err(damaged)?;
    known::<NotMeasured>(value.pointer_mut("/not_measured"), &mut unknown).map_err(damaged)?;
    known::<ProbeName>(value.pointer_mut("/settings/left_out"), &mut unknown).map_err(damaged)?;
    // What is left says how all of it is meant: without that, nothing of it can be judged.
    let mut run: Run = serde_json::from_value(value).map_err(|error| match is_unknown(&error) {
        true => format!("written by a newer pdsdoctor ({version}), with a word that this one does not know: {error}"),
        false => damaged(error),
    })?;
    run.not_understood = unknown
        .into_iter()
        .map(|(what, count)| match count {
            1 => Text::limited(&what, LONGEST_LINE),
            _ => Text::limited(&format!("{what} ({count} times)"), LONGEST_LINE),
        })
        .take(MOST_LINES)
        .collect();
    Ok(run)
}

/// Leaves out of a list what has an unknown word in it, and counts that.
fn known<T: DeserializeOwned>(
    list: Option<&mut Value>,
    unknown: &mut BTreeMap<String, usize>,
) -> serde_json::Result<()> {
    let Some(items) = list.and_then(Value::as_array_mut) else { return Ok(()) };
    let mut kept = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        match T::deserialize(&item) {
            Ok(_) => kept.push(item),
            Err(error) if is_unknown(&error) => {
                let words = error.to_string();
                let word = words.split(['`', '"']).nth(1).unwrap_or("?");
                let probe = item.get("probe").and_then(Value::as_str).filter(|probe| *probe != word);
                let what = match probe {
                    Some(probe) => format!("of the probe {probe}, a measurement with \"{word}\""),
                    None => format!("the probe \"{word}\""),
                };
                *unknown.entry(what).or_default() += 1;
            }
            Err(error) => return Err(error),
        }
    }
    *items = kept;
    Ok(())
}

/// A run as it is saved.
pub fn to_json(run: &Run) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(run)?;
    text.push('\n');
    Ok(text)
}

/// Goes through a document and keeps nothing of it; fails where there is too much.
#[derive(Clone, Copy)]
struct Counted<'a> {
    values: &'a Cell<usize>,
    text: &'a Cell<usize>,
}

impl Counted<'_> {
    fn value<E: Error>(self) -> Result<(), E> {
        let left = self.values.get().checked_sub(1).ok_or_else(|| E::custom("more values than any run has"))?;
        self.values.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.value()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.value()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.value()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.value()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.value()
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let left = self.text.get().checked_sub(value.len()).ok_or_else(|| E::custom("more text than any run has"))?;
        self.text.set(left);
        self.value()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.value()?;
        let mut length = 0;
        while items.next_element_seed(self)?.is_some() {
            length += 1;
            if length > LONGEST_LIST {
                return Err(A::Error::custom(format!("a list of more than {LONGEST_LIST}; no run has one")));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.value()?;
        while fields.next_key_seed(self)?.is_some() {
            fields.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> bool {
        let counted = Counted { values: &Cell::new(MOST_VALUES), text: &Cell::new(MOST_TEXT) };
        counted.deserialize(&mut serde_json::Deserializer::from_str(text)).is_ok()
    }

    #[test]
    fn no_list_is_too_long_wherever_it_stands() {
        let list = |length: usize| vec!["0"; length].join(",");
        for (before, after) in [("[", "]"), ("{\"unknown\":[", "]}"), ("[{\"a\":[[", "]]}]")] {
            assert!(counted(&format!("{before}{}{after}", list(LONGEST_LIST))), "{before}");
            assert!(!counted(&format!("{before}{}{after}", list(LONGEST_LIST + 1))), "{before}");
        }
    }

    #[test]
    fn values_and_text_are_bounded_altogether() {
        let many = format!("[{}]", vec![format!("[{}]", vec!["0"; 1_000].join(",")); 500].join(","));
        assert!(!counted(&many));
        let fields = (0..MOST_VALUES / 2 + 1).map(|index| format!("\"{index}\":0")).collect::<Vec<_>>().join(",");
        assert!(!counted(&format!("{{{fields}}}")));
        let text = format!("\"{}\"", "x".repeat(100_000));
        assert!(counted(&format!("[{}]", vec![text.as_str(); 80].join(","))));
        assert!(!counted(&format!("[{}]", vec![text.as_str(); 90].join(","))));
    }
}
