//! From a diagnosis to bytes. One file per output format; nothing is decided here.

mod format;
pub mod json;
mod markdown;
pub mod style;
pub mod text;
pub mod wrap;

use std::io::{self, Write};

use pdsdoctor_probes::record::Run;

use crate::diagnose::Diagnosis;
pub use format::Format;
use style::Style;

/// The report.
pub fn report(run: &Run, diagnosis: &Diagnosis, format: Format, style: &Style) -> String {
    match format {
        Format::Text => text::report(run, diagnosis, style),
        Format::Json => json::report(run, diagnosis),
        Format::Markdown => markdown::report(run, diagnosis, style),
    }
}

/// Writes to standard output. A reader who went away (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes lines as they are to standard error: already clean.
pub fn complain(lines: &str) {
    let _ = writeln!(io::stderr().lock(), "{lines}");
}

/// Writes a line to standard error. If that is closed, there is nobody left to tell.
pub fn warn(line: &str) {
    let _ = writeln!(io::stderr().lock(), "pdsdoctor: {}", wrap::clean(line, true));
}
