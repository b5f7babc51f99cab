//! What the user asked of `check`, free of the command line's own types.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use pdsdoctor_probes::{fact::ProbeName, identifier::TargetInput};

/// The time limit of a whole run. A PDS may wait 10 s for a dead client document before it answers
/// a PAR (`@atproto-labs/fetch-node`); finding the way there and back needs a few seconds more.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// Known-good PDSes, tried in this order. `tngl.sh` runs the reference implementation and is its own
/// authorization server (it was the control of the first field report); `bsky.social` is an entryway,
/// another program, and therefore the last resort.
pub const REFERENCES: &[&str] = &["tngl.sh", "bsky.social"];

/// Entryways: login servers of many PDSes. Their answers are another program's.
pub const ENTRYWAYS: &[&str] = &["bsky.social"];

/// The client of the first field report.
pub const DEFAULT_CLIENT_ID: &str = "https://tangled.org/oauth/client-metadata.json";

/// Everything `check` needs to know.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// What to examine, as typed.
    pub input: String,
    /// The same, read.
    pub target: TargetInput,
    /// `--against`: the reference the user named.
    pub against: Option<String>,
    /// `--no-reference`.
    pub no_reference: bool,
    /// `--no-third-party`: only the target and what the user named is contacted.
    pub no_third_party: bool,
    /// `--client-id`, or the default client.
    pub client_ids: Vec<String>,
    /// The user named the client documents.
    pub client_ids_given: bool,
    /// `-4`.
    pub only_v4: bool,
    /// `-6`.
    pub only_v6: bool,
    /// `--only`, less `--skip`.
    pub probes: Vec<ProbeName>,
    /// `--resolve HOST:PORT:ADDR`, as curl.
    pub resolve: Vec<Resolve>,
    /// `--nameserver`.
    pub nameservers: Vec<SocketAddr>,
    /// `--timeout`.
    pub timeout: Duration,
}

/// One `--resolve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// Host name, lower case.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The addresses to use instead of asking.
    pub addrs: Vec<IpAddr>,
}
