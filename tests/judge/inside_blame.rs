//! Whose fault it is: the outermost place at which the same thing fails, and what was really measured there.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{Fact, FactBody, FailureKind, Family, ProbeName, Role, Vantage},
    host_fact::Range,
    par_fact::ParArm,
};

use crate::{change::Judged, host::*, inside_node, inside_paths, inside_v6, world::*};

const HERE: Vantage = Vantage::Here;
const ULA: &str = "fd4b:6f52:7c1e::2";

fn v6(addr: std::net::IpAddr) -> bool {
    addr.is_ipv6()
}

fn steps(judged: &Judged, code: Code) -> String {
    judged.cause(code).remedies.iter().map(|remedy| format!("{} {}", remedy.title, remedy.lines().concat())).collect()
}

/// The container has private IPv6 and everything by it is silent.
fn ula_is_silent(world: World) -> World {
    world.with_v6(&container(), ULA, Range::UniqueLocal).reaches(&container(), v6, Some(FailureKind::Timeout), 12_000)
}

#[test]
fn a_dead_uplink_of_the_machine_is_not_docker_s() {
    let judged = ula_is_silent(machine()).judge();
    let cause = judged.cause(Code::V6UlaIntoHole);
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    assert!(steps(&judged, Code::V6UlaIntoHole).contains("Let Docker translate"), "{}", judged.show());
    // The machine itself gets no answer either.
    let both = ula_is_silent(machine().reaches(&HERE, v6, Some(FailureKind::Timeout), 12_000)).judge();
    assert!(!both.says(Code::V6UlaIntoHole), "{}", both.show());
    let cause = both.cause(Code::V6BlackholeEgress);
    assert_ne!(cause.scope.vantage.as_deref(), Some("container:pds"), "{}", both.show());
    assert!(!steps(&both, Code::V6BlackholeEgress).contains("ocker"), "{}", both.show());
    assert!(!both.show().contains("not to blame"), "{}", both.show());
    // It has no IPv6 at all: what Docker would translate to is not there.
    let none = ula_is_silent(machine().without_v6(&HERE)).judge();
    assert!(!steps(&none, Code::V6UlaIntoHole).contains("Let Docker translate"), "{}", none.show());
}

/// What happens to the container's egress facts, done to the machine's as well.
fn on_the_machine_too(world: &World, alike: &dyn Fn(&FactBody) -> bool) -> World {
    let there: Vec<Fact> = world
        .run
        .facts
        .iter()
        .filter(|fact| fact.vantage == container() && fact.probe == ProbeName::Egress && alike(&fact.body))
        .cloned()
        .collect();
    world.clone().without(|fact| fact.vantage == HERE && fact.probe == ProbeName::Egress && alike(&fact.body)).with(
        |world| {
            for mut fact in there {
                fact.vantage = HERE;
                world.run.facts.push(fact);
            }
        },
    )
}

#[test]
fn a_firewall_that_stops_the_machine_too_is_not_the_container_s() {
    let alone = inside_paths::blocked(None, FailureKind::Timeout);
    let judged = alone.judge();
    assert_eq!(judged.cause(Code::FwEgressClosed).scope.vantage.as_deref(), Some("container:pds"));
    assert!(steps(&judged, Code::FwEgressClosed).contains("DOCKER-USER"));
    let both = on_the_machine_too(&alone, &|body| matches!(body, FactBody::Connect(_) | FactBody::Tls(_))).judge();
    let cause = both.cause(Code::FwEgressClosed);
    assert_eq!(cause.scope.vantage.as_deref(), Some("here"), "{}", both.show());
    assert!(cause.confidence < Confidence::Confirmed, "{cause:?}");
    assert!(!steps(&both, Code::FwEgressClosed).contains("DOCKER-USER"), "{}", both.show());
}

