//! Ways to change one thing about a world, and what the judging then says.

use std::net::IpAddr;

use pdsdoctor::diagnose::{Cause, Code, Confidence, Diagnosis, Impact, Verdict, diagnose};
use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, SystemDnsOutcome},
    fact::{Fact, FactBody, FailureKind, ProbeName, Role},
    http_fact::{HttpFact, HttpPurpose},
    par_fact::ParArm,
    record::Run,
    tls_fact::{CertificateFact, TlsFact},
};

use crate::{facts::*, world::World};

/// What the judging said, with the run it is about.
pub struct Judged {
    pub diagnosis: Diagnosis,
}

impl World {
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    #[must_use]
    pub fn each(mut self, mut change: impl FnMut(&mut Fact)) -> Self {
        self.run.facts.iter_mut().for_each(&mut change);
        self
    }

    #[must_use]
    pub fn without(mut self, gone: impl Fn(&Fact) -> bool) -> Self {
        self.run.facts.retain(|fact| !gone(fact));
        self
    }

    /// Changes every DNS question about a name.
    #[must_use]
    pub fn dns(self, name: &str, change: impl Fn(&mut DnsFact)) -> Self {
        self.each(|fact| match &mut fact.body {
            FactBody::Dns(body) if body.name.as_str() == name => change(body),
            _ => {}
        })
    }

    /// A name that has no address, by A, AAAA and getaddrinfo.
    #[must_use]
    pub fn unnamed(self, name: &str, outcome: DnsOutcome) -> Self {
        let of_name = |fact: &Fact| match &fact.body {
            FactBody::Connect(body) => body.host.as_str() == name,
            FactBody::Tls(body) => body.sni.as_str() == name,
            FactBody::Http(body) => body.url.contains(&format!("//{name}/")),
            _ => false,
        };
        self.without(of_name).each(|fact| match &mut fact.body {
            FactBody::Dns(body) if body.name.as_str() == name && body.purpose == DnsPurpose::Address => {
                body.outcome = outcome;
                body.records.clear();
            }
            FactBody::SystemDns(body) if body.name.as_str() == name => {
                body.outcome =
                    if outcome.is_definite() { SystemDnsOutcome::NotFound } else { SystemDnsOutcome::TryAgain };
                body.addresses.clear();
            }
            _ => {}
        })
    }

    /// Changes every handshake with a server name.
    #[must_use]
    pub fn tls(self, sni: &str, change: impl Fn(&mut TlsFact)) -> Self {
        self.each(|fact| match &mut fact.body {
            FactBody::Tls(body) if body.sni.as_str() == sni => change(body),
            _ => {}
        })
    }

    /// Changes every certificate seen with a server name.
    #[must_use]
    pub fn cert(self, sni: &str, change: impl Fn(&mut CertificateFact)) -> Self {
        self.tls(sni, |tls| tls.certificate.iter_mut().for_each(&change))
    }

    /// Changes every exchange of a role and purpose.
    #[must_use]
    pub fn http(self, role: Role, purpose: HttpPurpose, change: impl Fn(&mut HttpFact)) -> Self {
        self.each(|fact| match &mut fact.body {
            FactBody::Http(body) if body.role == role && body.purpose == purpose => change(body),
            _ => {}
        })
    }

    /// Changes every PAR of a role and arm.
    #[must_use]
    pub fn par(self, role: Role, arm: ParArm, answer: (u16, &str, &str), took_ms: u64) -> Self {
        self.each(|fact| {
            if let FactBody::Par(body) = &mut fact.body
                && body.role == role
                && body.arm == arm
            {
                body.status = Some(answer.0);
                body.error = (!answer.1.is_empty()).then(|| t(answer.1));
                body.description = (!answer.2.is_empty()).then(|| t(answer.2));
                fact.took_ms = took_ms;
            }
        })
    }

    /// Both client arms of a role answer so.
    #[must_use]
    pub fn pars(self, role: Role, answer: (u16, &str, &str), took_ms: u64) -> Self {
        self.par(role, ParArm::CacheBusted, answer, took_ms).par(role, ParArm::AsNamed, answer, took_ms)
    }

    /// An address does not connect on port 443: nothing above it is measured there. What was asked
    /// once per PDS is asked at the other address, if there is one.
    #[must_use]
    pub fn closed(self, addr: &str, kind: FailureKind, took_ms: u64) -> Self {
        let addr = ip(addr);
        let open: Option<IpAddr> = self.run.facts.iter().find_map(|fact| match &fact.body {
            FactBody::Connect(body) if body.role == Role::Target && body.addr != addr && body.failure.is_none() => {
                Some(body.addr)
            }
            _ => None,
        });
        let once = |fact: &Fact| {
            matches!(fact.probe, ProbeName::OauthDiscovery)
                || matches!(&fact.body, FactBody::Http(body)
                    if matches!(body.purpose, HttpPurpose::ListRepos | HttpPurpose::DescribeRepo))
        };
        let without_pds = open.is_none() && (addr == ip(PDS_V4) || addr == ip(PDS_V6));
        self.each(|fact| match &mut fact.body {
            FactBody::Connect(body) if body.addr == addr => {
                body.failure = Some(fail(kind));
                fact.took_ms = took_ms;
            }
            FactBody::Http(body) if body.addr == Some(addr) => {
                if let (ProbeName::OauthDiscovery, Some(open)) = (fact.probe, open) {
                    body.addr = Some(open);
                }
            }
            FactBody::Par(body) if body.addr == Some(addr) => body.addr = open,
            _ => {}
        })
        .without(|fact| match &fact.body {
            FactBody::Tls(body) => body.addr == addr,
            FactBody::Http(body) if once(fact) => body.role == Role::Target && without_pds,
            FactBody::Http(body) => body.addr == Some(addr),
            FactBody::Par(body) => body.role == Role::Target && without_pds,
            FactBody::Dns(body) => without_pds && matches!(body.role, Role::HandleSample | Role::HostedHandle),
            FactBody::SystemDns(body) => without_pds && matches!(body.role, Role::HandleSample | Role::HostedHandle),
            FactBody::Connect(body) => without_pds && matches!(body.role, Role::HandleSample | Role::HostedHandle),
            _ => false,
        })
    }

