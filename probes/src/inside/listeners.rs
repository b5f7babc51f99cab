//! Listening TCP sockets, from the kernel's tables.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{proc_fs, read};
use crate::process_fact::{DEFAULT_PORT, Listener, ListenersFact, Owner};

/// The most sockets that are kept.
const SOCKETS: usize = 64;

/// Looking for the owners of sockets means looking at every open file of every process: so much work at the most, in
/// the time of the processor, as waiting for it on a busy machine is no work.
const PATIENCE: Duration = Duration::from_millis(80);

/// The ports that matter: web server, the official image's, the code's default.
const PORTS: [u16; 4] = [80, 443, 3000, DEFAULT_PORT];

/// A listening socket and the number by which its owner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// The listening sockets of the network namespace of `process` (`self`, `thread-self` or a number):
/// `/proc/PID/net` is readable for everybody, so no right is needed.
pub(super) fn listening(process: &str) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = read::text(format!("/proc/{process}/net/{table}"), read::TABLE).unwrap_or_default();
        sockets.extend(text.lines().skip(1).filter_map(socket));
    }
    sockets.sort_by_key(|socket| (socket.port, socket.addr));
    sockets
}

/// A line of `/proc/net/tcp` or `tcp6`: number, local and remote address, state (0A is LISTEN) …,
/// the inode in the tenth column (Documentation/networking/proc_net_tcp).
fn socket(line: &str) -> Option<Socket> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    if columns.get(3) != Some(&"0A") {
        return None;
    }
    let (addr, port) = columns.get(1)?.split_once(':')?;
    Some(Socket {
        addr: address(addr)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: columns.get(9)?.parse().ok()?,
    })
}

/// Addresses are printed word by word in the order of this machine's bytes.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for part in 0..4 {
                bytes[part * 4..part * 4 + 4].copy_from_slice(&word(part * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The fact about one namespace, with the owners of the sockets on `ports` and the usual ones.
pub(super) fn fact(process: &str, ports: &[u16]) -> ListenersFact {
    let sockets = listening(process);
    let matters = |socket: &&Socket| PORTS.contains(&socket.port) || ports.contains(&socket.port);
    let owners = owners(sockets.iter().filter(matters).map(|socket| socket.inode).collect());
    let mut list: Vec<Listener> = sockets
        .iter()
        .map(|socket| Listener {
            port: socket.port,
            addr: socket.addr,
            owner: owners.get(&socket.inode).map(|pid| owner(*pid)),
        })
        .collect();
    list.dedup();
    // Those that matter are kept whatever else listens here.
    list.sort_by_key(|listener| !(PORTS.contains(&listener.port) || ports.contains(&listener.port)));
    let left_out = list.len().saturating_sub(SOCKETS);
    list.truncate(SOCKETS);
    list.sort();
    ListenersFact { sockets: list, left_out: u32::try_from(left_out).unwrap_or(u32::MAX) }
}

fn owner(pid: u32) -> Owner {
    let program = proc_fs::program(pid);
    let proxy = program.as_str() == "docker-proxy";
    Owner { pid, hands_to: proxy.then(|| hands_to(&proc_fs::arguments(pid))).flatten(), program }
}

/// `docker-proxy -proto tcp -host-ip :: -host-port 443 -container-ip 172.18.0.3 -container-port 443`
/// (moby, cmd/docker-proxy).
fn hands_to(argv: &[String]) -> Option<SocketAddr> {
    let after = |flag: &str| {
        let at = argv.iter().position(|word| word.trim_start_matches('-') == flag)?;
        argv.get(at + 1)
    };
    Some(SocketAddr::new(after("container-ip")?.parse().ok()?, after("container-port")?.parse().ok()?))
}

/// The process that holds each of these sockets, as far as it may be seen.
pub(super) fn owners(mut wanted: Vec<u64>) -> BTreeMap<u64, u32> {
    let started = proc_fs::worked();
    let mut owners = BTreeMap::new();
    for pid in proc_fs::pids() {
        if wanted.is_empty() || proc_fs::worked().saturating_sub(started) > PATIENCE {
            break;
        }
        for inode in proc_fs::sockets(pid) {
            if let Some(at) = wanted.iter().position(|known| *known == inode) {
                wanted.swap_remove(at);
                owners.insert(inode, pid);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn own_sockets_are_seen_with_their_owner() {
        let v4 = TcpListener::bind("127.0.0.1:0").expect("a port");
        let v6 = TcpListener::bind("[::1]:0").expect("a port");
        let ports = [&v4, &v6].map(|listener| listener.local_addr().expect("an address").port());
        let fact = fact("self", &ports);
        for (listener, port) in [(&v4, ports[0]), (&v6, ports[1])] {
            let addr = listener.local_addr().expect("an address").ip();
            let found = fact.sockets.iter().find(|socket| socket.port == port && socket.addr == addr);
            let owner = found.expect("the socket").owner.as_ref().expect("an owner");
            assert_eq!(owner.pid, std::process::id());
        }
    }

    #[test]
    fn where_docker_hands_connections_on() {
        let argv = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line =
            "/usr/bin/docker-proxy -proto tcp -host-ip :: -host-port 443 -container-ip 172.18.0.3 -container-port 8443";
        assert_eq!(hands_to(&argv(line)), "172.18.0.3:8443".parse().ok());
        let cut = "docker-proxy -proto tcp -container-port 443 -container-ip";
        assert_eq!(hands_to(&argv(cut)), None);
    }

    #[test]
    fn lines_that_are_none() {
        for line in ["", "0: zz:0BB8 0:0 0A", "x x x 0A x", "0: 0100007F:FFFFF 0:0 0A 0 0 0 0 0 1"] {
            assert_eq!(socket(line), None, "{line}");
        }
        let line = "0: 00000000000000000000000001000000:0BB8 0:0 0A 0:0 0:0 0 1000 0 77 1";
        let found = socket(line).expect("a socket");
        assert_eq!((found.addr.to_string().as_str(), found.port, found.inode), ("::1", 3000, 77));
    }
}
