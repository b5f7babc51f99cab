//! How names are resolved where the PDS is: not at all, now and then, or to addresses that a PDS refuses.

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, RecordType},
    fact::{FactId, Role, Vantage},
};

use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen, host_of},
    inside::place_words,
    net_kinds::{AddressKind, address_kind},
    outermost::outermost,
    rules::inside::way_out::SAME_FROM_HERE,
    rules::{Found, Rule, list},
    step::{HostName, Settle, command, prose, run, say, word, write},
};

pub(in crate::diagnose) const RULE: Rule = Rule {
    codes: &[Code::DnsContainerResolverDead, Code::DnsContainerResolverFlaky, Code::DnsSplitHorizonSsrf],
    judge,
};

/// One failure among many may be one lost packet; two of them are a habit.
const FAILURES: usize = 2;

/// Fewer questions than this are no series: a look-up of both types with its repetition is four.
const SERIES: usize = 6;

/// Of so many names none was found: one name alone may have broken servers of its own.
const NAMES: usize = 2;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let Some(files) = inside.name_files() else { return };
    let place = files.fact.vantage.clone();
    if let Some(cause) = dead(evidence, &place) {
        found.cause(cause);
        return;
    }
    let flaky = flaky(evidence, &place);
    if flaky.is_none() {
        let hosts: BTreeSet<String> = evidence.clients().into_iter().filter_map(host_of).collect();
        found.causes.extend(hosts.iter().filter_map(|host| one_name(evidence, &place, host)));
    }
    found.causes.extend(flaky);
    split(evidence, &place, found);
}

/// The questions that were asked as the PDS asks them, of the servers that it has; and those that were
/// asked there of others, for comparison.
fn asked<'a>(evidence: &Evidence<'a>, place: &Vantage) -> (Vec<Seen<'a, DnsFact>>, Vec<Seen<'a, DnsFact>>) {
    let inside = evidence.inside();
    let own: Vec<IpAddr> = inside
        .name_files()
        .map(|seen| seen.body.nameservers.iter().filter_map(|server| server.parse().ok()).collect())
        .unwrap_or_default();
    let there = inside.questions().filter(|seen| seen.fact.vantage == *place);
    there.partition(|seen| own.contains(&seen.body.server.ip()))
}

/// The server said something about the name, be it that there is none.
fn answered(fact: &DnsFact) -> bool {
    matches!(fact.outcome, DnsOutcome::Answer | DnsOutcome::NoData | DnsOutcome::NxDomain)
}

fn words(outcome: DnsOutcome) -> String {
    outcome.to_string().replace('_', " ")
}

/// The remedy for a resolver that should not be asked.
fn another_resolver(evidence: &Evidence<'_>, why: &'static str, at: &Vantage) -> Remedy {
    // Without an engine nobody writes its files but who made its namespace, or its unit.
    if let Vantage::Process(_) = at {
        return Remedy::new(
            prose!["Give the PDS a resolver ", why],
            [
                write("nameserver 9.9.9.9")
                    .at("in the resolv.conf that the PDS sees: of its network namespace /etc/netns/NAME/resolv.conf")
                    .note("or the file that its unit binds over /etc/resolv.conf"),
                say("then start the PDS anew"),
            ],
            evidence.verify(),
        )
        .disruptive()
        .undo(say("put the old name server back"));
    }
    if *at != Vantage::Here {
        Remedy::new(
            prose!["Give the PDS's container a resolver ", why],
            [
                write("dns: [9.9.9.9, 1.1.1.1]").at("in /pds/compose.yaml, in the PDS's service"),
                run("sudo docker compose -f /pds/compose.yaml up -d"),
            ],
            evidence.verify(),
        )
        .disruptive()
        .undo(say("remove the line"))
        .undo(run("sudo docker compose -f /pds/compose.yaml up -d"))
    } else {
        Remedy::new(
            prose!["Give this machine a resolver ", why],
            [
                write("DNS=9.9.9.9 1.1.1.1").at("with systemd-resolved, in /etc/systemd/resolved.conf"),
                run("sudo systemctl restart systemd-resolved").note("with systemd-resolved"),
                write("nameserver 9.9.9.9").at(
                    "otherwise, in /etc/resolv.conf, or in what writes it (NetworkManager, dhcpcd, the router's DHCP)",
                ),
            ],
            evidence.verify(),
        )
        .undo(say("put the old name server back"))
    }
}

