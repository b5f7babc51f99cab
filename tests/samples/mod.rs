//! Runs and diagnoses made by hand: what the renderers have to show.
#![allow(dead_code)] // each test crate uses a part

mod facts;

use facts::{Facts, t};
use pdsdoctor::diagnose::{
    Bounds, Cause, Code, Confidence, Contrast, Diagnosis, Difference, Healthy, Impact, Link, Remedy, Risk, RuledOut,
    Scope, Symptom, Verdict, how_far,
    step::{Settle, Step, prose, quoted, run as paste, say, write},
};
use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, RecordType},
    fact::{FactBody, FactId, FailureKind, Family, NotMeasured, ProbeName, Role},
    par_fact::ParArm,
    record::{Ended, RUN_SCHEMA, Reference, Run, Settings, Target, TargetKind},
};

pub(crate) const CLIENT: &str = "https://tangled.org/oauth/client-metadata.json";

/// A run with its diagnosis.
pub(crate) struct Sample {
    pub name: &'static str,
    pub run: Run,
    pub diagnosis: Diagnosis,
}

/// All of them.
pub(crate) fn all() -> Vec<Sample> {
    vec![first_field_report(), healthy(), silent_v6(), name_not_found(), inconclusive(), interrupted(), hostile()]
}

fn run(host: &str, build: impl FnOnce(&mut Facts)) -> Run {
    let mut facts = Facts::default();
    build(&mut facts);
    let mut run = Run {
        schema: RUN_SCHEMA.to_owned(),
        version: t("0.1.0"),
        started: t("2026-11-21T04:36:00Z"),
        elapsed_ms: 3_412,
        ended: Ended::Complete,
        target: Target {
            input: t(host),
            kind: TargetKind::Host,
            host: Some(t(host)),
            port: 443,
            origin: Some(t(&format!("https://{host}"))),
            handle: None,
            did: None,
        },
        reference: Some(Reference { host: t("tngl.sh"), origin: t("https://tngl.sh"), given: false, entryway: false }),
        settings: Settings { client_ids: vec![t(CLIENT)], sample_label: t("pdsdoctor-x7k2"), ..Settings::default() },
        facts: facts.list,
        not_measured: vec![],
        not_understood: Vec::new(),
    };
    run.put_in_order();
    run
}

fn ids(run: &Run, probe: ProbeName) -> Vec<FactId> {
    run.facts.iter().filter(|fact| fact.probe == probe).map(|fact| fact.id.clone()).collect()
}

fn reference(facts: &mut Facts) {
    facts.system_dns(Role::Reference, "tngl.sh", &["198.51.100.20", "2001:db8:20::1"]);
    facts.dns(Role::Reference, "tngl.sh", RecordType::A, DnsOutcome::Answer, &["198.51.100.20"]);
    facts.dns(Role::Reference, "tngl.sh", RecordType::Aaaa, DnsOutcome::Answer, &["2001:db8:20::1"]);
    facts.well(Role::Reference, "tngl.sh", "198.51.100.20", 38);
    facts.well_pars(Role::Reference, "tngl.sh", "198.51.100.20", 38);
}

fn healthy_lines() -> Vec<Healthy> {
    let line = |probe, summary: &str| Healthy { probe, summary: summary.to_owned() };
    vec![
        line(ProbeName::Dns, "pds.example.com has 203.0.113.7 and 2001:db8:7::7; random handles resolve too"),
        line(ProbeName::Tcp, "port 443 is open on both addresses (31 ms, 33 ms)"),
        line(ProbeName::Tls, "certificate from Let's Encrypt, valid for 32 days, covers hosted handles"),
        line(ProbeName::Http, "reference PDS 0.5.9 answers on both addresses; its clock is right"),
        line(ProbeName::OauthDiscovery, "both OAuth documents are complete; the issuer is the PDS itself"),
        line(ProbeName::Par, "a login request gets as far as at tngl.sh; the PDS fetches tangled.org's metadata"),
        line(ProbeName::Identity, "nothing to look up: a host was named"),
    ]
}

