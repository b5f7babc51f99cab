//! Every measurement on one line, in order of time: the elapsed times say who gave up.

use pdsdoctor_probes::{
    fact::{Fact, FactBody, Failure},
    record::Run,
};

use super::{Ink, Page};
use crate::diagnose::{grid::Grid, how_far::word};

/// Shows it.
pub(super) fn show(page: &mut Page, run: &Run, grid: &Grid) {
    let mut facts: Vec<&Fact> = run.facts.iter().collect();
    facts.sort_by_key(|fact| fact.started_ms);
    for fact in facts {
        let times = format!("{:>6} +{:<6}", fact.started_ms, fact.took_ms);
        let line = format!("{} {} {}", fact.id, fact.probe, what(fact, grid));
        page.labelled_in(0, (&times, Ink::Dim), 15, &line, Ink::Plain);
    }
    page.text(0, "Milliseconds: when it began, how long it took.", Ink::Dim);
}

fn outcome(failure: Option<&Failure>, well: &str) -> String {
    match failure {
        None => well.to_owned(),
        Some(failure) if failure.detail.is_empty() => word(failure.kind).to_owned(),
        Some(failure) => format!("{} ({})", word(failure.kind), failure.detail),
    }
}

fn what(fact: &Fact, grid: &Grid) -> String {
    match &fact.body {
        FactBody::OwnNetwork(f) => {
            let source = f.source.map_or("a route".to_owned(), |source| format!("sends from {source}"));
            format!("{}: {}", f.family, outcome(f.failure.as_ref(), &source))
        }
        FactBody::Resolver(f) => {
            let servers: Vec<String> = f.servers.iter().map(ToString::to_string).collect();
            let problem = f.problem.as_deref().map_or(String::new(), |problem| format!(" ({problem})"));
            format!(
                "name servers: {}{problem}",
                if servers.is_empty() { "none".to_owned() } else { servers.join(", ") }
            )
        }
        FactBody::Dns(f) => {
            let records: Vec<&str> = f.records.iter().map(|record| record.as_str()).collect();
            let attempt = if f.attempt > 1 { format!(" (attempt {})", f.attempt) } else { String::new() };
            format!("{} {} @{}{attempt}: {} {}", f.name, f.record_type, f.server, f.outcome, records.join(", "))
        }
        FactBody::SystemDns(f) => {
            let addrs: Vec<String> = f.addresses.iter().map(ToString::to_string).collect();
            format!("{} by the system resolver: {} {}", f.name, f.outcome, addrs.join(", "))
        }
        FactBody::Connect(f) => {
            format!("{} {} port {}: {}", f.host, f.addr, f.port, outcome(f.failure.as_ref(), "connected"))
        }
        FactBody::Tls(f) => {
            let version = f.version.as_deref().unwrap_or("handshake done");
            let problem = grid.certificates.get(&fact.id);
            let problem = problem.map_or(String::new(), |problem| format!(", certificate: {problem}"));
            format!("{} at {} port {}: {}{problem}", f.sni, f.addr, f.port, outcome(f.failure.as_ref(), version))
        }
        FactBody::TlsOffer(f) => {
            let taken = [f.version.as_deref(), f.suite.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
            format!("{} at {}, a wide offer: {}", f.sni, f.addr, outcome(f.failure.as_ref(), &taken))
        }
        FactBody::Http(f) => {
            let addr = f.addr.map_or(String::new(), |addr| format!(" at {addr}"));
            let class = f.body.as_ref().map_or(String::new(), |body| format!(", {} body", body.class));
            let status = format!("{}{class}", f.status.unwrap_or(0));
            format!("{} {}{addr}: {}", f.method, f.url, outcome(f.failure.as_ref(), &status))
        }
        FactBody::Par(f) => {
            let error = f.error.as_deref().unwrap_or(if f.accepted { "accepted" } else { "no OAuth answer" });
            let text = f.description.as_deref().map_or(String::new(), |text| format!(": {text}"));
            let status = format!("{} {error}{text}", f.status.unwrap_or(0));
            format!("{} {} for {}: {}", f.endpoint, f.arm, f.client_id, outcome(f.failure.as_ref(), &status))
        }
        FactBody::NotAsked(f) => {
            let addr = f.addr.map_or(String::new(), |addr| format!(" at {addr}"));
            format!("{} port {}{addr}: not asked ({})", f.host, f.port, f.reason)
        }
        other => inside(other),
    }
}

/// What was seen on the PDS's own machine.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of fact")]
fn inside(body: &FactBody) -> String {
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    match body {
        FactBody::Process(f) => {
            let node = f.node.as_ref().map_or(String::new(), |node| format!(", Node {}", node.version));
            format!("process {} ({}, {}), port {}{node}", f.pid, f.program, f.confinement.kind, f.effective_port())
        }
        FactBody::Listeners(f) => {
            let sockets = f.sockets.iter().map(|socket| format!("{} port {}", socket.addr, socket.port));
            format!("listening: {}", list(sockets.collect()))
        }
        FactBody::Engine(f) => {
            format!("{}: {}", f.engine, outcome(f.failure.as_ref(), f.version.as_deref().unwrap_or("answers")))
        }
        FactBody::Log(f) => {
            let errors = f.errors.iter().take(4).map(|error| {
                let host = error.host.as_deref().unwrap_or("no host");
                format!("{} for {host} ({} times)", error.code.words(), error.count)
            });
            format!("the log {}, {} lines: {}", f.source, f.lines, list(errors.collect()))
        }
        FactBody::NodeFetch(f) => {
            let words = match (f.status, &f.code, &f.failure) {
                (Some(status), ..) => format!("HTTP {status}"),
                (None, Some(code), _) if f.inner.is_empty() => code.to_string(),
                (None, Some(code), _) => {
                    format!("{code} ({})", list(f.inner.iter().map(ToString::to_string).collect()))
                }
                (None, None, failure) => failure.as_deref().unwrap_or("no answer").to_owned(),
            };
            format!("the PDS's Node, {}, {}: {words} after {} ms", f.arm.words(), f.url, f.ms.unwrap_or(0))
        }
        FactBody::EnvFile(f) => {
            let flags = list(f.node_options.iter().map(ToString::to_string).collect());
            format!("{}: flags of Node: {flags}", f.path)
        }
        FactBody::Container(f) => format!("container {}: {}, {} restarts", f.name, f.status, f.restarts),
        FactBody::ContainerNetwork(f) => {
            format!("network {} ({}): {}", f.name, f.driver, if f.ipv6 { "with IPv6" } else { "without IPv6" })
        }
        FactBody::Interface(f) => {
            let addresses =
                f.addresses.iter().map(|found| format!("{}/{} ({})", found.addr, found.prefix, found.range));
            format!("{}: {}", f.name, list(addresses.collect()))
        }
        FactBody::Routes(f) => {
            let gateway =
                |gateway: Option<std::net::IpAddr>| gateway.map_or("link".to_owned(), |addr| addr.to_string());
            let defaults = f.defaults.iter().map(|route| format!("{} ({})", gateway(route.gateway), route.protocol));
            format!("{} default routes: {}", f.family, list(defaults.collect()))
        }
        FactBody::Source(f) => {
            let source = f.source.map_or("a route".to_owned(), |source| format!("from {source}"));
            format!("to {}: {}", f.destination, outcome(f.failure.as_ref(), &source))
        }
        FactBody::Sysctl(f) => {
            let name = |key: &str| key.rsplit('/').next().unwrap_or(key).to_owned();
            let values = f.values.iter().filter_map(|value| Some(format!("{} {}", name(&value.key), value.live?)));
            format!("{}: {}", f.interface.as_deref().unwrap_or("settings"), list(values.collect()))
        }
        FactBody::RaHandler(f) => format!("{}: advertisements handled by {}", f.interface, f.handler),
        FactBody::Forwarding(f) => {
            let word = |on: Option<bool>| on.map_or("unknown", |on| if on { "on" } else { "off" });
            format!("forwarding: IPv4 {}, IPv6 {}", word(f.v4), word(f.v6))
        }
        FactBody::NameFiles(f) => {
            format!("resolv.conf: {}", list(f.nameservers.iter().map(ToString::to_string).collect()))
        }
        FactBody::RouterAdvertisement(f) => {
            let routers = f.routers.iter().map(|router| router.router.to_string());
            format!("{}: routers heard: {}", f.interface, list(routers.collect()))
        }
        FactBody::Hops(f) => {
            let hops = f.hops.iter().map(|hop| hop.map_or_else(|| "silent".to_owned(), |addr| addr.to_string()));
            format!("first routers: {}", list(hops.collect()))
        }
        FactBody::Proxy(f) => format!("web server {} ({})", f.program, f.pid),
        // Told above.
        FactBody::OwnNetwork(_)
        | FactBody::Resolver(_)
        | FactBody::Dns(_)
        | FactBody::SystemDns(_)
        | FactBody::Connect(_)
        | FactBody::Tls(_)
        | FactBody::TlsOffer(_)
        | FactBody::Http(_)
        | FactBody::Par(_)
        | FactBody::NotAsked(_) => String::new(),
    }
}
