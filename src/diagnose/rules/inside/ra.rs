//! Forwarding against router advertisements: who ignores the router, and what is left of IPv6.

use std::net::IpAddr;

use ipnet::IpNet;
use pdsdoctor_probes::{
    fact::{FactId, Family, Role, Vantage},
    host_fact::RaHandler,
    par_fact::ParArm,
};

use super::{
    super::{Found, Rule, list},
    ra_lasts, remedies,
    uplink::{Heard, Uplink, forwarder, offer, uplinks, without_way_out},
};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Scope,
    evidence::Evidence,
    inside::{Fate, Inside, fate},
    par_stage::{FetchFailure, Stage},
    step::{InterfaceName, Settle, command, prose, quoted},
};

pub(in super::super) const RULE: Rule = Rule {
    codes: &[
        Code::V6ForwardingEatsRa,
        Code::V6DefaultRoutePurged,
        Code::V6NetworkdForwardingDisablesRa,
        Code::V6RaLifetimeExpiry,
        Code::V6AcceptRaNotPersistent,
    ],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let without = without_way_out(inside, &Vantage::Here);
    for uplink in uplinks(inside) {
        let cause = without.as_ref().and_then(|without| {
            let trap = ignored_by_kernel(evidence, &uplink).or_else(|| ignored_by_networkd(evidence, &uplink));
            trap.map(|cause| cause.because(without.clone()))
        });
        let lost = without.as_ref().and_then(|_| visitors_lost(evidence, &uplink));
        let told = |cause: Cause| match &lost {
            // What is published and cannot be answered fails now, for whoever comes by IPv6.
            Some((line, ids)) => Cause { impact: cause.impact.max(Impact::Degraded), ..cause }
                .saw(line.clone())
                .because(ids.iter().cloned()),
            None => cause,
        };
        match cause {
            Some(cause) => {
                let both = ra_lasts::not_applied(evidence, &uplink).into_iter().chain([cause]);
                found.causes.extend(both.map(told));
            }
            None => {
                theories(evidence, &uplink, without.is_none(), found);
                found.causes.extend(ra_lasts::judge(evidence, &uplink, without.as_deref()).map(told));
            }
        }
    }
}