pub(crate) fn healthy() -> Sample {
    let run = run("pds.example.com", |facts| {
        facts.own(Family::V4, Some("192.168.1.10"));
        facts.own(Family::V6, Some("2001:db8:1::10"));
        facts.system_dns(Role::Target, "pds.example.com", &["203.0.113.7", "2001:db8:7::7"]);
        facts.dns(Role::Target, "pds.example.com", RecordType::A, DnsOutcome::Answer, &["203.0.113.7"]);
        facts.dns(Role::Target, "pds.example.com", RecordType::Aaaa, DnsOutcome::Answer, &["2001:db8:7::7"]);
        facts.well(Role::Target, "pds.example.com", "203.0.113.7", 31);
        facts.well(Role::Target, "pds.example.com", "2001:db8:7::7", 33);
        facts.well_pars(Role::Target, "pds.example.com", "203.0.113.7", 31);
        reference(facts);
    });
    let diagnosis = Diagnosis {
        verdict: Verdict::Healthy,
        headline: "pds.example.com is healthy: everything that can be seen from outside works.".to_owned(),
        causes: vec![],
        ruled_out: vec![],
        differs: vec![],
        not_measured: vec![NotMeasured {
            probe: ProbeName::Handles,
            why: t("no handle was named"),
            needs: t("a handle: pdsdoctor check @alice.pds.example.com"),
        }],
        healthy: healthy_lines(),
        grid: how_far::of(&run),
    };
    Sample { name: "healthy", run, diagnosis }
}

#[expect(clippy::too_many_lines, reason = "a report told from end to end")]
pub(crate) fn first_field_report() -> Sample {
    let host = "pds.example.com";
    let mut run = run(host, |facts| {
        facts.own(Family::V4, Some("192.168.1.10"));
        facts.own(Family::V6, Some("2001:db8:1::10"));
        facts.system_dns(Role::Target, host, &["203.0.113.7"]);
        facts.dns(Role::Target, host, RecordType::A, DnsOutcome::Answer, &["203.0.113.7"]);
        facts.dns(Role::Target, host, RecordType::Aaaa, DnsOutcome::NoData, &[]);
        facts.well(Role::Target, host, "203.0.113.7", 31);
        let pkce = ("invalid_request", "Use of PKCE is required");
        facts.par(Role::Target, host, "203.0.113.7", ParArm::Localhost, 34, pkce);
        let busted = format!("Unable to obtain client metadata for \"{CLIENT}?pdsdoctor=7f3a\"");
        let named = format!("Unable to obtain client metadata for \"{CLIENT}\"");
        let metadata = "invalid_client_metadata";
        facts.par(Role::Target, host, "203.0.113.7", ParArm::CacheBusted, 292, (metadata, &busted));
        facts.par(Role::Target, host, "203.0.113.7", ParArm::AsNamed, 289, (metadata, &named));
        reference(facts);
    });
    run.elapsed_ms = 1_874;
    let pars = ids(&run, ProbeName::Par);
    let cause = Cause {
        code: Code::OauthClientMetadataEgress,
        impact: Impact::Broken,
        confidence: Confidence::Confirmed,
        scope: Scope { host: Some("tangled.org".to_owned()), family: None, vantage: None },
        summary: "Logging in to tangled.org starts with the PDS fetching the app's metadata from tangled.org. \
                  The PDS cannot fetch it; others can."
            .to_owned(),
        seen: vec![
            "pds.example.com answers the login request with \"Unable to obtain client metadata\" after 292 ms, \
             258 ms of it its own attempt"
                .to_owned(),
            "258 ms is Node giving up on a connection attempt (250 ms each), not a path that is dead (10 s)".to_owned(),
        ],
        because: pars.clone(),
        against: vec![],
        contrast: vec![
            Contrast {
                what: "The identical login request (PAR), never asked before, at both PDSes".to_owned(),
                this: "pds.example.com: could not fetch the client metadata (292 ms)".into(),
                that: "tngl.sh: fetched and read the client metadata (228 ms)".into(),
            },
            Contrast {
                what: "The same request at pds.example.com for a client whose metadata need not be fetched".to_owned(),
                this: "tangled.org: could not fetch the client metadata (292 ms)".into(),
                that: "localhost: accepted the client, asks for PKCE (34 ms)".into(),
            },
        ],
        settle: None,
        contributing: vec![],
        symptoms: vec![Symptom {
            code: Code::LoginParFails,
            title: "Logins to tangled.org fail with invalid_client_metadata".to_owned(),
            because: pars.clone(),
        }],
        remedies: vec![
            Remedy {
                link: Link::Or,
                title: "Give Node more time for each connection attempt".into(),
                steps: vec![
                    write("NODE_OPTIONS=--network-family-autoselection-attempt-timeout=5000").at("in /pds/pds.env add"),
                    paste("systemctl restart pds"),
                ],
                risk: Risk::Safe,
                undo: vec![say("Remove the line and restart.")],
                verify: "pdsdoctor check pds.example.com".into(),
                proven: false,
            },
            Remedy {
                link: Link::Or,
                title: "Repair IPv6 on the PDS's host, so that there is a second path".into(),
                steps: vec![paste("sysctl -w net.ipv6.conf.eth0.accept_ra=2")],
                risk: Risk::Disruptive,
                undo: vec![paste("sysctl -w net.ipv6.conf.eth0.accept_ra=1")],
                verify: "ip -6 route show default".into(),
                proven: false,
            },
        ],
    };
    let diagnosis = Diagnosis {
        verdict: Verdict::Broken,
        headline: "pds.example.com is up, but logins to tangled.org fail: the PDS cannot fetch the app's metadata."
            .to_owned(),
        causes: vec![cause],
        ruled_out: vec![
            RuledOut {
                code: Code::OauthUnsupportedScope,
                scope: Bounds::by_pds("tangled.org"),
                why: "pds.example.com and tngl.sh list the same scopes, and neither answer is about scopes".to_owned(),
                because: pars.clone(),
            },
            RuledOut {
                code: Code::AppClientMetadataBroken,
                scope: Bounds::by_reference("tangled.org"),
                why: "tngl.sh and this machine fetch the same document".to_owned(),
                because: pars,
            },
        ],
        differs: vec![],
        not_measured: vec![NotMeasured {
            probe: ProbeName::ClientDocument,
            why: t("what the PDS itself sees of tangled.org cannot be seen from outside"),
            needs: t("a run on the PDS's own machine"),
        }],
        healthy: healthy_lines(),
        grid: how_far::of(&run),
    };
    Sample { name: "first_field_report", run, diagnosis }
}

