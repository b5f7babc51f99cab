//! The facts of the PDS's own machine, found by subject. The view from outside is [`super::evidence`]'s.

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose},
    fact::{ConnectFact, Fact, FactBody, FactId, Failure, FailureKind, Family, Vantage},
    host_fact::{
        ForwardingFact, HopsFact, InterfaceAddress, InterfaceFact, NameFilesFact, RaHandlerFact, Range,
        RouterAdvertisementFact, RoutesFact, SOMEWHERE, SourceFact, SysctlFact, SysctlValue,
    },
    http_fact::HttpFact,
    process_fact::{
        ContainerFact, ContainerNetworkFact, EngineFact, EnvFileFact, ListenersFact, NodeFetchFact, ProcessFact,
        ProxyFact,
    },
    tls_fact::TlsFact,
};

use super::seen::{Seen, host_of};
pub use super::words::place_words;

/// What was measured by the inside probes; empty where this is not the PDS's machine.
#[derive(Debug, Default)]
pub struct Inside<'a> {
    facts: Vec<&'a Fact>,
    /// The PDS's host name, once known.
    host: Option<&'a str>,
}

macro_rules! all {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $body:ty) => {
        $(#[$doc])*
        pub fn $name(&self) -> impl Iterator<Item = Seen<'a, $body>> + '_ {
            self.facts.iter().filter_map(|fact| match &fact.body {
                FactBody::$variant(body) => Some(Seen { fact, body }),
                _ => None,
            })
        }
    };
}

impl<'a> Inside<'a> {
    /// Of the facts of inside probes, in order.
    pub(super) fn new(facts: Vec<&'a Fact>, host: Option<&'a str>) -> Self {
        Self { facts, host }
    }

