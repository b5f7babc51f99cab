//! Routes, rules, and the source address for a destination, from the kernel over rtnetlink.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, IpVersion, RouteMessageBuilder,
    packet_route::{
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType, RouteVia},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use super::{address::range_of, links::told, process::USER_HZ};
use crate::{
    fact::{Failure, FailureKind, Family},
    failure,
    host_fact::{Route, RoutesFact, SourceFact},
    text::Text,
};

/// The most routes other than default ones that are kept.
const ROUTES: usize = 48;

/// The most routes that are read: a machine with a full table of the internet is no PDS's.
const READ: usize = 20_000;

/// The most rules that are kept.
const RULES: usize = 32;

/// Tables that everybody has: main, local (`/etc/iproute2/rt_tables`).
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// The routes of one family.
pub(super) async fn routes(handle: &Handle, family: Family, names: &BTreeMap<u32, Text>) -> io::Result<RoutesFact> {
    let question = match family {
        Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let mut stream = std::pin::pin!(handle.route().get(question).execute());
    let (mut defaults, mut others) = (Vec::new(), Vec::new());
    let mut read = 0;
    while let Some(message) = stream.try_next().await.map_err(told)? {
        read += 1;
        if read > READ {
            break;
        }
        // What was learnt on the way (a path MTU, a redirect) is no route that anybody made.
        if message.header.flags.contains(RouteFlags::Cloned) {
            continue;
        }
        let Some(route) = route(&message, family, names) else { continue };
        if route.destination.as_str() == "default" { defaults.push(route) } else { others.push(route) }
    }
    defaults.sort();
    others.sort();
    let left_out = u32::try_from(others.len().saturating_sub(ROUTES)).unwrap_or(u32::MAX);
    others.truncate(ROUTES);
    defaults.truncate(ROUTES);
    Ok(RoutesFact { family, defaults, others, left_out, rules: rules(handle, family).await.unwrap_or_default() })
}

fn route(message: &RouteMessage, family: Family, names: &BTreeMap<u32, Text>) -> Option<Route> {
    let mut table = u32::from(message.header.table);
    let mut destination = None;
    let mut route = Route {
        metric: 0,
        destination: Text::default(),
        gateway: None,
        interface: None,
        protocol: Text::new(&protocol(message.header.protocol)),
        kind: Text::new(&format!("{:?}", message.header.kind).to_ascii_lowercase()),
        table: None,
        source: None,
        expires_s: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(found) => destination = plain(found),
            RouteAttribute::Gateway(found) => route.gateway = plain(found),
            RouteAttribute::Via(RouteVia::Inet6(found)) => route.gateway = Some((*found).into()),
            RouteAttribute::Via(RouteVia::Inet(found)) => route.gateway = Some((*found).into()),
            RouteAttribute::PrefSource(found) => route.source = plain(found),
            RouteAttribute::Oif(index) => route.interface = Some(name_of(*index, names)),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Table(found) => table = *found,
            RouteAttribute::MultiPath(hops) => {
                // The first next hop stands for all.
                let hop = hops.first();
                route.interface = hop.map(|hop| name_of(hop.interface_index, names));
                route.gateway = hop.and_then(|hop| {
                    hop.attributes.iter().find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(found) => plain(found),
                        _ => None,
                    })
                });
            }
            // In clock ticks, and 0 for a route that stays (rta_cacheinfo.rta_expires).
            RouteAttribute::CacheInfo(info) if info.expires != 0 => {
                let ticks = u64::from(info.expires);
                route.expires_s = Some(u32::try_from(ticks / USER_HZ).unwrap_or(u32::MAX));
            }
            _ => {}
        }
    }
    let length = message.header.destination_prefix_length;
    if table == LOCAL || matches!(message.header.kind, RouteType::Multicast | RouteType::Local | RouteType::Anycast) {
        return None;
    }
    let zero: IpAddr = if family == Family::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let destination = destination.unwrap_or(zero);
    let of_link = matches!(destination, IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_multicast());
    // The kernel keeps a refusing default route of its own at the very end of IPv6's list
    // (`ip6_null_entry`), which is not there as a route but as the lack of one.
    let lack = message.header.kind == RouteType::Unreachable && route.metric == u32::MAX;
    if of_link || lack {
        return None;
    }
    route.destination = Text::new(&if length == 0 { "default".to_owned() } else { format!("{destination}/{length}") });
    route.table = (table != MAIN).then_some(table);
    Some(route)
}