#[test]
fn a_resolver_that_is_dead_for_the_machine_too() {
    let alone = inside_paths::resolver_dead();
    assert_eq!(alone.judge().cause(Code::DnsContainerResolverDead).scope.vantage.as_deref(), Some("container:pds"));
    let both = alone.each(|fact| {
        if let (true, FactBody::Dns(body)) = (fact.probe == ProbeName::Egress, &mut fact.body) {
            body.outcome = DnsOutcome::Timeout;
            body.records.clear();
        }
    });
    let judged = both.judge();
    let cause = judged.cause(Code::DnsContainerResolverDead);
    assert_eq!(cause.scope.vantage.as_deref(), Some("here"), "{}", judged.show());
    assert!(cause.remedies[0].title.contains("this machine"), "{cause:?}");
}

#[test]
fn large_packets_that_the_machine_loses_too() {
    let alone = inside_paths::in_small_packets(inside_paths::packets_too_large(false), true);
    assert_eq!(alone.judge().cause(Code::MtuContainerOverTunnel).scope.vantage.as_deref(), Some("container:pds"));
    let both = on_the_machine_too(&alone, &|body| matches!(body, FactBody::Tls(_))).judge();
    let cause = both.cause(Code::MtuContainerOverTunnel);
    assert_eq!(cause.scope.vantage.as_deref(), Some("here"), "{}", both.show());
    assert!(!steps(&both, Code::MtuContainerOverTunnel).contains("com.docker.network"), "{cause:?}");
}

const SAME: &str = "it is the same from this machine itself";

#[test]
fn what_node_gives_up_from_the_machine_too() {
    // The machine is near, and its IPv6 works: what lies between is the container's.
    let alone = inside_node::first_field_report().judge();
    let cause = alone.cause(Code::NodeHe250ms);
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    let from_here =
        cause.contrast.iter().map(|contrast| &contrast.that).find(|side| side.name.as_deref() == Some("this machine"));
    assert!(from_here.is_some_and(|side| side.result.starts_with("connects after")), "{cause:?}");
    assert!(!alone.show().contains(SAME), "{}", alone.show());
    // It is as far away, and has no IPv6 either.
    let both = inside_node::first_field_report().far(&HERE, Family::V4, 312).without_v6(&HERE).judge();
    let cause = both.cause(Code::NodeHe250ms);
    assert_eq!(cause.scope.vantage.as_deref(), Some("here"), "{}", both.show());
    assert!(format!("{cause:?}").contains(SAME), "{cause:?}");
    // Nobody tried from the machine: nothing is said of it.
    let untold = inside_node::first_field_report()
        .without(|fact| fact.vantage == HERE && fact.probe == ProbeName::Egress)
        .judge();
    let cause = untold.cause(Code::NodeHe250ms);
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    assert!(!cause.contrast.iter().any(|contrast| contrast.that.name.as_deref() == Some("this machine")), "{cause:?}");
}

#[test]
fn first_packets_that_the_machine_loses_too() {
    let alone = inside_node::lossy(2);
    assert_eq!(alone.judge().cause(Code::NodeHeLostSyn).scope.vantage.as_deref(), Some("container:pds"));
    let both = on_the_machine_too(&alone, &|body| matches!(body, FactBody::Connect(_) | FactBody::Tls(_))).judge();
    assert_eq!(both.cause(Code::NodeHeLostSyn).scope.vantage.as_deref(), Some("here"), "{}", both.show());
}

#[test]
fn a_resolver_that_fails_the_machine_too() {
    let alone = inside_paths::resolver_fails(3);
    let judged = alone.judge();
    let cause = judged.cause(Code::DnsContainerResolverFlaky);
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    assert!(cause.remedies[0].title.contains("container"), "{cause:?}");
    let both = on_the_machine_too(&alone, &|body| matches!(body, FactBody::Dns(_))).judge();
    let cause = both.cause(Code::DnsContainerResolverFlaky);
    assert_eq!(cause.scope.vantage.as_deref(), Some("here"), "{}", both.show());
    assert!(cause.remedies[0].title.contains("this machine"), "{cause:?}");
    assert!(cause.confidence < Confidence::Confirmed, "{cause:?}");
}

