//! The PDS's way out, seen from outside: the login's fetch beside the same PDS's fetches from hosts of which the
//! families and the distance are known. The theories are [`crate::diagnose::arms::theory`]'s; here they become causes.
//! Facts of the PDS's own machine say the same more surely and are other rules' business.

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    fact::{FactId, Family, Role},
    http_fact::HttpPurpose,
    par_fact::ParArm,
};

use super::{Found, Rule, list, outbound_words as words};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Scope,
    arms::{
        self, Arm, Arms, Got,
        theory::{self, Fault, Theory, V6, cheapest, fitting},
    },
    evidence::Evidence,
    node_model::release::ATTEMPT_MS,
    par_stage::FetchFailure,
    step::Settle,
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::NodeHe250ms,
        Code::V6BlackholeEgress,
        Code::V6UlaIntoHole,
        Code::DnsContainerResolverDead,
        Code::DnsContainerResolverFlaky,
        Code::DnsSplitHorizonSsrf,
        Code::EgressTlsIntercepted,
        Code::MtuContainerOverTunnel,
        Code::FwEgressClosed,
    ],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let arms = Arms::new(evidence);
    // One host that fails is the login rule's; what it means takes others to compare with.
    if arms.egress.is_empty() {
        return;
    }
    let mut hole_said = false;
    for client in evidence.clients() {
        let Some(app) = arms::login(evidence, client).filter(|app| is_ours(evidence, app)) else { continue };
        if flaky(evidence, &app, &arms, found) {
            continue;
        }
        let did_web = arms::did_web(evidence, &app.host);
        let fitting = fitting(&app, &arms, did_web.as_ref());
        hole_said |= cheapest(&fitting).all(|theory| theory.code() == Some(Code::V6BlackholeEgress));
        explain(evidence, &app, &arms, &fitting, found);
    }
    if !hole_said {
        hole(evidence, &arms, found);
    }
    far_host(evidence, &arms, found);
}

/// The PDS did not get a document that others get.
fn is_ours(evidence: &Evidence<'_>, app: &Arm<'_>) -> bool {
    // What passes right after is no state of the network: the login rule's.
    if app.got == Got::Reached || evidence.reached_afterwards(&app.seen).is_some() {
        return false;
    }
    let client = app.seen.body.client.as_str();
    let there = evidence.reference().and_then(|_| evidence.par(Role::Reference, Some(client), ParArm::CacheBusted));
    match there.and_then(|(_, stage)| stage.obtained_document()) {
        Some(got) => got,
        None => evidence
            .http(Role::Client, HttpPurpose::ClientDocument)
            .iter()
            .any(|seen| seen.body.url.as_str() == client && seen.body.is_expected()),
    }
}

