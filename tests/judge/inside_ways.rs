//! IPv6 of the PDS's machine and container, outwards and inwards: sick, healthy and look-alike.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    fact::{Fact, FactBody, FailureKind, Family, ProbeName, Role, Vantage},
    host_fact::Range,
    par_fact::ParArm,
    process_fact::{Owner, PublishedPort, Setting},
};

use crate::{host::*, inside_paths::seen_as, inside_v6::eaten, world::*};

const HERE: Vantage = Vantage::Here;

fn v6(addr: std::net::IpAddr) -> bool {
    addr.is_ipv6() && addr != ip(PDS_V6)
}

/// Everything by IPv6 but the machine's own address is silent, at both places where there are two.
pub(crate) fn black_hole(world: World) -> World {
    world.reaches(&HERE, v6, Some(FailureKind::Timeout), 12_000)
}

#[test]
fn ipv6_is_a_black_hole() {
    let judged =
        black_hole(machine_host_network()).has(Code::V6BlackholeEgress, Impact::Degraded, Confidence::Confirmed);
    let cause = judged.cause(Code::V6BlackholeEgress);
    assert!(cause.summary.contains("eth0") && cause.contrast[0].that.contains("30 ms"), "{cause:?}");
    assert!(!judged.says(Code::V6ForwardingEatsRa));
    // One host alone is its own fault; two are a hint.
    let one = machine_host_network().reaches(&HERE, |addr| addr == ip(APP_V6), Some(FailureKind::Timeout), 12_000);
    one.says_nothing_of_v6();
    let only = |hosts: &'static [&'static str]| {
        black_hole(machine_host_network()).without(move |fact| match &fact.body {
            FactBody::Connect(body) => fact.probe == ProbeName::Egress && !hosts.contains(&body.host.as_str()),
            _ => false,
        })
    };
    only(&[APP, REF]).has(Code::V6BlackholeEgress, Impact::Degraded, Confidence::Likely);
    only(&[APP]).says_nothing_of_v6();
    // Nothing works at all: not IPv6's fault.
    let dead = machine_host_network().each(|fact| {
        if let (FactBody::Connect(body), ProbeName::Egress) = (&mut fact.body, fact.probe) {
            body.failure = Some(fail(FailureKind::Timeout));
        }
    });
    dead.never_says(Code::V6BlackholeEgress);
    // A router that is not there: the kernel says so after three seconds.
    let unreachable = machine_host_network().reaches(&HERE, v6, Some(FailureKind::HostUnreachable), 3_072);
    unreachable.has(Code::V6BlackholeEgress, Impact::Degraded, Confidence::Confirmed);
    let at_once = machine_host_network().reaches(&HERE, v6, Some(FailureKind::HostUnreachable), 2);
    at_once.never_says(Code::V6BlackholeEgress);
}

#[test]
fn a_login_that_waits_ten_seconds_for_ipv6() {
    let text = not_obtained("");
    let world = black_hole(machine_host_network()).pars(Role::Target, (400, "invalid_client_metadata", &text), 10_100);
    let judged = world.finds(Code::V6BlackholeEgress, Impact::Broken, Confidence::Confirmed);
    assert!(judged.cause(Code::V6BlackholeEgress).symptoms.iter().any(|it| it.code == Code::OauthClientMetadataEgress));
    // A login that fails otherwise is not this one's.
    let world = black_hole(machine_host_network()).pars(Role::Target, (400, "invalid_client_metadata", &text), 120);
    let judged = world.finds(Code::OauthClientMetadataEgress, Impact::Broken, Confidence::Confirmed);
    judged.cause(Code::V6BlackholeEgress);
}

/// The container has private addresses and a default route, and Docker translates nothing.
pub(crate) fn ula(world: World) -> World {
    world.with_v6(&container(), "fd00:9d5:1::2", Range::UniqueLocal).reaches(
        &container(),
        |addr| addr.is_ipv6(),
        Some(FailureKind::Timeout),
        12_000,
    )
}

