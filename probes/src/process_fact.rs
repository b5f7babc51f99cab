//! What is known of a PDS process and of the container engine around it.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{
    secret::Form,
    terms::{Failure, Vantage},
    text::Text,
};

/// A process that is taken for a PDS. Values of its environment are never kept, but for the few
/// that hold no secret and matter: host name, port, and the flags of Node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessFact {
    /// Its number, as this machine sees it.
    pub pid: u32,
    /// How it was found.
    pub found: FoundBy,
    /// What was seen that makes it a PDS.
    pub because: Text,
    /// The name of its program file.
    pub program: Text,
    /// The name of the script it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub script: Option<Text>,
    /// What it runs in.
    pub confinement: Confinement,
    /// It has a network namespace of its own, not the one of this machine. `None`: may not be looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own_network: Option<bool>,
    /// Its files are not those of this machine: another root directory, or other mounts (mount_namespaces(7)) under which
    /// the files that say how names are resolved differ. `None`: may not be looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own_files: Option<bool>,
    /// How long it has been running.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uptime_s: Option<u64>,
    /// The version of its Node, without running it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<NodeVersion>,
    /// The flags in its `NODE_OPTIONS`, as it was started. Values other than numbers and those of
    /// the network flags are left out. A single quote before a flag is kept, for Node drops it and all
    /// that follows; `?` stands for a first word that is no flag.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub node_options: Vec<Text>,
    /// The flags on its command line before the script, likewise. They win over `NODE_OPTIONS`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub node_arguments: Vec<Text>,
    /// Its C library: glibc and musl sort and filter addresses differently.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub libc: Option<Libc>,
    /// The version of the database module that it runs with (better-sqlite3).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database_module: Option<Text>,
    /// The version of the package `@atproto/pds` that it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub package: Option<Text>,
    /// Its environment could be read.
    pub environment_read: bool,
    /// `PDS_HOSTNAME`, if it has the form of a host name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hostname: Option<Text>,
    /// The port it was told (`PDS_PORT`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// Its limit of open files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub open_files: Option<OpenFiles>,
    /// Keys of its environment that matter to a PDS, with the form of their values.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub environment: Vec<EnvironmentKey>,
    /// Hosts that its environment names: directory, application view, crawlers, report service.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services: Vec<ServiceHost>,
}

/// The port of a PDS that was told none (`packages/pds/src/config/config.ts`: `env.port ?? 2583`).
pub const DEFAULT_PORT: u16 = 2583;

impl ProcessFact {
    /// The port in effect.
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// The name of the network namespace it is in.
    pub fn vantage(&self) -> Vantage {
        if self.own_network == Some(false) { Vantage::Here } else { self.own_view() }
    }

    /// The name of its own view of files: its container's, where it has one.
    pub fn own_view(&self) -> Vantage {
        let id = || self.confinement.id.as_ref().map(|id| Text::new(&id.chars().take(12).collect::<String>()));
        match self.confinement.kind {
            ConfinementKind::None | ConfinementKind::Systemd => Vantage::Process(self.pid),
            _ => self.confinement.name.clone().or_else(id).map_or(Vantage::Process(self.pid), Vantage::Container),
        }
    }
}

/// How a process was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FoundBy {
    /// `--pid`.
    Pid,
    /// `--container`.
    Container,
    /// A look at every process.
    Scan,
}

/// What a process runs in, as its control group says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Confinement {
    /// The kind.
    pub kind: ConfinementKind,
    /// The id of the container or the name of the unit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<Text>,
    /// The name of the container, where its engine told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<Text>,
}

/// Kinds of confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ConfinementKind {
    /// A Docker container.
    Docker,
    /// A Podman container.
    Podman,
    /// A container of a Kubernetes pod, by whichever engine.
    Kubernetes,
    /// A container of another engine (containerd, CRI-O, LXC).
    OtherContainer,
    /// A systemd service.
    Systemd,
    /// None of these.
    None,
}

/// A version of Node and where it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeVersion {
    /// Such as `24.18.0`.
    pub version: Text,
    /// Where.
    pub source: NodeVersionSource,
}

/// Where a version of Node was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NodeVersionSource {
    /// The headers installed beside it.
    Headers,
    /// The program file itself.
    Program,
    /// The path of the program file.
    Path,
    /// `NODE_VERSION`, which the official images set. Its base image's, if a program was added later.
    Environment,
}

/// C libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Libc {
    /// GNU.
    Glibc,
    /// musl, of Alpine and the official PDS image.
    Musl,
}

/// A limit of open files; `None` is "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenFiles {
    /// What counts.
    pub soft: Option<u64>,
    /// What the process may raise it to. Node raises its own soft limit to this one at start.
    pub hard: Option<u64>,
}

/// A key of an environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentKey {
    /// The key.
    pub key: Text,
    /// The form of its value. The value is not kept.
    pub form: Form,
}

/// A host that an environment names. Of its URL only host and port are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ServiceHost {
    /// The key that names it.
    pub key: Text,
    /// The host.
    pub host: Text,
    /// The port.
    pub port: u16,
    /// `https`.
    pub tls: bool,
}

/// The listening TCP sockets of one network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListenersFact {
    /// By port and address.
    pub sockets: Vec<Listener>,
    /// So many more were left out.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub left_out: u32,
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The address; `::` takes IPv4 as well, unless the program said otherwise.
    pub addr: IpAddr,
    /// Who listens, for ports that matter to a PDS, where it may be seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<Owner>,
}

