//! Where the fault is said to be, held against what was measured elsewhere, and against what the remedies act on.

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    fact::{Fact, FactBody, FailureKind, Vantage},
    process_fact::ConfinementKind,
};

use crate::diagnose::{Cause, Code, evidence::Evidence, step::Step};

/// Causes that put the blame on the network of the place where they were seen. Others name what the PDS makes of a
/// network (Node's timers) or what is wrong beyond it, and stay true where other places fare alike.
const OF_A_NETWORK: &[Code] = &[
    Code::DnsContainerResolverDead,
    Code::V6UlaIntoHole,
    Code::V6BlackholeEgress,
    Code::V6ContainerHasNone,
    Code::EgressTlsIntercepted,
    Code::MtuContainerOverTunnel,
    Code::FwEgressClosed,
];

/// What exonerates a place changes the cause: blame goes to the outermost place at which the same thing fails.
pub(super) fn is_where_it_fails(evidence: &Evidence<'_>, cause: &Cause, must: &mut impl FnMut(bool, &str)) {
    let Some(place) = cause.scope.vantage.as_deref().and_then(|place| place.parse::<Vantage>().ok()) else { return };
    let exonerated = cause.seen.iter().any(|line| line.contains("is not to blame"));
    must(place == Vantage::Here || !exonerated, "a place is called blameless, and blamed");
    if !OF_A_NETWORK.contains(&cause.code) {
        return;
    }
    let rests_on = |fact: &&Fact| cause.because.contains(&fact.id);
    let failed: Vec<(&Fact, Attempt)> = evidence
        .run
        .facts
        .iter()
        .filter(rests_on)
        .filter_map(|fact| Some((fact, attempt(&fact.body).filter(|attempt| attempt.failure.is_some())?)))
        .collect();
    // The same, tried from this machine: did it fail in the same way whenever it was? Where a place is met with silence
    // and the machine with a refusal at once, two things fail.
    let here = |wanted: &Attempt| {
        let own = evidence.run.facts.iter().filter(|fact| fact.vantage == Vantage::Here);
        let mut tries = own.filter_map(|fact| attempt(&fact.body)).filter(|it| it.what == wanted.what).peekable();
        tries.peek().is_some().then(|| tries.all(|it| it.failure == wanted.failure))
    };
    if place == Vantage::Here {
        // What fails inside, and works from this machine each time, is not this machine's.
        let (inside, own): (Vec<_>, Vec<_>) = failed.iter().partition(|(fact, _)| fact.vantage != Vantage::Here);
        let works = |(_, attempt): &&(&Fact, Attempt)| here(attempt) == Some(false);
        must(
            inside.is_empty() || !own.is_empty() || !inside.iter().copied().all(|it| works(&it)),
            "this machine is blamed for what works from it",
        );
    } else {
        let tried: Vec<bool> =
            failed.iter().filter(|(fact, _)| fact.vantage == place).filter_map(|(_, it)| here(it)).collect();
        must(
            tried.is_empty() || tried.contains(&false),
            "a place is blamed for what fails from the machine around it as well",
        );
    }
}

