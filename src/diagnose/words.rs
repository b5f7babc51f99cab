//! Times and places in words.

use jiff::Timestamp;
use pdsdoctor_probes::fact::Vantage;

/// A day, from seconds since 1970.
pub fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "an impossible date".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// A span of seconds, roughly.
pub fn span(seconds: i64) -> String {
    let rounded = |n: u64, unit: u64| (n + unit / 2) / unit;
    let (count, unit) = match seconds.unsigned_abs() {
        n @ 0..=119 => (n, "second"),
        n @ 120..=7_199 => (rounded(n, 60), "minute"),
        n @ 7_200..=172_799 => (rounded(n, 3_600), "hour"),
        n => (rounded(n, 86_400), "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// Where something was measured, in words: `this machine`, `the container pds`.
pub fn place_words(at: &Vantage) -> String {
    match at {
        Vantage::Here => "this machine".to_owned(),
        Vantage::Container(name) => format!("the container {name}"),
        Vantage::Process(pid) => format!("the network of process {pid}"),
    }
}