fn dead(evidence: &Evidence<'_>, place: &Vantage) -> Option<Cause> {
    let (all, _) = asked(evidence, place);
    let names: BTreeSet<&str> = all.iter().map(|seen| seen.body.name.as_str()).collect();
    if names.len() < NAMES || all.iter().any(|seen| answered(seen.body)) {
        return None;
    }
    let servers: BTreeSet<String> = all.iter().map(|seen| seen.body.server.ip().to_string()).collect();
    let how: BTreeSet<String> = all.iter().map(|seen| words(seen.body.outcome)).collect();
    // The same names, asked of the machine's own servers.
    let elsewhere: Vec<_> = evidence
        .inside()
        .questions()
        .filter(|seen| seen.fact.vantage != *place && answered(seen.body) && names.contains(seen.body.name.as_str()))
        .collect();
    let here = elsewhere.first();
    let confidence = if here.is_some() { Confidence::Confirmed } else { Confidence::Likely };
    let again = evidence.inside().questions().filter(|seen| names.contains(seen.body.name.as_str()));
    let blame = outermost(place, again, answered);
    let at = blame.at(place);
    let mut cause = Cause::new(
        Code::DnsContainerResolverDead,
        Impact::Broken,
        confidence,
        format!(
            "The PDS cannot turn names into addresses: {} {} for every name ({}).",
            if servers.len() == 1 { "its name server" } else { "its name servers" },
            if how.iter().any(|how| how == "timeout") { "is silent" } else { "fails" },
            list(&servers)
        ),
    )
    .scope(Scope::at(&at))
    .saw(format!("{} names asked of {}: {}", names.len(), list(&servers), list(&how)))
    .because(all.iter().map(Seen::id))
    .because(blame.alike().iter().cloned());
    if at != *place {
        cause = cause.saw("this machine's own name servers answer none of them either: the container is not to blame");
    }
    cause = match here {
        Some(seen) => cause.because([seen.id()]).contrast(
            format!("the addresses of {}", seen.body.name),
            format!("{}: {}", place_words(place), list(&how)),
            format!("{}, from {}: found", place_words(&seen.fact.vantage), seen.body.server.ip()),
        ),
        None => cause
            .settle(Settle::text("the same names at another resolver, from here:").and("dig plc.directory @9.9.9.9")),
    };
    Some(cause.remedy(another_resolver(evidence, "that answers", &at)))
}

/// How a series of the same question went.
struct Series {
    asked: usize,
    /// What stayed without an answer, the last attempt of each.
    failed: Vec<(FactId, DnsOutcome)>,
    /// Answered when they were asked again after silence: a packet got lost, or the server was slow.
    late: usize,
}

/// What a name is asked for at a server: types fare apart.
type Subject<'a> = (&'a str, IpAddr, RecordType);

fn subject<'a>(seen: &Seen<'a, DnsFact>) -> Subject<'a> {
    (seen.body.name.as_str(), seen.body.server.ip(), seen.body.record_type)
}

