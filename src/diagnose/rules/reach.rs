//! Can the port be reached, on each family?

use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType},
    fact::{FactId, FailureKind, Family, Role, Vantage},
    http_fact::HttpPurpose,
};

use super::{Found, Rule, inside::inbound, list};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Line},
    net_kinds::{AddressKind, address_kind},
    step::{HostName, Settle, command, entry, prose, quoted, run, say, word, write},
};

pub(super) const RULE: Rule = Rule { codes: CODES, judge };

const CODES: &[Code] =
    &[Code::FwPortsClosed, Code::SvcNotListening, Code::V6InboundClosed, Code::V6OnlyHost, Code::NatHairpin];

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    found.causes.extend(only_v6(evidence, host));
    // A private address has a rule of its own, and this machine's missing routes are not the target's.
    let lines: Vec<Line<'_>> = evidence
        .target_lines()
        .into_iter()
        .filter(|line| {
            evidence.given_by_user(host) || address_kind(line.addr) == AddressKind::Public || line.connected()
        })
        .filter(|line| !evidence.lacks_route(line.addr, line.connect_failure()))
        .collect();
    if lines.is_empty() {
        return;
    }
    let (open, closed): (Vec<&Line<'_>>, Vec<&Line<'_>>) = lines.iter().partition(|line| line.connected());
    if open.is_empty() {
        // A family that this machine cannot use says nothing, unless it is all there is.
        let judged: Vec<&Line<'_>> =
            closed.iter().filter(|line| !evidence.family_fails(line.family())).copied().collect();
        found.causes.extend(nothing_open(evidence, host, &judged));
        return;
    }
    // A connection to an address of one's own never leaves the machine, and asks no firewall before it.
    let own = evidence.inside().addresses(&Vantage::Here);
    let from_afar = |line: &&&Line<'_>| !own.iter().any(|(_, address)| address.addr == line.addr);
    let afar: Vec<&&Line<'_>> = open.iter().filter(from_afar).collect();
    // Where all that there is was reached, no family need be named.
    let families: &[Option<Family>] =
        if closed.is_empty() && afar.len() == open.len() { &[None] } else { &[Some(Family::V4), Some(Family::V6)] };
    for family in families {
        let within = |line: &Line<'_>| family.is_none_or(|family| line.family() == family);
        let ids: Vec<FactId> =
            afar.iter().filter(|line| within(line)).filter_map(|line| line.connect).map(|seen| seen.id()).collect();
        if !closed.iter().any(|line| within(line)) && !ids.is_empty() {
            let why = format!("TCP connections to {host} were made, to no address of this machine's own");
            found.rule_out(Code::FwPortsClosed, Bounds::here(host).family(*family), why, ids);
        }
    }
    let closed_v6: Vec<&Line<'_>> = closed.iter().filter(|line| line.family() == Family::V6).copied().collect();
    let closed_v4: Vec<&Line<'_>> = closed.iter().filter(|line| line.family() == Family::V4).copied().collect();
    let open_in = |family| open.iter().any(|line| line.family() == family);
    if !closed_v6.is_empty() && !open_in(Family::V6) {
        found.causes.extend(v6_closed(evidence, host, &closed_v6, &open));
    } else if closed_v6.is_empty() {
        let afar = open.iter().filter(|line| line.family() == Family::V6).filter(from_afar);
        let ids: Vec<FactId> = afar.filter_map(|line| line.connect).map(|seen| seen.id()).collect();
        if !ids.is_empty() {
            let scope = Bounds::here(host).family(Family::V6);
            found.rule_out(Code::V6InboundClosed, scope, "the IPv6 address accepts connections", ids);
        }
    }
    if !closed_v4.is_empty() && !open_in(Family::V4) && !evidence.family_fails(Family::V4) {
        found.causes.extend(v4_closed(evidence, host, &closed_v4, &open));
    }
}

