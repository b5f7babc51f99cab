//! What the place the report goes to can show.

use std::io::IsTerminal;

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorWish {
    /// As the environment and the terminal say.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// `-q`.
    Quiet,
    /// As a rule.
    #[default]
    Normal,
    /// `-v`.
    Verbose,
}

/// What can be shown, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns.
    pub width: usize,
    /// Colours.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
    /// How much.
    pub detail: Detail,
}

/// Used where no terminal tells its width.
const PIPED_WIDTH: usize = 80;
/// Longer lines are hard to read, however wide the terminal is.
const WIDEST: usize = 110;
/// Below this nothing can be laid out; lines then run over.
const NARROWEST: usize = 60;

impl Style {
    /// What this process's standard output can show. A report that goes into a file (`to_file`) is
    /// laid out as for a pipe.
    pub fn detect(wish: ColorWish, to_file: bool, detail: Detail) -> Self {
        let terminal = !to_file && std::io::stdout().is_terminal();
        let columns = terminal.then(terminal_size::terminal_size).flatten();
        let columns = columns.map(|(width, _)| usize::from(width.0));
        Self::from_environment(wish, terminal, columns, detail, |name| std::env::var(name).ok())
    }

    /// The same, free of the process.
    pub fn from_environment(
        wish: ColorWish,
        terminal: bool,
        columns: Option<usize>,
        detail: Detail,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let color = match wish {
            ColorWish::Always => true,
            ColorWish::Never => false,
            // https://no-color.org and https://bixense.com/clicolors
            ColorWish::Auto if set("NO_COLOR").is_some() => false,
            ColorWish::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            ColorWish::Auto => terminal && set("TERM").is_none_or(|term| term != "dumb"),
        };
        // POSIX: the first of these that is set and not empty; none of them means the C locale.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let unicode = cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8");
        // COLUMNS is what the user says, where it is exported; then what the terminal says.
        let said = set("COLUMNS").and_then(|value| value.parse().ok()).filter(|&columns| columns > 0);
        let width = said.or(columns).unwrap_or(PIPED_WIDTH).clamp(NARROWEST, WIDEST);
        Self { width, color, unicode, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(wish: ColorWish, terminal: bool, variables: &[(&str, &str)]) -> Style {
        Style::from_environment(wish, terminal, None, Detail::Normal, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn colour_follows_the_conventions() {
        use ColorWish::{Always, Auto, Never};
        assert!(style(Auto, true, &[]).color);
        assert!(!style(Auto, false, &[]).color);
        assert!(!style(Auto, true, &[("NO_COLOR", "1")]).color);
        assert!(style(Auto, true, &[("NO_COLOR", "")]).color, "an empty NO_COLOR does not count");
        assert!(style(Auto, false, &[("CLICOLOR_FORCE", "1")]).color);
        assert!(!style(Auto, false, &[("CLICOLOR_FORCE", "0")]).color);
        assert!(!style(Auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).color);
        assert!(!style(Auto, true, &[("TERM", "dumb")]).color);
        assert!(style(Always, false, &[("NO_COLOR", "1")]).color);
        assert!(!style(Never, true, &[("CLICOLOR_FORCE", "1")]).color);
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let unicode = |variables: &[(&str, &str)]| style(ColorWish::Auto, true, variables).unicode;
        assert!(!unicode(&[]));
        assert!(unicode(&[("LANG", "en_AU.UTF-8")]));
        assert!(unicode(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!unicode(&[("LC_ALL", "C"), ("LANG", "en_AU.UTF-8")]));
        assert!(!unicode(&[("LANG", "de_DE.ISO-8859-1")]));
    }

    #[test]
    fn the_width_is_bounded() {
        let width = |columns: &str| style(ColorWish::Auto, false, &[("COLUMNS", columns)]).width;
        assert_eq!([width("200"), width("100"), width("3"), width("x"), width("")], [110, 100, 60, 80, 80]);
    }
}
