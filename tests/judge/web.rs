//! What answers over HTTPS: proxies, other servers, clocks, OAuth documents.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, ProbeName, Role},
    http_fact::{BodyClass, Content, HttpFact, HttpPurpose},
    par_fact::ParArm,
};

use crate::world::*;

/// Every XRPC request to the PDS's name gets this; there is nothing beyond.
pub(crate) fn xrpc(status: u16, class: BodyClass, excerpt: &'static str) -> World {
    let world = healthy().without(|fact| {
        matches!(fact.probe, ProbeName::Handles)
            || matches!(fact.probe, ProbeName::OauthDiscovery | ProbeName::Par)
                && match &fact.body {
                    FactBody::Http(body) => body.role == Role::Target,
                    FactBody::Par(body) => body.role == Role::Target,
                    _ => false,
                }
    });
    [HttpPurpose::Health, HttpPurpose::DescribeServer]
        .into_iter()
        .fold(world, |world, purpose| world.http(Role::Target, purpose, |body| answer(body, status, class, excerpt)))
}

pub(crate) fn own_error(body: &mut HttpFact, status: u16, error: &str) {
    answer(body, status, BodyClass::Json, "{\"error\"");
    body.content = Some(Content::XrpcError { error: t(error), message: None });
}

#[test]
fn the_pds_behind_the_proxy_is_down() {
    for status in [502, 503, 504, 521, 530] {
        let judged = xrpc(status, BodyClass::Html, "<html>").finds(
            Code::ProxyUpstreamDown,
            Impact::Broken,
            Confidence::Confirmed,
        );
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    }
    xrpc(502, BodyClass::Empty, "").without_reference().finds(
        Code::ProxyUpstreamDown,
        Impact::Broken,
        Confidence::Confirmed,
    );
}

#[test]
fn the_pdss_own_errors_are_not_the_proxys() {
    for (status, error) in [(503, "NotReady"), (500, "InternalServerError")] {
        let world = [HttpPurpose::Health, HttpPurpose::DescribeServer]
            .into_iter()
            .fold(xrpc(status, BodyClass::Json, "{"), |world, purpose| {
                world.http(Role::Target, purpose, |body| own_error(body, status, error))
            });
        world.never_says(Code::ProxyUpstreamDown);
        world.never_says(Code::HostNotAPds);
        world.finds(Code::PdsNotAnswering, Impact::Broken, Confidence::Likely);
    }
}

#[test]
fn the_proxy_redirects_the_api() {
    let redirect = |world: World| {
        [HttpPurpose::Health, HttpPurpose::DescribeServer].into_iter().fold(world, |world, purpose| {
            world.http(Role::Target, purpose, |body| {
                body.headers.insert("location".to_owned(), t("https://www.example.com/"));
            })
        })
    };
    let world = redirect(xrpc(301, BodyClass::Html, "<html>"));
    world.finds(Code::ProxyRedirectsApi, Impact::Broken, Confidence::Confirmed);
    world.without_reference().finds(Code::ProxyRedirectsApi, Impact::Broken, Confidence::Likely);
}

/// A redirect from port 80 to HTTPS is what every good proxy does.
#[test]
fn a_redirect_on_port_80_is_nothing() {
    healthy().never_says(Code::ProxyRedirectsApi);
    healthy().http(Role::Target, HttpPurpose::PlainPort80, |body| no_answer(body, FailureKind::Timeout)).is_well();
}