#[expect(clippy::too_many_lines, reason = "a report told from end to end")]
pub(crate) fn silent_v6() -> Sample {
    let host = "pds.example.com";
    let run = run(host, |facts| {
        facts.own(Family::V4, Some("192.168.1.10"));
        facts.own(Family::V6, Some("2001:db8:1::10"));
        facts.dns(Role::Target, host, RecordType::A, DnsOutcome::Answer, &["203.0.113.7"]);
        facts.dns(
            Role::Target,
            host,
            RecordType::Aaaa,
            DnsOutcome::Answer,
            &["2001:db8:1234:5678:9abc:def0:1234:5678"],
        );
        facts.well(Role::Target, host, "203.0.113.7", 31);
        let v6 = "2001:db8:1234:5678:9abc:def0:1234:5678";
        facts.connect(Role::Target, host, v6, 4_000, Some(FailureKind::Timeout));
        facts.well_pars(Role::Target, host, "203.0.113.7", 31);
        reference(facts);
    });
    let remedy = |title: &'static str, step: Step| Remedy {
        link: Link::Or,
        title: title.into(),
        steps: vec![step],
        risk: Risk::Safe,
        undo: vec![],
        verify: "curl -6 -sS https://pds.example.com/xrpc/_health".into(),
        proven: true,
    };
    let closed = Cause {
        code: Code::V6InboundClosed,
        impact: Impact::Degraded,
        confidence: Confidence::Confirmed,
        scope: Scope { host: None, family: Some(Family::V6), vantage: None },
        summary: "Port 443 is silent over IPv6 and open over IPv4.".to_owned(),
        seen: vec!["2001:db8:1234:5678:9abc:def0:1234:5678 did not answer within 4 s".to_owned()],
        because: ids(&run, ProbeName::Tcp),
        against: vec![],
        contrast: vec![Contrast {
            what: "The same connect, over the other family".to_owned(),
            this: "2001:db8:1234:5678:9abc:def0:1234:5678: silent (4,000 ms)".into(),
            that: "203.0.113.7: connected (31 ms)".into(),
        }],
        settle: None,
        contributing: vec![Code::TlsExpired],
        symptoms: vec![Symptom {
            code: Code::AddressUnreachable,
            title: "One of two addresses does not answer".to_owned(),
            because: vec![],
        }],
        remedies: vec![
            remedy("Open TCP 443 and 80 for IPv6", paste("sudo ufw allow 443/tcp && sudo ufw allow 80/tcp")),
            remedy("Remove the AAAA records", say("Delete the AAAA of pds.example.com and of the wildcard.")),
        ],
    };
    let expired = Cause {
        code: Code::TlsExpired,
        impact: Impact::Risk,
        confidence: Confidence::Likely,
        scope: Scope::default(),
        summary: "The certificate runs out in 5 days and has not been renewed.".to_owned(),
        seen: vec!["valid until 2026-11-26".to_owned(), "renewal is usual 30 days before".to_owned()],
        because: vec![],
        against: vec![],
        contrast: vec![Contrast { what: "Days left".to_owned(), this: "five".into(), that: "tngl.sh: sixty".into() }],
        settle: Some(Settle::text("The log of Caddy:").and("docker logs caddy")),
        contributing: vec![],
        symptoms: vec![],
        remedies: vec![
            remedy("Renew the certificate", paste("certbot renew")),
            remedy("Restart Caddy", paste("docker restart caddy")),
        ],
    };
    let diagnosis = Diagnosis {
        verdict: Verdict::Degraded,
        headline: "pds.example.com works over IPv4 only: its IPv6 address does not answer.".to_owned(),
        causes: vec![closed, expired],
        ruled_out: vec![],
        differs: vec![],
        not_measured: vec![],
        healthy: healthy_lines(),
        grid: how_far::of(&run),
    };
    Sample { name: "silent_v6", run, diagnosis }
}

