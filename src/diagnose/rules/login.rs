//! The first step of every login: the pushed authorization request. The same request at the target
//! and at the reference, compared by how far it got (control and experiment, as OONI's
//! `web_connectivity` has it):
//!
//! |                          | reference gets past | reference fails too | no reference |
//! |--------------------------|---------------------|---------------------|--------------|
//! | target gets past         | healthy             | healthy             | healthy      |
//! | target cannot fetch it   | target's egress     | the app's fault     | likely, or withheld |

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Role},
    http_fact::{Content, HttpPurpose},
    par_fact::ParArm,
};

use super::{
    Found, Rule, list,
    login_arm::{Arm, answer, beside_reference, client_host, reading},
    login_keys,
    login_words::{A_STRONG_REFERENCE, hint, remedies, time_line},
};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    arms::{self, Got},
    evidence::{Evidence, Line, Seen},
    hidden::hidden,
    par_stage::{FetchFailure, Refusal, Stage},
    step::{Url, command, run, say, write},
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::OauthClientMetadataEgress,
        Code::AppClientMetadataBroken,
        Code::OauthUnsupportedScope,
        Code::ProxyOauthRoutesMissing,
        Code::LoginParFails,
    ],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    if let Some(cause) = localhost(evidence) {
        found.cause(cause);
        return;
    }
    for client in evidence.clients() {
        judge_client(evidence, client, found);
    }
}

/// Does PAR work at all, for a client that needs no fetch?
fn localhost(evidence: &Evidence<'_>) -> Option<Cause> {
    let (seen, stage) = evidence.par(Role::Target, None, ParArm::Localhost)?;
    let reference = evidence.par(Role::Reference, None, ParArm::Localhost);
    let works_there = reference.as_ref().is_some_and(|(_, stage)| stage.is_expected(ParArm::Localhost));
    let name = evidence.name();
    // Localhost clients are optional (atproto OAuth profile): a PDS that refuses them is not broken.
    let (code, confidence, summary) = match &stage {
        Stage::NotAPds => (
            Code::ProxyOauthRoutesMissing,
            if works_there { Confidence::Confirmed } else { Confidence::Likely },
            format!("Logins fail at {name}: the login request (PAR) does not reach the PDS."),
        ),
        Stage::ServerError => (
            Code::LoginParFails,
            Confidence::Likely,
            format!("Logins fail at {name}: the PDS answers the login request (PAR) with an error of its own."),
        ),
        Stage::NoRoute(kind) => (
            Code::LoginParFails,
            Confidence::Likely,
            format!(
                "Logins fail at {name}: the login request (PAR) gets no answer ({}).",
                kind.to_string().replace('_', " ")
            ),
        ),
        _ => return None,
    };
    let mut cause = Cause::new(code, Impact::Broken, confidence, summary)
        .saw(format!("POST {}: {}", seen.body.endpoint, answer(seen.body)))
        .because([seen.id()])
        .because(reference.as_ref().map(|(seen, _)| seen.id()));
    cause = match (&reference, evidence.reference()) {
        (Some((theirs, _)), Some(host)) if works_there => cause.contrast(
            "the same PAR with client_id=http://localhost",
            format!("{name}: {}", answer(seen.body)),
            format!("{host}: {}", answer(theirs.body)),
        ),
        _ => cause.settle("the same request at a reference PDS"),
    };
    if cause.confidence != Confidence::Confirmed && cause.settle.is_none() {
        cause = cause.settle("the PDS's log, and its proxy's, at the time of the check");
    }
    Some(cause.remedy(if code == Code::ProxyOauthRoutesMissing {
        Remedy::new(
            "Pass /oauth/ to the PDS, with POST",
            [write("location / { proxy_pass http://127.0.0.1:3000; proxy_set_header Host $host; }").at("nginx")],
            evidence.verify(),
        )
    } else {
        Remedy::new(
            "See the PDS's log at the time of the check",
            [
                run("sudo docker logs --tail 50 pds"),
                run("df -h /pds; df -i /pds").note("a full disk makes logins fail while _health is fine"),
            ],
            evidence.verify(),
        )
    }))
}

