//! The name of the PDS: does it exist, does it have an address, is the address one the world can use?

use std::net::IpAddr;

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, RecordType},
    fact::{FactId, Role},
};

use super::{Found, Rule, list};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, Seen},
    net_kinds::{AddressKind, address_kind},
    not_asked,
    step::{HostName, Settle, command, entry, prose, quoted, run, say, write},
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::DnsNameNotFound,
        Code::DnsNoAddress,
        Code::DnsZoneFailing,
        Code::TunnelCfDnsElsewhere,
        Code::DnsPrivateIpPublished,
    ],
    judge,
};

/// Where Cloudflare Tunnels end.
const TUNNEL_SUFFIX: &str = ".cfargotunnel.com";
/// Name servers of zones that Cloudflare serves.
const CLOUDFLARE_NS: &str = ".ns.cloudflare.com";

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    if evidence.given_by_user(host) {
        return;
    }
    let answers = evidence.address_answers(host);
    let addrs = evidence.addresses(host);
    if addrs.is_empty() {
        found.causes.extend(tunnel(evidence, host, &answers).or_else(|| absent(evidence, host, &answers)));
    } else {
        found.causes.extend(private(evidence, host, &answers));
    }
}

/// Another name was resolved by the same servers: they work.
fn control(evidence: &Evidence<'_>) -> Option<(FactId, String)> {
    evidence
        .all_dns()
        .iter()
        .find(|seen| {
            matches!(seen.body.role, Role::Reference | Role::Client | Role::Directory)
                && seen.body.outcome == DnsOutcome::Answer
        })
        .map(|seen| (seen.id(), seen.body.name.to_string()))
}

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn absent(evidence: &Evidence<'_>, host: &str, answers: &[Seen<'_, DnsFact>]) -> Option<Cause> {
    if answers.is_empty() {
        return None;
    }
    let ids = || answers.iter().map(Seen::id);
    let control = control(evidence);
    let sure = if control.is_some() { Confidence::Confirmed } else { Confidence::Likely };
    let finish = |cause: Cause, outcome: &str| match &control {
        Some((id, name)) => {
            let that = format!("{name}: resolved");
            // A resolver may refuse one name by a filter of its own, or know one type of it only.
            let cause = if cause.confidence == Confidence::Confirmed {
                cause
            } else {
                let elsewhere = command!["dig", HostName::new(host), "@9.9.9.9"];
                cause.settle(Settle::text("the same question, asked of another resolver:").and(elsewhere))
            };
            cause.because([id.clone()]).contrast(
                "the same question to the same name server, about another name",
                format!("{host}: {outcome}"),
                that,
            )
        }
        None => cause.settle("a name that is known to exist, asked of the same name server"),
    };
    if let Some(outcome) = evidence.absence(host) {
        let zone = zone_of(answers);
        let record = || write(entry![HostName::new(host), ".  A  <public IPv4 of your server>"]);
        let cause = match outcome {
            DnsOutcome::NxDomain => {
                let parent = missing_parent(evidence, host);
                let alias = answers.iter().find_map(|seen| seen.body.cname_chain.last());
                let summary = match &parent {
                    Some(parent) => format!("{host} does not exist: not even {parent} is in the DNS."),
                    None => match alias {
                        Some(alias) => format!("{host} is an alias of {alias}, which does not exist."),
                        None => format!("{host} does not exist in the DNS."),
                    },
                };
                let steps = match (&parent, zone) {
                    (Some(parent), _) => say(prose![
                        "check the spelling of ",
                        quoted(parent),
                        ", that it is registered and not expired, and that its name servers are set at the registrar"
                    ]),
                    (None, Some(zone)) => record().at(prose!["in the zone ", quoted(&zone)]),
                    (None, None) => record(),
                };
                Cause::new(Code::DnsNameNotFound, Impact::Broken, sure, summary)
                    .saw(format!("every name server asked says NXDOMAIN for {host}"))
                    .remedy(Remedy::new("Create the name", [steps], evidence.verify()))
            }
            _ => Cause::new(
                Code::DnsNoAddress,
                Impact::Broken,
                sure,
                format!("{host} exists in the DNS, but has no address."),
            )
            .saw(format!("neither an A nor an AAAA record at {host} (NODATA)"))
            .remedy(Remedy::new("Add the address", [record()], evidence.verify())),
        };
        return Some(finish(cause.because(ids()), &words(outcome)));
    }
    // No definite answer, or for one type only: the zone's own servers fail, if ours work.
    let outcomes: std::collections::BTreeSet<DnsOutcome> = answers.iter().map(|seen| seen.body.outcome).collect();
    // What a resolver refuses for one name may be its own filter.
    let filtered = outcomes.iter().all(|outcome| *outcome == DnsOutcome::Refused);
    let sure = match (&control, filtered || outcomes.iter().any(|outcome| outcome.is_definite())) {
        (Some(_), false) => Confidence::Confirmed,
        (Some(_), true) => Confidence::Likely,
        (None, _) => Confidence::Possible,
    };
    let outcome = list(outcomes.iter().map(|outcome| words(*outcome)));
    let cause = Cause::new(
        Code::DnsZoneFailing,
        Impact::Broken,
        sure,
        format!("{host} cannot be resolved: the name servers of its zone fail."),
    )
    .saw(format!("the resolver's answer for {host}: {outcome}"))
    .because(ids())
    .remedy(Remedy::new(
        "Mend the zone's name servers (or its DNSSEC signatures)",
        [
            run(command!["dig +trace", HostName::new(host)]),
            run(command!["dig +cd", HostName::new(host)]).note("works with +cd only: DNSSEC is broken"),
            say("compare the NS records at the registrar with the servers that really serve the zone"),
        ],
        evidence.verify(),
    ));
    Some(finish(cause, &outcome))
}

