//! What is seen where no cause explains it. A failing thing is never silent: either a cause above
//! takes it as its symptom, or it is reported as what it is.

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Family, Role, Vantage},
    record::{Ended, TargetKind},
};

use super::{Found, Rule, list};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Line},
    net_kinds::{AddressKind, address_kind},
    step::{HostName, entry, run, write},
};

pub(super) const RULE: Rule = Rule {
    codes: &[Code::PdsUnreachable, Code::AddressUnreachable, Code::PdsNotAnswering, Code::TargetUnresolved],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    found.causes.extend(unresolved(evidence));
    let lines = evidence.target_lines();
    addresses(evidence, &lines, found);
    answers(evidence, &lines, found);
}

fn unresolved(evidence: &Evidence<'_>) -> Option<Cause> {
    let target = &evidence.run.target;
    // With a DID, its document is the story.
    if evidence.host().is_some()
        || target.did.is_some()
        || matches!(target.kind, TargetKind::Host | TargetKind::Machine)
        || evidence.run.ended != Ended::Complete
    {
        return None;
    }
    Some(
        Cause::new(
            Code::TargetUnresolved,
            Impact::Broken,
            Confidence::Likely,
            format!("{} leads to no PDS: no DID is known for it.", target.input),
        )
        // About the handle, so that what is wrong with the handle explains it.
        .scope(Scope { host: target.handle.as_ref().map(ToString::to_string), ..Scope::default() })
        .because(evidence.all_dns().iter().filter(|seen| seen.body.role == Role::Handle).map(|seen| seen.id()).take(8))
        .because(
            evidence
                .all_system_dns()
                .iter()
                .filter(|seen| seen.body.role == Role::Handle)
                .map(|seen| seen.id())
                .take(8),
        )
        .settle("the PDS's host name as the target")
        .remedy(Remedy::new(
            "Name the PDS's host",
            [run("pdsdoctor check HOST").note("HOST is the host name of the PDS")],
            evidence.verify(),
        )),
    )
}

/// The name leads to this machine itself, by /etc/hosts or an own resolver, and the PDS answers there;
/// the address is the router's (NAT without loopback).
fn led_home(evidence: &Evidence<'_>, lines: &[Line<'_>], line: &Line<'_>) -> bool {
    let here = evidence.inside().addresses(&Vantage::Here);
    let own = |addr| here.iter().any(|(_, address)| address.addr == addr);
    let home = lines.iter().any(|other| own(other.addr) && other.is_pds());
    line.family() == Family::V4 && home && !own(line.addr) && evidence.is_behind_nat()
}

