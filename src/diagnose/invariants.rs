//! What holds of every report, whatever the run. Stated once: tests, the lab, the fuzzer and debug builds ask
//! [`violations`], and what the judge leaves out of a report for their sake it asks of the same functions.

mod place;

use std::collections::BTreeSet;

use pdsdoctor_probes::{
    dns_fact::DnsOutcome,
    fact::{Fact, FactBody, FactId, FailureKind, Family, Role, Vantage},
    par_fact::ParFact,
    record::Run,
};

use super::{
    Cause, Code, Confidence, Diagnosis, Impact, RuledOut, Scope, Verdict, differs,
    evidence::{Evidence, Line, Seen, host_of},
    net_kinds::{AddressKind, address_kind},
    par_stage::{FetchFailure, Refusal, Stage},
};

/// What does not hold, in words; empty for a sound report.
pub fn violations(run: &Run, diagnosis: &Diagnosis) -> Vec<String> {
    let evidence = Evidence::new(run);
    let mut found = Vec::new();
    let facts: BTreeSet<&FactId> = run.facts.iter().map(|fact| &fact.id).collect();
    for cause in &diagnosis.causes {
        of_cause(&evidence, diagnosis, cause, &facts, &mut found);
    }
    once(&diagnosis.causes, &mut found);
    for theory in &diagnosis.ruled_out {
        of_theory(&evidence, diagnosis, theory, &facts, &mut found);
    }
    of_verdict(&evidence, diagnosis, &facts, &mut found);
    found
}

/// Of this side's causes the same holds. Symptoms have nothing of their own to settle: they stand and fall with the cause
/// that they are under; one that stands alone is a cause like any other.
fn of_cause(
    evidence: &Evidence<'_>,
    diagnosis: &Diagnosis,
    cause: &Cause,
    facts: &BTreeSet<&FactId>,
    found: &mut Vec<String>,
) {
    let code = cause.code;
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{code}: {what}"));
        }
    };
    place::is_where_it_fails(evidence, cause, &mut must);
    place::is_where_remedies_act(evidence, cause, &mut must);
    must(!cause.summary.is_empty(), "a cause is one plain sentence");
    must(!cause.remedies.is_empty(), "a cause has a remedy");
    for remedy in &cause.remedies {
        must(
            !remedy.title.is_empty() && !remedy.steps.is_empty() && !remedy.verify.to_string().is_empty(),
            "a remedy has a title, steps and what verifies it",
        );
    }
    must(!cause.because.is_empty(), "a cause rests on facts");
    must(cause.because.iter().chain(&cause.against).all(|id| facts.contains(id)), "what it rests on is a fact");
    // This side's faults are told from what fails everywhere: there is nothing left to compare with.
    if cause.confidence == Confidence::Confirmed && diagnosis.verdict != Verdict::Inconclusive {
        must(!cause.contrast.is_empty(), "what is confirmed has a contrast");
    }
    must(
        cause.confidence == Confidence::Confirmed || cause.settle.is_some(),
        "what is not confirmed says what would settle it",
    );
    for contrast in &cause.contrast {
        must(
            !contrast.what.is_empty() && !contrast.this.result.is_empty() && !contrast.that.result.is_empty(),
            "a contrast has two sides",
        );
    }
    for symptom in &cause.symptoms {
        must(!symptom.title.is_empty() && symptom.because.iter().all(|id| facts.contains(id)), "a symptom was seen");
    }
    // What would settle it is not what was just done.
    if evidence.inside().pds().is_some() && cause.confidence != Confidence::Confirmed {
        must(
            !cause.settle.as_ref().is_some_and(|settle| settle.to_string().contains("on the PDS's own machine")),
            "a run on the PDS's machine does not ask for one",
        );
    }
}

/// The same cause stands once.
fn once(causes: &[Cause], found: &mut Vec<String>) {
    let mut seen: BTreeSet<(Code, &Scope)> = BTreeSet::new();
    for cause in causes {
        if !seen.insert((cause.code, &cause.scope)) {
            found.push(format!("{}: stands twice with the same scope", cause.code));
        }
    }
}

