//! Healthy worlds, plain and odd: no cause at all.

use pdsdoctor::diagnose::Verdict;
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{FactBody, FailureKind, ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    par_fact::ParArm,
};

use crate::world::*;

#[test]
fn a_healthy_pds() {
    let judged = healthy().is_well();
    assert!(judged.diagnosis.healthy.len() >= 5, "{:?}", judged.diagnosis.healthy);
    assert!(judged.diagnosis.ruled_out.is_empty(), "only of interest where something is wrong");
}

#[test]
fn ipv4_only() {
    let v6 = [PDS_V6, REF_V6, APP_V6].map(ip);
    let world = healthy()
        .without(|fact| match &fact.body {
            FactBody::Connect(body) => v6.contains(&body.addr),
            FactBody::Tls(body) => v6.contains(&body.addr),
            FactBody::Http(body) => body.addr.is_some_and(|addr| v6.contains(&addr)),
            _ => false,
        })
        .each(|fact| match &mut fact.body {
            FactBody::Dns(body) if body.record_type == RecordType::Aaaa => {
                body.outcome = DnsOutcome::NoData;
                body.records.clear();
            }
            FactBody::SystemDns(body) => body.addresses.retain(std::net::IpAddr::is_ipv4),
            _ => {}
        });
    world.is_well();
}

#[test]
fn far_away() {
    healthy()
        .each(|fact| {
            fact.took_ms += match &fact.body {
                FactBody::Connect(_) | FactBody::Tls(_) | FactBody::Http(_) => 400,
                FactBody::Par(_) => 1_200,
                _ => 0,
            };
        })
        .is_well();
}

#[test]
fn without_anything_to_compare_with() {
    healthy().without_reference().is_well();
    healthy().with_entryway().is_well();
}

/// Everything under one certificate and one proxy: a wildcard for handles, no on-demand issuance.
#[test]
fn behind_nginx_with_a_wildcard_certificate() {
    let world = healthy().tls(SAMPLE, |tls| {
        tls.failure = None;
        tls.alert = None;
        tls.certificate = Some(certificate(&[PDS, "*.pds.example.com"]));
    });
    world
        .http(Role::Target, HttpPurpose::Health, |body| {
            body.headers.insert("server".to_owned(), t("nginx"));
        })
        .is_well();
}

/// A CDN's addresses and headers, the same for every name.
#[test]
fn behind_a_cdn() {
    healthy()
        .each(|fact| match &mut fact.body {
            FactBody::Http(body) => {
                body.headers.insert("server".to_owned(), t("cloudflare"));
                body.headers.insert("via".to_owned(), t("1.1 varnish"));
            }
            FactBody::Tls(body) if body.sni.as_str() == SAMPLE => {
                body.failure = None;
                body.alert = None;
                body.certificate = Some(certificate(&["example.com", "*.pds.example.com"]));
            }
            _ => {}
        })
        .is_well();
}

/// Nothing but the name of the PDS: no handle domain, and accounts with domains of their own.
#[test]
fn only_handles_of_ones_own() {
    let world = healthy()
        .http(Role::Target, HttpPurpose::DescribeServer, |body| {
            body.content = Some(Content::DescribeServer {
                did: Some(t("did:web:pds.example.com")),
                available_user_domains: vec![],
            });
        })
        .without(|fact| fact.probe == ProbeName::Handles)
        .with(|world| world.account("bob.example.org", ALICE_DID, &[], Some(&format!("did={ALICE_DID}"))));
    world.is_well();
}

/// The domain is still offered and has no wildcard, but nobody uses it: it waits for the next account.
#[test]
fn an_unused_handle_domain_is_a_risk_at_most() {
    let world = healthy()
        .without(|fact| match &fact.body {
            FactBody::Dns(body) => body.role == Role::HostedHandle,
            FactBody::Http(body) => {
                body.purpose == HttpPurpose::AtprotoDid || body.purpose == HttpPurpose::DescribeRepo
            }
            _ => false,
        })
        .unnamed(SAMPLE, DnsOutcome::NxDomain)
        .with(|world| world.account("bob.example.org", ALICE_DID, &[], Some(&format!("did={ALICE_DID}"))));
    assert_eq!(world.judge().verdict(), Verdict::Risk, "{}", world.judge().show());
}

