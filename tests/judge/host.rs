//! The PDS's own machine, as the inside probes see it, and ways to change one thing about it.

use pdsdoctor_probes::{
    dns_fact::{DnsPurpose, RecordType},
    fact::{ConnectFact, FactBody, FailureKind, Family, ProbeName, Role, Vantage},
    host_fact::{
        AddressOrigin, AdvertisedPrefix, BootVia, ForwardingFact, InterfaceAddress, InterfaceFact, NameFilesFact,
        RaHandler, RaHandlerFact, Range, Route, RouterAdvertisement, RouterAdvertisementFact, RoutesFact, SOMEWHERE,
        SourceFact, SysctlFact, SysctlValue,
    },
    process_fact::{
        Confinement, ConfinementKind, ContainerFact, ContainerNetworkFact, Engine, EngineFact, FoundBy, Libc, Listener,
        ListenersFact, NodeVersion, NodeVersionSource, Owner, ProcessFact, PublishedPort, ServiceHost,
    },
    tls_fact::TlsFact,
};

use crate::world::*;

/// The machine's way out, its addresses and its router.
pub const UPLINK: &str = "eth0";
pub const HOST_V4: &str = "192.168.1.20";
pub const HOST_V6: &str = PDS_V6;
pub const LINK_LOCAL: &str = "fe80::dea6:32ff:fe01:2";
pub const ROUTER_V4: &str = "192.168.1.1";
pub const ROUTER_V6: &str = "fe80::1";
pub const PREFIX: &str = "2a01:4f8:1:2::/64";
/// The PDS's container and its network.
pub const CONTAINER: &str = "pds";
pub const CONTAINER_V4: &str = "172.18.0.2";
pub const NETWORK: &str = "pds_default";
pub const BRIDGE: &str = "br-5e1f00aa77bb";
/// Other hosts that a PDS talks to.
pub const DIRECTORY: &str = "plc.directory";
pub const DIRECTORY_V4: &str = "104.16.7.8";
pub const DIRECTORY_V6: &str = "2606:4700::6810:708";
pub const SERVICE: &str = "api.bsky.app";
pub const SERVICE_V4: &str = "3.14.15.92";
/// The file that makes `accept_ra` last.
pub const ACCEPT_RA_FILE: &str = "/etc/sysctl.d/90-accept-ra.conf";

/// The network namespace of the PDS's container.
pub fn container() -> Vantage {
    Vantage::Container(t(CONTAINER))
}

/// A healthy home server: public IPv6 that the kernel makes from the router's advertisements (which it
/// takes although Docker made it forward), private IPv4; Caddy on the machine itself, the PDS in a
/// container on a Docker network without IPv6; every app is near.
pub fn machine() -> World {
    let mut world = on_the_pds_machine();
    world.confine(true);
    world.place(&container());
    world
}

/// The same with the PDS in a container that shares the machine's network, as the official installer
/// makes it.
pub fn machine_host_network() -> World {
    let mut world = on_the_pds_machine();
    world.confine(false);
    world
}

/// The view from outside, but for the machine's own addresses; then the machine.
fn on_the_pds_machine() -> World {
    let mut world = healthy().each(|fact| {
        if let FactBody::OwnNetwork(body) = &mut fact.body {
            body.source = Some(ip(if body.family == Family::V4 { HOST_V4 } else { HOST_V6 }));
        }
    });
    world.run.settings.pds_host = Some(t("an address of the PDS is this machine's"));
    world.place(&Vantage::Here);
    let handler = RaHandlerFact {
        interface: t(UPLINK),
        handler: RaHandler::Kernel,
        because: vec![t("net.ipv6.conf.eth0.accept_ra = 2")],
        kernel_accepts: Some(true),
    };
    world.inside(&Vantage::Here, ProbeName::RaHandler, FactBody::RaHandler(handler));
    let forwarding = ForwardingFact { v4: Some(true), v6: Some(true), programs: vec![t("dockerd")], files: Vec::new() };
    world.inside(&Vantage::Here, ProbeName::RaHandler, FactBody::Forwarding(forwarding));
    let heard = RouterAdvertisementFact {
        interface: t(UPLINK),
        solicited: true,
        listened_ms: 3_600,
        routers: vec![router()],
        invalid: 0,
        failure: None,
    };
    world.inside(&Vantage::Here, ProbeName::RouterAdvertisement, FactBody::RouterAdvertisement(heard));
    let engine = EngineFact {
        engine: Engine::Docker,
        socket: t("/run/docker.sock"),
        version: Some(t("28.3.2")),
        settings: Vec::new(),
        failure: None,
    };
    world.inside(&Vantage::Here, ProbeName::ContainerEngine, FactBody::Engine(engine));
    world.accept_ra_lasts(BootVia::Key)
}

