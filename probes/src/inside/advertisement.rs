//! Router advertisements on the wire: a solicitation, and a listen (RFC 4861, section 6.3.7).

use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    fact::{FactBody, ProbeName},
    failure,
    host_fact::{AdvertisedPrefix, AdvertisedRoute, RouterAdvertisement, RouterAdvertisementFact},
    net::Net,
    text::Text,
};

/// Types of ICMPv6 (RFC 4861, sections 4.1 and 4.2).
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;

/// All routers of a link (RFC 4291, section 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// A second solicitation follows where the first brought nothing. RFC 4861 has 4 s; a router answers
/// within half a second (MAX_RA_DELAY_TIME), so a second is enough to know that the first was lost.
const AGAIN: Duration = Duration::from_secs(1);

/// Routers wait up to 3 s between two advertisements to all (MIN_DELAY_BETWEEN_RAS), and up to half
/// a second before they answer: what is there has been heard by then.
pub const LISTEN: Duration = Duration::from_millis(3600);

/// The most routers, and the most options of each kind, that are kept.
const ROUTERS: usize = 8;
const OPTIONS: usize = 16;

/// Listens at each of `interfaces` (name and index) at once. Records one [`RouterAdvertisementFact`] for each.
/// `Err`: raw sockets may not be opened (`CAP_NET_RAW`).
pub(super) async fn listen(net: &Net, interfaces: &[(Text, u32)], time: Duration) -> io::Result<()> {
    let mut jobs = Vec::new();
    for (name, index) in interfaces {
        let socket = open(*index)?;
        jobs.push(one(net, name.clone(), *index, socket, time));
    }
    futures_util::future::join_all(jobs).await;
    Ok(())
}

/// A raw socket, waited for by way of the runtime's type for datagrams, which asks nothing of the
/// protocol: `AsyncFd` has no safe constructor left that is not deprecated.
fn open(index: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    // Whoever receives a solicitation drops it unless its hop limit is 255 (RFC 4861, section 6.1.1):
    // it cannot have come from another link.
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_loop_v6(false)?;
    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    UdpSocket::from_std(socket.into())
}

async fn one(net: &Net, interface: Text, index: u32, socket: UdpSocket, time: Duration) {
    let job = net.begin(ProbeName::RouterAdvertisement, format!("a router at {interface}"));
    let begun = Instant::now();
    let (deadline, again) = (begun + time, begun + AGAIN);
    let mut fact = RouterAdvertisementFact {
        interface,
        solicited: false,
        listened_ms: 0,
        routers: Vec::new(),
        invalid: 0,
        failure: None,
    };
    let mut routers = BTreeMap::new();
    let mut solicitations = 0;
    loop {
        let due = solicitations == 0 || (solicitations == 1 && routers.is_empty() && Instant::now() >= again);
        if due {
            solicitations += 1;
            match solicit(&socket, index) {
                Ok(()) => fact.solicited = true,
                Err(error) if !fact.solicited => fact.failure = Some(failure::from_io(&error)),
                Err(_) => {}
            }
        }
        let wake = if solicitations < 2 && routers.is_empty() { again.min(deadline) } else { deadline };
        let received = tokio::select! {
            received = timeout_at(deadline, receive(&socket)) => received,
            () = sleep_until(wake) => if Instant::now() >= deadline { break } else { continue },
        };
        match received {
            Err(_) => break,
            Ok(Err(error)) => {
                fact.failure = Some(failure::from_io(&error));
                break;
            }
            Ok(Ok(message)) if message.index == index && message.bytes.first() == Some(&ADVERTISEMENT) => {
                match valid(&message).then(|| parse(&message.bytes, message.from)).flatten() {
                    Some(router) if routers.len() < ROUTERS || routers.contains_key(&message.from) => {
                        routers.insert(message.from, router);
                    }
                    Some(_) => {}
                    None => fact.invalid = fact.invalid.saturating_add(1),
                }
            }
            Ok(Ok(_)) => {}
        }
    }
    fact.routers = routers.into_values().collect();
    fact.listened_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    job.finish(FactBody::RouterAdvertisement(fact));
}

