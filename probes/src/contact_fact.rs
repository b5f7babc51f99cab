//! What was left alone, and why: a document of a stranger may name any host.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{terms::Role, text::Text};

/// A host, or an address of it, that was learnt from a document and not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotAskedFact {
    /// Whose host it would have been.
    pub role: Role,
    /// The host that was named.
    pub host: Text,
    /// The port that was named.
    pub port: u16,
    /// The address of it, where the address is the reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub addr: Option<IpAddr>,
    /// Why it was not asked.
    pub reason: NotAsked,
}

/// Why a host that a document names is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NotAsked {
    /// It is no host name.
    NoName,
    /// Another port than 443.
    Port,
    /// The address is not one of the public internet.
    NotPublic,
    /// `--no-third-party`: it is neither the target's nor named by the user.
    ThirdParty,
    /// As many foreign hosts as one run asks were asked already.
    TooMany,
    /// As many of its addresses as one run asks were asked already.
    TooManyAddresses,
}
