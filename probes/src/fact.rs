//! Facts: one measurement each. One thing, one attempt, one outcome, with its time.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::terms::{FactId, Failure, FailureKind, Family, NotMeasured, ProbeName, Role, Vantage};
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

/// What was measured. Every variant names its subject and its one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
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
            Self::TlsOffer(body) => body.failure.as_ref().map(|failure| &*failure.detail),
            Self::Resolver(_)
            | Self::Process(_)
            | Self::Listeners(_)
            | Self::Engine(_)
            | Self::Container(_)
            | Self::ContainerNetwork(_)
            | Self::Interface(_)
            | Self::Routes(_)
            | Self::Source(_)
            | Self::Sysctl(_)
            | Self::RaHandler(_)
            | Self::Forwarding(_)
            | Self::NameFiles(_)
            | Self::RouterAdvertisement(_)
            | Self::Hops(_)
            | Self::EnvFile(_)
            | Self::Log(_)
            | Self::NodeFetch(_)
            | Self::NotAsked(_)
            | Self::Proxy(_) => None,
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
