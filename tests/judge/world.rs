//! Runs without a network: a healthy PDS as it is measured in life.

use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, RecordType, ResolverFact, SystemDnsFact, SystemDnsOutcome},
    fact::{ConnectFact, FactBody, Family, OwnNetworkFact, ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    par_fact::ParArm,
    record::{Ended, RUN_SCHEMA, Reference, Run, Settings, Target, TargetKind},
    tls_fact::TlsFact,
};

pub use crate::facts::*;

/// A run in the making.
#[derive(Clone, Debug)]
pub struct World {
    pub run: Run,
}

/// A healthy dual-stack PDS behind Caddy with on-demand TLS, one account, seen from a laptop behind
/// a home router with IPv6; reference `tngl.sh`, application `tangled.org`.
pub fn healthy() -> World {
    let mut world = World { run: empty_run() };
    for (family, source) in [(Family::V4, "192.168.1.20"), (Family::V6, "2003:ab:cd:1::20")] {
        let body = OwnNetworkFact { family, source: Some(ip(source)), failure: None };
        world.push(ProbeName::OwnNetwork, 0, FactBody::OwnNetwork(body));
    }
    let resolver = ResolverFact { servers: vec![DNS.parse().unwrap()], given: false, problem: None };
    world.push(ProbeName::Dns, 0, FactBody::Resolver(resolver));

    world.named(ProbeName::Dns, Role::Target, PDS, &[PDS_V4, PDS_V6]);
    world.named(ProbeName::Dns, Role::Reference, REF, &[REF_V4, REF_V6]);
    world.named(ProbeName::ClientDocument, Role::Client, APP, &[APP_V4, APP_V6]);
    for (name, servers) in [(PDS, &[][..]), ("example.com", &["ns1.provider.net", "ns2.provider.net"][..])] {
        let ns = dns(Role::Target, DnsPurpose::Zone, name, RecordType::Ns, servers);
        world.push(ProbeName::Dns, 20, FactBody::Dns(ns));
    }
    for addr in [PDS_V4, PDS_V6] {
        world.line(Role::Target, PDS, addr);
        let mut port80 = http(Role::Target, HttpPurpose::PlainPort80, "http://pds.example.com/", addr, None);
        port80.status = Some(308);
        port80.headers.insert("location".to_owned(), t("https://pds.example.com/"));
        world.push(ProbeName::Port80, 40, FactBody::Http(port80));
    }
    for addr in [REF_V4, REF_V6] {
        world.line(Role::Reference, REF, addr);
    }
    world.oauth(Role::Target, PDS, PDS_V4);
    world.oauth(Role::Reference, REF, REF_V4);
    for addr in [APP_V4, APP_V6] {
        world.connect(ProbeName::ClientDocument, Role::Client, APP, addr);
        let content = Content::ClientDocument {
            client_id: Some(t(CLIENT)),
            scope: Some(t("atproto transition:generic")),
            redirect_uris: vec![t("https://tangled.org/oauth/callback")],
            token_endpoint_auth_method: Some(t("private_key_jwt")),
            dpop_bound_access_tokens: Some(true),
        };
        let document = http(Role::Client, HttpPurpose::ClientDocument, CLIENT, addr, Some(content));
        world.push(ProbeName::ClientDocument, 90, FactBody::Http(document));
    }
    world.handles();
    world
}

fn empty_run() -> Run {
    Run {
        schema: RUN_SCHEMA.to_owned(),
        version: t("0.1.0"),
        started: t("2026-05-28T20:26:40Z"),
        elapsed_ms: 900,
        ended: Ended::Complete,
        target: Target {
            input: t(PDS),
            kind: TargetKind::Host,
            host: Some(t(PDS)),
            port: 443,
            origin: Some(t("https://pds.example.com")),
            handle: None,
            did: None,
        },
        reference: Some(Reference { host: t(REF), origin: t("https://tngl.sh"), given: false, entryway: false }),
        settings: Settings {
            client_ids: vec![t(CLIENT)],
            sample_label: t("pdsdoctor-0badcafe"),
            ..Settings::default()
        },
        facts: Vec::new(),
        not_measured: Vec::new(),
        not_understood: Vec::new(),
    }
}

impl World {
    pub fn push(&mut self, probe: ProbeName, took_ms: u64, body: FactBody) {
        self.run.facts.push(fact(probe, took_ms, body));
    }

    /// A name with addresses: A, AAAA and getaddrinfo.
    pub fn named(&mut self, probe: ProbeName, role: Role, name: &str, addrs: &[&str]) {
        let of = |v6: bool| addrs.iter().copied().filter(|addr| addr.contains(':') == v6).collect::<Vec<_>>();
        for (record_type, records) in [(RecordType::A, of(false)), (RecordType::Aaaa, of(true))] {
            self.push(probe, 20, FactBody::Dns(dns(role, DnsPurpose::Address, name, record_type, &records)));
        }
        let system = SystemDnsFact {
            role,
            name: t(name),
            outcome: if addrs.is_empty() { SystemDnsOutcome::NotFound } else { SystemDnsOutcome::Answer },
            addresses: addrs.iter().map(|addr| ip(addr)).collect(),
            detail: None,
        };
        self.push(probe, 25, FactBody::SystemDns(system));
    }

    pub fn connect(&mut self, probe: ProbeName, role: Role, host: &str, addr: &str) {
        let body = ConnectFact { role, host: t(host), addr: ip(addr), port: 443, failure: None };
        self.push(probe, 30, FactBody::Connect(body));
    }

