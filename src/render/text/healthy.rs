//! The report on a healthy PDS: a few lines.

use pdsdoctor_probes::record::Run;

use super::{Ink, Page, parts::counts};
use crate::{
    diagnose::Diagnosis,
    render::wrap::{cut, width, wrap},
};

/// A healthy PDS gets no more than this.
const MOST_LINES: usize = 8;
/// The headline may take this much of it.
const HEADLINE_LINES: usize = 3;

/// Shows it.
pub(super) fn show(page: &mut Page, run: &Run, diagnosis: &Diagnosis) {
    let columns = page.style().width;
    let unicode = page.style().unicode;
    let headline = page.clean(&diagnosis.headline);
    let mut lines = wrap(&headline, columns);
    if lines.len() > HEADLINE_LINES {
        lines.truncate(HEADLINE_LINES);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} {}", "…".repeat(columns)), columns, unicode);
        }
    }
    let counts = page.clean(&counts(run));
    for line in &lines {
        page.pieces(0, &[(line.clone(), Ink::Strong)]);
    }
    page.pieces(0, &[(cut(&counts, columns, unicode), Ink::Dim)]);

    let missing = !diagnosis.not_measured.is_empty();
    let room = MOST_LINES - lines.len() - 1 - usize::from(missing);
    let (mark, all) = (if unicode { "✓ " } else { "+ " }, &diagnosis.healthy);
    let shown = if all.len() > room { room - 1 } else { all.len() };
    for healthy in &all[..shown] {
        let line = cut(&page.clean(&healthy.summary), columns - width(mark), unicode);
        page.pieces(0, &[(mark.to_owned(), Ink::Good), (line, Ink::Plain)]);
    }
    if shown < all.len() {
        let mut probes: Vec<String> = all[shown..].iter().map(|healthy| healthy.probe.to_string()).collect();
        probes.dedup();
        let line = format!("and {} more: {} (-v shows all)", all.len() - shown, probes.join(", "));
        page.pieces(0, &[(mark.to_owned(), Ink::Good), (cut(&line, columns - width(mark), unicode), Ink::Plain)]);
    }
    if missing {
        let mut reasons: Vec<String> = diagnosis.not_measured.iter().map(|missing| page.clean(&missing.why)).collect();
        reasons.dedup();
        let line = format!("Not measured: {}", reasons.join("; "));
        page.pieces(0, &[(cut(&line, columns, unicode), Ink::Dim)]);
    }
}
