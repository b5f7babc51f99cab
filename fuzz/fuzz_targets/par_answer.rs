//! How far a login request got, over any answer: a total function.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pdsdoctor::diagnose::par_stage::{Refusal, Stage, stage};
use pdsdoctor_probes::{
    fact::{Failure, FailureKind, Role},
    par_fact::{ParArm, ParFact},
    text::Text,
};

#[derive(Arbitrary, Debug)]
struct Answer<'a> {
    failed: bool,
    accepted: bool,
    status: Option<u16>,
    content_type: Option<&'a str>,
    error: Option<&'a str>,
    description: Option<&'a str>,
    took_ms: u64,
    base_ms: u64,
}

fuzz_target!(|answer: Answer<'_>| {
    let fact = ParFact {
        role: Role::Target,
        server: Text::new("https://pds.example"),
        endpoint: Text::new("https://pds.example/oauth/par"),
        addr: None,
        arm: ParArm::AsNamed,
        client: Text::new("https://app.example/c.json"),
        client_id: Text::new("https://app.example/c.json"),
        scope: Text::new("atproto"),
        failure: answer.failed.then(|| Failure::new(FailureKind::Timeout, "")),
        status: answer.status,
        content_type: answer.content_type.map(Text::new),
        headers: std::collections::BTreeMap::new(),
        error: answer.error.map(Text::new),
        description: answer.description.map(Text::new),
        accepted: answer.accepted,
        excerpt: None,
    };
    let found = stage(&fact, answer.took_ms, answer.base_ms);
    assert_eq!(found, stage(&fact, answer.took_ms, answer.base_ms));
    assert!(!found.words().is_empty());
    for arm in [ParArm::Localhost, ParArm::CacheBusted, ParArm::AsNamed] {
        // What is as far as one can get is past the document.
        assert!(!found.is_expected(arm) || found.obtained_document() == Some(true));
    }
    match &found {
        Stage::NoRoute(_) => assert!(answer.failed),
        Stage::Accepted => assert!(answer.accepted && !answer.failed),
        // Nobody is told to update for an answer that does not speak of scopes.
        Stage::DocumentRefused(Refusal::UnsupportedScope) => {
            let said = fact.description.as_deref().or(fact.error.as_deref()).unwrap_or_default();
            assert!(said.to_ascii_lowercase().contains("unsupported scope"));
        }
        _ => {}
    }
});
