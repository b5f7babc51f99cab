//! The terms in which every fact speaks: its name and its probe, whose host, seen from where, and how a step fails.

use std::{fmt, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use crate::text::Text;

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
    /// The event stream that relays follow: an upgrade to WebSocket, per address.
    Websocket,
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