fn of_theory(
    evidence: &Evidence<'_>,
    diagnosis: &Diagnosis,
    theory: &RuledOut,
    facts: &BTreeSet<&FactId>,
    found: &mut Vec<String>,
) {
    let code = theory.code;
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{code} ({}) is ruled out: {what}", theory.scope.words()));
        }
    };
    must(!theory.because.is_empty() && theory.because.iter().all(|id| facts.contains(id)), "by no fact");
    must(!theory.scope.host().is_empty(), "of no host");
    let is_found = diagnosis
        .causes
        .iter()
        .any(|cause| cause.code == code || cause.symptoms.iter().any(|symptom| symptom.code == code));
    must(!is_found, "and found");
    must(is_of_a_failing_host(theory, &diagnosis.causes), "by another host than the one that fails");
    let seen: Vec<&Fact> = evidence.run.facts.iter().filter(|fact| theory.because.contains(&fact.id)).collect();
    match theory.scope.place() {
        Some(place) => must(seen.iter().any(|fact| fact.vantage == place), "from a place where nothing was measured"),
        None => must(
            seen.iter().any(|fact| matches!(&fact.body, FactBody::Par(_) | FactBody::Http(_))),
            "by what nobody was asked for",
        ),
    }
    let against = contradicted(evidence, theory);
    must(against.is_empty(), &format!("and {} say otherwise", super::rules::list(against.iter().map(|id| &id.0))));
}

fn of_verdict(evidence: &Evidence<'_>, diagnosis: &Diagnosis, facts: &BTreeSet<&FactId>, found: &mut Vec<String>) {
    let worst = diagnosis.causes.iter().map(|cause| cause.impact).max();
    let fits = match diagnosis.verdict {
        Verdict::Healthy => worst.is_none(),
        Verdict::Risk => worst == Some(Impact::Risk),
        Verdict::Degraded => worst == Some(Impact::Degraded),
        Verdict::Broken => worst == Some(Impact::Broken),
        Verdict::Inconclusive => true,
    };
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    must(fits, "the verdict is that of the worst cause");
    must(diagnosis.causes.is_sorted_by_key(|cause| std::cmp::Reverse(cause.impact)), "the worst stands first");
    must(!diagnosis.headline.is_empty(), "a report has a headline");
    must(
        diagnosis.differs.iter().all(|difference| difference.because.iter().all(|id| facts.contains(id))),
        "a difference was seen",
    );
    if diagnosis.verdict == Verdict::Healthy {
        must(
            diagnosis.differs == differs::unexplained(evidence, &diagnosis.causes),
            "healthy, and a difference that nothing explains is not told",
        );
        must(
            diagnosis.differs.is_empty() || !diagnosis.headline.contains("is healthy"),
            "healthy without reserve, and answers differ",
        );
    }
}

/// Theories about one host each: that it is not so at another says nothing of the one that fails.
const OF_ONE_HOST: &[Code] = &[
    Code::NodeHe250ms,
    Code::NodeHeLostSyn,
    Code::NodeIpv4firstNotEnough,
    Code::NodeNoautoselectBackfires,
    Code::DnsSplitHorizonSsrf,
    Code::OauthClientMetadataEgress,
    Code::OauthUnsupportedScope,
    Code::AppClientMetadataBroken,
];

/// A theory about one host is of use only where that host fails, or where none does that is known by name.
pub(super) fn is_of_a_failing_host(theory: &RuledOut, causes: &[Cause]) -> bool {
    if !OF_ONE_HOST.contains(&theory.code) {
        return true;
    }
    let mut failing = causes
        .iter()
        .filter(|cause| cause.code.is_of_the_machine() || OF_ONE_HOST.contains(&cause.code))
        .filter_map(|cause| cause.scope.host.as_deref())
        .peekable();
    failing.peek().is_none() || failing.any(|host| host == theory.scope.host())
}

