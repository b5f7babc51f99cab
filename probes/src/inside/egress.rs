//! The way out: connections from where the PDS is, beside the same from this machine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{address::range_of, name_files, namespace::drop_capabilities, network, root::Root, survey::Place};
use crate::{
    address_kind::is_public,
    contact_fact::{NotAsked, NotAskedFact},
    dns_fact::{DnsPurpose, RecordType},
    fact::{ConnectFact, FactBody, Failure, FailureKind, ProbeName, Role},
    host_fact::{NameFilesFact, Range},
    http_fact::HttpPurpose,
    limits,
    net::Net,
    outside::{
        dns::{self, Question},
        fetch, tcp, tls,
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

/// How often a host that a login depends on is connected to, per address: a lost SYN shows as one
/// connection that takes a second more (RFC 6298, 2.1), and of one packet in ten lost, five tries
/// meet one in two cases of five.
pub const ATTEMPTS: u8 = 5;

/// How often its name is asked of each server, beside the first time: a resolver that fails in one
/// case of four is met by eight in nine cases of ten.
const SERIES: usize = 8;

/// Resolvers of the public, each run by somebody else (Quad9, Cloudflare): their view is the world's.
/// Asked only where a name server here gives an address that is not public.
const PUBLIC: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 53),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), 53),
];

/// What HTTP is offered.
const ALPN: &[&str] = &["http/1.1"];

/// A handshake takes two round trips and a little thought. After so long its packets may be lost for their size.
const SLUGGISH: Duration = Duration::from_secs(2);

/// With the headers of TCP and IPv6 and their options, a packet of less than 1,280 bytes, which every way of IPv6
/// carries whole (RFC 8200, section 5) and hardly a tunnel of IPv4 does not.
const SMALL_SEGMENT: u16 = 1_180;

/// At how many addresses a document is fetched: one of each family, and one more.
const DOCUMENTS: usize = 3;

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
    /// Connect this often to each address ([`ATTEMPTS`]), and ask for its name a few times more if
    /// that is more than once.
    pub attempts: u8,
    /// A document of it, to be fetched where a handshake succeeds.
    pub document: Option<String>,
    /// A stranger's document names it: only its public addresses are connected to.
    pub public_only: bool,
}

impl EgressHost {
    /// A host with TLS that is tried once.
    pub fn new(role: Role, host: &str, port: u16) -> Self {
        let (host, addresses) = (host.to_owned(), Vec::new());
        Self { role, host, port, tls: true, addresses, attempts: 1, document: None, public_only: false }
    }
}

/// How it is done.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How long one connect may take.
    pub patience: Duration,
    /// Public resolvers may be asked.
    pub third_parties: bool,
    /// The line that measures what this user may not.
    pub sudo: String,
}

/// From each of `places` at once: asks the name servers of that place for each host, connects to every
/// address, shakes hands and fetches the host's document. Records [`crate::dns_fact::DnsFact`],
/// [`ConnectFact`], [`crate::tls_fact::TlsFact`] and [`crate::http_fact::HttpFact`] under the place's
/// vantage, all of the probe [`ProbeName::Egress`], and [`crate::host_fact::SourceFact`]s.
pub async fn egress(net: &Net, places: &[Place], hosts: &[EgressHost], manner: &Manner) {
    let jobs = places.iter().enumerate().map(|(index, place)| async move {
        let (net_there, hosts, pid) = (net.at(place.vantage.clone()), hosts.to_vec(), place.pid);
        let (files, ours) = (net.at(place.files.clone()), manner.clone());
        // Two places in one network differ in their resolvers alone; the later, the PDS's own, counts.
        let connects = !places[index + 1..].iter().any(|later| later.vantage == place.vantage);
        let work = move || async move { from_here(&net_there, &files, pid, hosts, &ours, connects).await };
        if let Err(error) = place.namespace.run(work).await {
            let why = format!("the network of {} may not be entered: {error}", String::from(place.vantage.clone()));
            net.not_measured(ProbeName::Egress, &why, &manner.sudo);
        }
    });
    join_all(jobs).await;
}

