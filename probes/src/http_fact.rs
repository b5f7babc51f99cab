//! What an HTTP measurement looks like.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{
    terms::{Failure, Role},
    text::Text,
};

/// Why an exchange was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HttpPurpose {
    /// `GET /xrpc/_health`.
    Health,
    /// `GET /xrpc/com.atproto.server.describeServer`.
    DescribeServer,
    /// `GET /xrpc/com.atproto.sync.subscribeRepos` with an upgrade to WebSocket: what a relay does.
    SubscribeRepos,
    /// `GET /` without TLS on port 80.
    PlainPort80,
    /// `GET /` without TLS on the HTTPS port, after TLS failed there.
    PlainOnTlsPort,
    /// `/.well-known/oauth-protected-resource` (RFC 9728).
    ProtectedResource,
    /// `/.well-known/oauth-authorization-server` (RFC 8414).
    AuthorizationServer,
    /// `/.well-known/atproto-did` of a handle.
    AtprotoDid,
    /// A DID document.
    DidDocument,
    /// A client metadata document.
    ClientDocument,
    /// `com.atproto.sync.listRepos`: which accounts are there to look at.
    ListRepos,
    /// `com.atproto.repo.describeRepo`: the handle of one of them.
    DescribeRepo,
    /// From which address this machine is seen.
    EchoAddress,
    /// `GET /xrpc/_health` of what the web server before the PDS passes requests on to, as that server asks it.
    Upstream,
    /// `com.atproto.identity.resolveHandle`, about a handle that is hosted elsewhere.
    ResolveHandle,
    /// An XRPC request with `atproto-proxy` and a `did:plc` that nobody has: the PDS asks the PLC directory.
    ProxyPlc,
    /// The same with the `did:web` of an application's host: the PDS asks that host.
    ProxyDidWeb,
}

/// One exchange at one address. Redirects are recorded and not followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpFact {
    /// Whose host.
    pub role: Role,
    /// Why.
    pub purpose: HttpPurpose,
    /// `GET` or `POST`.
    pub method: Text,
    /// The whole address asked for.
    pub url: Text,
    /// The network address asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub addr: Option<IpAddr>,
    /// `None`: a whole answer came. Beside a status: its head came, but not the whole body
    /// (too large, too slow, cut off).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The status code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The headers that matter ([`KEPT_HEADERS`]), lower case; repeated ones joined by `, `.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub headers: BTreeMap<String, Text>,
    /// What kind of body came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<BodyFact>,
    /// `Date` header minus own clock, in milliseconds, taken at the middle of the exchange;
    /// the header has a resolution of one second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub date_offset_ms: Option<i64>,
    /// What the body says, where it is a document that is understood.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<Content>,
}

impl HttpFact {
    /// The upgrade that was asked for was granted, and what came then was a WebSocket.
    pub fn is_upgraded(&self) -> bool {
        self.status == Some(101) && self.failure.is_none()
    }

    /// Status 200 and a body of the kind asked for.
    pub fn is_expected(&self) -> bool {
        self.status == Some(200) && self.body.as_ref().is_some_and(|body| body.class == BodyClass::Expected)
    }
}

/// Response headers that are kept. Of a nonce, only that there is one.
pub const KEPT_HEADERS: &[&str] = &[
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cf-mitigated",
    "content-length",
    "content-type",
    "date",
    "dpop-nonce",
    "location",
    "retry-after",
    "server",
    "via",
    "www-authenticate",
    "x-powered-by",
];

/// A body, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BodyFact {
    /// What kind.
    pub class: BodyClass,
    /// Bytes read.
    pub bytes: usize,
    /// More came than is read.
    pub truncated: bool,
    /// The beginning, cleaned (at most 200 characters).
    pub excerpt: Text,
}

/// Kinds of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum BodyClass {
    /// JSON of the kind that was asked for.
    Expected,
    /// Another JSON document.
    Json,
    /// An HTML page.
    Html,
    /// Other text.
    Text,
    /// Nothing.
    Empty,
    /// Not text.
    Binary,
}