/// The facts within a theory's bounds that say it is so after all: such a theory is not ruled out.
pub(super) fn contradicted(evidence: &Evidence<'_>, theory: &RuledOut) -> Vec<FactId> {
    let scope = &theory.scope;
    match theory.code {
        Code::FwPortsClosed | Code::V6InboundClosed => closed(evidence, theory),
        Code::DnsStaleA | Code::DnsStaleAaaa => {
            let lines = evidence.target_lines();
            let odd = lines.iter().filter(|line| scope.has_family(line.family()) && !line.is_pds());
            odd.flat_map(Line::ids).collect()
        }
        Code::TlsInternalOrDefaultCa => evidence
            .target_lines()
            .iter()
            .filter(|line| scope.has_family(line.family()))
            .filter_map(|line| line.tls)
            .filter(|tls| tls.body.certificate.as_ref().is_some_and(|certificate| !evidence.accepts(certificate)))
            .map(|tls| tls.id())
            .collect(),
        Code::DnsNoWildcard => within(evidence, theory, |fact| match &fact.body {
            FactBody::Dns(body) => body.role == Role::HandleSample && body.outcome == DnsOutcome::NxDomain,
            _ => false,
        })
        .into_iter()
        .filter(|_| evidence.absence(&sample(evidence, scope.host())).is_some())
        .collect(),
        Code::DnsSplitHorizonSsrf => within(evidence, theory, |fact| match &fact.body {
            FactBody::Dns(body) => {
                let private = |addr| address_kind(addr) != AddressKind::Public;
                body.name.as_str() == scope.host() && body.addresses().into_iter().any(private)
            }
            _ => false,
        }),
        Code::V6BlackholeEgress | Code::V6ContainerHasNone => within(evidence, theory, |fact| match &fact.body {
            // What it rests on is an answer, or a refusal at once: silence is what the theory is about.
            FactBody::Connect(body) => {
                theory.because.contains(&fact.id)
                    && (Family::of(body.addr) != Family::V6
                        || body.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Timeout))
            }
            _ => false,
        }),
        Code::ProxyOauthRoutesMissing => evidence
            .all_http()
            .iter()
            .filter(|seen| {
                use pdsdoctor_probes::http_fact::HttpPurpose;
                seen.body.role == Role::Target
                    && matches!(seen.body.purpose, HttpPurpose::ProtectedResource | HttpPurpose::AuthorizationServer)
                    && theory.because.contains(&seen.id())
                    && !seen.body.is_expected()
            })
            .map(Seen::id)
            .collect(),
        // The timer that ended an attempt at this host.
        Code::NodeHe250ms => {
            pars(evidence, theory, Role::Target, |stage| *stage == Stage::DocumentNotObtained(FetchFailure::AttemptCap))
        }
        Code::OauthClientMetadataEgress => {
            pars(evidence, theory, Role::Target, |stage| matches!(stage, Stage::DocumentNotObtained(_)))
        }
        Code::AppClientMetadataBroken => {
            pars(evidence, theory, Role::Reference, |stage| stage.obtained_document() == Some(false))
                .into_iter()
                .filter(|id| theory.because.contains(id))
                .collect()
        }
        Code::OauthUnsupportedScope => pars(evidence, theory, Role::Target, |stage| {
            matches!(stage, Stage::Scope | Stage::DocumentRefused(Refusal::UnsupportedScope))
        }),
        _ => Vec::new(),
    }
}

fn sample(evidence: &Evidence<'_>, under: &str) -> String {
    under.replacen('*', &evidence.run.settings.sample_label, 1)
}

/// Connections to the target that were not made, by a family that works here.
fn closed(evidence: &Evidence<'_>, theory: &RuledOut) -> Vec<FactId> {
    let own = evidence.inside().addresses(&Vantage::Here);
    let lines = evidence.target_lines();
    let of_family = lines
        .iter()
        .filter(|line| theory.scope.has_family(line.family()))
        .filter(|line| theory.code == Code::FwPortsClosed || line.family() == Family::V6);
    of_family
        .filter(|line| match line.connect {
            None => false,
            // Made to an address of one's own, it shows nothing.
            Some(seen) if seen.body.failure.is_none() => {
                theory.because.contains(&seen.id()) && own.iter().any(|(_, address)| address.addr == line.addr)
            }
            Some(seen) => {
                theory.because.contains(&seen.id())
                    || theory.code == Code::V6InboundClosed
                        && address_kind(line.addr) == AddressKind::Public
                        && evidence.family_works(line.family()).is_some()
            }
        })
        .filter_map(|line| line.connect)
        .map(|seen| seen.id())
        .collect()
}

/// Facts from the theory's own place that `says`.
fn within(evidence: &Evidence<'_>, theory: &RuledOut, says: impl Fn(&Fact) -> bool) -> Vec<FactId> {
    let place = theory.scope.place();
    let here = |fact: &&Fact| place.as_ref().is_none_or(|place| fact.vantage == *place);
    evidence.run.facts.iter().filter(here).filter(|fact| says(fact)).map(|fact| fact.id.clone()).collect()
}

/// Login requests about the theory's host that got no further than `says`; bad moments of a busy PDS aside.
fn pars(evidence: &Evidence<'_>, theory: &RuledOut, role: Role, says: impl Fn(&Stage) -> bool) -> Vec<FactId> {
    let about = |seen: &&Seen<'_, ParFact>| {
        seen.body.role == role
            && seen.body.arm.is_login()
            && host_of(&seen.body.client).as_deref() == Some(theory.scope.host())
            && !evidence.is_bad_moment(seen)
    };
    evidence.all_pars().iter().filter(about).filter(|seen| says(&evidence.stage_of(**seen))).map(Seen::id).collect()
}
