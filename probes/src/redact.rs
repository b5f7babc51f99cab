//! What must not be kept of the words of strangers: reports are pasted in public.
//!
//! Error texts, excerpts of bodies, headers and records are foreign, and may hold anything: tokens, passwords, mail
//! addresses. Every fact passes [`fact`] on its way into a run ([`crate::net::Job::finish`]), so no probe can forget it.
//! What is taken out leaves `…` in its place; what rules read stays: names of errors, hosts, paths, DIDs, CIDs.
//!
//! What the *user* wrote behind the `?` of an address is another matter: it is known, and is taken out wherever it comes
//! back ([`Hidden`]).

use std::collections::BTreeMap;

use crate::{
    dns_fact::{DnsFact, RecordType},
    fact::{FactBody, Failure},
    http_fact::{Content, HttpFact},
    identifier::{TxtValue, did_of_txt},
    text::Text,
};

/// What stands where something was taken out.
const GAP: &str = "…";

/// Parts of names whose values are secret: `access_token`, `"adminPassword"`, `X-Api-Key`, `csrf`.
const SECRET_NAMES: &[&str] = &[
    "passw",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "privatekey",
    "private_key",
    "private-key",
    "private key",
    "credential",
    "authorization",
    "signature",
    "session",
    "csrf",
    "xsrf",
    "nonce",
    "cookie",
    "jwt",
    "assertion",
    "verifier",
    "request_uri",
    "requesturi",
    "otp",
    "verification",
];

/// Endings of names that hold such a part and whose values are public: `token_endpoint`, `dpop_signing_alg_values_supported`.
const PUBLIC_ENDINGS: &[&str] = &[
    "_endpoint",
    "_supported",
    "_method",
    "_methods",
    "_type",
    "_types",
    "_url",
    "_alg",
    "_parameter",
    "_registration",
];

/// Schemes of `Authorization` (IANA, "HTTP Authentication Schemes") that are followed by what authorises.
const SCHEMES: &[&str] = &["basic", "bearer", "digest", "dpop", "negotiate"];

/// The least characters of a run of letters and digits that is taken for a key if it mixes upper case, lower case and
/// digits: 20 of base64 are 120 bits, and no word is written so.
const MIXED: usize = 20;
/// The least if it has letters and digits of any kind: 16 bytes in hexadecimal have 32. Random identifiers of base32
/// have fewer.
const LONG: usize = 28;

/// Takes out of foreign words what may be secret.
pub fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("://") {
            out.push_str("://");
            rest = url(after, &mut out);
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (found, after) = rest.split_at(end);
            rest = word(found, after, &mut out);
        } else if first == '<' && rest[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            rest = tag(rest, &mut out);
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '~' | '%' | '@')
}

/// What ends an address in the middle of words.
fn ends_url(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')' | ']' | '}' | '|')
}

/// After `://`: without user and password, without query and fragment.
fn url<'a>(after: &'a str, out: &mut String) -> &'a str {
    let (whole, rest) = after.split_at(after.find(ends_url).unwrap_or(after.len()));
    // Brackets of IPv6 end other addresses, and no host has them elsewhere.
    let (whole, rest) = match whole.strip_prefix('[').and(after.find(']')) {
        Some(at) => {
            let end = after[at..].find(|c| c != ']' && ends_url(c)).map_or(after.len(), |more| at + more);
            after.split_at(end)
        }
        None => (whole, rest),
    };
    let authority = &whole[..whole.find(['/', '?', '#']).unwrap_or(whole.len())];
    // A password may hold what ends an authority; then what looks like the port is no number.
    let odd = authority.rsplit_once(':').is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()));
    let userinfo = match authority.rfind('@') {
        Some(at) => Some(at),
        None if odd && !authority.starts_with('[') => whole.rfind('@'),
        None => None,
    };
    let whole = match userinfo {
        Some(at) => {
            out.push_str(GAP);
            &whole[at..]
        }
        None => whole,
    };
    let (path, more) = whole.split_at(whole.find(['?', '#']).unwrap_or(whole.len()));
    for (index, part) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        out.push_str(if index > 0 && is_key(part, out) { GAP } else { part });
    }
    if let Some(mark) = more.chars().next() {
        out.push(mark);
        if more.len() > 1 {
            out.push_str(GAP);
        }
    }
    rest
}