/// What the home router advertises.
pub fn router() -> RouterAdvertisement {
    RouterAdvertisement {
        router: ip(ROUTER_V6),
        lifetime_s: 1_800,
        preference: t("medium"),
        managed: false,
        other: true,
        prefixes: vec![AdvertisedPrefix {
            prefix: t(PREFIX),
            on_link: true,
            autonomous: true,
            valid_s: Some(7_200),
            preferred_s: Some(3_600),
        }],
        routes: Vec::new(),
        mtu: Some(1_500),
        name_servers: Vec::new(),
    }
}

pub fn address(addr: &str, prefix: u8, range: Range, origin: AddressOrigin) -> InterfaceAddress {
    let lasts = matches!(origin, AddressOrigin::Static | AddressOrigin::Kernel);
    InterfaceAddress {
        addr: ip(addr),
        prefix,
        range,
        origin,
        valid_s: (!lasts).then_some(7_000),
        preferred_s: (!lasts).then_some(3_400),
        flags: Vec::new(),
    }
}

pub fn interface(name: &str, index: u32, device: Option<&str>, addresses: Vec<InterfaceAddress>) -> InterfaceFact {
    InterfaceFact {
        name: t(name),
        index,
        device: device.map(t),
        up: true,
        running: true,
        mtu: if name == "lo" { 65_536 } else { 1_500 },
        bridge: None,
        addresses,
    }
}

/// A default route.
pub fn default_route(gateway: Option<&str>, interface: &str, protocol: &str) -> Route {
    let v6 = gateway.is_none_or(|gateway| gateway.contains(':'));
    Route {
        metric: if v6 { 1_024 } else { 0 },
        destination: t("default"),
        gateway: gateway.map(ip),
        interface: Some(t(interface)),
        protocol: t(protocol),
        kind: t("unicast"),
        table: None,
        source: None,
        expires_s: (protocol == "ra").then_some(1_700),
    }
}

/// Settings of one interface as the kernel has them.
pub fn settings(interface: &str, accept_ra: i64, forwarding: i64) -> SysctlFact {
    let value = |key: String, live| SysctlValue { key: t(&key), live: Some(live), boot: None };
    let v6 = |name: &str, live| value(format!("net/ipv6/conf/{interface}/{name}"), live);
    SysctlFact {
        interface: Some(t(interface)),
        values: vec![
            value(format!("net/ipv4/conf/{interface}/forwarding"), 1),
            v6("accept_ra", accept_ra),
            v6("accept_ra_defrtr", 1),
            v6("accept_ra_rt_info_max_plen", 0),
            v6("autoconf", 1),
            v6("disable_ipv6", 0),
            v6("forwarding", forwarding),
        ],
    }
}

impl World {
    /// A fact of an inside probe.
    pub fn inside(&mut self, at: &Vantage, probe: ProbeName, body: FactBody) {
        self.push(probe, 1, body);
        if let Some(fact) = self.run.facts.last_mut() {
            fact.vantage = at.clone();
        }
    }

