//! The table of how far each address got, as renderers draw it; [`super::how_far`] fills it.

use std::collections::BTreeMap;

use pdsdoctor_probes::fact::FactId;

/// The columns.
pub const COLUMNS: [&str; 6] = ["DNS", "TCP", "TLS", "HTTP", "OAUTH", "PAR"];

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// One per host.
    pub groups: Vec<Group>,
    /// Where the target's PAR differs from the reference's: what both did, a line each.
    pub notes: Vec<String>,
    /// What a client would hold against a certificate, in a word, by the fact that shows it.
    pub certificates: BTreeMap<FactId, &'static str>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, and its part in the run.
    pub title: String,
    /// Its addresses.
    pub rows: Vec<Row>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The address, or why there is none.
    pub label: String,
    /// One for each of [`COLUMNS`].
    pub cells: [Cell; 6],
}

/// How one step went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Milliseconds, or a word.
    pub text: String,
    /// How to show it.
    pub tone: Tone,
}

/// How a cell is to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Not reached, or not tried.
    #[default]
    Absent,
    /// Went well.
    Good,
    /// Did not.
    Bad,
}

impl Cell {
    /// It went well.
    pub(super) fn good(took_ms: u64) -> Self {
        Self { text: format!("{took_ms}ms"), tone: Tone::Good }
    }

    /// It did not.
    pub(super) fn bad(word: impl Into<String>) -> Self {
        Self { text: word.into(), tone: Tone::Bad }
    }

    /// Nothing is known.
    pub(super) fn absent() -> Self {
        Self { text: "-".to_owned(), tone: Tone::Absent }
    }

    /// Nothing is known.
    pub(super) fn is_absent(&self) -> bool {
        self.tone == Tone::Absent
    }
}
