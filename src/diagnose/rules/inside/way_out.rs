//! What the PDS sends out, seen from where it is: blocked, intercepted, or turned away by the application's edge.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{ConnectFact, FailureKind, Family, Role, Vantage},
    http_fact::{BodyClass, HttpFact, HttpPurpose},
    tls_fact::TlsFact,
};

use super::{fetched, keeper::Keeper};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen, host_of},
    inside::{Fate, fate, place_words},
    net_kinds::{AddressKind, address_kind},
    outermost::{Blame, outermost},
    rules::{Found, Rule, list},
    step::{HostName, Settle, Url, command, compose, prose, quoted, run, say, write},
};

pub(in crate::diagnose) const RULE: Rule =
    Rule { codes: &[Code::FwEgressClosed, Code::EgressTlsIntercepted, Code::EdgeBotChallengeOutbound], judge };

/// So many hosts that have nothing to do with each other do not fail in the same way by chance.
const HOSTS: usize = 2;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let place = evidence.inside().place();
    if let Some(cause) = everything_blocked(evidence, &place) {
        found.cause(cause);
        return;
    }
    for host in app_hosts(evidence) {
        found.causes.extend(one_blocked(evidence, &place, host));
        found.causes.extend(challenged(evidence, &place, host));
    }
    found.causes.extend(intercepted(evidence, &place));
}

/// Hosts of applications that were tried from inside.
fn app_hosts<'a>(evidence: &Evidence<'a>) -> BTreeSet<&'a str> {
    let of_apps = evidence.inside().connects().filter(|seen| seen.body.role == Role::Client);
    of_apps.map(|seen| seen.body.host.as_str()).collect()
}

/// The connections from a place by IPv4 to hosts other than the PDS itself, one for each address.
fn outward<'a>(evidence: &Evidence<'a>, place: &Vantage) -> Vec<Seen<'a, ConnectFact>> {
    let all = evidence.inside().tries(place, Family::V4, evidence.host()).into_iter();
    all.filter(|seen| seen.body.role != Role::Target).collect()
}

fn fate_of(seen: &Seen<'_, ConnectFact>) -> Fate {
    fate(seen.body.failure.as_ref())
}

/// The packets were dropped or rejected on the way, as a firewall does.
fn stopped(seen: &Seen<'_, ConnectFact>) -> bool {
    matches!(fate_of(seen), Fate::Silent | Fate::Prohibited)
}

/// No connection came about, and somebody on the way may have seen to that: a firewall can reset and call a host
/// unreachable as well (iptables-extensions(8), REJECT).
fn fails(seen: &Seen<'_, ConnectFact>) -> bool {
    seen.body.failure.is_some() && fate_of(seen) != Fate::Other
}

fn connected(seen: &Seen<'_, ConnectFact>) -> bool {
    seen.body.failure.is_none()
}

fn how(seen: &Seen<'_, ConnectFact>) -> String {
    let took = seen.took();
    match fate_of(seen) {
        Fate::Answered if seen.body.failure.is_some() => format!("refused after {took} ms"),
        Fate::Answered => format!("answers after {took} ms"),
        Fate::Silent => format!("silent for {took} ms"),
        Fate::Prohibited => format!("rejected by a firewall after {took} ms"),
        Fate::NoRoute if is_unreachable(seen) => format!("called unreachable after {took} ms"),
        Fate::NoRoute => format!("no route ({took} ms)"),
        Fate::Other => "fails".to_owned(),
    }
}

/// A router or a firewall says so: nobody finds out by itself in less than a second (ARP).
fn is_unreachable(seen: &Seen<'_, ConnectFact>) -> bool {
    seen.body.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::HostUnreachable)
}

/// What to do where the PDS's network has no route at all.
fn lead_out(evidence: &Evidence<'_>) -> Remedy {
    if let Keeper::Namespace(pid) = Keeper::of(evidence) {
        return Remedy::new(
            "Give the PDS's network namespace a way out",
            [
                run(command!["sudo nsenter -t", pid, "-n ip route show default"]).note("must name a router"),
                say("where the namespace is made: a default route to this machine's end, and masquerading of what comes from there"),
            ],
            evidence.verify(),
        )
        .disruptive()
        .undo(say("take the route out again"));
    }
    Remedy::new(
        "Give the PDS's container a network that leads out",
        [
            run("sudo docker network inspect -f '{{.Name}} internal={{.Internal}}' $(sudo docker network ls -q)"),
            say("in compose.yaml: no \"internal: true\" at the PDS's only network; or a second network without it, under its service"),
            compose("sudo docker compose up -d"),
        ],
        evidence.verify(),
    )
    .disruptive()
    .undo(say("put the line back"))
    .undo(run("sudo docker compose up -d"))
}

