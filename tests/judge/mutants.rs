//! Runs that nobody measured: a saved run with hostile changes, and what must hold of it all the same.
//! The fuzz target `mutant_run` uses this file too.

use pdsdoctor::{
    cli::Format,
    diagnose::diagnose,
    render::{
        report,
        style::{Detail, Style},
    },
};
use pdsdoctor_probes::record::Run;
use serde_json::Value;

/// Chances, so that a failure can be had again: from bytes that a fuzzer chose, then from a number.
pub struct Dice {
    bytes: std::collections::VecDeque<u8>,
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { bytes: std::collections::VecDeque::new(), state: seed }
    }

    /// The bytes decide as long as there are any.
    #[allow(dead_code, reason = "the fuzz target's way")]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.iter().copied().collect(), state: 0 }
    }

    fn roll(&mut self) -> u64 {
        if let Some(byte) = self.bytes.pop_front() {
            return u64::from(byte) << 8 | u64::from(self.bytes.pop_front().unwrap_or_default());
        }
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n.max(1) as u64).unwrap()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let other = self.below(i + 1);
            items.swap(i, other);
        }
    }
}

const HOSTILE: &[&str] = &[
    "",
    " ",
    ".",
    "..",
    "*",
    "_atproto.",
    "did:",
    "did=did:plc:x",
    "https://",
    "https://[::1",
    "https://a:99999/",
    "\u{1b}[2J\u{202e}",
    "at://",
    "\u{0}",
    "0",
    "f18446744073709551616",
    "NaN",
    "*.*",
    "a.a.a.a.a.a.a.a.a.a.a",
    "pds.example.com",
    "tngl.sh",
    "https://pds.example.com",
    "::ffff:0:0",
    "fe80::1",
    "127.0.0.1",
    "64:ff9b::1",
];

/// Values of fields that know only some: others would make a file that cannot be read.
fn values_of(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "role" => &["target", "target_auth_server", "handle_sample", "handle", "hosted_handle", "reference", "client"],
        "outcome" => &["timeout"],
        "class" => &["expected", "json", "html", "text", "empty", "binary"],
        "arm" => &["localhost", "cache_busted", "as_named", "own_url", "near", "far", "ipv4_only", "ipv6_only"],
        "trust_system" | "trust_mozilla" => &["trusted", "unknown_issuer", "chain_expired", "invalid", "no_store"],
        "record_type" => &["A", "AAAA", "TXT", "NS", "CNAME"],
        "ended" => &["complete", "time_limit", "interrupted"],
        "probe" => &["dns", "tcp", "tls", "http", "handles", "identity", "oauth-discovery", "par", "client-document"],
        "family" => &["v4", "v6"],
        "addr" | "source" => &["8.8.8.8", "10.0.0.1", "::1", "2a01:4f8:1:2::11", "64:ff9b::1", "0.0.0.0"],
        "server" => &["9.9.9.9:53", "[::1]:53", "192.168.1.1:53"],
        "kind" | "purpose" | "document" | "schema" | "vantage" => &[],
        _ => return None,
    })
}

/// Changes one place of a document: another value of its kind, nothing, or another part of the document.
fn mutate(key: &str, value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(dice.below(map.len())).cloned().unwrap();
            let optional = matches!(
                key.as_str(),
                "failure"
                    | "status"
                    | "content"
                    | "body"
                    | "alert"
                    | "certificate"
                    | "error"
                    | "description"
                    | "zone"
                    | "records"
                    | "cname_chain"
                    | "addresses"
                    | "source"
                    | "date_offset_ms"
                    | "headers"
            );
            // The body of a fact and of an answer have one name.
            let whole = map[&key].get("kind").is_some();
            if optional && !whole && dice.below(3) == 0 {
                map.remove(&key);
            } else {
                mutate(&key, &mut map[&key], dice);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = dice.below(list.len());
            match dice.below(20) {
                0 => drop(list.remove(at)),
                1 => {
                    let copy = list[at].clone();
                    list.push(copy);
                }
                2 => {
                    let other = dice.below(list.len());
                    list.swap(at, other);
                }
                _ => mutate(key, &mut list[at], dice),
            }
        }
        Value::String(text) => {
            if let Some(values) = values_of(key) {
                if !values.is_empty() {
                    *text = values[dice.below(values.len())].to_owned();
                }
                return;
            }
            *text = match dice.below(4) {
                0 => HOSTILE[dice.below(HOSTILE.len())].to_owned(),
                1 => text.chars().rev().collect(),
                2 => text.repeat(3),
                _ => format!("{text}{}", HOSTILE[dice.below(HOSTILE.len())]),
            };
        }
        Value::Number(_) => {
            let numbers: &[i64] = match key {
                "status" => &[0, 200, 301, 403, 404, 429, 500, 502, 503, 504, 530, 999],
                "port" => &[0, 80, 443, 65_535],
                "attempt" => &[0, 1, 2, 255],
                "not_before" | "not_after" | "judged_at" | "date_offset_ms" => {
                    &[0, 1, -1, i64::MAX, i64::MIN, 4_000, -400_000, 1_780_000_000]
                }
                _ => &[0, 1, 250, 10_000, i64::MAX],
            };
            *value = Value::from(numbers[dice.below(numbers.len())]);
        }
        Value::Bool(flag) => *flag = !*flag,
        _ => {}
    }
}

/// Some changes to a saved run, mostly to its facts: they are what is judged.
pub fn mutant(original: &Value, dice: &mut Dice) -> Value {
    let mut mutant = original.clone();
    for _ in 0..=dice.below(16) {
        match mutant["facts"].as_array().map(Vec::len) {
            Some(count) if count > 0 && dice.below(8) != 0 => {
                let at = dice.below(count);
                mutate("facts", &mut mutant["facts"][at], dice);
            }
            _ => mutate("", &mut mutant, dice),
        }
    }
    mutant
}

pub const STYLES: [Style; 2] = [
    Style { width: 80, color: true, unicode: true, detail: Detail::Verbose },
    Style { width: 40, color: false, unicode: false, detail: Detail::Normal },
];

/// Judging and showing end, twice the same, whatever the run says.
pub fn survives(run: &Run) {
    let diagnosis = diagnose(run);
    assert_eq!(diagnosis, diagnose(run));
    for style in &STYLES {
        for format in [Format::Text, Format::Json] {
            let shown = report(run, &diagnosis, format, style);
            assert!(!shown.is_empty());
            let obeyed = |c: char| c.is_control() && c != '\n' && !(style.color && c == '\u{1b}');
            assert!(!shown.contains(obeyed), "{shown:?}");
        }
    }
}
