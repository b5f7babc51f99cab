//! Healthy means that everything answered as the reference's did: what did not, and is not understood, is said.

use pdsdoctor::diagnose::{Verdict, differs::HARMLESS};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, Role},
    http_fact::{BodyClass, Content, HttpPurpose},
    par_fact::ParArm,
};

use crate::{change::Judged, world::*};

/// No cause, and yet not healthy without reserve. Gives the requests that differ.
#[track_caller]
fn reserved(world: &World) -> Vec<String> {
    let judged = world.judge();
    assert!(judged.diagnosis.causes.is_empty(), "{}", judged.show());
    assert_eq!(judged.verdict(), Verdict::Healthy);
    assert!(!judged.diagnosis.differs.is_empty(), "nothing differs: {}", judged.show());
    assert!(!judged.diagnosis.headline.contains("is healthy"), "{}", judged.diagnosis.headline);
    assert!(judged.diagnosis.headline.contains("differ"), "{}", judged.diagnosis.headline);
    judged.diagnosis.differs.into_iter().map(|difference| difference.what).collect()
}

#[track_caller]
fn without_reserve(world: &World) -> Judged {
    let judged = world.is_well();
    assert!(judged.diagnosis.differs.is_empty(), "{:?}", judged.diagnosis.differs);
    assert!(judged.diagnosis.headline.contains("is healthy"), "{}", judged.diagnosis.headline);
    judged
}

#[test]
fn a_healthy_pds_has_no_reserve() {
    without_reserve(&healthy());
    without_reserve(&healthy().without_reference());
    without_reserve(&healthy().with_entryway());
}

/// `_health` alone is answered by a page of the proxy's: relays and monitors ask for it, and no rule is about it.
#[test]
fn health_alone_answered_by_something_else() {
    for (status, class) in
        [(404, BodyClass::Html), (403, BodyClass::Html), (500, BodyClass::Html), (404, BodyClass::Empty)]
    {
        let world = healthy().http(Role::Target, HttpPurpose::Health, |body| answer(body, status, class, "<html>"));
        assert_eq!(reserved(&world), ["GET /xrpc/_health"], "{status} {class}");
    }
    let silent = healthy().http(Role::Target, HttpPurpose::Health, |body| no_answer(body, FailureKind::Timeout));
    assert_eq!(reserved(&silent), ["GET /xrpc/_health"]);
}

/// Other implementations have a `_health` of their own, or none.
#[test]
fn health_in_another_implementations_words() {
    for (status, class) in
        [(200, BodyClass::Text), (200, BodyClass::Json), (404, BodyClass::Json), (501, BodyClass::Json)]
    {
        let world = healthy().http(Role::Target, HttpPurpose::Health, |body| answer(body, status, class, "ok"));
        without_reserve(&world);
    }
}

fn header(world: World, purpose: HttpPurpose, name: &'static str, value: Option<&'static str>) -> World {
    world.http(Role::Target, purpose, move |body| {
        body.headers.remove(name);
        if let Some(value) = value {
            body.headers.insert(name.to_owned(), t(value));
        }
    })
}

#[test]
fn headers_that_clients_rely_on() {
    let documents = [HttpPurpose::ProtectedResource, HttpPurpose::AuthorizationServer];
    for purpose in documents {
        // None, two of them, or one site's only: a browser keeps the document from every other app.
        for value in [None, Some("*, *"), Some("https://pds.example.com")] {
            let what = reserved(&header(healthy(), purpose, "access-control-allow-origin", value));
            assert!(what[0].ends_with("the header access-control-allow-origin"), "{what:?}");
        }
        let what = reserved(&header(healthy(), purpose, "content-type", Some("text/plain")));
        assert!(what[0].ends_with("the header content-type"), "{what:?}");
        without_reserve(&header(healthy(), purpose, "content-type", Some("Application/JSON")));
        without_reserve(&header(healthy(), purpose, "cache-control", Some("no-store")));
        without_reserve(&header(healthy(), purpose, "x-powered-by", Some("Express")));
    }
    // What an entryway has beyond a PDS, or another implementation leaves out at `_health`, is no difference.
    without_reserve(&header(healthy().with_entryway(), documents[0], "access-control-allow-origin", None));
    let other = healthy().http(Role::Target, HttpPurpose::Health, |body| {
        body.content = Some(Content::Health { version: t("tranquil 0.2.1") });
        body.headers.remove("access-control-allow-origin");
    });
    without_reserve(&other);
}

/// A proxy that takes the nonce away: every login ends in `use_dpop_nonce`, and the form of all answers is right.
#[test]
fn the_nonce_is_taken_away() {
    for name in ["dpop-nonce", "access-control-expose-headers", "access-control-allow-origin"] {
        let world = healthy().each(|fact| match &mut fact.body {
            FactBody::Par(body) if body.role == Role::Target => drop(body.headers.remove(name)),
            _ => {}
        });
        let what = reserved(&world);
        // The one without a fetch, and the application's in both its forms.
        assert_eq!(what.len(), 2, "{what:?}");
        assert!(what.iter().all(|what| what.ends_with(name)), "{what:?}");
    }
    // Older runs have no headers of PARs at all.
    let old = healthy().each(|fact| {
        if let FactBody::Par(body) = &mut fact.body {
            body.headers.clear();
        }
    });
    without_reserve(&old);
}

/// A cause that rests on an answer explains how it differs.
#[test]
fn what_a_cause_explains_is_not_told_twice() {
    let text = not_obtained("");
    let world = healthy().par(Role::Target, ParArm::CacheBusted, (400, "invalid_client_metadata", &text), 500).par(
        Role::Target,
        ParArm::AsNamed,
        (400, "invalid_client_metadata", &text),
        500,
    );
    let judged = world.judge();
    assert!(!judged.diagnosis.causes.is_empty());
    assert!(judged.diagnosis.differs.is_empty(), "{:?}", judged.diagnosis.differs);
}

#[test]
fn every_entry_of_the_table_has_its_reason() {
    for entry in HARMLESS {
        assert!(!entry.what.is_empty() && entry.why.len() > 20, "{}", entry.what);
    }
}
