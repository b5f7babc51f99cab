//! What the PDS's own machine shows of names, ports and the way out: faults, twins, look-alikes.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{Fact, FactBody, FailureKind, ProbeName, Role, Vantage},
    host_fact::HopsFact,
    http_fact::{BodyClass, Content, HttpPurpose},
    par_fact::ParArm,
    record::TargetKind,
    tls_fact::PathVerdict,
};

use crate::{host::*, inside_ports::health, reach, world::*};

const REFUSED: (u16, &str, &str) = (400, "invalid_client_metadata", "");

fn from_container(fact: &Fact) -> bool {
    fact.vantage == container() && fact.probe == ProbeName::Egress
}

/// The login fails as well, since the PDS cannot fetch.
fn login_fails(world: World, took_ms: u64) -> World {
    let text = not_obtained("");
    world.pars(Role::Target, (REFUSED.0, REFUSED.1, &text), took_ms)
}

/// The questions that the container's resolver gets come to nothing.
pub fn resolver_dead() -> World {
    login_fails(machine(), 10_100).each(|fact| {
        if let (true, FactBody::Dns(body)) = (from_container(fact), &mut fact.body) {
            body.outcome = DnsOutcome::Timeout;
            body.records.clear();
        }
    })
}

#[test]
fn a_dead_resolver_in_the_container() {
    let judged = resolver_dead().finds(Code::DnsContainerResolverDead, Impact::Broken, Confidence::Confirmed);
    let cause = judged.cause(Code::DnsContainerResolverDead);
    assert!(cause.symptoms.iter().any(|it| it.code == Code::OauthClientMetadataEgress), "{cause:?}");
    // One name that nobody resolves has broken servers of its own.
    machine()
        .each(|fact| {
            if let FactBody::Dns(body) = &mut fact.body
                && body.name.as_str() == SERVICE
            {
                body.outcome = DnsOutcome::ServFail;
                body.records.clear();
            }
        })
        .is_well();
}

/// The container's resolver does not give the application's address, and knows others.
pub fn one_name(outcome: DnsOutcome) -> World {
    login_fails(machine(), 95)
        .without(|fact| {
            from_container(fact) && matches!(&fact.body, FactBody::Tls(body) if body.sni.as_str() == APP)
                || from_container(fact) && matches!(&fact.body, FactBody::Connect(body) if body.host.as_str() == APP)
        })
        .each(|fact| {
            if let (true, FactBody::Dns(body)) = (from_container(fact), &mut fact.body)
                && body.name.as_str() == APP
            {
                body.outcome = outcome;
                body.records.clear();
            }
        })
}

#[test]
fn a_resolver_without_the_applications_name() {
    for (outcome, words) in
        [(DnsOutcome::ServFail, "fails for"), (DnsOutcome::Timeout, "fails for"), (DnsOutcome::NxDomain, "denies")]
    {
        let judged = one_name(outcome).finds(Code::DnsContainerResolverFlaky, Impact::Broken, Confidence::Confirmed);
        let cause = judged.cause(Code::DnsContainerResolverFlaky);
        assert!(cause.summary.contains(words), "{}", cause.summary);
        assert!(cause.symptoms.iter().any(|it| it.code == Code::OauthClientMetadataEgress), "{cause:?}");
        // The reference does not get it either: the name's own servers.
        one_name(outcome)
            .pars(Role::Reference, (400, "invalid_client_metadata", &not_obtained("")), 300)
            .never_says(Code::DnsContainerResolverFlaky);
    }
}

/// A series at the container's resolver, of which some fail, beside one at the machine's.
pub fn resolver_fails(times: usize) -> World {
    let mut world = machine();
    for (at, server) in [(container(), "127.0.0.11"), (Vantage::Here, ROUTER_V4)] {
        for round in 0..8 {
            let mut answer = dns(Role::Client, DnsPurpose::Address, APP, RecordType::A, &[APP_V4]);
            answer.server = format!("{server}:53").parse().unwrap();
            if at == container() && round < times {
                answer.outcome = DnsOutcome::ServFail;
                answer.records.clear();
            }
            world.inside(&at, ProbeName::Egress, FactBody::Dns(answer));
        }
    }
    world
}

#[test]
fn a_resolver_that_fails_now_and_then() {
    resolver_fails(3).finds(Code::DnsContainerResolverFlaky, Impact::Degraded, Confidence::Confirmed);
    resolver_fails(1).is_well();
    resolver_fails(0).is_well();
}

