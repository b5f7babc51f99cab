//! A PDS that is well on its own machine, and whose public name does not answer there: an address that is
//! no longer this connection's, a provider that lets nobody in, or a router that does not lead back.

use std::net::{IpAddr, Ipv4Addr};

use pdsdoctor_probes::{
    fact::{FactId, Family, Vantage},
    host_fact::{HopsFact, Range},
    http_fact::{Content, HttpPurpose},
};

use super::answers::{alive, own_front};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, Line, Seen},
    inside::place_words,
    net_kinds::{AddressKind, address_kind},
    rules::{Found, Rule, list},
    step::{HostName, Settle, Url, command, entry, prose, quoted, run, say, word, write},
};

pub(in crate::diagnose) const RULE: Rule =
    Rule { codes: &[Code::DnsDynamicIpStale, Code::NatCgnat, Code::NatHairpin, Code::FwPortsClosed], judge };

/// What is common to the three.
struct Case<'a> {
    host: &'a str,
    /// The lines of addresses that are not this machine's.
    away: Vec<Line<'a>>,
    /// The PDS answers on this machine, at its own port and at port 443.
    well: Vec<FactId>,
    front: IpAddr,
}

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    found.causes.extend(closed_to_others(evidence));
    let Some(case) = case(evidence) else { return };
    if reached(evidence) == Some(true) {
        let cause = hairpin(evidence, &case, found);
        found.causes.extend(cause);
    } else if let Some(cause) = stale(evidence, &case) {
        found.cause(cause);
    } else if let Some(cause) = shared(evidence, &case) {
        found.cause(cause);
    } else {
        let cause = hairpin(evidence, &case, found);
        found.causes.extend(cause);
    }
}

/// Does the reference reach the PDS?
fn reached(evidence: &Evidence<'_>) -> Option<bool> {
    // Who was met there, and showed a certificate that nobody accepts, may be whoever has the address now.
    evidence.second_look().map(|(_, reached)| reached).filter(|_| !evidence.second_look_met_somebody())
}

/// The reference's attempt, in words and as a contrast to what was seen here.
fn looked_twice(cause: Cause, evidence: &Evidence<'_>, here: &str) -> Cause {
    let (Some((seen, reached)), Some(reference)) = (evidence.second_look(), evidence.reference()) else { return cause };
    let there = if reached { "reaches it" } else { "gets no connection" };
    cause.because([seen.id()]).contrast(
        format!("https://{}/xrpc/_health, from two places", evidence.name()),
        format!("this machine: {here}"),
        format!("{reference}: {there}"),
    )
}

/// The PDS answers at its own public address, which is this machine's, and the world does not get there: that
/// packets to an own address pass says nothing of a firewall before it.
fn closed_to_others(evidence: &Evidence<'_>) -> Option<Cause> {
    let (seen, false) = evidence.second_look()? else { return None };
    let own: Vec<IpAddr> =
        evidence.inside().addresses(&Vantage::Here).into_iter().map(|(_, address)| address.addr).collect();
    let lines = evidence.target_lines();
    let line = lines.iter().find(|line| own.contains(&line.addr) && line.is_pds())?;
    // The reference must be able to fetch at all.
    if !evidence.clients().into_iter().any(|client| evidence.fetched_by_reference(client).is_some()) {
        return None;
    }
    let (host, reference) = (evidence.name(), evidence.reference()?);
    let listener = evidence.inside().listeners(&Vantage::Here);
    let cause = Cause::new(
        Code::FwPortsClosed,
        Impact::Broken,
        Confidence::Likely,
        format!("{host} answers on this machine, and nobody else gets through: a firewall before it drops TCP 443."),
    )
    .saw(format!("something listens on port 443 here, and {reference}, made to fetch from {host}, gets no connection"))
    .because(line.ids())
    .because([seen.id()])
    .because(listener.map(|seen| seen.id()))
    .settle(Settle::text("from another network:").and(command!["curl -sv", health(host)]));
    Some(looked_twice(cause, evidence, "the PDS answers").remedy(Remedy::new(
        "Open TCP 443 and 80 from the internet",
        [
            say("in the cloud console: allow inbound TCP 80 and 443 in the security group (and in the subnet's list)"),
            run("sudo nft list ruleset | grep -iE 'drop|reject'").note("and this machine's own firewall"),
            run("sudo ufw allow 80,443/tcp").note("or the firewall you use"),
        ],
        evidence.verify(),
    )))
}

