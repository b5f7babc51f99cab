//! The AAAA record is published and nothing answers: what the machine itself says of it.

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    fact::{Family, Vantage},
    process_fact::{Listener, ListenersFact},
};

use super::{
    masked::USERLAND_PROXY,
    position::seen_as,
    uplink::{uplinks, without_way_out},
};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen},
    net_kinds::{AddressKind, address_kind},
    rules::{Found, Rule},
    step::{HostName, Settle, command, compose, entry, prose, quoted, run, say, word, write, write_all},
};

pub(in super::super) const RULE: Rule = Rule { codes: &[Code::V6InboundClosed], judge };

/// The AAAA record names an address, this machine has no IPv6 to try it with, and it is the machine to which the
/// A record leads: whoever has IPv6 does not end up here.
fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let Some(host) = evidence.host() else { return };
    let Some(pds) = inside.pds() else { return };
    let own = inside.addresses(&Vantage::Here);
    let is_own = |addr: &IpAddr| own.iter().any(|(_, address)| address.addr == *addr);
    let published = evidence.published(host);
    found.causes.extend(unanswerable(evidence, host, &published, &is_own));
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
        published.into_iter().filter(|addr| address_kind(*addr) == AddressKind::Public).partition(IpAddr::is_ipv4);
    // What stands before the machine (a CDN, a load balancer) may have IPv6 of its own.
    let leads_here = v4.iter().any(|addr| is_own(addr) || seen_as(evidence).is_some_and(|(seen, _)| seen == *addr));
    let Some(away) = v6.iter().find(|addr| !is_own(addr)).filter(|_| leads_here) else { return };
    // With IPv6 it was tried, and is judged by what it did.
    if !inside.global_v6(&Vantage::Here).is_empty() || evidence.family_works(Family::V6).is_some() {
        return;
    }
    let verify = evidence.verify();
    let record = || entry![HostName::new(host), ".  AAAA  ", *away];
    let cause = Cause::new(
        Code::V6InboundClosed,
        Impact::Risk,
        Confidence::Likely,
        format!("{away} is published, and this machine has no public IPv6 address: whoever has IPv6 ends up nowhere, or at another server."),
    )
    .scope(Scope::family(Family::V6))
    .because([pds.id()])
    .because(evidence.address_answers(host).iter().filter(|seen| seen.body.addresses().contains(away)).map(Seen::id))
    .settle(Settle::text("the same check from a machine with IPv6:").and(evidence.measure_again(false)))
    .remedy(
        Remedy::new(
            "Remove the AAAA record until this machine has that address",
            [
                write(record()).at("delete"),
                say(prose!["and the same AAAA of the wildcard of ", quoted(host)]),
            ],
            verify,
        )
        .undo(write(record()).at("add")),
    );
    found.cause(not_ours(evidence, cause, *away));
}

/// The published address is this machine's, and there is no route by which an answer could leave.
fn unanswerable(
    evidence: &Evidence<'_>,
    host: &str,
    published: &BTreeSet<IpAddr>,
    is_own: &impl Fn(&IpAddr) -> bool,
) -> Option<Cause> {
    let inside = evidence.inside();
    let ours =
        published.iter().find(|addr| addr.is_ipv6() && address_kind(**addr) == AddressKind::Public && is_own(addr))?;
    let without = without_way_out(inside, &Vantage::Here)?;
    let routes = inside.routes(&Vantage::Here, Family::V6)?;
    // A rule may lead answers out by a table of their own, by the address that they come from (ip-rule(8)).
    if !routes.body.rules.is_empty() || routes.body.defaults.iter().any(|route| route.kind.as_str() == "unicast") {
        return None;
    }
    let record = entry![HostName::new(host), ".  AAAA  ", *ours];
    let summary = format!(
        "{ours} is published and this machine's, and it has no IPv6 default route: whoever comes by IPv6 gets no answer."
    );
    Some(
        Cause::new(Code::V6InboundClosed, Impact::Degraded, Confidence::Confirmed, summary)
            .scope(Scope::family(Family::V6))
            .because(without)
            .because([routes.id()])
            .because(
                evidence.address_answers(host).iter().filter(|seen| seen.body.addresses().contains(ours)).map(Seen::id),
            )
            .contrast(
                "IPv6 of this machine, in and out",
                "out: no route to the internet".to_owned(),
                format!("in: DNS leads visitors to {ours}"),
            )
            .remedy(
                Remedy::new(
                    "Give IPv6 its default route back, or take the AAAA record out until it is there",
                    [
                        run("ip -6 route show default").note("must name a router"),
                        write(record.clone()).at("delete").note("and the same AAAA of the wildcard"),
                    ],
                    evidence.verify(),
                )
                .undo(write(record)),
            ),
    )
}

