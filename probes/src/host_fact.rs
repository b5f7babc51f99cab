//! What is known of a network namespace and of the machine around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{
    terms::{Failure, Family},
    text::Text,
};

/// Addresses that every routing table treats as "the internet", in both halves of what providers
/// give out: root name servers (a.root-servers.net, k.root-servers.net). Nothing is sent to them.
pub const SOMEWHERE: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1)),
];

/// A network interface with its addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceFact {
    /// Its name.
    pub name: Text,
    /// Its number in its namespace.
    pub index: u32,
    /// `veth`, `bridge`, `wireguard` …; `None`: hardware, or what the hypervisor gives for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<Text>,
    /// It is switched on.
    pub up: bool,
    /// A link is there (RFC 2863 "up", or unknown, as of devices that cannot tell).
    pub running: bool,
    /// The largest packet.
    pub mtu: u32,
    /// It is part of this bridge.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bridge: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceAddress {
    /// The address.
    pub addr: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
    /// Who can reach it.
    pub range: Range,
    /// Where it came from.
    pub origin: AddressOrigin,
    /// Seconds for which it stays valid; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_s: Option<u32>,
    /// Seconds for which new connections use it; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preferred_s: Option<u32>,
    /// Deprecated, tentative, a duplicate of another machine's: in the words of `ip address`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub flags: Vec<Text>,
}

/// Who can reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Range {
    /// The internet.
    Global,
    /// A private network (RFC 1918).
    Private,
    /// Where Docker puts its bridges unless told otherwise (172.17.0.0/16 and on): private, but
    /// of this machine alone.
    Docker,
    /// Shared by a provider's customers (RFC 6598).
    Shared,
    /// Tailscale: its part of RFC 6598 on its own interface, or `fd7a:115c:a1e0::/48`.
    Tailscale,
    /// Unique local (RFC 4193): not the internet.
    UniqueLocal,
    /// This link only.
    LinkLocal,
    /// This machine only.
    Loopback,
    /// Documentation, benchmarking, multicast and whatever else no host has on the internet.
    Reserved,
}

/// Where an address came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AddressOrigin {
    /// The kernel made it from a router advertisement.
    KernelRa,
    /// The kernel made it by itself: loopback and link-local.
    Kernel,
    /// A program gave it, for a time: DHCP, or router advertisements handled by a program.
    Dynamic,
    /// A program or a person gave it, for ever.
    Static,
}

/// The routes of one family in one network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoutesFact {
    /// The family.
    pub family: Family,
    /// Default routes, the preferred first.
    pub defaults: Vec<Route>,
    /// Other routes of tables that count (not `local`, nor multicast and link-local ones).
    pub others: Vec<Route>,
    /// So many more were left out.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub left_out: u32,
    /// Rules other than the three that every system has, in the words of `ip rule`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rules: Vec<Text>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The smaller, the better.
    pub metric: u32,
    /// Where it leads, such as `default` or `172.17.0.0/16`.
    pub destination: Text,
    /// The next router.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gateway: Option<IpAddr>,
    /// The interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<Text>,
    /// Who made it: `ra` (the kernel, of a router advertisement), `dhcp`, `static`, `boot`, `kernel` …
    pub protocol: Text,
    /// `unicast`; or `unreachable`, `blackhole`, `prohibit`, which refuse.
    pub kind: Text,
    /// The table, if not `main`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub table: Option<u32>,
    /// The source address it prefers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<IpAddr>,
    /// Seconds until it goes; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_s: Option<u32>,
}

/// What the kernel would do with a packet to one destination. Nothing is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceFact {
    /// The destination.
    pub destination: IpAddr,
    /// The source address it would choose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<IpAddr>,
    /// Who can reach that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub range: Option<Range>,
    /// The interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<Text>,
    /// The next router.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gateway: Option<IpAddr>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

/// Kernel settings of one network namespace, for one interface (or `all`, `default`), or those
/// that belong to none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SysctlFact {
    /// `all`, `default` or an interface; `None`: settings of the whole namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<Text>,
    /// By key.
    pub values: Vec<SysctlValue>,
}

impl SysctlFact {
    /// The live value of the key that ends in `/name`, such as `accept_ra`.
    pub fn live(&self, name: &str) -> Option<i64> {
        self.values.iter().find(|value| value.key.rsplit('/').next() == Some(name))?.live
    }
}