#[test]
fn a_private_network_leads_into_a_hole() {
    let judged = ula(machine()).has(Code::V6UlaIntoHole, Impact::Risk, Confidence::Confirmed);
    let cause = judged.cause(Code::V6UlaIntoHole);
    assert!(cause.summary.contains("fd00:9d5:1::2") && cause.summary.contains("the container pds"), "{cause:?}");
    assert_eq!(cause.contrast.len(), 2, "the machine's own IPv6 works: {cause:?}");
    let far = ula(machine()).far(&container(), Family::V4, 320);
    let judged = far.clone().has(Code::V6UlaIntoHole, Impact::Degraded, Confidence::Confirmed);
    assert_eq!(judged.verdict(), Verdict::Degraded, "this login passed: {}", judged.show());
    let text = not_obtained("");
    let broken = far.clone().pars(Role::Target, (400, "invalid_client_metadata", &text), 10_100);
    let judged = broken.finds(Code::V6UlaIntoHole, Impact::Broken, Confidence::Confirmed);
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    let unasked = far.clone().without(|fact| fact.probe == ProbeName::Par);
    unasked.finds(Code::V6UlaIntoHole, Impact::Broken, Confidence::Confirmed);
    let patient = unasked.there(&HERE, |fact| {
        if let FactBody::Process(body) = &mut fact.body {
            body.node_options = vec![t("--network-family-autoselection-attempt-timeout=5000")];
        }
    });
    patient.has(Code::V6UlaIntoHole, Impact::Risk, Confidence::Confirmed);
    // Translated (Docker 27 and later): IPv6 works.
    machine().with_v6(&container(), "fd00:9d5:1::2", Range::UniqueLocal).is_well();
    // Refused at once: no hole.
    let refused = machine().with_v6(&container(), "fd00:9d5:1::2", Range::UniqueLocal).reaches(
        &container(),
        |addr| addr.is_ipv6(),
        Some(FailureKind::NetworkUnreachable),
        0,
    );
    refused.never_says(Code::V6UlaIntoHole);
}

#[test]
fn a_setting_of_docker_is_named() {
    let world = ula(machine()).each(|fact| {
        if let FactBody::Engine(body) = &mut fact.body {
            body.settings = vec![Setting { key: t("ip6tables"), value: t("false") }];
        }
    });
    let judged = world.judge();
    let steps = judged.cause(Code::V6UlaIntoHole).remedies[0].lines().concat();
    assert!(steps.contains("remove: \"ip6tables\": false"), "{steps}");
}

#[test]
fn a_container_without_ipv6() {
    machine().says_nothing_of_v6();
    let far = machine().far(&container(), Family::V4, 320);
    // A login that works says that nothing is wrong, whatever the distance.
    far.never_says(Code::V6ContainerHasNone);
    let judged = far.fetch_fails(251).has(Code::V6ContainerHasNone, Impact::Risk, Confidence::Confirmed);
    let cause = judged.cause(Code::V6ContainerHasNone);
    assert!(cause.summary.contains(APP) && cause.seen.iter().any(|line| line.contains(NETWORK)), "{cause:?}");
    assert!(cause.remedies[0].lines().concat().contains("network_mode: host"), "{cause:?}");
    // The machine has none either: then the machine's is the question.
    eaten(machine()).far(&container(), Family::V4, 320).never_says(Code::V6ContainerHasNone);
    // It has IPv6.
    let with = machine().with_v6(&container(), "2a01:4f8:1:2:d::2", Range::Global).far(&container(), Family::V4, 320);
    with.never_says(Code::V6ContainerHasNone);
    let text = not_obtained("");
    let fails = machine().par(Role::Target, ParArm::CacheBusted, (400, "invalid_client_metadata", &text), 410);
    fails.has(Code::V6ContainerHasNone, Impact::Risk, Confidence::Confirmed);
    // Shares the machine's network.
    machine_host_network().far(&HERE, Family::V4, 320).says_nothing_of_v6();
}

/// `docker-proxy` holds everybody's port on IPv6.
pub(crate) fn masked(world: World) -> World {
    world.there(&HERE, |fact| match &mut fact.body {
        FactBody::Listeners(body) => {
            for socket in &mut body.sockets {
                socket.owner = Some(Owner { pid: 901, program: t("docker-proxy"), hands_to: None });
            }
        }
        FactBody::Container(body) => {
            let published = |addr: &str| PublishedPort {
                container_port: 3_000,
                protocol: t("tcp"),
                host_addr: ip(addr),
                host_port: 443,
            };
            body.published = vec![published("0.0.0.0"), published("::")];
        }
        _ => {}
    })
}