fn judge_client(evidence: &Evidence<'_>, client: &str, found: &mut Found) {
    let arm = |arm: ParArm| -> Option<Arm<'_>> {
        let (target, stage) = evidence.par(Role::Target, Some(client), arm)?;
        let reference = evidence.reference().and_then(|_| evidence.par(Role::Reference, Some(client), arm));
        Some(Arm { client, target, stage, reference })
    };
    let busted = arm(ParArm::CacheBusted);
    let named = arm(ParArm::AsNamed);
    // The cache-busted arm says what is true now; the other may be ten minutes old. But some hosts
    // turn away a query they do not know, and no application asks with one.
    let dislikes_query = match (&busted, &named) {
        (Some(busted), Some(named)) => {
            matches!(busted.stage, Stage::DocumentRefused(_))
                && named.stage.obtained_document() == Some(true)
                && busted.reference.as_ref().is_none_or(|(_, stage)| stage.obtained_document() != Some(true))
        }
        _ => false,
    };
    let busted = busted.filter(|_| !dislikes_query);
    let Some(main) = busted.as_ref().or(named.as_ref()) else { return };
    let got = match (&main.stage, main.stage.obtained_document()) {
        (_, Some(got)) => got,
        // A gateway in front may give up before the PDS does.
        (Stage::NotAPds, None) if main.target.body.status == Some(504) => false,
        _ => {
            found.causes.extend(other_failure(evidence, main));
            return;
        }
    };
    if !got {
        // What fails at once may be the PDS's own refusal, which the others need not meet.
        let took_its_time = matches!(
            main.stage,
            Stage::DocumentNotObtained(FetchFailure::AttemptCap | FetchFailure::Slow | FetchFailure::Silence)
        );
        let beside = took_its_time && evidence.passed_otherwise(&main.target);
        let after = evidence.reached_afterwards(&main.target);
        found.cause(match (named.as_ref().filter(|_| beside), after) {
            (Some(named), _) => now_and_then(
                not_obtained(evidence, main, None),
                "the PDS reached the same host twice at the same time",
                named.target.id(),
            ),
            (None, Some(after)) => now_and_then(
                not_obtained(evidence, main, named.as_ref()),
                "the PDS reached the same host right after",
                after,
            ),
            (None, None) => not_obtained(evidence, main, named.as_ref()),
        });
        theories(evidence, main, found);
        return;
    }
    // The application's own request fails where the other one passed: not always, but it happens.
    if let Some(named) = named.as_ref().filter(|named| named.stage.obtained_document() == Some(false)) {
        let cause = not_obtained(evidence, named, None);
        let well = "with a cache-busting query the PDS did fetch it, at the same time";
        found.cause(now_and_then(cause, well, main.target.id()));
        return;
    }
    let refusals = [busted.as_ref(), named.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|arm| refused(evidence, arm).or_else(|| login_keys::not_obtained(evidence, arm, busted.as_ref())));
    match refusals {
        Some(cause) => found.cause(cause),
        None => {
            let ids: Vec<FactId> = [&busted, &named].into_iter().flatten().map(|arm| arm.target.id()).collect();
            let host = client_host(client);
            let failed = evidence
                .all_pars()
                .iter()
                .find(|seen| seen.body.client.as_str() == client && evidence.is_bad_moment(seen));
            let but = failed.map_or(String::new(), |_| {
                format!("; one try of three failed, at a PDS that was held up for {} ms", evidence.held_up())
            });
            found.rule_out(
                Code::OauthClientMetadataEgress,
                Bounds::by_pds(&host),
                format!("the PDS fetched the client metadata of {host}{but}"),
                ids.into_iter().chain(failed.map(Seen::id)),
            );
        }
    }
}

