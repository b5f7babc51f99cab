//! Interfaces and their addresses, from the kernel over rtnetlink. No right is needed.

use std::{collections::BTreeMap, io, net::IpAddr};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol},
        link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State},
    },
};

use super::address::range_of;
use crate::{
    host_fact::{AddressOrigin, InterfaceAddress, InterfaceFact},
    text::Text,
};

/// The most interfaces that are kept: a machine with many containers has one for each.
const INTERFACES: usize = 32;

/// The most addresses of one interface that are kept.
const ADDRESSES: usize = 24;

/// "For ever" in lifetimes (RFC 4861, section 4.6.2).
pub(super) const FOR_EVER: u32 = u32::MAX;

/// Interfaces by index; hardware and tunnels before the ends of containers' cables.
pub(super) async fn interfaces(handle: &Handle) -> io::Result<Vec<InterfaceFact>> {
    let mut found = BTreeMap::new();
    let mut links = std::pin::pin!(handle.link().get().execute());
    while let Some(link) = links.try_next().await.map_err(told)? {
        let fact = interface(&link);
        found.insert(fact.index, fact);
    }
    let mut addresses = std::pin::pin!(handle.address().get().execute());
    while let Some(message) = addresses.try_next().await.map_err(told)? {
        if let Some(interface) = found.get_mut(&message.header.index)
            && interface.addresses.len() < ADDRESSES
        {
            interface.addresses.extend(address(&message, &interface.name));
        }
    }
    let mut list: Vec<InterfaceFact> = found.into_values().collect();
    for interface in &mut list {
        interface.addresses.sort();
    }
    let is_cable =
        |interface: &InterfaceFact| interface.device.as_deref() == Some("veth") && interface.bridge.is_some();
    list.sort_by_key(|interface| (is_cable(interface), interface.index));
    list.truncate(INTERFACES);
    Ok(list)
}

pub(super) fn told(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn interface(link: &LinkMessage) -> InterfaceFact {
    let mut fact = InterfaceFact {
        name: Text::default(),
        index: link.header.index,
        device: None,
        up: link.header.flags.contains(LinkFlags::Up),
        running: false,
        mtu: 0,
        bridge: None,
        addresses: Vec::new(),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => fact.name = Text::limited(name, 40),
            LinkAttribute::Mtu(mtu) => fact.mtu = *mtu,
            LinkAttribute::Controller(index) => fact.bridge = Some(*index),
            LinkAttribute::OperState(state) => fact.running = matches!(state, State::Up | State::Unknown),
            LinkAttribute::LinkInfo(infos) => {
                fact.device = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(Text::limited(&kind.to_string(), 40)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    fact.running &= fact.up;
    fact
}

fn address(message: &AddressMessage, interface: &str) -> Option<InterfaceAddress> {
    let mut addr: Option<IpAddr> = None;
    let mut local = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
    let mut lifetimes = (FOR_EVER, FOR_EVER);
    let mut protocol = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(found) => addr = Some(*found),
            // On a point-to-point link "address" is the other end's (rtnetlink(7)).
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Flags(found) => flags = *found,
            AddressAttribute::CacheInfo(info) => lifetimes = (info.ifa_valid, info.ifa_preferred),
            AddressAttribute::Protocol(found) => protocol = Some(*found),
            _ => {}
        }
    }
    let addr = local.or(addr)?;
    let range = range_of(addr, Some(interface));
    let for_ever = permanent || lifetimes.0 == FOR_EVER;
    // Kernels since 5.18 say who made an address (IFA_PROTO). Of older ones: link-local and loopback
    // addresses are the kernel's; one made from an advertisement has a lifetime and, unless a program
    // made it, no `noprefixroute`.
    let origin = match protocol {
        Some(AddressProtocol::RouterAnnouncement) => AddressOrigin::KernelRa,
        Some(AddressProtocol::Loopback | AddressProtocol::LinkLocal) => AddressOrigin::Kernel,
        _ if addr.is_loopback() => AddressOrigin::Kernel,
        _ if range == crate::host_fact::Range::LinkLocal && addr.is_ipv6() => AddressOrigin::Kernel,
        None if !for_ever && addr.is_ipv6() && flags.contains(AddressFlags::Managetempaddr) => AddressOrigin::KernelRa,
        _ if !for_ever => AddressOrigin::Dynamic,
        _ => AddressOrigin::Static,
    };
    let words = [
        (AddressFlags::Deprecated, "deprecated"),
        (AddressFlags::Tentative, "tentative"),
        (AddressFlags::Dadfailed, "dadfailed"),
        (AddressFlags::Optimistic, "optimistic"),
        (AddressFlags::Noprefixroute, "noprefixroute"),
        (AddressFlags::Managetempaddr, "mngtmpaddr"),
    ];
    let mut kept: Vec<Text> =
        words.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| Text::new(word)).collect();
    // The same bit is "secondary" of an IPv4 address and "temporary" of an IPv6 one (RFC 8981).
    if flags.contains(AddressFlags::Secondary) {
        kept.push(Text::new(if addr.is_ipv6() { "temporary" } else { "secondary" }));
    }
    let lifetime = |seconds: u32| (!for_ever && seconds != FOR_EVER).then_some(seconds);
    Some(InterfaceAddress {
        addr,
        prefix: message.header.prefix_len,
        range,
        origin,
        valid_s: lifetime(lifetimes.0),
        preferred_s: lifetime(lifetimes.1),
        flags: kept,
    })
}