#[test]
fn another_server_answers() {
    let judged = xrpc(404, BodyClass::Html, "<html>").finds(Code::HostNotAPds, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    for contrast in &judged.diagnosis.causes[0].contrast {
        assert!(contrast.what.contains("_health"), "the reference was asked for _health: {contrast:?}");
    }
    xrpc(200, BodyClass::Html, "<html>").without_reference().finds(
        Code::HostNotAPds,
        Impact::Broken,
        Confidence::Likely,
    );
}

/// Whom a bot check stops is not known from one place.
#[test]
fn a_bot_check_is_not_proven_for_everybody() {
    let world = [HttpPurpose::Health, HttpPurpose::DescribeServer].into_iter().fold(
        xrpc(403, BodyClass::Html, "<html>"),
        |world, purpose| {
            world.http(Role::Target, purpose, |body| {
                body.headers.insert("cf-mitigated".to_owned(), t("challenge"));
            })
        },
    );
    world.finds(Code::HostNotAPds, Impact::Broken, Confidence::Likely);
}

#[test]
fn no_answer_after_the_handshake() {
    for kind in [FailureKind::Timeout, FailureKind::Closed, FailureKind::NotHttp, FailureKind::TooLarge] {
        let world = [HttpPurpose::Health, HttpPurpose::DescribeServer]
            .into_iter()
            .fold(xrpc(200, BodyClass::Empty, ""), |world, purpose| {
                world.http(Role::Target, purpose, |body| no_answer(body, kind))
            });
        world.finds(Code::PdsNotAnswering, Impact::Broken, Confidence::Likely);
    }
}

pub(crate) fn clock(world: World, roles: &[Role], offset_ms: i64) -> World {
    world.each(|fact| {
        if let FactBody::Http(body) = &mut fact.body
            && roles.contains(&body.role)
        {
            body.date_offset_ms = Some(offset_ms);
        }
    })
}

pub(crate) const OTHERS: [Role; 2] = [Role::Reference, Role::Client];

#[test]
fn the_pdss_clock_is_off() {
    for (offset, impact) in
        [(-20_000, Impact::Risk), (60_000, Impact::Degraded), (-600_000, Impact::Broken), (i64::MIN, Impact::Broken)]
    {
        clock(healthy(), &[Role::Target], offset).finds(Code::HostClockSkew, impact, Confidence::Confirmed);
    }
}

#[test]
fn this_machines_clock_is_off() {
    for offset in [-600_000, 600_000, 10_000] {
        clock(clock(healthy(), &[Role::Target], offset), &OTHERS, offset).is_well();
    }
}

#[test]
fn two_clocks_alone_prove_nothing() {
    let world = clock(healthy(), &[Role::Target], -600_000)
        .without_reference()
        .without(|fact| matches!(&fact.body, FactBody::Http(body) if body.role == Role::Client));
    world.finds(Code::HostClockSkew, Impact::Risk, Confidence::Possible);
}

/// A reference of the user's own whose clock is wrong, or a page from a cache with the date of its
/// making: this machine's clock and the PDS's agree.
#[test]
fn the_odd_clock_is_the_other_one() {
    let one = clock(healthy(), &[Role::Client], -7_200_000);
    one.is_well();
    let only = clock(healthy(), &[Role::Reference], 600_000)
        .without(|fact| matches!(&fact.body, FactBody::Http(body) if body.role == Role::Client));
    assert!(only.judge().verdict() <= Verdict::Risk, "{}", only.judge().show());
}

/// A document that a CDN keeps carries the date of its making.
#[test]
fn a_cached_document_does_not_carry_the_pdss_clock() {
    healthy()
        .http(Role::Target, HttpPurpose::ProtectedResource, |body| body.date_offset_ms = Some(-3_600_000))
        .http(Role::Target, HttpPurpose::AuthorizationServer, |body| body.date_offset_ms = Some(-3_600_000))
        .is_well();
}

pub(crate) fn documents(change: impl Fn(&mut HttpFact)) -> World {
    [HttpPurpose::ProtectedResource, HttpPurpose::AuthorizationServer]
        .into_iter()
        .fold(healthy(), |world, purpose| world.http(Role::Target, purpose, &change))
        .without(|fact| matches!(&fact.body, FactBody::Par(body) if body.role == Role::Target))
}

#[test]
fn the_proxy_does_not_pass_the_oauth_routes() {
    let world = documents(|body| answer(body, 404, BodyClass::Html, "<html>nginx"));
    world.finds(Code::ProxyOauthRoutesMissing, Impact::Broken, Confidence::Confirmed);
    world.without_reference().finds(Code::ProxyOauthRoutesMissing, Impact::Broken, Confidence::Likely);
}

/// Another implementation may not have the routes at all.
#[test]
fn an_implementation_without_oauth_is_not_proof_against_the_proxy() {
    let other = documents(|body| answer(body, 404, BodyClass::Text, "not found")).http(
        Role::Target,
        HttpPurpose::Health,
        |body| body.content = Some(Content::Health { version: t("cocoon 0.3") }),
    );
    other.finds(Code::ProxyOauthRoutesMissing, Impact::Broken, Confidence::Likely);
    for (class, excerpt) in
        [(BodyClass::Text, "Cannot GET /.well-known/x"), (BodyClass::Json, "{\"error\":\"NotFound\"}")]
    {
        let own = documents(|body| answer(body, 404, class, excerpt));
        own.never_says(Code::ProxyOauthRoutesMissing);
        own.finds(Code::OauthDiscoveryFails, Impact::Broken, Confidence::Likely);
    }
}

/// Each of the two documents is needed by every app, whatever comes in its place.
#[test]
fn one_document_alone_is_missing() {
    for purpose in [HttpPurpose::ProtectedResource, HttpPurpose::AuthorizationServer] {
        for (status, class) in
            [(404, BodyClass::Html), (404, BodyClass::Empty), (200, BodyClass::Html), (403, BodyClass::Text)]
        {
            let judged = healthy().http(Role::Target, purpose, |body| answer(body, status, class, "<html>")).finds(
                Code::ProxyOauthRoutesMissing,
                Impact::Broken,
                Confidence::Confirmed,
            );
            assert!(judged.diagnosis.differs.is_empty(), "the cause explains it: {:?}", judged.diagnosis.differs);
        }
        // In the PDS's own words it is the PDS's matter.
        let own = healthy().http(Role::Target, purpose, |body| answer(body, 404, BodyClass::Text, "Cannot GET /x"));
        own.finds(Code::OauthDiscoveryFails, Impact::Broken, Confidence::Likely);
    }
}

#[test]
fn the_documents_cannot_be_had() {
    documents(|body| answer(body, 500, BodyClass::Text, "Internal Server Error")).finds(
        Code::OauthDiscoveryFails,
        Impact::Broken,
        Confidence::Likely,
    );
    documents(|body| no_answer(body, FailureKind::Timeout)).finds(
        Code::OauthDiscoveryFails,
        Impact::Broken,
        Confidence::Likely,
    );
}

pub(crate) fn server(change: impl Fn(&mut pdsdoctor_probes::http_fact::AuthorizationServerContent)) -> World {
    healthy().http(Role::Target, HttpPurpose::AuthorizationServer, |body| {
        if let Some(Content::AuthorizationServer(document)) = &mut body.content {
            change(document);
        }
    })
}

#[test]
fn the_pds_thinks_it_lives_elsewhere() {
    server(|document| document.issuer = Some(t("https://localhost:2583"))).finds(
        Code::OauthDevOriginMismatch,
        Impact::Broken,
        Confidence::Confirmed,
    );
    let wrong = "https://wrong.example.net";
    let world = healthy()
        .http(Role::Target, HttpPurpose::ProtectedResource, |body| {
            body.content =
                Some(Content::ProtectedResource { resource: Some(t(wrong)), authorization_servers: vec![t(wrong)] });
        })
        .http(Role::Target, HttpPurpose::AuthorizationServer, |body| {
            body.content = Some(Content::AuthorizationServer(Box::new(metadata(wrong))));
        });
    world.finds(Code::OauthDevOriginMismatch, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn metadata_that_breaks_the_profile() {
    server(|document| document.pushed_authorization_request_endpoint = None).finds(
        Code::OauthMetadataInvalid,
        Impact::Broken,
        Confidence::Likely,
    );
    server(|document| document.client_id_metadata_document_supported = None).finds(
        Code::OauthMetadataInvalid,
        Impact::Broken,
        Confidence::Likely,
    );
    // The reference client never looks at these; strict ones do.
    server(|document| document.token_endpoint_auth_signing_alg_values_supported = None).finds(
        Code::OauthMetadataInvalid,
        Impact::Degraded,
        Confidence::Likely,
    );
}

pub(crate) const ENTRYWAY: &str = "https://login.example.net";

/// A PDS that leaves logins to an entryway mounts no OAuth routes of its own.
pub(crate) fn with_own_entryway() -> World {
    healthy()
        .http(Role::Target, HttpPurpose::ProtectedResource, |body| {
            body.content = Some(Content::ProtectedResource {
                resource: Some(t("https://pds.example.com")),
                authorization_servers: vec![t(ENTRYWAY)],
            });
        })
        .http(Role::Target, HttpPurpose::AuthorizationServer, |body| {
            answer(body, 404, BodyClass::Text, "Cannot GET /.well-known/oauth-authorization-server");
        })
        .with(|world| {
            let url = format!("{ENTRYWAY}/.well-known/oauth-authorization-server");
            let content = Content::AuthorizationServer(Box::new(metadata(ENTRYWAY)));
            let body = http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer, &url, "5.9.77.1", Some(content));
            world.push(ProbeName::OauthDiscovery, 90, FactBody::Http(body));
        })
}

#[test]
fn an_authorization_server_on_another_host_is_healthy() {
    with_own_entryway().is_well();
}

/// It knows its own address, and leaves its logins to another: not that it thinks it lives there, whatever else it serves.
#[test]
fn an_authorization_server_elsewhere_beside_a_document_of_its_own() {
    for own in ["https://pds.example.com", ENTRYWAY] {
        let serves_one = |world: World| {
            world.http(Role::Target, HttpPurpose::AuthorizationServer, move |body| {
                body.status = Some(200);
                body.body.as_mut().unwrap().class = BodyClass::Expected;
                body.content = Some(Content::AuthorizationServer(Box::new(metadata(own))));
            })
        };
        serves_one(with_own_entryway()).is_well();
        // That server was not asked: nothing is known, and nothing said.
        let unasked = serves_one(with_own_entryway())
            .without(|fact| matches!(&fact.body, FactBody::Http(body) if body.role == Role::TargetAuthServer));
        unasked.never_says(Code::OauthDevOriginMismatch);
        let silent =
            serves_one(with_own_entryway()).http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer, |body| {
                no_answer(body, FailureKind::Timeout)
            });
        silent.never_says(Code::OauthDevOriginMismatch);
        silent.finds(Code::OauthDiscoveryFails, Impact::Broken, Confidence::Likely);
    }
    // Its document is of a third.
    let third = with_own_entryway().http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer, |body| {
        body.content = Some(Content::AuthorizationServer(Box::new(metadata("https://third.example.org"))));
    });
    third.never_says(Code::OauthDevOriginMismatch);
    third.finds(Code::OauthMetadataInvalid, Impact::Broken, Confidence::Likely);
}

