//! The event stream that relays follow: does an upgrade to WebSocket come through?

use pdsdoctor_probes::{
    fact::Family,
    http_fact::{BodyClass, Content, HttpFact},
};

use super::{Found, Rule, list, proxy::NGINX};
use crate::diagnose::{
    Bounds, Cause, Claim, Code, Impact, Remedy, Scope,
    evidence::{Evidence, Line},
    seen::Seen,
    step::{Settle, command, prose, quoted, run, say, word, write},
};

pub(super) const RULE: Rule = Rule { codes: &[Code::ProxyWsUpgradeStripped], judge };

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    // Where an address does not answer as a PDS at all, that is the story.
    let lines: Vec<_> = evidence.target_lines().into_iter().filter(Line::is_pds).collect();
    let asked = lines.iter().filter_map(|line| line.stream).filter(|seen| !is_limit(seen.body));
    let (open, shut): (Vec<_>, Vec<_>) = asked.partition(|seen| seen.body.is_upgraded());
    let Some(first) = shut.first().copied() else {
        if !open.is_empty() {
            found.rule_out(
                Code::ProxyWsUpgradeStripped,
                Bounds::here(host),
                format!("the event stream opens ({})", list(open.iter().map(|seen| answer(seen.body)))),
                open.iter().map(Seen::id),
            );
        }
        return;
    };
    let there: Vec<_> = evidence.reference_lines().iter().filter_map(|line| line.stream).collect();
    let good = evidence.reference().zip(there.iter().find(|seen| seen.body.is_upgraded()));
    // The PDS itself says that a plain request came to it; whoever else answers may have another reason.
    let stripped = shut.iter().all(|seen| is_plain_get(seen.body));
    let addrs = || list(shut.iter().filter_map(|seen| seen.body.addr));
    let whom = if open.is_empty() { host.to_owned() } else { format!("{host} at {}", addrs()) };
    let summary = if stripped {
        format!(
            "The proxy before {whom} does not pass WebSocket upgrades: relays cannot follow the PDS, so nobody elsewhere sees new posts."
        )
    } else {
        format!(
            "{whom} does not open the event stream ({}): relays cannot follow the PDS, so nobody elsewhere sees new posts.",
            answer(first.body)
        )
    };
    // With one address of several shut, relays get through now and then.
    let impact = if open.is_empty() { Impact::Broken } else { Impact::Degraded };
    let claim = Claim::new(Code::ProxyWsUpgradeStripped, impact, summary).with(|mut cause| {
        cause = cause.scope(scope(&open, &shut)).because(shut.iter().map(Seen::id));
        cause = cause.because(lines.iter().filter_map(|line| line.health).map(|seen| seen.id()));
        for seen in &shut {
            let addr = seen.body.addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
            cause = cause.saw(format!("an upgrade of subscribeRepos{addr}: {}", answer(seen.body)));
        }
        if stripped {
            cause = cause.saw("those are the PDS's own words for a request without Upgrade");
        }
        cause.because(good.map(|(_, seen)| seen.id()))
    });
    let sides = good.map(|(reference, seen)| {
        let what = "the same upgrade of subscribeRepos".to_owned();
        (what, format!("{host}: {}", answer(first.body)), format!("{reference}: {}", answer(seen.body)))
    });
    let mut cause = match sides {
        Some(sides) if stripped => claim.confirmed(sides),
        Some(sides) => claim.with(|cause| cause.sides(sides)).likely(past_the_proxy(evidence)),
        None if there.is_empty() => claim.likely("the same upgrade at a PDS that relays follow: --against HOST"),
        // Something on this side takes upgrades out of everybody's requests: nothing is known of the target.
        None => claim.possible("the same from another network: here no PDS opens its stream"),
    };
    if let Some(open) = open.first() {
        cause = cause.because([open.id()]).contrast(
            "the same upgrade, at two addresses",
            format!("{}: {}", addrs(), answer(first.body)),
            format!("{}: {}", open.body.addr.map(|addr| addr.to_string()).unwrap_or_default(), answer(open.body)),
        );
    }
    found.cause(remedies(evidence, cause, host, first.body));
}

/// The same upgrade where nothing stands before the PDS.
fn past_the_proxy(evidence: &Evidence<'_>) -> Settle {
    let pds = evidence.inside().pds();
    let port = pds.map_or(3000, |pds| pds.body.effective_port());
    let url = word!["http://localhost:", port, "/xrpc/com.atproto.sync.subscribeRepos"];
    let place = if pds.is_some() { "here" } else { "on the PDS's own machine" };
    // A stream that opens stays open: `-m` ends it.
    let command = command![
        "curl -i -m 5 --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='",
        url
    ];
    Settle::run(command).then(prose![place, ": with 101 it is what stands before the PDS, else the PDS"])
}

