//! Router advertisements and the kernel of the PDS's machine: sick, healthy and look-alike.

use pdsdoctor::diagnose::{Code, Confidence, Impact, Verdict};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, Family, ProbeName, Role, Vantage},
    host_fact::{AddressOrigin, BootVia, RaHandler, Range},
    par_fact::ParArm,
};

use crate::{change::Judged, host::*, world::*};

const HERE: Vantage = Vantage::Here;
const ACCEPT_RA: &str = "net/ipv6/conf/eth0/accept_ra";
const CODES: [Code; 9] = [
    Code::V6ForwardingEatsRa,
    Code::V6DefaultRoutePurged,
    Code::V6NetworkdForwardingDisablesRa,
    Code::V6RaLifetimeExpiry,
    Code::V6AcceptRaNotPersistent,
    Code::V6BlackholeEgress,
    Code::V6UlaIntoHole,
    Code::V6ContainerHasNone,
    Code::V6ClientIpMasked,
];

impl World {
    #[track_caller]
    pub fn says_nothing_of_v6(&self) {
        let judged = self.judge();
        for code in CODES {
            assert!(!judged.says(code), "{code} was found: {}", judged.show());
        }
    }

    #[track_caller]
    pub fn has(&self, code: Code, impact: Impact, confidence: Confidence) -> Judged {
        let judged = self.judge();
        let cause = judged.cause(code);
        assert_eq!((cause.impact, cause.confidence), (impact, confidence), "{}", judged.show());
        judged
    }
}

/// The first field report: Docker forwards, `accept_ra` is the kernel's default, the router is heard.
pub(crate) fn eaten(world: World) -> World {
    world.without_v6(&HERE).accept_ra(1).at_boot(ACCEPT_RA, None)
}

/// Whoever comes by IPv6 gets no answer, which nobody sees from the machine itself: said, and no mere risk.
#[test]
fn the_address_that_was_lost_is_published() {
    let says = |world: World, code| {
        let judged = world.has(code, Impact::Degraded, Confidence::Confirmed);
        judged.cause(code).seen.iter().any(|line| line.contains("AAAA") && line.contains(HOST_V6))
    };
    assert!(says(eaten(machine_host_network()), Code::V6ForwardingEatsRa));
    assert!(says(purged(machine_host_network()), Code::V6DefaultRoutePurged));
    // A record that leads elsewhere (a CDN's, say) is none of this machine's.
    let mut other = router();
    other.prefixes[0].prefix = t("2a01:4f8:1:3::/64");
    let elsewhere = eaten(machine_host_network()).hears(&[other]);
    let judged = elsewhere.has(Code::V6ForwardingEatsRa, Impact::Risk, Confidence::Confirmed);
    assert!(!judged.show().contains("cannot answer without a route"), "{}", judged.show());
}

#[test]
fn forwarding_eats_advertisements() {
    let judged = eaten(machine_host_network()).has(Code::V6ForwardingEatsRa, Impact::Degraded, Confidence::Confirmed);
    assert_eq!(judged.verdict(), Verdict::Degraded, "near apps work, visitors by IPv6 wait: {}", judged.show());
    assert_eq!(judged.diagnosis.causes.len(), 1, "{}", judged.show());
    let cause = judged.cause(Code::V6ForwardingEatsRa);
    for words in ["fe80::1", "eth0", "dockerd", "accept_ra is 1"] {
        assert!(cause.summary.contains(words), "{}", cause.summary);
    }
    assert!(cause.contrast[0].that.contains(PREFIX) && cause.contrast[0].that.contains("1800 s"), "{cause:?}");
    assert_eq!(cause.remedies[0].lines()[0], "sudo sysctl -w net.ipv6.conf.eth0.accept_ra=2");
    assert!(cause.remedies[0].lines()[1].contains("/etc/sysctl.d/"), "{cause:?}");
    assert_eq!(cause.remedies[0].verify.to_string(), "sudo pdsdoctor check pds.example.com");
    assert_eq!(
        judged.why_not(Code::V6BlackholeEgress).map(|why| why.contains("at once")),
        Some(true),
        "the report's own theory is ruled out"
    );
}