/// How the lines failed, in words.
fn how(lines: &[&Line<'_>]) -> String {
    list(lines.iter().map(|line| {
        let took = line.connect.map_or(0, |seen| seen.took());
        let how = match line.connect_failure() {
            Some(FailureKind::Refused) => format!("refused after {took} ms"),
            Some(FailureKind::Timeout) => format!("silent for {took} ms"),
            Some(FailureKind::HostUnreachable | FailureKind::NetworkUnreachable) => {
                format!("unreachable (a router says so, {took} ms)")
            }
            Some(FailureKind::Prohibited) => format!("forbidden by a firewall ({took} ms)"),
            Some(FailureKind::Reset) => format!("reset after {took} ms"),
            _ => "not connected".to_owned(),
        };
        format!("{} {how}", line.addr)
    }))
}

fn connect_ids<'a>(lines: &'a [&Line<'_>]) -> impl Iterator<Item = FactId> + 'a {
    lines.iter().filter_map(|line| line.connect.map(|seen| seen.id()))
}

fn nothing_open(evidence: &Evidence<'_>, host: &str, closed: &[&Line<'_>]) -> Option<Cause> {
    let port = evidence.run.target.port;
    let first = closed.first()?;
    let second = evidence.second_look();
    if let Some((seen, true)) = &second {
        return only_from_here(evidence, host, closed, seen.id());
    }
    // Behind a router of one's own, IPv4 may fail for this machine alone: the PDS may stand behind
    // the same router, and not every router lets connections turn round (NAT hairpin).
    let proves = |line: &&Line<'_>| line.family() == Family::V6 || !evidence.is_behind_nat();
    let proof = closed
        .iter()
        .filter(|line| proves(line))
        .find_map(|line| Some((*line, evidence.family_control(line.family())?)));
    let works = proof.clone().or_else(|| Some((first, evidence.family_control(first.family())?)));
    // Two that have nothing to do with each other do not get through.
    let sure = if proof.is_some() || second.is_some() { Confidence::Confirmed } else { Confidence::Likely };
    let refused: Vec<&Line<'_>> = closed
        .iter()
        .filter(|line| matches!(line.connect_failure(), Some(FailureKind::Refused | FailureKind::Reset)))
        .copied()
        .collect();
    let port80 = port_80_answers(evidence);
    let mut cause = if refused.is_empty() {
        let mut cause = Cause::new(
            Code::FwPortsClosed,
            Impact::Broken,
            sure,
            format!(
                "Nobody can reach {host}: port {port} is closed by a firewall, not forwarded, or the machine is off."
            ),
        );
        if port80.is_some() {
            cause = cause.saw("port 80 of the same address answers, so the machine is on and only this port is closed");
        }
        cause.remedy(Remedy::new(
            prose!["Open TCP ", port, " and 80 from the internet to the proxy"],
            [
                run("sudo ss -ltnp 'sport = :443'")
                    .note("on the PDS's machine: something must listen on 0.0.0.0 or [::]"),
                run("sudo ufw allow 80,443/tcp").note("or the firewall you use"),
                say("in the cloud console: allow inbound TCP 80 and 443 in the security group (and in the subnet's list)"),
                say("behind a home router: forward TCP 80 and 443 to the PDS's machine"),
            ],
            evidence.verify(),
        ))
    } else {
        let summary = format!(
            "{host} is there, but nothing listens on port {port}: the proxy (Caddy, nginx) is not running or listens elsewhere."
        );
        Cause::new(Code::SvcNotListening, Impact::Broken, sure, summary).remedy(Remedy::new(
            "Start the proxy, and see why it stopped",
            [
                run("sudo ss -ltnp 'sport = :443'"),
                run("sudo systemctl restart pds; sudo docker logs --tail 50 caddy").note("official install"),
                run("sudo nginx -t && sudo systemctl restart nginx").note("nginx"),
            ],
            evidence.verify(),
        ))
    };
    cause = cause.saw(how(closed)).because(connect_ids(closed)).because(port80);
    if let (Some((seen, _)), Some(reference)) = (&second, evidence.reference()) {
        cause = cause
            .because([seen.id()])
            .saw(format!("{reference}, made to fetch from {host}, gets no connection either"));
    }
    if sure != Confidence::Confirmed {
        cause = cause.settle(if works.is_some() {
            "the same from another network (a phone's, without Wi-Fi): where this machine and the PDS share a router, it may only be that the router does not lead back in"
        } else {
            "the same from another network (a phone's), or a reference that answers"
        });
    }
    Some(match works {
        Some((line, (id, control))) => cause.because([id]).contrast(
            "a TCP connection from this machine",
            format!("{host}:{port}: {}", short(line)),
            control,
        ),
        None => cause,
    })
}

/// Others reach it: the fault is between this machine and the PDS. Behind a router, the same router may stand
/// before both.
fn only_from_here(evidence: &Evidence<'_>, host: &str, closed: &[&Line<'_>], seen: FactId) -> Option<Cause> {
    let reference = evidence.reference()?;
    // On the PDS's own machine more is known.
    if !evidence.is_behind_nat() || !evidence.inside().is_empty() {
        return None;
    }
    let summary = format!(
        "{host} cannot be reached from this network, and others reach it: your router may be the PDS's, and not lead back in."
    );
    Some(
        Cause::new(Code::NatHairpin, Impact::Degraded, Confidence::Likely, summary)
            .saw(how(closed))
            .because(connect_ids(closed))
            .because([seen])
            .contrast(
                format!("https://{host}/, from two places"),
                format!("this machine: {}", closed.first().map(|line| short(line)).unwrap_or_default()),
                format!("{reference}: reaches it"),
            )
            .settle(prose!["/xrpc/_health of ", quoted(host), " on a phone without WLAN"])
            .remedy(Remedy::new(
                "Check from another network; at home, let the name lead to the PDS's inner address",
                [
                    run(command!["echo", word!["ADDRESS ", HostName::new(host)], "| sudo tee -a /etc/hosts"])
                        .note("on this machine; ADDRESS is the inner address of the PDS"),
                    say("or switch on NAT loopback (hairpin NAT) in the router"),
                ],
                evidence.verify(),
            )),
    )
}

