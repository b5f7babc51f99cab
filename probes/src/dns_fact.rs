//! What a DNS measurement looks like.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, IntoStaticStr};

use crate::{terms::Role, text::Text};

/// The name servers this machine is configured to ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolverFact {
    /// In order of preference.
    pub servers: Vec<SocketAddr>,
    /// `--nameserver` named them (else `/etc/resolv.conf` did).
    pub given: bool,
    /// Why none is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Text>,
}

/// Record types that are asked for (RFC 1035, RFC 3596, RFC 8659).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Alias.
    Cname,
    /// Text.
    Txt,
    /// Name server of a zone.
    Ns,
    /// Start of a zone.
    Soa,
    /// Which certificate authorities may issue (RFC 8659).
    Caa,
}

/// Why a question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
pub enum DnsPurpose {
    /// The addresses of a host.
    Address,
    /// `_atproto.<handle>`: the DID of a handle.
    HandleTxt,
    /// A place where people put the `_atproto` record by mistake.
    MisplacedTxt,
    /// Which zone a name is in, and who serves it.
    Zone,
    /// Which certificate authorities may issue.
    Caa,
    /// The address of what a web server passes requests on to.
    Upstream,
    /// A host's name with a search domain behind it, as resolver libraries ask it (resolv.conf(5), `search`).
    Searched,
}

/// One question to one server, one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DnsFact {
    /// Whose name.
    pub role: Role,
    /// Why it was asked.
    pub purpose: DnsPurpose,
    /// The name, without the final dot.
    pub name: Text,
    /// The type asked for.
    pub record_type: RecordType,
    /// The server asked.
    pub server: SocketAddr,
    /// 1 for the first attempt.
    pub attempt: u8,
    /// What came back.
    pub outcome: DnsOutcome,
    /// Records of the type asked for (at most [`crate::limits::DNS_RECORDS`]), sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub records: Vec<Text>,
    /// The aliases followed by the server, in order, the last one being where the answer is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cname_chain: Vec<Text>,
    /// The zone named by the SOA record of a negative answer (RFC 2308).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub zone: Option<Text>,
    /// The words for a failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<Text>,
}

impl DnsFact {
    /// The addresses among the records.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.records.iter().filter_map(|record| record.parse().ok()).collect()
    }
}

/// How a DNS question ended.
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
pub enum DnsOutcome {
    /// Records of the type asked for.
    Answer,
    /// The name exists, without such a record (RFC 2308 NODATA).
    NoData,
    /// The name does not exist (NXDOMAIN).
    NxDomain,
    /// The server could not find out (SERVFAIL): the zone's own servers fail, or DNSSEC does.
    ServFail,
    /// The server will not answer (REFUSED).
    Refused,
    /// Another response code.
    OtherCode,
    /// Nothing came back.
    Timeout,
    /// The server cannot be reached (ICMP or no route).
    Unreachable,
    /// The answer makes no sense.
    Malformed,
    /// This machine had not what it takes to ask: no open file, no memory. It says nothing of the server.
    NotAsked,
}

impl DnsOutcome {
    /// The server said something definite about the name.
    pub fn is_definite(self) -> bool {
        matches!(self, Self::Answer | Self::NoData | Self::NxDomain)
    }

    /// The server itself answered at all.
    pub fn is_reply(self) -> bool {
        !matches!(self, Self::Timeout | Self::Unreachable | Self::NotAsked)
    }
}

/// One `getaddrinfo`: the answer an ordinary program gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemDnsFact {
    /// Whose name.
    pub role: Role,
    /// The name.
    pub name: Text,
    /// How it ended.
    pub outcome: SystemDnsOutcome,
    /// The addresses, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub addresses: Vec<IpAddr>,
    /// The words for a failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<Text>,
}

/// How `getaddrinfo` ended (RFC 3493, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SystemDnsOutcome {
    /// Addresses.
    Answer,
    /// EAI_NONAME: no such name, or no address.
    NotFound,
    /// EAI_AGAIN: the resolver could not find out now.
    TryAgain,
    /// Any other error.
    Failed,
    /// No answer within the limit.
    Timeout,
    /// This machine had not what it takes to ask: no thread, no open file, no memory.
    NotAsked,
}
