//! The forms of the report.

use clap::ValueEnum;

/// Forms of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: docs/schema/report-v1.json
    Json,
    /// For an issue; with --brief, for a chat
    Markdown,
}
