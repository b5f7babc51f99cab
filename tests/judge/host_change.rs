//! Ways to change one thing about the PDS's machine.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{Fact, FactBody, FailureKind, Family, NotMeasured, ProbeName, Role, Vantage},
    host_fact::{
        AddressOrigin, BootValue, BootVia, InterfaceFact, RaHandler, Range, RouterAdvertisement, RoutesFact,
        SourceFact, SysctlValue,
    },
};

use crate::{host::*, world::*};

impl World {
    /// Changes every inside fact of a place.
    #[must_use]
    pub fn there(self, at: &Vantage, mut change: impl FnMut(&mut Fact)) -> Self {
        self.each(|fact| {
            if fact.probe.is_inside() && fact.vantage == *at {
                change(fact);
            }
        })
    }

    /// Changes the inside facts of a probe into none.
    #[must_use]
    pub fn not_probed(self, probe: ProbeName) -> Self {
        self.without(|fact| fact.probe == probe)
    }

    /// A live setting of the kernel, such as `net/ipv6/conf/eth0/accept_ra`.
    #[must_use]
    pub fn live(self, at: &Vantage, key: &str, live: i64) -> Self {
        self.setting(at, key, |value| value.live = Some(live))
    }

    /// What the files of this machine say of a setting.
    #[must_use]
    pub fn at_boot(self, key: &str, boot: Option<(&str, &str, BootVia)>) -> Self {
        self.setting(&Vantage::Here, key, |setting| {
            setting.boot = boot.map(|(value, file, via)| BootValue { value: t(value), file: t(file), via });
        })
    }

    fn setting(self, at: &Vantage, key: &str, change: impl Fn(&mut SysctlValue)) -> Self {
        self.there(at, |fact| {
            if let FactBody::Sysctl(body) = &mut fact.body {
                body.values.iter_mut().filter(|value| value.key.as_str() == key).for_each(&change);
            }
        })
    }

    /// A file sets the uplink's `accept_ra` to 2, named in this way.
    #[must_use]
    pub fn accept_ra_lasts(self, via: BootVia) -> Self {
        self.at_boot("net/ipv6/conf/eth0/accept_ra", Some(("2", ACCEPT_RA_FILE, via)))
    }

    /// The uplink's `accept_ra`, with what the kernel makes of it.
    #[must_use]
    pub fn accept_ra(self, value: i64) -> Self {
        self.live(&Vantage::Here, "net/ipv6/conf/eth0/accept_ra", value).handled(RaHandler::Kernel)
    }

    /// Forwarding of IPv6, everywhere on the machine.
    #[must_use]
    pub fn forwards(self, on: bool) -> Self {
        let world = ["all", "default", "lo", "docker0", BRIDGE, UPLINK].iter().fold(self, |world, name| {
            world.live(&Vantage::Here, &format!("net/ipv6/conf/{name}/forwarding"), i64::from(on))
        });
        let world = world.each(|fact| {
            if let FactBody::Forwarding(body) = &mut fact.body {
                body.v6 = Some(on);
            }
        });
        world.handled(RaHandler::Kernel)
    }

    /// Who acts on advertisements at the uplink. What the kernel would do follows from its settings.
    #[must_use]
    pub fn handled(self, by: RaHandler) -> Self {
        let live = |name: &str| {
            let key = format!("net/ipv6/conf/eth0/{name}");
            self.run.facts.iter().filter(|fact| fact.vantage == Vantage::Here).find_map(|fact| match &fact.body {
                FactBody::Sysctl(body) => body.values.iter().find(|value| value.key.as_str() == key)?.live,
                _ => None,
            })
        };
        let (accept_ra, forwarding) = (live("accept_ra"), live("forwarding"));
        let accepts = accept_ra == Some(2) || (accept_ra == Some(1) && forwarding == Some(0));
        self.each(|fact| {
            if let FactBody::RaHandler(body) = &mut fact.body {
                body.handler = by;
                body.kernel_accepts = Some(accepts);
                body.because = vec![t(&format!("net.ipv6.conf.eth0.accept_ra = {}", accept_ra.unwrap_or(0)))];
            }
        })
    }

    /// What is heard of routers at the uplink.
    #[must_use]
    pub fn hears(self, routers: &[RouterAdvertisement]) -> Self {
        self.each(|fact| {
            if let FactBody::RouterAdvertisement(body) = &mut fact.body {
                body.routers = routers.to_vec();
            }
        })
    }

    /// Listening for routers was not allowed.
    #[must_use]
    pub fn deaf(self) -> Self {
        let mut world = self.not_probed(ProbeName::RouterAdvertisement);
        world.run.not_measured.push(NotMeasured {
            probe: ProbeName::RouterAdvertisement,
            why: t("router advertisements: Operation not permitted"),
            needs: t("sudo pdsdoctor check pds.example.com"),
        });
        world
    }

