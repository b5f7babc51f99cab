//! What the PDS's Node meets when it connects to a host, and what it makes of it: the facts measured where the PDS is, put
//! into the terms of [`super::node_model`].
//!
//! What is not known is tried both ways. Where the readings differ, [`Story::works`] says nothing.

pub mod elsewhere;
mod paths;

use std::{collections::BTreeSet, net::IpAddr};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome},
    fact::{FactId, Family, Role, Vantage},
    host_fact::Range,
    par_fact::{ParArm, ParFact},
    process_fact::{self, ProcessFact},
};

use super::{
    Confidence, arms,
    evidence::{Evidence, Seen, host_of, number},
    inside::{Inside, place_words},
    node_model::{
        Address, Attempt, AttemptEnd, Candidate, Options, Outcome, Path, Prediction, Release, Remedy, Runtime,
        Situation, Undici, candidates,
        options::Found,
        order::{Configured, Destination, Libc, Source, resolve},
        predict,
    },
    par_stage::{FetchFailure, Stage},
};
pub use paths::{Measured, way};

/// The PDS's own limit on the fetch of client metadata (`@atproto-labs/fetch-node`, `timedFetch(10e3)`).
pub const PDS_LIMIT_MS: u64 = 10_000;

/// A time that lies nearer than this to Node's timer falls on its other side from one try to the next: 200 of 250 ms is
/// where the field reports of "now and then" begin.
pub const NEAR_MS: u64 = 50;

/// What a Node of unknown version may be: the one in the official image, and the newest line, whose timer is longer.
const UNKNOWN_RELEASES: [Release; 2] = [Release::new(20, 20, 0), Release::new(26, 10, 0)];

/// How the PDS reaches one host.
#[derive(Debug)]
pub struct Story<'a> {
    /// The host.
    pub host: String,
    /// Whose it is.
    pub role: Role,
    /// Where the PDS is.
    pub at: Vantage,
    /// The PDS.
    pub process: Seen<'a, ProcessFact>,
    /// Every address that its resolver gives, as it was measured there.
    pub measured: Vec<Measured>,
    /// The readings, the likeliest first; never empty. More than one where something is not known.
    pub readings: Vec<Reading>,
    /// What is not known and may matter, in words.
    pub unsure: Vec<String>,
    /// Facts that all this rests on.
    pub because: Vec<FactId>,
}

/// What is known, with what is not known taken to be one thing or the other.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Node, its options, its C library.
    pub runtime: Runtime,
    /// What was found in `NODE_OPTIONS` and on the command line.
    pub found: Found,
    /// What Node meets.
    pub situation: Situation,
    /// What it makes of it, as it runs now.
    pub now: Prediction,
    /// What it would make of it after each remedy.
    pub candidates: Vec<Candidate>,
}

impl Reading {
    /// The same with other flags in the place of the four.
    pub fn with(&self, options: &Options) -> Prediction {
        predict(&self.situation, self.runtime.release, self.runtime.undici, options)
    }

    /// The same in another situation.
    pub fn in_situation(&self, situation: &Situation) -> Prediction {
        predict(situation, self.runtime.release, self.runtime.undici, &self.runtime.options)
    }

    /// The same on a wire on which every handshake takes `ms` longer.
    pub fn slower(&self, ms: u64) -> Prediction {
        let mut situation = self.situation.clone();
        for address in &mut situation.addresses {
            if let Path::Connects { after_ms } = &mut address.path {
                *after_ms += ms;
            }
        }
        self.in_situation(&situation)
    }

    /// The same if the first packet of the attempt at one of `lossy` is lost, at whichever is the worst.
    pub fn first_packet_lost(&self, lossy: &[IpAddr]) -> Prediction {
        let lost = |ip: &IpAddr| {
            let mut situation = self.situation.clone();
            for address in situation.addresses.iter_mut().filter(|address| address.ip == *ip) {
                address.first_syn_lost = true;
            }
            self.in_situation(&situation)
        };
        let all: Vec<Prediction> = lossy.iter().map(lost).collect();
        let failing = all.iter().find(|prediction| !prediction.works());
        failing.or(all.first()).cloned().unwrap_or_else(|| self.now.clone())
    }

    /// The timer of every attempt but the last.
    pub fn timer_ms(&self) -> u64 {
        self.runtime.options.timer_ms(self.runtime.release)
    }

