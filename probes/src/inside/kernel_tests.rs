//! Against the real kernel, in network namespaces of the tests' own.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddrV6, TcpListener},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    advertisement::tests::advertisement,
    testing::{Process, in_new_network, ip, lab, measure, set},
    *,
};
use crate::{
    fact::{Fact, FactBody, Family, ProbeName, Role, Vantage},
    host_fact::{
        AddressOrigin, InterfaceFact, RaHandler, RaHandlerFact, Range, RouterAdvertisementFact, RoutesFact, SourceFact,
        SysctlFact,
    },
};

const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0, 0, 0);

// An address that is added is tentative, and no source, until a worker of the kernel has come to it, also where
// `accept_dad` is 0 (addrconf_dad_work, net/ipv6/addrconf.c): on a busy machine that is later than the next look. With
// `nodad` it is none from the start.

/// Everything of one kind that was measured from `vantage`.
fn of<'a, T>(facts: &'a [Fact], vantage: &Vantage, pick: impl Fn(&'a FactBody) -> Option<&'a T>) -> Vec<&'a T> {
    facts.iter().filter(|fact| fact.vantage == *vantage).filter_map(|fact| pick(&fact.body)).collect()
}

macro_rules! kind {
    ($name:ident, $variant:ident, $fact:ty) => {
        fn $name<'a>(facts: &'a [Fact], vantage: &Vantage) -> Vec<&'a $fact> {
            of(facts, vantage, |body| match body {
                FactBody::$variant(fact) => Some(fact),
                _ => None,
            })
        }
    };
}
kind!(interfaces, Interface, InterfaceFact);
kind!(routes, Routes, RoutesFact);
kind!(sources, Source, SourceFact);
kind!(settings, Sysctl, SysctlFact);
kind!(handlers, RaHandler, RaHandlerFact);
kind!(heard, RouterAdvertisement, RouterAdvertisementFact);

fn interface<'a>(facts: &'a [Fact], vantage: &Vantage, name: &str) -> &'a InterfaceFact {
    interfaces(facts, vantage).into_iter().find(|found| found.name.as_str() == name).expect("the interface")
}

fn setting(facts: &[Fact], vantage: &Vantage, interface: &str, name: &str) -> Option<i64> {
    let of = settings(facts, vantage).into_iter().find(|fact| fact.interface.as_deref() == Some(interface))?;
    let key = format!("net/ipv6/conf/{interface}/{name}");
    of.values.iter().find(|value| value.key.as_str() == key)?.live
}

/// Runs `work` in a namespace whose `eth0` leads to a router that advertises [`PREFIX`] all the time.
fn beside_a_router(work: impl FnOnce() + Send) {
    in_new_network(|| {
        let stop = AtomicBool::new(false);
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let (ready, waited) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let stop = &stop;
            let router = scope.spawn(move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
                tell.send(nix::unistd::gettid()).expect("told");
                gone.recv().expect("a cable");
                set("ipv6/conf/r0/accept_dad", "0");
                set("ipv6/conf/r0/addr_gen_mode", "1");
                ip("link set r0 up");
                ip("addr add fe80::1/64 dev r0 nodad");
                ready.send(()).expect("ready");
                advertise(stop);
            });
            let router_thread = told.recv().expect("a router");
            set("ipv6/conf/default/accept_dad", "0");
            set("ipv6/conf/default/router_solicitations", "0");
            ip("link set lo up");
            ip(&format!("link add eth0 type veth peer name r0 netns {router_thread}"));
            go.send(()).expect("a router");
            waited.recv().expect("a router");
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            stop.store(true, Ordering::Relaxed);
            router.join().expect("the router");
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
        });
    });
}

fn advertise(stop: &AtomicBool) {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("a raw socket");
    let index = nix::net::if_::if_nametoindex("r0").expect("r0");
    socket.set_multicast_hops_v6(255).expect("hops");
    socket.set_multicast_if_v6(index).expect("interface");
    let all = SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, index);
    while !stop.load(Ordering::Relaxed) {
        // Until the cable is up at both ends nothing can be sent.
        let _ = socket.send_to(&advertisement(1800, PREFIX), &all.into());
        thread::sleep(Duration::from_millis(50));
    }
}

fn examined(listen: Option<Duration>) -> Vec<Fact> {
    let options = InsideOptions { pid: Some(1), ..InsideOptions::default() };
    let (_, facts, _) = measure(|net| async move {
        let survey = survey(&net, &options).await;
        if let Some(time) = listen {
            survey.listen(&net, &options, time).await;
        }
    });
    facts
}

/// Looks again until `done`, for what the kernel does in its own time.
fn until(done: impl Fn(&[Fact]) -> bool) -> Vec<Fact> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let facts = examined(None);
        if done(&facts) {
            return facts;
        }
        assert!(Instant::now() < deadline, "{facts:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn has_global(facts: &[Fact]) -> bool {
    let addresses = &interface(facts, &Vantage::Here, "eth0").addresses;
    addresses.iter().any(|found| found.range == Range::Global && found.addr.is_ipv6())
}

