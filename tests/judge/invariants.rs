//! What holds of every diagnosis, whatever the run.

use std::collections::BTreeSet;

use pdsdoctor::diagnose::{Confidence, Diagnosis, Impact, Verdict};
use pdsdoctor_probes::{fact::FactId, record::Run};

/// Panics where something does not hold.
pub fn hold(run: &Run, diagnosis: &Diagnosis) {
    let facts: BTreeSet<&FactId> = run.facts.iter().map(|fact| &fact.id).collect();
    let mut found = BTreeSet::new();
    for cause in &diagnosis.causes {
        let code = cause.code;
        assert!(found.insert((code, &cause.scope)), "{code} with the same scope twice");
        assert!(!cause.summary.is_empty() && !cause.remedies.is_empty(), "{code} has a sentence and a remedy");
        for remedy in &cause.remedies {
            assert!(!remedy.title.is_empty() && !remedy.steps.is_empty() && !remedy.verify.is_empty(), "{code}");
        }
        for id in cause.because.iter().chain(&cause.against) {
            assert!(facts.contains(id), "{code} rests on {id}, which is no fact");
        }
        assert!(!cause.because.is_empty(), "{code} rests on nothing");
        if cause.confidence == Confidence::Confirmed && diagnosis.verdict != Verdict::Inconclusive {
            assert!(!cause.contrast.is_empty(), "{code} is confirmed without a contrast");
        }
        for contrast in &cause.contrast {
            assert!(!contrast.what.is_empty() && !contrast.this.is_empty() && !contrast.that.is_empty(), "{code}");
        }
        assert!(
            cause.confidence == Confidence::Confirmed || cause.settle.is_some() || !cause.contrast.is_empty(),
            "{code} is not confirmed and nothing says what would settle it"
        );
        for symptom in &cause.symptoms {
            assert!(!symptom.title.is_empty() && symptom.because.iter().all(|id| facts.contains(id)), "{code}");
        }
    }
    for theory in &diagnosis.ruled_out {
        assert!(theory.because.iter().all(|id| facts.contains(id)), "{} is ruled out by no fact", theory.code);
        let is_found = diagnosis
            .causes
            .iter()
            .any(|cause| cause.code == theory.code || cause.symptoms.iter().any(|symptom| symptom.code == theory.code));
        assert!(!is_found, "{} is found and ruled out", theory.code);
    }
    let worst = diagnosis.causes.iter().map(|cause| cause.impact).max();
    match diagnosis.verdict {
        Verdict::Healthy => assert_eq!(worst, None),
        Verdict::Risk => assert_eq!(worst, Some(Impact::Risk)),
        Verdict::Degraded => assert_eq!(worst, Some(Impact::Degraded)),
        Verdict::Broken => assert_eq!(worst, Some(Impact::Broken)),
        Verdict::Inconclusive => {}
    }
    assert!(diagnosis.causes.is_sorted_by_key(|cause| std::cmp::Reverse(cause.impact)), "worst first");
    assert!(!diagnosis.headline.is_empty());
}