pub(super) fn let_out(evidence: &Evidence<'_>, host: Option<&str>, at: &Vantage) -> Remedy {
    let confined = *at != Vantage::Here;
    let mut steps = vec![run("sudo nft list ruleset | grep -iE 'drop|reject'").note("find the rule")];
    let docker = confined && Keeper::of(evidence) == Keeper::Docker;
    if docker {
        steps.push(run("sudo iptables -L DOCKER-USER -nv").note("rules of one's own before Docker's"));
    }
    let chain = match (confined, docker) {
        (true, true) => "DOCKER-USER",
        (true, false) => "FORWARD",
        _ => "OUTPUT",
    };
    let rule = |what: &'static str| match host {
        Some(host) => {
            run(command!["sudo iptables", what, chain, "-d", HostName::new(host), "-p tcp --dport 443 -j ACCEPT"])
        }
        None => run(command!["sudo iptables", what, chain, "-p tcp --dport 443 -j ACCEPT"]),
    };
    steps.push(rule("-I"));
    steps.push(say("in a cloud: allow outbound TCP 443 in the security group"));
    Remedy::new("Let the PDS out by TCP 443", steps, evidence.verify()).undo(rule("-D"))
}

/// Nothing that goes out by IPv4 is answered, although there is a route.
fn everything_blocked(evidence: &Evidence<'_>, place: &Vantage) -> Option<Cause> {
    let tries = outward(evidence, place);
    let hosts: BTreeSet<&str> = tries.iter().map(|seen| seen.body.host.as_str()).collect();
    let v6_works =
        evidence.inside().tries(place, Family::V6, evidence.host()).iter().any(|s| fate_of(s) == Fate::Answered);
    if hosts.len() < HOSTS || v6_works {
        return None;
    }
    let contrast = elsewhere(evidence, place, &hosts);
    let is_so = tries.iter().all(stopped) || (contrast.is_some() && tries.iter().all(fails));
    if !is_so {
        return None;
    }
    let confidence = if contrast.is_some() { Confidence::Confirmed } else { Confidence::Likely };
    let summary = format!("Nothing that the PDS sends out is answered: TCP 443 to {} is blocked.", list(&hosts));
    let blame = blame(evidence, place, &hosts);
    let at = blame.at(place);
    let mut cause = Cause::new(Code::FwEgressClosed, Impact::Broken, confidence, summary)
        .scope(Scope::at(&at))
        .because(tries.iter().map(Seen::id))
        .because(blame.alike().iter().cloned());
    let first = tries.first()?;
    cause = cause.saw(format!("{}: {}", first.body.host, how(first)));
    if at != *place {
        cause = cause.saw(SAME_FROM_HERE);
    }
    Some(
        match contrast {
            Some(other) => cause.because([other.id()]).contrast(
                format!("a TCP connection to {}", other.body.host),
                format!("{}: {}", place_words(place), how(first)),
                format!("{}: {}", place_words(&other.fact.vantage), how(&other)),
            ),
            None => cause.settle("the same connections from another machine in the same network"),
        }
        .remedy(if tries.iter().all(|seen| fate_of(seen) == Fate::NoRoute && !is_unreachable(seen)) {
            lead_out(evidence)
        } else {
            let_out(evidence, None, &at)
        }),
    )
}

/// Said where the machine fails as its container does.
pub(super) const SAME_FROM_HERE: &str =
    "it is the same from this machine itself: the container's network is not to blame";

/// Whose fault it is that these hosts are not connected to by IPv4.
fn blame<'a>(evidence: &Evidence<'a>, place: &Vantage, hosts: &BTreeSet<&str>) -> Blame<'a, ConnectFact> {
    let same = |seen: &Seen<'a, ConnectFact>| seen.body.addr.is_ipv4() && hosts.contains(seen.body.host.as_str());
    outermost(place, evidence.inside().connects().filter(same), |body| body.failure.is_none())
}

/// A connection to one of the hosts that came about at another place.
fn elsewhere<'a>(evidence: &Evidence<'a>, place: &Vantage, hosts: &BTreeSet<&str>) -> Option<Seen<'a, ConnectFact>> {
    let mut all = evidence.inside().connects();
    all.find(|seen| {
        seen.fact.vantage != *place
            && hosts.contains(seen.body.host.as_str())
            && seen.body.addr.is_ipv4()
            && connected(seen)
    })
}

