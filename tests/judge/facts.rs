//! Single facts as they are in life, and the places in the world they are about.

use std::{collections::BTreeMap, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, RecordType},
    fact::{Fact, FactBody, FactId, Failure, FailureKind, ProbeName, Role, Vantage},
    http_fact::{AuthorizationServerContent, BodyClass, BodyFact, Content, HttpFact, HttpPurpose},
    par_fact::{ParArm, ParFact},
    text::Text,
    tls_fact::{CertificateFact, PathVerdict, TlsFact},
};

/// The PDS under examination.
pub const PDS: &str = "pds.example.com";
pub const PDS_V4: &str = "5.9.10.11";
pub const PDS_V6: &str = "2a01:4f8:1:2::11";
/// The known-good PDS.
pub const REF: &str = "tngl.sh";
pub const REF_V4: &str = "95.216.1.2";
pub const REF_V6: &str = "2a01:4f9:5:6::2";
/// The application.
pub const APP: &str = "tangled.org";
pub const APP_V4: &str = "76.76.21.21";
pub const APP_V6: &str = "2606:4700:10::21";
pub const CLIENT: &str = "https://tangled.org/oauth/client-metadata.json";
/// A public resolver.
pub const DNS: &str = "9.9.9.9:53";
/// The label nobody has.
pub const SAMPLE: &str = "pdsdoctor-0badcafe.pds.example.com";
/// An account under the PDS's own handle domain.
pub const ALICE: &str = "alice.pds.example.com";
pub const ALICE_DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
/// Now, in seconds since 1970.
pub const NOW: i64 = 1_780_000_000;
pub const DAY: i64 = 86_400;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn t(text: &str) -> Text {
    Text::new(text)
}

pub fn fail(kind: FailureKind) -> Failure {
    Failure::new(kind, &kind.to_string())
}

pub fn fact(probe: ProbeName, took_ms: u64, body: FactBody) -> Fact {
    Fact { id: FactId::default(), probe, vantage: Vantage::Here, started_ms: 0, took_ms, body }
}

pub fn dns(role: Role, purpose: DnsPurpose, name: &str, record_type: RecordType, records: &[&str]) -> DnsFact {
    DnsFact {
        role,
        purpose,
        name: t(name),
        record_type,
        server: DNS.parse().unwrap(),
        attempt: 1,
        outcome: if records.is_empty() { DnsOutcome::NoData } else { DnsOutcome::Answer },
        records: records.iter().map(|record| t(record)).collect(),
        cname_chain: Vec::new(),
        zone: records.is_empty().then(|| t("example.com")),
        detail: None,
    }
}

pub fn certificate(names: &[&str]) -> CertificateFact {
    CertificateFact {
        subject: t(&format!("CN={}", names[0])),
        issuer: t("C=US, O=Let's Encrypt, CN=E7"),
        names: names.iter().map(|name| t(name)).collect(),
        name_count: names.len(),
        not_before: NOW - 30 * DAY,
        not_after: NOW + 60 * DAY,
        judged_at: NOW,
        chain_length: 2,
        chain_subjects: vec![t("C=US, O=Let's Encrypt, CN=E7")],
        self_issued: false,
        public_ca_marks: true,
        issuer_url: None,
        trust_system: PathVerdict::Trusted,
        trust_mozilla: PathVerdict::Trusted,
        trust_given: false,
        name_matches: true,
    }
}

pub fn http(role: Role, purpose: HttpPurpose, url: &str, addr: &str, content: Option<Content>) -> HttpFact {
    HttpFact {
        role,
        purpose,
        method: t("GET"),
        url: t(url),
        addr: Some(ip(addr)),
        failure: None,
        status: Some(200),
        headers: BTreeMap::from([
            ("server".to_owned(), t("Caddy")),
            ("content-type".to_owned(), t("application/json; charset=utf-8")),
            ("access-control-allow-origin".to_owned(), t("*")),
        ]),
        body: Some(BodyFact { class: BodyClass::Expected, bytes: 100, truncated: false, excerpt: t("{") }),
        date_offset_ms: Some(-120),
        content,
    }
}

