//! An uplink of the PDS's machine: what its router offers, and what the kernel makes of it.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{FactId, Family, Vantage},
    host_fact::{
        AddressOrigin, InterfaceAddress, InterfaceFact, RaHandler, RaHandlerFact, Range, Route, RouterAdvertisement,
        RouterAdvertisementFact, RoutesFact, SysctlFact, SysctlValue,
    },
};

use crate::diagnose::{
    evidence::Seen,
    inside::Inside,
    net_kinds::{AddressKind, address_kind},
    rules::list,
};

/// An interface by which this machine may reach a router, with IPv6 on.
pub(super) struct Uplink<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Who acts on advertisements.
    pub(super) handler: Seen<'a, RaHandlerFact>,
    /// Its addresses.
    pub(super) interface: Seen<'a, InterfaceFact>,
    /// The machine's IPv6 routes.
    pub(super) routes: Seen<'a, RoutesFact>,
    /// Its own `accept_ra`.
    pub(super) accept_ra: Option<(Seen<'a, SysctlFact>, &'a SysctlValue)>,
    /// Its own `forwarding`: what decides, whatever `all` says (net/ipv6/addrconf.c).
    pub(super) forwarding: Option<(Seen<'a, SysctlFact>, &'a SysctlValue)>,
    heard: Option<Seen<'a, RouterAdvertisementFact>>,
}

/// What was heard of routers.
#[derive(Clone, Copy)]
pub(super) enum Heard<'a> {
    /// A router that leads to the internet.
    Router(&'a RouterAdvertisement),
    /// One that gives public addresses and calls itself no default router.
    Prefix(&'a RouterAdvertisement),
    /// Routers that offer private networks only.
    Private(&'a RouterAdvertisement),
    /// Nobody answered a solicitation.
    Silence,
    /// It was not, or not properly, listened.
    Unknown,
}

/// The uplinks with IPv6 on, as far as they were examined.
pub(super) fn uplinks<'a>(inside: &Inside<'a>) -> Vec<Uplink<'a>> {
    let here = Vantage::Here;
    let one = |handler: Seen<'a, RaHandlerFact>| {
        let name = handler.body.interface.as_str();
        let setting = |key: &str| inside.setting(&here, &format!("net/ipv6/conf/{name}/{key}"));
        let off = setting("disable_ipv6").is_some_and(|(_, value)| value.live == Some(1));
        let interface = inside.interfaces(&here).into_iter().find(|seen| seen.body.name.as_str() == name)?;
        (interface.body.up && !off).then_some(Uplink {
            name,
            handler,
            interface,
            routes: inside.routes(&here, Family::V6)?,
            accept_ra: setting("accept_ra"),
            forwarding: setting("forwarding"),
            heard: inside.advertisements().find(|seen| seen.body.interface.as_str() == name),
        })
    };
    inside.ra_handlers().filter_map(one).collect()
}

/// The kernel has no way to the internet by IPv6 here, by whatever interface; the facts that show it.
pub(super) fn without_way_out(inside: &Inside<'_>, at: &Vantage) -> Option<Vec<FactId>> {
    match inside.way_out(at, Family::V6) {
        Some(seen) => seen.body.failure.is_some().then(|| vec![seen.id()]),
        None => {
            let routes = inside.routes(at, Family::V6)?;
            routes.body.defaults.is_empty().then(|| vec![routes.id()])
        }
    }
}

impl<'a> Uplink<'a> {
    /// The kernel itself acts on advertisements, if anybody.
    pub(super) fn by_kernel(&self) -> bool {
        matches!(self.handler.body.handler, RaHandler::Kernel | RaHandler::Ifupdown)
    }

    fn live(setting: Option<(Seen<'a, SysctlFact>, &'a SysctlValue)>) -> Option<i64> {
        setting?.1.live
    }

    /// The live `accept_ra`.
    pub(super) fn accepts(&self) -> Option<i64> {
        Self::live(self.accept_ra)
    }

    /// It forwards.
    pub(super) fn forwards(&self) -> bool {
        Self::live(self.forwarding).is_some_and(|live| live != 0)
    }

    /// The trap: a router that forwards takes nobody's word (ip-sysctl, "accept_ra": 1 is "if forwarding
    /// is disabled").
    pub(super) fn ignores(&self) -> bool {
        self.by_kernel()
            && self.forwards()
            && self.accepts() == Some(1)
            && self.handler.body.kernel_accepts == Some(false)
    }

