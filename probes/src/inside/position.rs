//! Where this machine stands in the world: the address it has there, and the first routers on the way.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd,
    time::Duration,
};

use futures_util::future::join_all;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv4Ttl},
};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::{
    fact::{FactBody, Family, ProbeName, Role},
    host_fact::HopsFact,
    http_fact::HttpPurpose,
    limits,
    net::Net,
    outside::{dns, fetch},
};

/// Services that say from which address they are asked, one for each family: `icanhazip.com`, run by
/// Cloudflare at its anycast edge.
pub const ECHO: [(Family, &str); 2] =
    [(Family::V4, "https://ipv4.icanhazip.com/"), (Family::V6, "https://ipv6.icanhazip.com/")];

/// Where the first routers are looked for on the way to: a public resolver (Quad9). None of the packets
/// gets there, unless it is this near.
const TOWARDS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(9, 9, 9, 9), FIRST_PORT);

/// The first port of traceroute(8), at which nobody listens.
const FIRST_PORT: u16 = 33_434;

/// So many routers: the own one, a second of one's own, and the provider's first two.
const HOPS: u8 = 4;

/// A router answers within a round trip to it; providers' first routers are within 50 ms, and limit how
/// often they answer.
const HOP: Duration = Duration::from_millis(900);

/// Asks from which address this machine is seen, by each of `families`. Records
/// [`crate::dns_fact::SystemDnsFact`]s and [`crate::http_fact::HttpFact`]s.
pub async fn echo(net: &Net, families: &[Family]) {
    let asked = ECHO.iter().filter(|(family, _)| families.contains(family)).map(|(family, url)| async move {
        let host = url.trim_start_matches("https://").trim_end_matches('/');
        let found = dns::system(net, ProbeName::Position, Role::Service, host).await;
        let Some(addr) = found.addresses.into_iter().find(|addr| Family::of(*addr) == *family) else { return };
        let purpose = HttpPurpose::EchoAddress;
        let request = fetch::Request { role: Role::Service, purpose, url, addr, limit: limits::FETCH };
        fetch::get(net, ProbeName::Position, &request).await;
    });
    join_all(asked).await;
}

/// The routers nearest to this machine, as they answer packets that have gone far enough (RFC 792, "time
/// exceeded"). Needs no right: the kernel hands the answers over to the socket that asked
/// (`IP_RECVERR`, ip(7)). Records [`HopsFact`].
pub async fn hops(net: &Net) {
    let job = net.begin(ProbeName::Position, "the first routers");
    let found = join_all((1..=HOPS).map(|ttl| async move { hop(ttl).await.ok().flatten() })).await;
    job.finish(FactBody::Hops(HopsFact { destination: IpAddr::V4(*TOWARDS.ip()), hops: found }));
}

async fn hop(ttl: u8) -> io::Result<Option<IpAddr>> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
    setsockopt(&socket, Ipv4RecvErr, &true)?;
    setsockopt(&socket, Ipv4Ttl, &i32::from(ttl))?;
    let to = SocketAddrV4::new(*TOWARDS.ip(), FIRST_PORT + u16::from(ttl));
    socket.send_to(&[0], SocketAddr::V4(to)).await?;
    let deadline = Instant::now() + HOP;
    let heard = async {
        loop {
            socket.ready(Interest::ERROR).await?;
            match socket.try_io(Interest::ERROR, || offender(&socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return answer,
            }
        }
    };
    timeout_at(deadline, heard).await.unwrap_or(Ok(None))
}

/// Who sent the error that came back.
fn offender(socket: &UdpSocket) -> io::Result<Option<IpAddr>> {
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in);
    let mut bytes = [0; 64];
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut messages = received.cmsgs()?;
    Ok(messages.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(_, Some(from)) => {
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr))))
        }
        _ => None,
    }))
}