pub fn metadata(origin: &str) -> AuthorizationServerContent {
    let list = |items: &[&str]| Some(items.iter().map(|item| t(item)).collect());
    AuthorizationServerContent {
        issuer: Some(t(origin)),
        authorization_endpoint: Some(t(&format!("{origin}/oauth/authorize"))),
        token_endpoint: Some(t(&format!("{origin}/oauth/token"))),
        pushed_authorization_request_endpoint: Some(t(&format!("{origin}/oauth/par"))),
        response_types_supported: list(&["code"]),
        grant_types_supported: list(&["authorization_code", "refresh_token"]),
        code_challenge_methods_supported: list(&["S256"]),
        token_endpoint_auth_methods_supported: list(&["none", "private_key_jwt"]),
        token_endpoint_auth_signing_alg_values_supported: list(&["RS256", "ES256"]),
        scopes_supported: list(&["atproto", "transition:email", "transition:generic", "transition:chat.bsky"]),
        dpop_signing_alg_values_supported: list(&["RS256", "ES256"]),
        authorization_response_iss_parameter_supported: Some(true),
        require_pushed_authorization_requests: Some(true),
        require_request_uri_registration: Some(true),
        client_id_metadata_document_supported: Some(true),
        protected_resources: list(&[origin]),
    }
}

#[expect(clippy::too_many_arguments, reason = "one row of a world told by hand")]
pub fn par(role: Role, server: &str, arm: ParArm, status: u16, error: &str, description: &str) -> ParFact {
    let client = if arm == ParArm::Localhost { "http://localhost" } else { CLIENT };
    ParFact {
        role,
        server: t(server),
        endpoint: t(&format!("{server}/oauth/par")),
        addr: Some(ip(if role == Role::Target { PDS_V4 } else { REF_V4 })),
        arm,
        client: t(client),
        client_id: t(&if arm == ParArm::CacheBusted { format!("{client}?pdsdoctor=1") } else { client.to_owned() }),
        scope: t("atproto"),
        failure: None,
        status: Some(status),
        content_type: Some(t("application/json")),
        headers: BTreeMap::from([
            ("access-control-allow-origin".to_owned(), t("*")),
            ("access-control-expose-headers".to_owned(), t("DPoP-Nonce")),
            ("dpop-nonce".to_owned(), t("(given)")),
        ]),
        error: (!error.is_empty()).then(|| t(error)),
        description: (!description.is_empty()).then(|| t(description)),
        accepted: false,
        excerpt: None,
    }
}

/// What the reference PDS says when it could not fetch a document.
pub fn not_obtained(suffix: &str) -> String {
    format!("Unable to obtain client metadata for \"{CLIENT}\"{suffix}")
}

/// The answer of a healthy reference PDS to an arm.
pub fn good_answer(arm: ParArm) -> (u16, &'static str, &'static str) {
    match arm {
        ParArm::Localhost => (400, "invalid_request", "Use of PKCE is required"),
        ParArm::CacheBusted => (400, "invalid_client_metadata", "client_id does not match"),
        ParArm::OwnUrl | ParArm::TargetUrl | ParArm::Near | ParArm::Far | ParArm::Ipv4Only | ParArm::Ipv6Only => {
            (400, "invalid_client_metadata", "Unable to obtain client metadata for \"https://x.example/\": Not Found")
        }
        ParArm::AsNamed => {
            (400, "invalid_request", "client authentication method \"private_key_jwt\" required a \"client_assertion\"")
        }
    }
}

pub const ARMS: [ParArm; 3] = [ParArm::Localhost, ParArm::CacheBusted, ParArm::AsNamed];

/// On-demand TLS says no: alert 80.
pub fn refuse_tls(tls: &mut TlsFact) {
    alert(tls, "InternalError");
}

pub fn alert(tls: &mut TlsFact, name: &str) {
    tls.failure = Some(Failure::new(FailureKind::TlsAlert, &format!("received fatal alert: {name}")));
    tls.alert = Some(t(name));
    tls.version = None;
    tls.alpn = None;
    tls.certificate = None;
}

/// Another body with a status.
pub fn answer(body: &mut HttpFact, status: u16, class: BodyClass, excerpt: &str) {
    body.status = Some(status);
    body.content = None;
    body.body = Some(BodyFact { class, bytes: excerpt.len(), truncated: false, excerpt: t(excerpt) });
}

/// No answer.
pub fn no_answer(body: &mut HttpFact, kind: FailureKind) {
    body.failure = Some(fail(kind));
    body.status = None;
    body.headers.clear();
    body.body = None;
    body.content = None;
    body.date_offset_ms = None;
}
