//! Bodies of answers, read as the documents they should be. Pure: no I/O, no clock.
//!
//! Strict about types (a field of the wrong type is absent), tolerant of fields unknown.
//! The status is judged elsewhere: a body is what its bytes say.

use serde_json::{Map, Value};

use crate::{
    http_fact::{AuthorizationServerContent, BodyClass, Content, HttpPurpose},
    identifier,
    text::Text,
    wire::json,
};

/// The most items of a list that are kept.
pub const LIST_ITEMS: usize = 20;

/// The most `redirect_uris` of a client that are kept.
pub const REDIRECT_URIS: usize = 8;

/// The most bytes of `/.well-known/atproto-did` in which a DID is looked for; the longest is 2 KiB.
const DID_BYTES: usize = 4 * 1024;

/// What kind of body this is, and what it says where it is a document that is understood.
/// `body` must be whole; the caller bounds its size.
pub fn read(purpose: HttpPurpose, content_type: Option<&str>, body: &[u8]) -> (BodyClass, Option<Content>) {
    if purpose == HttpPurpose::AtprotoDid
        && let Some(did) = did_of(body)
    {
        return (BodyClass::Expected, Some(Content::AtprotoDid { did: Some(did) }));
    }
    if purpose == HttpPurpose::EchoAddress
        && let Some(addr) = std::str::from_utf8(body).ok().and_then(|text| text.trim().parse().ok())
    {
        return (BodyClass::Expected, Some(Content::EchoAddress { addr }));
    }
    let Some(value) = json::parse(body) else { return (class_of_part(content_type, body), None) };
    let Some(object) = value.as_object() else { return (BodyClass::Json, None) };
    if let Some(content) = expected(purpose, object) {
        return (BodyClass::Expected, Some(content));
    }
    (BodyClass::Json, xrpc_error(object))
}

/// What kind of body this is the beginning of, JSON aside.
pub fn class_of_part(content_type: Option<&str>, body: &[u8]) -> BodyClass {
    if body.is_empty() {
        return BodyClass::Empty;
    }
    if is_binary(body) {
        return BodyClass::Binary;
    }
    if looks_like_html(body) || content_type.is_some_and(|value| is_type(value, "text/html")) {
        return BodyClass::Html;
    }
    BodyClass::Text
}