/// The container's resolver has an inner address for the application.
pub fn split(addr: &str) -> World {
    let world = login_fails(machine(), 95);
    world.each(|fact| {
        if let (true, FactBody::Dns(body)) = (from_container(fact), &mut fact.body)
            && body.name.as_str() == APP
            && body.record_type == RecordType::A
        {
            body.records = vec![t(addr)];
        }
    })
}

#[test]
fn a_private_address_from_the_container_s_resolver() {
    for addr in ["192.168.1.20", "100.64.0.9"] {
        split(addr).finds(Code::DnsSplitHorizonSsrf, Impact::Broken, Confidence::Confirmed);
    }
    split("76.76.21.22").never_says(Code::DnsSplitHorizonSsrf);
    // It fetches all the same: another resolver is in use, or the guard is off.
    machine()
        .each(|fact| {
            if let (true, FactBody::Dns(body)) = (from_container(fact), &mut fact.body)
                && body.name.as_str() == APP
                && body.record_type == RecordType::A
            {
                body.records = vec![t("10.0.0.9")];
            }
        })
        .never_says(Code::DnsSplitHorizonSsrf);
}

/// What leaves the container by TCP meets this.
pub fn blocked(host: Option<&str>, kind: FailureKind) -> World {
    login_fails(machine(), 10_100)
        .without(|fact| {
            from_container(fact)
                && matches!(&fact.body, FactBody::Tls(body) if host.is_none_or(|host| body.sni.as_str() == host))
        })
        .each(|fact| {
            if let (true, FactBody::Connect(body)) = (from_container(fact), &mut fact.body)
                && host.is_none_or(|host| body.host.as_str() == host)
                && body.addr.is_ipv4()
            {
                body.failure = Some(fail(kind));
                fact.took_ms = if kind == FailureKind::Timeout { 12_000 } else { 1 };
            }
        })
}

#[test]
fn a_firewall_before_the_container() {
    for kind in [FailureKind::Timeout, FailureKind::Prohibited] {
        blocked(None, kind).finds(Code::FwEgressClosed, Impact::Broken, Confidence::Confirmed);
        blocked(Some(APP), kind).finds(Code::FwEgressClosed, Impact::Broken, Confidence::Confirmed);
    }
    // A firewall may answer in the name of the host: the machine itself gets through to the same address.
    for kind in [FailureKind::Refused, FailureKind::HostUnreachable] {
        blocked(Some(APP), kind).finds(Code::FwEgressClosed, Impact::Broken, Confidence::Confirmed);
        blocked(None, kind).finds(Code::FwEgressClosed, Impact::Broken, Confidence::Confirmed);
    }
    // Nobody listens there: no firewall.
    let nobody = blocked(Some(APP), FailureKind::Refused).each(|fact| {
        if let FactBody::Connect(body) = &mut fact.body
            && body.host.as_str() == APP
        {
            body.failure = Some(fail(FailureKind::Refused));
        }
    });
    nobody
        .pars(Role::Reference, (400, "invalid_client_metadata", &not_obtained("")), 300)
        .never_says(Code::FwEgressClosed);
    // Without any route: a network that is internal.
    let judged = blocked(None, FailureKind::NetworkUnreachable).finds(
        Code::FwEgressClosed,
        Impact::Broken,
        Confidence::Confirmed,
    );
    let remedy = &judged.cause(Code::FwEgressClosed).remedies[0];
    assert!(remedy.lines().concat().contains("internal"), "{remedy:?}");
    // The application is down for everybody.
    let down = machine().each(|fact| {
        if let FactBody::Connect(body) = &mut fact.body
            && body.host.as_str() == APP
        {
            body.failure = Some(fail(FailureKind::Timeout));
        }
    });
    let text = not_obtained("");
    down.pars(Role::Target, (400, "invalid_client_metadata", &text), 10_100)
        .pars(Role::Reference, (400, "invalid_client_metadata", &text), 10_100)
        .never_says(Code::FwEgressClosed);
}

/// Every handshake of the container ends at a box in between.
pub fn inspected() -> World {
    login_fails(machine(), 120).each(|fact| {
        if let (true, FactBody::Tls(body)) = (from_container(fact), &mut fact.body)
            && let Some(certificate) = &mut body.certificate
        {
            certificate.issuer = t("O=Acme, CN=Acme Inspection CA");
            certificate.trust_mozilla = PathVerdict::UnknownIssuer;
            certificate.trust_system = PathVerdict::UnknownIssuer;
        }
    })
}