fn words(outcome: DnsOutcome) -> String {
    match outcome {
        DnsOutcome::Answer => "an answer",
        DnsOutcome::NoData => "no such record (NODATA)",
        DnsOutcome::NxDomain => "no such name (NXDOMAIN)",
        DnsOutcome::ServFail => "SERVFAIL",
        DnsOutcome::Refused => "REFUSED",
        DnsOutcome::OtherCode => "an error",
        DnsOutcome::Timeout => "silence",
        DnsOutcome::Unreachable => "unreachable",
        DnsOutcome::NotAsked => "not asked",
        DnsOutcome::Malformed => "nonsense",
    }
    .to_owned()
}

/// The zone that a negative answer names, unless it is a top-level domain.
fn zone_of(answers: &[Seen<'_, DnsFact>]) -> Option<String> {
    answers
        .iter()
        .find_map(|seen| seen.body.zone.clone())
        .map(|zone| zone.to_string())
        .filter(|zone| zone.contains('.'))
}

/// The highest parent of a name that does not exist either.
fn missing_parent(evidence: &Evidence<'_>, host: &str) -> Option<String> {
    let mut missing = None;
    let mut name = host;
    while let Some((_, parent)) = name.split_once('.') {
        let answers = evidence.answers(parent, &[DnsPurpose::Zone], &[RecordType::Ns]);
        if !answers.is_empty() && answers.iter().all(|seen| seen.body.outcome == DnsOutcome::NxDomain) {
            missing = Some(parent.to_owned());
        }
        name = parent;
    }
    missing
}

fn tunnel(evidence: &Evidence<'_>, host: &str, answers: &[Seen<'_, DnsFact>]) -> Option<Cause> {
    let (seen, target) = answers.iter().find_map(|seen| {
        let target = seen.body.cname_chain.iter().find(|name| name.ends_with(TUNNEL_SUFFIX))?;
        Some((seen, target.to_string()))
    })?;
    let servers = zone_servers(evidence, host);
    if servers.iter().any(|(_, server)| server.ends_with(CLOUDFLARE_NS)) {
        return None;
    }
    let names = list(servers.iter().map(|(_, server)| server));
    let mut cause = Cause::new(
        Code::TunnelCfDnsElsewhere,
        Impact::Broken,
        if servers.is_empty() { Confidence::Likely } else { Confidence::Confirmed },
        format!(
            "{host} points to a Cloudflare Tunnel, but its zone is not served by Cloudflare, so it never resolves."
        ),
    )
    .saw(format!("{host} is an alias of {target}, which has no address"))
    .because([seen.id()])
    .because(servers.iter().map(|(id, _)| id.clone()))
    .remedy(
        Remedy::new(
            "Move the zone to Cloudflare's name servers",
            [
                say("add the domain in Cloudflare's dashboard and copy its records"),
                say("set the name servers that Cloudflare gives you at the registrar"),
                say("make the tunnel's public hostnames there: the PDS's name and the wildcard for handles"),
            ],
            evidence.verify(),
        )
        .disruptive(),
    )
    .remedy(Remedy::new(
        "Do without the tunnel",
        [
            write(entry![HostName::new(host), ".  A  <public IPv4 of your server>"]),
            say("with port 443 forwarded to the PDS's proxy, or a small server with a public address in front"),
        ],
        evidence.verify(),
    ));
    if servers.is_empty() {
        cause = cause.settle(prose!["the NS records of ", quoted(host), "'s zone"]);
    } else {
        cause = cause.saw(format!("the zone's name servers: {names}")).contrast(
            "who serves the zone: a tunnel's name resolves only through Cloudflare's own servers",
            format!("this zone: {names}"),
            format!("needed: *{CLOUDFLARE_NS}"),
        );
    }
    Some(cause)
}

