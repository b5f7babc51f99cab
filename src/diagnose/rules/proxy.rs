//! What answers over HTTPS: the PDS, a proxy without it, a redirect, or something else.

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::{BodyClass, HttpFact, HttpPurpose},
};
use url::Url;

use super::{Found, Rule};
use crate::diagnose::{
    Cause, Claim, Code, Impact, Remedy, Scope, Sides,
    evidence::{Evidence, Line, Seen},
    step::{prose, quoted, run, say, write},
};

pub(super) const RULE: Rule =
    Rule { codes: &[Code::ProxyUpstreamDown, Code::ProxyRedirectsApi, Code::HostNotAPds], judge };

/// What nginx needs to pass everything on, WebSockets among it.
pub(super) const NGINX: &str = "location / { proxy_pass http://127.0.0.1:3000; proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; }";

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    let lines = evidence.target_lines();
    let answering: Vec<&Line<'_>> = lines.iter().filter(|line| !line.answers().is_empty()).collect();
    if answering.iter().any(|line| line.is_pds()) {
        // Where one address is the PDS and another is not, the addresses are the story.
        return;
    }
    let Some(line) = answering.first() else { return };
    // `_health` is what the reference is asked too.
    let Some(shown) = line.answers().last().copied() else { return };
    let status = shown.body.status.unwrap_or(0);
    let cause = match status {
        // 52x and 530 are what a CDN says of an origin it cannot reach.
        502..=504 | 520..=527 | 530 if !is_own_json(shown.body) => upstream_down(evidence, host, line, shown),
        300..=399 => redirects(evidence, host, shown),
        // An error in the PDS's own words is the PDS's, and a limit says nothing of who sets it.
        500..=599 | 429 => return,
        _ => not_a_pds(evidence, host, line, shown),
    };
    found.cause(cause.because(line.ids()));
}

/// JSON is not what proxies write of their own.
fn is_own_json(fact: &HttpFact) -> bool {
    fact.body.as_ref().is_some_and(|body| matches!(body.class, BodyClass::Json | BodyClass::Expected))
}

fn describe(seen: &Seen<'_, HttpFact>) -> String {
    let server = seen.body.headers.get("server").map(|server| format!(", Server: {server}")).unwrap_or_default();
    let body = seen.body.body.as_ref().map(|body| match body.class {
        BodyClass::Html => ", an HTML page",
        BodyClass::Empty => ", an empty body",
        BodyClass::Json => ", JSON of another kind",
        BodyClass::Text => ", plain text",
        BodyClass::Binary => ", not text",
        BodyClass::Expected => "",
    });
    format!("HTTP {}{}{server}", seen.body.status.unwrap_or(0), body.unwrap_or_default())
}

/// What was asked for.
fn path(seen: &Seen<'_, HttpFact>) -> String {
    Url::parse(&seen.body.url).map_or_else(|_| seen.body.url.to_string(), |url| url.path().to_owned())
}

/// What the reference says to the same request; with that, the case is proven.
fn at_reference(evidence: &Evidence<'_>, host: &str, shown: &Seen<'_, HttpFact>) -> Option<(FactId, Sides)> {
    let reference = evidence.reference()?;
    let mut asked = evidence.http(Role::Reference, HttpPurpose::Health).into_iter();
    let good = asked.find(|seen| seen.body.is_expected() && path(seen) == path(shown))?;
    let sides = (
        format!("GET {}", path(shown)),
        format!("{host}: {}", describe(shown)),
        format!("{reference}: HTTP 200, a PDS"),
    );
    Some((good.id(), sides))
}

/// Beside what is said already, the reference's answer.
fn beside(cause: Cause, control: Option<(FactId, Sides)>) -> Cause {
    match control {
        Some((id, sides)) => cause.because([id]).sides(sides),
        None => cause,
    }
}

/// What settles it where no reference was asked the same.
const ASK_A_REFERENCE: &str = "the same request at a reference PDS: --against HOST";