#[test]
fn an_authorization_server_elsewhere_that_is_silent() {
    let world = with_own_entryway()
        .http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer, |body| no_answer(body, FailureKind::Timeout))
        .without(|fact| matches!(&fact.body, FactBody::Par(body) if body.role == Role::Target));
    world.never_says(Code::OauthDevOriginMismatch);
    world.finds(Code::OauthDiscoveryFails, Impact::Broken, Confidence::Likely);
}

#[test]
fn par_does_not_reach_the_pds() {
    let world =
        crate::facts::ARMS.iter().fold(healthy(), |world, arm| world.par(Role::Target, *arm, (404, "", ""), 20));
    let world = world.each(|fact| {
        if let FactBody::Par(body) = &mut fact.body
            && body.role == Role::Target
        {
            body.content_type = Some(t("text/html"));
        }
    });
    world.finds(Code::ProxyOauthRoutesMissing, Impact::Broken, Confidence::Confirmed);
    world.without_reference().finds(Code::ProxyOauthRoutesMissing, Impact::Broken, Confidence::Likely);
    // Text with status 400 is how some implementations refuse.
    let text = healthy().par(Role::Target, ParArm::Localhost, (400, "", ""), 20).each(|fact| {
        if let FactBody::Par(body) = &mut fact.body
            && body.arm == ParArm::Localhost
        {
            body.content_type = Some(t("text/plain"));
        }
    });
    text.is_well();
}

#[test]
fn par_fails_in_the_pds_itself() {
    healthy().par(Role::Target, ParArm::Localhost, (500, "server_error", "Server error"), 20).finds(
        Code::LoginParFails,
        Impact::Broken,
        Confidence::Likely,
    );
}
