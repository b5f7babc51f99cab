//! The same question about several hosts: what the PDS made of each, beside what is known of the host. Pure; what it
//! may mean is in [`theory`].

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Family, ProbeName, Role},
    http_fact::{Content, HttpFact, HttpPurpose},
    par_fact::{ParArm, ParFact},
};

use super::{
    evidence::{Evidence, Seen, host_of},
    par_stage::{FetchFailure, Stage, by_time},
};

pub mod theory;

/// What the PDS's fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// The host answered, whatever it said.
    Reached,
    /// It did not.
    Failed(FetchFailure),
}

impl Got {
    fn of(stage: &Stage, arm: ParArm) -> Option<Self> {
        match stage {
            Stage::DocumentNotObtained(failure) => Some(Self::Failed(*failure)),
            // This one is not waited for until the PDS gives up.
            Stage::NoRoute(FailureKind::Timeout) if matches!(arm, ParArm::OwnUrl | ParArm::TargetUrl) => {
                Some(Self::Failed(FetchFailure::Silence))
            }
            other => (other.reached_host() == Some(true)).then_some(Self::Reached),
        }
    }

    /// No reason was given.
    pub fn is_bare(self) -> bool {
        use FetchFailure::{AtOnce, AttemptCap, Silence, Slow};
        matches!(self, Self::Failed(AtOnce | AttemptCap | Slow | Silence))
    }

    /// It failed without waiting for anything.
    pub fn at_once(self) -> bool {
        matches!(self, Self::Failed(FetchFailure::AtOnce | FetchFailure::NameNotFound))
    }

    /// Nothing came back.
    pub fn silent(self) -> bool {
        self == Self::Failed(FetchFailure::Silence)
    }

    /// In a few words.
    pub fn words(self, spent: u64) -> String {
        match self {
            Self::Reached => format!("answered after {spent} ms"),
            Self::Failed(FetchFailure::NameNotFound) => "name not found".to_owned(),
            Self::Failed(FetchFailure::Refused) => "refused".to_owned(),
            Self::Failed(FetchFailure::Reset) => "reset".to_owned(),
            Self::Failed(FetchFailure::Certificate) => "wrong certificate".to_owned(),
            Self::Failed(FetchFailure::Policy) => "not fetched".to_owned(),
            Self::Failed(_) => format!("failed after {spent} ms"),
        }
    }
}

/// One arm at the target.
#[derive(Clone, Debug)]
pub struct Arm<'a> {
    /// Which.
    pub arm: ParArm,
    /// The host that was to be fetched from.
    pub host: String,
    /// The request.
    pub seen: Seen<'a, ParFact>,
    /// What came of it.
    pub got: Got,
    /// What the PDS spent on the fetch, in milliseconds: the whole less what the quickest request took. Too small where
    /// a busy machine held all of them up.
    pub spent: u64,
    /// It cannot have spent more: the whole less what the network alone takes. What ended by a timer took that long.
    pub at_most: u64,
    /// By how much tries of this same fetch that failed alike differed, in milliseconds: the rest is the machine's.
    pub spread: u64,
    /// How many addresses of each family the host publishes.
    pub published: (usize, usize),
    /// The fact that shows that the host is there for others.
    pub control: Option<FactId>,
    /// A PDS of the same kind shows it: the reference.
    pub same_question: bool,
}

impl Arm<'_> {
    /// Another failure of the same fetch was quicker: a timer ends no fetch early, and what waits for none can be held
    /// up by a busy machine.
    fn no_slower_than(&mut self, at_most: u64) {
        if !self.got.is_bare() {
            return;
        }
        self.spread = self.spread.max(at_most.abs_diff(self.at_most));
        self.at_most = self.at_most.min(at_most);
        if self.at_most < self.spent {
            self.spent = self.at_most;
            self.got = Got::Failed(by_time(self.spent));
            self.settle();
        }
    }

    /// Node cuts off no attempt at the only address there is: then a few hundred milliseconds are no timer's.
    fn settle(&mut self) {
        if self.knows_no_timer() && self.got == Got::Failed(FetchFailure::AttemptCap) {
            self.got = Got::Failed(FetchFailure::AtOnce);
        }
    }

    /// There is one address: Node gives each attempt but the last a time limit.
    pub fn knows_no_timer(&self) -> bool {
        self.published.0 + self.published.1 < 2
    }

    /// It was reached, and nothing held the fetch up.
    pub fn is_prompt(&self) -> bool {
        self.got == Got::Reached && self.spent <= PROMPT_MS
    }

    /// `tangled.org: failed after 257 ms`.
    pub fn line(&self) -> String {
        format!("{}: {}", self.host, self.got.words(self.spent))
    }

    /// Both families are published.
    pub fn is_dual(&self) -> bool {
        self.published.0 > 0 && self.published.1 > 0
    }
}