fn explain(evidence: &Evidence<'_>, app: &Arm<'_>, arms: &Arms<'_>, fitting: &[Theory], found: &mut Found) {
    let theories: Vec<Theory> = cheapest(fitting).collect();
    let codes: Option<BTreeSet<Code>> = theories.iter().map(|theory| theory.code()).collect();
    let Some(mut codes) = codes.filter(|codes| !codes.is_empty()) else { return };
    let alone = codes.len() == 1;
    // Where the same was tried from where the PDS is, that is the measurement that settles it: rules of the inside judge.
    let inside = evidence.inside();
    let tried = !inside.connects_to(&inside.place(), &app.host).is_empty()
        || inside.questions().any(|seen| seen.body.name.as_str() == app.host);
    if tried && (!alone || inside.pds().is_some()) {
        return;
    }
    if !alone {
        // The hole is certain, and said of the whole PDS; what may be its part in this failure is the next cause's.
        codes.remove(&Code::V6BlackholeEgress);
    }
    for code in &codes {
        let of_code: Vec<Theory> = theories.iter().copied().filter(|theory| theory.code() == Some(*code)).collect();
        let confidence = if alone { confidence(evidence, *code, app, arms) } else { Confidence::Possible };
        let mut cause = Cause::new(*code, Impact::Broken, confidence, summary(evidence, *code, app, &of_code))
            .scope(Scope::host(&app.host));
        cause = shown(evidence, cause, app, arms);
        // Where the facts of an experiment are missing, nothing is proven.
        if cause.contrast.is_empty() {
            cause.confidence = cause.confidence.min(Confidence::Likely);
        }
        // Silence of one host supposes more than a distance does, and ends at the same timer.
        let may_be_dropped = || fitting.iter().any(|theory| theory.fault == Fault::AppDropped);
        if *code == Code::NodeHe250ms && cause.confidence != Confidence::Confirmed && may_be_dropped() {
            cause = cause
                .saw(format!("a firewall that drops what goes to {} alone would look the same from outside", app.host));
        }
        if !alone {
            let others = codes.iter().filter(|other| *other != code).map(|other| other.to_string());
            cause = cause.saw(format!("from outside this looks the same as {}", list(others)));
        }
        if cause.confidence != Confidence::Confirmed {
            cause = cause.settle(settle(evidence));
        }
        for remedy in words::remedies(evidence, *code, app, &of_code) {
            cause = cause.remedy(remedy);
        }
        found.cause(cause);
    }
    let behind = |theory: &Theory| theory.v6 == V6::HoleBehindV4 && theory.fault == Fault::Nothing;
    if theories.iter().any(behind) {
        found.cause(unique_local(evidence, app, arms, &theories));
    }
    rule_out(app, arms, &codes, found);
}

/// `sudo` on the PDS's machine sees what can only be guessed from here.
fn settle(evidence: &Evidence<'_>) -> Settle {
    if evidence.inside().pds().is_some() {
        return "the same host, tried from where the PDS is, which this run did not do".into();
    }
    Settle::run(evidence.measure_again(true)).then("on the PDS's own machine")
}

/// A theory that stands alone is likely. A contrast that nothing else explains makes it sure.
fn confidence(evidence: &Evidence<'_>, code: Code, app: &Arm<'_>, arms: &Arms<'_>) -> Confidence {
    let strong = evidence.reference_is_strong();
    let reached = |kind| arms.get(kind).is_some_and(|arm| arm.got == Got::Reached);
    let controlled = |kind| arms.get(kind).filter(|arm| arm.same_question);
    let capped = |arm: &Arm<'_>| {
        arm.is_dual()
            && matches!(arm.got, Got::Failed(FetchFailure::AtOnce | FetchFailure::AttemptCap))
            && arm.at_most >= ATTEMPT_MS
    };
    let sure = match code {
        // Two hosts that have nothing in common but their distance and their two families end alike.
        Code::NodeHe250ms => {
            capped(app)
                && controlled(ParArm::Far).is_some_and(capped)
                && reached(ParArm::Near)
                && controlled(ParArm::Ipv6Only).is_some_and(|arm| arm.got.at_once())
        }
        Code::V6BlackholeEgress => {
            arms.get(ParArm::Ipv4Only).is_some_and(Arm::is_prompt)
                && controlled(ParArm::Ipv6Only).is_some_and(|arm| arm.got.silent())
        }
        // Hosts of different operators and the PDS itself, and no resolver but the PDS's own denies them.
        Code::DnsContainerResolverDead => {
            let unknown = |arm: &Arm<'_>| arm.got == Got::Failed(FetchFailure::NameNotFound);
            let hosts = arms.egress.iter().filter(|arm| arm.arm != ParArm::Ipv6Only && arm.same_question);
            unknown(app) && hosts.clone().count() >= 2 && hosts.clone().all(unknown)
        }
        _ => false,
    };
    if strong && sure { Confidence::Confirmed } else { Confidence::Likely }
}

