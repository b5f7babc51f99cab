//! Ports, families, and addresses that belong to another server.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{Fact, FactBody, FailureKind, Family, Role},
    http_fact::{BodyClass, Content, HttpPurpose},
};

use crate::world::*;

pub(crate) fn all_closed(kind: FailureKind, took_ms: u64) -> World {
    healthy()
        .closed(PDS_V4, kind, took_ms)
        .closed(PDS_V6, kind, took_ms)
        .without(|fact| matches!(&fact.body, FactBody::Http(body) if body.purpose == HttpPurpose::PlainPort80))
}

/// A machine with a public address: no router of its own stands between.
pub(crate) fn on_a_server(world: World) -> World {
    world.each(|fact| {
        if let FactBody::OwnNetwork(body) = &mut fact.body
            && body.family == Family::V4
        {
            body.source = Some(ip("88.99.1.1"));
        }
    })
}

#[test]
fn the_port_is_closed() {
    for kind in [FailureKind::Timeout, FailureKind::HostUnreachable, FailureKind::Prohibited] {
        let world = on_a_server(all_closed(kind, 4_000));
        let judged = world.finds(Code::FwPortsClosed, Impact::Broken, Confidence::Confirmed);
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
        assert!(judged.says(Code::PdsUnreachable));
    }
    let alone = all_closed(FailureKind::Timeout, 4_000)
        .without_reference()
        .without(|fact| matches!(&fact.body, FactBody::Connect(body) if body.role == Role::Client));
    alone.finds(Code::FwPortsClosed, Impact::Broken, Confidence::Likely);
}

/// From inside the same home network a router without NAT loopback looks just the same.
#[test]
fn behind_a_home_router_a_closed_port_is_not_proven() {
    all_closed(FailureKind::Timeout, 4_000)
        .without(|fact| matches!(&fact.body, FactBody::Connect(body) if body.addr == ip(PDS_V6)))
        .finds(Code::FwPortsClosed, Impact::Broken, Confidence::Likely);
}

#[test]
fn nothing_listens() {
    let world = on_a_server(all_closed(FailureKind::Refused, 20));
    world.finds(Code::SvcNotListening, Impact::Broken, Confidence::Confirmed);
    world.never_says(Code::FwPortsClosed);
}

/// A reference that refuses shows that packets pass, not that connections do.
#[test]
fn a_control_that_refused_is_not_said_to_have_connected() {
    let world = on_a_server(all_closed(FailureKind::Timeout, 4_000)).each(|fact| {
        if let FactBody::Connect(body) = &mut fact.body
            && body.role == Role::Reference
        {
            body.failure = Some(fail(FailureKind::Refused));
        }
    });
    let world = world.without(|fact| matches!(&fact.body, FactBody::Connect(body) if body.role == Role::Client));
    let judged = world.judge();
    for contrast in judged.diagnosis.causes.iter().flat_map(|cause| &cause.contrast) {
        assert!(!contrast.that.contains("connected"), "{contrast:?}");
    }
}

