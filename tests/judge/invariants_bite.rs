//! The invariants of a report find what they are there to find: sound reports, each with one thing made wrong.

use pdsdoctor::{
    command,
    diagnose::{
        Cause, Code, Confidence, Diagnosis, Remedy, diagnose,
        invariants::violations,
        step::{HostName, run, write},
    },
    entry,
};
use pdsdoctor_probes::{
    fact::{FactBody, Vantage},
    record::Run,
};

use crate::{catalogue::worlds, world::PDS};

/// A report with a cause that `wanted` likes, and which of its causes that is.
fn report(wanted: impl Fn(&Cause) -> bool) -> (Run, Diagnosis, usize) {
    let judged = worlds().into_iter().map(|(_, world)| {
        let diagnosis = diagnose(&world.run);
        (world.run, diagnosis)
    });
    let mut found = judged.filter_map(|(run, it)| it.causes.iter().position(&wanted).map(|index| (run, it, index)));
    found.next().expect("such a report")
}

fn is_inside(cause: &Cause) -> bool {
    cause.scope.vantage.as_deref().is_some_and(|place| place != "here")
}

#[track_caller]
fn finds(run: &Run, diagnosis: &Diagnosis, what: &str) {
    let found = violations(run, diagnosis);
    assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:#?}");
}

#[test]
fn what_is_not_confirmed_says_what_would_settle_it() {
    let contrasted = |cause: &Cause| cause.confidence != Confidence::Confirmed && !cause.contrast.is_empty();
    let (run, mut it, index) = report(contrasted);
    it.causes[index].settle = None;
    finds(&run, &it, "says what would settle it");
}

#[test]
fn a_place_is_not_blamed_for_what_fails_around_it_too() {
    let (mut run, it, index) = report(|cause| cause.code == Code::V6UlaIntoHole && is_inside(cause));
    let because = &it.causes[index].because;
    let failed: Vec<_> = run
        .facts
        .iter()
        .filter(|fact| because.contains(&fact.id) && fact.vantage != Vantage::Here)
        .filter_map(|fact| match &fact.body {
            FactBody::Connect(body) if body.failure.is_some() => Some(body.clone()),
            _ => None,
        })
        .collect();
    assert!(!failed.is_empty());
    for fact in run.facts.iter_mut().filter(|fact| fact.vantage == Vantage::Here) {
        if let FactBody::Connect(body) = &mut fact.body
            && let Some(inside) = failed.iter().find(|inside| inside.addr == body.addr)
        {
            body.failure = inside.failure.clone();
        }
    }
    finds(&run, &it, "fails from the machine around it as well");
}

#[test]
fn a_place_that_is_called_blameless_is_not_blamed() {
    let (run, mut it, index) = report(is_inside);
    it.causes[index].seen.push("the container's network is not to blame".to_owned());
    finds(&run, &it, "called blameless, and blamed");
}

#[test]
fn no_remedy_acts_elsewhere() {
    let (run_, mut it, index) = report(is_inside);
    let name = HostName::new(PDS);
    for (steps, what) in [
        (run("sudo sysctl -w net.ipv6.conf.all.disable_ipv6=1"), "is to mend another network"),
        (run("sudo sysctl -w net.ipv6.conf.none0.accept_ra=2"), "an interface that is not there"),
        (write(entry![name.clone(), ".  AAAA  2001:db8::dead"]).at("delete"), "a record that nobody saw"),
    ] {
        it.causes[index].remedies = vec![Remedy::new("x", [steps], command!["true"].expect("a command"))];
        finds(&run_, &it, what);
    }
    // In the place itself it acts.
    let enters = run("sudo nsenter -t 5 -n sysctl -w net.ipv6.conf.all.disable_ipv6=1");
    it.causes[index].remedies = vec![Remedy::new("x", [enters], command!["true"].expect("a command"))];
    assert_eq!(violations(&run_, &it), Vec::<String>::new());
}