    /// Addresses are tried one after the other, each with the timer.
    pub fn selects(&self) -> bool {
        self.runtime.options.auto_select.unwrap_or(self.runtime.release.auto_selects())
    }

    /// What becomes of one remedy.
    pub fn candidate(&self, remedy: Remedy) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.remedy == remedy)
    }

    /// The addresses whose attempt is ended although a patient connection comes about.
    pub fn wronged(&self) -> Vec<(IpAddr, u64)> {
        let time = |ip: IpAddr| {
            self.situation.addresses.iter().find_map(|address| match address.path {
                Path::Connects { after_ms } if address.ip == ip => Some(after_ms),
                _ => None,
            })
        };
        let cut = self.now.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::CutOff);
        cut.filter_map(|attempt| Some((attempt.address, time(attempt.address)?))).collect()
    }
}

/// How the PDS reaches `host`. `None`: the PDS is not known, is not run by Node, or nothing was measured where it is.
pub fn of<'a>(evidence: &Evidence<'a>, host: &str) -> Option<Story<'a>> {
    let inside = evidence.inside();
    let process = inside.pds()?;
    is_node(process.body).then_some(())?;
    let at = process.body.vantage();
    let connects = inside.connects_to(&at, host);
    let role = connects.first()?.body.role;
    let mut unsure = Vec::new();
    let named = named(inside, &at, process.body, host);
    let mut because = vec![process.id()];
    because.extend(named.because);
    let mut measured = Vec::new();
    let mut destinations = Vec::new();
    for address in named.addresses {
        let way = inside.way_to(&at, address).or_else(|| inside.way_out(&at, Family::of(address)));
        let tries: Vec<_> = connects.iter().filter(|seen| seen.body.addr == address).copied().collect();
        let source = match way {
            Some(way) => {
                because.push(way.id());
                way.body.source.map(|from| source(inside, &at, from))
            }
            // The attempt itself says whether there is a route.
            None => {
                paths::has_route(&tries).then(|| any_source(inside, &at, Family::of(address)).unwrap_or(address.into()))
            }
        };
        let handshakes = inside.handshakes_with(&at, host).into_iter().filter(|seen| seen.body.addr == address);
        let handshake = handshakes.min_by_key(Seen::took);
        let Some(found) = Measured::of(address, &tries, handshake.as_ref(), source.is_some()) else {
            unsure.push(format!("{address} was not connected to"));
            continue;
        };
        because.extend(found.ids.iter().cloned());
        destinations.push(Destination { address, source });
        measured.push(found);
    }
    if measured.is_empty() {
        return None;
    }
    let configured = configured(inside, &at).unwrap_or_else(|| {
        unsure.push("the interfaces there were not seen".to_owned());
        Configured { v4: true, v6: true, loopback_v4: true, loopback_v6: true }
    });
    because.extend(inside.interfaces(&at).iter().map(Seen::id));
    if !process.body.environment_read {
        unsure.push("its NODE_OPTIONS could not be read".to_owned());
    }
    let elsewhere = inside.connects_to(&Vantage::Here, host);
    let repaired = elsewhere.iter().filter(|seen| seen.body.addr.is_ipv6() && seen.body.failure.is_none());
    let repaired_v6_ms = repaired.map(Seen::took).min();
    let reading = |(release, libc): (Release, Libc)| {
        let text = process.body.node_options.iter().map(|flag| flag.as_str()).collect::<Vec<_>>().join(" ");
        let arguments: Vec<&str> = process.body.node_arguments.iter().map(|flag| flag.as_str()).collect();
        let found = Options::read(release, &text, &arguments);
        let options = found.options;
        let runtime = Runtime { release, undici: Undici::of(release), libc, options, repaired_v6_ms };
        let path = |ip: IpAddr| {
            let found = measured.iter().find(|found| found.ip == ip);
            Address::new(ip, found.map_or(Path::Silent, |found| found.path.clone()))
        };
        let situation = Situation {
            addresses: resolve(libc, &configured, &destinations).into_iter().map(path).collect(),
            lookup_ms: named.lookup_ms,
            stall_ms: 0,
            caller_limit_ms: (role == Role::Client).then_some(PDS_LIMIT_MS),
        };
        let now = predict(&situation, release, runtime.undici, &options);
        let candidates = candidates(&situation, &runtime);
        Reading { runtime, found, situation, now, candidates }
    };
    let readings: Vec<Reading> = runtimes(process.body).into_iter().map(reading).collect();
    because.sort_by_key(number);
    because.dedup();
    Some(Story { host: host.to_owned(), role, at, process, measured, readings, unsure, because })
}

