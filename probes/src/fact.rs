//! Facts: one measurement each. One thing, one attempt, one outcome, with its time.

use std::{fmt, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use crate::{
    contact_fact::NotAskedFact,
    dns_fact::{DnsFact, ResolverFact, SystemDnsFact},
    host_fact::{
        ForwardingFact, HopsFact, InterfaceFact, NameFilesFact, RaHandlerFact, RouterAdvertisementFact, RoutesFact,
        SourceFact, SysctlFact,
    },
    http_fact::HttpFact,
    log_fact::LogFact,
    par_fact::ParFact,
    process_fact::{
        ContainerFact, ContainerNetworkFact, EngineFact, EnvFileFact, ListenersFact, NodeFetchFact, ProcessFact,
        ProxyFact,
    },
    text::Text,
    tls_fact::{TlsFact, TlsOfferFact},
};

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// `f1`, `f2`, … in job order, never in order of arrival.
    pub id: FactId,
    /// The probe that measured it.
    pub probe: ProbeName,
    /// Where it was measured.
    pub vantage: Vantage,
    /// Milliseconds from the start of the run to the start of the measurement.
    pub started_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What was measured.
    pub body: FactBody,
}

impl Fact {
    /// What makes facts of one run come in the same order whenever they arrived: probe, vantage,
    /// subject; facts about the same subject (two attempts) by their start.
    pub(crate) fn job_key(&self) -> (ProbeName, Vantage, String, u64, String) {
        let subject = match &self.body {
            FactBody::OwnNetwork(f) => format!("0 {:?}", f.family),
            FactBody::Resolver(_) => "1".to_owned(),
            FactBody::SystemDns(f) => format!("2 {:?} {}", f.role, f.name),
            FactBody::Dns(f) => {
                format!("3 {:?} {:?} {} {} {} {}", f.role, f.purpose, f.name, f.record_type, f.server, f.attempt)
            }
            FactBody::Connect(f) => format!("4 {:?} {} {} {}", f.role, f.host, address_key(f.addr), f.port),
            FactBody::Tls(f) => format!("5 {:?} {} {} {}", f.role, address_key(f.addr), f.port, f.sni),
            FactBody::TlsOffer(f) => format!("5o {:?} {} {} {}", f.role, address_key(f.addr), f.port, f.sni),
            FactBody::Http(f) => {
                format!("6 {:?} {:?} {} {}", f.role, f.purpose, f.url, f.addr.map(address_key).unwrap_or_default())
            }
            FactBody::Par(f) => format!("7 {:?} {} {:?} {}", f.role, f.client, f.arm, f.server),
            FactBody::Process(f) => format!("8 {:?} {} {:010}", f.confinement, f.port.unwrap_or(0), f.pid),
            FactBody::Listeners(_) => "9".to_owned(),
            FactBody::Engine(f) => format!("a {} {}", f.engine, f.socket),
            FactBody::Container(f) => format!("b {} {}", f.name, f.id),
            FactBody::ContainerNetwork(f) => format!("c {}", f.name),
            FactBody::Interface(f) => format!("d {:010} {}", f.index, f.name),
            FactBody::Routes(f) => format!("e {:?}", f.family),
            FactBody::Source(f) => format!("f {}", address_key(f.destination)),
            FactBody::Sysctl(f) => format!("g {:?}", f.interface),
            FactBody::RaHandler(f) => format!("h {}", f.interface),
            FactBody::Forwarding(_) => "i".to_owned(),
            FactBody::NameFiles(_) => "j".to_owned(),
            FactBody::RouterAdvertisement(f) => format!("k {}", f.interface),
            FactBody::Hops(f) => format!("l {}", address_key(f.destination)),
            FactBody::EnvFile(f) => format!("m {}", f.path),
            FactBody::NodeFetch(f) => format!("n {} {:?}", f.url, f.arm),
            FactBody::Log(f) => format!("o {}", f.source),
            FactBody::NotAsked(f) => {
                format!("p {:?} {} {} {}", f.role, f.host, f.port, f.addr.map(address_key).unwrap_or_default())
            }
            FactBody::Proxy(f) => format!("q {} {:010}", f.program, f.pid),
        };
        // The body itself comes last, so that even facts alike in all else have one order.
        let body = serde_json::to_string(&self.body).unwrap_or_default();
        (self.probe, self.vantage.clone(), subject, self.started_ms, body)
    }
}

/// Sorts IPv4 before IPv6, and addresses by value.
fn address_key(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => format!("4 {:08x}", v4.to_bits()),
        IpAddr::V6(v6) => format!("6 {:032x}", v6.to_bits()),
    }
}

/// The name of a fact within one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FactId(pub String);