    /// The network of a place, and what can be reached from it.
    #[expect(clippy::too_many_lines, reason = "a world told from end to end")]
    fn place(&mut self, at: &Vantage) {
        let here = *at == Vantage::Here;
        let lo = interface(
            "lo",
            1,
            None,
            vec![
                address("127.0.0.1", 8, Range::Loopback, AddressOrigin::Kernel),
                address("::1", 128, Range::Loopback, AddressOrigin::Kernel),
            ],
        );
        let mut interfaces = vec![lo];
        let mut keys = vec![settings("all", 1, i64::from(here)), settings("default", 1, i64::from(here))];
        keys.push(settings("lo", 1, i64::from(here)));
        if here {
            let mut public = address(HOST_V6, 64, Range::Global, AddressOrigin::KernelRa);
            public.flags.push(t("mngtmpaddr"));
            interfaces.push(interface(
                UPLINK,
                2,
                None,
                vec![
                    address(HOST_V4, 24, Range::Private, AddressOrigin::Dynamic),
                    public,
                    address(LINK_LOCAL, 64, Range::LinkLocal, AddressOrigin::Kernel),
                ],
            ));
            let bridge = |addr: &str| {
                vec![
                    address(addr, 16, Range::Docker, AddressOrigin::Static),
                    address("fe80::42:1", 64, Range::LinkLocal, AddressOrigin::Kernel),
                ]
            };
            interfaces.push(interface("docker0", 3, Some("bridge"), bridge("172.17.0.1")));
            interfaces.push(interface(BRIDGE, 4, Some("bridge"), bridge("172.18.0.1")));
            keys.extend([settings(UPLINK, 2, 1), settings("docker0", 0, 1), settings(BRIDGE, 0, 1)]);
        } else {
            let own = address(CONTAINER_V4, 16, Range::Private, AddressOrigin::Static);
            interfaces.push(interface(UPLINK, 2, Some("veth"), vec![own]));
            keys.push(settings(UPLINK, 0, 0));
        }
        for body in interfaces {
            self.inside(at, ProbeName::HostNetwork, FactBody::Interface(body));
        }
        let gateway = if here { ROUTER_V4 } else { "172.18.0.1" };
        for family in [Family::V4, Family::V6] {
            let defaults = match family {
                Family::V4 => vec![default_route(Some(gateway), UPLINK, if here { "dhcp" } else { "boot" })],
                Family::V6 if here => vec![default_route(Some(ROUTER_V6), UPLINK, "ra")],
                Family::V6 => Vec::new(),
            };
            let routes = RoutesFact { family, defaults, others: Vec::new(), left_out: 0, rules: Vec::new() };
            self.inside(at, ProbeName::HostNetwork, FactBody::Routes(routes));
        }
        let sources =
            [(Family::V4, if here { HOST_V4 } else { CONTAINER_V4 }, gateway), (Family::V6, HOST_V6, ROUTER_V6)];
        for destination in SOMEWHERE.into_iter().chain([APP_V4, APP_V6].map(ip)) {
            let (family, source, gateway) = sources[usize::from(destination.is_ipv6())];
            let works = here || family == Family::V4;
            let body = SourceFact {
                destination,
                source: works.then(|| ip(source)),
                range: works.then_some(if family == Family::V4 { Range::Private } else { Range::Global }),
                interface: works.then(|| t(UPLINK)),
                gateway: works.then(|| ip(gateway)),
                failure: (!works).then(|| fail(FailureKind::NetworkUnreachable)),
            };
            self.inside(at, ProbeName::HostNetwork, FactBody::Source(body));
        }
        for body in keys {
            self.inside(at, ProbeName::HostSettings, FactBody::Sysctl(body));
        }
        let server = if here { ROUTER_V4 } else { "127.0.0.11" };
        let files = NameFilesFact { nameservers: vec![t(server)], ..NameFilesFact::default() };
        self.inside(at, ProbeName::NameFiles, FactBody::NameFiles(files));
        for (role, host, addrs) in [
            (Role::Client, APP, &[APP_V4, APP_V6][..]),
            (Role::Directory, DIRECTORY, &[DIRECTORY_V4, DIRECTORY_V6]),
            (Role::Service, SERVICE, &[SERVICE_V4]),
            (Role::Reference, REF, &[REF_V4, REF_V6]),
            (Role::Target, PDS, &[PDS_V4, PDS_V6]),
        ] {
            self.egress(at, server, role, host, addrs);
        }
    }

    /// What the egress probe measures of one host: names, connections (five to the app's), handshakes.
    #[expect(clippy::too_many_arguments, reason = "one row of a world told by hand")]
    pub fn egress(&mut self, at: &Vantage, server: &str, role: Role, host: &str, addrs: &[&str]) {
        let here = *at == Vantage::Here;
        for (record_type, v6) in [(RecordType::A, false), (RecordType::Aaaa, true)] {
            let of: Vec<&str> = addrs.iter().copied().filter(|addr| addr.contains(':') == v6).collect();
            let mut answer = dns(role, DnsPurpose::Address, host, record_type, &of);
            answer.server = format!("{server}:53").parse().unwrap();
            self.inside(at, ProbeName::Egress, FactBody::Dns(answer));
        }
        for addr in addrs {
            let reached = here || !addr.contains(':');
            for round in 0..if role == Role::Client { 5 } else { 1 } {
                let failure = (!reached).then(|| fail(FailureKind::NetworkUnreachable));
                let body = ConnectFact { role, host: t(host), addr: ip(addr), port: 443, failure };
                self.inside(at, ProbeName::Egress, FactBody::Connect(body));
                if let Some(fact) = self.run.facts.last_mut() {
                    fact.took_ms = if reached { 30 } else { 0 };
                    fact.started_ms = round * 300;
                }
            }
            if reached {
                let body = TlsFact {
                    role,
                    addr: ip(addr),
                    port: 443,
                    sni: t(host),
                    max_segment: None,
                    received: Some(3_000),
                    failure: None,
                    alert: None,
                    version: Some(t("TLSv1_3")),
                    alpn: Some(t("http/1.1")),
                    certificate: Some(certificate(&[host])),
                };
                self.inside(at, ProbeName::Egress, FactBody::Tls(body));
            }
        }
    }

