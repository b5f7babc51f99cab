//! This side first: where it cannot measure, nothing is said about the PDS.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    dns_fact::DnsOutcome,
    fact::{FactBody, FailureKind, Family, ProbeName, Role},
    record::Ended,
    tls_fact::PathVerdict,
};

use crate::world::*;

pub(crate) fn all_names_fail(outcome: DnsOutcome) -> World {
    let world = healthy().without(|fact| {
        !matches!(
            fact.body,
            FactBody::Dns(_) | FactBody::SystemDns(_) | FactBody::OwnNetwork(_) | FactBody::Resolver(_)
        )
    });
    let names: Vec<String> = world
        .run
        .facts
        .iter()
        .filter_map(|fact| match &fact.body {
            FactBody::Dns(body) => Some(body.name.to_string()),
            _ => None,
        })
        .collect();
    names.iter().fold(world, |world, name| {
        world.unnamed(name, outcome).dns(name, |dns| {
            dns.outcome = outcome;
            dns.records.clear();
        })
    })
}

pub(crate) fn every_connect(world: World, kind: FailureKind) -> World {
    world
        .each(|fact| {
            if let FactBody::Connect(body) = &mut fact.body {
                body.failure = Some(fail(kind));
            }
        })
        .without(|fact| matches!(fact.body, FactBody::Tls(_) | FactBody::Http(_) | FactBody::Par(_)))
        .without(|fact| fact.probe == ProbeName::Handles)
}

pub(crate) fn without_routes(world: World) -> World {
    world.each(|fact| {
        if let FactBody::OwnNetwork(body) = &mut fact.body {
            body.source = None;
            body.failure = Some(fail(FailureKind::NetworkUnreachable));
        }
    })
}

#[test]
fn no_route_at_all() {
    let world = without_routes(all_names_fail(DnsOutcome::Unreachable));
    let judged = world.finds(Code::ThisSideNoNetwork, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.verdict(), Verdict::Inconclusive);
    assert_eq!(judged.diagnosis.causes.len(), 1);
}

#[test]
fn a_pds_on_this_machine_needs_no_route() {
    without_routes(healthy()).is_well();
}

/// Whatever way the connections fail: where two hosts that are known to work cannot be reached
/// either, the PDS is not accused. A network that lets nobody out but through a proxy refuses.
#[test]
fn nothing_at_all_can_be_reached() {
    for kind in [
        FailureKind::Timeout,
        FailureKind::HostUnreachable,
        FailureKind::NetworkUnreachable,
        FailureKind::Prohibited,
        FailureKind::Refused,
        FailureKind::Reset,
    ] {
        let judged = every_connect(healthy(), kind).finds(Code::ThisSideNoNetwork, Impact::Broken, Confidence::Likely);
        assert_eq!(judged.verdict(), Verdict::Inconclusive, "{kind}");
    }
}

#[test]
fn one_other_host_that_answers_is_a_network() {
    let world = every_connect(healthy(), FailureKind::Timeout).each(|fact| {
        if let FactBody::Connect(body) = &mut fact.body
            && body.role == Role::Reference
        {
            body.failure = None;
        }
    });
    world.never_says(Code::ThisSideNoNetwork);
}

#[test]
fn the_resolver_is_broken() {
    for outcome in [DnsOutcome::Timeout, DnsOutcome::Unreachable, DnsOutcome::ServFail, DnsOutcome::Refused] {
        let judged = all_names_fail(outcome).finds(Code::ThisSideResolverBroken, Impact::Broken, Confidence::Confirmed);
        assert_eq!(judged.verdict(), Verdict::Inconclusive);
    }
}

#[test]
fn a_zone_that_fails_is_not_a_broken_resolver() {
    healthy().unnamed(PDS, DnsOutcome::ServFail).only_up_to_tls().never_says(Code::ThisSideResolverBroken);
}

/// Port 53 is closed to the outside here, and getaddrinfo goes another way (DNS over TLS, a daemon).
#[test]
fn getaddrinfo_works_where_direct_questions_do_not() {
    let world = healthy().each(|fact| {
        if let FactBody::Dns(body) = &mut fact.body {
            body.outcome = DnsOutcome::Timeout;
            body.records.clear();
        }
    });
    world.is_well();
}

