//! Kinds of addresses: which of them the world can use (RFC 6890 and its registries).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use strum::Display;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
pub enum AddressKind {
    /// Anybody may reach it.
    #[strum(serialize = "public")]
    Public,
    /// RFC 1918.
    #[strum(serialize = "private")]
    Private,
    /// RFC 6598, shared by a provider's customers; Tailscale uses it too.
    #[strum(serialize = "carrier-grade NAT or Tailscale")]
    SharedNat,
    /// RFC 4193.
    #[strum(serialize = "unique local IPv6")]
    UniqueLocal,
    /// RFC 3927, RFC 4291.
    #[strum(serialize = "link-local")]
    LinkLocal,
    /// This machine itself.
    #[strum(serialize = "loopback")]
    Loopback,
    /// RFC 6052: an IPv4 address behind a translator.
    #[strum(serialize = "NAT64")]
    Nat64,
    /// Documentation, benchmarking, multicast and other addresses no host may have.
    #[strum(serialize = "reserved")]
    Reserved,
}

/// The kind of an address.
pub fn address_kind(addr: IpAddr) -> AddressKind {
    match addr {
        IpAddr::V4(v4) => v4_kind(v4),
        IpAddr::V6(v6) => v6_kind(v6),
    }
}

fn v4_kind(addr: Ipv4Addr) -> AddressKind {
    let [a, b, c, _] = addr.octets();
    if addr.is_private() {
        AddressKind::Private
    } else if addr.is_loopback() {
        AddressKind::Loopback
    } else if addr.is_link_local() {
        AddressKind::LinkLocal
    } else if a == 100 && (64..128).contains(&b) {
        AddressKind::SharedNat
    } else if addr.is_documentation()
        || addr.is_multicast()
        || a == 0
        || a >= 240
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 0 && c == 0)
    {
        AddressKind::Reserved
    } else {
        AddressKind::Public
    }
}

fn v6_kind(addr: Ipv6Addr) -> AddressKind {
    if let Some(v4) = addr.to_ipv4_mapped() {
        return v4_kind(v4);
    }
    let segments = addr.segments();
    match segments[0] {
        _ if addr.is_loopback() => AddressKind::Loopback,
        0x0064 if segments[1] == 0xff9b => AddressKind::Nat64,
        0xfc00..=0xfdff => AddressKind::UniqueLocal,
        0xfe80..=0xfebf => AddressKind::LinkLocal,
        0x2001 if segments[1] == 0x0db8 => AddressKind::Reserved,
        // The only block given out for global unicast so far (RFC 4291, section 2.4, IANA registry).
        0x2000..=0x3fff => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (addr, kind) in [
            ("8.8.8.8", AddressKind::Public),
            ("10.4.11.1", AddressKind::Private),
            ("100.64.0.1", AddressKind::SharedNat),
            ("100.128.0.1", AddressKind::Public),
            ("169.254.1.1", AddressKind::LinkLocal),
            ("203.0.113.7", AddressKind::Reserved),
            ("127.0.0.1", AddressKind::Loopback),
            ("2a01:4f8::1", AddressKind::Public),
            ("fd00::1", AddressKind::UniqueLocal),
            ("fe80::1", AddressKind::LinkLocal),
            ("64:ff9b::808:808", AddressKind::Nat64),
            ("2001:db8::1", AddressKind::Reserved),
            ("::ffff:10.0.0.1", AddressKind::Private),
        ] {
            assert_eq!(addr.parse::<IpAddr>().map(address_kind), Ok(kind), "{addr}");
        }
    }
}
