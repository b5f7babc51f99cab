//! Text that came from the network: bounded, and without anything a terminal would obey.

use std::{cmp::Ordering, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthChar;

/// The most characters kept of one piece of foreign text. Long enough for a DNS TXT record or an
/// OAuth error description, short enough that thousands of them stay small.
pub const TEXT_LIMIT: usize = 600;

/// The most marks that one character keeps. Written languages stack two, Hebrew with its accents three (Unicode Standard,
/// section 7.9); more than that is made to cover the lines above and below.
const MARKS: usize = 3;

/// Foreign text made safe to keep and to show: control characters, line and paragraph separators, bidirectional overrides
/// and characters that look like nothing are replaced by U+FFFD, and so are the marks beyond the third on one character;
/// runs of white space by one space; and at most [`TEXT_LIMIT`] characters are kept. Reading a saved run cleans again: the
/// file may be hostile.
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
        // A mark needs something to stand on.
        let mut marks = MARKS;
        for c in raw.trim().chars() {
            if c.is_whitespace() && !is_unsafe(c) || matches!(c, '\t' | '\n' | '\r') {
                if !space && count < limit {
                    kept.push(' ');
                    count += 1;
                }
                space = true;
                marks = MARKS;
                continue;
            }
            let shown = if is_unsafe(c) {
                '\u{FFFD}'
            } else if c.width() == Some(0) {
                marks += 1;
                // The first too many is said, the others are gone.
                match marks.cmp(&(MARKS + 1)) {
                    Ordering::Less => c,
                    Ordering::Equal => '\u{FFFD}',
                    Ordering::Greater => continue,
                }
            } else {
                c
            };
            if count == limit {
                kept.push('…');
                break;
            }
            if c.width() != Some(0) || is_unsafe(c) {
                marks = 0;
            }
            space = false;
            kept.push(shown);
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

/// Characters that could move the cursor, change colours, reorder what is shown, or be there unseen: the Unicode categories
/// Cc and Cf that matter on a terminal, the separators Zl and Zp, everything with the property
/// Default_Ignorable_Code_Point (DerivedCoreProperties.txt of Unicode 16: fillers, joiners, variation selectors, tags), what
/// is drawn as nothing without it (the blank pattern of braille, the null note head), and what stands for no character
/// (private use, noncharacters).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{2800}' | '\u{3164}' | '\u{E000}'..='\u{F8FF}' | '\u{FDD0}'..='\u{FDEF}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D159}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}' | '\u{F0000}'..='\u{10FFFF}')
        || u32::from(c) & 0xFFFE == 0xFFFE
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

    #[test]
    fn what_looks_like_nothing_is_seen() {
        let blanks =
            "\u{3164}\u{2800}\u{115F}\u{1160}\u{FFA0}\u{17B4}\u{17B5}\u{034F}\u{FE0F}\u{E0100}\u{180B}\u{E000}\u{FFFE}";
        assert_eq!(Text::new(&format!("a{blanks}b")).as_str(), format!("a{}b", "\u{FFFD}".repeat(13)));
        // Every kind of space is one.
        assert_eq!(Text::new("a\u{A0}\u{2003}\u{3000} \u{202F}b").as_str(), "a b");
    }

    #[test]
    fn marks_do_not_pile_up() {
        let zalgo = format!("a{}b", "\u{301}".repeat(300));
        assert_eq!(Text::new(&zalgo).as_str(), "a\u{301}\u{301}\u{301}\u{FFFD}b");
        // Without a letter below there is nothing to mark.
        assert_eq!(Text::new("\u{301}x \u{301}\u{302}y").as_str(), "\u{FFFD}x \u{FFFD}y");
        for word in ["Việt Nam", "e\u{302}\u{301}", "שָׁלוֹם", "ก็", "हिन्दी", "한국어", "\u{1112}\u{1161}\u{11AB}"]
        {
            assert_eq!(Text::new(word).as_str(), word);
        }
    }

    #[test]
    fn cleaning_is_done_once() {
        let odd = ["a", "\u{301}", "\u{3164}", " ", "\u{A0}", "\u{1b}", "\u{1161}", "é", "\u{FFFD}"];
        for seed in 0..odd.len().pow(5) {
            let text: String = (0..5).map(|at| odd[seed / odd.len().pow(at) % odd.len()]).collect();
            let once = Text::new(&text);
            assert_eq!(Text::new(&once), once, "{text:?}");
        }
    }
}