pub(crate) fn name_not_found() -> Sample {
    let host = "pds.exmaple.com";
    let mut run = run(host, |facts| {
        facts.own(Family::V4, Some("192.168.1.10"));
        facts.own(Family::V6, None);
        facts.system_dns(Role::Target, host, &[]);
        facts.dns(Role::Target, host, RecordType::A, DnsOutcome::NxDomain, &[]);
        facts.dns(Role::Target, host, RecordType::Aaaa, DnsOutcome::NxDomain, &[]);
        reference(facts);
    });
    run.target.origin = None;
    let cause = Cause {
        code: Code::DnsNameNotFound,
        impact: Impact::Broken,
        confidence: Confidence::Confirmed,
        scope: Scope { host: Some(host.to_owned()), family: None, vantage: None },
        summary: "192.0.2.53 says that pds.exmaple.com does not exist.".to_owned(),
        seen: vec![],
        because: ids(&run, ProbeName::Dns),
        against: vec![],
        contrast: vec![Contrast {
            what: "The same question to the same name server".to_owned(),
            this: "pds.exmaple.com: no such name".into(),
            that: "tngl.sh: 198.51.100.20".into(),
        }],
        settle: None,
        contributing: vec![],
        symptoms: vec![],
        remedies: vec![Remedy {
            link: Link::Or,
            title: "Check the spelling; then create the records".into(),
            steps: vec![write("pds.exmaple.com. 300 IN A <address of the server>")],
            risk: Risk::Safe,
            undo: vec![],
            verify: "dig +short pds.exmaple.com A".into(),
            proven: false,
        }],
    };
    let diagnosis = Diagnosis {
        verdict: Verdict::Broken,
        headline: "pds.exmaple.com does not exist in DNS.".to_owned(),
        causes: vec![cause],
        ruled_out: vec![],
        differs: vec![],
        not_measured: vec![],
        healthy: vec![],
        grid: how_far::of(&run),
    };
    Sample { name: "name_not_found", run, diagnosis }
}