#[test]
fn ipv4_is_closed_and_ipv6_works() {
    let world = on_a_server(healthy().closed(PDS_V4, FailureKind::Timeout, 4_000));
    let judged = world.finds(Code::FwPortsClosed, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    on_a_server(healthy().closed(PDS_V4, FailureKind::Refused, 20)).finds(
        Code::SvcNotListening,
        Impact::Broken,
        Confidence::Confirmed,
    );
}

/// A laptop in the PDS's own network: IPv6 goes straight there, IPv4 would have to turn round at
/// the router (NAT hairpin, failure catalogue no. 27). Nothing is wrong with the PDS.
#[test]
fn nat_hairpin_from_the_same_network() {
    let world = healthy().closed(PDS_V4, FailureKind::Timeout, 4_000).each(|fact| {
        if let FactBody::OwnNetwork(body) = &mut fact.body
            && body.family == Family::V6
        {
            body.source = Some(ip("2a01:4f8:1:2:1234::20"));
        }
    });
    let judged = world.finds(Code::FwPortsClosed, Impact::Risk, Confidence::Possible);
    assert_eq!(judged.verdict(), Verdict::Risk);
}

#[test]
fn ipv6_is_closed() {
    for kind in [FailureKind::Timeout, FailureKind::Refused] {
        let judged =
            healthy().closed(PDS_V6, kind, 4_000).finds(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed);
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    }
}

#[test]
fn silence_on_ipv6_without_a_control_is_a_possibility() {
    let world = healthy()
        .closed(PDS_V6, FailureKind::Timeout, 4_000)
        .without_reference()
        .without(|fact| matches!(&fact.body, FactBody::Connect(body) if body.addr == ip(APP_V6)));
    let judged = world.finds(Code::V6InboundClosed, Impact::Risk, Confidence::Possible);
    assert_eq!(judged.diagnosis.causes.len(), 1, "one silent address is one cause: {}", judged.show());
    assert_eq!(judged.verdict(), Verdict::Risk);
}

#[test]
fn no_ipv6_here_says_nothing() {
    let unreachable = |fact: &mut Fact| match &mut fact.body {
        FactBody::Connect(body) if body.addr.is_ipv6() => body.failure = Some(fail(FailureKind::NetworkUnreachable)),
        _ => {}
    };
    healthy().closed(PDS_V6, FailureKind::NetworkUnreachable, 0).each(unreachable).is_well();
}

/// Other hosts are reached by IPv6: the word is a router's, about this one address.
#[test]
fn no_route_to_one_address() {
    let world = healthy().closed(PDS_V6, FailureKind::NetworkUnreachable, 12);
    let judged = world.finds(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed);
    assert!(judged.diagnosis.causes[0].seen[0].contains("a router says so"), "{}", judged.show());
}

pub(crate) fn only_v6() -> World {
    let gone = |addr: IpAddr| addr == ip(PDS_V4);
    healthy()
        .each(|fact| match &mut fact.body {
            FactBody::Dns(body)
                if body.record_type == RecordType::A && body.records.iter().any(|r| r.as_str() == PDS_V4) =>
            {
                body.records.clear();
                body.outcome = DnsOutcome::NoData;
            }
            FactBody::SystemDns(body) => body.addresses.retain(|addr| !gone(*addr)),
            FactBody::Http(body)
                if fact.probe == pdsdoctor_probes::fact::ProbeName::OauthDiscovery && body.addr == Some(ip(PDS_V4)) =>
            {
                body.addr = Some(ip(PDS_V6));
            }
            _ => {}
        })
        .without(|fact| match &fact.body {
            FactBody::Connect(body) => gone(body.addr),
            FactBody::Tls(body) => gone(body.addr),
            FactBody::Http(body) => body.addr.is_some_and(gone),
            _ => false,
        })
}

use std::net::IpAddr;

#[test]
fn only_ipv6() {
    only_v6().finds(Code::V6OnlyHost, Impact::Degraded, Confidence::Confirmed);
    only_v6().without_reference().finds(Code::V6OnlyHost, Impact::Degraded, Confidence::Confirmed);
    let without = only_v6().without(|fact| {
        matches!(&fact.body, FactBody::Connect(body) if body.addr == ip(PDS_V6))
            || matches!(&fact.body, FactBody::Tls(body) if body.addr == ip(PDS_V6))
            || matches!(&fact.body, FactBody::Http(body) if body.role == Role::Target)
            || matches!(&fact.body, FactBody::Par(body) if body.role == Role::Target)
    });
    without.finds(Code::V6OnlyHost, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn only_ipv6_is_not_said_where_the_a_record_could_not_be_asked() {
    let world = only_v6().each(|fact| {
        if let FactBody::Dns(body) = &mut fact.body
            && body.name.as_str() == PDS
            && body.record_type == RecordType::A
        {
            body.outcome = DnsOutcome::ServFail;
        }
    });
    world.never_says(Code::V6OnlyHost);
}

pub(crate) fn at_v6(world: World, status: u16, class: BodyClass) -> World {
    world.each(|fact| {
        if let FactBody::Http(body) = &mut fact.body
            && body.addr == Some(ip(PDS_V6))
            && matches!(body.purpose, HttpPurpose::Health | HttpPurpose::DescribeServer)
        {
            answer(body, status, class, "<html>");
        }
    })
}

pub(crate) fn other_certificate(world: World, addr: &'static str) -> World {
    world.each(|fact| {
        if let FactBody::Tls(body) = &mut fact.body
            && body.addr == ip(addr)
            && body.sni.as_str() == PDS
        {
            body.certificate = Some(certificate(&["old-box.example.net"]));
            body.certificate.as_mut().unwrap().name_matches = false;
        }
    })
}

#[test]
fn the_ipv6_address_is_another_servers() {
    let judged = other_certificate(at_v6(healthy(), 404, BodyClass::Html), PDS_V6).finds(
        Code::DnsStaleAaaa,
        Impact::Degraded,
        Confidence::Confirmed,
    );
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    at_v6(healthy(), 404, BodyClass::Html).finds(Code::DnsStaleAaaa, Impact::Degraded, Confidence::Confirmed);
    let other_pds = healthy().each(|fact| {
        if let FactBody::Http(body) = &mut fact.body
            && body.addr == Some(ip(PDS_V6))
            && let Some(Content::DescribeServer { did, .. }) = &mut body.content
        {
            *did = Some(t("did:web:old.example.net"));
        }
    });
    other_pds.finds(Code::DnsStaleAaaa, Impact::Degraded, Confidence::Confirmed);
}

#[test]
fn the_ipv4_address_is_another_servers() {
    let world = healthy().each(|fact| {
        if let FactBody::Http(body) = &mut fact.body
            && body.addr == Some(ip(PDS_V4))
            && matches!(body.purpose, HttpPurpose::Health | HttpPurpose::DescribeServer)
        {
            answer(body, 404, BodyClass::Html, "<html>");
        }
    });
    other_certificate(world, PDS_V4).finds(Code::DnsStaleA, Impact::Degraded, Confidence::Confirmed);
}

/// With the PDS's own valid certificate and an error of the moment it is no other server.
#[test]
fn an_error_at_one_address_is_not_another_server() {
    for status in [502, 503] {
        let world = at_v6(healthy(), status, BodyClass::Html);
        world.never_says(Code::DnsStaleAaaa);
        world.finds(Code::PdsNotAnswering, Impact::Degraded, Confidence::Likely);
    }
    at_v6(healthy(), 429, BodyClass::Html).is_well();
}

#[test]
fn both_addresses_at_one_pds_are_ruled_out_as_stale() {
    let judged = healthy().closed(APP_V4, FailureKind::Timeout, 4_000).judge();
    assert!(judged.diagnosis.causes.is_empty(), "{}", judged.show());
}

#[test]
fn one_of_two_ipv4_addresses_is_dead() {
    let world = healthy().with(|world| {
        for fact in &mut world.run.facts {
            match &mut fact.body {
                FactBody::Dns(body) if body.name.as_str() == PDS && body.record_type == RecordType::A => {
                    body.records.push(t("5.9.10.12"));
                }
                _ => {}
            }
        }
        world.connect(pdsdoctor_probes::fact::ProbeName::Tcp, Role::Target, PDS, "5.9.10.12");
        if let Some(FactBody::Connect(body)) = world.run.facts.last_mut().map(|fact| &mut fact.body) {
            body.failure = Some(fail(FailureKind::Timeout));
        }
    });
    world.finds(Code::AddressUnreachable, Impact::Degraded, Confidence::Likely);
}

/// Some name servers deny the whole name where only the type is missing (against RFC 8020): it is there all the same, in
/// whichever order and by whichever server it is said.
#[test]
fn a_name_server_that_denies_the_name_of_an_aaaa() {
    let denied = only_v6().each(|fact| match &mut fact.body {
        FactBody::Dns(body) if body.outcome == DnsOutcome::NoData && body.name.as_str() == PDS => {
            body.outcome = DnsOutcome::NxDomain;
        }
        _ => {}
    });
    let second = |outcome, records: &'static [&'static str]| {
        move |world: &mut World| {
            let mut other = dns(Role::Target, DnsPurpose::Address, PDS, RecordType::A, records);
            other.server = "1.1.1.1:53".parse().unwrap();
            other.outcome = outcome;
            world.push(pdsdoctor_probes::fact::ProbeName::Dns, 20, FactBody::Dns(other));
        }
    };
    for world in [
        denied.clone(),
        denied.clone().with(second(DnsOutcome::NoData, &[])),
        denied.clone().with(second(DnsOutcome::Timeout, &[])),
        only_v6().with(second(DnsOutcome::NxDomain, &[])),
    ] {
        for reversed in [false, true] {
            let mut world = world.clone();
            if reversed {
                world.run.facts.reverse();
            }
            let judged = world.finds(Code::V6OnlyHost, Impact::Degraded, Confidence::Confirmed);
            assert!(!judged.says(Code::DnsNameNotFound), "{}", judged.show());
        }
    }
    // One server that knows the A record is right.
    let world = denied.with(second(DnsOutcome::Answer, &[PDS_V4]));
    world.never_says(Code::V6OnlyHost);
    // The other way round, IPv4 is all there is.
    let no_v6 = healthy().each(|fact| match &mut fact.body {
        FactBody::Dns(body) if body.record_type == RecordType::Aaaa && body.name.as_str() == PDS => {
            body.records.clear();
            body.outcome = DnsOutcome::NxDomain;
        }
        FactBody::SystemDns(body) if body.name.as_str() == PDS => body.addresses.retain(IpAddr::is_ipv4),
        _ => {}
    });
    no_v6.closed(PDS_V6, FailureKind::Timeout, 4_000).never_says(Code::DnsNameNotFound);
}

/// What is published and answers nobody fails now, for those who have nothing else or try it first.
#[test]
fn published_and_unanswerable_is_no_mere_risk() {
    for kind in [FailureKind::Timeout, FailureKind::HostUnreachable, FailureKind::Refused] {
        let judged = healthy().closed(PDS_V6, kind, 3_000).judge();
        assert_eq!(judged.verdict(), Verdict::Degraded, "{kind}: {}", judged.show());
        let judged = on_a_server(healthy().closed(PDS_V4, kind, 3_000)).judge();
        assert_eq!(judged.verdict(), Verdict::Broken, "{kind}: {}", judged.show());
    }
}

/// What is ruled out is so at one host, from one place, by one family; the other is not spoken of.
#[test]
fn ruled_out_goes_no_further_than_what_was_measured() {
    let judged = healthy().closed(PDS_V6, FailureKind::Timeout, 4_000).judge();
    let closed: Vec<_> = judged.diagnosis.ruled_out.iter().filter(|it| it.code == Code::FwPortsClosed).collect();
    assert_eq!(closed.len(), 1, "{:?}", judged.diagnosis.ruled_out);
    assert_eq!(closed[0].scope.of_family(), Some(Family::V4));
    assert_eq!(closed[0].scope.host(), PDS);
    assert!(!judged.rules_out(Code::DnsStaleAaaa), "nothing answered there: {:?}", judged.diagnosis.ruled_out);
    for theory in &judged.diagnosis.ruled_out {
        assert!(
            !theory.scope.host().is_empty() && theory.scope.words().contains(" by ")
                || theory.scope.words().contains("from")
        );
    }
}
