//! Two single hosts that the PDS cannot get at: an application whose edge turns its address away, and the PDS's own
//! public name.

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Role},
    http_fact::HttpPurpose,
    par_fact::ParArm,
};

use super::{Found, Rule};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    arms::{self, Arm, Arms, Got},
    evidence::{Evidence, Line, host_of},
    par_stage::{FetchFailure, Refusal, Stage},
    step::{HostName, Settle, Url, command, run, say, word},
};

pub(super) const RULE: Rule = Rule { codes: &[Code::EdgeBotChallengeOutbound, Code::NatHairpin], judge };

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    for client in evidence.clients() {
        found.causes.extend(turned_away(evidence, client));
    }
    found.causes.extend(hairpin(evidence));
}

/// What edges say to addresses they do not like: reason phrases of 401, 403, 429, 451 and 503, and what stands on
/// their pages. A plain 404 is none of them.
const TURNED_AWAY: &[&str] = &[
    "forbidden",
    "unauthorized",
    "too many requests",
    "unavailable for legal reasons",
    "service unavailable",
    "access denied",
    "attention required",
    "just a moment",
    "challenge",
    "http 403",
    "status 403",
    "http 429",
    "status 429",
];

/// A limit on requests (RFC 6585, section 4), by address most likely.
const LIMITED: &[&str] = &["too many requests", "http 429", "status 429"];

/// The application's server answers this PDS otherwise than everybody else (failure catalogue no. 33).
#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn turned_away(evidence: &Evidence<'_>, client: &str) -> Option<Cause> {
    let (seen, stage) = evidence.par(Role::Target, Some(client), ParArm::CacheBusted)?;
    let text = seen.body.description.as_deref().or(seen.body.error.as_deref())?.to_ascii_lowercase();
    let suffix = text.rsplit_once("\": ").map_or(text.as_str(), |(_, suffix)| suffix);
    let is_turned_away = match stage {
        Stage::DocumentRefused(Refusal::Status) => TURNED_AWAY.iter().any(|words| suffix.contains(words)),
        Stage::DocumentRefused(Refusal::NotJson) => suffix.contains("html"),
        Stage::DocumentRefused(Refusal::Redirect) => true,
        _ => false,
    };
    if !is_turned_away {
        return None;
    }
    let fetched: Vec<FactId> = evidence
        .http(Role::Client, HttpPurpose::ClientDocument)
        .iter()
        .filter(|seen| seen.body.url.as_str() == client && seen.body.is_expected())
        .map(|seen| seen.id())
        .collect();
    let by_reference = evidence.reference().and_then(|_| evidence.fetched_by_reference(client));
    // Whoever is turned away everywhere is not turned away: the application is broken.
    if by_reference.is_none() && (evidence.reference_is_strong() || fetched.is_empty()) {
        return None;
    }
    let host = host_of(client)?;
    let name = evidence.name();
    let said = suffix.trim().to_owned();
    let both = by_reference.is_some() && evidence.reference_is_strong() && !fetched.is_empty();
    // Too many requests is said of a moment: whether this address is always turned away takes another one to tell.
    let limited = LIMITED.iter().any(|words| suffix.contains(words));
    let confidence = if both && !limited { Confidence::Confirmed } else { Confidence::Likely };
    let summary = if limited {
        format!(
            "Logins to {host} fail at {name}: the app's server counts too many requests from this PDS's address ({said}), and answers others. That may pass by itself; your PDS is not at fault."
        )
    } else {
        format!(
            "Logins to {host} fail at {name}: the app's server turns this PDS's address away ({said}), while it answers others. Your PDS is not at fault."
        )
    };
    let again = Settle::text("the same in ten minutes, which tells a limit on requests from a refusal that stays:")
        .and(evidence.verify());
    let mut cause = Cause::new(Code::EdgeBotChallengeOutbound, Impact::Broken, confidence, summary)
        .scope(Scope::host(&host))
        .saw(format!("{host} to the PDS: {said}"))
        .because([seen.id()])
        .because(fetched.iter().cloned())
        .settle(if limited {
            again
        } else {
            Settle::run(command!["curl -i", Url::new(client)]).then(if evidence.inside().pds().is_some() {
                "here, and from another network"
            } else {
                "on the PDS's own machine"
            })
        });
    if let (Some((theirs, stage)), Some(reference)) = (&by_reference, evidence.reference()) {
        cause = cause.because([theirs.id()]).contrast(
            format!("the same login request (PAR) for {client}"),
            format!("{name}: {said}"),
            format!("{reference}: {}", stage.words()),
        );
    }
    if !fetched.is_empty() {
        cause = cause.contrast(
            format!("{client}, fetched from two places"),
            format!("{name}: {said}"),
            "this machine: the document",
        );
    }
    Some(
        cause
            .remedy(Remedy::new(
                "Ask the app's operators to let PDSes fetch this address, whatever network they are in",
                [run(command!["curl -i", Url::new(client)])
                    .note("on the PDS's machine: show them the answer; does it say cf-mitigated: challenge?")],
                evidence.verify(),
            ))
            .remedy(
                Remedy::new(
                    "Let the PDS's requests leave by another address, if the machine has one",
                    [say("a VPN or another provider's address for outgoing traffic; an allow list at the app is the cure")],
                    evidence.verify(),
                )
                .meanwhile()
                .disruptive()
                .undo(say("put the old default route back")),
            ),
    )
}

