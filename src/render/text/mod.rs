//! The report for people: the answer in the first three lines, the proof beneath it.

mod healthy;
mod page;
mod paint;
mod sick;
mod steps;
mod table;
mod timeline;

use pdsdoctor_probes::record::{Ended, Run};

use crate::{
    diagnose::{Diagnosis, Impact, step},
    render::style::{Detail, Style},
};

pub use page::Page;
pub use paint::{Ink, Paint};

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
}

fn quiet(page: &mut Page, diagnosis: &Diagnosis) {
    page.text(0, &diagnosis.headline, Ink::Strong);
    for cause in &diagnosis.causes {
        let (mark, ink) = mark(cause.impact, page.style());
        let line = format!("{mark} {}  {}  {}", cause.impact, cause.code, cause.code.title());
        page.hanging(0, 2, &line, ink);
    }
}

/// A sign and its colour; the word for it always stands beside it.
fn mark(impact: Impact, style: &Style) -> (&'static str, Ink) {
    match (impact, style.unicode) {
        (Impact::Broken, true) => ("✗", Ink::Bad),
        (Impact::Broken, false) => ("x", Ink::Bad),
        (Impact::Degraded, _) => ("!", Ink::Warning),
        (Impact::Risk, true) => ("·", Ink::Dim),
        (Impact::Risk, false) => ("-", Ink::Dim),
    }
}

/// How long it took, how much was measured, with what it was compared.
fn counts(run: &Run) -> String {
    let seconds = format!("{}.{} s", run.elapsed_ms / 1000, run.elapsed_ms % 1000 / 100);
    let measured = match run.facts.len() {
        1 => "1 measurement".to_owned(),
        many => format!("{many} measurements"),
    };
    let compared = match &run.reference {
        Some(reference) if reference.entryway => format!("compared with {} (an entryway)", reference.host),
        Some(reference) => format!("compared with {}", reference.host),
        None => "compared with no other PDS".to_owned(),
    };
    let ended = match run.ended {
        Ended::Complete => "",
        Ended::TimeLimit => " · the time limit came first",
        Ended::Interrupted => " · interrupted: only a part was measured",
    };
    format!("{seconds} · {measured} · {compared}{ended}")
}

/// The command that measures again, as far as a run tells it.
fn again(run: &Run) -> String {
    let (command, others) = step::again(run);
    if others.is_empty() { command.to_string() } else { format!("{command}  # and {} as before", others.join(", ")) }
}
