//! Which addresses `getaddrinfo` gives, and in which order: the C library's part. The two libraries differ, and the PDS's
//! official image has musl.
//!
//! Node asks with `AI_ADDRCONFIG` (`lookupAndConnect`, lib/net.js) for both families. What `gai.conf` can change in glibc is
//! not modelled.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// The C library of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// Debian, Ubuntu, Fedora …
    Glibc,
    /// Alpine.
    Musl,
}

/// What the network namespace of the process has, as far as `AI_ADDRCONFIG` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Configured {
    /// Some interface has an IPv4 address other than 127.0.0.1.
    pub v4: bool,
    /// Some interface has an IPv6 address other than `::1`; a link-local one will do.
    pub v6: bool,
    /// 127.0.0.1 has a route.
    pub loopback_v4: bool,
    /// `::1` has a route.
    pub loopback_v6: bool,
}

/// An address that the DNS gave, and what the kernel would do with a packet to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The address.
    pub address: IpAddr,
    /// The source address that the kernel would choose; nothing if it has no route.
    pub source: Option<Source>,
}

/// A source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
}

/// The addresses in the order in which `getaddrinfo` gives them, without those it leaves out.
pub fn resolve(libc: Libc, configured: &Configured, found: &[Destination]) -> Vec<IpAddr> {
    let (v4, v6) = families(libc, configured);
    let wanted = |destination: &&Destination| if destination.address.is_ipv4() { v4 } else { v6 };
    let mut left: Vec<&Destination> = found.iter().filter(wanted).collect();
    match libc {
        Libc::Glibc => left.sort_by(|a, b| glibc(a, b)),
        // The largest key first; what came first wins a tie (`cmpfunc` and `DAS_ORDER_SHIFT`, lookup_name.c).
        Libc::Musl => left.sort_by_key(|destination| std::cmp::Reverse(musl(destination))),
    }
    left.into_iter().map(|destination| destination.address).collect()
}

/// Which families are asked for at all under `AI_ADDRCONFIG`.
pub fn families(libc: Libc, configured: &Configured) -> (bool, bool) {
    match libc {
        // glibc narrows the question only if exactly one family has an address, loopback not counted
        // (`getaddrinfo`, sysdeps/posix/getaddrinfo.c; `make_request`, sysdeps/unix/sysv/linux/check_pf.c).
        Libc::Glibc if configured.v4 != configured.v6 => (configured.v4, configured.v6),
        Libc::Glibc => (true, true),
        // musl asks whether a socket of the family can be connected to that family's loopback address
        // (src/network/getaddrinfo.c).
        Libc::Musl => (configured.loopback_v4, configured.loopback_v6),
    }
}

/// RFC 6724's table of policies, as a library has it: prefix, its length, precedence, label.
type Policies = &'static [(Ipv6Addr, u8, u8, u8)];

const LOOPBACK: Ipv6Addr = Ipv6Addr::LOCALHOST;
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
const SIX_TO_FOUR: Ipv6Addr = Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0);
const TEREDO: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0);
const UNIQUE_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0);
const SITE_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0);
const ANY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// `default_labels` and `default_precedence` of glibc's getaddrinfo.c: still the precedences of RFC 3484, so a unique
/// local destination is not put behind.
const GLIBC: Policies = &[
    (LOOPBACK, 128, 50, 0),
    (MAPPED, 96, 10, 4),
    (ANY, 96, 20, 3),
    (SIX_TO_FOUR, 16, 30, 2),
    (TEREDO, 32, 40, 7),
    (SITE_LOCAL, 10, 40, 5),
    (UNIQUE_LOCAL, 7, 40, 6),
    (ANY, 0, 40, 1),
];

/// `defpolicy` of musl's lookup_name.c: RFC 6724.
const MUSL: Policies = &[
    (LOOPBACK, 128, 50, 0),
    (MAPPED, 96, 35, 4),
    (SIX_TO_FOUR, 16, 30, 2),
    (TEREDO, 32, 5, 5),
    (UNIQUE_LOCAL, 7, 3, 13),
    (ANY, 0, 40, 1),
];