/// Names, TCP and TLS of a PDS's request to itself, beside its pace: a second is what one lost packet costs.
const ITS_OWN_MS: u64 = 1_000;

/// Everybody reaches the PDS but itself (failure catalogue no. 27).
#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn hairpin(evidence: &Evidence<'_>) -> Option<Cause> {
    let (seen, stage) = evidence.par(Role::Target, None, ParArm::OwnUrl)?;
    let host = host_of(&seen.body.client)?;
    if evidence.host() != Some(host.as_str()) {
        return None;
    }
    let addresses = evidence.addresses(&host);
    let dual = addresses.iter().any(|addr| addr.is_ipv4()) && addresses.iter().any(|addr| addr.is_ipv6());
    // A failure without a reason and at once may be the PDS's refusal of a private address, which a local answer to
    // the own name gives: then there is no hairpin, and no fault.
    let (sure, how) = match stage {
        Stage::NoRoute(FailureKind::Timeout) => (true, "no answer in 4 s"),
        Stage::DocumentNotObtained(FetchFailure::Silence) => (true, "no answer in 10 s"),
        Stage::DocumentNotObtained(FetchFailure::Refused) => (true, "refused"),
        Stage::DocumentNotObtained(FetchFailure::Certificate) => {
            (true, "somebody else's certificate, the router's perhaps")
        }
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) if dual => (false, "no connection"),
        _ => return None,
    };
    let (localhost, base) = evidence.par(Role::Target, None, ParArm::Localhost)?;
    if !base.is_expected(ParArm::Localhost) {
        return None;
    }
    // What was measured where the PDS is outweighs what it was made to try: its own name answers there.
    if evidence.reaches_itself(&host).is_some() {
        return None;
    }
    // A PDS answers its own request at its own pace, behind the one that made it ask: what is not waited for longer than
    // that takes may just not have come yet.
    let own_pace = evidence.quickest_answer().max(evidence.par_base(Role::Target));
    if matches!(stage, Stage::NoRoute(_)) && 2 * own_pace + ITS_OWN_MS > seen.took() {
        return None;
    }
    // From outside all is well, and the PDS's way out works.
    let lines = evidence.target_lines();
    let is_well = |line: &Line<'_>| {
        let certificate = line.tls.and_then(|tls| tls.body.certificate.as_ref());
        line.is_pds() && certificate.is_some_and(|certificate| evidence.accepts(certificate))
    };
    if lines.is_empty() || !lines.iter().all(is_well) {
        return None;
    }
    let arms = Arms::new(evidence);
    let logins = evidence.clients();
    let reached: Vec<_> = logins
        .iter()
        .filter_map(|client| arms::login(evidence, client))
        .chain(arms.egress.iter().cloned())
        .filter(|arm| arm.got == Got::Reached)
        .collect();
    // Nor is one silence of a path that loses packets anything but that.
    if matches!(stage, Stage::NoRoute(_)) && evidence.loses_packets() {
        return None;
    }
    // What holds up others may hold up the one about the own name, which is not waited for longer than 4 s.
    if !reached.iter().all(Arm::is_prompt) {
        return None;
    }
    let reached = reached.first()?;
    // The reference was made to fetch from here, or from itself.
    let from_here = match evidence.second_look() {
        Some((_, false)) => return None,
        reached => reached.map(|(seen, _)| seen),
    };
    let from_itself = evidence.par(Role::Reference, None, ParArm::OwnUrl);
    let from_itself = from_itself.filter(|(_, stage)| stage.reached_host() == Some(true)).map(|(seen, _)| seen);
    let there = evidence.reference().and_then(|name| Some((from_here.or(from_itself)?, name)));
    let confirmed = sure && there.is_some() && evidence.reference_is_strong();
    let confidence = if confirmed { Confidence::Confirmed } else { Confidence::Likely };
    let summary = format!(
        "{host} cannot reach its own public name, though everybody else can: pdsadmin and apps in the same network will fail."
    );
    let health = || Url::at("https", &host, None, "/xrpc/_health");
    let mut cause = Cause::new(Code::NatHairpin, Impact::Risk, confidence, summary)
        .scope(Scope::host(&host))
        .saw(format!("the PDS, made to fetch from https://{host}/: {how}"))
        .because([seen.id(), localhost.id(), reached.seen.id()])
        .because(lines.iter().flat_map(Line::ids))
        .settle(if evidence.inside().is_empty() {
            Settle::run(command!["curl -sv", health()]).then("on the PDS's own machine")
        } else {
            Settle::text("the same a few times, here, and from another network:").and(command!["curl -sv", health()])
        })
        .contrast(format!("https://{host}/ from two places"), format!("the PDS itself: {how}"), "this machine: answers")
        .contrast("the same PDS, its own name and another host", format!("{host}: {how}"), reached.line());
    if let Some((theirs, reference)) = there {
        let (experiment, did) = match from_here {
            Some(_) => (format!("two PDSes and https://{host}/"), "reaches it"),
            None => ("a PDS and its own name".to_owned(), "reaches itself"),
        };
        cause =
            cause.because([theirs.id()]).contrast(experiment, format!("{host}: {how}"), format!("{reference}: {did}"));
    }
    Some(
        cause
            .remedy(
                Remedy::new(
                    "Tell the PDS's machine that the name is at home",
                    [run(command!["echo", word!["127.0.0.1 ", HostName::new(&host)], "| sudo tee -a /etc/hosts"])
                        .note("on the host, not in the container")],
                    evidence.verify(),
                )
                .undo(say("remove the line from /etc/hosts")),
            )
            .remedy(Remedy::new(
                "Switch on NAT loopback (hairpin NAT) on the router, which also serves the other machines at home",
                [
                    say("in the router's settings: NAT loopback, NAT reflection or hairpin NAT"),
                    run(command!["curl -sv", health()]).note("then, on the PDS's machine: must answer"),
                ],
                evidence.verify(),
            ))
            .remedy(
                Remedy::new(
                    "Run admin commands against the local port",
                    [run("sudo docker exec pds goat pds admin --pds-host http://localhost:3000 --help")],
                    evidence.verify(),
                )
                .meanwhile(),
            ),
    )
}