/// The PDS is well here, and its IPv4 addresses, none of which is this machine's, do not answer as one.
fn case<'a>(evidence: &Evidence<'a>) -> Option<Case<'a>> {
    let host = evidence.host()?;
    let own: Vec<IpAddr> =
        evidence.inside().addresses(&Vantage::Here).into_iter().map(|(_, address)| address.addr).collect();
    let lines: Vec<Line<'a>> = evidence.target_lines().into_iter().filter(|line| line.family() == Family::V4).collect();
    let ours = |line: &Line<'_>| own.contains(&line.addr) || line.is_pds();
    if lines.is_empty() || lines.iter().any(ours) {
        return None;
    }
    let alive = alive(evidence)?;
    let front = own_front(evidence).into_iter().find(|seen| seen.body.is_expected())?;
    Some(Case { host, away: lines, well: vec![alive.id(), front.id()], front: front.body.addr? })
}

/// The address from which the world sees this machine: its own, or what a service says.
pub(super) fn seen_as(evidence: &Evidence<'_>) -> Option<(IpAddr, FactId)> {
    let inside = evidence.inside();
    let own = inside.way_out(&Vantage::Here, Family::V4).and_then(|seen| {
        let global = seen.body.range == Some(Range::Global);
        Some((seen.body.source.filter(|_| global)?, seen.id()))
    });
    own.or_else(|| {
        inside.exchanges().filter(|seen| seen.body.purpose == HttpPurpose::EchoAddress).find_map(|seen| {
            match seen.body.content {
                Some(Content::EchoAddress { addr }) if addr.is_ipv4() => Some((addr, seen.id())),
                _ => None,
            }
        })
    })
}

fn away_ids(case: &Case<'_>) -> Vec<FactId> {
    case.away.iter().filter_map(|line| line.connect).map(|seen| seen.id()).collect()
}

fn away_words(case: &Case<'_>) -> String {
    list(case.away.iter().map(|line| line.addr))
}

fn how(line: &Line<'_>) -> String {
    match line.connect_failure() {
        Some(kind) => kind.to_string().replace('_', " "),
        None if line.connected() => "another server answers".to_owned(),
        None => "not tried".to_owned(),
    }
}

/// The record has an address that this connection no longer has.
fn stale(evidence: &Evidence<'_>, case: &Case<'_>) -> Option<Cause> {
    let (now, id) = seen_as(evidence)?;
    // A front elsewhere (a CDN, a tunnel) answers, if not as a PDS: that is another story.
    let gone = case.away.iter().all(|line| !line.connected() || is_strange(evidence, line));
    if case.away.iter().any(|line| line.addr == now) || !gone || address_kind(now) != AddressKind::Public {
        return None;
    }
    let first = case.away.first()?;
    let other_server = first.connected();
    Some(
        Cause::new(
            Code::DnsDynamicIpStale,
            Impact::Broken,
            if other_server { Confidence::Confirmed } else { Confidence::Likely },
            format!(
                "{} points to {}, and this connection now has {now}: the DNS record is old.",
                case.host,
                away_words(case)
            ),
        )
        .because(away_ids(case))
        .because([id])
        .because(case.well.clone())
        .contrast(
            format!("the IPv4 address of {}", case.host),
            format!("DNS: {} ({})", away_words(case), how(first)),
            format!("this machine, as the world sees it: {now}"),
        )
        .settle(
            Settle::text("after the record is changed:")
                .and(command!["curl -sS", health(case.host)])
                .then("from another network"),
        )
        .remedy(
            Remedy::new(
                prose!["Point ", quoted(case.host), " to ", now, ", and let a program keep it so"],
                [
                    write(entry![HostName::new(case.host), ".  A  ", now]).note("also of the wildcard"),
                    run("sudo apt install ddclient").note("or the router's own dynamic DNS"),
                ],
                evidence.verify(),
            )
            .undo(say(prose!["put the old record back: ", quoted(&away_words(case))])),
        ),
    )
}

/// Who answers there is somebody else: its certificate is not for this name, or not one that anybody trusts.
fn is_strange(evidence: &Evidence<'_>, line: &Line<'_>) -> bool {
    let certificate = line.tls.and_then(|seen| seen.body.certificate.as_ref());
    certificate.is_some_and(|it| !it.name_matches || !evidence.trusts(it))
}

