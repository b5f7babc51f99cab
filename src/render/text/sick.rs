//! The report on a PDS with findings, and the long form of any report.

use pdsdoctor_probes::{fact::NotMeasured, record::Run};

use super::{
    Ink, Page,
    parts::{again, counts, mark},
    steps, table, timeline,
};
use crate::{
    diagnose::{
        Cause, Confidence, Contrast, Diagnosis, Link, Remedy, Risk, Scope, Side,
        step::{Needs, needs},
    },
    render::{style::Detail, wrap::width},
};

/// Room for the labels: `Seen`, `Proof`, `Fix` …
const LABEL: usize = 9;
/// Causes after the first show this many lines of what was seen.
const SEEN_LATER: usize = 1;
/// Beside a name longer than this, a long result has no room: it stands beneath it.
const SIDE_BESIDE: usize = 26;
/// A name longer than this is no label for a side of a contrast.
const SIDE_NAME: usize = 40;

/// Shows it.
pub(super) fn show(page: &mut Page, run: &Run, diagnosis: &Diagnosis) {
    let verbose = page.style().detail == Detail::Verbose;
    page.text(0, &diagnosis.headline, Ink::Strong);
    if let Some(remedy) = diagnosis.causes.first().and_then(|cause| cause.remedies.first()) {
        page.labelled(0, "Do first: ", 10, &remedy.title, Ink::Good);
    }
    page.text(0, &counts(run), Ink::Dim);
    for (index, cause) in diagnosis.causes.iter().enumerate() {
        page.gap();
        show_cause(page, index, cause, diagnosis, verbose);
    }
    table::show(page, &diagnosis.grid);
    if (verbose || diagnosis.causes.is_empty()) && !diagnosis.healthy.is_empty() {
        heading(page, "Well:");
        for healthy in &diagnosis.healthy {
            page.hanging(2, 2, &format!("{}: {}", healthy.probe, healthy.summary), Ink::Plain);
        }
    }
    if !diagnosis.ruled_out.is_empty() {
        heading(page, "Ruled out:");
        for ruled_out in &diagnosis.ruled_out {
            let line = format!("{} ({}): {}", ruled_out.code, ruled_out.scope.words(), ruled_out.why);
            page.hanging(2, 2, &line, Ink::Plain);
        }
    }
    if !diagnosis.differs.is_empty() {
        heading(page, "Differs, not judged:");
        for difference in &diagnosis.differs {
            page.hanging(2, 2, &difference.what, Ink::Plain);
            page.hanging(4, 2, &difference.this, Ink::Plain);
            page.hanging(4, 2, &difference.that, Ink::Plain);
        }
    }
    if !diagnosis.not_measured.is_empty() {
        heading(page, "Not measured:");
        for missing in &diagnosis.not_measured {
            show_missing(page, run, missing);
        }
    }
    if !run.not_understood.is_empty() {
        heading(page, "Not understood (a newer pdsdoctor measured it):");
        for what in &run.not_understood {
            page.hanging(2, 2, what, Ink::Plain);
        }
    }
    if verbose {
        heading(page, "Measured, in order of time:");
        timeline::show(page, run, &diagnosis.grid);
    }
    page.gap();
    if let Some(cause) = diagnosis.causes.first() {
        page.whole(0, &format!("More:   pdsdoctor explain {}", cause.code));
    }
    page.whole(0, &format!("Again:  {}", again(run)));
}

/// What was not measured, and what it takes; a command for that is not broken.
fn show_missing(page: &mut Page, run: &Run, missing: &NotMeasured) {
    let what = format!("{}: {}", missing.probe, missing.why);
    match needs(run, missing) {
        Needs::Nothing => page.hanging(2, 2, &what, Ink::Plain),
        Needs::Words(words) => page.hanging(2, 2, &format!("{what} (needs {words})"), Ink::Plain),
        Needs::Command(command) => {
            let line = format!("{what} (needs {command})");
            if 2 + width(&page.clean(&line)) <= page.style().width {
                page.hanging(2, 2, &line, Ink::Plain);
            } else {
                page.hanging(2, 2, &format!("{what} (needs what follows)"), Ink::Plain);
                page.whole(4, &command.to_string());
            }
        }
    }
}

fn heading(page: &mut Page, title: &str) {
    page.gap();
    page.text(0, title, Ink::Strong);
}

