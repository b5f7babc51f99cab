//! The four flags, as Node reads them from `NODE_OPTIONS` and from its command line.

use serde::Serialize;

pub use super::flag::Flag;
use super::{path::Address, release::Release};

/// Other flags of Node that take the next argument as their value (doc/api/cli.md). Without them a value would look like
/// the script, after which the arguments are the script's own.
const WITH_VALUE: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--env-file-if-exists",
    "--title",
    "--icu-data-dir",
    "--openssl-config",
    "--diagnostic-dir",
    "--redirect-warnings",
    "--max-http-header-size",
    "--unhandled-rejections",
    "--disable-warning",
    "--inspect-port",
    "--watch-path",
    "--use-largepages",
    "--tls-cipher-list",
    "--secure-heap",
    "--report-dir",
    "--report-directory",
    "--report-filename",
];

/// The value of `--dns-result-order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultOrder {
    /// As `getaddrinfo` gives them: the default since 17.
    Verbatim,
    /// IPv4 before IPv6, each in its order.
    Ipv4First,
    /// IPv6 before IPv4.
    Ipv6First,
}

/// The flags as they count. What is not set has the release's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Options {
    /// Whether addresses are tried one after the other.
    pub auto_select: Option<bool>,
    /// The timer of every attempt but the last, as Node's parser left it.
    pub attempt_timeout_ms: Option<u64>,
    /// The order of the addresses.
    pub result_order: Option<ResultOrder>,
}

/// What was found in `NODE_OPTIONS` and on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The flags as they count.
    pub options: Options,
    /// Why this Node does not start with them, if it does not.
    pub refused: Vec<String>,
    /// The rest of `NODE_OPTIONS` from its first word that is no flag on: Node drops it without a word. Single quotes do
    /// that, which `NODE_OPTIONS` does not know.
    pub dropped: Vec<String>,
}

/// The longest timer of JavaScript (`TIMEOUT_MAX`, lib/internal/timers.js): 2³¹ − 1 ms.
const TIMER_MAX_MS: u64 = 2_147_483_647;

impl Options {
    /// The timer of every attempt but the last. A value that a JavaScript timer cannot have gives 1 ms: 0, what is not a
    /// number (read as 0), what is negative (read as unsigned) and what is too large (`Timeout`, lib/internal/timers.js).
    pub fn timer_ms(&self, release: Release) -> u64 {
        let ms = self.attempt_timeout_ms.unwrap_or(release.attempt_ms());
        if (1..=TIMER_MAX_MS).contains(&ms) { ms } else { 1 }
    }

    /// The addresses in the order of `--dns-result-order`.
    pub(super) fn sorted<'a>(&self, addresses: &'a [Address]) -> Vec<&'a Address> {
        let mut sorted: Vec<&Address> = addresses.iter().collect();
        match self.result_order {
            None | Some(ResultOrder::Verbatim) => {}
            Some(ResultOrder::Ipv4First) => sorted.sort_by_key(|address| address.ip.is_ipv6()),
            Some(ResultOrder::Ipv6First) => sorted.sort_by_key(|address| address.ip.is_ipv4()),
        }
        sorted
    }

    /// Reads them. `arguments` are those of the command line after the program's name; they win over `NODE_OPTIONS`.
    pub fn read(release: Release, node_options: &str, arguments: &[&str]) -> Found {
        let mut found = Found::default();
        match split(node_options) {
            Ok(words) => {
                let left = found.take(release, &words);
                found.dropped = words[left..].to_vec();
            }
            Err(why) => found.refused.push(why.to_owned()),
        }
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        found.take(release, &arguments);
        found
    }

    /// The flags as one would write them into `NODE_OPTIONS`.
    pub fn written(&self) -> String {
        let mut flags = Vec::new();
        match self.auto_select {
            Some(true) => flags.push("--network-family-autoselection".to_owned()),
            Some(false) => flags.push("--no-network-family-autoselection".to_owned()),
            None => {}
        }
        if let Some(ms) = self.attempt_timeout_ms {
            flags.push(format!("--network-family-autoselection-attempt-timeout={ms}"));
        }
        match self.result_order {
            Some(ResultOrder::Verbatim) => flags.push("--dns-result-order=verbatim".to_owned()),
            Some(ResultOrder::Ipv4First) => flags.push("--dns-result-order=ipv4first".to_owned()),
            Some(ResultOrder::Ipv6First) => flags.push("--dns-result-order=ipv6first".to_owned()),
            None => {}
        }
        flags.join(" ")
    }

    /// Which of the flags it needs.
    pub(super) fn needs(&self) -> Vec<Flag> {
        let auto_select = self.auto_select.map(|_| Flag::AutoSelect);
        let attempt = self.attempt_timeout_ms.map(|_| Flag::AttemptTimeout);
        let order = self.result_order.map(|_| Flag::ResultOrder);
        [auto_select, attempt, order].into_iter().flatten().collect()
    }
}

