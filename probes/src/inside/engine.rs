//! Docker and Podman, asked over their Unix sockets. Only `GET`: nothing is changed, but for what `--with-node` asks for
//! ([`super::engine_exec`]).
//!
//! What an engine says is believed because of whose it is: behind its socket must be root, or the user who asks.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::UnixStream,
    time::{Instant, timeout_at},
};

use super::{environment::Environment, root::Root};
use crate::{
    fact::{FactBody, Failure, FailureKind, ProbeName},
    failure,
    net::Net,
    pds_log,
    process_fact::{ContainerFact, ContainerNetworkFact, Engine, EngineFact, PublishedPort, Setting},
    secret::Secret,
    text::Text,
    wire::{body, json},
};

/// One question to an engine on the same machine. A healthy one answers within 10 ms; one that has
/// just been woken by its socket (Podman's service) takes a few hundred.
const QUESTION: Duration = Duration::from_millis(1500);

/// The most networks of a container that are looked at.
const NETWORKS: usize = 6;

/// The most ports, settings and the like that are kept.
const LIST: usize = 32;

/// Settings of `daemon.json` that matter to the network.
const DAEMON_SETTINGS: &[&str] = &[
    "ipv6",
    "ip6tables",
    "iptables",
    "ip-forward",
    "fixed-cidr-v6",
    "userland-proxy",
    "mtu",
    "bip",
    "dns",
    "default-network-opts",
    "default-address-pools",
    "experimental",
    "live-restore",
];

/// A container that an engine knows, with what must not be shown.
pub(super) struct Found {
    pub(super) fact: ContainerFact,
    pub(super) engine: Engine,
    pub(super) environment: Environment,
    /// How it is asked for something in this container.
    pub(super) known: Known,
}

/// A container, and the engine that answered for it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) socket: PathBuf,
    pub(super) id: Text,
    /// Its first process.
    pub(super) first: Option<u32>,
    /// The keys of the environment that whatever is started in it gets.
    pub(super) keys: Vec<String>,
}

/// Why a container was not found.
pub(super) enum Missing {
    /// No engine could be asked: its socket is not there, or broken.
    NoEngine,
    /// A socket is there, and may not be opened.
    NotAllowed(PathBuf),
    /// The engines answered; none has it.
    NotKnown,
}

/// Where the engines listen by default.
pub(super) fn sockets(engine: Engine) -> Vec<PathBuf> {
    let mut sockets = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match engine {
        Engine::Docker => {
            // The variable that Docker's own client obeys.
            let given = std::env::var("DOCKER_HOST").ok();
            sockets.extend(given.as_deref().and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from));
            sockets.push("/run/docker.sock".into());
            sockets.push("/var/run/docker.sock".into());
            sockets.extend(runtime.map(|folder| folder.join("docker.sock")));
        }
        Engine::Podman => {
            sockets.push("/run/podman/podman.sock".into());
            sockets.extend(runtime.map(|folder| folder.join("podman/podman.sock")));
        }
    }
    let mut seen = Vec::new();
    // `/var/run` is a link to `/run` nearly everywhere.
    sockets.retain(|path| {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    sockets
}

/// Asks the engines at `sockets`, one after the other, for the container of that name or id.
/// Records [`EngineFact`] of the one that knows it, [`ContainerFact`] and its [`ContainerNetworkFact`]s.
pub(super) async fn container(net: &Net, sockets: &[PathBuf], wanted: &str) -> Result<Found, Missing> {
    let mut missing = Missing::NoEngine;
    if !is_name(wanted) {
        return Err(Missing::NotKnown);
    }
    for socket in sockets {
        let job = net.begin(ProbeName::ContainerEngine, format!("container {wanted} at {}", socket.display()));
        match get(socket, &format!("/containers/{wanted}/json")).await {
            Ok((200, document)) if document.is_object() => {
                let found = inspected(&document);
                let networks = network_ids(&document);
                drop(document);
                job.finish(FactBody::Container(found.0.clone()));
                let (engine, ()) = tokio::join!(version(net, socket), all_networks(net, socket, &networks));
                let (fact, environment) = found;
                let keys = environment.all_keys();
                let known = Known { socket: socket.clone(), id: fact.id.clone(), first: fact.pid, keys };
                return Ok(Found { fact, engine, environment, known });
            }
            Ok(_) => missing = Missing::NotKnown,
            Err(Trouble::Absent) => {}
            Err(Trouble::NotAllowed) => {
                if matches!(missing, Missing::NoEngine) {
                    missing = Missing::NotAllowed(socket.clone());
                }
            }
            Err(Trouble::Failed(failure)) => {
                let engine = if socket.to_string_lossy().contains("podman") { Engine::Podman } else { Engine::Docker };
                let fact = EngineFact {
                    engine,
                    socket: Text::limited(&socket.to_string_lossy(), 120),
                    version: None,
                    settings: Vec::new(),
                    failure: Some(failure),
                };
                job.finish(FactBody::Engine(fact));
            }
        }
    }
    Err(missing)
}

/// A container that was made for a PDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) id: Text,
    pub(super) name: Text,
    /// `running`, `exited`, `restarting` …
    pub(super) status: Text,
    /// The `PDS_HOSTNAME` that it was made with.
    pub(super) hostname: Text,
}

