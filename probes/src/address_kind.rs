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

/// May a host that a stranger's document names be asked at this address? Public ones only; behind a translator
/// ([`AddressKind::Nat64`]) the IPv4 address in it counts, which the well-known prefix carries in its last 32 bits
/// (RFC 6052, section 2.2).
pub fn is_public(addr: IpAddr) -> bool {
    match (address_kind(addr), addr) {
        (AddressKind::Public, _) => true,
        (AddressKind::Nat64, IpAddr::V6(v6)) if v6.segments()[2..6] == [0; 4] => {
            let [.., a, b, c, d] = v6.octets();
            v4_kind(Ipv4Addr::new(a, b, c, d)) == AddressKind::Public
        }
        _ => false,
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
        // Relays of 6to4, given up (RFC 7526).
        || (a == 192 && b == 88 && c == 99)
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
        // Documentation (RFC 3849, RFC 9637), benchmarks (RFC 5180), Teredo (RFC 4380) and identifiers that are no
        // addresses (RFC 7343).
        0x2001 if matches!(segments[1], 0x0db8 | 0x0002 | 0x0000 | 0x0020..=0x002f) => AddressKind::Reserved,
        0x3fff if segments[1] < 0x1000 => AddressKind::Reserved,
        // 6to4 leads to the IPv4 address in it (RFC 3056).
        0x2002 => {
            let [_, _, a, b, c, d, ..] = addr.octets();
            v4_kind(Ipv4Addr::new(a, b, c, d))
        }
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
            ("::ffff:169.254.169.254", AddressKind::LinkLocal),
            ("::127.0.0.1", AddressKind::Reserved),
            ("2002:7f00:1::1", AddressKind::Loopback),
            ("2002:808:808::1", AddressKind::Public),
            ("2001::1", AddressKind::Reserved),
            ("3fff:f000::1", AddressKind::Public),
            ("3fff:0123::1", AddressKind::Reserved),
            ("fec0::1", AddressKind::Reserved),
            ("ff02::1", AddressKind::Reserved),
            ("0.0.0.0", AddressKind::Reserved),
            ("255.255.255.255", AddressKind::Reserved),
            ("169.254.169.254", AddressKind::LinkLocal),
        ] {
            assert_eq!(addr.parse::<IpAddr>().map(address_kind), Ok(kind), "{addr}");
        }
    }

    #[test]
    fn public_is_what_a_stranger_may_send_one_to() {
        for (addr, public) in [
            ("8.8.8.8", true),
            ("2a01:4f8::1", true),
            ("64:ff9b::808:808", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::808:808", false),
            ("64:ff9b:0:0:1::808:808", false),
            ("::ffff:8.8.8.8", true),
            ("::ffff:127.0.0.1", false),
            ("::", false),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(addr.parse().map(is_public), Ok(public), "{addr}");
        }
    }
}