fn policy(policies: Policies, address: IpAddr) -> (u8, u8) {
    let address = mapped(address);
    let found = policies.iter().find(|(prefix, length, _, _)| common(*prefix, address) >= *length);
    found.map_or((0, 0), |(_, _, precedence, label)| (*precedence, *label))
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// How many leading bits two addresses share.
fn common(one: Ipv6Addr, other: Ipv6Addr) -> u8 {
    u8::try_from((one.to_bits() ^ other.to_bits()).leading_zeros()).unwrap_or(128)
}

const LINK_SCOPE: u8 = 2;
const SITE_SCOPE: u8 = 5;
const GLOBAL_SCOPE: u8 = 14;

/// Private IPv4 addresses are of global scope in both libraries.
fn scope(libc: Libc, address: IpAddr) -> u8 {
    match address {
        // glibc's `default_scopes`; musl looks at the mapped form, which is never link-local.
        IpAddr::V4(v4) if libc == Libc::Glibc && (v4.is_link_local() || v4.octets()[0] == 127) => LINK_SCOPE,
        IpAddr::V4(_) => GLOBAL_SCOPE,
        IpAddr::V6(v6) if v6.is_multicast() => v6.octets()[1] & 0xf,
        IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_loopback() => LINK_SCOPE,
        IpAddr::V6(v6) if common(v6, SITE_LOCAL) >= 10 => SITE_SCOPE,
        IpAddr::V6(_) => GLOBAL_SCOPE,
    }
}

/// `rfc3484_sort` of glibc's getaddrinfo.c. Rules 4 and 7 (home addresses, tunnels) never tell two addresses apart here.
fn glibc(a: &Destination, b: &Destination) -> Ordering {
    // A property that is wanted puts its bearer first.
    let wanted = |of: &dyn Fn(&Destination) -> bool| of(b).cmp(&of(a));
    let matches =
        |of: &dyn Fn(IpAddr) -> u8| wanted(&|it| it.source.is_some_and(|source| of(source.address) == of(it.address)));
    wanted(&|it| it.source.is_some())
        .then_with(|| matches(&|address| scope(Libc::Glibc, address)))
        .then_with(|| wanted(&|it| !it.source.is_some_and(|source| source.deprecated)))
        .then_with(|| matches(&|address| policy(GLIBC, address).1))
        .then_with(|| policy(GLIBC, b.address).0.cmp(&policy(GLIBC, a.address).0))
        .then_with(|| scope(Libc::Glibc, a.address).cmp(&scope(Libc::Glibc, b.address)))
        .then_with(|| glibc_longest_match(a, b))
}

/// Rule 9: only within a family, and for IPv4 only where source and destination share a network.
fn glibc_longest_match(a: &Destination, b: &Destination) -> Ordering {
    let (Some(from_a), Some(from_b)) = (a.source, b.source) else { return Ordering::Equal };
    let shared = |destination: IpAddr, source: Source| match (destination, source.address) {
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let bits = (to.to_bits() ^ from.to_bits()).leading_zeros();
            if bits >= u32::from(source.prefix) { bits } else { 0 }
        }
        (to, from) => u32::from(common(mapped(to), mapped(from))),
    };
    if a.address.is_ipv4() != b.address.is_ipv4() {
        return Ordering::Equal;
    }
    shared(b.address, from_b).cmp(&shared(a.address, from_a))
}

/// musl's key (`name_ipv6_sort` part of `__lookup_name`): usable, same scope, same label, precedence, small scope, common
/// prefix.
fn musl(it: &Destination) -> (bool, bool, bool, u8, u8, u8) {
    let (precedence, label) = policy(MUSL, it.address);
    let own_scope = scope(Libc::Musl, it.address);
    let source = it.source.map(|source| source.address);
    let same_scope = source.is_some_and(|source| scope(Libc::Musl, source) == own_scope);
    let same_label = source.is_some_and(|source| policy(MUSL, source).1 == label);
    let prefix = source.map_or(0, |source| common(mapped(source), mapped(it.address)));
    (source.is_some(), same_scope, same_label, precedence, 15 - own_scope.min(15), prefix)
}

/// A source address in its usual network: /24 and /64.
impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 24 } else { 64 }, deprecated: false }
    }
}

impl From<Ipv4Addr> for Source {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::V4(address).into()
    }
}

impl From<Ipv6Addr> for Source {
    fn from(address: Ipv6Addr) -> Self {
        IpAddr::V6(address).into()
    }
}