#[test]
fn forwarding_eats_advertisements_and_accept_ra_2_does_not() {
    if !lab() {
        return;
    }
    beside_a_router(|| {
        let here = &Vantage::Here;
        set("ipv6/conf/all/forwarding", "1");
        set("ipv6/conf/eth0/accept_ra", "1");
        ip("link set eth0 up");
        until(|facts| !interface(facts, here, "eth0").addresses.is_empty());
        let facts = examined(Some(Duration::from_millis(1500)));
        // The router is there, and heard…
        let heard = heard(&facts, here);
        assert_eq!((heard.len(), heard[0].interface.as_str(), heard[0].solicited), (1, "eth0", true), "{heard:?}");
        let router = &heard[0].routers[0];
        assert_eq!((router.router, router.lifetime_s), ("fe80::1".parse().expect("an address"), 1800));
        assert_eq!(router.prefixes[0].prefix.as_str(), "2a00:1:2:3::/64");
        // …and the kernel does nothing with it.
        assert!(!has_global(&facts));
        let v6 = routes(&facts, here).into_iter().find(|routes| routes.family == Family::V6).expect("routes");
        assert!(v6.defaults.is_empty(), "{v6:?}");
        assert!(sources(&facts, here).iter().all(|way| way.source.is_none() && way.failure.is_some()));
        let handler = handlers(&facts, here)[0];
        assert_eq!((handler.handler, handler.kernel_accepts), (RaHandler::Kernel, Some(false)));
        assert_eq!(setting(&facts, here, "eth0", "forwarding"), Some(1));
        // The remedy, and the kernel takes the next one.
        set("ipv6/conf/eth0/accept_ra", "2");
        let facts = until(has_global);
        let address = interface(&facts, here, "eth0").addresses.iter().find(|found| found.range == Range::Global);
        let address = address.expect("an address");
        assert_eq!((address.origin, address.prefix), (AddressOrigin::KernelRa, 64));
        assert!(address.valid_s.is_some_and(|valid| (86_000..=86_400).contains(&valid)), "{address:?}");
        let v6 = routes(&facts, here).into_iter().find(|routes| routes.family == Family::V6).expect("routes");
        let default = &v6.defaults[0];
        assert_eq!((default.protocol.as_str(), default.interface.as_deref()), ("ra", Some("eth0")));
        // In seconds: in ticks it would be a hundred times as many.
        assert!(default.expires_s.is_some_and(|expires| (1700..=1800).contains(&expires)), "{default:?}");
        let way = sources(&facts, here).into_iter().find(|way| way.destination.is_ipv6()).expect("a way");
        assert_eq!((way.range, way.gateway), (Some(Range::Global), "fe80::1".parse().ok()));
        assert_eq!(handlers(&facts, here)[0].kernel_accepts, Some(true));
        // Turning forwarding on purges the default route of an advertisement, and leaves the address.
        set("ipv6/conf/all/forwarding", "0");
        set("ipv6/conf/eth0/accept_ra", "1");
        set("ipv6/conf/all/forwarding", "1");
        let facts = examined(None);
        assert!(has_global(&facts));
        let v6 = routes(&facts, here).into_iter().find(|routes| routes.family == Family::V6).expect("routes");
        assert!(v6.defaults.is_empty(), "{v6:?}");
    });
}

#[test]
fn a_router_with_static_routes_is_told_apart() {
    if !lab() {
        return;
    }
    in_new_network(|| {
        set("ipv6/conf/default/accept_dad", "0");
        for line in [
            "link add eth0 type veth peer name x0",
            "link add tailscale0 type veth peer name x1",
            "link set x0 up",
            "link set x1 up",
            "link set eth0 up",
            "link set tailscale0 up",
            "addr add 2a00:1:2:4::5/64 dev eth0 nodad",
            "addr add 192.0.2.5/24 dev eth0",
            "addr add fd7a:115c:a1e0::5/128 dev tailscale0 nodad",
            "-6 route add default via 2a00:1:2:4::1 dev eth0 proto static metric 50",
            "-6 route add default via 2a00:1:2:4::2 dev eth0 metric 90",
            "route add default via 192.0.2.1 dev eth0",
            "-6 route add unreachable 2a00:9::/32",
            "rule add fwmark 0x80000 lookup 52 priority 5270",
        ] {
            ip(line);
        }
        let facts = examined(None);
        let here = &Vantage::Here;
        let address = |name: &str, addr: &str| {
            let addr: IpAddr = addr.parse().expect("an address");
            let found = interface(&facts, here, name).addresses.iter().find(|found| found.addr == addr);
            found.map(|found| (found.range, found.origin, found.valid_s)).expect("the address")
        };
        assert_eq!(address("eth0", "2a00:1:2:4::5"), (Range::Global, AddressOrigin::Static, None));
        assert_eq!(address("tailscale0", "fd7a:115c:a1e0::5"), (Range::Tailscale, AddressOrigin::Static, None));
        assert_eq!(address("eth0", "192.0.2.5"), (Range::Reserved, AddressOrigin::Static, None));
        let both = routes(&facts, here);
        let (v4, v6) = (both[0], both[1]);
        let kept: Vec<_> =
            v6.defaults.iter().map(|route| (route.metric, route.protocol.as_str(), route.expires_s)).collect();
        assert_eq!(kept, [(50, "static", None), (90, "boot", None)]);
        assert_eq!((v4.defaults.len(), v4.rules.len()), (1, 1), "{v4:?}");
        assert_eq!(v4.rules[0].as_str(), "5270: fwmark 0x80000 lookup 52");
        let refused = v6.others.iter().find(|route| route.kind.as_str() == "unreachable").expect("the route");
        assert_eq!(refused.destination.as_str(), "2a00:9::/32");
        let way = sources(&facts, here).into_iter().find(|way| way.destination.is_ipv6()).expect("a way");
        assert_eq!((way.range, way.source), (Some(Range::Global), "2a00:1:2:4::5".parse().ok()));
    });
}