/// What went well speaks against what failed.
fn now_and_then(mut cause: Cause, well: &str, passed: FactId) -> Cause {
    cause.impact = Impact::Degraded;
    cause.confidence = cause.confidence.min(Confidence::Likely);
    cause.saw(format!("{well}: it fails now and then")).against([passed]).settle("the same check a few times more")
}

/// The document as this machine did not get it.
struct Miss {
    id: FactId,
    how: String,
    /// The host, or its zone, said so: it is not the way there that failed.
    answered: bool,
}

/// The document as this machine gets it: those who got it, those who did not.
fn own_fetch(evidence: &Evidence<'_>, client: &str) -> (Vec<FactId>, Vec<Miss>) {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for seen in evidence.http(Role::Client, HttpPurpose::ClientDocument) {
        if seen.body.url.as_str() != client {
            continue;
        }
        if seen.body.is_expected() {
            good.push(seen.id());
        } else {
            let how = match (&seen.body.failure, seen.body.status) {
                (Some(failure), _) => failure.kind.to_string().replace('_', " "),
                (None, Some(200)) => "HTTP 200, but not a client metadata document".to_owned(),
                (None, status) => format!("HTTP {}", status.unwrap_or(0)),
            };
            bad.push(Miss { id: seen.id(), how, answered: seen.body.status.is_some() });
        }
    }
    let host = client_host(client);
    for seen in evidence.all_connects() {
        if seen.body.role == Role::Client
            && seen.body.host.as_str() == host
            && let Some(failure) = &seen.body.failure
        {
            let how = failure.kind.to_string().replace('_', " ");
            bad.push(Miss { id: seen.id(), how, answered: failure.kind == FailureKind::Refused });
        }
    }
    if evidence.absence(&host).is_some() {
        bad.extend(evidence.address_answers(&host).iter().map(|seen| Miss {
            id: seen.id(),
            how: "its name has no address".to_owned(),
            answered: true,
        }));
    }
    (good, bad)
}

/// Whether what this machine did not get is a second witness against the application: not if it goes the same
/// way as the PDS does, or if that way is in doubt itself.
fn is_second_witness(evidence: &Evidence<'_>, host: &str, bad: &[Miss]) -> bool {
    let others_answer = || {
        let mut all = evidence.control_connects();
        evidence.target_lines().iter().any(Line::connected)
            || all.any(|seen| seen.body.host.as_str() != host && seen.body.failure.is_none())
    };
    let same_way = || evidence.inside().pds().is_some() || evidence.is_at_the_same_site();
    if bad.iter().any(|miss| miss.answered) {
        !evidence.control_is_untrusted()
    } else {
        !bad.is_empty() && others_answer() && !same_way()
    }
}