#[test]
fn tls_inspection_before_the_container() {
    inspected().finds(Code::EgressTlsIntercepted, Impact::Broken, Confidence::Confirmed);
    // One host with a certificate of its own making is that host's matter.
    machine()
        .each(|fact| {
            if let (true, FactBody::Tls(body)) = (from_container(fact), &mut fact.body)
                && body.sni.as_str() == SERVICE
                && let Some(certificate) = &mut body.certificate
            {
                certificate.trust_mozilla = PathVerdict::UnknownIssuer;
                certificate.trust_system = PathVerdict::UnknownIssuer;
            }
        })
        .is_well();
}

/// Connections come about, handshakes do not; the machine sends through a tunnel.
pub fn packets_too_large(tunnel: bool) -> World {
    login_fails(machine(), 10_100).each(|fact| match &mut fact.body {
        FactBody::Tls(body) if fact.vantage == container() => {
            body.failure = Some(fail(FailureKind::Timeout));
            body.certificate = None;
        }
        FactBody::Interface(body) if tunnel && fact.vantage == Vantage::Here && body.name.as_str() == UPLINK => {
            body.mtu = 1_420;
        }
        _ => {}
    })
}

#[test]
fn large_packets_get_lost() {
    // Whether small packets pass was not measured: it may be a firewall that drops whatever comes.
    for tunnel in [true, false] {
        let judged = packets_too_large(tunnel).judge();
        let cause = judged.cause(Code::MtuContainerOverTunnel);
        assert_eq!(cause.confidence, Confidence::Possible, "{}", judged.show());
        assert!(cause.settle.is_some(), "{cause:?}");
        in_small_packets(packets_too_large(tunnel), true).finds(
            Code::MtuContainerOverTunnel,
            Impact::Broken,
            Confidence::Confirmed,
        );
    }
    let judged = blocked(Some(APP), FailureKind::Timeout).judge();
    assert!(judged.rules_out(Code::MtuContainerOverTunnel), "{}", judged.show());
}

/// The same handshakes beside it, in small packets.
pub fn in_small_packets(world: World, completed: bool) -> World {
    let mut world = world;
    let hung: Vec<_> = world
        .run
        .facts
        .iter()
        .filter_map(|fact| match &fact.body {
            FactBody::Tls(body) if fact.vantage == container() => Some(body.clone()),
            _ => None,
        })
        .collect();
    for mut body in hung {
        body.max_segment = Some(1_180);
        body.failure = (!completed).then(|| fail(FailureKind::Timeout));
        world.inside(&container(), ProbeName::Egress, FactBody::Tls(body));
    }
    world
}

#[test]
fn small_packets_pass_where_large_ones_get_lost() {
    let judged = in_small_packets(packets_too_large(false), true).finds(
        Code::MtuContainerOverTunnel,
        Impact::Broken,
        Confidence::Confirmed,
    );
    let cause = judged.cause(Code::MtuContainerOverTunnel);
    assert!(cause.contrast[0].that.contains("1180 bytes"), "{cause:?}");
    assert!(cause.settle.is_none(), "{cause:?}");
    // Silence, whatever the size: a firewall that lets the first packets through and drops the rest.
    let judged = in_small_packets(packets_too_large(false), false).finds(
        Code::FwEgressClosed,
        Impact::Broken,
        Confidence::Confirmed,
    );
    assert!(!judged.says(Code::MtuContainerOverTunnel), "{}", judged.show());
    assert!(judged.rules_out(Code::MtuContainerOverTunnel), "{}", judged.show());
    // A handshake that took its time, and one in small packets beside it: nothing hangs.
    in_small_packets(machine(), true).is_well();
    // Handshakes without a packet of full size prove nothing of such.
    let short = blocked(Some(APP), FailureKind::Timeout).each(|fact| {
        if let FactBody::Tls(body) = &mut fact.body {
            body.received = Some(900);
        }
    });
    assert!(!short.judge().rules_out(Code::MtuContainerOverTunnel));
}

