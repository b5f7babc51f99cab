//! The whole of judging: this side first, then the rules, then the order.

use pdsdoctor_probes::{
    fact::{NotMeasured, ProbeName, Role},
    record::{Ended, Run, TargetKind},
    text::Text,
};

use super::{
    Cause, Code, Diagnosis, Impact, RuledOut, Verdict, differs,
    evidence::Evidence,
    how_far::grid,
    invariants, not_asked,
    rank::rank,
    rules::{Found, RULES, this_side},
};

/// Judges a run. Debug builds hold every report against [`invariants::violations`].
pub fn diagnose(run: &Run) -> Diagnosis {
    let diagnosis = judged(run);
    #[cfg(debug_assertions)]
    {
        let violations = invariants::violations(run, &diagnosis);
        assert!(violations.is_empty(), "a report that contradicts itself: {violations:#?}");
    }
    diagnosis
}

fn judged(run: &Run) -> Diagnosis {
    let evidence = Evidence::new(run);
    let mut not_measured = run.not_measured.clone();
    not_measured.extend(left_out(run));
    not_measured.extend(evidence.unheard().limited.iter().cloned());
    // The fault may be on this side: then nothing can be said about the other.
    let own = if evidence.is_machine_only() { Vec::new() } else { this_side::judge(&evidence) };
    if !own.is_empty() {
        // On the PDS's machine the fault of this side is the PDS's own, where it can be named.
        let mut inside = Found::default();
        // What it lacks itself, it does not show of the PDS.
        if !evidence.inside().is_empty() && evidence.unheard().out_of_resources.is_empty() {
            RULES.iter().for_each(|rule| (rule.judge)(&evidence, &mut inside));
            inside.causes.retain(|cause| cause.code.is_of_the_machine() && cause.impact > Impact::Risk);
        }
        let named = !inside.causes.is_empty();
        let causes = rank(if named { inside.causes } else { own });
        let verdict = if named { verdict(&evidence, &causes, &not_measured) } else { Verdict::Inconclusive };
        let headline = headline(&evidence, verdict, &causes, 0);
        return Diagnosis {
            verdict,
            headline,
            causes,
            ruled_out: Vec::new(),
            differs: Vec::new(),
            not_measured,
            healthy: Vec::new(),
            grid: grid(&evidence),
        };
    }
    let mut found = Found::default();
    for rule in RULES {
        (rule.judge)(&evidence, &mut found);
    }
    let causes = rank(found.causes);
    not_measured.extend(this_side::withheld(&evidence));
    not_measured.extend(second_look_withheld(&evidence));
    not_measured.sort();
    not_measured.dedup();
    let verdict = verdict(&evidence, &causes, &not_measured);
    let differs = differs::unexplained(&evidence, &causes);
    Diagnosis {
        verdict,
        headline: headline(&evidence, verdict, &causes, differs.len()),
        ruled_out: ruled_out(&evidence, &causes, found.ruled_out),
        causes,
        differs,
        not_measured,
        healthy: super::healthy::healthy(&evidence),
        grid: grid(&evidence),
    }
}

fn verdict(evidence: &Evidence<'_>, causes: &[Cause], not_measured: &[NotMeasured]) -> Verdict {
    match causes.iter().map(|cause| cause.impact).max() {
        Some(Impact::Broken) => Verdict::Broken,
        Some(Impact::Degraded) => Verdict::Degraded,
        // Of a machine alone nothing is heard; what was seen there is what there is.
        impact if evidence.is_machine_only() => impact.map_or(Verdict::Healthy, |_| Verdict::Risk),
        // Silence is not health: where the PDS was never heard, nothing can be said.
        _ if !heard(evidence) || is_kept_out(evidence) => Verdict::Inconclusive,
        _ if evidence.run.ended != Ended::Complete
            && not_measured.iter().any(|missing| missing.probe == ProbeName::Par) =>
        {
            Verdict::Inconclusive
        }
        Some(Impact::Risk) => Verdict::Risk,
        None => Verdict::Healthy,
    }
}

/// The target answered something, or nobody asked it to (`--only dns`).
fn heard(evidence: &Evidence<'_>) -> bool {
    let lines = evidence.target_lines();
    lines.iter().any(super::evidence::Line::connected)
        || (lines.is_empty()
            && evidence.run.ended == Ended::Complete
            && not_asked::of(evidence.run, Role::Target).is_none()
            && evidence
                .host()
                .is_some_and(|host| !evidence.addresses(host).is_empty() && !evidence.is_unmeasured(ProbeName::Tcp)))
}

/// No address got beyond "too many requests".
fn is_kept_out(evidence: &Evidence<'_>) -> bool {
    let lines = evidence.target_lines();
    evidence.unheard().target_is_limited() && !lines.iter().any(super::evidence::Line::is_pds)
}

