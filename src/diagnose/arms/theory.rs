//! What could be the matter with a PDS's way out, and what each theory would make of every arm. A theory that
//! predicts what was seen stays; the cheapest ones are the answer. What Node makes of a network is
//! [`crate::diagnose::node_model`]'s word, not this file's.
//!
//! Neither the version of Node nor its C library is known from outside, nor how far a host is from the PDS: a theory
//! stays if *any* plausible value of these fits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pdsdoctor_probes::par_fact::ParArm;

use super::{Arm, Arms, Got, LOOKUP_LIMIT_MS, Lookup};
use crate::diagnose::{
    Code,
    node_model::{
        Address, NOT_FOUND, Options, Outcome, Path, Release, Situation, Undici, predict, release::ATTEMPT_MS,
    },
    pace::HELD_UP_MOST_MS,
    par_stage::FetchFailure,
};

/// IPv6 as the PDS has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum V6 {
    /// It works.
    Works,
    /// There is none, and the C library asks for no AAAA (glibc, no address at all).
    Unasked,
    /// There is no route, and AAAA are used all the same (musl; glibc with a link-local address): they come last.
    NoRoute,
    /// A router turns it away at once.
    Rejected,
    /// A global address, and nothing comes back: IPv6 comes first.
    Hole,
    /// Nothing comes back, and IPv4 comes first: a unique local source address (RFC 6724, rule 5), or `ipv4first`.
    HoleBehindV4,
}

impl V6 {
    const ALL: [Self; 6] = [Self::Works, Self::Unasked, Self::NoRoute, Self::Rejected, Self::Hole, Self::HoleBehindV4];

    /// No IPv6 is what Docker gives by default; the rest is a fault by itself.
    fn cost(self) -> u32 {
        u32::from(matches!(self, Self::Rejected | Self::Hole | Self::HoleBehindV4))
    }

    /// Packets are lost in silence.
    pub fn is_hole(self) -> bool {
        matches!(self, Self::Hole | Self::HoleBehindV4)
    }
}

/// What else is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// Everything that goes out is dropped.
    AllDropped,
    /// Everything that goes out is rejected.
    AllRejected,
    /// The resolver fails.
    NamesFail,
    /// The resolver is silent.
    NamesSilent,
    /// The resolver says that no name exists.
    NamesUnknown,
    /// Somebody answers TLS with certificates of his own.
    TlsIntercepted,
    /// Connections come about, and large packets get lost.
    LargePacketsLost,
    /// What goes to the application is dropped.
    AppDropped,
    /// What goes to the application is rejected.
    AppRejected,
    /// The application's name leads to a private address.
    AppPrivate,
    /// The resolver fails for the application's name.
    AppNameFails,
    /// Large packets to or from the application get lost.
    AppLargePacketsLost,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::Nothing,
        Self::AllDropped,
        Self::AllRejected,
        Self::NamesFail,
        Self::NamesSilent,
        Self::NamesUnknown,
        Self::TlsIntercepted,
        Self::LargePacketsLost,
        Self::AppDropped,
        Self::AppRejected,
        Self::AppPrivate,
        Self::AppNameFails,
        Self::AppLargePacketsLost,
    ];

    fn is_of_app(self) -> bool {
        self >= Self::AppDropped
    }

    fn is_of_names(self) -> bool {
        matches!(self, Self::NamesFail | Self::NamesSilent | Self::NamesUnknown)
    }

    fn cost(self) -> u32 {
        match self {
            Self::Nothing => 0,
            // A tunnel on the PDS's side meets all hosts; one on a single path is rare.
            Self::AppLargePacketsLost => 2,
            _ => 1,
        }
    }
}

/// A Node, and how it is started.
#[derive(Clone, Copy, Debug)]
struct Runtime {
    release: Release,
    options: Options,
    cost: u32,
}

const PLAIN: Options = Options { auto_select: None, attempt_timeout_ms: None, result_order: None };

/// The official image has 20 or later; 25.2 doubled the timer. The last one stands for Node 18 and for half of the
/// pair of flags: no walk over the addresses at all.
const RUNTIMES: [Runtime; 3] = [
    Runtime { release: Release::new(20, 20, 0), options: PLAIN, cost: 0 },
    Runtime { release: Release::new(26, 0, 0), options: PLAIN, cost: 0 },
    Runtime { release: Release::new(20, 20, 0), options: Options { auto_select: Some(false), ..PLAIN }, cost: 1 },
];

