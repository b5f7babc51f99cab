//! What a TLS measurement looks like.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{
    terms::{Failure, Role},
    text::Text,
};

/// One handshake with one server name at one address. The tool completes handshakes whatever the
/// certificate says, and judges the certificate beside it: a bad one must not hide what is behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TlsFact {
    /// Whose host.
    pub role: Role,
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
    /// The server name sent (RFC 6066), which the certificate must match.
    pub sni: Text,
    /// The server was told to send no segment with more bytes of data than this (TCP's maximum segment
    /// size option, RFC 9293, section 3.7.1). `None`: what the network's own packet size allows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_segment: Option<u16>,
    /// The bytes that came until the handshake was over. What is more than a segment holds came in a
    /// packet of full size.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub received: Option<u64>,
    /// `None`: the handshake was completed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The alert the server sent, in rustls's word for it, such as `InternalError` (RFC 8446, section 6).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alert: Option<Text>,
    /// `TLSv1_2` or `TLSv1_3`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<Text>,
    /// The application protocol chosen (RFC 7301).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alpn: Option<Text>,
    /// The certificate, kept also when the handshake failed after it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<CertificateFact>,
}

/// What a server takes of an offer wider than that of clients of today: old ciphers, old versions, rare curves. Asked only
/// where it ended an ordinary handshake for want of something in common; nothing goes on behind the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TlsOfferFact {
    /// Whose host.
    pub role: Role,
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
    /// The server name sent.
    pub sni: Text,
    /// `None`: the server chose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The alert it sent, by its number (RFC 8446, section 6).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alert: Option<u8>,
    /// `TLSv1_0` to `TLSv1_3`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<Text>,
    /// The cipher suite chosen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suite: Option<Text>,
}

/// What the server's certificate and chain say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateFact {
    /// Subject of the leaf.
    pub subject: Text,
    /// Issuer of the leaf.
    pub issuer: Text,
    /// DNS names and addresses of the leaf (at most [`crate::limits::CERT_NAMES`]).
    pub names: Vec<Text>,
    /// How many names it really has.
    pub name_count: usize,
    /// Start of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// Own clock when it was judged, seconds since 1970.
    pub judged_at: i64,
    /// How many certificates the server sent, the leaf included.
    pub chain_length: usize,
    /// Subjects of the other certificates sent, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub chain_subjects: Vec<Text>,
    /// Subject and issuer of the leaf are the same.
    pub self_issued: bool,
    /// The leaf carries what public CAs must put in: signed certificate timestamps (RFC 6962) or a
    /// CA/Browser Forum policy, so it is from a public CA or pretends to be.
    pub public_ca_marks: bool,
    /// Where the issuer's certificate can be had (RFC 5280, section 4.2.2.1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer_url: Option<Text>,
    /// The path to a root of this machine's own store (and `--ca-cert`), dates and names aside.
    pub trust_system: PathVerdict,
    /// The path to a root of Mozilla's store (and `--ca-cert`), dates and names aside.
    pub trust_mozilla: PathVerdict,
    /// The path leads to a root the user named (`--ca-cert`, or an `SSL_CERT_FILE` of their own).
    pub trust_given: bool,
    /// The certificate covers the server name sent (RFC 9525).
    pub name_matches: bool,
}

impl CertificateFact {
    /// The chain leads to a root of either store.
    pub fn is_trusted(&self) -> bool {
        self.trust_given || [self.trust_system, self.trust_mozilla].contains(&PathVerdict::Trusted)
    }

    /// Where the clock of the judging machine stands against the leaf's dates.
    pub fn validity(&self) -> Validity {
        if self.judged_at < self.not_before {
            Validity::NotYet
        } else if self.judged_at > self.not_after {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }
}

/// Where now stands against a certificate's dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Within them.
    Valid,
    /// Before them.
    NotYet,
    /// After them.
    Expired,
}

/// Does a chain lead to a root of one store?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PathVerdict {
    /// Yes.
    Trusted,
    /// No root of the store signed any of it.
    UnknownIssuer,
    /// A certificate above the leaf is out of date.
    ChainExpired,
    /// A signature, a constraint or the encoding is wrong.
    Invalid,
    /// The store could not be read, or is empty.
    NoStore,
}
