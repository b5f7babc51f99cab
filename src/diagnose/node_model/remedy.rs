//! The same prediction for everything one could do about it.

use std::net::IpAddr;

use serde::Serialize;

use super::order::Libc;
use super::{Address, Options, Path, Prediction, Release, ResultOrder, Situation, Undici, predict};

/// The timer that is recommended: far above any healthy handshake, and two such attempts still end within undici's limit.
pub const PATIENT_ATTEMPT_MS: u64 = 5_000;

/// Something one could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// `--network-family-autoselection-attempt-timeout=5000`.
    AttemptTimeout,
    /// `--no-network-family-autoselection --dns-result-order=ipv4first`.
    Ipv4Only,
    /// Half of that pair: `--dns-result-order=ipv4first`.
    Ipv4FirstAlone,
    /// The other half: `--no-network-family-autoselection`.
    NoAutoSelectAlone,
    /// IPv6 made to work.
    RepairIpv6,
    /// IPv6 switched off on every interface, the loopback included
    /// (`net.ipv6.conf.all.disable_ipv6=1`).
    RemoveIpv6,
    /// IPv6 switched off on the interface only: `::1` stays.
    RemoveIpv6FromInterface,
}

impl Remedy {
    /// All of them, in the order in which they are to be recommended.
    pub const ALL: [Remedy; 7] = [
        Remedy::AttemptTimeout,
        Remedy::RepairIpv6,
        Remedy::RemoveIpv6,
        Remedy::RemoveIpv6FromInterface,
        Remedy::Ipv4Only,
        Remedy::Ipv4FirstAlone,
        Remedy::NoAutoSelectAlone,
    ];

    /// Whether it is one half of a pair. It may cure one situation and make the next one worse, so it is never
    /// recommended.
    pub fn is_half(self) -> bool {
        matches!(self, Remedy::Ipv4FirstAlone | Remedy::NoAutoSelectAlone)
    }

    /// The flags that it sets, instead of those of the four that are set now.
    pub fn options(self) -> Option<Options> {
        let plain = Options::default();
        let ipv4_first = Some(ResultOrder::Ipv4First);
        match self {
            Remedy::AttemptTimeout => Some(Options { attempt_timeout_ms: Some(PATIENT_ATTEMPT_MS), ..plain }),
            Remedy::Ipv4Only => Some(Options { auto_select: Some(false), result_order: ipv4_first, ..plain }),
            Remedy::Ipv4FirstAlone => Some(Options { result_order: ipv4_first, ..plain }),
            Remedy::NoAutoSelectAlone => Some(Options { auto_select: Some(false), ..plain }),
            Remedy::RepairIpv6 | Remedy::RemoveIpv6 | Remedy::RemoveIpv6FromInterface => None,
        }
    }
}

/// A remedy, and what would come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The remedy.
    pub remedy: Remedy,
    /// What Node would then make of the situation; nothing if this Node does not start with the flags.
    pub prediction: Option<Prediction>,
}

impl Candidate {
    /// Whether a connection would come about.
    pub fn cures(&self) -> bool {
        self.prediction.as_ref().is_some_and(Prediction::works)
    }

    /// Whether it may be printed as a remedy.
    pub fn recommendable(&self) -> bool {
        self.cures() && !self.remedy.is_half()
    }
}

/// What is known of the process besides its situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The Node.
    pub release: Release,
    /// The undici that connects.
    pub undici: Undici,
    /// The C library.
    pub libc: Libc,
    /// The flags that are set now.
    pub options: Options,
    /// How long an IPv6 handshake would take if IPv6 worked. Unknown, it is taken to be as slow as the fastest IPv4 one.
    pub repaired_v6_ms: Option<u64>,
}

/// What would come of each remedy.
pub fn candidates(situation: &Situation, runtime: &Runtime) -> Vec<Candidate> {
    let judge = |remedy: Remedy| {
        let changed = changed(situation, runtime, remedy);
        let options = remedy.options().unwrap_or(runtime.options);
        let starts = options.needs().into_iter().all(|flag| runtime.release.knows(flag));
        let prediction = starts.then(|| predict(&changed, runtime.release, runtime.undici, &options));
        Candidate { remedy, prediction }
    };
    Remedy::ALL.into_iter().map(judge).collect()
}

fn changed(situation: &Situation, runtime: &Runtime, remedy: Remedy) -> Situation {
    let mut changed = situation.clone();
    let addresses = &mut changed.addresses;
    match remedy {
        Remedy::RepairIpv6 => repair(addresses, runtime.repaired_v6_ms),
        Remedy::RemoveIpv6 => addresses.retain(|address| address.ip.is_ipv4()),
        Remedy::RemoveIpv6FromInterface => match runtime.libc {
            Libc::Glibc => addresses.retain(|address| address.ip.is_ipv4()),
            // musl looks at the loopback only, so the addresses stay, without a route and therefore last.
            Libc::Musl => {
                for address in addresses.iter_mut().filter(|address| address.ip.is_ipv6()) {
                    address.path = Path::fails(0, "ENETUNREACH");
                }
                addresses.sort_by_key(|address| address.ip.is_ipv6());
            }
        },
        Remedy::AttemptTimeout | Remedy::Ipv4Only | Remedy::Ipv4FirstAlone | Remedy::NoAutoSelectAlone => {}
    }
    changed
}

/// A host with a global IPv6 address and a route puts IPv6 first (RFC 6724, rule 6; both libraries).
fn repair(addresses: &mut [Address], known_ms: Option<u64>) {
    let fastest = |wanted: fn(&IpAddr) -> bool| {
        let times = addresses.iter().filter(|address| wanted(&address.ip)).filter_map(|address| match address.path {
            Path::Connects { after_ms } => Some(after_ms),
            Path::Fails { .. } | Path::Silent => None,
        });
        times.min()
    };
    let Some(after_ms) = known_ms.or_else(|| fastest(IpAddr::is_ipv6)).or_else(|| fastest(IpAddr::is_ipv4)) else {
        return;
    };
    for address in addresses.iter_mut().filter(|address| address.ip.is_ipv6()) {
        if !matches!(address.path, Path::Connects { .. }) {
            address.path = Path::Connects { after_ms };
        }
    }
    addresses.sort_by_key(|address| address.ip.is_ipv4());
}