/// The PDS's own AAAA record leads to this machine, by an address it has or would have of the router's
/// prefix: without a route back, visitors by IPv6 get no answer.
fn visitors_lost(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<(String, Vec<FactId>)> {
    let host = evidence.host()?;
    let own: Vec<IpAddr> = uplink.public().iter().map(|address| address.addr).collect();
    let offered = match uplink.heard() {
        Heard::Router(router) => router.prefixes.iter().map(|found| found.prefix.as_str()).collect(),
        _ => Vec::new(),
    };
    let leads_here = |addr: &IpAddr| {
        own.contains(addr) || offered.iter().any(|prefix| prefix.parse::<IpNet>().is_ok_and(|net| net.contains(addr)))
    };
    let published = evidence.published(host);
    let addr = published.iter().filter(|addr| addr.is_ipv6()).find(|addr| leads_here(addr))?;
    // A rule may lead answers out by a table of their own, by the address that they come from (ip-rule(8)).
    if !uplink.routes.body.rules.is_empty() {
        return None;
    }
    let line = format!("the AAAA record {addr} of {host} leads to this machine, which cannot answer without a route");
    Some((line, evidence.address_answers(host).iter().map(|seen| seen.id()).collect()))
}

/// The kernel would take advertisements, did it not forward.
fn ignored_by_kernel(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<Cause> {
    if !uplink.ignores() || !uplink.defaults().is_empty() {
        return None;
    }
    let (who, forwarding) = forwarder(evidence.inside());
    let who = who.map(|who| format!(" ({who})")).unwrap_or_default();
    let name = uplink.name;
    let left = uplink.made_by_kernel();
    // An address that a person gave, or a program: then a router of this machine's own is likely meant.
    let fixed = !uplink.public().is_empty() && left.is_none();
    let (confidence, summary) = match (uplink.heard(), left) {
        (Heard::Router(router), None) => (
            Confidence::Confirmed,
            format!(
                "The router {} advertises IPv6 at {name}, and this kernel ignores it: forwarding is on{who} and accept_ra is 1.",
                router.router
            ),
        ),
        (Heard::Router(_) | Heard::Unknown, Some(left)) => (
            if matches!(uplink.heard(), Heard::Router(_)) { Confidence::Confirmed } else { Confidence::Likely },
            format!(
                "{name} still has {}, but its IPv6 default route is gone: forwarding was switched on{who} and accept_ra is 1.",
                left.addr
            ),
        ),
        (Heard::Prefix(_), None) if !fixed => (
            Confidence::Likely,
            format!("{name} ignores the IPv6 prefix that its router gives: forwarding is on{who} and accept_ra is 1."),
        ),
        (Heard::Unknown, None) if !fixed => {
            let confidence =
                if signs(evidence.inside(), uplink).is_empty() { Confidence::Possible } else { Confidence::Likely };
            if confidence == Confidence::Possible && telltale(evidence).is_none() {
                return None;
            }
            (
                confidence,
                format!("{name} has no IPv6 and would ignore a router's: forwarding is on{who} and accept_ra is 1."),
            )
        }
        _ => return None,
    };
    let code = if left.is_some() { Code::V6DefaultRoutePurged } else { Code::V6ForwardingEatsRa };
    let mut cause = Cause::new(code, Impact::Risk, confidence, summary)
        .scope(Scope::family(Family::V6))
        .saw(format!("{name}: forwarding = 1, accept_ra = 1; the kernel takes advertisements only where forwarding is 0, or accept_ra is 2"))
        .because(uplink.ids())
        .because(forwarding);
    cause = spoken(cause, evidence, uplink);
    let has = match (left, uplink.public().first()) {
        (Some(left), _) => format!("this machine: {} is left, and no IPv6 default route", left.addr),
        (None, Some(fixed)) => format!("this machine: {}, and no IPv6 default route", fixed.addr),
        (None, None) => "this machine: no public IPv6 address, no IPv6 default route".to_owned(),
    };
    cause = match uplink.heard() {
        Heard::Router(router) | Heard::Prefix(router) => cause.because(uplink.heard_id()).contrast(
            format!("IPv6 at {name}: what is offered, and what was taken"),
            has,
            format!("the router {}: {}", router.router, offer(router)),
        ),
        _ => {
            for (sign, ids) in signs(evidence.inside(), uplink) {
                cause = cause.saw(sign).because(ids);
            }
            if left.is_none()
                && let Some((words, ids)) = telltale(evidence)
            {
                cause = cause.saw(words).because(ids);
            }
            cause.settle(
                Settle::run(remedies::verify(evidence))
                    .then(prose![", which listens for the router's advertisements at ", quoted(name)]),
            )
        }
    };
    if cause.confidence != Confidence::Confirmed && cause.settle.is_none() {
        let ask = command!["sudo rdisc6", InterfaceName::new(name)];
        cause =
            cause.settle(Settle::run(ask).then(": does a router there call itself a way out, by a lifetime above 0?"));
    }
    Some(with_remedies(cause, evidence, uplink))
}

/// networkd's default is to take advertisements unless it forwards (systemd.network(5), `IPv6AcceptRA=`).
fn ignored_by_networkd(evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Option<Cause> {
    if uplink.handler.body.handler != RaHandler::SystemdNetworkd
        || !uplink.forwards()
        || !uplink.defaults().is_empty()
        || !uplink.public().is_empty()
    {
        return None;
    }
    let Heard::Router(router) = uplink.heard() else { return None };
    let name = uplink.name;
    // Where another program forwards too, networkd may have been told to leave advertisements alone.
    let alone =
        evidence.inside().forwarding().filter(|seen| seen.body.programs.is_empty() && seen.body.files.is_empty());
    let cause = Cause::new(
        Code::V6NetworkdForwardingDisablesRa,
        Impact::Risk,
        if alone.is_some() { Confidence::Confirmed } else { Confidence::Likely },
        format!(
            "The router {} advertises IPv6 at {name}, and systemd-networkd, which forwards, ignores it.",
            router.router
        ),
    )
    .scope(Scope::family(Family::V6))
    .saw(format!(
        "systemd-networkd manages {name}; with forwarding on it takes advertisements only if told so (IPv6AcceptRA=yes)"
    ))
    .saw("the sysctl accept_ra plays no part here: networkd keeps it at 0")
    .because(uplink.ids())
    .because(uplink.heard_id())
    .because(evidence.inside().forwarding().map(|seen| seen.id()))
    .contrast(
        format!("IPv6 at {name}: what is offered, and what was taken"),
        "this machine: no public IPv6 address, no IPv6 default route",
        format!("the router {}: {}", router.router, offer(router)),
    );
    let cause = match alone {
        Some(_) => cause.saw("nothing else here switches forwarding on"),
        None => spoken(cause, evidence, uplink).settle(
            Settle::run(command!["networkctl status", InterfaceName::new(name)])
                .and("grep -ri -e forward -e masquerade -e acceptra /etc/systemd/network* /run/systemd/network"),
        ),
    };
    Some(with_remedies(cause, evidence, uplink))
}

/// Who switched forwarding on, where that is known.
fn spoken(mut cause: Cause, evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Cause {
    let Some(seen) = evidence.inside().forwarding() else { return cause };
    let programs: Vec<&str> = seen.body.programs.iter().map(std::ops::Deref::deref).collect();
    if !programs.is_empty() {
        cause = cause.saw(format!("programs here that switch forwarding on: {}", list(programs)));
    }
    for file in seen.body.files.iter().take(3) {
        cause = cause.saw(format!("a file that switches forwarding on: {file}"));
    }
    if seen.body.programs.is_empty() && seen.body.files.is_empty() {
        cause = cause.saw(format!("what switched forwarding on at {} is not known", uplink.name));
    }
    cause
}

fn with_remedies(mut cause: Cause, evidence: &Evidence<'_>, uplink: &Uplink<'_>) -> Cause {
    if let Some(note) = remedies::out_of_reach(evidence) {
        cause = cause.saw(note);
    }
    for remedy in remedies::take_advertisements(evidence, uplink) {
        cause = cause.remedy(remedy);
    }
    cause
}

/// What says that a router advertises IPv6 although nobody could listen.
fn signs(inside: &Inside<'_>, uplink: &Uplink<'_>) -> Vec<(String, Vec<FactId>)> {
    let name = uplink.name;
    let mut signs = Vec::new();
    if let Some(wanted) = ra_lasts::wanted(inside, uplink) {
        signs.push((format!("somebody meant IPv6 to come by advertisements: {}", wanted.words), vec![wanted.id]));
    }
    let old = uplink
        .routes
        .body
        .others
        .iter()
        .find(|route| route.protocol.as_str() == "ra" && route.interface.as_deref() == Some(name));
    if let Some(old) = old {
        signs.push((
            format!("a route of an advertisement is left: {} at {name}", old.destination),
            vec![uplink.routes.id()],
        ));
    }
    let files = inside.all_name_files().find(|seen| seen.fact.vantage == Vantage::Here);
    let server = files.and_then(|seen| {
        let servers = seen.body.nameservers.iter().chain(&seen.body.upstream);
        let v6 = |server: &&pdsdoctor_probes::text::Text| server.starts_with("fe80:") || server.starts_with('2');
        Some((seen, servers.filter(|server| server.contains(':')).find(v6)?))
    });
    if let Some((seen, server)) = server {
        signs.push((format!("the resolver's file names an IPv6 server of the network: {server}"), vec![seen.id()]));
    }
    signs
}

/// The PDS's login request ends as it does where IPv6 is published and does not work.
fn telltale(evidence: &Evidence<'_>) -> Option<(String, Vec<FactId>)> {
    let inside = evidence.inside();
    let place = inside.place();
    for client in evidence.clients() {
        for arm in [ParArm::CacheBusted, ParArm::AsNamed] {
            let Some((seen, Stage::DocumentNotObtained(FetchFailure::AttemptCap))) =
                evidence.par(Role::Target, Some(client), arm)
            else {
                continue;
            };
            let host = crate::diagnose::evidence::host_of(client)?;
            let tries = inside.connects_to(&place, &host);
            let refused: Vec<FactId> = tries
                .iter()
                .filter(|seen| seen.body.addr.is_ipv6() && fate(seen.body.failure.as_ref()) == Fate::NoRoute)
                .map(|seen| seen.id())
                .collect();
            if !refused.is_empty() {
                let words =
                    format!("{host} has an IPv6 address that the PDS has no route to, and the login fails there");
                return Some((words, refused.into_iter().chain([seen.id()]).collect()));
            }
        }
    }
    None
}

/// What a person would have chased after the first field report, and what killed it.
fn theories(evidence: &Evidence<'_>, uplink: &Uplink<'_>, way_out: bool, found: &mut Found) {
    let name = uplink.name;
    let tries = evidence.inside().tries(&Vantage::Here, Family::V6, evidence.host());
    let answered = tries.iter().find(|seen| fate(seen.body.failure.as_ref()) == Fate::Answered);
    let (why, ids) = if let (true, Some(seen)) = (way_out, answered) {
        (format!("IPv6 works from this machine: {} answered in {} ms", seen.body.host, seen.took()), vec![seen.id()])
    } else if !uplink.by_kernel() && uplink.handler.body.handler != RaHandler::Unknown {
        let who = match uplink.handler.body.handler {
            RaHandler::SystemdNetworkd => "systemd-networkd",
            RaHandler::NetworkManager => "NetworkManager",
            RaHandler::Dhcpcd => "dhcpcd",
            _ => "nobody",
        };
        let why =
            format!("{who} handles advertisements at {name}, not the kernel: forwarding and accept_ra play no part");
        (why, vec![uplink.handler.id()])
    } else if uplink.by_kernel() && uplink.accepts() == Some(2) {
        (format!("accept_ra of {name} is 2: the kernel takes advertisements although it forwards"), uplink.ids())
    } else if uplink.by_kernel() && uplink.accepts() == Some(1) && !uplink.forwards() {
        (format!("{name} does not forward, so its kernel takes advertisements"), uplink.ids())
    } else if let Heard::Silence = uplink.heard() {
        (
            format!("no router advertises IPv6 at {name} (asked, and listened for {})", uplink.listened()),
            uplink.heard_id().into_iter().collect(),
        )
    } else if let Heard::Private(router) = uplink.heard() {
        (
            format!("the router {} at {name} offers no IPv6 of the internet ({})", router.router, offer(router)),
            uplink.heard_id().into_iter().collect(),
        )
    } else {
        return;
    };
    let scope = Bounds::here(name).family(Family::V6);
    found.rule_out(Code::V6ForwardingEatsRa, scope, why, ids);
}