/// A question is one however often it was tried: what a second attempt cures is no failure, for every resolver library
/// makes one (resolv.conf(5), `attempts`), and without EDNS it is made to servers that know none (RFC 6891, section 6.2.2).
fn series(all: &[Seen<'_, DnsFact>], of: Subject<'_>) -> Series {
    let of_it = all.iter().filter(|seen| subject(seen) == of).copied();
    let (first, mut again): (Vec<Seen<'_, DnsFact>>, Vec<Seen<'_, DnsFact>>) =
        of_it.partition(|seen| seen.body.attempt <= 1);
    let mut series = Series { asked: 0, failed: Vec::new(), late: 0 };
    for seen in first {
        series.asked += 1;
        if answered(seen.body) {
            continue;
        }
        // The attempt that followed it began when it was over.
        let over = seen.fact.started_ms.saturating_add(seen.took());
        let next = again.iter().enumerate().filter(|(_, later)| later.fact.started_ms >= over);
        let last = match next.min_by_key(|(_, later)| later.fact.started_ms).map(|(at, _)| at) {
            Some(at) => again.swap_remove(at),
            None => seen,
        };
        if !answered(last.body) {
            series.failed.push((last.id(), last.body.outcome));
        } else if seen.body.outcome == DnsOutcome::Timeout {
            series.late += 1;
        }
    }
    series
}

fn flaky(evidence: &Evidence<'_>, place: &Vantage) -> Option<Cause> {
    let (all, _) = asked(evidence, place);
    let subjects: BTreeSet<(&str, IpAddr, String)> = all
        .iter()
        .map(|seen| (seen.body.name.as_str(), seen.body.server.ip(), seen.body.record_type.to_string()))
        .collect();
    let kinds = [RecordType::A, RecordType::Aaaa];
    let ((name, server, _), worst) = subjects
        .into_iter()
        .filter_map(|(name, server, kind)| {
            let kind = kinds.into_iter().find(|known| known.to_string() == kind)?;
            Some(((name, server, kind), series(&all, (name, server, kind))))
        })
        .filter(|(_, series)| {
            series.asked >= SERIES && series.failed.len() >= FAILURES && series.failed.len() < series.asked
        })
        .max_by_key(|(_, series)| series.failed.len())?;
    let how: BTreeSet<String> = worst.failed.iter().map(|(_, outcome)| words(*outcome)).collect();
    // Silence may be the path's: only what the server says is the server's for certain.
    let silent = worst.late > 0 || worst.failed.iter().any(|(_, outcome)| *outcome == DnsOutcome::Timeout);
    let others: Vec<_> = evidence
        .inside()
        .questions()
        .filter(|seen| {
            seen.fact.vantage != *place && seen.body.name.as_str() == name && seen.body.server.ip() != server
        })
        .collect();
    let steady = others.len() >= SERIES && others.iter().all(|seen| answered(seen.body));
    let confidence = if steady && !silent { Confidence::Confirmed } else { Confidence::Likely };
    // The same series, as this machine asks it.
    let here: Vec<_> = evidence.inside().questions().filter(|seen| seen.fact.vantage == Vantage::Here).collect();
    let here_too: Vec<FactId> = here
        .iter()
        .filter(|seen| *place != Vantage::Here && seen.body.name.as_str() == name)
        .map(subject)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|of| self::series(&here, of))
        .filter(|series| series.asked >= SERIES && series.failed.len() >= FAILURES)
        .flat_map(|series| series.failed.into_iter().map(|(id, _)| id))
        .collect();
    let at = if here_too.is_empty() { place.clone() } else { Vantage::Here };
    let summary = format!(
        "The PDS's resolver {server} fails now and then: {} of {} questions about {name} got no answer.",
        worst.failed.len(),
        worst.asked
    );
    let fails_now = super::fetched(evidence, name) == Some(false);
    let impact = if fails_now { Impact::Broken } else { Impact::Degraded };
    let mut cause = Cause::new(Code::DnsContainerResolverFlaky, impact, confidence, summary)
        .scope(Scope::at(&at))
        .saw(format!("the failures: {}", list(&how)))
        .because(worst.failed.iter().map(|(id, _)| id.clone()));
    if !here_too.is_empty() {
        cause = cause.saw(SAME_FROM_HERE).because(here_too);
    }
    cause = match others.first().filter(|_| steady) {
        Some(seen) => cause.because(others.iter().map(Seen::id)).contrast(
            format!("the same question about {name}, several times"),
            format!("{}, from {server}: {} of {} failed", place_words(place), worst.failed.len(), worst.asked),
            format!(
                "{}, from {}: none of {} failed",
                place_words(&seen.fact.vantage),
                seen.body.server.ip(),
                others.len()
            ),
        ),
        None => cause,
    };
    if confidence < Confidence::Confirmed {
        cause = cause.settle(if silent {
            by_tcp(name, server)
        } else {
            Settle::text("a few times:")
                .and(command!["dig +tries=1", HostName::new(name), word!["@", server]])
                .then(", and the same at another resolver")
        });
    }
    Some(cause.remedy(another_resolver(evidence, "that answers every time", &at)))
}