#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
async fn from_here(net: &Net, files: &Net, pid: Option<u32>, hosts: Vec<EgressHost>, manner: &Manner, connects: bool) {
    let root = pid.map_or_else(Root::here, Root::of);
    let names = root.map(|root| name_files::read(&root)).unwrap_or_default();
    let servers: Vec<SocketAddr> = names
        .nameservers
        .iter()
        .filter_map(|server| Some(SocketAddr::new(server.parse().ok()?, 53)))
        .take(SERVERS)
        .collect();
    // The namespace is entered and its files are read: from here on the network speaks.
    drop_capabilities();
    let here = Here { net, files, names: &names, servers: &servers, manner, connects };
    join_all(hosts.iter().take(HOSTS).map(|host| here.one_host(host))).await;
}

/// What is the same for every host of a place.
#[derive(Clone, Copy)]
struct Here<'a> {
    net: &'a Net,
    /// The same, under the name of the place's view of files.
    files: &'a Net,
    /// What they say of names.
    names: &'a NameFilesFact,
    servers: &'a [SocketAddr],
    manner: &'a Manner,
    /// Or only names are asked for.
    connects: bool,
}

impl Here<'_> {
    async fn one_host(self, host: &EgressHost) {
        let literal = host.host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let mut known = host.addresses.clone();
        known.extend(literal);
        // What the hosts file says is where the PDS goes.
        known.extend(self.names.listed(&host.host));
        known.sort();
        known.dedup();
        // What is known already need not wait for a name server.
        let first = known.clone();
        let later = async {
            if literal.is_some() {
                return;
            }
            let mut found = self.ask(host).await;
            found.retain(|addr| !known.contains(addr));
            found.truncate(limits::ADDRESSES.saturating_sub(known.len()));
            self.addresses(host, &found).await;
        };
        tokio::join!(self.addresses(host, &first), later);
    }

    /// Every name server, each type, once: what they say apart is a contrast.
    async fn ask(self, host: &EgressHost) -> Vec<IpAddr> {
        let both = [RecordType::A, RecordType::Aaaa];
        let question = |server: SocketAddr, record_type| {
            let name = host.host.clone();
            async move {
                let question = Question { role: host.role, purpose: DnsPurpose::Address, name, record_type };
                let answer = dns::ask(self.files, ProbeName::Egress, server, &question).await;
                (server, answer)
            }
        };
        let questions = self.servers.iter().flat_map(|server| both.map(|kind| question(*server, kind)));
        let answers = join_all(questions).await;
        let mut addresses: Vec<IpAddr> = answers.iter().flat_map(|(_, answer)| answer.addresses()).collect();
        addresses.sort();
        addresses.dedup();
        let private = addresses.iter().any(|addr| range_of(*addr, None) != Range::Global);
        let public = private && self.manner.third_parties && host.role == Role::Client;
        let public = PUBLIC.iter().filter(|_| public).flat_map(|server| both.map(|kind| question(*server, kind)));
        // A server that is silent once is silent: asking on would only take time.
        let talks = |server: &SocketAddr| {
            let mut of = answers.iter().filter(|(asked, _)| asked == server);
            host.attempts > 1 && of.any(|(_, answer)| answer.outcome.is_reply())
        };
        // With too few dots, or where nothing is found, a search domain makes another name of it.
        let mut completed = self.names.before_as_it_stands(&host.host);
        if completed.is_empty() && addresses.is_empty() {
            completed = self.names.with_search_domains(&host.host);
        }
        let completed = completed.into_iter().flat_map(|name| {
            self.servers.first().into_iter().flat_map(move |server| {
                let name = name.clone();
                both.map(move |record_type| {
                    let name = name.clone();
                    async move {
                        let question = Question { role: host.role, purpose: DnsPurpose::Searched, name, record_type };
                        dns::ask(self.files, ProbeName::Egress, *server, &question).await
                    }
                })
            })
        });
        let again = self.servers.iter().filter(|server| talks(server));
        let again = again.flat_map(|server| (0..SERIES).map(|_| question(*server, RecordType::A)));
        tokio::join!(join_all(public), join_all(again), join_all(completed));
        addresses
    }

    async fn addresses(self, host: &EgressHost, found: &[IpAddr]) {
        let found = &found[..found.len().min(limits::ADDRESSES)];
        let (found, inner): (Vec<IpAddr>, Vec<IpAddr>) =
            found.iter().partition(|addr| !host.public_only || is_public(**addr));
        for addr in inner {
            let job = self.net.begin(ProbeName::Egress, "leave to ask a host that a document names");
            let (role, name, reason) = (host.role, Text::new(&host.host), NotAsked::NotPublic);
            job.finish(FactBody::NotAsked(NotAskedFact {
                role,
                host: name,
                port: host.port,
                addr: Some(addr),
                reason,
            }));
        }
        let found = found.as_slice();
        if found.is_empty() || !self.connects {
            return;
        }
        let one = |(index, addr): (usize, &IpAddr)| self.one_address(host, *addr, index < DOCUMENTS);
        let connects = join_all(found.iter().enumerate().map(one));
        tokio::join!(network::ways(self.net, found), connects);
    }

    async fn one_address(self, host: &EgressHost, addr: IpAddr, fetch: bool) {
        let Some(stream) = self.connect(host, addr).await else { return };
        let again = async {
            for _ in 1..host.attempts {
                drop(self.connect(host, addr).await);
            }
        };
        let deeper = async {
            if !host.tls {
                return;
            }
            let shaken = self.handshake(host, stream).await;
            if let Some(url) = host.document.as_ref().filter(|_| fetch && shaken) {
                let purpose = HttpPurpose::ClientDocument;
                let request = fetch::Request { role: host.role, purpose, url, addr, limit: limits::FETCH };
                fetch::get(self.net, ProbeName::Egress, &request).await;
            }
        };
        // One after the other: the handshake's packets must not stand in the way of a connect's time.
        again.await;
        deeper.await;
    }

    /// Whether the handshake is completed. One that hangs is done once more beside it, in small packets, to its end: that
    /// this one hangs as well is what tells a firewall from packets that are too large.
    async fn handshake(self, host: &EgressHost, stream: tcp::Connection) -> bool {
        let peer = stream.peer();
        let ends = Instant::now() + limits::TLS_HANDSHAKE;
        let left = || ends.saturating_duration_since(Instant::now());
        let whole = tls::handshake(self.net, ProbeName::Egress, host.role, stream, &host.host, ALPN);
        let small = async {
            tokio::time::sleep(SLUGGISH).await;
            let connect = tcp::connect_with(peer.ip(), peer.port(), left(), Some(SMALL_SEGMENT));
            // That it connects is known; if not this time, or too late, nothing is learnt.
            let Ok(stream) = connect.await else { return };
            if left() < SLUGGISH {
                return;
            }
            tls::handshake_within(self.net, ProbeName::Egress, host.role, stream, &host.host, ALPN, left()).await;
        };
        let (mut whole, mut small) = (pin!(whole), pin!(small));
        let shaken = tokio::select! {
            shaken = &mut whole => shaken,
            () = &mut small => return whole.await.stream.is_some(),
        };
        let hung = |failure: &Failure| matches!(failure.kind, FailureKind::Timeout | FailureKind::TooSlow);
        if shaken.fact.failure.as_ref().is_some_and(hung) {
            small.await;
        }
        shaken.stream.is_some()
    }

    async fn connect(self, host: &EgressHost, addr: IpAddr) -> Option<tcp::Connection> {
        let port = host.port;
        let job = self.net.begin(ProbeName::Egress, format!("a TCP connection to {}", SocketAddr::new(addr, port)));
        let result = tcp::connect_within(addr, port, self.manner.patience).await;
        let failure = result.as_ref().err().cloned();
        let name = Text::new(&host.host);
        job.finish(FactBody::Connect(ConnectFact { role: host.role, host: name, addr, port, failure }));
        result.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fact::Fact,
        inside::{Place, testing::measure},
    };

    /// What only a document names is not connected to at an inner address, whoever gave it.
    #[test]
    fn a_name_of_a_document_leads_to_no_inner_place() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let from_here = |public_only| {
            let host = EgressHost::new(Role::Target, "127.0.0.1", addr.port());
            let hosts = [EgressHost { tls: false, public_only, ..host }];
            let manner = Manner { patience: PATIENCE, third_parties: false, sudo: String::new() };
            let work = |net: Net| async move { egress(&net, &[Place::here()], &hosts, &manner).await };
            measure(work).1
        };
        let count = |facts: &[Fact], kind: fn(&FactBody) -> bool| facts.iter().filter(|fact| kind(&fact.body)).count();
        let connects = |facts: &[Fact]| count(facts, |body| matches!(body, FactBody::Connect(_)));
        let left = |facts: &[Fact]| count(facts, |body| matches!(body, FactBody::NotAsked(_)));
        let facts = from_here(true);
        assert_eq!((connects(&facts), left(&facts)), (0, 1));
        let facts = from_here(false);
        assert_eq!((connects(&facts), left(&facts)), (1, 0));
    }
}