/// The PDS's own limit on a fetch (`timedFetch(10e3)`).
const CALLER_LIMIT_MS: u64 = 10_000;

/// How far a host may be from the PDS, as one round trip: both sides of Node's two timers, and a satellite.
const ROUND_TRIPS_MS: [u64; 10] = [5, 20, 60, 120, 200, 240, 270, 350, 600, 900];
/// No host of an anycast edge is farther than this,
const NEAR_MS: u64 = 200;
/// except behind a satellite: a theory that needs it supposes more than any fault.
const FAR_NEAR_COST: u32 = 2;

/// What was taken off for the network may have been too much by this.
const EARLY_MS: u64 = 15;
/// A fetch may take longer than the theory says by this: name lookup and a busy machine as well. Less than Node's timer, or one more attempt would fit.
const LATE_MS: u64 = 220;
/// The time after which the PDS ends a fetch, less coarseness.
const SILENCE_MS: u64 = 9_500;
/// A resolver that fails has asked others before, which may take seconds.
const RESOLVER_SECONDS_MS: u64 = 2_000;

/// A theory that fits what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Theory {
    /// How much it supposes.
    pub cost: u32,
    /// IPv6.
    pub v6: V6,
    /// What else.
    pub fault: Fault,
}

impl Theory {
    /// The cause it stands for, where the application's fetch fails.
    pub fn code(self) -> Option<Code> {
        match (self.fault, self.v6) {
            (Fault::Nothing, V6::NoRoute) => Some(Code::NodeHe250ms),
            (Fault::Nothing, V6::Hole | V6::HoleBehindV4) => Some(Code::V6BlackholeEgress),
            (Fault::Nothing, V6::Works | V6::Unasked | V6::Rejected) => None,
            (Fault::AllDropped | Fault::AllRejected | Fault::AppDropped | Fault::AppRejected, _) => {
                Some(Code::FwEgressClosed)
            }
            (Fault::NamesFail | Fault::NamesSilent | Fault::NamesUnknown, _) => Some(Code::DnsContainerResolverDead),
            (Fault::AppNameFails, _) => Some(Code::DnsContainerResolverFlaky),
            (Fault::AppPrivate, _) => Some(Code::DnsSplitHorizonSsrf),
            (Fault::TlsIntercepted, _) => Some(Code::EgressTlsIntercepted),
            (Fault::LargePacketsLost | Fault::AppLargePacketsLost, _) => Some(Code::MtuContainerOverTunnel),
        }
    }
}

/// Every theory that fits the failed login and all arms, cheapest first.
pub fn fitting(app: &Arm<'_>, arms: &Arms<'_>, did_web: Option<&Lookup>) -> Vec<Theory> {
    let mut fitting = Vec::new();
    for v6 in V6::ALL {
        for fault in Fault::ALL {
            let costs = RUNTIMES.iter().filter_map(|runtime| cost(v6, fault, runtime, app, arms, did_web));
            if let Some(cost) = costs.min() {
                fitting.push(Theory { cost, v6, fault });
            }
        }
    }
    fitting.sort_unstable();
    fitting
}

/// Those that suppose least.
pub fn cheapest(fitting: &[Theory]) -> impl Iterator<Item = Theory> + '_ {
    let least = fitting.first().map(|theory| theory.cost);
    fitting.iter().copied().take_while(move |theory| Some(theory.cost) == least)
}

/// The most that a fetch that went well is taken to show of a busy machine: the host may also be far away, and with
/// Node's shorter timer it would else be taken for the longer one.
const NOISE_MS: u64 = 150;

/// How long a failure may have been held up by a busy machine: as long as others were ([`Arms::held_up`]), as the
/// quickest fetch that went well took, or as tries of the same fetch differed.
fn noise(app: &Arm<'_>, arms: &Arms<'_>) -> u64 {
    let quickest = arms.reached().map(|arm| arm.spent).min().unwrap_or(0).min(NOISE_MS);
    quickest.max(arms.held_up).max(app.spread.min(HELD_UP_MOST_MS))
}

