//! A page of text: lines with indents and labels, wrapped and coloured.

use super::paint::{Ink, Paint};
use crate::render::{
    style::Style,
    wrap::{clean, pad, width, wrap, wrap_hanging},
};

/// Text beside a label needs this many columns to be readable.
const LEAST_ROOM: usize = 16;

/// Collects lines.
pub struct Page {
    style: Style,
    paint: Paint,
    out: String,
}

impl Page {
    /// An empty page.
    pub fn new(style: &Style) -> Self {
        Self { style: *style, paint: Paint::new(style.color), out: String::new() }
    }

    /// What the page can show.
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    /// Text made safe for this page.
    pub fn clean(&self, text: &str) -> String {
        clean(text, self.style.unicode)
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.out.push('\n');
    }

    /// A paragraph.
    pub fn text(&mut self, indent: usize, text: &str, ink: Ink) {
        self.labelled(indent, "", 0, text, ink);
    }

    /// A paragraph beside a label of `columns`; further lines stand under the first one's text.
    #[expect(clippy::too_many_arguments, reason = "what a line with a label has, each of its own type")]
    pub fn labelled(&mut self, indent: usize, label: &str, columns: usize, text: &str, ink: Ink) {
        self.labelled_in(indent, (label, Ink::Strong), columns, text, ink);
    }

    /// The same, with a label in any ink. A label that leaves no room stands on a line of its own.
    #[expect(clippy::too_many_arguments, reason = "what a line with a label has, each of its own type")]
    pub fn labelled_in(&mut self, indent: usize, label: (&str, Ink), columns: usize, text: &str, ink: Ink) {
        let (name, name_ink) = (self.clean(label.0), label.1);
        let text = self.clean(text);
        let (mut indent, mut columns, mut name) = (indent, columns, name);
        if indent + columns + LEAST_ROOM > self.style.width && columns > 0 {
            for line in wrap(&name, self.style.width.saturating_sub(indent)) {
                self.raw(indent, &line, name_ink);
            }
            (indent, columns, name) = (indent + 2, 0, String::new());
        }
        let room = self.style.width.saturating_sub(indent + columns);
        for (index, line) in wrap(&text, room).iter().enumerate() {
            let name = if index == 0 { name.as_str() } else { "" };
            self.out.push_str(&" ".repeat(indent));
            self.out.push_str(&self.paint.ink(name, name_ink));
            if !line.is_empty() {
                self.out.push_str(&" ".repeat(columns.saturating_sub(width(name))));
                self.out.push_str(&self.paint.ink(line, ink));
            }
            self.end_line();
        }
    }

    /// A paragraph with a hanging indent.
    pub fn hanging(&mut self, indent: usize, hang: usize, text: &str, ink: Ink) {
        let text = self.clean(text);
        let room = self.style.width.saturating_sub(indent + hang);
        for (index, line) in wrap_hanging(&text, room + hang, room).iter().enumerate() {
            self.raw(if index == 0 { indent } else { indent + hang }, line, ink);
        }
    }

    /// A line to paste: never broken, however long, since a broken command does not work.
    pub fn whole(&mut self, indent: usize, line: &str) {
        let line = self.clean(line);
        self.raw(indent, &line, Ink::Code);
    }

    /// Pieces that are known to fit, side by side.
    pub fn pieces(&mut self, indent: usize, pieces: &[(String, Ink)]) {
        self.out.push_str(&" ".repeat(indent));
        for (text, ink) in pieces {
            self.out.push_str(&self.paint.ink(text, *ink));
        }
        self.end_line();
    }

    /// A cell of a table.
    pub fn padded(&self, text: &str, columns: usize, right: bool) -> String {
        if right { format!("{}{text}", " ".repeat(columns.saturating_sub(width(text)))) } else { pad(text, columns) }
    }

    fn raw(&mut self, indent: usize, line: &str, ink: Ink) {
        self.out.push_str(&" ".repeat(indent));
        self.out.push_str(&self.paint.ink(line, ink));
        self.end_line();
    }

    fn end_line(&mut self) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
    }
}