#[test]
fn a_container_on_a_bridge_is_not_reached_by_the_remedy() {
    let judged = eaten(machine()).has(Code::V6ForwardingEatsRa, Impact::Degraded, Confidence::Confirmed);
    let cause = judged.cause(Code::V6ForwardingEatsRa);
    assert!(cause.seen.iter().any(|line| line.contains("does not reach it")), "{:?}", cause.seen);
    let judged = eaten(machine_host_network()).judge();
    let cause = judged.cause(Code::V6ForwardingEatsRa);
    assert!(!cause.seen.iter().any(|line| line.contains("does not reach it")), "{:?}", cause.seen);
}

#[test]
fn ifupdown_and_odd_names() {
    let world = eaten(machine_host_network()).handled(RaHandler::Ifupdown);
    let judged = world.has(Code::V6ForwardingEatsRa, Impact::Degraded, Confidence::Confirmed);
    let remedies = &judged.cause(Code::V6ForwardingEatsRa).remedies;
    assert!(remedies[1].lines()[0].contains("accept_ra 2"), "{remedies:?}");
    let named = |name: &str| {
        let run = serde_json::to_string(&eaten(machine_host_network()).run).unwrap();
        let run = run.replace("conf/eth0/", &format!("conf/{name}/")).replace("\"eth0\"", &format!("\"{name}\""));
        World { run: serde_json::from_str(&run).unwrap() }.judge()
    };
    let judged = named("eth0.100");
    let step = &judged.cause(Code::V6ForwardingEatsRa).remedies[0].lines()[0];
    assert_eq!(step, "sudo sysctl -w net/ipv6/conf/eth0.100/accept_ra=2");
    let judged = named("a;reboot;");
    let steps = judged.cause(Code::V6ForwardingEatsRa).remedies[0].lines().concat();
    assert!(!steps.contains("reboot"), "a name is no command: {steps}");
}

#[test]
fn nobody_could_listen() {
    let deaf = |world: World| eaten(world).deaf();
    deaf(machine_host_network()).says_nothing_of_v6();
    let meant = deaf(machine_host_network())
        .at_boot("net/ipv6/conf/all/accept_ra", Some(("2", "/etc/sysctl.d/x.conf", BootVia::Key)));
    let judged = meant.has(Code::V6AcceptRaNotPersistent, Impact::Risk, Confidence::Confirmed);
    assert!(judged.says(Code::V6ForwardingEatsRa), "{}", judged.show());
    let server = deaf(machine_host_network()).there(&HERE, |fact| {
        if let FactBody::NameFiles(body) = &mut fact.body {
            body.nameservers.push(t("fe80::1%eth0"));
        }
    });
    let judged = server.has(Code::V6ForwardingEatsRa, Impact::Risk, Confidence::Likely);
    assert!(
        judged
            .cause(Code::V6ForwardingEatsRa)
            .settle
            .as_ref()
            .is_some_and(|it| it.to_string().contains("sudo pdsdoctor"))
    );
    let text = not_obtained("");
    let fails = deaf(machine_host_network()).par(
        Role::Target,
        ParArm::CacheBusted,
        (400, "invalid_client_metadata", &text),
        410,
    );
    fails.has(Code::V6ForwardingEatsRa, Impact::Risk, Confidence::Possible);
    let unasked = eaten(machine_host_network()).hears(&[]).each(|fact| {
        if let FactBody::RouterAdvertisement(body) = &mut fact.body {
            body.solicited = false;
        }
    });
    unasked.says_nothing_of_v6();
}

#[test]
fn no_router_advertises() {
    let world = eaten(machine_host_network()).hears(&[]);
    world.says_nothing_of_v6();
    let judged = world.closed(PDS_V4, FailureKind::Timeout, 4_000).judge();
    let why = judged.why_not(Code::V6ForwardingEatsRa).expect("ruled out");
    assert!(why.contains("no router advertises"), "{why}");
}