/// "Too many requests" says nothing of upgrades.
fn is_limit(fact: &HttpFact) -> bool {
    fact.status == Some(429)
}

/// The reference PDS has no such route for a plain `GET`, and treats it as a request for its AppView: it asks for a login, or,
/// with none configured, says so (`@atproto/pds`, `pipethrough.ts`). An upgrade it answers in another place (`@atproto/xrpc-server`).
fn is_plain_get(fact: &HttpFact) -> bool {
    let Some(Content::XrpcError { error, message }) = &fact.content else { return false };
    let no_service = || message.as_ref().is_some_and(|message| message.starts_with("No service configured"));
    matches!(fact.status, Some(401)) && error.as_str() == "AuthMissing"
        || matches!(fact.status, Some(400)) && no_service()
}

fn scope(open: &[Seen<'_, HttpFact>], shut: &[Seen<'_, HttpFact>]) -> Scope {
    let families = |seen: &[Seen<'_, HttpFact>]| -> Vec<Family> {
        seen.iter().filter_map(|seen| seen.body.addr.map(Family::of)).collect()
    };
    let (well, ill) = (families(open), families(shut));
    let family = ill.first().copied().filter(|first| ill.iter().all(|it| it == first) && !well.contains(first));
    Scope { family: family.filter(|_| !well.is_empty()), ..Scope::default() }
}

/// How an upgrade was answered.
fn answer(fact: &HttpFact) -> String {
    match (&fact.content, fact.status, &fact.failure) {
        (Some(Content::StreamFrame { error: Some(error), .. }), ..) => format!("it opens, first word {error}"),
        (Some(Content::StreamFrame { event: Some(event), .. }), ..) => format!("it opens, first word {event}"),
        (_, Some(101), None) => "it opens".to_owned(),
        (_, Some(101), Some(failure)) => format!("HTTP 101, and then {}", failure.detail),
        (Some(Content::XrpcError { error, .. }), Some(status), _) => format!("HTTP {status} {error}"),
        (_, Some(status), _) => {
            let html = fact.body.as_ref().is_some_and(|body| body.class == BodyClass::Html);
            format!("HTTP {status}{}", if html { ", an HTML page" } else { "" })
        }
        (_, None, Some(failure)) => failure.detail.to_string(),
        (_, None, None) => "no answer".to_owned(),
    }
}

/// For the proxy that answered, where it says which it is; else for those that pass no upgrades unless they are told to.
fn remedies(evidence: &Evidence<'_>, cause: Cause, host: &str, shown: &HttpFact) -> Cause {
    let server = shown.headers.get("server").map(|server| server.to_ascii_lowercase()).unwrap_or_default();
    let nginx = || {
        Remedy::new(
            "Let nginx pass upgrades on",
            [
                write(NGINX).at(prose!["in the server block of ", quoted(host)]),
                run("sudo nginx -t && sudo systemctl reload nginx"),
            ],
            evidence.verify(),
        )
    };
    let apache = || {
        Remedy::new(
            "Let Apache pass upgrades on",
            [
                write("ProxyPass / http://127.0.0.1:3000/ upgrade=websocket").at(prose![
                    "in the virtual host of ",
                    quoted(host),
                    "; Apache 2.4.47 and later"
                ]),
                run("sudo apachectl configtest && sudo systemctl reload apache2"),
            ],
            evidence.verify(),
        )
    };
    if server.contains("cloudflare") {
        let steps =
            [say("Cloudflare's dashboard: Network, WebSockets: on"), say("then the proxy behind it, in the same way")];
        return cause.remedy(Remedy::new("Let Cloudflare pass upgrades on", steps, evidence.verify())).remedy(nginx());
    }
    if server.contains("apache") {
        return cause.remedy(apache());
    }
    if server.contains("caddy") {
        let steps = [
            say(
                "take lines such as header_up -Upgrade or header_up Connection out: reverse_proxy passes upgrades by itself",
            ),
            run("sudo systemctl reload caddy"),
        ];
        return cause.remedy(Remedy::new("Let Caddy pass upgrades on", steps, evidence.verify()));
    }
    let cause = cause.remedy(nginx());
    if server.contains("nginx") { cause } else { cause.remedy(apache()) }
}