fn upstream_down(evidence: &Evidence<'_>, host: &str, line: &Line<'_>, shown: Seen<'_, HttpFact>) -> Cause {
    let status = shown.body.status.unwrap_or(0);
    let by_edge = matches!(status, 520..=527 | 530);
    let who = if by_edge { "The CDN in front of" } else { "The proxy at" };
    let meaning = if status == 504 { "got no answer from the PDS behind it" } else { "cannot reach the PDS behind it" };
    let cause = Claim::new(
        Code::ProxyUpstreamDown,
        Impact::Broken,
        format!("{who} {host} answers, but {meaning} (HTTP {status}): the PDS is down or elsewhere."),
    )
    .confirmed((
        format!("{}: the proxy, and what is behind it", line.addr),
        format!("behind it: HTTP {status}"),
        format!("the proxy: TCP and TLS work ({} ms)", line.connect.map_or(0, |seen| seen.took())),
    ))
    .saw(describe(&shown))
    .remedy(
        Remedy::new(
            "Start the PDS, and see why it stopped",
            [
                run("sudo systemctl --no-pager status pds; sudo docker ps -a").note("official install"),
                run("sudo docker logs --tail 50 pds").note("the last error names the setting at fault"),
                run("sudo systemctl restart pds"),
            ],
            evidence.verify(),
        )
        .disruptive(),
    )
    .remedy(Remedy::new(
        "If the PDS runs: let the proxy point to where it listens",
        [
            run("curl -i http://localhost:3000/xrpc/_health").note("without PDS_PORT the PDS listens on 2583"),
            run("sudo ss -ltnp | grep -E ':(3000|2583)'"),
            write("reverse_proxy localhost:3000").at("Caddy"),
            write("proxy_pass http://127.0.0.1:3000;").at("nginx"),
        ],
        evidence.verify(),
    ));
    beside(cause, at_reference(evidence, host, &shown))
}

fn redirects(evidence: &Evidence<'_>, host: &str, shown: Seen<'_, HttpFact>) -> Cause {
    let to = shown.body.headers.get("location").map_or_else(|| "elsewhere".to_owned(), ToString::to_string);
    let (id, sides) = at_reference(evidence, host, &shown).unzip();
    Claim::new(
        Code::ProxyRedirectsApi,
        Impact::Broken,
        format!("{host} redirects API requests to {to}; PDS clients do not follow redirects."),
    )
    .weighed(sides, ASK_A_REFERENCE)
    .because(id)
    .saw(format!("{} → {to}", describe(&shown)))
    .remedy(Remedy::new(
        "Answer on the name itself",
        [
            write("location / { proxy_pass http://127.0.0.1:3000; }").at(prose![
                "nginx, in the server block of ",
                quoted(host),
                ", instead of a return 301"
            ]),
            say(prose!["Caddy: the site ", quoted(host), " must have reverse_proxy, not redir"]),
            say("CDN: no page rule or \"always www\" for this name"),
        ],
        evidence.verify(),
    ))
}

fn not_a_pds(evidence: &Evidence<'_>, host: &str, line: &Line<'_>, shown: Seen<'_, HttpFact>) -> Cause {
    let challenged = shown.body.headers.contains_key("cf-mitigated");
    let summary = if challenged {
        format!("A bot check in front of {host} answers instead of the PDS: apps and relays cannot pass it.")
    } else {
        format!("What answers at {host} is not a PDS.")
    };
    let claim = Claim::new(Code::HostNotAPds, Impact::Broken, summary);
    let control = at_reference(evidence, host, &shown);
    let cause = if challenged {
        // Whom a bot check stops, only its owner knows: this machine may be one of a few.
        beside(claim.likely("the same from another network, or the rules of whoever runs the check"), control)
    } else {
        let (id, sides) = control.unzip();
        claim.weighed(sides, ASK_A_REFERENCE).because(id)
    };
    let mut cause = cause.saw(format!("{}: {}", path(&shown), describe(&shown)));
    if let Some(body) = &shown.body.body
        && !body.excerpt.is_empty()
    {
        let excerpt: String = body.excerpt.chars().take(60).collect();
        cause = cause.saw(format!("it begins: {excerpt}"));
    }
    cause.scope(Scope::default()).remedy(Remedy::new(
        "Pass the PDS's routes to it, or name the right host",
        [
            write(NGINX).at(prose!["nginx, in the server block of ", quoted(host)]),
            say(prose!["is ", line.addr, " the address of the PDS's proxy, and not of another machine?"]),
            say("a PDS on another name? Check that one"),
        ],
        evidence.verify(),
    ))
}