fn short(line: &Line<'_>) -> String {
    let took = line.connect.map_or(0, |seen| seen.took());
    match line.connect_failure() {
        None => format!("connected in {took} ms"),
        Some(FailureKind::Timeout) => format!("silent for {took} ms"),
        Some(kind) => format!("{} after {took} ms", kind.to_string().replace('_', " ")),
    }
}

fn port_80_answers(evidence: &Evidence<'_>) -> Option<FactId> {
    evidence
        .http(Role::Target, HttpPurpose::PlainPort80)
        .into_iter()
        .find(|seen| seen.body.status.is_some())
        .map(|seen| seen.id())
}

fn v6_closed(evidence: &Evidence<'_>, host: &str, closed: &[&Line<'_>], open: &[&Line<'_>]) -> Option<Cause> {
    if evidence.family_fails(Family::V6) {
        return None;
    }
    let refused = closed.iter().any(|line| {
        matches!(line.connect_failure(), Some(FailureKind::Refused | FailureKind::Reset | FailureKind::Prohibited))
    });
    let works = evidence.family_control(Family::V6);
    // Silence alone may be this side's: an answer, or another host that answers, is needed.
    let confidence = if works.is_some() {
        Confidence::Confirmed
    } else if refused {
        Confidence::Likely
    } else {
        Confidence::Possible
    };
    let impact = if confidence == Confidence::Possible { Impact::Risk } else { Impact::Degraded };
    let first = closed.first()?;
    let good = open.first()?;
    let record = || entry![HostName::new(host), ".  AAAA  ", first.addr];
    let mut cause = Cause::new(
        Code::V6InboundClosed,
        impact,
        confidence,
        format!("{host} does not answer on IPv6: whoever has IPv6 waits or fails, although IPv4 works."),
    )
    .scope(Scope::family(Family::V6))
    .saw(how(closed))
    .because(connect_ids(closed))
    .because(good.connect.map(|seen| seen.id()))
    .contrast(
        "the same name and port, the other address family",
        format!("{}: {}", first.addr, short(first)),
        format!("{}: {}", good.addr, short(good)),
    )
    .remedy(Remedy::new(
        "If the address is right: let IPv6 in and listen on it",
        [
            run("ip -6 addr show scope global").note("on the PDS's machine: is the address published still yours?"),
            run("sudo ss -ltn 'sport = :443'").note("must show [::]:443 or *:443, not only 0.0.0.0:443"),
            say("router or cloud firewall: allow inbound IPv6 TCP 80 and 443 (it is a separate list from IPv4)"),
        ],
        evidence.verify(),
    ))
    .remedy(
        Remedy::new(
            "If the address is old, or IPv6 is not meant to work: remove the record",
            [write(record()).at("delete"), say(prose!["and the same AAAA of the wildcard of ", quoted(host)])],
            evidence.verify(),
        )
        .undo(write(record()).at("add")),
    );
    match works {
        Some((id, control)) => {
            cause = cause.because([id]).contrast(
                "an IPv6 connection from this machine",
                format!("{host}: {}", short(first)),
                control,
            );
        }
        None => cause = cause.settle("the same from a machine whose IPv6 is known to work"),
    }
    Some(inbound::refine(evidence, cause, first.addr, refused))
}