#[test]
fn no_accounts_at_all() {
    let world = healthy().without(|fact| match &fact.body {
        FactBody::Dns(body) => body.role == Role::HostedHandle,
        FactBody::Tls(body) => body.role == Role::HostedHandle,
        FactBody::Http(body) => {
            matches!(body.purpose, HttpPurpose::AtprotoDid | HttpPurpose::DescribeRepo | HttpPurpose::ListRepos)
        }
        _ => false,
    });
    world.is_well();
}

/// The apex is a web site elsewhere, the PDS a name under it.
#[test]
fn the_apex_is_somewhere_else() {
    let world = healthy().with(|world| {
        let txt = dns(Role::Target, DnsPurpose::Caa, "example.com", RecordType::Caa, &["0 issue \"letsencrypt.org\""]);
        world.push(ProbeName::Dns, 20, FactBody::Dns(txt));
    });
    world.is_well();
}

fn all_arms(answer: (u16, &str, &str)) -> World {
    ARMS.iter().fold(healthy(), |world, arm| world.par(Role::Target, *arm, answer, 90))
}

/// The other implementations, as their source has it (read at
/// haileyok/cocoon, blacksky-algorithms/rsky, futurGH/pegasus and tranquil-pds).
#[test]
fn other_implementations_are_healthy() {
    for (version, localhost, busted, named) in [
        ("cocoon v0.9.0", (400, "InvalidRequest", ""), (400, "InvalidRequest", ""), (400, "InvalidRequest", "")),
        (
            "0.3.0-rsky",
            (400, "invalid_request", "PKCE code_challenge is required"),
            (400, "invalid_client_metadata", "client_id does not match"),
            (401, "invalid_client", "client_assertion is required"),
        ),
        (
            "tranquil 0.2.1",
            (400, "invalid_request", "code_challenge is required"),
            (400, "invalid_client", "client_id does not match the metadata document"),
            (401, "invalid_client", "client_assertion required for private_key_jwt"),
        ),
        (
            "6f1ed002ab5595859014ebf0951522d9",
            (401, "use_dpop_nonce", "authorization server requires nonce in dpop proof"),
            (401, "use_dpop_nonce", "authorization server requires nonce in dpop proof"),
            (401, "use_dpop_nonce", "authorization server requires nonce in dpop proof"),
        ),
    ] {
        let world = healthy()
            .http(Role::Target, HttpPurpose::Health, |body| {
                body.content = Some(Content::Health { version: t(version) });
            })
            .par(Role::Target, ParArm::Localhost, localhost, 90)
            .par(Role::Target, ParArm::CacheBusted, busted, 180)
            .par(Role::Target, ParArm::AsNamed, named, 180);
        let judged = world.is_well();
        let unsaid = judged.diagnosis.not_measured.iter().any(|missing| missing.probe == ProbeName::Par);
        assert_eq!(unsaid, busted == named, "{version}: a refusal before the client is looked at is not a pass");
    }
}

/// Localhost clients are encouraged and optional.
#[test]
fn a_pds_that_refuses_localhost_clients() {
    for answer in [
        (400, "invalid_client_metadata", "Invalid client ID \"http://localhost\""),
        (400, "invalid_client_id", "The client_id's TLD must not be a local hostname"),
        (401, "invalid_client", "localhost clients are not allowed"),
        (400, "invalid_request", "Loopback clients are disabled"),
    ] {
        healthy().par(Role::Target, ParArm::Localhost, answer, 20).is_well();
    }
}

#[test]
fn rate_limited_pars_are_no_fault() {
    all_arms((429, "RateLimitExceeded", "Rate Limit Exceeded")).is_well();
}

#[test]
fn one_dead_address_of_the_application_is_the_applications() {
    healthy().closed(APP_V6, FailureKind::Timeout, 4_000).is_well();
    healthy().closed(REF_V6, FailureKind::Timeout, 4_000).is_well();
}

/// Another handle that is only somebody's name is no business of the PDS.
#[test]
fn a_name_that_was_only_tried_as_a_handle() {
    let world = healthy().with(|world| {
        let txt = dns(Role::Handle, DnsPurpose::HandleTxt, &format!("_atproto.{PDS}"), RecordType::Txt, &[]);
        world.push(ProbeName::Identity, 20, FactBody::Dns(txt));
    });
    world.is_well();
}