#[test]
fn a_container_without_ipv6_beside_a_host_with_it() {
    if !lab() {
        return;
    }
    let process = in_new_network(|| {
        ip("link set lo up");
        ip("link add eth0 type veth peer name x0");
        set("ipv6/conf/all/disable_ipv6", "1");
        ip("link set x0 up");
        ip("link set eth0 up");
        ip("addr add 172.17.0.2/16 dev eth0");
        ip("route add default via 172.17.0.1");
        Process::node(&[("PDS_HOSTNAME", "pds.example.com")])
    });
    in_new_network(|| {
        set("ipv6/conf/default/accept_dad", "0");
        ip("link add eth0 type veth peer name x0");
        ip("link set x0 up");
        ip("link set eth0 up");
        ip("addr add 2a00:1:2:4::5/64 dev eth0 nodad");
        ip("-6 route add default via 2a00:1:2:4::1");
        let options = InsideOptions { pid: Some(process.pid()), ..InsideOptions::default() };
        let (survey, facts, missed) = measure(|net| async move { survey(&net, &options).await });
        assert!(missed.is_empty(), "{missed:?}");
        let there = survey.processes[0].place.as_ref().expect("a place").vantage.clone();
        assert_eq!(there, Vantage::Process(process.pid()));
        let way = |vantage: &Vantage, v6: bool| {
            let ways = sources(&facts, vantage);
            ways.into_iter().find(|way| way.destination.is_ipv6() == v6).expect("a way").clone()
        };
        assert_eq!(way(&there, false).range, Some(Range::Docker));
        assert!(way(&there, true).failure.is_some() && way(&there, true).source.is_none());
        assert_eq!(way(&Vantage::Here, true).range, Some(Range::Global));
        assert!(way(&Vantage::Here, false).failure.is_some());
        assert_eq!(setting(&facts, &there, "all", "disable_ipv6"), Some(1));
        assert_eq!(setting(&facts, &Vantage::Here, "all", "disable_ipv6"), Some(0));
        let inner = interface(&facts, &there, "eth0");
        assert!(inner.addresses.iter().all(|found| found.addr.is_ipv4()), "{inner:?}");
        assert!(survey.own_addresses.contains(&"2a00:1:2:4::5".parse().expect("an address")));
    });
}

#[test]
fn the_way_out_is_tried_from_inside() {
    if !lab() {
        return;
    }
    let (process, listener) = in_new_network(|| {
        ip("link set lo up");
        ip("addr add 192.0.2.77/32 dev lo");
        let listener = TcpListener::bind("192.0.2.77:0").expect("a port");
        (Process::node(&[]), listener)
    });
    let port = listener.local_addr().expect("an address").port();
    let options = InsideOptions { pid: Some(process.pid()), ..InsideOptions::default() };
    let hosts = [EgressHost {
        tls: false,
        addresses: vec!["192.0.2.78".parse().expect("an address")],
        ..EgressHost::new(Role::Client, "192.0.2.77", port)
    }];
    let manner =
        Manner { patience: Duration::from_millis(700), third_parties: false, sudo: "sudo pdsdoctor check".into() };
    let (place, facts, _) = in_new_network(|| {
        measure(|net| async move {
            let survey = survey(&net, &options).await;
            egress(&net, &survey.places(), &hosts, &manner).await;
            survey.processes[0].place.as_ref().expect("a place").vantage.clone()
        })
    });
    let outcome = |vantage: &Vantage, addr: &str| {
        let connects = facts.iter().filter(|fact| fact.probe == ProbeName::Egress && fact.vantage == *vantage);
        let mut found = connects.filter_map(|fact| match &fact.body {
            FactBody::Connect(fact) if fact.addr.to_string() == addr => Some(fact.failure.as_ref().map(|f| f.kind)),
            _ => None,
        });
        found.next().unwrap_or_else(|| panic!("{addr} from {vantage:?}: {facts:#?}"))
    };
    assert_eq!(outcome(&place, "192.0.2.77"), None);
    assert_eq!(outcome(&place, "192.0.2.78"), Some(crate::fact::FailureKind::NetworkUnreachable));
    assert_eq!(outcome(&Vantage::Here, "192.0.2.77"), Some(crate::fact::FailureKind::NetworkUnreachable));
}