/// Who holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// The name of its program.
    pub program: Text,
    /// Where Docker's `docker-proxy` hands connections on to: an address of a container, of whichever family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hands_to: Option<SocketAddr>,
}

/// The web server on the PDS's machine, and what its configuration says it passes requests on to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyFact {
    /// The process.
    pub pid: u32,
    /// Its program: `caddy` or `nginx`.
    pub program: Text,
    /// The files that were read.
    pub files: Vec<Text>,
    /// What it asks for the PDS's host name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub upstreams: Vec<Upstream>,
    /// Files that could not be read, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unreadable: Vec<Text>,
}

/// What a web server passes requests on to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Upstream {
    /// The host, as written; `localhost` where only a port is.
    pub host: Text,
    /// The port.
    pub port: u16,
    /// It is asked over TLS.
    #[serde(default)]
    pub tls: bool,
    /// The names of the site that it is for; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sites: Vec<Text>,
}

impl Upstream {
    /// Requests for `host` are passed on to it: a site without a name, of that name, or of a wildcard over it.
    pub fn is_for(&self, host: &str) -> bool {
        let named = |site: &Text| {
            let wild = site.strip_prefix("*.").is_some_and(|domain| {
                host.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(domain))
            });
            site.eq_ignore_ascii_case(host) || wild || ["_", "*"].contains(&site.as_str())
        };
        self.sites.is_empty() || self.sites.iter().any(named)
    }
}

/// A container engine, asked over its Unix socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFact {
    /// Docker or Podman.
    pub engine: Engine,
    /// Its socket.
    pub socket: Text,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<Text>,
    /// Settings of `daemon.json` that matter to the network, as written there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub settings: Vec<Setting>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

/// Container engines with Docker's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// A setting of a file, such as `ipv6` = `true`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The key.
    pub key: Text,
    /// The value.
    pub value: Text,
}

/// A container, as its engine sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFact {
    /// Its id.
    pub id: Text,
    /// Its name.
    pub name: Text,
    /// The image it was made from.
    pub image: Text,
    /// Its first process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// `running`, `restarting`, `exited` …
    pub status: Text,
    /// What its health check says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<Text>,
    /// When it was started, RFC 3339.
    pub started_at: Text,
    /// How often the engine restarted it.
    pub restarts: u64,
    /// The kernel killed it for lack of memory.
    pub oom_killed: bool,
    /// How it ended last, if it is not running.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i64>,
    /// `host`, `bridge`, the name of a network, `container:…`.
    pub network_mode: Text,
    /// The networks it is in.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub networks: Vec<Text>,
    /// Ports published on the host.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub published: Vec<PublishedPort>,
    /// Sysctls that the engine sets in its network namespace.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sysctls: Vec<Setting>,
    /// Name servers given to it in particular.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dns: Vec<Text>,
    /// The flags in the `NODE_OPTIONS` that it was made with, as in [`ProcessFact::node_options`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub node_options: Vec<Text>,
}

/// A file of settings for a PDS. Of its values only what holds no secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvFileFact {
    /// Its path.
    pub path: Text,
    /// The flags in its `NODE_OPTIONS`, as in [`ProcessFact::node_options`], without quotes around the whole.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub node_options: Vec<Text>,
    /// Its `PDS_HOSTNAME`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hostname: Option<Text>,
    /// Seconds since it was changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changed_s: Option<u64>,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PublishedPort {
    /// The port in the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: Text,
    /// The address on the host.
    pub host_addr: IpAddr,
    /// The port on the host.
    pub host_port: u16,
}

/// A network of a container engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerNetworkFact {
    /// Its name.
    pub name: Text,
    /// Its driver.
    pub driver: Text,
    /// IPv6 is switched on.
    pub ipv6: bool,
    /// It has no way out.
    pub internal: bool,
    /// Its subnets.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub subnets: Vec<Text>,
    /// The MTU it was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mtu: Option<u32>,
    /// The bridge on the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bridge: Option<Text>,
}

/// One fetch by the PDS's own Node program, in the PDS's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFetchFact {
    /// How Node was set.
    pub arm: NodeArm,
    /// The address asked for.
    pub url: Text,
    /// The `NODE_OPTIONS` it was given.
    pub node_options: Text,
    /// The HTTP status, if an answer came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// How long the fetch took, by Node's own clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ms: Option<u64>,
    /// The code of the error, if none came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Text>,
    /// The errors of the single attempts behind it: code and address.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub inner: Vec<Text>,
    /// What `getaddrinfo` gives there for the host, by Node's own `dns.lookup`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub addresses: Vec<IpAddr>,
    /// Why Node itself did not come so far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Text>,
}

impl NodeFetchFact {
    /// A fetch of which nothing is known yet.
    pub(crate) fn blank(arm: NodeArm, url: &str, options: &str) -> Self {
        Self {
            arm,
            url: Text::limited(url, 300),
            node_options: Text::limited(options, 300),
            status: None,
            ms: None,
            code: None,
            inner: Vec::new(),
            addresses: Vec::new(),
            failure: None,
        }
    }
}

/// How a Node was set for one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NodeArm {
    /// With the network flags of the running PDS.
    AsItIs,
    /// With 5 s for each attempt.
    AttemptTimeout,
    /// With the pair that makes it try IPv4 only.
    Ipv4Only,
}

impl NodeArm {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::AsItIs => "as it is",
            Self::AttemptTimeout => "with 5 s for each attempt",
            Self::Ipv4Only => "with IPv4 only",
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