/// What a request for a look-up shows of the PDS's way to another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The service answered the PDS.
    Reached(FactId),
    /// The PDS did not reach it; after so many milliseconds at most.
    Failed(FactId, u64),
}

/// All arms of a run that say something.
#[derive(Clone, Debug, Default)]
pub struct Arms<'a> {
    /// The PDS's own address.
    pub own: Option<Arm<'a>>,
    /// The other hosts.
    pub egress: Vec<Arm<'a>>,
    /// The PLC directory.
    pub plc: Option<Lookup>,
    /// The AppView, by a foreign handle: it cannot be seen to fail, only to work.
    pub app_view: Option<FactId>,
    /// How long, in milliseconds, a busy machine held up other requests ([`Evidence::held_up`]).
    pub held_up: u64,
}

/// A fetch that took longer than this was held up by something else, a clogged resolver or lost packets say: it is no
/// clean contrast to one that failed.
pub(super) const PROMPT_MS: u64 = 2_000;

/// The most addresses of a family that are reckoned with: Node's walk over more takes longer than the PDS waits.
const ADDRESSES: usize = 4;

impl<'a> Arms<'a> {
    /// Collects them. An arm that failed at the reference too says nothing, unless this machine sees the host.
    pub fn new(evidence: &Evidence<'a>) -> Self {
        Self {
            own: arm(evidence, ParArm::OwnUrl),
            egress: ParArm::EGRESS
                .iter()
                .filter_map(|kind| arm(evidence, *kind))
                .filter(|arm| arm.control.is_some() || arm.got == Got::Reached || unasked(evidence, arm.arm))
                .collect(),
            plc: plc(evidence),
            app_view: evidence
                .http(Role::Target, HttpPurpose::ResolveHandle)
                .iter()
                .find(|seen| seen.body.is_expected())
                .map(Seen::id),
            held_up: evidence.held_up(),
        }
    }

    /// An arm by its kind.
    pub fn get(&self, kind: ParArm) -> Option<&Arm<'a>> {
        self.egress.iter().find(|arm| arm.arm == kind)
    }

    /// What the PDS reached, the IPv6-only host aside.
    pub fn reached(&self) -> impl Iterator<Item = &Arm<'a>> {
        self.egress.iter().filter(|arm| arm.got == Got::Reached && arm.arm != ParArm::Ipv6Only)
    }
}

/// How much longer than the PDS's own limit on a look-up a failure must have taken to be another limit's.
const LOOKUP_LIMIT_MS: u64 = 2_500;

/// The cache-busted arm of a client, if it came as far as the fetch. The other requests about the same host that failed
/// like it show how quick the failure can be.
pub fn login<'a>(evidence: &Evidence<'a>, client: &str) -> Option<Arm<'a>> {
    let (seen, stage) = evidence.par(Role::Target, Some(client), ParArm::CacheBusted)?;
    let mut arm = build(evidence, seen, &stage)?;
    if arm.spent >= LOOKUP_LIMIT_MS {
        return Some(arm);
    }
    if let Some((named, Stage::DocumentNotObtained(_))) = evidence.par(Role::Target, Some(client), ParArm::AsNamed) {
        arm.no_slower_than(at_most(evidence, named.took()));
    }
    if let Some(Lookup::Failed(_, at_most)) = did_web(evidence, &arm.host) {
        arm.no_slower_than(at_most);
    }
    Some(arm)
}

/// The requests for the `did:web` of a client's host, which go to the same place by another way: one that came
/// through, else the quickest failure.
pub fn did_web(evidence: &Evidence<'_>, host: &str) -> Option<Lookup> {
    did_web_tries(evidence, host).into_iter().map(|(_, lookup)| lookup).min_by_key(|lookup| match lookup {
        Lookup::Reached(_) => 0,
        Lookup::Failed(_, at_most) => *at_most,
    })
}

/// Each of those requests with what it shows.
pub(super) fn did_web_tries<'a>(evidence: &Evidence<'a>, host: &str) -> Vec<(Seen<'a, HttpFact>, Lookup)> {
    let of_host = |url: &str| url.ends_with(&format!("?did=did:web:{host}"));
    let seen = evidence.http(Role::Target, HttpPurpose::ProxyDidWeb);
    let seen = seen.into_iter().filter(|seen| of_host(&seen.body.url));
    // An old PDS asks who we are before it resolves anything: a DID that nobody has shows which it is.
    let is_old = plc(evidence).is_none();
    let read = |seen: Seen<'a, HttpFact>| {
        let lookup = match seen.body.status {
            Some(400) if mentions(seen.body.content.as_ref(), "proxy did") => Lookup::Reached(seen.id()),
            Some(500) => Lookup::Failed(seen.id(), at_most(evidence, seen.took())),
            Some(401) if !is_old => Lookup::Reached(seen.id()),
            _ => return None,
        };
        Some((seen, lookup))
    };
    seen.filter_map(read).collect()
}