/// What the theory supposes, if it fits; nothing if it does not.
#[expect(clippy::too_many_arguments, reason = "a theory on one side, all that was seen on the other")]
fn cost(
    v6: V6,
    fault: Fault,
    runtime: &Runtime,
    app: &Arm<'_>,
    arms: &Arms<'_>,
    did_web: Option<&Lookup>,
) -> Option<u32> {
    let mut cost = v6.cost() + fault.cost() + runtime.cost;
    let noise = noise(app, arms);
    for arm in std::iter::once(app).chain(&arms.egress) {
        cost += arm_cost(v6, fault, runtime, arm, noise)?;
    }
    // Its own address is not far away, so what is wrong on the way out need not touch it; but it has a name like all
    // others.
    if fault.is_of_names() && arms.own.as_ref().is_some_and(|own| !fits_names(fault, own, noise)) {
        return None;
    }
    let is_global = fault != Fault::Nothing && !fault.is_of_app();
    if is_global && !fault.is_of_names() && arms.own.as_ref().is_some_and(|own| own.got != Got::Reached) {
        cost += 1;
    }
    match &arms.plc {
        Some(Lookup::Reached(_)) if is_global => return None,
        Some(Lookup::Failed(..)) if !is_global => cost += 1,
        _ => {}
    }
    if arms.app_view.is_some() && is_global {
        return None;
    }
    // The same host by a way without a guard against private addresses (before the PDS used its guarded fetch for
    // DIDs): reached, or tried in earnest, where the guarded one refuses at once.
    let in_earnest = match did_web {
        Some(Lookup::Reached(_)) => true,
        Some(Lookup::Failed(_, spent)) => *spent >= LOOKUP_LIMIT_MS,
        None => false,
    };
    if in_earnest && app.got == Got::Failed(FetchFailure::AtOnce) && fault != Fault::AppPrivate {
        return None;
    }
    Some(cost)
}

/// What the fetch must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Reached { connect_ms: u64 },
    Bare { after_ms: u64 },
    Named(FetchFailure),
}

impl Expected {
    /// `noise`: how long even what goes well takes here.
    fn fits(self, arm: &Arm<'_>, noise: u64) -> bool {
        let latest = arm.at_most + EARLY_MS;
        match (self, arm.got) {
            (Self::Reached { connect_ms }, Got::Reached) => latest >= connect_ms,
            (Self::Named(expected), Got::Failed(seen)) => expected == seen,
            (Self::Bare { after_ms }, got) if got.is_bare() => {
                // Where no timer can follow, a failure may be late by whatever a busy machine makes it.
                let noise = if arm.knows_no_timer() { noise.max(HELD_UP_MOST_MS) } else { noise };
                if after_ms >= SILENCE_MS {
                    arm.at_most >= SILENCE_MS
                } else {
                    after_ms <= latest && arm.spent <= after_ms + LATE_MS + noise
                }
            }
            _ => false,
        }
    }
}

fn fits_names(fault: Fault, arm: &Arm<'_>, noise: u64) -> bool {
    match fault {
        Fault::NamesFail | Fault::AppNameFails => {
            Expected::Bare { after_ms: 0 }.fits(arm, noise)
                || (matches!(arm.got, Got::Failed(FetchFailure::Slow)) && arm.spent >= RESOLVER_SECONDS_MS)
        }
        Fault::NamesSilent => arm.got.silent(),
        Fault::NamesUnknown => arm.got == Got::Failed(FetchFailure::NameNotFound),
        _ => true,
    }
}

/// What the arm costs the theory: the distance that fits best.
fn arm_cost(v6: V6, fault: Fault, runtime: &Runtime, arm: &Arm<'_>, noise: u64) -> Option<u32> {
    let is_app = arm.arm.is_login();
    let fault = if fault.is_of_app() && !is_app { Fault::Nothing } else { fault };
    match fault {
        Fault::NamesFail | Fault::AppNameFails | Fault::NamesSilent | Fault::NamesUnknown => {
            return fits_names(fault, arm, noise).then_some(0);
        }
        Fault::AppPrivate => return Expected::Bare { after_ms: 0 }.fits(arm, noise).then_some(0),
        _ => {}
    }
    let mut best: Option<u32> = None;
    for round_trip in ROUND_TRIPS_MS {
        let (cut_off, expected) = expect(v6, fault, runtime, arm, round_trip);
        if !expected.iter().any(|expected| expected.fits(arm, noise)) {
            continue;
        }
        let near = matches!(arm.arm, ParArm::Near | ParArm::Ipv4Only);
        let mut cost = if near && round_trip > NEAR_MS { FAR_NEAR_COST } else { 0 };
        // A host that is near is quick, unless Node wasted an attempt on it.
        if arm.arm == ParArm::Near && arm.got == Got::Reached && !cut_off && maybe_late(arm) {
            cost += 1;
        }
        best = Some(best.map_or(cost, |known| known.min(cost)));
    }
    best
}