/// The hosts that the PDS itself must reach, in order of name: its own name and the known-good PDS are none.
pub fn hosts(evidence: &Evidence<'_>) -> BTreeSet<String> {
    let at = evidence.inside().place();
    let wanted = |role: Role| matches!(role, Role::Client | Role::Directory | Role::Service);
    let connects = evidence.inside().connects().filter(|seen| seen.fact.vantage == at && wanted(seen.body.role));
    connects.map(|seen| seen.body.host.to_string()).collect()
}

/// The model is that of Node; other PDSes have other programs.
fn is_node(process: &ProcessFact) -> bool {
    let script = process.script.as_deref().is_some_and(|name| name.ends_with("js"));
    process.node.is_some()
        || process.program.starts_with("node")
        || (script && process.program.as_str() == "MainThread")
}

/// The releases and libraries that it may be, the likeliest first.
fn runtimes(process: &ProcessFact) -> Vec<(Release, Libc)> {
    let known = process.node.as_ref().and_then(|node| node.version.parse::<Release>().ok());
    let releases = known.map_or(UNKNOWN_RELEASES.to_vec(), |release| vec![release]);
    let libraries = match process.libc {
        Some(process_fact::Libc::Glibc) => vec![Libc::Glibc],
        Some(process_fact::Libc::Musl) => vec![Libc::Musl],
        None => vec![Libc::Musl, Libc::Glibc],
    };
    releases.iter().flat_map(|release| libraries.iter().map(|libc| (*release, *libc))).collect()
}

/// The addresses that a name has where the PDS is.
struct Named {
    addresses: Vec<IpAddr>,
    lookup_ms: u64,
    because: Vec<FactId>,
}

/// By the file of names, else by the first name server that knows any, else what was connected to.
fn named(inside: &Inside<'_>, at: &Vantage, process: &ProcessFact, host: &str) -> Named {
    let files = inside.name_files();
    let entries = files.iter().flat_map(|seen| seen.body.hosts.iter().map(move |entry| (seen.id(), entry)));
    let of_host = |names: &[pdsdoctor_probes::text::Text]| names.iter().any(|name| name.eq_ignore_ascii_case(host));
    let listed: Vec<_> = entries.filter(|(_, entry)| of_host(&entry.names)).collect();
    if !listed.is_empty() {
        let addresses = listed.iter().map(|(_, entry)| entry.addr).collect::<BTreeSet<_>>().into_iter().collect();
        return Named { addresses, lookup_ms: 0, because: listed.into_iter().map(|(id, _)| id).collect() };
    }
    // A search domain makes another name of it.
    if let Some(found) = inside.instead(host) {
        return Named { addresses: found.addresses, lookup_ms: 0, because: found.ids };
    }
    let own = process.own_view();
    let here = |vantage: &Vantage| vantage == at || *vantage == own;
    let asked: Vec<Seen<'_, DnsFact>> = inside
        .questions()
        .filter(|seen| here(&seen.fact.vantage) && seen.body.name.as_str() == host && !seen.body.addresses().is_empty())
        .collect();
    let order: Vec<IpAddr> =
        files.iter().flat_map(|seen| &seen.body.nameservers).filter_map(|server| server.parse().ok()).collect();
    let place = |seen: &Seen<'_, DnsFact>| {
        let server = seen.body.server.ip();
        (order.iter().position(|known| *known == server).unwrap_or(usize::MAX), server)
    };
    let first = asked.iter().map(place).min();
    let answers: Vec<_> =
        asked.iter().filter(|seen| Some(place(seen)) == first && seen.body.outcome == DnsOutcome::Answer).collect();
    let addresses: BTreeSet<IpAddr> = answers.iter().flat_map(|seen| seen.body.addresses()).collect();
    if addresses.is_empty() {
        let connects = inside.connects_to(at, host);
        let addresses: BTreeSet<IpAddr> = connects.iter().map(|seen| seen.body.addr).collect();
        return Named { addresses: addresses.into_iter().collect(), lookup_ms: 0, because: Vec::new() };
    }
    // The name may have been asked for many times over.
    let mut times: Vec<u64> = answers.iter().map(|seen| seen.took()).collect();
    times.sort_unstable();
    let lookup_ms = times.get(times.len() / 2).copied().unwrap_or(0);
    let because = answers.iter().map(|seen| seen.id()).collect();
    Named { addresses: addresses.into_iter().collect(), lookup_ms, because }
}