/// A solicitation without a link-layer address: routers answer it to all nodes (RFC 4861, section 6.2.6),
/// and no neighbour learns anything from it. The kernel fills in the checksum (RFC 3542, section 3.1).
fn solicit(socket: &UdpSocket, index: u32) -> io::Result<()> {
    let to = SocketAddr::V6(SocketAddrV6::new(ALL_ROUTERS, 0, 0, index));
    socket2::SockRef::from(socket).send_to(&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &to.into()).map(|_| ())
}

/// A message and where it came from.
struct Message {
    bytes: Vec<u8>,
    from: Ipv6Addr,
    index: u32,
    hops: Option<i32>,
}

async fn receive(socket: &UdpSocket) -> io::Result<Message> {
    loop {
        socket.readable().await?;
        match socket.try_io(Interest::READABLE, || receive_now(socket)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

fn receive_now(socket: &UdpSocket) -> io::Result<Message> {
    let mut bytes = vec![0; 2048];
    let mut control = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let from = received.address.map(SocketAddrV6::from);
    let hops = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(hops) => Some(hops),
        _ => None,
    });
    let length = received.bytes;
    bytes.truncate(length);
    let from = from.ok_or_else(|| io::Error::other("a message without a source"))?;
    Ok(Message { bytes, from: *from.ip(), index: from.scope_id(), hops })
}

/// RFC 4861, section 6.1.2. The kernel has checked the checksum.
fn valid(message: &Message) -> bool {
    message.from.is_unicast_link_local()
        && message.hops == Some(255)
        && message.bytes.len() >= 16
        && message.bytes[1] == 0
}

/// Reads an advertisement; `None` if an option has no length, or more than there is.
fn parse(bytes: &[u8], router: Ipv6Addr) -> Option<RouterAdvertisement> {
    let head = bytes.get(..16)?;
    let flags = head[5];
    let mut found = RouterAdvertisement {
        router: IpAddr::V6(router),
        lifetime_s: u16::from_be_bytes([head[6], head[7]]),
        preference: preference(flags),
        managed: flags & 0x80 != 0,
        other: flags & 0x40 != 0,
        prefixes: Vec::new(),
        routes: Vec::new(),
        mtu: None,
        name_servers: Vec::new(),
    };
    let mut rest = &bytes[16..];
    while let [kind, units, ..] = *rest {
        let length = usize::from(units) * 8;
        if length == 0 || length > rest.len() {
            return None;
        }
        option(kind, &rest[..length], &mut found);
        rest = &rest[length..];
    }
    Some(found)
}

/// RFC 4191, section 2.2: two bits; `10` means medium.
fn preference(flags: u8) -> Text {
    Text::new(match flags >> 3 & 3 {
        1 => "high",
        3 => "low",
        _ => "medium",
    })
}

fn option(kind: u8, bytes: &[u8], found: &mut RouterAdvertisement) {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let lifetime = |at: usize| word(at).filter(|seconds| *seconds != super::links::FOR_EVER);
    let addr = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
    match kind {
        // Prefix information (RFC 4861, section 4.6.2).
        3 if bytes.len() == 32 && found.prefixes.len() < OPTIONS => {
            let Some(prefix) = addr(16) else { return };
            found.prefixes.push(AdvertisedPrefix {
                prefix: Text::new(&format!("{prefix}/{}", bytes[2])),
                on_link: bytes[3] & 0x80 != 0,
                autonomous: bytes[3] & 0x40 != 0,
                valid_s: lifetime(4),
                preferred_s: lifetime(8),
            });
        }
        // MTU (section 4.6.4).
        5 if bytes.len() == 8 => found.mtu = word(4),
        // Route information (RFC 4191, section 2.3): 8, 16 or 24 bytes, the prefix cut short.
        24 if bytes.len() <= 24 && found.routes.len() < OPTIONS => {
            let mut prefix = [0; 16];
            let given = &bytes[8..];
            prefix[..given.len()].copy_from_slice(given);
            let prefix = Ipv6Addr::from(prefix);
            let text = Text::new(&format!("{prefix}/{}", bytes[2]));
            found.routes.push(AdvertisedRoute { prefix: text, lifetime_s: lifetime(4) });
        }
        // Recursive DNS servers (RFC 8106, section 5.1).
        25 => {
            for at in (8..bytes.len()).step_by(16) {
                if let Some(addr) = addr(at).filter(|_| found.name_servers.len() < OPTIONS) {
                    found.name_servers.push(addr.into());
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
pub(in crate::inside) mod tests;
