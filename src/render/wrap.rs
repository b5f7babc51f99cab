//! Words into lines: cleaned, measured in terminal columns, never wider than asked.

use pdsdoctor_probes::text::Text;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that `text` takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Text that is safe to print: what a terminal would obey is replaced, line breaks become spaces,
/// spaces stay as they are (lines to paste may be indented). Without `unicode`, ASCII only.
pub fn clean(text: &str, unicode: bool) -> String {
    // One definition of "unsafe": that of the probes' own text type, applied between spaces.
    let safe = text.split(' ').map(|part| Text::limited(part, usize::MAX).to_string());
    let safe = safe.collect::<Vec<_>>().join(" ");
    if unicode { safe } else { ascii(&safe) }
}

/// The nearest ASCII for the characters our own texts use; `?` for the rest.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            '…' => out.push_str("..."),
            '–' | '—' | '·' | '−' => out.push('-'),
            '‘' | '’' => out.push('\''),
            '“' | '”' | '«' | '»' => out.push('"'),
            '→' => out.push_str("->"),
            '≤' => out.push_str("<="),
            '≥' => out.push_str(">="),
            '×' => out.push('x'),
            _ => out.push('?'),
        }
    }
    out
}

/// Breaks at spaces; a word longer than a line is cut.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    wrap_hanging(text, columns, columns)
}

/// The same, with another room on the first line.
pub fn wrap_hanging(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        let columns = if lines.is_empty() { first.max(1) } else { rest.max(1) };
        let gap = usize::from(!line.is_empty());
        if width(&line) + gap + width(word) <= columns {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        loop {
            let columns = if lines.is_empty() { first.max(1) } else { rest.max(1) };
            if width(word) <= columns {
                break;
            }
            let (head, tail) = split_at_column(word, columns);
            lines.push(head.to_owned());
            word = tail;
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Cuts to one line of at most `columns`, saying so.
pub fn cut(text: &str, columns: usize, unicode: bool) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mark = if unicode { "…" } else { "..." };
    let (head, _) = split_at_column(text, columns.saturating_sub(width(mark)));
    format!("{}{mark}", head.trim_end())
}

/// Fills up with spaces to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Always takes at least one character, so that a loop over it ends.
fn split_at_column(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (index, c) in text.char_indices() {
        let next = used + c.width().unwrap_or(0);
        if next > columns && index > 0 {
            return text.split_at(index);
        }
        used = next;
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_never_wider_than_asked() {
        let text = "one twotwotwo three https://a.very.long.example/with/a/path/that/does/not/fit 漢字漢字漢字漢字";
        for columns in 2..40 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        assert_eq!(clean("  a\u{1b}[2J b\u{202e}\nc", true), "  a\u{FFFD}[2J b\u{FFFD} c");
        assert_eq!(clean("✗ don’t … 漢", false), "? don't ... ?");
    }

    #[test]
    fn a_cut_is_seen() {
        assert_eq!(cut("abcdef", 4, true), "abc…");
        assert_eq!(cut("abcdef", 4, false), "a...");
        assert_eq!(cut("abcd", 4, true), "abcd");
    }
}
