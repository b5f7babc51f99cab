//! What holds of judging whatever was measured.

use std::collections::{BTreeMap, BTreeSet};

use pdsdoctor::{
    cli::Format,
    diagnose::{
        Cause, Code, Confidence, Diagnosis, Impact, Remedy, Scope, diagnose,
        evidence::Evidence,
        rank::rank,
        rules::{Found, RULES, this_side},
        step::say,
    },
    render::report,
    saved,
};
use pdsdoctor_probes::{
    fact::{FactId, Family},
    record::Run,
};
use proptest::prelude::*;
use serde_json::Value;
use strum::IntoEnumIterator;

use crate::{
    catalogue::runs,
    mutants::{Dice, STYLES, mutant, survives},
};

fn findings(run: &Run) -> Vec<Cause> {
    let evidence = Evidence::new(run);
    let own = this_side::judge(&evidence);
    if !own.is_empty() {
        return own;
    }
    let mut found = Found::default();
    for rule in RULES {
        (rule.judge)(&evidence, &mut found);
    }
    found.causes
}

#[test]
fn the_order_of_facts_does_not_matter() {
    let mut dice = Dice::new(1);
    for (name, run) in runs() {
        let expected = diagnose(&run);
        for _ in 0..8 {
            let mut shuffled = run.clone();
            dice.shuffle(&mut shuffled.facts);
            assert_eq!(diagnose(&shuffled), expected, "{name}");
        }
    }
}

fn strength(diagnosis: &Diagnosis, code: Code, scope: &Scope) -> Option<(Confidence, Impact)> {
    diagnosis
        .causes
        .iter()
        .find(|cause| cause.code == code && cause.scope == *scope)
        .map(|cause| (cause.confidence, cause.impact))
}

#[test]
fn less_evidence_is_never_a_stronger_claim() {
    for (name, run) in runs() {
        let all = diagnose(&run);
        for cause in &all.causes {
            for id in &cause.because {
                let mut less = run.clone();
                less.facts.retain(|fact| fact.id != *id);
                if let Some((confidence, impact)) = strength(&diagnose(&less), cause.code, &cause.scope) {
                    let gone = run.facts.iter().find(|fact| fact.id == *id);
                    assert!(confidence <= cause.confidence, "{name}: {} is surer without {gone:?}", cause.code);
                    assert!(impact <= cause.impact, "{name}: {} is worse without {gone:?}", cause.code);
                }
            }
        }
    }
}

#[test]
fn explaining_has_no_cycle() {
    fn reaches(from: Code, to: Code, path: &mut Vec<Code>) -> bool {
        from.explains().iter().any(|next| {
            if *next == to {
                return true;
            }
            assert!(!path.contains(next), "a cycle through {next}");
            path.push(*next);
            let found = reaches(*next, to, path);
            path.pop();
            found
        })
    }
    for code in Code::iter() {
        assert!(!reaches(code, code, &mut vec![code]), "{code} explains itself");
        if code.is_symptom() {
            let cause = code.explains().iter().find(|explained| !explained.is_symptom());
            assert_eq!(cause, None, "{code} is a symptom and explains a cause");
        }
    }
}

/// Does `cause` explain `symptom`, at however many removes?
fn explains(cause: Code, symptom: Code) -> bool {
    cause.explains().iter().any(|next| *next == symptom || explains(*next, symptom))
}

/// How often each code is there, as cause or symptom.
fn census(causes: &[Cause]) -> BTreeMap<Code, usize> {
    let mut count = BTreeMap::new();
    for cause in causes {
        *count.entry(cause.code).or_default() += 1;
        for symptom in &cause.symptoms {
            *count.entry(symptom.code).or_default() += 1;
        }
    }
    count
}

/// How often it must be there: the same code with the same scope is one finding.
fn distinct(found: &[Cause]) -> BTreeMap<Code, usize> {
    let mut seen: Vec<(Code, &Scope)> = found.iter().map(|cause| (cause.code, &cause.scope)).collect();
    seen.sort();
    seen.dedup();
    let mut count = BTreeMap::new();
    for (code, _) in seen {
        *count.entry(code).or_default() += 1;
    }
    count
}

/// Found by the rules of both views: there it is one finding, how many there are is decided by `is_also`.
fn is_twice_seen(found: &[Cause], code: Code) -> bool {
    let of = || found.iter().filter(|cause| cause.code == code);
    of().any(|a| of().any(|b| a.scope != b.scope && a.scope.is_also(&b.scope)))
}

fn ranked_well(found: &[Cause]) {
    let ranked = rank(found.to_vec());
    let (mut shown, mut expected) = (census(&ranked), distinct(found));
    for code in Code::iter().filter(|code| is_twice_seen(found, *code)) {
        let (shown, expected) = (shown.remove(&code).unwrap_or(0), expected.remove(&code).unwrap_or(0));
        assert!((1..expected).contains(&shown), "{code}: {shown} of {expected} shown");
    }
    assert_eq!(shown, expected, "nothing is lost, nothing is there twice");
    for cause in &ranked {
        assert!(cause.symptoms.iter().all(|symptom| explains(cause.code, symptom.code)), "{}", cause.code);
    }
}