/// A word and what follows it.
fn word<'a>(found: &str, after: &'a str, out: &mut String) -> &'a str {
    if is_mail(found) {
        out.push_str(GAP);
        return after;
    }
    if is_secret_name(found)
        && let Some((between, value)) = value_of(after)
    {
        out.push_str(found);
        out.push_str(between);
        return left_out(found, between, value, out);
    }
    if SCHEMES.contains(&found.to_ascii_lowercase().as_str())
        && let Some(token) = after.strip_prefix(' ')
    {
        let end = token.find(|c: char| !(is_word(c) || matches!(c, '/' | '='))).unwrap_or(token.len());
        let (token, rest) = token.split_at(end);
        // `Bearer realm="x"` and "Bearer authentication" give nothing away.
        let parameter = token.trim_end_matches('=').contains('=') || token.ends_with('=') && rest.starts_with('"');
        let plain = parameter || token.bytes().all(|byte| byte.is_ascii_lowercase());
        if token.len() >= 8 && !plain {
            out.push_str(found);
            out.push(' ');
            out.push_str(GAP);
            return rest;
        }
    }
    out.push_str(if is_key(found, out) { GAP } else { found });
    after
}

/// `=`, `:` or `=>` after a name, with the quotation marks around either: what stands before the value, and the rest.
fn value_of(after: &str) -> Option<(&str, &str)> {
    let marks = |text: &str| text.len() - text.trim_start_matches(['"', '\'', '\\', ']']).len();
    let spaces = |text: &str| text.len() - text.trim_start_matches(' ').len();
    let mut at = marks(after);
    at += spaces(&after[at..]);
    let sign = after[at..].chars().next().filter(|c| matches!(c, '=' | ':'))?;
    at += sign.len_utf8();
    at += usize::from(after[at..].starts_with('>'));
    // `request_uri::x` and `secret == x` are the same to a reader.
    at += after[at..].len() - after[at..].trim_start_matches(['=', ':']).len();
    at += spaces(&after[at..]);
    let quote = after[at..].len() - after[at..].trim_start_matches('\\').len();
    if after[at + quote..].starts_with(['"', '\'']) {
        at += quote + 1;
    }
    Some(after.split_at(at))
}

/// Skips the value behind `name` and `between`.
fn left_out<'a>(name: &str, between: &str, value: &'a str, out: &mut String) -> &'a str {
    let name = name.to_ascii_lowercase();
    let header = name.ends_with("authorization") || name.ends_with("cookie");
    let end = match between.chars().next_back().filter(|c| matches!(c, '"' | '\'')) {
        // `"a\"b"` goes on behind the second mark, unless the whole is JSON within a string: `\"a\":\"b\"`.
        Some(quote) => {
            let escaped = between.trim_end_matches(quote).ends_with('\\');
            let mut before = None;
            let ends = value.char_indices().find(|(_, c)| {
                let here = *c == quote && (escaped || before != Some('\\'));
                before = Some(*c);
                here
            });
            ends.map_or(value.len(), |(at, _)| if escaped && at > 0 { at - 1 } else { at })
        }
        None if value.starts_with(['{', '[']) => 0,
        // What follows in a line of headers is theirs to its end.
        None if header => value.find(['\n', '\r']).unwrap_or(value.len()),
        None => {
            let ends =
                |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '<' | '>' | ')' | '}' | ']' | '"' | '\'');
            value.find(ends).unwrap_or(value.len())
        }
    };
    let plain = matches!(&value[..end], "" | "null" | "true" | "false" | "required" | "missing" | "invalid");
    out.push_str(if plain { &value[..end] } else { GAP });
    &value[end..]
}

/// An opening tag of HTML: its attributes may hold what a form sends.
fn tag<'a>(raw: &'a str, out: &mut String) -> &'a str {
    const KEPT: &[&str] = &["charset", "content-type", "http-equiv", "lang", "type"];
    let (tag, rest) = raw.split_at(raw.find('>').unwrap_or(raw.len()));
    let mut left = tag;
    while let Some(at) = left.find('=') {
        let (before, value) = (&left[..at], &left[at + 1..]);
        let name = before.rsplit(|c: char| c.is_whitespace()).find(|word| !word.is_empty()).unwrap_or_default();
        let end = match value.trim_start().chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => {
                let open = value.len() - value.trim_start().len() + 1;
                value[open..].find(quote).map_or(value.len(), |close| open + close + 1)
            }
            None => value.find(char::is_whitespace).unwrap_or(value.len()),
        };
        out.push_str(before);
        out.push('=');
        out.push_str(if KEPT.contains(&name.to_ascii_lowercase().as_str()) { &value[..end] } else { GAP });
        left = &value[end..];
    }
    out.push_str(left);
    rest
}