    /// Nothing was measured inside.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    all! {
        /// Processes taken for a PDS, at whichever place.
        processes, Process, ProcessFact
    }
    all! {
        /// Container engines.
        engines, Engine, EngineFact
    }
    all! {
        /// The PDS's containers.
        containers, Container, ContainerFact
    }
    all! {
        /// Their networks.
        container_networks, ContainerNetwork, ContainerNetworkFact
    }
    all! {
        /// Files of settings.
        env_files, EnvFile, EnvFileFact
    }
    all! {
        /// Fetches by the PDS's own Node.
        node_fetches, NodeFetch, NodeFetchFact
    }
    all! {
        /// Web servers before the PDS.
        proxies, Proxy, ProxyFact
    }
    all! {
        /// Who acts on router advertisements, per uplink of the machine.
        ra_handlers, RaHandler, RaHandlerFact
    }
    all! {
        /// What was heard of routers, per uplink of the machine.
        advertisements, RouterAdvertisement, RouterAdvertisementFact
    }
    all! {
        /// Interfaces of every place.
        all_interfaces, Interface, InterfaceFact
    }
    all! {
        /// Routes of every place.
        all_routes, Routes, RoutesFact
    }
    all! {
        /// Ways to single destinations, of every place.
        all_sources, Source, SourceFact
    }
    all! {
        /// Kernel settings of every place.
        all_settings, Sysctl, SysctlFact
    }
    all! {
        /// Listening sockets of every place.
        all_listeners, Listeners, ListenersFact
    }
    all! {
        /// Resolver files of every place.
        all_name_files, NameFiles, NameFilesFact
    }
    all! {
        /// Connections made at every place.
        connects, Connect, ConnectFact
    }
    all! {
        /// Handshakes made at every place.
        handshakes, Tls, TlsFact
    }
    all! {
        /// Exchanges made at every place.
        exchanges, Http, HttpFact
    }
    all! {
        /// DNS questions of every kind, asked at every place.
        all_questions, Dns, DnsFact
    }

    /// DNS questions about hosts by their own names, asked at every place.
    pub fn questions(&self) -> impl Iterator<Item = Seen<'a, DnsFact>> + '_ {
        self.all_questions().filter(|seen| seen.body.purpose == DnsPurpose::Address)
    }

    /// The same names with a search domain behind them.
    pub fn searched(&self) -> impl Iterator<Item = Seen<'a, DnsFact>> + '_ {
        self.all_questions().filter(|seen| seen.body.purpose == DnsPurpose::Searched)
    }

    /// Whether this machine forwards, and what may have made it.
    pub fn forwarding(&self) -> Option<Seen<'a, ForwardingFact>> {
        self.facts.iter().find_map(|fact| match &fact.body {
            FactBody::Forwarding(body) => Some(Seen { fact, body }),
            _ => None,
        })
    }

    /// The first routers on the way out.
    pub fn hops(&self) -> Option<Seen<'a, HopsFact>> {
        self.facts.iter().find_map(|fact| match &fact.body {
            FactBody::Hops(body) => Some(Seen { fact, body }),
            _ => None,
        })
    }

    /// The process of the PDS under examination: the one that has its host name, else the only one.
    pub fn pds(&self) -> Option<Seen<'a, ProcessFact>> {
        let named =
            |seen: &Seen<'a, ProcessFact>| seen.body.hostname.as_deref().is_some_and(|name| Some(name) == self.host);
        self.processes().find(named).or_else(|| {
            let mut all = self.processes();
            let only = all.next();
            only.filter(|_| all.next().is_none())
        })
    }

    /// Where the PDS sees the network from; this machine if it shares its network, or is not known.
    pub fn place(&self) -> Vantage {
        self.pds().map_or(Vantage::Here, |seen| seen.body.vantage())
    }

    /// The PDS has a network namespace of its own.
    pub fn is_confined(&self) -> bool {
        self.place() != Vantage::Here
    }

    /// The interfaces of a place.
    pub fn interfaces(&self, at: &Vantage) -> Vec<Seen<'a, InterfaceFact>> {
        self.all_interfaces().filter(|seen| seen.fact.vantage == *at).collect()
    }

    /// The addresses of a place, each with its interface.
    pub fn addresses(&self, at: &Vantage) -> Vec<(Seen<'a, InterfaceFact>, &'a InterfaceAddress)> {
        let of = |seen: Seen<'a, InterfaceFact>| seen.body.addresses.iter().map(move |address| (seen, address));
        self.interfaces(at).into_iter().flat_map(of).collect()
    }

    /// The IPv6 addresses of a place with which the internet could be reached.
    pub fn global_v6(&self, at: &Vantage) -> Vec<(Seen<'a, InterfaceFact>, &'a InterfaceAddress)> {
        let all = self.addresses(at).into_iter();
        all.filter(|(_, address)| address.addr.is_ipv6() && address.range == Range::Global).collect()
    }

    /// The routes of a family at a place.
    pub fn routes(&self, at: &Vantage, family: Family) -> Option<Seen<'a, RoutesFact>> {
        self.all_routes().find(|seen| seen.fact.vantage == *at && seen.body.family == family)
    }

    /// What the kernel would do with a packet to the internet: the best that it has for the family.
    pub fn way_out(&self, at: &Vantage, family: Family) -> Option<Seen<'a, SourceFact>> {
        let all: Vec<_> = self
            .all_sources()
            .filter(|seen| {
                seen.fact.vantage == *at
                    && SOMEWHERE.contains(&seen.body.destination)
                    && Family::of(seen.body.destination) == family
            })
            .collect();
        all.iter().find(|seen| seen.body.failure.is_none()).or(all.first()).copied()
    }

    /// The kernel would send to the internet by this family, and from an address that can be answered.
    pub fn reaches_out(&self, at: &Vantage, family: Family) -> bool {
        self.way_out(at, family).is_some_and(|seen| {
            let answerable = family == Family::V4 || seen.body.range == Some(Range::Global);
            seen.body.failure.is_none() && answerable
        })
    }

    /// What the kernel would do with a packet to this address.
    pub fn way_to(&self, at: &Vantage, destination: IpAddr) -> Option<Seen<'a, SourceFact>> {
        self.all_sources().find(|seen| seen.fact.vantage == *at && seen.body.destination == destination)
    }

    /// A kernel setting of a place, such as `net/ipv6/conf/eth0/accept_ra`.
    pub fn setting(&self, at: &Vantage, key: &str) -> Option<(Seen<'a, SysctlFact>, &'a SysctlValue)> {
        let of = |seen: Seen<'a, SysctlFact>| {
            let value = seen.body.values.iter().find(|value| value.key.as_str() == key)?;
            Some((seen, value))
        };
        self.all_settings().filter(|seen| seen.fact.vantage == *at).find_map(of)
    }

    /// Its live value.
    pub fn live(&self, at: &Vantage, key: &str) -> Option<i64> {
        self.setting(at, key)?.1.live
    }

    /// The listening sockets of a place.
    pub fn listeners(&self, at: &Vantage) -> Option<Seen<'a, ListenersFact>> {
        self.all_listeners().find(|seen| seen.fact.vantage == *at)
    }

    /// The resolver files that the PDS has. A container in this machine's network has its own.
    pub fn name_files(&self) -> Option<Seen<'a, NameFilesFact>> {
        let own = self.pds().map(|seen| seen.body.own_view());
        let at = |wanted: Option<Vantage>| {
            self.all_name_files().find(|seen| wanted.as_ref().is_some_and(|wanted| seen.fact.vantage == *wanted))
        };
        at(own).or_else(|| at(Some(self.place()))).or_else(|| at(Some(Vantage::Here)))
    }

    /// The same, where they are the PDS's for certain: read in its own view of files, or this machine's, which it was seen
    /// to share.
    pub fn own_name_files(&self) -> Option<Seen<'a, NameFilesFact>> {
        let process = self.pds()?.body;
        let own = process.own_view();
        let shares = process.own_files == Some(false) && process.own_network == Some(false);
        let of_pds =
            |seen: &Seen<'a, NameFilesFact>| seen.fact.vantage == own || (shares && seen.fact.vantage == Vantage::Here);
        self.all_name_files().find(of_pds)
    }

    /// What the hosts file or a search domain makes of a name where the PDS is. `None`: it is asked for as it stands.
    pub fn instead(&self, host: &str) -> Option<Instead> {
        let files = self.own_name_files()?;
        let listed = files.body.listed(host);
        if !listed.is_empty() {
            return Some(Instead { addresses: listed, name: None, ids: vec![files.id()] });
        }
        // The first that exists ends the search.
        files.body.before_as_it_stands(host).into_iter().find_map(|name| {
            let of_it: Vec<_> = self
                .searched()
                .filter(|seen| seen.fact.vantage == files.fact.vantage && seen.body.name.as_str() == name)
                .filter(|seen| seen.body.outcome == DnsOutcome::Answer)
                .collect();
            let addresses: BTreeSet<IpAddr> = of_it.iter().flat_map(|seen| seen.body.addresses()).collect();
            let ids = of_it.iter().map(Seen::id).chain([files.id()]).collect();
            (!addresses.is_empty()).then(|| Instead {
                addresses: addresses.into_iter().collect(),
                name: Some(name),
                ids,
            })
        })
    }

    /// The hosts that were connected to from a place, in order of name.
    pub fn hosts(&self, at: &Vantage) -> BTreeSet<&'a str> {
        self.connects().filter(|seen| seen.fact.vantage == *at).map(|seen| seen.body.host.as_str()).collect()
    }

    /// Connections to a host from a place, in the order in which they were made.
    pub fn connects_to(&self, at: &Vantage, host: &str) -> Vec<Seen<'a, ConnectFact>> {
        let mut found: Vec<_> =
            self.connects().filter(|seen| seen.fact.vantage == *at && seen.body.host.as_str() == host).collect();
        found.sort_by_key(|seen| (seen.body.addr, seen.fact.started_ms));
        found
    }

    /// TLS handshakes with a host from a place that came about, those in small packets aside.
    pub fn handshakes_with(&self, at: &Vantage, host: &str) -> Vec<Seen<'a, TlsFact>> {
        let with = |seen: &Seen<'a, TlsFact>| {
            let body = seen.body;
            seen.fact.vantage == *at
                && body.sni.as_str() == host
                && body.max_segment.is_none()
                && body.failure.is_none()
        };
        self.handshakes().filter(with).collect()
    }

    /// Exchanges with a host from a place.
    pub fn exchanges_with(&self, at: &Vantage, host: &str) -> Vec<Seen<'a, HttpFact>> {
        let with = |seen: &Seen<'a, HttpFact>| host_of(&seen.body.url).as_deref() == Some(host);
        self.exchanges().filter(|seen| seen.fact.vantage == *at && with(seen)).collect()
    }

    /// How connections of a family fare from a place, over every host but `except`: the first of each
    /// address counts.
    pub fn tries(&self, at: &Vantage, family: Family, except: Option<&str>) -> Vec<Seen<'a, ConnectFact>> {
        let mut seen_before: BTreeSet<IpAddr> = BTreeSet::new();
        self.connects()
            .filter(|seen| {
                seen.fact.vantage == *at
                    && Family::of(seen.body.addr) == family
                    && Some(seen.body.host.as_str()) != except
                    && seen_before.insert(seen.body.addr)
            })
            .collect()
    }

    /// Names of facts, for evidence.
    pub fn ids<T>(seen: &[Seen<'a, T>]) -> Vec<FactId> {
        seen.iter().map(Seen::id).collect()
    }
}

/// What the PDS gets for a name in the place of what the DNS has for it.
#[derive(Debug)]
pub struct Instead {
    /// Where it goes.
    pub addresses: Vec<IpAddr>,
    /// The name that was asked for; `None`: its hosts file says so.
    pub name: Option<String>,
    /// Facts.
    pub ids: Vec<FactId>,
}

/// How a connection fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It came about, or was answered by a refusal: packets pass both ways.
    Answered,
    /// Nothing came back.
    Silent,
    /// The own kernel, or a router, said at once that there is no way.
    NoRoute,
    /// A policy on the way refused.
    Prohibited,
    /// Anything else.
    Other,
}

/// What a failure, or its absence, says of the way.
pub fn fate(failure: Option<&Failure>) -> Fate {
    match failure.map(|failure| failure.kind) {
        None | Some(FailureKind::Refused | FailureKind::Reset) => Fate::Answered,
        Some(FailureKind::Timeout) => Fate::Silent,
        Some(FailureKind::NetworkUnreachable | FailureKind::HostUnreachable) => Fate::NoRoute,
        Some(FailureKind::Prohibited) => Fate::Prohibited,
        Some(_) => Fate::Other,
    }
}