fn addresses(evidence: &Evidence<'_>, lines: &[Line<'_>], found: &mut Found) {
    let closed: Vec<&Line<'_>> = lines
        .iter()
        .filter(|line| !line.connected() && !evidence.lacks_route(line.addr, line.connect_failure()))
        .filter(|line| !evidence.family_fails(line.family()))
        // What /etc/hosts or a DNS64 resolver named beside DNS is this side's business.
        .filter(|line| {
            evidence.given_by_user(evidence.name())
                || address_kind(line.addr) == AddressKind::Public
                || evidence.published(evidence.name()).contains(&line.addr)
        })
        // On the PDS's machine, behind a router: what the router does not turn round is not what the world sees.
        .filter(|line| !led_home(evidence, lines, line))
        .collect();
    if closed.is_empty() {
        return;
    }
    let ids: Vec<FactId> = closed.iter().flat_map(|line| line.ids()).collect();
    let shown = list(closed.iter().map(|line| line.addr));
    let host = evidence.name();
    if lines.iter().any(Line::connected) {
        for line in closed {
            // Silence of a family that nothing else here has used is not the target's for certain.
            let hairpin = line.family() == Family::V4 && evidence.is_at_the_same_site();
            let doubtful = hairpin
                || line.connect_failure() == Some(FailureKind::Timeout)
                    && evidence.family_works(line.family()).is_none()
                    && !lines.iter().any(|other| other.family() == line.family() && other.connected());
            let impact = if doubtful { Impact::Risk } else { Impact::Degraded };
            let confidence = if doubtful { Confidence::Possible } else { Confidence::Likely };
            found.cause(
                Cause::new(
                    Code::AddressUnreachable,
                    impact,
                    confidence,
                    format!("{host}: the address {} does not answer, others do.", line.addr),
                )
                .scope(Scope { family: Some(line.family()), ..Scope::default() })
                .because(line.ids())
                .settle("the same from another network")
                .remedy(Remedy::new(
                    "Remove the address from the DNS, or mend the machine behind it",
                    [write(entry![
                        HostName::new(host),
                        if line.addr.is_ipv6() { ".  AAAA  " } else { ".  A  " },
                        line.addr
                    ])
                    .at("delete")],
                    evidence.verify(),
                )),
            );
        }
    } else {
        let reached = matches!(evidence.second_look(), Some((_, true)));
        let (impact, where_) =
            if reached { (Impact::Degraded, " from here; others reach it") } else { (Impact::Broken, "") };
        found.cause(
            Cause::new(
                Code::PdsUnreachable,
                impact,
                Confidence::Possible,
                format!("{host} cannot be reached at {shown}{where_}."),
            )
            .because(ids)
            .settle("the same from another network")
            .remedy(Remedy::new(
                "See whether the machine is on and its ports are open",
                [run("sudo ss -ltnp 'sport = :443'")],
                evidence.verify(),
            )),
        );
    }
}

/// TLS works, and yet nothing that a PDS would say.
fn answers(evidence: &Evidence<'_>, lines: &[Line<'_>], found: &mut Found) {
    let host = evidence.name();
    let silent: Vec<(&Line<'_>, String)> = lines
        .iter()
        .filter(|line| line.shook_hands() && !line.is_pds())
        .filter_map(|line| Some((line, what_came(line)?)))
        .collect();
    let elsewhere = lines.iter().any(Line::is_pds);
    let impact = if elsewhere { Impact::Degraded } else { Impact::Broken };
    // The same at every address is one thing, not one per address.
    let alike = !elsewhere && silent.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let shown = if alike { &silent[..silent.len().min(1)] } else { &silent[..] };
    for (line, what) in shown {
        let (scope, ids): (Scope, Vec<FactId>) = if alike {
            (Scope::default(), silent.iter().flat_map(|(line, _)| line.ids()).collect())
        } else {
            (Scope { family: Some(line.family()), ..Scope::default() }, line.ids())
        };
        found.cause(
            Cause::new(
                Code::PdsNotAnswering,
                impact,
                Confidence::Likely,
                format!("{host} accepts connections, but does not answer as a PDS: {what}."),
            )
            .scope(scope)
            .saw(format!("{}: {what}", line.addr))
            .because(ids)
            .settle("the log of the proxy and of the PDS at the time of the check")
            .remedy(Remedy::new(
                "Look into both logs, then restart",
                [
                    run("sudo docker logs --tail 50 pds"),
                    run("sudo docker logs --tail 50 caddy"),
                    run("sudo systemctl restart pds"),
                ],
                evidence.verify(),
            )),
        );
    }
}

/// What came instead of a PDS's answer, in words.
fn what_came(line: &Line<'_>) -> Option<String> {
    let seen = [line.describe, line.health].into_iter().flatten().next()?;
    Some(match (&seen.body.failure, seen.body.status) {
        (Some(failure), _) => match failure.kind {
            FailureKind::Timeout => "no answer came in time".to_owned(),
            FailureKind::TooSlow => "the answer did not end in time".to_owned(),
            FailureKind::TooLarge => "the answer is larger than any PDS's".to_owned(),
            FailureKind::Closed => "the connection was closed without an answer".to_owned(),
            FailureKind::Reset => "the connection was reset".to_owned(),
            FailureKind::NotHttp => "what came back is not HTTP".to_owned(),
            _ => failure.detail.to_string(),
        },
        (None, status) => format!("HTTP {}", status.unwrap_or(0)),
    })
}