pub(crate) fn intercepted(world: World, by_system: PathVerdict) -> World {
    [PDS, REF, ALICE].iter().fold(world, |world, name| {
        world.cert(name, |cert| {
            cert.issuer = t("CN=Corporate Proxy CA");
            cert.chain_subjects.clear();
            cert.chain_length = 1;
            cert.public_ca_marks = false;
            cert.trust_mozilla = PathVerdict::UnknownIssuer;
            cert.trust_system = by_system;
        })
    })
}

#[test]
fn tls_is_intercepted() {
    let judged = intercepted(healthy(), PathVerdict::UnknownIssuer).finds(
        Code::ThisSideTlsIntercepted,
        Impact::Broken,
        Confidence::Likely,
    );
    assert_eq!(judged.verdict(), Verdict::Inconclusive);
}

/// A company's root in this machine's store, or a lab's: the issuer is not judged, all else is.
#[test]
fn interception_that_this_machine_trusts_is_no_fault() {
    let judged = intercepted(healthy(), PathVerdict::Trusted).is_well();
    assert!(judged.diagnosis.not_measured.iter().any(|missing| missing.probe == ProbeName::Tls));
}

/// `--ca-cert`, and an `SSL_CERT_FILE` of the user's own.
#[test]
fn a_root_that_the_user_named_is_a_root() {
    let world = intercepted(healthy(), PathVerdict::Trusted);
    [PDS, REF, ALICE].iter().fold(world, |world, name| world.cert(name, |cert| cert.trust_given = true)).is_well();
}

/// Two private servers, each signed by itself, are no interception.
#[test]
fn a_reference_of_the_users_own_with_a_private_ca() {
    let own = |name: &'static str| {
        move |cert: &mut pdsdoctor_probes::tls_fact::CertificateFact| {
            cert.issuer = t(&format!("CN={name} own CA"));
            cert.chain_subjects.clear();
            cert.public_ca_marks = false;
            cert.trust_mozilla = PathVerdict::UnknownIssuer;
            cert.trust_system = PathVerdict::UnknownIssuer;
        }
    };
    let world = healthy().cert(PDS, own(PDS)).cert(REF, own(REF));
    world.never_says(Code::ThisSideTlsIntercepted);
    world.finds(Code::TlsInternalOrDefaultCa, Impact::Broken, Confidence::Likely);
}

#[test]
fn ipv6_that_works_for_nobody_here_is_not_the_targets() {
    let world =
        [PDS_V6, REF_V6, APP_V6].iter().fold(healthy(), |world, addr| world.closed(addr, FailureKind::Timeout, 4_000));
    let judged = world.is_well();
    assert!(judged.diagnosis.not_measured.iter().any(|missing| missing.why.contains("IPv6")));
}

#[test]
fn a_run_cut_short_is_not_a_clean_bill() {
    let mut world = healthy()
        .without(|fact| !matches!(fact.body, FactBody::OwnNetwork(_) | FactBody::Resolver(_) | FactBody::Dns(_)));
    world.run.ended = Ended::TimeLimit;
    assert_eq!(world.judge().verdict(), Verdict::Inconclusive);
}

#[test]
fn a_machine_with_one_family_only_judges_by_that() {
    for (lost, gone) in [(Family::V6, [PDS_V6, REF_V6, APP_V6]), (Family::V4, [PDS_V4, REF_V4, APP_V4])] {
        let world = healthy()
            .each(|fact| match &mut fact.body {
                FactBody::OwnNetwork(body) if body.family == lost => body.source = None,
                FactBody::Http(body) if body.addr.is_some_and(|addr| Family::of(addr) == lost) => {
                    body.addr = None;
                }
                _ => {}
            })
            .without(|fact| match &fact.body {
                FactBody::Connect(body) => gone.iter().any(|addr| body.addr == ip(addr)),
                FactBody::Tls(body) => gone.iter().any(|addr| body.addr == ip(addr)),
                _ => false,
            });
        world.is_well();
    }
}
