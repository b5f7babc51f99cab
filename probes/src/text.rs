//! Text that came from the network: bounded, and without anything a terminal would obey.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most characters kept of one piece of foreign text. Long enough for a DNS TXT record or an
/// OAuth error description, short enough that thousands of them stay small.
pub const TEXT_LIMIT: usize = 600;

/// Foreign text made safe to keep and to show: control characters, line and paragraph separators
/// and bidirectional overrides are replaced by U+FFFD, runs of white space by one space, and at
/// most [`TEXT_LIMIT`] characters are kept. Reading a saved run cleans again: the file may be hostile.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Text(String);

impl Text {
    /// Cleans `raw`.
    pub fn new(raw: &str) -> Self {
        Self::limited(raw, TEXT_LIMIT)
    }

    /// Cleans `raw` and keeps at most `limit` characters; `…` marks what was cut.
    pub fn limited(raw: &str, limit: usize) -> Self {
        let mut kept = String::new();
        let mut count = 0;
        let mut space = false;
        for c in raw.trim().chars() {
            if count == limit {
                kept.push('…');
                break;
            }
            if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
                if !space {
                    kept.push(' ');
                    count += 1;
                }
                space = true;
                continue;
            }
            space = false;
            kept.push(if is_unsafe(c) { '\u{FFFD}' } else { c });
            count += 1;
        }
        Self(kept)
    }

    /// Cleans bytes that ought to be UTF-8; what is not becomes U+FFFD.
    pub fn from_bytes(raw: &[u8]) -> Self {
        // No more bytes than TEXT_LIMIT characters can need are looked at (and some white space).
        let end = raw.len().min(TEXT_LIMIT * 8);
        Self::new(&String::from_utf8_lossy(&raw[..end]))
    }

    /// The clean text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that could move the cursor, change colours or reorder what is shown
/// (Unicode categories Cc and Cf that matter on a terminal, and the separators Zl and Zp).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

impl From<String> for Text {
    fn from(raw: String) -> Self {
        Self::new(&raw)
    }
}

impl From<&str> for Text {
    fn from(raw: &str) -> Self {
        Self::new(raw)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_defused() {
        let text = Text::new("a\u{1b}[31mred\u{7}\u{202e}\u{9b}31m\r\nb");
        assert_eq!(text.as_str(), "a\u{FFFD}[31mred\u{FFFD}\u{FFFD}\u{FFFD}31m b");
    }

    #[test]
    fn long_text_is_cut_and_cleaning_twice_changes_nothing() {
        let once = Text::new(&"x".repeat(5000));
        assert_eq!(once.chars().count(), TEXT_LIMIT + 1);
        assert_eq!(Text::limited(&once, TEXT_LIMIT + 1), once);
    }
}