#[test]
fn what_a_router_offers_counts() {
    let only_private = |lifetime_s| {
        let mut router = router();
        router.prefixes[0].prefix = t("fd12:3456:789a::/64");
        router.lifetime_s = lifetime_s;
        eaten(machine_host_network()).hears(&[router])
    };
    only_private(0).says_nothing_of_v6();
    only_private(1_800).says_nothing_of_v6();
    let mut no_default = router();
    no_default.lifetime_s = 0;
    let world = eaten(machine_host_network()).hears(&[no_default]);
    world.has(Code::V6ForwardingEatsRa, Impact::Risk, Confidence::Likely);
    let mut dhcp = router();
    dhcp.prefixes[0].autonomous = false;
    dhcp.managed = true;
    eaten(machine_host_network()).hears(&[dhcp]).has(Code::V6ForwardingEatsRa, Impact::Degraded, Confidence::Confirmed);
}

/// What must not be taken for it.
#[test]
fn look_alikes_of_forwarding_that_eats_advertisements() {
    // Repaired: accept_ra is 2.
    machine_host_network().is_well();
    // No forwarding, accept_ra 1: the plain default.
    machine_host_network().forwards(false).accept_ra(1).at_boot(ACCEPT_RA, None).is_well();
    // A router of its own: static address and route; advertisements are none of its business.
    let router = machine_host_network()
        .accept_ra(1)
        .at_boot(ACCEPT_RA, None)
        .interface(&HERE, UPLINK, |body| {
            for address in &mut body.addresses {
                address.origin = AddressOrigin::Static;
            }
        })
        .routes(&HERE, Family::V6, |routes| {
            routes.defaults = vec![default_route(Some(ROUTER_V6), UPLINK, "static")];
        });
    router.is_well();
    // Handled in user space.
    for handler in [RaHandler::SystemdNetworkd, RaHandler::NetworkManager, RaHandler::Dhcpcd] {
        machine_host_network().accept_ra(0).handled(handler).at_boot(ACCEPT_RA, None).is_well();
    }
    // Switched off on purpose.
    let off = eaten(machine_host_network()).live(&HERE, "net/ipv6/conf/eth0/disable_ipv6", 1);
    off.says_nothing_of_v6();
    // A tunnel carries IPv6.
    let vpn = machine_host_network()
        .accept_ra(1)
        .at_boot(ACCEPT_RA, None)
        .interface(&HERE, UPLINK, |body| body.addresses.retain(|address| address.range != Range::Global))
        .routes(&HERE, Family::V6, |routes| routes.defaults = vec![default_route(None, "wg0", "boot")]);
    vpn.is_well();
    // A second uplink has it.
    let second = machine_host_network()
        .accept_ra(1)
        .at_boot(ACCEPT_RA, None)
        .interface(&HERE, UPLINK, |body| body.addresses.retain(|address| address.range != Range::Global))
        .routes(&HERE, Family::V6, |routes| routes.defaults = vec![default_route(Some(ROUTER_V6), "eth1", "ra")]);
    second.is_well();
    // Only Tailscale: not IPv6 of the internet, and no router advertises any.
    let tailscale = eaten(machine_host_network()).hears(&[]).with(|world| {
        let own = vec![
            address("100.101.102.103", 32, Range::Tailscale, AddressOrigin::Static),
            address("fd7a:115c:a1e0::6701:6667", 128, Range::Tailscale, AddressOrigin::Static),
        ];
        let body = interface("tailscale0", 9, Some("tun"), own);
        world.inside(&HERE, ProbeName::HostNetwork, FactBody::Interface(body));
    });
    tailscale.says_nothing_of_v6();
}

/// Without the facts about the interface nothing is said.
#[test]
fn missing_facts() {
    let sick = eaten(machine_host_network());
    for probe in [ProbeName::HostNetwork, ProbeName::HostSettings, ProbeName::RaHandler] {
        sick.clone().not_probed(probe).never_says(Code::V6ForwardingEatsRa);
    }
}