    /// The PDS's process, its container, and who listens.
    fn confine(&mut self, own_network: bool) {
        let id = "4f1c7b3a9d20e5f64f1c7b3a9d20e5f64f1c7b3a9d20e5f64f1c7b3a9d20e5f6";
        let process = ProcessFact {
            pid: 4_242,
            found: FoundBy::Scan,
            because: t("PDS_HOSTNAME is in its environment"),
            program: t("node"),
            script: Some(t("index.js")),
            confinement: Confinement { kind: ConfinementKind::Docker, id: Some(t(id)), name: Some(t(CONTAINER)) },
            own_network: Some(own_network),
            own_files: Some(own_network),
            uptime_s: Some(86_400),
            node: Some(NodeVersion { version: t("20.20.0"), source: NodeVersionSource::Headers }),
            node_options: Vec::new(),
            node_arguments: vec![t("--enable-source-maps")],
            libc: Some(Libc::Musl),
            database_module: Some(t("11.10.0")),
            package: Some(t("0.4.219")),
            environment_read: true,
            hostname: Some(t(PDS)),
            port: Some(3_000),
            open_files: None,
            environment: Vec::new(),
            services: vec![ServiceHost { key: t("PDS_DID_PLC_URL"), host: t(DIRECTORY), port: 443, tls: true }],
        };
        self.inside(&Vantage::Here, ProbeName::PdsProcess, FactBody::Process(process));
        let published =
            PublishedPort { container_port: 3_000, protocol: t("tcp"), host_addr: ip("127.0.0.1"), host_port: 3_000 };
        let network = if own_network { NETWORK } else { "host" };
        let body = ContainerFact {
            id: t(id),
            name: t(CONTAINER),
            image: t("ghcr.io/bluesky-social/pds:0.4"),
            pid: Some(4_242),
            status: t("running"),
            started_at: t("2026-05-27T20:26:40Z"),
            network_mode: t(network),
            networks: vec![t(network)],
            published: if own_network { vec![published] } else { Vec::new() },
            ..ContainerFact::default()
        };
        self.inside(&Vantage::Here, ProbeName::ContainerEngine, FactBody::Container(body));
        let body = ContainerNetworkFact {
            name: t(network),
            driver: t(if own_network { "bridge" } else { "host" }),
            subnets: if own_network { vec![t("172.18.0.0/16")] } else { Vec::new() },
            ..ContainerNetworkFact::default()
        };
        self.inside(&Vantage::Here, ProbeName::ContainerEngine, FactBody::ContainerNetwork(body));
        let listener = |port, addr: &str, pid, program: &str| Listener {
            port,
            addr: ip(addr),
            owner: Some(Owner { pid, program: t(program), hands_to: None }),
        };
        let pds = listener(3_000, "::", 4_242, "node");
        let caddy = [listener(80, "::", 900, "caddy"), listener(443, "::", 900, "caddy")];
        let proxy = listener(3_000, "127.0.0.1", 901, "docker-proxy");
        let third = if own_network { proxy } else { pds.clone() };
        let sockets = caddy.into_iter().chain([third]).collect();
        self.inside(&Vantage::Here, ProbeName::PdsProcess, FactBody::Listeners(ListenersFact { sockets, left_out: 0 }));
        if own_network {
            let body = ListenersFact { sockets: vec![pds], left_out: 0 };
            self.inside(&container(), ProbeName::PdsProcess, FactBody::Listeners(body));
        }
    }
}

#[test]
fn a_healthy_machine() {
    machine().is_well();
    machine_host_network().is_well();
}