    /// Changes an interface of a place.
    #[must_use]
    pub fn interface(self, at: &Vantage, name: &str, change: impl Fn(&mut InterfaceFact)) -> Self {
        self.there(at, |fact| match &mut fact.body {
            FactBody::Interface(body) if body.name.as_str() == name => change(body),
            _ => {}
        })
    }

    /// Changes the routes of a place.
    #[must_use]
    pub fn routes(self, at: &Vantage, family: Family, change: impl Fn(&mut RoutesFact)) -> Self {
        self.there(at, |fact| match &mut fact.body {
            FactBody::Routes(body) if body.family == family => change(body),
            _ => {}
        })
    }

    /// How connections to some addresses fare from a place. On this machine those of the view from
    /// outside fare alike.
    #[must_use]
    pub fn reaches(
        self,
        at: &Vantage,
        which: impl Fn(IpAddr) -> bool,
        failure: Option<FailureKind>,
        took_ms: u64,
    ) -> Self {
        let gone = failure.is_some();
        let world = self.each(|fact| match &mut fact.body {
            FactBody::Connect(body) if fact.vantage == *at && which(body.addr) => {
                body.failure = failure.map(fail);
                fact.took_ms = took_ms;
            }
            // What is asked once is asked where it can be.
            FactBody::Http(body)
                if fact.probe == ProbeName::OauthDiscovery && gone && body.addr.is_some_and(&which) =>
            {
                body.addr = Some(ip(if body.role == Role::Target { PDS_V4 } else { REF_V4 }));
            }
            _ => {}
        });
        world.without(|fact| {
            gone && fact.vantage == *at
                && match &fact.body {
                    FactBody::Tls(body) => which(body.addr),
                    FactBody::Http(body) => body.addr.is_some_and(&which),
                    _ => false,
                }
        })
    }

    /// A place without IPv6: no public address, no default route, every connection fails at once.
    #[must_use]
    pub fn without_v6(self, at: &Vantage) -> Self {
        self.without_v6_route(at).there(at, |fact| {
            if let FactBody::Interface(body) = &mut fact.body {
                body.addresses.retain(|found| found.addr.is_ipv4() || found.range != Range::Global);
            }
        })
    }

    /// The address may still be there, but the default route is not.
    #[must_use]
    pub fn without_v6_route(self, at: &Vantage) -> Self {
        let here = *at == Vantage::Here;
        self.routes(at, Family::V6, |routes| routes.defaults.clear())
            .there(at, |fact| match &mut fact.body {
                FactBody::Source(body) if body.destination.is_ipv6() => {
                    let destination = body.destination;
                    *body = SourceFact {
                        destination,
                        source: None,
                        range: None,
                        interface: None,
                        gateway: None,
                        failure: Some(fail(FailureKind::NetworkUnreachable)),
                    };
                }
                _ => {}
            })
            .each(|fact| match &mut fact.body {
                FactBody::OwnNetwork(body) if here && body.family == Family::V6 => {
                    body.source = None;
                    body.failure = Some(fail(FailureKind::NetworkUnreachable));
                }
                _ => {}
            })
            .reaches(at, |addr| addr.is_ipv6(), Some(FailureKind::NetworkUnreachable), 0)
    }

    /// A place with IPv6 like this machine's: an address on its interface, a route, and connections.
    #[must_use]
    pub fn with_v6(self, at: &Vantage, addr: &str, range: Range) -> Self {
        self.interface(at, UPLINK, |body| {
            body.addresses.push(address(addr, 64, range, AddressOrigin::Static));
        })
        .routes(at, Family::V6, |routes| {
            routes.defaults = vec![default_route(Some("fe80::42:1"), UPLINK, "boot")];
        })
        .there(at, |fact| match &mut fact.body {
            FactBody::Source(body) if body.destination.is_ipv6() => {
                body.source = Some(ip(addr));
                body.range = Some(range);
                body.interface = Some(t(UPLINK));
                body.gateway = Some(ip("fe80::42:1"));
                body.failure = None;
            }
            _ => {}
        })
        .reaches(at, |addr| addr.is_ipv6(), None, 30)
    }

    /// The app's host is far from a place: its addresses of a family connect after so long.
    #[must_use]
    pub fn far(self, at: &Vantage, family: Family, took_ms: u64) -> Self {
        self.there(at, |fact| match &mut fact.body {
            FactBody::Connect(body)
                if body.role == Role::Client && Family::of(body.addr) == family && body.failure.is_none() =>
            {
                fact.took_ms = took_ms;
            }
            _ => {}
        })
    }
}
