//! What connections to one address say of the path: how long it usually takes, and whether first packets get lost.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{ConnectFact, FactId, Failure, FailureKind},
    tls_fact::TlsFact,
};

use crate::diagnose::{
    evidence::Seen,
    node_model::{Path, SYN_RETRANSMIT_MS, TIMED_OUT},
};

/// How late beyond a whole number of seconds a repeated SYN may seem: the jitter of the path and of this machine.
const STEP_LATE_MS: u64 = 250;
/// How early: the fastest try is the yardstick, and the lost one may have been faster still.
const STEP_EARLY_MS: u64 = 50;
/// So many connections that took alike are no accident of this machine's.
const A_HABIT: usize = 3;

/// One address, connected to patiently.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The address.
    pub ip: IpAddr,
    /// What an attempt usually meets.
    pub path: Path,
    /// How long the tries that connected took, in their order.
    pub times: Vec<u64>,
    /// Those of them whose first packet arrived.
    pub kept: Vec<u64>,
    /// How many of them took whole seconds more than the fastest: their first packet was lost.
    pub lost: usize,
    /// How many tries there were.
    pub tries: usize,
    /// The facts.
    pub ids: Vec<FactId>,
}

impl Measured {
    /// Of the tries at one address, and of the shortest TLS handshake there. `None`: there were no tries, and the kernel
    /// has a route.
    pub(super) fn of(
        ip: IpAddr,
        tries: &[Seen<'_, ConnectFact>],
        handshake: Option<&Seen<'_, TlsFact>>,
        routed: bool,
    ) -> Option<Self> {
        let mut ids: Vec<FactId> = tries.iter().map(Seen::id).collect();
        let times: Vec<u64> =
            tries.iter().filter(|seen| seen.body.failure.is_none()).map(|seen| seen.took().max(1)).collect();
        let handshake_ms = handshake.map(Seen::took);
        let is_lost = |time: u64| is_lost(&times, time) || is_lost_by(handshake_ms, time);
        let kept: Vec<u64> = times.iter().copied().filter(|time| !is_lost(*time)).collect();
        // Where every first packet was lost, what is left of the whole seconds is the way.
        let rests = || times.iter().map(|time| (time % SYN_RETRANSMIT_MS).max(1)).collect();
        let usual = if kept.is_empty() { middle(rests()) } else { way(kept.clone(), handshake_ms) };
        if usual < kept.iter().min().copied() || (kept.is_empty() && !times.is_empty()) {
            ids.extend(handshake.map(Seen::id));
        }
        let path = match (usual, tries.first()) {
            (Some(after_ms), _) => Path::Connects { after_ms },
            (None, Some(first)) => failed(first, routed),
            (None, None) if !routed => Path::fails(0, "ENETUNREACH"),
            (None, None) => return None,
        };
        let lost = times.len() - kept.len();
        Some(Self { ip, path, lost, tries: tries.len(), times, kept, ids })
    }

    /// In words: `connects after 312 ms (5 tries, 309 to 318 ms)`.
    pub fn words(&self) -> String {
        match &self.path {
            Path::Connects { after_ms } => {
                if self.kept.is_empty() {
                    let fastest = self.times.iter().min().copied().unwrap_or(0);
                    return format!(
                        "connects after {fastest} ms, {after_ms} ms after its packet is sent again ({} tries{})",
                        self.tries,
                        self.troubles()
                    );
                }
                let span = match (self.kept.iter().min(), self.kept.iter().max()) {
                    (Some(least), Some(most)) if self.tries > 1 => {
                        format!(" ({} tries, {least} to {most} ms{})", self.tries, self.troubles())
                    }
                    _ => String::new(),
                };
                let least = self.kept.iter().min().copied().unwrap_or(0);
                if *after_ms < least {
                    // Nothing measured is hidden: what it took, and why less is reckoned with.
                    return format!("connects after {least} ms, on a way of {after_ms} ms at most{span}");
                }
                format!("connects after {after_ms} ms{span}")
            }
            Path::Fails { after_ms: 0, code } => format!("fails at once ({code})"),
            Path::Fails { after_ms, code } => format!("fails after {after_ms} ms ({code})"),
            Path::Silent => "stays silent".to_owned(),
        }
    }

    fn troubles(&self) -> String {
        let failed = self.tries - self.times.len();
        let lost = if self.lost > 0 { format!(", {} of them seconds more", self.lost) } else { String::new() };
        let failed = if failed > 0 { format!(", {failed} in vain") } else { String::new() };
        format!("{lost}{failed}")
    }
}

/// A try that took whole seconds more than the fastest. Linux repeats a SYN after 1 s, then after ever longer; since 6.5
/// the first four follow each other by a second (`tcp_syn_linear_timeouts`).
fn is_lost(times: &[u64], time: u64) -> bool {
    let Some(fastest) = times.iter().min() else { return false };
    let more = time.saturating_sub(*fastest) + STEP_EARLY_MS;
    more >= SYN_RETRANSMIT_MS && more % SYN_RETRANSMIT_MS <= STEP_EARLY_MS + STEP_LATE_MS
}

/// A handshake takes at least one way there and back: a connection that took a second or more beside a short handshake
/// did not take it on the way, and what is left of its whole seconds is no more than the handshake's time.
fn is_lost_by(handshake_ms: Option<u64>, time: u64) -> bool {
    let short = handshake_ms.filter(|ms| *ms <= SYN_RETRANSMIT_MS / 2);
    short.is_some_and(|ms| time >= SYN_RETRANSMIT_MS && time % SYN_RETRANSMIT_MS <= ms + STEP_EARLY_MS)
}

/// How long the way is, there and back, from the times of connections and of the shortest TLS handshake. A handshake
/// takes one way there and back at least: what one connection took beyond it may have been this machine's doing. What
/// several took is the network's.
pub fn way(times: Vec<u64>, handshake_ms: Option<u64>) -> Option<u64> {
    let few = times.len() < A_HABIT;
    let usual = middle(times)?;
    let at_most = handshake_ms.filter(|_| few).unwrap_or(usual);
    Some(usual.min(at_most).max(1))
}

fn middle(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Packets can leave for it, as far as attempts say.
pub(super) fn has_route(tries: &[Seen<'_, ConnectFact>]) -> bool {
    let kind = |seen: &Seen<'_, ConnectFact>| seen.body.failure.as_ref().map(|failure| failure.kind);
    tries.iter().any(|seen| !(kind(seen) == Some(FailureKind::NetworkUnreachable) && seen.took() <= AT_ONCE_MS))
}

/// What the kernel says without sending anything takes no longer than this to be told.
const AT_ONCE_MS: u64 = 2;

/// The kernel's own end of patience takes minutes; what ended earlier was the tool's limit.
fn failed(seen: &Seen<'_, ConnectFact>, routed: bool) -> Path {
    let Some(failure) = &seen.body.failure else { return Path::Silent };
    let after_ms = if routed && seen.took() > AT_ONCE_MS { seen.took() } else { 0 };
    match code(failure) {
        Some(code) => Path::fails(after_ms, code),
        None => Path::Silent,
    }
}

/// The name of the error, as Node would give it; nothing for silence.
fn code(failure: &Failure) -> Option<&'static str> {
    Some(match failure.kind {
        FailureKind::Timeout if failure.errno.is_some() => TIMED_OUT,
        FailureKind::Timeout => return None,
        FailureKind::Refused => "ECONNREFUSED",
        FailureKind::Reset | FailureKind::Closed => "ECONNRESET",
        FailureKind::HostUnreachable => "EHOSTUNREACH",
        FailureKind::NetworkUnreachable => "ENETUNREACH",
        FailureKind::Prohibited => "EACCES",
        _ => "EIO",
    })
}