/// The name servers of the zone the host lies in: the deepest parent that has NS records.
fn zone_servers(evidence: &Evidence<'_>, host: &str) -> Vec<(FactId, String)> {
    let mut name = host;
    loop {
        let answers = evidence.answers(name, &[DnsPurpose::Zone], &[RecordType::Ns]);
        let servers: Vec<_> = answers
            .iter()
            // Behind an alias the answer is about another zone.
            .filter(|seen| seen.body.cname_chain.is_empty())
            .flat_map(|seen| {
                seen.body.records.iter().map(|record| (seen.id(), record.trim_end_matches('.').to_ascii_lowercase()))
            })
            .collect();
        if !servers.is_empty() {
            return servers;
        }
        match name.split_once('.') {
            Some((_, parent)) => name = parent,
            None => return Vec::new(),
        }
    }
}

fn private(evidence: &Evidence<'_>, host: &str, answers: &[Seen<'_, DnsFact>]) -> Option<Cause> {
    let addrs: Vec<IpAddr> = evidence.published(host).into_iter().collect();
    let bad: Vec<(IpAddr, AddressKind)> = addrs
        .iter()
        .map(|addr| (*addr, address_kind(*addr)))
        .filter(|(_, kind)| *kind != AddressKind::Public)
        .collect();
    if bad.is_empty() {
        return None;
    }
    // Where even the reference has such addresses, this side's resolver gives them to everything
    // (DNS64, a closed network): it says nothing about the target.
    let reference_too = evidence
        .reference()
        .is_some_and(|reference| evidence.addresses(reference).iter().any(|a| address_kind(*a) != AddressKind::Public));
    if reference_too {
        return None;
    }
    // Of an address type that could not be asked for nothing is known: there may be a public one.
    let asked = |kind| answers.iter().any(|seen| seen.body.record_type == kind && seen.body.outcome.is_definite());
    let all = bad.len() == addrs.len() && asked(RecordType::A) && asked(RecordType::Aaaa);
    let reached =
        evidence.target_lines().iter().any(|line| bad.iter().any(|(addr, _)| *addr == line.addr) && line.connected());
    let shown = list(bad.iter().map(|(addr, kind)| format!("{addr} ({kind})")));
    // A resolver out on the internet says what the world sees; one at home may say something else.
    let by_the_world = answers.iter().any(|seen| {
        address_kind(seen.body.server.ip()) == AddressKind::Public
            && seen.body.addresses().iter().any(|addr| bad.iter().any(|(bad, _)| bad == addr))
    });
    let sure = if by_the_world { Confidence::Confirmed } else { Confidence::Likely };
    // A document names it, so it was not asked here, and whether it is reached is not known.
    let left_alone = !by_the_world && not_asked::is_host(evidence.run, host);
    let (impact, confidence, summary) = match (all, reached || left_alone) {
        (true, true) => (
            Impact::Risk,
            Confidence::Possible,
            format!(
                "{host} resolves to a private address here; if the world sees the same, only your own network reaches it."
            ),
        ),
        (true, false) => (
            Impact::Broken,
            sure,
            format!("{host} is published with a private address, which nobody outside can reach."),
        ),
        (false, _) => (
            Impact::Degraded,
            sure,
            format!(
                "{host} is published with a private address beside its public one: relays and other servers refuse it."
            ),
        ),
    };
    let mut cause = Cause::new(Code::DnsPrivateIpPublished, impact, confidence, summary)
        .saw(format!("addresses: {shown}"))
        .because(answers.iter().filter(|seen| !seen.body.records.is_empty()).map(Seen::id))
        .remedy(Remedy::new(
            "Publish the public address",
            [
                if bad.iter().all(|(addr, _)| addr.is_ipv6()) {
                    write(entry![HostName::new(host), ".  AAAA  <public IPv6 of your server>"])
                        .note("or no AAAA record at all")
                } else {
                    write(entry![HostName::new(host), ".  A  <public IPv4 of your server or router>"])
                },
                say("if external-dns or a DDNS job wrote the record: pin its target to the public address"),
                say(prose!["the same for the wildcard of ", quoted(host)]),
            ],
            evidence.verify(),
        ));
    if confidence == Confidence::Confirmed {
        let reference = evidence.reference().map_or_else(
            || "needed: an address of the public internet".to_owned(),
            |reference| format!("{reference}: {}", list(evidence.addresses(reference))),
        );
        cause = cause.contrast("the addresses published", format!("{host}: {}", list(&addrs)), reference);
    } else {
        cause = cause.settle(Settle::run(evidence.verify().with("--nameserver 1.1.1.1")));
    }
    Some(cause)
}