/// The application's edge answers this server's address with 403.
pub fn challenged(header: bool, everybody: bool) -> World {
    let text = not_obtained(": Forbidden");
    let answer = (400, "invalid_client_metadata", text.as_str());
    let mut world = machine().pars(Role::Target, answer, 130);
    if everybody {
        world = world.pars(Role::Reference, answer, 130);
    }
    for at in [Vantage::Here, container()] {
        let mut body = http(Role::Client, HttpPurpose::ClientDocument, CLIENT, APP_V4, None);
        crate::world::answer(&mut body, 403, BodyClass::Html, "<title>Just a moment...</title>");
        if header {
            body.headers.insert("cf-mitigated".to_owned(), t("challenge"));
        }
        world.inside(&at, ProbeName::Egress, FactBody::Http(body));
    }
    world
}

#[test]
fn the_application_s_edge_turns_this_server_away() {
    for header in [true, false] {
        challenged(header, false).finds(Code::EdgeBotChallengeOutbound, Impact::Broken, Confidence::Confirmed);
    }
    challenged(false, true).never_says(Code::EdgeBotChallengeOutbound);
    // A limit on requests is no challenge, unless the edge says so.
    for header in [true, false] {
        let limited = challenged(header, false).each(|fact| {
            if let FactBody::Http(body) = &mut fact.body
                && body.status == Some(403)
            {
                body.status = Some(429);
            }
            if let FactBody::Par(body) = &mut fact.body
                && body.role == Role::Target
                && !header
                && let Some(words) = &mut body.description
            {
                *words = t(&words.replace("Forbidden", "Too Many Requests"));
            }
        });
        let judged = limited.judge();
        let confidence = judged.cause(Code::EdgeBotChallengeOutbound).confidence;
        let wanted = if header { Confidence::Confirmed } else { Confidence::Likely };
        assert_eq!(confidence, wanted, "{}", judged.show());
    }
}

/// Behind a home router: the public address is the router's, and silent from inside.
pub fn no_loopback(front: bool) -> World {
    let mut world = machine_host_network()
        .closed(PDS_V4, FailureKind::Timeout, 4_000)
        .closed(PDS_V6, FailureKind::Timeout, 4_000)
        .without(|fact| fact.probe != ProbeName::OwnNetwork && mentions(fact, PDS_V6))
        .dns(PDS, |dns| {
            if dns.record_type == RecordType::Aaaa {
                dns.outcome = DnsOutcome::NoData;
                dns.records.clear();
            }
        });
    health(&mut world, &Vantage::Here, "http://127.0.0.1:3000/xrpc/_health", "127.0.0.1", Ok(200));
    if front {
        health(&mut world, &Vantage::Here, "https://pds.example.com/xrpc/_health", HOST_V4, Ok(200));
    }
    world
}

fn mentions(fact: &Fact, addr: &str) -> bool {
    match &fact.body {
        FactBody::Connect(body) => body.addr == ip(addr),
        FactBody::Tls(body) => body.addr == ip(addr),
        FactBody::Http(body) => body.addr == Some(ip(addr)),
        _ => false,
    }
}

#[test]
fn the_router_does_not_lead_back() {
    let judged = no_loopback(true).finds(Code::NatHairpin, Impact::Degraded, Confidence::Likely);
    assert!(
        judged.cause(Code::NatHairpin).symptoms.iter().any(|it| it.code == Code::FwPortsClosed),
        "{}",
        judged.show()
    );
    no_loopback(false).never_says(Code::NatHairpin);
    machine_host_network().never_says(Code::NatHairpin);
}

/// The address from which a service sees this machine.
pub(crate) fn seen_as(world: World, addr: &str) -> World {
    world.with(|world| {
        let content = Some(Content::EchoAddress { addr: ip(addr) });
        let url = "https://ipv4.icanhazip.com/";
        let body = http(Role::Service, HttpPurpose::EchoAddress, url, "104.16.1.1", content);
        world.inside(&Vantage::Here, ProbeName::Position, FactBody::Http(body));
    })
}

/// The connection has another address than the record says.
pub fn moved() -> World {
    seen_as(no_loopback(true), "84.130.2.9")
}

#[test]
fn the_record_has_an_old_address() {
    moved().finds(Code::DnsDynamicIpStale, Impact::Broken, Confidence::Likely);
    seen_as(no_loopback(true), PDS_V4).never_says(Code::DnsDynamicIpStale);
    // What goes out by a VPN has another address, and the PDS is reached all the same.
    seen_as(machine_host_network(), "84.130.2.9").is_well();
}

