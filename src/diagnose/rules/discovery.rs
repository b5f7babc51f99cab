//! OAuth discovery: are the two documents there, do they come from the PDS, do they say what the
//! atproto OAuth profile requires?

use pdsdoctor_probes::{
    fact::{FactId, Role},
    http_fact::{AuthorizationServerContent, BodyClass, Content, HttpFact, HttpPurpose},
    text::Text,
};
use url::Url as Parsed;

use super::{Found, Rule, list, proxy::NGINX};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, Seen, host_of},
    not_asked,
    step::{Command, HostName, Settle, Url, command, entry, prose, quoted, run, run_or, say, write},
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::ProxyOauthRoutesMissing,
        Code::OauthDevOriginMismatch,
        Code::OauthMetadataInvalid,
        Code::OauthDiscoveryFails,
    ],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(origin) = evidence.run.target.origin.as_deref() else { return };
    let resource = evidence.http(Role::Target, HttpPurpose::ProtectedResource).first().copied();
    let own_server = evidence.http(Role::Target, HttpPurpose::AuthorizationServer).first().copied();
    let Some(resource) = resource else { return };
    if !evidence.target_lines().iter().any(super::super::evidence::Line::is_pds) {
        return;
    }
    let named = authorization_servers(resource.body);
    let elsewhere = named.first().is_some_and(|server| !same_origin(server, origin));
    // The origin it names may be a mistake of configuration, not a server: is anything there?
    let other_server = evidence
        .http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer)
        .into_iter()
        .find(|seen| seen.body.is_expected());
    let server = if elsewhere && other_server.is_some() { other_server } else { own_server };
    let Some(server) = server else { return };
    // A PDS that knows its own address and names another server leaves its logins to that one, as the profile allows:
    // it does not think that it lives there. Apps ask that server alone, whatever the PDS itself says.
    if let Some(named) = named.first().filter(|_| elsewhere && names_itself(resource.body, origin)) {
        match other_server {
            // What was left alone, or not come to, may well answer: that it was not asked is said among what was not
            // measured.
            None if not_asked::of(evidence.run, Role::TargetAuthServer).is_some()
                || evidence.http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer).is_empty()
                    && !other_was_tried(evidence, named) =>
            {
                return;
            }
            None => {
                found.cause(other_server_silent(evidence, origin, named, resource, server));
                return;
            }
            Some(server) => {
                let wrong = mismatches(origin, resource, server, true);
                if !wrong.is_empty() {
                    found.cause(other_server_is_a_third(evidence, named, resource, server, &wrong));
                    return;
                }
            }
        }
    }
    let mismatches = mismatches(origin, resource, server, elsewhere && other_server.is_some());
    if !mismatches.is_empty() {
        found.cause(wrong_origin(evidence, origin, resource, server, &mismatches));
        return;
    }
    if let Some(cause) = missing(evidence, origin, resource, server) {
        found.cause(cause);
        return;
    }
    let Some(Content::AuthorizationServer(document)) = &server.body.content else { return };
    let faults = profile_faults(document);
    // What no client can do without, and what only strict ones look at.
    let impact = if faults.iter().any(|fault| fault.needed) { Impact::Broken } else { Impact::Degraded };
    if faults.is_empty() {
        found.rule_out(
            Code::ProxyOauthRoutesMissing,
            Bounds::here(evidence.name()),
            "both OAuth documents come from the PDS and are complete",
            [resource.id(), server.id()],
        );
    } else {
        found.cause(
            Cause::new(
                Code::OauthMetadataInvalid,
                impact,
                Confidence::Likely,
                format!(
                    "The OAuth metadata of {} breaks the atproto profile: {}apps refuse it.",
                    evidence.name(),
                    if impact == Impact::Broken { "" } else { "strict " }
                ),
            )
            .saw(list(faults.iter().map(|fault| &fault.what)))
            .because([server.id()])
            .settle("a login with an app that is known to follow the profile")
            .remedy(Remedy::new(
                "Update the PDS software, and see that no proxy rewrites the document",
                [run(command!["curl -s", Url::new(&server.body.url)])],
                evidence.verify(),
            )),
        );
    }
}