/// The most containers that are asked about.
const CONTAINERS: usize = 24;

/// The containers that were made for a PDS, whether they run or not, of the engines at `sockets`.
pub(super) async fn named(sockets: &[PathBuf]) -> Vec<Named> {
    let mut found = Vec::new();
    for socket in sockets {
        let Ok((200, list)) = get(socket, &format!("/containers/json?all=1&limit={CONTAINERS}")).await else {
            continue;
        };
        for entry in list.as_array().into_iter().flatten().take(CONTAINERS) {
            let Some(id) = entry.get("Id").and_then(Value::as_str).filter(|id| is_name(id)) else { continue };
            let Ok((200, document)) = get(socket, &format!("/containers/{id}/json")).await else { continue };
            let (fact, environment) = inspected(&document);
            let named = |hostname| Named { id: fact.id, name: fact.name, status: fact.status, hostname };
            found.extend(environment.hostname().map(named));
        }
    }
    found
}

/// Names of containers (moby, `daemon/names`), and so nothing that could change the path asked for.
fn is_name(raw: &str) -> bool {
    let mut bytes = raw.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && raw.len() <= 128 && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

async fn version(net: &Net, socket: &Path) -> Engine {
    let job = net.begin(ProbeName::ContainerEngine, format!("the version of the engine at {}", socket.display()));
    let mut fact = EngineFact {
        engine: Engine::Docker,
        socket: Text::limited(&socket.to_string_lossy(), 120),
        version: None,
        settings: Vec::new(),
        failure: None,
    };
    match get(socket, "/version").await {
        Ok((_, document)) => {
            fact.version = text(&document, "Version", 60);
            let components = document.get("Components").and_then(Value::as_array).cloned().unwrap_or_default();
            let podman = |part: &Value| part.get("Name").and_then(Value::as_str).is_some_and(|n| n.contains("Podman"));
            if components.iter().any(podman) {
                fact.engine = Engine::Podman;
            }
        }
        Err(Trouble::Failed(failure)) => fact.failure = Some(failure),
        Err(_) => fact.failure = Some(Failure::new(FailureKind::Closed, "the engine went away")),
    }
    if fact.engine == Engine::Docker {
        fact.settings = daemon_settings();
    }
    let engine = fact.engine;
    job.finish(FactBody::Engine(fact));
    engine
}

/// What `/etc/docker/daemon.json` says. What the daemon was told on its command line wins over nothing:
/// dockerd refuses to start when both say something.
fn daemon_settings() -> Vec<Setting> {
    let file = Root::here().and_then(|root| root.bytes("/etc/docker/daemon.json", super::read::SMALL));
    let document = file.ok().and_then(|bytes| json::parse(&bytes)).unwrap_or_default();
    let kept = |key: &&str| {
        let value = document.get(*key)?;
        Some(Setting { key: Text::new(key), value: Text::limited(&value.to_string(), 200) })
    };
    DAEMON_SETTINGS.iter().filter_map(kept).collect()
}

async fn all_networks(net: &Net, socket: &Path, ids: &[String]) {
    for id in ids.iter().filter(|id| is_name(id)).take(NETWORKS) {
        let job = net.begin(ProbeName::ContainerEngine, format!("network {id}"));
        if let Ok((200, document)) = get(socket, &format!("/networks/{id}")).await {
            job.finish(FactBody::ContainerNetwork(network(&document)));
        }
    }
}

fn network(document: &Value) -> ContainerNetworkFact {
    let options = document.get("Options");
    let option = |key: &str| options?.get(key)?.as_str();
    let ipam = document.get("IPAM").and_then(|ipam| ipam.get("Config")).and_then(Value::as_array);
    let subnets = ipam.into_iter().flatten().filter_map(|config| text(config, "Subnet", 60)).take(LIST).collect();
    let is = |key: &str| document.get(key).and_then(Value::as_bool).unwrap_or(false);
    ContainerNetworkFact {
        name: text(document, "Name", 80).unwrap_or_default(),
        driver: text(document, "Driver", 40).unwrap_or_default(),
        ipv6: is("EnableIPv6"),
        internal: is("Internal"),
        subnets,
        mtu: option("com.docker.network.driver.mtu").or_else(|| option("mtu")).and_then(|mtu| mtu.parse().ok()),
        bridge: option("com.docker.network.bridge.name").map(|name| Text::limited(name, 40)),
    }
}

fn network_ids(document: &Value) -> Vec<String> {
    let networks = document.get("NetworkSettings").and_then(|settings| settings.get("Networks"));
    let networks = networks.and_then(Value::as_object).into_iter().flatten();
    let id = |(name, network): (&String, &Value)| {
        let id = network.get("NetworkID").and_then(Value::as_str).filter(|id| !id.is_empty());
        id.unwrap_or(name).to_owned()
    };
    networks.map(id).collect()
}

/// Reads what `GET /containers/NAME/json` gives. Its environment goes into secrets at once.
fn inspected(document: &Value) -> (ContainerFact, Environment) {
    let null = Value::Null;
    let part = |key: &str| document.get(key).unwrap_or(&null);
    let (state, config, host) = (part("State"), part("Config"), part("HostConfig"));
    let settings = part("NetworkSettings");
    let names = |value: Option<&Value>| -> Vec<Text> {
        let keys = value.and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
        keys.take(LIST).map(|name| Text::limited(name, 80)).collect()
    };
    let running = state.get("Running").and_then(Value::as_bool).unwrap_or(false);
    let sysctls = host.get("Sysctls").and_then(Value::as_object).into_iter().flatten();
    let dns = host.get("Dns").and_then(Value::as_array).into_iter().flatten();
    let lines = config.get("Env").and_then(Value::as_array).into_iter().flatten();
    let lines = lines.filter_map(|line| Some(Secret::new(line.as_str()?.as_bytes().to_vec()))).collect();
    let environment = Environment::of_list(lines);
    let fact = ContainerFact {
        id: text(document, "Id", 64).unwrap_or_default(),
        name: Text::limited(part("Name").as_str().unwrap_or_default().trim_start_matches('/'), 80),
        image: text(config, "Image", 160).unwrap_or_default(),
        pid: state.get("Pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        status: text(state, "Status", 40).unwrap_or_default(),
        health: state.get("Health").and_then(|health| text(health, "Status", 40)),
        started_at: text(state, "StartedAt", 40).unwrap_or_default(),
        restarts: part("RestartCount").as_u64().unwrap_or(0),
        oom_killed: state.get("OOMKilled").and_then(Value::as_bool).unwrap_or(false),
        exit_code: state.get("ExitCode").and_then(Value::as_i64).filter(|_| !running),
        network_mode: text(host, "NetworkMode", 80).unwrap_or_default(),
        networks: names(settings.get("Networks")),
        published: published(settings.get("Ports").unwrap_or(&null)),
        sysctls: sysctls
            .take(LIST)
            .filter_map(|(key, value)| {
                Some(Setting { key: Text::limited(key, 80), value: Text::limited(value.as_str()?, 40) })
            })
            .collect(),
        dns: dns.take(LIST).filter_map(|server| Some(Text::limited(server.as_str()?, 60))).collect(),
        node_options: environment.node_options(),
    };
    (fact, environment)
}

/// `{"3000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "3000"}], "80/tcp": null}`.
fn published(ports: &Value) -> Vec<PublishedPort> {
    let mut list = Vec::new();
    for (port, bindings) in ports.as_object().into_iter().flatten() {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let Ok(container_port) = number.parse() else { continue };
        for binding in bindings.as_array().into_iter().flatten() {
            let of = |key: &str| binding.get(key).and_then(Value::as_str);
            // Podman leaves the address empty where it means every one of IPv4.
            let host_addr = of("HostIp").filter(|addr| !addr.is_empty()).unwrap_or("0.0.0.0").parse().ok();
            let (Some(host_addr), Some(host_port)) = (host_addr, of("HostPort").and_then(|port| port.parse().ok()))
            else {
                continue;
            };
            list.push(PublishedPort { container_port, protocol: Text::limited(protocol, 8), host_addr, host_port });
        }
    }
    list.sort();
    list.dedup();
    list.truncate(LIST);
    list
}

fn text(value: &Value, key: &str, limit: usize) -> Option<Text> {
    let text = value.get(key)?.as_str()?;
    (!text.is_empty()).then(|| Text::limited(text, limit))
}

/// The end of a container's log, as its engine keeps it, and whether more of the lines asked for came than is kept. The
/// first engine that knows the container answers.
pub(super) async fn log(sockets: &[PathBuf], id: &str) -> Option<(Vec<u8>, bool)> {
    if !is_name(id) {
        return None;
    }
    let path = format!("/containers/{id}/logs?stdout=1&stderr=1&tail={LOG_LINES}");
    for socket in sockets {
        if let Ok((200, read)) = send_for(socket, Request::get(&path), None, QUESTION, Keep::End).await {
            let cut = read.truncated;
            let lines = if cut { pds_log::demultiplexed_end } else { pds_log::demultiplexed };
            return Some((lines(&read.bytes), cut || read.failure.is_some()));
        }
    }
    None
}

/// The last lines of a container's log that are asked for: about as many as fit into what is kept of an answer. Of longer
/// ones the newest are.
const LOG_LINES: usize = 100;

/// Why there is no answer.
pub(super) enum Trouble {
    /// No socket, or nobody behind it.
    Absent,
    /// The socket may not be opened.
    NotAllowed,
    /// What came is no answer.
    Failed(Failure),
}

/// One `GET` of a document.
pub(super) async fn get(socket: &Path, path: &str) -> Result<(u16, Value), Trouble> {
    document(exchange(socket, path).await?)
}

/// One `POST` of a document, answered by one.
pub(super) async fn post(socket: &Path, path: &str, body: &Value) -> Result<(u16, Value), Trouble> {
    document(send(socket, Request::post(path), Some(body), QUESTION).await?)
}

/// One `POST` of a document, answered by a stream of bytes that ends within `limit`.
pub(super) async fn post_for_stream(
    socket: &Path,
    path: &str,
    body: &Value,
    limit: Duration,
) -> Result<(u16, Vec<u8>), Trouble> {
    send(socket, Request::post(path), Some(body), limit).await
}

fn document((status, bytes): (u16, Vec<u8>)) -> Result<(u16, Value), Trouble> {
    let secret = Secret::new(bytes);
    let document: Option<Value> = secret.judge(json::parse);
    let broken = || Trouble::Failed(Failure::new(FailureKind::NotHttp, "the container engine's answer is not JSON"));
    Ok((status, document.ok_or_else(broken)?))
}

/// One `GET`.
async fn exchange(socket: &Path, path: &str) -> Result<(u16, Vec<u8>), Trouble> {
    send(socket, Request::get(path), None, QUESTION).await
}

/// One request of which the whole answer is wanted.
async fn send(
    socket: &Path,
    request: hyper::http::request::Builder,
    body: Option<&Value>,
    limit: Duration,
) -> Result<(u16, Vec<u8>), Trouble> {
    let (status, read) = send_for(socket, request, body, limit, Keep::Beginning).await?;
    match read.failure {
        Some(failure) => Err(Trouble::Failed(failure)),
        None => Ok((status, read.bytes)),
    }
}

/// One request on a connection of its own, bounded in time and in bytes.
async fn send_for(
    socket: &Path,
    request: hyper::http::request::Builder,
    body: Option<&Value>,
    limit: Duration,
    keep: Keep,
) -> Result<(u16, body::Read), Trouble> {
    let deadline = Instant::now() + limit;
    let late = |_| Trouble::Failed(failure::timeout(limit, "the answer of the container engine"));
    let stream = timeout_at(deadline, UnixStream::connect(socket)).await.map_err(late)?;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => Trouble::Absent,
        io::ErrorKind::PermissionDenied => Trouble::NotAllowed,
        _ => Trouble::Failed(failure::from_io(&error)),
    })?;
    // Of whoever began to listen (SO_PEERCRED, unix(7)): a file may lie anywhere, and `DOCKER_HOST` may name it.
    let peer = stream.peer_cred().map_err(|error| Trouble::Failed(failure::from_io(&error)))?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        let words = format!("the socket is user {peer}'s, and not this user's or root's");
        return Err(Trouble::Failed(Failure::new(FailureKind::Other, &words)));
    }
    let failed = |error: hyper::Error| Trouble::Failed(failure::from_hyper(&error));
    let exchange = async {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let json = body.map(Value::to_string);
        let request = match json {
            Some(_) => request.header(header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        let request = request
            .header(header::HOST, "localhost")
            .body(Full::new(Bytes::from(json.unwrap_or_default())))
            .map_err(|error| Trouble::Failed(Failure::new(FailureKind::Other, &error.to_string())))?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status().as_u16();
            let body = response.into_body();
            let read = match keep {
                Keep::Beginning => body::read(body, deadline, limit, failure::from_hyper).await,
                Keep::End => body::read_end(body, deadline, limit, failure::from_hyper).await,
            };
            Ok((status, read))
        };
        let mut connection = std::pin::pin!(connection);
        let mut asked = std::pin::pin!(asked);
        tokio::select! {
            done = &mut asked => done,
            // The connection may end first and leave the rest of the answer in its buffers.
            _ = &mut connection => asked.await,
        }
    };
    // The body keeps to the limit by itself: what came until then counts.
    timeout_at(deadline + limit / 10, exchange).await.map_err(late)?
}

/// Which part of a long answer is kept.
#[derive(Clone, Copy)]
enum Keep {
    /// A document: without its end it is none.
    Beginning,
    /// A log: the newest lines come last.
    End,
}

#[cfg(test)]
mod tests;
