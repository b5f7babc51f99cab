//! The event stream: upgrades to WebSocket, and who answers them.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{FailureKind, Family, Role},
    http_fact::{BodyClass, Content, HttpFact, HttpPurpose},
};

use crate::world::*;

const STREAM: HttpPurpose = HttpPurpose::SubscribeRepos;

/// What a PDS says to a plain `GET` of it.
fn plain(status: u16, error: &'static str, message: &'static str) -> impl Fn(&mut HttpFact) {
    move |body| {
        answer(body, status, BodyClass::Json, "{\"error\"");
        body.content = Some(Content::XrpcError { error: t(error), message: Some(t(message)) });
    }
}

/// Upgrades do not get through to the PDS.
pub(crate) fn without_upgrades() -> World {
    healthy().http(Role::Target, STREAM, plain(401, "AuthMissing", "Authentication Required"))
}

#[test]
fn the_pdss_words_for_a_plain_request_prove_that_the_upgrade_is_lost() {
    for said in [
        plain(401, "AuthMissing", "Authentication Required"),
        plain(400, "InvalidRequest", "No service configured for com.atproto.sync.subscribeRepos"),
    ] {
        let world = healthy().http(Role::Target, STREAM, &said);
        world.finds(Code::ProxyWsUpgradeStripped, Impact::Broken, Confidence::Confirmed);
        world.clone().without_reference().finds(Code::ProxyWsUpgradeStripped, Impact::Broken, Confidence::Likely);
        // A network that takes upgrades out of everybody's requests.
        let both = world.http(Role::Reference, STREAM, &said);
        both.finds(Code::ProxyWsUpgradeStripped, Impact::Broken, Confidence::Possible);
    }
}

#[test]
fn another_answer_is_somebody_elses() {
    for status in [200, 403, 404, 426, 502] {
        let world = healthy().http(Role::Target, STREAM, |body| answer(body, status, BodyClass::Html, "<html>"));
        world.finds(Code::ProxyWsUpgradeStripped, Impact::Broken, Confidence::Likely);
    }
    for kind in [FailureKind::Timeout, FailureKind::Reset, FailureKind::Closed] {
        let world = healthy().http(Role::Target, STREAM, |body| no_answer(body, kind));
        world.finds(Code::ProxyWsUpgradeStripped, Impact::Broken, Confidence::Likely);
    }
}

#[test]
fn one_address_of_two_is_some_relays_trouble() {
    let said = plain(401, "AuthMissing", "Authentication Required");
    let world = healthy().http(Role::Target, STREAM, |body| {
        if body.addr == Some(ip(PDS_V6)) {
            said(body);
        }
    });
    let judged = world.finds(Code::ProxyWsUpgradeStripped, Impact::Degraded, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes[0].scope.family, Some(Family::V6), "{}", judged.show());
}

#[test]
fn a_stream_that_opens_is_well_whatever_it_says() {
    for content in [
        None,
        Some(Content::StreamFrame { error: None, event: Some(t("#commit")) }),
        Some(Content::StreamFrame { error: Some(t("InvalidRequest")), event: None }),
    ] {
        let judged = healthy().http(Role::Target, STREAM, |body| body.content.clone_from(&content)).judge();
        assert!(judged.diagnosis.causes.is_empty(), "{}", judged.show());
    }
}

#[test]
fn a_limit_and_a_front_without_a_pds_say_nothing_of_upgrades() {
    let limited = healthy().http(Role::Target, STREAM, |body| answer(body, 429, BodyClass::Text, "too many"));
    limited.never_says(Code::ProxyWsUpgradeStripped);
    let said = plain(401, "AuthMissing", "Authentication Required");
    let down = crate::web::xrpc(502, BodyClass::Html, "<html>").http(Role::Target, STREAM, said);
    down.never_says(Code::ProxyWsUpgradeStripped);
}
