//! The first step of every login: the pushed authorization request. The same request at the target
//! and at the reference, compared by how far it got (the table of `research/anchors.md` 2.7, after
//! OONI's control and experiment):
//!
//! |                          | reference gets past | reference fails too | no reference |
//! |--------------------------|---------------------|---------------------|--------------|
//! | target gets past         | healthy             | healthy             | healthy      |
//! | target cannot fetch it   | target's egress     | the app's fault     | likely, or withheld |

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::{Content, HttpPurpose},
    par_fact::{ParArm, ParFact},
};

use super::{Found, Rule, list};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Seen, host_of, is_expected},
    par_stage::{FetchFailure, Refusal, Stage},
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

/// One arm at both sides.
struct Arm<'a> {
    client: &'a str,
    target: Seen<'a, ParFact>,
    stage: Stage,
    reference: Option<(Seen<'a, ParFact>, Stage)>,
}

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
    Some(cause.remedy(if code == Code::ProxyOauthRoutesMissing {
        Remedy::new(
            "Pass /oauth/ to the PDS, with POST",
            ["nginx:  location / { proxy_pass http://127.0.0.1:3000; proxy_set_header Host $host; }"],
            evidence.verify(),
        )
    } else {
        Remedy::new(
            "See the PDS's log at the time of the check",
            [
                "sudo docker logs --tail 50 pds",
                "df -h /pds; df -i /pds     # a full disk makes logins fail while _health is fine",
            ],
            evidence.verify(),
        )
    }))
}

/// The server's words, short.
fn answer(fact: &ParFact) -> String {
    if let Some(failure) = &fact.failure {
        return format!("no answer ({})", failure.kind.to_string().replace('_', " "));
    }
    if fact.accepted {
        return "accepted".to_owned();
    }
    let status = fact.status.unwrap_or(0);
    match (&fact.error, &fact.description) {
        (Some(error), Some(text)) => format!("HTTP {status} {error}: {text}"),
        (Some(error), None) => format!("HTTP {status} {error}"),
        _ => format!("HTTP {status}, not an OAuth answer"),
    }
}

fn judge_client(evidence: &Evidence<'_>, client: &str, found: &mut Found) {
    let arm = |arm: ParArm| -> Option<Arm<'_>> {
        let (target, stage) = evidence.par(Role::Target, Some(client), arm)?;
        let reference = evidence.reference().and_then(|_| evidence.par(Role::Reference, Some(client), arm));
        Some(Arm { client, target, stage, reference })
    };
    let busted = arm(ParArm::CacheBusted);
    let named = arm(ParArm::AsNamed);
    // The cache-busted arm says what is true now; the other may be ten minutes old.
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
        found.cause(not_obtained(evidence, main, named.as_ref()));
        theories(evidence, main, found);
        return;
    }
    let refusals = [busted.as_ref(), named.as_ref()].into_iter().flatten().find_map(|arm| refused(evidence, arm));
    match refusals {
        Some(cause) => found.cause(cause),
        None => {
            let ids: Vec<FactId> = [&busted, &named].into_iter().flatten().map(|arm| arm.target.id()).collect();
            let host = host_of(client).unwrap_or_default();
            found.rule_out(
                Code::OauthClientMetadataEgress,
                format!("the PDS fetched the client metadata of {host}"),
                ids,
            );
        }
    }
}

fn client_host(client: &str) -> String {
    host_of(client).unwrap_or_else(|| client.to_owned())
}