/// What a wasted attempt of Node's costs, less the difference that two near hosts may have: half of its timer.
const WASTED_MS: u64 = ATTEMPT_MS / 2;

/// The near host may have taken as long as one of Node's timers.
fn maybe_late(near: &Arm<'_>) -> bool {
    near.at_most + EARLY_MS >= ATTEMPT_MS
}

/// It did, by the near host on IPv4 only, which had no timer to waste.
pub fn late(near: &Arm<'_>, arms: &Arms<'_>) -> bool {
    maybe_late(near)
        && arms
            .get(ParArm::Ipv4Only)
            .is_some_and(|plain| plain.got == Got::Reached && near.spent >= plain.spent + WASTED_MS)
}

/// Whether an attempt was wasted, and what may be seen of the fetch.
fn expect(v6: V6, fault: Fault, runtime: &Runtime, arm: &Arm<'_>, round_trip: u64) -> (bool, Vec<Expected>) {
    let connects = Path::Connects { after_ms: round_trip };
    let (v4_path, v6_path) = match fault {
        Fault::AllDropped | Fault::AppDropped => (Path::Silent, v6_path(v6, Path::Silent)),
        Fault::AllRejected | Fault::AppRejected => {
            let rejected = Path::fails(1, "EHOSTUNREACH");
            (rejected.clone(), v6_path(v6, rejected))
        }
        _ => (connects.clone(), v6_path(v6, connects)),
    };
    let of = |count: usize, address: fn(u8) -> IpAddr, path: &Path| -> Vec<Address> {
        (1..=count).map(|index| Address::new(address(u8::try_from(index).unwrap_or(u8::MAX)), path.clone())).collect()
    };
    let v4 = of(arm.published.0, |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), &v4_path);
    let v6_addresses = match v6 {
        V6::Unasked => Vec::new(),
        _ => {
            of(arm.published.1, |last| IpAddr::V6(Ipv6Addr::from_bits(u128::from(last) | 0x2001_0db8 << 96)), &v6_path)
        }
    };
    let addresses = match v6 {
        V6::Works | V6::Rejected | V6::Hole => [v6_addresses, v4].concat(),
        V6::Unasked | V6::NoRoute | V6::HoleBehindV4 => [v4, v6_addresses].concat(),
    };
    let situation = Situation { addresses, lookup_ms: 0, stall_ms: 0, caller_limit_ms: Some(CALLER_LIMIT_MS) };
    let prediction = predict(&situation, runtime.release, Undici::of(runtime.release), &runtime.options);
    let after_ms = prediction.after_ms;
    let expected = match &prediction.outcome {
        Outcome::Connected { .. } => match fault {
            // Whoever intercepts is near.
            Fault::TlsIntercepted => {
                vec![Expected::Bare { after_ms: 0 }, Expected::Named(FetchFailure::Certificate)]
            }
            Fault::LargePacketsLost | Fault::AppLargePacketsLost => vec![Expected::Bare { after_ms: CALLER_LIMIT_MS }],
            _ => vec![Expected::Reached { connect_ms: after_ms }],
        },
        Outcome::Failed { code, .. } if code == NOT_FOUND => vec![Expected::Named(FetchFailure::NameNotFound)],
        Outcome::Failed { .. } => {
            let mut may_be = vec![Expected::Bare { after_ms }];
            // A firewall may also answer in the host's name.
            if matches!(fault, Fault::AllRejected | Fault::AppRejected) {
                may_be.push(Expected::Named(FetchFailure::Refused));
            }
            may_be
        }
    };
    (prediction.cut_off() > 0, expected)
}

fn v6_path(v6: V6, working: Path) -> Path {
    match v6 {
        V6::Works => working,
        V6::Unasked | V6::NoRoute => Path::fails(0, "ENETUNREACH"),
        V6::Rejected => Path::fails(1, "EHOSTUNREACH"),
        V6::Hole | V6::HoleBehindV4 => Path::Silent,
    }
}