fn authorization_servers(fact: &HttpFact) -> Vec<&Text> {
    match &fact.content {
        Some(Content::ProtectedResource { authorization_servers, .. }) => authorization_servers.iter().collect(),
        _ => Vec::new(),
    }
}

/// The PDS knows its own address.
fn names_itself(resource: &HttpFact, origin: &str) -> bool {
    matches!(&resource.content, Some(Content::ProtectedResource { resource: Some(named), .. })
        if named.trim_end_matches('/') == origin)
}

/// The PDS leaves logins to another server, which does not give its document.
fn other_server_silent(
    evidence: &Evidence<'_>,
    origin: &str,
    named: &str,
    resource: Seen<'_, HttpFact>,
    server: Seen<'_, HttpFact>,
) -> Cause {
    let tried = evidence.http(Role::TargetAuthServer, HttpPurpose::AuthorizationServer);
    let how = tried.iter().find_map(|seen| instead(*seen)).unwrap_or_else(|| "it could not be asked".to_owned());
    Cause::new(
        Code::OauthDiscoveryFails,
        Impact::Broken,
        Confidence::Likely,
        format!(
            "Logins fail at {origin}: it leaves them to {named}, which does not answer as an authorization server."
        ),
    )
    .saw(format!("authorization_servers: {named}"))
    .saw(format!("{named}/.well-known/oauth-authorization-server: {how}"))
    .because([resource.id(), server.id()])
    .because(tried.iter().map(|seen| seen.id()))
    .settle("the log of the authorization server")
    .remedy(Remedy::new(
        "Mend the authorization server, or let the PDS be its own",
        [
            run_or(
                command!["curl -i", server_document(named)],
                prose!["the PDS names ", quoted(named), ", which is no https address"],
            ),
            say("PDS_ENTRYWAY_URL in /pds/pds.env names another login server: remove it if none is meant"),
        ],
        evidence.verify(),
    ))
}

/// Where a server's document is.
fn server_document(named: &str) -> Option<Url> {
    let server = Parsed::parse(named).ok()?;
    Url::new(server.join("/.well-known/oauth-authorization-server").ok()?.as_str())
}

/// A document of the PDS, asked of the PDS itself.
fn past_the_proxy(path: &str) -> Option<Command> {
    Some(Command::own(match path {
        "/.well-known/oauth-protected-resource" => "curl -i http://localhost:3000/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server" => {
            "curl -i http://localhost:3000/.well-known/oauth-authorization-server"
        }
        _ => return None,
    }))
}

/// The host of that server was looked for, or a connection to it was tried.
fn other_was_tried(evidence: &Evidence<'_>, named: &str) -> bool {
    let Some(host) = host_of(named) else { return true };
    let role = Role::TargetAuthServer;
    evidence.all_connects().iter().any(|seen| seen.body.role == role && seen.body.host.as_str() == host)
        || evidence.all_dns().iter().any(|seen| seen.body.role == role && seen.body.name.as_str() == host)
        || evidence.all_system_dns().iter().any(|seen| seen.body.role == role && seen.body.name.as_str() == host)
}

/// The server that the PDS leaves its logins to says that it is another one (RFC 8414, section 3.3: apps refuse that).
fn other_server_is_a_third(
    evidence: &Evidence<'_>,
    named: &str,
    resource: Seen<'_, HttpFact>,
    server: Seen<'_, HttpFact>,
    wrong: &[String],
) -> Cause {
    let mut cause = Cause::new(
        Code::OauthMetadataInvalid,
        Impact::Broken,
        Confidence::Likely,
        format!(
            "{} leaves logins to {named}, whose document is that of another server: apps refuse it.",
            evidence.name()
        ),
    )
    .because([resource.id(), server.id()])
    .settle(match server_document(named).and_then(|url| command!["curl -s", url]) {
        Some(command) => Settle::run(command).then("its issuer, compared with what the PDS names"),
        None => Settle::text("the issuer of that server's document, compared with what the PDS names"),
    })
    .remedy(Remedy::new(
        "Let the PDS name the server's own address, or mend the server's",
        [run(command!["curl -i", Url::new(&server.body.url)])],
        evidence.verify(),
    ));
    for line in wrong.iter().take(5) {
        cause = cause.saw(line.clone());
    }
    cause
}