fn summary(evidence: &Evidence<'_>, code: Code, app: &Arm<'_>, theories: &[Theory]) -> String {
    let (name, host) = (evidence.name(), &app.host);
    let one_host = theories.iter().all(|theory| theory.fault >= Fault::AppDropped);
    match code {
        Code::NodeHe250ms => format!(
            "{name} is up, but logins to {host} fail: Node in the PDS gives up on each address after 250 ms, {host} is farther away than that, and IPv6, the last resort, has no way out."
        ),
        Code::V6BlackholeEgress => format!(
            "{name} is up, but logins to {host} fail: what the PDS sends out by IPv6 gets lost, and it waits for IPv6 until its time is over."
        ),
        Code::DnsContainerResolverDead => {
            format!("{name} is up, but logins fail: the PDS cannot resolve names.")
        }
        Code::DnsContainerResolverFlaky => {
            format!("Logins to {host} fail: the PDS's resolver fails for that name.")
        }
        Code::DnsSplitHorizonSsrf => format!(
            "Logins to {host} fail: the PDS's resolver gives it a private address for {host}, which the PDS refuses to fetch from."
        ),
        Code::EgressTlsIntercepted => format!(
            "{name} is up, but logins fail: somebody between the PDS and the world answers TLS with certificates of his own."
        ),
        Code::MtuContainerOverTunnel => format!(
            "{name} is up, but logins to {host} fail: connections come about, and the large packets of the TLS handshake get lost."
        ),
        _ if one_host => format!(
            "{name} is up, but logins to {host} fail: what the PDS sends to {host} is blocked, while other hosts answer it."
        ),
        _ => format!("{name} is up, but logins fail: what the PDS sends out is blocked."),
    }
}

/// The arms beside each other, and the same login at the reference.
fn shown(evidence: &Evidence<'_>, mut cause: Cause, app: &Arm<'_>, arms: &Arms<'_>) -> Cause {
    cause = cause.because(std::iter::once(app).chain(&arms.egress).map(|arm| arm.seen.id()));
    cause = cause.because(evidence.par(Role::Target, None, ParArm::Localhost).map(|(seen, _)| seen.id()));
    let seen: Vec<String> = std::iter::once(app).chain(&arms.egress).map(|arm| described(arm)).collect();
    for line in &seen {
        cause = cause.saw(line.clone());
    }
    if let Some(near) = arms.get(ParArm::Near).filter(|near| near.got != app.got) {
        cause = cause.contrast("the same PDS and another host with IPv4 and IPv6", app.line(), near.line());
    }
    if let (Some(v4), Some(v6)) = (arms.get(ParArm::Ipv4Only), arms.get(ParArm::Ipv6Only))
        && v4.got != v6.got
    {
        cause = cause.contrast("the same PDS, a host on IPv6 only and one on IPv4 only", v6.line(), v4.line());
    }
    let client = app.seen.body.client.as_str();
    if let Some(reference) = evidence.reference()
        && let Some((theirs, stage)) = evidence.fetched_by_reference(client)
    {
        cause = cause.because([theirs.id()]).contrast(
            format!("the same login request (PAR) for {client}"),
            format!("{}: could not fetch the client metadata", evidence.name()),
            format!("{reference}: {}", stage.words()),
        );
    }
    cause
}

/// A line for an arm.
fn described(arm: &Arm<'_>) -> String {
    let kind = match arm.arm {
        ParArm::Near => "a near host",
        ParArm::Far => "a far host",
        ParArm::Ipv4Only => "a host on IPv4 only",
        ParArm::Ipv6Only => "a host on IPv6 only",
        _ => "the app",
    };
    format!("{kind}, {}", arm.line())
}

