//! From findings to an answer: symptoms go under the cause that explains them, causes are put in a
//! total order.

use std::cmp::Reverse;

use super::{Cause, Code, Confidence, Impact, Symptom, evidence::number};

/// More experiments than this prove nothing more to a tired reader.
const CONTRASTS: usize = 4;

/// Puts symptoms under their causes and sorts.
pub fn rank(mut findings: Vec<Cause>) -> Vec<Cause> {
    findings.sort_by_key(order);
    // The same cause with the same scope found twice is one: the worst and surest of them.
    let mut merged: Vec<Cause> = Vec::new();
    for mut later in findings {
        match merged.iter_mut().find(|first| first.code == later.code && first.scope.is_also(&later.scope)) {
            Some(first) => {
                // Equally bad and equally sure, what was seen inside says more.
                if (first.impact, first.confidence) == (later.impact, later.confidence) && first.scope.vantage.is_none()
                {
                    std::mem::swap(first, &mut later);
                }
                first.scope.vantage = first.scope.vantage.take().or(later.scope.vantage.take());
                later.contrast.retain(|contrast| !first.contrast.contains(contrast));
                first.contrast.append(&mut later.contrast);
                first.contrast.truncate(CONTRASTS);
                first.because.append(&mut later.because);
                first.against.append(&mut later.against);
                later.seen.retain(|line| !first.seen.contains(line));
                first.seen.append(&mut later.seen);
            }
            None => merged.push(later),
        }
    }
    let mut findings = merged;
    for finding in &mut findings {
        for ids in [&mut finding.because, &mut finding.against] {
            ids.sort_by_key(number);
            ids.dedup();
        }
    }
    // Whom is each finding explained by? The first in order, so that the result is one.
    let masters: Vec<Option<usize>> = findings
        .iter()
        .enumerate()
        .map(|(index, finding)| {
            (0..findings.len()).find(|other| *other != index && explains(&findings[*other], finding))
        })
        .collect();
    let mut causes: Vec<Option<Cause>> = findings.into_iter().map(Some).collect();
    // Sorted order is kept: a symptom's own place decides where it stands among its siblings.
    for index in 0..causes.len() {
        let root = root_of(index, &masters);
        if root == index {
            continue;
        }
        let Some(symptom) = causes[index].take() else { continue };
        let below = symptom.symptoms;
        if let Some(cause) = &mut causes[root] {
            cause.symptoms.push(Symptom { code: symptom.code, title: symptom.summary, because: symptom.because });
            cause.symptoms.extend(below);
        }
    }
    let mut causes: Vec<Cause> = causes.into_iter().flatten().collect();
    contributions(&mut causes);
    causes
}

/// What made a cause possible is named at it, and stays a cause of its own with its own remedy.
fn contributions(causes: &mut [Cause]) {
    let found: Vec<Code> = causes.iter().map(|cause| cause.code).collect();
    for cause in causes {
        for code in cause.code.made_possible_by() {
            if found.contains(code) && !cause.contributing.contains(code) {
                cause.contributing.push(*code);
            }
        }
    }
}

/// Follows masters upwards. `explains` has no cycle (a test holds it); the bound is for safety.
fn root_of(index: usize, masters: &[Option<usize>]) -> usize {
    let mut at = index;
    for _ in 0..masters.len() {
        match masters[at] {
            Some(up) => at = up,
            None => return at,
        }
    }
    index
}

fn explains(cause: &Cause, symptom: &Cause) -> bool {
    // A mere possibility explains what is no surer than itself, and no worse.
    let sure = cause.confidence >= Confidence::Likely
        || (cause.confidence >= symptom.confidence && cause.impact >= symptom.impact);
    // What works now is not why something fails now.
    let weighty = cause.impact > Impact::Risk || symptom.impact == Impact::Risk;
    sure && weighty && cause.code.explains().contains(&symptom.code) && cause.scope.covers(&symptom.scope)
}

/// Worst first, surest first, causes before bare symptoms, then from the lowest layer up.
fn order(cause: &Cause) -> impl Ord + use<> {
    (
        Reverse(cause.impact),
        cause.code.is_symptom(),
        Reverse(cause.confidence),
        cause.code,
        cause.scope.clone(),
        cause.summary.clone(),
        // Not of interest to a reader, but the order must be total whatever came first.
        cause.seen.clone(),
        cause.because.clone(),
    )
}