/// A name server may give others; the PDS refuses them.
fn is_public_v4(seen: &Seen<'_, ConnectFact>) -> bool {
    seen.body.addr.is_ipv4() && address_kind(seen.body.addr) == AddressKind::Public
}

/// One application is not let through, others are.
fn one_blocked(evidence: &Evidence<'_>, place: &Vantage, host: &str) -> Option<Cause> {
    let tries: Vec<_> =
        evidence.inside().connects_to(place, host).into_iter().filter(|seen| is_public_v4(seen)).collect();
    let others = outward(evidence, place);
    let control = others.iter().find(|seen| seen.body.host.as_str() != host && connected(seen))?;
    if tries.is_empty() || !tries.iter().all(fails) || fetched(evidence, host) == Some(true) {
        return None;
    }
    // That the application is up must be seen: from this machine, or by the reference.
    let only: BTreeSet<&str> = BTreeSet::from([host]);
    let contrast = elsewhere(evidence, place, &only);
    let reference = super::fetched_by_reference(evidence, host);
    let confidence = match (&contrast, &reference) {
        (Some(_), _) => Confidence::Confirmed,
        (None, Some(_)) => Confidence::Likely,
        // It may be the application that is down.
        (None, None) => return None,
    };
    let first = tries.first()?;
    let dropped = tries.iter().all(|seen| fate_of(seen) == Fate::Silent);
    let summary = format!(
        "What the PDS sends to {host} is {}: {} {}, while {} answers.",
        if dropped { "dropped on the way" } else { "rejected on the way" },
        first.body.addr,
        how(first),
        control.body.host
    );
    let blame = blame(evidence, place, &only);
    let at = blame.at(place);
    let mut cause = Cause::new(Code::FwEgressClosed, Impact::Broken, confidence, summary)
        .scope(Scope { host: Some(host.to_owned()), ..Scope::at(&at) })
        .because(tries.iter().map(Seen::id))
        .because(blame.alike().iter().cloned())
        .because([control.id()])
        .because(reference);
    if at != *place {
        cause = cause.saw(SAME_FROM_HERE);
    }
    Some(
        match contrast {
            Some(other) => cause.because([other.id()]).contrast(
                format!("a TCP connection to {host}"),
                format!("{}: {}", place_words(place), how(first)),
                format!("{}: {}", place_words(&other.fact.vantage), how(&other)),
            ),
            None => cause.settle(
                Settle::text("from another machine in the same network:")
                    .and(command!["curl -4 -sv -o /dev/null", Url::at("https", host, None, "/")]),
            ),
        }
        .remedy(let_out(evidence, Some(host), &at)),
    )
}

/// The application's edge answers this server with a challenge.
fn challenged(evidence: &Evidence<'_>, place: &Vantage, host: &str) -> Option<Cause> {
    let refused = |seen: &Seen<'_, HttpFact>| {
        let page = seen.body.body.as_ref().is_some_and(|body| body.class == BodyClass::Html);
        let says = seen.body.headers.contains_key("cf-mitigated");
        // 429 is a limit on requests, which passes, unless the edge says otherwise.
        let turned_away = matches!(seen.body.status, Some(401 | 403 | 503)) || says && seen.body.status == Some(429);
        seen.body.purpose == HttpPurpose::ClientDocument && turned_away && (says || page)
    };
    let seen = evidence.inside().exchanges_with(place, host).into_iter().find(refused)?;
    if fetched(evidence, host) == Some(true) {
        return None;
    }
    let client = evidence.clients().into_iter().find(|client| host_of(client).as_deref() == Some(host))?;
    let passes = evidence.fetched_by_reference(client);
    let says = seen.body.headers.contains_key("cf-mitigated");
    let confidence = match (&passes, says) {
        (Some(_), _) => Confidence::Confirmed,
        (None, true) => Confidence::Likely,
        // A page with 403 for everybody is the application's own fault.
        (None, false) => return None,
    };
    let status = seen.body.status.unwrap_or(0);
    let summary = format!(
        "Logins to {host} fail because its edge turns this server's address away (HTTP {status}); your PDS is not at fault."
    );
    let cause = Cause::new(Code::EdgeBotChallengeOutbound, Impact::Broken, confidence, summary)
        .scope(Scope { host: Some(host.to_owned()), ..Scope::at(place) })
        .because([seen.id()])
        .saw(if says {
            "the answer says so: cf-mitigated".to_owned()
        } else {
            format!("a web page with HTTP {status}")
        });
    let cause = match passes {
        Some((theirs, stage)) => cause.because([theirs.id()]).contrast(
            format!("{client}, fetched from two servers"),
            format!("{}: HTTP {status}", place_words(place)),
            format!("{}: {}", evidence.reference().unwrap_or("the reference"), stage.words()),
        ),
        None => cause.settle(Settle::run(command!["curl -i", Url::new(client)]).then(", from another network")),
    };
    Some(cause.remedy(Remedy::new(
        prose!["Ask the operators of ", quoted(host), " to let your server's address through to its client metadata"],
        [run(command!["curl -sS -o /dev/null -D -", Url::new(client)]).note("on this machine; send them the answer")],
        evidence.verify(),
    )))
}