#[test]
fn visitors_by_ipv6_look_like_one() {
    masked(machine()).finds(Code::V6ClientIpMasked, Impact::Risk, Confidence::Likely);
    // The proxy's container is not looked at; the network that both are in is.
    let proxys = masked(machine()).each(|fact| {
        if let FactBody::Container(body) = &mut fact.body {
            body.published.clear();
        }
    });
    proxys.finds(Code::V6ClientIpMasked, Impact::Risk, Confidence::Possible);
    // Caddy on the machine, in front of a port published on every address (Docker's default).
    let published = machine().there(&HERE, |fact| match &mut fact.body {
        FactBody::Container(body) => body.published[0].host_addr = ip("::"),
        FactBody::Listeners(body) => body.sockets[2].addr = ip("::"),
        _ => {}
    });
    published.is_well();
    let off = masked(machine()).each(|fact| {
        if let FactBody::Engine(body) = &mut fact.body {
            body.settings = vec![Setting { key: t("userland-proxy"), value: t("false") }];
        }
    });
    off.never_says(Code::V6ClientIpMasked);
    masked(machine()).with_v6(&container(), "2a01:4f8:1:2:d::2", Range::Global).never_says(Code::V6ClientIpMasked);
}

/// `docker-proxy` was started to hand on to this address.
fn hands_to(world: World, to: &str) -> World {
    let to: std::net::SocketAddr = to.parse().unwrap();
    masked(world).there(&HERE, |fact| match &mut fact.body {
        FactBody::Listeners(body) => {
            for owner in body.sockets.iter_mut().filter_map(|socket| socket.owner.as_mut()) {
                owner.hands_to = Some(to);
            }
        }
        // Another container's port.
        FactBody::Container(body) => body.published.clear(),
        _ => {}
    })
}

#[test]
fn docker_proxy_says_where_it_hands_on() {
    let judged = hands_to(machine(), "172.18.0.3:443").finds(Code::V6ClientIpMasked, Impact::Risk, Confidence::Likely);
    let remedy = &judged.cause(Code::V6ClientIpMasked).remedies[0];
    assert!(remedy.title.contains("172.18.0.3"), "{remedy:?}");
    // By the same family: Docker's own rules lead it, and keep the address.
    hands_to(machine(), "[fd4b:6f52:7c1e::3]:443").never_says(Code::V6ClientIpMasked);
}

/// The AAAA record stands, and the machine to which the A record leads has no IPv6.
pub(crate) fn without_its_v6() -> World {
    let v6 = |fact: &Fact| match &fact.body {
        FactBody::Connect(body) => body.addr.is_ipv6(),
        FactBody::Tls(body) => body.addr.is_ipv6(),
        FactBody::Http(body) => body.addr.is_some_and(|addr| addr.is_ipv6()),
        _ => false,
    };
    machine_host_network().without(v6).without_v6(&HERE).each(|fact| {
        if let FactBody::OwnNetwork(body) = &mut fact.body
            && body.family == Family::V6
        {
            body.source = None;
            body.failure = Some(fail(FailureKind::NetworkUnreachable));
        }
    })
}

#[test]
fn ipv6_is_published_and_the_machine_has_none() {
    let judged = seen_as(without_its_v6(), PDS_V4).has(Code::V6InboundClosed, Impact::Risk, Confidence::Likely);
    let cause = judged.cause(Code::V6InboundClosed);
    assert!(cause.summary.contains(PDS_V6), "{}", cause.summary);
    // What stands before the machine has its own IPv6: the A record does not lead here either.
    seen_as(without_its_v6(), "203.0.113.77").never_says(Code::V6InboundClosed);
    without_its_v6().never_says(Code::V6InboundClosed);
    // With its IPv6 it was tried.
    seen_as(machine_host_network(), PDS_V4).never_says(Code::V6InboundClosed);
}