/// Behind two routers, the second one the provider's.
pub fn behind_the_provider(second: &str) -> World {
    seen_as(no_loopback(true), PDS_V4).with(|world| {
        let hops = [ROUTER_V4, second, "62.155.1.1", "62.155.2.1"].map(|hop| Some(ip(hop))).to_vec();
        let body = HopsFact { destination: ip("9.9.9.9"), hops };
        world.inside(&Vantage::Here, ProbeName::Position, FactBody::Hops(body));
    })
}

#[test]
fn the_provider_s_nat() {
    let judged = behind_the_provider("100.72.0.1").finds(Code::NatCgnat, Impact::Broken, Confidence::Likely);
    assert!(!judged.says(Code::NatHairpin), "{}", judged.show());
    // A second router of one's own.
    let judged = behind_the_provider("192.168.178.1").finds(Code::NatHairpin, Impact::Degraded, Confidence::Likely);
    assert!(!judged.says(Code::NatCgnat), "{}", judged.show());
}

/// The reference was made to fetch from the PDS.
pub fn second_look(world: World, reached: bool) -> World {
    world.with(|world| {
        let url = "https://pds.example.com/xrpc/_health";
        let answer = if reached {
            format!("Unable to obtain client metadata for \"{url}\": Validation of \"redirect_uris\" failed with error: Required")
        } else {
            String::new()
        };
        let mut body = par(Role::Reference, "https://tngl.sh", ParArm::TargetUrl, 400, "invalid_client_metadata", &answer);
        body.client = t(url);
        if !reached {
            body.failure = Some(fail(FailureKind::Timeout));
            body.status = None;
            body.error = None;
        }
        world.push(ProbeName::Par, if reached { 200 } else { 4_000 }, FactBody::Par(body));
    })
}

#[test]
fn a_second_look_tells_a_closed_port_from_a_router_that_does_not_lead_back() {
    let judged = second_look(no_loopback(true), true).finds(Code::NatHairpin, Impact::Degraded, Confidence::Confirmed);
    assert!(!judged.diagnosis.causes.iter().any(|cause| cause.code == Code::FwPortsClosed), "{}", judged.show());
    let judged =
        second_look(no_loopback(true), false).finds(Code::FwPortsClosed, Impact::Broken, Confidence::Confirmed);
    assert!(!judged.says(Code::NatHairpin), "{}", judged.show());
    // A machine with a public address reaches itself through any firewall.
    second_look(machine_host_network(), false).finds(Code::FwPortsClosed, Impact::Broken, Confidence::Likely);
    second_look(machine_host_network(), true).is_well();
    // Not where the reference takes seconds for whatever it fetches, or the PDS for any answer: it was not waited for.
    let slow_reference = second_look(machine_host_network(), false).each(|fact| {
        if matches!(&fact.body, FactBody::Par(body) if body.role == Role::Reference && body.failure.is_none()) {
            fact.took_ms += 2_500;
        }
    });
    let judged = slow_reference.never_says(Code::FwPortsClosed);
    // That is not known then, which is said, and is no health.
    assert!(!judged.diagnosis.headline.contains("is healthy"), "{}", judged.show());
    let why = "whether tngl.sh reaches pds.example.com";
    assert!(judged.diagnosis.not_measured.iter().any(|missing| missing.why.contains(why)), "{}", judged.show());
    let slow_pds = second_look(machine_host_network(), false).each(|fact| {
        if matches!(&fact.body, FactBody::Http(body) if body.role == Role::Target && body.purpose == HttpPurpose::Health) {
            fact.took_ms += 2_500;
        }
    });
    slow_pds.never_says(Code::FwPortsClosed);
    // From a laptop: closed for everybody, or for this network alone.
    let laptop = reach::all_closed(FailureKind::Timeout, 4_000);
    second_look(laptop.clone(), false).finds(Code::FwPortsClosed, Impact::Broken, Confidence::Confirmed);
    second_look(laptop, true).finds(Code::NatHairpin, Impact::Degraded, Confidence::Likely);
}

#[test]
fn a_machine_without_a_pds_is_judged_alone() {
    let mut world = machine_host_network().without(|fact| {
        !fact.probe.is_inside() || fact.probe == ProbeName::Egress || matches!(fact.body, FactBody::Process(_))
    });
    world.run.target.kind = TargetKind::Machine;
    world.run.target.host = None;
    world.run.target.origin = None;
    world.run.target.input = t("");
    world.run.reference = None;
    let judged = world.judge();
    assert_eq!(judged.verdict(), Verdict::Healthy, "{}", judged.show());
}