pub(crate) fn inconclusive() -> Sample {
    let host = "pds.example.com";
    let mut run = run(host, |facts| {
        facts.own(Family::V4, None);
        facts.own(Family::V6, None);
    });
    run.reference = None;
    run.elapsed_ms = 12;
    let diagnosis = Diagnosis {
        verdict: Verdict::Inconclusive,
        headline: "This machine has no network: nothing can be said about pds.example.com.".to_owned(),
        causes: vec![],
        ruled_out: vec![],
        differs: vec![],
        not_measured: vec![
            NotMeasured { probe: ProbeName::Dns, why: t("no network"), needs: t("a network") },
            NotMeasured { probe: ProbeName::Par, why: t("no network"), needs: t("") },
        ],
        healthy: vec![],
        grid: how_far::of(&run),
    };
    Sample { name: "inconclusive", run, diagnosis }
}

pub(crate) fn interrupted() -> Sample {
    let mut sample = healthy();
    sample.name = "interrupted";
    sample.run.ended = Ended::Interrupted;
    sample.diagnosis.healthy.truncate(2);
    sample
}

/// Terminal escapes and monsters of length wherever text can stand.
pub(crate) const EVIL: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}evil\u{200b}\r\n\u{2028}$(reboot); 漢字 `x`";

pub(crate) fn hostile() -> Sample {
    let evil = || EVIL.repeat(20);
    let mut sample = first_field_report();
    sample.name = "hostile";
    let run = &mut sample.run;
    run.version = t(EVIL);
    run.started = t(EVIL);
    run.target.input = t(&evil());
    run.target.host = Some(t(&evil()));
    run.target.did = Some(t(EVIL));
    run.settings.client_ids = vec![t(EVIL)];
    if let Some(reference) = &mut run.reference {
        reference.host = t(&evil());
        reference.given = true;
    }
    for fact in &mut run.facts {
        fact.id = FactId(evil());
        match &mut fact.body {
            FactBody::Http(http) => {
                http.headers.insert(EVIL.to_owned(), t(EVIL));
                http.url = t(&evil());
            }
            FactBody::Par(par) => {
                par.description = Some(t(&evil()));
                par.server = t(EVIL);
            }
            FactBody::Tls(tls) => tls.sni = t(&evil()),
            FactBody::Connect(connect) => connect.host = t(&evil()),
            _ => {}
        }
    }
    let diagnosis = &mut sample.diagnosis;
    diagnosis.headline = evil();
    for cause in &mut diagnosis.causes {
        cause.summary = evil();
        cause.seen = vec![evil(), evil()];
        cause.settle = Some(prose![quoted(&evil())].into());
        cause.confidence = Confidence::Possible;
        cause.scope = Scope { host: Some(evil()), family: Some(Family::V6), vantage: Some(evil()) };
        for contrast in &mut cause.contrast {
            contrast.what = evil();
            contrast.this = format!("{EVIL}: {}", evil()).into();
        }
        for remedy in &mut cause.remedies {
            remedy.title = prose![quoted(&evil())];
            remedy.steps = vec![say(prose!["Open ", quoted(&evil())])];
            remedy.undo = vec![say(prose![quoted(&evil())])];
        }
        for symptom in &mut cause.symptoms {
            symptom.title = evil();
        }
    }
    for ruled_out in &mut diagnosis.ruled_out {
        ruled_out.scope = Bounds::here(&evil());
        ruled_out.why = evil();
    }
    diagnosis.differs = vec![Difference { what: evil(), this: evil(), that: evil(), because: vec![] }];
    for missing in &mut diagnosis.not_measured {
        missing.why = t(&evil());
        missing.needs = t(&evil());
    }
    for healthy in &mut diagnosis.healthy {
        healthy.summary = evil();
    }
    sample
}
