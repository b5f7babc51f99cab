//! The way out: connections from where the PDS is, beside the same from this machine.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;

use super::{name_files, read::Root, survey::Place};
use crate::{
    dns_fact::{DnsPurpose, RecordType},
    fact::{ConnectFact, FactBody, ProbeName, Role},
    limits,
    net::Net,
    outside::{
        dns::{self, Question},
        tcp, tls,
    },
    text::Text,
};

/// How long a connect may take here: longer than a PDS waits (undici's 10 s) and than the kernel's
/// first four SYNs take (0, 1, 3 and 7 s), so that "slow" is told from "silent".
pub const PATIENCE: Duration = Duration::from_secs(12);

/// The most name servers that are asked: glibc and musl know three.
const SERVERS: usize = 3;

/// The most hosts of one run.
const HOSTS: usize = 16;

/// A host that the PDS must be able to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// Whose.
    pub role: Role,
    /// Its name, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// It speaks TLS.
    pub tls: bool,
    /// Addresses that are known already; those that each place's own name servers give are added.
    pub addresses: Vec<IpAddr>,
}

/// From each of `places` at once: asks the name servers of that place for each host, connects to every
/// address once, within `patience`, and shakes hands. Records [`crate::dns_fact::DnsFact`],
/// [`ConnectFact`] and [`crate::tls_fact::TlsFact`] under the place's vantage, all of the probe
/// [`ProbeName::Egress`].
pub async fn egress(net: &Net, places: &[Place], hosts: &[EgressHost], patience: Duration, sudo: &str) {
    let jobs = places.iter().map(|place| async move {
        let (net_there, hosts, pid) = (net.at(place.vantage.clone()), hosts.to_vec(), place.pid);
        let files = net.at(place.files.clone());
        let work = move || async move { from_here(&net_there, &files, pid, hosts, patience).await };
        if let Err(error) = place.namespace.run(work).await {
            let why = format!("the network of {} may not be entered: {error}", String::from(place.vantage.clone()));
            net.not_measured(ProbeName::Egress, &why, sudo);
        }
    });
    join_all(jobs).await;
}

async fn from_here(net: &Net, files: &Net, pid: Option<u32>, hosts: Vec<EgressHost>, patience: Duration) {
    let root = pid.map_or_else(Root::here, Root::of);
    let servers: Vec<SocketAddr> = match root {
        Ok(root) => name_files::read(&root)
            .nameservers
            .iter()
            .filter_map(|server| Some(SocketAddr::new(server.parse().ok()?, 53)))
            .take(SERVERS)
            .collect(),
        Err(_) => Vec::new(),
    };
    let servers = &servers;
    join_all(hosts.iter().take(HOSTS).map(|host| one_host(net, files, servers, host, patience))).await;
}

async fn one_host(net: &Net, files: &Net, servers: &[SocketAddr], host: &EgressHost, patience: Duration) {
    let mut known = host.addresses.clone();
    known.extend(host.host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    known.sort();
    known.dedup();
    // What is known already need not wait for a name server.
    let first = known.clone();
    let connects = join_all(first.iter().take(limits::ADDRESSES).map(|addr| one_address(net, host, *addr, patience)));
    let later = async {
        if host.host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return;
        }
        let mut found = ask(files, servers, host).await;
        found.retain(|addr| !known.contains(addr));
        found.truncate(limits::ADDRESSES.saturating_sub(known.len()));
        join_all(found.iter().map(|addr| one_address(net, host, *addr, patience))).await;
    };
    tokio::join!(connects, later);
}

/// Every name server, each type, once: what they say apart is a contrast.
async fn ask(net: &Net, servers: &[SocketAddr], host: &EgressHost) -> Vec<IpAddr> {
    let questions = servers.iter().flat_map(|server| [RecordType::A, RecordType::Aaaa].map(|kind| (*server, kind)));
    let answers = questions.map(|(server, record_type)| async move {
        let question = Question { role: host.role, purpose: DnsPurpose::Address, name: host.host.clone(), record_type };
        dns::ask(net, ProbeName::Egress, server, &question).await.addresses()
    });
    let mut addresses: Vec<IpAddr> = join_all(answers).await.into_iter().flatten().collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

async fn one_address(net: &Net, host: &EgressHost, addr: IpAddr, patience: Duration) {
    let port = host.port;
    let job = net.begin(ProbeName::Egress, format!("a TCP connection to {}", SocketAddr::new(addr, port)));
    let result = tcp::connect_within(addr, port, patience).await;
    let failure = result.as_ref().err().cloned();
    let name = Text::new(&host.host);
    job.finish(FactBody::Connect(ConnectFact { role: host.role, host: name, addr, port, failure }));
    if let (Ok(stream), true) = (result, host.tls) {
        let _ = tls::handshake(net, ProbeName::Egress, host.role, stream, &host.host, &["http/1.1"]).await;
    }
}