#[test]
fn a_name_that_the_machine_does_not_get_either() {
    let alone = inside_paths::one_name(DnsOutcome::NxDomain);
    let judged = alone.judge();
    let cause = judged.cause(Code::DnsContainerResolverFlaky);
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    assert!(format!("{:?}", cause.contrast).contains("this machine, of"), "{cause:?}");
    let both = on_the_machine_too(&alone, &|body| matches!(body, FactBody::Dns(_))).judge();
    let cause = both.cause(Code::DnsContainerResolverFlaky);
    assert_eq!(cause.scope.vantage.as_deref(), Some("here"), "{}", both.show());
    assert!(cause.remedies[0].title.contains("this machine"), "{cause:?}");
}

/// The container's handshakes end so.
fn handshakes_end(world: World, host: Option<&str>, kind: FailureKind) -> World {
    world.each(|fact| {
        if let (true, FactBody::Tls(body)) = (fact.vantage == container(), &mut fact.body)
            && host.is_none_or(|host| body.sni.as_str() == host)
        {
            body.failure = Some(fail(kind));
            body.certificate = None;
        }
    })
}

fn login_fails(world: World, took_ms: u64) -> World {
    let text = not_obtained("");
    world.pars(Role::Target, (400, "invalid_client_metadata", &text), took_ms)
}

#[test]
fn a_reset_that_only_the_container_gets() {
    let world = login_fails(handshakes_end(machine(), Some(APP), FailureKind::Reset), 100);
    world.finds(Code::FwEgressClosed, Impact::Broken, Confidence::Likely);
    let world = login_fails(handshakes_end(machine(), None, FailureKind::Reset), 100);
    world.finds(Code::FwEgressClosed, Impact::Broken, Confidence::Confirmed);
    // The machine is reset alike: the servers may do that.
    let both = on_the_machine_too(&world, &|body| matches!(body, FactBody::Tls(_)));
    both.never_says(Code::FwEgressClosed);
    // The PDS gets the document all the same: one connection broke off.
    handshakes_end(machine(), Some(APP), FailureKind::Reset).never_says(Code::FwEgressClosed);
}

/// Questions to the container's resolver, each with what followed it; the machine's are all answered.
fn asked(kind: RecordType, outcomes: &[(DnsOutcome, Option<DnsOutcome>)]) -> World {
    let mut world = machine();
    let records: &[&str] = if kind == RecordType::A { &[APP_V4] } else { &[APP_V6] };
    for (at, server) in [(container(), "127.0.0.11"), (HERE, ROUTER_V4)] {
        for (round, (first, then)) in outcomes.iter().enumerate() {
            for (attempt, outcome) in [(1, Some(*first)), (2, *then)] {
                let (Some(outcome), true) = (outcome, at == container() || attempt == 1) else { continue };
                let mut answer = dns(Role::Client, DnsPurpose::Address, APP, kind, records);
                answer.server = format!("{server}:53").parse().unwrap();
                answer.attempt = attempt;
                if at == container() && outcome != DnsOutcome::Answer {
                    answer.outcome = outcome;
                    answer.records.clear();
                }
                world.inside(&at, ProbeName::Egress, FactBody::Dns(answer));
                if let Some(fact) = world.run.facts.last_mut() {
                    fact.started_ms = 1_000 * round as u64 + if attempt == 1 { 0 } else { 10 };
                }
            }
        }
    }
    world
}