/// Documents that are understood. Unknown or missing fields are `None`: nothing is guessed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "document", rename_all = "snake_case")]
pub enum Content {
    /// `_health`.
    Health {
        /// The version string of the PDS.
        version: Text,
    },
    /// `describeServer`.
    DescribeServer {
        /// The service DID.
        did: Option<Text>,
        /// Handle domains, such as `.pds.example`.
        available_user_domains: Vec<Text>,
    },
    /// OAuth protected resource metadata.
    ProtectedResource {
        /// `resource`.
        resource: Option<Text>,
        /// `authorization_servers`.
        authorization_servers: Vec<Text>,
    },
    /// OAuth authorization server metadata.
    AuthorizationServer(Box<AuthorizationServerContent>),
    /// `/.well-known/atproto-did`.
    AtprotoDid {
        /// The DID, if the trimmed text is one.
        did: Option<Text>,
    },
    /// A DID document.
    DidDocument {
        /// `id`.
        id: Option<Text>,
        /// `serviceEndpoint` of every service whose id ends in `#atproto_pds`.
        pds_endpoints: Vec<Text>,
        /// `alsoKnownAs`.
        also_known_as: Vec<Text>,
    },
    /// Client metadata.
    ClientDocument {
        /// `client_id`.
        client_id: Option<Text>,
        /// `scope`.
        scope: Option<Text>,
        /// `redirect_uris` (at most 8).
        redirect_uris: Vec<Text>,
        /// `token_endpoint_auth_method`.
        token_endpoint_auth_method: Option<Text>,
        /// `dpop_bound_access_tokens`.
        dpop_bound_access_tokens: Option<bool>,
    },
    /// The answer of `listRepos`.
    RepoList {
        /// DIDs of active repositories.
        dids: Vec<Text>,
    },
    /// The answer of `describeRepo`.
    Repo {
        /// `did`.
        did: Text,
        /// `handle`.
        handle: Text,
    },
    /// The answer of `resolveHandle`.
    ResolvedHandle {
        /// `did`.
        did: Text,
    },
    /// The first frame of an event stream (atproto.com/specs/event-stream).
    StreamFrame {
        /// The name of the error, if it was an error frame.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<Text>,
        /// What kind of message it was.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        event: Option<Text>,
    },
    /// The address from which a service is asked.
    EchoAddress {
        /// It.
        addr: IpAddr,
    },
    /// An XRPC error.
    XrpcError {
        /// `error`.
        error: Text,
        /// `message`.
        message: Option<Text>,
    },
}

/// The fields of authorization server metadata that the atproto OAuth profile requires
/// (atproto.com/specs/oauth, "Authorization Servers"). `None`: absent or of the wrong type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationServerContent {
    /// `issuer`.
    pub issuer: Option<Text>,
    /// `authorization_endpoint`.
    pub authorization_endpoint: Option<Text>,
    /// `token_endpoint`.
    pub token_endpoint: Option<Text>,
    /// `pushed_authorization_request_endpoint`.
    pub pushed_authorization_request_endpoint: Option<Text>,
    /// `response_types_supported`.
    pub response_types_supported: Option<Vec<Text>>,
    /// `grant_types_supported`.
    pub grant_types_supported: Option<Vec<Text>>,
    /// `code_challenge_methods_supported`.
    pub code_challenge_methods_supported: Option<Vec<Text>>,
    /// `token_endpoint_auth_methods_supported`.
    pub token_endpoint_auth_methods_supported: Option<Vec<Text>>,
    /// `token_endpoint_auth_signing_alg_values_supported`.
    pub token_endpoint_auth_signing_alg_values_supported: Option<Vec<Text>>,
    /// `scopes_supported`.
    pub scopes_supported: Option<Vec<Text>>,
    /// `dpop_signing_alg_values_supported`.
    pub dpop_signing_alg_values_supported: Option<Vec<Text>>,
    /// `authorization_response_iss_parameter_supported`.
    pub authorization_response_iss_parameter_supported: Option<bool>,
    /// `require_pushed_authorization_requests`.
    pub require_pushed_authorization_requests: Option<bool>,
    /// `require_request_uri_registration`.
    pub require_request_uri_registration: Option<bool>,
    /// `client_id_metadata_document_supported`.
    pub client_id_metadata_document_supported: Option<bool>,
    /// `protected_resources`.
    pub protected_resources: Option<Vec<Text>>,
}