/// What tells a silent resolver from packets that get lost on the way to it.
fn by_tcp(name: &str, server: IpAddr) -> Settle {
    Settle::text("a few times, by TCP, which repeats what gets lost:")
        .and(command!["dig +tcp +tries=1", HostName::new(name), word!["@", server]])
        .then(". If that always answers, packets get lost on the way to it")
}

/// The PDS's servers fail for an application's name, or deny it, and know others; the reference knows it.
fn one_name(evidence: &Evidence<'_>, place: &Vantage, host: &str) -> Option<Cause> {
    let (all, _) = asked(evidence, place);
    let (of_host, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|seen| seen.body.name.as_str() == host);
    let known = others.iter().find(|seen| seen.body.outcome == DnsOutcome::Answer)?;
    if of_host.is_empty() || of_host.iter().any(|seen| seen.body.outcome == DnsOutcome::Answer) {
        return None;
    }
    if super::fetched(evidence, host) != Some(false) {
        return None;
    }
    let reference = super::fetched_by_reference(evidence, host)?;
    let how: BTreeSet<String> = of_host.iter().map(|seen| words(seen.body.outcome)).collect();
    let servers: BTreeSet<String> = of_host.iter().map(|seen| seen.body.server.ip().to_string()).collect();
    let denied = of_host.iter().all(|seen| answered(seen.body));
    // Silence about one name, where questions about others get lost as well, may be the path's.
    let silent = |seen: &Seen<'_, DnsFact>| seen.body.outcome == DnsOutcome::Timeout;
    let lossy = of_host.iter().all(silent) && others.iter().any(silent);
    let again = evidence.inside().questions().filter(|seen| seen.body.name.as_str() == host);
    let blame = outermost(place, again, |body| body.outcome == DnsOutcome::Answer);
    let at = blame.at(place);
    let confidence = if lossy { Confidence::Likely } else { Confidence::Confirmed };
    let summary = format!(
        "The PDS's resolver {} {host}, so logins to it fail; it knows {}.",
        if denied { "denies that there is" } else { "fails for" },
        known.body.name
    );
    let cause = Cause::new(Code::DnsContainerResolverFlaky, Impact::Broken, confidence, summary)
        .scope(Scope { host: Some(host.to_owned()), ..Scope::at(&at) });
    let cause = if lossy { cause.settle(by_tcp(host, of_host.first()?.body.server.ip())) } else { cause };
    let cause = match blame.works_here() {
        Some(works) => cause.because([works.id()]).contrast(
            format!("the addresses of {host}, asked from two places"),
            format!("{}, of {}: {}", place_words(place), list(&servers), list(&how)),
            format!("this machine, of {}: {}", works.body.server.ip(), list(works.body.addresses())),
        ),
        None if at != *place => cause.saw(SAME_FROM_HERE).because(blame.alike().iter().cloned()),
        None => cause,
    };
    Some(
        cause
            .saw(if denied {
                "a resolver that filters (an ad blocker, parental control, a company's) denies what it does not like"
            } else {
                "its servers may not reach those of that name, or not believe their signatures (DNSSEC)"
            })
            .because(of_host.iter().map(Seen::id))
            .because([known.id(), reference])
            .contrast(
                format!("two names, asked of {} from {}", list(&servers), place_words(place)),
                format!("{host}: {}", list(&how)),
                format!("{}: {}", known.body.name, list(known.body.addresses())),
            )
            .contrast(
                format!("the client metadata of {host}"),
                format!("{}: could not be fetched", evidence.name()),
                format!("{}: fetched", evidence.reference().unwrap_or("the reference")),
            )
            .remedy(another_resolver(evidence, "that knows every name", &at)),
    )
}