/// One attempt at something.
struct Attempt {
    what: (&'static str, String, IpAddr, u16),
    failure: Option<FailureKind>,
}

fn attempt(body: &FactBody) -> Option<Attempt> {
    match body {
        FactBody::Connect(body) => {
            let failure = body.failure.as_ref().map(|failure| failure.kind);
            Some(Attempt { what: ("connect", String::new(), body.addr, body.port), failure })
        }
        FactBody::Tls(body) => {
            let failure = body.failure.as_ref().map(|failure| failure.kind);
            Some(Attempt { what: ("tls", body.sni.to_string(), body.addr, body.port), failure })
        }
        _ => None,
    }
}

/// No remedy that cannot act where the fault is.
pub(super) fn is_where_remedies_act(evidence: &Evidence<'_>, cause: &Cause, must: &mut impl FnMut(bool, &str)) {
    let elsewhere = cause
        .scope
        .vantage
        .as_deref()
        .is_some_and(|place| place.parse::<Vantage>().is_ok_and(|place| place != Vantage::Here));
    let inside = evidence.inside();
    let own_network = inside.place() != Vantage::Here;
    let unit = inside.pds().filter(|pds| pds.body.confinement.kind == ConfinementKind::Systemd);
    let unit = unit.and_then(|pds| pds.body.confinement.id.as_deref());
    let interfaces = interfaces(evidence);
    for step in cause.remedies.iter().flat_map(|remedy| &remedy.steps) {
        match step {
            Step::Run { command, .. } => {
                let command = command.to_string();
                let enters = command.contains("nsenter") || command.contains("docker exec");
                let sets = command.contains("sysctl -w") || command.contains("sysctl.d/");
                let whole = sets && command.contains("conf.all.disable_ipv6");
                must(
                    enters || !(sets && elsewhere || whole && own_network),
                    "a setting of this machine's kernel is to mend another network",
                );
                let named = command.split(|c: char| c.is_whitespace() || "'\"".contains(c)).filter_map(interface_of);
                for name in named.filter(|_| !enters && !interfaces.is_empty()) {
                    must(interfaces.contains(name), "a setting is for an interface that is not there");
                }
                must(
                    unit.is_none_or(|unit| matches!(unit, "pds" | "pds.service"))
                        || !command.contains("systemctl restart pds"),
                    "another unit than the PDS's is restarted",
                );
            }
            Step::Write { place: Some(place), lines, .. } if place.starts_with("delete") => {
                let known = addresses(evidence);
                for line in lines {
                    let line = line.to_string();
                    let addrs = line.split_whitespace().filter_map(|word| word.parse::<IpAddr>().ok());
                    must(addrs.into_iter().all(|addr| known.contains(&addr)), "a record that nobody saw is deleted");
                }
            }
            Step::Write { .. } | Step::Do(_) => {}
        }
    }
}

/// `eth0` of `net.ipv6.conf.eth0.accept_ra=2`, or with `/` for an interface with a `.` of its own.
fn interface_of(word: &str) -> Option<&str> {
    let name = match word.strip_prefix("net/ipv6/conf/") {
        Some(rest) => rest.split_once('/')?.0,
        None => word.strip_prefix("net.ipv6.conf.")?.split_once('.')?.0,
    };
    (!matches!(name, "all" | "default")).then_some(name)
}

/// Every interface of this machine that something was measured at, or that a route leads over.
fn interfaces<'a>(evidence: &'a Evidence<'_>) -> BTreeSet<&'a str> {
    let here = evidence.run.facts.iter().filter(|fact| fact.vantage == Vantage::Here);
    let of = |fact: &'a Fact| -> Vec<&'a str> {
        match &fact.body {
            FactBody::Interface(body) => vec![body.name.as_str()],
            FactBody::Routes(body) => body.defaults.iter().filter_map(|route| route.interface.as_deref()).collect(),
            FactBody::Source(body) => body.interface.as_deref().into_iter().collect(),
            FactBody::Sysctl(body) => body.interface.as_deref().into_iter().collect(),
            FactBody::RaHandler(body) => vec![body.interface.as_str()],
            FactBody::RouterAdvertisement(body) => vec![body.interface.as_str()],
            _ => Vec::new(),
        }
    };
    here.flat_map(of).collect()
}

/// Every address that something was found at.
fn addresses(evidence: &Evidence<'_>) -> BTreeSet<IpAddr> {
    let of = |fact: &Fact| -> Vec<IpAddr> {
        match &fact.body {
            FactBody::Dns(body) => body.addresses(),
            FactBody::SystemDns(body) => body.addresses.clone(),
            FactBody::Connect(body) => vec![body.addr],
            _ => Vec::new(),
        }
    };
    evidence.run.facts.iter().flat_map(of).collect()
}