impl fmt::Display for FactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The closed set of probes. The names are those of `--only`, `--skip` and `list probes`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ProbeName {
    /// Which address families this machine can send on.
    OwnNetwork,
    /// Names: system resolver and direct queries.
    Dns,
    /// TCP connects, one per address and port.
    Tcp,
    /// TLS handshakes, one per address and server name.
    Tls,
    /// `_health` and `describeServer`, per address.
    Http,
    /// Plain HTTP on port 80.
    Port80,
    /// Hosted handles: DNS, TLS and well-known of a random label and of the handle asked about.
    Handles,
    /// Handle and DID resolution.
    Identity,
    /// The two OAuth metadata documents.
    OauthDiscovery,
    /// Pushed authorization requests.
    Par,
    /// The client metadata documents, fetched from here.
    ClientDocument,
    /// The PDS's process on this machine, and who listens where.
    PdsProcess,
    /// The container engine, the PDS's container and its networks.
    ContainerEngine,
    /// Interfaces, addresses and routes, of this machine and of the PDS's container.
    HostNetwork,
    /// Kernel settings of the network, now and at the next boot.
    HostSettings,
    /// Who handles router advertisements, and who made this machine forward.
    RaHandler,
    /// Router advertisements on the wire.
    RouterAdvertisement,
    /// The files that say how names are resolved.
    NameFiles,
    /// The way out: connections from this machine and from the PDS's container.
    Egress,
    /// The address that this machine has to the world, and the first routers on the way out.
    Position,
    /// The PDS's own Node, with and without remedies. Only if it is asked for.
    WithNode,
    /// The end of the PDS's log: its container's, or the file that was named.
    PdsLog,
}

impl ProbeName {
    /// The probes that see the PDS from outside, from whichever machine.
    pub fn of_outside() -> impl Iterator<Item = Self> + Clone {
        Self::iter().filter(|probe| !probe.is_inside())
    }

    /// The probes of the PDS's own machine.
    pub fn of_host() -> impl Iterator<Item = Self> + Clone {
        Self::iter().filter(|probe| probe.is_inside())
    }

    /// It looks at the PDS's own machine, which must be the one the tool runs on.
    pub fn is_inside(self) -> bool {
        matches!(
            self,
            Self::PdsProcess
                | Self::ContainerEngine
                | Self::HostNetwork
                | Self::HostSettings
                | Self::RaHandler
                | Self::RouterAdvertisement
                | Self::NameFiles
                | Self::Egress
                | Self::Position
                | Self::WithNode
                | Self::PdsLog
        )
    }
}

/// Where a fact was measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Vantage {
    /// The machine that runs the tool.
    Here,
    /// The network namespace of a container, by its name.
    Container(Text),
    /// The network namespace of a process that is in no container of a known name.
    Process(u32),
}

impl From<Vantage> for String {
    fn from(vantage: Vantage) -> Self {
        match vantage {
            Vantage::Here => "here".to_owned(),
            Vantage::Container(name) => format!("container:{name}"),
            Vantage::Process(pid) => format!("process:{pid}"),
        }
    }
}

impl TryFrom<String> for Vantage {
    type Error = String;
    fn try_from(raw: String) -> Result<Self, Self::Error> {
        raw.parse()
    }
}

impl FromStr for Vantage {
    type Err = String;
    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        match raw.split_once(':') {
            None if raw == "here" => Ok(Self::Here),
            Some(("container", name)) => Ok(Self::Container(Text::new(name))),
            Some(("process", pid)) => pid.parse().map(Self::Process).map_err(|_| format!("unknown vantage {raw:?}")),
            _ => Err(format!("unknown vantage {raw:?}")),
        }
    }
}

