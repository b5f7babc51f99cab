//! What Node itself, and the PDS's log, say beside the model.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{FactBody, ProbeName, Role},
    log_fact::{LogCode, LogError, LogFact},
    process_fact::{NodeArm, NodeFetchFact},
};

use crate::{
    host::{container, machine},
    inside_node::{aborting, far_app, finds, finds_among, first_field_report},
    world::*,
};

/// What the PDS's own Node made of it.
pub(crate) fn asked(world: World, arm: NodeArm, answer: Result<u64, (&str, u64)>) -> World {
    let body = NodeFetchFact {
        arm,
        url: t(CLIENT),
        node_options: t(""),
        status: answer.ok().map(|_| 200),
        ms: Some(answer.unwrap_or_else(|(_, ms)| ms)),
        code: answer.err().map(|(code, _)| t(code)),
        inner: answer.err().map(|(code, _)| t(&format!("{code} {APP_V4}"))).into_iter().collect(),
        addresses: Vec::new(),
        failure: None,
    };
    world.with(|world| world.inside(&container(), ProbeName::WithNode, FactBody::NodeFetch(body)))
}

pub(crate) fn proven() -> World {
    let world = asked(first_field_report(), NodeArm::AsItIs, Err(("ETIMEDOUT", 252)));
    let world = asked(world, NodeArm::AttemptTimeout, Ok(641));
    asked(world, NodeArm::Ipv4Only, Ok(640))
}

#[test]
fn a_remedy_that_was_tried() {
    let cause = finds(&proven(), Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    let proven_ones: Vec<bool> = cause.remedies.iter().map(|remedy| remedy.proven).collect();
    assert!(proven_ones[0], "{cause:?}");
    for remedy in &cause.remedies {
        assert_eq!(remedy.proven, remedy.lines()[0].contains("NODE_OPTIONS="), "{remedy:?}");
    }
    let contrasts = format!("{:?}", cause.contrast);
    assert!(contrasts.contains("ETIMEDOUT after 252 ms") && contrasts.contains("HTTP 200 after 641 ms"), "{contrasts}");
    // It settles what is not known.
    let unsure = proven().process(|body| body.libc = None);
    finds(&unsure, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn an_experiment_that_says_otherwise() {
    // Node got there: the model is wrong about something, and nothing is claimed to be broken.
    let world = asked(first_field_report(), NodeArm::AsItIs, Ok(330));
    let cause = finds_among(&world.judge(), Code::NodeHe250ms);
    assert_eq!((cause.impact, cause.confidence), (Impact::Risk, Confidence::Possible));
    assert!(!cause.against.is_empty());
    // A remedy that does not help is not recommended.
    let world = asked(first_field_report(), NodeArm::AsItIs, Err(("ETIMEDOUT", 252)));
    let world = asked(world, NodeArm::AttemptTimeout, Err(("ECONNRESET", 400)));
    let cause = finds_among(&world.judge(), Code::NodeHe250ms);
    assert!(
        cause.remedies.iter().all(|remedy| !remedy.proven && !remedy.lines()[0].contains("attempt-timeout")),
        "{cause:?}"
    );
    // The times did not foresee it, and Node shows it.
    let world = asked(far_app(30).fetch_fails(251), NodeArm::AsItIs, Err(("ETIMEDOUT", 252)));
    assert!(!world.judge().says(Code::NodeHe250ms));
    let world = asked(world, NodeArm::AttemptTimeout, Ok(400));
    let cause = finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    assert!(cause.remedies[0].proven, "{cause:?}");
    // A Node that did not start says nothing.
    let world = first_field_report().with(|world| {
        let body = NodeFetchFact {
            arm: NodeArm::AsItIs,
            url: t(CLIENT),
            node_options: t(""),
            status: None,
            ms: None,
            code: None,
            inner: Vec::new(),
            addresses: Vec::new(),
            failure: Some(t("it ended with status 9")),
        };
        world.inside(&container(), ProbeName::WithNode, FactBody::NodeFetch(body));
    });
    finds(&world, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
}

/// The PDS's log of the app's host, so many minutes before the check.
fn logged(world: World, code: LogCode, minutes: i64) -> World {
    let error = LogError {
        logger: t("pds:oauth"),
        host: Some(t(APP)),
        code,
        count: 12,
        last_ms: Some(NOW * 1_000 - minutes * 60_000),
    };
    let body = LogFact { source: t("pds.log"), lines: 400, errors: vec![error], ..LogFact::default() };
    world.with(|world| world.push(ProbeName::PdsLog, 3, FactBody::Log(body)))
}

pub(crate) fn with_log() -> World {
    logged(first_field_report(), LogCode::TimedOut, 3)
}

#[test]
fn the_log_names_the_hidden_reason() {
    let cause = finds(&with_log(), Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    let line = cause.seen.iter().find(|line| line.contains("pds.log")).unwrap();
    assert!(line.contains("ETIMEDOUT for tangled.org, 12 times, last 3 minutes before"), "{line}");
    // A reason that has nothing to do with time weakens it, unless it is an old one.
    let world = logged(first_field_report(), LogCode::NonUnicast, 3);
    let cause = finds_among(&world.judge(), Code::NodeHe250ms);
    assert_eq!(cause.confidence, Confidence::Likely);
    assert!(!cause.against.is_empty());
    let old = logged(first_field_report(), LogCode::NonUnicast, 3 * 24 * 60);
    finds(&old, Code::NodeHe250ms, Impact::Broken, Confidence::Confirmed);
    // A copy of the log on a laptop says it from outside.
    let text = not_obtained("");
    let world = healthy().pars(Role::Target, (400, "invalid_client_metadata", &text), 350);
    let judged = logged(world, LogCode::CertificateExpired, 3).finds(
        Code::OauthClientMetadataEgress,
        Impact::Broken,
        Confidence::Confirmed,
    );
    assert!(judged.diagnosis.causes[0].seen.iter().any(|line| line.contains("CERT_HAS_EXPIRED")), "{}", judged.show());
    // A log without a fault that shows is no fault.
    logged(healthy(), LogCode::TimedOut, 3).is_well();
}

#[test]
fn the_log_has_nodes_last_words() {
    let error = LogError { logger: t("node"), host: None, code: LogCode::NodeAborted, count: 2, last_ms: None };
    let body = LogFact { source: t("pds.log"), lines: 400, errors: vec![error], ..LogFact::default() };
    let world = |world: World| world.with(|world| world.push(ProbeName::PdsLog, 3, FactBody::Log(body.clone())));
    world(aborting()).finds(Code::VerNodeCrashesPds, Impact::Degraded, Confidence::Confirmed);
    world(machine()).never_says(Code::VerNodeCrashesPds);
}