    pub fn handshake(&mut self, probe: ProbeName, role: Role, sni: &str, addr: &str) {
        let body = TlsFact {
            role,
            addr: ip(addr),
            port: 443,
            sni: t(sni),
            max_segment: None,
            received: Some(3_000),
            failure: None,
            alert: None,
            version: Some(t("TLSv1_3")),
            alpn: Some(t("http/1.1")),
            certificate: Some(certificate(&[sni])),
        };
        self.push(probe, 60, FactBody::Tls(body));
    }

    /// Connect, TLS and the two XRPC questions at one address.
    pub fn line(&mut self, role: Role, host: &str, addr: &str) {
        self.connect(ProbeName::Tcp, role, host, addr);
        self.handshake(ProbeName::Tls, role, host, addr);
        if role == Role::Target {
            let url = format!("https://{host}/xrpc/com.atproto.server.describeServer");
            let content = Content::DescribeServer {
                did: Some(t(&format!("did:web:{host}"))),
                available_user_domains: vec![t(&format!(".{host}"))],
            };
            let body = http(role, HttpPurpose::DescribeServer, &url, addr, Some(content));
            self.push(ProbeName::Http, 35, FactBody::Http(body));
        }
        let url = format!("https://{host}/xrpc/_health");
        let body = http(role, HttpPurpose::Health, &url, addr, Some(Content::Health { version: t("0.4.219") }));
        self.push(ProbeName::Http, 35, FactBody::Http(body));
        let url = format!("https://{host}/xrpc/com.atproto.sync.subscribeRepos?cursor=9007199254740991");
        let frame = Content::StreamFrame { error: Some(t("FutureCursor")), event: None };
        let mut stream = http(role, HttpPurpose::SubscribeRepos, &url, addr, Some(frame));
        (stream.status, stream.body) = (Some(101), None);
        self.push(ProbeName::Websocket, 33, FactBody::Http(stream));
    }

    /// The two documents and the three PARs.
    pub fn oauth(&mut self, role: Role, host: &str, addr: &str) {
        let origin = format!("https://{host}");
        let resource =
            Content::ProtectedResource { resource: Some(t(&origin)), authorization_servers: vec![t(&origin)] };
        let server = Content::AuthorizationServer(Box::new(metadata(&origin)));
        for (purpose, path, content) in [
            (HttpPurpose::ProtectedResource, "oauth-protected-resource", resource),
            (HttpPurpose::AuthorizationServer, "oauth-authorization-server", server),
        ] {
            let url = format!("{origin}/.well-known/{path}");
            self.push(ProbeName::OauthDiscovery, 95, FactBody::Http(http(role, purpose, &url, addr, Some(content))));
        }
        for arm in ARMS {
            let (status, error, text) = good_answer(arm);
            let took = if arm == ParArm::Localhost { 90 } else { 180 };
            self.push(ProbeName::Par, took, FactBody::Par(par(role, &origin, arm, status, error, text)));
        }
    }

    /// A random label, refused by on-demand TLS as it should be, and one account.
    fn handles(&mut self) {
        let probe = ProbeName::Handles;
        self.named(probe, Role::HandleSample, SAMPLE, &[PDS_V4, PDS_V6]);
        for addr in [PDS_V4, PDS_V6] {
            self.connect(probe, Role::HandleSample, SAMPLE, addr);
            self.handshake(probe, Role::HandleSample, SAMPLE, addr);
        }
        *self = std::mem::replace(self, World { run: empty_run() }).tls(SAMPLE, refuse_tls);
        let origin = "https://pds.example.com/xrpc";
        let list = Content::RepoList { dids: vec![t(ALICE_DID)] };
        let url = format!("{origin}/com.atproto.sync.listRepos?limit=20");
        self.push(probe, 35, FactBody::Http(http(Role::Target, HttpPurpose::ListRepos, &url, PDS_V4, Some(list))));
        self.account(ALICE, ALICE_DID, &[PDS_V4, PDS_V6], None);
    }

    /// An account that the PDS hosts, verified by the well-known file at its addresses, or by TXT.
    pub fn account(&mut self, handle: &str, did: &str, addrs: &[&str], txt: Option<&str>) {
        let probe = ProbeName::Handles;
        let url = format!("https://pds.example.com/xrpc/com.atproto.repo.describeRepo?repo={did}");
        let repo = Content::Repo { did: t(did), handle: t(handle) };
        self.push(probe, 35, FactBody::Http(http(Role::Target, HttpPurpose::DescribeRepo, &url, PDS_V4, Some(repo))));
        self.named(probe, Role::HostedHandle, handle, addrs);
        let name = format!("_atproto.{handle}");
        let records: Vec<&str> = txt.into_iter().collect();
        let mut answer = dns(Role::HostedHandle, DnsPurpose::HandleTxt, &name, RecordType::Txt, &records);
        if txt.is_none() {
            answer.outcome = DnsOutcome::NxDomain;
        }
        self.push(probe, 20, FactBody::Dns(answer));
        for addr in addrs {
            self.connect(probe, Role::HostedHandle, handle, addr);
            self.handshake(probe, Role::HostedHandle, handle, addr);
            let url = format!("https://{handle}/.well-known/atproto-did");
            let content = Content::AtprotoDid { did: Some(t(did)) };
            let body = http(Role::HostedHandle, HttpPurpose::AtprotoDid, &url, addr, Some(content));
            self.push(probe, 35, FactBody::Http(body));
        }
    }
}
