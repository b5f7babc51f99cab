//! What was left alone because only a document names it: nothing is concluded of it.

use pdsdoctor_probes::{
    contact_fact::{NotAsked, NotAskedFact},
    fact::{FactBody, ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    record::TargetKind,
};

use crate::world::*;

fn left_alone(role: Role, host: &str, addr: Option<&str>, reason: NotAsked) -> FactBody {
    FactBody::NotAsked(NotAskedFact { role, host: t(host), port: 443, addr: addr.map(ip), reason })
}

/// The PDS leaves logins to a server at an inner address, and has no document of its own.
#[test]
fn a_login_server_that_was_not_asked_is_not_said_to_be_silent() {
    for reason in [NotAsked::NotPublic, NotAsked::Port, NotAsked::ThirdParty, NotAsked::TooMany] {
        let mut world = healthy();
        world.run.facts.retain(|fact| !matches!(&fact.body, FactBody::Par(fact) if fact.role == Role::Target));
        for fact in &mut world.run.facts {
            let FactBody::Http(http) = &mut fact.body else { continue };
            match (http.role, http.purpose) {
                (Role::Target, HttpPurpose::AuthorizationServer) => {
                    http.status = Some(404);
                    http.content = None;
                }
                (Role::Target, HttpPurpose::ProtectedResource) => {
                    let Some(Content::ProtectedResource { authorization_servers, .. }) = &mut http.content else {
                        continue;
                    };
                    *authorization_servers = vec![t("https://auth.example.org")];
                }
                _ => {}
            }
        }
        let fact = left_alone(Role::TargetAuthServer, "auth.example.org", Some("169.254.169.254"), reason);
        world.push(ProbeName::OauthDiscovery, 0, fact);
        let seen = world.judge().diagnosis;
        assert!(seen.causes.is_empty(), "{reason}: {:?}", seen.causes);
        assert!(!seen.headline.contains("healthy"), "{reason}: {}", seen.headline);
    }
}

#[test]
fn a_handle_whose_host_was_not_asked_is_not_said_to_be_unverified() {
    let mut world = healthy();
    let handle = "zoe.example.org";
    world.account(handle, "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz", &["10.0.0.7"], None);
    let about = |name: &str| name.contains(handle);
    world.run.facts.retain(|fact| match &fact.body {
        FactBody::Connect(fact) => !about(&fact.host),
        FactBody::Tls(fact) => !about(&fact.sni),
        FactBody::Http(fact) => fact.purpose != HttpPurpose::AtprotoDid || !about(&fact.url),
        _ => true,
    });
    world.push(ProbeName::Handles, 0, left_alone(Role::HostedHandle, handle, Some("10.0.0.7"), NotAsked::NotPublic));
    let seen = world.judge().diagnosis;
    assert!(seen.causes.iter().all(|cause| cause.scope.host.as_deref() != Some(handle)), "{:?}", seen.causes);
}

/// A DID leads to a PDS at an inner address: it may be the user's own network, or a trap.
#[test]
fn a_pds_that_only_a_document_names_is_not_judged() {
    let mut world = healthy();
    world.run.facts.retain(|fact| match &fact.body {
        FactBody::Connect(fact) => fact.role != Role::Target,
        FactBody::Tls(fact) => fact.role != Role::Target,
        FactBody::Http(fact) => fact.role != Role::Target,
        FactBody::Par(fact) => fact.role != Role::Target,
        _ => true,
    });
    world.run.target.kind = TargetKind::Did;
    world.run.target.did = Some(t("did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"));
    for fact in &mut world.run.facts {
        match &mut fact.body {
            FactBody::Dns(dns) if dns.role == Role::Target => {
                dns.server = "192.168.1.1:53".parse().unwrap();
                for record in &mut dns.records {
                    if record.as_str() == PDS_V4 {
                        *record = t("10.0.0.5");
                    }
                    if record.as_str() == PDS_V6 {
                        *record = t("fd00::5");
                    }
                }
            }
            FactBody::SystemDns(dns) if dns.role == Role::Target => dns.addresses = vec![ip("10.0.0.5")],
            _ => {}
        }
    }
    for addr in ["10.0.0.5", "fd00::5"] {
        world.push(ProbeName::Dns, 0, left_alone(Role::Target, PDS, Some(addr), NotAsked::NotPublic));
    }
    let seen = world.judge().diagnosis;
    assert_eq!(seen.verdict.to_string(), "inconclusive", "{}", seen.headline);
    // Where the PDS's host itself could not even be looked up, the line says whose and why.
    world.run.facts.retain(|fact| !matches!(&fact.body, FactBody::Dns(_) | FactBody::SystemDns(_)));
    world.run.target.host = None;
    world.run.target.origin = None;
    let seen = world.judge().diagnosis;
    assert!(seen.headline.contains("was not asked") && seen.headline.contains(PDS), "{}", seen.headline);
}