/// One kernel setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SysctlValue {
    /// Its path below `/proc/sys`, such as `net/ipv6/conf/eth0/accept_ra`.
    pub key: Text,
    /// What it is now; `None`: there is no such setting (IPv6 off at boot, say).
    pub live: Option<i64>,
    /// What the files would make it at the next boot, if they say anything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot: Option<BootValue>,
}

/// What a file of sysctl.d(5) says of a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct BootValue {
    /// The value, as written.
    pub value: Text,
    /// The file that has the last word.
    pub file: Text,
    /// How the file names it.
    pub via: BootVia,
}

/// How a file of sysctl.d(5) names a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum BootVia {
    /// By its own name.
    Key,
    /// By a pattern such as `net.ipv6.conf.*.accept_ra`.
    Pattern,
    /// By `conf.all`, whose change the kernel carries to every interface (`forwarding`, `disable_ipv6`).
    All,
    /// By `conf.default`, which an interface inherits if it appears after the files were applied.
    Default,
    /// In a file that nothing reads at boot here: `/etc/sysctl.conf` without a link in
    /// `/etc/sysctl.d`, which systemd-sysctl leaves alone.
    Unread,
}

/// Who acts on router advertisements at an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RaHandlerFact {
    /// The interface.
    pub interface: Text,
    /// Who.
    pub handler: RaHandler,
    /// What was seen that says so.
    pub because: Vec<Text>,
    /// The kernel would take an advertisement now: `accept_ra` is 2, or 1 without forwarding
    /// (Documentation/networking/ip-sysctl, "accept_ra"), and IPv6 is on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel_accepts: Option<bool>,
}

/// Who may act on router advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RaHandler {
    /// The kernel.
    Kernel,
    /// systemd-networkd, in user space.
    SystemdNetworkd,
    /// NetworkManager, in user space.
    NetworkManager,
    /// dhcpcd, in user space.
    Dhcpcd,
    /// ifupdown sets the interface up and leaves advertisements to the kernel.
    Ifupdown,
    /// `accept_ra` is 0 and no program is known to act instead.
    Nobody,
    /// Cannot be told.
    Unknown,
}

/// Whether this machine forwards packets, and what may have made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardingFact {
    /// `net.ipv4.ip_forward`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub v4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub v6: Option<bool>,
    /// Programs that run and are known to switch it on: `dockerd`, `tailscaled` …
    pub programs: Vec<Text>,
    /// Files of sysctl.d(5) that switch it on.
    pub files: Vec<Text>,
}

/// The files that say how names are resolved, as the PDS (or this machine) sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NameFilesFact {
    /// `nameserver` lines of `/etc/resolv.conf`; the first three count.
    pub nameservers: Vec<Text>,
    /// `search` or `domain`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub search: Vec<Text>,
    /// `options`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub options: Vec<Text>,
    /// Servers behind Docker's own resolver, which it notes as a comment (`ExtServers`).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub upstream: Vec<Text>,
    /// Entries of `/etc/hosts` with a dotted name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hosts: Vec<HostsEntry>,
    /// The sources of `hosts:` in `/etc/nsswitch.conf`. musl does not read it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nsswitch: Vec<Text>,
    /// Lines of `/etc/gai.conf`. musl does not read it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gai: Vec<Text>,
    /// Files that are there and could not be read, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unreadable: Vec<Text>,
}

/// The most search domains that are looked at; the C libraries know six and more, people write one or two.
const SEARCHED: usize = 3;

impl NameFilesFact {
    /// How many dots a name must have to be asked for as it stands first (resolv.conf(5), `ndots`).
    pub fn ndots(&self) -> usize {
        let said = self.options.iter().rev().find_map(|option| option.strip_prefix("ndots:")?.parse::<usize>().ok());
        said.map_or(1, |dots| dots.min(15))
    }

    /// What a resolver library asks for before the name as it stands: the name with each search domain behind it, where it
    /// has too few dots.
    pub fn before_as_it_stands(&self, host: &str) -> Vec<String> {
        let dots = host.bytes().filter(|byte| *byte == b'.').count();
        if host.ends_with('.') || dots >= self.ndots() { Vec::new() } else { self.with_search_domains(host) }
    }

    /// The name with each search domain behind it.
    pub fn with_search_domains(&self, host: &str) -> Vec<String> {
        let domains = self.search.iter().map(|domain| domain.trim_matches('.')).filter(|domain| !domain.is_empty());
        domains.take(SEARCHED).map(|domain| format!("{host}.{domain}")).collect()
    }