pub(crate) fn purged(world: World) -> World {
    world.without_v6_route(&HERE).accept_ra(1).at_boot(ACCEPT_RA, None)
}

#[test]
fn the_default_route_was_purged() {
    let world = purged(machine_host_network());
    let judged = world.has(Code::V6DefaultRoutePurged, Impact::Degraded, Confidence::Confirmed);
    assert!(judged.cause(Code::V6DefaultRoutePurged).summary.contains(HOST_V6), "{}", judged.show());
    assert!(!judged.says(Code::V6ForwardingEatsRa), "one state, one cause");
    purged(machine_host_network()).deaf().has(Code::V6DefaultRoutePurged, Impact::Degraded, Confidence::Likely);
    // A router that went away, and left an address behind, looks the same but for the listen.
    let gone = purged(machine_host_network()).hears(&[]);
    gone.never_says(Code::V6DefaultRoutePurged).cause(Code::V6RaLifetimeExpiry);
    // An address that a person gave has nothing to do with advertisements.
    let fixed = purged(machine_host_network()).interface(&HERE, UPLINK, |body| {
        body.addresses.iter_mut().for_each(|address| address.origin = AddressOrigin::Static);
    });
    fixed.never_says(Code::V6DefaultRoutePurged);
}

pub(crate) fn networkd(world: World) -> World {
    world.without_v6(&HERE).accept_ra(0).handled(RaHandler::SystemdNetworkd).at_boot(ACCEPT_RA, None).each(|fact| {
        if let FactBody::RaHandler(body) = &mut fact.body {
            body.because =
                vec![t("systemd-networkd runs and calls it configured by /etc/systemd/network/20-lan.network")];
        }
    })
}

#[test]
fn networkd_forwards_and_ignores_the_router() {
    let judged = networkd(machine_host_network()).has(
        Code::V6NetworkdForwardingDisablesRa,
        Impact::Degraded,
        Confidence::Likely,
    );
    let steps = judged.cause(Code::V6NetworkdForwardingDisablesRa).remedies[0].lines().concat();
    assert!(steps.contains("/etc/systemd/network/20-lan.network.d") && steps.contains("IPv6AcceptRA=yes"), "{steps}");
    assert!(!steps.contains("sysctl"), "{steps}");
    // Nobody but networkd can have switched forwarding on.
    let alone = networkd(machine_host_network()).each(|fact| {
        if let FactBody::Forwarding(body) = &mut fact.body {
            body.programs.clear();
        }
    });
    alone.has(Code::V6NetworkdForwardingDisablesRa, Impact::Degraded, Confidence::Confirmed);
    networkd(machine_host_network()).hears(&[]).says_nothing_of_v6();
    networkd(machine_host_network()).deaf().says_nothing_of_v6();
}

fn left(world: World, seconds: u32) -> World {
    world.routes(&HERE, Family::V6, |routes| routes.defaults[0].expires_s = Some(seconds))
}

#[test]
fn the_route_runs_out() {
    let quiet = |seconds| left(machine_host_network().hears(&[]), seconds);
    let judged = quiet(400).has(Code::V6RaLifetimeExpiry, Impact::Risk, Confidence::Likely);
    assert!(judged.cause(Code::V6RaLifetimeExpiry).summary.contains("400 s"), "{}", judged.show());
    // As fresh as a router that keeps to the defaults makes it: one lost answer is no fault.
    quiet(1_500).is_well();
    // The router answers, and the route is between two advertisements.
    left(machine_host_network(), 1_250).is_well();
    left(machine_host_network(), 650).is_well();
    left(machine_host_network(), 300).has(Code::V6RaLifetimeExpiry, Impact::Risk, Confidence::Possible);
    // Short lifetimes, renewed in time.
    let mut short = router();
    short.lifetime_s = 90;
    left(machine_host_network().hears(&[short]), 61).is_well();
    // Programs that ask again.
    left(machine_host_network().hears(&[]).handled(RaHandler::NetworkManager), 400).is_well();
    // A static route beside it stays.
    let stays = left(machine_host_network().hears(&[]), 400).routes(&HERE, Family::V6, |routes| {
        routes.defaults.push(default_route(Some(ROUTER_V6), UPLINK, "static"));
    });
    stays.is_well();
    left(machine_host_network().deaf(), 400).is_well();
}

