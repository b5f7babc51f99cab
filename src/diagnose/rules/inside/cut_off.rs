//! Connections come about, and what is then sent through them does not pass: a firewall that looks into them, or one
//! that knows no connection in its tables, drops or resets it. Packets of every size fare alike, so it is no matter of size.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{FailureKind, Role, Vantage},
    tls_fact::TlsFact,
};

use super::{
    packet_size::{hangs, same},
    way_out::{SAME_FROM_HERE, handshakes, let_out},
};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Scope,
    evidence::{Evidence, Seen},
    inside::place_words,
    outermost::{Blame, outermost},
    rules::{Found, Rule, list},
    step::{prose, quoted, told},
};

pub(in crate::diagnose) const RULE: Rule = Rule { codes: &[Code::FwEgressClosed], judge };

/// So many hosts that have nothing to do with each other do not fail in the same way by chance.
const HOSTS: usize = 2;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let place = evidence.inside().place();
    found.causes.extend(swallowed(evidence, &place));
    found.causes.extend(reset(evidence, &place));
}

/// From this machine: the same handshakes with the same servers.
fn blame<'a>(evidence: &Evidence<'a>, place: &Vantage, failed: &[Seen<'a, TlsFact>]) -> Blame<'a, TlsFact> {
    let again =
        |seen: &Seen<'a, TlsFact>| seen.body.max_segment.is_none() && failed.iter().any(|other| same(other, seen));
    outermost(place, evidence.inside().handshakes().filter(again), |body| body.failure.is_none())
}

/// The handshake hangs in packets of any size.
fn swallowed(evidence: &Evidence<'_>, place: &Vantage) -> Option<Cause> {
    let inside = evidence.inside();
    let small: Vec<_> =
        inside.handshakes().filter(|seen| seen.fact.vantage == *place && seen.body.max_segment.is_some()).collect();
    let all = handshakes(evidence, place);
    let in_any_size = |seen: &&Seen<'_, TlsFact>| {
        let mut of_it = small.iter().filter(|other| same(seen, other)).peekable();
        hangs(seen) && of_it.peek().is_some() && of_it.all(hangs)
    };
    let failed: Vec<_> = all.iter().filter(in_any_size).copied().collect();
    let hosts: BTreeSet<&str> = failed.iter().map(|seen| seen.body.sni.as_str()).collect();
    let first = failed.first()?;
    let blame = blame(evidence, place, &failed);
    let everything = hosts.len() >= HOSTS && failed.len() == all.len();
    // One server alone may be ill itself: somebody else must have got through to it.
    let app = failed.iter().find(|seen| seen.body.role == Role::Client).map(|seen| seen.body.sni.as_str());
    let reference = app.and_then(|app| super::fetched_by_reference(evidence, app));
    let confidence = match (blame.works_here(), everything, &reference) {
        (Some(_), ..) => Confidence::Confirmed,
        (None, true, _) | (None, _, Some(_)) => Confidence::Likely,
        _ => return None,
    };
    if !everything && app.is_none_or(|app| super::fetched(evidence, app) == Some(true)) {
        return None;
    }
    let summary = format!(
        "The PDS connects to {}, and nothing that it then sends is answered: a firewall passes the connection's first packets and drops the rest.",
        list(&hosts)
    );
    let at = blame.at(place);
    let scope = Scope { host: app.filter(|_| !everything).map(str::to_owned), ..Scope::at(&at) };
    let mut cause = Cause::new(Code::FwEgressClosed, Impact::Broken, confidence, summary)
        .scope(scope)
        .saw(format!("TLS with {} hangs in packets of any size: large packets are not what is lost", first.body.sni))
        .because(failed.iter().map(Seen::id))
        .because(small.iter().filter(|seen| failed.iter().any(|other| same(other, seen))).map(Seen::id))
        .because(blame.alike().iter().cloned())
        .because(reference.filter(|_| !everything));
    cause = beside(cause, evidence, place, &blame, "connects, and then silence");
    Some(cause.remedy(let_out(evidence, app.filter(|_| !everything), &at)))
}

/// The connection is reset in the middle of the handshake, and the machine completes the same one.
fn reset(evidence: &Evidence<'_>, place: &Vantage) -> Option<Cause> {
    let inside = evidence.inside();
    let failed: Vec<_> = inside
        .handshakes()
        .filter(|seen| seen.fact.vantage == *place && seen.body.role != Role::Target && seen.body.max_segment.is_none())
        .filter(|seen| {
            let kind = seen.body.failure.as_ref().map(|failure| failure.kind);
            matches!(kind, Some(FailureKind::Reset | FailureKind::Closed))
        })
        .collect();
    let blame = blame(evidence, place, &failed);
    // Without the machine's success it may be the servers that close.
    let works = blame.works_here()?;
    let hosts: BTreeSet<&str> = failed.iter().map(|seen| seen.body.sni.as_str()).collect();
    let (sni, port) = (works.body.sni.as_str(), works.body.port);
    let whole = inside.handshakes_with(place, sni);
    if super::fetched(evidence, sni) == Some(true) || !whole.is_empty() {
        return None;
    }
    // One connection may break off by chance; unrelated ones do not.
    let confidence = if hosts.len() >= HOSTS { Confidence::Confirmed } else { Confidence::Likely };
    let summary = format!(
        "What {} sends to {} is reset on the way: this machine completes the same handshake.",
        place_words(place),
        list(&hosts)
    );
    let scope = Scope { host: (hosts.len() == 1).then(|| sni.to_owned()), ..Scope::at(place) };
    let cause = Cause::new(Code::FwEgressClosed, Impact::Broken, confidence, summary)
        .scope(scope)
        .because(failed.iter().map(Seen::id));
    let cause = beside(cause, evidence, place, &blame, "connects, and is reset during the handshake");
    let cause = if confidence == Confidence::Confirmed {
        cause
    } else {
        cause.settle(prose![
            "the same handshake a few times from ",
            told(&place_words(place)),
            ", port ",
            port,
            " of ",
            quoted(sni)
        ])
    };
    Some(cause.remedy(let_out(evidence, (hosts.len() == 1).then_some(sni), place)))
}

fn beside(cause: Cause, evidence: &Evidence<'_>, place: &Vantage, blame: &Blame<'_, TlsFact>, how: &str) -> Cause {
    match blame.works_here() {
        Some(other) => cause.because([other.id()]).contrast(
            format!("a TLS handshake with {}", other.body.sni),
            format!("{}: {how}", place_words(place)),
            format!("this machine: completed in {} ms", other.took()),
        ),
        None if blame.is_machine() && *place != Vantage::Here => {
            cause.saw(SAME_FROM_HERE).settle("the same handshakes from another machine in the same network")
        }
        None => cause.settle(if evidence.inside().is_confined() {
            "the same handshakes from this machine itself"
        } else {
            "the same handshakes from another machine"
        }),
    }
}