/// IPv4 first and a hole behind it: a private source address does that, and so does `ipv4first`.
fn unique_local(evidence: &Evidence<'_>, app: &Arm<'_>, arms: &Arms<'_>, theories: &[Theory]) -> Cause {
    let summary = "The PDS's IPv6 may be a private network (fd…) with a route into nowhere: it is tried last, and nothing comes back.";
    let mut cause =
        Cause::new(Code::V6UlaIntoHole, Impact::Broken, Confidence::Possible, summary).scope(Scope::host(&app.host));
    cause = cause
        .because(arms.egress.iter().map(|arm| arm.seen.id()))
        .saw("then IPv4 is tried first, and near hosts do not notice")
        .settle(settle(evidence));
    if let (Some(v4), Some(v6)) = (arms.get(ParArm::Ipv4Only), arms.get(ParArm::Ipv6Only)) {
        cause = cause.contrast("the same PDS, a host on IPv6 only and one on IPv4 only", v6.line(), v4.line());
    }
    for remedy in words::remedies(evidence, Code::V6UlaIntoHole, app, theories) {
        cause = cause.remedy(remedy);
    }
    cause
}

/// Some names resolve and others do not, at random: no theory of one fault.
fn flaky(evidence: &Evidence<'_>, app: &Arm<'_>, arms: &Arms<'_>, found: &mut Found) -> bool {
    let lost = |arm: &&Arm<'_>| {
        arm.arm != ParArm::Ipv6Only && arm.control.is_some() && arm.got == Got::Failed(FetchFailure::NameNotFound)
    };
    let lost: Vec<&Arm<'_>> = arms.egress.iter().filter(lost).collect();
    let Some(reached) = arms.reached().next() else { return false };
    let app_lost =
        matches!(app.got, Got::Failed(FetchFailure::NameNotFound | FetchFailure::AtOnce | FetchFailure::Slow));
    if lost.is_empty() || !app_lost {
        return false;
    }
    let summary =
        format!("Logins to {} fail: the PDS's resolver knows some names and fails for others that exist.", app.host);
    let code = Code::DnsContainerResolverFlaky;
    let mut cause = Cause::new(code, Impact::Broken, Confidence::Likely, summary).scope(Scope::host(&app.host));
    cause = shown(evidence, cause, app, arms).settle(settle(evidence)).contrast(
        "the same PDS and two hosts that exist",
        lost.iter().map(|arm| arm.line()).collect::<Vec<_>>().join("; "),
        reached.line(),
    );
    for remedy in words::remedies(evidence, code, app, &[]) {
        cause = cause.remedy(remedy);
    }
    found.cause(cause);
    true
}

/// IPv6 into silence, where no failed login is put down to it.
fn hole(evidence: &Evidence<'_>, arms: &Arms<'_>, found: &mut Found) {
    let (Some(v6), Some(v4)) = (arms.get(ParArm::Ipv6Only), arms.get(ParArm::Ipv4Only)) else { return };
    if !v6.got.silent() || !v4.is_prompt() || v6.control.is_none() {
        return;
    }
    // Where IPv6 comes first, Node wastes one of its timers on every new connection.
    let wasted = arms.get(ParArm::Near).filter(|near| near.got == Got::Reached && theory::late(near, arms));
    let (impact, consequence) = match wasted {
        Some(_) => (Impact::Degraded, "every new connection to a host with IPv6 costs it 250 ms more"),
        None => (Impact::Risk, "hosts on IPv6 only cannot be reached, and far ones with both may fail"),
    };
    let confidence = if v6.same_question { Confidence::Confirmed } else { Confidence::Likely };
    let name = evidence.name();
    let mut cause = Cause::new(
        Code::V6BlackholeEgress,
        impact,
        confidence,
        format!("What {name} sends out by IPv6 gets lost: {consequence}."),
    )
    // Of one family: a login that fails is another matter, or it would have been put down to this.
    .scope(Scope::family(Family::V6))
    .because([v6.seen.id(), v4.seen.id()])
    .because(v6.control.clone())
    .because(wasted.map(|near| near.seen.id()))
    .saw(described(v6))
    .contrast("the same PDS, a host on IPv6 only and one on IPv4 only", v6.line(), v4.line())
    .settle(settle(evidence));
    if let Some(near) = wasted {
        cause = cause.saw(described(near));
    }
    let theory = Theory { cost: 0, v6: V6::Hole, fault: Fault::Nothing };
    for remedy in words::remedies(evidence, Code::V6BlackholeEgress, v6, &[theory]) {
        cause = cause.remedy(remedy);
    }
    found.cause(cause);
}