fn plc(evidence: &Evidence<'_>) -> Option<Lookup> {
    let ask = |role| evidence.http(role, HttpPurpose::ProxyPlc).into_iter().next();
    let seen = ask(Role::Target)?;
    let reached = |content: Option<&Content>| mentions(content, "could not resolve proxy did");
    match seen.body.status {
        Some(400) if reached(seen.body.content.as_ref()) => Some(Lookup::Reached(seen.id())),
        // A directory that is down is down for the reference too.
        Some(500)
            if ask(Role::Reference)
                .is_some_and(|there| there.body.status == Some(400) && reached(there.body.content.as_ref())) =>
        {
            Some(Lookup::Failed(seen.id(), at_most(evidence, seen.took())))
        }
        // A PDS before 0.4.166 says 401 to everybody.
        _ => None,
    }
}

fn mentions(content: Option<&Content>, words: &str) -> bool {
    matches!(content, Some(Content::XrpcError { message: Some(message), .. }) if message.contains(words))
}

fn arm<'a>(evidence: &Evidence<'a>, kind: ParArm) -> Option<Arm<'a>> {
    let (seen, stage) = evidence.par(Role::Target, None, kind)?;
    build(evidence, seen, &stage)
}

fn build<'a>(evidence: &Evidence<'a>, seen: Seen<'a, ParFact>, stage: &Stage) -> Option<Arm<'a>> {
    let kind = seen.body.arm;
    let host = host_of(&seen.body.client)?;
    let there = evidence.reference().and_then(|_| evidence.par(Role::Reference, Some(&seen.body.client), kind));
    let by_reference = there.filter(|(_, stage)| stage.reached_host() == Some(true)).map(|(seen, _)| seen.id());
    let same_question = by_reference.is_some() && evidence.reference_is_strong();
    let from_here = || {
        let connects = evidence.all_connects().iter();
        let mut good = connects.filter(|seen| {
            seen.body.host.as_str() == host && seen.body.failure.is_none() && seen.body.role == Role::Egress
        });
        good.next().map(Seen::id)
    };
    let mut arm = Arm {
        arm: kind,
        got: Got::of(stage, kind)?,
        spent: seen.took().saturating_sub(evidence.par_base(Role::Target)),
        at_most: at_most(evidence, seen.took()),
        spread: 0,
        published: published(evidence, kind, &host),
        control: by_reference.or_else(from_here),
        same_question,
        host,
        seen,
    };
    arm.settle();
    Some(arm)
}

/// Nobody else was asked the same: then a default host may be taken to be there.
fn unasked(evidence: &Evidence<'_>, kind: ParArm) -> bool {
    evidence.reference().is_none_or(|_| evidence.par(Role::Reference, None, kind).is_none())
}

/// A request over a new connection takes three round trips: TCP, TLS 1.3 and the request itself.
const ROUND_TRIPS: u64 = 3;

/// A busy machine holds up even the quickest exchange by so much. Three times that is still far from Node's timer of
/// 250 ms, so a failure at once stays apart from one by the timer.
const HELD_UP_MS: u64 = 30;

/// What is left of a request to the target when only the network is taken off. A connect is one round trip, and so is
/// an exchange on an open connection; the quickest of them all was held up least.
pub(super) fn at_most(evidence: &Evidence<'_>, took: u64) -> u64 {
    let lines = evidence.target_lines();
    let at_target = |addr: Option<IpAddr>| addr.is_some_and(|addr| lines.iter().any(|line| line.addr == addr));
    let connects = evidence.all_connects().iter();
    let connects = connects.filter(|seen| at_target(Some(seen.body.addr)) && seen.body.failure.is_none());
    let exchanges = evidence.all_http().iter();
    let exchanges = exchanges
        .filter(|seen| at_target(seen.body.addr) && seen.fact.probe == ProbeName::Http && seen.body.failure.is_none());
    let quickest = connects.map(Seen::took).chain(exchanges.map(Seen::took)).min().unwrap_or(0);
    let round_trip = quickest.saturating_sub(HELD_UP_MS);
    took.saturating_sub(round_trip.saturating_mul(ROUND_TRIPS).min(evidence.par_base(Role::Target)))
}

/// What DNS says here; where it was not asked, what the arm is chosen for.
fn published(evidence: &Evidence<'_>, kind: ParArm, host: &str) -> (usize, usize) {
    let addresses = evidence.addresses(host);
    let count = |family| addresses.iter().filter(|addr| Family::of(**addr) == family).count().min(ADDRESSES);
    match (count(Family::V4), count(Family::V6)) {
        (0, 0) => match kind {
            ParArm::Ipv4Only => (1, 0),
            ParArm::Ipv6Only => (0, 1),
            _ => (1, 1),
        },
        known => known,
    }
}