/// A public name with an address that is not public: the PDS refuses the whole host (`unicastLookup`,
/// `@atproto-labs/fetch-node`).
fn split(evidence: &Evidence<'_>, place: &Vantage, found: &mut Found) {
    let inside = evidence.inside();
    // Switched off, it does not refuse.
    let off = inside.pds().is_some_and(|pds| {
        pds.body
            .environment
            .iter()
            .any(|entry| ["PDS_DISABLE_SSRF_PROTECTION", "PDS_DEV_MODE"].contains(&entry.key.as_str()))
    });
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    hosts.extend(inside.questions().filter(|seen| seen.body.role == Role::Client).map(|seen| seen.body.name.as_str()));
    for host in hosts {
        // What the PDS gets for the name is something else: another rule's.
        if inside.instead(host).is_some() {
            continue;
        }
        let about = |seen: &Seen<'_, DnsFact>| seen.body.name.as_str() == host;
        let (own, others) = asked(evidence, place);
        let of_host: Vec<_> = own.into_iter().filter(about).collect();
        let bad = |seen: &Seen<'_, DnsFact>| {
            seen.body.addresses().into_iter().find(|addr| address_kind(*addr) != AddressKind::Public)
        };
        let Some((first, addr)) = of_host.iter().find_map(|seen| Some((seen, bad(seen)?))) else {
            // Said only of the files that are the PDS's own for certain.
            let known = inside.own_name_files().is_some();
            if known && of_host.iter().any(|seen| seen.body.outcome == DnsOutcome::Answer) {
                let why = format!("every address of {host} is public, as the PDS's own resolver gives them");
                found.rule_out(Code::DnsSplitHorizonSsrf, Bounds::seen(host, place), why, of_host.iter().map(Seen::id));
            }
            continue;
        };
        let all: Vec<_> = inside.questions().filter(about).collect();
        let worldwide: Vec<_> = others.into_iter().filter(|seen| about(seen) && answered(seen.body)).collect();
        if worldwide.iter().any(|seen| bad(seen).is_some()) {
            // The application itself publishes it: that is what everybody gets.
            continue;
        }
        if off || super::fetched(evidence, host) == Some(true) {
            continue;
        }
        let kind = address_kind(addr);
        let other = worldwide.iter().find(|seen| seen.body.outcome == DnsOutcome::Answer).copied().or_else(|| {
            let from = evidence.address_answers(host).into_iter();
            from.chain(all.iter().copied()).find(|seen| {
                seen.body.outcome == DnsOutcome::Answer
                    && seen.body.server.ip() != first.body.server.ip()
                    && seen.body.record_type == first.body.record_type
                    && bad(seen).is_none()
            })
        });
        let confidence = if other.is_some() { Confidence::Confirmed } else { Confidence::Likely };
        let summary = format!(
            "The PDS's resolver gives {addr} for {host}, a {kind} address, so the PDS refuses to fetch from it."
        );
        let mut cause = Cause::new(Code::DnsSplitHorizonSsrf, Impact::Broken, confidence, summary)
            .scope(Scope { vantage: Some(place.clone().into()), ..Scope::host(host) })
            .saw(format!("one address that is not public is enough: {} says {addr}", first.body.server.ip()))
            .because(of_host.iter().filter(|seen| bad(seen).is_some()).map(Seen::id));
        cause = match other {
            Some(seen) => cause.because([seen.id()]).contrast(
                format!("the addresses of {host}"),
                format!("{}: {addr}", first.body.server.ip()),
                format!("{}: {}", seen.body.server.ip(), list(seen.body.addresses())),
            ),
            None => cause.settle(Settle::run(command!["dig", HostName::new(host), "@9.9.9.9"]).and(command![
                "dig",
                HostName::new(host),
                word!["@", first.body.server.ip()]
            ])),
        };
        let why = match kind {
            AddressKind::Nat64 => "with the public view, without DNS64",
            _ => "with the public view",
        };
        let remedy = another_resolver(evidence, why, place);
        found.cause(cause.remedy(remedy));
    }
}