/// The document as this machine gets it: those who got it, those who did not.
fn own_fetch<'a>(evidence: &Evidence<'a>, client: &str) -> (Vec<FactId>, Vec<(FactId, String)>) {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for seen in evidence.http(Role::Client, HttpPurpose::ClientDocument) {
        if seen.body.url.as_str() != client {
            continue;
        }
        if is_expected(seen.body) {
            good.push(seen.id());
        } else {
            let how = match (&seen.body.failure, seen.body.status) {
                (Some(failure), _) => failure.kind.to_string().replace('_', " "),
                (None, Some(200)) => "HTTP 200, but not a client metadata document".to_owned(),
                (None, status) => format!("HTTP {}", status.unwrap_or(0)),
            };
            bad.push((seen.id(), how));
        }
    }
    let host = client_host(client);
    for seen in evidence.all_connects() {
        if seen.body.role == Role::Client
            && seen.body.host.as_str() == host
            && let Some(failure) = &seen.body.failure
        {
            bad.push((seen.id(), failure.kind.to_string().replace('_', " ")));
        }
    }
    (good, bad)
}

fn not_obtained(evidence: &Evidence<'_>, main: &Arm<'_>, named: Option<&Arm<'_>>) -> Cause {
    let (good, bad) = own_fetch(evidence, main.client);
    let host = client_host(main.client);
    let there = main.reference.as_ref().and_then(|(_, stage)| stage.obtained_document());
    let name = evidence.name();
    let (code, confidence) = match there {
        Some(true) if evidence.reference_is_strong() => (Code::OauthClientMetadataEgress, Confidence::Confirmed),
        Some(true) => (Code::OauthClientMetadataEgress, Confidence::Likely),
        Some(false) if good.is_empty() && !bad.is_empty() => (Code::AppClientMetadataBroken, Confidence::Confirmed),
        Some(false) => (Code::AppClientMetadataBroken, Confidence::Likely),
        // Without a reference nothing is proven; what this machine gets is the next best thing.
        None if !good.is_empty() => (Code::OauthClientMetadataEgress, Confidence::Likely),
        None if !bad.is_empty() => (Code::AppClientMetadataBroken, Confidence::Likely),
        None => (Code::LoginParFails, Confidence::Possible),
    };
    let spent = spent(evidence, main);
    let summary = match code {
        Code::OauthClientMetadataEgress => {
            format!(
                "{name} is up, but logins to {host} fail: the PDS cannot fetch the app's client metadata{}.",
                hint(&main.stage, spent)
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
        .saw(format!("the PDS's answer to the login request: {}", answer(main.target.body)))
        .because([main.target.id()])
        .because(main.reference.as_ref().map(|(seen, _)| seen.id()))
        .because(if code == Code::AppClientMetadataBroken {
            bad.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>()
        } else {
            good.clone()
        });
    if code == Code::AppClientMetadataBroken {
        cause = cause.against(good.clone());
    }
    if let Some(line) = time_line(&main.stage, spent) {
        cause = cause.saw(line);
    }
    if let Some(named) = named.filter(|named| named.stage.obtained_document() == Some(true)) {
        cause = cause
            .saw("asked without a cache-busting query it still has a copy (the PDS keeps one for ten minutes)")
            .because([named.target.id()]);
    }
    // The two PAR answers side by side, as the application would send them if there is such a pair.
    let shown = named.filter(|arm| arm.stage.obtained_document() == Some(false)).unwrap_or(main);
    cause = match (&shown.reference, evidence.reference()) {
        (Some((theirs, _)), Some(reference)) => {
            let entryway = if evidence.reference_is_strong() { "" } else { " (an entryway, not a PDS)" };
            cause.because([shown.target.id(), theirs.id()]).contrast(
                format!("the same login request (PAR) for {}", shown.client),
                format!("{name}: {}", answer(shown.target.body)),
                format!("{reference}{entryway}: {}", answer(theirs.body)),
            )
        }
        _ => cause.settle("the same request at a reference PDS: --against HOST"),
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
        (true, Some((_, how))) => Some(how.clone()),
        (true, None) => None,
    };
    if let Some(from_here) = from_here {
        cause = cause.contrast(
            format!("{}, fetched from two places", main.client),
            format!("{name}: {}", main.stage.words()),
            format!("this machine: {from_here}"),
        );
    }
    for remedy in remedies(evidence, code, main, &host) {
        cause = cause.remedy(remedy);
    }
    cause
}

/// What the PDS spent on the fetch: the time of the arm less that of the arm without a fetch.
fn spent(evidence: &Evidence<'_>, arm: &Arm<'_>) -> u64 {
    let base = evidence.par(Role::Target, None, ParArm::Localhost).map_or(0, |(seen, _)| seen.took());
    arm.target.took().saturating_sub(base)
}

fn hint(stage: &Stage, spent: u64) -> String {
    match stage {
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) => format!(" (it gives up after {spent} ms)"),
        Stage::DocumentNotObtained(FetchFailure::Silence) => " (nothing comes back within 10 s)".to_owned(),
        Stage::DocumentNotObtained(FetchFailure::NameNotFound) => " (its resolver does not find the name)".to_owned(),
        Stage::DocumentNotObtained(FetchFailure::Refused) => " (the connection is refused)".to_owned(),
        Stage::DocumentNotObtained(FetchFailure::Certificate) => " (it is shown a wrong certificate)".to_owned(),
        Stage::DocumentRefused(Refusal::Status | Refusal::NotJson) => " (the app's server refuses it)".to_owned(),
        _ => String::new(),
    }
}

/// The clock as evidence: who gave up?
fn time_line(stage: &Stage, spent: u64) -> Option<String> {
    let Stage::DocumentNotObtained(failure) = stage else { return None };
    Some(match failure {
        FetchFailure::AttemptCap => format!(
            "the fetch took {spent} ms: Node gives every address but the last 250 ms to connect, so a working but distant IPv4 path fails where IPv6 is published and unusable"
        ),
        FetchFailure::Silence => {
            "the fetch took the PDS's whole 10 s: packets get lost on the way, nothing refuses them".to_owned()
        }
        FetchFailure::AtOnce => format!(
            "the fetch failed at once ({spent} ms): no route, a failing resolver, a private address in its answer, or an untrusted certificate"
        ),
        FetchFailure::Slow => format!("the fetch failed after {spent} ms: a resolver or a gateway gave up"),
        _ => return None,
    })
}

fn remedies(evidence: &Evidence<'_>, code: Code, main: &Arm<'_>, host: &str) -> Vec<Remedy> {
    let verify = if evidence.run.settings.client_ids.len() > 1 {
        format!("{} --client-id {}", evidence.verify(), main.client)
    } else {
        evidence.verify()
    };
    if code == Code::AppClientMetadataBroken {
        return vec![Remedy::new(
            "Nothing to change on your PDS: tell the app's operators",
            [format!("curl -i {}", main.client)],
            verify,
        )];
    }
    let look = Remedy::new(
        "Look from where the PDS runs (its container), one address family at a time",
        [
            "PID=$(sudo docker inspect -f '{{.State.Pid}}' pds)".to_owned(),
            format!("sudo nsenter -t $PID -n curl -4 -sv -o /dev/null {}", main.client),
            format!("sudo nsenter -t $PID -n curl -6 -sv -o /dev/null {}", main.client),
            "sudo docker logs --tail 200 pds 2>&1 | grep -E 'pds:(fetch|oauth)' | tail     # the hidden error"
                .to_owned(),
        ],
        verify.clone(),
    );
    let longer = Remedy::new(
        "Give each connection attempt of the PDS more than 250 ms",
        [
            "NODE_OPTIONS=--network-family-autoselection-attempt-timeout=5000    # in /pds/pds.env",
            "sudo systemctl restart pds",
        ],
        verify.clone(),
    )
    .disruptive()
    .undo("remove the line and restart");
    let repair_v6 = Remedy::new(
        "Then repair IPv6 on the PDS's host, or take it away from the PDS",
        [
            "ip -6 route show default; ip -6 addr show scope global     # none, although the router advertises?",
            "sysctl net.ipv6.conf.all.forwarding net.ipv6.conf.all.accept_ra     # 1 and 1: advertisements are ignored",
        ],
        verify.clone(),
    );
    match &main.stage {
        Stage::DocumentNotObtained(FetchFailure::AttemptCap) => vec![longer, repair_v6, look],
        Stage::DocumentNotObtained(FetchFailure::NameNotFound) => vec![
            Remedy::new(
                "Give the PDS's container a resolver that knows the name",
                [
                    format!(
                        "sudo nsenter -t $(sudo docker inspect -f '{{{{.State.Pid}}}}' pds) -n getent ahosts {host}"
                    ),
                    "docker compose:  dns: [1.1.1.1, 9.9.9.9]    # for the pds service, then: docker compose up -d"
                        .to_owned(),
                ],
                verify,
            )
            .disruptive(),
            look,
        ],
        Stage::DocumentNotObtained(FetchFailure::Silence | FetchFailure::Slow) => vec![
            look,
            Remedy::new(
                "Let the PDS out: allow TCP 443 from its container, on both families",
                [
                    "sudo nft list ruleset | grep -iE 'drop|reject'     # also the cloud's outbound rules".to_owned(),
                    format!("a smaller packet size on the way?  ping -M do -s 1372 {host}"),
                ],
                verify,
            ),
        ],
        Stage::DocumentRefused(Refusal::Status | Refusal::Redirect | Refusal::NotJson) => vec![
            Remedy::new(
                "The app's server turns your PDS's address away: ask its operators to allow it",
                [format!("from the PDS's machine: curl -i {}", main.client)],
                verify,
            ),
            look,
        ],
        _ => vec![look],
    }
}

/// The document was read, and something in it or in the request was refused.
fn refused(evidence: &Evidence<'_>, arm: &Arm<'_>) -> Option<Cause> {
    let unsupported = matches!(arm.stage, Stage::DocumentRefused(Refusal::UnsupportedScope) | Stage::Scope);
    if !unsupported && !matches!(arm.stage, Stage::DocumentRefused(Refusal::Content) | Stage::KeysNotObtained) {
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
            format!("Logins to {host} fail: this PDS refuses the app's client metadata."),
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
    cause = match (&arm.reference, evidence.reference()) {
        (Some((theirs, _)), Some(reference)) => cause.contrast(
            format!("the same login request (PAR) for {}", arm.client),
            format!("{name}: {}", answer(arm.target.body)),
            format!("{reference}: {}", answer(theirs.body)),
        ),
        _ => cause.settle("the same request at a reference PDS: --against HOST"),
    };
    Some(if code == Code::AppClientMetadataBroken {
        cause.remedy(Remedy::new(
            "Nothing to change on your PDS: tell the app's operators",
            [format!("curl -s {}", arm.client)],
            evidence.verify(),
        ))
    } else {
        cause.remedy(
            Remedy::new(
                "Update the PDS",
                [
                    "official install: sudo pdsadmin update",
                    "Docker: docker compose pull && docker compose up -d",
                    "from source: update @atproto/pds and install again",
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
                ["sudo docker logs --tail 50 pds"],
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
    match (scopes(Role::Target), scopes(Role::Reference), evidence.reference()) {
        (Some((a, ours)), Some((b, theirs)), Some(reference)) if ours == theirs => found.rule_out(
            Code::OauthUnsupportedScope,
            format!("{reference} advertises the same scopes ({}) and gets further; and {before_scopes}", list(&ours)),
            [a, b, main.target.id()],
        ),
        _ => found.rule_out(Code::OauthUnsupportedScope, before_scopes, [main.target.id()]),
    }
    if let Some((theirs, stage)) = &main.reference
        && stage.obtained_document() == Some(true)
    {
        found.rule_out(
            Code::AppClientMetadataBroken,
            format!("{} fetched and read the same document", evidence.reference().unwrap_or("the reference")),
            [theirs.id()],
        );
    }
    if let Some((localhost, stage)) = evidence.par(Role::Target, None, ParArm::Localhost)
        && stage.is_expected(ParArm::Localhost)
    {
        found.rule_out(
            Code::ProxyOauthRoutesMissing,
            "the login request reaches the PDS: the one that needs no fetch passes",
            [localhost.id()],
        );
    }
}
