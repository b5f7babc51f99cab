//! What a pushed authorization request (RFC 9126) looks like.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{
    terms::{Failure, Role},
    text::Text,
};

/// The arms of the experiment. All are stateless: without a `code_challenge` the reference PDS
/// refuses after every check and before it writes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ParArm {
    /// `client_id=http://localhost`, for which the PDS fetches nothing: does PAR work at all?
    Localhost,
    /// The document with a query that nobody asked for before: can the PDS fetch it *now*?
    CacheBusted,
    /// The document as the application names it: what the application gets.
    AsNamed,
    /// The PDS's own address: can it reach its public name?
    OwnUrl,
    /// A host that is near everywhere, on IPv4 and IPv6.
    Near,
    /// A host that is far from most, on IPv4 and IPv6.
    Far,
    /// A host on IPv4 only.
    Ipv4Only,
    /// A host on IPv6 only.
    Ipv6Only,
    /// The target's own address, which the reference is made to fetch: does the world reach it?
    TargetUrl,
}

impl ParArm {
    /// The arms about an application's document.
    pub const LOGIN: [Self; 2] = [Self::CacheBusted, Self::AsNamed];
    /// The arms about hosts that have nothing to do with the login: how the PDS's way out is.
    pub const EGRESS: [Self; 4] = [Self::Near, Self::Far, Self::Ipv4Only, Self::Ipv6Only];

    /// Is it about an application's document?
    pub fn is_login(self) -> bool {
        Self::LOGIN.contains(&self)
    }
}

/// One PAR and its answer, as it came. How far it got is judged later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParFact {
    /// Target or reference.
    pub role: Role,
    /// The authorization server's origin.
    pub server: Text,
    /// The PAR endpoint.
    pub endpoint: Text,
    /// The address asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub addr: Option<IpAddr>,
    /// Which arm.
    pub arm: ParArm,
    /// The client metadata document the arm is about; for `localhost`, `http://localhost`; for the others the
    /// address that the PDS is made to fetch.
    pub client: Text,
    /// The `client_id` as sent.
    pub client_id: Text,
    /// The `scope` as sent.
    pub scope: Text,
    /// `None`: a whole HTTP answer came. Beside a status: its head came, but not the whole body.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The status code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content_type: Option<Text>,
    /// The headers that clients rely on ([`PAR_HEADERS`]), lower case; repeated ones joined by `, `.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub headers: BTreeMap<String, Text>,
    /// `error` of the JSON answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Text>,
    /// `error_description` (or `message`) of the JSON answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<Text>,
    /// A `request_uri` came: the request was accepted. Its value is not kept.
    pub accepted: bool,
    /// The beginning of a body that is not the JSON expected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub excerpt: Option<Text>,
}

/// Headers of the answer that are kept: what an app in a browser needs to read it, and what the next request needs
/// (RFC 9449, section 8). Of a nonce, only that there is one.
pub const PAR_HEADERS: &[&str] =
    &["access-control-allow-origin", "access-control-expose-headers", "dpop-nonce", "www-authenticate"];