    /// The addresses that the hosts file has for a name, where they are what counts: unless `nsswitch.conf` puts the DNS
    /// before it. systemd-resolved and nscd, asked first, read the file as well.
    pub fn listed(&self, host: &str) -> Vec<IpAddr> {
        let at = |source: &str| self.nsswitch.iter().position(|word| word.as_str() == source);
        let hidden = match (at("dns"), at("files")) {
            (Some(dns), Some(files)) => dns < files,
            (Some(_), None) => true,
            _ => false,
        };
        let of_host = |entry: &&HostsEntry| entry.names.iter().any(|name| name.eq_ignore_ascii_case(host));
        let mut found: Vec<IpAddr> =
            self.hosts.iter().filter(|_| !hidden).filter(of_host).map(|entry| entry.addr).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct HostsEntry {
    /// The address.
    pub addr: IpAddr,
    /// The names.
    pub names: Vec<Text>,
}

/// A listen for router advertisements on one interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouterAdvertisementFact {
    /// The interface.
    pub interface: Text,
    /// A solicitation was sent (RFC 4861, section 6.3.7).
    pub solicited: bool,
    /// How long it was listened.
    pub listened_ms: u64,
    /// What came, one per router, the last of each.
    pub routers: Vec<RouterAdvertisement>,
    /// So many messages were no valid advertisements.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub invalid: u32,
    /// Why it could not go on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

/// What a router advertises (RFC 4861, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouterAdvertisement {
    /// Its link-local address.
    pub router: IpAddr,
    /// Seconds for which it is a default router; 0: it is none.
    pub lifetime_s: u16,
    /// `high`, `medium`, `low` (RFC 4191).
    pub preference: Text,
    /// Addresses are given out by DHCPv6.
    pub managed: bool,
    /// Other settings are given out by DHCPv6.
    pub other: bool,
    /// Prefixes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub prefixes: Vec<AdvertisedPrefix>,
    /// Routes beside the default one (RFC 4191): prefix and lifetime in seconds.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub routes: Vec<AdvertisedRoute>,
    /// The MTU of the link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mtu: Option<u32>,
    /// Name servers (RFC 8106).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub name_servers: Vec<IpAddr>,
}

/// A prefix of a router advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdvertisedPrefix {
    /// Such as `2001:db8::/64`.
    pub prefix: Text,
    /// Hosts with it are on this link.
    pub on_link: bool,
    /// Hosts may make themselves addresses of it.
    pub autonomous: bool,
    /// Seconds; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_s: Option<u32>,
    /// Seconds; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preferred_s: Option<u32>,
}

/// A route of a router advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdvertisedRoute {
    /// Such as `2001:db8::/48`.
    pub prefix: Text,
    /// Seconds; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifetime_s: Option<u32>,
}

/// The routers nearest to this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HopsFact {
    /// On the way to this address.
    pub destination: IpAddr,
    /// The first, the second …; `None`: it did not say.
    pub hops: Vec<Option<IpAddr>>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_resolver_libraries_do_it() {
        let files = |search: &[&str], options: &[&str]| NameFilesFact {
            search: search.iter().map(|word| Text::new(word)).collect(),
            options: options.iter().map(|word| Text::new(word)).collect(),
            ..NameFilesFact::default()
        };
        let usual = files(&["lan"], &["edns0"]);
        assert!(usual.before_as_it_stands("tangled.org").is_empty());
        assert_eq!(usual.before_as_it_stands("pds"), ["pds.lan"]);
        let pod = files(&["ns.svc.cluster.local", "example.com."], &["ndots:2", "ndots:5"]);
        assert_eq!(
            pod.before_as_it_stands("tangled.org"),
            ["tangled.org.ns.svc.cluster.local", "tangled.org.example.com"]
        );
        assert!(
            pod.before_as_it_stands("a.b.c.d.e.f").is_empty() && pod.before_as_it_stands("tangled.org.").is_empty()
        );
    }

    #[test]
    fn the_hosts_file_counts_unless_the_dns_stands_before_it() {
        let files = |order: &str| NameFilesFact {
            hosts: vec![HostsEntry {
                addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
                names: vec![Text::new("Tangled.org")],
            }],
            nsswitch: order.split_whitespace().map(Text::new).collect(),
            ..NameFilesFact::default()
        };
        for order in ["", "files dns", "mymachines resolve [!UNAVAIL=return] files myhostname dns"] {
            assert_eq!(files(order).listed("tangled.org").len(), 1, "{order}");
        }
        assert!(files("dns files").listed("tangled.org").is_empty() && files("dns").listed("tangled.org").is_empty());
        assert!(files("").listed("other.org").is_empty());
    }
}
