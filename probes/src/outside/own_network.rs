//! Which address families this machine can send on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::{
    fact::{FactBody, Failure, FailureKind, Family, OwnNetworkFact, ProbeName},
    failure,
    host_fact::SOMEWHERE,
    net::Net,
};

/// Asks the kernel for the source address towards the internet, by connecting a UDP socket: that
/// sends no packet. Records [`OwnNetworkFact`]. `true`: there is a route and a source that can be
/// answered from the internet; a unique local address (RFC 4193) is recorded, but is no such source.
pub fn own_network(net: &Net, family: Family) -> bool {
    let job = net.begin(ProbeName::OwnNetwork, format!("the kernel's {family} route"));
    let destination = match family {
        Family::V4 => SOMEWHERE[0],
        Family::V6 => SOMEWHERE[1],
    };
    let (source, failure) = match source_towards(SocketAddr::new(destination, 53)) {
        Ok(source) => (Some(source), unusable(source).map(no_network)),
        Err(error) => (None, Some(failure::from_io(&error))),
    };
    let usable = failure.is_none();
    job.finish(FactBody::OwnNetwork(OwnNetworkFact { family, source, failure }));
    usable
}

fn source_towards(destination: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(destination)?;
    Ok(socket.local_addr()?.ip())
}

/// Why nothing on the internet could answer to this source.
fn unusable(source: IpAddr) -> Option<&'static str> {
    match source {
        _ if source.is_unspecified() => Some("no source address"),
        _ if source.is_loopback() => Some("only the loopback address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("only a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("only a link-local address"),
        IpAddr::V6(v6) if v6.is_unique_local() => Some("only a unique local address, which is not the internet's"),
        _ => None,
    }
}

fn no_network(why: &str) -> Failure {
    Failure::new(FailureKind::NetworkUnreachable, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_the_internet_cannot_answer() {
        for (source, usable) in [
            ("127.0.0.1", false),
            ("169.254.3.4", false),
            ("0.0.0.0", false),
            ("192.168.1.2", true),
            ("100.64.0.1", true),
            ("203.0.113.7", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2001:db8::1", true),
        ] {
            assert_eq!(unusable(source.parse().expect("address")).is_none(), usable, "{source}");
        }
    }
}
