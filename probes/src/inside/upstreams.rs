//! What the web server before the PDS asks: read from its own configuration, and asked from its own network.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::{
    address::range_of,
    listeners, name_files,
    namespace::{Namespace, drop_capabilities, network_here, network_of},
    owner::is_a_strangers,
    proc_fs, read,
    root::Root,
    upstream_files::{self, Written},
};
use crate::{
    dns_fact::{DnsPurpose, RecordType},
    fact::{FactBody, ProbeName, Role, Vantage},
    host_fact::Range,
    http_fact::HttpPurpose,
    limits,
    net::Net,
    outside::{
        dns::{self, Question},
        fetch,
    },
    process_fact::{ProxyFact, Upstream},
    text::Text,
};

/// Web servers whose configuration is understood.
const KNOWN: [&str; 2] = ["caddy", "nginx"];

/// The most addresses of upstreams that are asked.
const ASKED: usize = 4;

/// What is asked is on this machine, or beside it: after so long it does not answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Reads what the web server that holds `port` asks for `host`, and asks it for `_health` from that server's network, at
/// addresses that are this machine's or inner ones. Records [`ProxyFact`] and [`crate::http_fact::HttpFact`]s of
/// [`ProbeName::PdsProcess`].
pub async fn upstreams(net: &Net, host: &str, port: u16, own: &[IpAddr]) {
    let job = net.begin(ProbeName::PdsProcess, "the configuration of the web server here");
    let found = Namespace::here().run(move || async move { server(port).and_then(examine) }).await.ok().flatten();
    let Some((mut fact, root_servers, hosts)) = found else { return };
    fact.upstreams.retain(|upstream| upstream.is_for(host));
    fact.upstreams.truncate(ASKED);
    let (pid, wanted) = (fact.pid, fact.upstreams.clone());
    job.finish(FactBody::Proxy(fact));
    let here = network_of(pid).is_some() && network_of(pid) == network_here();
    let (vantage, namespace) = match (here, Namespace::of(pid)) {
        (true, _) => (Vantage::Here, Namespace::here()),
        (false, Ok(namespace)) => (Vantage::Process(pid), namespace),
        (false, Err(_)) => return,
    };
    let (there, own) = (net.at(vantage), own.to_vec());
    let work = move || async move {
        drop_capabilities();
        let jobs = wanted.iter().map(|upstream| async {
            let addrs = addresses(&there, &root_servers, &hosts, &upstream.host).await;
            let inner = |addr: &IpAddr| own.contains(addr) || range_of(*addr, None) != Range::Global;
            let scheme = if upstream.tls { "https" } else { "http" };
            let name =
                if upstream.host.contains(':') { format!("[{}]", upstream.host) } else { upstream.host.to_string() };
            let url = format!("{scheme}://{name}:{}/xrpc/_health", upstream.port);
            for addr in addrs.into_iter().filter(inner).take(2) {
                let request = fetch::Request {
                    role: Role::Target,
                    purpose: HttpPurpose::Upstream,
                    url: &url,
                    addr,
                    limit: PATIENCE.min(limits::FETCH),
                };
                fetch::get(&there, ProbeName::PdsProcess, &request).await;
            }
        });
        futures_util::future::join_all(jobs).await;
    };
    // That it may not be entered leaves the configuration, which is something.
    let _ = namespace.run(work).await;
}

/// The addresses of an upstream, as its web server finds them.
async fn addresses(
    net: &Net,
    servers: &[SocketAddr],
    hosts: &BTreeMap<String, Vec<IpAddr>>,
    name: &str,
) -> Vec<IpAddr> {
    if let Ok(addr) = name.parse() {
        return vec![addr];
    }
    if let Some(known) = hosts.get(name) {
        return known.clone();
    }
    // RFC 6761, section 6.3: never asked of a name server.
    if name == "localhost" {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let Some(server) = servers.first() else { return Vec::new() };
    let question = Question {
        role: Role::Target,
        purpose: DnsPurpose::Upstream,
        name: name.to_owned(),
        record_type: RecordType::A,
    };
    dns::ask(net, ProbeName::PdsProcess, *server, &question).await.addresses()
}

/// Below this only root, or whom root let, may listen (ip(7), `ip_unprivileged_port_start`).
const PRIVILEGED: u16 = 1_024;

/// The web server: what holds `port`, else the oldest process of one. What it is configured to ask is asked with it, so
/// a program that a stranger merely calls so is none: it would have this machine's inner addresses asked by root.
fn server(port: u16) -> Option<u32> {
    let holder = listeners::fact("thread-self", &[port]).sockets.into_iter().find(|socket| socket.port == port);
    let owner = holder.and_then(|socket| socket.owner);
    let known = |name: &str| KNOWN.contains(&name);
    if let Some(owner) = &owner
        && known(&owner.program)
        && (is_privileged(port) || !is_a_strangers(owner.pid))
    {
        return Some(owner.pid);
    }
    // What another program holds the port for, or instead of: Docker's, for a container that it hands on to.
    proc_fs::pids().into_iter().find(|pid| known(&proc_fs::comm(*pid)) && !is_a_strangers(*pid))
}

/// Who listens there has root's leave.
fn is_privileged(port: u16) -> bool {
    let start = read::number("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    port < PRIVILEGED && start.is_none_or(|start| i64::from(port) < start)
}

type Examined = (ProxyFact, Vec<SocketAddr>, BTreeMap<String, Vec<IpAddr>>);

fn examine(pid: u32) -> Option<Examined> {
    let program = proc_fs::program(pid);
    let root = Root::of(pid).ok()?;
    let folder = proc_fs::folder(pid).ok();
    let folder = folder.as_deref().and_then(std::path::Path::to_str).unwrap_or("/");
    let argv = proc_fs::arguments(pid);
    let Written { files, upstreams, unreadable } = upstream_files::read(&root, &program, &argv, folder);
    let names = name_files::read(&root);
    let servers = names.nameservers.iter().filter_map(|server| Some(SocketAddr::new(server.parse().ok()?, 53)));
    let named = upstreams.iter().map(|upstream| upstream.host.to_string());
    let hosts = named.map(|name| (name.clone(), name_files::listed(&root, &name)));
    let hosts: BTreeMap<String, Vec<IpAddr>> = hosts.filter(|(_, addrs)| !addrs.is_empty()).collect();
    let text = |list: Vec<String>| list.iter().map(|text| Text::limited(text, 200)).collect::<Vec<_>>();
    let upstreams: Vec<Upstream> = upstreams;
    let fact = ProxyFact { pid, program, files: text(files), upstreams, unreadable: text(unreadable) };
    Some((fact, servers.take(1).collect(), hosts))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    /// The first user number that belongs to nobody on most machines.
    const STRANGER: u32 = 60_123;

    #[test]
    fn a_web_server_of_a_strangers_is_none() {
        if !nix::unistd::geteuid().is_root() {
            // To start a process as another user takes root.
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("nginx");
        std::fs::copy("/bin/sleep", &program).expect("a program");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("rights");
        let start = |user: u32| Command::new(&program).arg("60").uid(user).gid(user).spawn().expect("a process");
        let (mut theirs, mut roots) = (start(STRANGER), start(0));
        let named = |pid: u32| proc_fs::comm(pid) == "nginx";
        assert!(named(theirs.id()) && named(roots.id()));
        // The stranger's is the older one.
        let found = server(59_999);
        for child in [&mut theirs, &mut roots] {
            child.kill().expect("an end");
            child.wait().expect("an end");
        }
        assert_ne!(found, Some(theirs.id()));
        assert!(found.is_some(), "root's is found");
    }
}