#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn not_obtained(evidence: &Evidence<'_>, main: &Arm<'_>, named: Option<&Arm<'_>>) -> Cause {
    let (good, bad) = own_fetch(evidence, main.client);
    let host = client_host(main.client);
    let there = main.reference.as_ref().and_then(|(_, stage)| stage.obtained_document());
    let name = evidence.name();
    let (code, confidence) = match there {
        Some(true) if evidence.reference_is_strong() => (Code::OauthClientMetadataEgress, Confidence::Confirmed),
        Some(true) => (Code::OauthClientMetadataEgress, Confidence::Likely),
        Some(false) if good.is_empty() && !bad.is_empty() => (Code::AppClientMetadataBroken, Confidence::Confirmed),
        // An entryway is another program, and this machine gets the document: two against one.
        Some(false) if !good.is_empty() && !evidence.reference_is_strong() => {
            (Code::LoginParFails, Confidence::Possible)
        }
        Some(false) => (Code::AppClientMetadataBroken, Confidence::Likely),
        // Without a reference nothing is proven; what this machine gets is the next best thing.
        None if !good.is_empty() => (Code::OauthClientMetadataEgress, Confidence::Likely),
        None if is_second_witness(evidence, &host, &bad) => (Code::AppClientMetadataBroken, Confidence::Likely),
        None => (Code::LoginParFails, Confidence::Possible),
    };
    let (stage, spent) = quickest(evidence, main);
    let reading = reading(evidence, &stage, spent, &host);
    let summary = match code {
        Code::OauthClientMetadataEgress => {
            format!(
                "{name} is up, but logins to {host} fail: the PDS cannot fetch the app's client metadata{}.",
                hint(&reading, spent)
            )
        }
        Code::AppClientMetadataBroken => {
            format!(
                "Logins to {host} fail for everybody: its client metadata is broken. Your PDS is not at fault; leave it alone."
            )
        }
        _ => format!(
            "Logins to {host} fail: the PDS could not fetch the client metadata, and nothing tells whose fault that is."
        ),
    };
    let mut cause = Cause::new(code, Impact::Broken, confidence, summary)
        .scope(Scope::host(&host))
        .because([main.target.id()])
        .because(main.reference.as_ref().map(|(seen, _)| seen.id()))
        .because(if code == Code::AppClientMetadataBroken {
            bad.iter().map(|miss| miss.id.clone()).collect::<Vec<_>>()
        } else {
            good.clone()
        });
    if code == Code::AppClientMetadataBroken {
        cause = cause.against(good.clone());
    }
    if let Some(line) = time_line(&reading, spent) {
        cause = cause.saw(line);
    }
    if let Some(hidden) = hidden(evidence, &host) {
        cause = cause.saw(hidden.line).because([hidden.id]);
    }
    if let Some(named) = named.filter(|named| named.stage.obtained_document() == Some(true)) {
        cause = cause
            .saw("asked without a cache-busting query it still has a copy (the PDS keeps one for ten minutes)")
            .because([named.target.id()]);
    }
    // The two PAR answers side by side, as the application would send them if there is such a pair.
    let has_pair = |arm: &&Arm<'_>| arm.stage.obtained_document() == Some(false) && arm.reference.is_some();
    let shown = named.filter(has_pair).unwrap_or(main);
    // A reference that did not come so far either proves nothing.
    let control = shown.reference.as_ref().filter(|(_, stage)| stage.obtained_document().is_some());
    if confidence != Confidence::Confirmed {
        cause = cause.settle(A_STRONG_REFERENCE);
    }
    cause = match (control, evidence.reference()) {
        (Some((theirs, _)), Some(reference)) => {
            let entryway = if evidence.reference_is_strong() { "" } else { " (an entryway, not a PDS)" };
            cause.because([shown.target.id(), theirs.id()]).contrast(
                format!("the same login request (PAR) for {}", shown.client),
                format!("{name}: {}", answer(shown.target.body)),
                format!("{reference}{entryway}: {}", answer(theirs.body)),
            )
        }
        _ => cause.saw(format!("the PDS's answer to the login request: {}", answer(shown.target.body))),
    };
    if let Some((localhost, _)) = evidence.par(Role::Target, None, ParArm::Localhost)
        && code == Code::OauthClientMetadataEgress
    {
        cause = cause.because([localhost.id()]).contrast(
            "the same PDS, with and without something to fetch",
            format!("{host}'s document: {}", main.stage.words()),
            format!("http://localhost (nothing to fetch): {}", answer(localhost.body)),
        );
    }
    let from_here = match (good.is_empty(), bad.first()) {
        (false, _) => Some("fetched".to_owned()),
        (true, Some(miss)) => Some(miss.how.clone()),
        (true, None) => None,
    };
    if let Some(from_here) = from_here {
        cause = cause.contrast(
            format!("{}, fetched from two places", main.client),
            format!("{name}: {}", main.stage.words()),
            format!("this machine: {from_here}"),
        );
    }
    for remedy in remedies(evidence, code, &reading, main.client, main.client) {
        cause = cause.remedy(remedy);
    }
    cause
}

