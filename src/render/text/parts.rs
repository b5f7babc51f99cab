//! What several parts of the report say.

use pdsdoctor_probes::record::{Ended, Run};

use super::paint::Ink;
use crate::{
    diagnose::{Impact, step},
    render::style::Style,
};

/// A sign and its colour; the word for it always stands beside it.
pub(in crate::render) fn mark(impact: Impact, style: &Style) -> (&'static str, Ink) {
    match (impact, style.unicode) {
        (Impact::Broken, true) => ("✗", Ink::Bad),
        (Impact::Broken, false) => ("x", Ink::Bad),
        (Impact::Degraded, _) => ("!", Ink::Warning),
        (Impact::Risk, true) => ("·", Ink::Dim),
        (Impact::Risk, false) => ("-", Ink::Dim),
    }
}

/// How long it took, how much was measured, with what it was compared.
pub(in crate::render) fn counts(run: &Run) -> String {
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
pub(in crate::render) fn again(run: &Run) -> String {
    let (command, others) = step::again(run);
    if others.is_empty() { command.to_string() } else { format!("{command}  # and {} as before", others.join(", ")) }
}
