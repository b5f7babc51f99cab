//! What a name means where the PDS is, before any name server is asked for it as it stands: the hosts file, and search
//! domains (nsswitch.conf(5), hosts(5), resolv.conf(5)).

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::DnsOutcome,
    fact::{Role, Vantage},
    host_fact::NameFilesFact,
    process_fact::NodeFetchFact,
};

use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen, host_of},
    inside::place_words,
    net_kinds::{AddressKind, address_kind},
    rules::{Found, Rule, list},
    step::{HostName, Settle, command, compose, prose, quoted, run, say, told},
};

pub(in crate::diagnose) const RULE: Rule =
    Rule { codes: &[Code::DnsHostsFileStale, Code::DnsSearchDomainHijack], judge };

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let inside = evidence.inside();
    let Some(files) = inside.own_name_files() else { return };
    let wanted = |role: Role| matches!(role, Role::Client | Role::Directory | Role::Service);
    let hosts: BTreeSet<(&str, Role)> = inside
        .questions()
        .filter(|seen| wanted(seen.body.role))
        .map(|seen| (seen.body.name.as_str(), seen.body.role))
        .collect();
    for (host, role) in hosts {
        found.causes.extend(cause(evidence, files, host, role));
    }
}

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn cause(evidence: &Evidence<'_>, files: Seen<'_, NameFilesFact>, host: &str, role: Role) -> Option<Cause> {
    let inside = evidence.inside();
    let place = inside.place();
    let found = inside.instead(host)?;
    // What the DNS has for the name itself, by whomever it was asked.
    let asked = inside.questions().filter(|seen| seen.body.name.as_str() == host);
    let answers: Vec<_> =
        asked.chain(evidence.address_answers(host)).filter(|seen| seen.body.outcome == DnsOutcome::Answer).collect();
    let published: BTreeSet<IpAddr> = answers.iter().flat_map(|seen| seen.body.addresses()).collect();
    // The same address is no other, and without one there is nothing to compare with.
    if published.is_empty() || found.addresses.iter().any(|addr| published.contains(addr)) {
        return None;
    }
    let fetched = super::fetched(evidence, host);
    // A client's host at an inner address is refused (`unicastLookup`, `@atproto-labs/fetch-node`); anything else fails if it
    // does not connect there.
    let refused = role == Role::Client && found.addresses.iter().any(|addr| address_kind(*addr) != AddressKind::Public);
    let tries: Vec<_> =
        inside.connects_to(&place, host).into_iter().filter(|seen| found.addresses.contains(&seen.body.addr)).collect();
    let dead = !tries.is_empty() && tries.iter().all(|seen| seen.body.failure.is_some());
    let impact = match fetched {
        Some(true) => return None,
        Some(false) => Impact::Broken,
        None if refused => Impact::Broken,
        None if dead => Impact::Degraded,
        None => return None,
    };
    // By the DNS's address the host answers.
    let works = inside
        .connects()
        .find(|seen| {
            seen.body.host.as_str() == host && published.contains(&seen.body.addr) && seen.body.failure.is_none()
        })
        .map(|seen| seen.id());
    let reference = super::fetched_by_reference(evidence, host);
    // What the C library there really gives, where the PDS's own Node was made to ask it.
    let asked = inside.node_fetches().filter(|seen| {
        host_of(&seen.body.url).as_deref() == Some(host)
            && seen.fact.vantage == place
            && !seen.body.addresses.is_empty()
    });
    let library = asked.into_iter().next();
    let gives = |seen: &Seen<'_, NodeFetchFact>| seen.body.addresses.iter().any(|addr| found.addresses.contains(addr));
    // It does not go that way, whatever the files say.
    if library.is_some_and(|seen| !gives(&seen)) {
        return None;
    }
    // The completed names were asked for one by one, as resolver libraries do it; they do it each in its own way.
    let followed = found.name.is_none() || library.is_some();
    let confidence = match works.is_some() || reference.is_some() {
        true if followed => Confidence::Confirmed,
        _ => Confidence::Likely,
    };
    let there = list(&found.addresses);
    let (code, summary, how) = match &found.name {
        None => (
            Code::DnsHostsFileStale,
            format!("The PDS takes {host} from its hosts file, at {there}; the DNS has {}.", list(&published)),
            format!("its hosts file: {there}"),
        ),
        Some(name) => (
            Code::DnsSearchDomainHijack,
            format!(
                "The PDS asks for {name} when it means {host}, and gets {there}: a search domain stands behind it."
            ),
            format!("{name}: {there}"),
        ),
    };
    let mut cause = Cause::new(code, impact, confidence, summary)
        .scope(Scope { host: Some(host.to_owned()), ..Scope::at(&place) })
        .because(found.ids.iter().cloned())
        .because(answers.iter().map(Seen::id).take(4))
        .because(tries.iter().map(Seen::id))
        .because(works)
        .because(reference)
        .contrast(
            format!("the addresses of {host}, as the PDS finds them and as the DNS has them"),
            format!("{}: {how}", place_words(&files.fact.vantage)),
            format!("{host}: {}", list(&published)),
        );
    if found.name.is_some() {
        cause = cause.saw(format!(
            "its resolv.conf has the search list {} and ndots {}: a name with fewer dots is completed first",
            list(&files.body.search),
            files.body.ndots()
        ));
    }
    if let Some(seen) = library {
        cause = cause.because([seen.id()]).contrast(
            format!("the addresses of {host}"),
            format!("the C library where the PDS is (Node's dns.lookup): {}", list(&seen.body.addresses)),
            format!("the DNS: {}", list(&published)),
        );
    }
    if !followed {
        cause = cause.settle(
            Settle::text("what the C library makes of the name where the PDS is:")
                .and(evidence.verify().with("--with-node")),
        );
    } else if confidence < Confidence::Confirmed {
        cause = cause.settle(prose!["a connection to ", quoted(host), " at ", told(&list(&published))]);
    }
    Some(cause.remedy(remedy(evidence, code, host, &files.fact.vantage)))
}

fn remedy(evidence: &Evidence<'_>, code: Code, host: &str, view: &Vantage) -> Remedy {
    let own = matches!(view, Vantage::Container(_));
    let verify = evidence.verify();
    match (code, own) {
        (Code::DnsHostsFileStale, true) => Remedy::new(
            "Take the line out of the container's hosts file",
            [
                say("in compose.yaml, under the PDS's service: no extra_hosts for that name"),
                compose("sudo docker compose up -d"),
            ],
            verify,
        )
        .disruptive()
        .undo(say("put the line back"))
        .undo(run("sudo docker compose up -d")),
        (Code::DnsHostsFileStale, false) => Remedy::new(
            "Take the line out of the hosts file that the PDS has",
            [
                run(command!["grep -n -i -F", HostName::new(host), "/etc/hosts"])
                    .note("or the file that is bound over it for the PDS"),
                say("delete the line, or put the address right that it has"),
            ],
            verify,
        )
        .undo(say("put the line back")),
        (_, true) => Remedy::new(
            "Let names with a dot be asked for as they stand",
            [
                say("in compose.yaml, under the PDS's service: dns_opt: [\"ndots:1\"], and no dns_search; in Kubernetes: dnsConfig with ndots 1"),
                compose("sudo docker compose up -d"),
            ],
            verify,
        )
        .disruptive()
        .undo(say("remove the line"))
        .undo(run("sudo docker compose up -d")),
        (_, false) => Remedy::new(
            "Let names with a dot be asked for as they stand",
            [say("in the resolv.conf that the PDS has, or in what writes it: no options ndots, or no such domain after search")],
            verify,
        )
        .undo(say("put the line back")),
    }
}