/// Whose host, document or answer was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// The PDS under examination.
    Target,
    /// The authorization server of the target, where it is another host.
    TargetAuthServer,
    /// A random label under a handle domain of the target.
    HandleSample,
    /// The handle the user named.
    Handle,
    /// The handle of an account that the target hosts.
    HostedHandle,
    /// The known-good PDS.
    Reference,
    /// The authorization server of the reference, where it is another host.
    ReferenceAuthServer,
    /// The host of a client metadata document.
    Client,
    /// The PLC directory, or the host of a `did:web`.
    Directory,
    /// A service that the PDS's own configuration names: application view, crawler, report service.
    Service,
    /// A host that a PDS was made to fetch from, to see how its way out is.
    Egress,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Internet Protocol version 4.
    #[strum(serialize = "IPv4")]
    V4,
    /// Internet Protocol version 6.
    #[strum(serialize = "IPv6")]
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What was measured. Every variant names its subject and its one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FactBody {
    /// Can this machine send on a family at all?
    OwnNetwork(OwnNetworkFact),
    /// Which name servers are configured here?
    Resolver(ResolverFact),
    /// One DNS question to one server.
    Dns(DnsFact),
    /// One `getaddrinfo`.
    SystemDns(SystemDnsFact),
    /// One TCP connect.
    Connect(ConnectFact),
    /// One TLS handshake.
    Tls(TlsFact),
    /// What a server takes of a wide offer.
    TlsOffer(TlsOfferFact),
    /// One HTTP exchange.
    Http(HttpFact),
    /// One pushed authorization request.
    Par(ParFact),
    /// A process that is taken for a PDS.
    Process(ProcessFact),
    /// Listening sockets.
    Listeners(ListenersFact),
    /// A container engine.
    Engine(EngineFact),
    /// The PDS's container.
    Container(ContainerFact),
    /// A network of the PDS's container.
    ContainerNetwork(ContainerNetworkFact),
    /// A network interface.
    Interface(InterfaceFact),
    /// Routes of one family.
    Routes(RoutesFact),
    /// The way to one destination, as the kernel would choose it.
    Source(SourceFact),
    /// Kernel settings.
    Sysctl(SysctlFact),
    /// Who acts on router advertisements.
    RaHandler(RaHandlerFact),
    /// Whether this machine forwards, and what may have made it.
    Forwarding(ForwardingFact),
    /// The files that say how names are resolved.
    NameFiles(NameFilesFact),
    /// A listen for router advertisements.
    RouterAdvertisement(RouterAdvertisementFact),
    /// The routers nearest to this machine.
    Hops(HopsFact),
    /// A file of settings.
    EnvFile(EnvFileFact),
    /// The end of the PDS's log.
    Log(LogFact),
    /// One fetch by the PDS's own Node.
    NodeFetch(NodeFetchFact),
    /// A host that a document names and that was left alone.
    NotAsked(NotAskedFact),
    /// The web server before the PDS.
    Proxy(ProxyFact),
}

impl FactBody {
    /// The words of its failure, where it has one.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::OwnNetwork(body) => body.failure.as_ref().map(|failure| &*failure.detail),
            Self::Connect(body) => body.failure.as_ref().map(|failure| &*failure.detail),
            Self::Tls(body) => body.failure.as_ref().map(|failure| &*failure.detail),
            Self::Http(body) => body.failure.as_ref().map(|failure| &*failure.detail),
            Self::Par(body) => body.failure.as_ref().map(|failure| &*failure.detail),
            Self::Dns(body) => body.detail.as_deref(),
            Self::SystemDns(body) => body.detail.as_deref(),
            _ => None,
        }
    }
}

/// Which source address the kernel would use towards a global destination of one family.
/// Nothing is sent: a UDP socket is connected and asked for its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnNetworkFact {
    /// The family.
    pub family: Family,
    /// The source address, if there is a route.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<IpAddr>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

/// One TCP connect to one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectFact {
    /// Whose host.
    pub role: Role,
    /// The host name it was resolved from.
    pub host: Text,
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
    /// `None`: it connected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

/// Why a step of the network failed. This is data, not an error of the tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The kind, from a closed set.
    pub kind: FailureKind,
    /// The system's number for it, where there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<i32>,
    /// The words of the library or system.
    pub detail: Text,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, detail: &str) -> Self {
        Self { kind, errno: None, detail: Text::limited(detail, 200) }
    }
}

/// The closed set of ways in which a network step fails.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    Display,
    EnumIter,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureKind {
    /// ECONNREFUSED: the host is there, nobody listens (or a firewall says so).
    Refused,
    /// ECONNRESET or EPIPE: the other side, or a middlebox, cut the connection.
    Reset,
    /// EHOSTUNREACH: a router or the last link says the host is not there.
    HostUnreachable,
    /// ENETUNREACH, EADDRNOTAVAIL: this machine has no route or no address for it.
    NetworkUnreachable,
    /// EACCES, EPERM: a local or remote policy refuses (ICMP "administratively prohibited").
    Prohibited,
    /// Nothing came back within the time limit.
    Timeout,
    /// The other side closed the connection without an answer.
    Closed,
    /// The server refused the handshake with a TLS alert (named in the detail).
    TlsAlert,
    /// What came back on the TLS port is not TLS.
    NotTls,
    /// Any other TLS failure.
    TlsOther,
    /// What came back is not HTTP.
    NotHttp,
    /// Headers or body beyond the limit.
    TooLarge,
    /// The body or the headers did not arrive in time, although bytes were coming.
    TooSlow,
    /// More than any exchange needs, without end: interim answers, frames of HTTP/2 that carry nothing, bytes.
    Flood,
    /// This machine, or what this process is allowed, ran out: open files, memory, threads (EMFILE, ENFILE, ENOMEM,
    /// ENOBUFS). It says nothing of the other side.
    ThisSideResources,
    /// The name could not be resolved (only where a library resolves by itself).
    Unresolved,
    /// Anything else; the detail has the words.
    Other,
}

/// A probe, or a part of one, that could not measure. Never shown as fine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NotMeasured {
    /// The probe.
    pub probe: ProbeName,
    /// Why not, for a person.
    pub why: Text,
    /// What it would take.
    pub needs: Text,
}