#[test]
fn a_symptom_is_under_its_cause_exactly_once() {
    for (_, run) in runs() {
        ranked_well(&findings(&run));
    }
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let codes: Vec<Code> = Code::iter().collect();
    let hosts = prop::sample::select(vec![None, Some("a.example"), Some("x.a.example"), Some("*.a.example")]);
    let family = prop::sample::select(vec![None, Some(Family::V4), Some(Family::V6)]);
    (
        prop::sample::select(codes),
        prop::sample::select(vec![Impact::Risk, Impact::Degraded, Impact::Broken]),
        prop::sample::select(vec![Confidence::Possible, Confidence::Likely, Confidence::Confirmed]),
        hosts,
        family,
        0..4_u8,
    )
        .prop_map(|(code, impact, confidence, host, family, n)| {
            Cause::new(code, impact, confidence, format!("summary {}", n % 2))
                .scope(Scope { host: host.map(str::to_owned), family, vantage: None })
                .saw(format!("line {n}"))
                .because([FactId(format!("f{n}"))])
                .remedy(Remedy::new("x", [say("y")], "z"))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn ranking_is_total_and_loses_nothing(found in prop::collection::vec(any_cause(), 0..12), seed in any::<u64>()) {
        ranked_well(&found);
        let expected = rank(found.clone());
        let mut shuffled = found;
        Dice::new(seed).shuffle(&mut shuffled);
        let again = rank(shuffled);
        prop_assert_eq!(&again, &expected);
        prop_assert!(expected.is_sorted_by_key(|cause| std::cmp::Reverse(cause.impact)));
    }
}

/// How many mutants of every run are tried; `PDSDOCTOR_MUTANTS` for more.
fn mutants() -> u64 {
    std::env::var("PDSDOCTOR_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

#[test]
fn judging_survives_every_mutant() {
    let mut read = 0_u32;
    for (name, run) in runs() {
        let text = saved::to_json(&run).unwrap();
        let original: Value = serde_json::from_str(&text).unwrap();
        for seed in 0..mutants() {
            let mut dice = Dice::new(seed.wrapping_mul(977) ^ name.len() as u64);
            let mutant = mutant(&original, &mut dice);
            let Ok(run) = saved::parse(mutant.to_string().as_bytes()) else { continue };
            read += 1;
            survives(&run);
            ranked_well(&findings(&run));
            let mut shuffled = run.clone();
            dice.shuffle(&mut shuffled.facts);
            assert_eq!(diagnose(&shuffled), diagnose(&run), "{name} {seed}");
        }
    }
    let all = runs().len() as u64 * mutants();
    assert!(u64::from(read) * 2 > all, "only {read} of {all} mutants could be read");
}

/// Every number of a run at the ends of what it may be: nothing that is added up or taken away breaks.
#[test]
fn judging_survives_numbers_at_their_ends() {
    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.iter().filter(|(_, value)| value.is_number()).map(|(key, _)| key.clone()));
                map.values().for_each(|value| keys(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    fn set(value: &mut Value, wanted: &str, number: &Value) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(key, value)| {
                if key == wanted && value.is_number() {
                    *value = number.clone();
                } else {
                    set(value, wanted, number);
                }
            }),
            Value::Array(list) => list.iter_mut().for_each(|value| set(value, wanted, number)),
            _ => {}
        }
    }
    let ends = [u64::MAX.into(), i64::MAX.into(), i64::MIN.into(), u32::MAX.into(), u16::MAX.into(), Value::from(0)];
    let (mut tried, mut next) = (BTreeMap::<String, usize>::new(), 0);
    for (_, run) in runs().into_iter().step_by(4) {
        let original: Value = serde_json::from_str(&saved::to_json(&run).unwrap()).unwrap();
        let mut found = BTreeSet::new();
        keys(&original, &mut found);
        for key in found {
            // All runs have the same keys: each end of each is tried in several of them.
            next += 1;
            let mut changed = original.clone();
            set(&mut changed, &key, &ends[next % ends.len()]);
            let Ok(run) = saved::parse(changed.to_string().as_bytes()) else { continue };
            *tried.entry(key).or_default() += 1;
            survives(&run);
        }
    }
    assert!(tried.get("started_ms").is_some_and(|times| *times >= ends.len()), "{tried:?}");
}

/// Any subset of the facts of any run: a run that was cut short, or a part of it that was left out.
#[test]
fn judging_survives_missing_facts() {
    let mut dice = Dice::new(7);
    for (_, run) in runs() {
        for keep in [90, 70, 40, 10] {
            let mut less = run.clone();
            less.facts.retain(|_| dice.below(100) < keep);
            crate::invariants::hold(&less, &diagnose(&less));
            survives(&less);
        }
    }
}

#[test]
fn a_saved_run_judged_again_gives_the_same_bytes() {
    for (name, run) in runs() {
        let again = saved::parse(saved::to_json(&run).unwrap().as_bytes()).unwrap();
        assert_eq!(again, run, "{name}");
        for format in [Format::Text, Format::Json] {
            let show = |run: &Run| report(run, &diagnose(run), format, &STYLES[0]);
            assert_eq!(show(&again), show(&run), "{name}");
        }
    }
}