/// Adds to `cause`, which the view from outside found, what the machine shows, and puts the remedy for
/// it first. Adds nothing where this is not the PDS's machine.
pub(in super::super) fn refine(evidence: &Evidence<'_>, cause: Cause, published: IpAddr, refused: bool) -> Cause {
    let inside = evidence.inside();
    let port = evidence.run.target.port;
    let interfaces = inside.interfaces(&Vantage::Here);
    if interfaces.is_empty() || address_kind(published) != AddressKind::Public {
        return cause;
    }
    let own = inside.addresses(&Vantage::Here);
    if !own.iter().any(|(_, address)| address.addr == published) {
        return not_ours(evidence, cause, published);
    }
    let Some(listeners) = inside.listeners(&Vantage::Here) else { return cause };
    let (v6, v4): (Vec<&Listener>, Vec<&Listener>) =
        on_port(listeners, port).into_iter().partition(|listener| listener.addr.is_ipv6());
    let takes = |listener: &&&Listener| listener.addr.is_unspecified() || listener.addr == published;
    match (v6.iter().find(takes), v4.first()) {
        (None, Some(v4)) => not_listening(evidence, cause, listeners, v4),
        (Some(_), _) if !refused => {
            let line = format!(
                "port {port} listens on IPv6 here, and {published} is this machine's: a firewall or the router drops what comes"
            );
            cause.saw(line).because([listeners.id()])
        }
        _ => cause,
    }
}

fn on_port(listeners: Seen<'_, ListenersFact>, port: u16) -> Vec<&Listener> {
    listeners.body.sockets.iter().filter(|listener| listener.port == port && !listener.addr.is_loopback()).collect()
}

/// The record names an address that this machine does not have (any more).
fn not_ours(evidence: &Evidence<'_>, mut cause: Cause, published: IpAddr) -> Cause {
    let inside = evidence.inside();
    let public = inside.global_v6(&Vantage::Here);
    let Some((first, address)) = public.first() else {
        cause = cause.saw(format!("this machine has no public IPv6 address at all; {published} is published"));
        if let Some(uplink) = uplinks(inside).iter().find(|uplink| uplink.ignores()) {
            cause = cause
                .saw(format!("{} would not take one from its router: accept_ra is 1 and it forwards", uplink.name));
        }
        return cause.because(inside.interfaces(&Vantage::Here).iter().map(Seen::id));
    };
    let host = evidence.name();
    let remedy = Remedy::new(
        "Publish the address that this machine has",
        [
            write(entry![HostName::new(host), ".  AAAA  ", address.addr]).note("and the same for the wildcard"),
            say("if it changes with the provider's prefix: a dynamic DNS client for IPv6, or no AAAA record"),
        ],
        evidence.verify(),
    )
    .undo(write(entry![HostName::new(host), ".  AAAA  ", published]));
    cause = cause.because([first.id()]).contrast(
        "the IPv6 address of the PDS",
        format!("DNS: {published}"),
        format!("this machine: {}", address.addr),
    );
    cause.remedies.insert(0, remedy);
    cause
}

/// IPv4 only: who listens decides what to write where.
fn not_listening(evidence: &Evidence<'_>, cause: Cause, listeners: Seen<'_, ListenersFact>, v4: &Listener) -> Cause {
    let program = v4.owner.as_ref().map_or("a program", |owner| owner.program.as_str());
    let port = v4.port;
    let mut cause = cause.because([listeners.id()]).contrast(
        format!("who listens on port {port} of this machine"),
        format!("IPv6: nobody ([::]:{port})"),
        format!("IPv4: {program} on {}:{port}", v4.addr),
    );
    let verify = evidence.verify();
    let remedy = match program {
        USERLAND_PROXY => Remedy::new(
            prose!["Publish port ", port, " for IPv6 too: Docker publishes it for IPv4 alone"],
            [
                write(entry!["ports: [\"", port, ":", port, "\"]"])
                    .at("in compose.yaml")
                    .note(prose!["without an address before it, or also \"[::]:", port, ":", port, "\""]),
                say("in /etc/docker/daemon.json: no \"ip\": \"0.0.0.0\""),
                compose("sudo docker compose up -d"),
            ],
            verify,
        )
        .disruptive()
        .undo(say("put the address back before the port"))
        .undo(run("sudo docker compose up -d")),
        "caddy" => Remedy::new(
            "Let Caddy listen on IPv6: it does unless it is told to listen on IPv4",
            [
                // `bind 0.0.0.0` alone takes IPv6 too (Go's net.Listen): seen with Caddy 2.6.2.
                say("in the Caddyfile: remove the line \"bind\" or \"default_bind\" that names tcp4/ or an IPv4 address, or add [::] to it"),
                run("sudo systemctl reload caddy"),
                run("sudo docker exec caddy caddy reload --config /etc/caddy/etc/caddy/Caddyfile")
                    .note("in the official install"),
            ],
            verify,
        )
        .undo(say("put the line back and reload")),
        "nginx" => Remedy::new(
            "Let nginx listen on IPv6",
            [
                write_all([entry!["listen [::]:", port, " ssl;"], entry!["listen [::]:80;"]])
                    .at(prose!["in every server block of ", quoted(evidence.name())]),
                run("sudo nginx -t && sudo systemctl reload nginx"),
            ],
            verify,
        )
        .undo(say("remove the lines and reload")),
        other => Remedy::new(
            prose!["Let ", quoted(other), " listen on [::]:", port, " too"],
            [run(command!["sudo ss -ltnp", word!["sport = :", port]])
                .note(prose!["must show [::]:", port, " or *:", port])],
            verify,
        ),
    };
    cause.remedies.insert(0, remedy);
    cause
}