fn is_secret_name(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let is_public = PUBLIC_ENDINGS.iter().any(|end| lower.ends_with(end));
    !is_public && SECRET_NAMES.iter().any(|part| lower.contains(part))
}

/// `local@domain.tld`. `@alice.example.com` is a handle, `pds@0.4.200` a version.
fn is_mail(word: &str) -> bool {
    let Some((local, domain)) = word.trim_end_matches('.').rsplit_once('@') else { return false };
    let top = domain.rsplit_once('.').map(|(_, top)| top);
    !local.is_empty() && top.is_some_and(|top| top.len() > 1 && top.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

/// A JWT (RFC 7519: its header begins with `{"`, which is `eyJ`), or a long run of what only machines write. `before` is
/// what was written so far: DIDs and CIDs are no secrets.
fn is_key(word: &str, before: &str) -> bool {
    if word.contains("eyJ") && word.len() >= MIXED {
        return true;
    }
    if ["did:plc:", "did:key:"].iter().any(|did| before.ends_with(did)) {
        return false;
    }
    // Base32 of a CID (atproto.com/specs/data-model, "Link and CID Formats").
    if word.starts_with("baf") && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')) {
        return false;
    }
    word.split('.').any(|part| {
        let count = |kind: fn(&u8) -> bool| part.bytes().filter(kind).count();
        let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
        let digits = count(u8::is_ascii_digit);
        let mixed = part.len() >= MIXED && upper > 1 && lower > 1 && digits > 1;
        let long = part.len() >= LONG && digits > 2 && upper + lower > 2;
        mixed || long || part.len() >= 2 * LONG && digits == part.len()
    })
}

fn cleaned(field: &mut Text) {
    let clean = text(field);
    if clean != field.as_str() {
        // Marks make nothing longer than what they stand for, less a few characters.
        *field = Text::limited(&clean, clean.chars().count());
    }
}

/// Fields that are names or addresses, not words: only where there is a user or a password in them.
fn named(field: &mut Text) {
    if field.contains('@') {
        cleaned(field);
    }
}

fn failed(failure: &mut Option<Failure>) {
    if let Some(failure) = failure {
        cleaned(&mut failure.detail);
    }
}

/// Takes out of the foreign words in a fact what may be secret.
pub fn fact(body: &mut FactBody) {
    match body {
        FactBody::Dns(fact) => records(fact),
        FactBody::SystemDns(fact) => fact.detail.iter_mut().for_each(cleaned),
        FactBody::Connect(fact) => failed(&mut fact.failure),
        FactBody::Tls(fact) => failed(&mut fact.failure),
        FactBody::TlsOffer(fact) => failed(&mut fact.failure),
        FactBody::Http(fact) => exchange(fact),
        FactBody::Par(fact) => {
            failed(&mut fact.failure);
            headers(&mut fact.headers);
            let words = [&mut fact.error, &mut fact.description, &mut fact.excerpt, &mut fact.content_type];
            words.into_iter().flatten().for_each(cleaned);
        }
        FactBody::Log(fact) => {
            cleaned(&mut fact.source);
            fact.errors.iter_mut().for_each(|error| cleaned(&mut error.logger));
        }
        FactBody::NodeFetch(fact) => {
            fact.code.iter_mut().chain(&mut fact.inner).chain(&mut fact.failure).for_each(cleaned);
        }
        _ => {}
    }
}

/// Of those that are kept.
fn headers(headers: &mut BTreeMap<String, Text>) {
    for (name, value) in headers {
        match name.as_str() {
            "location" => *value = Text::new(&location(value)),
            "www-authenticate" => *value = Text::new(&challenge(value)),
            _ => cleaned(value),
        }
    }
}

fn exchange(fact: &mut HttpFact) {
    failed(&mut fact.failure);
    headers(&mut fact.headers);
    if let Some(body) = &mut fact.body {
        cleaned(&mut body.excerpt);
    }
    match &mut fact.content {
        Some(Content::XrpcError { error, message }) => {
            cleaned(error);
            message.iter_mut().for_each(cleaned);
        }
        Some(Content::DescribeServer { available_user_domains, .. }) => {
            available_user_domains.iter_mut().for_each(named)
        }
        Some(Content::Repo { handle, .. }) => named(handle),
        Some(Content::ProtectedResource { resource, authorization_servers }) => {
            resource.iter_mut().chain(authorization_servers).for_each(named);
        }
        Some(Content::AuthorizationServer(document)) => {
            let endpoints = [
                &mut document.issuer,
                &mut document.authorization_endpoint,
                &mut document.token_endpoint,
                &mut document.pushed_authorization_request_endpoint,
            ];
            endpoints.into_iter().flatten().for_each(named);
        }
        Some(Content::DidDocument { pds_endpoints, also_known_as, .. }) => {
            pds_endpoints.iter_mut().chain(also_known_as).for_each(named);
        }
        Some(Content::ClientDocument { client_id, redirect_uris, .. }) => {
            client_id.iter_mut().chain(redirect_uris).for_each(named);
        }
        _ => {}
    }
}

/// Where a redirect leads, without what is handed on there.
fn location(value: &str) -> String {
    let clean = text(value);
    match clean.find(['?', '#']) {
        Some(at) if !clean[at + 1..].starts_with(GAP) => format!("{}{GAP}", &clean[..=at]),
        _ => clean,
    }
}

/// Of `WWW-Authenticate` (RFC 9110, section 11.6.1) the schemes, and the `error` of RFC 6750, which is of a closed set.
fn challenge(value: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    for word in value.split([' ', ',']).filter(|word| !word.is_empty()) {
        let error = word.strip_prefix("error=").map(|error| error.trim_matches('"'));
        let plain = |word: &str| word.len() <= 40 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if let Some(error) = error.filter(|error| plain(error)) {
            kept.push(format!("error=\"{error}\""));
        } else if SCHEMES.contains(&word.to_ascii_lowercase().as_str()) {
            kept.push(word.to_owned());
        }
    }
    kept.join(" ")
}

/// Records of other owners land where a DID is looked for (a wildcard, a place where it was put by mistake): of what is
/// no DID nothing is kept but what kind of record it is.
fn records(fact: &mut DnsFact) {
    fact.detail.iter_mut().for_each(cleaned);
    match fact.record_type {
        RecordType::Txt => fact.records.iter_mut().for_each(|record| {
            if did_of_txt(record) != TxtValue::Other {
                return;
            }
            if record.to_ascii_lowercase().contains("did") {
                return cleaned(record);
            }
            let is_key = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_' | '.');
            let key =
                record.split_once('=').map(|(key, _)| key).filter(|key| key.len() <= 40 && key.chars().all(is_key));
            *record = match key {
                Some(key) => Text::new(&format!("{key}={GAP}")),
                None => Text::new(GAP),
            };
        }),
        RecordType::Caa => fact.records.iter_mut().for_each(cleaned),
        _ => {}
    }
}

/// What the user wrote behind the `?` of addresses on the command line or in the environment: it belongs to a client's
/// identity and is sent where it must be, and it is nobody else's business.
#[derive(Clone, Default)]
pub struct Hidden {
    /// What to look for, the longest first.
    words: Vec<String>,
}

/// A value that is shorter may be anybody's word.
const HIDDEN: usize = 6;

impl Hidden {
    /// What stands behind the `?` of these addresses, as a whole and value by value, as it is written and as it is meant.
    pub fn of<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<String> = Vec::new();
        for raw in urls {
            let Some((_, query)) = raw.split_once('?') else { continue };
            let query = query.split('#').next().unwrap_or_default();
            // With the mark before it, it may be short.
            words.push(format!("?{query}"));
            words.push(query.to_owned());
            let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned());
            words.extend(values);
            words.extend(
                url::form_urlencoded::parse(query.as_bytes()).flat_map(|(key, value)| [key.into(), value.into()]),
            );
        }
        // Within another address it is written once more.
        let encoded: Vec<String> =
            words.iter().map(|word| url::form_urlencoded::byte_serialize(word.as_bytes()).collect()).collect();
        words.extend(encoded);
        words.retain(|word| word.len() >= HIDDEN || word.len() > 1 && word.starts_with('?'));
        words.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        words.dedup();
        Self { words }
    }

    /// There is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The text without them.
    pub fn text(&self, raw: &str) -> String {
        let mut text = raw.to_owned();
        for word in &self.words {
            if text.contains(word.as_str()) {
                text = text.replace(word.as_str(), if word.starts_with('?') { "?…" } else { GAP });
            }
            // Where a text was cut, a piece of it may be left.
            let Some(cut) = text.strip_suffix(GAP) else { continue };
            let longest = (HIDDEN..word.len())
                .rev()
                .find(|length| word.is_char_boundary(*length) && cut.ends_with(&word[..*length]));
            if let Some(length) = longest {
                text.truncate(cut.len() - length);
                text.push_str(GAP);
            }
        }
        text
    }

    /// All texts in a JSON value without them.
    pub fn value(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
