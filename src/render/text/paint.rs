//! Colours. Nothing is said by colour alone.

use colored::{Color, Colorize};

/// What a piece of text is, as far as colour goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    Plain,
    /// Headings and what to read first.
    Strong,
    /// What may be skipped.
    Dim,
    /// Well.
    Good,
    /// Broken.
    Bad,
    /// Degraded.
    Warning,
    /// To be pasted.
    Code,
}

/// Applies colours, or does not.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// With colours or without.
    pub fn new(on: bool) -> Self {
        if on {
            // Our own options were weighed already; the crate's reading of the environment is not asked.
            colored::control::set_override(true);
        }
        Self { on }
    }

    /// `text` in this ink.
    pub fn ink(self, text: &str, ink: Ink) -> String {
        if !self.on || text.is_empty() || ink == Ink::Plain {
            return text.to_owned();
        }
        match ink {
            Ink::Plain => text.normal(),
            Ink::Strong => text.bold(),
            Ink::Dim => text.dimmed(),
            Ink::Good => text.color(Color::Green),
            Ink::Bad => text.color(Color::Red).bold(),
            Ink::Warning => text.color(Color::Yellow),
            Ink::Code => text.color(Color::Cyan),
        }
        .to_string()
    }
}