    /// Its public IPv6 addresses.
    pub(super) fn public(&self) -> Vec<&'a InterfaceAddress> {
        let public = |found: &&InterfaceAddress| found.addr.is_ipv6() && found.range == Range::Global;
        self.interface.body.addresses.iter().filter(public).collect()
    }

    /// The one of them that the kernel made from an advertisement.
    pub(super) fn made_by_kernel(&self) -> Option<&'a InterfaceAddress> {
        self.public().into_iter().find(|found| found.origin == AddressOrigin::KernelRa)
    }

    /// Its default routes.
    pub(super) fn defaults(&self) -> Vec<&'a Route> {
        let through =
            |route: &&Route| route.interface.as_deref() == Some(self.name) && route.kind.as_str() == "unicast";
        self.routes.body.defaults.iter().filter(through).collect()
    }

    /// What was heard of routers on it.
    pub(super) fn heard(&self) -> Heard<'a> {
        let Some(body) = self.heard.map(|seen| seen.body) else { return Heard::Unknown };
        let Some(first) = body.routers.first() else {
            let asked = body.solicited && body.failure.is_none();
            return if asked { Heard::Silence } else { Heard::Unknown };
        };
        let gives = |router: &RouterAdvertisement| router.prefixes.iter().any(is_public);
        let prefixes = body.routers.iter().any(|router| !router.prefixes.is_empty());
        // Addresses come from any router's prefix, from DHCPv6, or are there already.
        let addressed = body.routers.iter().any(|router| gives(router) || router.managed) || !prefixes;
        let leads = |router: &&RouterAdvertisement| router.lifetime_s > 0;
        match body.routers.iter().find(leads).filter(|_| addressed) {
            Some(leading) => Heard::Router(body.routers.iter().filter(leads).find(|it| gives(it)).unwrap_or(leading)),
            None => body.routers.iter().find(|router| gives(router)).map_or(Heard::Private(first), Heard::Prefix),
        }
    }

    /// The fact of the listen.
    pub(super) fn heard_id(&self) -> Option<FactId> {
        self.heard.map(|seen| seen.id())
    }

    /// How long was listened, in words.
    pub(super) fn listened(&self) -> String {
        let ms = self.heard.map_or(0, |seen| seen.body.listened_ms);
        format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
    }

    /// The facts about its state.
    pub(super) fn ids(&self) -> Vec<FactId> {
        let settings = [self.accept_ra, self.forwarding].into_iter().flatten().map(|(seen, _)| seen.id());
        [self.handler.id(), self.interface.id(), self.routes.id()].into_iter().chain(settings).collect()
    }
}

/// Hosts make themselves public addresses of it.
fn is_public(prefix: &pdsdoctor_probes::host_fact::AdvertisedPrefix) -> bool {
    let network = prefix.prefix.split('/').next().and_then(|network| network.parse::<IpAddr>().ok());
    let private = |addr| matches!(address_kind(addr), AddressKind::UniqueLocal | AddressKind::LinkLocal);
    prefix.autonomous && prefix.valid_s != Some(0) && network.is_some_and(|network| !private(network))
}

/// What a router offers, in words: `2001:db8::/64, default router for 1800 s`.
pub(super) fn offer(router: &RouterAdvertisement) -> String {
    let prefixes: Vec<&str> =
        router.prefixes.iter().filter(|prefix| prefix.autonomous).map(|prefix| prefix.prefix.as_str()).collect();
    let mut parts = Vec::new();
    if !prefixes.is_empty() {
        parts.push(list(prefixes));
    }
    if router.managed {
        parts.push("addresses by DHCPv6".to_owned());
    }
    parts.push(match router.lifetime_s {
        0 => "no default router".to_owned(),
        seconds => format!("default router for {seconds} s"),
    });
    parts.join(", ")
}

/// Who made this machine forward, in words, with the fact.
pub(super) fn forwarder(inside: &Inside<'_>) -> (Option<String>, Option<FactId>) {
    let Some(seen) = inside.forwarding() else { return (None, None) };
    let programs: Vec<&str> = seen.body.programs.iter().map(std::ops::Deref::deref).collect();
    let words = match (programs.as_slice(), seen.body.files.first()) {
        ([], None) => None,
        ([], Some(file)) => Some(format!("by {}", file.split(':').next().unwrap_or_default())),
        (programs, _) => Some(format!("by {}", list(programs))),
    };
    (words, Some(seen.id()))
}
