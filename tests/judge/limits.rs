//! What was measured and says nothing about whom it asked: a limit on requests, and want of this machine's own means.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, SystemDnsOutcome},
    fact::{Fact, FactBody, FailureKind, Role},
    http_fact::{BodyClass, Content},
};

use crate::{
    change::Judged,
    web,
    world::{World, answer, fail, healthy, no_answer, t},
};

/// The same request, answered "too many requests" as nginx does it.
fn limit(fact: &mut Fact, status: u16) {
    match &mut fact.body {
        FactBody::Http(body) => {
            answer(body, status, BodyClass::Html, "<html>");
            body.content = None;
        }
        FactBody::Par(body) => {
            body.status = Some(status);
            body.content_type = Some(t("text/html"));
            (body.error, body.description, body.accepted) = (None, None, false);
        }
        _ => {}
    }
}

fn is_answer(fact: &Fact) -> bool {
    matches!(fact.body, FactBody::Http(_) | FactBody::Par(_))
}

/// One world for each answer of `world`: it alone is changed.
fn each_answer(world: &World, change: impl Fn(&mut World, usize)) -> impl Iterator<Item = (String, Judged)> {
    let answers: Vec<usize> = (0..world.run.facts.len()).filter(|at| is_answer(&world.run.facts[*at])).collect();
    answers.into_iter().map(move |at| {
        let name = format!("{:?}", world.run.facts[at].body);
        (name, world.clone().with(|world| change(world, at)).judge())
    })
}

fn says_limited(judged: &Judged) -> bool {
    judged.diagnosis.not_measured.iter().any(|missing| missing.why.contains("limits requests"))
}

#[test]
fn no_answer_of_too_many_requests_is_a_fault() {
    for (what, judged) in each_answer(&healthy(), |world, at| limit(&mut world.run.facts[at], 429)) {
        assert!(judged.diagnosis.causes.is_empty(), "{what}: {}", judged.show());
        assert_eq!(judged.verdict(), Verdict::Healthy, "{what}: {}", judged.show());
        assert!(says_limited(&judged), "{what}");
        let of_the_target = judged.diagnosis.not_measured.iter().any(|missing| missing.why.starts_with("the target "));
        assert_eq!(judged.diagnosis.headline.contains("429"), of_the_target, "{what}");
    }
}

#[test]
fn a_target_that_answers_nothing_else_is_not_judged() {
    let of_target = |fact: &Fact| match &fact.body {
        FactBody::Http(body) => matches!(body.role, Role::Target | Role::HandleSample | Role::HostedHandle),
        FactBody::Par(body) => body.role == Role::Target,
        _ => false,
    };
    let world = healthy().each(|fact| {
        if of_target(fact) {
            limit(fact, 429);
        }
    });
    for judged in [world.judge(), world.without_reference().judge()] {
        assert!(judged.diagnosis.causes.is_empty(), "{}", judged.show());
        assert_eq!(judged.verdict(), Verdict::Inconclusive);
        assert!(judged.diagnosis.headline.contains("429"), "{}", judged.diagnosis.headline);
        assert!(says_limited(&judged));
    }
}

/// The second attempt speaks, and what it says counts whole.
#[test]
fn what_the_second_attempt_cures_is_no_failure() {
    for status in [429, 503] {
        let twice = |world: &mut World, at: usize| {
            let mut first = world.run.facts[at].clone();
            limit(&mut first, status);
            first.started_ms = 0;
            world.run.facts[at].started_ms = 1_000;
            world.run.facts.push(first);
        };
        for (what, judged) in each_answer(&healthy(), twice) {
            assert!(judged.diagnosis.causes.is_empty(), "{what}: {}", judged.show());
            assert_eq!(judged.verdict(), Verdict::Healthy, "{what}");
            assert!(!says_limited(&judged) && !judged.diagnosis.headline.contains("429"), "{what}");
        }
    }
}

/// A connection that was closed while the second attempt waited for its turn.
#[test]
fn what_fails_after_a_limit_fails_of_the_wait() {
    let then_closed = |world: &mut World, at: usize| {
        let mut second = world.run.facts[at].clone();
        match &mut second.body {
            FactBody::Http(body) => no_answer(body, FailureKind::Closed),
            FactBody::Par(body) => {
                body.failure = Some(fail(FailureKind::Closed));
                body.status = None;
            }
            _ => {}
        }
        limit(&mut world.run.facts[at], 429);
        second.started_ms = world.run.facts[at].started_ms + 1_000;
        world.run.facts.push(second);
    };
    for (what, judged) in each_answer(&healthy(), then_closed) {
        assert!(judged.diagnosis.causes.is_empty(), "{what}: {}", judged.show());
        assert!(says_limited(&judged), "{what}");
    }
}

/// A limit hides no fault that was seen.
#[test]
fn a_fault_behind_a_limit_is_still_found() {
    let world = web::documents(|it| answer(it, 404, BodyClass::Html, "<html>"));
    let missing: Vec<Fact> = world.run.facts.clone();
    let world = world.with(|world| {
        for fact in &missing {
            let mut first = fact.clone();
            let is_document = matches!(&first.body, FactBody::Http(body) if body.role == Role::Target
                && body.url.contains("/.well-known/oauth"));
            if is_document {
                limit(&mut first, 429);
                first.started_ms = 0;
                world.run.facts.push(first);
            }
        }
        for fact in &mut world.run.facts {
            if matches!(&fact.body, FactBody::Http(body) if body.status == Some(404)) {
                fact.started_ms = 1_000;
            }
        }
    });
    world.finds(Code::ProxyOauthRoutesMissing, Impact::Broken, Confidence::Confirmed);
    // And one that was not seen is not claimed.
    let world = healthy().each(|fact| {
        if let FactBody::Http(body) = &mut fact.body
            && body.role == Role::Target
            && body.url.contains("/.well-known/oauth")
        {
            answer(body, 429, BodyClass::Html, "<html>");
            body.content = None::<Content>;
        }
    });
    world.never_says(Code::ProxyOauthRoutesMissing);
    world.never_says(Code::OauthDiscoveryFails);
}

/// Any single measurement for which this machine had no descriptor: this side's, never the PDS's.
pub(crate) fn without_files(mut world: World, at: usize) -> World {
    let none = || Some(fail(FailureKind::ThisSideResources));
    match &mut world.run.facts[at].body {
        FactBody::OwnNetwork(body) => (body.source, body.failure) = (None, none()),
        FactBody::Connect(body) => body.failure = none(),
        FactBody::Tls(body) => (body.certificate, body.failure) = (None, none()),
        FactBody::Http(body) => no_answer(body, FailureKind::ThisSideResources),
        FactBody::Par(body) => (body.status, body.failure) = (None, none()),
        FactBody::Dns(body) => {
            body.outcome = DnsOutcome::NotAsked;
            body.records.clear();
        }
        FactBody::SystemDns(body) => {
            body.outcome = SystemDnsOutcome::NotAsked;
            body.addresses.clear();
        }
        _ => {}
    }
    world
}

#[test]
fn too_few_descriptors_are_this_sides() {
    for at in 0..healthy().run.facts.len() {
        let world = without_files(healthy(), at);
        if world.run == healthy().run {
            continue;
        }
        let what = format!("{:?}", world.run.facts[at].body);
        let judged = world.judge();
        assert_eq!(judged.verdict(), Verdict::Inconclusive, "{what}: {}", judged.show());
        let codes: Vec<Code> = judged.diagnosis.causes.iter().map(|cause| cause.code).collect();
        assert_eq!(codes, [Code::ThisSideNoResources], "{what}");
    }
}