fn show_cause(page: &mut Page, index: usize, cause: &Cause, diagnosis: &Diagnosis, verbose: bool) {
    let short = index > 0 && !verbose;
    let (sign, ink) = mark(cause.impact, page.style());
    let number = index + 1;
    let lead = format!("{number} {sign} {}  ", cause.impact);
    let title = format!("{} ({})", cause.code.title(), cause.confidence);
    let columns = width(&lead);
    page.labelled_in(0, (&lead, ink), columns, &title, Ink::Strong);
    let scope = scope_words(&cause.scope);
    let separator = if scope.is_empty() { "" } else { " · " };
    page.hanging(2, 2, &format!("{}{separator}{scope}", cause.code), Ink::Dim);
    // The headline is often the first cause's summary: once is enough.
    if !cause.summary.is_empty() && cause.summary != diagnosis.headline {
        page.text(2, &cause.summary, Ink::Plain);
    }

    let shown = if short { SEEN_LATER.min(cause.seen.len()) } else { cause.seen.len() };
    for (line, text) in cause.seen[..shown].iter().enumerate() {
        let more = cause.seen.len() - shown;
        let more = if line + 1 == shown && more > 0 { format!(" (+{more} more, -v)") } else { String::new() };
        page.labelled(2, if line == 0 { "Seen" } else { "" }, LABEL, &format!("{text}{more}"), Ink::Plain);
    }
    for (line, contrast) in cause.contrast.iter().enumerate() {
        show_contrast(page, if line == 0 { "Proof" } else { "" }, contrast);
    }
    if cause.confidence != Confidence::Confirmed
        && let Some(settle) = &cause.settle
    {
        steps::settle(page, "Settle", LABEL, settle);
    }
    for (line, code) in cause.contributing.iter().enumerate() {
        let place = diagnosis.causes.iter().position(|other| other.code == *code).map(|place| place + 1);
        let place = place.map_or(String::new(), |place| format!(" (see {place})"));
        let text = format!("{code}{place}");
        page.labelled(2, if line == 0 { "Due to" } else { "" }, LABEL, &text, Ink::Plain);
    }
    show_remedies(page, cause, short);
    for (line, symptom) in cause.symptoms.iter().enumerate() {
        let label = if line == 0 { "Also" } else { "" };
        page.labelled(2, label, LABEL, &format!("{} ({})", symptom.title, symptom.code), Ink::Dim);
    }
}

/// What was measured, then the two sides beneath each other.
fn show_contrast(page: &mut Page, label: &str, contrast: &Contrast) {
    page.labelled(2, label, LABEL, &contrast.what, Ink::Plain);
    let indent = 2 + LABEL + 2;
    match (side(&contrast.this), side(&contrast.that)) {
        (Some((this, mine)), Some((that, theirs))) => {
            let (this, that) = (page.clean(this), page.clean(that));
            let columns = width(&this).max(width(&that)) + 2;
            let room = page.style().width.saturating_sub(indent + columns);
            let fits = [mine, theirs].iter().all(|text| width(text) <= room);
            if !fits && columns > SIDE_BESIDE {
                for (name, result, ink) in [(&this, mine, Ink::Bad), (&that, theirs, Ink::Good)] {
                    page.text(indent, name, ink);
                    page.text(indent + 2, result, Ink::Plain);
                }
                return;
            }
            page.labelled_in(indent, (&this, Ink::Bad), columns, mine, Ink::Plain);
            page.labelled_in(indent, (&that, Ink::Good), columns, theirs, Ink::Plain);
        }
        _ => {
            page.hanging(indent, 2, &contrast.this.to_string(), Ink::Plain);
            page.hanging(indent, 2, &contrast.that.to_string(), Ink::Plain);
        }
    }
}

/// Name and result, where the name is short enough to stand as a label.
fn side(side: &Side) -> Option<(&str, &str)> {
    let name = side.name.as_deref().filter(|name| width(name) <= SIDE_NAME)?;
    Some((name, &side.result))
}

fn show_remedies(page: &mut Page, cause: &Cause, short: bool) {
    let Some((best, others)) = cause.remedies.split_first() else { return };
    show_remedy(page, "Fix", &best.title, best);
    steps::labelled_command(page, "Check", LABEL, &best.verify);
    for other in others {
        if short {
            let disruptive = if other.risk == Risk::Disruptive { " (disruptive)" } else { "" };
            let line = format!("{}{disruptive}{}", other.title, proven(other));
            page.labelled(2, label(other.link), LABEL, &line, Ink::Plain);
        } else {
            show_remedy(page, label(other.link), &other.title, other);
        }
    }
}

pub(in crate::render) fn proven(remedy: &Remedy) -> &'static str {
    if remedy.proven { " (tried on one attempt: it works)" } else { "" }
}

/// What links a further remedy to those before it is its label.
pub(in crate::render) fn label(link: Link) -> &'static str {
    match link {
        Link::Or => "Or",
        Link::Then => "Then",
        Link::Meanwhile => "For now",
    }
}

fn show_remedy(page: &mut Page, label: &str, title: &str, remedy: &Remedy) {
    page.labelled(2, label, LABEL, &format!("{title}{}", proven(remedy)), Ink::Plain);
    steps::show(page, &remedy.steps);
    if remedy.risk == Risk::Disruptive {
        let risk = "interrupts the service, or changes what others depend on";
        page.labelled(2, "Risk", LABEL, risk, Ink::Warning);
    }
    for (line, undo) in remedy.undo.iter().enumerate() {
        steps::labelled(page, if line == 0 { "Undo" } else { "" }, LABEL, undo);
    }
}

pub(in crate::render) fn scope_words(scope: &Scope) -> String {
    let family = scope.family.map(|family| family.to_string());
    [scope.host.clone(), family, scope.vantage.clone()].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}