/// How it failed and what the PDS spent on the fetch, in milliseconds: the time of the arm less that of the arm without
/// a fetch. Of several tries of the same fetch the quickest was held up least.
fn quickest(evidence: &Evidence<'_>, arm: &Arm<'_>) -> (Stage, u64) {
    if arm.target.body.arm == ParArm::CacheBusted
        && let Some(login) = arms::login(evidence, arm.client)
        && let Got::Failed(failure) = login.got
    {
        return (Stage::DocumentNotObtained(failure), login.spent);
    }
    (arm.stage.clone(), arm.target.took().saturating_sub(evidence.par_base(Role::Target)))
}

/// The document was read, and something in it or in the request was refused.
fn refused(evidence: &Evidence<'_>, arm: &Arm<'_>) -> Option<Cause> {
    // A permission set is looked up in the network (failure catalogue no. 67): that it is not found is
    // no word on what this PDS knows.
    let looked_up = arm.target.body.description.as_deref().is_some_and(|text| text.contains("resolve Lexicon"));
    let unsupported =
        !looked_up && matches!(arm.stage, Stage::DocumentRefused(Refusal::UnsupportedScope) | Stage::Scope);
    if !unsupported && !matches!(arm.stage, Stage::DocumentRefused(Refusal::Content) | Stage::Scope) {
        return None;
    }
    let host = client_host(arm.client);
    let name = evidence.name();
    let there = arm.reference.as_ref().map(|(_, stage)| {
        !matches!(stage, Stage::DocumentRefused(_) | Stage::Scope | Stage::KeysNotObtained)
            && stage.obtained_document() == Some(true)
    });
    let (code, confidence, summary) = match (unsupported, there) {
        (true, Some(true)) => (
            Code::OauthUnsupportedScope,
            if evidence.reference_is_strong() { Confidence::Confirmed } else { Confidence::Likely },
            format!("Logins to {host} fail: this PDS does not know scopes that the app asks for; it is too old."),
        ),
        (true, None) => (
            Code::OauthUnsupportedScope,
            Confidence::Likely,
            format!("Logins to {host} fail: this PDS does not know scopes that the app asks for."),
        ),
        (_, Some(false)) => (
            Code::AppClientMetadataBroken,
            Confidence::Likely,
            format!("Logins to {host} fail for everybody: PDSes refuse its client metadata. Your PDS is not at fault."),
        ),
        (false, _) => (
            Code::LoginParFails,
            if there == Some(true) { Confidence::Likely } else { Confidence::Possible },
            if looked_up {
                format!("Logins to {host} fail: this PDS cannot look up a permission set that the app asks for.")
            } else {
                format!("Logins to {host} fail: this PDS refuses the app's client metadata.")
            },
        ),
    };
    let versions = match (evidence.version(Role::Target), evidence.version(Role::Reference)) {
        (Some(ours), Some(theirs)) => {
            Some(format!("versions: {name} {ours}, {} {theirs}", evidence.reference().unwrap_or("reference")))
        }
        _ => None,
    };
    let mut cause = Cause::new(code, Impact::Broken, confidence, summary)
        .scope(Scope::host(&host))
        .saw(answer(arm.target.body))
        .because([arm.target.id()])
        .because(arm.reference.as_ref().map(|(seen, _)| seen.id()));
    if let Some(versions) = versions {
        cause = cause.saw(versions);
    }
    cause = beside_reference(evidence, cause, arm);
    if confidence != Confidence::Confirmed {
        cause = cause.settle("the same request at a reference PDS: --against HOST; and the PDS's own log");
    }
    Some(if code == Code::AppClientMetadataBroken {
        cause.remedy(Remedy::new(
            "Nothing to change on your PDS: tell the app's operators",
            [run(command!["curl -s", Url::new(arm.client)])],
            evidence.verify(),
        ))
    } else {
        cause.remedy(
            Remedy::new(
                "Update the PDS",
                [
                    run("sudo pdsadmin update").note("official install"),
                    run("sudo docker compose pull && sudo docker compose up -d")
                        .note("Docker, in the folder of compose.yaml"),
                    say("from source: update @atproto/pds and install again"),
                ],
                evidence.verify(),
            )
            .disruptive(),
        )
    })
}