    /// Nothing above the handshake with the PDS was measured.
    #[must_use]
    pub fn only_up_to_tls(self) -> Self {
        self.without(|fact| match &fact.body {
            FactBody::Http(body) => {
                !matches!(body.role, Role::Reference | Role::Client)
                    && !matches!(body.purpose, HttpPurpose::PlainPort80 | HttpPurpose::PlainOnTlsPort)
            }
            FactBody::Par(body) => body.role == Role::Target,
            _ => matches!(fact.probe, ProbeName::Handles),
        })
    }

    /// The reference was not found.
    #[must_use]
    pub fn without_reference(mut self) -> Self {
        self.run.reference = None;
        self.without(|fact| match &fact.body {
            FactBody::Connect(body) => body.role == Role::Reference,
            FactBody::Tls(body) => body.role == Role::Reference,
            FactBody::Http(body) => body.role == Role::Reference,
            FactBody::Par(body) => body.role == Role::Reference,
            FactBody::Dns(body) => body.role == Role::Reference,
            FactBody::SystemDns(body) => body.role == Role::Reference,
            _ => false,
        })
    }

    /// The reference is an entryway.
    #[must_use]
    pub fn with_entryway(mut self) -> Self {
        self.run.reference.as_mut().unwrap().entryway = true;
        self
    }

    pub fn finished(&self) -> Run {
        let mut run = self.run.clone();
        run.put_in_order();
        run
    }

    pub fn judge(&self) -> Judged {
        let run = self.finished();
        let diagnosis = diagnose(&run);
        crate::invariants::hold(&run, &diagnosis);
        Judged { diagnosis }
    }

    /// The first cause is this one. Gives back the judgement for more.
    #[track_caller]
    pub fn finds(&self, code: Code, impact: Impact, confidence: Confidence) -> Judged {
        let judged = self.judge();
        let Some(first) = judged.diagnosis.causes.first() else {
            panic!("nothing was found, expected {code}: {}", judged.show());
        };
        let got = (first.code, first.impact, first.confidence);
        assert_eq!(got, (code, impact, confidence), "{}", judged.show());
        judged
    }

    /// No cause at all, and said to be healthy.
    #[track_caller]
    pub fn is_well(&self) -> Judged {
        let judged = self.judge();
        assert!(judged.diagnosis.causes.is_empty(), "{}", judged.show());
        assert_eq!(judged.diagnosis.verdict, Verdict::Healthy, "{}", judged.show());
        judged
    }

    /// This code is neither a cause nor a symptom.
    #[track_caller]
    pub fn never_says(&self, code: Code) -> Judged {
        let judged = self.judge();
        assert!(!judged.says(code), "{code} was found: {}", judged.show());
        judged
    }
}

impl Judged {
    pub fn says(&self, code: Code) -> bool {
        self.diagnosis
            .causes
            .iter()
            .any(|cause| cause.code == code || cause.symptoms.iter().any(|symptom| symptom.code == code))
    }

    /// The cause of this code.
    #[track_caller]
    pub fn cause(&self, code: Code) -> &Cause {
        let found = self.diagnosis.causes.iter().find(|cause| cause.code == code);
        found.unwrap_or_else(|| panic!("{code} was not found: {}", self.show()))
    }

    pub fn why_not(&self, code: Code) -> Option<&str> {
        self.diagnosis.ruled_out.iter().find(|theory| theory.code == code).map(|theory| theory.why.as_str())
    }

    pub fn rules_out(&self, code: Code) -> bool {
        self.diagnosis.ruled_out.iter().any(|theory| theory.code == code)
    }

    pub fn verdict(&self) -> Verdict {
        self.diagnosis.verdict
    }

    pub fn show(&self) -> String {
        let causes: Vec<String> = self
            .diagnosis
            .causes
            .iter()
            .map(|cause| {
                format!(
                    "  {} {} {} {:?}: {}\n    seen {:?}\n    symptoms {:?}\n",
                    cause.code,
                    cause.impact,
                    cause.confidence,
                    cause.scope,
                    cause.summary,
                    cause.seen,
                    cause.symptoms.iter().map(|symptom| symptom.code.to_string()).collect::<Vec<_>>()
                )
            })
            .collect();
        format!(
            "\nverdict {}: {}\n{}not measured {:?}",
            self.diagnosis.verdict,
            self.diagnosis.headline,
            causes.concat(),
            self.diagnosis.not_measured
        )
    }
}