#[test]
fn what_a_second_attempt_cures_is_no_failure() {
    use DnsOutcome::{Answer, OtherCode, ServFail, Timeout};
    // No EDNS there: asked again without it, as resolver libraries do.
    asked(RecordType::A, &[(OtherCode, Some(Answer)); 8]).is_well();
    asked(RecordType::A, &[(Timeout, Some(Answer)); 8]).never_says(Code::DnsContainerResolverFlaky);
    // Both attempts are lost now and then: the path's, perhaps.
    let mut some = vec![(Answer, None); 6];
    some.extend([(Timeout, Some(Timeout)); 3]);
    let judged = asked(RecordType::A, &some).judge();
    let cause = judged.cause(Code::DnsContainerResolverFlaky);
    assert_eq!(cause.confidence, Confidence::Likely, "{}", judged.show());
    assert!(format!("{:?}", cause.settle).contains("+tcp"), "{cause:?}");
    // An error is the server's own word.
    let mut some = vec![(Answer, None); 6];
    some.extend([(ServFail, None); 3]);
    asked(RecordType::A, &some).finds(Code::DnsContainerResolverFlaky, Impact::Degraded, Confidence::Confirmed);
    // AAAA never, A always: that is no "now and then".
    let never = machine().each(|fact| {
        if let (true, FactBody::Dns(body)) = (fact.vantage == container(), &mut fact.body)
            && body.record_type == RecordType::Aaaa
        {
            body.outcome = ServFail;
            body.records.clear();
        }
    });
    let mut never = never;
    for _ in 0..9 {
        let mut answer = dns(Role::Client, DnsPurpose::Address, APP, RecordType::A, &[APP_V4]);
        answer.server = "127.0.0.11:53".parse().unwrap();
        never.inside(&container(), ProbeName::Egress, FactBody::Dns(answer));
    }
    never.never_says(Code::DnsContainerResolverFlaky);
}

#[test]
fn a_pds_that_is_slow_with_everything_is_not_behind_a_hairpin() {
    // It does not answer its own request in the 4 s that are waited for.
    let silent = |world: World| {
        world.with(|world| {
            let own = format!("https://{PDS}/xrpc/_health");
            let mut body = par(Role::Target, PDS, ParArm::OwnUrl, 400, "", "");
            body.client = t(&own);
            body.failure = Some(fail(FailureKind::Timeout));
            (body.status, body.error) = (None, None);
            world.push(ProbeName::Par, 4_000, FactBody::Par(body));
        })
    };
    let unreached = |world: World| {
        world.without(|fact| matches!(&fact.body, FactBody::Connect(body) if fact.vantage == container() && body.role == Role::Target))
    };
    let judged = unreached(silent(machine())).judge();
    assert_eq!(judged.cause(Code::NatHairpin).impact, Impact::Risk, "{}", judged.show());
    // A connection to that very name came about where the PDS is.
    silent(machine()).never_says(Code::NatHairpin);
    // Every answer takes it two seconds.
    let slow = unreached(silent(machine())).each(|fact| match &fact.body {
        FactBody::Par(body) if body.role == Role::Target && body.arm != ParArm::OwnUrl => fact.took_ms += 2_000,
        FactBody::Http(body) if body.role == Role::Target => fact.took_ms += 2_000,
        _ => {}
    });
    slow.never_says(Code::NatHairpin);
}

#[test]
fn a_connection_to_an_own_address_says_nothing_of_a_firewall() {
    let own = machine_host_network()
        .interface(&HERE, UPLINK, |body| {
            body.addresses.push(address(PDS_V4, 24, Range::Global, pdsdoctor_probes::host_fact::AddressOrigin::Static));
        })
        // Something else is wrong, so that theories are listed.
        .pars(Role::Target, (400, "invalid_client_metadata", &not_obtained("")), 10_100);
    assert!(!own.judge().rules_out(Code::FwPortsClosed), "{}", own.judge().show());
    let others = machine_host_network().pars(Role::Target, (400, "invalid_client_metadata", &not_obtained("")), 10_100);
    assert!(others.judge().rules_out(Code::FwPortsClosed), "{}", others.judge().show());
}

