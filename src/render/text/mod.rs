//! The report for people: the answer in the first three lines, the proof beneath it.

mod healthy;
mod page;
mod paint;
pub(super) mod parts;
pub(super) mod sick;
mod steps;
mod table;
mod timeline;

use pdsdoctor_probes::record::{Ended, Run};

use crate::{
    diagnose::Diagnosis,
    render::style::{Detail, Style},
};

pub use page::Page;
pub use paint::{Ink, Paint};
use parts::mark;

/// The report.
pub fn report(run: &Run, diagnosis: &Diagnosis, style: &Style) -> String {
    let mut page = Page::new(style);
    match style.detail {
        Detail::Quiet => quiet(&mut page, diagnosis),
        Detail::Normal if diagnosis.causes.is_empty() && !withheld(run, diagnosis) => {
            healthy::show(&mut page, run, diagnosis);
        }
        Detail::Normal | Detail::Verbose => sick::show(&mut page, run, diagnosis),
    }
    page.finish()
}

/// Without a cause, and yet not well: what is missing has to be told at length.
fn withheld(run: &Run, diagnosis: &Diagnosis) -> bool {
    diagnosis.verdict == crate::diagnose::Verdict::Inconclusive
        || run.ended != Ended::Complete
        || !diagnosis.differs.is_empty()
        || !run.not_understood.is_empty()
}

fn quiet(page: &mut Page, diagnosis: &Diagnosis) {
    page.text(0, &diagnosis.headline, Ink::Strong);
    for cause in &diagnosis.causes {
        let (mark, ink) = mark(cause.impact, page.style());
        let line = format!("{mark} {}  {}  {}", cause.impact, cause.code, cause.code.title());
        page.hanging(0, 2, &line, ink);
    }
}