/// What `AI_ADDRCONFIG` looks at.
fn configured(inside: &Inside<'_>, at: &Vantage) -> Option<Configured> {
    let addresses = inside.addresses(at);
    if inside.interfaces(at).is_empty() {
        return None;
    }
    let loopback = |v4: bool| {
        addresses
            .iter()
            .any(|(seen, address)| seen.body.up && address.addr.is_loopback() && address.addr.is_ipv4() == v4)
    };
    let other = |v4: bool| {
        addresses.iter().any(|(_, address)| address.range != Range::Loopback && address.addr.is_ipv4() == v4)
    };
    Some(Configured { v4: other(true), v6: other(false), loopback_v4: loopback(true), loopback_v6: loopback(false) })
}

/// A source address with what its interface says of it.
fn source(inside: &Inside<'_>, at: &Vantage, from: IpAddr) -> Source {
    let found = inside.addresses(at).into_iter().find(|(_, address)| address.addr == from);
    let plain = Source::from(from);
    found.map_or(plain, |(_, address)| Source {
        prefix: address.prefix,
        deprecated: address.preferred_s == Some(0) || address.flags.iter().any(|flag| flag.as_str() == "deprecated"),
        ..plain
    })
}

/// An address from which the internet may be reached: where the kernel was not asked.
fn any_source(inside: &Inside<'_>, at: &Vantage, family: Family) -> Option<Source> {
    let local = |range: Range| matches!(range, Range::Loopback | Range::LinkLocal);
    let all = inside.addresses(at).into_iter();
    let found = all.map(|(_, address)| address).find(|it| Family::of(it.addr) == family && !local(it.range))?;
    Some(source(inside, at, found.addr))
}

impl Story<'_> {
    /// The likeliest reading.
    pub fn first(&self) -> &Reading {
        &self.readings[0]
    }

    /// Whether Node reaches the host, if all readings agree.
    pub fn works(&self) -> Option<bool> {
        self.agreed(|reading| reading.now.works())
    }

    /// What is true of every reading, or of none.
    pub fn agreed<T: PartialEq>(&self, of: impl Fn(&Reading) -> T) -> Option<T> {
        let first = of(self.first());
        self.readings.iter().all(|reading| of(reading) == first).then_some(first)
    }

    /// Holds in every reading.
    pub fn always(&self, of: impl Fn(&Reading) -> bool) -> bool {
        self.readings.iter().all(of)
    }

    /// The surest that anything can be that rests on this.
    pub fn at_most(&self) -> Confidence {
        if self.works().is_none() {
            Confidence::Possible
        } else if self.unsure.is_empty() {
            Confidence::Confirmed
        } else {
            Confidence::Likely
        }
    }

    /// The remedies after which it works whatever is not known, in the order in which they are to be recommended.
    pub fn remedies(&self) -> Vec<&Candidate> {
        let all = self.first().candidates.iter();
        all.filter(|candidate| {
            self.always(|reading| reading.candidate(candidate.remedy).is_some_and(Candidate::recommendable))
        })
        .collect()
    }

    /// A working family would be used, and none is: IPv6 that does not work is what Node stumbles over.
    pub fn rests_on_dead_v6(&self) -> bool {
        let dead = |found: &Measured| found.ip.is_ipv6() && !matches!(found.path, Path::Connects { .. });
        self.measured.iter().any(dead) && self.works() == Some(false)
    }

    /// Where the PDS is, in words.
    pub fn place(&self) -> String {
        place_words(&self.at)
    }

    /// The name of the place, as facts have it: `container:pds`.
    pub fn place_name(&self) -> String {
        String::from(self.at.clone())
    }

    /// What Node does, attempt by attempt: `76.76.21.21 is given up after 250 ms, 2606:4700:10::21 fails at once
    /// (ENETUNREACH)`.
    pub fn attempts(&self, prediction: &Prediction) -> String {
        prediction.attempts.iter().map(attempt_words).collect::<Vec<_>>().join(", then ")
    }

    /// Node in words: `Node 24.18.0 with musl`.
    pub fn node(&self) -> String {
        let version = self.process.body.node.as_ref().map(|node| node.version.to_string());
        let version = version.map_or("a Node of unknown version".to_owned(), |version| format!("Node {version}"));
        match self.process.body.libc {
            Some(libc) => format!("{version} with {libc}"),
            None => version,
        }
    }
}