/// `header` names the media type `wanted`, parameters aside (RFC 9110, section 8.3.1).
pub fn is_type(header: &str, wanted: &str) -> bool {
    header.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

/// Not UTF-8, or with a NUL: text has neither. A character cut in two at the end is forgiven.
fn is_binary(body: &[u8]) -> bool {
    let utf8 = match std::str::from_utf8(body) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    !utf8 || body.contains(&0)
}

fn looks_like_html(body: &[u8]) -> bool {
    let mut start = body.trim_ascii_start();
    start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let head = start[..start.len().min(512)].to_ascii_lowercase();
    head.starts_with(b"<!doctype html")
        || head.starts_with(b"<html")
        || head.starts_with(b"<head")
        || (head.starts_with(b"<") && head.windows(5).any(|part| part == b"<html"))
}

fn did_of(body: &[u8]) -> Option<Text> {
    let text = std::str::from_utf8(body.get(..DID_BYTES.min(body.len()))?).ok()?.trim();
    (body.len() <= DID_BYTES && identifier::is_did(text)).then(|| Text::new(text))
}

fn expected(purpose: HttpPurpose, object: &Map<String, Value>) -> Option<Content> {
    match purpose {
        HttpPurpose::ListRepos => repo_list(object),
        HttpPurpose::DescribeRepo => Some(Content::Repo { did: text(object, "did")?, handle: text(object, "handle")? }),
        HttpPurpose::Health | HttpPurpose::Upstream => Some(Content::Health { version: text(object, "version")? }),
        HttpPurpose::DescribeServer => describe_server(object),
        HttpPurpose::ProtectedResource => protected_resource(object),
        HttpPurpose::AuthorizationServer => authorization_server(object),
        HttpPurpose::DidDocument => did_document(object),
        HttpPurpose::ClientDocument => client_document(object),
        HttpPurpose::ResolveHandle => {
            let did = object.get("did")?.as_str().filter(|did| identifier::is_did(did))?;
            Some(Content::ResolvedHandle { did: Text::new(did) })
        }
        HttpPurpose::AtprotoDid
        | HttpPurpose::PlainPort80
        | HttpPurpose::SubscribeRepos
        | HttpPurpose::PlainOnTlsPort
        | HttpPurpose::EchoAddress
        | HttpPurpose::ProxyPlc
        | HttpPurpose::ProxyDidWeb => None,
    }
}

fn describe_server(object: &Map<String, Value>) -> Option<Content> {
    let domains = object.get("availableUserDomains").and_then(Value::as_array);
    let did = text(object, "did");
    if domains.is_none() && did.is_none() {
        return None;
    }
    Some(Content::DescribeServer { did, available_user_domains: domains.map(|list| texts(list)).unwrap_or_default() })
}

/// Repositories that are not active have no handle to look at.
fn repo_list(object: &Map<String, Value>) -> Option<Content> {
    let repos = object.get("repos")?.as_array()?;
    let active = repos
        .iter()
        .filter_map(Value::as_object)
        .filter(|repo| repo.get("active").and_then(Value::as_bool) != Some(false))
        .filter_map(|repo| text(repo, "did"));
    Some(Content::RepoList { dids: active.take(LIST_ITEMS).collect() })
}

fn protected_resource(object: &Map<String, Value>) -> Option<Content> {
    let resource = text(object, "resource");
    let servers = object.get("authorization_servers").and_then(Value::as_array);
    if resource.is_none() && servers.is_none() {
        return None;
    }
    let authorization_servers = servers.map(|list| texts(list)).unwrap_or_default();
    Some(Content::ProtectedResource { resource, authorization_servers })
}

/// A document with any of the fields that make one an authorization server's; which are missing is
/// for the rules to say.
fn authorization_server(object: &Map<String, Value>) -> Option<Content> {
    let list = |name: &str| object.get(name).and_then(Value::as_array).map(|list| texts(list));
    let flag = |name: &str| object.get(name).and_then(Value::as_bool);
    let content = AuthorizationServerContent {
        issuer: text(object, "issuer"),
        authorization_endpoint: text(object, "authorization_endpoint"),
        token_endpoint: text(object, "token_endpoint"),
        pushed_authorization_request_endpoint: text(object, "pushed_authorization_request_endpoint"),
        response_types_supported: list("response_types_supported"),
        grant_types_supported: list("grant_types_supported"),
        code_challenge_methods_supported: list("code_challenge_methods_supported"),
        token_endpoint_auth_methods_supported: list("token_endpoint_auth_methods_supported"),
        token_endpoint_auth_signing_alg_values_supported: list("token_endpoint_auth_signing_alg_values_supported"),
        scopes_supported: list("scopes_supported"),
        dpop_signing_alg_values_supported: list("dpop_signing_alg_values_supported"),
        authorization_response_iss_parameter_supported: flag("authorization_response_iss_parameter_supported"),
        require_pushed_authorization_requests: flag("require_pushed_authorization_requests"),
        require_request_uri_registration: flag("require_request_uri_registration"),
        client_id_metadata_document_supported: flag("client_id_metadata_document_supported"),
        protected_resources: list("protected_resources"),
    };
    let is_one = content.issuer.is_some()
        || content.authorization_endpoint.is_some()
        || content.token_endpoint.is_some()
        || content.pushed_authorization_request_endpoint.is_some();
    is_one.then(|| Content::AuthorizationServer(Box::new(content)))
}

fn did_document(object: &Map<String, Value>) -> Option<Content> {
    let id = text(object, "id")?;
    let services = object.get("service").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pds_endpoints = services.iter().filter_map(pds_endpoint).take(LIST_ITEMS).collect();
    let also_known_as = object.get("alsoKnownAs").and_then(Value::as_array).map(|list| texts(list));
    Some(Content::DidDocument { id: Some(id), pds_endpoints, also_known_as: also_known_as.unwrap_or_default() })
}

/// The endpoint of a service, if it is a PDS (atproto.com/specs/did, "Service Endpoints"): its id is
/// `#atproto_pds`, alone or after the DID, and its type `AtprotoPersonalDataServer`.
fn pds_endpoint(service: &Value) -> Option<Text> {
    let id = service.get("id")?.as_str()?;
    let kind = service.get("type")?.as_str()?;
    let endpoint = service.get("serviceEndpoint")?.as_str()?;
    (id.ends_with("#atproto_pds") && kind == "AtprotoPersonalDataServer").then(|| Text::new(endpoint))
}

/// A document with any field that only client metadata has.
fn client_document(object: &Map<String, Value>) -> Option<Content> {
    let client_id = text(object, "client_id");
    let redirects = object.get("redirect_uris").and_then(Value::as_array);
    if client_id.is_none() && redirects.is_none() {
        return None;
    }
    let redirect_uris = redirects.map(|list| list.iter().filter_map(as_text).take(REDIRECT_URIS).collect());
    Some(Content::ClientDocument {
        client_id,
        scope: text(object, "scope"),
        redirect_uris: redirect_uris.unwrap_or_default(),
        token_endpoint_auth_method: text(object, "token_endpoint_auth_method"),
        dpop_bound_access_tokens: object.get("dpop_bound_access_tokens").and_then(Value::as_bool),
    })
}

/// The error form of XRPC (atproto.com/specs/xrpc, "Error Responses").
fn xrpc_error(object: &Map<String, Value>) -> Option<Content> {
    Some(Content::XrpcError { error: text(object, "error")?, message: text(object, "message") })
}

fn text(object: &Map<String, Value>, name: &str) -> Option<Text> {
    object.get(name).and_then(as_text)
}

fn as_text(value: &Value) -> Option<Text> {
    value.as_str().map(Text::new)
}

fn texts(list: &[Value]) -> Vec<Text> {
    list.iter().filter_map(as_text).take(LIST_ITEMS).collect()
}

#[cfg(test)]
mod tests;
