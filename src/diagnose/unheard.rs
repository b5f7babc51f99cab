//! Facts that say nothing about whom they asked, taken out before any rule sees them: "too many requests" speaks of the
//! asking, and want of open files, memory or threads of this machine. What is missing for it is said.

use std::{collections::BTreeMap, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, SystemDnsOutcome},
    fact::{Fact, FactBody, FactId, Failure, FailureKind, NotMeasured, ProbeName, Role, Vantage},
    http_fact::{HttpFact, HttpPurpose},
    par_fact::{ParArm, ParFact},
    text::Text,
};

/// Too many requests (RFC 6585, section 4).
const TOO_MANY: u16 = 429;
/// What a limit of nginx says unless it is told otherwise (`limit_req_status`).
const UNAVAILABLE: u16 = 503;

/// What was taken out.
#[derive(Debug, Default)]
pub struct Unheard {
    /// What could not be measured, because a server limits requests.
    pub limited: Vec<NotMeasured>,
    /// Measurements for which this side had not what it takes.
    pub out_of_resources: Vec<FactId>,
}

impl Unheard {
    /// The target limits requests, and did not answer all that it was asked.
    pub fn target_is_limited(&self) -> bool {
        self.limited.iter().any(|missing| missing.why.starts_with("the target "))
    }
}

/// What was asked: of two facts with the same, the later is a second attempt.
type Asked<'a> = (&'a Vantage, Role, Option<HttpPurpose>, Option<ParArm>, &'a str, Option<IpAddr>);

/// Separates the facts that speak from those that do not. `facts` are in job order, and so are those that are given.
pub fn sift(facts: Vec<&Fact>) -> (Vec<&Fact>, Unheard) {
    let mut unheard = Unheard::default();
    let mut attempts: BTreeMap<Asked<'_>, Vec<&Fact>> = BTreeMap::new();
    for fact in &facts {
        if let Some(asked) = asked(fact) {
            attempts.entry(asked).or_default().push(*fact);
        }
    }
    let mut dropped: Vec<*const Fact> = Vec::new();
    let mut limited: BTreeMap<(&'static str, ProbeName), usize> = BTreeMap::new();
    for ((_, role, ..), mut tries) in attempts {
        tries.sort_by_key(|fact| fact.started_ms);
        let first_limited = tries.iter().position(|fact| is_limited(fact));
        // An answer, whole or not, to the same request, past the limit.
        let spoke = tries.iter().any(|fact| !is_limited(fact) && status(fact).is_some());
        if let Some(first) = first_limited {
            for (index, fact) in tries.iter().enumerate() {
                // What fails after the limit was met, fails of the wait: a connection that was closed meanwhile.
                if is_limited(fact) || (index > first && status(fact).is_none()) {
                    dropped.push(std::ptr::from_ref(*fact));
                }
            }
            if !spoke {
                *limited.entry((whose(role), tries[first].probe)).or_default() += 1;
            }
        }
        // What a second try cures is no failure.
        let cured = tries.last().is_some_and(|last| status(last).is_some_and(|status| status < 500));
        if cured {
            let passing = tries.iter().filter(|fact| status(fact) == Some(UNAVAILABLE));
            dropped.extend(passing.map(|fact| std::ptr::from_ref(*fact)));
        }
    }
    for ((whose, probe), count) in limited {
        let times = if count == 1 { "one request was".to_owned() } else { format!("{count} requests were") };
        unheard.limited.push(NotMeasured {
            probe,
            why: Text::new(&format!("{whose} limits requests: {times} answered 429, \"too many requests\"")),
            needs: Text::new("another run when it has fewer visitors, or with this machine exempt from its limit"),
        });
    }
    let mut heard = facts;
    heard.retain(|fact| {
        if lacks_resources(&fact.body) {
            unheard.out_of_resources.push(fact.id.clone());
            return false;
        }
        !dropped.contains(&std::ptr::from_ref(*fact))
    });
    (heard, unheard)
}

/// Whom the answers are missing of, in words.
fn whose(role: Role) -> &'static str {
    match role {
        Role::Target | Role::HandleSample | Role::HostedHandle => "the target",
        Role::TargetAuthServer => "the target's authorization server",
        Role::Handle => "the handle's host",
        Role::Reference | Role::ReferenceAuthServer => "the reference",
        Role::Client => "the app's host",
        Role::Directory => "the directory of DIDs",
        Role::Service => "a service of the PDS",
        Role::Egress => "a host for the PDS's way out",
    }
}

fn asked(fact: &Fact) -> Option<Asked<'_>> {
    match &fact.body {
        FactBody::Http(HttpFact { role, purpose, url, addr, .. }) => {
            Some((&fact.vantage, *role, Some(*purpose), None, url.as_str(), *addr))
        }
        FactBody::Par(ParFact { role, arm, client_id, addr, .. }) => {
            Some((&fact.vantage, *role, None, Some(*arm), client_id.as_str(), *addr))
        }
        _ => None,
    }
}

fn status(fact: &Fact) -> Option<u16> {
    match &fact.body {
        FactBody::Http(body) => body.status,
        FactBody::Par(body) => body.status,
        _ => None,
    }
}

fn is_limited(fact: &Fact) -> bool {
    match &fact.body {
        // A challenge turns away whoever is no browser, however seldom it comes.
        FactBody::Http(body) => body.status == Some(TOO_MANY) && !body.headers.contains_key("cf-mitigated"),
        FactBody::Par(body) => body.status == Some(TOO_MANY),
        _ => false,
    }
}

fn lacks_resources(body: &FactBody) -> bool {
    let lacks =
        |failure: &Option<Failure>| failure.as_ref().is_some_and(|it| it.kind == FailureKind::ThisSideResources);
    match body {
        FactBody::OwnNetwork(body) => lacks(&body.failure),
        FactBody::Dns(body) => body.outcome == DnsOutcome::NotAsked,
        FactBody::SystemDns(body) => body.outcome == SystemDnsOutcome::NotAsked,
        FactBody::Connect(body) => lacks(&body.failure),
        FactBody::Tls(body) => lacks(&body.failure),
        FactBody::Http(body) => lacks(&body.failure),
        FactBody::Par(body) => lacks(&body.failure),
        _ => false,
    }
}
