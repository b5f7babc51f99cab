//! Facts made by hand.

use std::net::{IpAddr, SocketAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, RecordType, SystemDnsFact, SystemDnsOutcome},
    fact::{
        ConnectFact, Fact, FactBody, FactId, Failure, FailureKind, Family, OwnNetworkFact, ProbeName, Role, Vantage,
    },
    http_fact::{BodyClass, BodyFact, Content, HttpFact, HttpPurpose},
    par_fact::{ParArm, ParFact},
    text::Text,
    tls_fact::{CertificateFact, PathVerdict, TlsFact},
};

use super::CLIENT;

pub(super) fn t(text: &str) -> Text {
    Text::new(text)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn server() -> SocketAddr {
    "192.0.2.53:53".parse().expect("a socket address")
}

/// Collects facts; `add` takes probe, start, duration and body.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) list: Vec<Fact>,
}

impl Facts {
    pub(super) fn add(&mut self, probe: ProbeName, started_ms: u64, took_ms: u64, body: FactBody) {
        let id = FactId::default();
        self.list.push(Fact { id, probe, vantage: Vantage::Here, started_ms, took_ms, body });
    }

    pub(super) fn own(&mut self, family: Family, source: Option<&str>) {
        let failure = source.is_none().then(|| Failure::new(FailureKind::NetworkUnreachable, "Network is unreachable"));
        let source = source.map(ip);
        self.add(ProbeName::OwnNetwork, 0, 0, FactBody::OwnNetwork(OwnNetworkFact { family, source, failure }));
    }

    #[expect(clippy::too_many_arguments, reason = "one fact told by hand")]
    pub(super) fn dns(
        &mut self,
        role: Role,
        name: &str,
        record_type: RecordType,
        outcome: DnsOutcome,
        records: &[&str],
    ) {
        let body = DnsFact {
            role,
            purpose: DnsPurpose::Address,
            name: t(name),
            record_type,
            server: server(),
            attempt: 1,
            outcome,
            records: records.iter().map(|record| t(record)).collect(),
            cname_chain: vec![],
            zone: None,
            detail: None,
        };
        self.add(ProbeName::Dns, 2, 14, FactBody::Dns(body));
    }

    pub(super) fn system_dns(&mut self, role: Role, name: &str, addrs: &[&str]) {
        let outcome = if addrs.is_empty() { SystemDnsOutcome::NotFound } else { SystemDnsOutcome::Answer };
        let addresses = addrs.iter().map(|addr| ip(addr)).collect();
        let body = SystemDnsFact { role, name: t(name), outcome, addresses, detail: None };
        self.add(ProbeName::Dns, 1, 18, FactBody::SystemDns(body));
    }

    #[expect(clippy::too_many_arguments, reason = "one fact told by hand")]
    pub(super) fn connect(&mut self, role: Role, host: &str, addr: &str, took_ms: u64, failure: Option<FailureKind>) {
        let failure = failure.map(|kind| Failure::new(kind, ""));
        let body = ConnectFact { role, host: t(host), addr: ip(addr), port: 443, failure };
        self.add(ProbeName::Tcp, 20, took_ms, FactBody::Connect(body));
    }

    pub(super) fn tls(&mut self, role: Role, host: &str, addr: &str, took_ms: u64) {
        let body = TlsFact {
            role,
            addr: ip(addr),
            port: 443,
            sni: t(host),
            max_segment: None,
            received: Some(3_000),
            failure: None,
            alert: None,
            version: Some(t("TLSv1_3")),
            alpn: Some(t("http/1.1")),
            certificate: Some(certificate(host)),
        };
        self.add(ProbeName::Tls, 60, took_ms, FactBody::Tls(body));
    }

    #[expect(clippy::too_many_arguments, reason = "one fact told by hand")]
    pub(super) fn http(&mut self, role: Role, host: &str, addr: &str, took_ms: u64, purpose: HttpPurpose, path: &str) {
        let body = HttpFact {
            role,
            purpose,
            method: t("GET"),
            url: t(&format!("https://{host}{path}")),
            addr: Some(ip(addr)),
            failure: None,
            status: Some(200),
            headers: [("content-type".to_owned(), t("application/json"))].into(),
            body: Some(BodyFact {
                class: BodyClass::Expected,
                bytes: 20,
                truncated: false,
                excerpt: t("{\"version\":\"0.5.9\"}"),
            }),
            date_offset_ms: Some(120),
            content: (purpose == HttpPurpose::Health).then(|| Content::Health { version: t("0.5.9") }),
        };
        self.add(ProbeName::Http, 110, took_ms, FactBody::Http(body));
    }

    #[expect(clippy::too_many_arguments, reason = "one fact told by hand")]
    pub(super) fn par(&mut self, role: Role, host: &str, addr: &str, arm: ParArm, took_ms: u64, answer: (&str, &str)) {
        let client = if arm == ParArm::Localhost { "http://localhost" } else { CLIENT };
        let client_id = match arm {
            ParArm::CacheBusted => format!("{CLIENT}?pdsdoctor=7f3a"),
            _ => client.to_owned(),
        };
        let body = ParFact {
            role,
            server: t(&format!("https://{host}")),
            endpoint: t(&format!("https://{host}/oauth/par")),
            addr: Some(ip(addr)),
            arm,
            client: t(client),
            client_id: t(&client_id),
            scope: t("atproto"),
            failure: None,
            status: Some(400),
            content_type: Some(t("application/json")),
            headers: std::collections::BTreeMap::new(),
            error: Some(t(answer.0)),
            description: Some(t(answer.1)),
            accepted: false,
            excerpt: None,
        };
        self.add(ProbeName::Par, 190, took_ms, FactBody::Par(body));
    }

    /// Everything at one address of a healthy host, up to the PARs.
    pub(super) fn well(&mut self, role: Role, host: &str, addr: &str, rtt: u64) {
        self.connect(role, host, addr, rtt, None);
        self.tls(role, host, addr, 2 * rtt + 3);
        self.http(role, host, addr, rtt + 4, HttpPurpose::Health, "/xrpc/_health");
        self.http(role, host, addr, rtt + 5, HttpPurpose::ProtectedResource, "/.well-known/oauth-protected-resource");
        let path = "/.well-known/oauth-authorization-server";
        self.http(role, host, addr, rtt + 6, HttpPurpose::AuthorizationServer, path);
    }

    pub(super) fn well_pars(&mut self, role: Role, host: &str, addr: &str, rtt: u64) {
        let pkce = ("invalid_request", "Use of PKCE is required");
        self.par(role, host, addr, ParArm::Localhost, rtt + 3, pkce);
        let busted = ("invalid_client_metadata", "client_id does not match");
        self.par(role, host, addr, ParArm::CacheBusted, rtt + 190, busted);
        let assertion = "client authentication method \"private_key_jwt\" required a \"client_assertion\"";
        self.par(role, host, addr, ParArm::AsNamed, rtt + 6, ("invalid_request", assertion));
    }
}

fn certificate(host: &str) -> CertificateFact {
    CertificateFact {
        subject: t(&format!("CN={host}")),
        issuer: t("C=US, O=Let's Encrypt, CN=E7"),
        names: vec![t(host), t(&format!("*.{host}"))],
        name_count: 2,
        not_before: 1_790_000_000,
        not_after: 1_797_776_000,
        judged_at: 1_795_000_000,
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