fn v4_closed(evidence: &Evidence<'_>, host: &str, closed: &[&Line<'_>], open: &[&Line<'_>]) -> Option<Cause> {
    let first = closed.first()?;
    let good = open.first()?;
    let refused = first.connect_failure() == Some(FailureKind::Refused);
    let code = if refused { Code::SvcNotListening } else { Code::FwPortsClosed };
    let works = evidence.family_works(Family::V4);
    let (impact, confidence) = if evidence.is_at_the_same_site() {
        (Impact::Risk, Confidence::Possible)
    } else if works.is_some() && !evidence.is_behind_nat() {
        (Impact::Broken, Confidence::Confirmed)
    } else {
        (Impact::Broken, Confidence::Likely)
    };
    let summary = if impact == Impact::Risk {
        format!(
            "{host} does not answer on IPv4 from here, its own network; if it is so from outside too, everybody without IPv6 fails."
        )
    } else {
        format!("{host} does not answer on IPv4: everybody without IPv6 fails.")
    };
    let settle = (confidence != Confidence::Confirmed).then(|| {
        Settle::from(
            "the same from another network (a phone's, without Wi-Fi): a router may not lead its own network back in",
        )
    });
    let mut cause = Cause::new(code, impact, confidence, summary)
        .scope(Scope { family: Some(Family::V4), ..Scope::default() })
        .saw(how(closed))
        .because(connect_ids(closed))
        .because(good.connect.map(|seen| seen.id()))
        .because(works)
        .contrast(
            "the same name and port, the other address family",
            format!("{}: {}", first.addr, short(first)),
            format!("{}: {}", good.addr, short(good)),
        )
        .remedy(Remedy::new(
            "Let IPv4 in, or correct the A record",
            [
                run("sudo ss -ltn 'sport = :443'").note("must listen on IPv4 too"),
                say("open TCP 80 and 443 for IPv4 in the firewall, and forward them on the router"),
                say(prose!["is ", first.addr, " still your public address?"]),
            ],
            evidence.verify(),
        ));
    cause.settle = settle;
    Some(cause)
}

/// AAAA and no A. The reference PDS's README asks for a public IPv4 address.
fn only_v6(evidence: &Evidence<'_>, host: &str) -> Option<Cause> {
    if evidence.given_by_user(host) || evidence.run.settings.only_v6 {
        return None;
    }
    let addrs = evidence.addresses(host);
    if addrs.is_empty() || addrs.iter().any(std::net::IpAddr::is_ipv4) {
        return None;
    }
    // A server that denies the whole name where only the type is missing is wrong (RFC 8020), and there are such: the
    // AAAA is in the DNS all the same, and that there is no A is what both answers say.
    let a = evidence.answers(host, &[DnsPurpose::Address], &[RecordType::A]);
    let denies = |outcome| matches!(outcome, DnsOutcome::NoData | DnsOutcome::NxDomain);
    let denied: Vec<FactId> = a.iter().filter(|seen| denies(seen.body.outcome)).map(|seen| seen.id()).collect();
    if denied.is_empty() {
        return None;
    }
    let whole_name = a.iter().any(|seen| seen.body.outcome == DnsOutcome::NxDomain);
    let reached = evidence.target_lines().iter().any(Line::connected);
    let from_here = if reached { "" } else { " (this one among them)" };
    let mut cause = Cause::new(
        Code::V6OnlyHost,
        if reached { Impact::Degraded } else { Impact::Broken },
        Confidence::Confirmed,
        format!("{host} has only IPv6: users, relays and apps on networks with IPv4 only cannot reach it{from_here}."),
    )
    .saw(format!("AAAA {}, and no A record", list(&addrs)))
    .because(denied)
    .contrast(
        "the same name, asked for both kinds of addresses",
        format!("A: no such {}", if whole_name { "name (NXDOMAIN)" } else { "record" }),
        format!("AAAA: {}", list(&addrs)),
    )
    .remedy(Remedy::new(
        "Give it a public IPv4 address too",
        [
            write(entry![HostName::new(host), ".  A  <public IPv4 of your server>"])
                .note("and the same for the wildcard"),
            say("without one: a small server, CDN or tunnel with IPv4 in front that passes on to the PDS"),
        ],
        evidence.verify(),
    ));
    if whole_name {
        cause = cause.saw(format!(
            "asked for A, a name server says that {host} does not exist at all: resolvers that believe it find no AAAA either (RFC 8020)"
        ));
    }
    if let Some(reference) = evidence.reference() {
        let theirs = evidence.addresses(reference);
        if theirs.iter().any(std::net::IpAddr::is_ipv4) {
            cause = cause.contrast(
                "the addresses published",
                format!("{host}: {}", list(&addrs)),
                format!("{reference}: {}", list(&theirs)),
            );
        }
    }
    Some(cause)
}