/// In the words of `ip route`. Advertisements handled by systemd-networkd or NetworkManager are `ra` as well.
fn protocol(protocol: RouteProtocol) -> String {
    protocol.to_string().to_ascii_lowercase()
}

fn plain(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn name_of(index: u32, names: &BTreeMap<u32, Text>) -> Text {
    names.get(&index).cloned().unwrap_or_else(|| Text::new(&format!("interface {index}")))
}

/// Rules beside `0: lookup local`, `32766: lookup main`, `32767: lookup default`.
async fn rules(handle: &Handle, family: Family) -> io::Result<Vec<Text>> {
    let version = if family == Family::V4 { IpVersion::V4 } else { IpVersion::V6 };
    let mut stream = std::pin::pin!(handle.rule().get(version).execute());
    let mut rules = Vec::new();
    while let Some(message) = stream.try_next().await.map_err(told)? {
        let words = rule(&message);
        let usual = ["0: lookup 255", "32766: lookup 254", "32767: lookup 253"];
        if rules.len() < RULES && !usual.contains(&words.as_str()) {
            rules.push(Text::limited(&words, 160));
        }
    }
    Ok(rules)
}

fn rule(message: &RuleMessage) -> String {
    let header = &message.header;
    let mut priority = 0;
    let mut words = String::new();
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(found) => priority = *found,
            RuleAttribute::Source(addr) => words.push_str(&format!(" from {addr}/{}", header.src_len)),
            RuleAttribute::Destination(addr) => words.push_str(&format!(" to {addr}/{}", header.dst_len)),
            RuleAttribute::Iifname(name) => words.push_str(&format!(" iif {name}")),
            RuleAttribute::Oifname(name) => words.push_str(&format!(" oif {name}")),
            RuleAttribute::FwMark(mark) => words.push_str(&format!(" fwmark {mark:#x}")),
            RuleAttribute::FwMask(mask) if *mask != u32::MAX => words.push_str(&format!("/{mask:#x}")),
            // All ones: nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
                words.push_str(&format!(" suppress_prefixlength {length}"))
            }
            RuleAttribute::Table(found) => table = *found,
            _ => {}
        }
    }
    let action = match header.action {
        RuleAction::ToTable => format!("lookup {table}"),
        other => format!("{other:?}").to_ascii_lowercase(),
    };
    format!("{priority}:{words} {action}")
}

/// What the kernel would do with a packet to `destination` (`ip route get`): nothing is sent.
pub(super) async fn source(handle: &Handle, destination: IpAddr, names: &BTreeMap<u32, Text>) -> SourceFact {
    let mut fact = SourceFact { destination, source: None, range: None, interface: None, gateway: None, failure: None };
    let (question, whole) = match destination {
        IpAddr::V4(addr) => (RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(addr, 32).build(), 32),
        IpAddr::V6(addr) => (RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(addr, 128).build(), 128),
    };
    let mut question = question;
    question.header.destination_prefix_length = whole;
    let mut stream = std::pin::pin!(handle.route().get(question).execute());
    let message = match stream.try_next().await {
        Ok(Some(message)) => message,
        Ok(None) => {
            fact.failure = Some(Failure::new(FailureKind::NetworkUnreachable, "the kernel names no route"));
            return fact;
        }
        Err(error) => {
            fact.failure = Some(failure::from_io(&told(error)));
            return fact;
        }
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::PrefSource(found) => fact.source = plain(found),
            RouteAttribute::Gateway(found) => fact.gateway = plain(found),
            RouteAttribute::Via(RouteVia::Inet6(found)) => fact.gateway = Some((*found).into()),
            RouteAttribute::Oif(index) => fact.interface = Some(name_of(*index, names)),
            _ => {}
        }
    }
    // For IPv6 the kernel answers with the route it has for "none" instead of an error.
    let refuses = matches!(message.header.kind, RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit);
    if refuses {
        let words = format!("the route is {:?}", message.header.kind).to_ascii_lowercase();
        fact.failure = Some(Failure::new(FailureKind::NetworkUnreachable, &words));
        fact.source = None;
    }
    fact.range = fact.source.map(|source| range_of(source, fact.interface.as_deref()));
    fact
}