/// The login asked about works, and a far host does not: it will hit the next far application.
fn far_host(evidence: &Evidence<'_>, arms: &Arms<'_>, found: &mut Found) {
    let all_logins_work = evidence
        .clients()
        .iter()
        .all(|client| arms::login(evidence, client).is_some_and(|app| app.got == Got::Reached));
    let (Some(far), true) = (arms.get(ParArm::Far), all_logins_work) else { return };
    if far.got == Got::Reached || far.control.is_none() {
        return;
    }
    // The far host in the part of the application that fails, beside the other hosts.
    let others =
        Arms { egress: arms.egress.iter().filter(|arm| arm.arm != ParArm::Far).cloned().collect(), ..arms.clone() };
    let fitting = fitting(far, &others, None);
    if !cheapest(&fitting).all(|theory| theory.code() == Some(Code::NodeHe250ms)) || fitting.is_empty() {
        return;
    }
    let summary = format!(
        "Logins to apps that are far from {} will fail: Node in the PDS gives up on each address after 250 ms, and IPv6, the last resort, has no way out.",
        evidence.name()
    );
    let mut cause = Cause::new(Code::NodeHe250ms, Impact::Risk, Confidence::Likely, summary)
        .scope(Scope::host(&far.host))
        .because(arms.egress.iter().map(|arm| arm.seen.id()))
        .because(far.control.clone())
        .settle(settle(evidence));
    for arm in &arms.egress {
        cause = cause.saw(described(arm));
    }
    if let Some(near) = arms.get(ParArm::Near) {
        cause = cause.contrast("the same PDS, a far and a near host", far.line(), near.line());
    }
    let theory = Theory { cost: 0, v6: V6::NoRoute, fault: Fault::Nothing };
    for remedy in words::remedies(evidence, Code::NodeHe250ms, far, &[theory]) {
        cause = cause.remedy(remedy);
    }
    found.cause(cause);
}

/// What a person would have chased, and which host killed it.
fn rule_out(app: &Arm<'_>, arms: &Arms<'_>, found_codes: &BTreeSet<Code>, found: &mut Found) {
    let mut dead = |code: Code, host: &str, why: String, because: Vec<FactId>| {
        if !found_codes.contains(&code) {
            found.rule_out(code, Bounds::by_pds(host), why, because);
        }
    };
    if let Some(other) = arms.reached().next() {
        let ids = || vec![other.seen.id(), app.seen.id()];
        let host = &other.host;
        dead(Code::DnsContainerResolverDead, host, format!("the PDS resolved {host} and fetched from it"), ids());
        dead(
            Code::EgressTlsIntercepted,
            host,
            format!("the PDS accepted the certificate that it was shown for {host}"),
            ids(),
        );
        if app.got != Got::Failed(FetchFailure::Silence) {
            dead(
                Code::MtuContainerOverTunnel,
                host,
                format!("the TLS handshake with {host} passed, and the fetch that failed did not wait 10 s"),
                ids(),
            );
        }
    }
    if let Some(v6) = arms.get(ParArm::Ipv6Only) {
        match v6.got {
            Got::Reached => dead(
                Code::V6BlackholeEgress,
                &v6.host,
                format!("the PDS reached {}, which has only IPv6", v6.host),
                vec![v6.seen.id()],
            ),
            got if got.at_once() && v6.control.is_some() => dead(
                Code::V6BlackholeEgress,
                &v6.host,
                format!("{}, which has only IPv6, failed at once: no way there, not silence", v6.host),
                vec![v6.seen.id()],
            ),
            _ => {}
        }
    }
}