/// One plain sentence.
fn headline(evidence: &Evidence<'_>, verdict: Verdict, causes: &[Cause], differs: usize) -> String {
    let name = evidence.name();
    let first = causes.first().map(|cause| cause.summary.as_str());
    match (verdict, first) {
        (Verdict::Inconclusive, Some(first)) => format!("Nothing can be said about {name}: {}", lower(first)),
        (Verdict::Inconclusive, None) if not_asked::on_the_way(evidence.run).is_some() => {
            let (host, why) = not_asked::on_the_way(evidence.run).unwrap_or_default();
            format!("Nothing can be said about {name}: {host}, which only a document names, was not asked ({why}).")
        }
        (Verdict::Inconclusive, None) => {
            let why = match evidence.run.ended {
                _ if is_kept_out(evidence) => "it answers that it is asked too often (429)",
                Ended::Complete => "nothing of it could be measured from here",
                Ended::TimeLimit => "the time limit came before it answered",
                Ended::Interrupted => "the run was stopped before it answered",
            };
            format!("Nothing can be said about {name}: {why}.")
        }
        (_, Some(first)) => first.to_owned(),
        (_, None) if evidence.is_machine_only() => {
            let alone = if evidence.inside().pds().is_some() { "" } else { "; no PDS runs here that can be seen" };
            format!("No fault was found in this machine as the host of a PDS{alone}.")
        }
        (_, None) => {
            let version = evidence.version(Role::Target).map(|version| format!(" (PDS {version})")).unwrap_or_default();
            match reserve(evidence, differs) {
                Some(reserve) => format!("No fault was found at {name}{version}{reserve}."),
                None => format!("{name} is healthy{version}: no fault was found."),
            }
        }
    }
}

/// What keeps "healthy" from being said without reserve: the weightiest, as the end of the sentence.
fn reserve(evidence: &Evidence<'_>, differs: usize) -> Option<String> {
    let limited = evidence.unheard().target_is_limited();
    let incomplete = !evidence.run.settings.left_out.is_empty()
        || !evidence.run.not_understood.is_empty()
        || not_asked::all(evidence.run).next().is_some()
        || evidence.second_look_withheld();
    let other = evidence.reference().filter(|_| differs > 0).map(|reference| {
        let answers = if differs == 1 { "one answer differs" } else { &format!("{differs} answers differ") };
        format!(", but {answers} from {reference}'s and nothing explains it")
    });
    let all = [
        limited.then(|| " in what it let be measured: it limits requests (429)".to_owned()),
        other,
        incomplete.then(|| " in what was measured".to_owned()),
    ];
    all.into_iter().flatten().next()
}

/// What the user chose not to measure is said like everything that was not.
fn left_out(run: &Run) -> Option<NotMeasured> {
    if run.target.kind == TargetKind::Machine {
        return None;
    }
    let probe = *run.settings.left_out.first()?;
    let names = super::rules::list(&run.settings.left_out);
    Some(NotMeasured {
        probe,
        why: Text::new(&format!("{names} left out by --only or --skip")),
        needs: Text::new("a run without --only and --skip"),
    })
}

/// Whether others reach the target was asked, and could not be told from a slow moment: that is no health.
fn second_look_withheld(evidence: &Evidence<'_>) -> Option<NotMeasured> {
    let reference = evidence.reference().filter(|_| evidence.second_look_withheld())?;
    Some(NotMeasured {
        probe: ProbeName::Par,
        why: Text::new(&format!(
            "whether {reference} reaches {}: it had no answer in time, at a moment when everything was slow",
            evidence.name()
        )),
        needs: Text::new("the same once more, or from a machine in another network"),
    })
}

/// A sentence in the middle of another, unless it begins with a name.
fn lower(sentence: &str) -> String {
    match sentence.strip_prefix("This ") {
        Some(rest) => format!("this {rest}"),
        None => sentence.to_owned(),
    }
}

/// What is not found, and not under what was found. Only of interest where something is wrong.
fn ruled_out(evidence: &Evidence<'_>, causes: &[Cause], mut ruled_out: Vec<RuledOut>) -> Vec<RuledOut> {
    if causes.is_empty() {
        return Vec::new();
    }
    let found: Vec<Code> = causes
        .iter()
        .flat_map(|cause| std::iter::once(cause.code).chain(cause.symptoms.iter().map(|symptom| symptom.code)))
        .collect();
    ruled_out.retain(|theory| {
        !found.contains(&theory.code)
            && invariants::is_of_a_failing_host(theory, causes)
            && invariants::contradicted(evidence, theory).is_empty()
    });
    // Of the same theory the widest bounds first, then those of the first cause's host.
    let first_host = causes.first().and_then(|cause| cause.scope.host.as_deref());
    let place = |theory: &RuledOut| {
        (theory.code, Some(theory.scope.host()) != first_host, theory.scope.of_family().is_some(), theory.scope.clone())
    };
    ruled_out.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.why.cmp(&b.why)));
    // One line for a theory, but for each family where both are dead by themselves.
    ruled_out.dedup_by(|later, first| {
        let same = later.scope.of_family() == first.scope.of_family() || first.scope.of_family().is_none();
        later.code == first.code && (same || later.scope.host() != first.scope.host())
    });
    ruled_out
}