#[test]
fn the_route_has_run_out() {
    let world = machine_host_network().without_v6_route(&HERE);
    let judged = world.has(Code::V6RaLifetimeExpiry, Impact::Degraded, Confidence::Likely);
    assert!(judged.cause(Code::V6RaLifetimeExpiry).summary.contains("only when asked"), "{}", judged.show());
}

#[test]
fn accept_ra_will_not_survive_the_next_boot() {
    let by_hand = machine_host_network().at_boot(ACCEPT_RA, None);
    by_hand.finds(Code::V6AcceptRaNotPersistent, Impact::Risk, Confidence::Likely);
    let file = |value, via| machine_host_network().at_boot(ACCEPT_RA, Some((value, "/etc/sysctl.d/50.conf", via)));
    file("1", BootVia::Key).finds(Code::V6AcceptRaNotPersistent, Impact::Risk, Confidence::Confirmed);
    file("2", BootVia::Unread).finds(Code::V6AcceptRaNotPersistent, Impact::Risk, Confidence::Likely);
    for via in [BootVia::Key, BootVia::Pattern, BootVia::Default] {
        file("2", via).is_well();
    }
    let judged = by_hand
        .clone()
        .at_boot("net/ipv6/conf/all/accept_ra", Some(("2", "/etc/sysctl.d/x.conf", BootVia::Key)))
        .finds(Code::V6AcceptRaNotPersistent, Impact::Risk, Confidence::Likely);
    assert!(judged.diagnosis.headline.contains("to no interface"), "{}", judged.diagnosis.headline);
    // ifupdown has it in its own file.
    by_hand.clone().handled(RaHandler::Ifupdown).is_well();
    // Without forwarding the default does.
    by_hand.clone().forwards(false).is_well();
    // IPv6 does not come by advertisements here.
    let fixed = by_hand.interface(&HERE, UPLINK, |body| {
        body.addresses.iter_mut().for_each(|address| address.origin = AddressOrigin::Static);
    });
    let fixed = fixed.routes(&HERE, Family::V6, |routes| {
        routes.defaults = vec![default_route(Some(ROUTER_V6), UPLINK, "static")];
    });
    fixed.is_well();
}

#[test]
fn the_file_was_not_applied() {
    for via in [BootVia::Key, BootVia::Default, BootVia::Unread] {
        let judged = eaten(machine_host_network()).accept_ra_lasts(via).has(
            Code::V6AcceptRaNotPersistent,
            Impact::Degraded,
            Confidence::Confirmed,
        );
        let cause = judged.cause(Code::V6AcceptRaNotPersistent);
        assert_eq!(cause.symptoms[0].code, Code::V6ForwardingEatsRa, "{}", judged.show());
        assert!(cause.summary.contains(ACCEPT_RA_FILE), "{}", judged.show());
    }
    // Where no router advertises, it does not matter.
    eaten(machine_host_network()).accept_ra_lasts(BootVia::Key).hears(&[]).says_nothing_of_v6();
}

/// A static address whose route was to come from the router.
#[test]
fn a_static_address_without_a_route() {
    let world = purged(machine_host_network()).interface(&HERE, UPLINK, |body| {
        body.addresses.iter_mut().for_each(|address| address.origin = AddressOrigin::Static);
    });
    let judged = world.has(Code::V6ForwardingEatsRa, Impact::Degraded, Confidence::Confirmed);
    assert!(judged.cause(Code::V6ForwardingEatsRa).contrast[0].this.contains(HOST_V6), "{}", judged.show());
    world.hears(&[]).never_says(Code::V6ForwardingEatsRa);
}