fn same_origin(a: &str, b: &str) -> bool {
    match (Parsed::parse(a), Parsed::parse(b)) {
        (Ok(a), Ok(b)) => a.origin() == b.origin(),
        _ => false,
    }
}

/// Every address in the documents that should lie on one origin and does not.
fn mismatches(
    origin: &str,
    resource: Seen<'_, HttpFact>,
    server: Seen<'_, HttpFact>,
    has_own_server: bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(Content::ProtectedResource { resource: Some(named), authorization_servers }) = &resource.body.content {
        if named.trim_end_matches('/') != origin {
            wrong.push(format!("resource is {named}"));
        }
        for server in authorization_servers {
            if !has_own_server && !same_origin(server, origin) {
                wrong.push(format!("authorization_servers names {server}"));
            }
        }
    }
    let Some(Content::AuthorizationServer(document)) = &server.body.content else { return wrong };
    // The issuer must be the origin the document was fetched from (RFC 8414, section 3.3).
    let base = Parsed::parse(&server.body.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    if let Some(issuer) = &document.issuer
        && issuer.as_str() != base
    {
        wrong.push(format!("issuer is {issuer}"));
    }
    for (field, endpoint) in [
        ("authorization_endpoint", &document.authorization_endpoint),
        ("token_endpoint", &document.token_endpoint),
        ("pushed_authorization_request_endpoint", &document.pushed_authorization_request_endpoint),
    ] {
        if let Some(endpoint) = endpoint
            && !same_origin(endpoint, &base)
        {
            wrong.push(format!("{field} is {endpoint}"));
        }
    }
    wrong
}

fn wrong_origin(
    evidence: &Evidence<'_>,
    origin: &str,
    resource: Seen<'_, HttpFact>,
    server: Seen<'_, HttpFact>,
    mismatches: &[String],
) -> Cause {
    let host = evidence.name();
    let (describe, did) = match evidence.described() {
        Some((seen, did, _)) => (Some(seen.id()), did),
        None => (None, None),
    };
    let believed = match &resource.body.content {
        Some(Content::ProtectedResource { resource: Some(named), .. }) if named.trim_end_matches('/') != origin => {
            Some(named.to_string())
        }
        _ => match &server.body.content {
            Some(Content::AuthorizationServer(document)) => document.issuer.as_ref().map(ToString::to_string),
            _ => None,
        },
    };
    let believed = believed.unwrap_or_else(|| "another address".to_owned());
    let mut cause = Cause::new(
        Code::OauthDevOriginMismatch,
        Impact::Broken,
        Confidence::Confirmed,
        format!("The PDS at {origin} believes it lives at {believed}: every app refuses to log in."),
    )
    .because([resource.id(), server.id()])
    .because(describe)
    .contrast(
        "where the documents were fetched, and what they say of themselves",
        format!("fetched from: {origin}"),
        format!("they say: {}", mismatches.first().map_or("", String::as_str)),
    )
    .remedy(
        Remedy::new(
            "Set PDS_HOSTNAME to the name people use, without scheme, port or slash",
            [
                write(entry!["PDS_HOSTNAME=", HostName::new(host)]).note("in /pds/pds.env"),
                run("sudo systemctl restart pds"),
                say(prose![
                    "or, if ",
                    quoted(&believed),
                    " is right: check that address instead, and let ",
                    quoted(host),
                    " go"
                ]),
            ],
            evidence.verify(),
        )
        .disruptive(),
    );
    for mismatch in mismatches.iter().take(5) {
        cause = cause.saw(mismatch.clone());
    }
    if let Some(did) = did.filter(|did| did.strip_prefix("did:web:").is_some_and(|name| name != host)) {
        cause = cause.saw(format!("describeServer calls it {did}"));
    }
    if let Some(reference) = evidence.reference()
        && evidence.http(Role::Reference, HttpPurpose::ProtectedResource).iter().any(|seen| seen.body.is_expected())
    {
        cause = cause.contrast(
            "do the documents name the origin they come from?",
            format!("{host}: no"),
            format!("{reference}: yes"),
        );
    }
    cause
}

/// What came instead of a document, in words; `None` if the document came.
fn instead(seen: Seen<'_, HttpFact>) -> Option<String> {
    if seen.body.is_expected() {
        return None;
    }
    let body = seen.body;
    Some(match (&body.failure, body.status) {
        (Some(failure), _) => failure.kind.to_string().replace('_', " "),
        (None, status) => {
            let class = match body.body.as_ref().map(|body| body.class) {
                Some(BodyClass::Html) => " with an HTML page",
                Some(BodyClass::Empty) => " with an empty body",
                Some(BodyClass::Json) => " with other JSON",
                _ => "",
            };
            format!("HTTP {}{class}", status.unwrap_or(0))
        }
    })
}

/// A 404 that the PDS's own web framework wrote: the request did get through.
fn from_pds(seen: Seen<'_, HttpFact>) -> bool {
    let powered = seen.body.headers.get("x-powered-by").is_some_and(|by| by.contains("Express"));
    // Proxies write pages, not JSON.
    let words = seen
        .body
        .body
        .as_ref()
        .is_some_and(|body| body.excerpt.contains("Cannot GET") || body.class == BodyClass::Json);
    powered || words
}

fn missing(
    evidence: &Evidence<'_>,
    origin: &str,
    resource: Seen<'_, HttpFact>,
    server: Seen<'_, HttpFact>,
) -> Option<Cause> {
    let (no_resource, no_server) = (instead(resource), instead(server));
    // Each of the two is needed: an app goes from the PDS to its first document, and from there to the second; only one
    // that is given the PDS's address itself, and not a handle, may do without the first (`@atproto/oauth-client`,
    // `OAuthResolver`: `resolveFromIdentity` has no way round it).
    let (shown, how) = match (&no_server, &no_resource) {
        (Some(how), _) => (server, how.clone()),
        (None, Some(how)) => (resource, how.clone()),
        (None, None) => return None,
    };
    let control: Vec<FactId> = evidence
        .http(Role::Reference, HttpPurpose::ProtectedResource)
        .into_iter()
        .chain(evidence.http(Role::Reference, HttpPurpose::AuthorizationServer))
        .filter(|seen| seen.body.is_expected())
        .map(|seen| seen.id())
        .collect();
    let path = Parsed::parse(&shown.body.url).map(|url| url.path().to_owned()).unwrap_or_default();
    let by_proxy =
        !from_pds(shown) && shown.body.failure.is_none() && shown.body.status.is_some_and(|status| status < 500);
    let ids = [resource.id(), server.id()];
    let health = evidence.target_lines().into_iter().find(super::super::evidence::Line::is_pds);
    let health_ids = health.iter().flat_map(super::super::evidence::Line::ids).collect::<Vec<_>>();
    if !by_proxy {
        return Some(
            Cause::new(
                Code::OauthDiscoveryFails,
                Impact::Broken,
                Confidence::Likely,
                format!("OAuth discovery fails at {origin}: {path} gives {how}."),
            )
            .saw(format!("{path}: {how}"))
            .because(ids)
            .settle("the PDS's own log at the time of the check")
            .remedy(Remedy::new(
                "Update the PDS, or mend what answers there",
                [run(command!["curl -i", Url::new(&shown.body.url)])],
                evidence.verify(),
            )),
        );
    }
    // Another implementation than the reference's may simply not have these routes.
    let has_routes = evidence.version(Role::Target).is_some_and(is_reference_version);
    let confidence = if control.is_empty() || !has_routes { Confidence::Likely } else { Confidence::Confirmed };
    let mut cause = Cause::new(
        Code::ProxyOauthRoutesMissing,
        Impact::Broken,
        confidence,
        format!("Logins with OAuth fail at {}: the proxy does not pass {path} to the PDS.", evidence.name()),
    )
    .because(ids)
    .because(health_ids)
    .because(control.clone())
    .contrast(
        "two routes of the same PDS through the same proxy",
        format!("{path}: {how}"),
        "/xrpc: answered by the PDS",
    )
    .remedy(Remedy::new(
        "Pass everything to the PDS",
        [
            write(NGINX).at("nginx"),
            write("reverse_proxy localhost:3000").at("Caddy").note("without a path matcher"),
            say("at the least: /xrpc/ /oauth/ /account /@atproto/ and all of /.well-known/ but acme-challenge"),
        ],
        evidence.verify(),
    ));
    for (seen, how) in [(resource, no_resource), (server, no_server)] {
        if let Some(how) = how {
            let path = Parsed::parse(&seen.body.url).map(|url| url.path().to_owned()).unwrap_or_default();
            cause = cause.saw(format!("{path}: {how}"));
        }
    }
    if confidence != Confidence::Confirmed {
        cause = cause.settle(Settle::text("the same request past the proxy:").and(past_the_proxy(&path)));
    }
    Some(match evidence.reference() {
        Some(reference) if !control.is_empty() => cause.contrast(
            format!("GET {path}"),
            format!("{}: {how}", evidence.name()),
            format!("{reference}: the document"),
        ),
        _ => cause,
    })
}

/// The reference PDS gives its bare version; others put their name before it.
pub(crate) fn is_reference_version(version: &str) -> bool {
    version.split('.').count() >= 3 && version.starts_with(|c: char| c.is_ascii_digit())
}

/// A fault in the metadata.
struct Fault {
    what: String,
    /// The reference client (`@atproto/oauth-client`) refuses without it, or no login can begin.
    needed: bool,
}

/// Faults against the profile (atproto.com/specs/oauth, "Authorization Servers"), the issuer aside.
fn profile_faults(document: &AuthorizationServerContent) -> Vec<Fault> {
    const NEEDED: &[&str] = &["response_types_supported", "client_id_metadata_document_supported"];
    let mut faults = Vec::new();
    let mut fault = |field: &str, what: &str| {
        let needed = NEEDED.contains(&field) || field == "issuer" || field.ends_with("_endpoint");
        faults.push(Fault { what: format!("{field} {what}"), needed });
    };
    let contains = |list: &Option<Vec<Text>>, wanted: &str| {
        list.as_ref().is_some_and(|list| list.iter().any(|value| value.as_str() == wanted))
    };
    for (field, value) in [
        ("issuer", &document.issuer),
        ("authorization_endpoint", &document.authorization_endpoint),
        ("token_endpoint", &document.token_endpoint),
        ("pushed_authorization_request_endpoint", &document.pushed_authorization_request_endpoint),
    ] {
        if value.is_none() {
            fault(field, "is missing");
        }
    }
    for (field, list, wanted) in [
        ("response_types_supported", &document.response_types_supported, "code"),
        ("grant_types_supported", &document.grant_types_supported, "authorization_code"),
        ("grant_types_supported", &document.grant_types_supported, "refresh_token"),
        ("code_challenge_methods_supported", &document.code_challenge_methods_supported, "S256"),
        ("token_endpoint_auth_methods_supported", &document.token_endpoint_auth_methods_supported, "none"),
        ("token_endpoint_auth_methods_supported", &document.token_endpoint_auth_methods_supported, "private_key_jwt"),
        (
            "token_endpoint_auth_signing_alg_values_supported",
            &document.token_endpoint_auth_signing_alg_values_supported,
            "ES256",
        ),
        ("dpop_signing_alg_values_supported", &document.dpop_signing_alg_values_supported, "ES256"),
        ("scopes_supported", &document.scopes_supported, "atproto"),
    ] {
        if !contains(list, wanted) {
            fault(field, &format!("lacks {wanted}"));
        }
    }
    for (field, value) in [
        ("authorization_response_iss_parameter_supported", document.authorization_response_iss_parameter_supported),
        ("require_pushed_authorization_requests", document.require_pushed_authorization_requests),
        ("client_id_metadata_document_supported", document.client_id_metadata_document_supported),
    ] {
        if value != Some(true) {
            fault(field, "is not true");
        }
    }
    if document.require_request_uri_registration == Some(false) {
        fault("require_request_uri_registration", "is false");
    }
    faults
}