/// A connection to an address of one's own never leaves the machine: it shows nothing of the way in.
#[test]
fn the_own_address_proves_nothing() {
    let world = machine().at_boot("net/ipv6/conf/eth0/accept_ra", None);
    let judged = world.finds(Code::V6AcceptRaNotPersistent, Impact::Risk, Confidence::Likely);
    assert!(!judged.rules_out(Code::V6InboundClosed), "{}", judged.show());
}

/// Port 443 of the machine on IPv4 alone; the published address is its own, so the kernel refuses.
pub(crate) fn v4_only(program: &'static str) -> World {
    machine().closed(PDS_V6, FailureKind::Refused, 0).there(&HERE, |fact| {
        if let FactBody::Listeners(body) = &mut fact.body {
            for socket in body.sockets.iter_mut().filter(|socket| socket.port != 3_000) {
                socket.addr = ip("0.0.0.0");
                socket.owner = Some(Owner { pid: 900, program: t(program), hands_to: None });
            }
        }
    })
}

#[test]
fn ipv6_is_closed_because_nobody_listens_there() {
    for (program, words) in
        [("caddy", "tcp4/"), ("nginx", "listen [::]:443"), ("docker-proxy", "ports:"), ("haproxy", "[::]:443")]
    {
        let judged = v4_only(program).finds(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed);
        assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
        let cause = &judged.diagnosis.causes[0];
        assert!(cause.remedies[0].lines().concat().contains(words), "{program}: {:?}", cause.remedies[0]);
        assert!(cause.contrast.iter().any(|it| it.that.contains(program)), "{program}: {:?}", cause.contrast);
    }
}

#[test]
fn ipv6_is_closed_because_the_address_is_not_this_machines() {
    let moved = machine().closed(PDS_V6, FailureKind::Timeout, 4_000).interface(&HERE, UPLINK, |body| {
        for address in body.addresses.iter_mut().filter(|address| address.addr == ip(HOST_V6)) {
            address.addr = ip("2a01:4f8:77:2::11");
        }
    });
    let judged = moved.finds(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed);
    assert!(judged.diagnosis.causes[0].remedies[0].lines()[0].contains("2a01:4f8:77:2::11"), "{}", judged.show());
    // A firewall: somebody listens there.
    let firewall = machine().closed(PDS_V6, FailureKind::Timeout, 4_000);
    let judged = firewall.finds(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed);
    assert!(judged.diagnosis.causes[0].seen.iter().any(|line| line.contains("firewall")), "{}", judged.show());
}

/// A router that has only a private prefix, and calls itself the way to everywhere.
#[test]
fn a_home_network_with_private_ipv6_only() {
    let own = "fd12:3456:789a::20";
    let world = machine_host_network()
        .interface(&HERE, UPLINK, |body| body.addresses.retain(|address| address.range != Range::Global))
        .with_v6(&HERE, own, Range::UniqueLocal);
    let judged = black_hole(world).has(Code::V6UlaIntoHole, Impact::Risk, Confidence::Confirmed);
    let cause = judged.cause(Code::V6UlaIntoHole);
    assert!(cause.remedies[0].lines()[0].contains("net.ipv6.conf.eth0.accept_ra_defrtr=0"), "{cause:?}");
    assert!(!judged.says(Code::V6ForwardingEatsRa));
}

/// A public address in the container that nothing leads back to (no neighbour proxy, say): the machine's
/// own IPv6 is well, so it is not the one to repair.
#[test]
fn only_the_containers_ipv6_is_a_black_hole() {
    let world = machine().with_v6(&container(), "2a01:4f8:1:2:d::2", Range::Global).reaches(
        &container(),
        |addr| addr.is_ipv6(),
        Some(FailureKind::Timeout),
        12_000,
    );
    let judged = world.has(Code::V6BlackholeEgress, Impact::Degraded, Confidence::Confirmed);
    let cause = judged.cause(Code::V6BlackholeEgress);
    assert_eq!(cause.scope.vantage.as_deref(), Some("container:pds"));
    assert!(cause.contrast.iter().any(|it| it.that.contains("this machine: answered")), "{cause:?}");
    assert!(!cause.remedies.iter().any(|it| it.lines().concat().contains("disable_ipv6")), "{cause:?}");
}