#[test]
fn an_address_of_a_machine_without_a_way_back() {
    // The address is static: advertisements have nothing to do with it.
    let world = machine_host_network().without_v6_route(&HERE).hears(&[]).interface(&HERE, UPLINK, |body| {
        for address in &mut body.addresses {
            address.origin = pdsdoctor_probes::host_fact::AddressOrigin::Static;
            address.valid_s = None;
        }
    });
    let judged = world.finds(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed);
    assert!(judged.diagnosis.headline.contains(HOST_V6), "{}", judged.diagnosis.headline);
    // Where it is known why the route is gone, that is the cause.
    let purged = inside_v6::purged(machine_host_network()).judge();
    let cause = purged.cause(Code::V6DefaultRoutePurged);
    assert!(cause.symptoms.iter().any(|it| it.code == Code::V6InboundClosed), "{}", purged.show());
    // A rule of the machine's own may lead answers out by another table.
    let ruled = world
        .clone()
        .routes(&HERE, Family::V6, |routes| routes.rules = vec![t("100: from 2a01:4f8:1:2::/64 lookup 100")]);
    ruled.never_says(Code::V6InboundClosed);
    // Nobody is led there.
    world.unnamed_v6().never_says(Code::V6InboundClosed);
}

impl World {
    /// No AAAA record is published.
    fn unnamed_v6(self) -> Self {
        self.dns(PDS, |dns| {
            if dns.record_type == RecordType::Aaaa {
                dns.outcome = DnsOutcome::NoData;
                dns.records.clear();
            }
        })
    }
}

#[test]
fn a_router_that_leads_nowhere() {
    let mut none = router();
    none.lifetime_s = 0;
    let world = machine_host_network().without_v6_route(&HERE).hears(&[none]);
    let judged = world.has(Code::V6RaLifetimeExpiry, Impact::Degraded, Confidence::Likely);
    let summary = &judged.cause(Code::V6RaLifetimeExpiry).summary;
    assert!(summary.contains(HOST_V6) && summary.contains("lifetime 0"), "{summary}");
    assert!(!judged.show().contains("has no IPv6"), "{}", judged.show());
}

#[test]
fn a_stranger_s_server_at_an_old_address() {
    let moved = inside_paths::moved().each(|fact| {
        if let FactBody::Connect(body) = &mut fact.body
            && body.addr == ip(PDS_V4)
            && body.role == Role::Target
        {
            body.failure = None;
            fact.took_ms = 30;
        }
    });
    let stranger = |name: &str, trusted: bool| {
        moved.clone().with(|world| {
            world.handshake(ProbeName::Tls, Role::Target, PDS, PDS_V4);
            let Some(fact) = world.run.facts.last_mut() else { return };
            if let FactBody::Tls(body) = &mut fact.body {
                let mut shown = certificate(&[name]);
                shown.name_matches = name == PDS;
                if !trusted {
                    shown.trust_mozilla = pdsdoctor_probes::tls_fact::PathVerdict::UnknownIssuer;
                    shown.trust_system = pdsdoctor_probes::tls_fact::PathVerdict::UnknownIssuer;
                }
                body.certificate = Some(shown);
            }
        })
    };
    let judged =
        stranger("stranger.example", true).finds(Code::DnsDynamicIpStale, Impact::Broken, Confidence::Confirmed);
    let cause = judged.cause(Code::DnsDynamicIpStale);
    assert!(cause.symptoms.iter().any(|it| it.code == Code::TlsWrongName), "{}", judged.show());
    stranger("fritz.box", false).finds(Code::DnsDynamicIpStale, Impact::Broken, Confidence::Confirmed);
    // A front of one's own, elsewhere, has the name's own certificate.
    stranger(PDS, true).never_says(Code::DnsDynamicIpStale);
}

#[test]
fn what_nobody_looked_at_is_not_ruled_out() {
    let blocked = || inside_paths::blocked(Some(APP), FailureKind::Timeout);
    assert!(blocked().judge().rules_out(Code::DnsSplitHorizonSsrf), "{}", blocked().judge().show());
    // The files that the PDS has could not be read: the machine's are others.
    let unread = blocked().without(|fact| fact.vantage == container() && matches!(fact.body, FactBody::NameFiles(_)));
    assert!(!unread.judge().rules_out(Code::DnsSplitHorizonSsrf), "{}", unread.judge().show());
}
