//! Kinds of addresses, as seen from the machine that has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    address_kind::{AddressKind, address_kind},
    host_fact::Range,
};

/// Who can reach `addr`, found on `interface` if that is known (the registries of RFC 6890).
pub(super) fn range_of(addr: IpAddr, interface: Option<&str>) -> Range {
    match addr {
        IpAddr::V4(addr) => v4(addr, interface),
        IpAddr::V6(addr) => v6(addr),
    }
}

fn v4(addr: Ipv4Addr, interface: Option<&str>) -> Range {
    let [a, b, c, _] = addr.octets();
    match (a, b, c) {
        (127, ..) => Range::Loopback,
        (169, 254, _) => Range::LinkLocal,
        // Tailscale takes its addresses from the range that providers share (RFC 6598); only its own
        // interface tells the two apart.
        (100, 64..=127, _) if interface.is_some_and(|name| name.starts_with("tailscale")) => Range::Tailscale,
        (100, 64..=127, _) => Range::Shared,
        // Docker's default pools (moby, libnetwork/ipamutils): 172.17.0.0/16 to 172.31.0.0/16, then
        // 192.168.0.0/16 in pieces. The first is that of `docker0`; the others may be anybody's, so only a
        // bridge's name tells.
        (172, 17, _) => Range::Docker,
        (172, 18..=31, _) if is_bridge(interface) => Range::Docker,
        (192, 168, _) if is_bridge(interface) => Range::Docker,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Range::Private,
        _ if address_kind(addr.into()) == AddressKind::Public => Range::Global,
        _ => Range::Reserved,
    }
}

/// Bridges that Docker makes: `docker0`, `br-<id>`, `docker_gwbridge`.
fn is_bridge(interface: Option<&str>) -> bool {
    interface.is_some_and(|name| name.starts_with("docker") || name.starts_with("br-"))
}

fn v6(addr: Ipv6Addr) -> Range {
    let parts = addr.segments();
    if addr.is_loopback() {
        Range::Loopback
    } else if addr.is_unicast_link_local() {
        Range::LinkLocal
    } else if parts[..3] == [0xfd7a, 0x115c, 0xa1e0] {
        Range::Tailscale
    } else if addr.is_unique_local() {
        Range::UniqueLocal
    } else if address_kind(addr.into()) == AddressKind::Public {
        Range::Global
    } else {
        Range::Reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (addr, interface, range) in [
            ("127.0.0.1", None, Range::Loopback),
            ("169.254.1.1", None, Range::LinkLocal),
            ("10.0.0.1", Some("eth0"), Range::Private),
            ("172.17.0.1", Some("docker0"), Range::Docker),
            ("172.18.0.1", Some("br-0123456789ab"), Range::Docker),
            ("172.17.0.2", None, Range::Docker),
            ("172.31.5.6", Some("eth0"), Range::Private),
            ("192.168.1.2", Some("wlan0"), Range::Private),
            ("100.64.0.1", Some("eth0"), Range::Shared),
            ("100.101.102.103", Some("tailscale0"), Range::Tailscale),
            ("203.0.113.1", None, Range::Reserved),
            ("9.9.9.9", None, Range::Global),
            ("255.255.255.255", None, Range::Reserved),
            ("::1", None, Range::Loopback),
            ("fe80::1", None, Range::LinkLocal),
            ("fd00::1", None, Range::UniqueLocal),
            ("fd7a:115c:a1e0::1", None, Range::Tailscale),
            ("2a01:4f8::1", None, Range::Global),
            ("2001:db8::1", None, Range::Reserved),
            ("64:ff9b::1", None, Range::Reserved),
            ("ff02::1", None, Range::Reserved),
        ] {
            assert_eq!(range_of(addr.parse().expect("an address"), interface), range, "{addr} {interface:?}");
        }
    }
}