/// Words of `NODE_OPTIONS`: only the space separates, only `"` quotes, and `\` escapes inside of quotes only
/// (`ParseNodeOptionsEnvVar`, src/node_options.cc).
fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words: Vec<String> = Vec::new();
    let (mut quoted, mut between) = (false, true);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '\\' if quoted => letters.next().ok_or("an escape at the end of NODE_OPTIONS")?,
            ' ' if !quoted => {
                between = true;
                continue;
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            other => other,
        };
        match words.last_mut() {
            Some(word) if !between => word.push(letter),
            _ => words.push(letter.to_string()),
        }
        between = false;
    }
    if quoted { Err("a quote in NODE_OPTIONS is not closed") } else { Ok(words) }
}

impl Found {
    /// Takes flags until the first word that is none; gives how many words that were (`OptionsParser::Parse`,
    /// src/node_options-inl.h).
    fn take(&mut self, release: Release, words: &[String]) -> usize {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            if word.len() <= 1 || !word.starts_with('-') {
                break;
            }
            at += 1;
            if word == "--" {
                break;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let name = if name.starts_with("--") { name.replace('_', "-") } else { name.to_owned() };
            let (name, negated) = match name.strip_prefix("--no-") {
                Some(rest) => (format!("--{rest}"), true),
                None => (name, false),
            };
            let Some(flag) = Flag::ALL.into_iter().find_map(|(flag, known)| (known == name).then_some(flag)) else {
                if value.is_none() && WITH_VALUE.contains(&name.as_str()) {
                    at += 1;
                }
                continue;
            };
            if !release.knows(flag) {
                self.refused.push(format!("Node {release} does not know {name}"));
            } else if flag.is_boolean() {
                // A value after "=" is ignored: `=false` switches nothing off.
                self.options.auto_select = Some(!negated);
            } else if negated {
                self.refused.push(format!("{name} cannot be negated"));
            } else {
                let next = words.get(at).map(String::as_str);
                let value = match value {
                    None => {
                        at += 1;
                        next.filter(|next| !next.starts_with('-'))
                    }
                    value => value,
                };
                match value.filter(|value| !value.is_empty()) {
                    Some(value) => self.set(release, flag, value),
                    None => self.refused.push(format!("{name} needs a value")),
                }
            }
        }
        at.min(words.len())
    }

    fn set(&mut self, release: Release, flag: Flag, value: &str) {
        if flag == Flag::AttemptTimeout {
            self.options.attempt_timeout_ms = Some(unsigned(value));
            return;
        }
        match value {
            "verbatim" => self.options.result_order = Some(ResultOrder::Verbatim),
            "ipv4first" => self.options.result_order = Some(ResultOrder::Ipv4First),
            "ipv6first" if release.knows_ipv6_first() => self.options.result_order = Some(ResultOrder::Ipv6First),
            _ if release.checks_result_order() => {
                self.refused.push(format!("Node {release} does not know --dns-result-order={value}"));
            }
            _ => self.options.result_order = Some(ResultOrder::Verbatim),
        }
    }
}

/// C's `strtoull` in base 10, which is what Node uses: leading digits count, no digits are 0, a minus sign wraps around,
/// too much is the maximum.
fn unsigned(text: &str) -> u64 {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return 0;
    }
    let number: u64 = digits[..end].parse().unwrap_or(u64::MAX);
    if negative && number != u64::MAX { number.wrapping_neg() } else { number }
}