/// How it ends: `connects after 640 ms by IPv4`, `fails after 262 ms with ETIMEDOUT`.
pub fn outcome_words(prediction: &Prediction) -> String {
    match &prediction.outcome {
        Outcome::Connected { address } => {
            format!("connects after {} ms by {}", prediction.after_ms, Family::of(*address))
        }
        Outcome::Failed { code, hidden: None } => format!("fails after {} ms with {code}", prediction.after_ms),
        Outcome::Failed { code, hidden: Some(hidden) } => {
            format!("fails after {} ms with {code} (which hides {hidden})", prediction.after_ms)
        }
    }
}

fn attempt_words(attempt: &Attempt) -> String {
    let took = attempt.ended_ms.saturating_sub(attempt.started_ms);
    let address = attempt.address;
    match &attempt.end {
        AttemptEnd::Connected => format!("{address} connects after {took} ms"),
        AttemptEnd::Failed(code) if took == 0 => format!("{address} fails at once ({code})"),
        AttemptEnd::Failed(code) => format!("{address} fails after {took} ms ({code})"),
        AttemptEnd::CutOff => format!("{address} is given up after {took} ms"),
        AttemptEnd::Abandoned => format!("{address} is still waited for when the whole is given up, {took} ms later"),
    }
}

/// The PDS's own fetch of client metadata, as its answer to the login request (PAR) tells of it.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The fact.
    pub seen: Seen<'a, ParFact>,
    /// The document asked for.
    pub client: &'a str,
    /// The PDS got it.
    pub obtained: bool,
    /// How long the PDS spent on the fetch: the time of the request less that of one without a fetch.
    pub spent_ms: u64,
    /// It gave no reason, which is what it does when no connection came about in time.
    pub bare: bool,
    /// How long a busy machine held up other requests ([`Evidence::held_up`]).
    held_up_ms: u64,
}

/// What the PDS itself made of the host. The request that no copy can answer says what is true now.
pub fn observed<'a>(evidence: &Evidence<'a>, host: &str) -> Option<Observed<'a>> {
    let clients = evidence.clients();
    let client = clients.into_iter().find(|client| host_of(client).as_deref() == Some(host))?;
    let base = evidence.par_base(Role::Target);
    [ParArm::CacheBusted, ParArm::AsNamed].into_iter().find_map(|arm| {
        let (seen, stage) = evidence.par(Role::Target, Some(client), arm)?;
        // What the app's host refused was reached all the same.
        let reached = matches!(stage, Stage::DocumentRefused(_)).then_some(true);
        let obtained = stage.obtained_document().filter(|obtained| *obtained).or(reached).or(stage.obtained_document());
        use FetchFailure::{AtOnce, AttemptCap, Silence, Slow};
        let bare = matches!(stage, Stage::DocumentNotObtained(AtOnce | AttemptCap | Silence | Slow));
        // A timer ends no fetch early: of several that failed, the quickest was held up least.
        let quickest = bare.then(|| arms::login(evidence, client)).flatten().filter(|login| login.got.is_bare());
        let spent_ms = seen.took().saturating_sub(base);
        let spent_ms = quickest.map_or(spent_ms, |login| login.spent.min(spent_ms));
        Some(Observed { seen, client, obtained: obtained?, spent_ms, bare, held_up_ms: evidence.held_up() })
    })
}

/// How much later than predicted a PDS may be seen to answer: the way to it, twice. A busy machine may add to it.
const OBSERVED_LATE_MS: u64 = 200;
/// How much earlier: the request without a fetch, by which its own time is measured, may have been a slow one.
const OBSERVED_EARLY_MS: u64 = 60;

impl Observed<'_> {
    /// It failed when, and as, the model says.
    pub fn agrees(&self, predicted: &Prediction) -> bool {
        let (from, to) = predicted.took();
        let early = OBSERVED_EARLY_MS + self.held_up_ms;
        let span = from.saturating_sub(early)..=to + OBSERVED_LATE_MS + self.held_up_ms;
        !self.obtained && !predicted.works() && self.bare && span.contains(&self.spent_ms)
    }
}