/// Handshakes from a place, in packets of any size, one for each host but the PDS itself.
pub(super) fn handshakes<'a>(evidence: &Evidence<'a>, place: &Vantage) -> Vec<Seen<'a, TlsFact>> {
    let mut names = BTreeSet::new();
    let all = evidence.inside().handshakes();
    all.filter(|seen| seen.fact.vantage == *place && seen.body.role != Role::Target)
        .filter(|seen| seen.body.max_segment.is_none() && names.insert(seen.body.sni.as_str()))
        .collect()
}

/// Hosts that have nothing to do with each other show certificates of the same unknown issuer.
fn intercepted(evidence: &Evidence<'_>, place: &Vantage) -> Option<Cause> {
    let all = handshakes(evidence, place);
    let untrusted: Vec<_> =
        all.iter().filter(|seen| seen.body.certificate.as_ref().is_some_and(|it| !it.is_trusted())).copied().collect();
    let issuer = untrusted.first()?.body.certificate.as_ref()?.issuer.clone();
    let same = |seen: &&Seen<'_, TlsFact>| seen.body.certificate.as_ref().is_some_and(|it| it.issuer == issuer);
    let of_one: Vec<_> = untrusted.iter().filter(same).copied().collect();
    if of_one.len() < HOSTS || of_one.len() < all.len() {
        return None;
    }
    let hosts: BTreeSet<&str> = of_one.iter().map(|seen| seen.body.sni.as_str()).collect();
    let good = evidence.inside().handshakes().chain(evidence.all_tls().iter().copied()).find(|seen| {
        seen.fact.vantage != *place
            && hosts.contains(seen.body.sni.as_str())
            && seen.body.certificate.as_ref().is_some_and(|it| it.is_trusted() && it.issuer != issuer)
    });
    let confidence = if good.is_some() { Confidence::Confirmed } else { Confidence::Likely };
    let summary =
        format!("TLS of the PDS's own requests is intercepted: {} all show certificates of {issuer}.", list(&hosts));
    // An inspector of the machine's, or of its network, is there for the machine itself too.
    let shown = evidence.inside().handshakes().filter(|seen| {
        hosts.contains(seen.body.sni.as_str()) && seen.body.max_segment.is_none() && seen.body.certificate.is_some()
    });
    let blame = outermost(place, shown, |body| body.certificate.as_ref().is_some_and(|it| it.issuer != issuer));
    let at = blame.at(place);
    let mut cause = Cause::new(Code::EgressTlsIntercepted, Impact::Broken, confidence, summary)
        .scope(Scope::at(&at))
        .because(of_one.iter().map(Seen::id))
        .because(blame.alike().iter().cloned());
    if at != *place {
        cause = cause.saw(SAME_FROM_HERE);
    }
    let cause = match good {
        Some(other) => {
            let theirs = other.body.certificate.as_ref().map(|it| it.issuer.to_string()).unwrap_or_default();
            cause.because([other.id()]).contrast(
                format!("the certificate of {}", other.body.sni),
                format!("{}: by {issuer}", place_words(place)),
                format!("{}: by {theirs}", place_words(&other.fact.vantage)),
            )
        }
        None => cause.settle("the same handshakes from another network"),
    };
    Some(
        cause.remedy(
            Remedy::new(
                "Take the PDS out of the inspection, or let Node trust the inspector's root",
                [
                    write("NODE_EXTRA_CA_CERTS=/pds/inspector-root.pem").note("in /pds/pds.env"),
                    run("sudo systemctl restart pds"),
                ],
                evidence.verify(),
            )
            .disruptive()
            .undo(say("remove the line"))
            .undo(run("sudo systemctl restart pds")),
        ),
    )
}
