//! Values that must never be shown, saved or sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes that may hold passwords or keys: the environment of a process, an env file. It has no
/// `Debug`, `Display`, `Serialize`, `Clone` or `PartialEq`, so nothing can print or keep it by
/// accident; [`Secret::judge`] gives what was judged of it, and nothing else leaves.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Judges the bytes: what `judgement` gives is all that is ever known of them.
    pub fn judge<T: 'static>(&self, judgement: impl FnOnce(&[u8]) -> T) -> T {
        judgement(&self.0)
    }

    /// The form of the value.
    pub fn form(&self) -> Form {
        self.judge(Form::of)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // Best effort: a crash dump or a later allocation should not find it.
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// What can be said of a value without giving it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Nothing, or only blanks.
    Empty,
    /// In quotes: `env_file` of Docker and `EnvironmentFile` of systemd treat them differently, and
    /// Docker keeps them as part of the value.
    Quoted,
    /// Blanks before or after it.
    Padded,
    /// `true`, `false`, `1`, `0`.
    Boolean,
    /// A whole number.
    Number,
    /// 32 bytes in hexadecimal, as the PLC rotation key must be.
    Hex32Bytes,
    /// A URL with a scheme and a host.
    Url,
    /// Anything else.
    Other,
}

impl Form {
    /// Judges a value.
    pub fn of(value: &[u8]) -> Self {
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        if value.iter().all(blank) {
            return Self::Empty;
        }
        if value.first().is_some_and(blank) || value.last().is_some_and(blank) {
            return Self::Padded;
        }
        let edges = (value.first(), value.last());
        if value.len() > 1 && (edges == (Some(&b'"'), Some(&b'"')) || edges == (Some(&b'\''), Some(&b'\''))) {
            return Self::Quoted;
        }
        if [&b"true"[..], b"false", b"1", b"0"].contains(&value) {
            return Self::Boolean;
        }
        if value.iter().all(u8::is_ascii_digit) {
            return Self::Number;
        }
        if value.len() == 64 && value.iter().all(u8::is_ascii_hexdigit) {
            return Self::Hex32Bytes;
        }
        let url = std::str::from_utf8(value).ok().and_then(|text| url::Url::parse(text).ok());
        if url.is_some_and(|url| url.has_host()) { Self::Url } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (value, form) in [
            ("", Form::Empty),
            ("  ", Form::Empty),
            ("\"quoted\"", Form::Quoted),
            ("'quoted'", Form::Quoted),
            (" padded", Form::Padded),
            ("padded\r", Form::Padded),
            ("true", Form::Boolean),
            ("3000", Form::Number),
            ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF", Form::Hex32Bytes),
            ("https://plc.directory", Form::Url),
            ("smtps://user:pass@mail.example:465/", Form::Url),
            ("hunter2", Form::Other),
            ("\"", Form::Other),
        ] {
            assert_eq!(Secret::new(value.into()).form(), form, "{value:?}");
        }
        assert_eq!(Form::of(&[0xff, 0xfe]), Form::Other);
    }
}
