//! The name of the PDS.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{FactBody, FailureKind, ProbeName, Role},
};

use crate::world::*;

/// The PDS's name has no address; nothing behind it is measured.
pub(crate) fn absent(outcome: DnsOutcome) -> World {
    healthy().unnamed(PDS, outcome).only_up_to_tls()
}

#[test]
fn the_name_does_not_exist() {
    absent(DnsOutcome::NxDomain).finds(Code::DnsNameNotFound, Impact::Broken, Confidence::Confirmed);
    absent(DnsOutcome::NxDomain)
        .without_reference()
        .without(|fact| match &fact.body {
            FactBody::Dns(body) => body.role == Role::Client,
            _ => false,
        })
        .finds(Code::DnsNameNotFound, Impact::Broken, Confidence::Likely);
}

#[test]
fn the_name_has_no_address() {
    absent(DnsOutcome::NoData).finds(Code::DnsNoAddress, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn the_zone_fails() {
    for outcome in [DnsOutcome::ServFail, DnsOutcome::Timeout] {
        absent(outcome).finds(Code::DnsZoneFailing, Impact::Broken, Confidence::Confirmed);
    }
    // What a resolver refuses for one name may be its own filter, not the zone.
    absent(DnsOutcome::Refused).finds(Code::DnsZoneFailing, Impact::Broken, Confidence::Likely);
}

/// A fails and AAAA says "no such record": that is no word on whether there is an address.
#[test]
fn half_an_answer_is_not_absence() {
    let world = absent(DnsOutcome::NoData).each(|fact| {
        if let FactBody::Dns(body) = &mut fact.body
            && body.name.as_str() == PDS
            && body.record_type == RecordType::A
        {
            body.outcome = DnsOutcome::ServFail;
        }
    });
    world.never_says(Code::DnsNoAddress);
    world.finds(Code::DnsZoneFailing, Impact::Broken, Confidence::Likely);
}

/// Some load balancers' name servers say NXDOMAIN where they should say NODATA.
#[test]
fn two_kinds_of_no_are_no() {
    let world = absent(DnsOutcome::NoData).each(|fact| {
        if let FactBody::Dns(body) = &mut fact.body
            && body.name.as_str() == PDS
            && body.record_type == RecordType::Aaaa
        {
            body.outcome = DnsOutcome::NxDomain;
        }
    });
    world.finds(Code::DnsNoAddress, Impact::Broken, Confidence::Confirmed);
}

#[test]
fn a_lost_first_question_is_nothing() {
    let world = healthy().with(|world| {
        let mut lost = dns(Role::Target, DnsPurpose::Address, PDS, RecordType::A, &[]);
        lost.outcome = DnsOutcome::Timeout;
        lost.attempt = 1;
        world.run.facts.iter_mut().for_each(|fact| {
            if let FactBody::Dns(body) = &mut fact.body
                && body.name.as_str() == PDS
                && body.record_type == RecordType::A
            {
                body.attempt = 2;
            }
        });
        world.push(ProbeName::Dns, 2_500, FactBody::Dns(lost));
    });
    world.is_well();
}

#[test]
fn addresses_given_by_the_user_put_dns_out_of_question() {
    let mut world = healthy().without(|fact| match &fact.body {
        FactBody::Dns(body) => body.name.as_str() == PDS && body.purpose == DnsPurpose::Address,
        FactBody::SystemDns(body) => body.name.as_str() == PDS,
        _ => false,
    });
    world.run.settings.resolved_by_user = vec![t(PDS)];
    world.is_well();
}

pub(crate) fn tunnel(ns: &'static str) -> World {
    absent(DnsOutcome::NoData).each(|fact| {
        if let FactBody::Dns(body) = &mut fact.body {
            if body.name.as_str() == PDS && body.purpose == DnsPurpose::Address {
                body.cname_chain = vec![t("0f1e2d3c-4b5a.cfargotunnel.com")];
            }
            if body.purpose == DnsPurpose::Zone && body.name.as_str() == "example.com" {
                body.records = if ns.is_empty() { Vec::new() } else { vec![t(ns)] };
            }
        }
    })
}

#[test]
fn a_tunnel_without_cloudflares_servers() {
    tunnel("ns1.provider.net").finds(Code::TunnelCfDnsElsewhere, Impact::Broken, Confidence::Confirmed);
    tunnel("").finds(Code::TunnelCfDnsElsewhere, Impact::Broken, Confidence::Likely);
}

#[test]
fn a_tunnel_that_is_down_at_cloudflare_is_another_matter() {
    tunnel("ada.ns.cloudflare.com").never_says(Code::TunnelCfDnsElsewhere);
    tunnel("ada.ns.cloudflare.com").finds(Code::DnsNoAddress, Impact::Broken, Confidence::Confirmed);
}

pub(crate) const LAN: &str = "192.168.1.5";

pub(crate) fn at(addr: &str) -> World {
    let addr = addr.to_owned();
    healthy()
        .without(|fact| match &fact.body {
            FactBody::Connect(body) => body.addr == ip(PDS_V6) && body.role == Role::Target,
            FactBody::Tls(body) => body.addr == ip(PDS_V6) && body.role == Role::Target,
            FactBody::Http(body) => body.addr == Some(ip(PDS_V6)) && body.role == Role::Target,
            _ => false,
        })
        .each(|fact| match &mut fact.body {
            FactBody::Dns(body) if body.name.as_str() == PDS && body.purpose == DnsPurpose::Address => {
                if body.record_type == RecordType::A {
                    body.records = vec![t(&addr)];
                } else {
                    body.records.clear();
                    body.outcome = DnsOutcome::NoData;
                }
            }
            FactBody::SystemDns(body) if body.name.as_str() == PDS => body.addresses = vec![ip(&addr)],
            FactBody::Connect(body) if body.addr == ip(PDS_V4) => body.addr = ip(&addr),
            FactBody::Tls(body) if body.addr == ip(PDS_V4) => body.addr = ip(&addr),
            FactBody::Http(body) if body.addr == Some(ip(PDS_V4)) => body.addr = Some(ip(&addr)),
            _ => {}
        })
}

#[test]
fn a_private_address_is_published() {
    // A resolver out on the internet says what the world sees.
    let world = at(LAN).closed(LAN, FailureKind::Timeout, 4_000).only_up_to_tls();
    let judged = world.finds(Code::DnsPrivateIpPublished, Impact::Broken, Confidence::Confirmed);
    assert!(!judged.diagnosis.causes.iter().skip(1).any(|cause| cause.code == Code::PdsUnreachable));
}

/// A router's own resolver may give those at home another address than the world.
#[test]
fn a_home_resolver_does_not_speak_for_the_world() {
    let world = at(LAN).closed(LAN, FailureKind::Timeout, 4_000).only_up_to_tls().each(|fact| {
        if let FactBody::Dns(body) = &mut fact.body {
            body.server = "192.168.1.1:53".parse().unwrap();
        }
    });
    world.finds(Code::DnsPrivateIpPublished, Impact::Broken, Confidence::Likely);
}

#[test]
fn a_private_address_that_answers_is_a_risk_at_most() {
    assert_eq!(at(LAN).judge().verdict(), Verdict::Risk);
}

#[test]
fn a_private_address_beside_a_public_one() {
    let world = healthy().with(|world| {
        let mut both = dns(Role::Target, DnsPurpose::Address, PDS, RecordType::A, &[LAN, PDS_V4]);
        both.attempt = 2;
        world.push(ProbeName::Dns, 20, FactBody::Dns(both));
    });
    world.finds(Code::DnsPrivateIpPublished, Impact::Degraded, Confidence::Confirmed);
}

/// On the PDS's own machine `/etc/hosts` names 127.0.1.1; nothing of that is published.
#[test]
fn etc_hosts_publishes_nothing() {
    for kind in [None, Some(FailureKind::Refused)] {
        let world = healthy().with(|world| {
            for fact in &mut world.run.facts {
                if let FactBody::SystemDns(body) = &mut fact.body
                    && body.name.as_str() == PDS
                {
                    body.addresses = vec![ip("127.0.1.1")];
                }
            }
            match kind {
                None => world.line(Role::Target, PDS, "127.0.1.1"),
                Some(kind) => {
                    world.connect(ProbeName::Tcp, Role::Target, PDS, "127.0.1.1");
                    if let Some(FactBody::Connect(body)) = world.run.facts.last_mut().map(|fact| &mut fact.body) {
                        body.failure = Some(fail(kind));
                    }
                }
            }
        });
        world.is_well();
    }
}

/// DNS64 invents an IPv6 address for hosts that have none (RFC 6147); the reference has one of its own.
#[test]
fn dns64_publishes_nothing() {
    let synthetic = "64:ff9b::509:a0b";
    let world = healthy().each(|fact| match &mut fact.body {
        FactBody::Dns(body)
            if body.record_type == RecordType::Aaaa && body.records.iter().any(|r| r.as_str() == PDS_V6) =>
        {
            body.records = vec![t(synthetic)];
        }
        FactBody::SystemDns(body) => {
            body.addresses.iter_mut().filter(|a| **a == ip(PDS_V6)).for_each(|a| *a = ip(synthetic))
        }
        FactBody::Connect(body) if body.addr == ip(PDS_V6) => body.addr = ip(synthetic),
        FactBody::Tls(body) if body.addr == ip(PDS_V6) => body.addr = ip(synthetic),
        FactBody::Http(body) if body.addr == Some(ip(PDS_V6)) => body.addr = Some(ip(synthetic)),
        _ => {}
    });
    world.is_well();
    // Nor is it the target's fault when the translator does not answer.
    world.closed(synthetic, FailureKind::Timeout, 4_000).is_well();
}

#[test]
fn a_closed_network_gives_private_addresses_to_everything() {
    let world = at(LAN).each(|fact| match &mut fact.body {
        FactBody::Dns(body) if body.name.as_str() == REF && body.record_type == RecordType::A => {
            body.records = vec![t("10.0.0.2")];
        }
        _ => {}
    });
    world.is_well();
}

/// A question that was lost and, repeated, was answered is no failure, whatever it was about.
#[test]
fn what_a_repetition_cures_is_no_failure() {
    let world = healthy().with(|world| {
        let mut lost = Vec::new();
        for fact in &mut world.run.facts {
            let FactBody::Dns(body) = &mut fact.body else { continue };
            let mut first = body.clone();
            (first.outcome, first.records, first.detail) = (DnsOutcome::Timeout, Vec::new(), Some(t("no answer")));
            body.attempt = 2;
            lost.push((fact.probe, first));
        }
        for (probe, first) in lost {
            world.push(probe, 2_500, FactBody::Dns(first));
        }
    });
    world.is_well();
}