/// The request ended before the document came into question, although PAR as such works.
fn other_failure(evidence: &Evidence<'_>, arm: &Arm<'_>) -> Option<Cause> {
    // A refused client id is a matter of the id; a reference that does the same says so.
    let there = arm.reference.as_ref().map(|(_, stage)| stage);
    let host = client_host(arm.client);
    let same = there.is_some_and(|stage| std::mem::discriminant(stage) == std::mem::discriminant(&arm.stage));
    let (code, summary) = if same {
        (
            Code::AppClientMetadataBroken,
            format!(
                "Logins to {host} fail everywhere at the same point: {}. Your PDS is not at fault.",
                arm.stage.words()
            ),
        )
    } else {
        (Code::LoginParFails, format!("Logins to {host} fail at {}: {}.", evidence.name(), arm.stage.words()))
    };
    // Implementations that want a DPoP proof before they look at the client tell us nothing.
    if matches!(arm.stage, Stage::RequestRefused) {
        return None;
    }
    Some(
        Cause::new(code, Impact::Broken, Confidence::Likely, summary)
            .scope(Scope::host(&host))
            .saw(answer(arm.target.body))
            .because([arm.target.id()])
            .because(arm.reference.as_ref().map(|(seen, _)| seen.id()))
            .settle("the PDS's log at the time of the check")
            .remedy(Remedy::new(
                "See the PDS's log at the time of the check",
                [run("sudo docker logs --tail 50 pds")],
                evidence.verify(),
            )),
    )
}

/// What a person would have chased, and what killed it.
fn theories(evidence: &Evidence<'_>, main: &Arm<'_>, found: &mut Found) {
    let scopes = |role| {
        evidence.http(role, HttpPurpose::AuthorizationServer).into_iter().find_map(|seen| match &seen.body.content {
            Some(Content::AuthorizationServer(document)) => {
                Some((seen.id(), document.scopes_supported.clone().unwrap_or_default()))
            }
            _ => None,
        })
    };
    let before_scopes = "the request failed before the PDS looked at any scope: it never saw the document".to_owned();
    let host = client_host(main.client);
    let scope = || Bounds::by_pds(&host);
    // The reference's word counts only where it did get further.
    let further = main.reference.as_ref().filter(|(_, stage)| stage.obtained_document() == Some(true));
    match (scopes(Role::Target), scopes(Role::Reference), evidence.reference(), further) {
        (Some((a, ours)), Some((b, theirs)), Some(reference), Some((there, _))) if ours == theirs => found.rule_out(
            Code::OauthUnsupportedScope,
            scope(),
            format!("{reference} advertises the same scopes ({}) and gets further; and {before_scopes}", list(&ours)),
            [a, b, main.target.id(), there.id()],
        ),
        _ => found.rule_out(Code::OauthUnsupportedScope, scope(), before_scopes, [main.target.id()]),
    }
    if let Some((theirs, stage)) = &main.reference
        && stage.obtained_document() == Some(true)
    {
        found.rule_out(
            Code::AppClientMetadataBroken,
            Bounds::by_reference(&host),
            format!("{} fetched and read the same document", evidence.reference().unwrap_or("the reference")),
            [theirs.id()],
        );
    }
    if let Some((localhost, stage)) = evidence.par(Role::Target, None, ParArm::Localhost)
        && stage.is_expected(ParArm::Localhost)
    {
        found.rule_out(
            Code::ProxyOauthRoutesMissing,
            Bounds::here(evidence.name()),
            "the login request reaches the PDS: the one that needs no fetch passes",
            [localhost.id()],
        );
    }
}