/// The provider's own network between the router and the world has shared addresses (RFC 6598).
fn shared(evidence: &Evidence<'_>, case: &Case<'_>) -> Option<Cause> {
    let inside = evidence.inside();
    let hops = inside.hops()?;
    // A tunnel of one's own (Tailscale) has addresses of that range too, and is no provider.
    let tunnel =
        inside.way_out(&Vantage::Here, Family::V4).is_some_and(|seen| seen.body.range == Some(Range::Tailscale));
    let (place, router) = first_shared(&hops)?;
    if tunnel {
        return None;
    }
    Some(
        Cause::new(
            Code::NatCgnat,
            Impact::Broken,
            Confidence::Likely,
            format!("The provider shares its IPv4 addresses among customers (carrier-grade NAT): nobody can reach {} by IPv4.", case.host),
        )
        .saw(format!("router {place} on the way out is {router}, in 100.64.0.0/10: the provider's, behind a NAT of its own"))
        .because([hops.id()])
        .because(away_ids(case))
        .because(case.well.clone())
        .contrast(
            format!("https://{}/xrpc/_health, asked on this machine", case.host),
            format!("{}: {}", away_words(case), case.away.first().map(how).unwrap_or_default()),
            format!("{}: the PDS answers", case.front),
        )
        .settle("the address on the router's own status page: in 100.64.0.0/10, or not the one that icanhazip.com shows")
        .remedy(Remedy::new(
            "Ask the provider for a public IPv4 address of your own",
            [say("many give one on request; until then nothing on this machine or the router helps by IPv4")],
            evidence.verify(),
        ))
        .remedy(Remedy::new(
            "Put a server with a public address before it",
            [
                say("a small VPS with WireGuard to this machine, that passes TCP 80 and 443 on"),
                say("or publish only an AAAA record here and an A record of such a front"),
            ],
            evidence.verify(),
        )),
    )
}

fn first_shared(hops: &Seen<'_, HopsFact>) -> Option<(usize, IpAddr)> {
    let shared = |addr: &IpAddr| address_kind(*addr) == AddressKind::SharedNat;
    hops.body.hops.iter().enumerate().find_map(|(index, hop)| Some((index + 1, hop.filter(shared)?)))
}

/// This machine cannot reach its own public name, which leads to the router before it.
fn hairpin(evidence: &Evidence<'_>, case: &Case<'_>, found: &mut Found) -> Option<Cause> {
    let first = case.away.first()?;
    // Where others do not get there either, the port is closed: another rule's.
    let closed = reached(evidence) == Some(false);
    // The own name was connected to from where the PDS is: whatever is slow, it is not the way back.
    if let Some(id) = evidence.reaches_itself(case.host) {
        let why = format!("a connection to {} came about from {}", case.host, place_words(&evidence.inside().place()));
        found.rule_out(Code::NatHairpin, Bounds::seen(case.host, &evidence.inside().place()), why, [id]);
        return None;
    }
    if closed || case.away.iter().any(Line::connected) || !evidence.is_behind_nat() {
        return None;
    }
    let host = case.host;
    let how = how(first);
    let proven = reached(evidence) == Some(true);
    let whose = match seen_as(evidence) {
        Some((addr, _)) if addr == first.addr => "the router's address",
        _ => "not this machine's",
    };
    let (confidence, summary) = if proven {
        let summary = format!(
            "Others reach {host}, and its own machine does not: the router does not turn such connections round."
        );
        (Confidence::Confirmed, summary)
    } else {
        let summary = format!(
            "This machine cannot reach its own public name {host}: the router does not turn such connections round, or does not forward the port."
        );
        (Confidence::Likely, summary)
    };
    let cause = Cause::new(Code::NatHairpin, Impact::Degraded, confidence, summary)
        .saw(format!("{} is {whose}, and {how} from here", first.addr))
        .because(away_ids(case))
        .because(case.well.clone())
        .because(seen_as(evidence).map(|(_, id)| id))
        .contrast(
            format!("https://{host}/xrpc/_health, asked on this machine"),
            format!("{}: {how}", first.addr),
            format!("{}: the PDS answers", case.front),
        )
        .settle(prose![
            "open /xrpc/_health of ",
            quoted(host),
            " on a phone without WLAN: if it answers there, only the way back to oneself is missing"
        ]);
    let home = Remedy::new(
        "Let the name lead to this machine itself, here only",
        [run(command!["echo", word![own_address(evidence), " ", HostName::new(host)], "| sudo tee -a /etc/hosts"])],
        evidence.verify(),
    );
    let router = Remedy::new(
        "Switch on NAT loopback (hairpin NAT) in the router",
        [say("in the router's settings: NAT loopback, NAT reflection or hairpin NAT")],
        evidence.verify(),
    );
    Some(looked_twice(cause, evidence, &how).remedy(home.undo(say("remove the line from /etc/hosts"))).remedy(router))
}

/// The address with which this machine goes out.
fn own_address(evidence: &Evidence<'_>) -> IpAddr {
    let way = evidence.inside().way_out(&Vantage::Here, Family::V4);
    way.and_then(|seen| seen.body.source).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The PDS's health at its public name.
fn health(host: &str) -> Option<Url> {
    Url::at("https", host, None, "/xrpc/_health")
}
